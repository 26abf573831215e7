"""The command line, ``fastem COMMAND``: fit, select, predict, score, anomalies, sample, info and warmup.

Results go to standard output or to the files asked for, everything else to standard error. Exit status: 0,
1 for an error in the data or files (one line on standard error), 2 for wrong usage, 130 after Ctrl-C (an interrupted
``fit`` still writes the model of its last complete iteration, ``select`` the best that it has found).
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Table
except ImportError:
    sys.exit('fastem: error: the command line needs typer and rich: pip install "fastem[cli]"')

from fastem import __version__, archive, datasets, files, outputs, plot, tables
from fastem.anomaly import AnomalyDetector, rows_at
from fastem.covariance import COVARIANCES, variances
from fastem.em import FitInterrupted
from fastem.estimator import GaussianMixture
from fastem.model import Params, Result, Status
from fastem.regularize import unit_free
from fastem.select import Selection, SelectionInterrupted, select
from fastem.sources import Block, Sample, Source, SourceError, is_labelled
from fastem.streams import as_source
from fastem.warmup import warmup

Array = npt.NDArray[Any]

PLOT_ENDINGS = (".png", ".pdf", ".svg")
PLOTTED_ROWS = 20_000
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

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Gaussian mixture models. FILE is a .csv, .npy or .parquet table with one row per sample, a folder of "
    f".parquet files, or the name of a built-in data set ({', '.join(datasets.NAMES)}).",
)

DataFile = Annotated[Path, typer.Argument(metavar="FILE", help="Table, or the name of a built-in data set.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model written by 'fastem fit -o'.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns, by name or 0-based position (default: all)."),
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
Tol = Annotated[float, typer.Option(min=0.0, help="Stop when the criterion is below this.")]
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


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastem {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def fit(
    file: DataFile,
    components: Annotated[int, typer.Option("--components", "-k", min=1, help="Number of components.")] = 1,
    covariance: Annotated[
        Literal["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"],
        typer.Option(help="Covariance type."),
    ] = "full",
    assignment: Annotated[
        Literal["soft", "hard"], typer.Option(help="EM, or classification EM: each row whole to one component.")
    ] = "soft",
    columns: Columns = None,
    weights: Weights = None,
    known: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of known components, from 0 on; -1: unknown."),
    ] = None,
    init: Init = "kmeans",
    seed: Seed = None,
    n_init: Starts = 1,
    max_iter: MaxIter = 100,
    tol: Tol = 1e-3,
    reg_covar: RegCovar = None,
    regularization: Regularization = None,
    on_collapse: Annotated[
        Literal["reseed", "drop"],
        typer.Option(help="With --regularization: what becomes of components that lose their rows or rank."),
    ] = "reseed",
    criterion: Annotated[StopAt, typer.Option(help=STOP_HELP)] = "change",
    verbose: Annotated[bool, typer.Option("--verbose", help="Report what happened in the fit.")] = False,
    noise: Noise = False,
    output: ModelOutput = None,
    labels: Annotated[
        Path | None, typer.Option(help="Write each row's component here, .csv, .npy or .parquet.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw the fit here, .png, .pdf or .svg.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Write the fit's state here, .npz, every 30 s; go on from it if it is there.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Fit a mixture to a table and describe it. After Ctrl-C, --output holds the last complete iteration."""
    with _reporting():
        # What can be found wrong before the fit is: a long fit should not be lost to a mistyped folder.
        _check(output, archive.ENDINGS)
        _check(labels, tables.OUTPUT_ENDINGS)
        _check(picture, PLOT_ENDINGS)
        _check(checkpoint, archive.ENDINGS)
        if picture is not None:
            plot.require_matplotlib()
        source, names = _open(file, _split(columns), weights, known)
        model = GaussianMixture(
            components,
            covariance_type=covariance,
            assignment=assignment,
            tol=tol,
            **unit_free(reg_covar, regularization),
            max_iter=max_iter,
            n_init=n_init,
            init_params=init,
            random_state=seed,
            on_collapse=on_collapse,
            criterion=criterion,
            noise=noise,
            n_threads=threads,
        )
        try:
            with _progress(max_iter, source) as callback:
                model.fit(source, callback=callback, checkpoint=checkpoint)
        except (FitInterrupted, SourceError) as end:
            kept = _rescue(model, end.result, source, output, names)
            if isinstance(end, SourceError):
                raise SourceError(f"{end}; the fit ends {kept}") from end
            typer.echo(f"fastem: interrupted {kept}", err=True)
            raise typer.Exit(130) from None
        if verbose:
            typer.echo(str(model.fit_report_), err=True)
        if output is not None:
            files.save(model, output, feature_names=names)
        if labels is not None:
            outputs.write_scores(model, source, labels)
        if picture is not None:
            X, sample_weight, _ = source.sample(PLOTTED_ROWS, np.random.RandomState(0))
            figure = plot.plot_fit(model, X, feature_names=names, sample_weight=sample_weight)
            figure.savefig(picture)
        _print_components(model, names)
        _print_pairs(_quality(model, source) + _ending(model))


