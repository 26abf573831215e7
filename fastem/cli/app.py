"""The program `fastem` and its own options. Commands register themselves with `app`."""

from typing import Annotated

import typer

from fastem import __version__
from fastem.files import datasets

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Gaussian mixture models. FILE is a table with one row per sample: text (.csv, .tsv, .txt, .dat, also .gz), "
    f".npy, .parquet or a folder of .parquet files, or the name of a built-in data set ({', '.join(datasets.NAMES)}).",
)


def print_version(wanted: bool) -> None:
    """Print the version and end the program if `wanted`."""
    if wanted:
        typer.echo(f"fastem {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""
