"""The kernels against NumPy: run with JIT on, with NUMBA_DISABLE_JIT=1 (coverage) and with NUMBA_BOUNDSCHECK=1."""

import math

import mpmath
import numba
import numpy as np
import pytest
from helpers import FAMILIES, natural
from numpy.testing import assert_allclose, assert_array_equal
from tiles import Tile, jitted

import fastem
from fastem.kernels import micro
from fastem.kernels import mixture as kernel
from fastem.kernels.compiler import COMMON
from fastem.kernels.mixture import HARD, LABELS, RESP, SOFT
from fastem.kernels.shared import micro_kernel
from fastem.model import reference
from fastem.model.params import Params, unit_spheres
from fastem.model.stats import Stats
from fastem.passes import sizes, sums
from fastem.passes.scores import score
from fastem.passes.sums import Accumulator
from fastem.sources import blocks
from fastem.sources.blocks import ArraySource

without_lanes = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the interpreter has no lanes")
FIELDS = ("loglik", "class_loglik", "entropy", "s0", "s1", "s2")
# Tiles of 4 features and 192 points: sizes on both sides of each edge.
SHAPES = [(1, 1, 1), (3, 1, 2), (7, 2, 1), (191, 2, 3), (193, 3, 5), (1025, 4, 2), (300, 5, 3), (90, 8, 2), (65, 9, 17)]


