"""What commands print of mixtures."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastem.cli.opening import Rows
from fastem.covariance import variances
from fastem.estimator import GaussianMixture
from fastem.select import Selection

PIPE_WIDTH = 120  # of the table of components where there is no terminal to ask


class Column(NamedTuple):
    """A column of the table that ``select`` prints: a field of its candidates, and how it is written."""

    name: str
    title: str
    form: str = ""


MIXTURE = Column("covariance_type", "covariance"), Column("n_components", "K")
ENDING = Column("status", "status"), Column("seconds", "seconds", ".3g")
COLUMNS_OF_CRITERIA = (
    *MIXTURE,
    Column("log_likelihood", "log-likelihood", ".6f"),
    Column("n_parameters", "parameters", ".0f"),
    *(Column(name, name.upper(), ".2f") for name in ("bic", "aic", "icl")),
    *ENDING,
)
COLUMNS_OF_FOLDS = (
    *MIXTURE,
    *(Column(name, title, ".5f") for name, title in (("test", "held out"), ("test_error", "+-"))),
    *(Column(name, title, ".5f") for name, title in (("train", "fitted to"), ("train_error", "+-"))),
    Column("bic", "BIC", ".2f"),
    *ENDING,
)


def print_candidates(found: Selection) -> None:
    """Print the table of a selection, the best first and last the fits that are not sound."""
    ranked = found.ranked()
    rest = [one for one in found.candidates if one not in ranked]
    columns = COLUMNS_OF_FOLDS if found.criterion == "cv" else COLUMNS_OF_CRITERIA
    table = Table(caption="log-likelihoods are means per row")
    for column in columns:
        table.add_column(column.title, no_wrap=not column.form)
    for candidate in [*ranked, *rest]:
        table.add_row(*(format(getattr(candidate, column.name), column.form) for column in columns))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def print_components(model: GaussianMixture, names: Sequence[str] | None) -> None:
    """Print a table of the components, with as many features as fit."""
    params = model.params_
    K, D = params.means.shape
    sd = np.broadcast_to(np.sqrt(variances(params.covariances)), (K, D))
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    shown = min(D, max(1, (console.width - 22) // 18))
    labels = (names or [f"x{j}" for j in range(D)])[:shown]
    caption = None if shown == D else f"{shown} of {D} features shown"
    table = Table(
        "component",
        "weight",
        *map(escape, labels),
        title=f"{model.covariance_type} covariance: mean (standard deviation)",
        caption=caption,
    )
    for k, weight in enumerate(params.weights):
        cells = [f"{params.means[k, j]:.5g} ({sd[k, j]:.3g})" for j in range(shown)]
        table.add_row(str(k), f"{weight:.4f}", *cells)
    if params.noise is not None:
        cells = [f"uniform, {low:.5g} to {high:.5g}" for low, high in model.noise_box_.T[:shown]]
        table.add_row("noise", f"{params.noise.weight:.4f}", *cells)
    console.print(table)


def quality(model: GaussianMixture, source: Rows) -> list[tuple[str, str]]:
    """Say how well the mixture describes the rows."""
    mean, n = model._mean_density(source)
    penalty = model._n_parameters()
    return [
        ("log-likelihood", f"{mean * n:.10g}"),
        ("mean log-likelihood", f"{mean:.10g}"),
        ("BIC", f"{-2 * mean * n + penalty * np.log(n):.10g}"),
        ("AIC", f"{-2 * mean * n + 2 * penalty:.10g}"),
    ]


def ending(model: GaussianMixture) -> list[tuple[str, str]]:
    """Say how the fit went; nothing for a model that was given, not fitted."""
    if model.status_ is None:
        return []
    return [
        ("iterations", str(model.n_iter_)),
        ("converged", "yes" if model.converged_ else "no"),
        ("status", model.status_.advice),
    ]


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print labels and values, a line each."""
    for label, value in pairs:
        typer.echo(f"{label:<22}{value}")
