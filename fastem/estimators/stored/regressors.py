"""Regressors as arrays of a file: those of their mixture, and which of its features are targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.regressor import MixtureRegressor
from fastem.estimators.stored.mixtures import MIXTURE_LAYOUT, mixture_from_arrays, mixture_to_arrays
from fastem.estimators.stored.shared import StoredClass, names_to_store, restore_names
from fastem.model.checks import check_fitted

LAYOUT = MIXTURE_LAYOUT._replace(format="fastem.MixtureRegressor", names=(*MIXTURE_LAYOUT.names, "target_shape"))


def regressor_to_arrays(regressor: MixtureRegressor, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a regressor's file."""
    check_fitted(regressor)
    return mixture_to_arrays(regressor.mixture_, None) | {
        "feature_names": names_to_store(regressor, feature_names, regressor.n_features_in_),
        "target_shape": np.array(regressor.target_shape_, dtype=np.int64),
    }


def regressor_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> MixtureRegressor:
    """Return the regressor that the arrays of a file describe; raise a ValueError if they describe none."""
    shape = arrays["target_shape"]
    if shape.dtype.kind not in "iu" or shape.shape not in ((0,), (1,)):
        raise ValueError(f"expected no target_shape or one integer, found {shape.dtype} of shape {shape.shape}")
    mixture = mixture_from_arrays(path, arrays | {"feature_names": np.empty(0, dtype=str)})
    regressor = MixtureRegressor.from_mixture(mixture, int(shape[0]) if shape.size else None)
    restore_names(path, arrays, regressor, regressor.n_features_in_)
    return regressor


REGRESSOR = StoredClass(MixtureRegressor, "regressor", LAYOUT, regressor_to_arrays, regressor_from_arrays)
