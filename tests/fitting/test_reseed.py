"""Components that lose their rows or their rank: reseeded, dropped, reported; and inputs on which others die."""

import itertools
import warnings

import numpy as np
import pytest
from hard import CLASSES, problem
from helpers import ALL, FAMILIES, TYPES, make_mixture, outcome, quiet_fit

import fastem
from fastem import FitInterrupted, GaussianMixture, Status
from fastem.fitting import degenerate
from fastem.fitting import lost as lost_components
from fastem.model import families, maximisation
from fastem.model.matrices import factorise
from fastem.model.remedies import table

EPS = float(np.finfo(float).eps)
REMEDIES = tuple(table.REMEDIES)
BOTH = pytest.mark.parametrize(("covariance", "remedy"), list(itertools.product(FAMILIES, REMEDIES)))


def _three(n=600):
    return make_mixture(n, 2, 3, spacing=12.0, seed=2)


def _gaussian_model(X, covariance, remedy):
    one = fastem.moments(X, labels=np.zeros(len(X), int), covariance_type=covariance)
    return maximisation.make_model(families.find_family(covariance), table.find_remedy(remedy), lambda: one)


def _start(X, labels, covariance, remedy):
    stats = fastem.moments(X, labels=labels, n_components=3, covariance_type=covariance)
    return fastem.m_step(stats, covariance, regularization=remedy)


def _with_an_empty_one(covariance, remedy):
    """Three clusters, two of them in one component, and a component without rows: where EM stays."""
    mixture = _three()
    order = np.argsort(np.argsort(mixture.means @ (mixture.means[0] - mixture.means[1])))
    labels = np.minimum(order[mixture.labels], 1)
    return mixture.X, _start(mixture.X, labels, covariance, remedy)


# ---- reseeding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("covariance", "remedy"), list(itertools.product(TYPES, REMEDIES)))
def test_an_empty_component_is_reseeded(covariance, remedy):
    """It takes a half of what covers two clusters; the fit ends with three components and higher than without."""
    X, start = _with_an_empty_one(covariance, remedy)
    settings = {"covariance_type": covariance, "regularization": remedy, "max_iter": 500}
    result = fastem.em(X, start, tol=1e-6, **settings)
    assert result.status is Status.CONVERGED
    assert [event.what for event in result.events] == ["reseeded"]
    at = result.events[0].iteration
    np.testing.assert_allclose(np.sort(result.params.weights), np.sort(_three().weights), atol=0.08)
    assert result.history[-1] > result.history[at - 1]
    without = fastem.em(X, start, tol=0.0, **{**settings, "max_iter": at})
    assert without.history == result.history[:at]
    assert without.events[-1].what == "lost"
    assert len(result.history) == result.n_iter


def test_an_undone_reseed_leaves_no_trace_but_the_report():
    """A spike on two far rows is the optimum: replacing it costs; parameters and bounds are those before."""
    rng = np.random.default_rng(5)
    X = np.concatenate([rng.normal(size=(200, 2)), [[300.0, 300.0], [301.0, 302.0]]])
    labels = np.repeat([0, 1], [200, 2])
    start = fastem.m_step(fastem.moments(X, labels=labels), regularization="map")
    result = fastem.em(X, start, regularization="map", tol=1e-6, max_iter=300)
    kinds = [event.what for event in result.events]
    assert kinds[:2] == ["reseeded", "undone"]
    assert kinds[-1] == "lost"
    assert result.status is Status.CONVERGED
    at = result.events[0].iteration
    assert result.n_iter == len(result.history) == at
    short = fastem.em(X, start, regularization="map", tol=0.0, max_iter=at)
    np.testing.assert_array_equal(short.params.means, result.params.means)
    assert result.events[-1].components == (1,)


def test_attempts_count_towards_max_iter():
    X, start = _with_an_empty_one("full", "map")
    alone = next(e.iteration for e in fastem.em(X, start, regularization="map", tol=1e-6).events)
    for more in (0, 1, 3):
        calls = []
        settings = {"regularization": "map", "tol": 1e-6, "max_iter": alone + more}
        result = fastem.em(X, start, **settings, callback=lambda i, *_, calls=calls: calls.append(i))
        assert calls == list(range(1, alone + more + 1))
        assert result.history[-1] >= result.history[alone - 1]
        assert len(result.history) == result.n_iter


