"""Passes under a mixture of factor analysers: products of tiles of rows with the components' planes, by BLAS.

With rows X of a tile, about a centre, the E-step needs X [P_1 ... P_K] and X^2 [1 / Psi_1 ... 1 / Psi_K], and the
sums of the M-step are X' [r_1 y_1 ... r_K y_K] and X^2' [r_1 ... r_K], where y_k = P_k' (x - mean_k). That takes
4 D K (q + 2) flops per row, at the speed of products of matrices; nothing is compiled, and nothing has the size D x D.
All is float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.model.factors import FactorParams, FactorStats, Woodbury
from fastem.model.matrices import Array
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, Source
from fastem.sources.labels import check_range
from fastem.sources.parts import local_rows

TILE_VALUES = 2**21  # of a tile of rows: BLAS starts its threads four times per tile
FEW_FEATURES = 100  # up to which most of the time is for what is no product of matrices
TILE_IN_CACHE = 2**16  # values of a tile then: passes over 10 features take 0.6 us per row, and 1.3 with TILE_VALUES
TILE_ROWS = 16, 2**14
MOST_SPREAD = 1e6  # squared distance of means from a common centre, in uniquenesses: costs 1e-10 of a log density


class Look(NamedTuple):
    """What a group of components sees of a tile of rows.

    Attributes
    ----------
    rows, squares : (n, D), the rows about the centre of the group, and their squares
    y : (n, G, q), products with the planes
    distances : (n, G), squared distances from the components
    """

    rows: Array
    squares: Array
    y: Array
    distances: Array


class Group(NamedTuple):
    """Components whose rows are centred at one place, and what multiplies these rows.

    Attributes
    ----------
    own : slice, of the components, G of them
    centre : (D,)
    planes : (D, G q + G), the planes P_k side by side, then (mean_k - centre) / Psi_k
    weights : (D, G), 1 / Psi_k
    shift : (G, q), P_k' (mean_k - centre)
    square : (G,), the squared length of mean_k - centre, in uniquenesses
    """

    own: slice
    centre: Array
    planes: Array
    weights: Array
    shift: Array
    square: Array

    @classmethod
    def of(cls, params: FactorParams, terms: Woodbury, own: slice, centre: Array) -> Group:
        """Make it of the components `own`."""
        away, planes, precision = params.means[own] - centre, terms.planes[own], terms.precision[own]
        beside = planes.transpose(1, 0, 2).reshape(len(centre), -1)
        return cls(
            own,
            centre,
            np.ascontiguousarray(np.concatenate([beside, (precision * away).T], axis=1)),
            np.ascontiguousarray(precision.T),
            (planes * away[..., None]).sum(axis=1),
            (precision * away**2).sum(axis=1),
        )

    def look(self, X: NDArray[Any]) -> Look:
        """Return what the group sees of rows."""
        Z = np.subtract(X, self.centre, out=np.empty(X.shape))  # contiguous: bits do not depend on the layout of X
        (G, q), products, squares = self.shift.shape, Z @ self.planes, Z * Z
        y = products[:, : G * q].reshape(-1, G, q) - self.shift
        distances = squares @ self.weights - 2 * products[:, G * q :] + self.square
        return Look(Z, squares, y, np.maximum(distances - np.einsum("ngq,ngq->ng", y, y), 0.0))

    def sums(self, seen: Look, resp: Array) -> tuple[Array, ...]:
        """Return the sums of r (G,), r z (D, G), r z^2 (D, G) and r z y' (D, G q) over rows z about the centre."""
        own, G = np.ascontiguousarray(resp[:, self.own]), len(self.shift)
        both = seen.rows.T @ np.concatenate([(seen.y * own[..., None]).reshape(len(own), -1), own], axis=1)
        return own.sum(axis=0), both[:, -G:], seen.squares.T @ own, both[:, :-G]


class Tile(NamedTuple):
    """What the E-step says of a tile of rows.

    Attributes
    ----------
    seen : list of Look, by each group
    joint : (n, K), log weight + log density of each component that a row may belong to, -inf of the others
    density : (n,), their logarithmic sum
    resp : (n, K); a row that is too far from all components belongs to the first one
    """

    seen: list[Look]
    joint: Array
    density: Array
    resp: Array


