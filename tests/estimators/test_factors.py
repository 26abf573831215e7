"""Mixtures of factor analysers: dense D x D matrices, scikit-learn's FactorAnalysis, closed forms, and bad input."""

import itertools
import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import entr
from scipy.stats import multivariate_normal, ortho_group
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA, FactorAnalysis

import fastem
from fastem import FactorMixture, GaussianMixture
from fastem.files.archive import ModelFileError
from fastem.fitting.accelerated import climb
from fastem.fitting.loop import iterate
from fastem.fitting.models import model_for
from fastem.fitting.starts.factors import principal
from fastem.fitting.stopping import Stop
from fastem.model import factors as model_factors
from fastem.model.factor_model import FLOOR, NOISE, FactorModel
from fastem.model.factor_space import FactorSpace
from fastem.model.factors import FactorParams
from fastem.model.matrices import EPS
from fastem.model.remedies.table import find_remedy
from fastem.passes import factors
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource

K, D, Q = 3, 7, 2
PLAIN = dict(regularization=None, reg_covar=0.0)


def make_rows(n=600, k=K, d=D, q=Q, spacing=3.0, seed=0):
    """Draw rows of k factor analysers, and their components."""
    rng = np.random.default_rng(seed)
    means, loadings = spacing * rng.normal(size=(k, d)), rng.normal(size=(k, d, q))
    labels, noise = rng.integers(0, k, n), rng.uniform(0.3, 1.0, (k, d))
    labels[:k] = np.arange(k)
    rows = np.einsum("ndq,nq->nd", loadings[labels], rng.normal(size=(n, q)))
    return means[labels] + rows + noise[labels] * rng.normal(size=(n, d)), labels


def make_mixture(noise="each", k=K, d=D, q=Q, seed=1, spacing=3.0):
    """Draw a mixture."""
    rng = np.random.default_rng(seed)
    shape = {"each": (k, 1, d), "shared": (1, 1, d), "isotropic": (k, 1, 1)}[noise]
    uniquenesses = rng.uniform(0.5, 1.5, shape)
    weights, means = rng.dirichlet(np.full(k, 5.0)), spacing * rng.normal(size=(k, d))
    return FactorParams(weights, means, uniquenesses, 1 / np.sqrt(uniquenesses), rng.normal(size=(k, d, q)))


def log_joint(X, params):
    """Log weight + log density, (N, K), with dense covariances."""
    covariances = params.full_covariances()
    each = zip(params.weights, params.means, covariances, strict=True)
    return np.transpose([np.log(w) + multivariate_normal(m, c).logpdf(X) for w, m, c in each])


def dense_step(X, weight, params):
    """One step of parameter-expanded EM, with D x D matrices; returns the mean log-likelihood before it, too."""
    joint = log_joint(X, params)
    density = np.logaddexp.reduce(joint, axis=1)
    r = weight[:, None] * np.exp(joint - density[:, None])
    mass = r.sum(axis=0)
    k, d, q = params.loadings.shape
    means, loadings, left = np.empty((k, d)), np.empty((k, d, q)), np.empty((k, d))
    for j, (L, cov) in enumerate(zip(params.loadings, params.full_covariances(), strict=True)):
        beta = np.linalg.solve(cov, L).T
        means[j] = r[:, j] @ X / mass[j]
        S = (r[:, j, None] * (X - means[j])).T @ (X - means[j]) / mass[j]
        R = np.eye(q) - beta @ L + beta @ S @ beta.T
        values, vectors = np.linalg.eigh(R)
        regression = S @ beta.T @ np.linalg.inv(R)
        loadings[j] = regression @ (vectors * np.sqrt(values)) @ vectors.T
        left[j] = np.diag(S - regression @ beta @ S)
    shape = params.covariances.shape
    new = left if shape[0] == k else (mass @ left / mass.sum())[None]
    new = new if shape[2] == d else new.mean(axis=1, keepdims=True)
    new = new[:, None]
    return (weight @ density) / weight.sum(), FactorParams(mass / mass.sum(), means, new, 1 / np.sqrt(new), loadings)


