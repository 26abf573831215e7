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

from fastem.model.coordinates import Coordinates, coordinates_about
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.variational import Posterior

DEPTH = 20  # differences that are remembered
RIDGE = 1e-10  # on differences of length 1: where they nearly depend on each other, the step stays bounded
ROUND = 20  # points in one system of coordinates
LEAST_ALONG = 0.5  # of EM's step: a step that goes less far in its direction says that the objective is not concave
STRETCH = 2.0  # times EM's step: the first trial there; the factor by which each further one is longer
AFTER_FAILURE = 2  # differences that are kept: with all, trials failed twice as often on ten hard problems
# Stands for weights below it. The logit of a weight that dies falls by as much in each step, so that Anderson's goes
# beyond all others: with 1e-300 in its place 8 of 12 fits with noise took 100 to 1000 passes, with 1e-8 a median of 52.
LEAST_WEIGHT = 1e-8


def anderson_step(residual: Array, d_points: Array, d_residuals: Array) -> tuple[Array, Array]:
    """Return the step to where the residual would be least, and the residual there.

    Parameters
    ----------
    residual : (P,) float64, f = g(x) - x at the present point x
    d_points, d_residuals : (m, P) float64, differences of points and of their residuals, in pairs

    Returns
    -------
    step, left : (P,) float64
        left = f - sum_j c_j d_residuals_j, where c makes it shortest, and step = left - sum_j c_j d_points_j
    """
    # einsum, not matmul: the bits of BLAS may depend on its threads.
    lengths = np.sqrt(np.einsum("jp,jp->j", d_residuals, d_residuals))
    moved = lengths > 0
    along = d_residuals[moved] / lengths[moved, None]
    gram = np.einsum("ip,jp->ij", along, along) + RIDGE * np.eye(len(along))
    c = np.linalg.solve(gram, np.einsum("jp,p->j", along, residual)) / lengths[moved]
    left = residual - np.einsum("j,jp->p", c, d_residuals[moved])
    return left - np.einsum("j,jp->p", c, d_points[moved]), left


def slowest_rate(d_points: Array, d_residuals: Array) -> float:
    """Return 1 / (1 - factor) of the slowest of these directions, which an iteration shrinks by factors; at least 1."""
    square = np.einsum("jp,jp->j", d_points, d_points)
    change = -np.einsum("jp,jp->j", d_points, d_residuals)
    nearer = change > 0
    return float(np.max(square[nearer] / change[nearer], initial=1.0))


def dot(a: Array, b: Array) -> float:
    """Return the product of two vectors, whose bits depend on no threads of BLAS."""
    return float(np.einsum("p,p->", a, b))


class Way(NamedTuple):
    """What the points so far tell of the way ahead of the last one.

    Attributes
    ----------
    params : Params or None, the mixture of the next trial; None if the step leads to none
    gain : float
        what the objective per row has yet to gain if it is quadratic; infinite if it is not concave here
    n_differences : int, how many differences of points say so
    """

    params: Params | None
    gain: float
    n_differences: int

    @property
    def concave(self) -> bool:
        """Whether the objective is concave here, as far as the points tell."""
        return bool(np.isfinite(self.gain))


class Pace(NamedTuple):
    """How far trials go, and how often.

    Attributes
    ----------
    stretch : float, the length of trials where the objective is not concave, in steps of EM
    wait : int, steps of EM before the next trial
    failed : int, steps of EM after the last trial that failed; 0 after one that succeeded
    age : int, points since the coordinates were taken
    """

    stretch: float = STRETCH
    wait: int = 0
    failed: int = 0
    age: int = 0


