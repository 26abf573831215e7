"""Passes over rows of which some features are missing: the kernels' ordinary work, pattern by pattern.

Rows are taken in windows, as large as memory permits, and sorted there by the pattern of features that are observed.
Kernels do the rows of a pattern together, of which they see the observed features alone, under the marginal mixture of
these. What their sums about the means lack is what is expected of the missing features. That is linear in what is
observed, so that the moments of D features follow from those of V, once for each pattern and window:

    s1 = A s1_o    s2 = A s2_o A' + s0 C    A = [I; B]    C = [0, 0; 0, cov_mm - B cov_om]

where `fastem.model.incomplete` has B. Windows lie on an absolute grid of rows and their patterns are in a fixed order:
so the bits depend neither on threads nor on where the rows come from. Arithmetic is in float64, whatever the rows.

A row of which nothing is observed counts for nothing but its labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import mixture, patterns
from fastem.kernels.jit import count_tasks
from fastem.kernels.lanes import aligned
from fastem.kernels.micro import DIAG, FULL, ROWS
from fastem.kernels.mixture import HARD, SOFT
from fastem.model.incomplete import observe
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.layout import KernelMixture
from fastem.passes.patterns import KnownPatterns, Patterns
from fastem.passes.scorer import Scores
from fastem.passes.sizes import block_rows, tile_rows, work
from fastem.passes.sums import Accumulator, Given, Sums, reduced, unpacked
from fastem.sources.blocks import Block

WINDOW_BYTES = 64 << 20  # of what is kept of the rows of a window
GROUP_BYTES = 4 << 20  # of what is made of the patterns of a group: it stays in the cache
NOT_WHITE = np.zeros((0, 0))


def window_rows(width: int) -> int:
    """Return the rows of a window, a power of two, where `width` numbers are kept of each."""
    return 1 << max(7, int(np.log2(WINDOW_BYTES / (8 * width))))


class Group:
    """Patterns of a window in which equally many features are observed, as the kernels take them.

    Attributes
    ----------
    patterns : (P, D) bool
        Which features are observed.
    mixture : Observed
    rows : list of P slices
        The rows of each pattern, in the order of all patterns of the window.
    K, V : int
        Of the kernels: K has noise, and V is at least 1.
    pieces : (S, 3) int64
        Consecutive rows of a pattern, in the order of all patterns of the window: start, stop, and the number of the
        pattern within the group.
    first : (P,) int
        The first piece of each pattern.
    """

    def __init__(self, params: Params, found: Patterns, numbers: NDArray[np.intp]) -> None:
        self.patterns = found.observed[numbers]
        self.mixture = observe(params, self.patterns)
        _, self.K, self.V = self.mixture.means.shape
        starts, stops, size = found.bounds[numbers], found.bounds[numbers + 1], block_rows(self.K, self.V)
        self.rows = list(map(slice, starts.tolist(), stops.tolist()))
        n_pieces = -(-(stops - starts) // size)
        self.first = np.cumsum(n_pieces) - n_pieces
        pattern = np.repeat(np.arange(len(numbers)), n_pieces)
        start = starts[pattern] + size * (np.arange(len(pattern)) - self.first[pattern])
        self.pieces = np.column_stack([start, np.minimum(start + size, stops[pattern]), pattern])

    @property
    def arguments(self) -> tuple[NDArray[Any], ...]:
        """Return the kernels' arguments that describe the pieces and their mixtures."""
        own, features = self.mixture, np.ascontiguousarray(self.mixture.features[:, : self.mixture.V])
        return self.pieces, features, own.log_norm, own.means, own.factor, np.zeros(self.V), NOT_WHITE

    def scratch(self) -> Array:
        """Return the memory that the tasks of a call work in, a row for each."""
        n_rows = int((self.pieces[:, 1] - self.pieces[:, 0]).sum())
        flops = work(n_rows, self.K, self.V, FULL if self.mixture.factor.shape[-2] > 1 else DIAG)
        size = mixture.scratch_size(self.V, self.K, tile_rows(self.K, self.V), 8)
        return aligned((count_tasks(len(self.pieces), flops), size), np.float64)


