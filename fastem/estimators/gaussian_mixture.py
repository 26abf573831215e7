"""`GaussianMixture`: scikit-learn's class, without importing scikit-learn.

This module is long because the class's docstring and those of its constructors and of `fit` are its documentation, and
belong together. What they do is elsewhere: `training` fits, `scoring` scores, `state` holds the attributes.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.fitted import Fitted
from fastem.estimators.interchange import Interchange
from fastem.estimators.ordering import Ordering
from fastem.estimators.protocol import available_if, request_weights
from fastem.estimators.scoring import Scoring
from fastem.estimators.state import count_seen, set_names, set_params_of, set_record
from fastem.estimators.training import begin_stream, check_stream, continue_stream, fit_mixture, follow, take_over
from fastem.fitting.loop import Callback
from fastem.fitting.options import check_mixture
from fastem.model.checks import check_seen
from fastem.model.given import make_params
from fastem.model.remedies.base import Remedy
from fastem.model.result import Result

OWN_STEPS = "a loop of your own over fastem.accumulate and fastem.m_step"
OWN_START = "weights_init, means_init and precisions_init, or fit(X, labels=...)"
OWN_SCORES = (
    "fit(X, labels=...) for what is known of the rows' components, fixed=('weights',) for weights that are held, "
    "a regularization, or " + OWN_STEPS
)


class GaussianMixture(Scoring, Fitted, Ordering, Interchange):
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
        set_params_of(model, params, np.dtype(np.float64))
        set_record(model, None, -np.inf, [], 0)
        model.n_samples_seen_ = check_seen(count_seen(model) if n_samples_seen is None else n_samples_seen)
        return model

    @classmethod
    def from_result(
        cls,
        result: Result | None,
        *,
        dtype: Any = np.float64,
        feature_names: ArrayLike | None = None,
        **parameters: Any,
    ) -> Self:
        """Return a fitted estimator of the result of a fit, for instance of one that Ctrl-C has interrupted.

        Its parameters are the result's. (`fit` ends with one M-step more, as scikit-learn's does.)

        Parameters
        ----------
        result : Result
            what `fastem.em` or `fastem.lbfgs` returns, or the ``.result`` of a `fastem.FitInterrupted` or
            `fastem.SourceError`
        dtype : float64 or float32, default float64
            the dtype of the attributes; `fit` takes that of the rows
        feature_names : (D,) array-like of str, optional
            names of the features
        **parameters
            the constructor's parameters, for instance ``**model.get_params()`` of the estimator whose fit was
            interrupted. `covariance_type` is the one of the fit. Defaults: the constructor's, but n_components and
            noise are those of the result

        Returns
        -------
        GaussianMixture
            `status_` and `fit_report_` tell how the fit ended, `lower_bound_` is the bound under its parameters

        Raises
        ------
        ValueError
            if the result is None, since no iteration was complete; if it is not one of this covariance type; or if
            its parameters are not numbers of this dtype

        See Also
        --------
        from_parameters : an estimator of known parameters
        fastem.FitInterrupted : what Ctrl-C raises in a fit

        Examples
        --------
        Keep what an interrupted fit has found (a callback stands for the user's Ctrl-C here):

        >>> import fastem
        >>> X, _ = fastem.load_faithful()
        >>> def interrupt(iteration, lower_bound, params):
        ...     if iteration == 5:
        ...         raise KeyboardInterrupt
        >>> model = fastem.GaussianMixture(2, tol=1e-9, random_state=0)
        >>> try:
        ...     model.fit(X, callback=interrupt)
        ... except fastem.FitInterrupted as end:
        ...     model = fastem.GaussianMixture.from_result(end.result, **model.get_params())
        >>> model.n_iter_, model.status_.name, model.predict(X[:3])
        (5, 'INTERRUPTED', array([1, 0, 1]))

        Go on with an estimator where a loop of your own has ended:

        >>> start = fastem.make_params([0.5, 0.5], [[2.0, 50.0], [4.0, 80.0]], [[1.0, 40.0]] * 2, "diag")
        >>> result = fastem.em(X, start, covariance_type="diag")
        >>> fastem.GaussianMixture.from_result(result, covariance_type="diag").means_.round(1)
        array([[ 2. , 54.5],
               [ 4.3, 80. ]])
        """
        if not isinstance(result, Result):
            raise ValueError(
                f"from_result needs a fastem.Result; got {result!r:.60}. (A FitInterrupted has None where no "
                "iteration was complete)"
            )
        params = result.params
        own = {"n_components": len(params.means), "noise": params.noise is not None}
        model = cls(**own | parameters)
        check_mixture(params, model.covariance_type, 0.0)
        take_over(model, params, [result], 0, np.dtype(dtype))
        model.n_samples_seen_ = count_seen(model) if result.stats is None else result.stats.sum_w
        set_names(model, None if feature_names is None else np.asarray(feature_names, dtype=object))
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
        fit_mixture(self, X, sample_weight, callback, checkpoint, labels)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """`fit`, then the most probable component of each row, (N,) int64."""
        source = fit_mixture(self, X, sample_weight)
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
        if hasattr(self, "weights_"):
            stream = continue_stream(self)
        else:
            fit_mixture(self, X, sample_weight)
            stream = begin_stream(self)
        follow(self, X, sample_weight, stream)
        return self

    def set_partial_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether `partial_fit` asks scikit-learn's metadata routing for sample_weight."""
        return request_weights(self, "partial_fit", sample_weight)
