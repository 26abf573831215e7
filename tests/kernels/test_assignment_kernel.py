"""The pass of k-means by matrix products: the labels and sums of the plain form, bit for bit, wherever rows lie."""

import numba
import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal

from fastem import KMeans
from fastem.kernels import assignment, jit, micro
from fastem.kernels.compiler import COMMON
from fastem.kernels.mixture import HARD
from fastem.model.params import unit_spheres
from fastem.passes import sums
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource

without_lanes = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the interpreter has no lanes")
# The plain twins warn where float32 overflows.
pytestmark = pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
SHAPES = [(1, 1, 1), (5, 3, 2), (191, 4, 5), (193, 7, 4), (400, 9, 17)]


def statistics(X, centres, weight=None, products=True):
    """Return the statistics of a pass, by products or not, whatever the shape."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums.assignment, "pays", lambda K, D: products)
        source = ArraySource(X, weight)
        return evaluate(source, unit_spheres(centres), mode=HARD, second_moments=False, distances=True)


def assert_same(X, centres, weight=None):
    got, want = (statistics(X, centres, weight, products) for products in (True, False))
    assert_array_equal(got.s0, want.s0)
    assert_array_equal(got.s1, want.s1)
    assert_allclose(got.loglik, want.loglik, rtol=1e-12)
    assert got.loglik == got.class_loglik
    return got


@pytest.mark.parametrize(("N", "D", "K"), SHAPES)
def test_sums_and_labels_are_those_of_the_plain_form(N, D, K):
    rng = np.random.default_rng(N)
    X, centres = rng.normal(size=(N, D)), rng.normal(size=(K, D))
    weight = rng.integers(0, 3, size=N).astype(float)
    X_strided = np.asfortranarray(X)
    got = assert_same(X, centres)
    distance = ((X[:, None] - centres) ** 2).sum(axis=2)
    assert_array_equal(got.s0, np.bincount(distance.argmin(axis=1), minlength=K))
    assert_allclose(got.loglik, -0.5 * distance.min(axis=1).sum(), rtol=1e-12)
    strided = assert_same(X_strided, centres)
    assert (strided.s1 == got.s1).all()
    assert strided.loglik == got.loglik
    assert_same(X.astype(np.float32), centres)
    assert_same(np.where(weight[:, None] > 0, X, 1e200), centres, weight)


HARD_DATA = {  # squares that are subnormal or too large are so in float32
    "ties on a grid": lambda rng: (
        rng.integers(0, 4, size=(400, 2)).astype(float),
        np.array([[0.0, 0], [2, 0], [2, 2]]),
    ),
    "equal centres": lambda rng: (rng.normal(size=(400, 3)), np.repeat(rng.normal(size=(4, 3)), 2, axis=0)),
    "far from 0": lambda rng: (1e12 + rng.normal(size=(400, 5)), 1e12 + rng.normal(size=(9, 5))),
    "two far groups": lambda rng: (
        rng.normal(size=(400, 4)) + 1e9 * rng.integers(0, 2, size=(400, 1)),
        rng.normal(size=(8, 4)) + 1e9 * (np.arange(8) % 2)[:, None],
    ),
    "rows nearly at a bisector": lambda rng: (
        np.outer(np.ones(400), [0.5, 0.1]) + 1e-9 * rng.integers(-3, 4, size=(400, 2)),
        np.array([[0.0, 0.1], [1.0, 0.1], [0.5, 9.0]]),
    ),
    "subnormal": lambda rng: (1e-22 * rng.normal(size=(400, 3)), 1e-22 * rng.normal(size=(5, 3))),
    "too large": lambda rng: (1e25 * rng.normal(size=(900, 3)), 1e25 * rng.normal(size=(5, 3))),
    "a far centre": lambda rng: (rng.normal(size=(900, 3)), np.vstack([rng.normal(size=(5, 3)), [[1e7, 0.0, 0.0]]])),
    "rows at a bisector": lambda rng: (
        np.outer(np.ones(400), [0.5, 0.1]) + 1e-16 * rng.integers(-3, 4, size=(400, 2)),
        np.array([[0.0, 0.1], [1.0, 0.1], [0.5, 9.0]]),
    ),
}


@pytest.mark.parametrize("name", HARD_DATA)
def test_where_products_cannot_tell(name):
    """Such rows are done again, so that rounding and ties go as in the plain form."""
    assert_same(*HARD_DATA[name](np.random.default_rng(0)))


@pytest.mark.parametrize(
    "name", [name for name in HARD_DATA if name not in ("equal centres", "far from 0", "too large")]
)
def test_that_data_are_hard(monkeypatch, name):
    """Without the second look labels would be others: the test above shows something."""
    if not numba.config.DISABLE_JIT:
        pytest.skip("compiled kernels cannot be changed")
    monkeypatch.setattr(assignment, "ROUNDING", -1.0)
    monkeypatch.setattr(assignment, "SMALLEST", -np.inf)
    with pytest.raises(AssertionError):
        assert_same(*HARD_DATA[name](np.random.default_rng(0)))


@without_lanes
def test_bits_do_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr(jit, "THREAD_FLOPS", 1.0)
    monkeypatch.setattr(sums.assignment, "pays", lambda K, D: True)
    X = np.random.default_rng(0).normal(size=(40_000, 4))
    one, many = (KMeans(9, random_state=0, n_threads=n, max_iter=5).fit(X) for n in (1, None))
    assert one.inertia_ == many.inertia_
    assert_array_equal(one.cluster_centers_, many.cluster_centers_)


def test_which_shapes_take_it():
    assert assignment.pays(64, 64)
    assert not assignment.pays(32, 3)
    assert not assignment.pays(10, 500)
    assert not assignment.pays(3, 2)


# ---- the micro-kernels and their plain twins -----------------------------------------------------------


@njit(cache=True, **COMMON)
def products(a, u, h, n, out):
    micro.largest_products(a, u, h, n, out[0], out[1], out[2])


@njit(cache=True, **COMMON)
def add(sums, mass, X, n, w, label, means, squares):
    micro.add_rows_and_squares(sums, mass, X, X.itemsize, 1, n, w, label, means, squares)


@without_lanes
@pytest.mark.parametrize(("n", "D", "K"), [(1, 1, 1), (32, 3, 4), (33, 6, 7), (64, 4, 9)])
def test_largest_products(n, D, K):
    rng = np.random.default_rng(n)
    a, u, h = rng.normal(size=(8, 64)), rng.normal(size=(K, D)), rng.normal(size=K)
    if K > 7:
        u[7], h[7] = u[2], h[2]  # among equals the first
    got, want = np.zeros((3, 64)), np.zeros((3, 64))
    products(a, u, h, n, got)
    micro.largest_products_plain(a, u, h, n, *want)
    assert_allclose(got[:2, :n], want[:2, :n], rtol=1e-12, atol=1e-12)
    assert_array_equal(got[2, :n], want[2, :n])


@njit(cache=True, **COMMON)
def shift(xt, X, n, centre, square):
    micro.load_about(xt, X, X.itemsize, 3, n, centre, square)


@without_lanes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("D", [1, 4, 11])
def test_load_about(dtype, D):
    """Differences are those of float64, rounded once: 1e8 does not swallow the rows."""
    rng, n = np.random.default_rng(D), 32
    X = (1e8 + 1e3 * rng.normal(size=(n + 5, D))).astype(dtype)
    centre, P = X.mean(axis=0, dtype=float), micro.padded(D)
    (got, square), (want, squares) = ((np.zeros((P, n), "float32"), np.zeros(n, "float32")) for _ in range(2))
    shift(got, X, n, centre, square)
    micro.load_about_plain(want, X, X.itemsize, 3, n, centre, squares)
    assert_array_equal(got, want)
    assert_allclose(square, squares, rtol=1e-5)


@njit(cache=True, **COMMON)
def turn(xt, X, n, ahead):
    micro.load(xt, X, X.itemsize, 3, n, ahead)


@without_lanes
@pytest.mark.parametrize("order", ["C", "F", "C, strided", "F, strided", "neither", "reversed"])
@pytest.mark.parametrize(("rows", "tile"), [("float32", "float64"), ("float64", "float32"), ("float64", "float64")])
@pytest.mark.parametrize(("D", "n"), [(1, 32), (4, 32), (11, 32), (4, 0), (3, 39), (11, 5)])
def test_load(rows, tile, D, n, order):
    """Rows or columns may be contiguous; there may be some beyond whole vectors; none beyond the array is read."""
    X = np.random.default_rng(D).normal(size=(2 * (n + 3), 2 * D + 2)).astype(rows)
    X = {
        "C": lambda: X[: n + 3, :D].copy(),
        "F": lambda: np.asfortranarray(X[: n + 3, :D]),
        "C, strided": lambda: X[::2, 1 : D + 1],
        "F, strided": lambda: np.asfortranarray(X)[1 : n + 4, 1 : D + 1],
        "neither": lambda: X[::2, : 2 * D : 2],
        "reversed": lambda: X[n + 2 :: -1, D - 1 :: -1],
    }[order]()
    X.flags.writeable = False  # as rows are in kernels
    for ahead in (0, 1):
        got, want = (np.zeros((micro.padded(D), 48), tile) for _ in range(2))
        turn(got, X, n, ahead)
        micro.load_plain(want, X, X.itemsize, 3, n, ahead)
        assert_array_equal(got, want)


@without_lanes
@pytest.mark.parametrize(("n", "D"), [(1, 1), (7, 4), (20, 11)])
def test_add_rows_and_squares(n, D):
    rng = np.random.default_rng(n)
    X, means, w = rng.normal(size=(n + 2, D)), rng.normal(size=(3, D)), rng.uniform(size=n)
    w[0], X[1, 0] = 0.0, 1e200  # absent, and too large for a square
    label, P = rng.integers(0, 3, size=n).astype(float), micro.padded(D)
    (got, mass, squares), (want, masses, total) = ((np.zeros((3, P)), np.ones(3), np.ones(1)) for _ in range(2))
    add(got, mass, X, n, w, label, means, squares)
    micro.add_rows_and_squares_plain(want, masses, X, X.itemsize, 1, n, w, label, means, total)
    assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    assert_array_equal(mass, masses)
    assert_allclose(squares, total, rtol=1e-12)
