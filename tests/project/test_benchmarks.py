"""Microbenchmarks of the kernels: ``pytest --benchmark-only tests/test_benchmarks.py``.

Each checks its result first. extra_info holds ns per point and component, and GFLOP/s by the counts of FLOPS (for
k-means, exp and log, which have none of their own there, see the test).
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit, set_num_threads
from tiles import Tile

import fastem
from fastem import embed
from fastem.kernels import compiler, jit, micro
from fastem.kernels import mixture as kernel
from fastem.kernels.mixture import HARD
from fastem.model import reference
from fastem.model.params import unit_spheres
from fastem.passes.scores import score
from fastem.passes.statistics import evaluate
from fastem.passes.sums import Accumulator
from fastem.sources.blocks import ArraySource

pytest.importorskip("pytest_benchmark")

DISTINCT = 400  # rows that the data repeat, so that the reference is quick
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
# Per point and component. E-step: x - mean, triangular product, squared norm. M-step: the lower triangle of the
# outer product of (x, 1), which holds s0, s1 and s2. 'tied' is counted as 'full', whatever a kernel saves by it.
FLOPS_E = {
    "full": lambda D: D * (D + 3),
    "tied": lambda D: D * (D + 3),
    "diag": lambda D: 4 * D,
    "spherical": lambda D: 3 * D + 1,
}
FLOPS_M = {
    "full": lambda D: (D + 1) * (D + 2),
    "tied": lambda D: (D + 1) * (D + 2),
    "diag": lambda D: 2 * (2 * D + 1),
    "spherical": lambda D: 2 * (2 * D + 1),
}
SHAPES = [(100_000, 2, 3), (40_000, 10, 10), (10_000, 32, 32)]
ids = "{0[0]}x{0[1]}-K{0[2]}".format


@pytest.fixture(autouse=True)
def _only_when_asked_for(request):
    if not request.config.getoption("benchmark_only", default=False):
        pytest.skip("a benchmark: needs --benchmark-only")


class Case(NamedTuple):
    X: np.ndarray  # (N, D): rows, repeated
    rows: np.ndarray  # (DISTINCT, D)
    times: int
    params: fastem.Params
    tolerance: float


def make_case(shape, covariance_type="full", dtype="float64", spacing=4.0):
    N, D, K = shape
    rng = np.random.default_rng(shape)
    means = rng.normal(size=(K, D)) * spacing / np.sqrt(2 * D)
    axes, _ = np.linalg.qr(rng.normal(size=(K, D, D)))
    roots = axes * rng.uniform(0.6, 1.2, (K, 1, D))
    labels = rng.integers(K, size=DISTINCT)
    rows = (means[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(DISTINCT, D)))).astype(dtype)
    matrices = roots @ roots.swapaxes(1, 2)
    variances = np.diagonal(matrices, axis1=1, axis2=2)
    natural = {"full": matrices, "tied": matrices.mean(axis=0), "diag": variances, "spherical": variances.mean(axis=1)}
    params = fastem.make_params(np.full(K, 1 / K), means, natural[covariance_type], covariance_type)
    return Case(np.tile(rows, (N // DISTINCT, 1)), rows, N // DISTINCT, params, TOLERANCE[dtype])


def measure(benchmark: Any, function: Any, points: int, components: int, flops: float) -> None:
    """Time `function`, which does `flops` per point and component, and note the rates."""
    benchmark.pedantic(function, rounds=7, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["ns_per_point_and_component"] = round(seconds / (points * components) * 1e9, 4)
    benchmark.extra_info["gflops"] = round(flops * points * components / seconds / 1e9, 3)
    benchmark.extra_info["flops_per_point_and_component"] = flops


def assert_stats(stats, want, case):
    for name in ("loglik", "class_loglik", "s0", "s1", "s2"):
        got = np.asarray(getattr(stats, name)) / case.times / DISTINCT
        np.testing.assert_allclose(got, getattr(want, name) / DISTINCT, case.tolerance, case.tolerance, err_msg=name)


@pytest.fixture(params=["one", "all"])
def threads(request):
    """Run with one thread and with all of them."""
    before = jit.n_threads()
    if request.param == "one":
        set_num_threads(1)
    yield request.param
    set_num_threads(before)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
@pytest.mark.parametrize("covariance", FLOPS_E)
def test_em_pass(benchmark, covariance, shape, dtype):
    case, D = make_case(shape, covariance, dtype), shape[1]
    source = ArraySource(case.X)
    want = reference.accumulate(case.rows.astype(float), case.params, np.ones(DISTINCT))
    assert_stats(evaluate(source, case.params), want, case)
    flops = FLOPS_E[covariance](D) + FLOPS_M[covariance](D)
    measure(benchmark, lambda: evaluate(source, case.params), len(case.X), shape[2], flops)


@pytest.mark.parametrize("shape", SHAPES, ids=ids)
def test_em_pass_by_threads(benchmark, shape, threads):
    test_em_pass(benchmark, "full", shape, "float64")


@pytest.mark.parametrize("output", ["density", "label", "resp"])
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
def test_score(benchmark, shape, output):
    case = make_case(shape)
    source = ArraySource(case.X)
    resp = reference.responsibilities(case.rows, case.params)
    want = {"density": reference.log_density(case.rows, case.params), "label": resp.argmax(axis=1), "resp": resp}
    got = getattr(score(source, case.params, **{output: True}), output)
    tiled = np.concatenate([want[output]] * case.times)
    np.testing.assert_allclose(got, tiled, case.tolerance, case.tolerance)
    flops = FLOPS_E["full"](shape[1])
    measure(benchmark, lambda: score(source, case.params, **{output: True}), len(case.X), shape[2], flops)


@pytest.mark.parametrize("moments", ["means", "full"])
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
def test_hard_pass(benchmark, shape, moments):
    """k-means: each row to its nearest centre, 3 D flops per point and centre; the sums are one component's work."""
    N, D, K = shape
    case = make_case(shape)
    source, centres = ArraySource(case.X), case.params.means
    second = moments != "means"

    def run():
        accumulator = Accumulator(unit_spheres(centres), (K, D, D), HARD, second_moments=second, distances=True)
        return source.reduce(accumulator, accumulator.slice_rows)

    stats = run()
    distances = ((case.rows[:, None] - centres) ** 2).sum(axis=2)
    nearest = np.eye(K)[distances.argmin(axis=1)]
    want = reference.moments(case.rows, nearest, np.ones(DISTINCT), centres, (K, D, D))
    np.testing.assert_array_equal(stats.s0, want.s0 * case.times)
    np.testing.assert_allclose(stats.s1, want.s1 * case.times, 1e-9, 1e-9 * N)
    if moments == "full":
        np.testing.assert_allclose(stats.s2, want.s2 * case.times, 1e-9, 1e-9 * N)
    measure(benchmark, run, len(case.X), K, 3 * D)


