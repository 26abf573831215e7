"""The gradient of the log-likelihood, by the pass that EM makes, and fits by L-BFGS, which follow it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from fastem.fitting.degenerate import collapsed_result, find_shrinking_exactly
from fastem.fitting.interruption import handing_over
from fastem.fitting.loop import Callback
from fastem.fitting.models import model_for
from fastem.fitting.options import check_choices, check_em
from fastem.fitting.steps import last_update
from fastem.fitting.stopping import LOOKBACK, Course, Stop
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_threads
from fastem.model.exclusions import check_exclusions
from fastem.model.given import check_gaussian
from fastem.model.matrices import Array, SingularCovarianceError
from fastem.model.maximisation import GaussianModel
from fastem.model.parametrization import Parametrization
from fastem.model.params import Params
from fastem.model.remedies.table import find_remedy
from fastem.model.result import Event, Result, Status
from fastem.model.stats import Stats
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import Source
from fastem.sources.gaps import find_gaps
from fastem.sources.opening import find_source
from fastem.sources.parts import agreed, failing_together

ROUND = 50  # iterations in one system of coordinates
MEMORY = 20  # steps that L-BFGS remembers
AT_REST = 1e-6  # where a line search finds nothing higher, a fit has converged if less is left to gain per row


def log_likelihood_and_gradient(X: Any, params: Params, sample_weight: ArrayLike | None = None) -> tuple[float, Array]:
    """Return the log-likelihood and its exact gradient, by one pass over the rows, the same that EM makes.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
    params : Params
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
        Default None: each row has weight 1

    Returns
    -------
    loglik : float
        sum_n w_n log p(x_n)
    gradient : (P,) float64
        with respect to the vector ``fastem.Parametrization.of(params).pack(params)``: logits of the weights, means,
        log-Cholesky factors of the covariances (diag, spherical: logarithms of standard deviations)

    Raises
    ------
    ValueError
        if rows, weights or parameters are not finite or do not match, or a component has weight 0

    See Also
    --------
    Parametrization : the vectors, and the formulae of the gradient.
    lbfgs : a fit that uses them.

    References
    ----------
    Fisher's identity: Louis (1982), J. R. Stat. Soc. B 44, 226-233, section 3; formulae: `fastem.Parametrization`.

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([1.0], [[1.0]], [[[4.0]]])
    >>> loglik, gradient = fastem.log_likelihood_and_gradient([[0.0], [4.0]], params)
    >>> round(loglik, 6), gradient
    (-4.474171, array([0. , 0.5, 0.5]))
    """
    space = Parametrization.of(check_gaussian(params))
    theta = space.pack(params)
    D = params.means.shape[1]
    source = find_source(X, sample_weight, n_features=D, takes_gaps=True, with_errors=True)
    stats = evaluate(source, params)
    return stats.loglik, space.gradient(theta, stats)


def lbfgs(
    X: Any,
    params: Params,
    *,
    covariance_type: str = "full",
    reg_covar: float = 0.0,
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-3,
    stop: str = "change",
    max_iter: int = 100,
    n_threads: int | None = None,
    callback: Callback | None = None,
) -> Result:
    """Fit a Gaussian mixture by L-BFGS, without EM, from given parameters.

    The log-likelihood is maximised over the vectors of a `Parametrization`. It never falls. Where components overlap
    much, L-BFGS needs fewer passes over the data than EM near the maximum.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
    params : Params
        the start, for instance from `fastem.make_params`; its weights are positive
    covariance_type : "full" (default), "tied", "diag", "spherical", "tied_diag" or "tied_spherical"
    reg_covar : float, default 0
        the lower bound of variances: covariances are reg_covar I plus a matrix that is positive definite. (`em` adds it
        to variances in each M-step, which maximises nothing. So the two differ, by about reg_covar)
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
        Default None: each row has weight 1
    tol : float, default 1e-3
        the fit has converged when what `stop` measures, from iteration to iteration, is less
    stop : "change" (default), "aitken" or "parameters"
        what is measured, as in `fastem.em`
    max_iter : int, default 100, at least 1
        how many iterations there are at most. Each is one pass over the data, now and then more where a line search
        needs them; the last event counts the passes
    n_threads : int, optional
        as in `fastem.em`
    callback : function, optional
        called as ``callback(iteration, mean_loglik, params)`` after each iteration. If it returns True, the fit ends
        with Status.INTERRUPTED

    Returns
    -------
    Result
        Its history is that of the mean log-likelihood by iteration, and ascends. Its status is DEGENERATE if, without
        reg_covar, a component has shrunk until an M-step from there would be singular, and DECREASED if a line search
        found no way up where the gradient shows one

    Raises
    ------
    ValueError
        if rows, weights or parameters are not finite or do not match, or a component has weight 0
    FitInterrupted
        (a KeyboardInterrupt) on Ctrl-C, with the last complete iteration as ``.result``
    SourceError
        (an OSError) if rows that are read anew on each pass cannot be read, with ``.result`` as well

    See Also
    --------
    em : the same by expectation-maximisation.
    GaussianMixture : ``solver="lbfgs"`` fits by this function, from starts of its own.
    Parametrization : the vectors that L-BFGS moves.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), SIAM J. Sci. Comput. 16, 1190-1208; for mixtures: Redner & Walker (1984), SIAM Rev.
    26, 195-239; Salakhutdinov, Roweis & Ghahramani (2003), ICML, 672-679 (when it is faster than EM).

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> start = fastem.make_params([0.5, 0.5], [[0.0], [12.0]], [[[4.0]], [[4.0]]])
    >>> result = fastem.lbfgs(X, start, tol=1e-9)
    >>> result.status.name, result.params.means.round(3).ravel()
    ('CONVERGED', array([ 1., 11.]))
    """
    check_em(params, covariance_type, reg_covar, tol, max_iter)
    check_choices("lbfgs", stop=stop)
    check_exclusions(covariance_type=covariance_type, solver="lbfgs")
    D = params.means.shape[1]
    source = find_source(X, sample_weight, n_features=D, takes_gaps=True, with_errors=True)
    find_gaps(source)
    with failing_together(source), threads(check_n_threads(n_threads)):
        model = model_for(source, covariance_type, find_remedy(None, reg_covar))
        return ascend(source, params, model, stop=Stop(stop, tol), max_iter=max_iter, callback=callback)


def after_one_step(source: Source, params: Params, model: GaussianModel) -> Params:
    """Return a start after an iteration of EM: a start from single rows has variance 0, and no scale for L-BFGS."""
    begun = Result(params, evaluate(source, params), 0.0, [], 0, Status.MAX_ITER)
    try:
        return last_update(source, begun, model)
    except SingularCovarianceError:  # `ascend` will say so
        return params


def ascend(
    source: Source,
    params: Params,
    model: GaussianModel,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
) -> Result:
    """Run L-BFGS, in place of `fit_with_reseeds`; of the model only the family and reg_covar count.

    Coordinates go stale: every ROUND iterations it begins anew in those about the mixture where it is. (On hard starts
    that took 2 to 5 times fewer iterations.)
    """
    from scipy.optimize import minimize  # 16 MB and 0.2 s, which most programs need not pay

    ascent = Ascent(source, params, model, stop, max_iter, callback)
    options = dict(maxcor=MEMORY, maxiter=ROUND, maxfun=100 * ROUND, ftol=0.0, gtol=0.0)
    with handing_over(lambda _: ascent.result), suppress(StopIteration):  # `minimize` catches those after the first
        ascent.accept(ascent.origin)
        while not ascent.ended:
            outcome = minimize(
                ascent, ascent.origin, jac=True, method="L-BFGS-B", callback=ascent.accept, options=options
            )
            if outcome.nit < ROUND:
                break
            ascent.renew()
    return ascent.end()


class Point(NamedTuple):
    """A vector, and what a pass under its mixture gives: the mean log-likelihood `bound` and its gradient."""

    theta: Array
    params: Params
    stats: Stats
    bound: float
    gradient: Array


class Ascent:
    """The course of a fit by L-BFGS: the function that `minimize` calls, and the results on the way."""

    def __init__(
        self,
        source: Source,
        params: Params,
        model: GaussianModel,
        stop: Stop,
        max_iter: int,
        callback: Callback | None,
    ) -> None:
        self.source, self.model, self.stop = source, model, stop
        self.max_iter, self.callback = max_iter, callback
        self.space = Parametrization.around(params, getattr(model.remedy, "reg_covar", 0.0))
        self.origin = np.zeros(self.space.unit.size)
        self.n_passes, self.n_steps = 0, -1  # steps in these coordinates; the first turn is the start's
        self.latest: Point | None = None  # the last that was evaluated
        self.accepted: Point | None = None
        self.result: Result | None = None
        self.ended = False

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return minus the mean log-likelihood, and minus its gradient."""
        point = self.evaluate_at(theta)
        return -point.bound, -point.gradient

    def evaluate_at(self, theta: Array) -> Point:
        """Make a pass over the data, unless the last one was at the same vector.

        Each process runs `minimize`, which sees numbers of rank 0 alone: so all make the same passes.
        """
        theta = agreed(self.source, theta.copy)
        if self.latest is None or not np.array_equal(theta, self.latest.theta):
            params = agreed(self.source, partial(self.space.unpack, theta))
            self.latest = self._point(theta, params, evaluate(self.source, params))
            self.n_passes += 1
        return self.latest

    def _point(self, theta: Array, params: Params, stats: Stats) -> Point:
        gradient = agreed(self.source, lambda: self.space.gradient(theta, stats) / stats.sum_w)
        return Point(theta, params, stats, stats.loglik / stats.sum_w, gradient)

    def renew(self) -> None:
        """Take new coordinates, about the mixture that was accepted last."""
        assert self.accepted is not None
        theta, params, stats, *_ = self.accepted
        self.space, self.n_steps = self.space.about(theta), 0
        self.latest = self.accepted = self._point(self.origin, params, stats)

    def accept(self, theta: Array) -> None:
        """Take in the vector at which an iteration ended; raise StopIteration if the fit ends there."""
        before, self.accepted = self.accepted, self.evaluate_at(theta)
        _, params, stats, bound, _ = self.accepted
        history = [*(self.result.history if self.result else ()), bound]
        n_iter = len(history)
        self.result = Result(params, stats, stats.loglik, history, n_iter, Status.INTERRUPTED)
        self.n_steps += 1
        course = Course(history[-LOOKBACK:], self.source.sum_w, params, before and before.params)
        status = agreed(self.source, partial(self.decide, self.result, course))
        strict = self.model.strict and status is not Status.INTERRUPTED
        if strict and (components := find_shrinking_exactly(self.source, self.result, self.model)):
            self.result, status = collapsed_result(self.result, components), Status.DEGENERATE
        if status is not None:
            self.halt(status)

    def decide(self, result: Result, course: Course) -> Status | None:
        """Return how the fit ends here, or None if it goes on.

        The first step goes along the gradient, and may be short: it is no sign of convergence.
        """
        if self.callback is not None and self.callback(result.n_iter, result.history[-1], result.params):
            return Status.INTERRUPTED
        if self.n_steps > 1 and self.stop(course):
            return Status.CONVERGED
        return Status.MAX_ITER if result.n_iter >= self.max_iter else None

    def halt(self, status: Status) -> NoReturn:
        """End the fit with a status, by a StopIteration."""
        assert self.result is not None
        self.result, self.ended = self.result._replace(status=status), True
        raise StopIteration

    def end(self) -> Result:
        """Return the result; where a line search found nothing higher, the gradient tells whether the fit converged."""
        assert self.result is not None
        assert self.accepted is not None
        result = self.result
        if not self.ended:
            to_gain = float(self.accepted.gradient @ self.accepted.gradient) / 2  # the Hessian is about -I
            result = result._replace(status=Status.CONVERGED if to_gain < AT_REST else Status.DECREASED)
        passes = Event(result.n_iter, "passes", detail=f"{self.n_passes} over the data in {result.n_iter} iterations")
        return result._replace(events=[*result.events, passes])
