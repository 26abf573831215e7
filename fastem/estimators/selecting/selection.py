"""Choose numbers of components and factors, and the covariance family, by criteria or cross-validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem import plot
from fastem.estimators.criteria import aic, bic
from fastem.estimators.factors.training import check_n_factors
from fastem.estimators.selecting.best import SOUND, Fit, Mixture, best_fit
from fastem.estimators.selecting.folds import Rows, checked, deal
from fastem.estimators.selecting.mixtures import make_mixtures, type_of
from fastem.estimators.state import count_parameters
from fastem.fitting.report import text_table
from fastem.kernels.jit import threads
from fastem.model.checks import check_random_state
from fastem.model.families import PLAIN
from fastem.model.remedies.table import unit_free
from fastem.model.result import Status
from fastem.passes.scores import mean_density
from fastem.sources.labels import is_labelled
from fastem.sources.opening import find_source


class Candidate(NamedTuple):
    """A row of `Selection.table_`. Numbers that could not be computed are NaN.

    Attributes
    ----------
    covariance_type : str
    n_components : int
    n_factors : int, 0 for a mixture without factors
    log_likelihood : float, the mean log-likelihood of all rows under the fit to all rows
    n_parameters : float, the number of free parameters of the mixture
    bic, aic, icl : float, criteria of the fit to all rows, the smaller the better
    train, train_error : float
        the mean over the folds of the mean log-likelihood of the rows fitted to, and its standard error
    test, test_error : float, the same for the rows held out
    status : str, the name of a `fastem.Status`, or "SPIKE"
    n_iter : int, the number of passes of the fit to all rows
    seconds : float, the time that all fits of the candidate took
    """

    covariance_type: str
    n_components: int
    n_factors: int = 0
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

    @property
    def params(self) -> dict[str, Any]:
        """What tells the candidate from others: covariance_type, n_components and, if there are factors, n_factors."""
        own = {"covariance_type": self.covariance_type, "n_components": self.n_components}
        return own | ({"n_factors": self.n_factors} if self.n_factors else {})


OF_FOLDS = ("train", "train_error", "test", "test_error")
CRITERIA: dict[str, Callable[[Candidate], float]] = {  # the smaller the better
    "bic": lambda candidate: candidate.bic,
    "aic": lambda candidate: candidate.aic,
    "icl": lambda candidate: candidate.icl,
    "cv": lambda candidate: -candidate.test,
}


@dataclass
class Selection:
    """The candidates that `select` has fitted, and the best of them.

    Parameters
    ----------
    criterion : str, what `select` was asked to choose by

    Attributes
    ----------
    candidates : list of Candidate, in the order of the fits
    models : dict of GaussianMixture or FactorMixture
        the fits to all rows by (covariance_type, n_components), those with factors by (covariance_type, n_components,
        n_factors)
    best_ : GaussianMixture or FactorMixture, the best of these; a ValueError if no fit is sound
    best_params_ : dict, its covariance_type, n_components and, if it has factors, n_factors
    table_ : pandas.DataFrame
        the candidates; without pandas a structured array with the same names. It has a column n_factors only if there
        are mixtures of factor analysers

    See Also
    --------
    select : makes it
    fastem.plot.plot_selection : draw the criterion
    """

    criterion: str
    candidates: list[Candidate] = field(default_factory=list, repr=False)
    models: dict[tuple[Any, ...], Mixture] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        best = f"the best by {self.criterion} {self.best_params_}" if self.ranked() else "none with a sound fit"
        return f"<{len(self.candidates)} candidates, {best}>"

    def __str__(self) -> str:
        """Return the candidates as a table, the best first and those without a sound fit last."""
        order = [*self.ranked(), *(one for one in self.candidates if one.status not in SOUND)]
        cells = [[getattr(one, name) for name in self.columns] for one in order]
        rows = [[f"{cell:.7g}" if isinstance(cell, float) else str(cell) for cell in row] for row in cells]
        return "\n".join([repr(self)[1:-1], *text_table(self.columns, rows)])

    def ranked(self) -> list[Candidate]:
        """Return the candidates whose fits are sound, the best first."""
        sound = (candidate for candidate in self.candidates if candidate.status in SOUND)
        return sorted(sound, key=CRITERIA[self.criterion])

    @property
    def best_params_(self) -> dict[str, Any]:
        """The covariance_type, n_components and n_factors of the best; a ValueError if no fit is sound."""
        for best in self.ranked():
            return best.params
        raise ValueError(
            f"none of {len(self.candidates)} candidates has a sound fit: see the status in table_, and try fewer "
            "components, other covariance types or a regularization"
        )

    @property
    def best_(self) -> Mixture:
        """The fit of the best candidate to all rows; a ValueError if no fit is sound."""
        return self.models[*self.best_params_.values()]

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns, with those of folds and factors only if there are any."""
        without = set() if self.criterion == "cv" else {*OF_FOLDS}
        if not any(one.n_factors for one in self.candidates):
            without.add("n_factors")
        return [name for name in Candidate._fields if name not in without]

    @property
    def table_(self) -> Any:
        """The candidates as a pandas.DataFrame, or without pandas as a structured array."""
        columns = {name: [getattr(one, name) for one in self.candidates] for name in self.columns}
        try:
            import pandas  # a quarter of a second, and not required
        except ImportError:
            kinds = [(name, np.array(column).dtype) for name, column in columns.items()]
            return np.array(list(zip(*columns.values(), strict=True)), dtype=kinds)
        return pandas.DataFrame(columns)

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the criterion against the number of components, as `fastem.plot.plot_selection` does.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            where to draw. Default: the only axes of a new figure

        Returns
        -------
        matplotlib Axes
        """
        return plot.plot_selection(self, ax=ax)


class SelectionInterrupted(KeyboardInterrupt):
    """A KeyboardInterrupt that `select` raises on Ctrl-C.

    Attributes
    ----------
    selection : Selection, of the candidates that were done

    See Also
    --------
    select : raises it
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        super().__init__("the selection was interrupted; .selection holds the candidates that were done")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.selection,)


