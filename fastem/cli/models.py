"""The commands sample, info and warmup."""

from typing import Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from fastem.cli.app import app
from fastem.cli.opening import check_outputs, load_model
from fastem.cli.options import ModelFile, Output, ParamsOutput, Seed
from fastem.cli.parameters import PARAMS_ENDINGS, write_params
from fastem.cli.printing import ending, print_components, print_pairs, standard_csv
from fastem.cli.progress import bar
from fastem.cli.reporting import reporting
from fastem.estimators.stored.shared import plain_parameters
from fastem.files import tables
from fastem.kernels.ahead import CALLS, warmup


@app.command()
def sample(
    model_file: ModelFile,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Number of rows to draw.")] = 1,
    seed: Seed = None,
    output: Output = None,
) -> None:
    """Draw random rows from a model."""
    with reporting():
        check_outputs({"--output": (output, tables.OUTPUT_ENDINGS)}, model_file)
        model, names = load_model(model_file)
        X, _ = model.set_params(random_state=seed).sample(number)
        header = names or [f"x{j}" for j in range(X.shape[1])]
        if output is None:
            standard_csv(header)(X)
        else:
            tables.write_table(output, X, header)


@app.command()
def info(model_file: ModelFile, params: ParamsOutput = None) -> None:
    """Describe a model."""
    with reporting():
        check_outputs({"--params": (params, PARAMS_ENDINGS)}, model_file)
        model, names = load_model(model_file)
        print_components(model, names)
        K, D = model.means_.shape
        print_pairs([("components", str(K)), ("features", str(D)), ("dtype", str(model.means_.dtype))])
        print_pairs(ending(model))
        if params is not None:
            write_params(model, params, names)
        print_pairs([(k, str(v)) for k, v in plain_parameters(model, type(model)).items() if v is not None])


@app.command("warmup")
def compile_ahead(
    dtype: Annotated[
        Literal["float64", "float32"] | None,
        typer.Option(help="Compile for rows of this dtype only (default: both)."),
    ] = None,
    calls: Annotated[
        str, typer.Option("--for", metavar="CALLS", help=f"What will be called: {', '.join(CALLS)} (default: all).")
    ] = ",".join(CALLS),
) -> None:
    """Compile kernels now, so that later commands and fits start at once."""
    with reporting():
        with bar(TextColumn("compiling"), MofNCompleteColumn(), BarColumn()) as update:
            progress = update and (lambda done, total: update(completed=done, total=total))
            ready = warmup(("float64", "float32") if dtype is None else (dtype,), progress, calls.split(","))
        if ready.folder is None and not ready.prebuilt:
            raise OSError(
                f"compiled in {ready.seconds:.1f} s, but for this process only: Numba can write to no folder, the disk "
                "is full, or the cache is damaged. Set NUMBA_CACHE_DIR to a new folder"
            )
        print_pairs(
            [("ready after", f"{ready.seconds:.1f} s"), ("compiled code", str(ready.folder or "fastem-kernels"))]
        )
