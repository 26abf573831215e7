"""Choosing the number of components and the covariance family: information criteria and cross-validation."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem import plot, validate
from fastem._jit import threads
from fastem.covariance import COVARIANCES, SingularCovarianceError, factorise
from fastem.em import climb, evaluate, mean_density, moments
from fastem.estimator import GaussianMixture
from fastem.model import Array, Params, Stats, Status
from fastem.regularize import InverseWishart, Remedy, bind, find_remedy, pooled
from fastem.reseed import principal_axes, split
from fastem.sources import ArraySource, Block, BlockSource, Source, cumulated, extent, rows_at_once
from fastem.stopping import Stop
from fastem.streams import find_source

SOUND = (Status.CONVERGED.name, Status.MAX_ITER.name)  # of fits that may be chosen
COLLAPSED = "COLLAPSED"  # a mixture whose likelihood only `reg_covar` bounds
NARROW = 0.01  # share of the variance of all rows at which a variance of `reg_covar` is a spike

SAMPLE_ROWS = 10_000  # starts are compared on max(SAMPLE_ROWS, 50 K) rows at most
MAX_SPLITS = 10  # components that are tried
SPLIT_STEPS = 5  # iterations, by which their halves are compared


class Candidate(NamedTuple):
    """A row of `Selection.table_`; numbers that could not be had are NaN.

    Attributes
    ----------
    covariance_type : str
    n_components : int
    log_likelihood : float, mean of all rows under the fit to all rows
    n_parameters : float, free parameters of the mixture
    bic, aic, icl : float, the smaller the better
    train, train_error : float, mean log-likelihood of the rows fitted to, over the folds, and its standard error
    test, test_error : float, the same of the rows held out
    status : str, the name of a `fastem.Status`, or "COLLAPSED"
    n_iter : int, passes over all rows of the fit to them
    seconds : float, that all fits of the candidate took
    """

    covariance_type: str
    n_components: int
    log_likelihood: float = np.nan
    n_parameters: float = np.nan
    bic: float = np.nan
    aic: float = np.nan
    icl: float = np.nan
    train: float = np.nan
    train_error: float = np.nan
    test: float = np.nan
    test_error: float = np.nan
    status: str = Status.CONVERGED.name
    n_iter: int = 0
    seconds: float = 0.0


OF_FOLDS = ("train", "train_error", "test", "test_error")
CRITERIA: dict[str, Callable[[Candidate], float]] = {  # the smaller the better
    "bic": lambda candidate: candidate.bic,
    "aic": lambda candidate: candidate.aic,
    "icl": lambda candidate: candidate.icl,
    "cv": lambda candidate: -candidate.test,
}


@dataclass
class Selection:
    """What `select` found out.

    Parameters
    ----------
    criterion : str, what it was asked to choose by

    Attributes
    ----------
    candidates : list of Candidate, in the order of the fits
    models : dict of GaussianMixture, by (covariance_type, n_components): the fits to all rows
    best_ : GaussianMixture, the best of these; ValueError if no fit is sound
    best_params_ : dict, its covariance_type and n_components
    table_ : pandas.DataFrame, the candidates (without pandas a structured array with the same names)
    """

    criterion: str
    candidates: list[Candidate] = field(default_factory=list, repr=False)
    models: dict[tuple[str, int], GaussianMixture] = field(default_factory=dict, repr=False)

    def ranked(self) -> list[Candidate]:
        """The candidates whose fits are sound, the best first."""
        sound = (candidate for candidate in self.candidates if candidate.status in SOUND)
        return sorted(sound, key=CRITERIA[self.criterion])

    @property
    def best_params_(self) -> dict[str, Any]:
        """See the class."""
        for best in self.ranked():
            return {"covariance_type": best.covariance_type, "n_components": best.n_components}
        raise ValueError(
            f"none of {len(self.candidates)} candidates has a sound fit: see the status in table_, and try fewer "
            "components, other covariance types or a regularization"
        )

    @property
    def best_(self) -> GaussianMixture:
        """See the class."""
        best = self.best_params_
        return self.models[best["covariance_type"], best["n_components"]]

    @property
    def columns(self) -> list[str]:
        """Names of the table's columns: those of the folds only if there are any."""
        return [name for name in Candidate._fields if self.criterion == "cv" or name not in OF_FOLDS]

    @property
    def table_(self) -> Any:
        """See the class."""
        columns = {name: [getattr(one, name) for one in self.candidates] for name in self.columns}
        try:
            import pandas  # a quarter of a second, and not required
        except ImportError:
            kinds = [(name, np.array(column).dtype) for name, column in columns.items()]
            return np.array(list(zip(*columns.values(), strict=True)), dtype=kinds)
        return pandas.DataFrame(columns)

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the criterion against the number of components: see `fastem.plot.plot_selection`."""
        return plot.plot_selection(self, ax=ax)


class SelectionInterrupted(KeyboardInterrupt):
    """Ctrl-C during `select`.

    Attributes
    ----------
    selection : Selection, of the candidates that were done
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        super().__init__("the selection was interrupted; .selection holds the candidates that were done")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.selection,)