@app.command("select")
def choose(
    file: DataFile,
    components: Annotated[
        str, typer.Option("--components", "-k", metavar="A-B,C,...", help="Numbers of components.")
    ] = "1-10",
    covariance: Annotated[
        str | None, typer.Option(metavar="TYPE,...", help=f"Of {', '.join(COVARIANCES)} (default: all).")
    ] = None,
    criterion: Annotated[
        Literal["bic", "aic", "icl", "cv"],
        typer.Option(help="What to choose by: an information criterion, or the likelihood of rows held out."),
    ] = "bic",
    folds: Annotated[int, typer.Option("--cv", min=2, help="With --criterion cv: folds.")] = 5,
    columns: Columns = None,
    weights: Weights = None,
    init: Init = "kmeans",
    seed: Seed = None,
    n_init: Starts = 1,
    max_iter: MaxIter = 100,
    tol: Tol = 1e-3,
    reg_covar: RegCovar = None,
    regularization: Regularization = None,
    stop: Annotated[StopAt, typer.Option(help=STOP_HELP)] = "change",
    noise: Noise = False,
    output: ModelOutput = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw the criterion here, .png, .pdf or .svg.")] = None,
    threads: Threads = None,
) -> None:
    """Fit mixtures of many sizes and covariance types, and choose one. After Ctrl-C, of those that are done."""
    with _reporting():
        _check(output, archive.ENDINGS)
        _check(picture, PLOT_ENDINGS)
        if picture is not None:
            plot.require_matplotlib()
        rows, names = _open(file, _split(columns), weights)
        interrupted = False
        try:
            with _bar(TextColumn("candidate"), MofNCompleteColumn(), BarColumn()) as update:
                found = select(
                    rows.source,
                    _sizes(components),
                    tuple(COVARIANCES) if covariance is None else [name.strip() for name in covariance.split(",")],
                    criterion=criterion,
                    cv=folds,
                    random_state=seed,
                    stop=stop,
                    callback=update and (lambda done, total, _: update(completed=done, total=total)),
                    init_params=init,
                    n_init=n_init,
                    max_iter=max_iter,
                    tol=tol,
                    **unit_free(reg_covar, regularization),
                    noise=noise,
                    n_threads=threads,
                )
        except SelectionInterrupted as end:
            found, interrupted = end.selection, True
            typer.echo(f"fastem: interrupted after {len(found.candidates)} candidates", err=True)
        _print_candidates(found)
        if found.ranked() or not interrupted:
            _print_choice(found, names, output, picture)
        if interrupted:
            raise typer.Exit(130)


@app.command()
def predict(
    model_file: ModelFile,
    file: DataFile,
    output: Output = None,
    columns: Columns = None,
    proba: Annotated[bool, typer.Option("--proba", help="Probability of each component instead.")] = False,
    threads: Threads = None,
) -> None:
    """Print or write the component of each row."""
    with _reporting():
        _check(output, tables.OUTPUT_ENDINGS)
        model, source = _open_for_model(model_file, file, columns)
        model.set_params(n_threads=threads)
        what = "proba" if proba else "label"
        if output is None:
            checked = model._source(source)  # before the header is out
            write = tables.csv_writer(sys.stdout, outputs.column_names(model, what))
            outputs.score_blocks(model, checked, what, write)
        else:
            outputs.write_scores(model, source, output, what)


