"""The gradient against finite differences and exact arithmetic, and L-BFGS against EM."""

import dataclasses

import mpmath
import numpy as np
import pytest
from helpers import (
    FAMILIES,
    assert_close,
    expand,
    from_params,
    make_mixture,
    make_start,
    natural,
    outcome,
    quiet_fit,
    start_params,
)

import fastem
from fastem import GaussianMixture, Parametrization, Status
from fastem.model.families import find_family
from fastem.model.params import Noise


@pytest.fixture(scope="module")
def data():
    """Three overlapping components in three dimensions, weighted rows, far from 0 and in other units."""
    mixture = make_mixture(500, 3, 3, spacing=2.5, seed=3)
    weight = np.random.default_rng(2).uniform(0, 2, 500)
    return mixture, weight


def differences(f, theta, step=1e-5):
    """Central differences."""
    return np.array([(f(theta + step * e) - f(theta - step * e)) / (2 * step) for e in np.eye(len(theta))])


# ---- the parametrization -----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("noise", [False, True])
def test_round_trip(data, covariance_type, noise):
    mixture, _ = data
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    if noise:
        box = np.array([mixture.X.min(axis=0), mixture.X.max(axis=0)])
        params = params._replace(weights=0.8 * params.weights, noise=Noise(0.2, box))
    K, D = params.means.shape
    for space in (Parametrization.of(params), Parametrization.around(params), Parametrization.around(params, 0.05)):
        theta = space.pack(params)
        roots = find_family(covariance_type).n_parameters(K, D)
        assert theta.shape == (K + noise + K * D + roots,)
        back = space.unpack(theta)
        assert_close(from_params(back), from_params(params), 1e-13)
        np.testing.assert_allclose(back.factor, params.factor, rtol=1e-11, atol=1e-13)
        assert (back.noise is None) == (not noise)
        if noise:
            assert back.noise.weight == pytest.approx(0.2)
            np.testing.assert_array_equal(back.noise.box, box)


def test_every_vector_is_a_mixture():
    """That is what the parametrization is for; also where a line search goes much too far."""
    params = fastem.make_params([0.3, 0.7], [[0.0, 0.0], [1.0, 2.0]], [np.eye(2), 2 * np.eye(2)])
    rng = np.random.default_rng(0)
    for space in (Parametrization.of(params), Parametrization.around(params, 1e-6)):
        for scale in (1.0, 30.0, 1e4):
            for _ in range(20):
                found = space.unpack(scale * rng.normal(size=len(space.pack(params))))
                assert found.weights.sum() == pytest.approx(1.0)
                assert np.isfinite(found.factor).all()
                assert (np.diagonal(found.factor, axis1=1, axis2=2) > 0).all()


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_origin_is_the_mixture(data, covariance_type):
    """Where components do not overlap the Hessian of the mean log-likelihood there is -I, but for the logits."""
    mixture = make_mixture(20000, 2, 3, spacing=40.0, seed=5)
    stats = fastem.moments(mixture.X, labels=mixture.labels, covariance_type=covariance_type)
    params = fastem.m_step(stats, covariance_type)
    space = Parametrization.around(params)
    origin = np.zeros(space.unit.size)
    assert_close(from_params(space.unpack(origin)), from_params(params), 1e-13)
    slopes = differences(lambda t: space.gradient(t, fastem.accumulate(mixture.X, space.unpack(t))) / 20000, origin)
    np.testing.assert_allclose(slopes[3:, 3:], -np.eye(len(origin) - 3), atol=1e-5)


def test_what_has_no_vector():
    params = fastem.make_params([0.0, 1.0], [[0.0], [1.0]], [1.0, 1.0], "spherical")
    with pytest.raises(ValueError, match="weight 0"):
        fastem.log_likelihood_and_gradient([[0.0]], params)
    with pytest.raises(ValueError, match="shape"):
        Parametrization.of(params).pack(fastem.make_params([1.0], [[0.0]], [1.0], "spherical"))