def select(
    X: Any,
    n_components: int | Iterable[int] = range(1, 11),
    covariance_types: str | Sequence[str] = PLAIN,
    *,
    n_factors: int | Iterable[int] | None = None,
    criterion: str = "bic",
    cv: int | ArrayLike = 5,
    partitions: Mapping[int, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    random_state: Any = None,
    init_params: str = "auto",
    stop: str = "change",
    callback: Callable[[int, int, Candidate], Any] | None = None,
    **options: Any,
) -> Selection:
    """Fit mixtures of many sizes and covariance types, and choose one.

    Each fit is the better of two. One starts where `init_params` says. The other starts from the fit with one
    component less, if there is one, whose components are split in two one at a time; the best of up to ten splits is
    chosen by short fits. If there are more than max(10,000, 50 K) rows, the two are fitted to a sample of so many, and
    the better one is then fitted to all rows.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
    n_components : int or iterable of int, default 1 to 10
        numbers of components, K
    covariance_types : str or sequence of str
        "mclust" stands for the fourteen families of mclust, from "EII" to "VVV". Default: "full", "tied", "diag",
        "spherical", "tied_diag", "tied_spherical". "factor", "factor_shared" and "factor_isotropic" are mixtures of
        factor analysers (`FactorMixture`), with noise="each", "shared" and "isotropic"
    n_factors : int or iterable of int, optional
        numbers of factors, for "factor" and its like: each is tried with each number of components
    criterion : {"bic", "aic", "icl", "cv"}, default "bic"
        what to choose by. "bic" is the Bayesian information criterion -2 L + p log n; "aic" is Akaike's, -2 L + 2 p;
        "icl" is the integrated complete likelihood, -2 C + p log n, where rows between components count against a
        mixture; "cv" is cross-validation, by the mean log-likelihood of rows held out. (L is the log-likelihood of the
        rows, C that of the rows and their most probable components, p the number of free parameters, n the sum of
        weights)
    cv : int or (N,) array-like of int, default 5
        with "cv", the number of folds that rows are dealt out to at random, or the fold of each row. The fits of a
        fold see nothing of its rows: they do not start from the fit to all rows. Rows in memory are copied, one fold's
        at a time; other rows are read as often as without folds, and have weight 0
    partitions : mapping from the number of components, K, to (N,) array-like of int in 0..K-1, optional
        partitions of the rows that fits start from, and from nothing else, as mclust starts from hierarchical
        clustering. Default: the two starts above
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
    random_state : int, RandomState or None, default None
        the seed, which all fits share
    init_params : str, default "auto"
        the start, as in `GaussianMixture`, whose default is "kmeans". The search of "auto" finds what splits of the
        smaller fit do not: on mixtures of ten components that touch, 1e-3 nats per row
    stop : {"change", "aitken", "parameters"}, default "change"
        when a fit has converged, as in `GaussianMixture`. With the default `tol` a fit may end 1e-3 per row and more
        below its maximum, so that criteria that are closer than that (times 2 N) decide nothing. If they are,
        ``stop="aitken", tol=0.1, max_iter=1000`` goes on until log-likelihoods of all rows are right to about 0.1
    callback : function, optional
        is called as ``callback(done, total, candidate)`` after each candidate. If it returns True, the selection ends
        with the candidates that are done
    **options
        options of `GaussianMixture`: n_init, tol, max_iter, noise, n_threads, ..., and regularization or
        reg_covar. By default (but with solver="lbfgs") there is no reg_covar, since it has a unit: covariances have a
        floor of 1e-10 of the covariance of all rows, `fastem.EigenvalueFloor(1e-10)`. Mixtures of factor analysers take
        the options of `FactorMixture`, whose defaults of solver, tol and max_iter are others

    Returns
    -------
    Selection
        Fits that are not sound are in its table, with their status, and are not chosen. These are fits that ended with
        another status than CONVERGED and MAX_ITER, and fits with a component on few rows or on rows that share a value,
        whose likelihood is bounded only by reg_covar or a floor ("SPIKE")

    Raises
    ------
    ValueError
        for parameters or data that cannot be used
    SelectionInterrupted
        (a KeyboardInterrupt) on Ctrl-C, with the candidates that are done as ``.selection``
    SourceError
        (an OSError) if rows cannot be read on a later pass

    See Also
    --------
    GaussianMixture.bic, GaussianMixture.aic : the criteria of one mixture
    GaussianMixture.merge : join components that overlap to clusters
    FactorMixture : mixtures of factor analysers

    References
    ----------
    BIC: Schwarz (1978), Ann. Stat. 6, 461-464. AIC: Akaike (1974), IEEE Trans. Autom. Control 19, 716-723. ICL:
    Biernacki, Celeux & Govaert (2000), IEEE Trans. Pattern Anal. Mach. Intell. 22, 719-725, section 3.3. Held-out
    likelihood: Smyth (2000), Stat. Comput. 10, 63-72. Splits: Ueda, Nakano, Ghahramani & Hinton (2000), Neural
    Comput. 12, 2109-2128. Factors: McLachlan, Peel & Bean (2003), Comput. Stat. Data Anal. 41, 379-388.

    Examples
    --------
    >>> import fastem
    >>> X, _ = fastem.load_faithful()
    >>> found = fastem.select(X, range(1, 6), ("full", "tied"), regularization="map", tol=1e-6, random_state=0)
    >>> found.best_params_, round(found.best_.bic(X), 1)
    ({'covariance_type': 'tied', 'n_components': 3}, 2314.5)

    The number of components and of factors, together:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([mean + rng.normal(size=(200, 2)) @ rng.normal(size=(2, 8)) for mean in (0, 4)])
    >>> X += 0.5 * rng.normal(size=X.shape)
    >>> fastem.select(X, range(1, 4), "factor", n_factors=range(1, 4), random_state=0).best_params_
    {'covariance_type': 'factor', 'n_components': 2, 'n_factors': 2}
    """
    if not isinstance(criterion, str) or criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}; got {criterion!r}")
    seed = _seed(random_state)
    if options.get("solver", "em") != "lbfgs":  # which has reg_covar alone
        options |= unit_free(options.pop("reg_covar", None), options.pop("regularization", None))
    options |= {"random_state": seed, "init_params": init_params, "stop": stop}
    models = make_mixtures(n_components, covariance_types, n_factors, options)
    source = find_source(X, sample_weight, min_rows=2, missing=bool(options.get("missing")))
    for model in models:
        check_n_factors(type_of(model)[1], source)
    if is_labelled(source):
        raise ValueError("select takes no rows of known components: their number would be known as well")
    rows = Rows(source, None if partitions is None else checked(partitions, {model.n_components for model in models}))
    parts = [Fold(rows)]
    if criterion == "cv":
        number = deal(cv, source, seed)
        parts += [Fold(rows, number != fold) for fold in np.unique(number)]
    selection = Selection(criterion)
    try:
        with threads(options.get("n_threads")):
            for model in models:
                candidate, fitted = examine(model, parts)
                selection.candidates.append(candidate)
                selection.models[*candidate.params.values()] = fitted
                if callback is not None and callback(len(selection.candidates), len(models), candidate):
                    break
    except KeyboardInterrupt as interrupt:
        raise SelectionInterrupted(selection) from interrupt
    return selection


