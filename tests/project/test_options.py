"""The options that exclude each other: the page is printed from the table, and each row of the table is an error."""

import numpy as np
import pytest
from helpers import ROOT

import fastem
from fastem.model.exclusions import EXCLUSIONS, Choice, exclusions_page, find_exclusion

VALUES = {  # with which each choice is made, and with which it is not
    "on_collapse": ("drop", "reseed"),
    "regularization": ("ratio", "map", None),
    "covariance_type": ("VEV", "VVV"),
    "fixed": (("weights",), ()),
    "labels": (np.zeros(8, dtype=int), None),
    "reg_covar": (1e-6, 0.0),
    "solver": ("lbfgs", "auto", "em"),
    "stop": ("aitken", "change"),
    "assignment": ("hard", "soft"),
    "checkpoint": ("fit.npz", None),
    "method": ("fit_many", "partial_fit", "fit"),
}
rows = pytest.mark.parametrize("row", EXCLUSIONS, ids=lambda row: f"{row.one.text}, {row.other.text}")


def value(choice: Choice, made: bool):
    """Return a value with which a choice is made, or is not."""
    return next(one for one in reversed(VALUES[choice.option]) if choice.is_made(one) == made)


def test_the_page_is_the_table():
    """If not: python scripts/options_page.py."""
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == exclusions_page()


@rows
def test_a_pair_is_found_and_neither_of_it_alone(row):
    one, other = row.one, row.other
    message = find_exclusion(**{one.option: value(one, True), other.option: value(other, True)})
    assert message.endswith(f": {row.why}.")
    assert find_exclusion(**{one.option: value(one, False), other.option: value(other, True)}) is None
    assert find_exclusion(**{one.option: value(one, True), other.option: value(other, False)}) is None
    assert find_exclusion(**{one.option: value(one, True)}) is None


def test_values_that_are_defaults_in_another_form():
    assert find_exclusion(regularization="map", reg_covar=0) is None
    for empty in ((), [], set(), frozenset()):
        assert find_exclusion(solver="lbfgs", fixed=empty) is None


@rows
def test_an_estimator_refuses_a_pair(row, tmp_path):
    made = {choice.option: value(choice, True) for choice in (row.one, row.other)}
    if "reg_covar" in made:  # beside a regularization it counts for nothing in an estimator
        start = fastem.make_params([1.0], [[0.0]], [[[1.0]]])
        with pytest.raises(ValueError, match="does not work with"):
            fastem.em(np.arange(8.0)[:, None], start, **made)
        return
    if made.get("method") == "fit_many":
        with pytest.raises(ValueError, match="does not work with fit_many"):
            fastem.fit_many(np.arange(8.0)[:, None], np.zeros(8, dtype=int), covariance_type=made["covariance_type"])
        return
    arguments = {name: made.pop(name) for name in ("labels", "checkpoint", "method") if name in made}
    if "labels" in arguments and "regularization" not in made:
        made["regularization"] = "map"  # which on_collapse needs
    if "checkpoint" in arguments:
        arguments["checkpoint"] = tmp_path / "fit.npz"
    if "fixed" in made and "on_collapse" in made:
        made["regularization"] = "map"
    model, X = fastem.GaussianMixture(1, **made), np.arange(8.0)[:, None]
    if arguments.pop("method", None):
        assert not hasattr(model, "partial_fit")
        with pytest.raises(ValueError, match=r"partial_fit does not work with .*: stepwise EM"):
            model.partial_fit(X)
    else:
        with pytest.raises(ValueError, match="does not work with"):
            model.fit(X, **arguments)
        assert not hasattr(model, "weights_")