# ---- the gradient ------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("noise", [False, True])
def test_gradient_against_finite_differences(data, covariance_type, noise):
    mixture, weight = data
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    if noise:
        box = np.array([mixture.X.min(axis=0), mixture.X.max(axis=0)])
        params = params._replace(weights=0.8 * params.weights, noise=Noise(0.2, box))
    value, gradient = fastem.log_likelihood_and_gradient(mixture.X, params, weight)
    assert value == pytest.approx(fastem.accumulate(mixture.X, params, weight).loglik, rel=1e-14)
    for space, at in (
        (Parametrization.of(params), None),
        (Parametrization.around(params, 0.05), np.random.default_rng(0).normal(size=gradient.size) / 10),
    ):
        theta = space.pack(params) if at is None else at
        numeric = differences(lambda t, s=space: fastem.accumulate(mixture.X, s.unpack(t), weight).loglik, theta)
        own = space.gradient(theta, fastem.accumulate(mixture.X, space.unpack(theta), weight))
        if at is None:
            np.testing.assert_allclose(own, gradient, rtol=1e-12, atol=1e-12)
        assert np.abs(gradient).max() > 10
        np.testing.assert_allclose(own, numeric, atol=2e-6 * np.abs(numeric).max())


def test_gradient_against_exact_arithmetic():
    """Differences at 60 digits have no rounding of their own: the gradient is right to the last digits."""
    mixture = make_mixture(12, 2, 2, spacing=1.5, seed=7)
    params = fastem.make_params(mixture.weights, mixture.means, mixture.covariances)
    space = Parametrization.of(params)
    _, gradient = fastem.log_likelihood_and_gradient(mixture.X, params)

    def exact(theta):
        a, b, c = theta[:2], theta[2:6], theta[6:]
        total = mpmath.log(sum(mpmath.exp(v) for v in a))
        result = mpmath.mpf(0)
        for x in mixture.X:
            terms = []
            for k in range(2):
                l11, l21, l22 = mpmath.exp(c[3 * k]), c[3 * k + 1], mpmath.exp(c[3 * k + 2])
                y1 = (mpmath.mpf(float(x[0])) - b[2 * k]) / l11
                y2 = (mpmath.mpf(float(x[1])) - b[2 * k + 1] - l21 * y1) / l22
                density = -(y1**2 + y2**2) / 2 - mpmath.log(2 * mpmath.pi) - c[3 * k] - c[3 * k + 2]
                terms.append(a[k] - total + density)
            result += mpmath.log(sum(mpmath.exp(t) for t in terms))
        return result

    with mpmath.workdps(60):
        theta, step = [mpmath.mpf(float(v)) for v in space.pack(params)], mpmath.mpf(10) ** -20
        for j, got in enumerate(gradient):
            ends = [[v + sign * step * (i == j) for i, v in enumerate(theta)] for sign in (1, -1)]
            want = float((exact(ends[0]) - exact(ends[1])) / (2 * step))
            assert got == pytest.approx(want, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_gradient_is_zero_where_em_ends(data, covariance_type):
    mixture, weight = data
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    _, before = fastem.log_likelihood_and_gradient(mixture.X, params, weight)
    end = fastem.em(
        mixture.X, params, covariance_type=covariance_type, tol=1e-15, max_iter=5000, sample_weight=weight
    ).params
    _, after = fastem.log_likelihood_and_gradient(mixture.X, end, weight)
    assert np.abs(before).max() > 10
    assert np.abs(after).max() < 2e-5


def test_gradient_far_from_zero(data):
    """Moments are about the means: an offset of 1e8 standard deviations costs what the rows themselves lose."""
    mixture, _ = data
    params = fastem.make_params(mixture.weights, mixture.means, mixture.covariances)
    _, near = fastem.log_likelihood_and_gradient(mixture.X, params)
    _, far = fastem.log_likelihood_and_gradient(mixture.X + 2.0**26, params._replace(means=params.means + 2.0**26))
    np.testing.assert_allclose(far, near, atol=1e-5 * np.abs(near).max())


# ---- L-BFGS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_lbfgs_ends_where_em_does(data, covariance_type):
    mixture, weight = data
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    options = dict(covariance_type=covariance_type, sample_weight=weight, max_iter=5000)
    direct = fastem.lbfgs(mixture.X, params, tol=1e-11, **options)
    em = fastem.em(mixture.X, params, tol=1e-13, **options)
    assert direct.status is Status.CONVERGED
    assert direct.n_iter < em.n_iter / 2
    assert direct.loglik == pytest.approx(em.loglik, abs=1e-6)
    assert_close(from_params(direct.params), from_params(em.params), 2e-4)
    # It ascends, from the start, and an EM step has nothing to add.
    assert direct.history[0] == pytest.approx(em.history[0], rel=1e-14)
    assert (np.diff(direct.history) > 0).all()
    assert direct.history[-1] == direct.loglik / direct.stats.sum_w
    step = fastem.m_step(direct.stats, covariance_type)
    gain = fastem.accumulate(mixture.X, step, weight).loglik - direct.loglik
    assert abs(gain) < 1e-8 * weight.sum()
    assert direct.loglik == fastem.accumulate(mixture.X, direct.params, weight).loglik  # of these parameters


def test_lbfgs_needs_fewer_passes_where_components_overlap():
    mixture = make_mixture(2000, 5, 6, spacing=2.0, seed=5)
    passes = {}
    for solver in ("em", "lbfgs"):
        model = GaussianMixture(6, solver=solver, random_state=1, tol=1e-9, max_iter=3000).fit(mixture.X)
        assert model.converged_
        passes[solver] = model.n_iter_
        if solver == "lbfgs":
            passes[solver] = int(model.fit_report_.events[-1].detail.split()[0])
    assert passes["lbfgs"] < passes["em"] / 4


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data", "auto"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_every_start(covariance_type, init):
    """Seeds without a spread too: L-BFGS alone does not leave them."""
    mixture = make_mixture(400, 2, 2, spacing=6.0, seed=8)
    ends = [
        GaussianMixture(
            2, covariance_type=covariance_type, init_params=init, solver=solver, random_state=0, tol=1e-9, max_iter=500
        ).fit(mixture.X)
        for solver in ("em", "lbfgs")
    ]
    assert ends[1].converged_
    assert ends[1].lower_bound_ == pytest.approx(ends[0].lower_bound_, abs=1e-5)


def test_units_do_not_matter(data):
    """Coordinates are those of the start: other units of the features give the same iterations."""
    mixture, _ = data
    scale = np.array([2.0**20, 1.0, 2.0**-10])
    start = fastem.make_params(mixture.weights, mixture.means, 2 * mixture.covariances)
    moved = fastem.make_params(mixture.weights, mixture.means * scale, 2 * mixture.covariances * scale[:, None] * scale)
    a, b = fastem.lbfgs(mixture.X, start, tol=1e-6), fastem.lbfgs(mixture.X * scale, moved, tol=1e-6)
    assert a.n_iter == b.n_iter > 5
    np.testing.assert_allclose(np.array(b.history) + np.log(scale).sum(), a.history, rtol=1e-7)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_reg_covar_is_a_bound(covariance_type):
    """A component on two equal rows: its variances are reg_covar, and the likelihood has a maximum."""
    X = np.vstack([make_mixture(200, 2, 1, seed=3).X, [[30.0, 30.0]] * 3])
    model = quiet_fit(
        GaussianMixture(
            2,
            covariance_type=covariance_type,
            weights_init=[0.98, 0.02],
            means_init=[[0.0, 0.0], [30.0, 30.0]],
            precisions_init=natural(np.array([np.eye(2)] * 2), covariance_type),
            solver="lbfgs",
            reg_covar=1e-3,
            tol=1e-9,
            max_iter=500,
        ),
        X,
    )
    full = expand(model.covariances_, covariance_type, 2, 2)
    least = np.linalg.eigvalsh(full).min(axis=1)
    assert model.converged_
    assert (least >= 1e-3 * (1 - 1e-9)).all()
    if not find_family(covariance_type).shared:
        assert least[1] == pytest.approx(1e-3, rel=0.01)
    assert (np.diff(model.lower_bounds_) > 0).all()
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_start_at_the_bound(data, covariance_type):
    """Where every variance is reg_covar there would be no gradient along them: the start has a little more."""
    mixture, _ = data
    start = start_params(make_start(mixture, covariance_type), covariance_type)
    scale = 0.3 * (np.eye(3) if start.covariances.shape[-2] > 1 else 1)
    tight = start._replace(covariances=0 * start.covariances + scale, factor=0 * start.factor + scale / 0.3**1.5)
    options = dict(covariance_type=covariance_type, tol=1e-9, max_iter=1000)
    a = fastem.lbfgs(mixture.X, tight, reg_covar=0.3, **options)
    b = fastem.lbfgs(mixture.X, start, reg_covar=0.3, **options)
    assert a.status is Status.CONVERGED
    assert a.loglik == pytest.approx(b.loglik, abs=1e-3)


def test_nothing_is_squared():
    """Where reg_covar is below the rounding of the largest variance, products L L' would have lost the small ones."""
    params = fastem.make_params([1.0], [[0.0, 0.0]], [np.eye(2)])
    space = dataclasses.replace(Parametrization.of(params), reg_covar=1e-7)
    a, b, c = 1e6, 1e6, 1e-6  # L = [[a, 0], [b, c]]
    factor = space.unpack([0.0, 0.0, 0.0, np.log(a), b, np.log(c)]).factor[0]
    pivot = 1e-7 + c**2 + b**2 * 1e-7 / (a**2 + 1e-7)
    assert factor[1, 1] == pytest.approx(pivot**-0.5, rel=1e-5)
    for angle in np.random.default_rng(0).uniform(0, np.pi, 50):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        params = fastem.make_params([1.0], [[0.0, 0.0]], [(turn * [1e8, 1.1e-7]) @ turn.T])
        at = Parametrization.around(params, 1e-7).unpack(np.zeros(6))
        assert np.linalg.slogdet(at.factor[0])[1] == pytest.approx(-0.5 * np.log(1e8 * 1e-7), abs=1.0)


def test_a_gradient_that_is_wrong_is_noticed(data, monkeypatch):
    """As rounding can make it: the line search finds nothing, and the result does not say that it converged."""
    mixture, _ = data
    start = start_params(make_start(mixture, "full"), "full")
    right = Parametrization.gradient
    monkeypatch.setattr(Parametrization, "gradient", lambda self, theta, stats: -right(self, theta, stats))
    result = fastem.lbfgs(mixture.X, start)
    assert result.status is Status.DECREASED
    assert result.n_iter == 1


def test_component_without_rows(data):
    """It has nothing to shrink on: its weight goes to 0, and that is no collapse."""
    mixture, _ = data
    start = fastem.make_params([0.5, 0.5], [mixture.X.mean(axis=0), [1e6] * 3], [np.eye(3)] * 2)
    result = fastem.lbfgs(mixture.X, start, tol=1e-9)
    one = fastem.m_step(fastem.moments(mixture.X, labels=np.zeros(500, dtype=int)))
    assert result.status is Status.CONVERGED
    assert result.params.weights[1] < 1e-6
    assert result.loglik == pytest.approx(fastem.accumulate(mixture.X, one).loglik, abs=1e-3)


def test_given_start_is_the_start(data):
    mixture, _ = data
    start = make_start(mixture, "full")
    model = GaussianMixture(3, solver="lbfgs", **start).fit(mixture.X)
    first = fastem.accumulate(mixture.X, start_params(start, "full")).loglik / 500
    assert model.lower_bounds_[0] == pytest.approx(first, rel=1e-12)


def test_collapse_without_reg_covar():
    X = np.vstack([make_mixture(200, 2, 1, seed=3).X, [[30.0, 30.0]]])
    start = fastem.make_params([0.98, 0.02], [[0.0, 0.0], [29.0, 29.0]], [np.eye(2)] * 2)
    result = fastem.lbfgs(X, start, max_iter=500)
    assert result.status is Status.DEGENERATE
    assert result.events[0].components == (1,)
    model, error, messages = outcome(
        lambda: GaussianMixture(
            2,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=start.covariances,
            reg_covar=0.0,
            solver="lbfgs",
        ).fit(X)
    )
    assert error is None
    assert model.status_ is Status.DEGENERATE
    assert "collapsed" in messages[0]
    assert np.isfinite(model.score(X))


def test_noise_with_lbfgs():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(300, 2)), rng.normal(8, 1, size=(300, 2)), rng.uniform(-30, 30, (60, 2))])
    options = dict(n_components=2, noise=True, random_state=0, tol=1e-10, max_iter=500, reg_covar=0)
    a, b = (GaussianMixture(solver=solver, **options).fit(X) for solver in ("em", "lbfgs"))
    assert b.noise_weight_ == pytest.approx(a.noise_weight_, rel=1e-3)
    assert b.lower_bound_ == pytest.approx(a.lower_bound_, abs=1e-8)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rounding_ends_it(data, dtype):
    """With tol=0 it ends where nothing higher is found."""
    mixture, _ = data
    start = start_params(make_start(mixture, "full"), "full")
    result = fastem.lbfgs(mixture.X.astype(dtype), start, tol=0.0, max_iter=1000)
    assert result.status is Status.CONVERGED
    assert result.n_iter < 200
    assert (np.diff(result.history) >= 0).all()


