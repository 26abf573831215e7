"""scikit-learn's checks of estimators, and its own tests of KMeans, on fastem's classes.

Its own tests of GaussianMixture are those that `test_estimator` and `test_sklearn_parity` state anew.
"""

import warnings

import peer_kmeans
import pytest
from helpers import FAMILIES
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import (
    AnomalyDetector,
    BayesianGaussianMixture,
    FactorMixture,
    GaussianMixture,
    KMeans,
    MixtureRegressor,
    StudentMixture,
)

# Checks that fail, with the reason: there are none. (One is skipped: check_array_api_input, for arrays that are not
# NumPy's, which the tags of these classes do not promise.)
EXPECTED: dict[str, str] = {}

KINDS = [
    GaussianMixture(noise=True),
    GaussianMixture(assignment="hard"),
    GaussianMixture(solver="lbfgs"),
    GaussianMixture(solver="auto"),
    *(
        GaussianMixture(covariance_type=family, regularization=remedy)
        for family, remedy in zip(FAMILIES[1:], ("ridge", "map", "floor", "ratio", None), strict=True)
    ),
    *(GaussianMixture(2, **options) for options in ({}, {"noise": True}, {"assignment": "hard"}, {"solver": "lbfgs"})),
    GaussianMixture(2, fixed=("weights",)),
    BayesianGaussianMixture(),
    BayesianGaussianMixture(
        n_components=2, covariance_type="diag", weight_concentration_prior_type="dirichlet_distribution"
    ),
    StudentMixture(),
    FactorMixture(),
    FactorMixture(2, noise="isotropic", regularization=None),
    KMeans(),
    KMeans(3, init="random", algorithm="elkan"),
    AnomalyDetector(GaussianMixture(random_state=0)),
    MixtureRegressor(2, random_state=0),
    MixtureRegressor(2, covariance_type="diag", regularization="ridge", random_state=0),
]


def _checked(estimators):
    """`parametrize_with_checks`, but for its warning that these classes do not inherit from scikit-learn's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        decorator = parametrize_with_checks(estimators, expected_failed_checks=lambda estimator: EXPECTED)
        names, cases = decorator.args
        return pytest.mark.parametrize(names, list(cases), **decorator.kwargs)


@pytest.mark.filterwarnings("ignore")
@_checked([GaussianMixture(), MixtureRegressor()])
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@_checked(KINDS)
def test_checks_of_all_kinds(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_scikit_learns_tests_of_kmeans():
    found = peer_kmeans.run()
    assert found.failed == {}
    assert found.passed >= 80
    assert {name.partition("[")[0] for name, reason in found.expected.items() if reason != peer_kmeans.SPARSE} == {
        *peer_kmeans.EXPECTED
    }


def test_an_outcome_is_read(tmp_path):
    """A failure without a reason is one, with one it is not, and what is skipped has not passed."""
    cases = {
        "test_good": "",
        "test_skipped": '<skipped type="x" message="y"/>',
        "test_bad": '<failure message="wrong"/>',
        "test_n_init_auto[KMeans-10]": '<failure message="no _n_init"/>',
        "test_any": '<failure message="TypeError: Sparse data was passed, but"/>',
        "test_warns[sparse_array]": '<failure message="DID NOT WARN"/>',
    }
    text = "".join(f'<testcase name="{name}">{inside}</testcase>' for name, inside in cases.items())
    (tmp_path / "out.xml").write_text(f"<testsuites><testsuite>{text}</testsuite></testsuites>")
    found = peer_kmeans.outcome(tmp_path / "out.xml")
    assert (found.passed, found.failed) == (1, {"test_bad": "wrong"})
    assert found.expected == {
        "test_n_init_auto[KMeans-10]": peer_kmeans.PRIVATE_N_INIT,
        "test_any": peer_kmeans.SPARSE,
        "test_warns[sparse_array]": peer_kmeans.SPARSE,
    }
