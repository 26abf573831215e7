"""The state of a fitted mixture: its attributes, what follows from them, and how they are set.

Other modules read and set this state by the functions here. The methods whose names begin with an underscore are
those that users of scikit-learn's class call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.by_hand import MATRICES, missing_matrix, upper_factor
from fastem.estimators.parameters import check_state
from fastem.estimators.protocol import Estimator
from fastem.fitting.report import NO_FIT, Report
from fastem.fitting.stepwise import Stepwise
from fastem.model.checks import check_fitted
from fastem.model.families import Covariance, find_family
from fastem.model.given import check_params
from fastem.model.params import Noise, Params
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.table import find_remedy
from fastem.model.result import Status

NOISE_LABEL = -1  # the label of noise
ROWS_PER_PARAMETER = 10  # that given parameters stand for


class MixtureState(Estimator):
    """The attributes of a `GaussianMixture`, and the names by which users of scikit-learn's class read and set them."""

    takes_errors: ClassVar[bool] = False  # whether its rows may have errors of measurement

    if TYPE_CHECKING:  # what the constructor and a fit set
        n_components: int
        covariance_type: str
        tol: float
        reg_covar: float
        max_iter: int
        n_init: int
        init_params: str
        weights_init: ArrayLike | None
        means_init: ArrayLike | None
        precisions_init: ArrayLike | None
        random_state: Any
        warm_start: bool
        verbose: int
        verbose_interval: int
        n_threads: int | None
        regularization: str | Remedy | None
        on_collapse: str
        stop: str
        solver: str
        noise: bool
        assignment: str
        fixed: tuple[str, ...]
        missing: bool
        weights_: NDArray[Any]
        means_: NDArray[Any]
        covariances_: NDArray[Any]
        precisions_: NDArray[Any]
        precisions_cholesky_: NDArray[Any]
        noise_weight_: float
        noise_box_: NDArray[Any]
        status_: Status | None
        converged_: bool
        lower_bound_: float
        lower_bounds_: list[float]
        n_iter_: int
        fit_report_: Report
        n_samples_seen_: float
        n_features_in_: int
        feature_names_in_: NDArray[Any]

    @property
    def params_(self) -> Params:
        """The fitted parameters in canonical shape (see `fastem.Params`), float64, read from the attributes.

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if attributes that were set by hand are not those of a mixture
        """
        check_fitted(self)
        K, D = np.shape(self.means_)
        shape = family_of(self).shape(K, D)
        upper = np.asarray(self.precisions_cholesky_, dtype=np.float64).reshape(shape)
        params = Params(
            np.asarray(self.weights_, dtype=np.float64),
            np.asarray(self.means_, dtype=np.float64),
            np.asarray(self.covariances_, dtype=np.float64).reshape(shape),
            upper_factor(upper).swapaxes(-1, -2) if shape[-2] > 1 else upper,
            Noise(self.noise_weight_, self.noise_box_) if hasattr(self, "noise_box_") else None,
        )
        return check_params(params)  # they may have been set by hand

    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
        K, D = np.shape(self.means_)
        sizes = {"weights": K - 1, "means": K * D, "covariances": family_of(self).n_parameters(K, D)}
        free = sum(size for name, size in sizes.items() if name not in self.fixed)
        return int(free) + hasattr(self, "noise_weight_")

    def _get_parameters(self) -> tuple[NDArray[Any], ...]:
        """Return weights, means, covariances and the Cholesky factors of the precisions."""
        return self.weights_, self.means_, self.covariances_, self.precisions_cholesky_

    def _set_parameters(self, params: tuple[NDArray[Any], ...], xp: Any = None) -> None:
        """Set weights, means, covariances and the Cholesky factors of the precisions."""
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = params
        set_stream(self, None)  # the state of a stream belongs to the parameters before
        U = self.precisions_cholesky_
        with np.errstate(all="ignore"):
            matrices = family_of(self).matrices
            self.precisions_ = U @ U.swapaxes(-1, -2) if matrices else np.square(U, out=np.empty_like(U))

    if not TYPE_CHECKING:  # which would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            """Return a matrix that is missing where weights, means and another matrix were set by hand."""
            # A property or method has raised an AttributeError: call it again, so that its own message is seen.
            if hasattr(type(self), name):
                return super().__getattribute__(name)
            if name in MATRICES and "means_" in vars(self):
                found = missing_matrix(vars(self), family_of(self), name)
                if found is not None:
                    return found
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "weights_" in state:
            check_state(self, family_of(self))


# --- what follows from the attributes -----------------------------------------------------------------------------