# The kernels that users call per point, from one thread; a "component" of a call is one of the mixture's.


@njit
def each_density(mixture, X, resp, sums, scratch):
    total = 0.0
    for i in range(len(X)):
        total += embed.log_density(mixture, X[i])
    return total


@njit
def each_responsibilities(mixture, X, resp, sums, scratch):
    total = 0.0
    for i in range(len(X)):
        total += embed.responsibilities(mixture, X[i], resp)
    return total


@njit
def each_accumulated(mixture, X, resp, sums, scratch):
    total = 0.0
    for i in range(len(X)):
        total += embed.accumulate_point(mixture, X[i], 1.0, sums, scratch)
    return total


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
@pytest.mark.parametrize("kernel_of_points", [each_density, each_responsibilities, each_accumulated])
def test_embedded(benchmark, kernel_of_points, shape, covariance, dtype):
    _, D, K = shape
    case = make_case((2000, D, K), covariance, dtype)
    mixture = embed.pack(case.params, dtype)
    sums, scratch = embed.buffers(mixture, 1)
    args = mixture, case.X, np.empty(K, dtype), sums[0], scratch[0]
    want = reference.accumulate(case.rows.astype("f8"), case.params, np.ones(DISTINCT))
    np.testing.assert_allclose(kernel_of_points(*args) / case.times, want.loglik, case.tolerance)
    flops = FLOPS_E[covariance](D) + (FLOPS_M[covariance](D) if kernel_of_points is each_accumulated else 0)
    measure(benchmark, lambda: kernel_of_points(*args), len(case.X), K, flops)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
def test_embedded_block(benchmark, shape, dtype):
    _, D, K = shape
    case = make_case((2000, D, K), "full", dtype)
    mixture = embed.pack(case.params, dtype)
    sums, scratch = embed.buffers(mixture, 1)
    args = mixture, case.X, np.empty(0), sums[0], scratch[0]
    embed.accumulate_block(*args)
    got = embed.to_stats(case.params, mixture, sums[0], len(case.X))
    want = reference.accumulate(case.rows.astype("f8"), case.params, np.ones(DISTINCT))
    np.testing.assert_allclose(got.loglik / case.times, want.loglik, case.tolerance)
    measure(benchmark, lambda: embed.accumulate_block(*args), len(case.X), K, FLOPS_E["full"](D) + FLOPS_M["full"](D))


@pytest.mark.parametrize("n_components", [2, 5])
def test_many_fits(benchmark, n_components):
    """1,000 groups of 200 x 2, ten passes each; time per row and component of a pass, starts and all included."""
    K, G, n = n_components, 1000, 200
    case = make_case((G * n, 2, K))
    precisions = np.linalg.inv(case.params.covariances)
    start = dict(weights_init=case.params.weights, means_init=case.params.means, precisions_init=precisions)
    options = dict(sizes=np.full(G, n), n_components=K, reg_covar=1e-6, tol=0.0, max_iter=10, **start)

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastem.ConvergenceWarning)
            return fastem.fit_many(case.X, **options)

    want = fastem.em(case.X[:n], case.params, reg_covar=1e-6, tol=0.0, max_iter=10)
    np.testing.assert_allclose(run().lower_bound[0], want.history[-1], 1e-10)
    measure(benchmark, run, 10 * len(case.X), K, FLOPS_E["full"](2) + FLOPS_M["full"](2))


