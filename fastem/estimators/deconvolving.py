"""The true places of rows with errors of measurement, under a fitted mixture."""

from __future__ import annotations

from typing import Any

from fastem.analysis.deconvolution import deconvolve
from fastem.estimators.rows import rows_for
from fastem.estimators.state import MixtureState
from fastem.model.matrices import Array
from fastem.sources.errors import has_errors
from fastem.sources.parts import local_rows


class Deconvolving(MixtureState):
    """The method of `GaussianMixture` for rows with errors of measurement."""

    takes_errors = True

    def deconvolve(self, X: Any, error_covariance: Any = None) -> tuple[Array, Array]:
        """Return where each row truly is, as far as the row, its errors and the fitted mixture tell.

        The mixture is the distribution of true places. The posterior of a row's true place is a mixture again, of
        which these are the mean and the covariance: between components that may both have made the row, the mean lies
        where neither is. With `noise` they are those of a row that is no noise.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        error_covariance : (D, D) array-like for all rows, (N, D) variances, or (N, D, D), as `fit` takes it
            Default: those of a source, which has its own

        Returns
        -------
        mean : (N, D) float64
        covariance : (N, D, D) float64
            that of the true place about this mean; at most that of the errors in a mixture that is wide beside them

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows or errors that cannot be used, and if there are no errors

        See Also
        --------
        fit : finds the distribution of true places, with the same `error_covariance`

        References
        ----------
        Bovy, Hogg & Roweis (2011), Ann. Appl. Stat. 5, 1657-1677, eqs. 16 and 17.

        Examples
        --------
        A measurement with an error as wide as the component lies half way to the component's mean:

        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [4.0], "spherical")
        >>> mean, covariance = model.deconvolve([[2.0], [2.0]], [[4.0], [0.0]])
        >>> mean.ravel(), covariance.ravel()
        (array([1., 2.]), array([2., 0.]))
        """
        source = local_rows(rows_for(self, X, errors=error_covariance))
        if not has_errors(source):
            raise ValueError("deconvolve needs the errors of the rows: error_covariance, or a source that has them")
        return deconvolve(source, self.params_)