@app.command()
def score(
    model_file: ModelFile, file: DataFile, output: Output = None, columns: Columns = None, threads: Threads = None
) -> None:
    """Print log-likelihood, BIC and AIC of a table; with -o also write each row's log-likelihood."""
    with _reporting():
        _check(output, tables.OUTPUT_ENDINGS)
        model, source = _open_for_model(model_file, file, columns)
        model.set_params(n_threads=threads)
        if output is not None:
            outputs.write_scores(model, source, output, "log_likelihood")
        _print_pairs(_quality(model, source))


@app.command()
def anomalies(
    model_file: ModelFile,
    file: DataFile,
    share: Annotated[float, typer.Option(min=0.0, max=0.5, help="Share of the rows that are anomalies.")] = 0.01,
    threshold: Annotated[
        float | None, typer.Option(help="Instead of --share: rows whose log-likelihood is below this.")
    ] = None,
    output: Output = None,
    columns: Columns = None,
    threads: Threads = None,
) -> None:
    """Print or write the rows of lowest density: their number, from 0, log-likelihood and columns."""
    with _reporting():
        _check(output, tables.OUTPUT_ENDINGS)
        model, rows = _open_for_model(model_file, file, columns)
        names = _load(model_file)[1] or [f"x{j}" for j in range(rows.n_features)]
        model.set_params(n_threads=threads)
        detector = AnomalyDetector.from_mixture(model).set_params(contamination=share, threshold=threshold)
        detector.calibrate(rows.source)
        density = detector.score_samples(rows.source)
        flagged = np.flatnonzero(density < detector.threshold_)
        _print_rows(rows.source, flagged, density[flagged], names, output)
        below = f"a log-likelihood below {detector.threshold_:.10g}"
        typer.echo(f"fastem: {len(flagged)} of {len(density)} rows have {below}", err=True)


@app.command()
def sample(
    model_file: ModelFile,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Rows to draw.")] = 1,
    seed: Seed = None,
    output: Output = None,
) -> None:
    """Draw rows from a model."""
    with _reporting():
        _check(output, tables.OUTPUT_ENDINGS)
        model, names = _load(model_file)
        X, _ = model.set_params(random_state=seed).sample(number)
        header = names or [f"x{j}" for j in range(X.shape[1])]
        if output is None:
            tables.csv_writer(sys.stdout, header)(X)
        else:
            tables.write_table(output, X, header)


@app.command()
def info(model_file: ModelFile) -> None:
    """Describe a model."""
    with _reporting():
        model, names = _load(model_file)
        _print_components(model, names)
        K, D = model.means_.shape
        _print_pairs([("components", str(K)), ("features", str(D)), ("dtype", str(model.means_.dtype))])
        _print_pairs(_ending(model))
        _print_pairs([(k, str(v)) for k, v in files.plain_parameters(model).items() if v is not None])


@app.command("warmup")
def compile_ahead(
    dtype: Annotated[
        Literal["float64", "float32"] | None, typer.Option(help="Only what tables of this kind need (default: all).")
    ] = None,
) -> None:
    """Compile everything now, so that no later command or fit has to."""
    with _reporting():
        with _bar(TextColumn("compiling"), MofNCompleteColumn(), BarColumn()) as update:
            progress = update and (lambda done, total: update(completed=done, total=total))
            ready = warmup(("float64", "float32") if dtype is None else (dtype,), progress)
        if ready.folder is None:
            raise OSError(
                f"compiled in {ready.seconds:.1f} s, but for this process only: Numba can write to no folder, the disk "
                "is full, or the cache is damaged. Set NUMBA_CACHE_DIR to a new folder"
            )
        _print_pairs([("ready after", f"{ready.seconds:.1f} s"), ("compiled code", str(ready.folder))])


def main() -> None:
    """Run the command line."""
    app()


