"""Fits of mixtures to data of which only counts in bins are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.model.checks import real_numbers
from fastem.model.matrices import Array
from fastem.sources.blocks import ArraySource

TRUNCATED = "truncated=True does not work with {}: {}"
NOT_FOR_BINS = {  # parameters of GaussianMixture, the value that they must have, and why
    "noise": (False, "noise has no density in bins yet"),
    "assignment": ("soft", "a bin may belong to several components"),
}


def fit_binned(
    edges: ArrayLike, counts: ArrayLike, n_components: int = 1, *, truncated: bool = False, **parameters: Any
) -> GaussianMixture:
    """Fit a Gaussian mixture to the counts of a histogram, by the exact likelihood of grouped data.

    The likelihood is that of the bins, prod_j P_j**counts_j, with P_j the mixture's probability of bin j. So wide bins
    make estimates uncertain but not wrong, as rows at the bins' centres do (which are for starts alone here). The fit
    is that of `GaussianMixture`, with its starts, remedies and solvers.

    Parameters
    ----------
    edges : (J + 1,) array-like
        ascending; the first may be -inf and the last inf
    counts : (J,) array-like, not negative
        rows, or weights of rows, in the bins: bin j lies between edges j and j + 1
    n_components : int, default 1
    truncated : bool, default False
        False: all rows were counted, none lies beyond the outer edges. True: rows beyond them were not counted, however
        many there were; P_j is then relative to the probability of all bins, and the mixture is that of all rows
    **parameters : of `GaussianMixture`
        but noise and assignment. With `truncated`, neither a regularization nor solver="lbfgs" either

    Returns
    -------
    GaussianMixture
        fitted to one feature. `lower_bound_` is the mean of log P_j over the rows that were counted

    Raises
    ------
    ValueError
        for edges that do not ascend, counts that do not fit them, and parameters that do not work here

    See Also
    --------
    GaussianMixture.fit : rows with known errors; ``error_covariance=width**2 / 12`` is nearly the same for narrow bins

    References
    ----------
    McLachlan & Jones (1988), Fitting mixture models to grouped and truncated data via the EM algorithm, Biometrics 44,
    571-578; Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, section 4.2.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> x = np.random.default_rng(0).normal(5.0, 1.0, size=10_000)
    >>> edges = np.arange(0.0, 12.0, 2.0)
    >>> model = fastem.fit_binned(edges, np.histogram(x, edges)[0], reg_covar=0, tol=1e-9)
    >>> model.means_.round(1).ravel(), model.covariances_.round(1).ravel()
    (array([5.]), array([1.]))
    """
    bounds, counted = check_bins(edges, counts)
    model = GaussianMixture(n_components, **parameters)
    for name, (value, why) in NOT_FOR_BINS.items():
        if getattr(model, name) != value:
            raise ValueError(f"fit_binned does not work with {name}={getattr(model, name)!r}: {why}")
    if truncated and model.regularization is not None:
        raise ValueError(TRUNCATED.format("a regularization", "its prior would weigh rows that were not counted"))
    if truncated and model.solver == "lbfgs":
        raise ValueError(TRUNCATED.format("solver='lbfgs'", "the gradient of grouped data is not made"))
    source = ArraySource(centres_of(bounds)[:, None], counted)
    source.rows_kind, source.rows_options = "bins", {"edges": bounds, "truncated": truncated}
    return model.fit(source)


def check_bins(edges: ArrayLike, counts: ArrayLike) -> tuple[Array, Array]:
    """Return edges and counts as float64; raise a ValueError for those that are no histogram."""
    bounds, counted = real_numbers("edges", edges), real_numbers("counts", counts)
    if bounds.ndim != 1 or counted.ndim != 1 or len(bounds) != len(counted) + 1 or len(counted) < 2:
        raise ValueError(
            f"expected (J + 1,) edges and (J,) counts of at least 2 bins; got shapes {bounds.shape} and {counted.shape}"
        )
    inner = bounds[1:-1]
    if np.isnan(bounds).any() or not np.isfinite(inner).all() or not (np.diff(bounds) > 0).all():
        raise ValueError("edges must ascend; the first may be -inf and the last inf, the others must be finite")
    bad = ~((counted >= 0) & (counted < np.inf))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"counts must be finite and not negative; found {counted[place]} in bin {place}")
    if np.count_nonzero(counted) < 2:
        raise ValueError(
            "all rows are in one bin: its width is all that is known of them" if counted.any() else "no bin has a row"
        )
    return bounds, counted


def centres_of(edges: Array) -> Array:
    """Return the centres of bins; an infinite bin counts as wide as its neighbour."""
    finite = edges.copy()
    if np.isinf(finite[0]):
        finite[0] = finite[1] - (finite[2] - finite[1] if np.isfinite(finite[2]) else 1.0)
    if np.isinf(finite[-1]):
        finite[-1] = finite[-2] + (finite[-2] - finite[-3])
    return np.asarray((finite[1:] + finite[:-1]) / 2)
