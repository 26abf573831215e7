"""float32 rows: float32 arithmetic where it shows what there is, and the results of float64 everywhere."""

import numpy as np
import pytest
from helpers import quiet_fit

import fastem
from fastem import GaussianMixture, Status
from fastem.model.matrices import EPS
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource

EPS32 = float(np.finfo("f4").eps)
REMEDIES = (None, "ridge", "map", "floor", "ratio", "geometric")


def two_lines(seed=0):
    """Two components with columns that differ by 2e-4 of their spread, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 20000)
    z = rng.normal(size=(20000, 1)) + 6 * labels[:, None]
    return np.c_[z, z + 2.2e-4 * rng.normal(size=z.shape)].astype("f4"), labels


def same_fits(X, **parameters):
    """The fits of float32 rows and of the same numbers in float64, whose objectives agree."""
    found, want = (quiet_fit(GaussianMixture(2, random_state=0, **parameters), rows) for rows in (X, X.astype("f8")))
    assert found.lower_bound_ == pytest.approx(want.lower_bound_, abs=1e-4)
    assert found.status_ is want.status_
    assert not [event for start in found.fit_report_.starts for event in start.events if event.what == "fell"]
    return found, want


@pytest.mark.parametrize("regularization", REMEDIES)
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_correlated_columns(regularization, covariance_type):
    """Second moments in float32 lose more than the narrow variance; the fit ran for 200 iterations, and fell."""
    X, _ = two_lines()
    parameters = dict(regularization=regularization, covariance_type=covariance_type, tol=1e-7, max_iter=200)
    found, want = same_fits(X, reg_covar=0.0, means_init=[[0, 0], [6, 6]], **parameters)
    assert found.n_iter_ == want.n_iter_ < 20


@pytest.mark.parametrize("regularization", REMEDIES)
def test_a_column_that_is_a_sum(regularization):
    """But for the rounding of the rows; the fit ended as degenerate after one iteration."""
    A = 10 * np.random.default_rng(0).normal(size=(5000, 3))
    X = np.c_[A, A.sum(axis=1)].astype("f4")
    found = quiet_fit(GaussianMixture(2, random_state=0, regularization=regularization), X)
    assert found.status_ is Status.CONVERGED
    if regularization is None:
        same_fits(X)
        same_fits(X, solver="lbfgs", tol=1e-5)


def wide_start():
    """A start that is so wide that nothing in it tells how narrow the components are."""
    return dict(weights_init=[0.5, 0.5], means_init=[[0, 0], [6, 6]], precisions_init=[np.eye(2) / 9] * 2)


@pytest.mark.parametrize("regularization", REMEDIES)
def test_a_wide_start(regularization):
    """The first pass may well be in float32, what the M-step makes of it may not."""
    X, labels = two_lines()
    found, _ = same_fits(X, reg_covar=0.0, regularization=regularization, tol=1e-7, max_iter=200, **wide_start())
    assert found.status_ is Status.CONVERGED
    assert (found.predict(X) == labels).mean() > 0.99


def test_one_iteration_from_a_wide_start():
    X, _ = two_lines()
    found, want = same_fits(X, reg_covar=0.0, max_iter=1, **wide_start())
    np.testing.assert_allclose(np.linalg.eigvalsh(found.covariances_.astype("f8"))[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(found.precisions_[:, 1, 1], want.precisions_[:, 1, 1], rtol=1e-3)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_accumulate_in_a_loop_of_ones_own(covariance_type):
    X, _ = two_lines()
    precision = {"full": [np.eye(2)] * 2, "tied": np.eye(2), "diag": [[1, 1]] * 2, "spherical": [1, 1]}[covariance_type]
    start = fastem.make_params([0.5, 0.5], [[0, 0], [6, 6]], 9 * np.array(precision, float), covariance_type)
    bounds = []
    for rows in (X, X.astype("f8")):
        params = start
        for _ in range(8):
            stats = fastem.accumulate(rows, params)
            params = fastem.m_step(stats, covariance_type)
        bounds.append(stats.loglik / len(rows))
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-4)


def test_a_stream():
    X, _ = two_lines()
    start = fastem.make_params([0.5, 0.5], [[0, 0], [6, 6]], [9 * np.eye(2)] * 2)
    found, want = fastem.Stepwise(start), fastem.Stepwise(start)
    for rows in np.split(X, 10):
        found, want = found.partial_fit(rows), want.partial_fit(rows.astype("f8"))
    assert found.mean_loglik == pytest.approx(want.mean_loglik, abs=1e-4)


def test_where_float32_arithmetic_is_used():
    """Columns that are not strongly correlated are worked on in float32; the statistics say so."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3)).astype("f4")
    one = quiet_fit(GaussianMixture(1), X).params_
    assert evaluate(ArraySource(X), one).eps == EPS32
    assert evaluate(ArraySource(X), one, exact=True).eps == EPS
    assert fastem.accumulate(X, one).eps == EPS32
    assert (fastem.accumulate(X, one) + fastem.accumulate(X.astype("f8"), one)).eps == EPS32
    lines, _ = two_lines()
    assert evaluate(ArraySource(lines), quiet_fit(GaussianMixture(1, reg_covar=0), lines).params_).eps == EPS


