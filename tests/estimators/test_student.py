"""Mixtures of t distributions: passes by NumPy and scipy, fits by direct maximisation, and what outliers do to them."""

import pickle
import warnings

import mpmath
import numpy as np
import pandas as pd
import pytest
from helpers import FAMILIES, expand, make_mixture, natural
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import digamma
from scipy.stats import f as f_distribution
from scipy.stats import kstest, multivariate_t
from scipy.stats import t as univariate_t

import fastem
from fastem import GaussianMixture, Parametrization, StudentMixture
from fastem.files.archive import ModelFileError
from fastem.fitting.accelerated import climb
from fastem.fitting.loop import iterate
from fastem.fitting.models import model_for
from fastem.fitting.stopping import Stop
from fastem.kernels.student import accumulate
from fastem.model.remedies.table import find_remedy
from fastem.model.student import (
    BEND,
    DOF_RANGE,
    StudentParams,
    bent,
    best_dof,
    information_of_dof,
    log_excess,
    log_less_digamma,
    straightened,
)
from fastem.model.student_model import GIVEN, RULES, StudentModel
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource

K, D = 3, 4


@pytest.fixture(scope="module")
def data():
    """Rows of three components with 3, 8 and 30 degrees of freedom."""
    mixture = make_mixture(600, D, K, spacing=5.0, seed=2)
    rng = np.random.default_rng(3)
    dof = np.array([3.0, 8.0, 30.0])[mixture.labels]
    stretch = np.sqrt(dof / rng.chisquare(dof))[:, None]
    return mixture._replace(X=mixture.means[mixture.labels] + stretch * (mixture.X - mixture.means[mixture.labels]))


def params_of(mixture, covariance_type="full", dof=(2.5, 7.0, 1e8)):
    """The mixture's own parameters, with these degrees of freedom."""
    k, d = mixture.means.shape
    covariances = natural(mixture.covariances, covariance_type, mixture.weights)
    params = fastem.make_params(mixture.weights, mixture.means, covariances, covariance_type)
    return StudentParams(*params[:4], np.array(dof[:k])), expand(covariances, covariance_type, k, d)


def log_joint(X, params, covariances):
    """Log weight + log density, (N, K), and the squared distances, by NumPy and scipy."""
    k = len(params.means)
    away = X[:, None] - params.means
    square = np.einsum("nki,kij,nkj->nk", away, np.linalg.inv(covariances), away)
    joint = [
        np.log(params.weights[j]) + multivariate_t(params.means[j], covariances[j], df=params.dof[j]).logpdf(X)
        for j in range(k)
    ]
    return np.transpose(joint), square, away


