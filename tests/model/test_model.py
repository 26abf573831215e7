"""Statistics add up and move; families estimate and factorise what NumPy and SciPy say."""

import copy

import numpy as np
import pytest
from helpers import FAMILIES, natural
from numpy.testing import assert_allclose

import fastem
from fastem.model import reference
from fastem.model.families import COVARIANCES
from fastem.model.matrices import factorise, from_precisions, inverse_triangular
from fastem.model.params import log_norm
from fastem.model.stats import outer


def well_conditioned(rng, *shape):
    A = rng.normal(size=(*shape, shape[-1])) / np.sqrt(shape[-1]) + np.eye(shape[-1])
    return A @ A.swapaxes(-1, -2)


def data(covariance, N=400, D=3, K=4):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(N, D)) * [1, 10, 0.1] + 5
    labels = rng.integers(0, K, size=N)
    return X, labels, fastem.moments(X, labels=labels, covariance_type=covariance)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_m_step_on_labels_equals_numpy(covariance):
    X, labels, stats = data(covariance)
    params = fastem.m_step(stats, covariance)
    groups = [X[labels == k] for k in range(4)]
    scatters = [np.cov(g.T, bias=True) for g in groups]
    pooled = sum(len(g) * s for g, s in zip(groups, scatters, strict=True)) / len(X)
    expected = {
        "full": np.array(scatters),
        "tied": pooled[None],
        "diag": np.array([np.diag(s) for s in scatters])[:, None, :],
        "spherical": np.array([np.trace(s) / 3 for s in scatters])[:, None, None],
        "tied_diag": np.diag(pooled)[None, None],
        "tied_spherical": np.trace(pooled)[None, None, None] / 3,
    }[covariance]
    assert_allclose(params.weights, [len(g) / len(X) for g in groups], rtol=1e-13)
    assert_allclose(params.means, [g.mean(axis=0) for g in groups], rtol=1e-13)
    assert_allclose(params.covariances, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_statistics_add_and_move(covariance):
    X, labels, whole = data(covariance)
    origin = whole.origin
    one, two = (
        fastem.moments(X[part], labels=labels[part], n_components=4, covariance_type=covariance, origin=origin)
        for part in (slice(0, 150), slice(150, None))
    )
    for total in (one + two, sum([one, two])):
        for field in ("s0", "s1", "s2"):
            assert_allclose(getattr(total, field), getattr(whole, field), rtol=1e-12, atol=1e-10)
        assert total.n_rows == whole.n_rows
        assert total.sum_w == 400
    moved = whole.shifted(origin + [3.0, -20.0, 0.5])
    with pytest.raises(ValueError, match="shifted"):
        _ = moved + whole
    back = moved.shifted(origin)
    assert_allclose(back.s1, whole.s1, atol=1e-8)
    assert_allclose(back.s2, whole.s2, rtol=1e-9, atol=1e-8)
    direct = fastem.moments(X, labels=labels, covariance_type=covariance, origin=moved.origin)
    assert_allclose(moved.s1, direct.s1, rtol=1e-11)
    assert_allclose(moved.s2, direct.s2, rtol=1e-11)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize(("K", "D"), [(1, 1), (3, 1), (1, 4), (4, 4), (3, 5)])
def test_factor_and_precisions(covariance, K, D):
    family = COVARIANCES[covariance]
    C = well_conditioned(np.random.default_rng(0), K, D)
    covariances = {
        "full": C,
        "tied": C[:1],
        "diag": np.diagonal(C, axis1=1, axis2=2)[:, None, :],
        "spherical": C[:, :1, :1],
        "tied_diag": np.diagonal(C[0])[None, None],
        "tied_spherical": C[:1, :1, :1],
    }[covariance]
    assert covariances.shape == family.shape(K, D)
    factor = factorise(covariances)

    def dense(matrices):
        if matrices.shape[-2] == D > 1 or D == 1:
            return np.broadcast_to(matrices, (K, D, D))
        return np.eye(D) * np.broadcast_to(matrices, (K, 1, D))

    precisions = np.linalg.inv(dense(covariances))
    W = dense(factor)
    assert_allclose(W.swapaxes(1, 2) @ W, precisions, rtol=1e-10, atol=1e-12)
    assert (np.triu(W, 1) == 0).all()
    canonical = 1 / covariances if covariances.shape[-2] == 1 else precisions[: len(covariances)]
    again, factor_again = from_precisions(canonical)
    assert_allclose(again, covariances, rtol=1e-10, atol=1e-12)
    assert_allclose(factor_again, factor, rtol=1e-10, atol=1e-12)
    params = fastem.Params(np.full(K, 1 / K), np.zeros((K, D)), covariances, factor)
    log_det = np.linalg.slogdet(dense(covariances))[1]
    assert_allclose(log_norm(params), -np.log(K) - 0.5 * (D * np.log(2 * np.pi) + log_det), rtol=1e-12)


@pytest.mark.parametrize("D", [255, 256, 300])
def test_large_triangles_are_inverted_by_lapack(D):
    lower = np.linalg.cholesky(well_conditioned(np.random.default_rng(0), 2, 1, D))
    inverse = inverse_triangular(lower)
    assert_allclose(inverse @ lower, np.broadcast_to(np.eye(D), (2, 1, D, D)), atol=1e-11)
    assert (np.triu(inverse, 1) == 0).all()


def test_estimates_are_batched_over_leading_axes():
    stats = [data("full")[2], data("full", N=300)[2]]
    fields = ("s0", "s1", "s2", "origin")
    both = fastem.Stats(0.0, 0.0, 0.0, *(np.stack([getattr(s, f) for s in stats]) for f in fields), 400)
    batched = COVARIANCES["full"].estimate(both, 1e-3)
    for i, one in enumerate(stats):
        for a, b in zip(batched, COVARIANCES["full"].estimate(one, 1e-3), strict=True):
            assert_allclose(a[i], b, rtol=1e-14)
    assert_allclose(factorise(batched[2])[1], factorise(batched[2][1]))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4), (3, 1, 4), (1, 1, 4), (3, 1, 1), (1, 1, 1)])
