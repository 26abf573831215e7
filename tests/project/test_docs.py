"""The code of README, of the pages in docs and of docstrings runs, and prints what they say."""

import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, child_env

import fastem

README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fastem.__path__, "fastem.")
    if not name.endswith("__main__") and "kernels" not in name
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pytest.fixture(autouse=True)
def _printing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with np.printoptions(legacy="1.25"):  # np.float64(1.0) prints as 1.0
        yield


def blocks(page, language):
    """The fenced blocks of a page in a language, as pairs of the line before the code and the code."""
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n"), block[1]) for block in found]


def as_doctest(page):
    """The examples of a page as one doctest, on the page's lines; output may have empty lines."""
    lines = [""] * page.read_text().count("\n")
    for start, code in blocks(page, "python"):
        if code.startswith(">>>"):
            code = re.sub(r"^$(?=\n(?!>>>|\n))", "<BLANKLINE>", code, flags=re.MULTILINE)
            lines[start : start + code.count("\n")] = code.splitlines()
    name = page.relative_to(ROOT).as_posix()
    return doctest.DocTestParser().get_doctest("\n".join(lines) + "\n", {}, name, str(page), 0)


def commands(page):
    """The commands of a page that begin with fastem."""
    return [line for _, code in blocks(page, "sh") for line in code.splitlines() if line.startswith("fastem ")]


@pages
def test_examples_of_pages(page):
    test = as_doctest(page)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


@pages
def test_scripts_of_pages(page, tmp_path):
    """Python without prompts is a script; that for MPI is one for a single rank too."""
    for _, code in blocks(page, "python"):
        if not code.startswith(">>>"):
            if "mpi4py" in code:
                pytest.importorskip("mpi4py")
            script = tmp_path / "fit.py"
            script.write_text(code)
            done = subprocess.run([sys.executable, script], env=child_env(), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pages
def test_commands_of_pages(page):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from fastem.cli import app

    for command in commands(page):
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, (command, result.output, result.exception)


def test_code_is_found():
    """Else the tests above test nothing."""
    assert len(as_doctest(README).examples) > 10
    assert len(as_doctest(DOCS / "sources.md").examples) > 10
    assert len(commands(DOCS / "command-line.md")) > 8
    assert any("MPI" in code and ">>>" not in code for _, code in blocks(DOCS / "sources.md", "python"))
    for page in PAGES:
        fences = re.findall(r"^\s*```(.*)$", page.read_text(), re.MULTILINE)
        assert set(fences) <= {"", "python", "sh", "{toctree}"}, page


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pages
def test_modules_that_pages_name_are_there(page):
    for name in re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text()):
        places = [ROOT / name, ROOT / "fastem" / name, ROOT / "tests" / name, ROOT / "tests" / "project" / name]
        assert any(place.exists() for place in places) or name == "fit.py", f"{page.name}: {name}"


def test_names_that_the_architecture_puts_into_modules_are_there():
    text = (DOCS / "architecture.md").read_text()
    found = re.findall(r"`(\w+)`,? (?:there |of |in |\()+`((?:\w+/)+\w+\.py)`", text)
    assert len(found) > 10
    for name, module in found:
        place = ROOT / module if module.startswith("tests") else ROOT / "fastem" / module
        assert re.search(rf"\b{name}\b", place.read_text()), f"{module} has no {name}"


def test_readme_is_short_and_has_the_commands_that_ci_runs():
    text = README.read_text()
    assert text.count("\n") <= 180
    found = dict(re.findall(r"^<!-- ci:(\w+) -->\n```sh\n(.*)\n```$", text, re.MULTILINE))
    assert found == {
        "first": 'pip install ".[cli,plot]" && fastem fit faithful -k 2 --plot faithful.png',
        "tests": 'pip install ".[test]" && pytest -n 2',
    }


def test_readme_shows_rows_of_the_table_of_peers():
    rows = re.search("<!-- speed:start -->.*<!-- speed:end -->", README.read_text(), re.DOTALL)[0].splitlines()
    table = [row for row in rows if row.startswith("|")]
    assert len(table) == 6
    assert set(table) <= set((DOCS / "performance.md").read_text().splitlines())


def test_the_reference_has_every_public_name():
    listed = re.findall(r"^   (\w+)$", (DOCS / "api.rst").read_text(), re.MULTILINE)
    plots = [name for name, thing in vars(fastem.plot).items() if inspect.isfunction(thing) and name.startswith("plot")]
    public = [name for name in fastem.__all__ if name not in ("__version__", "embed", "plot")]
    assert sorted(listed) == sorted([*public, *fastem.embed.__all__, *plots])


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_function_has_an_example():
    for name in fastem.__all__:
        thing = getattr(fastem, name)
        if callable(thing) and not isinstance(thing, type):
            assert ">>>" in thing.__doc__, name
