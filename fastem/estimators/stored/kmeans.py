"""k-means as arrays of a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastem.estimators.kmeans import KMeans
from fastem.estimators.stored.shared import (
    StoredClass,
    names_to_store,
    parse_parameters,
    plain_parameters,
    restore_names,
)
from fastem.files.archive import ArchiveFormat, floats, scalar, text
from fastem.model.checks import check_fitted
from fastem.model.given import check_means

LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.KMeans",
    version=1,
    names=("cluster_centers", "inertia", "n_iter", "feature_names", "parameters"),
)


def kmeans_to_arrays(model: KMeans, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a k-means' file."""
    check_fitted(model)
    return {
        "cluster_centers": model.cluster_centers_,
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "feature_names": names_to_store(model, feature_names, model.cluster_centers_.shape[1]),
        "parameters": json.dumps(plain_parameters(model, KMeans)),
    }


def kmeans_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> KMeans:
    """Return the k-means that the arrays of a file describe; raise a ValueError if they describe none."""
    centres = floats(path, arrays, "cluster_centers")
    if centres.ndim != 2 or not centres.size:
        raise ValueError(f"expected centres of shape (K, D), found {centres.shape}")
    check_means(centres, *centres.shape)
    model = KMeans(len(centres)).set_params(**parse_parameters(text(path, arrays, "parameters")))
    model.cluster_centers_, model.n_features_in_ = centres, centres.shape[1]
    model.inertia_, model.n_iter_ = scalar(path, arrays, "inertia", "f"), scalar(path, arrays, "n_iter", "iu")
    restore_names(path, arrays, model, centres.shape[1])
    return model


KMEANS = StoredClass(KMeans, "k-means", LAYOUT, kmeans_to_arrays, kmeans_from_arrays)
