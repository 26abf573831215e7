"""Mixtures and detectors as arrays of a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.anomaly import AnomalyDetector
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.state import (
    MixtureState,
    arrays_of,
    count_seen,
    family_of,
    set_arrays,
    set_record,
    set_stream,
    stream_of,
)
from fastem.estimators.stored.shared import (
    StoredClass,
    names_to_store,
    parse_parameters,
    plain_parameters,
    restore_names,
)
from fastem.files.archive import ArchiveFormat, ModelFileError, floats, scalar, status, text
from fastem.fitting.stepwise import Stepwise
from fastem.model.checks import check_fitted, check_seen
from fastem.model.given import check_cholesky
from fastem.model.maximisation import m_step
from fastem.model.stats import Stats

RECORD = "lower_bound", "lower_bounds", "n_iter", "status", "converged"  # how a fit went, as `record_to_arrays` has it
MIXTURE_LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.GaussianMixture",
    version=1,
    names=(
        *("weights", "means", "covariances", "covariance_type", "noise_weight", "noise_box", "feature_names"),
        *("parameters", *RECORD),
    ),
    optional="precisions_cholesky|n_samples_seen|statistics",
)
DETECTOR_LAYOUT = MIXTURE_LAYOUT._replace(
    format="fastem.AnomalyDetector", names=(*MIXTURE_LAYOUT.names, "threshold", "contamination")
)


def mixture_to_arrays(model: GaussianMixture, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a mixture's file; raise a ValueError if the mixture could not be read back."""
    names = names_to_store(model, feature_names, model.params_.means.shape[1])  # or NotFittedError
    mixture = [np.asarray(array, dtype=np.result_type(array, np.float32)) for array in arrays_of(model)]
    noise = (model.noise_weight_, model.noise_box_) if hasattr(model, "noise_box_") else None
    family = family_of(model).name  # of the fit, whatever covariance_type has been set to since
    bare = mixture_of(family, noise, *mixture)  # refused now rather than when it is read
    record = model if hasattr(model, "lower_bound_") else bare  # or its attributes were set by hand
    stream = stream_of(model)
    return {
        **dict(zip(("weights", "means", "covariances", "precisions_cholesky"), mixture, strict=True)),
        "covariance_type": family,
        "noise_weight": noise[0] if noise else 0.0,
        "noise_box": noise[1] if noise else np.empty((0, 0)),
        "feature_names": names,
        "parameters": json.dumps(plain_parameters(model, GaussianMixture)),
        **record_to_arrays(record),
        "n_samples_seen": count_seen(model),
        "statistics": np.empty(0) if stream is None or stream.stats is None else stream.stats.to_buffer(),
    }


def mixture_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> GaussianMixture:
    """Return the mixture that the arrays of a file describe; raise a ValueError if they describe none."""
    covariance_type, parameters = (text(path, arrays, name) for name in ("covariance_type", "parameters"))
    weights, means, covariances = (floats(path, arrays, name) for name in ("weights", "means", "covariances"))
    cholesky = floats(path, arrays, "precisions_cholesky") if "precisions_cholesky" in arrays else None
    box = floats(path, arrays, "noise_box")
    noise = (scalar(path, arrays, "noise_weight", "f"), box) if box.size else None
    model = mixture_of(covariance_type, noise, weights, means, covariances, cholesky)
    model.set_params(**parse_parameters(parameters))
    restore_names(path, arrays, model, means.shape[1])
    restore_record(path, arrays, model)
    restore_stream(path, arrays, model)
    return model


def mixture_of(
    covariance_type: str,
    noise: tuple[float, NDArray[Any]] | None,
    weights: NDArray[Any],
    means: NDArray[Any],
    covariances: NDArray[Any],
    cholesky: NDArray[Any] | None,
) -> GaussianMixture:
    """Return a mixture with these arrays, bit for bit; raise a ValueError if they are not those of a mixture.

    Older files have no `cholesky`: the factors are made of the covariances, which float32 has rounded.
    """
    model = GaussianMixture.from_parameters(weights, means, covariances, covariance_type, noise)
    if cholesky is None:
        cholesky = arrays_of(model)[3].astype(means.dtype)
    else:
        check_cholesky(cholesky, covariances, covariance_type, *means.shape)
    set_arrays(model, [weights, means, covariances, cholesky])
    return model


def detector_to_arrays(detector: AnomalyDetector, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a detector's file."""
    check_fitted(detector)
    arrays = mixture_to_arrays(detector.estimator_, feature_names)
    return arrays | {"threshold": detector.threshold_, "contamination": float(detector.contamination)}


def detector_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> AnomalyDetector:
    """Return the detector that the arrays of a file describe; raise a ValueError if they describe none."""
    detector = AnomalyDetector.from_mixture(mixture_from_arrays(path, arrays), scalar(path, arrays, "threshold", "f"))
    return detector.set_params(contamination=scalar(path, arrays, "contamination", "f"))


def record_to_arrays(model: MixtureState) -> dict[str, Any]:
    """Return the arrays that say how the fit went."""
    return {
        "lower_bound": model.lower_bound_,
        "lower_bounds": np.array(model.lower_bounds_, dtype=np.float64),
        "n_iter": model.n_iter_,
        "status": "" if model.status_ is None else model.status_.name,
        "converged": model.converged_,
    }


def restore_record(path: Path, arrays: dict[str, NDArray[Any]], model: MixtureState) -> None:
    """Set how the fit went."""
    set_record(
        model,
        status(path, arrays, "status"),
        scalar(path, arrays, "lower_bound", "f"),
        floats(path, arrays, "lower_bounds").ravel().tolist(),
        scalar(path, arrays, "n_iter", "iu"),
    )


def restore_stream(path: Path, arrays: dict[str, NDArray[Any]], model: GaussianMixture) -> None:
    """Set what `partial_fit` goes on from."""
    try:
        if "n_samples_seen" in arrays:
            model.n_samples_seen_ = check_seen(scalar(path, arrays, "n_samples_seen", "f"))
        if "statistics" in arrays and arrays["statistics"].size:
            stats = Stats.from_buffer(floats(path, arrays, "statistics"))
            family, reg_covar = family_of(model).name, model.reg_covar
            params = m_step(stats, family, reg_covar=reg_covar, previous=model.params_)  # float64, whatever the model's
            set_stream(model, Stepwise(params, family, reg_covar, stats=stats, n_steps=model.n_iter_))
    except ValueError as error:
        raise ModelFileError(f"{path}: the arrays do not describe a stream: {error}") from error


MIXTURE = StoredClass(GaussianMixture, "mixture", MIXTURE_LAYOUT, mixture_to_arrays, mixture_from_arrays)
DETECTOR = StoredClass(AnomalyDetector, "detector", DETECTOR_LAYOUT, detector_to_arrays, detector_from_arrays)