def test_outer_reduces_to_each_shape(shape):
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 3, 4))
    full = np.array([np.outer(a, b) for a, b in zip(u, v, strict=True)])
    full = full if shape[0] == 3 else full.sum(axis=0, keepdims=True)
    expected = full
    if shape[1] == 1:
        expected = np.diagonal(full, axis1=1, axis2=2)[:, None, :]
        expected = expected if shape[2] == 4 else expected.sum(axis=2, keepdims=True)
    assert_allclose(outer(u, v, shape), expected)


def test_singular_components_are_named():
    C = np.array([np.eye(2), np.ones((2, 2)), np.zeros((2, 2))])
    with pytest.raises(fastem.SingularCovarianceError, match="ill-defined empirical covariance") as caught:
        factorise(C, zero=1e-15)
    assert caught.value.components == [1, 2]
    with pytest.raises(fastem.SingularCovarianceError) as caught:
        factorise(np.array([[[1.0, 2.0]], [[0.0, 1.0]], [[np.nan, 1.0]]]))
    assert caught.value.components == [1, 2]


def test_statistics_of_another_family_are_refused():
    with pytest.raises(ValueError, match="same covariance"):
        fastem.m_step(data("diag")[2], "full")


def test_em_ends_on_an_e_step():
    X, _, stats = data("full")
    result = fastem.em(X, fastem.m_step(stats), tol=0, max_iter=5)
    again = reference.accumulate(X, result.params, np.ones(len(X)))
    assert result.n_iter == len(result.history) == 5
    assert result.status is fastem.Status.MAX_ITER
    assert_allclose(result.loglik, again.loglik, rtol=1e-13)
    assert_allclose(result.history[-1] * len(X), again.loglik, rtol=1e-13)
    assert_allclose(result.stats.s2, again.s2, rtol=1e-10, atol=1e-9)


# ---- buffers -----------------------------------------------------------------------------------------


def some_stats(covariance_type="full", noise=None, K=3, D=2, seed=0):
    """Statistics of 100 rows under a mixture that depends on all arguments but the seed."""
    means = 1e6 + np.random.default_rng(1).normal(size=(K, D))
    covariances = natural(np.array([np.eye(D)] * K), covariance_type)
    weights = np.full(K, (1 - (noise[0] if noise else 0)) / K)
    params = fastem.make_params(weights, means, covariances, covariance_type, noise)
    return fastem.accumulate(1e6 + np.random.default_rng(seed).normal(size=(100, D)), params)


