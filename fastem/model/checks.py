"""Checks of arguments that several packages share, and the exceptions and warnings that scikit-learn's users expect."""

from __future__ import annotations

import numbers
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import ArrayLike, NDArray

from fastem.model.frames import dates_in
from fastem.model.matrices import Array


def real_or_nan(value: Any) -> float:
    """Return a real number as a float, NaN for a boolean and for what is no real number.

    An integer too large for a float, of either sign, becomes infinity: `float` would raise an OverflowError.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.inf


def check_bound(name: str, value: Any) -> None:
    """Raise a ValueError unless `value` is a finite number of at least 0."""
    if not 0 <= real_or_nan(value) < np.inf:
        raise ValueError(f"{name} must be in [0, inf); got {value!r}")


NAME = "GaussianMixture"


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fit was called before `fit`.

    Where scikit-learn is imported, its handlers of the exception of the same name catch this one too.
    """


class ConvergenceWarning(UserWarning):
    """A fit did not converge.

    Where scikit-learn is imported, its filters of the warning of the same name apply to this one too.
    """


def exception(own: type) -> Any:
    """Return `own`, or a subclass of it and of scikit-learn's class of that name if scikit-learn is imported.

    So handlers that users wrote for scikit-learn's class match.
    """
    theirs = getattr(sys.modules.get("sklearn.exceptions"), own.__name__, None)
    return own if theirs is None else _both(own, theirs)


@cache
def _both(own: type, theirs: type) -> type:
    return type(own.__name__, (own, theirs), {"__reduce__": lambda self: (own, self.args)})


def check_fitted(estimator: Any) -> None:
    """Raise a NotFittedError unless the estimator has parameters."""
    if not estimator.__sklearn_is_fitted__():
        raise exception(NotFittedError)(
            f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments "
            "before using this estimator."
        )


def refuse_masked(name: str, value: Any) -> None:
    """Raise a ValueError if an array has masked entries, whose mask a cast would drop."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: fill them or remove their rows first.")


def real_numbers(name: str, value: Any) -> Array:
    """Return `value` as float64; an array of float64 is returned as it is.

    Raises
    ------
    ValueError
        if the cast would lose something: a mask, an imaginary part, a date that is missing
    """
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
    """Return the number of components if it is given, else None.

    Raises
    ------
    ValueError
        if it is not an int of at least 1
    """
    if n_components is None:
        return None
    if not isinstance(n_components, numbers.Integral) or n_components < 1:
        raise ValueError(f"n_components must be an int in [1, inf); got {n_components!r}")
    return int(n_components)


def check_n_threads(n_threads: Any) -> int | None:
    """Return a bound on the number of threads, or None for no bound.

    Raises
    ------
    ValueError
        if it is not an int of at least 1; there may be fewer threads than it says
    """
    if n_threads is None:
        return None
    if not isinstance(n_threads, numbers.Integral) or isinstance(n_threads, (bool, np.bool_)) or n_threads < 1:
        raise ValueError(f"n_threads must be an int in [1, inf), or None for as many as Numba uses; got {n_threads!r}")
    return int(n_threads)


def demand(holds: Any, name: str, expected: str, value: Any, caller: str = NAME) -> None:
    """Raise a ValueError in scikit-learn's words unless a condition on a parameter `holds`."""
    if not holds:
        raise ValueError(f"The {name!r} parameter of {caller} must be {expected}. Got {value!r} instead.")


def check_seen(n_samples_seen: Any) -> float:
    """Return how many rows a mixture stands for, as a float; raise a ValueError unless it is positive and finite."""
    if not 0 < real_or_nan(n_samples_seen) < np.inf:
        raise ValueError(f"n_samples_seen must be a positive number of rows; got {n_samples_seen!r}")
    return float(n_samples_seen)


SEEDS = "an int in the range [0, 4294967295], an instance of 'numpy.random.RandomState' or None"


def is_seed(value: Any) -> bool:
    """Return whether `check_random_state` takes a value."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return bool(0 <= value < 2**32)
    return value is None or value is np.random or isinstance(value, np.random.RandomState)


def check_random_state(seed: Any) -> np.random.RandomState:
    """Return a RandomState as scikit-learn does: the global one for None, a new one for an int, else `seed` itself.

    Estimators have checked theirs with their other parameters, by `is_seed`, and name themselves.
    """
    if not is_seed(seed):
        raise ValueError(f"The 'random_state' parameter must be {SEEDS}. Got {seed!r} instead.")
    if seed is None or seed is np.random:
        return np.random.mtrand._rand
    return seed if isinstance(seed, np.random.RandomState) else seeded(int(seed))


class NoEntropy(ISeedSequence):
    """Stand for the entropy of a generator that is seeded at once: NumPy takes 40 us to make it."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        """Return zeros."""
        return np.zeros(n_words, dtype)


def seeded(seed: int) -> np.random.RandomState:
    """Return ``RandomState(seed)``, in a third of the time."""
    rng = np.random.RandomState(np.random.MT19937(NoEntropy()))  # type: ignore[arg-type]
    rng.seed(seed)
    return rng


def check_n_samples(n_samples: Any, least: int = 1) -> None:
    """Raise a ValueError unless `n_samples` is an integer of at least `least`, which is 1 or 2."""
    is_int = isinstance(n_samples, numbers.Integral) and not isinstance(n_samples, bool | np.bool_)
    if not is_int or not least <= n_samples <= np.iinfo(np.intp).max:
        needs = "at least one sample" if least == 1 else "at least two samples"
        raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires {needs}, an int.")


def finite_of_shape(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return finite numbers of this shape as float64; an array of float64 is returned as it is.

    Raises
    ------
    ValueError
        if the shape is another, or a number is NaN or infinite
    """
    array = real_numbers(f"The parameter '{name}'", value)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"The parameter '{name}' contains NaN or infinity")
    return array


def copy_of_shape(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return what `finite_of_shape` returns, as a copy, which the user cannot change later."""
    return np.array(finite_of_shape(name, value, shape))
