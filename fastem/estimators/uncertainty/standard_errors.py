"""Standard errors of a mixture's parameters, in the parameters' shapes and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.report import text_table
from fastem.model.matrices import Array
from fastem.model.numbers import Numbers

SHOWN = 60  # parameters that are printed


@dataclass(frozen=True, eq=False)
class StandardErrors:
    """Standard errors of a mixture's parameters; `print` shows them beside the parameters.

    Attributes
    ----------
    estimate : (P,) float64
        the parameters as a vector: weights, then that of noise if there is noise, means, and covariances, of matrices
        the lower triangle, row by row
    covariance : (P, P) float64, the covariance of these estimates; the weights sum to 1, so that it is singular
    names : list of P str, what each number is
    weights_ : (K,) float64
    means_ : (K, D) float64
    covariances_ : float64, in the shape of the mixture's `covariances_`
    noise_weight_ : float, or None without a noise component

    See Also
    --------
    GaussianMixture.standard_errors, Bootstrap.standard_errors : make it

    Examples
    --------
    >>> import fastem
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.GaussianMixture(2, covariance_type="tied", tol=1e-6, random_state=0).fit(X)
    >>> print(model.sort_components("means").standard_errors(X))
    parameter         estimate  standard error
    weight 0          0.3592    0.03001
    weight 1          0.6408    0.03001
    mean 0 x0         2.046     0.05257
    mean 0 x1         54.6      0.6306
    mean 1 x0         4.296     0.02643
    mean 1 x1         80.04     0.4605
    covariance x0     0.1328    0.01242
    covariance x1 x0  0.7515    0.1285
    covariance x1     35.17     3.325
    """

    estimate: Array
    covariance: Array
    numbers: Numbers = field(repr=False)
    features: Sequence[str] | None = field(default=None, repr=False)

    @cached_property
    def vector(self) -> Array:
        """The standard errors as a vector, (P,)."""
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def names(self) -> list[str]:
        """What each number of `estimate` is, P names."""
        return self.numbers.names(self.features)

    @property
    def weights_(self) -> Array:
        """The standard errors of the weights, (K,)."""
        return self.numbers.split(self.vector)[0]

    @property
    def means_(self) -> Array:
        """The standard errors of the means, (K, D)."""
        return self.numbers.split(self.vector)[1]

    @property
    def covariances_(self) -> Array:
        """The standard errors of the covariances, in the shape of the mixture's `covariances_`."""
        return self.numbers.split(self.vector)[2]

    @property
    def noise_weight_(self) -> float | None:
        """The standard error of the weight of noise; None without a noise component."""
        noise = self.numbers.split(self.vector)[3]
        return None if noise is None else float(noise)

    def __str__(self) -> str:
        return parameter_table(self.names, {"estimate": self.estimate, "standard error": self.vector})


def parameter_table(names: Sequence[str], columns: dict[str, Array]) -> str:
    """Return a table of text with a line for each parameter, up to SHOWN of them."""
    rows = [
        [name, *(f"{number:.4g}" for number in numbers)]
        for name, *numbers in zip(names[:SHOWN], *(column[:SHOWN] for column in columns.values()), strict=True)
    ]
    lines = [*text_table(("parameter", *columns), rows)]
    if len(names) > SHOWN:
        lines.append(f"... and {len(names) - SHOWN} more")
    return "\n".join(lines)


def feature_list(names: NDArray[Any] | None) -> list[str] | None:
    """Return names of features as a list of str; None for features without names."""
    return None if names is None else [str(name) for name in names]