@dataclass(eq=False)
class Memory:
    """The last points of a fit with EM's steps from them, as vectors.

    The vectors are those of `coordinates_about` a mixture on the way. There the information of the complete data
    is the identity per row. So EM's step is the gradient of the objective per row, and half its product with another
    step is the gain of a quadratic objective on that step. As coordinates go stale, they are renewed every ROUND
    points, together with all vectors.

    Attributes
    ----------
    origin : Params, about which the coordinates are; None before the first point
    points, steps : (n, P) float64, the latest last
    follows : (n,) bool, whether a point's step was taken with the same rows as that of the point before
    gains : list of float, of the objective: what was predicted with the present rows, at points that the fit went to
    pace : Pace
    new_rows : bool, whether the next point does not follow
    """

    origin: Params | None = None
    points: Array = field(default_factory=lambda: np.empty((0, 0)))
    steps: Array = field(default_factory=lambda: np.empty((0, 0)))
    follows: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    gains: list[float] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    new_rows: bool = True

    def copy(self) -> Memory:
        """Return the memory as it is now."""
        return replace(self, gains=list(self.gains))

    def is_of(self, params: Params) -> bool:
        """Return whether it can be the memory of a fit that is at `params`; it may have come from a file."""
        n, size = len(self.points), self.space.pack(_with_logits(params)).size
        right_shapes = (self.points.shape, self.steps.shape, self.follows.shape) == ((n, size), (n, size), (n,))
        finite = all(np.isfinite(array).all() for array in (self.points, self.steps, self.pace))
        return bool(right_shapes and finite and 1 <= n <= DEPTH + 1)

    @cached_property
    def space(self) -> Coordinates:
        """The coordinates."""
        assert self.origin is not None
        return coordinates_about(self.origin)

    def change_rows(self) -> None:
        """Note that EM goes on with other rows. Old differences still tell how steps change from place to place."""
        self.gains, self.new_rows = [], True

    def add(self, params: Params, updated: Params) -> None:
        """Remember a mixture and what EM makes of it."""
        params, updated = _with_logits(params), _with_logits(updated)
        if self.origin is None or self.pace.age >= ROUND:
            self._renew(params)
        point = self.space.pack(params)
        step = self.space.pack(updated) - point
        kept = slice(max(0, len(self.points) - DEPTH), None)
        self.points = np.array([*self.points[kept], point])
        self.steps = np.array([*self.steps[kept], step])
        self.follows = np.append(self.follows[kept], not self.new_rows)
        self.new_rows = False
        self.pace = self.pace._replace(age=self.pace.age + 1)

    def _renew(self, params: Params) -> None:
        """Take new coordinates, about a mixture."""
        before = None if self.origin is None else self.space
        self.origin, self.pace = params, self.pace._replace(age=0)
        vars(self).pop("space", None)
        if before is not None:
            ends = np.array([self.space.pack(before.unpack(end)) for end in self.points + self.steps])
            self.points = np.array([self.space.pack(before.unpack(point)) for point in self.points])
            self.steps = ends - self.points

    @np.errstate(all="ignore")  # a trial may be no mixture, which its user finds out
    def look_ahead(self) -> Way:
        """Return what the points tell of the way ahead of the last one.

        Where EM contracts, and the objective so is concave, Anderson's step goes farther than EM's in its direction. A
        step that does not leads to a saddle, or down: there a stretched step of EM is tried. The gain counts the
        residual that is left after the step as if all of it were along the slowest direction that was met.
        """
        pairs, residual = self.follows[1:], self.steps[-1]
        differences = np.diff(self.points, axis=0)[pairs], np.diff(self.steps, axis=0)[pairs]
        step, left = anderson_step(residual, *differences)
        along, square, rest = (dot(residual, step), dot(residual, residual), dot(left, left))
        gain = (max(along, square) + slowest_rate(*differences) * rest) / 2
        if not along >= LEAST_ALONG * square:  # NaN is no way either
            step, gain = self.pace.stretch * residual, np.inf
        end = self.points[-1] + step
        params = self.space.unpack(end) if np.isfinite(end).all() else None
        return Way(params, gain, int(np.count_nonzero(pairs)))

    def note_step(self, trial: bool, concave: bool) -> None:
        """Note that the fit went to a trial or to EM's iterate, from where the objective was concave or was not."""
        if not trial:
            self.pace = self.pace._replace(wait=max(0, self.pace.wait - 1))
        elif concave:
            self.pace = self.pace._replace(failed=0)
        else:
            self.pace = self.pace._replace(stretch=STRETCH * self.pace.stretch, failed=0)

    def note_failure(self, concave: bool, shortest: float = STRETCH) -> None:
        """Note that a trial was in vain: forget what led to it, and make 2, 4, 8, ... steps of EM before the next.

        A trial is at least `shortest` steps long where the objective is not concave.
        """
        stretch = self.pace.stretch if concave else max(shortest, self.pace.stretch / STRETCH**2)
        failed = max(2, 2 * self.pace.failed)
        self.pace = self.pace._replace(stretch=stretch, wait=failed, failed=failed)
        self.follows = self.follows & (np.arange(len(self.follows)) >= len(self.follows) - AFTER_FAILURE)


def scaled_length(params: Params, updated: Params) -> float:
    """Return the length of EM's step in the coordinates about the mixture where it begins."""
    step = coordinates_about(_with_logits(params)).pack(_with_logits(updated))
    return float(np.sqrt(dot(step, step)))


def _with_logits(params: Params) -> Params:
    """Return a mixture whose weights all have logits: those of 0 become LEAST_WEIGHT."""
    if isinstance(params, Posterior):  # whose counts are positive
        return params
    noise = params.noise and params.noise._replace(weight=max(params.noise.weight, LEAST_WEIGHT))
    return params._replace(weights=np.maximum(params.weights, LEAST_WEIGHT), noise=noise)
