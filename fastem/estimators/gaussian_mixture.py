"""`GaussianMixture`: scikit-learn's class, without importing scikit-learn."""

from __future__ import annotations

import copy
import math
import os
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.analysis.align import ORDERS, match_components
from fastem.analysis.montecarlo import draw
from fastem.estimators.by_hand import MATRICES, missing_matrix, upper_factor
from fastem.estimators.fitted import Fitted
from fastem.estimators.parameters import check_constructor, check_state, check_top
from fastem.estimators.protocol import UnavailableError, available_if
from fastem.fitting.degenerate import collapsed_result
from fastem.fitting.loop import Callback
from fastem.fitting.report import NO_FIT, Report, Start
from fastem.fitting.restarts import FitOptions, fit_from_starts, rank
from fastem.fitting.starts.table import Given
from fastem.fitting.steps import last_update, model_for
from fastem.fitting.stepwise import Stepwise
from fastem.fitting.stopping import Stop
from fastem.kernels.jit import threads
from fastem.model.checks import (
    ConvergenceWarning,
    check_fitted,
    check_n_samples,
    check_n_threads,
    check_random_state,
    check_seen,
    exception,
)
from fastem.model.families import Covariance, find_family
from fastem.model.given import (
    check_means,
    check_params,
    check_precisions,
    check_representable,
    check_weights,
    make_params,
)
from fastem.model.matrices import Array, SingularCovarianceError
from fastem.model.maximisation import held_parameters
from fastem.model.params import Noise, Params
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.reg_covar_warning import warn_of_large_reg_covar
from fastem.model.remedies.table import find_remedy
from fastem.model.result import Result, Status
from fastem.passes.scores import Scores, mean_density, score
from fastem.sources.blocks import Source
from fastem.sources.dask_source import lazy_on_dask
from fastem.sources.labels import check_kept
from fastem.sources.opening import find_named, find_source
from fastem.sources.parts import failing_together
from fastem.sources.rows import check_n_features
from fastem.sources.scans import box_of, check_extent, check_known

DID_NOT_CONVERGE = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)

ROWS_PER_PARAMETER = 10  # that given parameters stand for
NOISE_LABEL = -1  # the label of noise
NOISE_START = 0.05  # its share at the start of a fit

OWN_STEPS = "a loop of your own over fastem.accumulate and fastem.m_step"
OWN_START = "weights_init, means_init and precisions_init, or fit(X, labels=...)"
OWN_SCORES = (
    "fit(X, labels=...) for what is known of the rows' components, fixed=('weights',) for weights that are held, "
    "a regularization, or " + OWN_STEPS
)


def check_stream(model: GaussianMixture) -> None:
    """UnavailableError for parameters under which there is no stepwise EM."""
    for name, value in (
        ("regularization", model.regularization),
        ("assignment", None if model.assignment == "soft" else model.assignment),
        ("fixed", model.fixed or None),
    ):
        if value is not None:
            raise UnavailableError(f"partial_fit works with reg_covar alone; got {name}={value!r}")


