"""The kernels against NumPy: run with JIT on, with NUMBA_DISABLE_JIT=1 (coverage) and with NUMBA_BOUNDSCHECK=1."""

import math

import mpmath
import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import estep, reference
from fastem.covariance import COVARIANCES
from fastem.em import at, score
from fastem.estep import HARD, LABELS, RESP, SOFT, Accumulator
from fastem.kernels import mixture as kernel
from fastem.model import Params, Stats
from fastem.sources import ArraySource

FIELDS = ("loglik", "class_loglik", "entropy", "s0", "s1", "s2")
# Tiles of 4 features and 192 points: sizes on both sides of each edge.
SHAPES = [(1, 1, 1), (3, 1, 2), (7, 2, 1), (191, 2, 3), (193, 3, 5), (1025, 4, 2), (300, 5, 3), (90, 8, 2), (65, 9, 17)]


def mixture(N: int, D: int, K: int, covariance: str, seed: int = 0) -> tuple[np.ndarray, Params, np.ndarray]:
    """Rows, a mixture of well-conditioned components, and weights with some zeros."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(K, D, D)) / np.sqrt(D) + 0.5 * np.eye(D)
    C = A @ A.swapaxes(1, 2)
    natural = {"full": C, "tied": C[0], "diag": np.diagonal(C, axis1=1, axis2=2), "spherical": C[:, 0, 0]}[covariance]
    weights = rng.dirichlet(np.ones(K) * 5)
    params = fastem.make_params(weights / weights.sum(), 2 * rng.normal(size=(K, D)), natural, covariance)
    weight = rng.uniform(0, 2, size=N)
    weight[::7] = 0.0
    weight[0] = 1.5
    return 2 * rng.normal(size=(N, D)), params, weight


def assert_same(found: Stats, expected: Stats, rtol: float = 1e-12) -> None:
    for field in FIELDS:
        a, b = np.asarray(getattr(found, field)), np.asarray(getattr(expected, field))
        assert a.shape == b.shape, field
        assert_allclose(a, b, rtol=rtol, atol=rtol * max(1.0, float(np.abs(np.nan_to_num(b)).max())), err_msg=field)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("N", "D", "K"), SHAPES)
def test_soft_pass_equals_its_twin(N, D, K, covariance):
    X, params, weight = mixture(N, D, K, covariance)
    assert_same(Accumulator(params)(estep.Block(0, X, weight)), reference.accumulate(X, params, weight))


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("N", "D", "K"), [(300, 3, 4), (65, 6, 2), (20, 1, 3)])
@pytest.mark.parametrize("mode", [HARD, LABELS, RESP])
def test_other_modes_equal_their_twin(N, D, K, covariance, mode):
    X, params, weight = mixture(N, D, K, covariance)
    shape = params.covariances.shape
    joint = reference.joint_log_density(X, params)
    labels = joint.argmax(axis=1)
    resp = reference.responsibilities(X, params) if mode == RESP else np.eye(K)[labels]
    given = {HARD: None, LABELS: labels, RESP: resp}[mode]
    found = Accumulator(params, shape, mode, given)(estep.Block(0, X, weight))
    expected = reference.moments(X, resp, weight, params.means, shape)
    if mode == HARD:
        best = float(weight @ joint.max(axis=1))
        expected = fastem.Stats(
            best, best, 0.0, *(getattr(expected, f) for f in ("s0", "s1", "s2", "origin", "n_rows"))
        )
    assert_same(found, expected)


def test_moments_of_another_shape_than_the_factor():
    """k-means' assignment with full second moments."""
    X, _, weight = mixture(500, 3, 4, "full")
    centres = at(X[:4])
    labels = ((X[:, None] - X[:4]) ** 2).sum(axis=2).argmin(axis=1)
    found = Accumulator(centres, (4, 3, 3), HARD, distances=True)(estep.Block(0, X, weight))
    expected = reference.moments(X, np.eye(4)[labels], weight, X[:4], (4, 3, 3))
    for field in ("s0", "s1", "s2"):
        assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (257, 3, 2), (1100, 5, 3)])
