"""The remedies against the unbounded likelihood: their objectives, their maxima, and that no pass loses."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from _problems import KINDS, draw_problem
from hard import CLASSES, problem
from helpers import FAMILIES, make_mixture, outcome
from remedies import gain
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import invgamma, invwishart, multivariate_normal

import fastem
from fastem import EigenvalueFloor, EigenvalueRatio, GaussianMixture, GeometricRidge, InverseWishart, Ridge
from fastem.model import families, maximisation
from fastem.model.matrices import factorise
from fastem.model.remedies import eigenvalue_ratio, table

EPS = np.finfo(float).eps
REMEDIES = (Ridge(0.5), InverseWishart(0.2), EigenvalueFloor(0.7), EigenvalueRatio(1.5), GeometricRidge(4.0))
BOTH = [pytest.param(t, r, id=f"{t}-{type(r).__name__}") for t, r in itertools.product(FAMILIES, REMEDIES)]


# ---- objectives and maxima ---------------------------------------------------------------------------


def _soft(n=40, d=3, k=2):
    mixture = make_mixture(n, d, k, spacing=4.0)
    noise = np.random.default_rng(3).dirichlet(np.ones(k), n)
    return mixture.X * [1.0, 20.0, 0.3], 0.8 * np.eye(k)[mixture.labels] + 0.2 * noise


def _full(params):
    """Covariances as (K, D, D)."""
    (k, d), c = params.means.shape, params.covariances
    return np.broadcast_to(c if c.shape[1] == d > 1 else c[:, 0, :, None] * np.eye(d), (k, d, d))


def _expected(X, resp, params):
    """The expected complete-data log-likelihood, row by row."""
    rows = [multivariate_normal(m, c).logpdf(X) for m, c in zip(params.means, _full(params), strict=True)]
    return float((resp * (np.log(params.weights) + np.array(rows).T)).sum())


def _gaussian_model(X, covariance, remedy):
    one = fastem.moments(X, labels=np.zeros(len(X), int), covariance_type=covariance)
    return maximisation.make_model(families.find_family(covariance), remedy, lambda: one)


def _spd(covariances):
    return (
        all((np.linalg.eigvalsh(c) > 0).all() for c in covariances)
        if covariances.shape[1] > 1
        else (covariances > 0).all()
    )


def _moved(params, rng, size):
    """Parameters nearby, of the same family."""
    c = params.covariances
    scale = np.sqrt(np.einsum("kii->ki", c) if c.shape[1] > 1 else c[:, 0, :])
    noise = size * rng.normal(size=c.shape)
    if c.shape[1] > 1:
        covariances = c + (noise + noise.swapaxes(1, 2)) * scale[:, :, None] * scale[:, None, :]
    else:
        covariances = c * np.exp(noise)
    means = params.means + size * scale * rng.normal(size=params.means.shape)
    return params.weights, means, covariances


def _family_params(weights, means, covariances):
    return fastem.Params(weights, means, covariances, factorise(covariances))


@pytest.mark.parametrize(("covariance", "remedy"), [p for p in BOTH if "Eigen" not in p.id])
def test_gradient_vanishes_at_the_m_step(covariance, remedy):
    """Central differences of expected log-likelihood + log prior in every direction tried, against its curvature."""
    X, resp = _soft()
    step = _gaussian_model(X, covariance, remedy)
    params = step.update(fastem.moments(X, resp=resp, covariance_type=covariance))

    def objective(params):
        return _expected(X, resp, params) + remedy.log_prior(params, step.family, step.units)

    best, rng, h = objective(params), np.random.default_rng(0), 1e-4
    for _ in range(30):
        moved = _moved(params, rng, 1.0)
        both = []
        for sign in (1, -1):
            pair = zip(params[:3], moved, strict=True)
            both.append(objective(_family_params(*(a + sign * h * (b - a) for a, b in pair))))
        slope, curvature = (both[0] - both[1]) / (2 * h), (2 * best - sum(both)) / h**2
        assert curvature > 0
        assert abs(slope) < 1e-4 * curvature


@pytest.mark.parametrize(("covariance", "remedy"), [p for p in BOTH if "Eigen" in p.id])
def test_nothing_feasible_nearby_is_better(covariance, remedy):
    X, resp = _soft()
    step = _gaussian_model(X, covariance, remedy)
    stats = fastem.moments(X, resp=resp, covariance_type=covariance)
    params = step.update(stats)
    strict = fastem.m_step(stats, covariance)
    best = _expected(X, resp, params)
    binds = covariance != "tied_spherical" or isinstance(remedy, EigenvalueFloor)  # one eigenvalue has no ratio
    assert (best < _expected(X, resp, strict) - 1e-6) == binds
    rng, tried = np.random.default_rng(0), 0
    for size in np.repeat([1e-3, 1e-2, 1e-1], 100):
        near = _moved(params, rng, size)
        if _spd(near[2]):
            feasible = step.feasible(_family_params(*near))
            assert _expected(X, resp, feasible) <= best + 1e-9
            tried += 1
    assert tried > 200


@pytest.mark.parametrize(("covariance", "remedy"), BOTH)
def test_feasible_is_where_the_constraint_holds(covariance, remedy):
    X, resp = _soft()
    step = _gaussian_model(X, covariance, remedy)
    params = step.update(fastem.moments(X, resp=resp, covariance_type=covariance))
    np.testing.assert_allclose(step.feasible(params).covariances, params.covariances, rtol=1e-10)
    S0 = np.cov(X.T, bias=True)
    white = np.linalg.inv(np.linalg.cholesky(S0))
    if covariance.endswith("diag"):
        white = np.diag(1 / np.sqrt(np.diag(S0)))
    elif covariance.endswith("spherical"):
        white = np.eye(3) / np.sqrt(np.trace(S0) / 3)
    values = np.linalg.eigvalsh(white @ _full(params) @ white.T)
    if isinstance(remedy, EigenvalueFloor):
        assert values.min() >= remedy.floor * (1 - 1e-9)
    if isinstance(remedy, EigenvalueRatio):
        assert values.max() <= remedy.ratio * values.min() * (1 + 1e-9)


def test_truncation_is_the_minimum():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = np.exp(3 * rng.normal(size=(3, 4))) * (rng.uniform(size=(3, 4)) < 0.8)
        mass, ratio = rng.uniform(0, 5, 3), np.exp(rng.uniform(0, 5))

        def loss(m, values=values, mass=mass, ratio=ratio):
            e = np.clip(values, m, ratio * m)
            return (mass[:, None] * (np.log(e) + values / e)).sum()

        got = loss(eigenvalue_ratio.find_truncation(values, mass, ratio))
        points = np.concatenate([values[values > 0], values[values > 0] / ratio])
        grid = min(loss(m) for m in np.exp(np.linspace(np.log(points.min()) - 1, np.log(points.max()) + 1, 500)))
        best = minimize_scalar(lambda t: loss(np.exp(t)), bounds=np.log([points.min(), points.max()]), method="bounded")
        assert got <= min(grid, best.fun) + 1e-6 * abs(got)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_log_prior_of_the_inverse_wishart(covariance):
    """Differences of it are those of scipy's densities."""
    X, resp = _soft()
    d, k, kappa = X.shape[1], 2, 0.2
    step = _gaussian_model(X, covariance, InverseWishart(kappa))
    params = step.update(fastem.moments(X, resp=resp, covariance_type=covariance))
    S0, m = np.cov(X.T, bias=True), X.mean(axis=0)

    def density(params):
        full, c = _full(params), params.covariances
        total = sum(multivariate_normal(m, s / kappa).logpdf(mu) for mu, s in zip(params.means, full, strict=True))
        size = k ** (-2 / d)
        if covariance in ("full", "tied"):
            return total + sum(invwishart(d + 2, S0 * size).logpdf(s) for s in c)
        scale = np.diag(S0) * size if covariance.endswith("diag") else np.trace(S0) / d * size
        return total + invgamma((d + 2) / 2, scale=scale / 2).logpdf(c).sum()

    rng, pairs = np.random.default_rng(1), []
    for _ in range(5):
        other = _family_params(*_moved(params, rng, 0.02))
        pairs.append((density(other), step.remedy.log_prior(other, step.family, step.units)))
    want, got = np.array(pairs).T
    np.testing.assert_allclose(np.diff(got), np.diff(want), rtol=1e-8, atol=1e-8)


