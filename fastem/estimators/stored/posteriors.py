"""Bayesian mixtures as arrays of a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.bayesian.mixture import BayesianGaussianMixture
from fastem.estimators.bayesian.state import positive, prior_of_fit, set_posterior, set_prior
from fastem.estimators.bayesian.training import check_scatter
from fastem.estimators.state import family_of, set_params_of
from fastem.estimators.stored.mixtures import RECORD, record_to_arrays, restore_record
from fastem.estimators.stored.shared import (
    StoredClass,
    names_to_store,
    parse_parameters,
    plain_parameters,
    restore_names,
)
from fastem.files.archive import ArchiveFormat, floats, scalar, text
from fastem.model.checks import check_seen, finite_of_shape
from fastem.model.families import find_family
from fastem.model.given import check_matrices, check_means, shape_of_means
from fastem.model.matrices import factorise
from fastem.model.variational import Posterior, Prior

LAYOUT = ArchiveFormat(
    what="model",
    format="fastem.BayesianGaussianMixture",
    version=1,
    names=(
        *("means", "covariances", "covariance_type", "concentration", "mean_precision", "degrees_of_freedom"),
        *("prior_concentration", "prior_mean_precision", "prior_mean", "prior_degrees_of_freedom", "prior_covariance"),
        *("feature_names", "parameters", "n_samples_seen"),
        *RECORD,
    ),
)


def posterior_to_arrays(model: BayesianGaussianMixture, feature_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the arrays of a Bayesian mixture's file."""
    posterior = model.posterior_
    prior = prior_of_fit(model)
    return {
        "means": posterior.means,
        "covariances": model.covariances_,
        "covariance_type": family_of(model).name,
        "concentration": posterior.concentration,
        "mean_precision": posterior.mean_precision,
        "degrees_of_freedom": posterior.degrees_of_freedom,
        "prior_concentration": prior.concentration,
        "prior_mean_precision": prior.mean_precision,
        "prior_mean": prior.mean,
        "prior_degrees_of_freedom": prior.degrees_of_freedom,
        "prior_covariance": np.asarray(model.covariance_prior_),
        "feature_names": names_to_store(model, feature_names, len(prior.mean)),
        "parameters": json.dumps(plain_parameters(model, BayesianGaussianMixture)),
        "n_samples_seen": model.n_samples_seen_,
        **record_to_arrays(model),
    }


def posterior_from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> BayesianGaussianMixture:
    """Return the Bayesian mixture that the arrays of a file describe; raise a ValueError if they describe none."""
    family = find_family(text(path, arrays, "covariance_type"))
    K, D = shape_of_means(floats(path, arrays, "means"))
    concentration = floats(path, arrays, "concentration")
    sticks = concentration.ndim == 2
    covariances = check_matrices("covariance", floats(path, arrays, "covariances"), family.name, K, D)
    posterior = Posterior(
        check_means(floats(path, arrays, "means"), K, D),
        covariances,
        factorise(covariances),
        positive("concentration", concentration, (K, 2) if sticks else (K,)),
        positive("mean_precision", floats(path, arrays, "mean_precision"), (K,)),
        positive("degrees_of_freedom", floats(path, arrays, "degrees_of_freedom"), (K,)),
    )
    prior = Prior(
        sticks,
        scalar(path, arrays, "prior_concentration", "f"),
        scalar(path, arrays, "prior_mean_precision", "f"),
        finite_of_shape("prior_mean", floats(path, arrays, "prior_mean"), (D,)),
        scalar(path, arrays, "prior_degrees_of_freedom", "f"),
        check_scatter(floats(path, arrays, "prior_covariance"), family, D),
    )
    model = BayesianGaussianMixture(n_components=K, covariance_type=family.name)
    model.set_params(**parse_parameters(text(path, arrays, "parameters")))
    set_params_of(model, posterior, np.dtype(np.float64))
    set_posterior(model, posterior)
    set_prior(model, prior)
    model.n_samples_seen_ = check_seen(scalar(path, arrays, "n_samples_seen", "f"))
    restore_names(path, arrays, model, D)
    restore_record(path, arrays, model)
    return model


POSTERIOR = StoredClass(BayesianGaussianMixture, "Bayesian mixture", LAYOUT, posterior_to_arrays, posterior_from_arrays)
