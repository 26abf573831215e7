"""Posteriors of mixtures as vectors without constraints, about one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastem.model.matrices import Array
from fastem.model.parametrization import Parametrization
from fastem.model.params import Params
from fastem.model.variational import Posterior, later_sums

LEAST_SHARE = 1e-8  # of all counts: one below it, under a prior mean that counts for next to nothing, is taken as this


@dataclass(frozen=True, eq=False)
class PosteriorSpace:
    """Coordinates about a posterior, in which an update is about the gradient of the bound per row.

    A posterior that an update makes depends on the rows of each component, N_k, on its mean and its covariance alone.
    The vectors are those of `Parametrization.around` for mixtures with these means and covariances, whose weights are
    the shares of the counts kappa_k = kappa0 + N_k: a component without rows has a logarithm as well.

    An update is the step of the natural gradient of the bound (Hoffman et al. 2013, section 2.3), by the information of
    the posterior. That is N times the one of these coordinates, but for terms that vanish as N_k grows.

    Attributes
    ----------
    about : Posterior
    plain : Parametrization, about the mixture of `about`
    """

    about: Posterior
    plain: Parametrization

    @classmethod
    def around(cls, posterior: Posterior) -> PosteriorSpace:
        """Return coordinates about a posterior."""
        return cls(posterior, Parametrization.around(counted(posterior)))

    def pack(self, params: Params) -> Array:
        """Return the vector of a posterior of the same shape, (P,) float64."""
        assert isinstance(params, Posterior)
        return self.plain.pack(counted(params))

    def unpack(self, theta: ArrayLike) -> Posterior:
        """Return the posterior of a vector (P,): that with the prior and the weight of rows of `about`.

        Its counts may be less than those of the prior. `VariationalModel.feasible` mends that.
        """
        about, mixture = self.about, self.plain.unpack(theta)
        mean_precision = about.mean_precision.sum() * mixture.weights
        more = mean_precision - about.mean_precision
        more_sticks = np.stack([more, later_sums(more)], axis=-1) if about.has_sticks else more
        more_dof = more.mean() if len(about.covariances) == 1 else more
        counts = about.concentration + more_sticks, mean_precision, about.degrees_of_freedom + more_dof
        return Posterior(*mixture[1:4], *counts)


def counted(posterior: Posterior) -> Params:
    """Return the mixture whose weights are the shares of a posterior's counts of rows, with those of the prior."""
    shares = posterior.mean_precision / posterior.mean_precision.sum()
    return Params(np.maximum(shares, LEAST_SHARE), posterior.means, posterior.covariances, posterior.factor)
