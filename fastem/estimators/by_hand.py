"""Mixtures whose attributes a user has set: missing matrices are computed, factors are made upper triangular."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.families import Covariance
from fastem.model.given import check_matrices, check_precisions
from fastem.model.matrices import Array, factorise, from_precisions

MATRICES = ("covariances_", "precisions_", "precisions_cholesky_")


def missing_matrix(given: dict[str, Any], family: Covariance, name: str) -> NDArray[Any] | None:
    """Return one of MATRICES, in the shape of the attribute, made of the matrices that are given.

    Parameters
    ----------
    given : dict, the attributes of an estimator
    family : Covariance
    name : str, the matrix that is wanted

    Returns
    -------
    array or None
        None if no matrix is given

    Raises
    ------
    ValueError
        for matrices that are not positive definite
    """
    shape = np.shape(given["means_"])
    if len(shape) != 2 or not any(one in given for one in MATRICES):
        return None
    K, D = shape
    if "covariances_" in given:
        covariances = check_matrices("covariance", given["covariances_"], family.name, K, D)
        factor = factorise(covariances)
    else:
        precisions = given["precisions_"] if "precisions_" in given else square(given["precisions_cholesky_"], family)
        covariances, factor = check_precisions(precisions, family.name, K, D)
    upper = factor.swapaxes(-1, -2) if family.matrices else factor
    found = {"covariances_": covariances, "precisions_cholesky_": upper}
    matrix = square(upper, family) if name == "precisions_" else found[name]
    dtype = np.result_type(np.asarray(given["means_"]).dtype, np.float32)
    return np.asarray(matrix.reshape(family.natural_shape(K, D)), dtype=dtype, order="C")


def square(cholesky: Any, family: Covariance) -> Array:
    """Return the precisions of which these are the Cholesky factors."""
    U = np.asarray(cholesky, dtype=np.float64)
    return U @ U.swapaxes(-1, -2) if family.matrices else np.asarray(np.square(U))


def upper_factor(cholesky: Array) -> Array:
    """Return upper triangular U with the same U U' as these factors, (..., D, D); the factors themselves if they are.

    scikit-learn's formula takes any square root of the precision, and people set ``numpy.linalg.cholesky(precision)``,
    which is lower triangular; a kernel reads one triangle.
    """
    if not np.tril(cholesky, -1).any():
        return cholesky
    return from_precisions(cholesky @ cholesky.swapaxes(-1, -2))[1].swapaxes(-1, -2)
