"""README's Python runs and prints what it says; docstrings' examples too."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
from helpers import ROOT

import fastem

README = ROOT / "README.md"
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fastem.__path__, "fastem.")
    if not name.endswith("__main__") and "kernels" not in name
]


@pytest.fixture(autouse=True)
def _printing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with np.printoptions(legacy="1.25"):  # np.float64(1.0) prints as 1.0
        yield


def test_readme():
    assert doctest.testfile(str(README), module_relative=False).attempted > 5
    assert doctest.testfile(str(README), module_relative=False).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_function_has_an_example():
    for name in fastem.__all__:
        thing = getattr(fastem, name)
        if callable(thing) and not isinstance(thing, type):
            assert ">>>" in thing.__doc__, name
