"""A component of constant density for outliers."""

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, natural, quiet_fit, state_bytes
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone

import fastem
from fastem import GaussianMixture
from fastem.model import reference

FIELDS = ("loglik", "class_loglik", "entropy", "s0", "s1", "s2")


@pytest.fixture(scope="module")
def spoiled():
    """Two clusters in a plane, a quarter of the rows uniform over a far larger box; and who is which, noise -1."""
    rng = np.random.default_rng(0)
    clean = make_mixture(900, 2, 2, spacing=10.0, seed=3)
    X = np.r_[clean.X, rng.uniform(-40, 40, size=(300, 2))]
    X.setflags(write=False)
    return X, np.r_[clean.labels, np.full(300, -1)], clean


def _box(D):
    return np.stack([np.full(D, -2.5), np.full(D, 5.0)])


def _params(covariance_type, D=3, K=3, weight=0.2):
    mixture = make_mixture(500, D, K, spacing=3.0)
    covariances = natural(mixture.covariances, covariance_type, np.full(K, 1 / K))
    weights = np.arange(1.0, K + 1)
    return mixture.X, fastem.make_params(
        (1 - weight) * weights / weights.sum(), mixture.means, covariances, covariance_type, (weight, _box(D))
    )


# ---- the E-step and its sums -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_against_the_reference(covariance_type, dtype):
    X, params = _params(covariance_type)
    weight = np.random.default_rng(0).uniform(size=len(X))
    got = fastem.accumulate(X.astype(dtype), params, weight)
    want = reference.accumulate(X.astype(dtype).astype("f8"), params, weight)
    rtol = 1e-10 if dtype == "f8" else 1e-5
    for name in FIELDS:
        assert_allclose(getattr(got, name), getattr(want, name), rtol=rtol, atol=rtol * len(X), err_msg=name)
    assert_allclose(got.noise.weight, want.noise.weight, rtol=rtol)
    assert_allclose(got.noise.log_density, -3 * np.log(7.5))
    np.testing.assert_array_equal(got.noise.box, want.noise.box)
    assert_allclose(got.sum_w, weight.sum(), rtol=1e-6 if dtype == "f4" else 1e-12)


def test_against_scipy():
    X, params = _params("full")
    parts = [multivariate_normal(m, c).logpdf(X) for m, c in zip(params.means, params.covariances, strict=True)]
    joint = np.c_[np.array(parts).T + np.log(params.weights), np.full(len(X), np.log(0.2) - 3 * np.log(7.5))]
    assert_allclose(fastem.log_density(X, params), logsumexp(joint, axis=1), rtol=1e-11)


def test_blocks_add_up():
    X, params = _params("diag")
    whole, parts = fastem.accumulate(X, params), [fastem.accumulate(part, params) for part in (X[:77], X[77:])]
    total = sum(parts)
    assert_allclose(total.noise.weight, whole.noise.weight, rtol=1e-12)
    assert_allclose(total.s2, whole.s2, rtol=1e-10)
    assert total.shifted(total.origin + 1.0).noise is total.noise
    for other in (None, params.noise._replace(box=_box(3) * 2)):
        with pytest.raises(ValueError, match="noise"):
            _ = whole + fastem.accumulate(X, params._replace(noise=other))


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_em_step(covariance_type):
    """The M-step of the weights, and the likelihood rises."""
    X, params = _params(covariance_type)
    result = fastem.em(X, params, covariance_type=covariance_type, tol=1e-10, max_iter=200)
    assert (np.diff(result.history) > -1e-12).all()
    assert_allclose(result.params.weights.sum() + result.params.noise.weight, 1, rtol=1e-12)
    stats = reference.accumulate(X, result.params, np.ones(len(X)))
    assert_allclose(result.params.noise.weight, stats.noise.weight / len(X), atol=1e-4)


@pytest.mark.parametrize(
    "noise",
    [
        *((weight, [[0.0], [1.0]]) for weight in (-0.1, 1.1, np.nan)),
        *((0.5, box) for box in ([[0.0], [np.inf]], [[1.0], [1.0]], [[0.0, 0.0], [1.0, 1.0]], 3.0)),
        *((0.5,), "noise", 0.5),
    ],
)
def test_make_params_refuses(noise):
    with pytest.raises(ValueError, match="noise"):
        fastem.make_params([0.5], [[0.0]], [1.0], "spherical", noise)


def test_weights_and_noise_sum_to_1():
    with pytest.raises(ValueError, match="normalized"):
        fastem.make_params([1.0], [[0.0]], [1.0], "spherical", (0.5, [[0.0], [1.0]]))


# ---- the estimator -----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_outliers_do_not_spoil_the_clusters(spoiled, covariance_type):
    X, labels, clean = spoiled
    model = GaussianMixture(2, covariance_type=covariance_type, noise=True, tol=1e-8, max_iter=500, random_state=0)
    model = model.fit(X)
    assert abs(model.noise_weight_ - 0.25) < 0.03
    assert_allclose(model.weights_.sum() + model.noise_weight_, 1, rtol=1e-12)
    order = [np.argmin(((model.means_ - mean) ** 2).sum(axis=1)) for mean in clean.means]
    assert_allclose(model.means_[order], clean.means, atol=0.3)
    found = model.predict(X)
    assert np.mean(np.where(found < 0, -1, np.argsort(order)[found]) == labels) > 0.95
    plain = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    worst = np.abs(plain.means_[[np.argmin(((plain.means_ - m) ** 2).sum(axis=1)) for m in clean.means]] - clean.means)
    assert worst.max() > 0.3
    assert model.bic(X) < plain.bic(X)