def groups(params: Params, found: Patterns) -> Iterator[Group]:
    """Yield the groups of the patterns of a window, in a fixed order; memory is bounded."""
    each = 8 * (5 * params.covariances.size + 4 * params.n_columns * params.means.shape[1])
    for numbers in found.groups(max(1, GROUP_BYTES // each)):
        yield Group(params, found, numbers)


class MissingAccumulator:
    """The fused pass over rows with gaps.

    Parameters
    ----------
    params, shape, mode, second_moments, distances, exact
        As of `fastem.passes.sums.Accumulator`.
    known : KnownPatterns or None
        What earlier passes over the same rows have found. None, the default: nothing.

    Raises
    ------
    ValueError
        For anything but passes of EM, soft or hard: rows with gaps have no moments without a mixture.
    """

    def __init__(
        self,
        params: Params,
        shape: tuple[int, ...] | None = None,
        mode: int = SOFT,
        *,
        second_moments: bool = True,
        distances: bool = False,
        exact: bool = False,
        known: KnownPatterns | None = None,
    ) -> None:
        self.shape = params.covariances.shape
        if mode not in (SOFT, HARD) or distances or not second_moments or shape not in (None, self.shape):
            raise ValueError("rows with missing values have no moments but those that a mixture expects of them")
        self.params, self.mode, self.known = params, mode, known or KnownPatterns()
        self.whole = Accumulator(params, mode=mode, exact=True)
        self.block_rows = self.slice_rows = window_rows(params.means.shape[1])

    def __call__(self, block: Block) -> Stats:
        """Return the statistics of a block of rows."""
        return self.sums(block).stats()

    def sums(self, block: Block) -> Sums:
        """Return the statistics of a block, to be added: only the last block may end within `block_rows` rows."""
        starts = range(0, len(block.X), self.block_rows)
        windows = [self._window(cut_window(block, start, self.block_rows)) for start in starts]
        return Sums(self, self.whole.layout(np.dtype(np.float64)), len(block.X), np.array(windows))

    def _window(self, block: Block) -> Array:
        """Return the statistics of a window as one vector."""
        found = self.known.of(block).informative(block.labels)
        given = self.whole.given(block).take(found.order)
        (K, D), head = self.params.means.shape, mixture.N_SCALARS + self.params.n_columns
        total = np.zeros(head + K * D + int(np.prod(self.shape)))
        for group in groups(self.params, found):
            total += self._expected(group, self._observed(group, block.X, found.order, given))
        return total

    def _observed(self, group: Group, X: NDArray[Any], order: NDArray[np.int32], given: Given) -> Array:
        """Return the kernel's sums over the rows of each pattern of a group, (P, n_values)."""
        out = np.empty((len(group.pieces), mixture.n_values(group.K, group.V, self.whole.form)))
        others = self.whole.form, out, group.scratch()
        patterns.accumulate(self.mode, X, *given.arguments(), order, *group.arguments, *others)
        return np.asarray(np.add.reduceat(out, group.first, axis=0))

    def _expected(self, group: Group, sums: Array) -> Array:
        """Return the statistics that are expected of all features, given the sums of a group, as one vector."""
        P, K = len(sums), len(self.params.means)
        head, moments = np.split(sums, [mixture.N_SCALARS + group.K], axis=1)
        moments = moments.reshape(P, group.K, -1, ROWS)[:, :K]  # without noise
        s1, s2 = unpacked(moments.reshape(P * K, -1, ROWS), self.whole.form, group.V)
        s2 = reduced(s2.reshape(P, K, *s2.shape[1:]), self.shape)
        mass = head[:, mixture.N_SCALARS : mixture.N_SCALARS + K]
        if self.shape[0] == 1:
            mass = mass.sum(axis=1, keepdims=True)
        s1, s2 = group.mixture.expected(mass, s1.reshape(P, K, -1), s2)
        return np.concatenate([head.sum(axis=0), s1.ravel(), s2.ravel()])

    def observed_mass(self, block: Block) -> Array:
        """Return the weight of the rows of each component that show each feature, (K, D)."""
        total = np.zeros(self.params.means.shape)
        for start in range(0, len(block.X), self.block_rows):
            window = cut_window(block, start, self.block_rows)
            found = self.known.of(window).informative(window.labels)
            given = self.whole.given(window).take(found.order)
            for group in groups(self.params, found):
                sums = self._observed(group, window.X, found.order, given)
                mass = sums[:, mixture.N_SCALARS : mixture.N_SCALARS + len(total)]
                total += np.einsum("pk,pd->kd", mass, group.patterns)
        return total

    def stats(self, layout: KernelMixture, total: Array, n_rows: int) -> Stats:
        """Return the statistics that a pass has summed up in `total`."""
        K, D = self.params.means.shape
        scalars, s0, s1, s2 = np.split(total, np.cumsum([mixture.N_SCALARS, self.params.n_columns, K * D]))
        loglik, class_loglik, entropy = scalars.tolist()
        return Stats(
            class_loglik if self.mode == HARD else loglik,
            class_loglik,
            entropy,
            s0[:K],
            s1.reshape(K, D),
            s2.reshape(self.shape),
            self.params.means.astype(np.float64),
            n_rows,
            self.params.noise and self.params.noise._replace(weight=float(s0[-1])),
        )


def cut_window(block: Block, start: int, n_rows: int) -> Block:
    """Return the window of a block that begins `start` rows after it."""
    return block.take(slice(start, start + n_rows))._replace(start=block.start + start)


class MissingScorer:
    """The E-step alone of rows with gaps: a density is that of the features that are observed, 1 if there are none.

    Parameters
    ----------
    params, distances
        As of `fastem.passes.scorer.Scorer`.
    known : KnownPatterns or None
        As of `MissingAccumulator`.

    Raises
    ------
    ValueError
        For distances, which rows with gaps do not have.
    """

    def __init__(self, params: Params, *, distances: bool = False, known: KnownPatterns | None = None) -> None:
        if distances:
            raise ValueError("rows with missing values have no distances")
        self.params, self.known = params, known or KnownPatterns()
        self.block_rows = self.slice_rows = window_rows(max(params.n_columns, params.means.shape[1]))

    def fill(self, block: Block, scores: Scores) -> None:
        """Score the rows of a block into arrays of as many rows."""
        for start in range(0, len(block.X), self.block_rows):
            rows = slice(start, start + self.block_rows)
            self._fill_window(cut_window(block, start, self.block_rows), Scores._make(out[rows] for out in scores))

    def _fill_window(self, block: Block, scores: Scores) -> None:
        """Score the rows of a window."""
        found, ordered = self.known.of(block), Scores._make(np.empty_like(out) for out in scores)
        for group in groups(self.params, found):
            patterns.score(block.X, found.order, *group.arguments, *ordered, group.scratch())
        for out, values in zip(scores, ordered, strict=True):
            if len(out):
                out[found.order] = values
