"""Commands open their rows and models here, and check the paths of their outputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, DownloadColumn, TextColumn

from fastem.cli.figures import PLOT_ENDINGS
from fastem.cli.parameters import PARAMS_ENDINGS
from fastem.cli.progress import bar
from fastem.cli.reporting import say
from fastem.cli.rows import Rows
from fastem.estimators import saving as files
from fastem.estimators.selecting.best import Mixture
from fastem.estimators.state import takes_missing
from fastem.files import archive, datasets, tables
from fastem.files.atomic import check_distinct
from fastem.files.delimited import Gaps, read_text
from fastem.files.text_layout import NOTHING_SAID, TextLayout, TextOptions, describe
from fastem.plot.style import require_matplotlib
from fastem.sources.opening import as_source
from fastem.sources.readers import ParquetReader

SHOWN_BYTES = 1 << 24  # of text; from this size on a bar shows how much is read
DELIMITERS = {"tab": "\t", r"\t": "\t", "blank": " "}


def check_outputs(outputs: dict[str, tuple[Path | None, tuple[str, ...]]], *inputs: Path) -> None:
    """Raise a ValueError for outputs that could not be written, or would replace an input or each other.

    `outputs` maps each option to its path (None if it is not given) and the endings that are allowed.
    """
    for path, endings in outputs.values():
        if path is not None:
            tables.check_output(path, endings)
    check_distinct({option: path for option, (path, _) in outputs.items()}, map(find_file, inputs))


def check_outputs_of_fit(
    file: Path,
    output: Path | None,
    params: Path | None,
    picture: Path | None,
    others: dict[str, tuple[Path | None, tuple[str, ...]]] | None = None,
) -> None:
    """Check, before rows of `file` are fitted, that what is to be written can be: a long fit should not be lost.

    `others` are outputs beside the model, its parameters and a picture, as in `check_outputs`; None means no others.
    """
    written = {"--output": (output, archive.ENDINGS), "--params": (params, PARAMS_ENDINGS)}
    check_outputs(written | {"--plot": (picture, PLOT_ENDINGS)} | (others or {}), file)
    if picture is not None:
        require_matplotlib()


def find_file(file: Path) -> Path:
    """Return the path of a file, or of the built-in data set that has this name."""
    return datasets.data_path(str(file)) if not file.exists() and str(file) in datasets.NAMES else file


def text_options(delimiter: str | None, decimal: str | None, header: bool | None, index: bool | None) -> TextOptions:
    """Check the options that say how a table of text is laid out."""
    delimiter = DELIMITERS.get(str(delimiter), delimiter)
    if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise ValueError(f"--delimiter takes one ASCII character, or one of tab, blank; got {delimiter!r}")
    return TextOptions(delimiter, decimal, header, index)


def open_rows(
    file: Path,
    wanted: list[str] | None,
    weights: str | None = None,
    labels: str | None = None,
    options: TextOptions = NOTHING_SAID,
    gaps: Gaps = "refuse",
    errors: list[str] | None = None,
) -> tuple[Rows, list[str] | None]:
    """Return the rows of a table and the names of the features; names are None if the table has none.

    `wanted` names the features; None means all columns but those of `weights`, `labels` and `errors`. Tables of text,
    and tables whose incomplete rows are dropped, are read into memory. Others are mapped, or read again on each pass.
    `gaps` says what becomes of rows with empty cells.
    """
    path = find_file(file)
    found = tables.find_columns(path, options)
    names, n_columns = found.names, found.n_columns
    last = tables.choose_columns(path, [name for name in (weights, labels) if name is not None], names, n_columns)
    noisy = tables.choose_columns(path, errors or [], names, n_columns)
    features = [j for j in found.features if j not in last and j not in noisy]
    if wanted not in (None, names and [names[j] for j in features]):  # these need no choice: names may recur
        features = tables.choose_columns(path, wanted, names, n_columns)
    chosen = tables.choose_columns(path, [*features, *noisy, *last], names, n_columns)  # none twice
    if errors is not None and len(noisy) != len(features):
        raise ValueError(f"--errors: {len(noisy)} columns of variances for {len(features)} features, expected one each")
    missing = gaps == "keep"
    if found.text is not None or gaps == "drop":
        X, D = _read(file, path, found.text, chosen, gaps, noisy), len(features)
        own = X[:, D : D + len(noisy)] if noisy else None
        weight = X[:, D + len(noisy)] if weights else None
        source = as_source(X[:, :D], weight, X[:, -1] if labels else None, errors=own, missing=missing)
    elif path.suffix.lower() == ".npy" and path.is_file():
        X = tables.map_npy(path)
        beside = X[:, last[0]] if weights else None, X[:, last[-1]] if labels else None
        all_columns = features == list(range(n_columns))
        own = X[:, noisy] if noisy else None
        source = as_source(X, *beside, columns=None if all_columns else features, errors=own, missing=missing)
    else:
        assert names is not None
        name, label = names[last[0]] if weights else None, names[last[-1]] if labels else None
        source = as_source(path, name, label, columns=features, errors=noisy or None, missing=missing)
    return Rows(source), names and [names[j] for j in features]


def _read(
    file: Path, path: Path, text: TextLayout | None, chosen: list[int], gaps: Gaps, variances: list[int]
) -> NDArray[Any]:
    """Read columns into memory; print how a table of text is laid out, and how many rows are left out."""
    if text is not None:
        X, n_dropped = _read_text(path, text, chosen, gaps, variances)
        if path == file:  # the layout of a built-in data set is no news
            say("", f"{file}: {describe(text, len(X) + n_dropped)}")
    else:
        X = _read_binary(path, chosen)
        complete = ~np.isnan(X).any(axis=1)
        X, n_dropped = X[complete], len(X) - int(np.count_nonzero(complete))
    if gaps == "drop":
        say("", f"{file}: {n_dropped} of {len(X) + n_dropped} rows have empty cells and are left out")
    if not len(X):
        raise ValueError(f"{file}: {'no row is complete' if n_dropped else 'the table is empty'}")
    return X


def _read_text(
    path: Path, text: TextLayout, chosen: Sequence[int], gaps: Gaps, variances: Sequence[int]
) -> tuple[NDArray[Any], int]:
    """Read a table of text, and show a progress bar if it is large."""
    size = path.stat().st_size
    columns = (TextColumn("reading"), BarColumn(), DownloadColumn()) if size > SHOWN_BYTES else ()
    with bar(*columns, total=size) as update:
        count = (lambda n: None) if update is None else (lambda n: update(advance=n))
        return read_text(path, text, chosen, count, gaps, variances)


def _read_binary(path: Path, chosen: list[int]) -> NDArray[Any]:
    """Read a .npy or .parquet table; nulls become NaN."""
    if path.suffix.lower() == ".npy" and path.is_file():
        return np.asarray(tables.map_npy(path)[:, chosen])
    reader = ParquetReader(path, columns=chosen)
    blocks = [np.array(block.X, dtype=reader.dtype) for block in reader.pieces()]
    return np.concatenate([np.empty((0, len(chosen)), reader.dtype), *blocks])


def gaps_of(drop_incomplete: bool, missing: bool) -> Gaps:
    """Return what becomes of rows with empty cells; raise a ValueError if two options say two things."""
    if drop_incomplete and missing:
        raise ValueError("--drop-incomplete leaves out rows that --missing keeps: give one of them")
    return "drop" if drop_incomplete else "keep" if missing else "refuse"


def split_names(columns: str | None) -> list[str] | None:
    """Split names at their commas; None stays None."""
    return None if columns is None else [column.strip() for column in columns.split(",")]


def load_model(path: Path) -> tuple[Mixture, list[str] | None]:
    """Return a model without its feature names, and these names, or None if it has none."""
    model = files.load_mixture(path)
    if not hasattr(model, "feature_names_in_"):
        return model, None
    names = list(model.feature_names_in_)
    del model.feature_names_in_  # tables come as arrays: columns are matched here, not by the model
    return model, names


def open_for_model(
    model_file: Path, file: Path, columns: str | None, options: TextOptions, errors: str | None = None
) -> tuple[Mixture, Rows]:
    """Return a model and the rows for it: columns that the user names, else those that the model names, else all.

    `errors` names the columns of variances, which are no features; None means that there are none.
    """
    model, wanted = load_model(model_file)
    gaps: Gaps = "keep" if takes_missing(model) else "refuse"
    if columns is not None:
        wanted = split_names(columns)
    elif tables.find_columns(find_file(file), options).names is None:
        wanted = None
    elif wanted is None:
        say("warning", f"{model_file} has no column names: the columns of {file} are taken in their order")
    return model, open_rows(file, wanted, options=options, gaps=gaps, errors=split_names(errors))[0]


def open_for_scoring(
    model_file: Path,
    file: Path,
    output: Path | None,
    columns: str | None,
    options: TextOptions,
    threads: int | None,
    errors: str | None = None,
) -> tuple[Mixture, Rows]:
    """Return what `open_for_model` does, once it is sure that the table `output` can be written, if it is not None."""
    check_outputs({"--output": (output, tables.OUTPUT_ENDINGS)}, model_file, file)
    model, rows = open_for_model(model_file, file, columns, options, errors)
    return model.set_params(n_threads=threads), rows