def model_of(X, noise, remedy=None, reg_covar=0.0, q=Q):
    source = ArraySource(X)
    variance = X.var(axis=0)
    least = FLOOR * (variance.mean(keepdims=True) if noise == "isotropic" else variance)
    return source, FactorModel(model_for(source, NOISE[noise], find_remedy(remedy, reg_covar)), q, least)


def start_of(noise, k=K, d=D, q=Q, seed=1):
    return make_mixture(noise, k, d, q, seed)


# ---- a pass and a step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("known", ["nothing", "labels", "several"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_pass_by_dense_matrices(noise, known, apart, monkeypatch):
    if apart:  # each component about a centre of its own
        monkeypatch.setattr(factors, "MOST_SPREAD", 0.0)
    monkeypatch.setattr(factors, "TILE_ROWS", (50, 50))
    rng, params = np.random.default_rng(0), make_mixture(noise)
    X = make_rows(seed=1)[0].astype(np.float32)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    labels = {"nothing": None, "labels": rng.integers(-1, K, len(X)), "several": rng.random((len(X), K)) < 0.6}[known]
    joint = log_joint(X.astype(float), params)
    if known == "labels":
        joint[(labels[:, None] >= 0) & (labels[:, None] != np.arange(K))] = -np.inf
    elif known == "several":
        labels[:, 0] |= ~labels.any(axis=1)
        joint[~labels] = -np.inf
    density = np.logaddexp.reduce(joint, axis=1)
    r = weight[:, None] * np.exp(joint - density[:, None])
    stats = evaluate(ArraySource(X, weight, labels=labels), params)
    assert (len(factors.FactorPass(params).groups) == K) == apart
    away = X[:, None] - stats.origin
    assert_allclose(stats.loglik, weight @ density, rtol=1e-11)
    assert_allclose(stats.class_loglik, weight @ joint.max(axis=1), rtol=1e-11)
    entropy = weight @ entr(np.exp(joint - density[:, None])).sum(axis=1)
    assert_allclose(stats.entropy, entropy, rtol=1e-9)
    assert stats.n_rows == np.count_nonzero(weight)
    assert_allclose(stats.s0, r.sum(axis=0), rtol=1e-11)
    assert_allclose(stats.s1, np.einsum("nk,nkd->kd", r, away), rtol=1e-10, atol=1e-9)
    assert_allclose(stats.s2[:, 0], np.einsum("nk,nkd->kd", r, away**2), rtol=1e-10)
    planes = factors.Woodbury.of(params).planes
    y = np.einsum("nkd,kdq->nkq", X[:, None] - params.means, planes)
    assert_allclose(stats.cross, np.einsum("nk,nkd,nkq->kdq", r, away, y), rtol=1e-9, atol=1e-8)


def test_processors_that_find_other_eigenvectors(monkeypatch):
    """Signs may differ, and where eigenvalues are equal all of the vectors; each process finds its own."""
    X, _ = make_rows(400, seed=5)
    _, model = model_of(X, "each")
    params, ours = start_of("each"), model_factors.scaled_axes
    loadings = np.linalg.qr(params.loadings)[0] / params.factor.swapaxes(-1, -2)  # with equal eigenvalues
    params = FactorParams(*params[:4], loadings)
    want = model.update(evaluate(ArraySource(X), params), params)
    here, turn = evaluate(ArraySource(X[:150]), params), ortho_group.rvs(Q, random_state=0)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(model_factors, "scaled_axes", lambda params: (ours(params)[0], ours(params)[1] @ turn))
        there = evaluate(ArraySource(X[150:]), params)
    assert abs(here.axes - there.axes).max() > 0.1
    for stats in (here + there, there + here):
        assert_allclose(model.update(stats, params).loadings, want.loadings, rtol=1e-9, atol=1e-9)


