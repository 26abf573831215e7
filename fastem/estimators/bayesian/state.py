"""The state of a fitted Bayesian mixture: its attributes, and how they become a posterior and a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators.state import MixtureState, family_of
from fastem.model.checks import finite_of_shape
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.variational import Posterior, Prior

STICKS = "dirichlet_process"  # the type of prior under which weights are made of sticks


class PosteriorState(MixtureState):
    """The attributes that a `BayesianGaussianMixture` has beside those of a mixture."""

    if TYPE_CHECKING:  # what the constructor and a fit set
        weight_concentration_prior_type: str
        weight_concentration_prior: float | None
        mean_precision_prior: float | None
        mean_prior: ArrayLike | None
        degrees_of_freedom_prior: float | None
        covariance_prior: ArrayLike | None
        weight_concentration_prior_: float
        mean_precision_prior_: float
        mean_prior_: Array
        degrees_of_freedom_prior_: float
        covariance_prior_: Array | float
        weight_concentration_: Array | tuple[Array, Array]
        mean_precision_: Array
        degrees_of_freedom_: Array | float

    @property
    def posterior_(self) -> Posterior:
        """The posterior of all parameters as one object (see `fastem.Posterior`), read from the attributes.

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if attributes that were set by hand are not those of a posterior
        """
        mixture = super().params_
        K = len(mixture.means)
        sticks = isinstance(self.weight_concentration_, tuple)
        concentration = np.asarray(self.weight_concentration_, dtype=np.float64)
        dof = np.broadcast_to(np.asarray(self.degrees_of_freedom_, dtype=np.float64), (K,))
        return Posterior(
            *mixture[1:4],
            positive("weight_concentration", concentration.T if sticks else concentration, (K, 2) if sticks else (K,)),
            positive("mean_precision", self.mean_precision_, (K,)),
            positive("degrees_of_freedom", dof, (K,)),
        )

    @property
    def params_(self) -> Params:
        """The same as `posterior_`: the mixture of expected parameters, whose E-step is that of the posterior."""
        return self.posterior_


def positive(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """Return positive numbers of this shape as float64; raise a ValueError for others."""
    array = finite_of_shape(name, value, shape)
    if not (array > 0).all():
        raise ValueError(f"The parameter '{name}' should be positive")
    return array


def set_posterior(model: PosteriorState, posterior: Posterior) -> None:
    """Set the attributes of the posterior that a mixture of expected parameters does not have."""
    concentration, dof = posterior.concentration, posterior.degrees_of_freedom
    model.weight_concentration_ = (
        (concentration[:, 0].copy(), concentration[:, 1].copy()) if posterior.has_sticks else concentration
    )
    model.mean_precision_ = posterior.mean_precision
    model.degrees_of_freedom_ = float(dof[0]) if family_of(model).shared else dof


def set_prior(model: PosteriorState, prior: Prior) -> None:
    """Set the attributes of the prior, in scikit-learn's shapes."""
    family, D = family_of(model), len(prior.mean)
    scatter = prior.scatter.reshape(family.natural_shape(1, D)[not family.shared :])
    model.weight_concentration_prior_ = prior.concentration
    model.mean_precision_prior_ = prior.mean_precision
    model.mean_prior_ = prior.mean
    model.degrees_of_freedom_prior_ = prior.degrees_of_freedom
    model.covariance_prior_ = scatter if scatter.ndim else float(scatter)


def prior_of_fit(model: PosteriorState) -> Prior:
    """Return the prior of a fitted mixture, read from the attributes."""
    family, D = family_of(model), np.shape(model.means_)[1]
    return Prior(
        isinstance(model.weight_concentration_, tuple),
        model.weight_concentration_prior_,
        model.mean_precision_prior_,
        model.mean_prior_,
        model.degrees_of_freedom_prior_,
        np.asarray(model.covariance_prior_).reshape(family.shape(1, D)),
    )