def test_max_iter_callback_and_interruption(data):
    mixture, _ = data
    start = start_params(make_start(mixture, "full"), "full")
    whole = fastem.lbfgs(mixture.X, start, tol=1e-9)
    for n in (1, 2, 5):
        short = fastem.lbfgs(mixture.X, start, tol=1e-9, max_iter=n)
        assert (short.status, short.n_iter, short.history) == (Status.MAX_ITER, n, whole.history[:n])
    seen = []

    def record(iteration, bound, params):
        seen.append((iteration, bound, params))
        return iteration == 4

    halted = fastem.lbfgs(mixture.X, start, tol=1e-9, callback=record)
    assert (halted.status, halted.n_iter) == (Status.INTERRUPTED, 4)
    assert [bound for _, bound, _ in seen] == whole.history[:4]
    assert [iteration for iteration, *_ in seen] == [1, 2, 3, 4]
    np.testing.assert_array_equal(seen[-1][2].means, halted.params.means)

    def interrupt(iteration, bound, params):
        if iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(fastem.FitInterrupted) as caught:
        fastem.lbfgs(mixture.X, start, tol=1e-9, callback=interrupt)
    assert caught.value.result.history == whole.history[:3]
    model = GaussianMixture(3, solver="lbfgs", random_state=0)
    with pytest.raises(fastem.FitInterrupted) as caught:
        model.fit(mixture.X, callback=interrupt)
    assert caught.value.result.n_iter == 3
    assert not hasattr(model, "means_")


