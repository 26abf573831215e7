"""Hostile input: a clear error or a right number; never a hang, a crash or a silent wrong number."""

import os
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import (
    COLLAPSED,
    TYPES,
    assert_close,
    exact_m_step,
    fitted,
    make_mixture,
    make_start,
    natural,
    outcome,
    quiet_fit,
    start_params,
    state_bytes,
)
from numpy.testing import assert_allclose

import fastem
from fastem import FitInterrupted, GaussianMixture, Status

METHODS = ("predict", "predict_proba", "score_samples", "score", "bic", "aic")
FUNCTIONS = {
    "accumulate": lambda m, X: fastem.accumulate(X, m.params_),
    "log_density": lambda m, X: fastem.log_density(X, m.params_),
    "moments": lambda m, X: fastem.moments(X, labels=np.zeros(len(X), int), n_components=1),
    "em": lambda m, X: fastem.em(X, m.params_),
}
CALLS = {
    **{name: lambda m, X, name=name: getattr(m, name)(X) for name in ("fit", "fit_predict", *METHODS)},
    **FUNCTIONS,
}


@pytest.fixture
def model(two):
    return GaussianMixture(2, random_state=0).fit(two.X)


def _frozen(model):
    return {name: pickle.dumps(value) for name, value in vars(model).items()}


# ---- the largest number ------------------------------------------------------------------------------


def test_huge_but_finite_float32_is_no_infinity(model):
    """float32's largest number is finite, its square is not."""
    X = np.full((3, 3), np.finfo("f4").max, dtype="f4")
    assert not np.isnan(model.score_samples(X)).any()
    assert (model.predict_proba(X).sum(axis=1) == 1).all()


# ---- 4, 5: other dtypes ------------------------------------------------------------------------------

DTYPES = ("i1", "u1", "i2", "i4", "i8", "u8", "?", "f2", "g", ">f8", ">f4", ">i4", "O")


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes(dtype):
    """Converted before any arithmetic, in every method: the numbers of the same values as float64."""
    rng = np.random.default_rng(0)
    whole = np.clip(rng.normal(size=(400, 2)) * 20 + 60 * rng.integers(0, 2, (400, 1)) + 1, 0, 120).round()
    X = (whole > 60 if dtype == "?" else whole).astype(dtype)
    same = np.asarray(X, dtype="f8")
    options = {"random_state": 0, "reg_covar": 1e-3}
    a, b = (GaussianMixture(2, **options).fit(V) for V in (X, same))
    assert a.means_.dtype in ((np.float64, np.float32) if dtype == ">f4" else (np.float64,))
    if dtype == ">f4":
        assert_close(fitted(a), fitted(b), 1e-3)
        b = a
    else:
        assert state_bytes(a) == state_bytes(b)
    for name in METHODS:
        np.testing.assert_allclose(getattr(a, name)(X), getattr(b, name)(same), rtol=1e-6, atol=1e-30, err_msg=name)
    assert a.predict_proba(X).dtype.kind == "f"
    if dtype != ">f4":
        for name in ("accumulate", "log_density"):
            x, y = (FUNCTIONS[name](a, V) for V in (X, same))
            assert np.array_equal(*(v.s2 if name == "accumulate" else v for v in (x, y)))


# ---- 6: layouts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_never_writes_to_its_input(two, call):
    """Read-only input is accepted, and writable input is the same afterwards."""
    model = GaussianMixture(2, random_state=0).fit(two.X)
    CALLS[call](model, two.X)  # read-only
    X = two.X.copy()
    CALLS[call](model, X)
    np.testing.assert_array_equal(X, two.X)


