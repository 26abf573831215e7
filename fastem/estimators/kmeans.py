"""`KMeans`: scikit-learn's class, without importing scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.containers import choose_container, put_in_container
from fastem.estimators.kmeans_parameters import check_centres, check_kmeans
from fastem.estimators.protocol import Estimator, check_hooks
from fastem.fitting.centres import move_centres
from fastem.fitting.lloyd import Clustering, assign, inertia, run_lloyd, squared_distances, tolerated_shift
from fastem.fitting.seeds import distinct_sample, draw_distinct_rows, draw_seeds
from fastem.kernels.jit import threads
from fastem.model.checks import (
    ConvergenceWarning,
    check_fitted,
    check_n_threads,
    check_random_state,
    exception,
)
from fastem.model.given import check_means
from fastem.model.matrices import Array
from fastem.model.params import unit_spheres
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource, Source
from fastem.sources.opening import find_named, find_source
from fastem.sources.parts import PartedSource
from fastem.sources.rows import check_n_features
from fastem.sources.scans import check_clusters


class Run(NamedTuple):
    """The outcome of one start.

    Attributes
    ----------
    inertia : float
    centres : (K, D) float64, numbers of the rows' dtype
    n_iter : int
    n_filled : int, centres that are the nearest of a row
    """

    inertia: float
    centres: Array
    n_iter: int
    n_filled: int


def by_inertia(run: Run) -> float:
    """Return the key by which runs are compared."""
    return run.inertia


class KMeans(Estimator):
    """k-means clustering by Lloyd's algorithm; a drop-in for scikit-learn's.

    k-means is classification EM with equal weights and one spherical covariance for all components (see
    `fastem.GaussianMixture`) that looks for the means alone. The sum of squared distances to the nearest centre never
    rises.

    Parameters
    ----------
    n_clusters : int, default 8
    init : {"k-means++", "random"}, (K, D) array-like or callable, default "k-means++"
        where the centres start. "k-means++" draws rows one by one, far from each other; "random" draws rows at random;
        an array is taken as it is. A function is called as ``init(X, n_clusters, random_state=...)`` with the rows,
        which must be in memory, and returns centres. Rows are drawn from a sample of max(50,000, 50 n_clusters) if
        there are more
    n_init : int or "auto", default "auto"
        number of starts; the run with the least inertia is kept. "auto" is 10 for "random" and functions, else 1
    max_iter : int, default 300
        most iterations of a run
    tol : float, default 1e-4
        a run has converged when no row changes its cluster, or the centres' squared shift is at most `tol` times the
        mean variance of the columns
    verbose : int, default 0
        1 prints the inertia of each iteration
    random_state : int, RandomState or None, default None
        seed of all random numbers; None takes NumPy's global generator
    copy_x : bool, default True
        has no effect and is here because scikit-learn has it: rows are never written to, nor copied
    algorithm : {"lloyd", "elkan"}, default "lloyd"
        has no effect and is here because scikit-learn has it: both find the same centres, and Lloyd's algorithm runs
    n_threads : int, optional
        most threads that a method uses. Default: as many as Numba is set to. The bits do not depend on it

    Attributes
    ----------
    cluster_centers_ : (K, D), float32 if X was, else float64
    labels_ : (N,) int32, the nearest centre of each row
    inertia_ : float, the (weighted) sum of squared distances to the nearest centre
    n_iter_ : int, of the run that was kept
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, only if X was a data frame

    See Also
    --------
    fastem.GaussianMixture : clusters of different sizes and shapes

    Notes
    -----
    From the same start the labels are scikit-learn's after each iteration, except for rows that are equally far from
    two centres to rounding. Distances are computed from differences, in float64 also for float32 rows, so that they
    lose no digits where data are far from 0. As in scikit-learn, an empty cluster takes the row that is farthest from
    its centre. Unlike there, `tol` counts rows by their weights: weight 2 is the row twice, and a row of weight 0
    belongs to no cluster.

    References
    ----------
    Lloyd (1982), IEEE Trans. Inf. Theory 28, 129-137; Arthur & Vassilvitskii (2007), SODA, 1027-1035; Fritzke (1997),
    Neural Process. Lett. 5, 35-45 (moves of centres); Celeux & Govaert (1992), Comput. Stat. Data Anal. 14, 315-332,
    section 4 (k-means as classification EM).

    Examples
    --------
    >>> import fastem
    >>> X = [[0.0], [1.0], [9.0], [11.0]]
    >>> model = fastem.KMeans(2, init=[[0.0], [1.0]]).fit(X)
    >>> model.cluster_centers_.ravel(), model.labels_, model.inertia_
    (array([ 0.5, 10. ]), array([0, 0, 1, 1], dtype=int32), 2.5)
    """

    kind, fitted, weighted = "clusterer", "cluster_centers_", ("fit", "score")
    hooks: ClassVar[dict[str, str]] = {
        "_init_centroids": "init, which may be a function",
        "_check_params_vs_input": "a fit of your own that checks and then calls super().fit",
        "_validate_center_shape": "a fit of your own that checks and then calls super().fit",
        "_transform": "a transform of your own",
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | ArrayLike | Callable[..., ArrayLike] = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        n_threads: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Find the centres.

        Parameters
        ----------
        X : (N, D) array-like, or pandas or polars frame, or what `fastem.as_source` takes
        y : ignored
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it
            weight 2 is the row twice, weight 0 the row absent

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used. The estimator is then unchanged

        Warns
        -----
        ConvergenceWarning
            if there are fewer distinct rows than clusters
        """
        check_hooks(self)
        check_kmeans(self)
        source = find_source(X, sample_weight, who=type(self).__name__)
        if isinstance(source, PartedSource):
            raise TypeError(
                "KMeans works in one process; on Dask collections and MPI ranks GaussianMixture(n_clusters, "
                "covariance_type='tied_spherical', assignment='hard', fixed=('weights',)) is k-means"
            )
        check_clusters(source, self.n_clusters)
        with threads(self.n_threads):
            best = self._best(source)
            labels = score(source, unit_spheres(best.centres), label=True, distances=True).label.astype(np.int32)
        self.cluster_centers_ = best.centres.astype(source.dtype)
        self.labels_, self.inertia_, self.n_iter_ = labels, best.inertia, best.n_iter
        self.n_features_in_ = source.n_features
        self.__dict__.pop("feature_names_in_", None)
        if source.columns is not None:
            self.feature_names_in_ = source.columns
        if best.n_filled < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({best.n_filled}) found smaller than n_clusters ({self.n_clusters}). "
                "Possibly due to duplicate points in X.",
                exception(ConvergenceWarning),
                stacklevel=2,
            )
        return self

    def _best(self, source: Source) -> Run:
        """Return the best of `n_init` runs, of equals the first."""
        rng, enough = check_random_state(self.random_state), tolerated_shift(source, self.tol)
        runs = [self._run(source, rng, enough) for _ in range(self._n_runs())]
        return min(runs, key=by_inertia)

    def _n_runs(self) -> int:
        """Return how many runs `n_init` asks for."""
        drawn = isinstance(self.init, str) or callable(self.init)  # else given
        if self.n_init == "auto":
            return 10 if drawn and self.init != "k-means++" else 1
        if not drawn and self.n_init != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in KMeans instead of "
                f"n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=4,
            )
        return int(self.n_init) if drawn else 1

    def _run(self, source: Source, rng: np.random.RandomState, enough: float) -> Run:
        """Return the outcome of one start; of k-means++ with the moves that a sample says would help."""
        if not isinstance(self.init, str) or self.init == "random":
            return self._lloyd(source, self._start(source, rng), enough)
        K, sample = self.n_clusters, distinct_sample(source, self.n_clusters, rng)
        run = self._lloyd(source, draw_seeds(sample, K, rng), enough)
        if run.n_iter == self.max_iter:
            return run
        moved = move_centres(sample, run.centres, enough, self.max_iter)
        return run if moved is run.centres else min(run, self._lloyd(source, moved, enough, run.n_iter), key=by_inertia)

    def _start(self, source: Source, rng: np.random.RandomState) -> Array:
        """Return the centres that `init` gives, unless it is "k-means++", (K, D)."""
        K, init = self.n_clusters, self.init
        if isinstance(init, str):
            return draw_distinct_rows(distinct_sample(source, K, rng), K, rng)
        if callable(init):
            if not isinstance(source, ArraySource):
                raise ValueError("a function as init needs the rows in memory: compute centres and pass those")
            rows = source.X if source.weight is None else source.X[source.weight > 0]
            init = init(rows, K, random_state=rng)
        return check_centres(init, K, source.n_features)

    def _lloyd(self, source: Source, centres: Array, enough: float, done: int = 0) -> Run:
        """Run Lloyd's algorithm after `done` iterations, and print what `verbose` asks for."""
        if self.verbose and not done:
            print("Initialization complete")
        report = partial(self._print, done) if self.verbose else None
        found = run_lloyd(source, centres, enough, self.max_iter - done, report)
        found = found._replace(n_iter=done + found.n_iter)
        if self.verbose:
            self._print_end(found, enough)
        centres = found.centres.astype(source.dtype).astype(np.float64)
        stats = assign(source, centres)
        return Run(inertia(stats), centres, found.n_iter, int(np.count_nonzero(stats.s0)))

    @staticmethod
    def _print(done: int, iteration: int, inertia: float) -> None:
        print(f"Iteration {done + iteration}, inertia {inertia}.")

    @staticmethod
    def _print_end(found: Clustering, enough: float) -> None:
        if found.settled:
            print(f"Converged at iteration {found.n_iter - 1}: strict convergence.")
        elif found.shift <= enough:
            shift = f"center shift {found.shift} within tolerance {enough}"
            print(f"Converged at iteration {found.n_iter - 1}: {shift}.")

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int32]:
        """Fit, and return `labels_`. Arguments and errors are those of `fit`."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def fit_transform(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Any:
        """Fit, and return what `transform` says of the same rows. Arguments and errors are those of `fit`."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    # --- using a fit: X is (N, D), or what `fastem.as_source` takes -----------------------------------------------

    def _source(self, X: Any, sample_weight: Any = None) -> tuple[Source, Array]:
        """Return a source of rows that have the features of the fit, and the checked centres."""
        check_fitted(self)
        who = type(self).__name__
        source = find_named(X, getattr(self, "feature_names_in_", None), sample_weight, who)
        K, D = np.shape(self.cluster_centers_)
        check_n_features(source.n_features, D, who)
        return source, check_means(self.cluster_centers_, K, D)

    def predict(self, X: Any) -> NDArray[np.int32]:
        """Return the nearest centre of each row, of equals the first. No N x K array is made.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes

        Returns
        -------
        (N,) int32

        Raises
        ------
        NotFittedError
            if there are no centres yet
        ValueError
            for rows that cannot be used

        See Also
        --------
        transform : the distances to all centres
        """
        source, centres = self._source(X)
        with threads(check_n_threads(self.n_threads)):
            return score(source, unit_spheres(centres), label=True, distances=True).label.astype(np.int32)

    def transform(self, X: Any) -> Any:
        """Return the distance of each row to each centre.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes

        Returns
        -------
        (N, K), float32 if X is, else float64
            an array, or the data frame that `set_output` asks for

        Raises
        ------
        NotFittedError
            if there are no centres yet
        ValueError
            for rows that cannot be used

        See Also
        --------
        predict : the nearest centre
        """
        source, centres = self._source(X)
        kind = choose_container(getattr(self, "_sklearn_output_config", {}).get("transform"))
        with threads(check_n_threads(self.n_threads)):
            distances = np.sqrt(squared_distances(source, centres)).astype(source.dtype, copy=False)
        return put_in_container(distances, self.get_feature_names_out(), X, kind)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Set what `transform` and `fit_transform` return.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            "default" is an array; the others are data frames with the names of `get_feature_names_out`. None changes
            nothing. Before the first call, scikit-learn's global setting counts

        Returns
        -------
        self
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # the name that scikit-learn's clone copies
        return self

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return minus the (weighted) sum of squared distances of the rows of X (N, D) to their nearest centres."""
        source, centres = self._source(X, sample_weight)
        with threads(check_n_threads(self.n_threads)):
            return 0.0 - inertia(assign(source, centres))  # not -0.0

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns of `transform`, (K,): "kmeans0", "kmeans1", ..."""
        check_fitted(self)
        return np.array([f"kmeans{k}" for k in range(len(self.cluster_centers_))], dtype=object)
