"""The start from a race of short fits to a sample, whose winner is searched from: init_params="auto"."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastem.fitting.degenerate import is_too_narrow
from fastem.fitting.interruption import handing_over
from fastem.fitting.lloyd import run_lloyd, tolerated_shift
from fastem.fitting.loop import iterate
from fastem.fitting.seeds import distinct_sample, draw_seeds, weights_of
from fastem.fitting.starts.beginning import Beginning
from fastem.fitting.starts.kmeans import TOL, from_kmeans
from fastem.fitting.starts.search import Search, search
from fastem.fitting.steps import e_step
from fastem.fitting.stopping import Stop
from fastem.kernels.mixture import HARD, SOFT
from fastem.model.families import COVARIANCES
from fastem.model.matrices import Array, SingularCovarianceError, inverse_triangular
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params, unit_spheres
from fastem.model.result import Result, Status
from fastem.model.rounding import variances_of_rounding
from fastem.passes.scores import score
from fastem.passes.statistics import evaluate, moments, overall
from fastem.sources.blocks import ArraySource, Source, rounding_of
from fastem.sources.parts import agreed

# The race of init_params="auto"; numbers chosen on the sets of tests/sets.py.
RACE_ROWS = 10_000  # rows of its sample: max(RACE_ROWS, 50 K)
RACE_STARTS = 4  # per system of coordinates; fewer on many rows, with which the search does the rest
RACE_LLOYD = 5  # steps of k-means
RACE_TIED = 10  # iterations with one covariance for all components, before each has its own, without a remedy
RACE_ROUNDS = (5, 10, 30)  # iterations of EM; after each round the better half goes on
RACE_TOL = 1e-5


def from_race(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return the statistics of the best of several short fits to a sample, after a search for a better optimum.

    k-means depends on the units of the columns, and no one choice of units serves all data: k-means in raw,
    standardised and whitened coordinates gives labels, EM in the columns' own units fits mixtures from them, and the
    likelihood, which can be compared because all are densities of the same rows (or the objective of the remedy in
    use), decides. Successive halving (Karnin, Koren & Somekh 2013): after each of RACE_ROUNDS the better half goes on.
    Without a remedy a component that collapses, or whose labels have no covariance, puts its fit out of the race; if
    none is left, the start is that of `from_kmeans`. From the winner components move to better places
    (`fastem.fitting.starts.search`), unless covariances are held, by which components are told apart.
    """
    with handing_over(lambda _: None):  # a result of the race is that of a short fit to a sample
        sample = distinct_sample(source, K, rng, RACE_ROWS)
        mine = begin_on_sample(sample, K, model, rng, rounding_of(source))
    found = agreed(source, lambda: mine)  # each process has found one, so that all have drawn the same numbers
    return from_kmeans(source, K, model, rng) if found is None else found


def begin_on_sample(
    sample: ArraySource, K: int, model: GaussianModel, rng: np.random.RandomState, eps: float
) -> Beginning | None:
    """Return the start that a race and a search on a sample find; None if all are out of the race.

    `eps` is the relative rounding of the rows.
    """
    total = overall(sample, (1, sample.n_features, sample.n_features))
    covariance = COVARIANCES["full"].estimate(total, 0.0)[2][0]
    best = run_race(sample, K, model, rng, covariance, eps)
    if best is None:
        return None
    found = search(sample, best, model, covariance) if model.held.precisions is None else Search(best)
    params = found.result.params
    order = np.arange(K) if model.held.anything else np.lexsort(params.means.T[::-1])
    return Beginning(e_step(sample, params.permuted(order), model), found.events(order))


