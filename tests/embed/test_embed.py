"""Kernels in a user's own compiled code."""

import numba
import numpy as np
import pytest
from helpers import FAMILIES, exact_score, expand, make_mixture, natural, run_child
from numba import njit, prange
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import embed
from fastem.model import reference
from fastem.model.params import Noise

compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="about compiled code")
RTOL = {"f8": 1e-12, "f4": 2e-5}


@pytest.fixture(autouse=True)
def _interpreter_is_silent():
    """Without JIT, NumPy's scalars warn where compiled code does not."""
    with np.errstate(all="ignore" if numba.config.DISABLE_JIT else None):
        yield


@njit(cache=True)
def densities(mixture, X, out):
    for i in range(len(X)):
        out[i] = embed.log_density(mixture, X[i])


@njit(parallel=True, cache=True)
def parallel_densities(mixture, X, resp, density, again):
    for i in prange(len(X)):
        density[i] = embed.responsibilities(mixture, X[i], resp[i])
        again[i] = embed.log_density(mixture, X[i])


@njit(cache=True)
def at_point(mixture, x):
    return embed.log_density(mixture, x)


@njit(cache=True)
def of_three(mixture, x, y, z):
    return embed.log_density(mixture, (x, y, z))


@njit(cache=True)
def points(mixture, X, weight, density, sums, scratch):
    for b in range(len(sums)):  # a prange in life, as in `parallel_densities`: twice as long to compile
        for i in range(b, len(X), len(sums)):
            density[i] = embed.accumulate_point(mixture, X[i], weight[i], sums[b], scratch[b])


@njit(cache=True)
def blocks(mixture, X, weight, rows, sums, scratch):
    for b in range(len(sums)):
        for start in range(b * rows, len(X), len(sums) * rows):
            part = slice(start, start + rows)
            embed.accumulate_block(mixture, X[part], weight[part], sums[b], scratch[b])


def make_case(covariance_type, dtype="f8", D=3, K=4, noise=False, n=500):
    mixture = make_mixture(n, D, K, spacing=3.0)
    share = 0.9 if noise else 1.0
    params = fastem.make_params(
        share * mixture.weights,
        mixture.means,
        natural(mixture.covariances, covariance_type, mixture.weights),
        covariance_type,
        (0.1, [np.full(D, -10.0), np.full(D, 10.0)]) if noise else None,
    )
    return mixture.X.astype(dtype), params


def assert_stats(got, want, rtol):
    for field in ("loglik", "class_loglik", "entropy", "s0", "s1", "s2"):
        a, b = np.asarray(getattr(got, field)), np.asarray(getattr(want, field))
        assert a.shape == b.shape, field
        assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=field)


# ---- one point -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(("D", "K"), [(1, 1), (2, 3), (5, 4)])
def test_density_and_responsibilities(covariance_type, dtype, D, K):
    X, params = make_case(covariance_type, dtype, D, K)
    mixture, rtol = embed.pack(params, dtype), RTOL[dtype]
    resp, density, again = np.empty((len(X), K), dtype), np.empty(len(X), dtype), np.empty(len(X), dtype)
    parallel_densities(mixture, X, resp, density, again)
    want = fastem.log_density(X, params)
    assert_allclose(density, want, rtol=rtol, atol=rtol)
    assert_allclose(again, want, rtol=rtol, atol=rtol)
    assert_allclose(resp, reference.responsibilities(X.astype("f8"), params), atol=20 * rtol)
    assert_allclose(resp.sum(axis=1), 1, rtol=1e-6)


@compiled
@pytest.mark.parametrize("dtype", RTOL)
def test_precision_of_the_result(dtype):
    """float32 stays float32: no constant of the kernel widens it."""
    X, params = make_case("full", dtype)
    at_point(embed.pack(params, dtype), X[0])
    returned = {s.args[1].dtype: s.return_type for s in at_point.nopython_signatures}
    number = numba.from_dtype(np.dtype(dtype))
    assert returned[number] == number


def test_against_exact_arithmetic():
    X, params = make_case("full", n=30)
    out = np.empty(30)
    densities(embed.pack(params), X, out)
    want = exact_score(X, params.weights, params.means, expand(params.covariances, "full", 4, 3))
    assert_allclose(out, want, rtol=1e-13)


