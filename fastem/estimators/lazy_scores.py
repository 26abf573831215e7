"""Scores of Dask collections: lazy collections of the same partitions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.rows import rows_for
from fastem.estimators.state import MixtureState, has_noise, set_names
from fastem.kernels.jit import threads
from fastem.sources.dask_source import DaskSource, is_dask
from fastem.sources.errors import has_errors
from fastem.sources.rows import cast_rows

M = TypeVar("M", bound=Callable[..., Any])
NAMES = {"predict": "label", "score_samples": "log_likelihood"}  # of the Series that these methods make


def lazy_on_dask(method: M) -> M:
    """Make a method that scores the rows of X return a lazy collection where X is a Dask collection."""

    @wraps(method)
    def scores(self: Any, X: Any, **options: Any) -> Any:
        if is_dask(X) or isinstance(X, DaskSource):
            return lazy_scores(self, method.__name__, X, **options)
        return method(self, X, **options)

    return scores  # type: ignore[return-value]


def lazy_scores(model: MixtureState, method: str, X: Any, **options: Any) -> Any:
    """Return the scores of a Dask collection as a lazy one of the same partitions; `options` are the method's.

    Those of an Array are an Array of the same chunks; those of a DataFrame are a Series or DataFrame of the same index.
    """
    from dask import delayed

    if options.pop("error_covariance", None) is not None or has_errors(X):
        raise ValueError(
            f"{method} of a Dask collection is lazy, and takes no errors of measurement: compute some rows first"
        )
    source: Any = rows_for(model, X)
    bare = copy.copy(model)
    set_names(bare, None)  # they have been compared
    arguments = partial(score_partition, **options), delayed(bare, traverse=False), method
    dtype = np.dtype(np.int64) if method == "predict" else source.dtype
    wide, X = method == "predict_proba", source.X
    names = probability_names(model)
    if hasattr(X, "columns"):
        from pandas import DataFrame, Series

        table = {name: Series(dtype=dtype) for name in names}
        return X.map_partitions(*arguments, meta=DataFrame(table) if wide else Series(dtype=dtype, name=NAMES[method]))
    if wide:
        return X.map_blocks(*arguments, chunks=(X.chunks[0], (len(names),)), meta=np.empty((0, 0), dtype))
    return X.map_blocks(*arguments, drop_axis=1, meta=np.empty(0, dtype))


def score_partition(chunk: Any, model: Any, method: str, **options: Any) -> Any:
    """Return the scores of a partition, computed in one thread."""
    rows = cast_rows(chunk, min_rows=0)
    with threads(1):
        scores: NDArray[Any] = getattr(model, method)(
            rows if len(rows) else np.zeros((1, rows.shape[1]), rows.dtype), **options
        )
    scores = scores[: len(rows)]
    if not hasattr(chunk, "index"):
        return scores
    from pandas import DataFrame, Series

    if scores.ndim == 1:
        return Series(scores, chunk.index, name=NAMES[method])
    return DataFrame(scores, chunk.index, probability_names(model))


def probability_names(model: MixtureState) -> list[str]:
    """Return the names of the columns of probabilities: p0, p1, ... and, with noise, p_noise."""
    return [f"p{k}" for k in range(len(model.means_))] + ["p_noise"] * has_noise(model)
