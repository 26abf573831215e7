"""The options that exclude each other: one table, which every entry point checks and docs/options.md prints.

A new option that does not work with another is a row of `EXCLUSIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastem.model.families import CONSTRAINED
from fastem.model.remedies.eigenvalue_ratio import EigenvalueRatio


class Choice(NamedTuple):
    """A choice that a user makes with one option.

    Attributes
    ----------
    option : str, the name under which `find_exclusion` is given the option's value
    text : str, how the choice is written in the documentation
    is_made : function of the option's value that returns whether the choice is made
    shows_value : bool, whether a message shows the value; else it shows the text
    """

    option: str
    text: str
    is_made: Callable[[Any], bool]
    shows_value: bool = True

    def describe(self, value: Any) -> str:
        """Return how a message names the choice."""
        return f"{self.option}={value!r:.60}" if self.shows_value else self.text


class Exclusion(NamedTuple):
    """Two choices that do not go together, and why."""

    one: Choice
    other: Choice
    why: str


def equals(option: str, value: str) -> Choice:
    """Return the choice of one value of an option."""
    return Choice(option, f"{option}={value!r}", lambda got: isinstance(got, str) and got == value)


def differs(option: str, default: Any, shows_value: bool = True) -> Choice:
    """Return the choice of anything but the default, None and empty collections."""

    def is_made(got: Any) -> bool:
        empty = isinstance(got, tuple | list | set | frozenset) and not got
        return got is not None and not empty and (default is None or got != default)

    return Choice(option, option, is_made, shows_value)


def absent(option: str) -> Choice:
    """Return the choice of None."""
    return Choice(option, f"{option}=None", lambda got: got is None)


DROP, LBFGS, AUTO = equals("on_collapse", "drop"), equals("solver", "lbfgs"), equals("solver", "auto")
STREAM = Choice("method", "partial_fit", lambda got: got == "partial_fit", shows_value=False)
REMEDY, HARD, FIXED = differs("regularization", None), equals("assignment", "hard"), differs("fixed", None)
LABELS = differs("labels", None, shows_value=False)
SHAPE = Choice("covariance_type", f"covariance_type={', '.join(CONSTRAINED)}", lambda got: got in CONSTRAINED)
RATIO = Choice(
    "regularization", "regularization='ratio'", lambda got: got == "ratio" or isinstance(got, EigenvalueRatio)
)
MANY = Choice("method", "fit_many", lambda got: got == "fit_many", shows_value=False)

EXCLUSIONS = (
    Exclusion(DROP, absent("regularization"), "reg_covar alone follows scikit-learn, which keeps every component"),
    Exclusion(DROP, FIXED, "fewer components than parameters that are held would be left"),
    Exclusion(DROP, LABELS, "the components that labels name keep their numbers"),
    Exclusion(REMEDY, differs("reg_covar", 0.0), "a regularization takes the place of reg_covar, which must be 0"),
    Exclusion(LBFGS, REMEDY, "L-BFGS maximises the likelihood alone"),
    Exclusion(LBFGS, HARD, "the classification likelihood has no gradient"),
    Exclusion(LBFGS, FIXED, "L-BFGS moves all parameters"),
    Exclusion(LBFGS, differs("checkpoint", None), "a checkpoint is a state of EM"),
    Exclusion(AUTO, differs("stop", "change"), "its tol bounds what each row has yet to gain"),
    Exclusion(SHAPE, LBFGS, "L-BFGS moves covariances whose every number is free"),
    Exclusion(SHAPE, RATIO, "covariances whose eigenvalues are clipped do not obey the family any more"),
    Exclusion(SHAPE, MANY, "its kernel makes covariances whose every number is free"),
    Exclusion(STREAM, REMEDY, "stepwise EM works with reg_covar alone"),
    Exclusion(STREAM, HARD, "stepwise EM averages soft statistics"),
    Exclusion(STREAM, FIXED, "stepwise EM estimates all parameters"),
)


def find_exclusion(**options: Any) -> str | None:
    """Return a sentence about the first two of these options that do not go together.

    Parameters
    ----------
    **options : values of options by name; a pair is looked at only where both options are given

    Returns
    -------
    str or None
        None if all of them go together
    """
    for one, other, why in EXCLUSIONS:
        if one.option not in options or other.option not in options:
            continue
        first, second = options[one.option], options[other.option]
        if one.is_made(first) and other.is_made(second):
            return f"{one.describe(first)} does not work with {other.describe(second)}: {why}."
    return None


def check_exclusions(**options: Any) -> None:
    """Raise a ValueError if two of these options do not go together."""
    message = find_exclusion(**options)
    if message is not None:
        raise ValueError(message)


def exclusions_page() -> str:
    """Return the page of the documentation that lists the options that exclude each other, in Markdown."""
    rows = "\n".join(f"| `{one.text}` | `{other.text}` | {why} |" for one, other, why in EXCLUSIONS)
    return f"""# Options that exclude each other

Some options cannot work together. fastem raises a `ValueError` for such a pair, before the fit begins, and says
why. (`partial_fit` is missing then: `hasattr(model, "partial_fit")` is False.) A name without a value stands for any
value but the default.

| option | does not work with | because |
|---|---|---|
{rows}

`GaussianMixture` has a `reg_covar` other than 0 by default. Beside a `regularization` it counts for nothing there;
`em`, `select`, `fit_many` and the command line raise the error.
"""
