"""Log densities and fitted moments against SciPy, and against exact arithmetic on the doubles as stored."""

import warnings

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    assert_close,
    exact_em_step,
    exact_m_step,
    exact_proba,
    exact_score,
    expand,
    fitted,
    from_params,
    make_mixture,
    make_start,
    natural,
    quiet_fit,
    start_params,
    tolerance,
)
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import fastem
from fastem import GaussianMixture


def _model(mixture, covariance_type):
    covariances = natural(mixture.covariances, covariance_type, mixture.weights)
    return GaussianMixture.from_parameters(mixture.weights, mixture.means, covariances, covariance_type)


def _parameters(model):
    """Weights, means and full covariances of an estimator, as stored."""
    return tuple(fitted(model))


# ---- SciPy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(("d", "k"), [(1, 1), (1, 4), (2, 3), (3, 5), (5, 2), (8, 3), (13, 3), (20, 2), (40, 3)])
def test_scipy(covariance_type, d, k):
    """score_samples, predict_proba, predict and log_density, from the middle to 30 standard deviations out."""
    mixture = make_mixture(300, d, k, spacing=3.0, seed=d)
    model = _model(mixture, covariance_type)
    weights, means, covariances = _parameters(model)
    X = np.concatenate([mixture.X, 10 * mixture.X[:50]])
    joint = np.stack(
        [
            np.log(w) + np.atleast_1d(multivariate_normal(m, c).logpdf(X))
            for w, m, c in zip(weights, means, covariances, strict=True)
        ],
        axis=1,
    )
    want = logsumexp(joint, axis=1)
    tol = tolerance("f8")
    np.testing.assert_allclose(model.score_samples(X), want, rtol=tol.score, atol=tol.score)
    np.testing.assert_allclose(fastem.log_density(X, model.params_), want, rtol=tol.score, atol=tol.score)
    np.testing.assert_allclose(model._estimate_weighted_log_prob(X), joint, rtol=tol.score, atol=tol.score)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba, np.exp(joint - want[:, None]), rtol=0, atol=tol.prob)
    assert (np.abs(proba.sum(axis=1) - 1) <= 1e-15 * (10 + np.abs(want))).all()
    np.testing.assert_array_equal(model.predict(X), joint.argmax(axis=1))
    assert model.score(X) == pytest.approx(want.mean(), rel=tol.score)
    stats = fastem.accumulate(X, model.params_)
    assert stats.loglik == pytest.approx(want.sum(), rel=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_statistics(covariance_type):
    """accumulate: additive, movable to another origin, and equal to a calculation with responsibilities."""
    mixture = make_mixture(5000, 4, 3, spacing=3.0)
    X, params = mixture.X, _model(mixture, covariance_type).params_
    resp = _model(mixture, covariance_type).predict_proba(X)
    stats = fastem.accumulate(X, params)
    np.testing.assert_allclose(stats.s0, resp.sum(axis=0), rtol=1e-12)
    shift = X[:, None, :] - stats.origin
    np.testing.assert_allclose(stats.s1, np.einsum("nk,nkd->kd", resp, shift), rtol=0, atol=1e-9)
    np.testing.assert_allclose(from_params(fastem.m_step(stats, covariance_type)).weights, resp.mean(axis=0))
    halves = fastem.accumulate(X[:2000], params) + fastem.accumulate(X[2000:], params)
    moved = stats.shifted(stats.origin + 1.7)
    by_resp = fastem.moments(X, resp=resp, covariance_type=covariance_type)
    want = from_params(fastem.m_step(stats, covariance_type))
    for other in (halves, moved, by_resp, moved.shifted(stats.origin)):
        assert_close(from_params(fastem.m_step(other, covariance_type)), want, 1e-11)
        assert other.sum_w == pytest.approx(5000)
        assert other.n_rows == 5000
    assert halves.loglik == pytest.approx(stats.loglik, rel=1e-13)
    entropy = -np.sum(resp * np.log(np.maximum(resp, 1e-300)))
    assert stats.entropy == pytest.approx(entropy, rel=1e-9)
    best = np.log(resp.max(axis=1)) + fastem.log_density(X, params)
    assert stats.class_loglik == pytest.approx(best.sum(), rel=1e-9)


# ---- exact arithmetic --------------------------------------------------------------------------------

# (offset, scale) of the data; reg_covar is 0 throughout, as 1e-6 would swamp or vanish at the extremes
PLACES = {
    "plain": (0.0, 1.0),
    "offset 1e8": (1e8, 1.0),
    "offset -1e8": (-1e8, 1.0),
    "1e-100": (0.0, 1e-100),
    "1e100": (0.0, 1e100),
    "offset 1e8 at 1e-100": (1e8, 1e-100),
    "offset 1e8 at 1e100": (1e8, 1e100),
}


def _place(mixture, place):
    offset, scale = PLACES[place]
    return mixture._replace(
        X=(mixture.X + offset) * scale,
        means=(mixture.means + offset) * scale,
        covariances=mixture.covariances * scale**2,
    )


def _rtol(place):
    """What doubles permit: a mean is stored to half an ulp, 7.5e-9 standard deviations at an offset of 1e8."""
    return 1e-12 if PLACES[place][0] == 0 else 1e-8


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_scores_are_exact(covariance_type, place):
    mixture = _place(make_mixture(40, 2, 3, spacing=3.0, seed=11), place)
    model = _model(mixture, covariance_type)
    want = exact_score(mixture.X, *_parameters(model))
    tol = tolerance("f8")
    np.testing.assert_allclose(model.score_samples(mixture.X), want, rtol=tol.score, atol=tol.score)
    proba = exact_proba(mixture.X, *_parameters(model))
    np.testing.assert_allclose(model.predict_proba(mixture.X), proba, rtol=0, atol=tol.prob)
    np.testing.assert_array_equal(model.predict(mixture.X), proba.argmax(axis=1))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_one_em_step_is_exact(covariance_type, place):
    """Lower bound and parameters after one iteration. Covariances do not suffer from the offset at all."""
    mixture = _place(make_mixture(60, 2, 2, spacing=3.0, seed=12), place)
    params = _model(mixture, covariance_type)
    model = GaussianMixture(
        2, covariance_type=covariance_type, reg_covar=0.0, max_iter=1, weights_init=params.weights_,
        means_init=params.means_, precisions_init=params.precisions_,
    )  # fmt: skip
    quiet_fit(model, mixture.X)
    # the given start is precisions: its covariances are what the fit works with
    covariances = expand(
        1 / params.precisions_ if params.precisions_.ndim < 2 or covariance_type == "diag"
        else np.linalg.inv(params.precisions_), covariance_type, 2, 2,
    )  # fmt: skip
    bound, want = exact_em_step(mixture.X, params.weights_, params.means_, covariances, covariance_type)
    assert model.lower_bound_ == pytest.approx(bound, rel=1e-11)
    ulp = np.spacing(np.abs(want.means))
    assert (np.abs(model.means_ - want.means) <= 2 * ulp + 1e-12 * np.sqrt(want.covariances.max())).all()
    got = fitted(model)
    np.testing.assert_allclose(got.weights, want.weights, rtol=1e-11)
    sd = np.sqrt(np.diagonal(want.covariances, axis1=1, axis2=2))
    errors = np.abs(got.covariances - want.covariances) / (sd[:, :, None] * sd[:, None, :])
    assert errors.max() < 1e-11


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("place", ["offset 1e8", "1e-100", "1e100"])
def test_fit_then_score(covariance_type, place):
    """A whole fit from the default start, scored: exact for the parameters that it stored."""
    mixture = _place(make_mixture(60, 2, 2, spacing=6.0, seed=13), place)
    model = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0.0, random_state=0).fit(mixture.X)
    assert model.converged_
    want = exact_score(mixture.X, *_parameters(model))
    tol = tolerance("f8")
    np.testing.assert_allclose(model.score_samples(mixture.X), want, rtol=tol.score, atol=tol.score)
    assert model.score(mixture.X) == pytest.approx(want.mean(), rel=tol.score)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_offset_changes_nothing(covariance_type, offset):
    """20 iterations on the data as stored at an offset, and on the same points moved back without rounding."""
    mixture = make_mixture(2000, 3, 3, spacing=4.0, seed=14)
    X = mixture.X + offset
    back = X - offset
    assert (back + offset == X).all()
    start = make_start(mixture, covariance_type)
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "tol": 0.0, "max_iter": 20}
    here = quiet_fit(GaussianMixture(3, **options, **start), back)
    moved = start | {"means_init": start["means_init"] + offset}
    there = quiet_fit(GaussianMixture(3, **options, **moved), X)
    got = fitted(there)
    assert_close(got._replace(means=got.means - offset), fitted(here), max(_rtol("offset 1e8") * 10, 1e-12))
    np.testing.assert_allclose(there.score_samples(X), here.score_samples(back), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("power", [-332, -40, 40, 332])
def test_power_of_two_changes_nothing(covariance_type, power):
    """Scaling by a power of two is exact: a fit from the default start must scale with it to the last digits."""
    mixture = make_mixture(1000, 3, 3, spacing=4.0, seed=15)
    scale = 2.0**power
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "random_state": 0, "tol": 1e-6}
    one = GaussianMixture(3, **options).fit(mixture.X)
    other = GaussianMixture(3, **options).fit(mixture.X * scale)
    assert other.n_iter_ == one.n_iter_
    np.testing.assert_allclose(other.means_, one.means_ * scale, rtol=1e-10)
    np.testing.assert_allclose(other.covariances_, one.covariances_ * scale**2, rtol=1e-9, atol=1e-9 * scale**2)
    assert other.score(mixture.X * scale) == pytest.approx(one.score(mixture.X) - 3 * power * np.log(2), abs=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("place", ["plain", "offset 1e8", "1e100"])
def test_moments_are_exact(covariance_type, place):
    """moments, from responsibilities and from labels, with no origin given."""
    mixture = _place(make_mixture(50, 3, 2, spacing=3.0, seed=16), place)
    resp = np.random.default_rng(0).dirichlet(np.ones(2), 50)
    onehot = np.eye(2)[mixture.labels]
    for r, given in ((resp, {"resp": resp}), (onehot, {"labels": mixture.labels, "n_components": 2})):
        stats = fastem.moments(mixture.X, covariance_type=covariance_type, **given)
        got = from_params(fastem.m_step(stats, covariance_type))
        want = exact_m_step(mixture.X, r.tolist(), covariance_type)
        np.testing.assert_allclose(got.weights, want.weights, rtol=1e-13)
        np.testing.assert_allclose(got.means, want.means, rtol=1e-15 * 3, atol=1e-13 * np.abs(want.means).max())
        sd = np.sqrt(np.diagonal(want.covariances, axis1=1, axis2=2))
        errors = np.abs(got.covariances - want.covariances) / (sd[:, :, None] * sd[:, None, :])
        assert errors.max() < 1e-12


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_float32_offset(covariance_type):
    """float32 data at an offset of 1e4: scikit-learn's diag finds a variance of 24 for 1.145."""
    rng = np.random.default_rng(17)
    X = (rng.normal(size=(2000, 2)) * 1.07 + 1e4).astype("f4")
    model = GaussianMixture(1, covariance_type=covariance_type, reg_covar=0.0).fit(X)
    want = exact_m_step(X.astype("f8"), [[1.0]] * len(X), covariance_type)
    got = fitted(model)
    np.testing.assert_allclose(got.means, want.means, rtol=2.0**-23)
    np.testing.assert_allclose(got.covariances, want.covariances, rtol=2e-6, atol=2e-6)


def test_tiny_component_far_out():
    """Components of widths 1e-6 and 1e6 at a distance of 1e6, in one model."""
    weights, means = np.array([0.3, 0.7]), np.array([[1e6, -1e6], [0.0, 0.0]])
    covariances = np.array([np.eye(2) * 1e-12, [[1e12, 9e11], [9e11, 1e12]]])
    model = GaussianMixture.from_parameters(weights, means, covariances)
    X = np.concatenate([means[0] + 1e-6 * np.arange(-3, 4)[:, None], 1e6 * np.arange(-3, 4)[:, None] * [1, 0.5]])
    want = exact_score(X, weights, means, covariances)
    np.testing.assert_allclose(model.score_samples(X), want, rtol=1e-9, atol=1e-9)


# ---- far query points --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_far_points(covariance_type, dtype):
    """Where squares overflow: a score of -inf, one-hot probabilities, the label that goes with them."""
    mixture = make_mixture(200, 3, 4, spacing=3.0, seed=18)
    model = quiet_fit(
        GaussianMixture(4, covariance_type=covariance_type, max_iter=3, random_state=0),
        mixture.X.astype(dtype),
    )
    far = np.array([1e155, 1e300, 1.7e308] if dtype == "f8" else [1e25, 1e38, 3e38], dtype)
    X = np.concatenate([far[:, None] * np.array(s, dtype) for s in ([1, 1, 1], [1, -1, 0.5], [-1, 0, 0], [0, 1, -1])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score, proba, labels = model.score_samples(X), model.predict_proba(X), model.predict(X)
    assert (score == -np.inf).all()  # 1e25 squared is beyond float32
    if dtype == "f8":  # float32's far points do not overflow in float64: they may tie
        assert np.isin(proba, (0.0, 1.0)).all()
        assert (proba.sum(axis=1) == 1).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(proba.argmax(axis=1), labels)
    # and their neighbours in the same call are not touched
    mixed = np.concatenate([mixture.X[:5].astype(dtype), X])
    np.testing.assert_array_equal(model.score_samples(mixed)[:5], model.score_samples(mixed[:5]))


def test_far_points_cancel_in_the_factor():
    """inf - inf inside one component's row must not become NaN either."""
    covariances = np.array([[[1e-20, 0.9e-20], [0.9e-20, 1e-20]], np.eye(2)])
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], covariances)
    X = np.array([[1e300, 1e300], [1e300, -1e300], [-1.7e308, 1.7e308], [0.0, 1e302]])
    assert (model.score_samples(X) == -np.inf).all()
    proba = model.predict_proba(X)
    assert np.isin(proba, (0.0, 1.0)).all()
    assert (proba.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(proba.argmax(axis=1), model.predict(X))


def test_far_but_finite():
    """1e150 is far, yet its score and its nearest component are ordinary numbers."""
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [5.0]], [[[1.0]], [[2.0]]])
    X = np.array([[1e150], [-1e150], [1e10]])
    want = exact_score(X, *_parameters(model))
    np.testing.assert_allclose(model.score_samples(X), want, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), [1, 1, 1])
    np.testing.assert_array_equal(model.predict_proba(X), [[0, 1]] * 3)


