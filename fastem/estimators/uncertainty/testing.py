"""The likelihood-ratio test of K components against K + 1, whose distribution the parametric bootstrap finds."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators.recommended import recommended_model
from fastem.estimators.uncertainty.likelihood_ratios import log_likelihood_ratios
from fastem.estimators.uncertainty.replicates import BootstrapInterrupted, Rows, batches, simulated
from fastem.fitting.report import text_table
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_samples, check_n_threads, check_random_state
from fastem.model.families import COVARIANCES, Covariance, find_family
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.sources.blocks import ArraySource
from fastem.sources.rows import check_rows
from fastem.sources.scans import check_spread

Progress = Callable[[int, int, int], Any]  # of K, how many replicates are done, and of how many


class Step(NamedTuple):
    """The test of K components against K + 1.

    Attributes
    ----------
    n_components : int, K
    statistic : float, twice the log-likelihood ratio on the rows
    p_value : float, (1 + how many replicates have as large a statistic) / (1 + how many there are)
    replicates : (B,) float64, the statistic on sets of rows drawn from the mixture of K components
    """

    n_components: int
    statistic: float
    p_value: float
    replicates: Array


@dataclass(frozen=True, eq=False)
class BootstrapTest:
    """Tests of K components against K + 1, for one K after another; `print` shows them.

    Attributes
    ----------
    covariance_type : str
    level : float, a test rejects K components if its p-value is at most this
    steps : tuple of Step, one per test

    See Also
    --------
    bootstrap_test : makes it
    """

    covariance_type: str
    level: float
    steps: tuple[Step, ...]

    @property
    def n_components_(self) -> int:
        """The number of components that is not rejected; if all tests reject, that of the last alternative."""
        last = self.steps[-1]
        return last.n_components + (last.p_value <= self.level)

    def __str__(self) -> str:
        titles = "components", "against", "2 log ratio", "p-value", "replicates", ""
        rows = [
            (
                *(str(one.n_components), str(one.n_components + 1), f"{one.statistic:.4f}", f"{one.p_value:.4g}"),
                *(str(len(one.replicates)), "rejected" if one.p_value <= self.level else "not rejected"),
            )
            for one in self.steps
        ]
        return "\n".join(text_table(titles, rows))


def bootstrap_test(
    X: ArrayLike,
    n_components: int = 1,
    covariance_type: str = "full",
    *,
    max_components: int | None = None,
    n_samples: int = 999,
    level: float = 0.05,
    random_state: Any = None,
    n_threads: int | None = None,
    callback: Progress | None = None,
) -> BootstrapTest:
    """Test whether rows need more than K components: the likelihood-ratio test of K against K + 1, by the bootstrap.

    The statistic is twice the log-likelihood ratio of the two fits. It has no chi-squared distribution, since a
    mixture of K is one of K + 1 in many ways. So it is computed on sets of rows that are drawn from the mixture of K
    components fitted to the rows, too.

    Parameters
    ----------
    X : (N, D) array-like
    n_components : int, default 1
        K, that of the first test
    covariance_type : str, default "full"
        one whose stored numbers are free: not "VEI", "VEE" and the like
    max_components : int, optional
        test K + 1 against K + 2 if K is rejected, and so on until a number is not rejected or this one is an
        alternative. Default: one test, K against K + 1
    n_samples : int, default 999
        how many sets of rows are drawn for each test. The p-value is at least 1 / (n_samples + 1)
    level : float in (0, 1), default 0.05
    random_state : int, RandomState or None, default None
        the same seed gives the same bits, whatever the number of threads
    n_threads : int, optional
    callback : function, optional
        is called as ``callback(K, done, total)`` after each batch of sets. If it returns True, the test ends with those
        that are done

    Returns
    -------
    BootstrapTest

    Raises
    ------
    ValueError
        for arguments or data that cannot be used, fewer rows than parameters, and rows to which no sound mixture of K
        components can be fitted
    BootstrapInterrupted
        (a KeyboardInterrupt) on Ctrl-C, with what is done as ``.result``

    Warns
    -----
    UserWarning
        if no sound fit of K + 1 components to the rows is better than that of K: the statistic is 0

    See Also
    --------
    select : chooses by an information criterion, which is quicker
    GaussianMixture.bootstrap : how uncertain the parameters are

    Notes
    -----
    The mixture that sets are drawn from is found by the search of `fit`. On the rows and on each set alike, the fit of
    K components starts there and, if K > 1, at k-means, twice; the fits of K + 1 start at the set's own fit of K, with
    each component in turn cut in half across its longest axis, and at k-means, twice. The best counts in which no
    component is a spike (of standard deviation below 1e-4 of the rows'). If there is none of K + 1, the ratio is 0, as
    a mixture of K is one of K + 1. Rows are scaled by column before.

    References
    ----------
    McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of components in a normal
    mixture, Appl. Stat. 36, 318-324; McLachlan & Peel (2000), Finite Mixture Models, section 6.6; in R:
    mclustBootstrapLRT of mclust.

    Examples
    --------
    >>> import fastem
    >>> X, names = fastem.load_faithful()
    >>> print(fastem.bootstrap_test(X, max_components=3, n_samples=99, random_state=0))
    components  against  2 log ratio  p-value  replicates
    1           2        319.0656     0.01     99          rejected
    2           3        31.6479      0.02     99          rejected
    """
    family = find_family(covariance_type)
    tried = check_test(n_components, max_components, level, family)
    check_n_samples(n_samples)
    n_threads = check_n_threads(n_threads)
    given = check_rows(X, min_rows=2)
    check_spread(ArraySource(given))
    rows = scaled(given, family)
    rng, trials = check_random_state(random_state), list[Trial]()

    def so_far() -> BootstrapTest:
        return BootstrapTest(family.name, float(level), tuple(one.step() for one in trials))

    try:
        with threads(n_threads):
            for K in tried:
                trials.append(Trial(rows, K, family, rng))
                for n in batches(int(n_samples), len(rows.X)):
                    trials[-1].go_on(n)
                    if callback is not None and callback(K, len(trials[-1].replicates), n_samples):
                        return so_far()
                if trials[-1].step().p_value > level:
                    break
    except KeyboardInterrupt as interrupt:
        raise BootstrapInterrupted(so_far()) from interrupt
    return so_far()


class Trial:
    """The test of K components against K + 1 as it goes on.

    Parameters
    ----------
    rows : Rows, scaled
    K : int
    family : Covariance
    rng : RandomState

    Raises
    ------
    ValueError
        if there are too few rows, or there is no sound fit to them
    """

    def __init__(self, rows: Rows, K: int, family: Covariance, rng: np.random.RandomState) -> None:
        self.rows, self.family, self.rng = rows, family, rng
        N, D = rows.X.shape
        least = K + (K + 1) * D + family.n_parameters(K + 1, D)
        if least >= N:
            raise ValueError(f"{N} rows are too few for the {least} free parameters of {K + 1} components")
        source = ArraySource(rows.X)
        seed = int(rng.randint(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = recommended_model(source, K, covariance_type=family.name, random_state=seed).fit(source)
        if len(found.means_) < K:
            raise ValueError(unsound(K))
        (self.statistic,), null = log_likelihood_ratios([rows], found.params_, family, rng)
        if np.isnan(self.statistic):
            raise ValueError(unsound(K))
        if self.statistic == 0.0:
            warnings.warn(f"No sound fit of {K + 1} components is better than that of {K}.", stacklevel=3)
        self.params = Params(*(part[0] for part in null))
        self.replicates = np.empty(0)

    def go_on(self, n: int) -> None:
        """Draw n sets of rows more, and compute their statistics."""
        sets = [simulated(self.rows, self.params, self.rng) for _ in range(n)]
        ratios, _ = log_likelihood_ratios(sets, self.params, self.family, self.rng)
        self.replicates = np.concatenate([self.replicates, ratios])

    def step(self) -> Step:
        """Return what is known so far; sets without a sound fit of K components, which are rare, are left out."""
        ratios = self.replicates[~np.isnan(self.replicates)]
        p_value = (1 + int(np.count_nonzero(ratios >= self.statistic))) / (1 + len(ratios))
        return Step(len(self.params.weights), float(self.statistic), p_value, ratios)


def unsound(K: int) -> str:
    """Return the message for rows to which no sound mixture of K components can be fitted."""
    return (
        f"no sound fit of K = {K}: some components are always on rows that (nearly) share a value or lie in a "
        "subspace. Try fewer components or another covariance_type, or remove rows that are there twice"
    )


def check_test(n_components: Any, max_components: Any, level: Any, family: Covariance) -> range:
    """Return the numbers of components to test; raise a ValueError unless there are such tests of this family."""
    for name, number in {"n_components": n_components, "max_components": max_components or 1}.items():
        if not isinstance(number, numbers.Integral) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be an int in [1, inf); got {number!r}")
    tried = range(n_components, n_components + 1 if max_components is None else max_components)
    if not tried:
        raise ValueError(f"max_components must be more than n_components, {n_components}; got {max_components!r}")
    if not isinstance(level, (int, float, np.floating)) or not 0 < level < 1:
        raise ValueError(f"level must be a number in (0, 1), such as 0.05; got {level!r}")
    if not family.free:
        free = ", ".join(one.name for one in COVARIANCES.values() if one.free)
        raise ValueError(f"bootstrap_test fits the covariance types {free}; got {family.name!r}")
    return tried


def scaled(X: Array, family: Covariance) -> Rows:
    """Return rows about their mean in units of their standard deviation: by column, or all columns together.

    The ratio of likelihoods is the same in all units. All columns have one unit where a component has one variance.

    Raises
    ------
    ValueError
        if a column is constant
    """
    centred = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    variance = (centred**2).mean(axis=0)
    if (flat := np.flatnonzero(variance == 0)).size:
        raise ValueError(f"Column {flat[0]} of X is constant: leave it out")
    one_unit = family.shape(1, 2)[-1] == 1
    return Rows(centred / np.sqrt(variance.mean() if one_unit else variance), np.ones(len(X)))