def test_ridge_is_in_closed_form():
    X, resp = _soft()
    stats = fastem.moments(X, resp=resp)
    got = fastem.m_step(stats, regularization=Ridge(2.0))
    plain, S0 = fastem.m_step(stats), np.cov(X.T, bias=True)
    nk = stats.s0[:, None, None]
    np.testing.assert_allclose(got.covariances, (nk * plain.covariances + 2 * S0) / (nk + 2), rtol=1e-10)


# ---- the geometric ridge -----------------------------------------------------------------------------


def _geometric_penalty(strength, covariance, S0):
    s = np.linalg.eigvals(np.linalg.solve(covariance, S0)).real
    return strength * (2 * s**0.25 - np.log(s) / 2).sum()


def test_log_prior_of_the_geometric_ridge():
    """Differences of it are those of its formula, and it is largest where a covariance is that of all rows."""
    X, resp = _soft()
    S0, remedy = np.cov(X.T, bias=True), GeometricRidge(0.7)
    step = _gaussian_model(X, "full", remedy)
    params = step.update(fastem.moments(X, resp=resp))
    rng, pairs = np.random.default_rng(1), []
    for _ in range(5):
        other = _family_params(*_moved(params, rng, 0.02))
        want = -sum(_geometric_penalty(0.7, c, S0) for c in other.covariances)
        pairs.append((want, remedy.log_prior(other, step.family, step.units)))
    np.testing.assert_allclose(*np.diff(np.transpose(pairs), axis=1), rtol=1e-8)
    whole = _family_params(params.weights, params.means, np.array([S0, S0]))
    best = remedy.log_prior(whole, step.family, step.units)
    for size in (0.9, 1.1):
        other = _family_params(params.weights, params.means, np.array([S0, size * S0]))
        assert remedy.log_prior(other, step.family, step.units) < best