@pytest.mark.parametrize("distance", [30.0, 38.0, 40.0, 1e3, 1e6])
def test_underflow_of_one_component(distance):
    """exp underflows for the far component only: probabilities stay right to the smallest double."""
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [distance]], [[[1.0]], [[1.0]]])
    X = np.array([[0.0], [distance / 2], [distance]])
    want = exact_proba(X, *_parameters(model))
    np.testing.assert_allclose(model.predict_proba(X), want, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(model.score_samples(X), exact_score(X, *_parameters(model)), rtol=1e-12)


def test_component_without_weight():
    """A weight of exactly 0 is legal in a model: never chosen, never NaN."""
    model = GaussianMixture.from_parameters([1.0, 0.0], [[0.0], [5.0]], [[[1.0]], [[2.0]]])
    X = np.array([[0.0], [5.0], [1e200]])
    np.testing.assert_array_equal(model.predict(X), [0, 0, 0])
    np.testing.assert_array_equal(model.predict_proba(X), [[1, 0]] * 3)
    np.testing.assert_allclose(model.score_samples(X)[:2], multivariate_normal(0, 1).logpdf([0, 5]), rtol=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_start_from_precisions_is_the_model(covariance_type):
    """make_params of inverted precisions and the estimator's own inversion give one density."""
    mixture = make_mixture(100, 5, 3, spacing=3.0)
    start = make_start(mixture, covariance_type)
    model = GaussianMixture(3, covariance_type=covariance_type, max_iter=0, **start).fit(mixture.X)
    want = fastem.log_density(mixture.X, start_params(start, covariance_type))
    np.testing.assert_allclose(model.score_samples(mixture.X), want, rtol=1e-11)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "tied_spherical"])