@pytest.mark.parametrize("seed", range(10))
def test_no_endless_loop(seed):
    """Rows with many duplicates and many components: attempts end by themselves."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 2, size=(60, 2)).astype(float)
    model, error, _ = outcome(
        lambda: GaussianMixture(8, regularization="floor", max_iter=100_000, random_state=seed).fit(X)
    )
    assert error is None
    assert model.converged_
    assert model.n_iter_ < 5000


@BOTH
def test_without_reseeding_the_default_is_scikit_learns(covariance, remedy):
    """reg_covar alone never reseeds; it reports what is short of rows."""
    X, start = _with_an_empty_one(covariance, remedy)
    result = fastem.em(X, start, covariance_type=covariance, reg_covar=1e-6, tol=1e-6, max_iter=300)
    assert {event.what for event in result.events} <= {"lost", "fell"}
    assert result.events[-1].components == (2,)


@pytest.mark.parametrize("covariance", ALL)
def test_halves_make_the_whole(covariance):
    """Two halves have the mean of the component that was cut and, along its axis, its variance."""
    X = make_mixture(500, 3, 2, spacing=4.0).X * [1.0, 30.0, 0.1]
    gaussian = _gaussian_model(X, covariance, "map")
    params = gaussian.update(fastem.moments(X, labels=np.arange(500) % 3, covariance_type=covariance))
    axes = lost_components.principal_axes(gaussian, params)
    cut = lost_components.split_component(params, 0, 2, axes[0])
    assert cut.weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(cut.weights[[0, 2]] / cut.weights[1], params.weights[0] / 2 / params.weights[1])
    np.testing.assert_allclose(cut.means[[0, 2]].mean(axis=0), params.means[0], rtol=1e-12)
    step = cut.means[2] - params.means[0]
    between = np.outer(step, step)
    if covariance == "full":
        np.testing.assert_allclose(cut.covariances[0] + between, params.covariances[0], rtol=1e-9)
        values = np.linalg.eigvalsh(gaussian.units.relative(params.covariances)[0])
        assert gaussian.units.lengths(axes)[0] ** 2 == pytest.approx(values[-1])
    if covariance == "diag":
        np.testing.assert_allclose(cut.covariances[0, 0] + np.diag(between), params.covariances[0, 0], rtol=1e-9)
    if covariance == "spherical":
        total = 3 * cut.covariances[0] + np.trace(between)
        np.testing.assert_allclose(total, 3 * params.covariances[0], rtol=1e-9)
    if covariance.startswith("tied"):
        np.testing.assert_array_equal(cut.covariances, params.covariances)
    np.testing.assert_array_equal(cut.means[1], params.means[1])


def test_another_attempt_cuts_another_component():
    X = _three().X
    stats = fastem.moments(X, labels=_three().labels, n_components=4)
    gaussian = _gaussian_model(X, "full", "map")
    params, lost = gaussian.update(stats), degenerate.find_lost(gaussian, stats)
    assert lost.components.tolist() == [3]
    proposals = [lost_components.reseed_lost(gaussian, params, lost, failed) for failed in range(4)]
    assert len({proposal.detail for proposal in proposals[:3]}) == 3
    assert proposals[3] is None


# ---- dropping ----------------------------------------------------------------------------------------


@BOTH
def test_drop(covariance, remedy):
    X, start = _with_an_empty_one(covariance, remedy)
    result = fastem.em(X, start, covariance_type=covariance, regularization=remedy, on_collapse="drop", tol=1e-6)
    assert [event.what for event in result.events] == ["dropped"]
    assert result.events[0].components == (2,)
    assert len(result.params.weights) == len(result.params.means) == 2
    assert result.params.weights.sum() == pytest.approx(1.0)
    assert result.status is Status.CONVERGED


def test_drop_in_the_estimator():
    X = np.repeat(np.random.default_rng(0).normal(size=(3, 2)), 20, axis=0)
    model, error, _ = outcome(
        lambda: GaussianMixture(5, regularization="map", on_collapse="drop", random_state=0).fit(X)
    )
    assert error is None
    K = len(model.weights_)
    assert K == 3, "all have no rank; those without rows go"
    assert model.predict_proba(X).shape == (60, K)
    assert any(event.what == "dropped" for event in model.fit_report_.events)


def test_drop_needs_a_remedy():
    with pytest.raises(ValueError, match="on_collapse='drop' does not work with regularization=None"):
        GaussianMixture(2, on_collapse="drop").fit(np.arange(10.0)[:, None])


# ---- interruption ------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1])
def test_interrupted_while_reseeding(after):
    """Ctrl-C leaves the better of the fit before the reseed and what came of it; so does a callback's True."""
    X, start = _with_an_empty_one("full", "map")
    whole = fastem.em(X, start, regularization="map", tol=1e-6)
    at = whole.events[0].iteration
    assert whole.n_iter > at + 2

    def ctrl_c(iteration, *_):
        if iteration == at + 1 + after:
            raise KeyboardInterrupt

    with pytest.raises(FitInterrupted) as caught:
        fastem.em(X, start, regularization="map", tol=1e-6, callback=ctrl_c)
    result = caught.value.result
    assert len(result.history) == result.n_iter >= at
    assert result.history[:at] == whole.history[:at]
    assert result.history[-1] >= whole.history[at - 1]
    asked = fastem.em(X, start, regularization="map", tol=1e-6, callback=lambda i, *_: i == at + 1)
    assert asked.status is Status.INTERRUPTED
    assert asked.history[-1] >= asked.history[min(at, asked.n_iter) - 1]


