"""The fit of a mixture from the best of two starts: its own, and a fit with a component less, with one split in two."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.selecting import factors
from fastem.estimators.state import family_of, remedy_of
from fastem.fitting.degenerate import are_spikes
from fastem.fitting.loop import iterate
from fastem.fitting.lost import principal_axes, split_component
from fastem.fitting.stopping import Stop
from fastem.model.matrices import Array, SingularCovarianceError, factorise
from fastem.model.maximisation import GaussianModel, make_model, pooled
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.remedies.inverse_wishart import InverseWishart
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.result import Status
from fastem.model.stats import Stats, component_mass
from fastem.model.units import Units
from fastem.passes.statistics import evaluate, moments
from fastem.sources.blocks import ArraySource, Source, kind_of_rows, rounding_of
from fastem.sources.parts import agreed

SOUND = (Status.CONVERGED.name, Status.MAX_ITER.name)  # of fits that may be chosen
SPIKE = "SPIKE"  # the status of a mixture whose likelihood only `reg_covar` or a floor bounds

CONTEST_ROWS = 10_000  # starts are compared on max(SAMPLE_ROWS, 50 K) rows at most
MAX_SPLITS = 10  # components that are tried
SPLIT_STEPS = 3  # iterations, by which their halves are compared

Mixture: TypeAlias = GaussianMixture | FactorMixture


class Fit(NamedTuple):
    """A mixture fitted to rows.

    Attributes
    ----------
    model : Mixture, which is not fitted if there was no start
    stats : Stats or None, of the rows under the model; None if it is not fitted
    status : str, the name of a `fastem.Status`, or SPIKE
    """

    model: Mixture
    stats: Stats | None
    status: str

    @property
    def rank(self) -> tuple[bool, int, float]:
        """The key by which fits to the same rows are compared, as restarts are: sound fits win, then the bound."""
        if self.stats is None:
            return False, 0, -np.inf
        return self.status in SOUND, len(self.stats.s0), self.model.lower_bound_


def best_fit(model: Mixture, source: Source, partition: NDArray[Any] | None = None, before: Fit | None = None) -> Fit:
    """Return a model fitted from the best start; `before` is the fit with a component less, or None.

    With a partition, (N,) int, from that. Else, if there are more than max(SAMPLE_ROWS, 50 K) rows, fits to a sample of
    as many compete, and the winner goes on with all.
    """
    K = model.n_components
    few = max(CONTEST_ROWS, 50 * K)
    if source.n_present < K:
        return Fit(model, None, Status.TOO_FEW_ROWS.name)
    if partition is not None:
        try:
            return fit_from(model, source, KINDS[type(model)].of_labels(model, source, partition))
        except SingularCovarianceError:
            return Fit(model, None, Status.DEGENERATE.name)
    if source.n_present <= few:
        return better_start(model, source, before)
    X, weight, _ = source.sample(few, np.random.RandomState(model.random_state))
    fit = better_start(model, ArraySource(X, weight, rows_kind=kind_of_rows(source)), before)
    mine = fit.model.params_ if fit.status in SOUND else None
    return fit_from(model, source, agreed(source, lambda: mine))


def better_start(model: Mixture, source: Source, before: Fit | None) -> Fit:
    """Return the better of two fits: from the model's own start, and from a split of the fit `before`, if there is."""
    own = fit_from(model, source)
    if before is None or before.stats is None or len(before.stats.s0) != model.n_components - 1:
        return own
    start = best_split(before, source)
    return own if start is None else max(own, fit_from(model, source, start), key=lambda fit: fit.rank)


