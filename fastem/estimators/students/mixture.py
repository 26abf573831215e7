"""`StudentMixture`: a mixture of t distributions, for clusters with heavy tails and rows that lie far out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators.fitting import Fitting
from fastem.estimators.scoring import Criteria
from fastem.estimators.students.state import StudentState, positive_dof
from fastem.estimators.students.training import fit_student, set_student, weights_of_rows
from fastem.model.given import make_params
from fastem.model.matrices import Array
from fastem.model.remedies.base import Remedy
from fastem.model.student import StudentParams


class StudentMixture(Fitting, Criteria, StudentState):
    """Mixture of multivariate t distributions, fitted by expectation-maximisation.

    A row far from its component counts little for the component's mean and scale, so that outliers do not spoil them.
    How far is far, the degrees of freedom say, which are estimated too: large ones are a Gaussian, 1 is a Cauchy
    distribution.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : str, default "full"
        the shape of the components' scale matrices, as in `GaussianMixture`
    dof : {"each", "shared"} or float, default "each"
        degrees of freedom: of each component, of all together, or a number that is held, of at least 0.1; more than
        1e16 is a Gaussian to the last digit, and counts as 1e16. Those that are estimated lie between 0.1 and 1e6
    tol : float, default 1e-6
        the fit has converged when each row has less than this to gain in log-likelihood; with solver="em", when the
        mean log-likelihood changes by less
    reg_covar : float, default 1e-6
        what is added to every variance, if `regularization` is None
    max_iter : int, default 1000
        most passes over all rows from one start
    n_init : int, default 1
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}, default "auto"
        as in `GaussianMixture`, on a sample of at most 5000 rows whose clutter counts little (see Notes)
    random_state : int, RandomState or None, default None
    warm_start : bool, default False
    verbose : int, default 0
    verbose_interval : int, default 10
    n_threads : int, optional
        as in `GaussianMixture`
    regularization : None, "ridge", "floor", "ratio", "geometric", or a remedy, default "geometric"
        as in `GaussianMixture`, for the scale matrices. No iteration lowers the objective under one. Of
        `fastem.InverseWishart` the `shrinkage` must be 0: there is no prior of means
    solver : {"auto", "em"}, default "auto"
        "auto" is EM with longer steps, by Anderson's method and, for degrees of freedom, by scoring. EM takes thousands
        of iterations to find degrees of freedom that are large, "auto" tens of passes

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, D)
    dof_ : (K,), degrees of freedom
    covariances_, precisions_, precisions_cholesky_
        scale matrices, their inverses and factors, in the shapes of `GaussianMixture`. The covariance of a component
        is dof / (dof - 2) times its scale matrix if dof > 2; else there is none
    converged_, status_, fit_report_, n_iter_, lower_bound_, lower_bounds_
        as in `GaussianMixture`
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, only if X was a data frame

    See Also
    --------
    GaussianMixture : with ``noise=True``, outliers are a component of their own
    outlier_weights : what each row counts for

    Notes
    -----
    Starts are those of a Gaussian mixture on a sample whose rows are weighted by the probability that they are no
    clutter (Byers & Raftery 1998): a Gaussian start on all rows would often give a component to the outliers. Fits are
    float64, whatever the dtype of X. There are no `missing` values, errors of measurement, `partial_fit`, noise,
    `fixed`, hard assignment, `on_collapse` and checkpoints, and the methods for marginals and conditionals are those of
    `GaussianMixture` alone.

    References
    ----------
    Peel & McLachlan (2000), Robust mixture modelling using the t distribution, Stat. Comput. 10, 339-348.

    Examples
    --------
    A tenth of the rows are wild, and the means stay where the others are:

    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(450, 2)), rng.normal(size=(450, 2)) + 8, rng.uniform(-60, 60, (100, 2))])
    >>> model = fastem.StudentMixture(2, random_state=0).fit(X)
    >>> model.means_[model.means_[:, 0].argsort()].round(1) + 0.0
    array([[0. , 0. ],
           [8. , 7.9]])
    >>> model.outlier_weights([[0.0, 0.0], [50.0, -50.0]]).round(2)
    array([3.56, 0.  ])
    """

    kind, fitted, weighted = "density_estimator", "weights_", ("fit", "score")

    _fit = fit_student

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        dof: str | float = "each",
        tol: float = 1e-6,
        reg_covar: float = 1e-6,
        max_iter: int = 1000,
        n_init: int = 1,
        init_params: str = "auto",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
        regularization: str | Remedy | None = "geometric",
        solver: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.dof = dof
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads
        self.regularization = regularization
        self.solver = solver

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        dof: ArrayLike,
        covariance_type: str = "full",
    ) -> Self:
        """Return a fitted estimator of known parameters.

        Parameters
        ----------
        weights : (K,) array-like, whose sum is 1
        means : (K, D) array-like
        covariances : array-like
            scale matrices, in the shape of `covariances_`
        dof : (K,) array-like or float, at least 0.1
        covariance_type : str, default "full"

        Returns
        -------
        StudentMixture
            its `status_` is None

        Raises
        ------
        ValueError
            for parameters that are not those of a mixture

        Examples
        --------
        >>> import fastem
        >>> model = fastem.StudentMixture.from_parameters([1.0], [[0.0]], [[[1.0]]], dof=1.0)  # Cauchy
        >>> model.score_samples([[0.0], [100.0]]).round(2)
        array([ -1.14, -10.36])
        """
        params = make_params(weights, means, covariances, covariance_type)
        K = len(params.means)
        each = positive_dof(np.full(K, dof) if np.ndim(dof) == 0 else dof, K)
        model = cls(K, covariance_type=covariance_type)
        set_student(model, StudentParams(*params[:4], each))
        return model

    def outlier_weights(self, X: Any) -> Array:
        """Return what each row counts for in means and scale matrices: about 1 in a cluster, near 0 far out.

        It is the mean of u = (dof + D) / (dof + q) over the components that the row may belong to, where q is its
        squared distance; at the centre of a component it is 1 + D / dof. The mean over the rows of the fit is 1, about.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes

        Returns
        -------
        (N,) float64

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        fastem.AnomalyDetector : flags rows of low density

        References
        ----------
        Peel & McLachlan (2000), Stat. Comput. 10, 339-348, section 5.
        """
        return weights_of_rows(self, X)
