"""Data that ship with the package, for examples and tests."""

from __future__ import annotations

import atexit
import functools
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NAMES = ("faithful",)


def load_faithful() -> tuple[npt.NDArray[Any], list[str]]:
    """Load the Old Faithful data: 272 eruptions of the geyser in Yellowstone National Park.

    Eruption and waiting times, both in minutes, from A. Azzalini and A. W. Bowman, "A look at some data on
    the Old Faithful geyser", Applied Statistics 39 (1990), 357-365; as in R's ``datasets::faithful``.

    Returns
    -------
    X : ndarray of shape (272, 2), float64
        Duration of an eruption, and waiting time until the next one.
    names : list of str
        ``["eruptions", "waiting"]``

    Examples
    --------
    >>> from fastem import load_faithful
    >>> X, names = load_faithful()
    >>> X.shape, names
    ((272, 2), ['eruptions', 'waiting'])
    """
    with (resources.files("fastem") / "data" / "faithful.csv").open() as stream:
        names = stream.readline().strip().split(",")
        return np.loadtxt(stream, delimiter=","), names


@functools.cache
def data_path(name: str) -> Path:
    """Return the csv file of the data set with this name; unpacked until the process ends, if the package is a zip."""
    unpacked = ExitStack()
    atexit.register(unpacked.close)
    return unpacked.enter_context(resources.as_file(resources.files("fastem") / "data" / f"{name}.csv"))
