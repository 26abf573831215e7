"""`FactorMixture`: a mixture of factor analysers, for clusters of rows with many features."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike

from fastem.estimators.factors.state import FactorState, make_factors
from fastem.estimators.factors.training import fit_factors, scores_of_factors, set_factors
from fastem.estimators.fitting import Fitting
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.parameters import check_strings
from fastem.estimators.scoring import Criteria
from fastem.model.factor_model import NOISE
from fastem.model.matrices import Array
from fastem.model.remedies.base import Remedy


class FactorMixture(Fitting, Criteria, FactorState):
    """Mixture of factor analysers, fitted by expectation-maximisation.

    Each component has the covariance L L' + Psi: a few factors, whose loadings L are (D, q), and a variance for the
    noise of each feature, its uniqueness. That takes about D (q + 1) numbers, where a full covariance takes D^2 / 2: so
    a mixture of many features can be fitted to few rows, in time and memory that grow with D q.

    Parameters
    ----------
    n_components : int, default 1
    n_factors : int, default 1
        q, the number of factors of each component, at most D
    noise : {"each", "shared", "isotropic"}, default "each"
        the uniquenesses: for each component and feature, for each feature and the same in all components, or for each
        component and the same for all features (a mixture of probabilistic principal components)
    tol : float, default 1e-6
        the fit has converged when each row has less than this to gain in log-likelihood; with solver="em", when the
        mean log-likelihood changes by less
    reg_covar : float, default 1e-6
        what is added to every uniqueness, if `regularization` is None
    max_iter : int, default 1000
        most passes over all rows from one start
    n_init : int, default 1
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        as in `GaussianMixture`, for a mixture without factors. Their loadings are then the principal axes of its
        components
    random_state : int, RandomState or None, default None
    warm_start : bool, default False
    verbose : int, default 0
    verbose_interval : int, default 10
    n_threads : int, optional
        as in `GaussianMixture`, for the start. Passes are products of matrices by NumPy's BLAS, on its own threads
    regularization : None, "ridge", "floor", "ratio", "geometric", or a remedy, default "ridge"
        as in `GaussianMixture`, for the uniquenesses. No iteration lowers the objective under one. Of
        `fastem.InverseWishart` the `shrinkage` must be 0: there is no prior of means
    solver : {"auto", "em"}, default "auto"
        "auto" is EM with longer steps, by Anderson's method

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, D)
    loadings_ : (K, D, q)
        the factors are turned to the principal axes of L' inv(Psi) L, the largest first; the largest loading of each
        is positive
    uniquenesses_ : (K, D) each, (D,) shared, (K,) isotropic
    covariances_ : (K, D, D), made when it is asked for
    converged_, status_, fit_report_, n_iter_, lower_bound_, lower_bounds_
        as in `GaussianMixture`
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, only if X was a data frame

    See Also
    --------
    to_mixture : the same mixture with full covariances, for all that `GaussianMixture` can do
    select : choose the numbers of components and factors
    GaussianMixture : for few features, or many rows

    Notes
    -----
    This is a class of its own, and no `covariance_type` of `GaussianMixture`, since `n_factors`, loadings and factor
    scores have a meaning here alone. An iteration is a step of parameter-expanded EM (Liu, Rubin & Wu 1998) on sums of
    size K D (q + 2). No uniqueness is less than 1e-8 of the variance of its feature over all rows (isotropic: of their
    mean): in Heywood cases, where one goes to 0, the fit ends there. A log-likelihood is rounded by up to EPS times the
    largest ratio of a variance to its uniqueness, times its size: there, `lower_bounds_` may seem to fall by 1e-8,
    though no iteration lowers what they round. Arithmetic is float64, whatever the dtype of X.
    Results have the same bits for the same number of threads of BLAS, whatever the source of the rows. There are no
    `partial_fit`, noise component, `fixed`, hard assignment, `on_collapse`, checkpoints and solver="lbfgs".

    References
    ----------
    Ghahramani & Hinton (1996), The EM algorithm for mixtures of factor analyzers, CRG-TR-96-1. McLachlan, Peel & Bean
    (2003), Modelling high-dimensional data by mixtures of factor analyzers, Comput. Stat. Data Anal. 41, 379-388.
    Tipping & Bishop (1999), Mixtures of probabilistic principal component analyzers, Neural Comput. 11, 443-482. Liu,
    Rubin & Wu (1998), Parameter expansion to accelerate EM: the PX-EM algorithm, Biometrika 85, 755-770.

    Examples
    --------
    Two clusters of 50 features, each along a line of its own:

    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> means, lines = rng.normal(size=(2, 50)), rng.normal(size=(2, 50))
    >>> X = np.repeat(means, 150, axis=0) + rng.normal(size=(300, 1)) * np.repeat(lines, 150, axis=0)
    >>> X += 0.3 * rng.normal(size=X.shape)
    >>> model = fastem.FactorMixture(2, n_factors=1, random_state=0).fit(X)
    >>> model.loadings_.shape, model.uniquenesses_.shape
    ((2, 50, 1), (2, 50))
    >>> model.weights_.round(2)
    array([0.5, 0.5])
    """

    kind, fitted, weighted = "density_estimator", "weights_", ("fit", "score")

    _fit = fit_factors

    def __init__(
        self,
        n_components: int = 1,
        n_factors: int = 1,
        *,
        noise: str = "each",
        tol: float = 1e-6,
        reg_covar: float = 1e-6,
        max_iter: int = 1000,
        n_init: int = 1,
        init_params: str = "kmeans",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
        regularization: str | Remedy | None = "ridge",
        solver: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.n_factors = n_factors
        self.noise = noise  # type: ignore[assignment]  # a str, where GaussianMixture has a bool
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
        loadings: ArrayLike,
        uniquenesses: ArrayLike,
        noise: str = "each",
    ) -> Self:
        """Return a fitted estimator of known parameters.

        Parameters
        ----------
        weights : (K,) array-like, whose sum is 1
        means : (K, D) array-like
        loadings : (K, D, q) array-like
        uniquenesses : array-like
            in the shape of `uniquenesses_`
        noise : str, default "each"

        Returns
        -------
        FactorMixture
            its `status_` is None

        Raises
        ------
        ValueError
            for parameters that are not those of a mixture

        Examples
        --------
        >>> import fastem
        >>> model = fastem.FactorMixture.from_parameters([1.0], [[0.0, 0.0]], [[[1.0], [2.0]]], [[1.0, 1.0]])
        >>> model.covariances_
        array([[[2., 2.],
                [2., 5.]]])
        """
        model = cls(noise=noise)
        check_strings(model, cls.__name__, noise=NOISE)
        params = make_factors(weights, means, loadings, uniquenesses, NOISE[noise])
        model.n_components, _, model.n_factors = params.loadings.shape
        set_factors(model, params)
        return model

    def factor_scores(self, X: Any) -> Array:
        """Return the posterior means of the factors of each row's most probable component.

        Factors of one component are not those of another: `predict` says whose they are. They are what
        `sklearn.decomposition.FactorAnalysis.transform` returns for one component, but for a rotation.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes

        Returns
        -------
        (N, q) float64

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        Examples
        --------
        >>> import fastem
        >>> model = fastem.FactorMixture.from_parameters([1.0], [[0.0, 0.0]], [[[1.0], [2.0]]], [[1.0, 1.0]])
        >>> model.factor_scores([[1.0, 2.0], [0.0, 0.0]]).round(3)
        array([[0.833],
               [0.   ]])
        """
        return scores_of_factors(self, X)

    def to_mixture(self) -> GaussianMixture:
        """Return the same mixture with full covariances, (K, D, D).

        Returns
        -------
        GaussianMixture
            its `status_` is None

        Raises
        ------
        NotFittedError
            if the mixture is not fitted

        Examples
        --------
        >>> import fastem
        >>> model = fastem.FactorMixture.from_parameters([1.0], [[0.0, 0.0]], [[[1.0], [2.0]]], [[1.0, 1.0]])
        >>> model.to_mixture().conditional_mean([[5.0]], 1).round(3)
        array([[2.]])
        """
        params = self.params_
        return GaussianMixture.from_parameters(params.weights, params.means, params.full_covariances())
