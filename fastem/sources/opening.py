"""Sources are made here, of whatever holds rows: `as_source`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.files.tables import INPUT_ENDINGS, alternatives, find_columns, map_npy
from fastem.files.text_layout import is_text
from fastem.model.checks import NAME
from fastem.model.frames import is_frame
from fastem.sources.blocks import ArraySource, Source, kind_with, lacks_values
from fastem.sources.dask_source import DaskSource, is_dask
from fastem.sources.errors import (
    are_columns,
    check_columns,
    check_errors,
    check_names_of_errors,
    check_shared_errors,
    refuse_errors,
    split_shared,
)
from fastem.sources.frames import choose_frame_columns, split_frame
from fastem.sources.labels import check_labels
from fastem.sources.readers import FunctionReader, ParquetReader, Reader, SlicedReader, TextReader
from fastem.sources.rows import check_n_features, check_names, check_rows, feature_names, has_gaps
from fastem.sources.streams import StreamSource
from fastem.sources.weights import check_weight

S = TypeVar("S", ArraySource, StreamSource, DaskSource)


def as_source(
    X: Any,
    sample_weight: Any = None,
    labels: Any = None,
    *,
    columns: Sequence[str | int] | None = None,
    missing: bool = False,
    errors: Any = None,
) -> Source:
    """Make a source of rows from wherever they are, for `GaussianMixture`'s methods, `em`, `accumulate` and `moments`.

    All of these take as X whatever this function takes. Call it to choose columns, weights and labels, and to keep what
    the first pass over the rows finds out. Results are the same to the bit wherever the rows come from and in whatever
    pieces they are stored. Memory does not grow with the number of rows, except for what the caller asks to be
    returned: the labels of N rows are N integers.

    Parameters
    ----------
    X : where the rows are
        an (N, D) array-like or data frame (pandas, polars, a Table of pyarrow); a memory map, of which no copy is made;
        any object that has a shape and a dtype and gives an array for ``X[start:stop]``, such as a dataset of h5py or
        an array of Zarr (read in whole chunks);
        a path, Path or str: ``.npy`` is mapped into memory, ``.parquet`` or a folder of such files, in the order of
        their names, is read by row groups with ``pip install "fastem[parquet]"``, tables of text (``.csv``, ``.tsv``,
        ``.txt``, ``.dat``, each also ``.gz``) are parsed anew on each pass with ``pip install "fastem[cli]"``; or a
        `pyarrow.dataset.Dataset`;
        a function without arguments that yields blocks, and the same ones whenever it is called: array-likes (n, D), or
        tuples of one and, in this order, its weights (n,), its labels and its errors, as far as there are any, with
        None for what is not there. It runs in a thread of its own;
        a Dask Array or DataFrame, with ``pip install "fastem[dask]"``: its rows stay on the workers, see
        `fastem.sources.dask_source.DaskSource`;
        a source: it is returned as it is
    sample_weight : (N,) array-like, or an object that slices like one, default None
        weights, not negative; None: every weight is 1. For Parquet and text, the name of a column
    labels : (N,) array-like of int or (N, K) of bool, or an object that slices like one, default None
        the known component of each row, from 0 on, -1 for unknown, see `GaussianMixture.fit`; None: all are unknown.
        For Parquet and text, the name of a column of integers
    columns : sequence of str or int, default None
        names (of frames, Parquet and text) or positions of the columns wanted; None: all columns but those of the
        weights and labels and, in text, a first column without a name that counts the rows
    missing : bool, default False
        whether values may be missing: NaN, pandas' NA, masked entries, nulls of Parquet, empty cells of text. Such rows
        are for `GaussianMixture` with ``missing=True``, `em`, `lbfgs` and `accumulate`. Default: they are refused

    errors : array-like, or an object that slices like one, default None
        the covariances of the errors of measurement, as `GaussianMixture.fit` takes its `error_covariance`: (D, D) for
        all rows, (N, D) variances, or (N, D, D). For frames, Parquet and text also the names (or positions) of the
        columns that hold variances, one for each feature, in the order of the features; they are then no features.
        None: rows have no errors

    Returns
    -------
    Source
        the rows, for any of these functions, as often as wanted

    Raises
    ------
    ValueError, TypeError
        if X is no table of numbers. The first pass over the rows checks values: it raises a ValueError that names the
        row for NaN, infinity, negative weights, and labels that are neither integers nor booleans
    ImportError
        if a package is missing; the message names the extra to install
    SourceError
        (an OSError) if a later pass cannot read its rows. The message names the pass and the block, and ``.result``
        is the last complete iteration of the fit. (A memory map whose file is cut short kills the process.)

    See Also
    --------
    MPISource : Rows on the ranks of MPI.
    GaussianMixture.fit : Takes a source, or whatever this function takes.
    SourceError : Rows could not be read.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> def blocks():
    ...     for seed in range(10):
    ...         yield np.random.default_rng(seed).normal(seed % 2 * 9.0, 1.0, size=(500, 2))
    >>> source = fastem.as_source(blocks)
    >>> source.n_rows, source.n_features
    (5000, 2)
    >>> fastem.GaussianMixture(2, random_state=0).fit(source).weights_.round(3)
    array([0.5, 0.5])
    """
    options = {"missing": missing, "errors": errors, "with_errors": True}
    return find_source(X, sample_weight, labels, columns=columns, **options)


def find_source(
    X: Any,
    sample_weight: Any = None,
    labels: Any = None,
    *,
    columns: Sequence[str | int] | None = None,
    errors: Any = None,
    with_errors: bool = False,
    n_features: int | None = None,
    min_rows: int = 1,
    who: str = NAME,
    missing: bool = False,
    takes_gaps: bool = False,
) -> Source:
    """Do as `as_source`, and raise a ValueError if there are other than `n_features` columns; None means any number.

    Arrays need `min_rows` rows or more; `who` names the caller in messages. A source whose rows may have gaps is
    refused unless values may be `missing`, or the caller `takes_gaps` of sources that were made so. Rows with errors of
    measurement are refused unless the caller takes them `with_errors`.
    """
    if not with_errors:
        refuse_errors(X, errors)
    if hasattr(X, "reduce") and hasattr(X, "for_each"):
        if any(option is not None for option in (sample_weight, labels, columns, errors)):
            raise ValueError(
                "a source has its own weights, labels, columns and errors: pass them to as_source, with the rows"
            )
        check_n_features(X.n_features, n_features)
        if may_have_gaps(X) and not (missing or takes_gaps):
            raise ValueError(f"a source whose rows may have missing values: {who} takes complete rows here{HINT}")
        return X  # type: ignore[no-any-return]
    if isinstance(X, str | PurePath):
        X = map_npy(Path(X)) if is_npy(Path(X)) else Path(X)
    if is_frame(X) and are_columns(errors):
        X, columns, errors = split_frame(X, columns, errors)
    shared, errors = split_shared(errors, X)
    if columns is not None and is_frame(X):
        X, columns = choose_frame_columns(X, columns), None
    if type(X) is not np.ndarray or columns is not None:
        if is_dask(X):
            if missing and shared is not None:
                raise ValueError(ONE_ERROR_AND_GAPS)
            source = DaskSource(X, sample_weight, labels, columns, missing, errors)
            check_n_features(source.n_features, n_features)
            return with_shared_errors(source, shared)
        reader = find_reader(X, sample_weight, columns, labels, missing, errors)
        if reader is not None:
            if missing and shared is not None:
                raise ValueError(ONE_ERROR_AND_GAPS)
            check_n_features(reader.n_features, n_features)
            return with_shared_errors(StreamSource(reader, missing), shared)
    rows = check_rows(X, n_features=n_features, min_rows=min_rows, who=who, missing=missing)
    weight, known = check_weight(sample_weight, len(rows)), check_labels(labels, len(rows))
    check_names_of_errors(errors, feature_names(X))
    own = None if errors is None else check_errors(errors, *rows.shape)
    if missing and shared is not None:
        D = rows.shape[1]
        own, shared = np.broadcast_to(check_shared_errors(shared, D), (len(rows), D, D)), None
    kind = "one error" if shared is not None else kind_with(own is not None, missing and has_gaps(rows))
    return with_shared_errors(ArraySource(rows, weight, feature_names(X), known, kind, own), shared)


HINT = ". For GaussianMixture and fit, pass missing=True"
ONE_ERROR_AND_GAPS = (
    "missing=True does not work with one matrix of errors for rows that are not in memory: give the errors of each row"
)


def may_have_gaps(source: Source) -> bool:
    """Tell whether values may be missing in the rows of a source."""
    return bool(getattr(source, "missing", False)) or lacks_values(source)


def find_named(
    X: Any,
    names: NDArray[Any] | None,
    sample_weight: Any = None,
    who: str = NAME,
    missing: bool = False,
    errors: Any = None,
    with_errors: bool = False,
) -> Source:
    """Do as `find_source`, with the columns that have these names; None: the rows need no names.

    The names of a frame are compared before its values are looked at. Files and Dask frames may have other columns too,
    for they also hold weights and labels.
    """
    if is_frame(X):
        check_names(feature_names(X), names, who)
        return find_source(X, sample_weight, who=who, missing=missing, errors=errors, with_errors=with_errors)
    stored, columns = stored_names(X), None
    if stored and names is not None:
        if not set(names) <= set(stored):
            check_names(np.array(stored, dtype=object), names, who)
        columns = list(names)
    options: dict[str, Any] = {"missing": missing, "errors": errors, "with_errors": with_errors}
    source = find_source(X, sample_weight, columns=columns, who=who, **options)
    check_names(source.columns, names, who)
    return source


def stored_names(X: Any) -> Sequence[str]:
    """Return the names of all columns of rows that are not in memory; empty for rows without names."""
    if is_dask(X):
        names = feature_names(X)
        return () if names is None else list(names)
    if isinstance(X, str | PurePath) and not is_npy(Path(X)):
        path = Path(X)
        return find_columns(path if is_text(path) else _check_parquet_path(path)).names or ()
    return list(X.schema.names) if hasattr(X, "get_fragments") else ()


def is_npy(path: Path) -> bool:
    """Tell by its name whether a file is a .npy file."""
    return path.suffix.lower() == ".npy"


def with_shared_errors(source: S, error_covariance: Any) -> S:
    """Return a source, whose rows all have errors of this covariance (D, D); None: they have those of each, or none."""
    if error_covariance is not None:
        source.rows_options = {"error_covariance": check_shared_errors(error_covariance, source.n_features)}
    return source


def find_reader(
    X: Any,
    sample_weight: Any,
    columns: Sequence[str | int] | None,
    labels: Any = None,
    missing: bool = False,
    errors: Any = None,
) -> Reader | None:
    """Return a reader for rows that are not in memory, or of which columns are chosen; None for an array-like."""
    if isinstance(X, PurePath) and is_text(Path(X)):
        return TextReader(Path(X), sample_weight, columns, labels, check_columns(errors))
    if isinstance(X, PurePath) or hasattr(X, "get_fragments"):
        return ParquetReader(
            _check_parquet_path(Path(X)) if isinstance(X, PurePath) else X,
            sample_weight,
            columns,
            labels,
            check_columns(errors),
        )
    # A memory map of other numbers would be converted whole.
    mapped = isinstance(X, np.memmap) and X.ndim == 2 and X.dtype not in (np.float32, np.float64)
    if slices_like_array(X) or mapped or columns is not None:
        rows = X if hasattr(X, "shape") and hasattr(X, "dtype") else np.asarray(X)
        beside = (
            array if array is None or slices_like_array(array) else np.asarray(array)
            for array in (sample_weight, labels, errors)
        )
        weight, known, own = beside
        return SlicedReader(rows, weight, columns, known, own)
    if callable(X) and not isinstance(X, type):
        if sample_weight is not None or labels is not None or errors is not None:
            raise ValueError("a function yields its weights with the rows, as tuples (X, weight[, labels[, errors]])")
        return FunctionReader(X, missing)
    if isinstance(X, Iterator):
        kind = type(X).__name__
        raise TypeError(f"one pass would use up the rows: pass the function that makes the iterator, not {kind!r}")
    return None


def _check_parquet_path(path: Path) -> Path:
    """Return the path of Parquet data; raise an error for a file of another kind or that does not exist."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() in _OPENED_BY:
        package, extra = _OPENED_BY[path.suffix.lower()]
        raise ValueError(f'{path}: open it with {package} (pip install "fastem[{extra}]") and pass the array in it')
    if not path.is_dir() and path.suffix.lower() != ".parquet":
        raise ValueError(
            f"{path}: expected a file ending in {alternatives(INPUT_ENDINGS)}, or a folder of .parquet files"
        )
    return path


_OPENED_BY = {".h5": ("h5py", "hdf5"), ".hdf5": ("h5py", "hdf5"), ".zarr": ("zarr", "zarr")}


def slices_like_array(X: Any) -> bool:
    """Tell whether X gives arrays for slices, but is no array in memory itself, such as a dataset of h5py."""
    like_array = hasattr(X, "shape") and hasattr(X, "dtype") and hasattr(X, "__getitem__") and not hasattr(X, "nnz")
    return like_array and (not hasattr(X, "__array__") or hasattr(X, "chunks"))
