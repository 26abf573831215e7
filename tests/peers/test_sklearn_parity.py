"""The same start gives scikit-learn's trajectory: parameters, bounds, counts, scores."""

import itertools
import warnings

import numpy as np
import pytest
import threadpoolctl
from helpers import (
    TYPES,
    assert_close,
    fitted,
    from_params,
    make_mixture,
    make_start,
    norm_errors,
    quiet_fit,
    start_params,
    tolerance,
)
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as Peer

import fastem
from fastem import GaussianMixture

STEPS = (1, 2, 5, 50)
DIMENSIONS = (1, 2, 3, 7, 10, 13, 16, 33)
COMPONENTS = (1, 2, 5, 17)
SPACING = {"separated": 8.0, "overlapping": 1.5}

# every dimension, every number of components with every type, both regularisations and both kinds of data
_PAIRS = ((1, 17), (2, 5), (3, 17), (7, 2), (10, 5), (13, 1), (16, 2), (33, 2))
COVER = [
    (covariance_type, d, k, (1e-6, 0.0)[(i + t) % 2], ("overlapping", "separated")[(i // 2 + t) % 2])
    for t, covariance_type in enumerate(TYPES)
    for i, (d, k) in enumerate(_PAIRS)
    if (i + t) % 2 or d in (1, 10, 33)
]
# and for every type each dimension with each number of components, once
GRID = [
    (covariance_type, d, k, (1e-6, 0.0)[i % 2], ("overlapping", "separated")[(i // 2 + t) % 2])
    for t, covariance_type in enumerate(TYPES)
    for i, (d, k) in enumerate(itertools.product(DIMENSIONS, COMPONENTS))
    if (d, k) not in _PAIRS
]
CASES = [pytest.param(*c, id="-".join(map(str, c))) for c in COVER] + [
    pytest.param(*c, id="-".join(map(str, c)), marks=pytest.mark.slow) for c in GRID
]


def _options(start, covariance_type, reg_covar, **more):
    k = len(start["weights_init"])
    return {
        "n_components": k,
        "covariance_type": covariance_type,
        "tol": 0.0,
        "reg_covar": reg_covar,
        **start,
        **more,
    }


def _peer_snapshots(X, options):
    """Run scikit-learn once, stopping at each of STEPS; return the Fitted after each and all lower bounds."""
    model, snapshots, bounds, done = Peer(**options, warm_start=True), {}, [], 0
    for step in STEPS:
        with threadpoolctl.threadpool_limits(1, "blas"):  # small products: several threads are far slower
            quiet_fit(model.set_params(max_iter=step - done), X)
        snapshots[step], done = fitted(model), step
        bounds += model.lower_bounds_
    return model, snapshots, bounds


@pytest.mark.parametrize(("covariance_type", "d", "k", "reg_covar", "data"), CASES)
def test_trajectory(covariance_type, d, k, reg_covar, data):
    mixture = make_mixture(max(10 * d * k, 200), d, k, spacing=SPACING[data])
    start = make_start(mixture, covariance_type)
    options = _options(start, covariance_type, reg_covar)
    peer, snapshots, bounds = _peer_snapshots(mixture.X, options)
    for step in STEPS:
        model = quiet_fit(GaussianMixture(**options, max_iter=step), mixture.X)
        assert_close(fitted(model), snapshots[step], tolerance("f8").params, f"after {step}:")
        assert model.n_iter_ == step
        assert model.converged_ is False
    np.testing.assert_allclose(model.lower_bounds_, bounds, rtol=1e-9, atol=1e-9)
    assert model.lower_bound_ == model.lower_bounds_[-1]
    _assert_same_answers(model, peer, mixture.X)


def _assert_same_answers(model, peer, X):
    tol = tolerance("f8")
    proba = peer.predict_proba(X)
    np.testing.assert_allclose(model.score_samples(X), peer.score_samples(X), rtol=tol.params, atol=tol.params)
    np.testing.assert_allclose(model.predict_proba(X), proba, rtol=0, atol=10 * tol.params)
    top = np.sort(proba, axis=1)
    clear = top[:, -1] - top[:, -2:].min(axis=1) > 1e-5 if proba.shape[1] > 1 else slice(None)
    np.testing.assert_array_equal(model.predict(X)[clear], peer.predict(X)[clear])
    for name in ("score", "bic", "aic"):
        assert getattr(model, name)(X) == pytest.approx(getattr(peer, name)(X), rel=1e-9)
    assert model._n_parameters() == peer._n_parameters()
    for name in ("precisions_", "precisions_cholesky_"):
        got, want = getattr(model, name), getattr(peer, name)
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


_SMALL, _LARGE = ((1, 5), (3, 2), (10, 5), (16, 2)), ((2, 17), (16, 17), (33, 5))
FLOAT32 = [
    pytest.param(t, d, k, data, marks=() if (d, k) in _SMALL and (i + j) % 4 == 0 else pytest.mark.slow)
    for i, t in enumerate(TYPES)
    for j, ((d, k), data) in enumerate(itertools.product(_SMALL + _LARGE, SPACING))
]


@pytest.mark.parametrize(("covariance_type", "d", "k", "data"), FLOAT32)
def test_float32(covariance_type, d, k, data):
    """Float32 data against scikit-learn on the same numbers as float64, norm-wise."""
    mixture = make_mixture(max(20 * d * k, 200), d, k, spacing=SPACING[data], seed=3)
    X = mixture.X.astype("f4")
    start = make_start(mixture, covariance_type)
    options = _options(start, covariance_type, 1e-6)
    _, snapshots, bounds = _peer_snapshots(X.astype("f8"), options)
    tol = tolerance("f4")
    for step in STEPS:
        model = quiet_fit(GaussianMixture(**options, max_iter=step), X)
        errors = norm_errors(fitted(model), snapshots[step])
        assert max(errors) <= tol.norm, (step, errors)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(model, name).dtype == np.float32, name
    np.testing.assert_allclose(model.lower_bounds_, bounds, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_stops_where_scikit_learn_stops(covariance_type, tol):
    mixture = make_mixture(1500, 3, 4, spacing=3.0, seed=2)
    options = _options(make_start(mixture, covariance_type), covariance_type, 1e-6, max_iter=2000)
    options["tol"] = tol
    peer, model = Peer(**options).fit(mixture.X), GaussianMixture(**options).fit(mixture.X)
    assert 2 < peer.n_iter_ < 2000
    assert (model.n_iter_, model.converged_) == (peer.n_iter_, True)
    assert len(model.lower_bounds_) == model.n_iter_
    assert model.lower_bound_ == pytest.approx(peer.lower_bound_, rel=1e-9)
    assert_close(fitted(model), fitted(peer), tolerance("f8").params)
    np.testing.assert_array_equal(model.predict(mixture.X), peer.predict(mixture.X))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_functions_do_the_same(covariance_type):
    """n M-steps of scikit-learn from a start are m_step(em(max_iter=n).stats), and em ends on an E-step."""
    mixture = make_mixture(1200, 7, 3, spacing=3.0, seed=5)
    start = make_start(mixture, covariance_type)
    params = start_params(start, covariance_type)
    _, snapshots, bounds = _peer_snapshots(mixture.X, _options(start, covariance_type, 1e-6))
    for step in STEPS:
        result = fastem.em(mixture.X, params, covariance_type=covariance_type, reg_covar=1e-6, tol=0.0, max_iter=step)
        got = from_params(fastem.m_step(result.stats, covariance_type, reg_covar=1e-6))
        assert_close(got, snapshots[step], tolerance("f8").params, f"after {step}:")
        assert result.n_iter == len(result.history) == step
        assert result.status is fastem.Status.MAX_ITER
        assert result.loglik == pytest.approx(fastem.log_density(mixture.X, result.params).sum(), rel=1e-12)
    np.testing.assert_allclose(result.history, bounds, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("missing", ["weights_init", "means_init", "precisions_init"])
def test_partly_given_start(covariance_type, missing):
    """Two of three given, the third from the k-means start: unambiguous clusters give scikit-learn's fit."""
    mixture = make_mixture(600, 3, 3, spacing=25.0, seed=4)
    start = make_start(mixture, covariance_type)
    del start[missing]
    # without given means the order of the components is the k-means' own: compare as sets there
    options = {"n_components": 3, "covariance_type": covariance_type, "random_state": 0, "tol": 1e-8, **start}
    peer, model = Peer(**options).fit(mixture.X), GaussianMixture(**options).fit(mixture.X)
    a, b = np.argsort(peer.means_[:, 0]), np.argsort(model.means_[:, 0])
    np.testing.assert_allclose(model.means_[b], peer.means_[a], rtol=1e-7)
    np.testing.assert_allclose(model.weights_[b], peer.weights_[a], rtol=1e-7)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_default_start_reaches_the_same_optimum(covariance_type, dtype):
    """No start given, well separated data: the same clusters and likelihood, the order of components apart."""
    mixture = make_mixture(2000, 4, 5, spacing=20.0, seed=6)
    X = mixture.X.astype(dtype)
    options = {"n_components": 5, "covariance_type": covariance_type, "random_state": 1, "tol": 1e-7}
    peer = Peer(**options).fit(X.astype("f8"))
    model = GaussianMixture(**options).fit(X)
    a, b = np.argsort(peer.means_ @ np.arange(1, 5)), np.argsort(model.means_ @ np.arange(1, 5))
    rtol = 1e-6 if dtype == "f8" else tolerance("f4").norm
    for name in ("weights_", "means_"):
        got, want = getattr(model, name)[b], getattr(peer, name)[a]
        assert np.linalg.norm(got - want) <= rtol * np.linalg.norm(want)
    assert model.score(X) == pytest.approx(peer.score(X.astype("f8")), rel=1e-6 if dtype == "f8" else 1e-4)
    assert len(np.unique(np.c_[model.predict(X), mixture.labels], axis=0)) == 5


def test_default_start_on_iris():
    """The whole default, on the data that everybody tries: the well-known optimum of three components."""
    from sklearn.datasets import load_iris

    X = load_iris().data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GaussianMixture(3, random_state=0).fit(X)
    peer = Peer(3, random_state=0).fit(X)
    assert model.score(X) == pytest.approx(peer.score(X), abs=2e-3)  # tol = 1e-3 ends both short of it


@pytest.mark.parametrize("seed", [*range(10), 42, 197])
def test_kmeans_starts_find_the_three_kinds_of_iris(seed):
    """As scikit-learn's do with any of these seeds; two of them used to end with two centres in one kind."""
    X = load_iris().data
    assert fastem.KMeans(3, random_state=seed, n_init=1).fit(X).inertia_ == pytest.approx(78.85, abs=0.01)
    assert fastem.GaussianMixture(3, random_state=seed).fit(X).score(X) == pytest.approx(-1.201, abs=1e-3)