# ---- 8, 10: offsets and scales -----------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
def test_time_stamps(covariance_type, reg_covar):
    """Unix seconds: two bursts of events, an hour apart. scikit-learn's diag finds 5120 for a variance of 2884."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    X = np.c_[1.7e9 + 3600 * labels + rng.normal(scale=54, size=2000), rng.normal(scale=54, size=2000)]
    options = {"covariance_type": covariance_type, "reg_covar": reg_covar, "random_state": 0}
    model = GaussianMixture(2, **options).fit(X)
    assert model.converged_
    np.testing.assert_array_equal(model.predict(X) ^ model.predict(X)[0], labels ^ labels[0])
    onehot = np.eye(2)[model.predict(X)].tolist()
    assert_close(fitted(model), exact_m_step(X, onehot, covariance_type, reg_covar), 1e-8)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12, 1e100, 1e-100])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_scales(covariance_type, scale):
    """The unit of the data does not matter with reg_covar = 0."""
    mixture = make_mixture(400, 2, 2, spacing=6.0)
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "random_state": 0, "tol": 1e-6}
    one = GaussianMixture(2, **options).fit(mixture.X)
    model = GaussianMixture(2, **options).fit(mixture.X * scale)
    got = fitted(model)
    got = got._replace(means=got.means / scale, covariances=got.covariances / scale / scale)
    assert_close(got, fitted(one), 1e-8)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_columns_of_very_different_scale(covariance_type):
    """Singular means singular relative to each column's own variance: 1e-12 beside 1e12 is sound."""
    mixture = make_mixture(400, 3, 2, spacing=6.0)
    scale = np.array([1e-12, 1.0, 1e12])
    # from given labels: a distance between rows has no meaning here
    params = [
        fastem.m_step(
            fastem.moments(X, labels=mixture.labels, n_components=2, covariance_type=covariance_type),
            covariance_type,
        )
        for X in (mixture.X, mixture.X * scale)
    ]
    results = [
        fastem.em(X, p, covariance_type=covariance_type, tol=0, max_iter=20)
        for X, p in zip((mixture.X, mixture.X * scale), params, strict=True)
    ]
    assert all(r.status is Status.MAX_ITER for r in results)
    np.testing.assert_allclose(results[1].params.means / scale, results[0].params.means, rtol=1e-8)
    np.testing.assert_allclose(results[1].loglik + len(mixture.X) * np.log(scale).sum(), results[0].loglik, rtol=1e-10)


# ---- 13 to 17: raise or survive ----------------------------------------------------------------------


def _columns(kind, n=300):
    """Rows with a fault in column 1 or 2."""
    X = make_mixture(n, 3, 2, spacing=6.0, seed=4).X.copy()
    if kind == "constant":
        X[:, 1] = 7.0
    elif kind == "constant at 1e8":
        X[:, 1] = 1e8 + 0.1
    elif kind == "duplicate":
        X[:, 2] = X[:, 1]
    elif kind == "dependent":
        X[:, 2] = X[:, 0] - 2 * X[:, 1]
    elif kind == "identical":
        X[:] = [1.1, -2.2, 3.3e5]
    return X


