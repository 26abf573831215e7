"""Integers beyond float64, which `float` refuses with an OverflowError, are refused as other numbers out of range."""

import numpy as np
import pytest

import fastem
from fastem import BayesianGaussianMixture, GaussianMixture, KMeans, StudentMixture

HUGE = 10**400
X = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0.0], [6.0]], 30, axis=0)
START = fastem.make_params([0.5, 0.5], [[0.0, 0.0], [6.0, 6.0]], [1.0, 1.0], "spherical")
PRIORS = "weight_concentration_prior", "mean_precision_prior", "degrees_of_freedom_prior", "covariance_prior"


def mixture():
    return GaussianMixture.from_parameters([0.5, 0.5], [[0.0, 0.0], [6.0, 6.0]], [1.0, 1.0], "spherical")


REFUSED = {
    "reg_covar": lambda: GaussianMixture(2, reg_covar=HUGE).fit(X),
    "tol": lambda: GaussianMixture(2, tol=HUGE).fit(X),
    "tol of KMeans": lambda: KMeans(2, tol=HUGE).fit(X),
    **{name: lambda name=name: BayesianGaussianMixture(n_components=2, **{name: HUGE}).fit(X) for name in PRIORS},
    "contamination": lambda: fastem.AnomalyDetector(contamination=HUGE).fit(X),
    "threshold": lambda: fastem.AnomalyDetector(threshold=HUGE).fit(X),
    "threshold below": lambda: fastem.AnomalyDetector(threshold=-HUGE).fit(X),
    "dof": lambda: StudentMixture(2, dof=HUGE).fit(X),
    "reg_covar of em": lambda: fastem.em(X, START, covariance_type="spherical", reg_covar=HUGE),
    "tol of em": lambda: fastem.em(X, START, covariance_type="spherical", tol=HUGE),
    "strength": lambda: fastem.Ridge(HUGE),
    "strength, geometric": lambda: fastem.GeometricRidge(HUGE),
    "shrinkage": lambda: fastem.InverseWishart(HUGE),
    "ratio": lambda: fastem.EigenvalueRatio(HUGE),
    "relevance": lambda: mixture().adapt(X, relevance=HUGE),
    "alpha": lambda: GaussianMixture(2, covariance_type="diag").fit(X).fisher_vector(X, alpha=HUGE),
    "n_samples_seen": lambda: GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical", n_samples_seen=HUGE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_huge_integers_are_refused(case):
    with pytest.raises(ValueError, match=rf"{case.split()[0].strip(',')}\b.* must be"):
        REFUSED[case]()


@pytest.mark.parametrize("seed", [HUGE, "a", 2.0, True], ids=["10**400", "a", "2.0", "True"])
def test_a_seed_that_is_none_names_the_class(seed):
    for cls in (GaussianMixture, BayesianGaussianMixture, StudentMixture, fastem.FactorMixture, KMeans):
        with pytest.raises(ValueError, match=f"'random_state' parameter of {cls.__name__} must be an int"):
            cls(random_state=seed).fit(X)
    with pytest.raises(ValueError, match="'random_state' parameter must be an int"):
        mixture().set_params(random_state=seed).sample()


def test_max_iter_may_be_any_integer():
    groups = np.repeat([0, 1], 30)
    most, usual = (fastem.fit_many(X, groups, 1, max_iter=n, random_state=0) for n in (HUGE, 100))
    assert np.array_equal(most.means, usual.means)


def test_the_sum_of_the_weights_of_a_posterior_may_be_beyond_int64():
    options = dict(n_components=3, solver="auto", init_params="auto", max_iter=3, random_state=0)
    with pytest.warns(fastem.ConvergenceWarning):  # tol is in nats of all rows
        model = BayesianGaussianMixture(**options).fit(X, sample_weight=np.full(60, 1e50))
    means = model.means_[model.weights_ > 0.1]
    assert np.isfinite(model.lower_bound_)
    assert np.abs(means[:, None] - [[0.0, 0.0], [6.0, 6.0]]).max(axis=2).min(axis=1).max() < 3.0
