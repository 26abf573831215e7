"""The state of a fitted mixture of factor analysers: its attributes, and how they become parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.protocol import Estimator
from fastem.estimators.state import MixtureState, family_of
from fastem.model.checks import check_fitted, finite_of_shape
from fastem.model.factor_model import NOISE, n_loadings
from fastem.model.factors import FactorParams
from fastem.model.families import find_family
from fastem.model.given import check_params, check_weights
from fastem.model.matrices import Array
from fastem.model.params import Params

NAME = "FactorMixture"


class FactorState(MixtureState):
    """The attributes that a `FactorMixture` has beside those of a mixture."""

    if TYPE_CHECKING:  # what the constructor and a fit set
        n_factors: int
        loadings_: NDArray[Any]
        uniquenesses_: NDArray[Any]

    @property
    def covariance_type(self) -> str:  # type: ignore[override]  # it follows from `noise`
        """The family of the uniquenesses, by the name that it has in `GaussianMixture`."""
        return NOISE[self.noise]  # type: ignore[index]  # `noise` is a str here

    @property
    def covariances_(self) -> Array:  # type: ignore[override]  # nothing sets it
        """The covariances of the components, (K, D, D): made when they are asked for.

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        """
        return self.params_.full_covariances()

    @property
    def params_(self) -> FactorParams:
        """The fitted parameters, float64, read from the attributes.

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if attributes that were set by hand are not those of a mixture
        """
        check_fitted(self)
        family = family_of(self)
        return make_factors(self.weights_, self.means_, self.loadings_, self.uniquenesses_, family.name)

    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
        K, D, q = np.shape(self.loadings_)
        return int(K - 1 + K * D + family_of(self).n_parameters(K, D) + K * n_loadings(D, q))

    def _get_parameters(self) -> tuple[NDArray[Any], ...]:
        """Return weights, means, loadings and uniquenesses."""
        return self.weights_, self.means_, self.loadings_, self.uniquenesses_

    def _set_parameters(self, params: tuple[NDArray[Any], ...], xp: Any = None) -> None:
        """Set weights, means and uniquenesses."""
        self.weights_, self.means_, self.uniquenesses_ = params[:3]

    def __setstate__(self, state: dict[str, Any]) -> None:
        Estimator.__setstate__(self, state)
        if "weights_" in state:
            self.params_  # noqa: B018  # raises an error unless the attributes are those of a mixture


def make_factors(weights: Any, means: Any, loadings: Any, uniquenesses: Any, family: str) -> FactorParams:
    """Return a mixture of factor analysers; raise a ValueError unless its parts fit each other."""
    shape = np.shape(means)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"The parameter 'means' should have the shape of (K, D), but got {shape}")
    K, D = shape
    storage = find_family(family)
    noise = finite_of_shape("uniquenesses", uniquenesses, storage.natural_shape(K, D))
    if not (noise > 0).all():
        raise ValueError(f"The parameter 'uniquenesses' should be positive: variances; got {noise.min()}")
    q = np.shape(loadings)[-1] if np.ndim(loadings) == 3 else 0
    if not 1 <= q <= D:
        raise ValueError(
            f"The parameter 'loadings' should have the shape of (K, D, q) with 1 <= q <= D, where K = {K} and D = {D}; "
            f"got {np.shape(loadings)}"
        )
    variances = noise.reshape(storage.shape(K, D))
    shares, centres = check_weights(weights, K), finite_of_shape("means", means, (K, D))
    params = check_params(Params(shares, centres, variances, 1 / np.sqrt(variances)))
    return FactorParams(*params[:4], finite_of_shape("loadings", loadings, (K, D, q)))
