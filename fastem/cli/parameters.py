"""The parameters of a mixture as files that other programs read."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.selecting.best import Mixture
from fastem.files.atomic import replacing
from fastem.plot.scene import full_covariances

PARAMS_ENDINGS = (".json", ".csv")


def gaussian_of(model: Mixture) -> GaussianMixture:
    """Return a mixture itself, or that of factor analysers with full covariances."""
    return model.to_mixture() if isinstance(model, FactorMixture) else model


def write_params(model: Mixture, path: Path, names: Sequence[str] | None) -> None:
    """Write weights, means and covariances to a .json or .csv file.

    JSON holds the arrays as the estimator has them. CSV has a line for each number: the component, the name of the
    parameter, the one or two features that it belongs to, and the value. In CSV, covariances are whole matrices for
    every covariance type; so they are for factors in JSON too. None for `names` means x0, x1, ...
    """
    model = gaussian_of(model)
    features = list(names or (f"x{j}" for j in range(model.means_.shape[1])))
    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        if path.suffix.lower() == ".json":
            json.dump(_as_json(model, features), text, indent=1)
            text.write("\n")
        else:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["component", "parameter", "feature", "other_feature", "value"])
            writer.writerows(_as_lines(model, features))
        text.detach()  # flushed, and left open for replacing


def _as_json(model: GaussianMixture, features: list[str]) -> dict[str, Any]:
    """Return the parameters as lists and numbers."""
    noise = model.params_.noise
    return {
        "covariance_type": model.covariance_type,
        "features": features,
        "weights": model.weights_.tolist(),
        "means": model.means_.tolist(),
        "covariances": model.covariances_.tolist(),
        "noise": None if noise is None else {"weight": float(noise.weight), "box": model.noise_box_.tolist()},
    }


def _as_lines(model: GaussianMixture, features: list[str]) -> Iterator[list[Any]]:
    """Yield a line for each number."""
    params, noise = model.params_, model.params_.noise
    for k, (weight, mean, matrix) in enumerate(
        zip(params.weights, params.means, full_covariances(params), strict=True)
    ):
        yield [k, "weight", "", "", weight]
        yield from ([k, "mean", name, "", value] for name, value in zip(features, mean, strict=True))
        for name, row in zip(features, matrix, strict=True):
            yield from ([k, "covariance", name, other, value] for other, value in zip(features, row, strict=True))
    if noise is not None:
        yield ["noise", "weight", "", "", noise.weight]
        for name, (low, high) in zip(features, model.noise_box_.T, strict=True):
            yield ["noise", "low", name, "", low]
            yield ["noise", "high", name, "", high]
