"""Mixtures from numbers that a user gives: every part is checked, in scikit-learn's words where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.model.checks import copy_of_shape, finite_of_shape, real_numbers
from fastem.model.families import COVARIANCES, find_family
from fastem.model.matrices import Array, SingularCovarianceError, factorise, from_precisions, variances
from fastem.model.params import Noise, Params

ASYMMETRY = 1e-5  # most of a given matrix, of unit diagonal


def check_box(box: Array) -> Array:
    """Refuse a box (2, D) without a volume."""
    if flat := np.flatnonzero(box[0] == box[1]).tolist():
        raise ValueError(f"noise needs a box with a volume, but column {str(flat)[1:-1]} of X is constant")
    return box


def check_params(params: Params) -> Params:
    """Refuse parameters whose parts do not fit each other: a kernel would read beyond them."""
    if not isinstance(params, Params):
        given = type(params).__name__
        instead = ": pass its attribute params_" if hasattr(type(params), "params_") else ""
        raise TypeError(f"params must be a fastem.Params, as make_params returns; got {given}{instead}")
    for name, array in zip(params._fields[:4], params[:4], strict=True):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise TypeError(f"The parameter '{name}' should be an array of floats: make parameters with make_params")
    K, D = finite_of_shape("means", params.means, shape_of_means(params.means)).shape
    if params.noise is not None:
        check_noise(params.noise, D)
    noise = 0.0 if params.noise is None else params.noise.weight
    weights = finite_of_shape("weights", params.weights, (K,))
    check_mixing(weights, max(noise, 1.0 - weights.sum()), 1e-3)  # less than 1: the noise has been taken out
    shape = params.covariances.shape
    if len(shape) != 3 or shape[0] not in (1, K) or shape[1:] not in ((D, D), (1, D), (1, 1)):
        raise ValueError(f"The parameter 'covariances' should have the shape of (K|1, D|1, D|1), but got {shape}")
    finite_of_shape("covariances", params.covariances, shape)
    if not (variances(finite_of_shape("factor", params.factor, shape)) > 0).all():
        raise ValueError("The parameter 'factor' should have a positive diagonal: make parameters with make_params")
    return params


def check_noise(noise: Any, D: int) -> Noise:
    """A component of constant density."""
    if not isinstance(noise, tuple) or len(noise) != 2:
        raise ValueError(f"The parameter 'noise' should be a tuple (weight, box), but got {noise!r:.60}")
    weight = float(copy_of_shape("noise weight", noise[0], ()))
    if not 0 <= weight <= 1:
        raise ValueError(f"The parameter 'noise' should have a weight in the range [0, 1], but got {weight:.5g}")
    return Noise(weight, check_box(copy_of_shape("noise box", noise[1], (2, D))))


def check_representable(params: Params, dtype: np.dtype[Any]) -> None:
    """Refuse float32 parameters that would overflow, vanish or be subnormal, which lose digits."""
    factor, least = params.factor, np.finfo(dtype).tiny
    with np.errstate(all="ignore"):
        precisions = factor.swapaxes(-1, -2) @ factor if factor.shape[-2] > 1 else factor**2
        sound = all(
            np.isfinite(array.astype(dtype)).all() and (variances(array).astype(dtype) >= least).all()
            for array in (params.covariances, factor, precisions)
        )
    if not sound:
        raise ValueError(
            f"The covariances or their inverses do not fit the range of {dtype}: pass X as float64, or scale the data."
        )


def shape_of_means(means: ArrayLike) -> tuple[int, int]:
    """K and D of means; of anything else, what makes `check_means` refuse it."""
    shape = np.shape(means)
    return (shape[0], shape[1]) if len(shape) == 2 and 0 not in shape else (1, 1)


def check_weights(weights: ArrayLike, K: int, noise: float = 0.0, leading: tuple[int, ...] = ()) -> Array:
    """Mixture weights as (*leading, K) float64; with that of noise they sum to 1."""
    array = copy_of_shape("weights", weights, (*leading, K))
    check_mixing(array, noise, 1e-6)
    return array


def check_mixing(array: Array, noise: float, tolerance: float) -> None:
    """Refuse weights outside of [0, 1], or that with the noise's do not sum to 1 within `tolerance`."""
    if (array < 0).any() or (array > 1).any():
        # scikit-learn's tests match its words, which name min and max the wrong way round.
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got "
            f"max value {array.min():.5f}, min value {array.max():.5f}"
        )
    sums = array.sum(axis=-1).ravel()
    if (off := np.abs(1.0 - sums - noise) > tolerance).any():
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {sums[off][0]:.5f}")


def check_means(means: ArrayLike, K: int, D: int, leading: tuple[int, ...] = ()) -> Array:
    """Means as (*leading, K, D) float64."""
    return copy_of_shape("means", means, (*leading, K, D))


def check_matrices(
    kind: str, matrices: ArrayLike, covariance_type: str, K: int, D: int, leading: tuple[int, ...] = ()
) -> Array:
    """Covariances or precisions in scikit-learn's shape -> canonical shape, symmetric positive definite."""
    family = COVARIANCES[covariance_type]
    array = copy_of_shape(f"{covariance_type} {kind}", matrices, (*leading, *family.natural_shape(K, D)))
    array = array.reshape(*leading, *family.shape(K, D))
    try:
        factorise(array)
        if family.matrices:
            scale = np.sqrt(variances(array))  # symmetric whatever the unit of each feature
            skew = np.abs(array - array.swapaxes(-1, -2)) / (scale[..., :, None] * scale[..., None, :])
            if not (skew <= ASYMMETRY).all():
                raise SingularCovarianceError([])
    except SingularCovarianceError:
        demand = "symmetric, positive-definite" if family.matrices else "positive"
        raise ValueError(f"'{covariance_type} {kind}' should be {demand}") from None
    return array


def check_precisions(
    precisions: ArrayLike, covariance_type: str, K: int, D: int, leading: tuple[int, ...] = ()
) -> tuple[Array, Array]:
    """Precisions in scikit-learn's shape -> covariances and factor."""
    return from_precisions(check_matrices("precision", precisions, covariance_type, K, D, leading))


def make_params(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    covariance_type: str = "full",
    noise: tuple[float, ArrayLike] | None = None,
) -> Params:
    """A mixture from known parameters, checked.

    Parameters
    ----------
    weights : (K,) array-like, sum 1, with that of noise if there is any
    means : (K, D) array-like
    covariances : array-like
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied_diag, a number tied_spherical
    covariance_type : "full", "tied", "diag", "spherical", "tied_diag" or "tied_spherical"
    noise : weight and box (2, D) of a component of constant density, optional

    Returns
    -------
    Params

    Raises
    ------
    ValueError
        for shapes that do not match, entries that are not finite, weights that do not sum to 1, covariances that
        are not symmetric positive definite

    Examples
    --------
    >>> import fastem
    >>> fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [1.0, 4.0], "spherical").factor.ravel()
    array([1. , 0.5])
    """
    find_family(covariance_type)
    rows = real_numbers("The parameter 'means'", means)
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"The parameter 'means' should have the shape of (K, D), but got {rows.shape}")
    K, D = rows.shape
    matrices = check_matrices("covariance", covariances, covariance_type, K, D)
    uniform = None if noise is None else check_noise(noise, D)
    shares = check_weights(weights, K, 0.0 if uniform is None else uniform.weight)
    return Params(shares, check_means(means, K, D), matrices, factorise(matrices), uniform)