class GaussianMixture(Fitted):
    """Gaussian mixture fitted by expectation-maximisation; a drop-in for scikit-learn's.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, default "full"
        the last two, which scikit-learn does not have, are one variance per feature and one of all, for all components
    tol : float, default 1e-3
        a fit has converged when what `stop` measures is less
    reg_covar : float, default 1e-6
        added to every variance (in the square of the data's units: a warning tells where it is more than 1 % of a
        column's variance). 0 asks for strict maximum likelihood: a singular start is then an error
    max_iter : int, default 100
    n_init : int, default 1
        starts; the one with the largest lower bound is kept
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        k-means and seeds look at a sample of max(50,000, 50 n_components) rows when there are more. "auto", which
        scikit-learn does not have, is recommended where columns differ in scale or clusters are elongated: many
        k-means starts from raw, standardised and whitened columns compete by likelihood in short fits to a sample
        of max(10,000, 50 n_components) rows; the best is fitted to all. Each of n_init is a competition of its own
    weights_init : (K,) array-like, optional
    means_init : (K, D) array-like, optional
        given alone, each is put to the nearest of the clusters that "kmeans" or "auto" finds (scikit-learn pairs them
        by number)
    precisions_init : array-like, optional
        inverse covariances, in the shape of `precisions_`
    random_state : int, RandomState or None, default None
    warm_start : bool, default False
        continue from the last fit
    verbose : int, default 0
        1 prints the iterations' numbers, 2 also time and change
    verbose_interval : int, default 10
    n_threads : int, optional
        use at most so many threads, in every method; default as many as Numba is set to (NUMBA_NUM_THREADS,
        `numba.set_num_threads`), which is never exceeded. It belongs to the machine: `fastem.save` leaves it out
    regularization : None, "ridge", "map", "floor", "ratio", or a remedy, default None
        what keeps covariances from collapsing, in place of reg_covar (which then counts for nothing): a `fastem.Ridge`,
        `fastem.InverseWishart`, `fastem.EigenvalueFloor` or `fastem.EigenvalueRatio`. Under these no iteration lowers
        the objective (`lower_bounds_` falls only where a component was reseeded or dropped), and a change of a
        feature's unit changes nothing
    on_collapse : {"reseed", "drop"}, default "reseed"
        what becomes, under a `regularization`, of a component that has lost its rows or its rank when the fit has
        converged: it takes half of the component that is spread most, and the fit goes on (if it ends lower than it
        was, it is undone); or it is left out, and the fitted mixture has fewer components. `fit_report_` tells
    stop : {"change", "aitken", "parameters"}, default "change"
        what must fall below `tol`: the change of the mean log-likelihood, scikit-learn's, which may stop early on
        components that overlap; an estimate (no bound) of what the log-likelihood of all rows has yet to gain; or the
        largest change of a parameter, in standard deviations (see `fastem.fitting.stopping`)
    solver : {"em", "lbfgs"}, default "em"
        "lbfgs" maximises the log-likelihood directly, by its gradient (see `fastem.lbfgs`): an iteration costs about as
        much, and where components overlap much fewer are needed. reg_covar then is the variances' lower bound, and
        `regularization`, `assignment`, `fixed` and checkpoints are EM's alone. `lower_bound_` is that of the fitted
        parameters, score(X)
    noise : bool, default False
        one more component, of constant density over the smallest box that holds the data: for outliers, which belong
        to no cluster and would spoil the clusters' means and covariances. `predict` gives them label -1,
        `predict_proba` a last column. The density is that constant outside of the box too
    assignment : {"soft", "hard"}, default "soft"
        "hard" is classification EM: each row belongs, whole, to its most probable component, and the bound is the mean
        classification log-likelihood. It takes fewer iterations and finds the clusters that are most separate, at the
        price of biased parameters where clusters overlap. With covariance_type "tied_spherical" and fixed weights it
        is k-means
    fixed : tuple of names among "weights", "means", "covariances", default ()
        parameters that are held at their given start, weights_init, means_init or precisions_init; "weights" without
        weights_init are equal, 1/K (with `noise`: of what that leaves). The others are estimated given these: the
        covariances, for instance, about means that are held. `bic` and `aic` count free parameters only

    Attributes
    ----------
    weights_ : (K,), with `noise` their sum is 1 - `noise_weight_`
    means_ : (K, D)
    covariances_, precisions_, precisions_cholesky_
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied_diag, () tied_spherical; precision = U U'
        with U = `precisions_cholesky_`. All parameters are float32 if X was, else float64
    converged_ : bool, True for one reason only: `status_` is Status.CONVERGED
    status_ : Status, why the fit ended; None if the parameters were given
    fit_report_ : Report, what happened at which iteration, for every start; to be printed
        components reseeded, dropped or short of rows, falls of the bound under reg_covar, collapse
    n_iter_ : int
    lower_bound_ : float
        mean log-likelihood at the last E-step (before the last M-step, so it is not score(X)), with `regularization`
        plus the log prior's share
    lower_bounds_ : list of float, one per iteration
    noise_weight_ : float, with `noise`
    noise_box_ : (2, D) float64, with `noise`: least and largest values of the features
    n_samples_seen_ : float, the weight of the rows fitted to; of a stream, of all so far
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, if X was a data frame

    Notes
    -----
    Trajectories from the same start equal scikit-learn's. A seed's k-means start need not. With 'k-means++' and
    'random_from_data' the starting weights are 1/K (scikit-learn's do not sum to 1: only ``lower_bounds_[0]``
    differs). The same seed gives the same bits whatever the number of threads and the layout of X.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38; McLachlan & Peel (2000), Finite Mixture Models; noise:
    Banfield & Raftery (1993), Biometrics 49, 803-821, section 4; classification EM: Celeux & Govaert (1992), Comput.
    Stat. Data Anal. 14, 315-332.

    Examples
    --------
    >>> import fastem
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> model.means_[model.means_[:, 0].argsort()].round(2)
    array([[ 2.04, 54.48],
           [ 4.29, 79.97]])
    """

    kind, fitted, weighted = "density_estimator", "weights_", ("fit", "partial_fit", "score")
    hooks: ClassVar[dict[str, str]] = {
        "_check_parameters": "a fit of your own that checks and then calls super().fit",
        "_initialize_parameters": OWN_START,
        "_initialize": OWN_START,
        "_e_step": "fit(X, labels=...) for what is known of the rows' components, or " + OWN_STEPS,
        "_m_step": "fixed=(...) for parameters that are held, a regularization, or " + OWN_STEPS,
        "_compute_lower_bound": "stop",
        "_estimate_log_prob": OWN_SCORES,
        "_estimate_log_weights": OWN_SCORES,
        "_estimate_weighted_log_prob": OWN_SCORES,
        "_estimate_log_prob_resp": OWN_SCORES,
        "_print_verbose_msg_init_beg": "fit(X, callback=...)",
        "_print_verbose_msg_iter_end": "fit(X, callback=...)",
        "_print_verbose_msg_init_end": "fit_report_",
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
        regularization: str | Remedy | None = None,
        on_collapse: str = "reseed",
        stop: str = "change",
        solver: str = "em",
        noise: bool = False,
        assignment: str = "soft",
        fixed: tuple[str, ...] = (),
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads
        self.regularization = regularization
        self.on_collapse = on_collapse
        self.stop = stop
        self.solver = solver
        self.noise = noise
        self.assignment = assignment
        self.fixed = fixed

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        covariance_type: str = "full",
        noise: tuple[float, ArrayLike] | None = None,
        n_samples_seen: float | None = None,
    ) -> Self:
        """A fitted estimator from known parameters, ready to predict, score and sample, and to follow a stream from.

        Parameters
        ----------
        weights : (K,) array-like, sum 1, with that of noise if there is any
        means : (K, D) array-like
        covariances : array-like, in the shape of `covariances_`
        covariance_type : str
        noise : weight and box (2, D) of a component of constant density, optional
        n_samples_seen : float > 0, optional
            how many rows (of weight 1) the mixture stands for in `partial_fit`: the more, the less a block moves it.
            Default: ten for each free parameter

        Raises
        ------
        ValueError
            as `fastem.make_params`, and for an n_samples_seen that is no positive number

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
        >>> model.predict([[1.0], [8.0]])
        array([0, 1])
        """
        params = make_params(weights, means, covariances, covariance_type, noise)
        model = cls(len(params.means), covariance_type=covariance_type, noise=noise is not None)
        model._store(params, np.dtype(np.float64))
        model._record(None, -np.inf, [], 0)
        model.n_samples_seen_ = check_seen(model._seen() if n_samples_seen is None else n_samples_seen)
        return model

    # --- fitting --------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: Any = None,
        callback: Callback | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Estimate the parameters.

        Parameters
        ----------
        X : (N, D) array-like, or pandas or polars frame, or what `fastem.as_source` takes
            float64 and float32 arrays of any layout are read in place; all else is converted to float64. Rows that are
            not in memory (memory maps, Parquet, HDF5, Zarr, functions that yield blocks) are read block by block, anew
            on each pass; the fit has the same bits. Those of Dask collections stay on the workers
        y : ignored, as in scikit-learn, where pipelines and searches pass what they have; labels are `labels`
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it
            weight 2 is the row twice; weight 0 the row absent, to the last bit where such rows come last. Only ratios
            of weights matter, but where rows are counted: twice the weights are twice the rows under the priors of
            regularization "ridge" and "map", by stop="aitken", in `bic`, `aic` and `partial_fit`
        labels : (N,) array-like of int, or (N, K) of bool, or as `fastem.as_source` takes it, optional
            the component of each row, -1 where it is unknown; or the components that each row may belong to, at least
            one. A row's responsibilities are 0 outside of these, and component k is label k. If all are known, the
            fit is one M-step, `n_iter_` is 1: Gaussian discriminant analysis, "full" the quadratic, "tied" the linear
            one, by maximum likelihood (divisors N_k and N). Else it is EM, which starts from the rows with labels,
            whatever `init_params`. `lower_bound_` is the mean of log sum_k weight_k p_k(x), the sum over the
            components of each row. With `noise`, a row may be noise if it may belong to any component
        callback : called as ``callback(iteration, lower_bound, params)`` after each pass
            True ends the fit with Status.INTERRUPTED
        checkpoint : path-like ending in ``.npz``, optional
            a file that the state of the fit is written to, whole or not at all: at once, then at most every 30 s,
            and when the fit ends in any way. Where it is there, the fit goes on from it, and ends with the bits of a
            fit that was never interrupted (on the same kind of machine, with the same version); a finished fit ends
            with its own, at once. Parameters (but verbose, warm_start and n_threads) and rows must be those of the
            first time; but with a larger max_iter, runs that had stopped at the smaller one go on from where they were
            (to the same bits, unless components had been reseeded or dropped before). The generator `random_state` is
            put in the state that it had

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used, labels that leave a component without a row, a singular start,
            a checkpoint that is damaged or of another fit. The estimator is then unchanged
        FitInterrupted
            (a KeyboardInterrupt) on Ctrl-C, with the last complete iteration, or that of a better start before, as
            ``.result``
        SourceError
            (an OSError) if rows that are read anew on each pass cannot be, with the same

        References
        ----------
        Labels: Nigam, McCallum, Thrun & Mitchell (2000), Mach. Learn. 39, 103-134, eqs. 5-7; several allowed: Ambroise
        & Govaert (2000), in: Data Analysis, Classification, and Related Methods, 161-166.

        Examples
        --------
        Two labels of 272 decide which component is which:

        >>> import numpy as np, fastem
        >>> X, _ = fastem.load_faithful()
        >>> labels = np.full(len(X), -1)
        >>> labels[0], labels[1] = 1, 0  # a long eruption, a short one
        >>> fastem.GaussianMixture(2).fit(X, labels=labels).means_.round(1)
        array([[ 2. , 54.5],
               [ 4.3, 80. ]])

        A fit that is stopped, by a callback here, and goes on in what might be another process:

        >>> import os, tempfile
        >>> import fastem
        >>> X, _ = fastem.load_faithful()
        >>> def make():
        ...     return fastem.GaussianMixture(n_components=2, tol=1e-9, max_iter=500, random_state=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = os.path.join(folder, "checkpoint.npz")
        ...     stopped = make().fit(X, callback=lambda iteration, *_: iteration == 5, checkpoint=file)
        ...     resumed = make().fit(X, checkpoint=file)
        >>> stopped.status_.name, stopped.n_iter_, resumed.status_.name
        ('INTERRUPTED', 5, 'CONVERGED')
        >>> resumed.lower_bounds_ == make().fit(X).lower_bounds_
        True
        """
        self._fit(X, sample_weight, callback, checkpoint, labels)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """`fit`, then the most probable component of each row, (N,) int64."""
        source = self._fit(X, sample_weight)
        return self.predict(source)

    @available_if(check_stream)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Follow a stream of blocks of rows: each call is a step of stepwise EM, see `fastem.Stepwise`.

        The first call of all fits its block, for a start. After `fit` the fitted mixture counts for the rows that it
        was fitted to, `n_samples_seen_`; after `from_parameters` or `from_sklearn` for as many as is said there. With
        rows of weight w that come to n_samples_seen_, the step moves the mixture by (w / (w + n_samples_seen_)) ** 0.6
        of the way to what they say, so that one row moves it little. `n_iter_` is the number of steps, `lower_bound_`
        the running mean log-likelihood, `status_` None: a stream does not converge. A pickle and a file of
        `fastem.save` go on where the stream was.

        Parameters
        ----------
        X : (N, D) array-like, or what else `fit` takes; the first time at least n_components rows
        y : ignored
        sample_weight : (N,) array-like, non-negative

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for data that cannot be used, or a component that collapses. The estimator is then as it was before this
            block
        UnavailableError
            (a ValueError and an AttributeError: `hasattr` says that there is no such method) with a `regularization`,
            hard `assignment` or `fixed` parameters
        """
        fitted = hasattr(self, "weights_")
        if not fitted:
            self._fit(X, sample_weight)
        source = self._source(X, sample_weight)
        state = self._stream() if fitted else Stepwise(self.params_, self._family().name, self.reg_covar)
        with threads(check_n_threads(self.n_threads)):
            state = state.partial_fit(source)
        check_representable(state.params, self.means_.dtype)
        self._store(state.params, self.means_.dtype)
        bounds = [*(self.lower_bounds_ if state.n_steps > 1 else ()), state.mean_loglik]
        self._record(None, state.mean_loglik, bounds, state.n_steps)
        assert state.stats is not None
        self._stepwise, self.n_samples_seen_ = state, state.stats.sum_w
        return self

    def _stream(self) -> Stepwise:
        """The state of the stream that `partial_fit` follows; before a first block the mixture, for the rows seen."""
        if "_stepwise" in self.__dict__:
            return replace(self._stepwise, reg_covar=self.reg_covar)
        params, family, seen = self.params_, self._family(), self._seen()
        stats = family.expected(params, seen, self.reg_covar)
        if np.isfinite(self.lower_bound_):  # else nothing is known of it
            stats = replace(stats, loglik=seen * self.lower_bound_)
        return Stepwise(params, family.name, self.reg_covar, stats=stats)

    def _seen(self) -> float:
        """How many rows the mixture stands for."""
        return float(getattr(self, "n_samples_seen_", ROWS_PER_PARAMETER * self._n_parameters()))

    def _fit(
        self,
        X: Any,
        sample_weight: ArrayLike | None,
        callback: Callback | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        labels: Any = None,
    ) -> Source:
        self._check_hooks()
        check_constructor(self)
        if checkpoint is not None and self.solver != "em":
            raise ValueError(f"a checkpoint is a state of EM: it does not work with solver={self.solver!r}")
        source = find_source(X, sample_weight, labels, min_rows=2)
        check_extent(source, self.n_components)
        check_kept(source, self.on_collapse)
        noise = Noise(NOISE_START, box_of(source)) if self.noise else None
        given = self._given(source.n_features, noise)._replace(known=check_known(source, self.n_components))
        warm = self.warm_start and hasattr(self, "converged_")
        if warm:
            self._check_warm(source.n_features)
        before = (self.params_, self.lower_bound_) if warm else None
        with failing_together(source), threads(self.n_threads):
            held = held_parameters(tuple(self.fixed), given.weights, given.means, given.precisions)
            m_step = model_for(source, self.covariance_type, self._remedy(), held, self.assignment)
            results = fit_from_starts(source, m_step, self._options(), given, before, callback, checkpoint)
            kept = max(range(len(results)), key=lambda i: rank(results[i]))  # of equals the first
            best = results[kept]
            params = best.params
            ends_on_m_step = self.solver == "em" and best.status not in (Status.DEGENERATE, Status.DECREASED)
            if best.n_iter and ends_on_m_step:
                try:
                    params = last_update(source, best, m_step)
                except SingularCovarianceError as error:
                    results[kept] = best = collapsed_result(best, error.components)
        self._adopt(params, results, kept, source)
        self.__dict__.pop("feature_names_in_", None)
        if source.columns is not None:
            self.feature_names_in_ = source.columns
        if best.n_iter and self.status_ not in (Status.CONVERGED, Status.INTERRUPTED):
            message = f"{DID_NOT_CONVERGE} {best.status.advice}"
            warnings.warn(message, exception(ConvergenceWarning), stacklevel=3)
        if best.n_iter and self.regularization is None:
            warn_of_large_reg_covar(self.reg_covar, m_step.family, best.stats, stacklevel=3)
        return source

    def _options(self) -> FitOptions:
        return FitOptions(
            n_components=self.n_components,
            init_params=self.init_params,
            n_init=self.n_init,
            solver=self.solver,
            stop=Stop(self.stop, self.tol),
            max_iter=self.max_iter,
            on_collapse=self.on_collapse,
            random_state=self.random_state,
            verbose=self.verbose,
            verbose_interval=self.verbose_interval,
            described=self.get_params(deep=False),
        )

    def _remedy(self) -> Remedy:
        """What keeps covariances from collapsing; beside a `regularization` reg_covar counts for nothing."""
        return find_remedy(self.regularization, self.reg_covar if self.regularization is None else 0.0)

    def _given(self, D: int, noise: Noise | None) -> Given:
        K, covariance = self.n_components, self.covariance_type
        weights = np.full(K, 1 / K) if self.weights_init is None and "weights" in self.fixed else self.weights_init
        return Given(
            None if weights is None else check_weights(weights, K),
            None if self.means_init is None else check_means(self.means_init, K, D),
            None if self.precisions_init is None else check_precisions(self.precisions_init, covariance, K, D),
            noise,
        )

    def _check_warm(self, D: int) -> None:
        """A warm start continues a fit of the same shape."""
        K = self.n_components
        for name, now, before in (
            ("n_components", K, len(self.weights_)),
            ("n_features", D, np.shape(self.means_)[1]),
            ("covariance_type", self.covariance_type, self._family().name),
            ("noise", bool(self.noise), hasattr(self, "noise_box_")),
        ):
            if now != before:
                raise ValueError(
                    f"warm_start=True continues the last fit, but {name} has changed: {before} in that fit, {now} "
                    "now. Set warm_start=False to start anew."
                )

    def _adopt(self, params: Params, results: list[Result], kept: int, source: Source) -> None:
        """Take over the parameters that are made of one of the results.

        All is computed and checked by then: a failed fit leaves the estimator as it was.
        """
        check_representable(params, source.dtype)
        self._store(params, source.dtype)
        self.n_samples_seen_ = source.sum_w
        report, best = Report(tuple(map(Start.of, results)), kept), results[kept]
        interrupted = any(result.status is Status.INTERRUPTED for result in results)
        status = Status.INTERRUPTED if interrupted else best.status
        self._record(status, report.starts[kept].bound, best.history, best.n_iter, report)

    def _family(self) -> Covariance:
        """The family of the fitted parameters, which `set_params(covariance_type=...)` does not change."""
        return find_family(getattr(self, "_fitted_type", self.covariance_type))

    def _store(self, params: Params, dtype: np.dtype[Any]) -> None:
        self._fitted_type = self.covariance_type
        K, D = params.means.shape
        shape = self._family().natural_shape(K, D)
        upper = params.factor.swapaxes(-1, -2) if params.factor.shape[-2] > 1 else params.factor
        self._set_parameters(
            tuple(
                np.asarray(array, dtype=dtype, order="C")
                for array in (
                    params.weights,
                    params.means,
                    params.covariances.reshape(shape),
                    upper.reshape(shape),
                )
            )
        )
        self.n_features_in_ = D
        for name in ("noise_weight_", "noise_box_"):
            self.__dict__.pop(name, None)
        if params.noise is not None:
            self.noise_weight_, self.noise_box_ = params.noise

    def _record(
        self, status: Status | None, bound: float, history: list[float], n_iter: int, report: Report = NO_FIT
    ) -> None:
        self.status_ = status
        self.converged_ = status is Status.CONVERGED
        self.lower_bound_ = bound
        self.lower_bounds_ = history
        self.n_iter_ = n_iter
        self.fit_report_ = report

    # --- using a fit: X is (N, D), or what `fastem.as_source` takes -----------------------------------------------

    @property
    def params_(self) -> Params:
        """The fitted parameters in canonical shape (see `fastem.model`), read from the attributes."""
        check_fitted(self)
        K, D = np.shape(self.means_)
        shape = self._family().shape(K, D)
        upper = np.asarray(self.precisions_cholesky_, dtype=np.float64).reshape(shape)
        params = Params(
            np.asarray(self.weights_, dtype=np.float64),
            np.asarray(self.means_, dtype=np.float64),
            np.asarray(self.covariances_, dtype=np.float64).reshape(shape),
            upper_factor(upper).swapaxes(-1, -2) if shape[-2] > 1 else upper,
            Noise(self.noise_weight_, self.noise_box_) if hasattr(self, "noise_box_") else None,
        )
        return check_params(params)  # they may have been set by hand

    def _source(self, X: Any, sample_weight: Any = None) -> Source:
        check_fitted(self)
        source = find_named(X, getattr(self, "feature_names_in_", None), sample_weight)
        check_n_features(source.n_features, np.shape(self.means_)[1])
        return source

    def _scores(self, source: Source, **wanted: Any) -> Scores:
        params = self.params_
        with threads(check_n_threads(self.n_threads)):
            scores = score(source, params, **wanted)
        if params.noise is not None:
            for index in (scores.label, scores.top_index):
                index[index == len(params.means)] = NOISE_LABEL
        return scores

    @lazy_on_dask
    def predict(self, X: Any) -> NDArray[np.int64]:
        """Most probable component of each row of X (N, D): (N,) int64, -1 for noise. Makes no N x K array.

        X may be what `fastem.as_source` takes; `fastem.write_scores` writes the labels of more rows than fit into
        memory to a file; labels of a Dask collection are a lazy collection. So it is with all scores.
        """
        return self._scores(self._source(X), label=True).label

    @lazy_on_dask
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Responsibilities of the components for each row of X (N, D): (N, K), each row sums to 1.

        With `noise` there are K + 1 columns, the last for that.
        """
        source = self._source(X)
        return self._scores(source, resp=True).resp.astype(source.dtype, copy=False)

    def predict_top(self, X: Any, m: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The m most probable components of each row and their responsibilities. Makes no N x K array.

        Parameters
        ----------
        X : (N, D) array-like
        m : int in [1, K], or K + 1 with `noise`

        Returns
        -------
        indices : (N, m) int64, the most probable component first, of equals the lower index first; -1 for noise
        values : (N, m), their responsibilities: those of `predict_proba`. 1 - values.sum(axis=1) is in the others

        Raises
        ------
        ValueError
            if m is not an int in that range

        Examples
        --------
        >>> import fastem
        >>> means, variances = [[0.0], [1.0], [9.0]], [1.0, 1.0, 1.0]
        >>> model = fastem.GaussianMixture.from_parameters([0.2, 0.3, 0.5], means, variances, "spherical")
        >>> indices, values = model.predict_top([[0.0], [8.0]], 2)
        >>> indices, values.round(3)
        (array([[0, 1],
               [2, 1]]), array([[0.524, 0.476],
               [1.   , 0.   ]]))
        """
        source = self._source(X)
        top = check_top(m, len(self.means_) + hasattr(self, "noise_box_"))
        scores = self._scores(source, top=top)
        return scores.top_index, scores.top_resp.astype(source.dtype, copy=False)

    @lazy_on_dask
    def score_samples(self, X: Any) -> NDArray[Any]:
        """Log density of each row of X (N, D): (N,); -inf where it underflows under every component."""
        source = self._source(X)
        with np.errstate(over="ignore"):  # float32: -1e45 becomes -inf
            return self._scores(source, density=True).density.astype(source.dtype, copy=False)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log density of the rows of X, weighted by `sample_weight` (N,)."""
        return self._mean_density(X, sample_weight)[0]

    def _mean_density(self, X: Any, sample_weight: ArrayLike | None = None) -> tuple[float, float]:
        """The mean log density and the sum of weights that it is over."""
        source = self._source(X, sample_weight)
        with threads(check_n_threads(self.n_threads)):
            return mean_density(source, self.params_)

    def bic(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Bayesian information criterion on X (N, D), the lower the better; n is the sum of weights."""
        mean, n = self._mean_density(X, sample_weight)
        return -2 * mean * n + self._n_parameters() * math.log(n)

    def aic(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Akaike's information criterion on X (N, D), the lower the better; n is the sum of weights."""
        mean, n = self._mean_density(X, sample_weight)
        return -2 * mean * n + 2 * self._n_parameters()

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw from the fitted mixture, in scikit-learn's order of draws.

        Parameters
        ----------
        n_samples : int, at least 1

        Returns
        -------
        X : (n_samples, D) float64, sorted by component
        y : (n_samples,) int64, the components; -1 for noise, which comes last

        Raises
        ------
        ValueError
            if n_samples is not a positive integer
        """
        check_fitted(self)
        check_n_samples(n_samples)
        rng = check_random_state(self.random_state)
        rows, y = draw(self.params_, n_samples, rng)
        y[y == len(self.means_)] = NOISE_LABEL
        return rows, y

    # --- the order of components ----------------------------------------------------------------------------------

    def align_to(self, reference: GaussianMixture) -> Self:
        """The same fit with its components in the order of another fit's.

        For refits, bootstrap samples and comparisons: component k of the answer is the one that is most like the
        reference's component k, in an assignment of all at once (by symmetric Kullback-Leibler divergence between
        components, which depends on no units; see `fastem.analysis.align`). Weights play no part.

        Parameters
        ----------
        reference : fitted GaussianMixture with as many components and features, of any covariance type

        Returns
        -------
        GaussianMixture
            a new one, whose parameters are those of this one in another order; this one stays as it is

        Raises
        ------
        ValueError
            if the numbers of components or features differ

        References
        ----------
        Jeffreys (1946), Proc. R. Soc. A 186, 453-461; Stephens (2000), J. R. Stat. Soc. B 62, 795-809.

        Examples
        --------
        >>> import fastem
        >>> a = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
        >>> b = fastem.GaussianMixture.from_parameters([0.4, 0.6], [[9.1], [0.2]], [1.0, 1.0], "spherical")
        >>> b.align_to(a).means_.ravel()
        array([0.2, 9.1])
        """
        check_fitted(self)
        check_fitted(reference)
        if np.shape(self.means_) != np.shape(reference.means_):
            raise ValueError(
                "align_to needs a reference of as many components and features: its means have shape "
                f"{np.shape(reference.means_)}, these {np.shape(self.means_)}"
            )
        return self._permuted(match_components(self.params_, reference.params_))

    def sort_components(self, by: str = "means") -> Self:
        """The same fit with its components in an order of their own.

        Parameters
        ----------
        by : {"means", "weight"}, default "means"
            the means' first coordinate (of equals the second, ...), or the weight, the heaviest first

        Returns
        -------
        GaussianMixture
            a new one; this one stays as it is

        Raises
        ------
        ValueError
            for another `by`

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.4, 0.6], [[9.0], [0.0]], [1.0, 1.0], "spherical")
        >>> model.sort_components().means_.ravel(), model.sort_components("weight").weights_
        (array([0., 9.]), array([0.6, 0.4]))
        """
        check_fitted(self)
        if by not in ORDERS:
            raise ValueError(f"by must be one of {', '.join(ORDERS)}; got {by!r}")
        return self._permuted(ORDERS[by](self.params_))

    def _permuted(self, order: NDArray[np.intp]) -> Self:
        model = copy.copy(self)
        weights, means, *matrices = self._get_parameters()
        each = matrices if self._family().shared else [matrix[order] for matrix in matrices]
        model._set_parameters((weights[order], means[order], *each))
        return model

    # --- names that users of scikit-learn's class call ------------------------------------------------------------

    def _n_parameters(self) -> int:
        """Free parameters of the mixture."""
        K, D = np.shape(self.means_)
        sizes = {"weights": K - 1, "means": K * D, "covariances": self._family().n_parameters(K, D)}
        free = sum(size for name, size in sizes.items() if name not in self.fixed)
        return int(free) + hasattr(self, "noise_weight_")

    def _get_parameters(self) -> tuple[NDArray[Any], ...]:
        return self.weights_, self.means_, self.covariances_, self.precisions_cholesky_

    def _set_parameters(self, params: tuple[NDArray[Any], ...], xp: Any = None) -> None:
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = params
        self.__dict__.pop("_stepwise", None)  # the state of a stream belongs to parameters that were
        U = self.precisions_cholesky_
        with np.errstate(all="ignore"):
            self.precisions_ = U @ U.swapaxes(-1, -2) if self._family().matrices else np.square(U, out=np.empty_like(U))

    def _estimate_weighted_log_prob(self, X: Any, xp: Any = None) -> Array:
        """log weight + log density of each component, (N, K)."""
        return self._scores(self._source(X), joint=True).joint

    def _estimate_log_prob_resp(self, X: Any, xp: Any = None) -> tuple[Array, Array]:
        """The log density of each row, (N,), and the log responsibilities of the components, (N, K)."""
        scores = self._scores(self._source(X), joint=True, density=True)
        return scores.density, scores.joint - scores.density[:, None]

    def _estimate_log_prob(self, X: Any, xp: Any = None) -> Array:
        """Log density of each component, (N, K)."""
        params = self.params_._replace(weights=np.ones(len(self.means_)), noise=None)
        with threads(check_n_threads(self.n_threads)):
            return score(self._source(X), params, joint=True).joint

    def _estimate_log_weights(self, xp: Any = None) -> NDArray[Any]:
        """Log weights, (K,)."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.weights_))

    if not TYPE_CHECKING:  # which would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            """A matrix that is missing where weights, means and another were set by hand."""
            if hasattr(
                type(self), name
            ):  # a property or method that has raised an AttributeError: again, for its words
                return super().__getattribute__(name)
            if name in MATRICES and "means_" in vars(self):
                found = missing_matrix(vars(self), self._family(), name)
                if found is not None:
                    return found
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def set_partial_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Whether `partial_fit` asks scikit-learn's metadata routing for sample_weight."""
        return self._request("partial_fit", sample_weight)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "weights_" in state:
            check_state(self)
