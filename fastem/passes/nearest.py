"""Find the two nearest of many centres for each row of an array."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import assignment
from fastem.kernels.micro import FIRST
from fastem.model.matrices import Array
from fastem.model.params import unit_spheres
from fastem.passes.layout import KernelMixture
from fastem.passes.sizes import block_rows


class Nearest(NamedTuple):
    """The nearest centre of each row, (N,), and the squared distances to it and to the second, (N,)."""

    label: NDArray[np.int64]
    first: Array
    second: Array


def two_nearest(X: Array, centres: Array) -> Nearest:
    """Return the nearest of two or more centres (K, D) for each row (N, D), and the second.

    It goes by products of rows and centres: squared distances err by some eps times the square of the distance from the
    middle of the centres.
    """
    layout, size = KernelMixture(unit_spheres(centres), np.float64, distances=True), block_rows(*centres.shape, FIRST)
    found = Nearest(np.empty(len(X), np.int64), np.empty(len(X)), np.empty(len(X)))
    scratch = layout.scratch(len(X), -(-len(X) // size), FIRST, assignment.scratch_size)
    assignment.two_nearest(X, layout.means, size, *found, scratch)
    return found
