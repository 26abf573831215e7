"""Mixtures of t distributions as arrays of a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastem.estimators.state import family_of
from fastem.estimators.stored.mixtures import RECORD, record_to_arrays, restore_record
from fastem.estimators.stored.shared import (
    StoredClass,
    names_to_store,
    parse_parameters,
    plain_parameters,
    restore_names,
)
from fastem.estimators.students.mixture import StudentMixture
from fastem.files.archive import ArchiveFormat, floats, text

LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.StudentMixture",
    version=1,
    names=(
        *("weights", "means", "covariances", "covariance_type", "dof", "feature_names", "parameters"),
        *RECORD,
    ),
)


def student_to_arrays(model: StudentMixture, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of the file of a mixture of t distributions."""
    return {
        "feature_names": names_to_store(model, feature_names, model.params_.means.shape[1]),  # or NotFittedError
        "weights": model.weights_,
        "means": model.means_,
        "covariances": model.covariances_,
        "covariance_type": family_of(model).name,
        "dof": model.dof_,
        "parameters": json.dumps(plain_parameters(model, StudentMixture)),
        **record_to_arrays(model),
    }


def student_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> StudentMixture:
    """Return the mixture that the arrays of a file describe; raise a ValueError if they describe none."""
    weights, means, covariances, dof = (
        floats(path, arrays, name) for name in ("weights", "means", "covariances", "dof")
    )
    model = StudentMixture.from_parameters(weights, means, covariances, dof, text(path, arrays, "covariance_type"))
    model.set_params(**parse_parameters(text(path, arrays, "parameters")))
    restore_names(path, arrays, model, model.means_.shape[1])
    restore_record(path, arrays, model)
    return model


STUDENT = StoredClass(StudentMixture, "mixture of t distributions", LAYOUT, student_to_arrays, student_from_arrays)
