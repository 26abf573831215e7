"""Run the fused pass and the scoring pass over rows with gaps, those of each pattern of observed features together.

The passes are those of `mixture`. A tile is loaded of rows that lie anywhere, of which it takes the observed features
alone, and the mixture is the marginal one of these. A call does many patterns, in each of which as many features are
observed: a thousand calls, one for each, would take longer than their work.

The kernels compile where they are first used: complete rows need none of them.
"""

from typing import Any, NamedTuple

from numba import njit, types

from fastem.kernels.compiler import HELPER
from fastem.kernels.jit import Kernel
from fastem.kernels.memory import as_float32, as_float64
from fastem.kernels.mixture import (
    HARD,
    Outputs,
    Rows,
    accumulate_rows,
    add_best,
    add_softly,
    add_softly_within,
    fill,
    fill_scores,
    read_only,
    score_rows,
)


class Marginal(NamedTuple):
    """A `mixture.Mixture` of the observed features of a pattern, and where its rows are."""

    lognorm: Any
    means: Any
    factor: Any
    centre: Any
    white: Any
    order: Any
    features: Any


@njit(**HELPER)
def fetch_observed(X, first, n, mixture, tile):
    """Load a tile of the observed features of rows order[first], order[first + 1], ...; zeros if none is observed."""
    if X.itemsize == 4:
        fetch_from(as_float32(X), first, n, mixture, tile)
    else:
        fetch_from(as_float64(X), first, n, mixture, tile)


@njit(**HELPER)
def fetch_from(X, first, n, mixture, tile):
    """Do what `fetch_observed` does, with rows of their own type."""
    order, features, xt = mixture.order, mixture.features, tile.xt
    if features.size == 0:
        fill(xt[0], 0.0)
    for d in range(features.size):
        feature = features[d]
        for b in range(n):
            xt[d, b] = X[order[first + b], feature]


def accumulator(add):
    """Return the worker that adds tiles with `add`."""

    def worker(
        task,
        n_tasks,
        X,
        weight,
        labels,
        allowed,
        resp,
        order,
        pieces,
        features,
        lognorm,
        means,
        factor,
        centre,
        white,
        form,
        out,
        scratch,
    ):
        """Do pieces task, task + n_tasks, ... of the fused pass.

        X (N, D) IN: the rows, NaN where a value is missing;
        order (n) IN: the rows of the patterns, those of a pattern together;
        weight, labels, allowed, resp IN: as in `mixture.accumulator`, in this order;
        pieces (S, 3) IN: rows order[start:stop] are of a pattern: start, stop and the pattern's number;
        features (P, V) IN: the observed features of each pattern, or (P, 0): none;
        lognorm (P, K), means (P, K, V), factor (P, F, V|1, V|1) IN: their mixtures, of one feature where none is
        observed; centre (V), white (0, 0): rows are not whitened;
        out (S, `n_values`) OUT: the statistics of each piece;
        scratch (n_tasks, `scratch_size`): as in `mixture.accumulator`.
        """
        given = Rows(X, weight, labels, allowed, resp)
        for i in range(task, out.shape[0], n_tasks):
            start, stop, p = pieces[i, 0], pieces[i, 1], pieces[i, 2]
            mixture = Marginal(lognorm[p], means[p], factor[p], centre, white, order, features[p])
            fill(out[i], 0.0)
            accumulate_rows(fetch_observed, add, given, start, stop, mixture, form, out[i], scratch[task])

    return worker


def score_worker(
    task,
    n_tasks,
    X,
    order,
    pieces,
    features,
    lognorm,
    means,
    factor,
    centre,
    white,
    density,
    label,
    resp,
    joint,
    top_index,
    top_resp,
    scratch,
):
    """Do pieces task, task + n_tasks, ... of scoring, and fill each output that has a size, in the order of `order`.

    Outputs are as in `mixture.scorer`, other arguments as in `accumulator`.
    """
    outputs = Outputs(density, label, resp, joint, top_index, top_resp)
    for i in range(task, pieces.shape[0], n_tasks):
        start, stop, p = pieces[i, 0], pieces[i, 1], pieces[i, 2]
        mixture = Marginal(lognorm[p], means[p], factor[p], centre, white, order, features[p])
        score_rows(fetch_observed, fill_scores, X, start, stop, mixture, outputs, scratch[task])


def _patterns(real):
    """Return the types of order, pieces, features, lognorm, means, factor, centre and white."""
    places = read_only(types.int32, 1), read_only(types.int64, 2), read_only(types.int64, 2)
    return *places, read_only(real, 2), read_only(real, 3), read_only(real, 4), read_only(real, 1), read_only(real, 2)


def _accumulate_types(real):
    rows = read_only(types.float64, 1, "A"), read_only(types.int64, 1, "A")
    given = *rows, read_only(types.boolean, 2, "A"), read_only(types.float64, 2, "A")
    return *given, *_patterns(real), types.intp, types.float64[:, ::1], real[:, ::1]


def _score_types(real):
    rows, indices = types.float64[:, ::1], types.int64[:, ::1]
    outputs = types.float64[::1], types.int64[::1], rows, rows, indices, rows
    return *_patterns(real), *outputs, real[:, ::1]


accumulate_soft = Kernel(accumulator(add_softly), _accumulate_types, "accumulate_observed_soft")
accumulate_within = Kernel(accumulator(add_softly_within), _accumulate_types, "accumulate_observed_within")
accumulate_hard = Kernel(accumulator(add_best), _accumulate_types, "accumulate_observed_hard")
score = Kernel(score_worker, _score_types, "score_observed")


def accumulate(mode: int, X: Any, weight: Any, labels: Any, allowed: Any, *others: Any) -> None:
    """Run the fused pass, SOFT or HARD; the arguments are those of the worker of `accumulator`."""
    kernel = accumulate_within if labels.size or allowed.size else accumulate_soft
    (accumulate_hard if mode == HARD else kernel)(X, weight, labels, allowed, *others)
