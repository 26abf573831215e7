"""Checks of arguments that several packages share, and the exceptions and warnings that scikit-learn's users expect."""

from __future__ import annotations

import numbers
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.model.frames import dates_in
from fastem.model.matrices import Array


def check_bound(name: str, value: Any) -> None:
    """ValueError unless `value` is a finite number of at least 0."""
    is_real = isinstance(value, numbers.Real)
    if not is_real or not 0 <= value < np.inf:
        raise ValueError(f"{name} must be in [0, inf); got {value!r}")


NAME = "GaussianMixture"


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fit was called before one; scikit-learn's class as well, where that is imported."""


class ConvergenceWarning(UserWarning):
    """A fit did not converge; scikit-learn's class as well, where that is imported."""


def exception(own: type) -> Any:
    """`own`, which is scikit-learn's of the same name too if scikit-learn is loaded, so that users' handlers match."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), own.__name__, None)
    return own if theirs is None else _both(own, theirs)


@cache
def _both(own: type, theirs: type) -> type:
    return type(own.__name__, (own, theirs), {"__reduce__": lambda self: (own, self.args)})


def check_fitted(estimator: Any) -> None:
    """NotFittedError unless the estimator has parameters."""
    if not estimator.__sklearn_is_fitted__():
        raise exception(NotFittedError)(
            f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments "
            "before using this estimator."
        )


def refuse_masked(name: str, value: Any) -> None:
    """A cast would drop the mask."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: fill them or remove their rows first.")


def real_numbers(name: str, value: Any) -> Array:
    """`value` as float64, the same array if it is; refused where the cast would lose a mask, an imaginary part, NaT."""
    refuse_masked(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind in "cmMSUV":
            raise TypeError(f"got dtype {array.dtype}")
        if found := dates_in(array):
            raise TypeError(f"got dates or durations ({found})")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} should hold real numbers: {error}") from error


def given_components(n_components: Any) -> int | None:
    """K if it is given."""
    if n_components is None:
        return None
    if not isinstance(n_components, numbers.Integral) or n_components < 1:
        raise ValueError(f"n_components must be an int in [1, inf); got {n_components!r}")
    return int(n_components)


def check_n_threads(n_threads: Any) -> int | None:
    """A bound on the number of threads: any int from 1 on, however many there are; or None."""
    if n_threads is None:
        return None
    if not isinstance(n_threads, numbers.Integral) or isinstance(n_threads, (bool, np.bool_)) or n_threads < 1:
        raise ValueError(f"n_threads must be an int in [1, inf), or None for as many as Numba uses; got {n_threads!r}")
    return int(n_threads)


def demand(holds: Any, name: str, expected: str, value: Any, caller: str = NAME) -> None:
    """Raise a ValueError in scikit-learn's words unless a parameter `holds`."""
    if not holds:
        raise ValueError(f"The {name!r} parameter of {caller} must be {expected}. Got {value!r} instead.")


def check_seen(n_samples_seen: Any) -> float:
    """How many rows a mixture stands for: a positive number."""
    real = isinstance(n_samples_seen, numbers.Real) and not isinstance(n_samples_seen, (bool, np.bool_))
    if not real or not 0 < float(n_samples_seen) < np.inf:
        raise ValueError(f"n_samples_seen must be a positive number of rows; got {n_samples_seen!r}")
    return float(n_samples_seen)


def check_random_state(seed: Any) -> np.random.RandomState:
    """As scikit-learn: None is NumPy's global state, an int a new one, a RandomState itself."""
    if seed is None or seed is np.random:
        return np.random.mtrand._rand
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and 0 <= seed < 2**32:
        return np.random.RandomState(int(seed))
    demand(
        isinstance(seed, np.random.RandomState),
        "random_state",
        "an int in the range [0, 4294967295], an instance of 'numpy.random.RandomState' or None",
        seed,
    )
    return seed  # type: ignore[no-any-return]


def check_n_samples(n_samples: Any, least: int = 1) -> None:
    """A positive integer, of at least 1 or 2."""
    is_int = isinstance(n_samples, numbers.Integral)
    if not is_int or not least <= n_samples <= np.iinfo(np.intp).max:
        needs = "at least one sample" if least == 1 else "at least two samples"
        raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires {needs}, an int.")


# --- mixtures -----------------------------------------------------------------------------------------------------


def finite_of_shape(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Finite numbers of this shape as float64; the same array if it is."""
    array = real_numbers(f"The parameter '{name}'", value)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"The parameter '{name}' contains NaN or infinity")
    return array


def copy_of_shape(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """The same as a copy, which the user cannot change later."""
    return np.array(finite_of_shape(name, value, shape))