def test_sums_about_other_centres_are_added():
    """Processors find the centre with other last bits; here they differ by more, so that each term of a move counts."""
    X, _ = make_rows(400, seed=5)
    _, model = model_of(X, "each")
    params = start_of("each")
    want = model.update(evaluate(ArraySource(X), params), params)
    here, there = evaluate(ArraySource(X[:150]), params), evaluate(ArraySource(X[150:]), params)
    step = np.random.default_rng(0).normal(size=here.origin.shape)
    for stats in (here + there.shifted(there.origin + step), here.shifted(here.origin + step) + there):
        assert_allclose(model.update(stats, params).loadings, want.loadings, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noise", NOISE)
def test_steps_by_dense_matrices(noise):
    X, _ = make_rows(400, seed=2)
    weight = np.random.default_rng(3).integers(0, 3, size=len(X)).astype(float)
    _, model = model_of(X, noise)
    source = ArraySource(X, weight)
    mine = dense = start_of(noise)._replace(means=X[:K])  # of a component each
    for step in range(1, 41):
        stats = evaluate(source, mine)
        mine = model.update(stats, mine)
        bound, dense = dense_step(X, weight, dense)
        if step in (1, 5, 40):
            assert_allclose(stats.loglik / stats.sum_w, bound, rtol=1e-10)
            for got, want in zip((*mine[:3], mine.loadings), (*dense[:3], dense.loadings), strict=True):
                assert_allclose(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("noise", NOISE)
def test_scores_by_dense_matrices(noise):
    params, X = make_mixture(noise), make_rows(seed=4)[0]
    shape = {"each": (K, D), "shared": (D,), "isotropic": (K,)}[noise]
    given = params.weights, params.means, params.loadings, params.covariances.reshape(shape)
    model = FactorMixture.from_parameters(*given, noise)
    joint = log_joint(X, params)
    density = np.logaddexp.reduce(joint, axis=1)
    resp = np.exp(joint - density[:, None])
    assert_allclose(model.score_samples(X), density, rtol=1e-10)
    assert_allclose(model.predict_proba(X), resp, atol=1e-10)
    assert_array_equal(model.predict(X), joint.argmax(axis=1))
    assert_allclose(model.predict_top(X, 2)[1], -np.sort(-resp, axis=1)[:, :2], atol=1e-10)
    assert_allclose(model.score(X), density.mean(), rtol=1e-12)
    assert_allclose(fastem.log_density(X, model.params_), density, rtol=1e-10)
    means = [
        params.loadings[k].T @ np.linalg.solve(model.covariances_[k], x - params.means[k])
        for k, x in zip(model.predict(X), X, strict=True)
    ]
    assert_allclose(model.factor_scores(X), means, atol=1e-10)
    other = model.to_mixture()
    assert_allclose(other.score_samples(X), density, rtol=1e-10)
    assert_allclose(other.covariances_, params.full_covariances(), rtol=1e-14)


def test_components_far_apart_keep_their_digits():
    params = make_mixture(spacing=1e7)
    X = params.means[1] + np.random.default_rng(0).normal(size=(50, D))
    model = FactorMixture.from_parameters(*params[:2], params.loadings, params.covariances[:, 0])
    assert_allclose(model.score_samples(X), log_joint(X, params)[:, 1], rtol=1e-8)


def test_rows_far_out():
    model = FactorMixture.from_parameters([0.0, 1.0], np.zeros((2, 2)), np.ones((2, 2, 1)), np.ones((2, 2)))
    with np.errstate(over="ignore"):
        assert_array_equal(model.score_samples([[1e200, 0.0]]), [-np.inf])
    assert_array_equal(model.predict_proba([[1e200, 0.0], [0.0, 0.0]]), [[1.0, 0.0], [0.0, 1.0]])
    stats = evaluate(ArraySource(np.zeros((1, 2)), labels=np.array([0])), model.params_)
    assert_array_equal(stats.s0, [1.0, 0.0])


@pytest.mark.parametrize("noise", NOISE)
def test_coordinates(noise):
    """They go there and back; a step of the means has the length that the covariances give it."""
    a, b = make_mixture(noise), make_mixture(noise, seed=5)
    space = FactorSpace.around(a)
    back = space.unpack(space.pack(b))
    for got, want in zip((*back[:4], back.loadings), (*b[:4], b.loadings), strict=True):
        assert_allclose(got, want, rtol=1e-12, atol=1e-13)
    assert not space.pack(a).any()
    moved = FactorParams(a.weights, b.means, *a[2:4], a.loadings)
    step, covariances = b.means - a.means, a.full_covariances()
    want = sum(a.weights[k] * step[k] @ np.linalg.solve(covariances[k], step[k]) for k in range(K))
    assert_allclose(np.sum(space.pack(moved) ** 2), want, rtol=1e-12)


# ---- fits ----------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    noise=st.sampled_from([*NOISE]),
    remedy=st.sampled_from([None, "ridge", fastem.InverseWishart(0.0), "floor", "ratio", "geometric"]),
    seed=st.integers(0, 99),
    q=st.integers(1, 4),
)
def test_every_fit_ascends(noise, remedy, seed, q):
    X, _ = make_rows(90, 2, 4, 2, spacing=1.0, seed=seed)
    source, model = model_of(X, noise, remedy, q=q)
    start = model.feasible(start_of(noise, 2, 4, q, seed))
    plain = iterate(source, start, model, stop=Stop("change", 0.0), max_iter=30)
    fast = climb(source, start, model, stop=Stop("change", 1e-9), max_iter=60)
    assert model.monotone
    # Rounding is EPS times the largest ratio of a variance to its uniqueness, which the ridge and the prior bound.
    rounding = 1e-11 if remedy in ("ridge", fastem.InverseWishart(0.0)) else EPS / FLOOR
    for result in (plain, fast):
        assert np.diff(result.history).min(initial=0) > -rounding * (1 + abs(result.history[-1]))
        assert result.status.name in ("CONVERGED", "MAX_ITER")


@pytest.mark.parametrize("solver", ["em", "auto"])
@pytest.mark.parametrize("data", ["wine", "drawn"])
def test_one_component_is_not_below_factor_analysis(solver, data):
    X, q = (load_wine().data[:, :7], 1) if data == "wine" else (make_rows(500, 1, 9, 3, seed=1)[0], 3)
    theirs = FactorAnalysis(q, svd_method="lapack", tol=1e-10, max_iter=10_000).fit(X)
    model = FactorMixture(1, q, tol=1e-13 if solver == "em" else 1e-10, max_iter=5000, solver=solver, **PLAIN).fit(X)
    assert model.score(X) >= theirs.score(X) - 1e-6 / len(X)
    scores = (theirs.transform(X) @ theirs.components_, model.factor_scores(X) @ model.loadings_[0].T)
    assert_allclose(*scores, atol=1e-3 * X.std())


@pytest.mark.parametrize("solver", ["em", "auto"])
@pytest.mark.parametrize("q", [1, 4])
def test_one_isotropic_component_is_principal_components(solver, q):
    """Tipping & Bishop (1999), closed form; scikit-learn divides by N - 1."""
    X, _ = make_rows(300, 1, 8, 3, seed=2)
    options = dict(noise="isotropic", tol=1e-15 if solver == "em" else 1e-12, max_iter=5000, solver=solver, **PLAIN)
    model = FactorMixture(1, q, **options).fit(X)
    peer = PCA(q).fit(X)
    peer.explained_variance_ *= 299 / 300
    peer.noise_variance_ *= 299 / 300
    assert_allclose(model.score(X), peer.score(X), rtol=0, atol=1e-10)
    assert_allclose(model.uniquenesses_, peer.noise_variance_, rtol=1e-5)
    # Columns of the loadings are the principal axes, in order.
    assert_allclose(
        np.abs(np.diag(peer.components_ @ model.loadings_[0])) ** 2,
        peer.explained_variance_ - peer.noise_variance_,
        rtol=1e-4,
    )


def test_held_out_digits():
    """At equal K, above full, diag and tied covariances. Noise makes densities of the counts 0..16."""
    rng = np.random.default_rng(0)
    X = load_digits().data
    X = (X + rng.uniform(size=X.shape))[rng.permutation(len(X))]
    train, test = X[:900], X[900:]
    model = FactorMixture(10, 4, random_state=0, tol=0.1).fit(train)
    for covariance_type in ("full", "diag", "tied"):
        options = dict(covariance_type=covariance_type, regularization="ridge", tol=1e-2, random_state=0)
        other = GaussianMixture(10, init_params="kmeans", **options).fit(train)
        assert model.score(test) > other.score(test) + 5


def test_draws_have_the_covariances():
    params = make_mixture()
    model = FactorMixture.from_parameters(*params[:2], params.loadings, params.covariances[:, 0])
    drawn = model.set_params(random_state=1).sample(20_000)[0]
    assert_allclose(drawn.mean(axis=0), model.weights_ @ model.means_, atol=0.1)
    whole = np.einsum("k,kij->ij", model.weights_, model.covariances_)
    away = model.means_ - model.weights_ @ model.means_
    whole += np.einsum("k,ki,kj->ij", model.weights_, away, away)
    assert np.linalg.norm(np.cov(drawn.T) - whole) < 0.03 * np.linalg.norm(whole)


def test_free_parameters():
    X, _ = make_rows()
    own = {"each": K * D, "shared": D, "isotropic": K}
    for noise, count in own.items():
        model = FactorMixture(K, Q, noise=noise, random_state=0, tol=1e-3).fit(X)
        P = K - 1 + K * D + K * (D * Q - Q * (Q - 1) // 2) + count
        loglik = model.score(X) * len(X)
        assert model.bic(X) == pytest.approx(P * np.log(len(X)) - 2 * loglik)
        assert model.aic(X) == pytest.approx(2 * P - 2 * loglik)
        inner = model.loadings_.swapaxes(1, 2) @ (model.loadings_ / model.params_.covariances.swapaxes(1, 2))
        assert_allclose(inner, inner * np.eye(Q), atol=1e-9 * inner.max())
        assert (np.diff(np.diagonal(inner, axis1=1, axis2=2), axis=1) <= 0).all()


def test_a_heywood_case_ends_at_the_floor():
    """A feature that the factor explains: its uniqueness goes to 0."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 1))
    X = np.hstack([z, z + rng.normal(size=(200, 3))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.ConvergenceWarning)
        model = FactorMixture(1, 1, max_iter=300, **PLAIN).fit(X)
    assert model.uniquenesses_.min() >= 0.99e-8 * X[:, 0].var()
    assert model.uniquenesses_[0, 0] < 1e-3
    assert np.isfinite(model.score(X))
    assert FactorMixture(1, 1).fit(X).converged_


def test_principal_axes_of_large_and_small_rows():
    """Those that ARPACK finds are those of all; a factor that rows do not have is 0, and so are axes of no rows."""
    X, _ = make_rows(300, 1, 250, 3, spacing=0.0)
    _, lengths, axes = np.linalg.svd(X, full_matrices=False)
    rest = (lengths[3:] ** 2).sum() / 247
    want = np.sqrt(lengths[:3] ** 2 - rest) * axes[:3].T
    assert_allclose(np.abs(principal(X, 3)), np.abs(want), atol=0.02 * np.abs(want).max())
    assert_allclose(np.abs(principal(X[:, :150], 2)[:, 0]), np.abs(principal(X[:, :150], 1)[:, 0]), rtol=0.05, atol=0.1)
    assert_array_equal(principal(X[:1], 2)[:, 1], 0.0)
    assert_array_equal(principal(np.zeros((300, 250)), 2), 0.0)


def test_no_uniqueness_is_less_than_the_least():
    for remedy, noise in (("geometric", "each"), ("ridge", "isotropic"), (None, "shared")):
        _, model = model_of(make_rows()[0], noise, remedy)
        params = make_mixture(noise)
        thin = FactorParams(*params[:2], params.covariances * 1e-20, params.factor * 1e10, params.loadings)
        assert_array_equal(model.feasible(thin).covariances, np.broadcast_to(model.least, thin.covariances.shape))
        assert_allclose(model.feasible(params).covariances, params.covariances, rtol=1e-14)


def test_labels():
    X, truth = make_rows(seed=3)
    labels = np.full(len(X), -1)
    labels[:90] = (truth[:90] + 1) % K  # components in another order
    model = FactorMixture(K, Q, random_state=0).fit(X, labels=labels)
    assert np.mean(model.predict(X) == (truth + 1) % K) > 0.95
    allowed = labels[:, None] == np.arange(K)
    allowed[90:] = True
    again = FactorMixture(K, Q, random_state=0).fit(X, labels=allowed)
    assert_allclose(again.score(X), model.score(X), rtol=1e-4)


def test_weights_bits_and_sources(tmp_path):
    X, _ = make_rows(seed=5)
    options = dict(random_state=0, tol=1e-9)
    times = np.random.default_rng(0).integers(1, 3, size=len(X))
    one = FactorMixture(K, Q, **options).fit(X, sample_weight=times)
    two = FactorMixture(K, Q, **options).fit(np.repeat(X, times, axis=0))
    order = [np.argsort(model.means_[:, 0]) for model in (one, two)]
    assert_allclose(one.means_[order[0]], two.means_[order[1]], atol=1e-3)
    assert_allclose(one.score(X, sample_weight=times), two.score(np.repeat(X, times, axis=0)), atol=1e-8)
    np.save(tmp_path / "X.npy", X)
    model = FactorMixture(K, Q, **options).fit(X)
    others = [
        FactorMixture(K, Q, n_threads=1, **options).fit(np.asfortranarray(X)),
        FactorMixture(K, Q, **options).fit(tmp_path / "X.npy"),
        FactorMixture(K, Q, **options).fit(lambda: iter([X[:100], X[100:]])),
    ]
    for other in others:
        for name in ("weights_", "means_", "loadings_", "uniquenesses_"):
            assert getattr(other, name).tobytes() == getattr(model, name).tobytes()
    warm = model.set_params(warm_start=True, random_state=5).fit(X)
    assert warm.n_iter_ <= 6
    with pytest.raises(ValueError, match="n_factors has changed: 2"):
        warm.set_params(n_factors=1).fit(X)


def test_no_matrix_of_features():
    """A pass and its M-step stay below 120 MB at 784 features, where ten covariances take 49 MB each time."""
    X = np.random.default_rng(0).normal(size=(4000, 784))
    params = make_mixture(k=10, d=784, q=10)
    model = FactorModel(model_for(ArraySource(X[:50]), NOISE["each"], find_remedy("ridge")), 10, np.full(784, 1e-8))
    tracemalloc.start()
    try:
        model.update(evaluate(ArraySource(X), params), params)
        assert tracemalloc.get_traced_memory()[1] < 120e6
    finally:
        tracemalloc.stop()


# ---- the estimator -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISE)
def test_save_load_and_pickle(noise, tmp_path):
    frame = pd.DataFrame(make_rows()[0], columns=list("abcdefg"))
    model = FactorMixture(K, Q, noise=noise, regularization="floor", random_state=1, tol=1e-4).fit(frame)
    fastem.save(model, tmp_path / "f.npz")
    for other in (fastem.load(tmp_path / "f.npz"), pickle.loads(pickle.dumps(model))):
        assert type(other) is FactorMixture
        assert other.get_params() == model.get_params()
        assert_array_equal(other.score_samples(frame), model.score_samples(frame))
        assert_array_equal(other.loadings_, model.loadings_)
        assert (other.status_, other.lower_bound_) == (model.status_, model.lower_bound_)
        assert list(other.feature_names_in_) == list("abcdefg")
    assert_array_equal(pickle.loads(pickle.dumps(model.params_)).loadings, model.loadings_)
    arrays = dict(np.load(tmp_path / "f.npz"))
    loadings = model.loadings_
    for name, bad in (
        ("loadings", loadings[:2]),
        ("loadings", loadings * np.nan),
        ("uniquenesses", -model.uniquenesses_),
    ):
        np.savez(tmp_path / "bad.npz", **arrays | {name: bad})
        with pytest.raises(ModelFileError, match="do not describe a mixture of factor analysers"):
            fastem.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_factors": 0}, "'n_factors' parameter of FactorMixture must be an int in the range"),
        ({"n_factors": 2.0}, "n_factors"),
        ({"n_factors": True}, "n_factors"),
        ({"n_factors": D + 1}, r"n_factors=8 is more than the number of columns of X \(n_features = 7\)"),
        ({"noise": "some"}, "'noise' parameter of FactorMixture must be a str among"),
        ({"noise": True}, "noise"),
        ({"solver": "lbfgs"}, "'solver' parameter of FactorMixture"),
        ({"n_components": 0}, "'n_components' parameter of FactorMixture"),
        ({"regularization": "none"}, "regularization"),
        ({"regularization": "map"}, "InverseWishart.shrinkage=0."),
    ],
)
def test_parameters_that_cannot_be_used(options, message):
    with pytest.raises(ValueError, match=message):
        FactorMixture(**options).fit(make_rows()[0])


def test_parts_that_do_not_fit():
    good = dict(weights=[1.0], means=np.zeros((1, 3)), loadings=np.ones((1, 3, 2)), uniquenesses=np.ones((1, 3)))
    FactorMixture.from_parameters(**good)
    for name, bad in (
        ("weights", [0.5]),
        ("means", np.zeros(3)),
        ("loadings", np.ones((1, 3, 4))),
        ("loadings", np.ones((3, 2))),
        ("uniquenesses", np.zeros((1, 3))),
        ("uniquenesses", np.ones(3)),
        ("noise", "diag"),
    ):
        with pytest.raises(ValueError, match=name):
            FactorMixture.from_parameters(**good | {name: bad})


def test_columns_that_do_not_vary():
    X, _ = make_rows()
    X[:, 2] = 4.0
    for noise in NOISE:
        model = FactorMixture(K, Q, noise=noise, random_state=0, tol=1e-3).fit(X)
        assert np.isfinite(model.score(X))
    with pytest.raises(ValueError, match="Column 2 of X is constant"):
        FactorMixture(K, Q, random_state=0, **PLAIN).fit(X)
    FactorMixture(K, D, random_state=0, tol=1e-2).fit(X)  # as many factors as features
    few = FactorMixture(3, 5, random_state=0).fit(X[:8])  # fewer rows than factors
    assert np.isfinite(few.score(X))


def test_what_takes_stored_covariances_alone():
    params, X = make_mixture(), make_rows()[0]
    for use in (
        fastem.embed.pack,
        lambda params: fastem.accumulate(X, params),
        lambda params: fastem.em(X, params),
        lambda params: fastem.elbo(X, params, np.ones((len(X), K)) / K),
    ):
        with pytest.raises(TypeError, match="factor analysers"):
            use(params)
    with pytest.raises(TypeError, match="factor analysers"):
        params.terms()
    with pytest.raises(ValueError, match="not fitted"):
        FactorMixture().factor_scores(X)
    assert not hasattr(FactorMixture(), "covariances_")


def extended_score(params, X):
    """The mean log density in long double, from dense covariances, without Woodbury's formula."""
    (K, D), extended = params.means.shape, np.longdouble
    joint = np.empty((K, len(X)), dtype=extended)
    noise = np.broadcast_to(params.covariances, (K, 1, D)).astype(extended)
    for k, loadings in enumerate(params.loadings.astype(extended)):
        root, z = loadings @ loadings.T + np.diag(noise[k, 0]), (X - params.means[k].astype(extended)).T
        for i in range(D):  # Cholesky, and the solution with it; NumPy has neither for long double
            root[i, i] = np.sqrt(root[i, i] - root[i, :i] @ root[i, :i])
            root[i + 1 :, i] = (root[i + 1 :, i] - root[i + 1 :, :i] @ root[i, :i]) / root[i, i]
            z[i] = (z[i] - root[i, :i] @ z[:i]) / root[i, i]
        norm = np.log(extended(params.weights[k])) - np.log(np.diag(root)).sum() - D * np.log(2 * extended(np.pi)) / 2
        joint[k] = norm - (z**2).sum(axis=0) / 2
    return np.logaddexp.reduce(joint, axis=0).mean()


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is double here")
def test_where_bounds_fall_without_a_remedy_it_is_rounding_near_a_uniqueness_of_0():
    rng = np.random.default_rng(3)
    loadings, means, labels = rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 4)) * 2, rng.integers(2, size=400)
    X = means[labels] + np.einsum("ndq,nq->nd", loadings[labels], rng.normal(size=(400, 2)))
    X += rng.normal(size=X.shape) * rng.uniform(0.1, 1, 4)
    seen = []
    model = FactorMixture(2, 2, noise="shared", regularization=None, reg_covar=0.0, tol=1e-10, random_state=0)
    model.fit(X, callback=lambda iteration, bound, params: seen.append((bound, params)))
    for (before, at), (after, to) in itertools.pairwise(seen):
        ratio = ((to.loadings**2).sum(axis=-1) / to.covariances[:, 0]).max() + 1
        assert before - after < ratio * EPS * (1 + abs(before))
        if before - after > 1e-10:
            assert extended_score(to, X) - extended_score(at, X) > -1e-10
    assert ratio > 1e5
    assert_allclose(after, float(extended_score(to, X)), rtol=1e-8)
