"""The commands predict, score and anomalies."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from fastem.cli.app import app
from fastem.cli.opening import load_model, open_for_scoring, text_options
from fastem.cli.options import Columns, DataFile, Decimal, Delimiter, Errors, Header, Index, ModelFile, Output, Threads
from fastem.cli.parameters import gaussian_of
from fastem.cli.printing import print_pairs, quality, standard_csv
from fastem.cli.reporting import reporting
from fastem.estimators import outputs
from fastem.estimators.anomaly import AnomalyDetector, rows_at
from fastem.estimators.rows import rows_for
from fastem.files import tables
from fastem.sources.blocks import Source

Array = npt.NDArray[Any]


@app.command()
def predict(
    model_file: ModelFile,
    file: DataFile,
    output: Output = None,
    columns: Columns = None,
    errors: Errors = None,
    proba: Annotated[bool, typer.Option("--proba", help="Give the probability of each component instead.")] = False,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    threads: Threads = None,
) -> None:
    """Print or write the component of each row."""
    with reporting():
        text = text_options(delimiter, decimal, header, index)
        model, source = open_for_scoring(model_file, file, output, columns, text, threads, errors)
        what = "proba" if proba else "label"
        if output is None:
            checked = rows_for(model, source)  # before the header is out
            write = standard_csv(outputs.column_names(model, what))
            outputs.score_blocks(model, checked, what, write)
        else:
            outputs.write_scores(model, source, output, what)


@app.command()
def score(
    model_file: ModelFile,
    file: DataFile,
    output: Output = None,
    columns: Columns = None,
    errors: Errors = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    threads: Threads = None,
) -> None:
    """Print log-likelihood, BIC and AIC of a table; with -o also write the log-likelihood of each row."""
    with reporting():
        text = text_options(delimiter, decimal, header, index)
        model, source = open_for_scoring(model_file, file, output, columns, text, threads, errors)
        if output is not None:
            outputs.write_scores(model, source, output, "log_likelihood")
        print_pairs(quality(model, source))


def some_share(share: float | None) -> float | None:
    """Return a share; raise an error that names the option for 0, which is a bound of its range."""
    if share == 0:
        raise typer.BadParameter("0.0 is a share of no rows. Give more, or a --threshold.")
    return share


@app.command()
def anomalies(
    model_file: ModelFile,
    file: DataFile,
    share: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=0.5, callback=some_share, show_default="0.01", help="Share of the rows to call anomalies."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Instead of --share: call rows anomalies whose log-likelihood is below this.")
    ] = None,
    output: Output = None,
    columns: Columns = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header: Header = None,
    index: Index = None,
    threads: Threads = None,
) -> None:
    """Print or write the rows of lowest density: number of the row, from 0 on, log-likelihood and columns."""
    with reporting():
        if share is not None and threshold is not None:
            raise ValueError("--share and --threshold each say what an anomaly is: give one of them")
        text = text_options(delimiter, decimal, header, index)
        model, rows = open_for_scoring(model_file, file, output, columns, text, threads)
        names = load_model(model_file)[1] or [f"x{j}" for j in range(rows.n_features)]
        detector = AnomalyDetector.from_mixture(gaussian_of(model)).set_params(threshold=threshold)
        if share is not None:
            detector.set_params(contamination=share)
        detector.calibrate(rows.source)
        density = detector.score_samples(rows.source)
        flagged = np.flatnonzero(density < detector.threshold_)
        print_rows(rows.source, flagged, density[flagged], names, output)
        below = f"a log-likelihood below {detector.threshold_:.10g}"
        typer.echo(f"fastem: {len(flagged)} of {len(density)} rows have {below}", err=True)


def print_rows(source: Source, index: Array, density: Array, names: list[str], output: Path | None) -> None:
    """Print or write rows with their numbers and log-likelihoods."""
    header, values = ["row", "log_likelihood", *names], np.column_stack([index, density, rows_at(source, index)])
    if output is None or output.suffix.lower() != ".npy":
        values = values.astype(object)
        values[:, 0] = index.tolist()  # 7, not 7.0
    if output is None:
        standard_csv(header)(values)
    else:
        tables.write_table(output, values, header)