def test_the_course_through_more_than_one_system_of_coordinates():
    """After 50 iterations coordinates are renewed: history and bound go on."""
    mixture = make_mixture(2000, 5, 6, spacing=2.0, seed=5)
    rng = np.random.RandomState(1)
    start = fastem.m_step(fastem.moments(mixture.X, resp=rng.dirichlet(np.ones(6), 2000)))
    result = fastem.lbfgs(mixture.X, start, tol=1e-9, max_iter=120)
    assert result.n_iter > 60
    assert (np.diff(result.history) > 0).all()
    assert result.loglik == fastem.accumulate(mixture.X, result.params).loglik


def test_warm_start_goes_on(data):
    mixture, _ = data
    model = GaussianMixture(3, solver="lbfgs", random_state=0, warm_start=True, tol=1e-10, max_iter=5)
    bounds = []
    for _ in range(20):
        again = quiet_fit(model, mixture.X).lower_bounds_
        assert not bounds or again[0] == pytest.approx(bounds[-1], rel=1e-13)  # where it was
        bounds += again
    assert model.converged_
    assert (np.diff(bounds) > -1e-9).all()
    whole = GaussianMixture(3, random_state=0, tol=1e-10, max_iter=1000).fit(mixture.X)
    assert bounds[-1] == pytest.approx(whole.lower_bound_, abs=1e-5)