class FactorPass:
    """The E-step and the sums of a pass, for tiles of rows on a grid that depends on the mixture alone."""

    def __init__(self, params: FactorParams) -> None:
        self.params, self.terms = params, Woodbury.of(params)
        (K, D), centre = params.means.shape, params.weights @ params.means / params.weights.sum()
        spread = (self.terms.precision * (params.means - centre) ** 2).sum(axis=1).max()
        together = [(slice(0, K), centre)]
        apart = [(slice(k, k + 1), params.means[k]) for k in range(K)]
        parts = together if spread <= MOST_SPREAD * D else apart
        self.groups = [Group.of(params, self.terms, *part) for part in parts]
        values = max(D * len(parts), K * (params.loadings.shape[-1] + 1))
        most = TILE_IN_CACHE if D <= FEW_FEATURES else TILE_VALUES
        self.tile_rows = int(np.clip(most // values, *TILE_ROWS))

    @np.errstate(all="ignore")
    def look(self, X: NDArray[Any], allowed: NDArray[np.bool_] | None = None) -> Tile:
        """Return what the E-step says of rows; `allowed` (n, K) are the components that they may belong to."""
        seen = [group.look(X) for group in self.groups]
        joint = self.terms.log_norm - np.concatenate([look.distances for look in seen], axis=1) / 2
        joint[np.isnan(joint)] = -np.inf  # of rows whose squares overflow
        if allowed is not None:
            joint[~allowed] = -np.inf
        top = joint.max(axis=1, keepdims=True)
        far = top[:, 0] == -np.inf
        resp = np.exp(joint - top)
        if far.any():
            first = np.zeros(int(far.sum())) if allowed is None else allowed[far].argmax(axis=1)
            resp[far] = first[:, None] == np.arange(joint.shape[1])
        total = resp.sum(axis=1, keepdims=True)
        return Tile(seen, joint, (top + np.log(total))[:, 0], resp / total)

    @np.errstate(all="ignore")
    def sums(self, block: Block) -> Array:
        """Return the sums of a tile as one vector: three scalars, the number of rows, and those of each group."""
        weight = block.weights()
        tile = self.look(block.X, self.allowed(block))
        present = weight > 0  # 0 times -inf would be NaN
        r, w = tile.resp[present], weight[present]
        logs = np.where(r > 0, r * np.log(r), 0.0).sum(axis=1)
        scalars = w @ tile.density[present], w @ tile.joint[present].max(axis=1), -(w @ logs), len(w)
        resp = tile.resp * weight[:, None]
        parts = zip(self.groups, tile.seen, strict=True)
        arrays = (array.ravel() for group, seen in parts for array in group.sums(seen, resp))
        return np.concatenate([scalars, *arrays])

    def allowed(self, block: Block) -> NDArray[np.bool_] | None:
        """Return the components that rows may belong to, (n, K), as their labels say; None if they say nothing."""
        given, K = block.labels, len(self.params.means)
        if given is None:
            return None
        check_range(given, K, block.start)
        return np.asarray((given[:, None] == np.arange(K)) | (given[:, None] < 0) if given.ndim == 1 else given)

    def stats(self, total: Array) -> FactorStats:
        """Return the statistics that a pass has summed up in `total`."""
        K, D, q = self.params.loadings.shape
        s0, s1, s2, cross, origin = np.empty(K), np.empty((K, D)), np.empty((K, 1, D)), np.empty((K, D, q)), []
        loglik, class_loglik, entropy, n_rows = total[:4].tolist()
        place = 4
        for group in self.groups:
            own, G = group.own, len(group.shift)
            ends = place + np.cumsum([G, D * G, D * G, D * G * q])
            zeroth, first, second, mixed = np.split(total[place : ends[-1]], ends[:-1] - place)
            place = ends[-1]
            s0[own], s1[own], s2[own, 0] = zeroth, first.reshape(D, G).T, second.reshape(D, G).T
            cross[own] = mixed.reshape(D, G, q).transpose(1, 0, 2)
            origin += G * [group.centre]
        sums = s0, s1, s2, np.array(origin), round(n_rows)
        of_factors = {"cross": cross, "params": self.params, "axes": self.terms.axes}
        return FactorStats(loglik, class_loglik, entropy, *sums, **of_factors)  # type: ignore[arg-type]


class FactorSums(NamedTuple):
    """What a pass has summed up of some rows; the sums of consecutive rows are added in their order."""

    work: FactorPass
    total: Array

    def __add__(self, other: FactorSums) -> FactorSums:  # type: ignore[override]
        return FactorSums(self.work, self.total + other.total)

    def __radd__(self, other: object) -> FactorSums:
        return self if other == 0 else NotImplemented  # sums begin with 0

    def stats(self) -> FactorStats:
        """Return the statistics of the rows."""
        return self.work.stats(self.total)


class FactorAccumulator:
    """The pass over complete rows under a mixture of factor analysers; assignments are soft, arithmetic is float64.

    The parameters are those of `fastem.passes.sums.Accumulator`, of which the mixture alone counts.
    """

    def __init__(self, params: FactorParams, *others: Any, **options: Any) -> None:
        self.work = FactorPass(params)
        self.block_rows = self.slice_rows = self.work.tile_rows

    def sums(self, block: Block) -> FactorSums:
        """Return the sums over the rows of a block."""
        return FactorSums(self.work, self.work.sums(block))


class FactorScorer:
    """The E-step alone; parameters as of `fastem.passes.scorer.Scorer`, of which the mixture alone counts."""

    def __init__(self, params: FactorParams, **options: Any) -> None:
        self.work = FactorPass(params)
        self.block_rows = self.slice_rows = self.work.tile_rows

    def fill(self, block: Block, scores: Scores) -> None:
        """Score the rows of a block into arrays of as many rows."""
        for first in range(0, len(block.X), self.block_rows):
            rows = slice(first, first + self.block_rows)
            tile = self.work.look(block.X[rows])
            best = np.argsort(-tile.resp, axis=1, kind="stable")[:, : scores.top_index.shape[1]]
            found = (
                *(tile.density, tile.resp.argmax(axis=1), tile.resp, tile.joint),
                *(best, np.take_along_axis(tile.resp, best, axis=1)),
            )
            for out, values in zip(scores, found, strict=True):
                if len(out):
                    out[rows] = values


def factor_means(source: Source, params: FactorParams) -> Array:
    """Return the posterior means of the factors of each row's most probable component, (N, q)."""
    work, source = FactorPass(params), local_rows(source)
    out = np.empty((source.n_rows, params.loadings.shape[-1]))

    def fill(block: Block) -> None:
        tile = work.look(block.X)
        each = work.terms.factor_means(np.concatenate([seen.y for seen in tile.seen], axis=1))
        own = tile.resp.argmax(axis=1)
        out[block.start : block.start + len(own)] = each[np.arange(len(own)), own]

    source.for_each(fill, work.tile_rows)
    return out
