"""Rows of Dask collections: a pass is one task per partition, on the workers that hold these, and a tree of sums."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastem.files.tables import choose_columns
from fastem.kernels.jit import threads
from fastem.model.matrices import Array
from fastem.sources.blocks import ArraySource, Block, BlockSource, Sample, SourceError, kind_with, rows_at_once
from fastem.sources.errors import are_columns, check_error_shape, check_error_values
from fastem.sources.labels import check_labels
from fastem.sources.parts import Part, PartedSource, sum_pairwise
from fastem.sources.rows import cast_rows, check_again, check_finite, feature_names, has_gaps
from fastem.sources.scans import check_if_not_finite
from fastem.sources.weights import check_again_weights, check_weight_values

T = TypeVar("T")
FAN_IN = 8  # sums that a task adds: a power of two, so that all are added `sum_pairwise`


def is_dask(X: Any) -> bool:
    """Tell whether X is a Dask Array or DataFrame, or another of Dask's collections."""
    return hasattr(X, "__dask_graph__") and hasattr(X, "to_delayed")


class DaskSource(PartedSource):
    """Rows of a Dask Array (N, D) or DataFrame, which stay on the workers. `fastem.as_source` makes such a source.

    A pass over the data is one task per partition. The statistics of these are added pairwise in the order of the
    partitions: so the bits depend on how the rows are cut into partitions, and not on the number of workers. Only
    parameters, once to each worker and pass, and statistics travel. (A start looks at a sample of at most
    max(50,000, 50 n_components) rows, which travel too.) `GaussianMixture.predict`, `predict_proba` and `score_samples`
    of a collection are lazy collections of the same partitions.

    Partitions are computed on each pass: call `persist` on a collection that the workers' memory can hold. A task
    works in one thread, and a worker does as many tasks at a time as it has threads: have at least as many partitions
    as there are threads on the cluster, each of 100,000 rows or more (a task costs Dask a few milliseconds). A worker
    that is lost costs the time to compute its partitions again.

    Parameters
    ----------
    X : dask.array.Array in one chunk along the columns, or dask.dataframe.DataFrame; partitions may be empty
    sample_weight : Dask Array (N,) or Series with the same partitions, an array (N,), or the name of a column
    labels : as `fastem.as_source` takes them, in one of these forms
    columns : names (DataFrame) or positions of the columns wanted, default all but those of the weights, labels, errors
    missing : bool, default False
        whether NaN stands for a value that is missing
    errors : variances (N, D) or covariances (N, D, D) of the rows' errors in one of these forms, or the names of the
        columns of variances; None: rows have no errors of their own

    Raises
    ------
    ValueError, TypeError
        for what is no table of numbers, or for weights in other partitions; in the first pass for NaN, infinity and
        negative weights, with the partition and the row within it
    SourceError
        (an OSError) if a partition cannot be computed, or changes its length: with the pass and the partition, and
        ``.result``, the last complete iteration of the fit

    References
    ----------
    Neal & Hinton (1998), in: Jordan (ed.), Learning in Graphical Models, 355-368 (sums over parts of the data).

    Examples
    --------
    >>> import dask.array as da, fastem
    >>> X = da.concatenate([da.random.RandomState(0).normal(mean, 1.0, (1000, 2), chunks=500) for mean in (0.0, 9.0)])
    >>> X = X.rechunk({1: -1})
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
    >>> model.weights_.round(3)
    array([0.5, 0.5])
    >>> model.predict(X)
    dask.array<score_partition, shape=(2000,), dtype=int64, chunksize=(500,), chunktype=numpy.ndarray>
    """

    def __init__(
        self,
        X: Any,
        sample_weight: Any = None,
        labels: Any = None,
        columns: Sequence[str | int] | None = None,
        missing: bool = False,
        errors: Any = None,
    ) -> None:
        if getattr(X, "ndim", 0) != 2:
            raise ValueError(f"Expected 2D array, got {getattr(X, 'ndim', 0)}D {type(X).__name__} instead")
        self.X, self.weight, self.labels, self.errors = _choose_collections(X, sample_weight, labels, columns, errors)
        self.labelled, self.missing = self.labels is not None, missing
        example = _make_example(self.X)
        rows = cast_rows(example)
        self.n_features, self.dtype, self.columns = rows.shape[1], rows.dtype, feature_names(example)
        self.passes = 0

    def local_rows(self) -> BlockSource:
        """Raise a TypeError: no rows of a Dask collection lie in this process."""
        raise TypeError(
            "the rows of a Dask collection stay on its workers, and this call needs rows here: compute some of them "
            "first. Of a mixture, predict, predict_proba and score_samples take the collection itself, and are lazy "
            "then (to write what they return, use its to_zarr or to_parquet)"
        )

    def sum_over_parts(self, function: Callable[[Part], T | None]) -> T | None:
        """See PartedSource; there is one task per partition, and then each task adds FAN_IN sums."""
        from dask import delayed

        self.passes += 1
        chunks = _delay_partitions(self.X)
        beside = [
            [None] * len(chunks) if values is None else _delay_partitions(values)
            for values in (self.weight, self.labels, self.errors)
        ]
        function = delayed(function, traverse=False)  # one key, which each worker fetches once
        run, combine = delayed(_run_on_partition, pure=False), delayed(_add_results, pure=False)
        tasks = [run(function, *task) for task in zip(self._places(len(chunks)), chunks, *beside, strict=True)]
        sums, width = tasks, len(tasks)
        while width > 1:
            sums = [combine(sums[i : i + FAN_IN]) for i in range(0, width, FAN_IN)]
            width = len(sums)
        numbers = {delay.key: number for delays in (chunks, tasks) for number, delay in enumerate(delays)}
        found = self._compute(sums[0], numbers)
        if isinstance(found, Failure):
            raise found.to_error(self.passes)
        return found  # type: ignore[no-any-return]

    def _places(self, n_parts: int) -> list[Place]:
        """Return what the tasks of all partitions have to know."""
        if self._sizes is None:
            return [Place(number, self.n_features, self.dtype, self.missing) for number in range(n_parts)]
        known, kind = zip(range(n_parts), self.sizes(), self.offsets(), strict=False), (self.dtype, self.missing)
        return [Place(number, self.n_features, *kind, size[0], *start) for number, size, start in known]

    def _compute(self, delay: Any, numbers: dict[Any, int]) -> Any:
        """Return the result of a task; raise a SourceError if it, or a task that it needs, fails.

        `numbers` maps the keys of tasks to the numbers of their partitions.
        """
        from dask.base import get_scheduler

        client: Any = getattr(get_scheduler(collections=[delay]), "__self__", None)
        future: Any = None
        try:
            if client is None:  # no cluster: threads of this process
                return delay.compute()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sending large graph")  # parameters, which are needed
                future = client.compute(delay)
            return future.result()
        except Exception as error:
            failed = future is not None and future.status == "error"
            task = client.run_on_scheduler(_find_blamed_task, key=future.key) if failed else None
            where = f"partition {numbers[task]}" if task in numbers else f"task {task}" if task else "a partition"
            cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise SourceError(f"pass {self.passes} over the data: {where} could not be computed ({cause})") from error


