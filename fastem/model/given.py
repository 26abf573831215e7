"""Make mixtures of numbers that a user gives, and check every part, in scikit-learn's words where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.model.checks import copy_of_shape, finite_of_shape, real_numbers
from fastem.model.factors import FactorParams
from fastem.model.families import COVARIANCES, find_family
from fastem.model.matrices import Array, SingularCovarianceError, factorise, from_precisions, variances
from fastem.model.params import Noise, Params
from fastem.model.student import StudentParams

ASYMMETRY = 1e-5  # largest difference of a given matrix, scaled to unit diagonal, from its transpose
ROUNDINGS = 8  # times D + 1, how many roundings may lie between covariances and the factors of their inverses


def check_box(box: Array) -> Array:
    """Return a box (2, D); raise a ValueError if it has no volume."""
    if flat := np.flatnonzero(box[0] == box[1]).tolist():
        raise ValueError(f"noise needs a box with a volume, but column {str(flat)[1:-1]} of X is constant")
    return box


def check_params(params: Params) -> Params:
    """Return `params`; raise an error if its parts do not fit each other, for a kernel would read beyond them.

    Raises
    ------
    TypeError
        if it is no `Params`, or a part is no array of floats
    ValueError
        if a part has another shape or value than it should
    """
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


def check_gaussian(params: Params) -> Params:
    """Return `params`; raise an error as `check_params` does, and a TypeError for components that are not Gaussian."""
    if isinstance(params, StudentParams):
        raise TypeError(
            "params are those of a mixture of t distributions, and this works with Gaussian mixtures alone: use the "
            "methods of StudentMixture"
        )
    if isinstance(params, FactorParams):
        raise TypeError(
            "params are those of a mixture of factor analysers, and this works with stored covariances alone: use the "
            "methods of FactorMixture, or the params_ of its to_mixture()"
        )
    return check_params(params)


def check_noise(noise: Any, D: int) -> Noise:
    """Return a component of constant density from a tuple (weight, box); raise a ValueError if it is none."""
    if not isinstance(noise, tuple) or len(noise) != 2:
        raise ValueError(f"The parameter 'noise' should be a tuple (weight, box), but got {noise!r:.60}")
    weight = float(copy_of_shape("noise weight", noise[0], ()))
    if not 0 <= weight <= 1:
        raise ValueError(f"The parameter 'noise' should have a weight in the range [0, 1], but got {weight:.5g}")
    return Noise(weight, check_box(copy_of_shape("noise box", noise[1], (2, D))))


def check_representable(params: Params, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if parameters as float32 would overflow, vanish or be subnormal, which loses digits."""
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
    """Return K and D of means; (1, 1) for anything else, with which `check_means` raises its error."""
    shape = np.shape(means)
    return (shape[0], shape[1]) if len(shape) == 2 and 0 not in shape else (1, 1)


def check_weights(weights: ArrayLike, K: int, noise: float = 0.0, leading: tuple[int, ...] = ()) -> Array:
    """Return mixture weights as (*leading, K) float64; with the weight of `noise` they must sum to 1."""
    array = copy_of_shape("weights", weights, (*leading, K))
    check_mixing(array, noise, 1e-6)
    return array


def check_mixing(array: Array, noise: float, tolerance: float) -> None:
    """Raise a ValueError unless weights are in [0, 1] and, with that of noise, sum to 1 within `tolerance`."""
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
    """Return means as (*leading, K, D) float64."""
    return copy_of_shape("means", means, (*leading, K, D))


def check_matrices(
    kind: str, matrices: ArrayLike, covariance_type: str, K: int, D: int, leading: tuple[int, ...] = ()
) -> Array:
    """Return covariances or precisions, given in scikit-learn's shape, in canonical shape.

    Raises
    ------
    ValueError
        unless they are symmetric and positive definite
    """
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


def check_cholesky(cholesky: NDArray[Any], covariances: NDArray[Any], covariance_type: str, K: int, D: int) -> None:
    """Raise a ValueError unless U is a factor of the inverse of each covariance, U' covariance U = 1, but for rounding.

    Rounding of both arrays by a relative eps changes no element of the product by more than three times eps times the
    square of the largest sum_j |U_ji| sd_j.
    """
    family, eps = COVARIANCES[covariance_type], max(np.finfo(array.dtype).eps for array in (cholesky, covariances))
    upper = finite_of_shape("precisions_cholesky", cholesky, family.natural_shape(K, D)).reshape(family.shape(K, D))
    matrices = covariances.astype(np.float64).reshape(family.shape(K, D))
    if family.matrices:
        product = upper.swapaxes(-1, -2) @ matrices @ upper
        longest = (np.abs(upper) * np.sqrt(variances(matrices))[..., None]).sum(axis=-2).max(axis=-1)
        off = np.abs(product - np.eye(D)).max(axis=(-2, -1)) / longest**2
    else:
        off = np.abs(upper * (upper * matrices) - 1)
    if not ((variances(upper) > 0).all() and (off <= ROUNDINGS * (D + 1) * eps).all()):
        raise ValueError(
            "The parameter 'precisions_cholesky' should have the factors of the inverses of 'covariances': set both, "
            "or delete the former, which is then made of the latter"
        )


def check_precisions(
    precisions: ArrayLike, covariance_type: str, K: int, D: int, leading: tuple[int, ...] = ()
) -> tuple[Array, Array]:
    """Return the covariances and the factor of precisions that are given in scikit-learn's shape."""
    return from_precisions(check_matrices("precision", precisions, covariance_type, K, D, leading))


def make_params(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    covariance_type: str = "full",
    noise: tuple[float, ArrayLike] | None = None,
) -> Params:
    """Make a mixture from known parameters, and check them.

    Parameters
    ----------
    weights : (K,) array-like
        they sum to 1, with the weight of noise if there is any
    means : (K, D) array-like
    covariances : array-like
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied_diag, a number tied_spherical; of mclust's
        (K, D) VEI and EVI, and (K, D, D) for those whose axes are not the features'. That they obey the family is not
        asked of them
    covariance_type : "full" (default), "tied", "diag", "spherical", "tied_diag", "tied_spherical", or one of mclust's
        fourteen names, "EII" to "VVV"
    noise : tuple (weight, box), optional
        weight and box (2, D) of a component of constant density. Default None: no such component

    Returns
    -------
    Params

    Raises
    ------
    ValueError
        if shapes do not match, entries are not finite, weights do not sum to 1, or covariances are not symmetric and
        positive definite

    See Also
    --------
    em : fit a mixture, from such parameters as a start.
    Params : the mixture as it is stored.
    GaussianMixture.from_parameters : an estimator from known parameters.

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