@pytest.mark.parametrize("remedy", REMEDIES[1:])
def test_rows_in_a_subspace_are_seen_in_float32(remedy):
    """Their second moments in float32 are not singular but for rounding: sums in float64 decide."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 3))
    X[:40] = np.outer(rng.normal(size=40), [0.1, 0.2, 0.3]) + 30
    names = []
    for rows in (X.astype("f4"), X.astype("f4").astype("f8")):
        parameters = dict(means_init=[[0, 0, 0], [30, 30, 30]], on_collapse="drop")
        model = quiet_fit(GaussianMixture(2, regularization=remedy, **parameters), rows)
        names.append([event.what for start in model.fit_report_.starts for event in start.events])
    assert names[0] == ["dropped"]


# ---- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-330, -166, -130, -100, -20, 20, 100, 127, 140, 166, 330])
@pytest.mark.parametrize("solver", ["em", "lbfgs"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_unit_of_weights_changes_no_bit(exponent, solver, dtype):
    """From 1e-100 to 1e100, which float32 does not hold."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(2000, 2)) + 5 * rng.integers(0, 2, (2000, 1))).astype(dtype)
    weight = rng.uniform(0, 2, 2000)
    weight[::9] = 0
    model = GaussianMixture(2, random_state=0, solver=solver, tol=1e-5)
    want = quiet_fit(model, X, sample_weight=weight)
    found = quiet_fit(fastem.GaussianMixture(**model.get_params()), X, sample_weight=2.0**exponent * weight)
    for name in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))


@pytest.mark.parametrize("unit", [1e-100, 1e-50, 1e-45, 1e38, 1e100 / 3])
def test_statistics_of_float32_rows_with_weights_in_any_unit(unit):
    X = np.random.default_rng(0).normal(size=(5000, 2)).astype("f4")
    weight = np.random.default_rng(1).uniform(0, 2, 5000)
    params = fastem.make_params([0.5, 0.5], [[0, 0], [1, 1]], [np.eye(2)] * 2)
    found, want = fastem.accumulate(X, params, unit * weight), fastem.accumulate(X, params, weight)
    assert found.eps == EPS32
    for name in ("loglik", "entropy", "s0", "s1", "s2"):
        np.testing.assert_allclose(getattr(found, name) / unit, getattr(want, name), rtol=1e-5, atol=1e-3)


# ---- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regularization", REMEDIES)
@pytest.mark.parametrize("scale", [1e-22, 1e-19, 1e-17, 1e-9, 1e9, 1e18, 1e20])
def test_any_scale_fits_or_is_refused(scale, regularization):
    """precisions_ were infinite at 1e-19, and a fit at 1e18 ended in a LinAlgError of NumPy's."""
    rng = np.random.default_rng(0)
    X = ((rng.normal(size=(1000, 2)) + 5 * rng.integers(0, 2, (1000, 1))) * scale).astype("f4")
    parameters = dict(regularization=regularization, reg_covar=0.0, tol=1e-5)
    if 1e-18 < scale < 1e19:
        found, _ = same_fits(X, **parameters)
        assert np.isfinite(found.precisions_).all()
        assert (found.covariances_.diagonal(0, -2, -1) >= np.finfo("f4").tiny).all()
    else:
        with pytest.raises(ValueError, match="do not fit the range of float32"):
            quiet_fit(GaussianMixture(2, random_state=0, **parameters), X)
