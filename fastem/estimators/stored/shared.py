"""What files of all classes of models hold: names of features and parameters of the constructor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.files.archive import ArchiveFormat, ModelFileError
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.table import describe_remedy, remedy_described

# The arrays themselves say the first three; the fourth belongs to a machine, not to a model.
NOT_STORED = ("n_components", "covariance_type", "noise", "n_threads")


class StoredClass(NamedTuple):
    """A class of models, and how its objects become arrays and are made of them.

    Attributes
    ----------
    model : type
    noun : str, what an object is called in messages
    layout : ArchiveFormat, the arrays of a file
    to_arrays : function of a model and the names of its features, or None; returns the arrays of a file
    from_arrays : function of a path, for messages, and the arrays; returns the model
    """

    model: type
    noun: str
    layout: ArchiveFormat
    to_arrays: Callable[[Any, Sequence[str] | None], dict[str, Any]]
    from_arrays: Callable[[Path, dict[str, NDArray[Any]]], Any]


def names_to_store(model: Any, feature_names: Sequence[str] | None, D: int) -> NDArray[Any]:
    """Return the names of D features, (D,) or (0,) str: those given, else the model's, if it has any."""
    names = np.array(getattr(model, "feature_names_in_", ()) if feature_names is None else feature_names, dtype=str)
    if names.shape not in ((0,), (D,)):
        found = len(names) if names.ndim == 1 else f"an array of shape {names.shape}"
        raise ValueError(f"feature_names should have {D} names, one for each feature, but got {found}")
    return names


def restore_names(path: Path, arrays: dict[str, NDArray[Any]], model: Any, n_features: int) -> None:
    """Set the names of a model's features; raise a ModelFileError for what is no names."""
    names = arrays["feature_names"]
    if names.dtype.kind != "U" or names.shape not in ((0,), (n_features,)):
        found = f"{names.dtype} of shape {names.shape}"
        raise ModelFileError(f"{path}: expected no feature names or {n_features} strings, found {found}")
    if names.size:
        model.feature_names_in_ = names.astype(object)


def plain_parameters(model: Any, own: type) -> dict[str, Any]:
    """Return the constructor's parameters that are numbers, strings, tuples of strings, remedies or None, for JSON.

    Parameters
    ----------
    model : an object of the class `own` or of a subclass, which may have more parameters, which `load` could not set
    own : type, GaussianMixture or KMeans
    """
    plain, known = {}, own().get_params()
    for name, value in model.get_params().items():
        value = value.item() if isinstance(value, np.generic) else value
        value = describe_remedy(value) if isinstance(value, Remedy) else value
        if name in known and name not in NOT_STORED and is_plain(value):
            plain[name] = value
    return plain


def parse_parameters(text: str) -> dict[str, Any]:
    """Return the constructor's parameters from their JSON text; raise a ValueError if they are anything else."""
    try:
        parameters = json.loads(text)
    except RecursionError:  # JSON nested by the thousand
        parameters = None
    if not isinstance(parameters, dict):
        raise ValueError("'parameters' should be a JSON object")
    for name, value in parameters.items():
        if name in NOT_STORED or not is_plain(value):
            raise ValueError(f"'parameters' should not contain '{name}': {value!r:.40}")
        if isinstance(value, dict):
            parameters[name] = remedy_described(value)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}


def is_plain(value: Any) -> bool:
    """Return whether a value of a parameter can be stored as JSON; a dict is the description of a remedy."""
    if isinstance(value, dict):
        return "remedy" in value
    if isinstance(value, tuple | list):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, bool | int | float | str | None)
