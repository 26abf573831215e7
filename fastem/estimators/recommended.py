"""`fastem.fit`: a Gaussian mixture by what is recommended, in one call."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import ArrayLike

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.fitting.loop import Callback
from fastem.model.remedies.geometric_ridge import GeometricRidge
from fastem.model.remedies.table import RECOMMENDED
from fastem.sources.blocks import Source
from fastem.sources.opening import find_source

NATS = 0.1  # what a fit may leave to gain, in log-likelihood of all rows: far below what says anything of a model
MAX_ITER = 1000  # passes over all rows: a fit ends long before, unless its likelihood is nearly flat


def fit(
    X: Any,
    n_components: int,
    covariance_type: str = "full",
    *,
    sample_weight: ArrayLike | None = None,
    labels: Any = None,
    error_covariance: Any = None,
    random_state: Any = None,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    **options: Any,
) -> GaussianMixture:
    """Fit a Gaussian mixture by what is recommended, and return it.

    A search on a sample of the rows finds the start (``init_params="auto"``), accelerated EM goes on from there
    (``solver="auto"``), until at most about 0.1 nats of all rows are left to gain, under a remedy that keeps
    components from collapsing and is silent where they are sound. The result depends neither on the units of the
    columns nor, on most data, on the seed.

    Parameters
    ----------
    X : (N, D) array-like, or pandas or polars frame, or a path, or what else `fastem.as_source` takes
    n_components : int
    covariance_type : str, default "full"
        as in `GaussianMixture`
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
        Default None: each row has weight 1
    labels : (N,) array-like of int, or (N, K) of bool, optional
        known components, as `GaussianMixture.fit` takes them. Default None: no component is known
    error_covariance : array-like, optional
        errors of measurement, as `GaussianMixture.fit` takes them. Default None: rows are exact
    random_state : int, RandomState or None, default None
        seed of the search; None takes NumPy's global generator
    callback, checkpoint : optional
        as in `GaussianMixture.fit`
    **options
        parameters of `GaussianMixture` in place of what is recommended, for instance ``noise=True``, ``n_init=3`` or
        ``regularization="map"``. With another `stop` than "change" the solver is "em"

    Returns
    -------
    GaussianMixture
        fitted; ``print(model.fit_report_)`` shows what the search did, how many passes over the rows there were, and
        what is left to gain. Under a remedy it has no `partial_fit`: to follow a stream from here, first call
        ``model.set_params(regularization=None)``

    Raises
    ------
    ValueError
        for parameters or data that cannot be used
    FitInterrupted
        (a KeyboardInterrupt) on Ctrl-C; its ``.result`` is the last complete iteration
    SourceError
        (an OSError) if rows cannot be read on a later pass, with the same ``.result``

    Warns
    -----
    ConvergenceWarning
        if `max_iter` (default: 1000 passes over all rows) ended the fit

    See Also
    --------
    GaussianMixture : the estimator, whose defaults are scikit-learn's
    select : find the number of components and the covariance type
    fit_many : fit a mixture to each of many groups of rows

    References
    ----------
    Split and merge: Ueda, Nakano, Ghahramani & Hinton (2000), Neural Comput. 12, 2109-2128. Acceleration: Anderson
    (1965), J. ACM 12, 547-560; Walker & Ni (2011), SIAM J. Numer. Anal. 49, 1715-1735.

    Examples
    --------
    >>> import fastem
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.fit(X, 2, random_state=0)
    >>> model.means_[model.means_[:, 0].argsort()].round(2)
    array([[ 2.04, 54.48],
           [ 4.29, 79.97]])
    """
    missing = bool(options.get("missing"))
    options_of_rows: dict[str, Any] = {"missing": missing, "errors": error_covariance, "with_errors": True}
    source = find_source(X, sample_weight, labels, min_rows=2, **options_of_rows)
    options |= {"covariance_type": covariance_type, "random_state": random_state}
    return recommended_model(source, n_components, **options).fit(source, callback=callback, checkpoint=checkpoint)


def recommended_model(source: Source, n_components: int, **options: Any) -> GaussianMixture:
    """Return an estimator, not fitted yet, with these options and, for the others, what is recommended for the rows."""
    stop = options.get("stop", "change")
    solver = options.get("solver", "auto" if stop == "change" else "em")  # the others have rules of their own
    recommended: dict[str, Any] = {"init_params": "auto", "solver": solver, "max_iter": MAX_ITER}
    row = min(1.0, source.sum_w / source.n_present)  # weights that sum to 1 are no counts
    if "reg_covar" not in options and solver != "lbfgs":
        recommended["regularization"] = RECOMMENDED if row == 1.0 else GeometricRidge(row * RECOMMENDED.strength)
    if "tol" not in options and stop != "parameters":
        recommended["tol"] = row * NATS / (1.0 if stop == "aitken" else source.sum_w)
    return GaussianMixture(n_components, **recommended | options)