def test_the_best_of_starts_and_what_is_printed(data, capsys):
    mixture, _ = data
    model = GaussianMixture(
        3, solver="lbfgs", n_init=3, init_params="random", random_state=0, verbose=1, verbose_interval=1
    )
    quiet_fit(model, mixture.X)
    report = model.fit_report_
    assert len(report.starts) == 3
    assert model.lower_bound_ == max(start.bound for start in report.starts)
    assert model.n_iter_ == report.starts[report.kept].n_iter == len(model.lower_bounds_)
    assert f"over the data in {model.n_iter_} iterations" in str(report)
    out = capsys.readouterr().out
    assert out.count("Initialization converged") == 3
    assert "  Iteration 2\n" in out


def test_what_lbfgs_is_not_for(data, tmp_path):
    mixture, _ = data
    for options, match in (
        (dict(solver="newton"), r"'solver' parameter .* must be a str among \{'auto', 'em', 'lbfgs'\}. Got 'newton'"),
        (dict(solver="lbfgs", regularization="map"), "does not work with regularization='map'"),
        (dict(solver="lbfgs", assignment="hard"), "does not work with assignment='hard'"),
        (dict(solver="lbfgs", fixed=["weights"]), r"does not work with fixed=\('weights',\)"),
    ):
        with pytest.raises(ValueError, match=match):
            GaussianMixture(2, **options).fit(mixture.X)
    with pytest.raises(ValueError, match="checkpoint"):
        GaussianMixture(2, solver="lbfgs").fit(mixture.X, checkpoint=tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()