# ---- the report --------------------------------------------------------------------------------------


def test_report_is_readable():
    X = np.repeat(np.random.default_rng(0).normal(size=(3, 2)), 20, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(5, regularization="map", random_state=0, n_init=2).fit(X)
    text = str(model.fit_report_)
    assert "kept" in text
    assert model.status_.advice in text
    assert "0.0 of 3 rows" in text
    assert "rows in a subspace" in text
    assert len(model.fit_report_.starts) == 2
    bounds = [start.bound for start in model.fit_report_.starts]
    assert model.lower_bound_ == max(bounds) == bounds[model.fit_report_.kept]
    assert max(map(len, text.splitlines())) < 200
    quiet = GaussianMixture(1, random_state=0).fit(make_mixture(50, 2, 1).X)
    assert "Nothing else to report." in str(quiet.fit_report_)
    given = GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    assert str(given.fit_report_) == "No fit: the parameters were given."


def test_collapse_is_reported():
    X = np.concatenate([np.random.default_rng(0).normal(size=(50, 1)), np.full((10, 1), 9.0)])
    model = quiet_fit(
        GaussianMixture(
            2, reg_covar=0, weights_init=[0.8, 0.2], means_init=[[0.0], [9.0]], precisions_init=[[[1.0]], [[1.0]]]
        ),
        X,
    )
    assert model.status_ is Status.DEGENERATE
    event = next(event for event in model.fit_report_.events if event.what == "collapsed")
    assert event.components == (1,)


# ---- inputs on which others die ----------------------------------------------------------------------


def _inputs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3)) + 4 * rng.integers(0, 2, (80, 1))
    constant, dependent, double = X.copy(), X.copy(), X.copy()
    constant[:, 1] = 3.0
    dependent[:, 2] = X[:, 0] - X[:, 1]
    double[:, 2] = X[:, 0]
    return {
        "constant": (constant, 2),
        "constant, far": (constant * [1, 1e9, 1], 2),
        "all constant": (np.full((20, 3), 7.0), 2),
        "all zero": (np.zeros((20, 3)), 3),
        "dependent": (dependent, 2),
        "duplicate column": (double, 2),
        "few rows": (rng.normal(size=(6, 9)), 2),
        "as many as rows": (rng.normal(size=(5, 2)), 5),
        "one column": (rng.normal(size=(20, 1)), 3),
        "two values": (np.repeat([[0.0, 1.0], [1.0, 1.0]], 10, axis=0), 3),
        "tiny": (1e-100 * X, 2),
        "huge": (1e100 * X, 2),
        "both": (X * [1e-100, 1.0, 1e100], 2),
        "far": (X + 1e8, 2),
        "far and narrow": (1e8 + 1e-2 * X, 2),
        "far, float32": ((X + 1e4).astype(np.float32), 2),
        "integers": (rng.integers(0, 3, (60, 4)), 4),
    }


