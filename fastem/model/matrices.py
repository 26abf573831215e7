"""Linear algebra of covariances in canonical shape: factors, inverses, and what counts as singular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)

LARGE = 256  # features from which on LAPACK inverts triangular matrices

TINY = float(np.finfo(np.float64).tiny)  # a variance below it has lost digits, and its inverse overflows


class SingularCovarianceError(ValueError):
    """A covariance is not positive definite, so that its component has no density.

    Attributes
    ----------
    components : list of int
        the components whose covariances are not positive definite; empty if they are not known
    cause : str
        a sentence that says why; "" if the cause is not known

    See Also
    --------
    m_step : raises it where a component has collapsed.
    Ridge, InverseWishart, EigenvalueFloor, EigenvalueRatio : remedies under which it does not occur.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> try:
    ...     params = fastem.m_step(stats)
    ... except fastem.SingularCovarianceError as error:
    ...     print(error.components)
    [1]
    """

    def __init__(self, components: Sequence[int], cause: str = "") -> None:
        self.components, self.cause = list(components), cause
        super().__init__(
            "Fitting the mixture model failed because some components have ill-defined empirical covariance "
            "(for instance caused by singleton or collapsed samples). Try to decrease the number of components, "
            "increase reg_covar, or scale the input data."
            + (f" Singular: component {str(self.components)[1:-1]}." if self.components else "")
            + (f" {cause}" if cause else "")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.components, self.cause)

    def because(self, cause: str) -> SingularCovarianceError:
        """Return the same error with its cause, a sentence."""
        return SingularCovarianceError(self.components, cause)


def pivot_tolerance(D: int, reg_covar: float) -> float:
    """Return what `factorise` counts as zero: rounding in a strict fit, nothing in one that adds `reg_covar`."""
    return 0.0 if reg_covar > 0 else (D + 8) * EPS


def variances(covariances: Array) -> Array:
    """Return the diagonals of covariances, (..., K|1, D|1), as a view that can be written to."""
    return np.einsum("...ii->...i", covariances) if covariances.shape[-2] > 1 else covariances[..., 0, :]


def factorise(covariances: Array, zero: float = 0.0) -> Array:
    """Return the precision factor W of covariances: lower triangular, with inverse covariance = W' W.

    Parameters
    ----------
    covariances : (..., K|1, D|1, D|1)
    zero : float, default 0
        a Cholesky pivot of at most zero * variance counts as zero, as does a subnormal one

    Raises
    ------
    SingularCovarianceError
        with the components whose covariance is not positive definite
    """
    diagonal = covariances.shape[-2] == 1
    if diagonal:
        failed = ~((covariances >= TINY) & (covariances < np.inf)).all(axis=(-2, -1))
    else:
        chol, stopped = np.empty_like(covariances), np.zeros(covariances.shape[:-2], dtype=bool)
        for index in np.ndindex(stopped.shape):
            chol[index], info = lapack.dpotrf(covariances[index], lower=1, clean=1)
            if info:
                stopped[index] = True
        pivots, diagonals = chol.diagonal(0, -2, -1), covariances.diagonal(0, -2, -1)
        with np.errstate(over="ignore"):  # where it has stopped, a pivot may still be a variance
            failed = stopped | ~(pivots**2 > np.maximum(zero * diagonals, TINY)).all(axis=-1)
    if failed.any():
        raise SingularCovarianceError(sorted({int(index[-1]) for index in np.argwhere(failed)}))
    return 1.0 / np.sqrt(covariances) if diagonal else inverse_triangular(chol)


def inverse_triangular(lower: Array) -> Array:
    """Return the inverses of lower triangular matrices (..., D, D): row by row, or by LAPACK where they are LARGE.

    (LAPACK's dtrtri starts OpenBLAS's threads for matrices of any size; they spin for 25 ms, against the next pass.
    That is less than what it saves where D is in the hundreds: row by row takes 1.6 times its time at D = 256, and 3
    times at D = 1024, on one thread.)
    """
    inverse = np.zeros_like(lower)
    if lower.shape[-1] >= LARGE:
        for index in np.ndindex(lower.shape[:-2]):
            inverse[index] = lapack.dtrtri(lower[index], lower=1)[0]
        return inverse
    variances(inverse)[...] = 1.0 / lower.diagonal(0, -2, -1)
    for i in range(1, lower.shape[-1]):
        row = lower[..., i, None, :i] @ inverse[..., :i, :i]
        inverse[..., i, :i] = -inverse[..., i, i, None] * row[..., 0, :]
    return inverse


def from_precisions(precisions: Array) -> tuple[Array, Array]:
    """Return the covariances and the factor of inverse covariances, (..., K|1, D|1, D|1), that are positive definite.

    A Cholesky factor L of the precision with both axes reversed, reversed back and transposed, is lower
    triangular with factor' factor = precision.
    """
    if precisions.shape[-2] == 1:
        return 1.0 / precisions, np.sqrt(precisions)
    factor = np.empty_like(precisions)
    for index in np.ndindex(factor.shape[:-2]):
        lower, _ = lapack.dpotrf(precisions[index][::-1, ::-1], lower=1, clean=1)
        factor[index] = lower[::-1, ::-1].T
    roots = inverse_triangular(factor)
    return roots @ roots.swapaxes(-1, -2), factor