# ---- a pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("known", ["nothing", "labels", "several"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_pass_by_numpy(data, covariance_type, known, dtype):
    rng = np.random.default_rng(0)
    params, covariances = params_of(data, covariance_type, dof=(2.5, 7.0, 1e5))
    X = data.X.astype(dtype)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    labels = {"nothing": None, "labels": rng.integers(-1, K, len(X)), "several": rng.random((len(X), K)) < 0.6}[known]
    if known == "several":
        labels[:, 0] |= ~labels.any(axis=1)
    joint, square, away = log_joint(X.astype(float), params, covariances)
    if known == "labels":
        joint[(labels[:, None] >= 0) & (labels[:, None] != np.arange(K))] = -np.inf
    elif known == "several":
        joint[~labels] = -np.inf
    density = np.logaddexp.reduce(joint, axis=1)
    r = weight[:, None] * np.exp(joint - density[:, None])
    u = (params.dof + D) / (params.dof + square)
    stats = evaluate(ArraySource(X, weight, labels=labels), params)
    assert_allclose(stats.loglik, weight @ density, rtol=1e-10)
    assert_allclose(stats.s0, r.sum(axis=0), rtol=1e-10)
    assert_allclose(stats.mass, (r * u).sum(axis=0), rtol=1e-10)
    assert_allclose(stats.tail, (r * (u - 1 - np.log(u))).sum(axis=0), rtol=1e-7)
    assert_allclose(stats.s1, np.einsum("nk,nkd->kd", r * u, away), rtol=1e-9, atol=1e-9)
    second = np.einsum("nk,nki,nkj->kij", r * u, away, away)
    want = natural(second / weight.sum(), covariance_type)
    if covariance_type in ("tied", "tied_diag", "tied_spherical"):
        want = want * K
    scale = {"spherical": D, "tied_spherical": D}.get(covariance_type, 1)
    assert_allclose(stats.s2.ravel() / weight.sum() / scale, np.ravel(want), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_scores_by_scipy(data, covariance_type):
    params, covariances = params_of(data, covariance_type, dof=(0.7, 7.0, 300.0))
    shape = natural(data.covariances, covariance_type, data.weights)
    model = StudentMixture.from_parameters(params.weights, params.means, shape, params.dof, covariance_type)
    joint, square, _ = log_joint(data.X, params, covariances)
    density = np.logaddexp.reduce(joint, axis=1)
    resp = np.exp(joint - density[:, None])
    assert_allclose(model.score_samples(data.X), density, rtol=1e-10)
    assert_allclose(model.predict_proba(data.X), resp, rtol=0, atol=1e-10)
    assert_array_equal(model.predict(data.X), joint.argmax(axis=1))
    indices, values = model.predict_top(data.X, 2)
    assert_allclose(values, -np.sort(-resp, axis=1)[:, :2], rtol=0, atol=1e-10)
    assert_array_equal(indices[:, 0], joint.argmax(axis=1))
    u = (params.dof + D) / (params.dof + square)
    assert_allclose(model.outlier_weights(data.X), (resp * u).sum(axis=1), rtol=1e-8)
    assert_allclose(model.score(data.X), density.mean(), rtol=1e-12)


def test_rows_far_out_have_a_density():
    """Where squares overflow, tails are still there; rows that may be in a component of weight 0 alone go there."""
    model = StudentMixture.from_parameters([0.0, 1.0], [[0.0], [5.0]], [[[1.0]], [[1.0]]], 2.0)
    with np.errstate(over="ignore"):
        assert np.isfinite(model.score_samples([[1e200], [1e150]])).all()
    assert_array_equal(model.predict([[0.0], [1e200]]), [1, 1])
    assert 0 <= model.outlier_weights([[1e100]])[0] < 1e-100
    stats = evaluate(ArraySource(np.array([[0.0]]), labels=np.array([0])), model.params_)
    assert_array_equal(stats.s0, [1.0, 0.0])


def test_special_functions_by_mpmath():
    for x in (0.05, 0.3, 5.0, 29.0, 31.0, 500.0, 5e5):
        with mpmath.workdps(60):
            y, h = mpmath.mpf(x), mpmath.mpf(1.5)
            want = [mpmath.loggamma(y + h) - mpmath.loggamma(y) - h * mpmath.log(y), mpmath.log(y) - mpmath.digamma(y)]
        array = np.array(x)
        got = [log_excess(array, 1.5), log_less_digamma(array)]
        assert_allclose(got, [float(one) for one in want], rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("d", [1, 3, 10])
@pytest.mark.parametrize("nu", [0.5, 4.0, 20.0])
def test_the_information_is_the_mean_square_of_the_score(d, nu):
    """By quadrature over the squared distance, which is d times an F variable."""

    def square(p):
        q = d * f_distribution(d, nu).ppf(p)
        score = digamma((nu + d) / 2) - digamma(nu / 2) - d / nu - np.log1p(q / nu) + (nu + d) / nu * q / (nu + q)
        return (score / 2) ** 2

    want = quad(square, 0, 1, limit=200)[0] * (nu * (nu + BEND) / BEND) ** 2
    assert_allclose(information_of_dof(np.array([nu]), d), want, rtol=1e-4)


def test_coordinates_of_degrees_of_freedom():
    dof = np.array([0.1, 1.0, 30.0, 1e4, 1e6])
    assert_allclose(bent(straightened(dof)), dof, rtol=1e-9)
    assert_array_equal(bent(np.array([0.0, 5.0])), DOF_RANGE[1])
    for d in (1, 2, 10):  # it goes on without a jump, to 1 / dof^4 in the end
        before, after = information_of_dof(np.array([999.9, 1000.1]), d)
        assert_allclose(before, after, rtol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.2, 1e5), st.integers(1, 20), st.floats(1e-4, 3.0))
def test_degrees_of_freedom_solve_their_equation(before, d, tail):
    """Peel & McLachlan (2000), eq. 30, or they lie at an end of the range."""
    nu = best_dof(np.array([before]), d, np.array([tail])).item()

    def slope(nu):
        return float(log_less_digamma(nu / 2) - log_less_digamma((before + d) / 2) - tail)

    if nu == DOF_RANGE[0]:
        assert slope(nu) < 1e-12
    elif nu == DOF_RANGE[1]:
        assert slope(nu) > -1e-12
    else:
        assert abs(slope(nu)) < 1e-10 * (1 + tail)


# ---- fits ----------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    covariance=st.sampled_from(FAMILIES),
    dof=st.sampled_from(["each", "shared", 4.0]),
    remedy=st.sampled_from(["ridge", fastem.InverseWishart(0.0), "floor", "ratio", "geometric"]),
    seed=st.integers(0, 99),
)
def test_every_fit_ascends(covariance, dof, remedy, seed):
    mixture = make_mixture(120, 2, 3, spacing=2.5, seed=seed)
    X = mixture.X * np.random.default_rng(seed).standard_t(3, size=(120, 1))
    source = ArraySource(X)
    rule = RULES.get(dof, GIVEN)
    model = StudentModel(model_for(source, covariance, find_remedy(remedy)), rule, 4.0)
    start = model.feasible(params_of(mixture, covariance, dof=(4.0,) * 3)[0])
    plain = iterate(source, start, model, stop=Stop("change", 0.0), max_iter=30)
    fast = climb(source, start, model, stop=Stop("change", 1e-9), max_iter=60)
    for result in (plain, fast):
        assert np.diff(result.history).min(initial=0) > -1e-12 * (1 + abs(result.history[-1]))
        assert result.status.name in ("CONVERGED", "MAX_ITER")
        assert (result.params.dof == result.params.dof[0]).all() or dof == "each"


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_component_is_direct_maximisation(d, weighted):
    rng = np.random.default_rng(d)
    X = multivariate_t(np.arange(d), np.eye(d) + 0.4, df=4).rvs(800, random_state=d).reshape(800, d)
    weight = rng.integers(0, 3, size=800).astype(float) if weighted else np.ones(800)
    model = StudentMixture(1, tol=1e-13, regularization=None, reg_covar=0.0, random_state=0).fit(
        X, sample_weight=weight
    )
    lower = np.tril_indices(d)

    def shape(theta):
        root = np.zeros((d, d))
        root[lower] = theta[d : d + len(lower[0])]
        return root @ root.T

    def loss(theta):
        density = multivariate_t(theta[:d], shape(theta), df=np.exp(theta[-1]), allow_singular=True).logpdf(X)
        return -(weight @ density) / weight.sum()

    start = np.concatenate(
        [model.means_[0] + 0.05, 1.1 * np.linalg.cholesky(model.covariances_[0])[lower], [np.log(5.0)]]
    )
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-9})
    assert_allclose(model.score(X, sample_weight=weight), -best.fun, rtol=0, atol=1e-8)
    assert_allclose(model.means_[0], best.x[:d], rtol=0, atol=1e-5)
    assert_allclose(model.covariances_[0], shape(best.x), rtol=1e-5, atol=1e-5)
    assert_allclose(model.dof_, np.exp(best.x[-1]), rtol=1e-4)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("dof", ["each", "shared", 5.0])