def test_points_as_tuples_and_views():
    X, params = make_case("full")
    mixture, out = embed.pack(params), np.empty(len(X))
    want = fastem.log_density(X, params)
    densities(mixture, np.asfortranarray(X), out)
    assert_array_equal(out, [of_three(mixture, *x) for x in X])
    assert_allclose(out, want, rtol=1e-12)
    frozen = X.copy()
    frozen.setflags(write=False)
    densities(mixture, frozen[::2], out[::2])
    assert_allclose(out[::2], want[::2], rtol=1e-12)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_far_points(covariance_type, dtype):
    """As the estimator: -inf and the first component, never NaN, where the density underflows."""
    _, params = make_case(covariance_type, dtype)
    far = np.array([[1e3] * 3, [1e155] * 3, [-1e300, 1e300, 0.0]] if dtype == "f8" else [[50.0] * 3, [1e30] * 3], dtype)
    mixture = embed.pack(params, dtype)
    resp, density, again = np.empty((len(far), 4), dtype), np.empty(len(far), dtype), np.empty(len(far), dtype)
    parallel_densities(mixture, far, resp, density, again)
    with np.errstate(over="ignore"):  # what a float32 cannot hold is -inf
        want = fastem.log_density(far, params).astype(dtype)
    assert_allclose(density, want, rtol=1e-5)
    assert_array_equal(again, density)
    assert_array_equal(density[1:], -np.inf)
    assert_array_equal(resp[1:], np.tile([1, 0, 0, 0], (len(far) - 1, 1)))
    assert_allclose(resp.sum(axis=1), 1)


@pytest.mark.parametrize("first", [True, False])
def test_component_of_weight_0(first):
    X, params = make_case("full")
    weights = np.array([0.0, 0.5, 0.25, 0.25]) if first else np.array([0.5, 0.25, 0.25, 0.0])
    params = params._replace(weights=weights)
    mixture, resp, density, again = embed.pack(params), np.empty((len(X), 4)), np.empty(len(X)), np.empty(len(X))
    parallel_densities(mixture, X, resp, density, again)
    assert_array_equal(resp[:, 0 if first else 3], 0)
    assert_allclose(density, fastem.log_density(X, params), rtol=1e-12)
    assert_allclose(again, density, rtol=1e-12)


# ---- statistics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(("D", "K"), [(1, 1), (3, 4), (5, 2)])
def test_statistics(covariance_type, dtype, D, K, noise):
    X, params = make_case(covariance_type, dtype, D, K, noise)
    weight = np.random.default_rng(0).uniform(size=len(X))
    weight[::7] = 0.0
    mixture, rtol = embed.pack(params, dtype), 10 * RTOL[dtype]
    origin = params._replace(means=params.means.astype(dtype).astype("f8"))  # statistics are about what is subtracted
    want = reference.accumulate(X.astype("f8"), origin, weight)
    sums, scratch = embed.buffers(mixture, 4)
    density = np.empty(len(X))
    points(mixture, X, weight, density, sums, scratch)
    got = embed.to_stats(params, mixture, sums.sum(axis=0), len(X))
    assert_stats(got, want, rtol)
    assert_allclose(density, fastem.log_density(X, params), rtol=rtol, atol=rtol)
    assert (got.n_rows, got.noise is not None) == (len(X), noise)
    if noise:
        assert_allclose(got.noise.weight, want.noise.weight, rtol=rtol)
    sums[:] = 0.0
    blocks(mixture, X, weight, 70, sums, scratch)  # 4 blocks at a time, and twice into the same sums
    assert_stats(embed.to_stats(params, mixture, sums.sum(axis=0), len(X)), want, rtol)


def test_statistics_go_on_to_the_m_step():
    """A few passes of EM in a loop of one's own: em()."""
    X, params = make_case("full")
    want = fastem.em(X, params, max_iter=4, tol=0.0)
    for _ in range(4):
        mixture = embed.pack(params)
        sums, scratch = embed.buffers(mixture, 3)
        blocks(mixture, X, np.empty(0), 100, sums, scratch)
        stats = embed.to_stats(params, mixture, sums.sum(axis=0), len(X))
        last, params = params, fastem.m_step(stats)
    assert_allclose(last.means, want.params.means, rtol=1e-10)
    assert_allclose(stats.loglik, want.loglik, rtol=1e-12)


