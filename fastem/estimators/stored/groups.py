"""Mixtures of groups as arrays of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.groups.mixtures import ManyMixtures
from fastem.estimators.groups.partition import LABEL_KINDS
from fastem.estimators.stored.shared import StoredClass
from fastem.files.archive import ArchiveFormat, floats, text
from fastem.model.families import COVARIANCES
from fastem.model.matrices import variances
from fastem.model.params import Params
from fastem.model.result import Status

LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.ManyMixtures",
    version=1,
    names=(
        *("labels", "weights", "means", "covariances", "factor", "covariance_type"),
        *("status", "n_iter", "lower_bound"),
    ),
)


def groups_to_arrays(many: ManyMixtures, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a file of the mixtures of groups."""
    if feature_names is not None:
        raise ValueError("feature_names: the mixtures of groups have none")
    return {
        "labels": many.labels.astype(str) if many.labels.dtype == object else many.labels,
        "weights": many.weights,
        "means": many.means,
        "covariances": many.covariances,
        "factor": many.params.factor,
        "covariance_type": many.covariance_type,
        "status": np.array(["" if one is None else one.name for one in many.status], dtype=str),
        "n_iter": many.n_iter,
        "lower_bound": many.lower_bound,
    }


def groups_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> ManyMixtures:
    """Return the mixtures of groups that the arrays of a file describe; raise a ValueError if they describe none."""
    weights, means, covariances, factor, bound = (
        floats(path, arrays, name).astype(np.float64)
        for name in ("weights", "means", "covariances", "factor", "lower_bound")
    )
    labels, states, n_iter = (arrays[name] for name in ("labels", "status", "n_iter"))
    family = COVARIANCES.get(text(path, arrays, "covariance_type"))
    if family is None or means.ndim != 3 or 0 in means.shape:
        raise ValueError(f"expected a covariance type and means of shape (G, K, D), found {means.shape}")
    G, K, D = means.shape
    shape = (G, *family.shape(K, D))
    expected = ((G,), (G, K), (G, *family.natural_shape(K, D)), shape, (G,), (G,), (G,))
    found = tuple(array.shape for array in (labels, weights, covariances, factor, states, n_iter, bound))
    if found != expected:
        raise ValueError(f"expected arrays of shapes {expected}, found {found}")
    fitted = ~np.isnan(weights[:, 0])
    sound = all(np.isfinite(array[fitted]).all() for array in (weights, means, covariances, factor))
    if not sound or not (variances(factor[fitted]) > 0).all() or not (labels[1:] > labels[:-1]).all():
        raise ValueError("expected finite parameters, factors with a positive diagonal and labels in ascending order")
    if (
        labels.dtype.kind not in LABEL_KINDS
        or n_iter.dtype.kind not in "iu"
        or not {*states.tolist()} <= {*Status.__members__, ""}
    ):
        raise ValueError("expected labels that are integers or strings, counts, and names of status")
    params = Params(weights, means, covariances.reshape(shape), factor)
    status = np.array([Status[name] if name else None for name in states.tolist()], dtype=object)
    return ManyMixtures(labels, params, family.name, status, n_iter.astype(np.int64), bound, GaussianMixture)


GROUPS = StoredClass(ManyMixtures, "set of mixtures", LAYOUT, groups_to_arrays, groups_from_arrays)
