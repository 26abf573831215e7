"""sample_weight: weight 2 is the row twice, weight 0 the row absent, and their scale means nothing to a fit."""

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    assert_close,
    exact_m_step,
    fitted,
    from_params,
    make_mixture,
    make_start,
    quiet_fit,
    start_params,
    state_bytes,
)
from numpy.testing import assert_allclose

import fastem
from fastem import GaussianMixture

INITS = ("kmeans", "k-means++", "random", "random_from_data")


@pytest.fixture(scope="module")
def data():
    """400 rows of three overlapping components, integer weights 0 to 3, the rows repeated accordingly."""
    mixture = make_mixture(400, 2, 3, spacing=3.0, seed=21)
    weight = np.random.default_rng(0).integers(0, 4, 400).astype(float)
    return mixture, weight, np.repeat(mixture.X, weight.astype(int), axis=0)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_weight_is_repetition(data, covariance_type):
    """From a given start: parameters, bounds, scores and criteria of the repeated rows."""
    mixture, weight, repeated = data
    options = {
        "covariance_type": covariance_type,
        "tol": 1e-5,
        "max_iter": 500,
        **make_start(mixture, covariance_type),
    }
    a = GaussianMixture(3, **options).fit(mixture.X, sample_weight=weight)
    b = GaussianMixture(3, **options).fit(repeated)
    assert 2 < a.n_iter_ == b.n_iter_ < 500
    assert_close(fitted(a), fitted(b), 1e-10)
    np.testing.assert_allclose(a.lower_bounds_, b.lower_bounds_, rtol=1e-12)
    for name in ("score", "bic", "aic"):
        got = getattr(a, name)(mixture.X, sample_weight=weight)
        assert got == pytest.approx(getattr(b, name)(repeated), rel=1e-10), name
        assert type(got) is float


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data"])
def test_weight_is_repetition_from_any_start(data, init, covariance_type):
    """A seeded start must not depend on whether a row is repeated or weighted."""
    mixture, weight, repeated = data
    options = {"covariance_type": covariance_type, "init_params": init, "random_state": 3, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(3, **options), repeated)
    assert_close(fitted(a), fitted(b), 1e-8)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("init", INITS)
def test_weight_0_is_absence(data, init, covariance_type):
    mixture, weight, _ = data
    options = {"covariance_type": covariance_type, "init_params": init, "random_state": 0, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=(weight > 0).astype(float))
    b = quiet_fit(GaussianMixture(3, **options), mixture.X[weight > 0])
    assert_close(fitted(a), fitted(b), 1e-8)


@pytest.mark.parametrize("init", INITS)
def test_weight_1_is_no_weight(data, init):
    mixture, _, _ = data
    options = {"init_params": init, "random_state": 0, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=np.ones(400))
    b = quiet_fit(GaussianMixture(3, **options), mixture.X)
    assert_close(fitted(a), fitted(b), 1e-9)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("scale", [2.0**-30, 1e-3, 7.0, 1e6])
def test_scale_of_weights(data, init, scale):
    """A fit is the same for any unit of the weights; totals (bic's n) are not."""
    mixture, weight, _ = data
    options = {"init_params": init, "random_state": 1, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight * scale)
    assert_close(fitted(a), fitted(b), 1e-5 if scale < 1 else 1e-8)  # nk + 10 eps
    assert b.lower_bound_ == pytest.approx(a.lower_bound_, rel=1e-6 if scale < 1 else 1e-9)
    assert a.score(mixture.X, sample_weight=weight) == pytest.approx(
        a.score(mixture.X, sample_weight=weight * scale), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["list", "float32", "int", "strided", "read-only"])
def test_weights_of_any_kind(data, kind):
    mixture, weight, _ = data
    given = {
        "list": weight.tolist(),
        "float32": weight.astype("f4"),
        "int": weight.astype("i8"),
        "strided": np.repeat(weight, 2)[::2],
        "read-only": np.frombuffer(weight.tobytes()),
    }[kind]
    before = np.array(given)
    a = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=weight)
    b = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=given)
    assert state_bytes(a) == state_bytes(b)
    np.testing.assert_array_equal(given, before)


def test_fit_predict_labels_every_row(data):
    """Rows of weight 0 are not fitted, but labelled."""
    mixture, weight, _ = data
    model = GaussianMixture(3, random_state=0)
    labels = model.fit_predict(mixture.X, sample_weight=weight)
    assert labels.shape == (400,)
    np.testing.assert_array_equal(labels, model.predict(mixture.X))
    other = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=weight)
    assert state_bytes(model) == state_bytes(other)


