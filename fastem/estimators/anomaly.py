"""Anomalies: rows whose density under a mixture is below a threshold."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.protocol import Estimator
from fastem.estimators.rows import rows_for
from fastem.estimators.scoring import scores_of
from fastem.model.checks import check_fitted, real_or_nan
from fastem.model.matrices import Array
from fastem.model.remedies.table import unit_free
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.opening import find_source
from fastem.sources.parts import PartedSource
from fastem.sources.scans import all_weights

SLACK = 1e-9  # a share of the rows is met if it is by rounding


class AnomalyDetector(Estimator):
    """Rows whose log density under a Gaussian mixture is below a threshold; an outlier detector as scikit-learn's.

    Parameters
    ----------
    estimator : GaussianMixture, optional
        The mixture. If it is fitted, `fit` only sets the threshold for it; if not, `fit` fits a copy. To fit a fitted
        one anew, pass ``sklearn.base.clone(model)``. Default: one Gaussian with a `regularization`, so that the units
        of the columns do not matter
    contamination : float in (0, 0.5], default 0.01
        the share of anomalies among the rows seen in `fit`, by weight. As many rows are flagged, except that rows
        whose density equals the threshold are not
    threshold : float, optional
        flag rows whose log density is below this; `contamination` then counts for nothing. Default: what
        `contamination` says

    Attributes
    ----------
    estimator_ : GaussianMixture, fitted
    threshold_ : float, the log density below which a row is an anomaly
    offset_ : float, scikit-learn's name for it
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, only if X was a data frame

    See Also
    --------
    GaussianMixture : with ``noise=True``, a fit that outliers do not spoil
    fastem.plot.plot_anomalies : draw the anomalies among rows of two features

    References
    ----------
    Bishop (1994), Novelty detection and neural network validation, IEE Proc. Vis. Image Signal Process. 141, 217-222.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> X[:5] += 8.0
    >>> detector = fastem.AnomalyDetector(contamination=0.005).fit(X)
    >>> np.flatnonzero(detector.is_anomaly(X)), detector.predict([[0.0, 0.0], [9.0, 9.0]])
    (array([0, 1, 2, 3, 4]), array([ 1, -1]))
    """

    kind, fitted, weighted = "outlier_detector", "threshold_", ("fit",)
    if TYPE_CHECKING:  # what `set_mixture` sets
        estimator_: GaussianMixture
        threshold_: float
        n_features_in_: int
        feature_names_in_: NDArray[Any]

    def __init__(
        self,
        estimator: GaussianMixture | None = None,
        *,
        contamination: float = 0.01,
        threshold: float | None = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.threshold = threshold

    @classmethod
    def from_mixture(cls, model: GaussianMixture, threshold: float | None = None) -> Self:
        """Return a detector with a mixture that is fitted already.

        Parameters
        ----------
        model : GaussianMixture, fitted
        threshold : float, optional
            a log density. Default: there is no threshold until `calibrate` sets one

        Returns
        -------
        AnomalyDetector

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if the threshold is not a finite number
        TypeError
            for anything but a GaussianMixture

        See Also
        --------
        calibrate : set the threshold by rows

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
        >>> fastem.AnomalyDetector.from_mixture(model, -5.0).is_anomaly([[1.0], [4.0]])
        array([False,  True])
        """
        if not isinstance(model, GaussianMixture):
            raise TypeError(f"from_mixture takes a GaussianMixture; got a {type(model).__name__}")
        check_fitted(model)
        detector = cls(model, threshold=threshold)
        if threshold is not None:
            check_threshold(threshold)
            set_mixture(detector, copy.deepcopy(model), float(threshold))
        else:
            detector.estimator_ = copy.deepcopy(model)
        return detector

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture, unless it is fitted already, and set the threshold.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        y : ignored
        sample_weight : (N,) array-like, non-negative, optional
            weight 2 is the row twice, weight 0 the row absent

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used
        TypeError
            for rows of a cluster, unless `threshold` is given: fit a mixture to them, and `calibrate` by some

        See Also
        --------
        calibrate : set the threshold alone
        """
        check_constructor(self)
        default = GaussianMixture(random_state=0, **unit_free())
        model = copy.deepcopy(default if self.estimator is None else self.estimator)
        given = model.__sklearn_is_fitted__()
        source = (
            rows_for(model, X, sample_weight)
            if given
            else find_source(X, sample_weight, min_rows=2, missing=model.missing)
        )
        check_together(self, source)
        if not given:
            model.fit(source)
        set_mixture(self, model, self._choose_threshold(model, source))
        return self

    def calibrate(self, X: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Set the threshold by rows, according to `contamination` or `threshold`, without fitting the mixture.

        Parameters
        ----------
        X, sample_weight : as in `fit`

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            if there is no fitted mixture
        ValueError
            for parameters or data that cannot be used

        See Also
        --------
        from_mixture : a detector of a mixture that is fitted already

        Examples
        --------
        >>> import numpy as np, fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
        >>> detector = fastem.AnomalyDetector.from_mixture(model).set_params(contamination=0.05)
        >>> round(detector.calibrate(np.random.default_rng(0).normal(size=(10_000, 1))).threshold_, 1)
        -2.8
        """
        check_constructor(self)
        if not hasattr(self, "estimator_"):
            check_fitted(self)
        source = rows_for(self.estimator_, X, sample_weight)
        check_together(self, source)
        set_mixture(self, self.estimator_, self._choose_threshold(self.estimator_, source))
        return self

    def _allows_nan(self) -> bool:
        """See Estimator."""
        return self.estimator is not None and self.estimator.missing

    def _choose_threshold(self, model: GaussianMixture, source: Source) -> float:
        """Return the threshold that the parameters ask for, for these rows."""
        if self.threshold is not None:
            return float(self.threshold)
        return lowest(scores_of(model, source, density=True).density, all_weights(source), self.contamination)

    @property
    def offset_(self) -> float:
        """The threshold, under scikit-learn's name."""
        return self.threshold_

    # --- scores: X is (N, D), or what `fastem.as_source` takes ----------------------------------------------------

    def score_samples(self, X: Any) -> Array:
        """Return the log density of each row of X (N, D): (N,) float64, -inf where it underflows."""
        check_fitted(self)
        return scores_of(self.estimator_, rows_for(self.estimator_, X), density=True).density

    def decision_function(self, X: Any) -> Array:
        """Return the log density less the threshold of each row of X (N, D): (N,) float64, negative for anomalies.

        Where both are -inf the difference is 0.
        """
        density = self.score_samples(X)
        return np.subtract(density, self.threshold_, out=np.zeros_like(density), where=density != self.threshold_)

    def is_anomaly(self, X: Any) -> NDArray[np.bool_]:
        """Return whether each row of X (N, D) is an anomaly: (N,) bool."""
        return np.asarray(self.score_samples(X) < self.threshold_)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for anomalies and 1 for other rows of X (N, D): (N,) int64."""
        return np.where(self.is_anomaly(X), -1, 1)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit, and return what `predict` says of the same rows."""
        return self.fit(X, y, sample_weight).predict(X)


def set_mixture(detector: AnomalyDetector, model: GaussianMixture, threshold: float) -> None:
    """Set the fitted attributes of a detector."""
    detector.estimator_, detector.threshold_, detector.n_features_in_ = model, threshold, model.n_features_in_
    detector.__dict__.pop("feature_names_in_", None)
    if hasattr(model, "feature_names_in_"):
        detector.feature_names_in_ = model.feature_names_in_


def lowest(density: Array, weight: Array | None, share: float) -> float:
    """Return the log density below which a share of the rows' weight lies; rows of equal density are not split.

    It is the log density of the first row above the share. A weight of None is 1 for all rows.
    """
    order = np.argsort(density, kind="stable")
    below = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
    first = np.searchsorted(below, share * below[-1] * (1 + SLACK), side="right")
    return float(density[order[min(first, len(order) - 1)]])


def rows_at(source: Source, index: NDArray[np.intp]) -> NDArray[Any]:
    """Return rows of a source by their numbers (n,), which are in ascending order: (n, D)."""
    found: list[NDArray[Any]] = []

    def pick(block: Block) -> None:
        here = index[(index >= block.start) & (index < block.start + len(block.X))]
        found.append(block.X[here - block.start])

    source.for_each(pick, rows_at_once(source.n_features))
    return np.concatenate(found)


def check_constructor(detector: AnomalyDetector) -> None:
    """Raise a ValueError for parameters that cannot be used."""
    share = detector.contamination
    if not 0 < real_or_nan(share) <= 0.5:
        raise ValueError(f"contamination must be a float in (0, 0.5]; got {share!r}")
    if detector.threshold is not None:
        check_threshold(detector.threshold)
    if not isinstance(detector.estimator, GaussianMixture | None):
        raise ValueError(f"estimator must be a GaussianMixture or None; got {type(detector.estimator).__name__}")


def check_together(detector: AnomalyDetector, source: Source) -> None:
    """Raise a TypeError for rows in parts that lie elsewhere, unless the threshold is given, which needs no rows."""
    if detector.threshold is None and isinstance(source, PartedSource):
        raise TypeError(
            "the threshold of an AnomalyDetector is a quantile of the log densities of all rows, and those of a "
            f"{type(source).__name__} lie in other processes: fit a GaussianMixture to them, and set the threshold by "
            "some rows, AnomalyDetector.from_mixture(model).calibrate(some_rows); or give a threshold"
        )


def check_threshold(threshold: Any) -> None:
    """Raise a ValueError unless the threshold is a finite number."""
    if not np.isfinite(real_or_nan(threshold)):
        raise ValueError(f"threshold must be a log density, a finite number; got {threshold!r}")
