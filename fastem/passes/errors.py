"""The E-step of rows that have errors of measurement, each row its own: statistics of true places, and scores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import errors as kernel
from fastem.kernels.jit import count_tasks
from fastem.kernels.lanes import aligned
from fastem.kernels.mixture import HARD, LABELS, N_SCALARS, RESP, SOFT
from fastem.model.matrices import Array, inverse_triangular
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.scorer import Scorer, Scores
from fastem.passes.sizes import BLOCK_FLOPS, MAX_BLOCKS, SLICE_BYTES, SLICE_FLOPS
from fastem.passes.sums import NO_COLUMN, NO_MATRIX, Accumulator, Given, Sums, given_of, in_form
from fastem.sources.blocks import Block

LOST = (
    "Beside the error_covariance those of the mixture are lost to rounding: errors are too large, and too strongly "
    "correlated. For a feature that was not measured, pass an infinite variance."
)
SOME_ARE_LOST = f"The covariances of some rows, errors included, are singular. {LOST}"
BATCH_BYTES = 1 << 23  # of joint densities, or of matrices that LAPACK works on, at a time


class ErrorsMixture:
    """A mixture as the kernels of rows with errors take it, and the sizes of what they work on.

    Attributes
    ----------
    log_weights : (columns,) with noise last
    means : (K, D)
    covariances, root : (K, D, D), with root root' = covariance, root lower triangular
    widths : (D,) logarithms of the sides of the box of noise; zeros if there is none
    block_rows, slice_rows : int, as of an `Accumulator`: functions of K and D alone
    """

    def __init__(self, params: Params) -> None:
        (K, D), noise = params.means.shape, params.noise
        with np.errstate(divide="ignore"):
            self.log_weights = np.log(params.shares)
        self.means = np.ascontiguousarray(params.means)
        self.covariances, factor = matrices(params.covariances, K, D), matrices(params.factor, K, D)
        self.root = inverse_triangular(factor)
        self.widths = np.zeros(D) if noise is None else np.log(noise.box[1] - noise.box[0])
        self.K, self.D, self.columns = K, D, params.n_columns
        flops = kernel.row_flops(K, D)
        rows = 128
        while rows < 16384 and rows * flops < BLOCK_FLOPS[0]:
            rows *= 2
        n_values = kernel.n_values(K + 1, K, D)
        blocks = min(MAX_BLOCKS, SLICE_BYTES / (8 * n_values), SLICE_FLOPS / (rows * flops))
        self.block_rows, self.slice_rows = rows, rows << max(1, int(np.log2(blocks)))

    @cached_property
    def arguments(self) -> tuple[Array, ...]:
        """Return the kernels' arguments that describe the mixture."""
        return self.log_weights, self.means, self.covariances, self.root, self.widths

    def scratch(self, n_rows: int, full: bool) -> Array:
        """Return the memory that the tasks of a call work in, a row for each."""
        n_tasks = count_tasks(-(-n_rows // self.block_rows), float(n_rows * kernel.row_flops(self.K, self.D)))
        return aligned((n_tasks, kernel.scratch_size(self.D, full, self.K, self.columns)), np.float64)


def matrices(canonical: Array, K: int, D: int) -> Array:
    """Return matrices in canonical shape as (K, D, D), contiguous."""
    if canonical.shape[-2] == 1:
        canonical = np.eye(D) * np.broadcast_to(canonical, (len(canonical), 1, D))
    return np.ascontiguousarray(np.broadcast_to(canonical, (K, D, D)))


def flat_errors(block: Block) -> tuple[Array, bool]:
    """Return the errors of a block as the kernels take them, (n, D) or (n, D * D), and whether they are matrices."""
    assert block.errors is not None
    return block.errors.reshape(len(block.X), -1), block.errors.ndim == 3


def lost_beside(roots: Array, variances: Array) -> NDArray[np.bool_]:
    """Tell which covariances, errors included, have a pivot that is lost to rounding beside the errors' variance.

    Parameters
    ----------
    roots : (..., D), diagonals of the Cholesky factors of covariances
    variances : (..., D), of errors
    """
    return np.asarray((roots**2 < kernel.ROUNDING * variances).any(axis=-1))


def without_errors_of_absent_rows(block: Block) -> Block:
    """Return a block in which rows of weight 0 have no errors, beside which nothing of the mixture is lost."""
    assert block.errors is not None
    if block.weight is None or block.weight.all():
        return block
    absent = (block.weight == 0).reshape(-1, *[1] * (block.errors.ndim - 1))
    return block._replace(errors=np.where(absent, 0.0, block.errors))


class ErrorsAccumulator:
    """The fused pass over rows with errors: a function from a Block to its `Sums`; in float64.

    The statistics are those of the rows' true places, as far as row and error tell of them: s1 and s2 are expectations.

    Parameters
    ----------
    params, shape, mode : as of `fastem.passes.sums.Accumulator`; the mode is SOFT or HARD
    """

    def __init__(self, params: Params, shape: tuple[int, ...] | None, mode: int) -> None:
        self.params, self.mode = params, mode
        self.shape = params.covariances.shape if shape is None else shape
        self.mixture = ErrorsMixture(params)
        self.block_rows, self.slice_rows = self.mixture.block_rows, self.mixture.slice_rows

    def sums(self, block: Block) -> Sums:
        """Return the statistics of a block, to be added: only the last block may end within `block_rows` rows."""
        mixture, (n, D), block = self.mixture, block.X.shape, without_errors_of_absent_rows(block)
        n_blocks = -(-n // self.block_rows)
        out = np.empty((n_blocks, kernel.n_values(mixture.columns, mixture.K, D)))
        given = given_of(block, self.params)
        if D > kernel.MOST_FEATURES:
            for i, start in enumerate(range(0, n, self.block_rows)):
                rows = slice(start, start + self.block_rows)
                out[i] = batched_sums(block.take(rows), given.take(rows), mixture, self.mode == HARD)
            return Sums(self, mixture, n, out)
        errors, full = flat_errors(block)
        kernel.accumulate(D, full)(
            block.X,
            errors,
            NO_COLUMN if given.weight is None else given.weight,
            NO_COLUMN.astype(np.int64) if given.labels is None else given.labels,
            NO_MATRIX.astype(np.bool_) if given.allowed is None else given.allowed,
            *mixture.arguments,
            self.mode == HARD,
            self.block_rows,
            out,
            mixture.scratch(n, full),
        )
        if (out[:, 1] == np.inf).any():
            raise ValueError(SOME_ARE_LOST)
        return Sums(self, mixture, n, out)

    def stats(self, layout: ErrorsMixture, total: Array, n_rows: int) -> Stats:
        """Return the statistics that a pass has summed up in `total` (n_values)."""
        K, D, columns, root = layout.K, layout.D, layout.columns, layout.root
        scalars, s0, sums = np.split(total, [N_SCALARS, N_SCALARS + columns])
        sums = sums.reshape(K, -1)
        second, (row, column) = np.zeros((K, D, D)), np.tril_indices(D)
        second[:, row, column] = second[:, column, row] = sums[:, D:]
        second += s0[:K, None, None] * np.eye(D)
        s1 = np.einsum("kij,kj->ki", root, sums[:, :D])
        s2 = in_form(np.einsum("kij,kjl,kml->kim", root, second, root, optimize=True), self.shape)
        loglik, class_loglik, entropy = scalars.tolist()
        if self.mode == HARD:
            loglik = class_loglik
        noise = self.params.noise and self.params.noise._replace(weight=float(s0[-1]))
        return Stats(loglik, class_loglik, entropy, s0[:K].copy(), s1, s2, layout.means.copy(), n_rows, noise)


def errors_accumulator(
    params: Params, shape: tuple[int, ...] | None = None, mode: int = SOFT, **options: Any
) -> ErrorsAccumulator | Accumulator:
    """Return what sums up rows with errors. Where components are given, as in starts, it takes rows as they are."""
    if mode in (LABELS, RESP) or options.get("distances"):
        return Accumulator(params, shape, mode, **options)
    return ErrorsAccumulator(params, shape, mode)


# --- scores ---------------------------------------------------------------------------------------------------------


class ErrorsScorer:
    """The E-step alone of rows with errors."""

    def __init__(self, params: Params) -> None:
        self.mixture = ErrorsMixture(params)
        self.block_rows, self.slice_rows = self.mixture.block_rows, self.mixture.slice_rows

    def fill(self, block: Block, scores: Scores) -> None:
        """Score the rows of a block into arrays of as many rows."""
        step = max(1, BATCH_BYTES // (8 * self.mixture.columns * self.block_rows)) * self.block_rows
        for start in range(0, len(block.X), step):
            rows = slice(start, start + step)
            fill_scores(
                self.joint(block.take(rows)), self.mixture.log_weights, Scores._make(out[rows] for out in scores)
            )

    def joint(self, block: Block) -> Array:
        """Return the log joint densities of rows and components, (n, columns)."""
        mixture, (n, D) = self.mixture, block.X.shape
        if D > kernel.MOST_FEATURES:
            return np.concatenate([np.empty((0, mixture.columns)), *(p.joint for p in true_places(block, mixture))])
        out = np.empty((n, mixture.columns))
        errors, full = flat_errors(block)
        score = kernel.score(D, full)
        score(block.X, errors, *mixture.arguments, self.block_rows, out, mixture.scratch(n, full))
        if full and out.max(initial=-np.inf) == np.inf:
            raise ValueError(SOME_ARE_LOST)
        return out


def errors_scorer(params: Params, *, distances: bool = False) -> ErrorsScorer | Scorer:
    """Return what scores rows with errors; with `distances` it takes rows as they are."""
    return Scorer(params, distances=True) if distances else ErrorsScorer(params)


def fill_scores(joint: Array, log_weights: Array, scores: Scores) -> None:
    """Fill arrays of scores from log joint densities (n, columns)."""
    top, home = joint.max(axis=1), int(np.argmax(log_weights > -np.inf))
    nowhere = top == -np.inf
    exponentials = np.exp(joint - np.where(nowhere, 0.0, top)[:, None])
    exponentials[nowhere, home] = 1.0
    total = exponentials.sum(axis=1)
    resp = exponentials / total[:, None]
    if scores.density.size:
        scores.density[:] = top + np.log(total)
    if scores.label.size:
        scores.label[:] = resp.argmax(axis=1)
    if scores.resp.size:
        scores.resp[:] = resp
    if scores.joint.size:
        scores.joint[:] = joint
    if scores.top_index.size:
        scores.top_index[:] = np.argsort(-resp, axis=1, kind="stable")[:, : scores.top_index.shape[1]]
        scores.top_resp[:] = np.take_along_axis(resp, scores.top_index, axis=1)


# --- the same with LAPACK, for many features, and where the true place of each row is asked for ---------------------


class Places(NamedTuple):
    """What a mixture tells of the true places of some rows: mean + root u, where u has the moments a and I - V' V.

    Attributes
    ----------
    rows : slice, which rows of the block these are
    joint : (n, columns), log joint densities
    a : (n, K, D)
    V : (n, K, D, D)
    """

    rows: slice
    joint: Array
    a: Array
    V: Array


def true_places(block: Block, mixture: ErrorsMixture) -> Iterator[Places]:
    """Yield what a mixture tells of the true places of a block's rows, some rows at a time."""
    (n, D), K = block.X.shape, mixture.K
    step = max(1, BATCH_BYTES // (8 * K * D * D))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        part = block.take(rows)
        assert part.errors is not None
        S = part.errors if part.errors.ndim == 3 else np.where(np.eye(D, dtype=bool), part.errors[:, None], 0.0)
        yield _places(rows, part.X.astype(np.float64), S, mixture)


def _places(rows: slice, X: Array, S: NDArray[Any], mixture: ErrorsMixture) -> Places:
    """Return what a mixture tells of the true places of rows (n, D) with errors (n, D, D)."""
    D = X.shape[1]
    seen = np.isfinite(np.einsum("nii->ni", S)) & ~np.isnan(X)
    both = seen[:, :, None] & seen[:, None, :]
    S = np.where(both, S, 0.0)
    T = np.where(both[:, None], mixture.covariances + S[:, None], np.eye(D))
    z = np.where(seen[:, None], X[:, None] - mixture.means, 0.0)
    try:
        lower = np.linalg.cholesky(T)
        V: Any = np.linalg.solve(lower, np.where(seen[:, None, :, None], mixture.root, 0.0))
        y = np.linalg.solve(lower, z[..., None])[..., 0]
    except np.linalg.LinAlgError:
        raise ValueError(SOME_ARE_LOST) from None
    roots = np.einsum("nkii->nki", lower)
    if lost_beside(roots[:, mixture.log_weights[: mixture.K] > -np.inf], np.einsum("nii->ni", S)[:, None]).any():
        raise ValueError(SOME_ARE_LOST)
    log_det = 2 * np.log(roots).sum(axis=-1)
    norm = log_det + np.log(2 * np.pi) * seen.sum(axis=1)[:, None]
    joint = mixture.log_weights[: mixture.K] - 0.5 * (norm + (y * y).sum(axis=-1))
    joint = np.where(np.isnan(joint), -np.inf, joint)
    if mixture.columns > mixture.K:
        joint = np.column_stack([joint, mixture.log_weights[-1] - np.where(seen, mixture.widths, 0.0).sum(axis=1)])
    return Places(rows, joint, np.einsum("nkij,nki->nkj", V, y), V)


def batched_sums(block: Block, given: Given, mixture: ErrorsMixture, hard: bool) -> Array:
    """Return the statistics of a block as the kernel sums them up, (n_values,)."""
    K, (n, D) = mixture.K, block.X.shape
    total, (row, column) = np.zeros(kernel.n_values(mixture.columns, K, D)), np.tril_indices(D)
    scalars, s0, sums = np.split(total, [N_SCALARS, N_SCALARS + mixture.columns])
    sums = sums.reshape(K, -1)
    weight = np.ones(n) if given.weight is None else given.weight
    for places in true_places(block, mixture):
        w, joint = weight[places.rows], places.joint
        joint = np.where(may_be(given.take(places.rows), joint.shape), joint, -np.inf)
        scores = Scores.empty(len(w), mixture.columns, density=True, resp=True)
        fill_scores(joint, mixture.log_weights, scores)
        top = joint.max(axis=1)
        there = w > 0
        resp = np.eye(mixture.columns)[joint.argmax(axis=1)] if hard else scores.resp
        entropy = -(resp * np.log(np.where(resp > 0, resp, 1.0))).sum(axis=1)
        scalars += [w[there] @ scores.density[there], w[there] @ top[there], w @ entropy]
        r = w[:, None] * resp
        s0 += r.sum(axis=0)
        r = r[:, :K]
        sums[:, :D] += np.einsum("nk,nki->ki", r, places.a)
        V = places.V * np.sqrt(r)[..., None, None]
        second = np.einsum("nk,nki,nkj->kij", r, places.a, places.a, optimize=True)
        second -= np.einsum("nkti,nktj->kij", V, V, optimize=True)
        sums[:, D:] += second[:, row, column]
    return total


def may_be(given: Given, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which components rows may belong to, (n, columns)."""
    if given.labels is not None:
        return np.equal.outer(given.labels, np.arange(shape[1])) | (given.labels < 0)[:, None]
    return np.ones(shape, dtype=bool) if given.allowed is None else given.allowed
