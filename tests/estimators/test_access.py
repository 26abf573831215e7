"""The private methods of estimators stay private: other modules use functions with public names."""

import ast
from pathlib import Path

import pytest

import fastem

ROOT = Path(fastem.__file__).parent


@pytest.fixture(scope="module")
def trees():
    """Every module's syntax, by its path: a second's work, which not each process that collects tests should do."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def methods(tree: ast.AST) -> set[str]:
    """Return the names of the private methods that the classes of a module define."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {
        one.name for node in classes for one in node.body if isinstance(one, ast.FunctionDef) if is_private(one.name)
    }


def test_no_module_calls_a_private_method_of_another_module_s_estimator(trees):
    private = set().union(*(methods(tree) for name, tree in trees.items() if name.startswith("estimators/")))
    assert {"_n_parameters", "_get_parameters", "_set_parameters"} <= private
    for name, tree in trees.items():
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not (used & private) - methods(tree), name


def test_private_attributes_of_mixtures_are_read_in_one_module(trees):
    for name, tree in trees.items():
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        if name != "estimators/state.py":
            assert not {"_fitted_type", "_stepwise"} & (strings | attributes), name
