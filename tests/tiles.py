"""Tiles of random numbers, and helpers of the kernels as functions, for tests and benchmarks."""

import functools

import numba
import numpy as np

from fastem.kernels import micro
from fastem.kernels.compiler import COMMON
from fastem.kernels.lanes import STEP, aligned


@functools.cache  # a new function would be compiled anew: m_step takes a second
def jitted(helper):
    """A helper of the kernels as a function that Python can call: they are inlined into kernels, and not callable."""
    return numba.njit(**COMMON)(helper.py_func) if hasattr(helper, "py_func") else helper


class Tile:
    """A tile's arrays, random, with the points beyond n finite and of responsibility 0."""

    def __init__(self, D, K, n, dtype):
        rng, B = np.random.default_rng([D, K, n]), 192
        P, step = micro.padded(D), STEP // np.dtype(dtype).itemsize
        self.xt, self.z, self.zr = (aligned(shape, dtype) for shape in [(P, B), (P, B), (4, B)])
        self.small, self.lp, self.rows = aligned((P, step), dtype), aligned((K, B), dtype), aligned((3, B), dtype)
        self.xt[:D] = rng.normal(size=(D, B))
        for scratch in (self.z, self.zr, self.small, self.lp, self.rows):
            scratch[:] = rng.normal(size=scratch.shape)
        self.resp = aligned((K, B), dtype)
        self.resp[:, :n] = rng.uniform(size=(K, n))
        self.means = rng.normal(size=(K, D)).astype(dtype)
        self.full = np.tril(rng.normal(size=(K, D, D))).astype(dtype)
        self.lognorm = rng.normal(size=K).astype(dtype)