@dataclass
class Fold:
    """Rows to fit to, all or all but a fold, and the last fit to them of each covariance type and number of factors."""

    rows: Rows
    keep: NDArray[np.bool_] | None = None
    before: dict[tuple[str, int], Fit] = field(default_factory=dict)

    def fit(self, model: Mixture) -> tuple[Fit, float]:
        """Return the best fit, and the mean log-likelihood of the rows held out; NaN if there are none."""
        rows, like = self.rows if self.keep is None else self.rows.part(self.keep), type_of(model)
        partition = None if rows.partitions is None else rows.partitions[model.n_components]
        fit = self.before[like] = best_fit(model, rows.source, partition, self.before.get(like))
        if self.keep is None or fit.status not in SOUND:
            return fit, np.nan
        return fit, mean_density(self.rows.part(~self.keep).source, fit.model.params_)[0]


def examine(model: Mixture, parts: list[Fold]) -> tuple[Candidate, Mixture]:
    """Return the row of the table for a mixture, and its fit to all rows, the first of the parts."""
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
    name, q = type_of(model)
    return Candidate(name, model.n_components, q, **found, status=status, n_iter=n_iter, seconds=seconds), fit.model


def criteria(fit: Fit) -> dict[str, Any]:
    """Return the columns of the table that follow from a fit to all rows; none if it has no parameters."""
    if fit.stats is None:
        return {}
    loglik, n, p = fit.stats.loglik, fit.stats.sum_w, count_parameters(fit.model)
    return dict(
        log_likelihood=loglik / n,
        n_parameters=p,
        bic=bic(loglik, p, n),
        aic=aic(loglik, p),
        icl=bic(fit.stats.class_loglik, p, n),
    )


def _seed(random_state: Any) -> int:
    """Return the seed that all fits have: an int itself, else a number drawn from the generator."""
    rng = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, (int, np.integer)) else int(rng.randint(2**31))
