"""Options that commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fastem.estimators.parameters import SOLVERS
from fastem.estimators.selecting.selection import CRITERIA
from fastem.fitting.starts.table import INIT_PARAMS
from fastem.fitting.stopping import RULES
from fastem.model.families import COVARIANCES
from fastem.model.remedies.table import REMEDIES

if TYPE_CHECKING:  # a type checker cannot read the names of a table
    CovarianceName = str
    CriterionName = str
    StartName = str
    RemedyName = str
    RuleName = str
    SolverName = str
else:
    CovarianceName = Literal[tuple(COVARIANCES)]
    CriterionName = Literal[tuple(CRITERIA)]
    StartName = Literal[INIT_PARAMS]
    RemedyName = Literal[tuple(REMEDIES)]
    RuleName = Literal[tuple(RULES)]
    SolverName = Literal[SOLVERS]

DataFile = Annotated[Path, typer.Argument(metavar="FILE", help="A table, or the name of a built-in data set.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model that 'fastem fit -o' has written.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns to use, by name or position from 0 on (default: all)."),
]
TEXT = "Tables of text (default: found from the file)"  # a panel of its own in the help
Delimiter = Annotated[
    str | None,
    typer.Option(
        help="What separates cells: a character, 'tab', or 'blank' for any run of blanks.", rich_help_panel=TEXT
    ),
]
Decimal = Annotated[Literal[".", ","] | None, typer.Option(help="The decimal sign.", rich_help_panel=TEXT)]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="The first row holds names, or values.", rich_help_panel=TEXT),
]
Index = Annotated[
    bool | None,
    typer.Option("--index/--no-index", help="The first column counts rows, or is a feature.", rich_help_panel=TEXT),
]
DropIncomplete = Annotated[bool, typer.Option("--drop-incomplete", help="Leave out rows that have empty cells.")]
Missing = Annotated[
    bool, typer.Option("--missing", help="Take empty cells for values that are missing at random; keep their rows.")
]
ParamsOutput = Annotated[
    Path | None, typer.Option("--params", help="Write weights, means and covariances to this file, .json or .csv.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Most threads to use (default: NUMBA_NUM_THREADS, or all cores)."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the result to this file: .csv, .npy, .parquet.")
]
ModelOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Write the model to this file, .npz.")]
Weights = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column that holds the weight of each row.")]
Errors = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Columns that hold the variances of the errors of measurement, one for each feature, in their order.",
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of the random numbers (default: another one each time).")
]
Covariance = Annotated[CovarianceName, typer.Option(help="Covariance type.")]
Init = Annotated[StartName | None, typer.Option(help="Method that makes the start (default: auto, a search).")]
Solver = Annotated[
    SolverName | None,
    typer.Option(help="Method: EM, L-BFGS, or accelerated EM that begins on samples (default: auto; in select: em)."),
]
LikeSklearn = Annotated[
    bool, typer.Option("--like-sklearn", help="Take scikit-learn's defaults for all that is not given.")
]
Starts = Annotated[int, typer.Option(min=1, help="Number of starts; the best fit is kept.")]
MaxIter = Annotated[
    int | None, typer.Option(min=0, help="Largest number of passes over the rows (default: 1000; in select: 100).")
]
Tol = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Stop when the number that --stop names is below this; with the solver auto, when a row has less than "
        "this to gain (default: 0.1 / number of rows; in select: 1e-3).",
    ),
]
RegCovar = Annotated[float | None, typer.Option(min=0.0, help="Number added to the variances (default: none).")]
Regularization = Annotated[
    RemedyName | None,
    typer.Option(
        help="Instead of --reg-covar: a method that keeps covariances from collapsing, in any units (default: "
        "geometric; in select: a floor of 1e-10)."
    ),
]
Noise = Annotated[
    bool, typer.Option("--noise", help="Add a component for outliers (label -1), uniform over the range of the data.")
]
StopAt = Annotated[
    RuleName | None,
    typer.Option(
        help="The number that --tol bounds, with the solvers em and lbfgs: the change (default), the estimated "
        "remaining gain, or the largest change of a parameter."
    ),
]


def given(**options: Any) -> dict[str, Any]:
    """Return the options that are not None: for the others the defaults of what they are given to count."""
    return {name: value for name, value in options.items() if value is not None}