def run_race(
    sample: ArraySource, K: int, model: GaussianModel, rng: np.random.RandomState, covariance: Array, eps: float
) -> Result | None:
    """Return the fit to a sample that wins the race; None if all are out of it.

    `covariance` (D, D) is that of the sample, `eps` the relative rounding of its rows.
    """
    systems = coordinate_systems(sample.X, weights_of(sample), eps)
    entrants = partitions(sample, systems, K, rng)
    runners: Iterable[Params] = contenders(sample, entrants, K, model)
    stop, n_kept = Stop("change", RACE_TOL), len(entrants)
    results: list[Result] = []
    for n_iter in RACE_ROUNDS:
        n_kept, results = -(-n_kept // 2), []
        for params in runners:
            result = iterate(sample, params, model, stop=stop, max_iter=n_iter)
            sound = model.monotone or not is_too_narrow(result, covariance)
            if sound and result.status is not Status.DEGENERATE:  # sorted keeps the first of equals first
                results = sorted([*results, result], key=lambda result: -result.history[-1])[:n_kept]
        runners = [result.params for result in results]
    return results[0] if results else None


def partitions(
    sample: ArraySource, systems: list[Array], K: int, rng: np.random.RandomState
) -> list[NDArray[np.int64]]:
    """Return the partitions that k-means finds from some seeds in each system of coordinates, each once.

    Each is an array of the rows' labels, (N,).
    """
    found: dict[bytes, NDArray[np.int64]] = {}
    n_starts = max(1, min(RACE_STARTS, RACE_ROWS // sample.n_rows))
    for X in systems:
        rows = ArraySource(X, sample.weight)
        tolerated = tolerated_shift(rows, TOL)
        for _ in range(n_starts):
            centres = run_lloyd(rows, draw_seeds(rows, K, rng), tolerated, RACE_LLOYD).centres
            label = score(rows, unit_spheres(centres), label=True, distances=True).label
            _, first, label = np.unique(label, return_index=True, return_inverse=True)
            label = first.argsort().argsort()[label]  # numbered as they appear
            found.setdefault(label.tobytes(), label)
    return list(found.values())


def first_model(model: GaussianModel) -> GaussianModel:
    """Return the model whose M-step makes a mixture of a partition.

    Without a remedy, components with full covariances of their own first share one, for RACE_TIED iterations: it is
    estimated from all rows, so that partitions in different coordinates come to agree before K D^2 parameters fit each
    its own noise. The objective of a remedy sees through that noise.
    """
    tied = replace(model, family=COVARIANCES["tied"])
    sharing = tied.family.storage.form == model.family.storage.form and not model.family.shared
    return tied if sharing and not model.monotone and model.held.precisions is None else model


def contenders(
    sample: ArraySource, entrants: list[NDArray[np.int64]], K: int, model: GaussianModel
) -> Iterator[Params]:
    """Yield the mixtures that enter the race, each made of a partition."""
    family, first = model.family, first_model(model)
    for label in entrants:
        stats = moments(
            sample.X, labels=label, n_components=K, covariance_type=first.family.name, sample_weight=sample.weight
        )
        with contextlib.suppress(SingularCovarianceError):
            params = first.update(stats)
            if first.family != family:
                shared = iterate(sample, params, first, stop=Stop("change", RACE_TOL), max_iter=RACE_TIED).params
                mode = HARD if model.hard else SOFT
                params = model.update(evaluate(sample, shared, family.shape(*shared.means.shape), mode))
            yield params


def coordinate_systems(X: Array, weight: Array, eps: float) -> list[Array]:
    """Return the rows as they are, standardised, and whitened: (N, D), (N, up to D), (N, up to D).

    Standardised rows lack columns that are constant but for rounding (`eps` is that of the rows), whitened rows also
    those of which other columns explain all but rounding.
    """
    D, full = X.shape[1], COVARIANCES["full"]
    total = overall(ArraySource(X, weight), (1, D, D))
    _, mean, covariances = full.estimate(total, 0.0)
    variance, noise = np.diagonal(covariances[0]), variances_of_rounding(total, eps, one_by_one=True)[0]
    kept = np.flatnonzero(variance > noise)
    if not len(kept):
        return [X]
    scale = np.sqrt(variance[kept])
    standard = (X[:, kept] - mean[0, kept]) / scale
    correlation = covariances[0][np.ix_(kept, kept)] / np.outer(scale, scale)
    lower, pivots, rank, _ = lapack.dpstrf(correlation, lower=1, tol=float((noise[kept] / variance[kept]).max()))
    inverse = inverse_triangular(np.tril(lower[:rank, :rank]))
    white = np.einsum("ni,ji->nj", standard[:, pivots[:rank] - 1], inverse)  # BLAS' bits may depend on its threads
    return [X, standard, white]