@pytest.mark.parametrize("init", ["kmeans", "random", "labels"])
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("kind", ["constant", "constant at 1e8", "duplicate", "dependent", "identical"])
def test_faulty_columns_strict(kind, covariance_type, init):
    """reg_covar=0: an error that begins as scikit-learn's and names the column, except where the family allows it."""
    X = _columns(kind)
    legal = {
        "full": (),
        "tied": (),
        "diag": ("duplicate", "dependent"),
        "spherical": ("constant", "constant at 1e8", "duplicate", "dependent"),
    }[covariance_type]

    def fit():
        if init == "labels":
            labels = np.arange(300) % 2
            return fastem.m_step(
                fastem.moments(X, labels=labels, covariance_type=covariance_type), covariance_type, reg_covar=0.0
            )
        return quiet_fit(
            GaussianMixture(
                2,
                covariance_type=covariance_type,
                reg_covar=0.0,
                init_params=init,
                random_state=0,
                max_iter=200,
            ),
            X,
        )

    if kind in legal:
        result = fit()
        if init != "labels":
            assert np.isfinite(result.lower_bound_)
            assert result.status_ is not Status.DEGENERATE
        return
    with pytest.raises(ValueError, match=f"^{COLLAPSED}") as caught:
        fit()
    message = str(caught.value)
    if init != "labels":
        expected = {"identical": "identical", "duplicate": "olumn", "dependent": "olumn"}.get(kind, "olumn 1")
        assert expected in message, message


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("kind", ["constant", "constant at 1e8", "duplicate", "dependent", "identical"])
def test_faulty_columns_default(kind, covariance_type, init):
    """The default reg_covar: finite, as scikit-learn; identical points: the means lie there."""
    X = _columns(kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(did not converge|distinct)")
        warnings.filterwarnings("error", category=RuntimeWarning)
        model = GaussianMixture(2, covariance_type=covariance_type, init_params=init, random_state=0).fit(X)
    for values in fitted(model):
        assert np.isfinite(values).all()
    assert np.isfinite(model.score_samples(X)).all()
    assert (np.linalg.eigvalsh(fitted(model).covariances) > 0).all()
    if kind == "identical":
        heavy = model.means_[model.weights_ > 1e-3]
        np.testing.assert_allclose(heavy, np.tile(X[0], (len(heavy), 1)), rtol=1e-12)
        np.testing.assert_allclose(model.covariances_.max(), 1e-6, rtol=1e-3)
    if kind.startswith("constant"):
        np.testing.assert_allclose(model.means_[:, 1], X[0, 1], rtol=1e-14)
        if covariance_type == "full":
            np.testing.assert_allclose(model.covariances_[:, 1, 1], 1e-6, rtol=1e-6)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_singleton_start(covariance_type):
    """A start with one row in a component: strict raises, the default goes on."""
    X = make_mixture(200, 2, 2, spacing=6.0).X
    labels = np.zeros(200, dtype=int)
    labels[17] = 1
    stats = fastem.moments(X, labels=labels, covariance_type=covariance_type)
    if covariance_type == "tied":
        assert np.isfinite(fastem.m_step(stats, covariance_type).factor).all()
        return
    with pytest.raises(ValueError, match=COLLAPSED[:60]) as caught:
        fastem.m_step(stats, covariance_type)
    assert "component 1" in str(caught.value)
    assert np.isfinite(fastem.m_step(stats, covariance_type, reg_covar=1e-6).factor).all()


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_one_hot_starts_need_reg_covar(two, covariance_type, init):
    """One row in each component has no covariance: a clear error with reg_covar=0."""
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        GaussianMixture(2, covariance_type=covariance_type, init_params=init, reg_covar=0.0).fit(two.X)


def _spike(covariance_type):
    """A cloud with 20 identical rows in it, and a start that gives the spike a narrow component of its own."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(200, 2))
    X[:20] = [0.5, 0.25]
    precisions = np.array([np.eye(2), 1e3 * np.eye(2)])
    start = {
        "weights_init": np.array([0.9, 0.1]),
        "means_init": np.array([[0.0, 0.0], [0.5, 0.25]]),
        "precisions_init": natural(precisions, covariance_type),
    }
    return X, start


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_collapse_strict(covariance_type):
    """The likelihood runs to infinity: the last sound parameters, DEGENERATE, a warning that says collapsed."""
    X, start = _spike(covariance_type)
    model = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0.0, max_iter=5000, tol=0.0, **start)
    _, error, messages = outcome(lambda: model.fit(X))
    assert error is None
    assert any("collapsed" in m for m in messages), messages
    assert model.status_ is Status.DEGENERATE
    assert model.converged_ is False
    for values in fitted(model):
        assert np.isfinite(values).all()
    assert (np.linalg.eigvalsh(fitted(model).covariances) > 0).all()
    assert np.isfinite(model.score(X))
    # the last sound ones: the M-step from them is the one that fails
    with pytest.raises(ValueError, match=COLLAPSED):
        fastem.m_step(fastem.accumulate(X, model.params_), covariance_type)
    params = start_params(start, covariance_type)
    result = fastem.em(X, params, covariance_type=covariance_type, tol=0, max_iter=5000)
    assert result.status is Status.DEGENERATE
    assert result.loglik == pytest.approx(fastem.log_density(X, result.params).sum(), rel=1e-9)
    with pytest.raises(ValueError, match=COLLAPSED):
        fastem.m_step(result.stats, covariance_type)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_collapse_default(covariance_type):
    """With the default reg_covar the spike keeps a variance of reg_covar and the fit converges."""
    X, start = _spike(covariance_type)
    model = GaussianMixture(2, covariance_type=covariance_type, **start).fit(X)
    assert model.converged_
    assert model.weights_[1] == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(model.means_[1], [0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(np.diagonal(fitted(model).covariances[1]), 1e-6, rtol=1e-2)


@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_empty_component(covariance_type, reg_covar):
    """A component that no row belongs to: its mean stays where it was, its weight is about 0."""
    mixture = make_mixture(400, 2, 2, spacing=6.0)
    start = make_start(make_mixture(400, 2, 3, spacing=6.0), covariance_type)
    start["means_init"] = np.concatenate([mixture.means, [[1e6, -1e6]]])
    model = GaussianMixture(3, covariance_type=covariance_type, reg_covar=reg_covar, tol=1e-8, **start)
    _, error, _ = outcome(lambda: model.fit(mixture.X))
    assert error is None
    np.testing.assert_array_equal(model.means_[2], [1e6, -1e6])
    assert model.weights_[2] < 1e-12
    for values in fitted(model):
        assert np.isfinite(values).all()
    assert not np.isnan(model.predict_proba(mixture.X)).any()
    assert set(model.predict(mixture.X)) == {0, 1}
    alone = {
        "weights_init": [0.5, 0.5],
        "means_init": mixture.means,
        "precisions_init": start["precisions_init"] if covariance_type == "tied" else start["precisions_init"][:2],
    }
    other = GaussianMixture(2, covariance_type=covariance_type, reg_covar=reg_covar, tol=1e-8, **alone).fit(mixture.X)
    np.testing.assert_allclose(model.means_[:2], other.means_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_fewer_distinct_rows_than_components(covariance_type):
    """Five components for three distinct rows: finite with the default, an error or a finite fit when strict."""
    X = np.repeat([[0.0, 1.0], [5.0, 2.0], [9.0, -3.0]], 20, axis=0)
    for init in ("kmeans", "k-means++", "random", "random_from_data"):
        model, error, _ = outcome(
            lambda init=init: GaussianMixture(5, covariance_type=covariance_type, init_params=init, random_state=0).fit(
                X
            )
        )
        assert error is None, init
        assert np.isfinite(model.score_samples(X)).all()
    _, error, _ = outcome(lambda: GaussianMixture(5, covariance_type=covariance_type, reg_covar=0.0).fit(X))
    assert error is None or str(error).startswith(COLLAPSED)


def test_as_many_components_as_rows():
    X = make_mixture(12, 2, 2).X
    model = quiet_fit(GaussianMixture(12, random_state=0), X)
    assert np.isfinite(model.score(X))
    assert len(set(model.predict(X))) == 12


def test_two_rows():
    model = GaussianMixture(1).fit([[0.0, 1.0], [2.0, 4.0]])
    np.testing.assert_allclose(model.means_, [[1.0, 2.5]])
    np.testing.assert_allclose(model.covariances_[0], [[1 + 1e-6, 1.5], [1.5, 2.25 + 1e-6]])


def test_more_columns_than_rows():
    """Rank deficient by construction: finite with the default, an error when strict."""
    X = np.random.default_rng(6).normal(size=(10, 40))
    model = GaussianMixture(1).fit(X)
    assert np.isfinite(model.score(X))
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        GaussianMixture(1, reg_covar=0.0).fit(X)


# ---- 18: the bound -----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_bound_never_falls_without_regularisation(covariance_type):
    """Plain EM is monotone, up to rounding."""
    X = make_mixture(2000, 3, 4, spacing=1.5, seed=9).X
    model = quiet_fit(
        GaussianMixture(4, covariance_type=covariance_type, reg_covar=0.0, tol=0.0, max_iter=200, random_state=0),
        X,
    )
    assert np.diff(model.lower_bounds_).min() > -1e-13 * abs(model.lower_bound_) * 64


# ---- 20, 26: failures leave the estimator as it was --------------------------------------------------


class StopError(Exception):
    pass


def _raise(error):
    def callback(iteration, bound, params):
        if iteration == 3:
            raise error

    return callback


FAILURES = {
    "NaN": (ValueError, lambda m, X: m.fit(np.where(X > 1e9, X, np.nan))),
    "too few rows": (ValueError, lambda m, X: m.fit(X[:1])),
    "singular start": (ValueError, lambda m, X: m.set_params(reg_covar=0.0).fit(np.ones_like(X))),
    "bad parameter": (ValueError, lambda m, X: m.set_params(tol=-1).fit(X)),
    "bad weights": (ValueError, lambda m, X: m.fit(X, sample_weight=-np.ones(len(X)))),
    "Ctrl-C": (KeyboardInterrupt, lambda m, X: m.fit(X, callback=_raise(KeyboardInterrupt()))),
    "error in the callback": (StopError, lambda m, X: m.fit(X, callback=_raise(StopError()))),
    "Ctrl-C in fit_predict": (KeyboardInterrupt, lambda m, X: _interrupt_soon(lambda: m.fit_predict(X))),
}


def _interrupt_soon(call, after=0.15):
    """Run a call again and again; the interpreter gets a SIGINT in the meantime."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        deadline = time.perf_counter() + 20
        while time.perf_counter() < deadline:
            call()
    finally:
        timer.cancel()
    pytest.fail("no KeyboardInterrupt")


@pytest.mark.parametrize("fault", [f for f in FAILURES if f != "Ctrl-C in fit_predict"])
@pytest.mark.parametrize("already_fitted", [True, False])
def test_failure_leaves_the_estimator_unchanged(two, fault, already_fitted):
    error, call = FAILURES[fault]
    model = GaussianMixture(2, random_state=0, tol=0.0, max_iter=20)
    if already_fitted:
        quiet_fit(model, two.X)
    before = _frozen(model)
    with pytest.raises(error):
        call(model, two.X * 1.5)
    changed = {"reg_covar", "tol"}  # what the call itself set
    after = _frozen(model)
    assert {k: v for k, v in after.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}
    assert hasattr(model, "means_") is already_fitted


def test_interrupt_has_the_result(two):
    """FitInterrupted is a KeyboardInterrupt; .result is the last complete iteration."""
    bounds = []

    def callback(iteration, bound, params):
        bounds.append(bound)
        if iteration == 4:
            raise KeyboardInterrupt

    model = GaussianMixture(2, random_state=0, tol=0.0)
    with pytest.raises(FitInterrupted) as caught:
        model.fit(two.X, callback=callback)
    assert issubclass(FitInterrupted, KeyboardInterrupt)
    result = caught.value.result
    assert result.n_iter == len(result.history)
    assert result.n_iter in (3, 4)
    assert list(result.history) == bounds[: result.n_iter]
    assert result.loglik == pytest.approx(fastem.log_density(two.X, result.params).sum(), rel=1e-12)
    # a fit can go on from there
    again = GaussianMixture.from_parameters(result.params.weights, result.params.means, result.params.covariances)
    assert again.score(two.X) * 600 == pytest.approx(result.loglik, rel=1e-9)


def test_interrupt_of_em(two):
    params = GaussianMixture(2, random_state=0, max_iter=0).fit(two.X).params_
    with pytest.raises(FitInterrupted) as caught:
        fastem.em(two.X, params, tol=0.0, callback=_raise(KeyboardInterrupt()))
    assert caught.value.result.n_iter in (2, 3)
    with pytest.raises(StopError):
        fastem.em(two.X, params, tol=0.0, callback=_raise(StopError()))


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
def test_interrupt_of_another_method(two):
    """Ctrl-C during predict, score or a start is at least a KeyboardInterrupt."""
    model = GaussianMixture(2, random_state=0).fit(two.X)
    X = np.tile(two.X, (200, 1))
    before = _frozen(model)
    with pytest.raises(KeyboardInterrupt):
        _interrupt_soon(lambda: (model.predict(X), model.score(X)))
    assert _frozen(model) == before


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
def test_ctrl_c_is_served_at_once():
    """Within 0.2 s of the signal, at a size where one pass takes far longer; the best of five (a busy machine)."""
    mixture = make_mixture(2000, 20, 40)
    X = np.tile(mixture.X, (200, 1))
    start = make_start(mixture, "full")
    quiet_fit(GaussianMixture(40, max_iter=1, **start), mixture.X)  # compiles
    delays = []
    for _ in range(5):
        sent = []
        timer = threading.Timer(
            0.3, lambda sent=sent: (sent.append(time.perf_counter()), os.kill(os.getpid(), signal.SIGINT))
        )
        model = GaussianMixture(40, tol=0.0, max_iter=1000, **start)
        timer.start()
        with pytest.raises(FitInterrupted):
            model.fit(X)
        delays.append(time.perf_counter() - sent[0])
        assert not hasattr(model, "means_")
        if delays[-1] < 0.2:
            break
    assert min(delays) < 0.2, delays


# ---- 1, 2, 7, 11, 28, 29: see test_bad_input.py; 21, 22: see test_estimator.py -----------------------


# ---- sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 5, 17, 40, 90])
@pytest.mark.parametrize("n", [2, 3, 255, 257])
def test_every_size_is_finite(n, d):
    """No size falls between the kernels."""
    X = np.random.default_rng(d).normal(size=(n, d))
    for k in (1, 2):
        for covariance_type in TYPES:
            model = quiet_fit(GaussianMixture(k, covariance_type=covariance_type, random_state=0, max_iter=2), X)
            assert np.isfinite(model.score_samples(X)).all()


# ---- the user's NumPy settings -----------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_seterr_raise(two, covariance_type, init):
    """np.seterr(all='raise') and warnings as errors: nothing in a fit or a score leans on silent overflow."""
    plain = GaussianMixture(2, covariance_type=covariance_type, init_params=init, random_state=0, max_iter=500).fit(
        two.X
    )
    X = np.concatenate([two.X, [[1e3, 1e3, -1e3]]])
    old = np.seterr(all="raise")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = GaussianMixture(
                2, covariance_type=covariance_type, init_params=init, random_state=0, max_iter=500
            ).fit(two.X)
            for name in METHODS:
                getattr(model, name)(X)
            model.predict_proba(np.array([[1e200, 0, 0]]))
            model.score_samples(np.array([[1e300, 0, 0]]))
            model.sample(5)
            fastem.em(two.X, model.params_, covariance_type=covariance_type)
            fastem.m_step(fastem.moments(two.X, labels=two.labels, covariance_type=covariance_type), covariance_type)
            assert np.geterr() == dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
    finally:
        np.seterr(**old)
    assert state_bytes(model) == state_bytes(plain)


def test_seterr_raise_in_a_collapse():
    """The same on the way into a singularity."""
    X, start = _spike("full")
    old = np.seterr(all="raise")
    try:
        model, error, _ = outcome(lambda: GaussianMixture(2, reg_covar=0.0, max_iter=5000, tol=0.0, **start).fit(X))
    finally:
        np.seterr(**old)
    assert error is None
    assert model.status_ is Status.DEGENERATE


def test_seterr_raise_with_an_empty_component():
    X = np.random.default_rng(0).normal(size=(100, 1))
    old = np.seterr(all="raise")
    try:
        _, error, _ = outcome(
            lambda: GaussianMixture(
                2, weights_init=[0.5, 0.5], means_init=[[0.0], [1e5]], precisions_init=[[[1.0]], [[1.0]]]
            ).fit(X)
        )
    finally:
        np.seterr(**old)
    assert error is None


def test_ctrl_c_that_numba_takes_for_a_missing_argument(monkeypatch, two):
    """Seen once in 45 interrupted fits: the launcher's TypeError is a KeyboardInterrupt, and other ones are not."""
    from fastem.kernels import jit

    def launcher(message):
        def raising(*args):
            raise TypeError(message)

        return raising

    params = start_params(make_start(make_mixture(600, 3, 2, spacing=3.0, seed=1), "full"), "full")
    monkeypatch.setattr(jit, "THREAD_FLOPS", 1.0)
    monkeypatch.setattr(jit, "n_threads", lambda: 2)
    monkeypatch.setattr(jit, "_layer", lambda: "omp")
    X = np.tile(two.X, (60, 1))
    for message, error in (
        ("_get_wrapper_address() missing 1 required positional argument: 'sig'", KeyboardInterrupt),
        ("another", TypeError),
    ):
        raising = launcher(message)
        monkeypatch.setattr(jit, "launcher", lambda raising=raising: raising)
        with pytest.raises(error):
            fastem.accumulate(X, params)


@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
def test_a_start_far_from_the_data(reg_covar):
    X = 1.7e9 + np.random.RandomState(0).randn(500, 2)
    start = {"means_init": [[0, 0]], "weights_init": [1.0], "precisions_init": [np.eye(2) / 1.7e9**2]}
    model = GaussianMixture(1, reg_covar=reg_covar, **start).fit(X)
    assert model.converged_
    assert_allclose(model.covariances_[0], np.cov(X.T, bias=True) + reg_covar * np.eye(2), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("offset", "spread"), [(9e15, 1.0), (1e8, 3e-8), (1e9, 3e-7), (2.0**53, 3.0)])
def test_variance_of_a_few_units_in_the_last_place(offset, spread):
    X = offset + spread * np.random.RandomState(3).randn(4000, 1)
    exact = np.var([int((x - offset) * 2**40) for x in X[:, 0]]) / 2.0**80
    model = GaussianMixture(1, reg_covar=0).fit(X)
    assert_allclose(model.covariances_.item(), exact, rtol=0.05)


def test_nearly_dependent_columns_are_not_dependent():
    rng = np.random.RandomState(0)
    X = rng.randn(2000, 20)
    X[:, -1] = X[:, 0] + 1e-7 * rng.randn(2000)
    model = GaussianMixture(1, reg_covar=0).fit(X)
    assert model.converged_


IDENTIFIERS = 2**60 + np.arange(50)[:, None]


@pytest.mark.parametrize(
    "rows",
    [
        IDENTIFIERS,
        IDENTIFIERS.astype("u8"),
        IDENTIFIERS.astype(object),
        IDENTIFIERS.tolist(),
        np.longdouble(2**54) + np.arange(50, dtype=np.longdouble)[:, None],
        lambda: iter([IDENTIFIERS]),
        pd.DataFrame({"a": IDENTIFIERS[:, 0], "b": np.linspace(0, 1, 50)}),
        pd.DataFrame({"a": pd.array(IDENTIFIERS[:, 0], dtype="Int64")}),
    ],
    ids=["int64", "uint64", "object", "list", "long double", "blocks", "mixed frame", "nullable frame"],
)
def test_lost_digits_are_said(rows):
    """These are 50 different numbers, of which float64 holds one or two."""
    with pytest.warns(UserWarning, match=r"X holds numbers with more digits than float64 has .*is rounded: \d+"):
        GaussianMixture(1).fit(rows)


@pytest.mark.filterwarnings("error")
def test_exact_casts_say_nothing():
    small = np.arange(50)[:, None]
    for rows in (small, small.astype(np.longdouble), small + 2**53 - 50, small * 2**40, small.astype(object)):
        GaussianMixture(1).fit(rows)
