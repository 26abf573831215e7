"""The E-step of grouped data: of each row only the bin is known that it fell into, and rows are counted by bins.

A source of such data has a row for each bin: its centre, and the count as its weight. Starts see no more than that.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem.kernels.mixture import HARD, LABELS, RESP, SOFT
from fastem.model.grouped import Cells, standard_cells
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.sums import Accumulator
from fastem.sources.blocks import Block

BLOCK_ROWS = 1024


class BinSums(NamedTuple):
    """What a pass has summed up of some bins; they add up in order.

    Attributes
    ----------
    accumulator : BinnedSums
    total : (3 + 3 K,), scalars as in `Stats`, then of each component the mass and the first and second moment
    n_rows : int, bins
    """

    accumulator: Any
    total: Array
    n_rows: int

    def __add__(self, other: Any) -> BinSums:
        return BinSums(self.accumulator, self.total + other.total, self.n_rows + other.n_rows)

    def __radd__(self, other: object) -> BinSums:
        return self if other == 0 else NotImplemented

    def stats(self) -> Stats:
        """Return the statistics of these bins."""
        return self.accumulator.stats(self.total, self.n_rows)  # type: ignore[no-any-return]


class BinnedSums:
    """Sum up bins under a mixture: McLachlan & Jones (1988), Biometrics 44, 571-578, section 2.

    If the data are truncated, rows beyond the outer edges were not counted. As many of them as the mixture makes one
    expect (section 3) are added to the statistics, which then are scaled to the weight of the rows that were counted.

    Parameters
    ----------
    params : Params, of one feature
    edges : (J + 1,), of the bins
    truncated : bool
    """

    block_rows = slice_rows = BLOCK_ROWS

    def __init__(self, params: Params, edges: Array, truncated: bool) -> None:
        self.params, self.edges, self.truncated = params, edges, truncated
        self.mean = params.means[:, 0]
        self.sd = np.sqrt(np.broadcast_to(params.covariances[:, 0, 0], self.mean.shape))
        with np.errstate(divide="ignore"):
            self.log_weights = np.log(params.weights)

    def cells(self, low: Array, high: Array) -> tuple[Array, Cells]:
        """Return the log joint probabilities of intervals and components (n, K), and the components within them."""
        a, b = ((edge[:, None] - self.mean) / self.sd for edge in (low, high))
        cells = standard_cells(a, b)
        return self.log_weights + cells.log_mass, cells

    def sums(self, block: Block) -> BinSums:
        """Return the statistics of the bins of a block, to be added."""
        stop = block.start + len(block.X)
        edges = self.edges[block.start : stop + 1]
        joint, cells = self.cells(edges[:-1], edges[1:])
        return BinSums(self, self.added(block.weights(), joint, cells), len(block.X))

    def added(self, counts: Array, joint: Array, cells: Cells) -> Array:
        """Return the sums over intervals with these counts, (3 + 3 K,)."""
        counted = counts > 0
        w, joint = counts[counted], joint[counted]
        top = joint.max(axis=1, initial=-np.inf)
        resp = np.exp(joint - top[:, None])
        total = top + np.log(resp.sum(axis=1))
        resp = np.exp(joint - total[:, None])
        entropy = -(resp * np.log(np.where(resp > 0, resp, 1.0))).sum(axis=1)
        r = w[:, None] * resp
        first, second = (np.where(r > 0, moment[counted], 0.0) for moment in cells[1:])
        moments = (r.sum(axis=0), (r * first).sum(axis=0) * self.sd, (r * second).sum(axis=0) * self.sd**2)
        return np.concatenate([[w @ total, w @ top, w @ entropy], *moments])

    def stats(self, total: Array, n_rows: int) -> Stats:
        """Return the statistics that a pass has summed up in `total`."""
        K = len(self.mean)
        scalars, moments = total[:3].copy(), total[3:].reshape(3, K)
        if self.truncated:
            outside, log_inside = self.not_counted(moments[0].sum())
            scalars[:2] -= moments[0].sum() * log_inside
            moments = (moments + outside) * np.exp(log_inside)
        s0, s1, s2 = moments
        if len(self.params.covariances) == 1:
            s2 = s2.sum(keepdims=True)
        loglik, class_loglik, entropy = scalars.tolist()
        origin = self.params.means.copy()
        return Stats(loglik, class_loglik, entropy, s0, s1[:, None], s2[:, None, None], origin, n_rows)

    def not_counted(self, weight: float) -> tuple[Array, float]:
        """Return the moments (3, K) of the rows that were not counted beside rows of this weight.

        Return also the logarithm of the probability that a row is counted.
        """
        low, high = self.edges[:1], self.edges[-1:]
        log_inside = float(np.logaddexp.reduce(self.cells(low, high)[0], axis=None))
        low, high = np.append(-np.inf, high), np.append(low, np.inf)
        joint, cells = self.cells(low, high)
        counts = weight * np.exp(np.logaddexp.reduce(joint, axis=1) - log_inside)
        return self.added(counts, joint, cells)[3:].reshape(3, -1), log_inside


def binned_accumulator(
    params: Params,
    shape: tuple[int, ...] | None = None,
    mode: int = SOFT,
    *,
    edges: Array,
    truncated: bool,
    **options: Any,
) -> Accumulator | BinnedSums:
    """Return what sums up bins. Where components are given, as in starts, it takes all rows at the bins' centres."""
    if mode in (HARD, LABELS, RESP):
        return Accumulator(params, shape, mode, **options)
    return BinnedSums(params, edges, truncated)


def no_scorer(*args: Any, **options: Any) -> NoReturn:
    """Raise a ValueError: counts in bins have no scores."""
    raise ValueError("counts in bins have no scores: pass places to predict and score_samples")