# Input and output


def _check(path: Path | None, endings: tuple[str, ...]) -> None:
    """Refuse an output that could not be written, before the work for it is done."""
    if path is not None:
        tables.check_output(path, endings)


def _find(file: Path) -> Path:
    """Return the file, or that of the built-in data set of this name."""
    return datasets.data_path(str(file)) if not file.exists() and str(file) in datasets.NAMES else file


class _Rows:
    """A source that counts its rows as they go by, without names: columns are matched here, not by the model."""

    columns = None

    def __init__(self, source: Source) -> None:
        self.source, self.n_features, self.dtype = source, source.n_features, source.dtype
        self.labelled = is_labelled(source)
        self.count: Callable[[int], None] = lambda n: None

    @property
    def n_rows(self) -> int:
        return self.source.n_rows

    @property
    def n_present(self) -> int:
        return self.source.n_present

    @property
    def sum_w(self) -> float:
        return self.source.sum_w

    def reduce(self, function: Callable[[Block], Any], rows: int, grain: int | None = None) -> Any:
        def counted(block: Block) -> Any:
            self.count(len(block.X))
            return function(block)

        return self.source.reduce(counted, rows, grain)

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        def counted(block: Block) -> None:
            self.count(len(block.X))
            function(block)

        self.source.for_each(counted, rows, grain)

    def sample(self, n: int, rng: np.random.RandomState) -> Sample:
        return self.source.sample(n, rng)


def _open(
    file: Path, wanted: list[str] | None, weights: str | None = None, labels: str | None = None
) -> tuple[_Rows, list[str] | None]:
    """Find the rows of a table and the features' names; the columns of weights and labels are no features.

    A csv file is read into memory; others are mapped, or read again on each pass.
    """
    path = _find(file)
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
    return _Rows(source), names and [names[j] for j in features]


def _split(columns: str | None) -> list[str] | None:
    return None if columns is None else [column.strip() for column in columns.split(",")]


def _load(path: Path) -> tuple[GaussianMixture, list[str] | None]:
    """Read a model, and its feature names apart from it."""
    model = files.load_mixture(path)
    if not hasattr(model, "feature_names_in_"):
        return model, None
    names = list(model.feature_names_in_)
    del model.feature_names_in_  # tables come as arrays: columns are matched here, not by the model
    return model, names


def _open_for_model(model_file: Path, file: Path, columns: str | None) -> tuple[GaussianMixture, _Rows]:
    """Read a model and find the columns for it: those asked for, else those of its names, else all."""
    model, wanted = _load(model_file)
    if columns is not None:
        return model, _open(file, _split(columns))[0]
    there, _ = tables.layout(_find(file))
    if wanted is None and there is not None:
        _say("warning", f"{model_file} has no column names: the columns of {file} are taken in their order")
    return model, _open(file, None if there is None else wanted)[0]


def _rescue(
    model: GaussianMixture,
    result: Result | None,
    source: Source,
    output: Path | None,
    names: list[str] | None,
) -> str:
    """Save the result of an interrupted fit, if there is one, and say so."""
    if result is None:
        return "before the first iteration was complete: no model is written"
    if output is None:
        return f"after {result.n_iter} iterations: no model is written, for want of --output"
    model._adopt(result.params, [result._replace(status=Status.INTERRUPTED)], 0, source)
    files.save(model, output, feature_names=names)
    return f"after {result.n_iter} iterations: their model is in {output}"


def _sizes(text: str) -> list[int]:
    """Numbers of components: 1-4,6 is 1, 2, 3, 4 and 6."""
    sizes: list[int] = []
    for part in text.split(","):
        ends = [end.strip() for end in part.split("-")]
        numbers = [int(end) for end in ends if end.isdecimal()]
        if len(numbers) != len(ends) or len(ends) > 2 or numbers[0] > numbers[-1]:
            raise ValueError(f"--components takes numbers and ranges, such as 1-4,6; got {text!r}")
        sizes += range(numbers[0], numbers[-1] + 1)
    return sizes


# What is printed


def _print_candidates(found: Selection) -> None:
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