def test_methods(spoiled):
    X = spoiled[0]
    model = GaussianMixture(2, noise=True, random_state=0).fit(X)
    volume = np.prod(X.max(axis=0) - X.min(axis=0))
    np.testing.assert_array_equal(model.noise_box_, [X.min(axis=0), X.max(axis=0)])
    gaussians = np.exp(fastem.log_density(X, model.params_._replace(noise=None)))
    density = gaussians + model.noise_weight_ / volume
    assert_allclose(np.exp(model.score_samples(X)), density, rtol=1e-10)
    proba = model.predict_proba(X)
    assert proba.shape == (len(X), 3)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(proba[:, 2], model.noise_weight_ / volume / density, rtol=1e-9)
    top = proba.argmax(axis=1)
    np.testing.assert_array_equal(model.predict(X), np.where(top == 2, -1, top))
    assert_allclose(model.lower_bound_, model.score(X), atol=2e-3)
    assert model._n_parameters() == GaussianMixture(2, random_state=0).fit(X)._n_parameters() + 1
    assert model.predict([[1e6, 1e6]]) == [-1]


def test_samples(spoiled):
    X = spoiled[0]
    model = GaussianMixture(2, noise=True, random_state=0).fit(X)
    rows, labels = model.sample(4000)
    assert set(labels) == {-1, 0, 1}
    noise = rows[labels == -1]
    assert abs(len(noise) / 4000 - model.noise_weight_) < 0.03
    assert (noise >= model.noise_box_[0]).all()
    assert (noise <= model.noise_box_[1]).all()
    assert_allclose(noise.mean(axis=0), model.noise_box_.mean(axis=0), atol=5)
    again = GaussianMixture(2, noise=True, random_state=1).fit(rows)
    assert abs(again.noise_weight_ - model.noise_weight_) < 0.04


def test_without_outliers_there_is_little_noise():
    X = make_mixture(2000, 2, 2, spacing=8.0).X
    model = GaussianMixture(2, noise=True, tol=1e-8, max_iter=1000, random_state=0).fit(X)
    assert model.noise_weight_ < 0.01
    assert_allclose(np.sort(model.means_, axis=0), np.sort(GaussianMixture(2).fit(X).means_, axis=0), atol=0.05)


def test_units_do_not_matter(spoiled):
    X, _, clean = spoiled
    scale = np.array([2.0**-20, 2.0**30])
    options = dict(noise=True, reg_covar=0.0, random_state=0)
    plain = GaussianMixture(2, means_init=clean.means, **options).fit(X)
    scaled = GaussianMixture(2, means_init=clean.means * scale, **options).fit(X * scale)
    assert_allclose(scaled.noise_weight_, plain.noise_weight_, rtol=0.01)
    np.testing.assert_array_equal(scaled.predict(X * scale), plain.predict(X))


def test_weights_are_repetition(spoiled):
    X = spoiled[0]
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    weight[np.abs(X).max(axis=1) > 39] = 0  # a row of weight 0 does not make the box larger
    options = dict(noise=True, means_init=[[0.0, 0.0], [10.0, 0.0]], random_state=0)
    a = quiet_fit(GaussianMixture(2, **options), X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(2, **options), np.repeat(X, weight, axis=0))
    np.testing.assert_array_equal(a.noise_box_, b.noise_box_)
    assert_allclose(a.noise_weight_, b.noise_weight_, rtol=1e-8)


def test_what_a_fit_keeps(spoiled, tmp_path):
    """Files, clones, warm starts; a later fit without noise leaves nothing of it."""
    X = spoiled[0]
    model = GaussianMixture(2, noise=True, random_state=0).fit(X)
    fastem.save(model, tmp_path / "model.npz")
    other = fastem.load(tmp_path / "model.npz")
    assert other.noise is True
    for name in ("predict", "score_samples", "predict_proba"):
        np.testing.assert_array_equal(getattr(other, name)(X), getattr(model, name)(X))
    assert state_bytes(clone(model).fit(X)) == state_bytes(model)
    warm = GaussianMixture(2, noise=True, random_state=0, warm_start=True, max_iter=2, tol=0)
    quiet_fit(quiet_fit(warm, X), X)
    straight = quiet_fit(GaussianMixture(2, noise=True, random_state=0, max_iter=4, tol=0), X)
    assert_allclose(warm.noise_weight_, straight.noise_weight_, rtol=1e-8)
    with pytest.raises(ValueError, match="warm_start=True continues the last fit, but noise has changed"):
        warm.set_params(noise=False).fit(X)
    plain = model.set_params(noise=False).fit(X)
    assert not hasattr(plain, "noise_weight_")
    assert plain.predict_proba(X).shape == (len(X), 2)


def test_refusals(spoiled):
    with pytest.raises(ValueError, match="The 'noise' parameter of GaussianMixture must be an instance of 'bool'"):
        GaussianMixture(2, noise=0.1).fit(spoiled[0])
    flat = np.c_[spoiled[0], np.full(len(spoiled[0]), 3.0)]
    with pytest.raises(ValueError, match=r"noise needs a box with a volume, but column 2 of X is constant"):
        GaussianMixture(2, noise=True).fit(flat)


def test_under_a_remedy(spoiled):
    for remedy in ("ridge", "map", "floor", "ratio", "geometric"):
        model = GaussianMixture(2, noise=True, regularization=remedy, reg_covar=0.0, random_state=0, tol=1e-6)
        model = quiet_fit(model, spoiled[0])
        assert (np.diff(model.lower_bounds_) > -1e-12).all()
        assert abs(model.noise_weight_ - 0.25) < 0.05
