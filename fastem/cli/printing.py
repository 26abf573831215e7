"""What commands print of mixtures."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column as Header
from rich.table import Table

from fastem.cli.parameters import gaussian_of
from fastem.cli.reporting import printable
from fastem.cli.rows import Rows
from fastem.estimators.criteria import aic, bic
from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.scoring import mean_density_of
from fastem.estimators.selecting.best import Mixture
from fastem.estimators.selecting.selection import Selection
from fastem.estimators.state import count_parameters
from fastem.files import tables
from fastem.model.matrices import variances

PIPE_WIDTH = 120  # of tables that do not go to a terminal
FOLDED_WIDTH = 16  # the title of a column is folded to this width, unless its cells are wider


class Column(NamedTuple):
    """A column of the table that ``select`` prints: a field of its candidates, and how it is written."""

    name: str
    title: str
    form: str = ""


MIXTURE = Column("covariance_type", "covariance"), Column("n_components", "K"), Column("n_factors", "q")
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
# Columns that a narrow terminal leaves out, in this order; the criterion of the selection always stays.
DISPENSABLE = ("seconds", "n_parameters", "log_likelihood", "train_error", "icl", "aic", "bic", "train")


def print_candidates(found: Selection) -> None:
    """Print the table of a selection: the best candidate first, and fits that are not sound last."""
    ranked = found.ranked()
    rest = [one for one in found.candidates if one not in ranked]
    columns = COLUMNS_OF_FOLDS if found.criterion == "cv" else COLUMNS_OF_CRITERIA
    columns = tuple(one for one in columns if one.name in found.columns)
    cells = {
        column: [format(getattr(candidate, column.name), column.form) for candidate in [*ranked, *rest]]
        for column in columns
    }
    console = terminal()
    left_out = []
    for column in [one for name in DISPENSABLE for one in columns if one.name == name != found.criterion]:
        if table_width([[one.title, *cells[one]] for one in cells]) <= console.width:
            break
        left_out.append(column.title)
        del cells[column]
    notes = ["log-likelihoods are means per row"] if {"log_likelihood", "test"} & {one.name for one in cells} else []
    if left_out:
        notes.append(f"not shown: {', '.join(left_out)}")
    table = Table(*(Header(one.title, overflow="fold", no_wrap=True) for one in cells), caption="; ".join(notes))
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    console.print(table)


def print_components(model: Mixture, names: Sequence[str] | None) -> None:
    """Print a table of the components, with as many features as fit."""
    own = f"{model.covariance_type} covariance"
    what = f"{model.n_factors} factors" if isinstance(model, FactorMixture) else own
    params = gaussian_of(model).params_
    K, D = params.means.shape
    weights = [f"{weight:.4f}" for weight in params.weights]
    titles = [printable(name) for name in names or [f"x{j}" for j in range(D)]]
    sd = np.broadcast_to(np.sqrt(variances(params.covariances)), (K, D))
    columns = [["component", *map(str, range(K))], ["weight", *weights]]
    if params.noise is not None:
        columns[0].append("noise")
        columns[1].append(f"{params.noise.weight:.4f}")
    console = terminal()
    for j in range(D):
        cells = [f"{params.means[k, j]:.5g} ({sd[k, j]:.3g})" for k in range(K)]
        if params.noise is not None:
            cells.append("uniform, {:.5g} to {:.5g}".format(*model.noise_box_[:, j]))
        columns.append([titles[j], *cells])
        if j > 0 and table_width(columns) > console.width:
            columns.pop()
            break
    shown = len(columns) - 2
    table = Table(
        *(Header(escape(title), overflow="fold", min_width=max(map(len, cells))) for title, *cells in columns),
        title=f"{what}: mean (standard deviation)",
        caption=None if shown == D else f"{shown} of {D} features shown; --params writes all of them",
    )
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*row)
    console.print(table)


def standard_csv(names: Sequence[str]) -> tables.Write:
    """Write a header to standard output, and return a function that writes rows after it."""
    return tables.csv_writer(sys.stdout, [*map(printable, names)] if sys.stdout.isatty() else names)


def terminal() -> Console:
    """Return standard output: as wide as the terminal, or PIPE_WIDTH wide if it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def table_width(columns: Sequence[Sequence[str]]) -> int:
    """Return the width of a table of columns, each a title and cells; long titles are folded."""
    return 1 + sum(3 + max(min(len(title), FOLDED_WIDTH), *map(len, cells)) for title, *cells in columns)


def quality(model: Mixture, source: Rows) -> list[tuple[str, str]]:
    """Say how well the mixture describes the rows."""
    mean, n = mean_density_of(model, source)
    n_parameters = count_parameters(model)
    return [
        ("log-likelihood", f"{mean * n:.10g}"),
        ("mean log-likelihood", f"{mean:.10g}"),
        ("BIC", f"{bic(mean * n, n_parameters, n):.10g}"),
        ("AIC", f"{aic(mean * n, n_parameters):.10g}"),
    ]


def ending(model: Mixture) -> list[tuple[str, str]]:
    """Say how the fit ended; return an empty list for a model that was not fitted."""
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
