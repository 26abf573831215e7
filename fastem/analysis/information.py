"""The empirical information of rows about a mixture, and the covariance of its parameters that follows."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, helmert

from fastem.model.matrices import Array, variances
from fastem.model.parametrization import Parametrization, entries
from fastem.model.params import Params
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, Source, rows_at_once

LEAST = 1e-12  # times the largest eigenvalue of the information: below it rounding decides


class SingularInformationError(ValueError):
    """Rows do not determine the parameters of a mixture: their information matrix is singular.

    Attributes
    ----------
    components : list of int
        the components whose parameters are not determined; K stands for noise

    See Also
    --------
    GaussianMixture.standard_errors : raises it
    GaussianMixture.bootstrap : needs no information matrix
    """

    def __init__(self, components: list[int], n_rows: int, n_parameters: int) -> None:
        self.components, self.n_rows, self.n_parameters = components, n_rows, n_parameters
        super().__init__(
            f"{n_rows} rows do not determine the {n_parameters} free parameters: the information is singular at "
            f"component {str(components)[1:-1]}. Try fewer components, a covariance_type of fewer parameters, or "
            "bootstrap(X)"
        )

    def __reduce__(self) -> tuple[type, tuple[list[int], int, int]]:
        return type(self), (self.components, self.n_rows, self.n_parameters)


def row_scores(X: Array, resp: Array, params: Params) -> Array:
    """Return the gradient of the log density at each row, (n, P), in coordinates ``Parametrization.around(params)``.

    With r the responsibilities and y_k = W_k (x - mean_k) a row that component k has whitened, the parts for logits,
    means and roots are r_k - weight_k, r_k y_k, and the lower triangle of r_k (y_k y_k' - I), or for variances its
    diagonal; those of a covariance that components share are summed. All are times the coordinates' units.

    Parameters
    ----------
    X : (n, D)
    resp : (n, K'), the responsibilities, those of noise last
    params : Params

    References
    ----------
    McLachlan & Peel (2000), Finite Mixture Models, eq. 2.58.
    """
    (K, D), (F, R, C) = params.means.shape, params.covariances.shape
    row, column = entries(params.covariances.shape)
    r, diagonal = np.ascontiguousarray(resp.T), (row == column)[:, None] if R > 1 else np.ones((C, 1))
    means, roots = np.empty((K, D, len(X))), np.zeros((F, len(row), len(X)))
    for k, factor in enumerate(np.broadcast_to(params.factor, (K, *params.factor.shape[1:]))):
        z = (X - params.means[k]).T
        y = factor @ z if R > 1 else factor.T * z
        means[k] = r[k] * y
        squares = y[row] * means[k][column] if R > 1 else (y * means[k]).reshape(C, -1, len(X)).sum(axis=1)
        roots[k if F > 1 else 0] += squares - (D // C) * r[k] * diagonal
    parts = r - params.shares[:, None], means.reshape(K * D, -1), roots.reshape(F * len(row), -1)
    return np.asarray(np.concatenate(parts) * Parametrization.around(params).unit[:, None]).T


def empirical_information(source: Source, params: Params) -> Array:
    """Return sum_n w_n s_n s_n' of the scores of all rows, (P, P), in one pass: McLachlan & Peel (2000), eq. 2.60."""
    scorer = scorer_for(source, params)

    @np.errstate(over="ignore", invalid="ignore")  # of rows that are far: `covariance_of_numbers` refuses it
    def add(block: Block) -> Array:
        present = block.present()
        scores = Scores.empty(len(present.X), params.n_columns, resp=True)
        scorer.fill(present, scores)
        own = row_scores(present.X.astype(np.float64, copy=False), scores.resp, params)
        if present.weight is not None:
            own *= np.sqrt(present.weight)[:, None]
        return own.T @ own  # of an array and its own transpose NumPy computes one half

    P = Parametrization.around(params).unit.size
    return np.asarray(source.reduce(add, rows_at_once(P)))


def covariance_of_numbers(information: Array, params: Params, n_rows: int, held: Collection[str] = ()) -> Array:
    """Return the covariance of a mixture's numbers, (P, P), as `fastem.model.numbers.Numbers` orders them.

    It is the inverse of the information, carried over to weights, means and covariances by the delta method. Weights
    have one logit more than there are of them: the information is inverted in contrasts of logits.

    Parameters
    ----------
    information : (P, P), as `empirical_information` returns it
    params : Params
    n_rows : int, how many rows it is of, for a message
    held : names among "weights", "means", "covariances", whose numbers are known

    Raises
    ------
    SingularInformationError
        if the rows do not determine the numbers
    ValueError
        if the information or the covariance is beyond float64
    """
    if not np.isfinite(information).all():
        raise ValueError("Rows lie so far from all components that their squared distances overflow: scale the data.")
    directions = _directions(params, held)
    values, vectors = np.linalg.eigh(directions.T @ information @ directions)
    if not len(values):
        return np.zeros_like(information)
    if values[0] <= LEAST * values[-1]:
        undetermined = (directions @ vectors[:, values <= LEAST * values[-1]]) ** 2
        raise SingularInformationError(_owners(params, undetermined.sum(axis=1)), n_rows, len(values))
    root = jacobian_of_numbers(params) @ directions @ vectors / np.sqrt(values)
    with np.errstate(over="ignore", invalid="ignore"):
        covariance = root @ root.T
    return check_range(covariance, root.any(axis=1))


def check_range(covariance: Array, varies: NDArray[np.bool_]) -> Array:
    """Return the covariance of a mixture's numbers, (P, P); refuse one that is beyond float64.

    Parameters
    ----------
    covariance : (P, P)
    varies : (P,) bool, which numbers have a variance
    """
    lost = varies & (np.diagonal(covariance) < np.finfo(np.float64).tiny)
    if lost.any() or not np.isfinite(covariance).all():
        raise ValueError(
            "The values of X are too large or too small: the variances of the covariances' estimates, which have the "
            "fourth power of the unit of X, are beyond float64. Scale the data."
        )
    return covariance


def jacobian_of_numbers(params: Params) -> Array:
    """Return the derivative of a mixture's numbers by the coordinates ``Parametrization.around(params)`` at 0, (P, P).

    With C the lower triangle of a root, whose diagonal is of logarithms: d mean = L b, d cov = L (dC + dC') L'.
    """
    K, D = params.means.shape
    space, shares = Parametrization.around(params), params.shares
    weights = np.diag(shares) - np.outer(shares, shares)
    if params.factor.shape[-2] == 1:
        sd = 1 / params.factor
        means = np.broadcast_to(sd, (K, 1, D)).ravel()
        blocks = [weights, np.diag(means), np.diag(2 * variances(params.covariances).ravel())]
        return np.asarray(block_diag(*blocks) * space.unit)
    lower = space.mean_root
    row, column = entries(params.covariances.shape)
    covariances = [
        matrix[row][:, row] * matrix[column][:, column] + matrix[row][:, column] * matrix[column][:, row]
        for matrix in lower
    ]
    return np.asarray(block_diag(weights, *np.broadcast_to(lower, (K, D, D)), *covariances) * space.unit)


def _directions(params: Params, held: Collection[str]) -> Array:
    """Return the directions of the coordinates that are free, (P, Q): contrasts of logits, and the unit vectors."""
    K, D = params.means.shape
    n_shares, P = params.n_columns, Parametrization.around(params).unit.size
    logits = np.eye(n_shares)[:, K:] if "weights" in held else helmert(n_shares).T if n_shares > 1 else np.zeros((1, 0))
    means = np.eye(K * D)[:, : 0 if "means" in held else None]
    covariances = np.eye(P - n_shares - K * D)[:, : 0 if "covariances" in held else None]
    return np.asarray(block_diag(logits, means, covariances))


def _owners(params: Params, share: Array) -> list[int]:
    """Return the components that own most of what is spread over the coordinates, (P,)."""
    (K, D), n_shares, F = params.means.shape, params.n_columns, len(params.covariances)
    owners = [np.arange(n_shares), np.repeat(np.arange(K), D)]
    rest = len(share) - n_shares - K * D
    if F == K:
        owners.append(np.repeat(np.arange(K), rest // K))
    owner = np.concatenate(owners)
    mass = np.bincount(owner, share[: len(owner)], minlength=n_shares)
    return np.flatnonzero(mass >= mass.max() / 2).tolist()