# The micro-kernels, many times on one tile in the first-level cache.


@njit(**compiler.COMMON)
def log_joint_full(times, t_xt, means, full, c, n, small, lp):
    for _ in range(times):
        micro.log_joint_full(t_xt, means[0], full[0], c[0], n, small, lp[0])


@njit(**compiler.COMMON)
def log_joint_diag(times, xt, c, means, factor, n, lp):
    for _ in range(times):
        micro.log_joint_diag(xt, c, means, factor, n, lp)


@njit(**compiler.COMMON)
def whiten(times, xt, means, full, n, small, z):
    for _ in range(times):
        micro.whiten(xt, means[0], full[0], n, small, z)


@njit(**compiler.COMMON)
def exponentials(times, lp, n, rows):
    for _ in range(times):
        micro.exponentials(lp, n, rows[0], rows[1], rows[2])


@njit(**compiler.COMMON)
def moments_full(times, xt, resp, means, n, z, zr, sums):
    for _ in range(times):
        micro.moments_full(xt, resp[0], means[0], n, z, zr, sums)


@njit(**compiler.COMMON)
def moments_diag(times, xt, resp, means, n, sums):
    for _ in range(times):
        for i in range(0, means.shape[1], 4):
            micro.moments_diag(xt, resp[0], means[0], i, True, n, sums[i // 2 :])


@njit(**compiler.COMMON)
def log(times, x, out):
    for _ in range(times):
        for i in range(x.size):
            out[i] = kernel.log(x[i])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("D", [3, 10, 32])
@pytest.mark.parametrize(
    "name", ["log_joint_full", "log_joint_diag", "whiten", "exponentials", "moments_full", "moments_diag", "log"]
)
def test_micro_kernel(benchmark, name, D, dtype):
    """ns per point (of one component). The flops of an exponential, or a logarithm, are counted as 40."""
    if name in ("exponentials", "log") and (D > 3 or (name, dtype) == ("log", "float32")):
        pytest.skip("does not depend on it")
    t, n = Tile(D, 1, 192, dtype), 192
    full_rows, diag_rows = (np.zeros((micro.moments_rows(form, D), 4)) for form in (micro.FULL, micro.DIAG))
    factor, x = np.ascontiguousarray(t.full[:, -1]), 1 + np.abs(t.resp[0].astype(float))
    calls = {
        "log_joint_full": (t.xt, t.means, t.full, t.lognorm, n, t.small, t.lp),
        "log_joint_diag": (t.xt, t.lognorm, t.means, factor, n, t.lp),
        "whiten": (t.xt, t.means, t.full, n, t.small, t.z),
        "exponentials": (t.lp, n, t.rows),
        "moments_full": (t.xt, t.resp, t.means, n, t.z, t.zr, full_rows),
        "moments_diag": (t.xt, t.resp, t.means, n, diag_rows),
        "log": (x, np.empty_like(x)),
    }
    args, call = calls[name], globals()[name]
    z = (t.xt[:D] - t.means[0][:, None]).astype(float)
    call(1, *args)
    got, want = {
        "log_joint_full": lambda: (t.lp[0], t.lognorm[0] - ((t.full[0] @ z) ** 2).sum(axis=0) / 2),
        "log_joint_diag": lambda: (t.lp[0], t.lognorm[0] - ((factor[0][:, None] * z) ** 2).sum(axis=0) / 2),
        "whiten": lambda: (t.z[:D], t.full[0] @ z),
        "exponentials": lambda: (t.lp[0], 1.0),
        "moments_full": lambda: (full_rows[:5].sum(axis=0)[:3], moments_head(z, t.resp[0])),
        "moments_diag": lambda: (diag_rows[1, :3], ((t.resp[0] * z**2).sum(axis=1))[:3]),
        "log": lambda: (args[1], np.log(x)),
    }[name]()
    np.testing.assert_allclose(got, want, TOLERANCE[dtype], TOLERANCE[dtype])
    flops = {
        "log_joint_full": FLOPS_E["full"](D),
        "log_joint_diag": FLOPS_E["diag"](D),
        "whiten": D + D * (D + 1),
        "moments_full": FLOPS_M["full"](D),
        "moments_diag": FLOPS_M["diag"](D),
    }.get(name, 40)
    times = int(2e7 / n / flops) + 1
    measure(benchmark, lambda: call(times, *args), n * times, 1, flops)


def moments_head(z, resp):
    """First moments and the rows of the lower triangle, added up: what the first 5 rows of moments_full come to."""
    triangle = np.tril((resp * z[:4]) @ z[:4].T)
    return ((resp * z).sum(axis=1)[: len(triangle)] + triangle.sum(axis=0))[:3]
