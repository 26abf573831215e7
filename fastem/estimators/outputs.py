"""Scores of more rows than fit into memory, written to a file block by block."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.rows import rows_for
from fastem.estimators.state import NOISE_LABEL, MixtureState
from fastem.files.atomic import check_distinct
from fastem.files.tables import writing
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_threads
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.parts import local_rows


class Kind(NamedTuple):
    """A kind of score that can be written of each row.

    Attributes
    ----------
    score : str, its name in `Scores`
    names : function of K and of whether there is noise; returns the names of the columns
    """

    score: str
    names: Callable[[int, bool], list[str]]


KINDS = {
    "label": Kind("label", lambda K, noise: ["label"]),
    "log_likelihood": Kind("density", lambda K, noise: ["log_likelihood"]),
    "proba": Kind("resp", lambda K, noise: [f"p{k}" for k in range(K)] + ["p_noise"] * noise),
}


def write_scores(model: MixtureState, X: Any, path: str | os.PathLike[str], what: str = "label") -> None:
    """Write labels, log densities or probabilities of rows to a file, block by block: memory does not grow with N.

    Parameters
    ----------
    model : GaussianMixture, or another mixture, fitted
    X : (N, D) array-like, or what `fastem.as_source` takes
    path : path-like ending in ``.npy``, ``.parquet`` or ``.csv``
        the file appears whole or not at all; a file of this name is replaced
    what : {"label", "log_likelihood", "proba"}, default "label"
        what is written: the scores of `predict`, `score_samples` or `predict_proba`. It is also the name of the column;
        probabilities have columns p0, p1, ... and, for noise, p_noise

    Raises
    ------
    NotFittedError
        if the mixture is not fitted
    ValueError
        for rows that cannot be used, another ending, a folder that does not exist, or a file that the rows are in
    SourceError
        (an OSError) if a block cannot be read

    See Also
    --------
    GaussianMixture.predict, GaussianMixture.score_samples, GaussianMixture.predict_proba : the same in memory

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, fastem
    >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels.npy")
    ...     fastem.write_scores(model, [[1.0], [8.0], [9.5]], path)
    ...     np.load(path)
    array([0, 1, 1])
    """
    names = column_names(model, what)
    if isinstance(X, PurePath):
        check_distinct({"path": Path(path)}, [Path(X)])
    source = local_rows(rows_for(model, X))
    with writing(path, names, source.n_rows) as write:
        score_blocks(model, source, what, write)


def column_names(model: MixtureState, what: str) -> list[str]:
    """Return the names of the columns of a kind of score; raise a ValueError for any other kind."""
    if not isinstance(model, MixtureState):
        raise TypeError(f"write_scores takes a fitted mixture; got {type(model).__name__}")
    if not isinstance(what, str) or what not in KINDS:
        raise ValueError(f"what must be one of {', '.join(map(repr, KINDS))}; got {what!r}")
    params = model.params_
    return KINDS[what].names(len(params.means), params.noise is not None)


def score_blocks(model: MixtureState, source: Source, what: str, write: Callable[[NDArray[Any]], None]) -> None:
    """Call `write` with the scores of each block of a source that `rows_for` has checked, in order."""
    params, kind = model.params_, KINDS[what]
    K = params.n_columns
    scorer = scorer_for(source, params)

    def add(block: Block) -> None:
        scores = Scores.empty(len(block.X), K, **{kind.score: True})
        scorer.fill(block, scores)
        scores.label[scores.label == len(params.means)] = NOISE_LABEL
        values = getattr(scores, kind.score)
        with np.errstate(over="ignore"):  # float32: -1e45 becomes -inf
            write(values.astype(source.dtype, copy=False) if values.dtype.kind == "f" else values)

    with threads(check_n_threads(model.n_threads)):
        source.for_each(add, rows_at_once(max(K, source.n_features)), scorer.block_rows)
