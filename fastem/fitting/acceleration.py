"""Anderson acceleration: a longer step for a fixed-point iteration, from what its last steps have shown.

An iteration x -> g(x) has the residual f(x) = g(x) - x, which is 0 at a fixed point. If g is nearly linear, differences
of points and of residuals say how the residual changes from place to place, and so where it would be 0. That costs no
evaluation of g. It is the multisecant form of Anderson's method, which on a linear map is GMRES.

References
----------
Anderson (1965), J. ACM 12, 547-560; Walker & Ni (2011), SIAM J. Numer. Anal. 49, 1715-1735, theorem 2.2 (GMRES); for
mixtures, with a safeguard: Nguyen, Chen & Chacon (2020), arXiv 2009.12703.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array
from fastem.model.parametrization import Parametrization
from fastem.model.params import Params

DEPTH = 20  # differences that are remembered
RIDGE = 1e-10  # on differences of length 1: where they nearly depend on each other, the step stays bounded
ROUND = 20  # points in one system of coordinates
LEAST_WEIGHT = 1e-300  # stands for a weight of 0, which has no logit


def anderson_step(residual: Array, d_points: Array, d_residuals: Array) -> Array:
    """Return the step to where the residual would be least.

    Parameters
    ----------
    residual : (P,) float64, f = g(x) - x at the present point x
    d_points, d_residuals : (m, P) float64, differences of points and of their residuals, in pairs

    Returns
    -------
    (P,) float64
        f - sum_j c_j (d_points_j + d_residuals_j), where c makes |f - sum_j c_j d_residuals_j| least
    """
    # einsum, not matmul: the bits of BLAS may depend on its threads.
    lengths = np.sqrt(np.einsum("jp,jp->j", d_residuals, d_residuals))
    moved = lengths > 0
    along = d_residuals[moved] / lengths[moved, None]
    gram = np.einsum("ip,jp->ij", along, along) + RIDGE * np.eye(len(along))
    c = np.linalg.solve(gram, np.einsum("jp,p->j", along, residual)) / lengths[moved]
    return np.asarray(residual - np.einsum("j,jp->p", c, d_points[moved] + d_residuals[moved]))


class Way(NamedTuple):
    """What the points so far tell of the way ahead of the last one.

    Attributes
    ----------
    params : Params or None, the mixture that Anderson's step leads to; None if it leads to none
    gain : float, what the objective per row would gain on the way, if it were quadratic
    gradient : float, the length of EM's own step
    n_differences : int, how many differences of points say so
    """

    params: Params | None
    gain: float
    gradient: float
    n_differences: int


@dataclass(eq=False)
class Memory:
    """The last points of a fit with EM's steps from them, as vectors.

    The vectors are those of `Parametrization.around` a mixture on the way. There the information of the complete data
    is the identity per row. So EM's step is the gradient of the objective per row, and half its product with another
    step is the gain of a quadratic objective on that step. As coordinates go stale, they are renewed every ROUND
    points, together with all vectors.

    Attributes
    ----------
    origin : Params, about which the coordinates are; None before the first point
    points, steps : (n, P) float64, the latest last
    follows : (n,) bool, whether a point's step was taken with the same rows as that of the point before
    gains : list of float, what was predicted with the present rows, at the points that the fit went to
    age : int, points since the coordinates were taken
    new_rows : bool, whether the next point does not follow
    """

    origin: Params | None = None
    points: Array = field(default_factory=lambda: np.empty((0, 0)))
    steps: Array = field(default_factory=lambda: np.empty((0, 0)))
    follows: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    gains: list[float] = field(default_factory=list)
    age: int = 0
    new_rows: bool = True

    def copy(self) -> Memory:
        """Return the memory as it is now."""
        return replace(self, gains=list(self.gains))

    def is_of(self, params: Params) -> bool:
        """Return whether it can be the memory of a fit that is at `params`; it may have come from a file."""
        n, size = len(self.points), self.space.pack(_with_logits(params)).size
        right_shapes = (self.points.shape, self.steps.shape, self.follows.shape) == ((n, size), (n, size), (n,))
        finite = all(np.isfinite(array).all() for array in (self.points, self.steps, self.gains))
        return bool(right_shapes and finite and 1 <= n <= DEPTH + 1 and 0 <= self.age <= ROUND)

    @cached_property
    def space(self) -> Parametrization:
        """The coordinates."""
        assert self.origin is not None
        return Parametrization.around(self.origin)

    def change_rows(self) -> None:
        """Note that EM goes on with other rows. Old differences still tell how steps change from place to place."""
        self.gains, self.new_rows = [], True

    def add(self, params: Params, updated: Params) -> None:
        """Remember a mixture and what EM makes of it."""
        params, updated = _with_logits(params), _with_logits(updated)
        if self.origin is None or self.age >= ROUND:
            self._renew(params)
        point = self.space.pack(params)
        step = self.space.pack(updated) - point
        kept = slice(max(0, len(self.points) - DEPTH), None)
        self.points = np.array([*self.points[kept], point])
        self.steps = np.array([*self.steps[kept], step])
        self.follows = np.append(self.follows[kept], not self.new_rows)
        self.new_rows = False
        self.age += 1

    def _renew(self, params: Params) -> None:
        """Take new coordinates, about a mixture."""
        ends = [] if self.origin is None else [self.space.unpack(end) for end in self.points + self.steps]
        begins = [] if self.origin is None else [self.space.unpack(begin) for begin in self.points]
        self.origin, self.age = params, 0
        vars(self).pop("space", None)
        self.points = np.array([self.space.pack(begin) for begin in begins])
        self.steps = np.array([self.space.pack(end) for end in ends]) - self.points

    def look_ahead(self) -> Way:
        """Return what the points tell of the way ahead of the last one."""
        pairs, residual = self.follows[1:], self.steps[-1]
        step = anderson_step(residual, np.diff(self.points, axis=0)[pairs], np.diff(self.steps, axis=0)[pairs])
        end = self.points[-1] + step
        gain, square = (float(np.einsum("p,p->", residual, other)) for other in (step / 2, residual))
        params = self.space.unpack(end) if np.isfinite(end).all() else None
        return Way(params, gain, float(np.sqrt(square)), int(np.count_nonzero(pairs)))


def _with_logits(params: Params) -> Params:
    """Return a mixture whose weights all have logits: those of 0 become LEAST_WEIGHT."""
    noise = params.noise and params.noise._replace(weight=max(params.noise.weight, LEAST_WEIGHT))
    return params._replace(weights=np.maximum(params.weights, LEAST_WEIGHT), noise=noise)