def mixture(N: int, D: int, K: int, covariance: str, seed: int = 0) -> tuple[np.ndarray, Params, np.ndarray]:
    """Rows, a mixture of well-conditioned components, and weights with some zeros."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(K, D, D)) / np.sqrt(D) + 0.5 * np.eye(D)
    C = A @ A.swapaxes(1, 2)
    first = C[:1] if covariance.startswith("tied") else C
    weights = rng.dirichlet(np.ones(K) * 5)
    params = fastem.make_params(
        weights / weights.sum(), 2 * rng.normal(size=(K, D)), natural(first, covariance), covariance
    )
    weight = rng.uniform(0, 2, size=N)
    weight[::7] = 0.0
    weight[0] = 1.5
    return 2 * rng.normal(size=(N, D)), params, weight


def assert_same(found: Stats, expected: Stats, rtol: float = 1e-12) -> None:
    for field in FIELDS:
        a, b = np.asarray(getattr(found, field)), np.asarray(getattr(expected, field))
        assert a.shape == b.shape, field
        assert_allclose(a, b, rtol=rtol, atol=rtol * max(1.0, float(np.abs(np.nan_to_num(b)).max())), err_msg=field)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize(("N", "D", "K"), SHAPES)
def test_soft_pass_equals_its_twin(N, D, K, covariance):
    X, params, weight = mixture(N, D, K, covariance)
    assert_same(Accumulator(params)(blocks.Block(0, X, weight)), reference.accumulate(X, params, weight))


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize(("N", "D", "K"), [(300, 3, 4), (65, 6, 2), (20, 1, 3)])
@pytest.mark.parametrize("mode", [HARD, LABELS, RESP])
def test_other_modes_equal_their_twin(N, D, K, covariance, mode):
    X, params, weight = mixture(N, D, K, covariance)
    shape = params.covariances.shape
    joint = reference.joint_log_density(X, params)
    labels = joint.argmax(axis=1)
    resp = reference.responsibilities(X, params) if mode == RESP else np.eye(K)[labels]
    given = {HARD: None, LABELS: labels, RESP: resp}[mode]
    found = Accumulator(params, shape, mode)(blocks.Block(0, X, weight, given))
    expected = reference.moments(X, resp, weight, params.means, shape)
    if mode == HARD:
        best = float(weight @ joint.max(axis=1))
        expected = fastem.Stats(
            best, best, 0.0, *(getattr(expected, f) for f in ("s0", "s1", "s2", "origin", "n_rows"))
        )
    assert_same(found, expected)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (3, 1, 2), (193, 3, 5), (1025, 4, 2), (300, 5, 3), (65, 9, 17)])
@pytest.mark.parametrize("kind", ["labels", "mask"])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_pass_within_labels_equals_its_twin(N, D, K, covariance, kind, dtype):
    X, params, weight = mixture(N, D, K, covariance)
    rng = np.random.default_rng(1)
    labels = given = rng.integers(-1, K, N)
    allowed = (labels[:, None] == np.arange(K)) | (labels[:, None] < 0)
    if kind == "mask":
        given = allowed = rng.uniform(size=(N, K)) < 0.5
        allowed[np.arange(N), rng.integers(0, K, N)] = True
    X = X.astype(dtype)
    params = params._replace(means=params.means.astype(dtype).astype("f8"))
    found = Accumulator(params)(blocks.Block(0, X, weight, given))
    want = reference.accumulate(X.astype("f8"), params, weight, allowed)
    assert_same(found, want, rtol=1e-12 if dtype == "f8" else 1e-5)


@pytest.mark.parametrize("mode", [HARD, LABELS])
def test_other_modes_keep_to_labels(mode):
    """HARD chooses among what is allowed; LABELS leaves out the rows that may belong to more than one component."""
    X, params, weight = mixture(300, 3, 4, "diag")
    allowed = np.random.default_rng(1).uniform(size=(300, 4)) < 0.4
    allowed[np.arange(300), np.arange(300) % 4] = True
    joint = np.where(allowed, reference.joint_log_density(X, params), -np.inf)
    resp = np.eye(4)[joint.argmax(axis=1)]
    if mode == LABELS:
        resp[allowed.sum(axis=1) > 1] = 0.0
    found = Accumulator(params, None, mode)(blocks.Block(0, X, weight, allowed))
    want = reference.moments(X, resp, weight, params.means, params.covariances.shape)
    for field in ("s0", "s1", "s2"):
        assert_allclose(getattr(found, field), getattr(want, field), rtol=1e-11, atol=1e-11, err_msg=field)
    if mode == HARD:
        assert_allclose(found.loglik, weight @ joint.max(axis=1), rtol=1e-12)


@np.errstate(all="ignore")
@pytest.mark.parametrize(("mode", "dtype"), [(SOFT, "f8"), (SOFT, "f4"), (HARD, "f8")])
def test_a_row_at_infinity_keeps_to_its_label(mode, dtype):
    """Its density underflows under every component."""
    X, params, _ = mixture(4, 3, 3, "full")
    X = X.astype(dtype)
    X[:3] = 1e30 if dtype == "f4" else 1e200
    for labels in (np.array([2, 1, -1, 0]), np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 0]], dtype=bool)):
        stats = Accumulator(params, mode=mode, second_moments=False)(blocks.Block(0, X, None, labels))
        assert_array_equal(stats.s0, [2, 1, 1])
        assert stats.loglik == -np.inf


def test_modes_that_need_labels():
    X, params, _ = mixture(4, 3, 3, "full")
    for mode in (LABELS, RESP):
        with pytest.raises(ValueError, match="rows without labels"):
            Accumulator(params, None, mode)(blocks.Block(0, X, None))


def test_moments_of_another_shape_than_the_factor():
    """k-means' assignment with full second moments."""
    X, _, weight = mixture(500, 3, 4, "full")
    centres = unit_spheres(X[:4])
    labels = ((X[:, None] - X[:4]) ** 2).sum(axis=2).argmin(axis=1)
    found = Accumulator(centres, (4, 3, 3), HARD, distances=True)(blocks.Block(0, X, weight))
    expected = reference.moments(X, np.eye(4)[labels], weight, X[:4], (4, 3, 3))
    for field in ("s0", "s1", "s2"):
        assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (257, 3, 2), (1100, 5, 3)])
def test_scores_equal_their_twin(N, D, K, covariance):
    X, params, _ = mixture(N, D, K, covariance)
    scores = score(ArraySource(X), params, density=True, label=True, resp=True, joint=True, top=K)
    joint = reference.joint_log_density(X, params)
    assert_allclose(scores.joint, joint, rtol=1e-12, atol=1e-12)
    assert_allclose(scores.density, reference.log_density(X, params), rtol=1e-12, atol=1e-12)
    assert_allclose(scores.resp, reference.responsibilities(X, params), rtol=1e-11, atol=1e-15)
    assert_array_equal(scores.label, joint.argmax(axis=1))
    assert_array_equal(scores.top_resp, -np.sort(-scores.resp, axis=1))
    assert_array_equal(np.take_along_axis(scores.resp, scores.top_index, axis=1), scores.top_resp)


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
    found, expected = fastem.accumulate(other, params), fastem.accumulate(X, params)
    for field in FIELDS:
        assert_array_equal(getattr(found, field), getattr(expected, field))


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize(("N", "D", "K"), SHAPES)
def test_float32_pass_equals_its_twin(N, D, K, covariance):
    X, params, weight = mixture(N, D, K, covariance, seed=6)  # seed 0 has a component too narrow for float32
    X = X.astype("f4")
    accumulator = Accumulator(params)
    assert accumulator.layout(X.dtype).dtype == np.float32
    assert_same(accumulator(blocks.Block(0, X, weight)), at_float32_means(X, params, weight), rtol=1e-5)


