"""The function `fastem.em`: EM from given parameters, on rows of any kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from fastem.fitting.loop import Callback
from fastem.fitting.models import model_for
from fastem.fitting.options import check_choices, check_em, check_fixed
from fastem.fitting.reseeding import fit_with_reseeds
from fastem.fitting.stopping import Stop
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_threads
from fastem.model.exclusions import check_exclusions
from fastem.model.maximisation import held_parameters
from fastem.model.params import Params
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.table import find_remedy
from fastem.model.result import Result
from fastem.sources.gaps import find_gaps
from fastem.sources.labels import check_kept
from fastem.sources.opening import find_source
from fastem.sources.parts import failing_together


def em(
    X: Any,
    params: Params,
    *,
    covariance_type: str = "full",
    assignment: str = "soft",
    fixed: Iterable[str] = (),
    reg_covar: float = 0.0,
    regularization: str | Remedy | None = None,
    sample_weight: ArrayLike | None = None,
    labels: Any = None,
    tol: float = 1e-3,
    stop: str = "change",
    max_iter: int = 100,
    on_collapse: str = "reseed",
    n_threads: int | None = None,
    callback: Callback | None = None,
) -> Result:
    """Fit a Gaussian mixture by expectation-maximisation from given parameters.

    The fit ends on an E-step: the result's parameters, statistics and log-likelihood belong together. scikit-learn ends
    on an M-step: its parameters after n iterations are ``m_step(em(..., max_iter=n).stats)``.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
        float32 and float64 arrays are read in place, all else is converted to float64
    params : Params
        the start, for instance from `fastem.make_params`
    covariance_type : "full" (default), "tied", "diag", "spherical", "tied_diag", "tied_spherical", or one of mclust's
        fourteen names, "EII" to "VVV"
    assignment : "soft" (default) or "hard"
        "hard" is classification EM, which gives each row, whole, to its most probable component. It maximises the
        classification log-likelihood sum_n w_n max_k log(weight_k p_k(x_n)), which is then `Result.loglik`
    fixed : names among "weights", "means" and "covariances", default none
        parameters that stay what they are in `params` (with noise, weights in their proportions)
    reg_covar : float, default 0
        what is added to every variance in each M-step. Above 0 no fixed objective is maximised: the log-likelihood may
        fall
    regularization : "ridge", "map", "floor", "ratio", "geometric", or an instance as of `fastem.Ridge`, optional
        a remedy instead of reg_covar, with an objective that no iteration lowers. `Result.history` holds that
        objective: it falls only where a component was reseeded or dropped. Default None: reg_covar alone
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
        weight 2 is the row twice, weight 0 the row absent. Only ratios of weights matter, but where rows are counted:
        under the priors of "ridge", "geometric" and "map", and by stop="aitken". Default None: each row has weight 1
    labels : optional
        components of rows that are known, as `GaussianMixture.fit` takes them; on_collapse must be "reseed" then.
        Default None: no component is known
    tol : float, default 1e-3
        the fit has converged when what `stop` measures is less
    stop : "change" (default), "aitken" or "parameters"
        what is measured. "change": the change of the mean log-likelihood from pass to pass, as in scikit-learn;
        "aitken": an estimate of what the log-likelihood of all rows has yet to gain; "parameters": the largest change
        of a parameter, in standard deviations
    max_iter : int, default 100, at least 1
        how many passes over the data there are at most
    on_collapse : "reseed" (default) or "drop"
        what becomes, under a remedy, of a component that has lost its rows or its rank when the fit has converged.
        "reseed": it takes half of another component, and the fit goes on, and is undone if its objective ends lower.
        "drop": it is left out, so that the result has fewer components
    n_threads : int, optional
        how many threads are used at most. Default None: as many as Numba is set to (NUMBA_NUM_THREADS,
        `numba.set_num_threads`), which is never exceeded. The bits do not depend on it
    callback : function, optional
        called as ``callback(iteration, mean_loglik, params)`` after each pass. If it returns True, the fit ends with
        Status.INTERRUPTED

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        if rows, weights, labels or parameters are not finite or do not match
    FitInterrupted
        (a KeyboardInterrupt) on Ctrl-C, with the last complete iteration as ``.result``
    SourceError
        (an OSError) if rows that are read anew on each pass cannot be read, with ``.result`` as well

    See Also
    --------
    make_params : makes the start.
    GaussianMixture : the estimator, which finds a start of its own.
    lbfgs : the same without EM.
    accumulate, m_step : the two steps of EM.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38; classification EM: Celeux & Govaert (1992), Comput.
    Stat. Data Anal. 14, 315-332.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> start = fastem.make_params([0.5, 0.5], [[0.0], [12.0]], [[[4.0]], [[4.0]]])
    >>> result = fastem.em(X, start, tol=1e-6)
    >>> result.status.name, result.params.means.round(3).ravel()
    ('CONVERGED', array([ 1., 11.]))
    """
    check_em(params, covariance_type, reg_covar, tol, max_iter)
    check_choices("em", stop=stop, on_collapse=on_collapse, assignment=assignment)
    fixed = check_fixed("em", fixed)
    check_exclusions(on_collapse=on_collapse, regularization=regularization, fixed=fixed)
    held = held_parameters(fixed, params.weights, params.means, params[2:4])
    remedy = find_remedy(regularization, reg_covar)
    D = params.means.shape[1]
    source = find_source(X, sample_weight, labels, n_features=D, takes_gaps=True, with_errors=True)
    find_gaps(source)
    check_kept(source, on_collapse)
    with failing_together(source), threads(check_n_threads(n_threads)):
        model = model_for(source, covariance_type, remedy, held, assignment)
        return fit_with_reseeds(
            source, params, model, stop=Stop(stop, tol), max_iter=max_iter, callback=callback, on_collapse=on_collapse
        )