def _find_blamed_task(key: Any, dask_scheduler: Any) -> Any:
    """Return the key of the task whose failure made a task fail; None if the scheduler has forgotten it."""
    task = dask_scheduler.tasks.get(key)
    return task and task.exception_blame and task.exception_blame.key


def _choose_collections(
    X: Any, weight: Any, labels: Any, columns: Sequence[str | int] | None, errors: Any
) -> tuple[Any, Any, Any, Any]:
    """Return collections of rows, weights, labels and errors (or None for these) that have the same partitions."""
    names = list(X.columns) if hasattr(X, "columns") else None
    beside = [name for name in (weight, labels) if isinstance(name, str)]
    if are_columns(errors):
        beside += [str(name) for name in errors]
        errors = X[list(errors)] if names is not None else X[:, list(errors)]
    elif errors is not None:
        errors = _partition_alike(X, "errors", errors)
    weight, labels = _partition_alike(X, "sample_weight", weight), _partition_alike(X, "labels", labels)
    if columns is None and names is not None and beside:
        columns = [name for name in names if name not in beside]
    if columns is not None:
        chosen = choose_columns("X", columns, names, X.shape[1])
        X = X[[names[j] for j in chosen]] if names is not None else X[:, chosen]
    if names is None and X.numblocks[1] != 1:
        raise ValueError(
            f"X is cut into {X.numblocks[1]} chunks along its columns: make rows whole, by X.rechunk({{1: -1}}), and "
            "persist that"
        )
    return X, weight, labels, errors


def _partition_alike(X: Any, what: str, values: Any) -> Any:
    """Return weights or labels as a collection with the partitions of X; `what` names them in messages."""
    frame = hasattr(X, "columns")
    if values is None:
        return None
    if isinstance(values, str):
        if not frame or values not in list(X.columns):
            raise ValueError(f"{what}: there is no column {values!r}")
        return X[values]
    if not is_dask(values):
        if frame or np.isnan(X.shape[0]):
            raise TypeError(f"{what} of a collection of unknown chunk sizes: a Dask Series or Array, or a column")
        from dask import array

        values = array.from_array(np.asarray(values), chunks=-1)
    if not (frame or np.isnan([X.shape[0], *values.shape]).any()):
        if values.shape[:1] != X.shape[:1] or (values.ndim > 1 and what == "sample_weight"):
            raise ValueError(f"{what}.shape == {values.shape}, expected {X.shape[:1]}!")
        return values.rechunk((X.chunks[0], -1, -1)[: values.ndim])
    if values.ndim != 1 or values.npartitions != X.npartitions:
        raise ValueError(
            f"{what}: {values.npartitions} partitions of {values.ndim}D, expected {X.npartitions} of 1D, as of X"
        )
    return values


