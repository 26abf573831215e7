"""When a fit ends, and what its Status says: criteria, the check for falls, advice."""

import dataclasses

import numpy as np
import pytest
from hard import problem
from helpers import TYPES, make_mixture, make_start, outcome, quiet_fit, start_params
from scipy.stats import multivariate_normal

import fastem
from fastem import GaussianMixture, InverseWishart, Status
from fastem.estimators.state import set_record
from fastem.fitting.loop import iterate
from fastem.fitting.stopping import RULES, Course, Stop
from fastem.model import families, maximisation
from fastem.model.remedies import table
from fastem.sources.blocks import ArraySource


def _overlapping():
    """The data of scikit-learn's issue 10122: 300 rows of one component, 100 of another that overlaps it."""
    rng = np.random.RandomState(1234)
    X1 = multivariate_normal([2, 4], [[5, 2], [2, 6]], seed=rng).rvs(300)
    X2 = multivariate_normal([0, 0], [[4, 2], [2, 3]], seed=rng).rvs(100)
    return np.concatenate([X1, X2])


# ---- criteria ----------------------------------------------------------------------------------------


def test_sklearn_10122():
    """The default stops at weights .41/.59 where EM was on its way to .25/.75; Aitken's estimate does not."""
    X = _overlapping()
    early = GaussianMixture(2, random_state=0).fit(X)
    assert early.converged_
    assert np.sort(early.weights_)[0] > 0.35
    late = GaussianMixture(2, random_state=0, stop="aitken", max_iter=1000).fit(X)
    assert late.converged_
    np.testing.assert_allclose(np.sort(late.weights_), [0.25, 0.75], atol=0.01)
    end = quiet_fit(GaussianMixture(2, random_state=0, tol=0.0, max_iter=5000), X)
    assert abs(end.score(X) - late.score(X)) * len(X) < 2e-3, "what was left to gain is less than about tol"


def test_aitken_sums_the_series():
    """Gains of 8, 4, 2, ... from pass to pass: 2 (1/2) / (1 - 1/2) = 2 are to come, times the number of rows."""
    bounds = [-16.0, -8.0, -4.0, -2.0]
    assert RULES["aitken"](Course(bounds, 10.0, None, None)) == pytest.approx(40.0)  # the larger of two: 4
    assert not Stop("aitken", 40.0)(Course(bounds, 10.0, None, None))
    assert Stop("aitken", 40.1)(Course(bounds, 10.0, None, None))


@pytest.mark.parametrize(
    "bounds",
    [
        [-3.0, -2.0, -1.0],  # too short
        [-8.0, -4.0, -2.0, 0.5],  # the last gain is larger: a > 1
        [-4.0, -2.0, 0.5, 1.5],  # one hit, not two
        [-np.inf, -4.0, -2.0, -1.0],  # no gain before the first
        [-4.0, -2.0, -1.0, -1.5],  # a fall: a < 0
        [-2.0, -1.0, -1.0, -1.0 + 1e-9],
    ],
)
def test_aitken_needs_two_hits_between_0_and_1(bounds):
    assert not Stop("aitken", 1e300)(Course(bounds, 1.0, None, None))


def test_aitken_ends_in_rounding():
    """Where the objective moves by its last bits alone, the estimate is 0, whatever the ratio of those bits."""
    course = Course([-4.0, -4.0 + 2e-15, -4.0 + 1e-15, -4.0 + 3e-15], 1e6, None, None)
    assert RULES["aitken"](course) == 0.0


@pytest.mark.parametrize("covariance", TYPES)
def test_parameters_by_definition(covariance, two):
    start = start_params(make_start(two, covariance), covariance)
    one, after = (fastem.em(two.X, start, covariance_type=covariance, tol=0, max_iter=n).params for n in (3, 4))
    full = [np.broadcast_to(np.eye(3) * c if c.shape[1] == 1 else c, (len(c), 3, 3)) for c in (one[2], after[2])]
    sd = np.sqrt(np.diagonal(full[1], axis1=1, axis2=2))
    want = max(
        np.abs(after.weights - one.weights).max(),
        np.abs((after.means - one.means) / sd).max(),
        np.abs((full[1] - full[0]) / (sd[:, :, None] * sd[:, None, :])).max(),
    )
    got = RULES["parameters"](Course([0.0], 1.0, after, one))
    assert got == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("stop", RULES)
@pytest.mark.parametrize("regularization", [None, "map"])
def test_each_rule_ends_a_fit(stop, regularization, two):
    """At the first pass where it is below tol, in the class and in em alike."""
    model = GaussianMixture(
        2, **make_start(two, "full"), stop=stop, tol=1e-4, max_iter=500, regularization=regularization
    ).fit(two.X)
    assert model.converged_
    start = start_params(make_start(two, "full"), "full")
    reg = {"reg_covar": 1e-6} if regularization is None else {"regularization": regularization}
    result = fastem.em(two.X, start, stop=stop, tol=1e-4, max_iter=500, **reg)
    np.testing.assert_allclose(result.history, model.lower_bounds_, rtol=1e-13)
    shorter = fastem.em(two.X, start, stop=stop, tol=1e-4, max_iter=result.n_iter - 1, **reg)
    assert shorter.status is Status.MAX_ITER


