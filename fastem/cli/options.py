"""Options that commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DataFile = Annotated[Path, typer.Argument(metavar="FILE", help="Table, or the name of a built-in data set.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model written by 'fastem fit -o'.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns, by name or 0-based position (default: all)."),
]
TEXT = "Tables of text (default: as is found)"  # a panel of its own in the help
Delimiter = Annotated[
    str | None,
    typer.Option(help="What separates cells; 'tab', or 'blank' for any run of blanks.", rich_help_panel=TEXT),
]
Decimal = Annotated[Literal[".", ","] | None, typer.Option(help="The decimal sign.", rich_help_panel=TEXT)]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first row holds names.", rich_help_panel=TEXT),
]
Index = Annotated[
    bool | None,
    typer.Option("--index/--no-index", help="Whether the first column only counts rows.", rich_help_panel=TEXT),
]
DropIncomplete = Annotated[bool, typer.Option("--drop-incomplete", help="Leave out rows with empty cells.")]
ParamsOutput = Annotated[
    Path | None, typer.Option("--params", help="Write weights, means and covariances here, .json or .csv.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads at most (default: NUMBA_NUM_THREADS, or the cores).")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File for the result, .csv, .npy or .parquet.")]
ModelOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Write the model here, .npz.")]
Weights = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of sample weights.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the random numbers.")]
Init = Annotated[
    Literal["auto", "kmeans", "k-means++", "random", "random_from_data"], typer.Option(help="How to start.")
]
Starts = Annotated[int, typer.Option(min=1, help="Starts, of which the best is kept.")]
MaxIter = Annotated[int, typer.Option(min=0, help="Iterations at most.")]
Tol = Annotated[float, typer.Option(min=0.0, help="Stop when what --stop measures is below this.")]
RegCovar = Annotated[
    float | None,
    typer.Option(min=0.0, help="Added to the variances (default: none, but a floor in the data's own units)."),
]
Regularization = Annotated[
    Literal["ridge", "map", "floor", "ratio"] | None,
    typer.Option(help="Instead of --reg-covar: what keeps covariances from collapsing, in the data's own units."),
]
Noise = Annotated[
    bool, typer.Option("--noise", help="One more component, uniform over the data's box, for outliers (label -1).")
]
StopAt = Literal["change", "aitken", "parameters"]
STOP_HELP = "What --tol bounds: change, estimated remaining gain, or largest change of a parameter."
