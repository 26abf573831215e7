"""The import direction of DESIGN: a line without cycles, and no scikit-learn, matplotlib or pandas at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastem

ROOT = Path(fastem.__file__).parent
# Each module may import those before it, and nothing else of the package.
ORDER = [
    "_cache",
    "_version",
    "_jit",
    "atomic",
    "model",
    "sources",
    "covariance",
    "parametrization",
    "regularize",
    "reseed",
    "stopping",
    "report",
    "reference",
    "kernels",
    "estep",
    "align",
    "arrow",
    "delimited",
    "tables",
    "frames",
    "validate",
    "warmup",
    "readers",
    "parts",
    "dask_source",
    "streams",
    "mpi",
    "em",
    "bounds",
    "gradient",
    "embed",
    "stepwise",
    "lloyd",
    "init",
    "archive",
    "checkpoint",
    "datasets",
    "restarts",
    "protocol",
    "by_hand",
    "marginals",
    "montecarlo",
    "merging",
    "fitted",
    "estimator",
    "kmeans",
    "many",
    "anomaly",
    "files",
    "outputs",
    "plot",
    "best",
    "folds",
    "select",
    "__init__",
    "cli",
    "__main__",
]
MODULES = sorted(ROOT.glob("*.py")) + sorted((ROOT / "kernels").glob("*.py")) + sorted((ROOT / "cli").glob("*.py"))


def layer(path: Path) -> str:
    return path.stem if path.parent == ROOT else path.parent.name


def imported(path: Path) -> set[str]:
    """The package's modules that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastem":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {a.name if a.name in ORDER else "__init__" for a in node.names}
        elif isinstance(node, ast.Import):
            names |= {"__init__" for a in node.names if a.name.split(".")[0] == "fastem"}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_backwards(path):
    position = ORDER.index(layer(path))
    for name in imported(path) - {layer(path)}:
        assert ORDER.index(name) < position, f"{path.name} imports {name}, which comes after it"


def test_import_is_light():
    code = (
        "import sys, fastem; heavy = {'sklearn', 'matplotlib', 'pandas', 'polars', 'pyarrow', 'typer', 'rich', 'h5py',"
        "         'zarr', 'scipy.optimize', 'scipy.spatial', 'dask', 'mpi4py'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_only_the_registry_knows_the_families():
    """No `if covariance_type == ...` outside of covariance.py."""
    for path in MODULES:
        if layer(path) in ("covariance", "plot"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                assert not constants & {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, (
                    f"{path.name}:{node.lineno}"
                )