def test_the_gradient_is_zero_at_the_end(data, covariance_type, dof):
    options = dict(covariance_type=covariance_type, dof=dof, tol=1e-12, regularization=None, reg_covar=0.0)
    model = StudentMixture(K, random_state=0, **options).fit(data.X)
    params, source = model.params_, ArraySource(data.X)
    space = Parametrization.around(params)
    theta = space.pack(params)
    assert_allclose(theta, 0.0, atol=1e-12)
    slopes = np.zeros(len(theta))
    for i in range(len(theta)):
        values = []
        for step in (1e-4, -1e-4):
            moved = theta.copy()
            moved[i] += step
            values.append(evaluate(source, space.unpack(moved)).loglik / len(data.X))
        slopes[i] = (values[0] - values[1]) / 2e-4
    at_end = params.dof > 0.999 * DOF_RANGE[1]  # beyond, the likelihood may still rise
    slopes[-K:] = np.where(at_end, np.minimum(slopes[-K:], 0.0), slopes[-K:])
    free = {"each": np.abs(slopes), "shared": np.append(np.abs(slopes[:-K]), abs(slopes[-K:] @ (1 / space.unit[-K:])))}
    assert free.get(dof, np.abs(slopes[:-K])).max() < 2e-6


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_many_degrees_of_freedom_are_a_gaussian_fit(covariance_type):
    X = make_mixture(500, 3, 3, spacing=4.0, seed=1).X
    gaussian = GaussianMixture(
        3, covariance_type=covariance_type, tol=1e-13, max_iter=5000, reg_covar=0.0, random_state=0
    )
    gaussian.fit(X)
    options = dict(covariance_type=covariance_type, regularization=None, reg_covar=0.0, tol=1e-13, random_state=0)
    model = StudentMixture(3, dof=1e9, **options).fit(X)
    order = np.argsort(model.means_[:, 0]), np.argsort(gaussian.means_[:, 0])
    assert_allclose(model.score(X), gaussian.score(X), rtol=0, atol=1e-7)
    assert_allclose(model.means_[order[0]], gaussian.means_[order[1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", ["auto", "em"])
@pytest.mark.parametrize("dof", [1e16, 1e300, 1.7e308])
def test_degrees_of_freedom_without_end_are_a_gaussian_and_do_not_overflow(dof, solver):
    X = make_mixture(300, 2, 2, spacing=4.0, seed=1).X
    options = dict(regularization=None, reg_covar=0.0, random_state=0, solver=solver, tol=1e-12)
    model, gaussian = StudentMixture(2, dof=dof, **options).fit(X), GaussianMixture(2, max_iter=1000, **options).fit(X)
    order = np.argsort(model.means_[:, 0]), np.argsort(gaussian.means_[:, 0])
    assert_allclose(model.means_[order[0]], gaussian.means_[order[1]], rtol=0, atol=1e-5)
    assert_allclose(model.dof_, 1e16)
    assert_allclose(model.outlier_weights(X), 1.0, rtol=1e-12)
    most = StudentMixture.from_parameters(gaussian.weights_, gaussian.means_, gaussian.covariances_, dof)
    assert_allclose(most.score_samples(X), gaussian.score_samples(X), rtol=1e-13)
    assert np.isfinite(most.sample(1000)[0]).all()


def test_draws_of_the_least_degrees_of_freedom_are_finite():
    model = StudentMixture.from_parameters([1.0], [[0.0]], [[[1.0]]], DOF_RANGE[0]).set_params(random_state=0)
    assert np.isfinite(model.sample(100_000)[0]).all()
    with pytest.raises(ValueError, match=r"'dof' should be at least 0\.1"):
        StudentMixture.from_parameters([1.0], [[0.0]], [[[1.0]]], 0.01)


def test_degrees_of_freedom_that_are_large_take_few_passes():
    """EM's own steps would take thousands; components are Gaussian, or nearly."""
    X = np.concatenate([fastem.load_faithful()[0]] * 20) + 0.1 * np.random.default_rng(0).normal(size=(5440, 2))
    for dof in ("each", "shared"):
        model = StudentMixture(2, dof=dof, random_state=0).fit(X)
        assert model.converged_
        assert model.fit_report_.starts[0].certificate.passes < 60
        longer = StudentMixture(2, dof=dof, random_state=1, tol=1e-10).fit(X)
        assert_allclose(model.score(X), longer.score(X), rtol=0, atol=2e-6)


def test_degrees_of_freedom_of_normal_rows_run_to_the_end():
    X = np.random.default_rng(1).uniform(size=(500, 2))  # lighter tails than a Gaussian's
    model = StudentMixture(1, random_state=0).fit(X)
    assert model.dof_[0] > 1e3
    assert model.bic(X) == pytest.approx(-2 * model.score(X) * 500 + np.log(500) * 6)
    assert StudentMixture(2, dof="shared", random_state=0).fit(X)._n_parameters() == 12
    assert StudentMixture(2, dof=3, random_state=0).fit(X)._n_parameters() == 11


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_wild_rows(seed):
    """Means stay within 0.1 standard deviations; those of a Gaussian mixture from the truth go astray."""
    rng = np.random.default_rng(seed)
    means = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    clean = np.repeat(means, 900, axis=0) + rng.normal(size=(2700, 2))
    X = np.concatenate([clean, rng.uniform(-100, 100, size=(300, 2))])
    model = StudentMixture(3, random_state=seed).fit(X)

    def error(found):
        return max(np.abs(found - mean).max(axis=1).min() for mean in means)

    assert error(model.means_) < 0.1
    start = dict(means_init=means, weights_init=np.full(3, 1 / 3), precisions_init=np.tile(np.eye(2), (3, 1, 1)))
    assert error(GaussianMixture(3, tol=1e-8, max_iter=1000, **start).fit(X).means_) > 1.0
    weights = model.outlier_weights(X)
    far = np.abs(X[-300:, None] - means).max(axis=2).min(axis=1) > 10
    assert weights[-300:][far].max() < 0.1
    assert np.median(weights[:2700]) > 0.9


def test_labels(data):
    labels = np.full(len(data.X), -1)
    labels[:90] = (data.labels[:90] + 1) % K  # components in another order
    model = StudentMixture(K, random_state=0).fit(data.X, labels=labels)
    assert_allclose(model.means_[(np.arange(K) + 1) % K], data.means, atol=0.5)
    allowed = labels[:, None] == np.arange(K)
    allowed[90:] = True
    again = StudentMixture(K, random_state=0).fit(data.X, labels=allowed)
    assert_allclose(again.means_, model.means_, rtol=1e-6)
    everything = StudentMixture(K, random_state=0).fit(data.X, labels=data.labels)
    for k in range(K):
        alone = StudentMixture(1, random_state=0).fit(data.X[data.labels == k])
        assert_allclose(everything.means_[k], alone.means_[0], atol=1e-2)
        assert_allclose(1 / everything.dof_[k], 1 / alone.dof_[0], atol=0.002)


def test_weights_bits_and_sources(data, tmp_path):
    X, options = data.X, dict(random_state=0, tol=1e-10)
    times = np.random.default_rng(0).integers(1, 3, size=len(X))
    one = StudentMixture(K, **options).fit(X, sample_weight=times)
    two = StudentMixture(K, **options).fit(np.repeat(X, times, axis=0))
    order = [np.argsort(model.means_[:, 0]) for model in (one, two)]
    assert_allclose(one.means_[order[0]], two.means_[order[1]], atol=1e-3)
    np.save(tmp_path / "X.npy", X)
    model = StudentMixture(K, **options).fit(X)
    others = [
        StudentMixture(K, n_threads=1, **options).fit(np.asfortranarray(X)),
        StudentMixture(K, **options).fit(tmp_path / "X.npy"),
        StudentMixture(K, **options).fit(lambda: iter([X[:100], X[100:]])),
    ]
    for other in others:
        for name in ("weights_", "means_", "covariances_", "dof_"):
            assert getattr(other, name).tobytes() == getattr(model, name).tobytes()
    warm = model.set_params(warm_start=True, random_state=5).fit(X)
    assert warm.n_iter_ <= 4


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_draws_have_the_distribution(covariance_type):
    shape = {"full": [[[2.0, 0.5], [0.5, 1.0]]], "tied": [[2.0, 0.5], [0.5, 1.0]], "diag": [[2.0, 1.0]]}
    shape |= {"spherical": [2.0], "tied_diag": [2.0, 1.0], "tied_spherical": 2.0}
    model = StudentMixture.from_parameters([1.0], [[1.0, 5.0]], shape[covariance_type], 3.0, covariance_type)
    X, y = model.set_params(random_state=0).sample(20_000)
    assert (y == 0).all()
    full = expand(model.covariances_, covariance_type, 1, 2)[0]
    for d in range(2):
        assert kstest((X[:, d] - [1.0, 5.0][d]) / np.sqrt(full[d, d]), univariate_t(3).cdf).pvalue > 1e-3
    square = np.einsum("ni,ij,nj->n", X - [1.0, 5.0], np.linalg.inv(full), X - [1.0, 5.0])
    assert kstest(square / 2, f_distribution(2, 3).cdf).pvalue > 1e-3


# ---- the estimator -------------------------------------------------------------------------------------


def test_save_load_and_pickle(data, tmp_path):
    frame = pd.DataFrame(data.X, columns=list("abcd"))
    model = StudentMixture(K, covariance_type="diag", dof="shared", regularization="ridge", random_state=1).fit(frame)
    fastem.save(model, tmp_path / "t.npz")
    for other in (fastem.load(tmp_path / "t.npz"), pickle.loads(pickle.dumps(model))):
        assert type(other) is StudentMixture
        assert other.get_params() == model.get_params()
        assert_array_equal(other.score_samples(frame), model.score_samples(frame))
        assert_array_equal(other.dof_, model.dof_)
        assert (other.status_, other.lower_bound_) == (model.status_, model.lower_bound_)
        assert list(other.feature_names_in_) == list("abcd")
    params = pickle.loads(pickle.dumps(model.params_))
    assert_array_equal(params.dof, model.dof_)
    arrays = dict(np.load(tmp_path / "t.npz"))
    for dof in (-model.dof_, model.dof_[:2], np.full(K, np.nan)):
        np.savez(tmp_path / "bad.npz", **arrays | {"dof": dof})
        with pytest.raises(ModelFileError, match="do not describe a mixture of t distributions"):
            fastem.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dof": 0.0}, "'dof' parameter of StudentMixture must be 'each', 'shared' or a float"),
        ({"dof": 0.01}, r"in the range \[0\.1, inf\)"),
        ({"dof": "one"}, "dof"),
        ({"dof": np.inf}, "dof"),
        ({"dof": True}, "dof"),
        ({"solver": "lbfgs"}, "'solver' parameter of StudentMixture"),
        ({"n_components": 0}, "'n_components' parameter of StudentMixture"),
        ({"regularization": "none"}, "regularization"),
        ({"regularization": "map"}, "InverseWishart.shrinkage=0."),
    ],
)
def test_parameters_that_cannot_be_used(data, options, message):
    with pytest.raises(ValueError, match=message):
        StudentMixture(**options).fit(data.X)


def test_what_takes_gaussian_mixtures_alone(data):
    """A mixture of t distributions would give them another result than what it says."""
    params = params_of(data)[0]
    for use in (
        fastem.embed.pack,
        lambda params: fastem.accumulate(data.X, params),
        lambda params: fastem.em(data.X, params),
    ):
        with pytest.raises(TypeError, match="t distributions"):
            use(params)
    with pytest.raises(ValueError, match="dof"):
        StudentMixture.from_parameters([1.0], [[0.0]], [[[1.0]]], [1.0, 2.0])
    want = np.logaddexp.reduce(log_joint(data.X, *params_of(data))[0], axis=1)
    assert_allclose(fastem.log_density(data.X, params), want, rtol=1e-7)


def test_rows_that_are_for_gaussian_mixtures_alone(data):
    gaps = data.X.copy()
    gaps[0, 0] = np.nan
    model = StudentMixture(K, random_state=0).fit(data.X)
    for source in (fastem.as_source(gaps, missing=True), fastem.as_source(data.X, errors=np.full(data.X.shape, 0.1))):
        for use in (StudentMixture(K).fit, model.predict, model.score_samples, model.outlier_weights):
            with pytest.raises(ValueError, match=r"missing values|errors of measurement"):
                use(source)
        with pytest.raises(ValueError, match=r"missing values|errors of measurement"):
            fastem.log_density(source, model.params_)


@pytest.mark.parametrize("covariance_type", ["VEI", "EVE", "VVE", "EEV", "VEV"])
def test_mclusts_families(data, covariance_type):
    """Their M-steps iterate inside; the objective ascends all the same."""
    options = dict(covariance_type=covariance_type, random_state=0, solver="em", max_iter=30, tol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.ConvergenceWarning)
        model = StudentMixture(K, **options).fit(data.X)
    assert np.diff(model.lower_bounds_).min() > 0
    assert model.score(data.X) > StudentMixture(K, covariance_type="EII", random_state=0).fit(data.X).score(data.X)


def test_plain_em_and_a_fit_that_does_not_converge(data):
    with pytest.warns(fastem.ConvergenceWarning):
        StudentMixture(K, max_iter=2, random_state=0).fit(data.X)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.ConvergenceWarning)
        model = StudentMixture(K, solver="em", init_params="kmeans", max_iter=20, random_state=0, tol=1e-9)
        model.fit(data.X, callback=lambda iteration, bound, params: seen.append(params.dof))
    assert len(seen) == model.n_iter_
    assert np.diff(model.lower_bounds_).min() > 0
    assert accumulate.name == "accumulate_student"