@pytest.mark.parametrize("name", _inputs())
@BOTH
def test_a_finite_fit(covariance, remedy, name):
    """Positive definite covariances, weights that sum to 1, finite scores, at every remedy, from every kind of data."""
    X, k = _inputs()[name]
    model, error, _ = outcome(
        lambda: GaussianMixture(k, covariance_type=covariance, regularization=remedy, random_state=0).fit(X)
    )
    assert error is None
    _sound(model, X)
    if name in ("tiny", "huge", "far"):
        plain = GaussianMixture(k, covariance_type=covariance, regularization=remedy, random_state=0).fit(
            _inputs()["far"][0] - 1e8
        )
        np.testing.assert_array_equal(model.predict(X), plain.predict(_inputs()["far"][0] - 1e8))


def _sound(model, X):
    params = model.params_
    assert abs(params.weights.sum() - 1) < (1e-6 if model.means_.dtype == np.float32 else 1e-12)
    assert all(np.isfinite(part).all() for part in params[:4])
    assert np.isfinite(model.lower_bounds_).all()
    assert np.isfinite(model.score_samples(X)).all()
    factorise(params.covariances)  # or SingularCovarianceError
    assert model.status_ in (Status.CONVERGED, Status.MAX_ITER)


def _objective(X, covariance, remedy, params):
    gaussian = _gaussian_model(X, covariance, remedy)
    return gaussian.objective(params, fastem.accumulate(X, params))


def _demonstrate(name, seed, covariance, remedy):
    """One fit of the demonstration: sound, no lower than its start and one component, complete or with a report."""
    X, labels = problem(name, seed)
    k = int(labels.max()) + 1
    model, error, _ = outcome(
        lambda: GaussianMixture(
            k, covariance_type=covariance, init_params=START, regularization=remedy, random_state=seed
        ).fit(X)
    )
    assert error is None
    _sound(model, X)
    single = GaussianMixture(1, covariance_type=covariance, regularization=remedy).fit(X).params_
    gaussian = _gaussian_model(X, covariance, remedy)
    one = fastem.Params(
        np.full(k, 1 / k),
        np.repeat(single.means, k, axis=0),
        *(a if covariance.startswith("tied") else np.repeat(a, k, axis=0) for a in single[2:4]),
    )
    got = _objective(X, covariance, remedy, model.params_)
    for want in (model.lower_bounds_[0], _objective(X, covariance, remedy, gaussian.feasible(one))):
        assert not gaussian.fell(want, got, model.params_, EPS), f"{name} {seed} {covariance} {remedy}"
    lost = degenerate.find_lost(gaussian, fastem.accumulate(X, model.params_))
    if len(lost.components):
        assert any(event.what == "lost" for event in model.fit_report_.events)


START = "auto"


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_under_some_settings(name):
    for seed, (covariance, remedy) in enumerate(itertools.product(FAMILIES, REMEDIES)):
        if seed % 5 == 0:
            _demonstrate(name, 10_000 + seed, covariance, remedy)


@pytest.mark.slow
def test_every_class_under_every_setting():
    """No exception, nothing that is not finite, nothing lower than its start or than one component.

    Each class with each family, and with each remedy, every second time: so that all pairs of these two are there.
    """
    settings = itertools.product(enumerate(CLASSES), enumerate(FAMILIES), enumerate(REMEDIES))
    for seed, ((i, name), (j, covariance), (k, remedy)) in enumerate(settings):
        if (i + j + k) % 2 == 0:
            _demonstrate(name, seed, covariance, remedy)
