"""Replicates of a fit: rows drawn or weighted anew, and the mixtures that fits from the same start make of them.

A kernel fits many replicates at once, each on one thread. The replicates that it cannot fit (those of many rows, and of
models with noise, held parameters or a remedy) go through the EM loop one by one, each on all threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.analysis.align import match_components
from fastem.analysis.montecarlo import draw
from fastem.estimators.groups.fits import STATUSES, run_fits
from fastem.estimators.groups.partition import Partition
from fastem.fitting.loop import iterate
from fastem.fitting.steps import last_update
from fastem.fitting.stopping import Stop
from fastem.kernels import groups as kernel
from fastem.kernels.jit import n_threads
from fastem.model.matrices import Array, SingularCovarianceError
from fastem.model.maximisation import GaussianModel
from fastem.model.numbers import Numbers
from fastem.model.params import Params
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.result import Status
from fastem.sources.blocks import ArraySource

NATS = 1e-5  # a replicate has converged when the log-likelihood of its rows changes by less
MAX_ITER = 1000
BATCH_ROWS = 200_000  # of all replicates of a call, so that they are few MB and Ctrl-C is served
LARGE = 20_000  # rows from which on one replicate has work for all threads
ALL_GIVEN = kernel.WEIGHTS + kernel.MEANS + kernel.PRECISIONS


class BootstrapInterrupted(KeyboardInterrupt):
    """A KeyboardInterrupt that `GaussianMixture.bootstrap` and `bootstrap_test` raise on Ctrl-C.

    Attributes
    ----------
    result : Bootstrap or BootstrapTest, of the replicates that were done

    See Also
    --------
    GaussianMixture.bootstrap, bootstrap_test : raise it
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        super().__init__("the bootstrap was interrupted; .result holds the replicates that were done")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)


class Rows(NamedTuple):
    """The rows of a fit.

    Attributes
    ----------
    X : (N, D) float64
    weight : (N,) float64, positive
    """

    X: Array
    weight: Array

    @property
    def n_rows(self) -> int:
        """How many rows of weight 1 they are, rounded."""
        return max(1, round(float(self.weight.sum())))


def resampled(rows: Rows, params: Params, rng: np.random.RandomState) -> Rows:
    """Draw as many rows as there are, with replacement; a row that is drawn twice has weight 2."""
    counts = rng.multinomial(rows.n_rows, rows.weight / rows.weight.sum())
    there = np.flatnonzero(counts)
    return Rows(rows.X.take(there, axis=0), counts[there].astype(np.float64))


def simulated(rows: Rows, params: Params, rng: np.random.RandomState) -> Rows:
    """Draw as many rows as there are from the mixture."""
    X, _ = draw(params, rows.n_rows, rng)
    return Rows(X, np.ones(len(X)))


def reweighted(rows: Rows, params: Params, rng: np.random.RandomState) -> Rows:
    """Draw weights from a Dirichlet distribution, uniform for rows of weight 1 (Newton & Raftery 1994)."""
    drawn = rng.gamma(rows.weight)
    return Rows(rows.X, np.maximum(drawn * (rows.weight.sum() / drawn.sum()), np.finfo(np.float64).tiny))


KINDS: dict[str, Callable[[Rows, Params, np.random.RandomState], Rows]] = {
    "nonparametric": resampled,
    "parametric": simulated,
    "weighted": reweighted,
}


class Fits(NamedTuple):
    """The fits to sets of rows.

    Attributes
    ----------
    mixtures : weights (G, K), means (G, K, D), covariances and factors (G, F, R, C)
    status : (G,) array of Status
    bound : (G,) float64, the mean log-likelihood at the last pass
    """

    mixtures: tuple[Array, Array, Array, Array]
    status: NDArray[np.object_]
    bound: Array


def fit_sets(
    sets: list[Rows], start: tuple[Array, ...], remedy: Any, tol: float, uniforms: Array | None = None
) -> Fits:
    """Fit a mixture to each of many sets of rows, in one call of the kernel for about 0.1 s of work.

    Parameters
    ----------
    sets : list of G Rows
    start : weights, means, covariances and factors, one mixture for all sets or with a leading axis of sets
    remedy, tol : as in `run_fits`
    uniforms : (G, U), optional
        random numbers for k-means, which then finds the starts, and `start` only says their shapes. Default: none
    """
    G, sizes = len(sets), [len(rows.X) for rows in sets]
    parts = Partition(np.arange(G), np.concatenate([[0], np.cumsum(sizes)]), None)
    axes = np.ndim(start[0]) - 1
    mixtures: Any = tuple(np.array(np.broadcast_to(part, (G, *part.shape[axes:])), order="C") for part in start)
    status, n_iter, bound = np.zeros(G, dtype=np.int64), np.zeros(G, dtype=np.int64), np.empty(G)
    X, weight = (np.concatenate(column) for column in zip(*sets, strict=True))
    given, numbers = (ALL_GIVEN, np.empty((G, 0))) if uniforms is None else (0, uniforms)
    run_fits(parts, X, weight, numbers, given, mixtures, (remedy, tol, MAX_ITER), (status, n_iter, bound))
    return Fits(mixtures, STATUSES[status], bound)


def batches(n_sets: int, n_rows: int) -> Iterator[int]:
    """Yield how many sets of n_rows rows each call takes."""
    each = max(n_threads(), BATCH_ROWS // max(1, n_rows))
    for first in range(0, n_sets, each):
        yield min(each, n_sets - first)


class Refit:
    """Fits of a mixture to replicates of its rows, from that mixture on.

    Parameters
    ----------
    params : Params, of the fit
    numbers : Numbers
    model : GaussianModel, what is fitted
    n_rows : int, about how many rows a replicate has
    """

    def __init__(self, params: Params, numbers: Numbers, model: GaussianModel, n_rows: int) -> None:
        self.params, self.numbers, self.model = params, numbers, model
        plain = isinstance(model.remedy, RegCovar) and model.family.free
        special = model.hard or model.held.anything or params.noise is not None
        self.batched = plain and not special and n_rows < LARGE
        self.tol = NATS / n_rows

    def __call__(self, sets: list[Rows]) -> tuple[Array, NDArray[np.object_]]:
        """Return the numbers (G, P) of the fits to sets of rows, and the status (G,) of each."""
        fitted = self.fit_at_once(sets) if self.batched else [self.fit_one(rows) for rows in sets]
        vectors = np.stack([self.vector(params) for params, _ in fitted])
        return vectors, np.array([status for _, status in fitted], dtype=object)

    def fit_at_once(self, sets: list[Rows]) -> list[tuple[Params, Status]]:
        """Fit all sets in a call of the kernel."""
        fits = fit_sets(sets, self.params[:4], self.model.remedy, self.tol)
        return [(Params(*parts), status) for *parts, status in zip(*fits.mixtures, fits.status, strict=True)]

    def fit_one(self, rows: Rows) -> tuple[Params, Status]:
        """Fit a set by the EM loop, on all threads."""
        source = ArraySource(rows.X, rows.weight)
        result = iterate(source, self.params, self.model, stop=Stop("change", self.tol), max_iter=MAX_ITER)
        if result.status in (Status.CONVERGED, Status.MAX_ITER):
            try:
                return last_update(source, result, self.model), result.status
            except SingularCovarianceError:
                return result.params, Status.DEGENERATE
        return result.params, result.status

    def vector(self, params: Params) -> Array:
        """Return the numbers of a mixture, with its components in the order of those of the fit."""
        aligned = params.permuted(match_components(params, self.params))
        return self.numbers.join(aligned.shares, aligned.means, aligned.covariances)
