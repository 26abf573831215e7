"""`GaussianMixture`: scikit-learn's class, without importing scikit-learn.

This module is long because the class's docstring and those of its constructors and of `fit` are its documentation, and
belong together. What they do is elsewhere: `training` fits, `scoring` scores, `state` holds the attributes.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.deconvolving import Deconvolving
from fastem.estimators.groups.uses import GroupUses
from fastem.estimators.imputation import Imputing
from fastem.estimators.interchange import Interchange
from fastem.estimators.ordering import Ordering
from fastem.estimators.protocol import available_if, request_weights
from fastem.estimators.scoring import Criteria, Scoring
from fastem.estimators.state import count_seen, set_names, set_params_of, set_record
from fastem.estimators.training import begin_stream, check_stream, continue_stream, fit_mixture, follow, take_over
from fastem.estimators.uncertainty.methods import Uncertainty
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


class GaussianMixture(Scoring, Criteria, GroupUses, Imputing, Deconvolving, Ordering, Uncertainty, Interchange):
    """Gaussian mixture fitted by expectation-maximisation; a drop-in for scikit-learn's.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, default "full"
        the shape of the components' covariances. scikit-learn does not have the last two: all components share one
        variance per feature, or one variance for all features. It may also be one of mclust's fourteen names, "EII" to
        "VVV", which say whether volume, shape and axes are equal or vary: see the page on covariances
    tol : float, default 1e-3
        the fit has converged when what `stop` measures is less; with solver="auto", what each row has yet to gain in
        log-likelihood (with `regularization`, in the objective)
    reg_covar : float, default 1e-6
        is added to every variance, in the square of the data's units; a warning tells if it is more than 1 % of a
        column's variance. 0 asks for strict maximum likelihood; a singular start is then an error
    max_iter : int, default 100
        most iterations from one start; with solver="auto", most passes over all rows
    n_init : int, default 1
        number of starts; the fit with the largest lower bound is kept
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        where a fit starts. k-means looks at a sample of max(50,000, 50 n_components) rows if there are more.
        scikit-learn does not have "auto"; use it if columns differ in scale, clusters are elongated or there are many.
        k-means starts, from raw, standardised and whitened columns, then compete by likelihood in short fits to a
        sample of max(10,000, 50 n_components) rows. From the best, components that cut a cluster in two move to where
        two clusters share one, for as long as that helps; then all rows are fitted. Each of n_init is such a search
    weights_init : (K,) array-like, optional
        weights of the start. Default: what `init_params` finds, as for the next two
    means_init : (K, D) array-like, optional
        means of the start. If they are given alone, each is paired with the nearest of the clusters that "kmeans" or
        "auto" finds (scikit-learn pairs them by number)
    precisions_init : array-like, optional
        inverse covariances of the start, in the shape of `precisions_`
    random_state : int, RandomState or None, default None
        seed of all random numbers; None takes NumPy's global generator
    warm_start : bool, default False
        whether `fit` continues from the last fit
    verbose : int, default 0
        1 prints the iterations' numbers, 2 also time and change
    verbose_interval : int, default 10
        number of iterations from one line to the next
    n_threads : int, optional
        most threads that a method uses. Default: as many as Numba is set to (NUMBA_NUM_THREADS,
        `numba.set_num_threads`), which is never exceeded. `fastem.save` does not store it: it belongs to the machine
    regularization : None, "ridge", "map", "floor", "ratio", "geometric", or a remedy, default None
        what keeps covariances from collapsing in place of reg_covar, which then counts for nothing. The names stand
        for `fastem.Ridge`, `fastem.InverseWishart`, `fastem.EigenvalueFloor`, `fastem.EigenvalueRatio` and
        `fastem.GeometricRidge`, which is recommended. Under these no iteration lowers the objective (`lower_bounds_`
        falls only where a component was reseeded or dropped), and a change of a feature's unit changes nothing
    on_collapse : {"reseed", "drop"}, default "reseed"
        what happens, under a `regularization`, to a component that has lost its rows or its rank when the fit has
        converged. "reseed" gives it half of the widest component and continues the fit; if the fit then ends lower
        than it was, this is undone. "drop" leaves it out, and the fitted mixture has fewer components. `fit_report_`
        tells what happened
    stop : {"change", "aitken", "parameters"}, default "change"
        what must fall below `tol`. "change" is the change of the mean log-likelihood, as in scikit-learn, which may
        stop early where components overlap. "aitken" is an estimate (no bound) of what the log-likelihood of all rows
        has yet to gain. "parameters" is the largest change of a parameter, in standard deviations
    solver : {"em", "lbfgs", "auto"}, default "em"
        "auto" is EM with longer steps, by Anderson's method, where the objective does not fall on them; it begins on a
        sample of the rows if there are 40,000 or more. It serves all other options, takes fewer passes over the rows
        than both others, and never lowers the objective. The start is made of the sample, too. `fit_report_` says how
        many passes there were, what is left to gain, and how large the gradient is. It needs stop="change".
        "lbfgs" maximises the log-likelihood directly, by its gradient (see `fastem.lbfgs`). An iteration costs about
        as much as one of EM, and where components overlap much, fewer are needed. reg_covar is then the variances'
        lower bound, and `lower_bound_` is the bound of the fitted parameters, score(X)
    noise : bool, default False
        whether there is one more component, of constant density over the smallest box that holds the data. It is for
        outliers, which belong to no cluster and would spoil the clusters' means and covariances. `predict` gives them
        the label -1, `predict_proba` has a last column for them. Outside of the box the density is the same constant
    assignment : {"soft", "hard"}, default "soft"
        "hard" is classification EM: each row belongs, whole, to its most probable component, and the bound is the mean
        classification log-likelihood. It takes fewer iterations and finds the clusters that are most separate, but
        where clusters overlap its parameters are biased. With covariance_type "tied_spherical" and fixed weights it is
        k-means
    fixed : tuple of names among "weights", "means", "covariances", default ()
        parameters that are held at their start, which is given by weights_init, means_init or precisions_init. Weights
        that are held without weights_init are equal: 1/K, or with `noise` equal shares of what noise leaves. The other
        parameters are estimated given these. `bic` and `aic` count free parameters only
    missing : bool, default False
        whether NaN in X stands for a value that is missing at random, here and in all methods: a row then counts by
        what is observed of it. So do pandas' NA, masked entries, nulls of Parquet and empty cells of text. `impute`
        fills rows up. Default: NaN is refused

    Attributes
    ----------
    weights_ : (K,), with `noise` their sum is 1 - `noise_weight_`
    means_ : (K, D)
    covariances_, precisions_, precisions_cholesky_
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied_diag, () tied_spherical; precision = U U'
        with U = `precisions_cholesky_`. All parameters are float32 if X was, else float64
    converged_ : bool, whether `status_` is Status.CONVERGED
    status_ : Status or None, why the fit ended; None if the parameters were given
    fit_report_ : Report, what happened at which iteration, for every start
        print it: it lists components that were reseeded, dropped or short of rows, falls of the bound under reg_covar,
        and collapse. With solver="auto" each of its `starts` has a `certificate`, of `passes` over all rows (samples
        count by their share), the `gain` that is left, in nats of all rows, and `gradient`, the length of EM's next
        step in the coordinates of `fastem.Parametrization.around`
    n_iter_ : int, iterations of the fit that was kept; of a stream, its steps
    lower_bound_ : float
        the mean log-likelihood at the last E-step, with `regularization` plus the log prior's share. The last M-step
        comes after it, so it is not score(X)
    lower_bounds_ : list of float, one per iteration
    noise_weight_ : float, the weight of noise; only with `noise`
    noise_box_ : (2, D) float64, the least and largest values of the features; only with `noise`
    n_samples_seen_ : float, the weight of the rows fitted to; of a stream, of all rows so far
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, only if X was a data frame

    See Also
    --------
    from_parameters, from_result, from_sklearn : other ways to a fitted mixture
    fastem.select : choose the number of components and the covariance type
    fastem.KMeans : clusters that are all round and equally wide
    fastem.fit_many : a mixture for each of many groups of rows
    fastem.em, fastem.Stepwise : the algorithms without an estimator
    fastem.save, fastem.load : keep a fitted mixture in a file

    Notes
    -----
    From the same start the iterations equal those of scikit-learn. The k-means start of a seed need not be
    scikit-learn's. With 'k-means++' and 'random_from_data' the starting weights are 1/K (scikit-learn's do not sum to
    1: only ``lower_bounds_[0]`` differs). The same seed gives the same bits whatever the number of threads and the
    layout of X. Options that do not work together are an error; the documentation lists them.

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
        missing: bool = False,
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
        self.missing = missing

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
        """Return a fitted estimator of known parameters.

        It can predict, score and sample, and follow a stream by `partial_fit`.

        Parameters
        ----------
        weights : (K,) array-like, whose sum is 1, together with the weight of noise if there is noise
        means : (K, D) array-like
        covariances : array-like, in the shape of `covariances_`
        covariance_type : str, default "full"
        noise : tuple of a weight and a box (2, D), optional
            of a component of constant density. Default: there is no noise
        n_samples_seen : float > 0, optional
            how many rows (of weight 1) the mixture stands for in `partial_fit`. The more, the less a block moves it.
            Default: ten for each free parameter

        Returns
        -------
        GaussianMixture
            float64; its `status_` is None

        Raises
        ------
        ValueError
            for parameters that are not those of a mixture, and for an n_samples_seen that is no positive number

        See Also
        --------
        from_result : of the result of a fit
        from_sklearn : of scikit-learn's estimator
        fastem.make_params : parameters for `fastem.em`

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
        if np.abs(params.means).max() > np.finfo(dtype).max:
            raise ValueError(f"the means do not fit the range of {np.dtype(dtype)}")
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
        error_covariance: Any = None,
        callback: Callback | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Estimate the parameters from rows.

        Parameters
        ----------
        X : (N, D) array-like, or pandas or polars frame, or what `fastem.as_source` takes
            Arrays of float64 and float32 are read in place, whatever their layout; all else is converted to float64.
            Rows that are not in memory (memory maps, Parquet, HDF5, Zarr, functions that yield blocks) are read block
            by block, anew on each pass; the fit has the same bits. Rows of Dask collections stay on the workers
        y : ignored
            scikit-learn's pipelines and searches pass it. Known components are `labels`
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
            Weight 2 is the row twice. Weight 0 is the row absent, to the last bit if such rows come last. Only ratios
            of weights matter, except where rows are counted: under the priors of regularization "ridge", "geometric"
            and "map", by stop="aitken", in `bic`, `aic` and `partial_fit`, twice the weights are twice the rows.
            Default: 1
        labels : (N,) array-like of int, or (N, K) of bool, or as `fastem.as_source` takes it, optional
            The component of each row, -1 where it is unknown; or the components that each row may belong to, at least
            one. A row's responsibilities are 0 outside of these, and component k is label k. If all labels are known,
            the fit is one M-step and `n_iter_` is 1. This is Gaussian discriminant analysis by maximum likelihood
            (divisors N_k and N): "full" is the quadratic one, "tied" the linear one. Else it is EM, which starts from
            the rows with labels, whatever `init_params`. `lower_bound_` is the mean of log sum_k weight_k p_k(x), with
            the sum over the components of each row. With `noise`, a row that may belong to any component may be noise
        error_covariance : array-like, optional
            The covariances of the rows' errors of measurement: (D, D) for all rows, (N, D) variances, or (N, D, D).
            Then the mixture is that of the true places, of which the rows are measurements: X = V + E, with E of
            N(0, error_covariance) and V of the mixture ("extreme deconvolution"). A variance may be 0, or infinite:
            that feature of that row was not measured, and its value counts for nothing but the start. The matrices are
            positive semidefinite. (D,), and D x D for D rows, are refused, as they have two meanings. For rows in files
            see `fastem.as_source`. Starts take the rows as they are; the remedy of a `regularization` is relative to
            one Gaussian fitted to the true places; noise is uniform over the rows as they were measured
        callback : function, optional
            It is called as ``callback(iteration, lower_bound, params)`` after each pass. If it returns True, the fit
            ends with Status.INTERRUPTED
        checkpoint : path-like ending in ``.npz``, optional
            A file for the state of the fit. It is written, whole or not at all, at once, then at most every 30 s, and
            when the fit ends in any way. If the file exists, the fit continues from it, and ends with the bits of a
            fit that was never interrupted (on the same kind of machine, with the same version). A fit that was
            finished ends at once with its own result. Parameters (except verbose, warm_start and n_threads) and rows
            must be those of the first time. max_iter may be larger: runs that had stopped at the smaller one continue
            from where they were (to the same bits, unless components had been reseeded or dropped before, or with
            solver="auto", which then has forgotten its last steps). A generator as `random_state` is put in the state
            that it had

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used, labels that leave a component without a row, a singular start,
            a checkpoint that is damaged or of another fit. The estimator is then unchanged
        FitInterrupted
            (a KeyboardInterrupt) on Ctrl-C. Its ``.result`` is the last complete iteration, or that of an earlier and
            better start; `from_result` makes a fitted estimator of it
        SourceError
            (an OSError) if rows cannot be read on a later pass, with the same ``.result``

        Warns
        -----
        ConvergenceWarning
            if the fit that was kept has not converged

        See Also
        --------
        partial_fit : follow a stream of rows
        fastem.as_source : rows from files, functions and clusters

        References
        ----------
        Errors: Bovy, Hogg & Roweis (2011), Ann. Appl. Stat. 5, 1657-1677, eqs. 14-19. Labels: Nigam, McCallum, Thrun &
        Mitchell (2000), Mach. Learn. 39, 103-134, eqs. 5-7; several allowed: Ambroise & Govaert (2000), in: Data
        Analysis, Classification, and Related Methods, 161-166.

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
        fit_mixture(self, X, sample_weight, callback, checkpoint, labels, error_covariance)
        return self

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, error_covariance: Any = None
    ) -> NDArray[np.int64]:
        """Fit, and return the most probable component of each row, (N,) int64, as `predict` does.

        Arguments and errors are those of `fit`.

        See Also
        --------
        fit, predict : do each alone
        """
        source = fit_mixture(self, X, sample_weight, error_covariance=error_covariance)
        return self.predict(source)

    @available_if(check_stream)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Follow a stream of blocks of rows by one step of stepwise EM, see `fastem.Stepwise`.

        If the mixture is not fitted, the first call fits it to the block. Each step moves the mixture towards its
        block. Rows of weight w move it by (w / (w + n_samples_seen_)) ** 0.6 of the way, so that one row moves it
        little. (`n_samples_seen_` is the weight of the rows of `fit`, or what `from_parameters` or `from_sklearn` was
        given.) `n_iter_` is the number of steps, `lower_bound_` the running mean log-likelihood, and `status_` is None,
        since a stream does not converge. A stream continues after pickling and after `fastem.save` and `fastem.load`.

        Parameters
        ----------
        X : (N, D) array-like, or what else `fit` takes
            the first time at least n_components rows
        y : ignored
        sample_weight : (N,) array-like, non-negative, optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for data that cannot be used, a component that collapses, or n_components, covariance_type or noise that
            have changed since the mixture was made. The estimator is then as it was before this block
        UnavailableError
            (a ValueError and an AttributeError, so that `hasattr` says that there is no such method) with a
            `regularization`, hard `assignment` or `fixed` parameters

        See Also
        --------
        fit : all rows at once, in many passes
        fastem.Stepwise : the same without an estimator

        Examples
        --------
        >>> import fastem
        >>> X, _ = fastem.load_faithful()
        >>> model = fastem.GaussianMixture(2, random_state=0)
        >>> for block in (X[:100], X[100:200], X[200:]):
        ...     model = model.partial_fit(block)
        >>> model.n_samples_seen_, model.sort_components().means_.round(0)
        (272.0, array([[ 2., 54.],
               [ 4., 80.]]))
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
