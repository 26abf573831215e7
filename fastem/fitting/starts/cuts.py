"""Cuts of components in two: what each gains, by a few steps of EM on the component's own rows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fastem.fitting.degenerate import are_thin
from fastem.fitting.loop import iterate
from fastem.fitting.starts.moves import Members
from fastem.fitting.stopping import Stop
from fastem.model.families import COVARIANCES, Covariance
from fastem.model.matrices import Array, SingularCovarianceError
from fastem.model.maximisation import NOTHING_HELD, GaussianModel, Held
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.result import Result, Status
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource, Source

LEAST_RESP = 1e-3  # of a row, for it to be one of the component's
AXES = 2  # principal axes along which a component is cut
OFFSET = 0.8  # of the halves' means from that of the whole, in standard deviations
CUT_ROUNDS = (3, 6, 12)  # iterations
LOOKAHEAD = 15  # steps as large as the last that a climb may be short of its target
CHANGE = 1e-5  # of the objective per row at which a climb has arrived


class Halves(NamedTuple):
    """A component that is cut in two.

    Attributes
    ----------
    gain : float, nats per row of the sample
    params : Params, the component as a mixture of two; None if it cannot be cut
    """

    gain: float
    params: Params | None


NO_CUT = Halves(-np.inf, None)


def cut(
    sample: ArraySource, params: Params, members: Members, k: int, model: GaussianModel, least: float, scale: Array
) -> Halves:
    """Cut component k across one of its principal axes: the better one, after EM on its rows.

    EM goes on for as long as the gain, in nats per row of the sample, may become `least`. Axes are those of columns in
    units of `scale` (D,).
    """
    row, column = np.nonzero(members.component == k)
    mass = members.mass[row, column]
    own, share, best = mass > LEAST_RESP, mass.sum() / members.total, NO_CUT
    if not own.any():
        return best
    rows, whole = ArraySource(sample.X[row[own]], mass[own]), only(params, k)
    # A covariance that all components share stays as it is.
    held = Held(precisions=(whole.covariances, whole.factor)) if model.family.shared else NOTHING_HELD
    alone = replace(model, held=held)
    with contextlib.suppress(SingularCovarianceError):
        one = iterate(rows, whole, alone, stop=Stop("change", 0.0), max_iter=2)
        for axis in principal_axes(rows, one.params, scale)[:AXES]:
            start = alone.feasible(halved(one.params, axis, model.family))
            two = climb(rows, start, alone, one.history[-1] + max(least, best.gain) / share, CUT_ROUNDS)
            gain = share * (two.history[-1] - one.history[-1])
            if gain > best.gain and two.status is not Status.DEGENERATE and not are_thin(alone, two).any():
                best = Halves(gain, two.params)
    return best


def only(params: Params, k: int) -> Params:
    """Return component k as a mixture."""
    covariances, factor = (m if len(m) == 1 else m[[k]] for m in (params.covariances, params.factor))
    return Params(np.ones(1), params.means[[k]], covariances, factor)


def principal_axes(rows: ArraySource, params: Params, scale: Array) -> Array:
    """Return one standard deviation of a single component's rows along each principal axis, the longest first, (D, D).

    These are axes of the rows, not of the covariance: that of a sphere has none.
    """
    D = len(scale)
    covariance = COVARIANCES["full"].estimate(evaluate(rows, params, (1, D, D)), 0.0)[2][0]
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    return np.asarray((scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))).T[::-1])


def halved(params: Params, axis: Array, family: Covariance) -> Params:
    """Return a single component as two, whose means are OFFSET times `axis` (D,) to both sides of its own."""
    n, step = 1 if family.shared else 2, OFFSET * axis
    means = np.concatenate([params.means - step, params.means + step])
    covariances, factor = (np.repeat(m, n, axis=0) for m in (params.covariances, params.factor))
    return Params(np.full(2, 0.5), means, covariances, factor)


def climb(source: Source, params: Params, model: Model, target: float, rounds: Sequence[int]) -> Result:
    """Run EM for as long as it may reach a target: an objective per row.

    After each of `rounds` iterations it is given up if LOOKAHEAD more steps as large as the last would not do.
    """
    result: Result | None = None
    for most in rounds:
        result = iterate(source, params, model, stop=Stop("change", CHANGE), max_iter=most, resume=result)
        short = target - result.history[-1]
        if result.status is not Status.MAX_ITER or short > LOOKAHEAD * (result.history[-1] - result.history[-2]):
            break
    assert result is not None
    return result
