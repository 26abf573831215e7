"""Counts in bins: moments of cells against 60 digits, and the exact likelihood against a direct maximisation."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import norm

import fastem
from fastem.model.grouped import standard_cells

CELLS = [
    (-1, 1), (-np.inf, 0), (0, np.inf), (5, 6), (30, 30.001), (30, 31), (-40, -39.5), (3, 3.0000001), (-1e-6, 1e-6),
    (8, np.inf), (-np.inf, -30), (0.5, 1.2), (100, 100.5), (-2, 5), (10, 10.09), (10, 10.11), (0.3, 1.4),
]  # fmt: skip


def exact_cell(a, b):
    """Log probability and moments of a standard normal variable within (a, b), to 60 digits."""
    with mpmath.workdps(80):
        low, high = mpmath.mpf(a), mpmath.mpf(b)
        if low > 0:  # by the upper tail, which has digits there
            mass = (mpmath.erfc(low / mpmath.sqrt(2)) - mpmath.erfc(high / mpmath.sqrt(2))) / 2
        else:
            mass = (mpmath.erfc(-high / mpmath.sqrt(2)) - mpmath.erfc(-low / mpmath.sqrt(2))) / 2
        at = [mpmath.npdf(x) if mpmath.isfinite(x) else mpmath.mpf(0) for x in (low, high)]
        edge = [x * p if mpmath.isfinite(x) else mpmath.mpf(0) for x, p in zip((low, high), at, strict=True)]
        first = (at[0] - at[1]) / mass
        return float(mpmath.log(mass)), float(first), float(1 + (edge[0] - edge[1]) / mass)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_moments_of_a_cell(cell):
    a, b = map(float, cell)
    for found, sign in ((standard_cells(a, b), 1), (standard_cells(-b, -a), -1)):
        log_mass, first, second = exact_cell(a, b)
        assert_allclose(found.log_mass[0], log_mass, rtol=1e-13, atol=1e-14)
        assert_allclose(sign * found.first[0], first, rtol=1e-13, atol=1e-14)
        assert_allclose(found.second[0], second, rtol=1e-13)


def drawn(N=10_000, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.uniform(size=N) < 0.4
    return np.where(first, rng.normal(0, 1, N), rng.normal(4, 1.5, N))


def direct(edges, counts, truncated):
    """The largest mean log-likelihood of two components, by a general optimiser."""

    def loss(theta):
        w, (m, n), (s, t) = 1 / (1 + np.exp(-theta[0])), theta[1:3], np.exp(theta[3:])
        P = w * np.diff(norm.cdf(edges, m, s)) + (1 - w) * np.diff(norm.cdf(edges, n, t))
        return -(counts @ np.log(P) - truncated * counts.sum() * np.log(P.sum())) / counts.sum()

    found = minimize(loss, [-0.4, 0.0, 4.0, 0.0, 0.4], method="BFGS", options={"gtol": 1e-8})
    fine = {"xatol": 1e-10, "fatol": 1e-15, "maxiter": 5000, "maxfev": 5000}
    found = minimize(loss, found.x, method="Nelder-Mead", options=fine)
    return -found.fun, found.x


BINS = {
    "wide": (np.arange(-5, 11.5, 1.5), False),
    "infinite": (np.r_[-np.inf, np.arange(-3, 9, 1.0), np.inf], False),
    "unequal": (np.array([-6.0, -1, 0, 0.5, 1, 2, 2.5, 4, 4.1, 6, 7, 12]), False),
    "truncated": (np.arange(-1, 6.1, 0.5), True),
}


@pytest.mark.parametrize("name", BINS)
@pytest.mark.parametrize("solver", ["auto", "em"])
def test_the_fit_is_the_maximum(solver, name):
    edges, truncated = BINS[name]
    counts = np.histogram(drawn(), edges)[0]
    bound, theta = direct(edges, counts, truncated)
    model = fastem.fit_binned(
        edges, counts, 2, truncated=truncated, reg_covar=0, tol=1e-12, max_iter=3000, solver=solver, random_state=0
    ).sort_components()
    assert_allclose(model.lower_bound_, bound, atol=1e-9)
    assert_allclose(model.means_.ravel(), theta[1:3], atol=1e-3)
    assert_allclose(np.sqrt(model.covariances_.ravel()), np.exp(theta[3:]), atol=1e-3)
    assert np.diff(model.lower_bounds_).min() > -1e-13
    assert model.n_samples_seen_ == counts.sum()


def test_truncation_is_undone():
    """The mixture is that of all rows, of which those in the bins were counted."""
    x = np.random.default_rng(1).normal(size=100_000)
    edges = np.arange(-0.5, 4.1, 0.25)
    counts = np.histogram(x, edges)[0]
    found = fastem.fit_binned(edges, counts, truncated=True, reg_covar=0, tol=1e-10, max_iter=3000)
    assert_allclose([found.means_[0, 0], found.covariances_[0, 0, 0]], [0, 1], atol=0.05)
    plain = fastem.fit_binned(edges, counts, reg_covar=0)
    assert plain.means_[0, 0] > 0.5


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("remedy", [None, "geometric", "map"])
def test_narrow_bins_are_rows(covariance, remedy):
    x = np.round(drawn(3000), 6)
    edges = np.unique(np.concatenate([x - 1e-7, x + 1e-7]))
    counts = np.histogram(x, edges)[0]
    options = {"covariance_type": covariance, "regularization": remedy, "reg_covar": 0, "tol": 1e-9, "max_iter": 3000}
    binned = fastem.fit_binned(edges, counts, 2, random_state=0, **options).sort_components()
    rows = fastem.GaussianMixture(2, random_state=0, **options).fit(x[:, None]).sort_components()
    assert_allclose(binned.means_, rows.means_, atol=2e-5)
    assert_allclose(binned.covariances_, rows.covariances_, atol=2e-5)


def test_lbfgs_has_the_gradient():
    edges, _ = BINS["wide"]
    counts = np.histogram(drawn(), edges)[0]
    fits = [
        fastem.fit_binned(edges, counts, 2, reg_covar=0, solver=solver, tol=1e-11, max_iter=2000, random_state=0)
        for solver in ("em", "lbfgs")
    ]
    assert_allclose(fits[0].lower_bound_, fits[1].lower_bound_, atol=1e-9)


@pytest.mark.parametrize(
    ("edges", "counts", "options", "message"),
    [
        ([0, 1, 1, 2], [1, 2, 3], {}, "must ascend"),
        ([0, np.nan, 1, 2], [1, 2, 3], {}, "must ascend"),
        ([0, np.inf, np.inf, 2], [1, 2, 3], {}, "must ascend"),
        ([0, 1, 2, 3], [1, -2, 3], {}, "found -2.0 in bin 1"),
        ([0, 1, 2, 3], [1, np.nan, 3], {}, "found nan in bin 1"),
        ([0, 1, 2, 3], [1, 2], {}, r"got shapes \(4,\) and \(2,\)"),
        ([0, 1, 2, 3], [0, 2, 0], {}, "all rows are in one bin"),
        ([0, 1, 2, 3], [0, 0, 0], {}, "no bin has a row"),
        ([0, 1, 2, 3], [1, 2, 0], {"n_components": 3}, "n_samples >= n_components"),
        ([0, 1, 2, 3], [1, 2, 3], {"noise": True}, "noise=True"),
        ([0, 1, 2, 3], [1, 2, 3], {"assignment": "hard"}, "assignment='hard'"),
        ([0, 1, 2, 3], [1, 2, 3], {"truncated": True, "regularization": "map"}, "a regularization: its prior"),
        ([0, 1, 2, 3], [1, 2, 3], {"truncated": True, "solver": "lbfgs"}, "solver='lbfgs'"),
    ],
)
def test_what_is_no_histogram(edges, counts, options, message):
    with pytest.raises(ValueError, match=message):
        fastem.fit_binned(edges, counts, **options)