def fit_from(model: Mixture, source: Source, start: Params | None = None) -> Fit:
    """Return a fitted copy of a model, from the start that is given, or from its own if that is None."""
    own, kind = model.get_params(), KINDS[type(model)]
    fitted = type(model)(**own) if start is None else kind.begun_at(model, start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted.fit(source)
    except SingularCovarianceError:
        return Fit(model, None, Status.DEGENERATE.name)
    fitted.set_params(**own)
    stats = evaluate(source, fitted.params_, exact=True)  # moments of all rows are made of it
    spike = agreed(source, lambda: kind.has_spike(fitted, stats, rounding_of(source)))
    return Fit(fitted, stats, SPIKE if spike else getattr(fitted.status_, "name", ""))


def best_split(fit: Fit, source: Source) -> Params | None:
    """Return a fit's mixture with one component split in two; the best of several splits, by short fits.

    Return None if no split is sound.
    """
    assert fit.stats is not None
    m_step, mine = KINDS[type(fit.model)].splits(fit.model, fit.stats, source, MAX_SPLITS)
    results = []
    for start in agreed(source, lambda: mine):
        with contextlib.suppress(SingularCovarianceError):
            results.append(iterate(source, start, m_step, stop=Stop("change", 0.0), max_iter=SPLIT_STEPS))
    sound = [result for result in results if result.status is not Status.DEGENERATE]
    return max(sound, key=lambda result: result.history[-1]).params if sound else None


# --- Gaussian mixtures, whose covariances are stored --------------------------------------------------------------


def begun_at(model: GaussianMixture, start: Params) -> GaussianMixture:
    """Return a mixture whose fit begins at the start that is given."""
    inverse = start.factor.swapaxes(-1, -2) @ start.factor if family_of(model).matrices else start.factor**2
    return GaussianMixture(**model.get_params()).set_params(
        n_init=1,
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=inverse.reshape(family_of(model).natural_shape(*start.means.shape)),
    )


def has_spike(model: GaussianMixture, stats: Stats, eps: float) -> bool:
    """Return whether a component is a spike: in some direction its variance is little but what a remedy makes of none.

    Only directions count in which all rows together vary much more. Components on few rows, or on rows that share a
    value, are spikes. `eps` is the rounding of the rows.
    """
    family, covariances, remedy = family_of(model), model.params_.covariances, remedy_of(model)
    if isinstance(remedy, RegCovar):
        return bool(are_spikes(model.params_, family, stats, remedy.reg_covar).any())
    mass = component_mass(stats)
    least = remedy.least(mass.sum(keepdims=True) if family.shared else mass)
    if least is None:
        return False
    units = Units.of(family, pooled(stats), eps)
    relative = units.relative(covariances)
    values = np.linalg.eigvalsh(relative) if family.matrices else relative[:, 0]
    return bool((values <= 2 * np.maximum(least, units.least)).any())


def of_labels(model: GaussianMixture, source: Source, labels: NDArray[Any]) -> Params:
    """Return the start that a partition of the rows makes."""
    stats = moments(source, labels=labels, n_components=model.n_components, covariance_type=model.covariance_type)
    model_of_rows = make_model(family_of(model), remedy_of(model), lambda: pooled(stats), rounding_of(source))
    return model_of_rows.update(stats)


def splits(model: GaussianMixture, stats: Stats, source: Source, most: int) -> tuple[GaussianModel, list[Params]]:
    """Return the model of an M-step, and the fit with one component cut in two, for `most` components.

    A component is cut across its longest axis, relative to all rows, and those go first whose weight times the square
    of its length is largest.
    """
    params, family, remedy = model.params_, family_of(model), remedy_of(model)
    units_in_any_case = make_model(family, InverseWishart(), lambda: pooled(stats), rounding_of(source))
    m_step = replace(units_in_any_case, remedy=remedy)
    axes = principal_axes(m_step, params)
    donors = np.argsort(-stats.s0 * m_step.units.lengths(axes) ** 2, kind="stable")[:most]
    starts = []
    for donor in donors:
        with contextlib.suppress(SingularCovarianceError):
            starts.append(with_half(params, int(donor), axes[donor], family.shared))
    return m_step, starts


def with_half(params: Params, donor: int, axis: Array, shared: bool) -> Params:
    """Return the mixture with a component more, the last: half of the donor, which is cut across `axis` (D,)."""
    every = [*range(len(params.means)), donor]
    weights, covariances = params.weights[every], params.covariances if shared else params.covariances[every]
    weights[-1] = 0.0  # until it has half of the donor's
    grown = Params(weights, params.means[every], covariances, covariances, params.noise)
    parts = split_component(grown, donor, len(every) - 1, axis)
    return parts._replace(factor=factorise(parts.covariances))


# --- the kinds of mixtures ----------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """What depends on the kind of a mixture.

    Attributes
    ----------
    begun_at : function (model, start) that returns a mixture whose fit begins there
    of_labels : function (model, source, labels) that returns the start that a partition makes
    splits : function (model, stats, source, most) that returns a `Model` and starts with a component more
    has_spike : function (model, stats, eps) that returns whether a component of a fit is a spike
    """

    begun_at: Callable[..., Any]
    of_labels: Callable[..., Params]
    splits: Callable[..., tuple[Model, Sequence[Params]]]
    has_spike: Callable[..., bool]


KINDS: dict[type[Any], Kind] = {
    GaussianMixture: Kind(begun_at, of_labels, splits, has_spike),
    FactorMixture: Kind(factors.begun_at, factors.of_labels, factors.splits, factors.has_spike),
}
