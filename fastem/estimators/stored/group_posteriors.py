"""Posteriors of groups as arrays of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.groups.partition import LABEL_KINDS
from fastem.estimators.groups.posteriors import ManyPosteriors
from fastem.estimators.stored.shared import StoredClass
from fastem.files.archive import ArchiveFormat, floats, scalar, text
from fastem.model.families import COVARIANCES
from fastem.model.matrices import Array, factorise
from fastem.model.result import Status
from fastem.model.variational import Posterior, Prior

LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.ManyPosteriors",
    version=1,
    names=(
        *("labels", "means", "covariances", "covariance_type", "concentration", "mean_precision", "degrees_of_freedom"),
        *("prior_concentration", "prior_mean_precision", "prior_mean", "prior_degrees_of_freedom", "prior_covariance"),
        *("status", "n_iter", "lower_bound", "sum_w", "columns"),
    ),
)
FLOATS = ("means", "covariances", "concentration", "mean_precision", "degrees_of_freedom", "prior_mean")
OF_GROUPS = ("lower_bound", "sum_w")


def posteriors_to_arrays(many: ManyPosteriors, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a file of the posteriors of groups."""
    if feature_names is not None:
        raise ValueError("feature_names: the posteriors of groups have none; names of columns are their labels")
    posterior, prior = many.posterior, many.prior
    return {
        "labels": many.labels.astype(str) if many.labels.dtype == object else many.labels,
        "means": posterior.means,
        "covariances": posterior.covariances,
        "covariance_type": many.covariance_type,
        "concentration": posterior.concentration,
        "mean_precision": posterior.mean_precision,
        "degrees_of_freedom": posterior.degrees_of_freedom,
        "prior_concentration": prior.concentration,
        "prior_mean_precision": prior.mean_precision,
        "prior_mean": prior.mean[:, 0],
        "prior_degrees_of_freedom": prior.degrees_of_freedom,
        "prior_covariance": prior.scatter,
        "status": np.array([one.name for one in many.status], dtype=str),
        "n_iter": many.n_iter,
        "lower_bound": many.lower_bound,
        "sum_w": many.sum_w,
        "columns": np.array(int(many.columns)),
    }


def posteriors_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> ManyPosteriors:
    """Return the posteriors of groups that the arrays of a file describe; raise a ValueError if they describe none."""
    found = {name: floats(path, arrays, name).astype(np.float64) for name in (*FLOATS, "prior_covariance", *OF_GROUPS)}
    labels, states, n_iter = (arrays[name] for name in ("labels", "status", "n_iter"))
    family, means = COVARIANCES.get(text(path, arrays, "covariance_type")), found["means"]
    if family is None or means.ndim != 3 or 0 in means.shape:
        raise ValueError(f"expected a covariance type and means of shape (G, K, D), found {means.shape}")
    G, K, D = means.shape
    sticks = found["concentration"].ndim == 3
    expected = {
        "means": (G, K, D),
        "covariances": (G, *family.shape(K, D)),
        "concentration": (G, K, 2) if sticks else (G, K),
        "mean_precision": (G, K),
        "degrees_of_freedom": (G, K),
        "prior_mean": (G, D),
        "prior_covariance": (G, *family.shape(1, D)),
        "lower_bound": (G,),
        "sum_w": (G,),
    }
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"expected {name} of shape {shape}, found {found[name].shape}")
    check_records(labels, states, n_iter, G)
    fitted = ~np.isnan(means[:, 0, 0])
    positive = [found[name][fitted] for name in ("concentration", "mean_precision", "degrees_of_freedom")]
    if not all(np.isfinite(found[name][fitted]).all() for name in FLOATS) or not all((a > 0).all() for a in positive):
        raise ValueError("expected finite parameters of posteriors, and positive counts of rows")
    factor = np.full_like(found["covariances"], np.nan)
    factor[fitted] = factorise(found["covariances"][fitted])
    posterior = Posterior(means, found["covariances"], factor, *(found[name] for name in FLOATS[2:5]))
    prior = Prior(
        sticks,
        scalar(path, arrays, "prior_concentration", "f"),
        scalar(path, arrays, "prior_mean_precision", "f"),
        found["prior_mean"][:, None],
        scalar(path, arrays, "prior_degrees_of_freedom", "f"),
        found["prior_covariance"],
    )
    status = np.array([Status[name] for name in states.tolist()], dtype=object)
    columns = bool(scalar(path, arrays, "columns", "i"))
    record: tuple[Any, Array, Array] = n_iter.astype(np.int64), found["lower_bound"], found["sum_w"]
    return ManyPosteriors(labels, posterior, prior, family.name, status, *record, columns)


def check_records(labels: NDArray[Any], states: NDArray[Any], n_iter: NDArray[Any], G: int) -> None:
    """Raise a ValueError unless there are a label, a name of a status and a count for each of G groups."""
    if not labels.shape == states.shape == n_iter.shape == (G,) or labels.dtype.kind not in LABEL_KINDS:
        raise ValueError(f"expected {G} labels that are integers or strings, statuses and counts")
    if n_iter.dtype.kind not in "iu" or not {*states.tolist()} <= {*Status.__members__}:
        raise ValueError("expected counts of iterations and names of status")


GROUP_POSTERIORS = StoredClass(
    ManyPosteriors, "set of posteriors", LAYOUT, posteriors_to_arrays, posteriors_from_arrays
)
