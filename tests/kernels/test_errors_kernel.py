"""The micro-kernels of rows with errors against their plain twins, which do as their docstrings say."""

from functools import partial

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiles import jitted

from fastem.kernels import elimination
from fastem.kernels import errors as kernel
from fastem.kernels.compiler import COMMON
from fastem.kernels.lanes import aligned

without_lanes = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the interpreter has no lanes")


def tile(D, full, seed=0):
    """Rows, errors with some gaps, a mean, and a covariance with its root."""
    rng, B = np.random.default_rng(seed), kernel.TILE
    xt, st = aligned((kernel.padded(D), B), np.float64), aligned((kernel.error_rows(D, full), B), np.float64)
    xt[:D] = rng.normal(size=(D, B))
    half = rng.normal(size=(B, D, D))
    errors = half @ half.swapaxes(1, 2)
    errors[:5, 0, 0] = np.inf
    st[: D * D if full else D] = (errors.reshape(B, -1) if full else np.einsum("bii->bi", errors)).T
    root = np.tril(rng.normal(size=(D, D))) + 2 * np.eye(D)
    return xt, st, rng.normal(size=D), root @ root.T, root


@without_lanes
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("D", [1, 3, 6])
def test_micro_kernels_equal_their_twins(D, full):
    xt, st, mean, cov, root = tile(D, full)
    eliminate, add_moments = elimination.eliminate_for(D, full), elimination.add_moments_for(D)

    @numba.njit(**COMMON)
    def run(xt, st, mean, cov, root, n, out, q, r, sums):
        eliminate(xt, st, mean, cov, root, n, out, q)
        add_moments(out, root, r, n, sums)

    n, E = kernel.TILE, kernel.packed(D, 0)
    found, expected = ([], [])
    for steps in (found, expected):
        out, q = aligned((E + D, n), np.float64), np.zeros(n)
        r, sums = np.random.default_rng(1).uniform(size=n), aligned((E + D, kernel.WIDTH), np.float64)
        if steps is found:
            run(xt, st, mean, cov, root, n, out, q, r, sums)
        else:
            partial(elimination.eliminate_plain, full)(xt, st, mean, cov, root, n, out, q)
            elimination.add_moments_plain(out, root, r, n, sums)
        steps += [out, q, sums.sum(axis=1)]
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("full", [False, True])
def test_the_plain_twins_are_the_matrices_that_they_say(full):
    D = 4
    xt, st, mean, cov, root = tile(D, full)
    E, n = kernel.packed(D, 0), kernel.TILE
    out, q, sums = np.zeros((E + D, n)), np.zeros(n), np.zeros((E + D, kernel.WIDTH))
    elimination.eliminate_plain(full, xt, st, mean, cov, root, n, out, q)
    r = np.eye(n)[9]  # a row without gaps
    elimination.add_moments_plain(out, root, r, n, sums)
    S = st[: D * D, 9].reshape(D, D) if full else np.diag(st[:D, 9])
    T, z, total = cov + S, xt[:D, 9] - mean, sums.sum(axis=1)
    assert_allclose(q[9], z @ np.linalg.solve(T, z), rtol=1e-12)
    assert_allclose(-np.log(out[[kernel.packed(i, i) for i in range(D)], 9]).sum(), np.linalg.slogdet(T)[1], rtol=1e-12)
    a, M = root.T @ np.linalg.solve(T, z), root.T @ np.linalg.solve(T, root)
    assert_allclose(total[:D], a, rtol=1e-11)
    assert_allclose(total[D:], (np.outer(a, a) - M)[np.tril_indices(D)], rtol=1e-11, atol=1e-12)


def test_the_log_determinant_neither_overflows_nor_vanishes():
    factors = np.ones((kernel.packed(3, 0), 4))
    for i, value in enumerate((1e-300, 1e-250, 1e200)):
        factors[kernel.packed(i, i)] = value
    factors[0, 1] = 0.0  # an infinite variance
    q, constant, scratch = np.zeros(4), np.zeros(4), np.zeros((2, 4))
    jitted(kernel.add_log_density)(factors, 3, 1.0, constant, np.zeros((3, 4)), 1, 4, scratch[0], scratch[1], q)
    assert_allclose(q[0], 1 + 0.5 * np.log(10) * (-300 - 250 + 200), rtol=1e-14)
    assert_allclose(q[1], 1 + 0.5 * np.log(10) * (-250 + 200), rtol=1e-14)