def test_criteria_are_weighted_sums(data):
    """N is the sum of the weights."""
    mixture, _, _ = data
    weight = np.random.default_rng(1).uniform(0, 2, 400)
    model = GaussianMixture(3, random_state=0).fit(mixture.X)
    rows, n, p = model.score_samples(mixture.X), weight.sum(), model._n_parameters()
    assert model.score(mixture.X, sample_weight=weight) == pytest.approx(weight @ rows / n, rel=1e-12)
    assert model.bic(mixture.X, sample_weight=weight) == pytest.approx(-2 * weight @ rows + p * np.log(n), rel=1e-12)
    assert model.aic(mixture.X, sample_weight=weight) == pytest.approx(-2 * weight @ rows + 2 * p, rel=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_functions(data, covariance_type):
    """accumulate, moments (labels and responsibilities) and em."""
    mixture, weight, repeated = data
    index = np.repeat(np.arange(400), weight.astype(int))
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    resp = np.random.default_rng(2).dirichlet(np.ones(3), 400)
    pairs = {
        "accumulate": (fastem.accumulate(mixture.X, params, weight), fastem.accumulate(repeated, params)),
        "resp": (
            fastem.moments(mixture.X, resp=resp, covariance=covariance_type, sample_weight=weight),
            fastem.moments(repeated, resp=resp[index], covariance=covariance_type),
        ),
        "labels": (
            fastem.moments(
                mixture.X,
                labels=mixture.labels,
                n_components=3,
                covariance=covariance_type,
                sample_weight=weight,
            ),
            fastem.moments(repeated, labels=mixture.labels[index], n_components=3, covariance=covariance_type),
        ),
        "em": tuple(
            fastem.em(X, params, covariance=covariance_type, sample_weight=w, tol=0, max_iter=5).stats
            for X, w in ((mixture.X, weight), (repeated, None))
        ),
    }
    for name, (a, b) in pairs.items():
        assert a.sum_w == pytest.approx(weight.sum(), rel=1e-12), name
        np.testing.assert_allclose(a.s0, b.s0, rtol=1e-10)
        got, want = (from_params(fastem.m_step(s, covariance_type)) for s in (a, b))
        assert_close(got, want, 1e-10, name)
        if name in ("accumulate", "em"):
            assert a.loglik == pytest.approx(b.loglik, rel=1e-12)
            assert a.entropy == pytest.approx(b.entropy, rel=1e-10)


def test_weighted_moments_are_exact(data):
    """Against exact arithmetic, at an offset of 1e8 and with weights of very different size."""
    mixture, _, _ = data
    X = mixture.X[:60] + 1e8
    weight = 10.0 ** np.random.default_rng(3).uniform(-6, 6, 60)
    resp = np.random.default_rng(4).dirichlet(np.ones(2), 60)
    stats = fastem.moments(X, resp=resp, sample_weight=weight)
    want = exact_m_step(X, (resp * weight[:, None]).tolist(), "full")
    got = from_params(fastem.m_step(stats))
    np.testing.assert_allclose(got.means, want.means, rtol=5e-16)
    sd = np.sqrt(np.diagonal(want.covariances, axis1=1, axis2=2))
    assert (np.abs(got.covariances - want.covariances) <= 1e-10 * sd[:, :, None] * sd[:, None, :]).all()


BAD = {
    "negative": (lambda w: np.where(np.arange(len(w)) == 3, -1.0, w), "(?i)negative"),
    "NaN": (lambda w: np.where(np.arange(len(w)) == 3, np.nan, w), "NaN"),
    "inf": (lambda w: np.where(np.arange(len(w)) == 3, np.inf, w), "inf"),
    "all zero": (lambda w: 0 * w, "(?is)(?=.*weight)(?=.*zero)"),
    "too short": (lambda w: w[:-1], "sample_weight"),
    "too long": (lambda w: np.append(w, 1.0), "sample_weight"),
    "two axes": (lambda w: w[:, None], "(?i)weight"),
    "text": (lambda w: ["a"] * len(w), "could not convert|sample_weight"),
}
CALLS = {
    "fit": lambda m, X, w: m.fit(X, sample_weight=w),
    "fit_predict": lambda m, X, w: m.fit_predict(X, sample_weight=w),
    "score": lambda m, X, w: m.score(X, sample_weight=w),
    "bic": lambda m, X, w: m.bic(X, sample_weight=w),
    "aic": lambda m, X, w: m.aic(X, sample_weight=w),
    "accumulate": lambda m, X, w: fastem.accumulate(X, m.params_, w),
    "moments": lambda m, X, w: fastem.moments(X, labels=np.zeros(len(X), int), n_components=1, sample_weight=w),
    "em": lambda m, X, w: fastem.em(X, m.params_, sample_weight=w),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("call", CALLS)
def test_bad_weights(data, call, bad):
    mixture, _, _ = data
    model = GaussianMixture(2, random_state=0).fit(mixture.X)
    before = state_bytes(model)
    damage, words = BAD[bad]
    with pytest.raises(ValueError, match=words):
        CALLS[call](model, mixture.X, damage(np.ones(400)))
    assert state_bytes(model) == before


def test_rows_without_weight_do_not_count():
    """Five rows of which two weigh: too few for three components, enough for two."""
    X, weight = np.arange(10.0).reshape(5, 2) ** 2, np.array([1, 0, 0, 2, 0.0])
    with pytest.raises(ValueError, match="Expected n_samples >= n_components but got n_components = 3, n_samples = 2"):
        GaussianMixture(3).fit(X, sample_weight=weight)
    assert GaussianMixture(2, random_state=0).fit(X, sample_weight=weight).means_.shape == (2, 2)


def test_rows_without_weight_may_be_wild(data):
    """A row of weight 0 has no part in the fit, wherever it lies."""
    mixture, weight, _ = data
    X = mixture.X.copy()
    X[weight == 0] = 1e6
    a = GaussianMixture(3, random_state=0).fit(X, sample_weight=weight)
    b = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=weight)
    assert_close(fitted(a), fitted(b), 1e-7)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data"])
def test_order_of_rows_does_not_matter(data, init):
    """With weights (scikit-learn's check): the same start from the rows in another order."""
    mixture, weight, _ = data
    order = np.random.default_rng(5).permutation(400)
    options = {"init_params": init, "random_state": 2, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(3, **options), mixture.X[order], sample_weight=weight[order])
    assert_close(fitted(a), fitted(b), 1e-8)


def test_weights_have_no_unit():
    X = np.random.RandomState(0).randn(400, 1)
    fits = [GaussianMixture(1).fit(X, sample_weight=np.full(400, s)) for s in (1.0, 1e-15, 1e-20, 1e15)]
    for model in fits[1:]:
        assert_allclose(model.covariances_, fits[0].covariances_, rtol=1e-12)