def _make_example(X: Any) -> Any:
    """Return a few rows that have the dtypes and the names of a collection."""
    return X._meta_nonempty if hasattr(X, "columns") else np.ones((1, X.shape[1]), X.dtype)


def _delay_partitions(collection: Any) -> list[Any]:
    """Return a `dask.delayed.Delayed` for each partition, in order."""
    return list(np.ravel(collection.to_delayed()))


# --- in tasks -----------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """What a task has to know of its partition.

    Attributes
    ----------
    number : int, from 0 on
    n_features : int
    dtype : numpy.dtype of the rows
    missing : bool, whether NaN stands for a value that is missing
    n_rows : int; None in the first pass, which counts the rows and checks their values
    first : int, the number of rows before the partition
    before : float, the sum of their weights
    """

    number: int
    n_features: int
    dtype: np.dtype[Any]
    missing: bool = False
    n_rows: int | None = None
    first: int = 0
    before: float = 0.0

    def to_part(self, chunk: Any, weight: Any, labels: Any, errors: Any) -> Part:
        """Check what Dask holds of a partition, and make a part of it."""
        rows = cast_rows(chunk, n_features=self.n_features, min_rows=0, missing=self.missing)
        rows = rows.astype(self.dtype, copy=False)
        if weight is not None:
            weight = np.asarray(weight, dtype=np.float64)
            if weight.shape != (len(rows),):
                raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(len(rows),)}!")
        if self.n_rows is None and len(rows):
            check_finite(rows, missing=self.missing)
            if weight is not None:
                check_weight_values(weight, 0)
        elif weight is not None:
            check_again_weights(weight, 0)
        if self.n_rows not in (None, len(rows)):
            raise OSError(f"it brought {len(rows)} rows, expected {self.n_rows}")
        if labels is not None:
            labels = check_labels(np.asarray(labels), len(rows))
        if errors is not None:
            errors = np.asarray(errors, dtype=np.float64)
            check_error_shape(errors.shape, len(rows), rows.shape[1], one_per_row=True)
            check_error_values(errors, 0)
        rows_kind = kind_with(errors is not None, self.missing and has_gaps(rows))
        kind = ArraySource if self.n_rows is None else Recomputed if not self.missing else RecomputedWithGaps
        own = kind(rows, weight, labels=labels, rows_kind=rows_kind, errors=errors)
        return Part(self.number, own, self.first, self.before)


class Recomputed(ArraySource):
    """The rows of a partition after the first pass: Dask may have computed them again, and otherwise."""

    check = staticmethod(check_again)

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """See Source."""
        return super().reduce(check_if_not_finite(function, self.check), rows, grain)

    def draw(self, places: Array) -> Sample:
        """See BlockSource; rows are checked first, for a sample has no sums that show what has changed."""
        self.for_each(self.check, rows_at_once(self.n_features))
        return super().draw(places)

    def present(self) -> Sample:
        """See BlockSource."""
        self.for_each(self.check, rows_at_once(self.n_features))
        return super().present()


class RecomputedWithGaps(Recomputed):
    """The same, where NaN stands for a value that is missing."""

    check = staticmethod(partial(check_again, missing=True))


class Failure(NamedTuple):
    """What a task returns that has failed."""

    number: int
    error: Exception

    def to_error(self, number: int) -> Exception:
        """Return the error to raise in pass `number`: it names the partition."""
        text = f"partition {self.number}: {self.error}"
        for kind in (ValueError, TypeError):  # of values
            if isinstance(self.error, kind):
                return kind(text)
        return SourceError(f"pass {number} over the data: {text}")


def _run_on_partition(
    function: Callable[[Part], T | None], place: Place, chunk: Any, weight: Any, labels: Any, errors: Any
) -> T | Failure | None:
    """Run a function on one partition in one thread: as many tasks run at a time as the worker has threads."""
    try:
        with threads(1):
            return function(place.to_part(chunk, weight, labels, errors))
    except Exception as error:
        return Failure(place.number, error)


def _add_results(values: Sequence[Any]) -> Any:
    """Return the sum of values, or the first failure among them."""
    return next((value for value in values if isinstance(value, Failure)), None) or sum_pairwise(values)
