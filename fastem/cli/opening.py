"""How commands find their rows and models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastem import datasets, files, tables
from fastem.cli.reporting import say
from fastem.estimator import GaussianMixture
from fastem.sources import Block, Sample, Source, is_labelled
from fastem.streams import as_source


def check_writable(path: Path | None, endings: tuple[str, ...]) -> None:
    """Refuse an output that could not be written, before the work for it is done."""
    if path is not None:
        tables.check_output(path, endings)


def find_file(file: Path) -> Path:
    """Return the file, or that of the built-in data set of this name."""
    return datasets.data_path(str(file)) if not file.exists() and str(file) in datasets.NAMES else file


class Rows:
    """A source that counts its rows as they go by, without names: columns are matched here, not by the model."""

    columns = None

    def __init__(self, source: Source) -> None:
        self.source, self.n_features, self.dtype = source, source.n_features, source.dtype
        self.labelled = is_labelled(source)
        self.count: Callable[[int], None] = lambda n: None

    @property
    def n_rows(self) -> int:
        """See Source."""
        return self.source.n_rows

    @property
    def sum_w(self) -> float:
        """See Source."""
        return self.source.sum_w

    def reduce(self, function: Callable[[Block], Any], rows: int, grain: int | None = None) -> Any:
        """See Source."""

        def counted(block: Block) -> Any:
            self.count(len(block.X))
            return function(block)

        return self.source.reduce(counted, rows, grain)

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """See Source."""

        def counted(block: Block) -> None:
            self.count(len(block.X))
            function(block)

        self.source.for_each(counted, rows, grain)

    def sample(self, n: int, rng: np.random.RandomState) -> Sample:
        """See Source."""
        return self.source.sample(n, rng)


def open_rows(
    file: Path, wanted: list[str] | None, weights: str | None = None, labels: str | None = None
) -> tuple[Rows, list[str] | None]:
    """Find the rows of a table and the features' names; the columns of weights and labels are no features.

    A csv file is read into memory; others are mapped, or read again on each pass.
    """
    path = find_file(file)
    names, n_columns = tables.layout(path)
    last = tables.choose_columns(path, [name for name in (weights, labels) if name is not None], names, n_columns)
    features = tables.choose_columns(path, wanted, names, n_columns)
    if wanted is None:
        features = [j for j in features if j not in last]
    chosen = tables.choose_columns(path, [*features, *last], names, n_columns)  # none twice
    ending = path.suffix.lower() if path.is_file() else ""
    if ending == ".csv":
        X, _ = tables.read_table(path, chosen)
        D = len(features)
        source = as_source(X[:, :D], X[:, D] if weights else None, X[:, -1] if labels else None)
    elif ending == ".npy":
        X = tables.map_npy(path)
        beside = X[:, last[0]] if weights else None, X[:, last[-1]] if labels else None
        source = as_source(X, *beside, columns=None if features == list(range(n_columns)) else features)
    else:
        assert names is not None
        weight, label = names[last[0]] if weights else None, names[last[-1]] if labels else None
        source = as_source(path, weight, label, columns=features)
    return Rows(source), names and [names[j] for j in features]


def split_names(columns: str | None) -> list[str] | None:
    """Split names at their commas."""
    return None if columns is None else [column.strip() for column in columns.split(",")]


def load_model(path: Path) -> tuple[GaussianMixture, list[str] | None]:
    """Read a model, and its feature names apart from it."""
    model = files.load(path)
    if not hasattr(model, "feature_names_in_"):
        return model, None
    names = list(model.feature_names_in_)
    del model.feature_names_in_  # tables come as arrays: columns are matched here, not by the model
    return model, names


def open_for_model(model_file: Path, file: Path, columns: str | None) -> tuple[GaussianMixture, Rows]:
    """Read a model and find the columns for it: those asked for, else those of its names, else all."""
    model, wanted = load_model(model_file)
    if columns is not None:
        return model, open_rows(file, split_names(columns))[0]
    there, _ = tables.layout(find_file(file))
    if wanted is None and there is not None:
        say("warning", f"{model_file} has no column names: the columns of {file} are taken in their order")
    return model, open_rows(file, None if there is None else wanted)[0]
