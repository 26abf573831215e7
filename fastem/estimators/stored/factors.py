"""Mixtures of factor analysers as arrays of a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.factors.training import noise_of
from fastem.estimators.stored.mixtures import RECORD, record_to_arrays, restore_record
from fastem.estimators.stored.shared import (
    StoredClass,
    names_to_store,
    parse_parameters,
    plain_parameters,
    restore_names,
)
from fastem.files.archive import ArchiveFormat, floats, text

LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.FactorMixture",
    version=1,
    names=(
        *("weights", "means", "loadings", "uniquenesses", "noise", "feature_names", "parameters"),
        *RECORD,
    ),
)


def factors_to_arrays(model: FactorMixture, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of the file of a mixture of factor analysers."""
    return {
        "feature_names": names_to_store(model, feature_names, model.params_.means.shape[1]),  # or NotFittedError
        "weights": model.weights_,
        "means": model.means_,
        "loadings": model.loadings_,
        "uniquenesses": model.uniquenesses_,
        "noise": noise_of(model),
        "parameters": json.dumps(plain_parameters(model, FactorMixture)),
        **record_to_arrays(model),
    }


def factors_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> FactorMixture:
    """Return the mixture that the arrays of a file describe; raise a ValueError if they describe none."""
    weights, means = floats(path, arrays, "weights"), floats(path, arrays, "means")
    loadings, uniquenesses = floats(path, arrays, "loadings"), floats(path, arrays, "uniquenesses")
    model = FactorMixture.from_parameters(weights, means, loadings, uniquenesses, text(path, arrays, "noise"))
    model.set_params(**parse_parameters(text(path, arrays, "parameters")))
    restore_names(path, arrays, model, model.means_.shape[1])
    restore_record(path, arrays, model)
    return model


FACTORS = StoredClass(FactorMixture, "mixture of factor analysers", LAYOUT, factors_to_arrays, factors_from_arrays)