def at_float32_means(X: np.ndarray, params: Params, weight: np.ndarray) -> Stats:
    """The twin in float64, about the means that float32 arithmetic subtracts."""
    near = params._replace(means=params.means.astype("f4").astype("f8"))
    return reference.accumulate(X.astype("f8"), near, weight)


@pytest.mark.parametrize("mode", [HARD, LABELS, RESP])
def test_float32_arithmetic_is_for_em_alone(mode):
    _, params, _ = mixture(50, 2, 2, "full")
    assert Accumulator(params, None, mode).layout(np.dtype("f4")).dtype == np.float64


@pytest.mark.parametrize("how", ["narrow", "correlated", "far"])
def test_float32_rows_that_float32_arithmetic_would_spoil(how):
    """A component so narrow, correlated or far from 0, in its own units, that whitened rows would lose their digits."""
    X, params, weight = mixture(300, 3, 2, "full")
    C, means = params.covariances.copy(), params.means.copy()
    if how == "narrow":
        C[1] *= 1e-14
    elif how == "correlated":
        C[1] = np.outer([1, 2, 3], [1, 2, 3]) + 1e-11 * np.eye(3)
    else:
        means += 1e6
    params = fastem.make_params(params.weights, means, C)
    X = (X + (1e6 if how == "far" else 0.0)).astype("f4")
    found = Accumulator(params)(blocks.Block(0, X, weight))
    assert_same(found, reference.accumulate(X.astype("f8"), params, weight), rtol=1e-7)


@pytest.mark.parametrize(("N", "D", "K"), SHAPES)
def test_whitened_pass_equals_the_plain_one(monkeypatch, N, D, K):
    X, params, weight = mixture(N, D, K, "tied")
    block = blocks.Block(0, X, weight)
    found = Accumulator(params)
    assert (found.layout(X.dtype).white.size > 0) == (D > 1 and K > 1)
    fast = found(block)
    monkeypatch.setattr(sums, "WHITEN_LIMIT", (0.0, 0.0))
    plain = Accumulator(params)
    assert plain.layout(X.dtype).white.size == 0
    assert_same(fast, plain(block), rtol=1e-11)


@pytest.mark.parametrize(("apart", "whitened"), [(1e2, True), (1e5, False), (1e8, False)])
def test_far_apart_means_are_not_whitened_together(apart, whitened):
    """Tight clusters far apart: second moments about a common centre would lose their digits."""
    X, params, weight = mixture(400, 3, 2, "tied")
    move = np.array([[0.0, 0, 0], [apart, apart, 0]])
    params = params._replace(means=params.means + move)
    X = X + move[np.arange(400) % 2]
    found = Accumulator(params)
    assert (found.layout(X.dtype).white.size > 0) == whitened
    assert_same(found(blocks.Block(0, X, weight)), reference.accumulate(X, params, weight), rtol=1e-9)


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


@micro_kernel
def _exp_rows(lanes, x, n, out):
    """out[:n] = exp(x[:n]): the vectors' exp, on its own."""
    with lanes.loop(0, n, lanes.width) as p:
        lanes.store(micro._exp(lanes, [lanes.load(x.row(), p)])[0], out.row(), p)


@numba.njit(cache=True, **COMMON)  # what kernels are compiled with: LLVM may reorder sums
def exp_rows(x, out):
    _exp_rows(x, x.size, out)


