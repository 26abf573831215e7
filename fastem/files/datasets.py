"""Data sets that ship with the package, for examples and tests."""

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

    The columns are eruption and waiting times in minutes; the values are those of R's ``datasets::faithful``.

    Returns
    -------
    X : ndarray of shape (272, 2), float64
        The duration of an eruption, and the waiting time until the next one.
    names : list of str
        The names of the columns, ``["eruptions", "waiting"]``.

    See Also
    --------
    fastem.plot.plot_fit : Draws such data with a mixture.
    GaussianMixture.fit : Fits a mixture to them.

    References
    ----------
    Azzalini & Bowman (1990), "A look at some data on the Old Faithful geyser", Applied Statistics 39, 357-365.

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
    """Return the path of the csv file of a data set.

    If the package is a zip archive, the file is unpacked until the process ends.
    """
    unpacked = ExitStack()
    atexit.register(unpacked.close)
    return unpacked.enter_context(resources.as_file(resources.files("fastem") / "data" / f"{name}.csv"))
