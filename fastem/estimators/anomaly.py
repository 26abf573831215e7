"""Anomalies: rows where the density of a mixture is below a threshold."""

from __future__ import annotations

import copy
import numbers
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.protocol import Estimator
from fastem.estimators.rows import rows_for
from fastem.estimators.scoring import scores_of
from fastem.model.checks import check_fitted
from fastem.model.matrices import Array
from fastem.model.remedies.table import unit_free
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.opening import find_source
from fastem.sources.scans import all_weights

SLACK = 1e-9  # a share of the rows is met if it is by rounding


class AnomalyDetector(Estimator):
    """Rows whose log density under a Gaussian mixture is below a threshold; an outlier detector as scikit-learn's.

    Parameters
    ----------
    estimator : GaussianMixture, default None
        what is fitted, where there is none one Gaussian with a `regularization`, so that the columns' units do not
        matter. One that is fitted already stays as it is, and `fit` sets the threshold for it; of one that is not,
        `fit` fits a copy. To fit a fitted one anew pass ``sklearn.base.clone(model)``
    contamination : float in (0, 0.5], default 0.01
        the share of the rows (of their weight) seen in fit that are anomalies: as many are flagged, but of rows of
        equal density at the threshold, which are not
    threshold : float, default None
        flag rows whose log density is below this. `contamination` then counts for nothing

    Attributes
    ----------
    estimator_ : GaussianMixture, fitted
    threshold_ : float, the log density below which a row is an anomaly
    offset_ : float, scikit-learn's name for it
    n_features_in_ : int
    feature_names_in_ : (D,) array of str, if X was a data frame

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
        """A detector with a mixture that is fitted already.

        Parameters
        ----------
        model : GaussianMixture, fitted
        threshold : float, optional
            a log density. Without it the detector has to be told by `calibrate`

        Returns
        -------
        AnomalyDetector

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
        >>> fastem.AnomalyDetector.from_mixture(model, -5.0).is_anomaly([[1.0], [4.0]])
        array([False,  True])
        """
        check_fitted(model)
        detector = cls(model, threshold=threshold)
        if threshold is not None:
            check_threshold(threshold)
            detector._adopt(copy.deepcopy(model), float(threshold))
        else:
            detector.estimator_ = copy.deepcopy(model)
        return detector

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture, unless it is fitted already, and set the threshold.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        y : ignored
        sample_weight : (N,) array-like, non-negative: weight 2 is the row twice, weight 0 the row absent

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used
        """
        check_constructor(self)
        default = GaussianMixture(random_state=0, **unit_free())
        model = copy.deepcopy(default if self.estimator is None else self.estimator)
        if model.__sklearn_is_fitted__():
            source = rows_for(model, X, sample_weight)
        else:
            source = find_source(X, sample_weight, min_rows=2)
            model.fit(source)
        self._adopt(model, self._found_threshold(model, source))
        return self

    def calibrate(self, X: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Set the threshold by `contamination` (or `threshold`) for rows, without fitting the mixture.

        Parameters
        ----------
        X, sample_weight : as in `fit`

        Returns
        -------
        self

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
        self._adopt(self.estimator_, self._found_threshold(self.estimator_, source))
        return self

    def _found_threshold(self, model: GaussianMixture, source: Source) -> float:
        if self.threshold is not None:
            return float(self.threshold)
        return lowest(scores_of(model, source, density=True).density, all_weights(source), self.contamination)

    def _adopt(self, model: GaussianMixture, threshold: float) -> None:
        self.estimator_, self.threshold_, self.n_features_in_ = model, threshold, model.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(model, "feature_names_in_"):
            self.feature_names_in_ = model.feature_names_in_

    @property
    def offset_(self) -> float:
        """See the class."""
        return self.threshold_

    # --- scores: X is (N, D), or what `fastem.as_source` takes ----------------------------------------------------

    def score_samples(self, X: Any) -> Array:
        """Log density of each row of X (N, D): (N,) float64; -inf where it underflows."""
        check_fitted(self)
        return scores_of(self.estimator_, rows_for(self.estimator_, X), density=True).density

    def decision_function(self, X: Any) -> Array:
        """Log density less the threshold, (N,) float64: negative for anomalies, 0 at a threshold of -inf, too."""
        density = self.score_samples(X)
        return np.subtract(density, self.threshold_, out=np.zeros_like(density), where=density != self.threshold_)

    def is_anomaly(self, X: Any) -> NDArray[np.bool_]:
        """Whether each row of X (N, D) is an anomaly: (N,)."""
        return np.asarray(self.score_samples(X) < self.threshold_)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for anomalies and 1 for other rows of X (N, D): (N,) int64."""
        return np.where(self.is_anomaly(X), -1, 1)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """`fit`, then `predict` of the same rows."""
        return self.fit(X, y, sample_weight).predict(X)


def lowest(density: Array, weight: Array | None, share: float) -> float:
    """The log density below which the share of the rows' weight lies, but for ties: that of the first row above."""
    order = np.argsort(density, kind="stable")
    below = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
    first = np.searchsorted(below, share * below[-1] * (1 + SLACK), side="right")
    return float(density[order[min(first, len(order) - 1)]])


def rows_at(source: Source, index: NDArray[np.intp]) -> NDArray[Any]:
    """Rows of a source by their numbers, in ascending order: (n, D)."""
    found: list[NDArray[Any]] = []

    def pick(block: Block) -> None:
        here = index[(index >= block.start) & (index < block.start + len(block.X))]
        found.append(block.X[here - block.start])

    source.for_each(pick, rows_at_once(source.n_features))
    return np.concatenate(found)


def check_constructor(detector: AnomalyDetector) -> None:
    """ValueError for parameters that cannot be used."""
    share = detector.contamination
    if not isinstance(share, numbers.Real) or not 0 < float(share) <= 0.5:
        raise ValueError(f"contamination must be a float in (0, 0.5]; got {share!r}")
    if detector.threshold is not None:
        check_threshold(detector.threshold)
    if not isinstance(detector.estimator, GaussianMixture | None):
        raise ValueError(f"estimator must be a GaussianMixture or None; got {type(detector.estimator).__name__}")


def check_threshold(threshold: Any) -> None:
    """ValueError unless it is a finite number."""
    if not isinstance(threshold, numbers.Real) or not np.isfinite(float(threshold)):
        raise ValueError(f"threshold must be a log density, a finite number; got {threshold!r}")
