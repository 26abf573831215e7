"""The commands fit and select."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from fastem.cli.app import app
from fastem.cli.figures import save_figure
from fastem.cli.opening import check_outputs_of_fit, gaps_of, open_rows, split_names, text_options
from fastem.cli.options import (
    Columns,
    Covariance,
    CriterionName,
    DataFile,
    Decimal,
    Delimiter,
    DropIncomplete,
    Errors,
    Header,
    Index,
    Init,
    LikeSklearn,
    MaxIter,
    Missing,
    ModelOutput,
    Noise,
    ParamsOutput,
    RegCovar,
    Regularization,
    Seed,
    Solver,
    Starts,
    StopAt,
    Threads,
    Tol,
    Weights,
    given,
)
from fastem.cli.parameters import write_params
from fastem.cli.printing import ending, print_candidates, print_components, print_pairs, quality
from fastem.cli.progress import bar, fit_progress
from fastem.cli.reporting import reporting
from fastem.estimators import outputs
from fastem.estimators import saving as files
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.recommended import recommended_model as recommended
from fastem.estimators.selecting.mixtures import FACTORS
from fastem.estimators.selecting.selection import Selection, SelectionInterrupted, select
from fastem.files import archive, tables
from fastem.fitting.interruption import FitInterrupted
from fastem.model.exclusions import check_exclusions
from fastem.model.families import MCLUST, PLAIN
from fastem.model.result import Result, Status
from fastem.plot.fits import plot_fit
from fastem.sources.blocks import Source, SourceError

PLOTTED_ROWS = 20_000


@app.command()
def fit(
    file: DataFile,
    components: Annotated[int, typer.Option("--components", "-k", min=1, help="Number of components.")] = 1,
    covariance: Covariance = "full",
    assignment: Annotated[
        Literal["soft", "hard"],
        typer.Option(help="EM (soft), or classification EM, which gives each row to one component (hard)."),
    ] = "soft",
    columns: Columns = None,
    weights: Weights = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column that holds known components, from 0 on; -1 means unknown."),
    ] = None,
    errors: Errors = None,
    init: Init = None,
    seed: Seed = None,
    n_init: Starts = 1,
    solver: Solver = None,
    max_iter: MaxIter = None,
    tol: Tol = None,
    reg_covar: RegCovar = None,
    regularization: Regularization = None,
    like_sklearn: LikeSklearn = False,
    on_collapse: Annotated[
        Literal["reseed", "drop"],
        typer.Option(help="With --regularization: move components that lose their rows or rank, or drop them."),
    ] = "reseed",
    stop: StopAt = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print a report of the fit.")] = False,
    noise: Noise = False,
    output: ModelOutput = None,
    params: ParamsOutput = None,
    write_labels: Annotated[
        Path | None, typer.Option(help="Write the component of each row to this file, .csv, .npy or .parquet.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw the fit to this file: .png, .pdf, .svg.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Write the state of the fit to this file, .npz, every 30 s; if the file exists, go on from it."
        ),
    ] = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    drop_incomplete: DropIncomplete = False,
    missing: Missing = False,
    threads: Threads = None,
) -> None:
    """Fit a mixture to a table and describe it. After Ctrl-C, write the last complete iteration to --output."""
    with reporting():
        others = {
            "--write-labels": (write_labels, tables.OUTPUT_ENDINGS),
            "--checkpoint": (checkpoint, archive.ENDINGS),
        }
        check_outputs_of_fit(file, output, params, picture, others)
        if drop_incomplete and write_labels is not None:
            raise ValueError("--write-labels writes a line for each row, but --drop-incomplete leaves rows out: choose")
        text = text_options(delimiter, decimal, header, index)
        gaps = gaps_of(drop_incomplete, missing)
        source, names = open_rows(file, split_names(columns), weights, labels, text, gaps, split_names(errors))
        check_exclusions(regularization=regularization, reg_covar=reg_covar)
        options = given(
            covariance_type=covariance,
            assignment=assignment,
            tol=tol,
            reg_covar=reg_covar,
            regularization=regularization,
            max_iter=max_iter,
            n_init=n_init,
            init_params=init,
            random_state=seed,
            on_collapse=on_collapse,
            stop=stop,
            solver=solver,
            noise=noise,
            n_threads=threads,
            missing=missing,
        )
        model = GaussianMixture(components, **options) if like_sklearn else recommended(source, components, **options)
        try:
            with fit_progress(model.max_iter, source) as callback:
                model.fit(source, callback=callback, checkpoint=checkpoint)
        except (FitInterrupted, SourceError) as end:
            kept = rescue(model, end.result, source, output, names)
            if isinstance(end, SourceError):
                raise SourceError(f"{end}; the fit ends {kept}") from end
            typer.echo(f"fastem: interrupted {kept}", err=True)
            raise typer.Exit(130) from None
        if verbose:
            typer.echo(str(model.fit_report_), err=True)
        if output is not None:
            files.save(model, output, feature_names=names)
        if params is not None:
            write_params(model, params, names)
        if write_labels is not None:
            outputs.write_scores(model, source, write_labels)
        if picture is not None:
            X, sample_weight, _ = source.sample(PLOTTED_ROWS, np.random.RandomState(0))
            save_figure(plot_fit(model, X, feature_names=names, sample_weight=sample_weight), picture)
        print_components(model, names)
        print_pairs(quality(model, source) + ending(model))


@app.command("select")
def choose(
    file: DataFile,
    components: Annotated[
        str, typer.Option("--components", "-k", metavar="A-B,C,...", help="Numbers of components to try.")
    ] = "1-10",
    covariance: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE,...",
            help=f"Some of {', '.join(PLAIN)} (default: these), {', '.join(MCLUST)}, mclust for the latter, and "
            f"{', '.join(FACTORS)}, mixtures of factor analysers.",
        ),
    ] = None,
    factors: Annotated[
        str | None,
        typer.Option("--n-factors", metavar="A-B,C,...", help=f"Numbers of factors to try, for {', '.join(FACTORS)}."),
    ] = None,
    criterion: Annotated[
        CriterionName,
        typer.Option(help="Choose by an information criterion, or by the likelihood of rows held out (cv)."),
    ] = "bic",
    folds: Annotated[int, typer.Option("--cv", min=2, help="With --criterion cv: number of folds.")] = 5,
    columns: Columns = None,
    weights: Weights = None,
    init: Init = None,
    seed: Seed = None,
    n_init: Starts = 1,
    max_iter: MaxIter = None,
    tol: Tol = None,
    reg_covar: RegCovar = None,
    regularization: Regularization = None,
    stop: StopAt = None,
    solver: Solver = None,
    noise: Noise = False,
    output: ModelOutput = None,
    params: ParamsOutput = None,
    picture: Annotated[
        Path | None, typer.Option("--plot", help="Draw the criterion to this file: .png, .pdf, .svg.")
    ] = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    drop_incomplete: DropIncomplete = False,
    missing: Missing = False,
    threads: Threads = None,
) -> None:
    """Fit mixtures of many sizes and covariance types, and choose the best. After Ctrl-C, choose among those fitted."""
    with reporting():
        check_outputs_of_fit(file, output, params, picture)
        text = text_options(delimiter, decimal, header, index)
        rows, names = open_rows(file, split_names(columns), weights, None, text, gaps_of(drop_incomplete, missing))
        interrupted = False
        try:
            with bar(TextColumn("candidate"), MofNCompleteColumn(), BarColumn()) as update:
                found = select(
                    rows.source,
                    parse_sizes(components, "--components"),
                    PLAIN if covariance is None else [name.strip() for name in covariance.split(",")],
                    n_factors=None if factors is None else parse_sizes(factors, "--n-factors"),
                    criterion=criterion,
                    cv=folds,
                    random_state=seed,
                    callback=update and (lambda done, total, _: update(completed=done, total=total)),
                    n_init=n_init,
                    noise=noise,
                    n_threads=threads,
                    missing=missing,
                    **given(stop=stop, solver=solver, init_params=init, max_iter=max_iter, tol=tol),
                    **given(reg_covar=reg_covar, regularization=regularization),
                )
        except SelectionInterrupted as end:
            found, interrupted = end.selection, True
            typer.echo(f"fastem: interrupted after {len(found.candidates)} candidates", err=True)
        print_candidates(found)
        if found.ranked() or not interrupted:
            print_choice(found, names, output, params, picture)
        if interrupted:
            raise typer.Exit(130)


def rescue(
    model: GaussianMixture,
    result: Result | None,
    source: Source,
    output: Path | None,
    names: list[str] | None,
) -> str:
    """Save the result of an interrupted fit, unless it is None, and return what has become of it, for a message."""
    if result is None:
        return "before the first iteration was complete: no model is written"
    if output is None:
        return f"after {result.n_iter} iterations: no model is written, for want of --output"
    ended = result._replace(status=Status.INTERRUPTED)
    found = GaussianMixture.from_result(ended, dtype=source.dtype, **model.get_params())
    files.save(found, output, feature_names=names)
    return f"after {result.n_iter} iterations: their model is in {output}"


def parse_sizes(text: str, option: str) -> list[int]:
    """Return the numbers that the text of an option names: 1-4,6 means 1, 2, 3, 4 and 6."""
    sizes: list[int] = []
    for part in text.split(","):
        ends = [end.strip() for end in part.split("-")]
        numbers = [int(end) for end in ends if end.isdecimal()]
        if len(numbers) != len(ends) or len(ends) > 2 or numbers[0] > numbers[-1]:
            raise ValueError(f"{option} takes numbers and ranges, such as 1-4,6; got {text!r}")
        sizes += range(numbers[0], numbers[-1] + 1)
    return sizes


def print_choice(
    found: Selection, names: list[str] | None, output: Path | None, params: Path | None, picture: Path | None
) -> None:
    """Describe the best model of a selection, and write the files whose paths are not None."""
    model = found.best_
    if output is not None:
        files.save(model, output, feature_names=names)
    if params is not None:
        write_params(model, params, names)
    if picture is not None:
        save_figure(found.plot().figure, picture)
    print_components(model, names)
    print_pairs(ending(model))