def assert_equal_stats(a, b, rtol=0.0):
    for name in ("loglik", "class_loglik", "entropy", "s0", "s1", "s2"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=1e-9 if rtol else 0, err_msg=name)
    assert a.s2.shape == b.s2.shape
    assert a.n_rows == b.n_rows
    np.testing.assert_array_equal(a.origin, b.origin)
    assert (a.noise is None) == (b.noise is None)
    if a.noise is not None:
        assert_allclose(a.noise.weight, b.noise.weight, rtol=rtol)
        np.testing.assert_array_equal(a.noise.box, b.noise.box)


BOX = 0.2, [[-0.1, 1e5], [0.1, 2e6]]


@pytest.mark.parametrize("noise", [None, BOX], ids=["", "noise"])
@pytest.mark.parametrize("covariance", FAMILIES)
def test_a_buffer_is_the_statistics(covariance, noise):
    stats = some_stats(covariance, noise)
    buffer = stats.to_buffer()
    assert (buffer.dtype, buffer.ndim) == (np.float64, 1)
    assert len(buffer) == 15 + 3 + 3 * 3 * 2 + stats.s2.size + (8 if noise else 0)
    assert_equal_stats(fastem.Stats.from_buffer(buffer), stats)
    assert_equal_stats(fastem.Stats.from_buffer(buffer.tolist()), stats)
    assert fastem.Stats.from_buffer(buffer).to_buffer().tobytes() == buffer.tobytes()


@pytest.mark.parametrize("n", [2, 3, 7, 49, 4096])
@pytest.mark.parametrize("noise", [None, BOX], ids=["", "noise"])
def test_buffers_add_up(n, noise):
    """In any order, and the origin keeps every bit: what comes of it adds to other statistics of the pass."""
    different = [some_stats(noise=noise, seed=seed) for seed in range(5)]
    parts = [different[i % 5] for i in range(n)]
    buffers = np.array([part.to_buffer() for part in parts])
    want = sum(parts)
    for total in (sum(buffers[1:], buffers[0]), buffers.sum(axis=0), buffers[::-1].cumsum(axis=0)[-1]):
        found = fastem.Stats.from_buffer(total)
        assert_equal_stats(found, want, rtol=1e-11)
        assert (found + parts[0]).n_rows == 100 * (n + 1)
    assert_allclose(fastem.m_step(found).means, fastem.m_step(want).means, rtol=1e-12)


def test_statistics_without_likelihood_or_second_moments():
    given = fastem.moments([[0.0], [2.0]], labels=[0, 1])
    found = fastem.Stats.from_buffer(given.to_buffer())
    assert np.isnan(found.loglik)
    np.testing.assert_array_equal(found.s1, given.s1)


def test_buffers_that_do_not_add_or_are_none():
    buffer = some_stats().to_buffer()
    moved = some_stats().shifted(some_stats().origin + 1e-9).to_buffer()
    version, copies, damaged = buffer.copy(), buffer * 5000, buffer.copy()
    version[1], damaged[-1] = 2, damaged[-1] + 1e-5
    cases = [
        ("do not add were added", buffer + moved),
        ("do not add were added", buffer + buffer + moved),
        ("do not add were added", some_stats(K=4, covariance_type="tied").to_buffer()[:43] + buffer[:43]),
        ("version 2, expected 1", version),
        ("a sum of at most 4096", copies),
        ("expected 48 numbers, got 47", buffer[:-1]),
        ("the checksum is wrong", damaged),
        ("not a buffer", np.zeros(48)),
        ("not a buffer", np.full(48, np.nan)),
        ("not a buffer", buffer[:5]),
        ("not a buffer", buffer.reshape(2, -1)),
    ]
    assert len(buffer) == 48
    for message, vector in cases:
        with pytest.raises(ValueError, match=message):
            fastem.Stats.from_buffer(vector)


def test_statistics_keep_their_origin():
    X = np.random.RandomState(0).randn(100, 2)
    means = np.zeros((1, 2))
    full = fastem.moments(X, labels=np.zeros(100, int), origin=means)
    before = copy.deepcopy(full)
    means += 1
    assert_allclose(fastem.m_step(full).means, fastem.m_step(before).means)
