"""Microbenchmarks of the kernels: ``pytest --benchmark-only tests/test_benchmarks.py``.

Each checks its result first. extra_info holds ns per point and component, and GFLOP/s by the counts of FLOPS (for
k-means and exp and log, which have none of their own there, see the test).
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit, set_num_threads

import fastem
from fastem import _jit, reference
from fastem.em import at, evaluate, score
from fastem.estep import HARD, Accumulator
from fastem.kernels import mixture as kernel
from fastem.sources import ArraySource

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


def make_case(shape, covariance="full", dtype="float64", spacing=4.0):
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
    params = fastem.make_params(np.full(K, 1 / K), means, natural[covariance], covariance)
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
    before = _jit.n_threads()
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
    wanted = (0, 0, 0) if moments == "means" else (K, D, D)

    def run():
        accumulator = Accumulator(at(centres), wanted, HARD, distances=True)
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


@njit(**_jit.COMMON)
def exp_loop(x, out):
    for i in range(x.size):
        out[i] = kernel.exp(x[i])


@njit(**_jit.COMMON)
def log_loop(x, out):
    for i in range(x.size):
        out[i] = kernel.log(x[i])


@pytest.mark.parametrize("name", ["exp", "log"])
def test_elementary(benchmark, name):
    """exp and log over 4096 values in the first-level cache; ns per value, flops as in the roofline: 40."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-700, 0, 4096) if name == "exp" else 1 + rng.exponential(100, 4096)
    out = np.empty_like(x)
    loop, exact = (exp_loop, np.exp) if name == "exp" else (log_loop, np.log)
    loop(x, out)
    np.testing.assert_array_max_ulp(out, exact(x), maxulp=2)

    def many():
        for _ in range(100):
            loop(x, out)

    measure(benchmark, many, 100 * len(x), 1, 40)
