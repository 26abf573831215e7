"""The fit of a `GaussianMixture`: starts, the loop or a stream, and what the estimator takes over from them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastem.estimators.parameters import check_constructor
from fastem.estimators.protocol import UnavailableError, check_hooks
from fastem.estimators.rows import rows_for
from fastem.estimators.state import (
    MixtureState,
    count_seen,
    family_of,
    has_noise,
    remedy_of,
    set_names,
    set_params_of,
    set_record,
    set_stream,
    stream_of,
)
from fastem.fitting.degenerate import collapsed_result
from fastem.fitting.levels import draw_sample
from fastem.fitting.loop import Callback
from fastem.fitting.models import model_for
from fastem.fitting.report import Report, Start
from fastem.fitting.restarts import FitOptions, fit_from_starts, rank
from fastem.fitting.starts.table import Given
from fastem.fitting.steps import last_update
from fastem.fitting.stepwise import Stepwise
from fastem.fitting.stopping import Stop
from fastem.kernels.jit import threads
from fastem.kernels.mixture import SOFT
from fastem.model.checks import ConvergenceWarning, check_n_threads, exception
from fastem.model.exclusions import check_exclusions, find_exclusion
from fastem.model.given import check_means, check_precisions, check_representable, check_weights
from fastem.model.matrices import SingularCovarianceError
from fastem.model.maximisation import held_parameters
from fastem.model.params import Noise, Params
from fastem.model.protocol import Model
from fastem.model.remedies.reg_covar_warning import warn_of_large_reg_covar
from fastem.model.result import Event, Result, Status
from fastem.passes.kinds import find_observed_mass
from fastem.sources.blocks import ArraySource, Source
from fastem.sources.errors import has_errors
from fastem.sources.gaps import Gaps, find_gaps
from fastem.sources.labels import check_kept, is_labelled
from fastem.sources.opening import find_source
from fastem.sources.parts import failing_together
from fastem.sources.scans import box_of, check_extent, check_known

DID_NOT_CONVERGE = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)
UNSEEN = 0.5  # rows of a component that show a feature, for the component to say nothing of it
NOISE_START = 0.05  # the share of noise at the start of a fit


def fit_mixture(
    model: MixtureState,
    X: Any,
    sample_weight: Any = None,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Any = None,
    error_covariance: Any = None,
) -> Source:
    """Fit a mixture to rows, and return their source.

    The arguments are those of `GaussianMixture.fit`. All is computed and checked before an attribute is set, so that
    a fit that fails leaves the estimator as it was. Warnings are those of the caller's caller.
    """
    check_hooks(model)
    check_constructor(model)
    check_exclusions(solver=model.solver, checkpoint=checkpoint)
    errors = {"errors": error_covariance, "with_errors": True}
    source = find_source(X, sample_weight, labels, min_rows=2, missing=model.missing, **errors)
    gaps = find_gaps(source)
    check_extent(source, model.n_components)
    check_kept(source, model.on_collapse)
    noise = Noise(NOISE_START, box_of(source)) if model.noise else None
    known = check_known(source, model.n_components)
    given = given_start(model, source.n_features, noise)._replace(
        known=known, gaps=gaps is not None or has_errors(source)
    )
    warm = model.warm_start and hasattr(model, "converged_")
    if warm:
        check_warm(model, source.n_features, noise=(bool(model.noise), has_noise(model)))
    before = (model.params_, model.lower_bound_) if warm else None
    with failing_together(source), threads(model.n_threads):
        held = held_parameters(tuple(model.fixed), given.weights, given.means, given.precisions)
        sample = draw_sample(source, model.n_components) if model.solver == "auto" and not warm else None
        m_step = model_for(source, model.covariance_type, remedy_of(model), held, model.assignment, sample)
        results = fit_from_starts(source, m_step, options_of(model), given, before, callback, checkpoint, sample)
        kept, params = keep_best(source, results, m_step, ends_on_m_step=model.solver != "lbfgs")
        if gaps is not None:
            results = [report_gaps(result, gaps) for result in results]
            results[kept] = report_unseen(source, results[kept], params)
    take_over(model, params, results, kept, source.dtype)
    model.n_samples_seen_ = source.sum_w
    set_names(model, source.columns)
    warn_of_fit(model, results[kept], model.reg_covar if model.regularization is None else 0.0)
    return source


def fit_plainly(
    model: MixtureState,
    source: Source,
    before: tuple[Params, float] | None,
    callback: Callback | None,
    make_model: Callable[[ArraySource | None], Model],
) -> tuple[Params, list[Result], int]:
    """Fit a mixture that is no `GaussianMixture`; nothing of its start is given.

    Parameters
    ----------
    model : MixtureState
    source : Source
    before : tuple of Params and float, or None
        what a warm start continues from, and its bound; None to start anew
    callback : callable or None
    make_model : callable
        returns what is fitted, given the sample that small steps are taken on, or None

    Returns
    -------
    tuple of Params, list of Result and int
        the parameters, the results of all starts and the index of the best of them: arguments of `take_over`
    """
    with failing_together(source), threads(model.n_threads):
        auto = model.solver == "auto" and before is None
        sample = draw_sample(source, model.n_components) if auto else None
        update, options = make_model(sample), plain_options(model)
        if is_labelled(source):
            options = options._replace(init_params="labels")
        results = fit_from_starts(source, update, options, Given(), before, callback, sample=sample)
        kept, params = keep_best(source, results, update, ends_on_m_step=True)
    return params, results, kept


def report_gaps(result: Result, gaps: Gaps) -> Result:
    """Return a result that reports rows of which nothing is observed."""
    if not gaps.n_empty:
        return result
    what = f"rows of which nothing is observed: {gaps.n_empty}; they count for nothing but their labels"
    return result._replace(events=[Event(0, "empty", (), what), *result.events])


def report_unseen(source: Source, result: Result, params: Params) -> Result:
    """Return a result that reports features that no row of a component shows, by a pass over the rows."""
    mass = find_observed_mass(source, params, SOFT)
    if mass is None:
        return result
    row = min(1.0, source.sum_w / source.n_present)  # weights that sum to 1 are no counts
    events = [
        Event(
            result.n_iter,
            "unseen",
            (int(k),),
            f"no row shows feature {d}: what the component says of it is that of the start or the remedy",
        )
        for k, d in np.argwhere(mass < UNSEEN * row)
    ]
    return result._replace(events=[*result.events, *events])


def keep_best(source: Source, results: list[Result], model: Model, ends_on_m_step: bool) -> tuple[int, Params]:
    """Return the index of the best of the starts' results, and its parameters.

    With `ends_on_m_step` these are made by one M-step more, unless the fit ended by a fault. If that M-step is
    singular, the result is replaced by one of a fit that ends there.
    """
    kept = max(range(len(results)), key=lambda i: rank(results[i]))  # of equals the first
    best = results[kept]
    if best.n_iter and ends_on_m_step and best.status not in (Status.DEGENERATE, Status.DECREASED):
        try:
            return kept, last_update(source, best, model)
        except SingularCovarianceError as error:
            results[kept] = collapsed_result(best, error.components)
    return kept, best.params


def warn_of_fit(model: MixtureState, best: Result, reg_covar: float) -> None:
    """Warn of a fit that has not converged, and of a `reg_covar` that is large; warnings are those of `fit`'s caller.

    Parameters
    ----------
    model : MixtureState, which has taken over the fit
    best : Result, the one that was kept
    reg_covar : float, what was added to variances
    """
    if not best.n_iter:
        return
    if model.status_ not in (Status.CONVERGED, Status.INTERRUPTED):
        message = " ".join([DID_NOT_CONVERGE, best.status.advice, *map(str, filter(None, [best.certificate]))])
        warnings.warn(message, exception(ConvergenceWarning), stacklevel=4)
    warn_of_large_reg_covar(reg_covar, family_of(model), best.stats, stacklevel=4)


def plain_options(model: MixtureState) -> FitOptions:
    """Return how many fits there are of a model without `stop` and `on_collapse`, from which starts, and their ends."""
    return FitOptions(
        n_components=model.n_components,
        init_params=model.init_params,
        n_init=model.n_init,
        solver=model.solver,
        stop=Stop("change", model.tol),
        max_iter=model.max_iter,
        on_collapse="reseed",
        random_state=model.random_state,
        verbose=model.verbose,
        verbose_interval=model.verbose_interval,
        described=model.get_params(deep=False),
    )


def options_of(model: MixtureState) -> FitOptions:
    """Return how many fits there are of a `GaussianMixture`, from which starts, and by what each ends."""
    return plain_options(model)._replace(stop=Stop(model.stop, model.tol), on_collapse=model.on_collapse)


def given_start(model: MixtureState, D: int, noise: Noise | None) -> Given:
    """Return the parts of the start that the user gives, checked for rows of D features."""
    K, covariance = model.n_components, model.covariance_type
    weights = np.full(K, 1 / K) if model.weights_init is None and "weights" in model.fixed else model.weights_init
    return Given(
        None if weights is None else check_weights(weights, K),
        None if model.means_init is None else check_means(model.means_init, K, D),
        None if model.precisions_init is None else check_precisions(model.precisions_init, covariance, K, D),
        noise,
    )


def check_warm(model: MixtureState, D: int, **others: tuple[Any, Any]) -> None:
    """Raise a ValueError unless a warm start continues a fit of the same shape, to rows of D features.

    `others` are parameters that must not change either, each with its value now and in that fit.
    """
    others = {"n_features": (D, np.shape(model.means_)[1]), **others}
    check_unchanged(model, "warm_start=True continues the last fit", "Set warm_start=False to start anew.", **others)


def check_unchanged(model: MixtureState, continued: str, advice: str, **others: tuple[Any, Any]) -> None:
    """Raise a ValueError if a parameter is not that of the fit that is continued; `others` are as of `check_warm`."""
    for name, (now, before) in {
        "n_components": (model.n_components, len(model.weights_)),
        "covariance_type": (model.covariance_type, family_of(model).name),
        **others,
    }.items():
        if not np.array_equal(now, before):
            raise ValueError(f"{continued}, but {name} has changed: {before} in that fit, {now} now. {advice}")


def take_over(model: MixtureState, params: Params, results: list[Result], kept: int, dtype: np.dtype[Any]) -> None:
    """Set the attributes of a mixture from the results of a fit's starts.

    Parameters
    ----------
    model : GaussianMixture
    params : Params, made of the result that is kept
    results : list of Result, one per start
    kept : int, the index of that result
    dtype : of the attributes

    Raises
    ------
    ValueError
        if a parameter is not a number of that dtype; the mixture then stays as it was
    """
    check_representable(params, dtype)
    set_params_of(model, params, dtype)
    report, best = Report(tuple(map(Start.of, results)), kept), results[kept]
    interrupted = any(result.status is Status.INTERRUPTED for result in results)
    status = Status.INTERRUPTED if interrupted else best.status
    set_record(model, status, report.starts[kept].bound, best.history, best.n_iter, report)


# --- streams ------------------------------------------------------------------------------------------------------


def check_stream(model: Any) -> None:
    """Raise an UnavailableError for parameters under which there is no stepwise EM."""
    message = find_exclusion(
        method="partial_fit", regularization=model.regularization, assignment=model.assignment, fixed=model.fixed
    )
    if message is not None:
        raise UnavailableError(message)


def check_followed(model: MixtureState, **others: tuple[Any, Any]) -> None:
    """Raise a ValueError if a parameter that a stream cannot follow has changed; `others` are as of `check_warm`."""
    continued = "partial_fit goes on from the mixture that is there"
    check_unchanged(model, continued, "Set it back, or start anew by fit, or by a clone.", **others)


def follow(model: MixtureState, X: Any, sample_weight: Any, stream: Stepwise) -> None:
    """Take a step of stepwise EM by a block of rows, from the state of a stream."""
    check_followed(model, noise=(bool(model.noise), has_noise(model)))
    source = rows_for(model, X, sample_weight)
    with threads(check_n_threads(model.n_threads)):
        stream = stream.partial_fit(source)
    dtype = model.means_.dtype
    check_representable(stream.params, dtype)
    set_params_of(model, stream.params, dtype)
    bounds = [*(model.lower_bounds_ if stream.n_steps > 1 else ()), stream.mean_loglik]
    set_record(model, None, stream.mean_loglik, bounds, stream.n_steps)
    assert stream.stats is not None
    set_stream(model, stream)
    model.n_samples_seen_ = stream.stats.sum_w


def begin_stream(model: MixtureState) -> Stepwise:
    """Return the state of a stream whose first block a mixture has just been fitted to."""
    return Stepwise(model.params_, family_of(model).name, model.reg_covar)


def continue_stream(model: MixtureState) -> Stepwise:
    """Return the state of the stream that a mixture follows; before a step, the mixture counts for the rows seen."""
    stream = stream_of(model)
    if stream is not None:
        return replace(stream, reg_covar=model.reg_covar)
    params, family, seen = model.params_, family_of(model), count_seen(model)
    stats = family.expected(params, seen, model.reg_covar)
    if np.isfinite(model.lower_bound_):  # else nothing is known of it
        stats = replace(stats, loglik=seen * model.lower_bound_)
    return Stepwise(params, family.name, model.reg_covar, stats=stats)
