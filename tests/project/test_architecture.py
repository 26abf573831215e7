"""The packages stand in a line, imports are light, modules are short, and only the table of families knows families."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastem

ROOT = Path(fastem.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
# Each package may import those of the rows before its own, and itself; those of one row do not know each other.
LINE = [
    {"_version"},
    {"model"},
    {"kernels", "files"},
    {"sources"},
    {"passes"},
    {"embed", "fitting", "analysis", "plot"},
    {"estimators"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(LINE) for name in names}
LONGEST = 400  # lines of a module that gives no reason for more


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> set[str]:
    """The packages of fastem that a module imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastem":
            inner = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            names |= {name if name in FLOOR else "__init__" for name in inner}
        elif isinstance(node, ast.Import):
            names |= {"__init__" for alias in node.names if alias.name.split(".")[0] == "fastem"}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_stands_in_the_line_fits_in_a_head_and_imports_no_private_name(path):
    text, own = path.read_text(), package(path)
    tree = ast.parse(text)
    later = {name for name in imported(tree) - {own} if FLOOR[name] >= FLOOR[own]}
    assert not later, f"{path.relative_to(ROOT)} imports {later}, not before it in the line"
    reason = "This module is long because" in (ast.get_docstring(tree) or "")
    assert reason or len(text.splitlines()) <= LONGEST, f"{path.relative_to(ROOT)} is longer than {LONGEST} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastem"):
            private = [alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"]
            assert not private, f"{path.relative_to(ROOT)} imports {private} of {node.module}"


def test_import_is_light():
    code = (
        "import sys, fastem; heavy = {'sklearn', 'matplotlib', 'pandas', 'polars', 'pyarrow', 'typer', 'rich', 'h5py',"
        "         'zarr', 'scipy.optimize', 'scipy.spatial', 'dask', 'mpi4py'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_only_the_table_knows_the_families():
    """No `if covariance_type == ...` outside of model/families.py; plots draw each form in its own way."""
    for path in MODULES:
        if path.stem == "families" or package(path) == "plot":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                assert not constants & {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, (
                    f"{path.relative_to(ROOT)}:{node.lineno}"
                )