@pytest.mark.parametrize("n", [1.5, 6.0, 200.0])
def test_m_step_of_the_geometric_ridge_is_the_maximum(n):
    """Of three numbers that scipy finds without eigenvectors: the Cholesky factor of a covariance."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(30, 2)) @ [[3.0, 1.0], [0.0, 0.2]]
    S0, labels = np.cov(X.T, bias=True), (np.arange(30) < 4).astype(int)
    scatter = np.cov(X[labels == 1].T, bias=True)
    weight = np.where(labels == 1, n / 4, 1.0)

    def loss(numbers):
        root = np.array([[np.exp(numbers[0]), 0.0], [numbers[1], np.exp(numbers[2])]])
        covariance = root @ root.T
        own = n / 2 * (np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, scatter)))
        return own + _geometric_penalty(2.0, covariance, S0)

    start = np.linalg.cholesky(S0)
    found = minimize(loss, [np.log(start[0, 0]), start[1, 0], np.log(start[1, 1])], method="BFGS", tol=1e-9)
    stats = fastem.moments(X, labels=labels, sample_weight=weight)
    total = fastem.moments(X, labels=np.zeros(30, int))
    got = fastem.m_step(stats, regularization=GeometricRidge(2.0), total=total).covariances[1]
    root = np.array([[np.exp(found.x[0]), 0.0], [found.x[1], np.exp(found.x[2])]])
    np.testing.assert_allclose(got, root @ root.T, rtol=2e-5)


def test_widened_is_the_root():
    """From rows without variance to rows wider than all, of hardly any weight to ten million rows."""
    rng = np.random.default_rng(0)
    values, mass = 10 ** rng.uniform(-16, 3, (2000, 5)), 10 ** rng.uniform(-15, 7, 2000)
    values[:20], mass = np.vstack([np.zeros((10, 5)), np.full((10, 5), -1e-17)]), mass[:, None]
    got = GeometricRidge(1.0).widened(values, mass[:, 0])
    own = mass * np.maximum(values, 0)
    np.testing.assert_allclose((mass + 1) * got, own + got**0.75, rtol=1e-14)
    np.testing.assert_allclose(got[:20], np.broadcast_to((mass[:20] + 1.0) ** -4, (20, 5)), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recommended_is_silent_on_sound_components(kind):
    """EM from the generating parameters ends less than 1e-4 nats per row below that without; Ridge() does not."""
    _, X, *parameters = draw_problem(kind, 10_000, 12, 3, 1)
    start, settings = fastem.make_params(*parameters), {"tol": 1e-8, "max_iter": 50}
    free = fastem.em(X, start, **settings).loglik
    for remedy in (table.RECOMMENDED, Ridge()):
        params = fastem.em(X, start, regularization=remedy, **settings).params
        cost = (free - fastem.accumulate(X, params).loglik) / len(X)
        if remedy is table.RECOMMENDED:
            assert cost < 1e-4
    assert kind != "scales" or cost > 0.1


def test_what_is_recommended_bounds_a_component_on_a_few_rows():
    """Rows that are all the same gain a quarter less than a floor leaves them, which is less silent."""
    X = np.random.default_rng(0).normal(size=(500, 5))
    for m in (1, 3, 6):
        X[:m] = X[0]
        few, more = (gain(X, np.arange(m), {"regularization": r}) for r in (table.RECOMMENDED, EigenvalueFloor(1e-6)))
        assert few < 0.75 * more


@pytest.mark.parametrize("name", ["rounded", "too_many", "duplicates"])
def test_what_is_recommended_does_not_select_spikes(name):
    X, _ = problem(name, 1)
    found = fastem.select(X, range(1, 6), ["full"], regularization=table.RECOMMENDED, random_state=0)
    best = found.best_
    assert (best.weights_ * len(X)).min() > X.shape[1]
    assert found.best_params_["n_components"] <= 3


# ---- no pass loses -----------------------------------------------------------------------------------


def _fall(history, kappa, n):
    """The largest fall of a total objective in units of its tolerance."""
    total = np.array(history) * n
    allowed = EPS * (np.abs(total[:-1]) + n) * (64 + kappa)
    return float(((total[:-1] - total[1:]) / allowed).max(initial=0.0))


def _never_falls(name, seed, covariance, remedy):
    X, labels = problem(name, seed)
    stats = fastem.moments(X, labels=labels, covariance_type=covariance)
    start = fastem.m_step(stats, covariance, regularization=remedy)
    result = fastem.em(X, start, covariance_type=covariance, regularization=remedy, tol=0.0, max_iter=30)
    assert np.isfinite(result.history).all()
    assert len(result.history) > 1
    kappa = _gaussian_model(X, covariance, table.find_remedy(remedy)).condition(result.params)
    assert _fall(result.history, kappa, len(X)) <= 1, f"{name} {seed} {covariance} {remedy}"
    for values in result.params[:4]:
        assert np.isfinite(values).all()


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("remedy", table.REMEDIES)
@pytest.mark.parametrize("name", CLASSES)
def test_never_falls(name, remedy, covariance):
    _never_falls(name, 0, covariance, remedy)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("remedy", table.REMEDIES)
def test_never_falls_on_many(remedy, covariance):
    for name, seed in itertools.product(CLASSES, range(1, 4)):
        _never_falls(name, seed, covariance, remedy)


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
@pytest.mark.parametrize("remedy", ["floor", "ratio"])
def test_any_start_is_made_feasible(remedy, covariance):
    """A spike on equal rows as a start, higher than what the constraint allows: no pass falls from it."""
    X, _ = problem("duplicates", 0)
    stats = fastem.moments(X, labels=np.arange(len(X)) % 2, covariance_type=covariance)
    start = fastem.m_step(stats, covariance)
    size = np.array([1.0, 1e-14])[:, None, None]
    spike = start._replace(means=X[[-1, 0]], covariances=start.covariances * size, factor=start.factor / np.sqrt(size))
    result = fastem.em(X, spike, covariance_type=covariance, regularization=remedy, tol=0.0, max_iter=30)
    assert fastem.accumulate(X, spike).loglik / len(X) > result.history[-1]
    assert result.status is fastem.Status.MAX_ITER
    assert not any(event.what == "fell" for event in result.events)


def test_reg_covar_does_fall():
    """What the others are for; and a check that the tolerance is not too wide to see a fall."""
    falls = 0.0
    for seed in range(10):
        X, labels = problem("duplicates", seed)
        start = fastem.m_step(fastem.moments(X, labels=labels), reg_covar=0.1)
        result = fastem.em(X, start, reg_covar=0.1, tol=0.0, max_iter=50)
        falls = max(falls, _fall(result.history, np.linalg.cond(result.params.covariances).max(), len(X)))
    assert falls > 1e6


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
@pytest.mark.parametrize("remedy", table.REMEDIES)
def test_units_change_nothing(remedy, covariance):
    X = make_mixture(300, 3, 2, spacing=3.0).X
    units = np.array([1e-7, 1.0, 1e6])
    labels = np.arange(300) % 2
    results = []
    for rows in (X, X * units):
        start = fastem.m_step(fastem.moments(rows, labels=labels, covariance_type=covariance), covariance)
        results.append(
            fastem.em(rows, start, covariance_type=covariance, regularization=remedy, tol=0, max_iter=20).params
        )
    np.testing.assert_allclose(results[1].means, results[0].means * units, rtol=1e-6)
    np.testing.assert_allclose(results[1].weights, results[0].weights, rtol=1e-6)


# ---- the argument ------------------------------------------------------------------------------------


def test_repr_clone_pickle_and_parameters():
    from sklearn.base import clone

    model = GaussianMixture(2, regularization=Ridge(0.5))
    assert repr(model) == "GaussianMixture(n_components=2, regularization=Ridge(strength=0.5))"
    assert repr(GaussianMixture()) == "GaussianMixture()"
    assert clone(model).get_params() == model.get_params()
    assert pickle.loads(pickle.dumps(model)).regularization == Ridge(0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.regularization.strength = 1.0


@pytest.mark.parametrize("bad", ["ridges", 3, Ridge, object()])
def test_what_is_no_remedy(bad):
    X = np.arange(10.0)[:, None]
    for call in (
        lambda: GaussianMixture(2, regularization=bad).fit(X),
        lambda: fastem.m_step(fastem.moments(X, labels=[0] * 10), regularization=bad),
        lambda: fastem.em(X, fastem.make_params([1.0], [[0.0]], [[[1.0]]]), regularization=bad),
    ):
        with pytest.raises(ValueError, match="regularization must be None, one of 'ridge', 'map', 'floor', 'ratio'"):
            call()


@pytest.mark.parametrize(
    "make",
    [
        *(lambda v=v: Ridge(v) for v in (0.0, -1.0, np.inf, np.nan)),
        *(lambda v=v: InverseWishart(v) for v in (-1.0, np.inf)),
        *(lambda v=v: EigenvalueFloor(v) for v in (0.0, 1.0)),
        *(lambda v=v: EigenvalueRatio(v) for v in (0.5, np.inf)),
        *(lambda v=v: GeometricRidge(v) for v in (0.0, np.inf)),
    ],
)
def test_bad_parameters_are_named(make):
    with pytest.raises(ValueError, match=r"must be in .*; got"):
        make()


def test_one_remedy_at_a_time():
    stats = fastem.moments([[0.0], [1.0]], labels=[0, 0])
    with pytest.raises(ValueError, match="takes the place of reg_covar"):
        fastem.m_step(stats, reg_covar=1e-6, regularization="map")


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("remedy", table.REMEDIES)
@pytest.mark.parametrize("covariance", FAMILIES)
def test_estimator(covariance, remedy, init):
    """A fit from every start, and the class as `em` and `m_step` together."""
    X = make_mixture(400, 3, 3, spacing=6.0).X
    model, error, _ = outcome(
        lambda: GaussianMixture(
            3, covariance_type=covariance, init_params=init, regularization=remedy, random_state=0, max_iter=30
        ).fit(X)
    )
    assert error is None
    assert np.isfinite(model.score(X))
    assert (np.diff(model.lower_bounds_) > -1e-12).all()
    again = fastem.em(X, model.params_, covariance_type=covariance, regularization=remedy, tol=0.0, max_iter=2)
    assert again.history[0] >= model.lower_bound_ - 1e-12


# ---- reg_covar has a unit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_reg_covar_that_widens_is_told_once(covariance_type):
    X = np.random.default_rng(0).normal(size=(200, 2)) * [1.0, 3e-5]
    scale = 3e-5 if "spherical" in covariance_type else 1.0
    model = GaussianMixture(2, covariance_type=covariance_type, n_init=3, random_state=0, max_iter=1000)
    _, error, messages = outcome(lambda: model.fit(X * scale))
    assert error is None
    whose = "mean variance of the columns" if "spherical" in covariance_type else "variance of column 1"
    assert [whose in message for message in messages] == [True], messages


def test_reg_covar_that_does_no_harm_is_not_told():
    X = np.random.default_rng(0).normal(size=(200, 2)) * [1.0, 3e-5]
    constant = np.column_stack([X[:, 0], np.full(200, 0.1), np.full(200, 1e9)])
    for model, rows in (
        (GaussianMixture(2, random_state=0), X * 400),
        (GaussianMixture(2, random_state=0), constant),
        (GaussianMixture(2, random_state=0, reg_covar=0), X),
        (GaussianMixture(2, random_state=0, regularization="map"), X),
    ):
        _, error, messages = outcome(lambda model=model, rows=rows: model.fit(rows))
        assert (error, messages) == (None, [])


@pytest.mark.parametrize("remedy", ["geometric", "ridge", "map", "floor"])
def test_a_column_that_another_makes_is_correlated_with_it(remedy):
    """Where rows do not vary there is hardly a variance: columns keep the covariance that they have."""
    x = np.random.default_rng(0).normal(size=(300, 1))
    X = np.column_stack([x, 2 * x + 1, np.full(300, 7.0)])
    model = fastem.GaussianMixture(1, regularization=remedy).fit(X)
    covariance = model.covariances_[0]
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) > 1 - 1e-7
    assert 0 < covariance[2, 2] < 1e-6 * 7.0**2
    if remedy in ("geometric", "floor"):
        np.testing.assert_allclose(covariance[:2, :2], np.cov(X[:, :2].T, bias=True), rtol=1e-2)