def _print_rows(source: Source, index: Array, density: Array, names: list[str], output: Path | None) -> None:
    """Print or write rows with their numbers and log-likelihoods."""
    header, values = ["row", "log_likelihood", *names], np.column_stack([index, density, rows_at(source, index)])
    if output is None or output.suffix.lower() != ".npy":
        values = values.astype(object)
        values[:, 0] = index.tolist()  # 7, not 7.0
    if output is None:
        tables.csv_writer(sys.stdout, header)(values)
    else:
        tables.write_table(output, values, header)


def _print_choice(found: Selection, names: list[str] | None, output: Path | None, picture: Path | None) -> None:
    """Describe the best of a selection, and write what is asked for."""
    model = found.best_
    if output is not None:
        files.save(model, output, feature_names=names)
    if picture is not None:
        found.plot().figure.savefig(picture)
    _print_components(model, names)
    _print_pairs(_ending(model))


def _print_components(model: GaussianMixture, names: Sequence[str] | None) -> None:
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


def _quality(model: GaussianMixture, source: _Rows) -> list[tuple[str, str]]:
    mean, n = model._mean_density(source)
    penalty = model._n_parameters()
    return [
        ("log-likelihood", f"{mean * n:.10g}"),
        ("mean log-likelihood", f"{mean:.10g}"),
        ("BIC", f"{-2 * mean * n + penalty * np.log(n):.10g}"),
        ("AIC", f"{-2 * mean * n + 2 * penalty:.10g}"),
    ]


def _ending(model: GaussianMixture) -> list[tuple[str, str]]:
    """Say how the fit went; nothing for a model that was given, not fitted."""
    if model.status_ is None:
        return []
    return [
        ("iterations", str(model.n_iter_)),
        ("converged", "yes" if model.converged_ else "no"),
        ("status", model.status_.advice),
    ]


def _print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    for label, value in pairs:
        typer.echo(f"{label:<22}{value}")


@contextmanager
def _progress(max_iter: int, source: _Rows) -> Iterator[Callable[[int, float, Params], None] | None]:
    """Give a callback for a fit that moves a progress bar, or None."""
    bound = TextColumn("mean log-likelihood {task.fields[bound]:.6f}")
    columns = TextColumn("iteration"), MofNCompleteColumn(), BarColumn(), bound, TextColumn("{task.fields[rate]}")
    with _bar(*columns, total=max_iter, bound=float("nan"), rate="") as update:
        if update is None:
            yield None
            return
        seen, since = 0, time.perf_counter()

        def count(n: int) -> None:
            nonlocal seen
            seen += n
            rate = seen / (time.perf_counter() - since)
            done = 100 * (seen % source.n_rows) // source.n_rows
            update(rate=f"{rate / 1e6:.1f}e6 rows/s, pass {done:.0f} %")

        source.count = count
        yield lambda iteration, bound, _: update(completed=iteration, bound=bound)


@contextmanager
def _bar(*columns: ProgressColumn, **fields: Any) -> Iterator[Callable[..., None] | None]:
    """Give a function that moves a progress bar; None where standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield partial(bar.update, bar.add_task("", **fields))


@contextmanager
def _reporting() -> Iterator[None]:
    """Turn each warning into one line on standard error, and an error into one line and an exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: _say("warning", message)
        try:
            yield
            sys.stdout.flush()  # a reader that has gone shows here, not when Python ends
        except BrokenPipeError:
            raise  # typer ends quietly
        except KeyboardInterrupt:
            typer.echo("fastem: interrupted", err=True)
            raise typer.Exit(130) from None
        except (ValueError, OSError, ImportError, MemoryError) as error:
            _say("error", error)
            raise typer.Exit(1) from None


def _say(kind: str, what: Warning | Exception | str) -> None:
    """Print one line on standard error, whatever the message."""
    text = str(what) or type(what).__name__
    if isinstance(what, OSError) and what.filename:
        text = f"{what.filename}: {what.strerror}"
    typer.echo(f"fastem: {kind}: {' '.join(text.split())}", err=True)


if __name__ == "__main__":
    main()