def family_of(model: MixtureState) -> Covariance:
    """Return the family of the fitted parameters; before a fit, the one that `covariance_type` asks for.

    After a fit, `set_params(covariance_type=...)` does not change the family of the parameters that are there.
    """
    return find_family(getattr(model, "_fitted_type", model.covariance_type))


def remedy_of(model: MixtureState) -> Remedy:
    """Return what keeps covariances from collapsing. Beside a `regularization`, reg_covar counts for nothing."""
    return find_remedy(model.regularization, model.reg_covar if model.regularization is None else 0.0)


def count_parameters(model: MixtureState) -> int:
    """Return the number of free parameters of a fitted mixture, without those that are `fixed`.

    Subclasses may count otherwise: this is what `_n_parameters` returns.
    """
    return model._n_parameters()


def count_seen(model: MixtureState) -> float:
    """Return how many rows of weight 1 a fitted mixture stands for in a stream."""
    return float(getattr(model, "n_samples_seen_", ROWS_PER_PARAMETER * count_parameters(model)))


def has_noise(model: MixtureState) -> bool:
    """Return whether a fitted mixture has a noise component."""
    return hasattr(model, "noise_box_")


def takes_missing(model: MixtureState) -> bool:
    """Return whether NaN in rows stands for values that are missing; posteriors do not take such rows."""
    return bool(getattr(model, "missing", False))


def names_of(model: MixtureState) -> NDArray[Any] | None:
    """Return the names of the features that the mixture was fitted to, (D,); None if they had none."""
    names: NDArray[Any] | None = getattr(model, "feature_names_in_", None)
    return names


def stream_of(model: MixtureState) -> Stepwise | None:
    """Return the state of the stream that `partial_fit` follows; None if the parameters come from no stream."""
    stream: Stepwise | None = vars(model).get("_stepwise")
    return stream


def arrays_of(model: MixtureState) -> tuple[NDArray[Any], ...]:
    """Return weights, means, covariances and the Cholesky factors of the precisions, in the attributes' shapes."""
    return model._get_parameters()


# --- setting them -------------------------------------------------------------------------------------------------


def set_arrays(model: MixtureState, arrays: Sequence[NDArray[Any]]) -> None:
    """Set weights, means, covariances, the Cholesky factors of the precisions, and the precisions that these make."""
    model._set_parameters(tuple(arrays))


def check_other(other: Any, method: str) -> None:
    """Raise a TypeError unless a mixture is given to a method that compares two."""
    if not isinstance(other, MixtureState):
        raise TypeError(
            f"{method} needs another fitted mixture; got {type(other).__name__}. Of rows, make one by fit; of numbers, "
            "by from_parameters; of what em returns, by from_result; of scikit-learn's mixture, by from_sklearn"
        )


def set_params_of(model: MixtureState, params: Params, dtype: np.dtype[Any]) -> None:
    """Set all attributes that hold parameters, in the family of `covariance_type` and of a dtype."""
    model.__dict__["_fitted_type"] = model.covariance_type
    K, D = params.means.shape
    shape = family_of(model).natural_shape(K, D)
    upper = params.factor.swapaxes(-1, -2) if params.factor.shape[-2] > 1 else params.factor
    arrays = params.weights, params.means, params.covariances.reshape(shape), upper.reshape(shape)
    set_arrays(model, [np.asarray(array, dtype=dtype, order="C") for array in arrays])
    model.n_features_in_ = D
    for name in ("noise_weight_", "noise_box_"):
        model.__dict__.pop(name, None)
    if params.noise is not None:
        model.noise_weight_, model.noise_box_ = params.noise


def set_record(
    model: MixtureState,
    status: Status | None,
    bound: float,
    history: list[float],
    n_iter: int,
    report: Report = NO_FIT,
) -> None:
    """Set the attributes that say how the fit went. A status of None says that the parameters were given."""
    model.status_ = status
    model.converged_ = status is Status.CONVERGED
    model.lower_bound_ = bound
    model.lower_bounds_ = history
    model.n_iter_ = n_iter
    model.fit_report_ = report


def set_names(model: MixtureState, names: NDArray[Any] | None) -> None:
    """Set the names of the features, (D,); None for rows that have none."""
    model.__dict__.pop("feature_names_in_", None)
    if names is not None:
        model.feature_names_in_ = names


def set_stream(model: MixtureState, stream: Stepwise | None) -> None:
    """Set the state of the stream that `partial_fit` goes on from; None if the parameters come from no stream."""
    model.__dict__.pop("_stepwise", None)
    if stream is not None:
        model.__dict__["_stepwise"] = stream