@without_lanes
@pytest.mark.parametrize(("dtype", "least"), [("f8", -708.0), ("f4", -87.0)])
def test_exp_is_within_2_ulp(dtype, least):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.uniform(least, 0, 3000), rng.uniform(-1, 0, 500), -np.logspace(-300, 0, 200), [0.0, least]]
    ).astype(dtype)
    special = np.array([np.nextafter(np.array(least, dtype), -np.inf), -1e30, -np.inf, np.nan], dtype)
    x = np.concatenate([x, special, np.zeros(-(len(x) + 4) % 64, dtype)])
    found = np.empty_like(x)
    exp_rows(x, found)
    for value, y in zip(x[:3702], found[:3702], strict=True):
        exact = mpmath.exp(mpmath.mpf(float(value)))
        assert abs(mpmath.mpf(float(y)) - exact) <= 2 * mpmath.mpf(float(np.spacing(np.array(float(exact), dtype)))), (
            value
        )
    assert_array_equal(found[3702:3706], np.array([0, 0, 0, np.nan], dtype))
    assert found[3700] == 1.0


def test_log_is_within_2_ulp():
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [1 + rng.uniform(0, 1e-6, 300), rng.uniform(1, 4, 1000), rng.uniform(1, 1e5, 500), 2.0 ** np.arange(20)]
    )
    log = jitted(kernel.log)
    for value in x:
        exact = mpmath.log(mpmath.mpf(float(value)))
        assert abs(mpmath.mpf(float(log(value))) - exact) <= 2 * math.ulp(float(exact)), value
    assert log(1.0) == 0.0


@numba.njit(cache=True)
def call_log_joint_full(t_xt, means, W, c, n, z, lp):
    for k in range(len(means)):
        micro.log_joint_full(t_xt, means[k], W[k], c[k], n, z, lp[k])


@numba.njit(cache=True)
def call_whiten(xt, mean, W, n, z, out):
    micro.whiten(xt, mean, W, n, z, out)


@numba.njit(cache=True)
def call_log_joint_diag(xt, c, means, factor, n, lp):
    micro.log_joint_diag(xt, c, means, factor, n, lp)


@numba.njit(cache=True)
def call_exponentials(lp, n, top, total, spread):
    micro.exponentials(lp, n, top, total, spread)


@numba.njit(cache=True)
def call_moments_diag(xt, r, mean, i, second, n, sums):
    micro.moments_diag(xt, r, mean, i, second, n, sums)


@numba.njit(cache=True)
def call_moments_full(xt, r, mean, n, z, zr, sums):
    micro.moments_full(xt, r, mean, n, z, zr, sums)


# Points on both sides of a vector's and of two vectors' end; features that leave 1 to 4 rows to the last block.
TILES = [(1, 1, 192), (2, 3, 192), (3, 1, 1), (4, 2, 33), (5, 2, 33), (5, 2, 190), (6, 1, 65), (6, 1, 64), (7, 2, 65)]
TILES += [(8, 1, 192), (10, 1, 97), (13, 3, 191), (16, 1, 100), (30, 2, 192)]
tiles = pytest.mark.parametrize(("D", "K", "n"), TILES)
dtypes = pytest.mark.parametrize("dtype", ["f8", "f4"])
CLOSE = {"f8": dict(rtol=1e-12, atol=1e-12), "f4": dict(rtol=2e-4, atol=2e-4)}


@tiles
@dtypes
def test_log_joints_equal_their_twins(D, K, n, dtype):
    t = Tile(D, K, n, dtype)
    twin = np.zeros((K, n))
    call_log_joint_full(t.xt, t.means, t.full, t.lognorm, n, t.small, t.lp)
    for k in range(K):
        micro.log_joint_full_plain(t.xt, t.means[k], t.full[k], t.lognorm[k], n, None, twin[k])
    assert_allclose(t.lp[:, :n], twin, **CLOSE[dtype])
    for factor in (t.full[:, 0], t.full[:1, 0], t.full[:, 0, :1], t.full[:1, 0, :1]):
        factor = np.ascontiguousarray(factor + 0.5)
        call_log_joint_diag(t.xt, t.lognorm, t.means, factor, n, t.lp)
        micro.log_joint_diag_plain(t.xt, t.lognorm, t.means, factor, n, twin)
        assert_allclose(t.lp[:, :n], twin, **CLOSE[dtype])


@tiles
@dtypes
def test_whiten_equals_its_twin(D, K, n, dtype):
    t = Tile(D, K, n, dtype)
    twin = np.zeros((D, n))
    call_whiten(t.xt, t.means[0], t.full[0], n, t.small, t.z)
    micro.whiten_plain(t.xt, t.means[0], t.full[0], n, None, twin)
    assert_allclose(t.z[:D, :n], twin, **CLOSE[dtype])