def test_scores_equal_their_twin(N, D, K, covariance):
    X, params, _ = mixture(N, D, K, covariance)
    scores = score(ArraySource(X), params, density=True, label=True, resp=True, joint=True)
    joint = reference.joint_log_density(X, params)
    assert_allclose(scores.joint, joint, rtol=1e-12, atol=1e-12)
    assert_allclose(scores.density, reference.log_density(X, params), rtol=1e-12, atol=1e-12)
    assert_allclose(scores.resp, reference.responsibilities(X, params), rtol=1e-11, atol=1e-15)
    assert_array_equal(scores.label, joint.argmax(axis=1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed", "unaligned", "readonly"])
def test_layouts_give_the_same_bits(dtype, layout):
    X, params, _ = mixture(700, 5, 3, "full")
    X = X.astype(dtype)
    if layout == "unaligned":
        other = np.frombuffer(b"x" + X.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(X.shape)
        assert not other.flags.aligned
    else:
        wide = np.zeros((1400, 10), dtype=dtype)
        wide[::2, ::2] = X
        other = {
            "C": X,
            "F": np.asfortranarray(X),
            "strided": wide[::2, ::2],
            "reversed": X[::-1].copy()[::-1],
            "readonly": X.copy(),
        }[layout]
    other.flags.writeable = layout != "readonly" and layout != "unaligned"
    found, expected = fastem.accumulate(other, params), fastem.accumulate(X.astype(np.float64), params)
    for field in FIELDS:
        assert_array_equal(getattr(found, field), getattr(expected, field))


@np.errstate(all="ignore")  # without JIT the kernel's overflow warns
def test_rows_of_weight_zero_are_absent_even_at_infinity():
    X, params, _ = mixture(10, 2, 2, "full")
    X[3] = 1e300  # density underflows: log density -inf
    weight = np.ones(10)
    weight[3] = 0.0
    stats = fastem.accumulate(X, params, weight)
    assert_same(
        stats,
        fastem.Stats(*(getattr(fastem.accumulate(np.delete(X, 3, 0), params), f) for f in (*FIELDS, "origin")), 10),
    )


@np.errstate(all="ignore")
@pytest.mark.parametrize("far", [1e20, 1e155, 1e300])
def test_far_rows_belong_to_one_component(far):
    X, params, _ = mixture(4, 3, 3, "full")
    X[1] *= far
    scores = score(ArraySource(X), params, density=True, resp=True)
    assert scores.density[1] < -1e38
    assert_allclose(scores.resp.sum(axis=1), 1.0, rtol=1e-15)
    assert set(scores.resp[1]) == {0.0, 1.0}


def test_exp_is_within_2_ulp():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-708, 0, 2000), rng.uniform(-1, 0, 500), -np.logspace(-300, 0, 200), [0.0, -708.0]])
    for value in x:
        exact = mpmath.exp(mpmath.mpf(float(value)))
        assert abs(mpmath.mpf(float(kernel.exp(value))) - exact) <= 2 * math.ulp(float(exact)), value
    assert kernel.exp(-708.0001) == 0.0
    assert kernel.exp(-np.inf) == 0.0
    assert np.isnan(kernel.exp(np.nan))
    assert kernel.exp(0.0) == 1.0


def test_log_is_within_2_ulp():
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [1 + rng.uniform(0, 1e-6, 300), rng.uniform(1, 4, 1000), rng.uniform(1, 1e5, 500), 2.0 ** np.arange(20)]
    )
    for value in x:
        exact = mpmath.log(mpmath.mpf(float(value)))
        assert abs(mpmath.mpf(float(kernel.log(value))) - exact) <= 2 * math.ulp(float(exact)), value
    assert kernel.log(1.0) == 0.0


@pytest.mark.parametrize("P", [4, 8, 12, 64])
def test_micro_kernel_equals_its_twin(P):
    rng = np.random.default_rng(0)
    W, z = np.tril(rng.normal(size=(P, P))), rng.normal(size=(P, 3 * kernel.POINTS))
    found, twin = np.ones((2, 3 * kernel.POINTS))
    call_quad_tile(W, z, found)
    for b in range(0, z.shape[1], kernel.POINTS):
        for i in range(0, P, kernel.ROWS):
            kernel.quad_tile_plain(W, i, z, b, twin)
    assert_allclose(found, 1 + ((W @ z) ** 2).sum(axis=0), rtol=1e-13)
    assert_allclose(twin, found, rtol=1e-13)


@numba.njit
def call_quad_tile(W, z, q):
    for b in range(0, z.shape[1], kernel.POINTS):
        for i in range(0, W.shape[0], kernel.ROWS):
            kernel.quad_tile(W, i, z, b, q)


def test_kernels_can_be_called_from_a_users_njit():
    @numba.njit
    def user(x):
        return kernel.exp(x) + 1.0

    assert user(-1.0) == 1.0 + kernel.exp(-1.0)


@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 2), (10, 10), (64, 64), (2048, 4), (512, 128)])
def test_order_of_summation_depends_on_the_shape_alone(K, D):
    n_values = kernel.N_SCALARS + K + K * D + K * D * D
    blocks = estep.slice_blocks(K, D, n_values)
    assert blocks & (blocks - 1) == 0
    assert 2 <= blocks <= estep.MAX_BLOCKS
    rows = estep.block_rows(K, D)
    assert 128 <= rows <= 16384
    assert rows & (rows - 1) == 0
    assert estep.tile_rows(K, D) % 8 == 0


@pytest.mark.parametrize("rows", [16, 64, 1024])
def test_many_small_blocks(monkeypatch, rows):
    """More blocks than threads, in more than one slice, with a short last one."""
    X, params, weight = mixture(1100, 3, 2, "full")
    monkeypatch.setattr(estep, "block_rows", lambda K, D: rows)
    monkeypatch.setattr(estep, "slice_blocks", lambda K, D, n_values: 8)
    assert_same(fastem.accumulate(X, params, weight), reference.accumulate(X, params, weight))
    assert_allclose(fastem.log_density(X, params), reference.log_density(X, params), rtol=1e-12)


def test_soft_is_the_default_mode():
    X, params, _ = mixture(30, 2, 2, "diag")
    block = estep.Block(0, X, None)
    assert_array_equal(Accumulator(params)(block).s1, Accumulator(params, params.covariances.shape, SOFT)(block).s1)
