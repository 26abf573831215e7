"""What a figure of a fit shows: some of the rows, and the mixture in the features chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fastem.model.frames import is_arrow
from fastem.model.params import Params
from fastem.passes.imputation import expected_rows
from fastem.plot.style import NOISE_COLOR, component_colors
from fastem.sources.weights import check_weight

Array = npt.NDArray[Any]

MAX_FEATURES = 4  # features on each side of a pair plot that chooses its own


class Mixture(Protocol):
    """What figures ask of a fitted model: `fastem.GaussianMixture` has it."""

    @property
    def params_(self) -> Params:
        """The parameters of the mixture."""

    @property
    def noise_box_(self) -> Array:
        """The least and largest values of the uniform noise, (2, D); only where ``params_.noise`` is not None."""

    def predict(self, X: Any) -> Array:
        """Return the component of each row, -1 for noise."""


class Scene(NamedTuple):
    """What the panels draw: n rows and K components in the d features shown."""

    points: Array  # (n, d)
    labels: Array  # (n,)
    sample_weight: Array  # (n,), mean 1
    weights: Array  # (K,)
    means: Array  # (K, d)
    covariances: Array  # (K, d, d)
    names: list[str]  # d
    colors: Array  # (K + 1, 4), the last for noise
    noise: float  # weight of the uniform noise, 0 without noise
    box: Array | None  # (2, d), the least and largest values of the noise, None without noise


def make_scene(
    model: Mixture,
    X: Any,
    features: Sequence[int | str] | None,
    feature_names: Sequence[str] | None,
    sample_weight: npt.ArrayLike | None,
    max_points: int,
) -> Scene:
    """Choose features and rows and collect what the panels draw; the parameters are those of `plot_fit`."""
    if not hasattr(type(model), "params_"):
        raise TypeError(f"plot_fit draws a fitted mixture; got {type(model).__name__}")
    params = model.params_
    K, D = params.means.shape
    names = _find_names(model, feature_names, D)
    shown = _most_separating(params) if features is None else _find_positions(features, names)
    X = X if hasattr(X, "shape") else np.asarray(X)
    n = min(len(X), max_points)
    rows = np.arange(n) * len(X) // max(n, 1)
    # Data frames keep their column names for predict.
    sample = X.iloc[rows] if hasattr(X, "iloc") else X.take(rows) if is_arrow(X) else X[rows]
    labels = model.predict(sample)
    given = check_weight(sample_weight, len(X))
    weight = np.ones(n) if given is None else given[rows]
    points = np.asarray(sample, dtype=np.float64)
    if np.isnan(points).any():  # missing values are drawn where the mixture expects them
        points = expected_rows(points, params)
    return Scene(
        points=points[:, shown],
        labels=labels,
        sample_weight=weight / weight.mean(),
        weights=np.asarray(params.weights, dtype=np.float64),
        means=np.asarray(params.means, dtype=np.float64)[:, shown],
        covariances=full_covariances(params)[:, shown][:, :, shown],
        names=[names[j] for j in shown],
        colors=np.vstack([component_colors(K), NOISE_COLOR]),
        noise=0.0 if params.noise is None else params.noise.weight,
        box=None if params.noise is None else model.noise_box_[:, shown],
    )


def _find_names(model: Mixture, feature_names: Sequence[str] | None, D: int) -> list[str]:
    """Return the names of all D features: those given, else those of the fit, else x0, x1, ..."""
    if feature_names is None:
        return [str(name) for name in getattr(model, "feature_names_in_", [f"x{j}" for j in range(D)])]
    if len(feature_names) != D:
        raise ValueError(f"feature_names should have {D} names, one for each feature, but got {len(feature_names)}")
    return list(feature_names)


def _find_positions(features: Sequence[int | str], names: list[str]) -> list[int]:
    """Return the positions of features that are given by name or position; raise a ValueError for one unknown."""
    for feature in features:
        if feature not in names and feature not in range(len(names)):
            there = f"{', '.join(names)} or 0 to {len(names) - 1}"
            raise ValueError(f"features should be among {there}, but got {feature!r}")
    if not len(features):
        raise ValueError("features should name at least one feature, but got none")
    return [names.index(f) if isinstance(f, str) else int(f) for f in features]


def _most_separating(params: Params) -> list[int]:
    """Choose the features with the largest share of variance between the components, in their order."""
    weights = params.weights / params.weights.sum()
    between = weights @ (params.means - weights @ params.means) ** 2
    within = weights @ np.diagonal(full_covariances(params), axis1=1, axis2=2)
    chosen = np.argsort(-between / (between + within), kind="stable")[:MAX_FEATURES]
    return sorted(chosen.tolist())


def full_covariances(params: Params) -> Array:
    """Return every component's covariance matrix, (K, D, D) float64, for any covariance type."""
    K, D = params.means.shape
    covariances = np.asarray(params.covariances, dtype=np.float64)
    if covariances.shape[1] < D:  # variances alone: (K, 1, D) or (K, 1, 1)
        covariances = covariances * np.eye(D)
    return np.broadcast_to(covariances, (K, D, D))
