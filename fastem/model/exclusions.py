"""The options that exclude each other: one table, which every entry point checks and the documentation prints.

A new option that does not work with another is a row of `EXCLUSIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Choice(NamedTuple):
    """A choice that a user can make with one option.

    Attributes
    ----------
    option : str
    text : str, how the choice is written in the documentation
    holds : function of the option's value, whether the choice is made
    """

    option: str
    text: str
    holds: Callable[[Any], bool]


class Exclusion(NamedTuple):
    """Two choices that do not go together, and why."""

    one: Choice
    other: Choice
    why: str


def equals(option: str, value: Any) -> Choice:
    """Return the choice of one value."""
    return Choice(option, f"{option}={value!r}", lambda got: isinstance(got, type(value)) and got == value)


def given(option: str, default: Any = None) -> Choice:
    """Return the choice of anything but the default; empty collections are the default too."""

    def holds(got: Any) -> bool:
        return got is not None and np.size(got) > 0 and not (isinstance(got, type(default)) and got == default)

    return Choice(option, option, holds)


def absent(option: str) -> Choice:
    """Return the choice of None."""
    return Choice(option, f"{option}=None", lambda got: got is None)


DROP, LBFGS, STREAM = equals("on_collapse", "drop"), equals("solver", "lbfgs"), equals("method", "partial_fit")
REMEDY, HARD, FIXED = given("regularization"), equals("assignment", "hard"), given("fixed")

EXCLUSIONS = (
    Exclusion(DROP, absent("regularization"), "reg_covar alone follows scikit-learn, which keeps every component"),
    Exclusion(DROP, FIXED, "fewer components than parameters that are held would be left"),
    Exclusion(DROP, given("labels"), "the components that labels name keep their numbers"),
    Exclusion(REMEDY, given("reg_covar", 0.0), "a regularization takes the place of reg_covar: leave that at 0"),
    Exclusion(LBFGS, REMEDY, "L-BFGS maximises the likelihood alone"),
    Exclusion(LBFGS, HARD, "the classification likelihood has no gradient"),
    Exclusion(LBFGS, FIXED, "L-BFGS moves all parameters"),
    Exclusion(LBFGS, given("checkpoint"), "a checkpoint is a state of EM"),
    Exclusion(STREAM, REMEDY, "stepwise EM works with reg_covar alone"),
    Exclusion(STREAM, HARD, "stepwise EM averages soft statistics"),
    Exclusion(STREAM, FIXED, "stepwise EM estimates all parameters"),
)


def find_exclusion(**options: Any) -> str | None:
    """Return a sentence about the first two of these options that do not go together; None if all do."""
    for one, other, why in EXCLUSIONS:
        pair = one.option, other.option
        if all(name in options for name in pair) and one.holds(options[pair[0]]) and other.holds(options[pair[1]]):
            first, second = (f"{name}={options[name]!r:.60}" for name in pair)
            return f"{first} does not work with {second}: {why}."
    return None


def check_exclusions(**options: Any) -> None:
    """Raise a ValueError if two of these options do not go together."""
    message = find_exclusion(**options)
    if message is not None:
        raise ValueError(message)