def select(
    X: Any,
    n_components: int | Iterable[int] = range(1, 11),
    covariance_types: str | Sequence[str] = tuple(COVARIANCES),
    *,
    criterion: str = "bic",
    cv: int | ArrayLike = 5,
    labels: Mapping[int, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    random_state: Any = None,
    stop: str = "change",
    callback: Callable[[int, int, Candidate], Any] | None = None,
    **options: Any,
) -> Selection:
    """Fit mixtures of many sizes and covariance types, and choose one.

    Each fit is the better of two: from the start that `init_params` asks for, and, where one with a component less has
    been fitted, from that with a component split in two (of up to ten splits the best, in short fits). If there are
    more than max(10,000, 50 K) rows the two are fits to a sample of as many, and the better goes on with all rows.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
    n_components : int or iterable of int, default 1 to 10
    covariance_types : str or sequence of str, default all
    criterion : {"bic", "aic", "icl", "cv"}, default "bic"
        Bayesian information criterion -2 L + p log n; Akaike's -2 L + 2 p; integrated complete likelihood
        -2 C + p log n, where rows between components count against a mixture; or cross-validation, by the mean
        log-likelihood of rows held out. (L is the log-likelihood, C that of the rows and their most probable
        components, p the number of free parameters, n the sum of weights)
    cv : int or (N,) array-like of int, default 5
        for "cv": the number of folds, which rows are dealt out to at random, or the fold of each row. A fold's fits
        see nothing of its rows: they do not start from the fit to all rows. Rows in memory are copied, one fold's at
        a time, others are read as often as without folds, with weights 0
    labels : mapping from the number of components to (N,) array-like of int in 0..K-1, optional
        fits start from these partitions of the rows, as mclust's from hierarchical clustering, and from nothing else
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it
    random_state : int, RandomState or None, default None
        all fits have the same seed
    stop : {"change", "aitken", "parameters"}, default "change"
        the `criterion` of `GaussianMixture`, by which a fit has converged. With the default `tol` a fit may end 1e-3
        per row and more below its maximum, and criteria that are closer than that (times 2 N) do not tell. Where they
        are, ``stop="aitken", tol=0.1, max_iter=1000`` goes on until log-likelihoods of all rows are right to about 0.1
    callback : called as ``callback(done, total, candidate)`` after each candidate; True ends the selection with those
        that are done
    **options
        of `GaussianMixture`: regularization, n_init, init_params, tol, max_iter, noise, n_threads, ...

    Returns
    -------
    Selection
        Fits that are not sound are in its table, with their status, and not chosen: those that ended with another
        status than CONVERGED and MAX_ITER, or, without a `regularization`, with a component on few rows or on rows
        that share a value, whose likelihood only reg_covar bounds ("COLLAPSED")

    Raises
    ------
    ValueError
        for parameters or data that cannot be used
    SelectionInterrupted
        (a KeyboardInterrupt) on Ctrl-C, with the candidates that are done as ``.selection``
    SourceError
        (an OSError) if rows that are read anew on each pass cannot be

    References
    ----------
    BIC: Schwarz (1978), Ann. Stat. 6, 461-464. AIC: Akaike (1974), IEEE Trans. Autom. Control 19, 716-723. ICL:
    Biernacki, Celeux & Govaert (2000), IEEE Trans. Pattern Anal. Mach. Intell. 22, 719-725, section 3.3. Held-out
    likelihood: Smyth (2000), Stat. Comput. 10, 63-72. Splits: Ueda, Nakano, Ghahramani & Hinton (2000), Neural
    Comput. 12, 2109-2128.

    Examples
    --------
    >>> import fastem
    >>> X, _ = fastem.load_faithful()
    >>> found = fastem.select(X, range(1, 7), ("full", "tied"), regularization="map", tol=1e-6, random_state=0)
    >>> found.best_params_, round(found.best_.bic(X), 1)
    ({'covariance_type': 'tied', 'n_components': 3}, 2314.5)
    """
    names = [covariance_types] if isinstance(covariance_types, str) else list(covariance_types)
    sizes = sorted(set(n_components)) if isinstance(n_components, Iterable) else [n_components]
    seed = _seed(random_state)
    models = [
        GaussianMixture(K, covariance_type=name, random_state=seed, criterion=stop, **options)
        for K in sizes
        for name in names
    ]
    _check(criterion, models)
    source = find_source(X, sample_weight, min_rows=2)
    rows = Rows(source, None if labels is None else _partitions(labels, sizes, source.n_rows))
    parts = [Part(rows)]
    if criterion == "cv":
        number = _folds(cv, source.n_rows, seed)
        parts += [Part(rows, number != fold) for fold in np.unique(number)]
    selection = Selection(criterion)
    try:
        with threads(options.get("n_threads")):
            for model in models:
                candidate, fitted = examine(model, parts)
                selection.candidates.append(candidate)
                selection.models[candidate.covariance_type, candidate.n_components] = fitted
                if callback is not None and callback(len(selection.candidates), len(models), candidate):
                    break
    except KeyboardInterrupt as interrupt:
        raise SelectionInterrupted(selection) from interrupt
    return selection


class Fit(NamedTuple):
    """A mixture fitted to rows.

    Attributes
    ----------
    model : GaussianMixture, without parameters if there was no start
    stats : Stats, of the rows under it, or None
    status : str, as in `Candidate`
    """

    model: GaussianMixture
    stats: Stats | None
    status: str

    @property
    def rank(self) -> tuple[bool, int, float]:
        """Order of fits to the same rows, as that of restarts: sound ones first, by the bound."""
        if self.stats is None:
            return False, 0, -np.inf
        return self.status in SOUND, len(self.stats.s0), self.model.lower_bound_


class Rows(NamedTuple):
    """A source, and partitions of its rows to start from, by the number of components."""

    source: Source
    labels: dict[int, NDArray[Any]] | None

    def part(self, keep: NDArray[np.bool_]) -> Rows:
        """Those of its rows that are to be kept: a copy if they are in memory, else all, with weight 0 for others."""
        source, labels = self
        if isinstance(source, ArraySource) and not isinstance(source.X, np.memmap):
            weight = None if source.weight is None else source.weight[keep]
            own = labels and {K: label[keep] for K, label in labels.items()}
            return Rows(ArraySource(source.X[keep], weight, source.columns), own)
        if not isinstance(source, BlockSource):
            raise ValueError(f"criterion='cv' needs rows that come block by block; got a {type(source).__name__}")
        return Rows(Masked(source, keep), labels)


class Masked(BlockSource):
    """A source with weight 0 for the rows that are not to be kept."""

    def __init__(self, source: BlockSource, keep: NDArray[np.bool_]) -> None:
        self.source, self.keep, self.n_features = source, keep, source.n_features
        self.dtype, self.columns = source.dtype, source.columns
        self._sum_w: float | None = None

    @property
    def n_rows(self) -> int:
        """See Source."""
        return self.source.n_rows

    @property
    def sum_w(self) -> float:
        """See BlockSource."""
        if self._sum_w is None:
            self._sum_w = 0.0
            for block in self.blocks(rows_at_once(self.n_features)):
                self._sum_w = float(cumulated(self._sum_w, np.asarray(block.weight))[-1])
        return self._sum_w

    def at_once(self, rows: int, grain: int) -> int:
        """See BlockSource."""
        return self.source.at_once(rows, grain)

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """See BlockSource."""
        with closing(self.source.blocks(rows)) as blocks:
            for block in blocks:
                kept = self.keep[block.start : block.start + len(block.X)].astype(np.float64)
                yield block._replace(weight=kept if block.weight is None else kept * block.weight)


@dataclass
class Part:
    """Rows to fit to, all or all but a fold, and the last fit to them of each covariance type."""

    rows: Rows
    keep: NDArray[np.bool_] | None = None
    before: dict[str, Fit] = field(default_factory=dict)

    def fit(self, model: GaussianMixture) -> tuple[Fit, float]:
        """The best fit, and the mean log-likelihood of the rows that are held out."""
        rows = self.rows if self.keep is None else self.rows.part(self.keep)
        fit = best_fit(model, rows, self.before.get(model.covariance_type))
        self.before[model.covariance_type] = fit
        if self.keep is None or fit.status not in SOUND:
            return fit, np.nan
        return fit, mean_density(self.rows.part(~self.keep).source, fit.model.params_)[0]


def examine(model: GaussianMixture, parts: list[Part]) -> tuple[Candidate, GaussianMixture]:
    """The row of the table for a mixture, and its fit to all rows, the first of the parts."""
    since = time.perf_counter()
    fit, _ = parts[0].fit(model)
    found, status, pairs = criteria(fit), fit.status, []
    for part in parts[1:]:
        if status in SOUND:
            one, test = part.fit(model)
            status = one.status
            pairs.append((one.stats.loglik / one.stats.sum_w if one.stats else np.nan, test))
    if pairs and status in SOUND:
        means, errors = np.mean(pairs, axis=0), np.std(pairs, axis=0, ddof=1) / math.sqrt(len(pairs))
        found |= zip(OF_FOLDS, map(float, (means[0], errors[0], means[1], errors[1])), strict=True)
    seconds, n_iter = time.perf_counter() - since, getattr(fit.model, "n_iter_", 0)
    name, K = model.covariance_type, model.n_components
    return Candidate(name, K, **found, status=status, n_iter=n_iter, seconds=seconds), fit.model


def criteria(fit: Fit) -> dict[str, Any]:
    """The columns of the table that a fit to all rows gives."""
    if fit.stats is None:
        return {}
    loglik, n, p = fit.stats.loglik, fit.stats.sum_w, fit.model._n_parameters()
    return dict(
        log_likelihood=loglik / n,
        n_parameters=p,
        bic=-2 * loglik + p * math.log(n),
        aic=-2 * loglik + 2 * p,
        icl=-2 * fit.stats.class_loglik + p * math.log(n),
    )


def best_fit(model: GaussianMixture, rows: Rows, before: Fit | None) -> Fit:
    """The fit from the best start; `before` is that with a component less.

    With labels it is the one that they make. Else, if there are more than max(SAMPLE_ROWS, 50 K) rows, fits to a sample
    of as many compete, and the winner goes on with all.
    """
    (source, labels), K = rows, model.n_components
    few = max(SAMPLE_ROWS, 50 * K)
    if extent(source).n_present < K:
        return Fit(model, None, Status.TOO_FEW_ROWS.name)
    if labels is not None:
        try:
            return attempt(model, source, of_labels(model, source, labels[K]))
        except SingularCovarianceError:
            return Fit(model, None, Status.DEGENERATE.name)
    if source.n_rows <= few:
        return winner(model, source, before)
    sample = ArraySource(*source.sample(few, np.random.RandomState(model.random_state)))
    fit = winner(model, sample, before)
    return attempt(model, source, fit.model.params_ if fit.status in SOUND else None)


def winner(model: GaussianMixture, source: Source, before: Fit | None) -> Fit:
    """The better of the fits from the model's own start and from a split of one with a component less."""
    own = attempt(model, source)
    if before is None or before.stats is None or len(before.stats.s0) != model.n_components - 1:
        return own
    start = best_split(before, source)
    return own if start is None else max(own, attempt(model, source, start), key=lambda fit: fit.rank)


def attempt(model: GaussianMixture, source: Source, start: Params | None = None) -> Fit:
    """A copy of a model, fitted, from its own start or the one given."""
    own = model.get_params()
    fitted = GaussianMixture(**own)
    if start is not None:
        inverse = start.factor.swapaxes(-1, -2) @ start.factor if model._family().matrices else start.factor**2
        fitted.set_params(
            n_init=1,
            weights_init=start.weights / start.weights.sum(),
            means_init=start.means,
            precisions_init=inverse.reshape(model._family().natural_shape(*start.means.shape)),
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted.fit(source)
    except SingularCovarianceError:
        return Fit(model, None, Status.DEGENERATE.name)
    fitted.set_params(**own)
    stats = evaluate(source, fitted.params_)
    return Fit(fitted, stats, COLLAPSED if collapsed(fitted, stats) else getattr(fitted.status_, "name", ""))


def collapsed(model: GaussianMixture, stats: Stats) -> bool:
    """Whether, without a remedy, a component is a spike: in a direction its variance is little but `reg_covar`.

    That is where all rows are spread much more. Components of few rows, or of rows that share a value, are such.
    """
    if model.regularization is not None:
        return False
    family, covariances = model._family(), model.params_.covariances
    whole = family.estimate(pooled(stats), 0.0)[2][0]
    values, spread = covariances[:, 0], whole[0]
    if family.matrices:
        values, vectors = np.linalg.eigh(covariances)
        spread = np.einsum("kij,il,klj->kj", vectors, whole, vectors)
    return bool(((values <= 2 * model.reg_covar) & (values <= NARROW * spread)).any())


def of_labels(model: GaussianMixture, source: Source, labels: NDArray[Any]) -> Params:
    """The start that a partition of the rows makes."""
    stats = moments(source, labels=labels, n_components=model.n_components, covariance=model.covariance_type)
    return bind(model._family(), _remedy(model), lambda: pooled(stats))(stats)


def best_split(fit: Fit, source: Source) -> Params | None:
    """A fit's mixture with a component split in two: the best of several, by short fits."""
    model, params, stats = fit.model, fit.model.params_, fit.stats
    assert stats is not None
    family, remedy = model._family(), _remedy(model)
    m_step = replace(bind(family, InverseWishart(), lambda: pooled(stats)), remedy=remedy)  # units in any case
    axes = principal_axes(m_step, params)
    donors = np.argsort(-stats.s0 * m_step.units.lengths(axes) ** 2, kind="stable")[:MAX_SPLITS]
    results = []
    for donor in donors:
        with contextlib.suppress(SingularCovarianceError):
            start = m_step.feasible(halved(params, int(donor), axes[donor], family.shared))
            results.append(climb(source, start, m_step, stop=Stop("change", 0.0), max_iter=SPLIT_STEPS))
    sound = [result for result in results if result.status is not Status.DEGENERATE]
    return max(sound, key=lambda result: result.history[-1]).params if sound else None


def halved(params: Params, donor: int, axis: Array, shared: bool) -> Params:
    """The mixture with a component more, the last: half of the donor, cut across `axis` (D,)."""
    every = [*range(len(params.means)), donor]
    weights, covariances = params.weights[every], params.covariances if shared else params.covariances[every]
    weights[-1] = 0.0  # until it has half of the donor's
    grown = Params(weights, params.means[every], covariances, covariances, params.noise)
    parts = split(grown, donor, len(every) - 1, axis)
    return parts._replace(factor=factorise(parts.covariances))


def _remedy(model: GaussianMixture) -> Remedy:
    return find_remedy(model.regularization, model.reg_covar if model.regularization is None else 0.0)


# --- arguments ----------------------------------------------------------------------------------------------------


def _check(criterion: Any, models: list[GaussianMixture]) -> None:
    if not isinstance(criterion, str) or criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}; got {criterion!r}")
    if not models:
        raise ValueError("select needs at least one number of components and one covariance type")
    for model in models:
        validate.check_constructor(model)


def _seed(random_state: Any) -> int:
    """The seed that all fits have: an int itself, else a number drawn."""
    rng = validate.check_random_state(random_state)
    return int(random_state) if isinstance(random_state, (int, np.integer)) else int(rng.randint(2**31))


def _folds(cv: Any, N: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, (N,)."""
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool) and 2 <= cv <= N:
        return np.random.RandomState(seed).permutation(N) % int(cv)
    folds = np.asarray(cv)
    if folds.dtype.kind not in "iu" or folds.shape != (N,) or len(np.unique(folds)) < 2:
        raise ValueError(
            f"cv must be an int in [2, {N}], or the fold of each of the {N} rows, integers of two values or more; got "
            f"{cv!r:.60}"
        )
    return folds


def _partitions(labels: Mapping[int, ArrayLike], sizes: Sequence[int], N: int) -> dict[int, NDArray[Any]]:
    """Checked labels, (N,), of each number of components."""
    missing = [K for K in sizes if K not in labels]
    if missing:
        raise ValueError(f"labels must have an entry for each number of components; there is none for {missing[0]}")
    return {K: validate.check_labels(labels[K], N, K)[0] for K in sizes}