def test_far_rows_do_not_go_to_a_component_of_weight_0(covariance_type):
    """Where the density underflows under all components, to the first that has a weight."""
    one = {"full": [np.eye(2)] * 3, "tied": np.eye(2), "diag": np.ones((3, 2)), "spherical": np.ones(3)}
    covariances = one.get(covariance_type, 1.0)
    means = [[0.0, 0.0], [3.0, 3.0], [5.0, 5.0]]
    model = fastem.GaussianMixture.from_parameters([0.0, 0.6, 0.4], means, covariances, covariance_type)
    X = np.array([[1e200, 0.0], [0.0, -1e200]])
    np.testing.assert_array_equal(model.predict(X), [1, 1])
    np.testing.assert_array_equal(model.predict_proba(X), [[0, 1, 0]] * 2)
    np.testing.assert_array_equal(model.predict_top(X, 1)[0], [[1], [1]])
    np.testing.assert_array_equal(fastem.accumulate(X[:, ::-1], model.params_).s0, [0, 2, 0])
    for labels, want in (([-1, -1], [0, 2, 0]), ([0, 2], [1, 0, 1])):
        np.testing.assert_array_equal(fastem.accumulate(X, model.params_, labels=labels).s0, want)
    hard = fastem.em(
        X / 1e40, model.params_, covariance_type=covariance_type, assignment="hard", reg_covar=1.0, max_iter=1
    )
    np.testing.assert_array_equal(hard.stats.s0, [0, 2, 0])