def test_blocks_and_points_share_their_memory():
    X, params = make_case("full", D=5)
    mixture, none = embed.pack(params), np.empty(0)
    sums, scratch = embed.buffers(mixture, 1)
    for _ in range(2):
        blocks(mixture, X, none, len(X), sums, scratch)
        points(mixture, X, np.ones(len(X)), np.empty(len(X)), sums, scratch)
    stats = embed.to_stats(params, mixture, sums[0], 4 * len(X))
    want = fastem.accumulate(np.tile(X, (4, 1)), params)
    assert_stats(stats, want, 1e-10)


def test_refusals():
    _, params = make_case("full")
    with pytest.raises(ValueError, match="float64"):
        embed.pack(params, "int64")
    with pytest.raises(ValueError, match="'covariances' should have the shape"):
        embed.pack(params._replace(covariances=params.covariances[:, :2]))


# ---- compiled code -------------------------------------------------------------------------------------


@compiled
def test_nothing_is_allocated():
    X, params = make_case("full", n=200)
    mixture = embed.pack(params)
    sums, scratch = embed.buffers(mixture, 2)
    run = [
        lambda: densities(mixture, X, np.empty(len(X))),
        lambda: points(mixture, X, np.ones(len(X)), np.empty(len(X)), sums, scratch),
        lambda: blocks(mixture, X, np.empty(0), 100, sums, scratch),
    ]
    for call in run:
        call()
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    try:
        for call in run:
            before = rtsys.get_allocation_stats().alloc
            call()
            assert rtsys.get_allocation_stats().alloc - before < 20
    finally:
        _nrt_python.memsys_disable_stats()


USER = """
import numpy as np
from numba import njit, prange
from fastem import embed

@njit(parallel=True, cache=True)
def densities(mixture, X, out):
    for i in prange(len(X)):
        out[i] = embed.log_density(mixture, X[i])

@njit(cache=True)
def statistics(mixture, X, sums, scratch):
    embed.accumulate_block(mixture, X, np.empty(0), sums, scratch)
"""
CHILD = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import fastem, helpers
from fastem import embed
import user
m = helpers.make_mixture(300, 3, 2)
params = fastem.make_params(m.weights, m.means, m.covariances)
mixture, out = embed.pack(params), np.empty(300)
user.densities(mixture, m.X, out)
sums, scratch = embed.buffers(mixture, 1)
user.statistics(mixture, m.X, sums[0], scratch[0])
stats = embed.to_stats(params, mixture, sums[0], 300)
hits = [sum(f.stats.cache_hits.values()) for f in (user.densities, user.statistics)]
print(json.dumps([hits, out.tolist(), stats.s2.tolist(), helpers.digest(out, sums)]))
"""


@compiled
@pytest.mark.slow
def test_cached_user_code(tmp_path):
    """In the user's own cache, compiled in one process and loaded in the next: the same bits."""
    (tmp_path / "user.py").write_text(USER)
    first, second = (run_child(CHILD, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2))
    assert first[0] == [0, 0]
    assert second[0] == [1, 1]
    assert first[1:] == second[1:]
    m = make_mixture(300, 3, 2)
    params = fastem.make_params(m.weights, m.means, m.covariances)  # in this process, which has compiled its kernels
    assert_allclose(first[1], fastem.log_density(m.X, params), rtol=1e-12)
    assert_allclose(first[2], fastem.accumulate(m.X, params).s2, rtol=1e-12)


def test_params_of_a_fit():
    X, _ = make_case("tied")
    model = fastem.GaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
    out = np.empty(len(X))
    densities(embed.pack(model.params_), X, out)
    assert_allclose(out, model.score_samples(X), rtol=1e-10)


def test_noise_of_given_density():
    _, params = make_case("diag")
    params = params._replace(weights=0.5 * params.weights, noise=Noise(0.5, np.array([[0.0] * 3, [1.0, 1.0, 20.0]])))
    out = np.empty(1)
    densities(embed.pack(params), np.full((1, 3), 1e200), out)
    assert_allclose(out, np.log(0.5 / 20))
