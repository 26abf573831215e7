"""BayesianGaussianMixture against scikit-learn's: iterations from the same start, attributes, messages."""

import numpy as np
import pytest
import threadpoolctl
from helpers import TYPES, make_mixture, quiet_fit, tolerance
from numpy.testing import assert_allclose
from sklearn.mixture import BayesianGaussianMixture as Theirs

from fastem import BayesianGaussianMixture
from fastem.fitting.starts import table
from fastem.fitting.starts.beginning import Beginning
from fastem.kernels.mixture import LABELS
from fastem.passes.statistics import moments_about_means
from fastem.sources.blocks import ArraySource

pytestmark = pytest.mark.usefixtures("one_thread")
PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")
PRIOR = dict(weight_concentration_prior=1e-3, mean_precision_prior=0.7)
ATTRIBUTES = (
    *("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "weight_concentration_"),
    *("mean_precision_", "degrees_of_freedom_", "lower_bound_", "lower_bounds_", "n_iter_", "converged_"),
    *("weight_concentration_prior_", "mean_precision_prior_", "mean_prior_", "degrees_of_freedom_prior_"),
    "covariance_prior_",
)


@pytest.fixture(scope="module")
def one_thread():
    """scikit-learn's small products are far slower in several threads."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield


def priors(family, d):
    matrix = np.diag(np.arange(1.0, d + 1)) + 0.1
    covariance = {"full": matrix, "tied": matrix, "diag": np.diag(matrix), "spherical": 2.0}[family]
    return PRIOR | dict(mean_prior=np.full(d, 0.5), degrees_of_freedom_prior=d + 0.5, covariance_prior=covariance)


def assert_alike(ours, theirs, rtol, X):
    for name in ATTRIBUTES:
        got, want = np.asarray(getattr(ours, name)), np.asarray(getattr(theirs, name), dtype=np.float64)
        want = want.reshape(got.shape)  # scikit-learn's tied bounds are arrays of one number
        scale = np.abs(want).max(initial=0.0)
        assert_allclose(got, want, rtol=rtol, atol=rtol * scale, err_msg=name)
    assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=rtol, atol=rtol * 10)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=10 * rtol)


def compare(family, kind, dtype, d, k, n=80, **more):
    X = (make_mixture(n, d, max(k, 2), spacing=4.0).X + 1.0).astype(dtype)
    options = dict(n_components=k, covariance_type=family, weight_concentration_prior_type=kind, random_state=0)
    options |= dict(init_params="random", max_iter=8, tol=1e-9) | more
    ours, theirs = quiet_fit(BayesianGaussianMixture(**options), X), quiet_fit(Theirs(**options), X)
    assert_alike(ours, theirs, tolerance(dtype).params, X)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", TYPES)
def test_iterations(family, kind, dtype):
    compare(family, kind, dtype, 2, 3)
    compare(family, kind, dtype, 2, 3, reg_covar=0.1, **priors(family, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", TYPES)
def test_iterations_of_all_sizes(family, kind):
    for d in (1, 2, 5, 13):
        for k in (1, 3, 8):
            compare(family, kind, "f8", d, k, n=300, max_iter=20)


@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", TYPES)
def test_weights_are_repeated_rows(family, kind, monkeypatch):
    mixture, weight = make_mixture(60, 2, 3, spacing=4.0), np.random.default_rng(0).integers(0, 4, 60)

    def from_known(source, K, model, rng):
        rows = ArraySource(mixture.X, weight.astype(float), labels=mixture.labels)
        return Beginning(moments_about_means(rows, K, model.moments_shape(K, 2), LABELS))

    class FromKnown(Theirs):
        def _initialize_parameters(self, X, random_state, xp=None):
            self._initialize(X, np.eye(3)[np.repeat(mixture.labels, weight)])

    monkeypatch.setitem(table.STARTS, "kmeans", from_known)
    options = dict(n_components=3, covariance_type=family, weight_concentration_prior_type=kind, max_iter=10, tol=0)
    ours = quiet_fit(BayesianGaussianMixture(**options), mixture.X, sample_weight=weight)
    assert_alike(ours, quiet_fit(FromKnown(**options), np.repeat(mixture.X, weight, axis=0)), 1e-7, mixture.X)


def test_warm_start_and_no_iteration():
    X = make_mixture(80, 2, 3, spacing=4.0).X
    for options in ({"max_iter": 0}, {"max_iter": 3, "warm_start": True}):
        options |= dict(n_components=3, init_params="random", random_state=1)
        ours, theirs = BayesianGaussianMixture(**options), Theirs(**options)
        for _ in range(1 + 3 * options.get("warm_start", False)):
            quiet_fit(ours, X)
            quiet_fit(theirs, X)
            assert_alike(ours, theirs, 1e-7, X)


def test_draws_are_scikit_learns():
    X = make_mixture(80, 2, 3, spacing=4.0).X
    options = dict(n_components=3, init_params="random", random_state=1, max_iter=3)
    ours, theirs = quiet_fit(BayesianGaussianMixture(**options), X), quiet_fit(Theirs(**options), X)
    for got, want in zip(ours.sample(50), theirs.sample(50), strict=True):
        assert_allclose(got, want, rtol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        *({name: value} for name in ("weight_concentration_prior", "mean_precision_prior") for value in (0, "a")),
        *({"degrees_of_freedom_prior": value} for value in (-1, 1, 0.5)),
        *({"mean_prior": value} for value in (3, [1.0, 2.0, 3.0])),
        *({"covariance_prior": value} for value in (-1, "a")),
        *({"n_components": value} for value in (0, 1.5, 31)),
        *({name: -1} for name in ("tol", "reg_covar", "max_iter", "n_init", "verbose_interval")),
    ],
    ids=str,
)
def test_messages(options):
    X = np.random.default_rng(0).normal(size=(30, 2))
    messages = []
    for kind in (BayesianGaussianMixture, Theirs):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            kind(**options).fit(X)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_parameters_are_scikit_learns():
    ours, theirs = BayesianGaussianMixture().get_params(), Theirs().get_params()
    assert (ours.pop("n_threads"), ours.pop("solver")) == (None, "em")
    assert ours == theirs
