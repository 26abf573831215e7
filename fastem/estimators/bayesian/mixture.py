"""`BayesianGaussianMixture`: scikit-learn's class, without importing scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.bayesian.state import STICKS
from fastem.estimators.bayesian.training import fit_posterior, follow_posterior
from fastem.estimators.bayesian.uses import PosteriorUses
from fastem.estimators.protocol import request_weights
from fastem.fitting.loop import Callback


class BayesianGaussianMixture(PosteriorUses):
    """Gaussian mixture with a prior, fitted by variational Bayes; a drop-in for scikit-learn's.

    It finds a distribution of all parameters, the posterior, in place of their best values. Components that the rows do
    not need are left with what the prior gives them, so that `n_components` is an upper limit.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, default "full"
        scikit-learn does not have the last two
    tol : float, default 1e-3
        the fit has converged when the lower bound, which is that of all rows, changes by less; with solver="auto",
        when it has less than this to gain, as far as the last steps tell
    reg_covar : float, default 1e-6
        is added to every variance of the rows of a component, in the square of the data's units. The prior keeps
        covariances regular, so that 0 does as well, and then no iteration lowers the bound
    max_iter : int, default 100
        most iterations from one start; with solver="auto", most passes over all rows
    n_init : int, default 1
        number of starts; the fit with the largest lower bound is kept
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        as in `GaussianMixture`; but "auto" searches for the best bound: on a sample it merges components, cuts them
        and puts them in order
    weight_concentration_prior_type : {"dirichlet_process", "dirichlet_distribution"}, default "dirichlet_process"
        the prior of the weights. Components are alike under a Dirichlet distribution; under a Dirichlet process the
        first are given more weight
    weight_concentration_prior : float, optional
        the less, the fewer components are used. Default: 1 / n_components
    mean_precision_prior : float, optional
        how many rows the prior mean counts for. Default: 1
    mean_prior : (D,) array-like, optional
        Default: the mean of the rows
    degrees_of_freedom_prior : float, optional
        more than D - 1: how many rows the prior covariance counts for. Default: D
    covariance_prior : array-like or float, optional
        (D, D) full and tied, (D,) diag and tied_diag, a number for spherical and tied_spherical: the inverse of the
        scale matrix of the precisions' Wishart distribution. Default: the covariance of the rows
    solver : {"em", "auto"}, default "em"
        "em" makes scikit-learn's updates; "auto" makes longer steps where the bound does not fall on them, on large
        data first on samples that grow (see `GaussianMixture`), and takes far fewer passes where components overlap
    random_state : int, RandomState or None, default None
        seed of all random numbers; None takes NumPy's global generator
    warm_start : bool, default False
        whether `fit` continues from the last fit
    verbose : int, default 0
        1 prints the iterations' numbers, 2 also time and change
    verbose_interval : int, default 10
    n_threads : int, optional
        most threads that a method uses. Default: as many as Numba is set to

    Attributes
    ----------
    weights_ : (K,), expected weights, made to sum to 1
    means_ : (K, D), expected means
    covariances_, precisions_, precisions_cholesky_
        the expected precisions, their inverses and factors, in the shapes of `GaussianMixture`
    weight_concentration_ : (K,), or tuple of two (K,)
        of the Dirichlet distribution; under a Dirichlet process of the sticks' beta distributions
    mean_precision_ : (K,)
    degrees_of_freedom_ : (K,), or a float for tied, tied_diag and tied_spherical
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, covariance_prior_
        the prior: the parameters, or what stands for those that are None
    posterior_ : Posterior, all these in one object
    converged_ : bool
    status_ : Status or None, why the fit ended; None after a step of `partial_fit`
    fit_report_ : Report, what happened, for every start
        with solver="auto" each of its `starts` has a `certificate`, as in `GaussianMixture`: passes over all rows, nats
        that the bound has yet to gain, and the scaled gradient
    n_iter_ : int
    lower_bound_ : float
        scikit-learn's bound after the last iteration; the exact one is `elbo`
    lower_bounds_ : list of float, one per iteration
    n_components_in_use_ : int, how many components hold at least half a row beyond their prior
    n_samples_seen_ : float, the weight of the rows
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, only if X was a data frame

    See Also
    --------
    GaussianMixture : fits by maximum likelihood.
    fastem.select : chooses the number of components by a criterion.
    fastem.Posterior : describes the posterior.
    fastem.elbo : bounds the entropy of a known mixture, which is another bound of this name.

    Notes
    -----
    From the same start the iterations equal those of scikit-learn. `lower_bound_` is its bound: of all rows, not of
    their mean; without terms that no update changes; K times that of one component in the precisions of a tied
    family; and computed with `reg_covar` in the covariances, which therefore may lower it.

    What scikit-learn's updates maximise is the bound of one model, whatever the family: each component has a full
    precision matrix with a Wishart prior, and the family restricts the scale matrices of the posterior (to diagonal
    ones, for one, or to the same for all components). `elbo`, `sample_posterior` and the predictive density are those
    of that model: so the precisions that are drawn are full under "diag", too.

    All attributes are float64, as scikit-learn's are. A weight of 2 is the row twice.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 10.2; Attias (2000), A variational Bayesian
    framework for graphical models, NIPS 12, 209-215; Blei & Jordan (2006), Variational inference for Dirichlet process
    mixtures, Bayesian Analysis 1, 121-144.

    Examples
    --------
    Two of six components are enough for Old Faithful:

    >>> import fastem
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.BayesianGaussianMixture(
    ...     n_components=6, weight_concentration_prior=1e-3, max_iter=1000, random_state=0
    ... ).fit(X)
    >>> model.n_components_in_use_, model.weights_[model.weights_ > 0.01].round(2)
    (2, array([0.36, 0.63]))
    """

    kind, fitted, weighted = "density_estimator", "weights_", ("fit", "partial_fit", "score")
    hooks: ClassVar[dict[str, str]] = {
        "_check_parameters": "a fit of your own that checks and then calls super().fit",
        "_initialize_parameters": "init_params",
        "_initialize": "init_params",
        "_e_step": "fit(X, callback=...)",
        "_m_step": "the parameters of the prior",
        "_compute_lower_bound": "elbo",
        "_estimate_log_prob": "the parameters of the prior",
        "_estimate_log_weights": "the parameters of the prior",
        "_estimate_weighted_log_prob": "the parameters of the prior",
        "_estimate_log_prob_resp": "the parameters of the prior",
        "_print_verbose_msg_init_beg": "fit(X, callback=...)",
        "_print_verbose_msg_iter_end": "fit(X, callback=...)",
        "_print_verbose_msg_init_end": "fit_report_",
    }

    def __init__(
        self,
        *,
        n_components: int = 1,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weight_concentration_prior_type: str = STICKS,
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        solver: str = "em",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.solver = solver
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads

    def fit(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, callback: Callback | None = None
    ) -> Self:
        """Find the posterior of the parameters from rows.

        Parameters
        ----------
        X : (N, D) array-like, or pandas or polars frame, or what `fastem.as_source` takes
            files, streams, Dask collections and the ranks of MPI as in `GaussianMixture.fit`
        y : ignored
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
            weight 2 is the row twice, weight 0 the row absent. Twice the weights are twice the rows, of which the prior
            is a smaller part. Default: 1
        callback : function, optional
            It is called as ``callback(iteration, lower_bound, posterior)`` after each pass, with the posterior that the
            pass was made under. If it returns True, the fit ends with Status.INTERRUPTED

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used, or a prior that is singular, such as that of a column that is
            constant, with ``reg_covar=0``. The estimator is then unchanged
        FitInterrupted
            (a KeyboardInterrupt) on Ctrl-C. Its ``.result.params`` is the `Posterior` of the last complete iteration
        SourceError
            (an OSError) if rows cannot be read on a later pass, with the same ``.result``

        Warns
        -----
        ConvergenceWarning
            if the fit that was kept has not converged

        See Also
        --------
        elbo : the exact bound on the log evidence
        partial_fit : follow a stream of rows
        """
        fit_posterior(self, X, sample_weight, callback)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit, and return the most probable component of each row, (N,) int64, as `predict` does.

        Arguments and errors are those of `fit`.

        See Also
        --------
        fit, predict : do each alone
        """
        return self.predict(fit_posterior(self, X, sample_weight))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Follow a stream of blocks of rows by stochastic variational inference.

        If the mixture is not fitted, the first call fits it to the block, whose rows then also make the prior, as far
        as it is not given. Each further call moves the posterior towards that of a block, as if all rows so far were
        like the block's: by (w / (w + n_samples_seen_)) ** 0.6 of the way in the natural parameters, for a block of
        weight w. `n_iter_` goes on by 1, `lower_bound_` is scikit-learn's bound with the entropy of the
        responsibilities averaged in the same way, and `status_` is None. A stream continues after pickling and after
        `fastem.save` and `fastem.load`.

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
            for data that cannot be used, or n_components, covariance_type or a prior that have changed since the first
            block. The estimator is then as it was before this block

        See Also
        --------
        fit : all rows at once, in many passes
        GaussianMixture.partial_fit : the same for maximum likelihood

        References
        ----------
        Hoffman, Blei, Wang & Paisley (2013), Stochastic variational inference, J. Mach. Learn. Res. 14, 1303-1347,
        section 2.4; for streams, whose number of rows grows: McInerney, Ranganath & Blei (2015), The population
        posterior and Bayesian modeling on streams, NIPS 28.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.BayesianGaussianMixture(n_components=2, random_state=0)
        >>> for block in (X[:100], X[100:200], X[200:]):
        ...     model = model.partial_fit(block)
        >>> model.n_samples_seen_, model.means_.round(0)
        (272.0, array([[ 2., 54.],
               [ 4., 80.]]))
        """
        if self.__sklearn_is_fitted__():
            follow_posterior(self, X, sample_weight)
        else:
            fit_posterior(self, X, sample_weight)
        return self

    def set_partial_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether `partial_fit` asks scikit-learn's metadata routing for sample_weight."""
        return request_weights(self, "partial_fit", sample_weight)
