"""The bootstrap of a fitted mixture: its parameters on replicates of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.analysis.information import check_range
from fastem.estimators.uncertainty.replicates import KINDS, BootstrapInterrupted, Refit, Rows, batches
from fastem.estimators.uncertainty.standard_errors import StandardErrors, parameter_table
from fastem.model.checks import check_random_state
from fastem.model.matrices import Array
from fastem.model.maximisation import GaussianModel
from fastem.model.numbers import Numbers
from fastem.model.params import Params
from fastem.model.result import Status

Progress = Callable[[int, int], Any]  # of how many replicates are done, and of how many
SOUND = (Status.CONVERGED, Status.MAX_ITER)
MOST_DRAWN = 2**30  # numbers of a replicate that is drawn from the mixture: 8 GB


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The parameters of a mixture on replicates of its rows; `print` shows standard errors and intervals.

    Attributes
    ----------
    kind : "nonparametric", "parametric" or "weighted"
    estimate : (P,) float64, the parameters of the fit as a vector, as in `StandardErrors`
    replicates : (B, P) float64, those of the replicates, whose components have the order of the fit's
    status : (B,) array of Status, why the fit to each replicate ended
    sound : (B,) bool, whether it ended with CONVERGED or MAX_ITER: only these count in what follows from replicates
    weights_ : (B, K) float64
    means_ : (B, K, D) float64
    covariances_ : float64, in the shape of the mixture's `covariances_`, with a leading axis of replicates
    noise_weight_ : (B,) float64, or None without a noise component

    See Also
    --------
    GaussianMixture.bootstrap : makes it
    BootstrapInterrupted : has the replicates that were done before Ctrl-C

    Examples
    --------
    >>> import fastem
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.GaussianMixture(2, covariance_type="tied_spherical", random_state=0).fit(X)
    >>> replicates = model.sort_components("means").bootstrap(X, 200, random_state=0)
    >>> replicates.means_.shape, replicates.standard_errors.means_.round(2)
    ((200, 2, 2), array([[0.04, 0.61],
           [0.03, 0.43]]))
    """

    kind: str
    estimate: Array
    replicates: Array
    status: NDArray[np.object_]
    numbers: Numbers = field(repr=False)
    features: Sequence[str] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<{len(self.replicates)} {self.kind} replicates of {self.replicates.shape[1]} parameters>"

    def __str__(self) -> str:
        low, high = self._quantiles(0.95)
        columns = {"estimate": self.estimate, "standard error": self.standard_errors.vector, "2.5 %": low}
        count = f"{len(self.replicates)} {self.kind} replicates"
        if n_failed := int(np.count_nonzero(~self.sound)):
            count += f"; {n_failed} of them have no sound fit and are left out: see status"
        return f"{count}\n{parameter_table(self.standard_errors.names, columns | {'97.5 %': high})}"

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which replicates have a sound fit, (B,) bool."""
        return np.array([status in SOUND for status in self.status], dtype=bool)

    @property
    def weights_(self) -> Array:
        """The weights on each replicate, (B, K)."""
        return self.numbers.split(self.replicates)[0]

    @property
    def means_(self) -> Array:
        """The means on each replicate, (B, K, D)."""
        return self.numbers.split(self.replicates)[1]

    @property
    def covariances_(self) -> Array:
        """The covariances on each replicate."""
        return self.numbers.split(self.replicates)[2]

    @property
    def noise_weight_(self) -> Array | None:
        """The weight of noise on each replicate, (B,); None without a noise component."""
        return self.numbers.split(self.replicates)[3]

    @property
    def standard_errors(self) -> StandardErrors:
        """The standard deviations of the replicates, as `StandardErrors`.

        Raises
        ------
        ValueError
            if fewer than two replicates have a sound fit, or variances of the covariances are beyond float64
        """
        sound = self._sound_ones()
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = np.atleast_2d(np.cov(sound, rowvar=False))
        check_range(covariance, (sound != sound[0]).any(axis=0))
        return StandardErrors(self.estimate, covariance, self.numbers, self.features)

    def interval(self, level: float = 0.95) -> tuple[StandardNumbers, StandardNumbers]:
        """Return the ends of percentile intervals: a share of `level` of the replicates lies between them.

        Parameters
        ----------
        level : float in (0, 1), default 0.95

        Returns
        -------
        low, high : tuples of weights (K,), means (K, D), covariances, and the weight of noise or None

        Raises
        ------
        ValueError
            if the level is not in (0, 1), or fewer than two replicates have a sound fit

        References
        ----------
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.GaussianMixture(2, covariance_type="tied_spherical", random_state=0).fit(X)
        >>> low, high = model.sort_components("means").bootstrap(X, random_state=0).interval(0.9)
        >>> low[0].round(2), high[0].round(2)
        (array([0.32, 0.59]), array([0.41, 0.68]))
        """
        if not isinstance(level, (int, float, np.floating)) or not 0 < level < 1:
            raise ValueError(f"level must be a number in (0, 1), such as 0.95; got {level!r}")
        low, high = self._quantiles(float(level))
        return self.numbers.split(low), self.numbers.split(high)

    def _quantiles(self, level: float) -> Array:
        """Return the ends of percentile intervals, (2, P)."""
        return np.asarray(np.quantile(self._sound_ones(), [(1 - level) / 2, (1 + level) / 2], axis=0))

    def _sound_ones(self) -> Array:
        sound = self.replicates[self.sound]
        if len(sound) < 2:
            raise ValueError(
                f"{len(sound)} of {len(self.replicates)} replicates have a sound fit, and two are needed: see status, "
                "and try fewer components or a regularization"
            )
        return sound


StandardNumbers = tuple[Array, Array, Array, Array | None]


def bootstrap_fit(
    rows: Rows,
    params: Params,
    model: GaussianModel,
    n_samples: int,
    kind: str,
    random_state: Any = None,
    callback: Progress | None = None,
    features: Sequence[str] | None = None,
) -> Bootstrap:
    """Return the fits to replicates of rows; the arguments are those of `GaussianMixture.bootstrap`."""
    check_unit(rows, model.n_parameters(params), kind)
    rng, numbers = check_random_state(random_state), Numbers.of(params, model.family)
    refit, make = Refit(params, numbers, model, rows.n_rows), KINDS[kind]
    vectors, status = np.empty((0, sum(numbers.sizes))), np.empty(0, dtype=object)

    def so_far() -> Bootstrap:
        estimate = numbers.join(params.shares, params.means, params.covariances)
        return Bootstrap(kind, estimate, vectors, status, numbers, features)

    try:
        for n in batches(n_samples, rows.n_rows):
            found = refit([make(rows, params, rng) for _ in range(n)])
            vectors, status = np.concatenate([vectors, found[0]]), np.concatenate([status, found[1]])
            if callback is not None and callback(len(vectors), n_samples):
                break
    except KeyboardInterrupt as interrupt:
        raise BootstrapInterrupted(so_far()) from interrupt
    return so_far()


def check_unit(rows: Rows, n_parameters: int, kind: str) -> None:
    """Raise a ValueError for weights whose unit is not a row: replicates would have too few rows, or too many."""
    (N, D), n_rows = rows.X.shape, rows.n_rows
    most = {"nonparametric": np.iinfo(np.int64).max, "parametric": max(N, MOST_DRAWN // D)}.get(kind, np.inf)
    if not min(n_parameters, N) <= n_rows <= most:
        raise ValueError(
            f"sample_weight: the weights of {N} rows sum to {rows.weight.sum():.6g}, so that a replicate would have "
            f"{n_rows:.6g} rows, for {n_parameters} free parameters. A weight says how often a row is there: where "
            "only their ratios matter, pass sample_weight * len(X) / sample_weight.sum()"
        )
