"""Axes that all components share, for the M-steps of EVE and VVE.

Covariances cov_k = V diag(variances_k) V' have the axes V, orthogonal and common. Given V, the variances are those of
the rows along it, M_k,jj with M_k = V' C_k V, and the log-likelihood of rows of weight m_k is, up to
constants, -1/2 times

- sum_k m_k log prod_j M_k,jj if variances are free (VVE: Flury's common principal components);
- m D log sum_k m_k (prod_j M_k,jj)^(1/D) if the volumes, prod_j variance_kj, are equal (EVE).

V is moved to a minimum of that by turns of all pairs of axes at once, by L-BFGS, whose first guess is Newton's angle
for each pair (for matrices that V makes diagonal the pairs do not depend on each other). A turn is halved until the
objective does not rise but for rounding, and the end is stationary to `DECREMENT`. (Browne & McNicholas majorise the
trace and take the axes of a singular value decomposition. Their majorant is as steep as the widest component: on 30
features and 10 components of unlike axes that was 0.01 to 0.1 nats per row above this end after 2,000 steps.)

References
----------
Browne & McNicholas (2014), Estimating common principal components in high dimensions, Adv. Data Anal. Classif. 8,
217-226; Flury & Gautschi (1986), SIAM J. Sci. Stat. Comput. 7, 169-184 (pairs of axes).
"""

from __future__ import annotations

import numpy as np

from fastem.model.matrices import EPS, Array

DECREMENT = 1e-20  # of the objective per row, in nats, that the next step promises: axes are right to its root
ROUNDING = 4 * EPS  # of the objective, by which a step may seem to raise it
MOST_STEPS = 100
MOST_HALVINGS = 20
MOST_TURN = 0.7  # radians
MEMORY = 10  # turns that L-BFGS remembers
LEAST_CURVATURE = 0.1  # of what it is where the pair is diagonal: there it is positive
GOLDEN = 0.6180339887498949


def common_axes(covariances: Array, share: Array, equal_volumes: bool, start: Array | None) -> Array:
    """Return the common axes of maximum likelihood, as columns, (D, D); a local maximum.

    They do not depend on the unit of the covariances, which is a power of 2 here about their size: squares of variances
    would overflow from 1e154 on.

    Parameters
    ----------
    covariances : (K, D, D), of each component's rows
    share : (K,), of all rows, sum 1
    equal_volumes : bool, whether all components have the same volume
    start : (K, D, D), covariances with common axes than which the result is no worse; None if there are none
    """
    covariances = np.ldexp(covariances, -np.frexp(covariances.max())[1])
    if start is not None and np.isfinite(start).all():
        beginnings = [axes_of(start)]
    else:
        size = np.trace(covariances, axis1=-2, axis2=-1)
        each = np.divide(share, size, out=np.zeros_like(size), where=size > 0)  # a point has no axes
        sums = (np.einsum("k,kij->ij", weight, covariances) for weight in (share, each))
        beginnings = [np.linalg.eigh(total)[1] for total in sums]
    places = [Place(axes, axes.T @ covariances @ axes, share, equal_volumes) for axes in beginnings]
    return min(map(descend, places), key=lambda place: place.height).axes


def descend(here: Place) -> Place:
    """Return the place where turns from another end."""
    turns = Turns()
    for _ in range(MOST_STEPS):
        turn = turns.next(*here.gradient_and_curvature())
        if not inner(turn, turns.gradient) < -DECREMENT:  # NaN, of a component without variance, ends it too
            break
        for _ in range(MOST_HALVINGS):
            there = here.turned(turn)
            if there.height <= here.height + ROUNDING * (1 + abs(here.height)):
                break
            turn = turn / 2
        else:
            break
        here, turns.last = there, turn
    return here


def axes_of(covariances: Array) -> Array:
    """Return the axes that covariances (K, D, D) have in common: those of a sum with unlike weights.

    Equal weights would not do: two components whose long and short axes are swapped have a sphere for a sum.
    """
    size = np.trace(covariances, axis1=-2, axis2=-1)
    weight = (1 + GOLDEN * np.arange(1, len(size) + 1) % 1.0) / size
    return np.asarray(np.linalg.eigh(np.einsum("k,kij->ij", weight, covariances))[1])


def along(covariances: Array, axes: Array) -> Array:
    """Return the variances along each of the axes, (K, D)."""
    return np.asarray(((covariances @ axes) * axes).sum(axis=-2))


def inner(a: Array, b: Array) -> float:
    """Return the product of two skew matrices as vectors of angles, one for each pair of axes."""
    return float((a * b).sum() / 2)


class Place:
    """Axes (D, D), as columns, and the covariances in their coordinates, `rotated` (K, D, D): M."""

    def __init__(self, axes: Array, rotated: Array, share: Array, equal_volumes: bool) -> None:
        self.axes, self.rotated, self.share, self.equal_volumes = axes, rotated, share, equal_volumes
        self.values = np.einsum("kii->ki", rotated)
        logs = np.log(self.values).sum(axis=-1)
        top, D = logs.max(), len(axes)
        self.volumes = share * np.exp((logs - top) / D)  # what each counts for, up to a factor
        self.height = float(top + D * np.log(self.volumes.sum()) if equal_volumes else share @ logs)

    def turned(self, turn: Array) -> Place:
        """Return the axes after a turn by a skew matrix (D, D): Cayley's transform, which is orthogonal."""
        one = np.eye(len(turn))
        q = np.linalg.solve(one - turn / 2, one + turn / 2)
        return Place(self.axes @ q, q.T @ self.rotated @ q, self.share, self.equal_volumes)

    def gradient_and_curvature(self) -> tuple[Array, Array]:
        """Return the slope of the height for a turn of each pair of axes, skew, and the curvature; both (D, D)."""
        share = self.volumes / self.volumes.sum() if self.equal_volumes else self.share
        inverse = 1 / self.values
        weight = share[:, None] * inverse
        gradient = 2 * np.einsum("kij,kj->ij", self.rotated, weight)
        ratios = self.values.T @ weight
        apart = 2 * (ratios + ratios.T - 2)  # the curvature where M is diagonal
        mixed = 4 * np.einsum("kij,kj->ij", self.rotated**2, weight * inverse)
        return gradient - gradient.T, np.maximum(apart - mixed - mixed.T, LEAST_CURVATURE * apart)


class Turns:
    """The course of L-BFGS over turns, in coordinates that move with the axes.

    Attributes
    ----------
    gradient : (D, D), at the last place that was asked for
    last : (D, D), the turn that led on from there; None before the first
    """

    gradient: Array

    def __init__(self) -> None:
        self.pairs: list[tuple[Array, Array, float]] = []  # turns, changes of the gradient, and their products
        self.last: Array | None = None

    def next(self, gradient: Array, curvature: Array) -> Array:
        """Return the turn from a place with this gradient and these curvatures of pairs."""
        if self.last is not None:
            change = gradient - self.gradient
            if (product := inner(self.last, change)) > 0:
                self.pairs = [*self.pairs[1 - MEMORY :], (self.last, change, product)]
        self.gradient, turn, factors = gradient, -gradient, list[float]()
        for step, change, product in reversed(self.pairs):
            factors.append(inner(step, turn) / product)
            turn = turn - factors[-1] * change
        turn = np.where(turn == 0, 0.0, turn / np.maximum(curvature, np.finfo(float).tiny))
        for (step, change, product), factor in zip(self.pairs, reversed(factors), strict=True):
            turn = turn + (factor - inner(change, turn) / product) * step
        return np.clip(turn, -MOST_TURN, MOST_TURN)
