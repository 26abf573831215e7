"""The methods `fit` and `fit_predict` of mixtures that are fitted to rows, their weights and their labels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.scoring import Scoring
from fastem.fitting.loop import Callback
from fastem.sources.blocks import Source


class Fitting(Scoring):
    """The methods by which mixtures of t distributions and of factor analysers are fitted."""

    def _fit(self, X: Any, sample_weight: Any = None, callback: Callback | None = None, labels: Any = None) -> Source:
        """Fit to rows, and return their source; warnings are those of the caller's caller."""
        raise NotImplementedError

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: Any = None,
        callback: Callback | None = None,
    ) -> Self:
        """Estimate the parameters from rows.

        Parameters
        ----------
        X : (N, D) array-like, or pandas or polars frame, or what `fastem.as_source` takes
        y : ignored
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
            weight 2 is the row twice, weight 0 the row absent. Default: 1
        labels : (N,) array-like of int, or (N, K) of bool, optional
            the component of each row, -1 where it is unknown; or the components that each row may belong to
        callback : function, optional
            It is called as ``callback(iteration, lower_bound, params)`` after each pass. If it returns True, the fit
            ends with Status.INTERRUPTED

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used. The estimator is then unchanged
        FitInterrupted
            (a KeyboardInterrupt) on Ctrl-C
        SourceError
            (an OSError) if rows cannot be read on a later pass

        Warns
        -----
        ConvergenceWarning
            if the fit that was kept has not converged
        """
        self._fit(X, sample_weight, callback, labels)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit, and return the most probable component of each row, (N,) int64, as `predict` does.

        Arguments and errors are those of `fit`.

        See Also
        --------
        fit, predict : do each alone
        """
        return self.predict(self._fit(X, sample_weight))