def test_parameters_stop_later_with_a_smaller_tol(two):
    n_iter = [
        GaussianMixture(2, random_state=0, stop="parameters", tol=tol, max_iter=2000).fit(two.X).n_iter_
        for tol in (1e-1, 1e-3, 1e-5)
    ]
    assert n_iter[0] < n_iter[1] < n_iter[2]


@pytest.mark.parametrize("bad", ["bic", None, 1])
def test_what_is_no_rule(bad):
    X = np.arange(10.0)[:, None]
    for name in ("stop", "on_collapse"):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of GaussianMixture must be a str among"):
            GaussianMixture(2, **{name: bad}).fit(X)
        with pytest.raises(ValueError, match=f"The '{name}' parameter of em must be a str among"):
            fastem.em(X, fastem.make_params([1.0], [[0.0]], [[[1.0]]]), **{name: bad})


# ---- falls -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Broken(InverseWishart):
    """A remedy whose M-step is wrong: it shrinks the covariances."""

    def estimate(self, family, stats, units, held=None, previous=None):
        target = super().estimate(family, stats, units)
        return target._replace(covariances=target.covariances * stats.s0.sum() / 1e3)


def test_decreased():
    """The parameters before the fall, and a status that is not CONVERGED."""
    X = make_mixture(300, 2, 2, spacing=3.0).X
    labels = np.arange(300) % 2
    one = fastem.moments(X, labels=0 * labels)
    gaussian = maximisation.make_model(families.find_family("full"), Broken(), lambda: one)
    start = fastem.m_step(fastem.moments(X, labels=labels))
    result = iterate(ArraySource(X), start, gaussian, stop=Stop("change", 0.0), max_iter=50)
    assert result.status is Status.DECREASED
    assert (np.diff(result.history) >= 0).all()
    assert result.n_iter == len(result.history)
    assert result.events[-1].what == "fell"
    again = fastem.accumulate(X, result.params)
    assert again.loglik == result.loglik


def test_decreased_in_the_estimator(monkeypatch):
    """No last M-step: it is what made the objective fall."""
    monkeypatch.setitem(table.REMEDIES, "broken", Broken())
    X = make_mixture(300, 2, 2, spacing=3.0).X
    start = make_start(make_mixture(300, 2, 2, spacing=3.0), "full")
    model, error, messages = outcome(lambda: GaussianMixture(2, regularization="broken", **start, tol=0.0).fit(X))
    assert error is None
    assert model.status_ is Status.DECREASED
    assert not model.converged_
    assert any(Status.DECREASED.advice in message for message in messages)
    gaussian = maximisation.make_model(
        families.find_family("full"), Broken(), lambda: fastem.moments(X, labels=[0] * 300)
    )
    got = gaussian.objective(model.params_, fastem.accumulate(X, model.params_))
    assert got == pytest.approx(model.lower_bound_, rel=1e-12)


def test_falls_under_reg_covar_are_reported_and_no_status():
    """scikit-learn's reg_covar lowers the bound; the fit goes on as scikit-learn's, and says so."""
    X, _ = problem("duplicates", 3)
    model = quiet_fit(GaussianMixture(3, reg_covar=0.1, tol=0.0, max_iter=200, random_state=0), X)
    falls = [event for event in model.fit_report_.events if event.what == "fell"]
    down = [i + 2 for i, step in enumerate(np.diff(model.lower_bounds_)) if step < -1e-9]
    assert down
    assert set(down) <= {event.iteration for event in falls}
    assert model.status_ is Status.MAX_ITER
    total = sum(event.change for event in falls)
    assert total == pytest.approx(sum(step for step in np.diff(model.lower_bounds_) if step < 0), rel=1e-6)
    assert len(str(model.fit_report_).splitlines()) < 10, "falls in a row are one row"


def test_float32_noise_is_no_fall(two):
    X = two.X.astype(np.float32)
    model = quiet_fit(GaussianMixture(2, tol=0.0, max_iter=300, regularization="map", random_state=0), X)
    assert model.status_ is Status.MAX_ITER
    assert not model.fit_report_.events


# ---- Status ------------------------------------------------------------------------------------------


def test_every_status_has_advice():
    for status in Status:
        assert status.advice.endswith(".")
        assert len(status.advice) > 20
    assert len({status.advice for status in Status}) == len(Status)


@pytest.mark.parametrize("status", Status)
def test_converged_for_one_reason(status):
    model = GaussianMixture()
    set_record(model, status, 0.0, [0.0], 1)
    assert model.converged_ == (status is Status.CONVERGED)


def test_the_warning_advises(two):
    _, error, messages = outcome(lambda: GaussianMixture(2, max_iter=1, random_state=0).fit(two.X))
    assert error is None
    assert any(Status.MAX_ITER.advice in message for message in messages)