@tiles
@dtypes
def test_exponentials_equal_their_twin(D, K, n, dtype):
    t = Tile(D, K, n, dtype)
    t.lp[:] = np.random.default_rng(0).uniform(-1000, 0, size=t.lp.shape)
    t.lp[:, 0] = -np.inf
    t.lp[K - 1, n // 2] = -np.inf
    twin, rows = t.lp[:, :n].astype(float), np.zeros((3, n))
    call_exponentials(t.lp, n, *t.rows)
    with np.errstate(invalid="ignore"):
        micro.exponentials_plain(twin, n, *rows)
    assert_allclose(t.lp[:, :n], twin, **CLOSE[dtype])
    assert_allclose(t.rows[:, :n], rows, **CLOSE[dtype])


@tiles
@dtypes
def test_moments_equal_their_twins(D, K, n, dtype):
    t = Tile(D, K, n, dtype)
    found = np.ones((micro.moments_rows(micro.FULL, D), 4))
    twin = found.copy()
    call_moments_full(t.xt, t.resp[0], t.means[0], n, t.z, t.zr, found)
    micro.moments_full_plain(t.xt, t.resp[0], t.means[0], n, None, None, twin)
    assert_allclose(found, twin, **CLOSE[dtype])
    for second in (True, False):
        for i in range(0, D, 4):
            found, twin = np.ones((2, 2, 4))
            call_moments_diag(t.xt, t.resp[0], t.means[0], i, second, n, found)
            micro.moments_diag_plain(t.xt, t.resp[0], t.means[0], i, second, n, twin)
            assert_allclose(found, twin, **CLOSE[dtype])


@numba.njit(cache=True)
def call_add_points(xt, X, n, w, label, means, z, form, mass, sums):
    micro.add_points(xt, X, 0, n, w, label, means, z, form, mass, sums)


@tiles
@dtypes
@pytest.mark.parametrize("form", [micro.DIAG, micro.FULL])
def test_add_points_equals_its_twin(D, K, n, dtype, form):
    t = Tile(D, K, n, dtype)
    label = np.random.default_rng(n).integers(K, size=n).astype(dtype)
    X, sums = t.xt[:D, :n].T.copy(), np.ones((K, 4 * micro.moments_rows(form, D)))
    found, twin = ((np.zeros(len(t.xt), dtype), np.ones(K), sums.copy()) for _ in range(2))
    call_add_points(t.xt, X, n, t.resp[0], label, t.means, found[0], form, *found[1:])
    micro.add_points_plain(t.xt, X, 0, n, t.resp[0], label, t.means, twin[0], form, *twin[1:])
    for got, want in zip(found[1:], twin[1:], strict=True):
        assert_allclose(got, want, **CLOSE[dtype])


@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 2), (10, 10), (64, 64), (2048, 4), (512, 128)])
def test_order_of_summation_depends_on_the_shape_alone(K, D):
    n_values = kernel.N_SCALARS + K + K * D + K * D * D
    blocks = sizes.slice_blocks(K, D, n_values)
    assert blocks & (blocks - 1) == 0
    assert 2 <= blocks <= sizes.MAX_BLOCKS
    rows = sizes.block_rows(K, D)
    assert 128 <= rows <= 16384
    assert rows & (rows - 1) == 0
    assert sizes.tile_rows(K, D) % 64 == 0


@pytest.mark.parametrize("rows", [16, 64, 1024])
def test_many_small_blocks(monkeypatch, rows):
    """More blocks than threads, in more than one slice, with a short last one."""
    X, params, weight = mixture(1100, 3, 2, "full")
    monkeypatch.setattr(sums, "block_rows", lambda *_: rows)
    monkeypatch.setattr(sums, "slice_blocks", lambda *_: 8)
    assert_same(fastem.accumulate(X, params, weight), reference.accumulate(X, params, weight))
    assert_allclose(fastem.log_density(X, params), reference.log_density(X, params), rtol=1e-12)


def test_soft_is_the_default_mode():
    X, params, _ = mixture(30, 2, 2, "diag")
    block = blocks.Block(0, X, None)
    assert_array_equal(Accumulator(params)(block).s1, Accumulator(params, params.covariances.shape, SOFT)(block).s1)
