"""The commands bootstrap and bootstrap-test."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from fastem.cli.app import app
from fastem.cli.opening import gaps_of, load_model, open_for_scoring, open_rows, split_names, text_options
from fastem.cli.options import (
    Columns,
    Covariance,
    DataFile,
    Decimal,
    Delimiter,
    DropIncomplete,
    Header,
    Index,
    ModelFile,
    Output,
    Seed,
    Threads,
)
from fastem.cli.progress import bar
from fastem.cli.reporting import reporting, say
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.uncertainty.replicates import KINDS, BootstrapInterrupted
from fastem.estimators.uncertainty.testing import bootstrap_test
from fastem.files import tables
from fastem.passes.statistics import ONE_DRAW

if TYPE_CHECKING:  # a type checker cannot read the names of a table
    KindName = str
else:
    KindName = Literal[tuple(KINDS)]
Replicates = Annotated[int, typer.Option("--samples", "-n", min=2, help="Number of replicates.")]


@app.command()
def bootstrap(
    model_file: ModelFile,
    file: DataFile,
    samples: Replicates = 999,
    kind: Annotated[
        KindName, typer.Option(help="Rows drawn with replacement, drawn from the model, or weighted at random.")
    ] = "nonparametric",
    columns: Columns = None,
    seed: Seed = None,
    output: Output = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    threads: Threads = None,
) -> None:
    """Print standard errors and intervals of a model's parameters; with -o also write those of each replicate."""
    with reporting():
        text = text_options(delimiter, decimal, header, index)
        model, rows = open_for_scoring(model_file, file, output, columns, text, threads)
        if not isinstance(model, GaussianMixture):
            raise ValueError(f"bootstrap needs a GaussianMixture; {model_file} holds a {type(model).__name__}")
        interrupted = False
        try:
            with bar(TextColumn("replicate"), MofNCompleteColumn(), BarColumn()) as update:
                progress = update and (lambda done, total: update(completed=done, total=total))
                found = model.bootstrap(rows.source, samples, kind, random_state=seed, callback=progress)
        except BootstrapInterrupted as end:
            found, interrupted = end.result, True
            say("", f"interrupted after {len(found.replicates)} replicates")
        found = replace(found, features=load_model(model_file)[1])
        if not interrupted or len(found.replicates) > 1:
            typer.echo(str(found))
        if output is not None and len(found.replicates):
            tables.write_table(output, found.replicates, found.numbers.names(found.features))
        if interrupted:
            raise typer.Exit(130)


@app.command("bootstrap-test")
def compare_components(
    file: DataFile,
    components: Annotated[int, typer.Option("--components", "-k", min=1, help="Number of the first test.")] = 1,
    max_components: Annotated[
        int | None,
        typer.Option(min=2, help="Test the next number if one is rejected, up to this (default: one test)."),
    ] = None,
    covariance: Covariance = "full",
    samples: Replicates = 999,
    level: Annotated[float, typer.Option(help="Reject at this p-value or less.")] = 0.05,
    columns: Columns = None,
    seed: Seed = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    drop_incomplete: DropIncomplete = False,
    threads: Threads = None,
) -> None:
    """Test K components against K + 1, by the likelihood ratio and the parametric bootstrap."""
    with reporting():
        text = text_options(delimiter, decimal, header, index)
        rows, _ = open_rows(file, split_names(columns), None, None, text, gaps_of(drop_incomplete, missing=False))
        X = rows.source.sample(rows.source.n_rows, ONE_DRAW).X
        interrupted = False
        try:
            with bar(TextColumn("{task.fields[test]}"), MofNCompleteColumn(), BarColumn(), test="") as update:
                found = bootstrap_test(
                    X,
                    components,
                    covariance,
                    max_components=max_components,
                    n_samples=samples,
                    level=level,
                    random_state=seed,
                    n_threads=threads,
                    callback=update
                    and (lambda K, done, total: update(completed=done, total=total, test=f"{K} against {K + 1}")),
                )
        except BootstrapInterrupted as end:
            found, interrupted = end.result, True
            say("", "interrupted: the last test is of the replicates that were done")
        typer.echo(str(found))
        if interrupted:
            raise typer.Exit(130)
