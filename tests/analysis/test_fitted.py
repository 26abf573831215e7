"""Working with a fitted mixture: against scipy's Gaussians, closed forms, brute force and scikit-learn."""

import itertools

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from helpers import ALL, FAMILIES, TYPES, fitted, make_mixture, make_start, start_params
from scipy.special import entr
from scipy.stats import multivariate_normal

import fastem
from fastem import GaussianMixture
from fastem.model.families import find_family

K, D = 3, 4


@pytest.fixture(scope="module")
def data():
    """Three overlapping components in four dimensions."""
    return make_mixture(400, D, K, spacing=2.0, seed=31)


def model_of(mixture, covariance_type="full", noise=None):
    """The mixture as a model, with a start's parameters."""
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    family = find_family(covariance_type)
    covariances = params.covariances.reshape(family.natural_shape(*params.means.shape))
    weights = params.weights * (1 - (noise[0] if noise else 0))
    return GaussianMixture.from_parameters(weights, params.means, covariances, covariance_type, noise)


def density(model, X):
    """By scipy."""
    w, means, covariances = fitted(model)
    total = sum(w[k] * multivariate_normal(means[k], covariances[k]).pdf(X) for k in range(len(w)))
    return total + (model.noise_weight_ / np.prod(np.diff(model.noise_box_, axis=0)) if model.noise else 0)


# ---- marginal and conditional mixtures ---------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("features", [[0], [2, 0], [3, 1, 0], [0, 1, 2, 3]])
def test_marginal(data, covariance_type, features):
    model = model_of(data, covariance_type)
    part = model.marginal(features)
    w, means, covariances = fitted(model)
    assert part.covariance_type == covariance_type
    np.testing.assert_allclose(part.weights_, w, rtol=1e-15)
    np.testing.assert_array_equal(part.means_, means[:, features])
    np.testing.assert_array_equal(fitted(part).covariances, covariances[:, features][:, :, features])
    X = data.X[:50]
    want = sum(
        w[k] * multivariate_normal(means[k][features], covariances[k][np.ix_(features, features)]).pdf(X[:, features])
        for k in range(K)
    )
    np.testing.assert_allclose(np.exp(part.score_samples(X[:, features])), want, rtol=1e-10)


def test_marginal_of_draws(data):
    """Draws of the joint mixture, with the other columns left out, are those of the marginal one."""
    model = model_of(data)
    model.random_state = 0
    (joint, y), (alone, z) = model.sample(200_000), model.marginal([1, 3]).sample(200_000)
    assert joint.shape == (200_000, D)
    assert alone.shape == (200_000, 2)
    np.testing.assert_array_equal(y, z)  # it takes the model's random_state over
    for k in range(K):
        error = joint[y == k][:, [1, 3]].mean(axis=0) - alone[z == k].mean(axis=0)
        assert (np.abs(error) < 5 * np.sqrt(2 / (y == k).sum()) * alone[z == k].std(axis=0)).all()


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("features", [[1], [3, 0], [2, 0, 1]])
@pytest.mark.parametrize("noise", [False, True])
def test_condition_is_a_ratio_of_densities(data, covariance_type, features, noise):
    """p(u | v) = p(u, v) / p(v), by scipy."""
    box = [data.X.min(axis=0), data.X.max(axis=0)]
    model = model_of(data, covariance_type, (0.2, box) if noise else None)
    rest = [i for i in range(D) if i not in features]
    values = data.X[7, features]
    given = model.condition(features, values)
    U = np.random.default_rng(0).normal(scale=3, size=(30, len(rest)))
    X = np.empty((30, D))
    X[:, features], X[:, rest] = values, U
    want = density(model, X) / density(model.marginal(features), values)
    np.testing.assert_allclose(np.exp(given.score_samples(U)), want, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_condition_is_the_schur_complement(data, covariance_type):
    model, values = model_of(data, covariance_type), np.array([0.5, -1.0])
    given = fitted(model.condition([2, 0], values))
    w, means, covariances = fitted(model)
    for k in range(K):
        vv, uv = covariances[k][np.ix_([2, 0], [2, 0])], covariances[k][np.ix_([1, 3], [2, 0])]
        slopes = uv @ np.linalg.inv(vv)
        np.testing.assert_allclose(given.means[k], means[k][[1, 3]] + slopes @ (values - means[k][[2, 0]]), rtol=1e-11)
        want = covariances[k][np.ix_([1, 3], [1, 3])] - slopes @ uv.T
        np.testing.assert_allclose(given.covariances[k], want, rtol=1e-11, atol=1e-13)
    shares = np.array(
        [
            w[k] * multivariate_normal(means[k][[2, 0]], covariances[k][np.ix_([2, 0], [2, 0])]).pdf(values)
            for k in range(K)
        ]
    )
    np.testing.assert_allclose(given.weights, shares / shares.sum(), rtol=1e-11)


def test_condition_without_cancellation():
    """Features that nearly depend on each other, far from 0: the difference of covariances would lose all digits."""
    slope, rest = 3.0, 2.0**-40
    covariance = np.array([[1.0, slope], [slope, slope**2 + rest]])
    model = GaussianMixture.from_parameters([1.0], [[1e6, 2e6]], [covariance])
    given = model.condition(0, 1e6 + 2)
    assert given.means_[0, 0] == pytest.approx(2e6 + 6, rel=1e-15)
    assert given.covariances_[0, 0, 0] == pytest.approx(rest, rel=1e-3)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("noise", [False, True])
def test_regression_is_the_mean_of_the_condition(data, covariance_type, noise):
    box = [data.X.min(axis=0), data.X.max(axis=0)]
    model = model_of(data, covariance_type, (0.2, box) if noise else None)
    features, rest = [3, 1], [0, 2]
    mean = model.conditional_mean(data.X[:, features], features)
    variance = model.conditional_variance(data.X[:, features], features)
    assert mean.shape == variance.shape == (400, 2)
    for n in (0, 17, 399):
        given = model.condition(features, data.X[n, features])
        w, means, covariances = fitted(given)
        inside = [np.diagonal(c) for c in covariances]
        if noise:
            w, low, high = np.append(w, given.noise_weight_), *given.noise_box_
            means, inside = np.vstack([means, (low + high) / 2]), [*inside, (high - low) ** 2 / 12]
            np.testing.assert_array_equal(given.noise_box_, np.array(box)[:, rest])
        np.testing.assert_allclose(mean[n], w @ means, rtol=1e-11)
        np.testing.assert_allclose(variance[n], w @ (inside + means**2) - mean[n] ** 2, rtol=1e-9)


def test_regression_of_rows_from_anywhere(data):
    model = model_of(data)
    X = np.tile(data.X[:, :2], (1000, 1))
    whole = model.conditional_mean(X, [0, 1])
    np.testing.assert_allclose(whole[:400], model.conditional_mean(data.X[:, :2], [0, 1]), rtol=1e-12)
    np.testing.assert_array_equal(whole[:400], whole[-400:])
    np.testing.assert_allclose(model.conditional_mean(lambda: np.array_split(X, 9), [0, 1]), whole, rtol=1e-13)
    single = model.conditional_mean(data.X[:, :2].astype("f4"), [0, 1])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole[:400], rtol=1e-3, atol=1e-4)


def test_regression_recovers_a_function():
    """Ghahramani & Jordan's use: a mixture fitted to (x, y) predicts y."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 5000)
    XY = np.column_stack([x, np.sin(x) + 0.1 * rng.normal(size=5000)])
    model = GaussianMixture(12, random_state=0, max_iter=500).fit(XY)
    at = np.linspace(-2.5, 2.5, 50)[:, None]
    assert np.abs(model.conditional_mean(at, 0)[:, 0] - np.sin(at[:, 0])).max() < 0.1
    assert np.sqrt(model.conditional_variance(at, 0).mean()) == pytest.approx(0.1, rel=0.3)


def test_names_of_features(data):
    frame = pd.DataFrame(data.X, columns=["a", "b", "c", "d"])
    model = GaussianMixture(K, random_state=0).fit(frame)
    assert list(model.marginal(["d", "a"]).feature_names_in_) == ["d", "a"]
    assert list(model.marginal("b").feature_names_in_) == ["b"]
    given = model.condition(["c", "a"], [0.0, 1.0])
    assert list(given.feature_names_in_) == ["b", "d"]
    np.testing.assert_array_equal(given.means_, model.condition([2, 0], [0.0, 1.0]).means_)
    np.testing.assert_array_equal(
        model.conditional_mean(frame[["c", "a"]], ["c", "a"]), model.conditional_mean(frame[["c", "a"]], [2, 0])
    )
    with pytest.raises(ValueError, match="feature names should match"):
        model.conditional_mean(frame[["a", "c"]], ["c", "a"])
    with pytest.raises(ValueError, match="no feature 'z'; the model has 'a', 'b', 'c', 'd'"):
        model.marginal(["a", "z"])


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ([], "1 to 3 of the 4 features, got 0"),
        ([0, 1, 2, 3], "1 to 3 of the 4 features, got 4"),
        ([0, 0], "distinct"),
        ([4], "0..3"),
        ([-1], "0..3"),
        ([0.5], "positions"),
        ([True, False, True, False], "positions"),
        (["a"], "fitted without feature names"),
    ],
)
def test_what_are_no_features(data, features, match):
    model = model_of(data)
    with pytest.raises(ValueError, match=match):
        model.condition(features, np.zeros(len(features)))
    with pytest.raises(ValueError, match=match):
        model.conditional_mean(np.zeros((2, 1)), features)


def test_weights_of_single_precision(data):
    """Their sum may be off by more than what `from_parameters` takes."""
    model = GaussianMixture(K, random_state=0).fit(data.X.astype("f4"))
    model.weights_ = (1 + 2e-5) * model.weights_
    assert model.marginal(0).weights_.sum() == pytest.approx(1, rel=1e-12)


def test_what_are_no_values(data):
    model = model_of(data)
    for values in ([1.0], [1.0, np.nan], "ab", [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="values"):
            model.condition([0, 1], values)
    with pytest.raises(ValueError, match="2 features"):
        model.conditional_mean(data.X[:, :3], [0, 1])
    with pytest.raises(ValueError, match="not fitted"):
        GaussianMixture().marginal(0)


# ---- divergence --------------------------------------------------------------------------------------


def closed_form(p, q):
    """KL of two Gaussians."""
    (_, (a,), (A,)), (_, (b,), (B,)) = fitted(p), fitted(q)
    inverse = np.linalg.inv(B)
    logs = np.linalg.slogdet(B)[1] - np.linalg.slogdet(A)[1]
    return 0.5 * (np.trace(inverse @ A) + (b - a) @ inverse @ (b - a) - len(a) + logs)


@pytest.mark.parametrize("seed", range(5))
def test_divergence_of_two_gaussians(seed):
    rng = np.random.default_rng(seed)
    p, q = (
        GaussianMixture.from_parameters([1.0], rng.normal(size=(1, 3)), [np.cov(rng.normal(size=(3, 20)))])
        for _ in range(2)
    )
    estimate, want = p.kl_divergence(q, n_samples=50_000, random_state=seed), closed_form(p, q)
    assert want > 0.3
    assert abs(estimate.value - want) < 4 * estimate.standard_error
    assert 0 < estimate.standard_error < 0.05 * want
    # The error is honest: many estimates scatter by as much.
    many = np.array([p.kl_divergence(q, n_samples=1000, random_state=s) for s in range(100)])
    assert many[:, 0].std() == pytest.approx(many[:, 1].mean(), rel=0.3)


def test_divergence_of_mixtures(data):
    model = model_of(data)
    assert model.kl_divergence(model, n_samples=100, random_state=0) == (0.0, 0.0)
    other = model_of(make_mixture(400, D, K, spacing=2.0, seed=32), "diag")
    a, b = (model.kl_divergence(other, n_samples=2000, random_state=0) for _ in range(2))
    assert a == b
    assert a.value > 10 * a.standard_error
    noisy = model_of(data, noise=(0.1, [data.X.min(axis=0), data.X.max(axis=0)]))
    for p, q in ((model, noisy), (noisy, model)):
        with pytest.raises(ValueError, match="noise"):
            p.kl_divergence(q)
    with pytest.raises(ValueError, match="features"):
        model.kl_divergence(model.marginal([0, 1]))
    with pytest.raises(ValueError, match="n_samples"):
        model.kl_divergence(other, n_samples=1)


# ---- merging -----------------------------------------------------------------------------------------


def brute_force(resp, weight):
    """Baudry et al.'s hierarchy: every union tried, with all responsibilities at hand."""
    groups, entropies, hierarchy = [[k] for k in range(resp.shape[1])], [], []

    def entropy(groups):
        return sum(weight @ entr(resp[:, group].sum(axis=1)) for group in groups)

    while True:
        entropies.append(entropy(groups))
        hierarchy.append([set(group) for group in groups])
        if len(groups) == 1:
            return entropies[::-1], hierarchy[::-1]
        options = []
        for a, b in itertools.combinations(range(len(groups)), 2):
            joined = [g for i, g in enumerate(groups) if i not in (a, b)] + [groups[a] + groups[b]]
            options.append((entropy(joined), joined))
        groups = min(options, key=lambda option: option[0])[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_merging_against_brute_force(weighted):
    mixture = make_mixture(300, 2, 6, spacing=1.5, seed=4)
    model = GaussianMixture(6, random_state=0, max_iter=200, tol=1e-6).fit(mixture.X)
    weight = np.random.default_rng(0).uniform(0, 3, 300) if weighted else np.ones(300)
    merging = model.merge(mixture.X, sample_weight=weight if weighted else None)
    resp = model.predict_proba(mixture.X)
    entropies, hierarchy = brute_force(resp, weight)
    np.testing.assert_allclose(merging.entropies, entropies, rtol=1e-11, atol=1e-11)
    assert merging.entropies[0] == pytest.approx(0, abs=1e-10)
    assert (np.diff(merging.entropies) > 0).all()
    for g, groups in enumerate(hierarchy, 1):
        clusters = merging.clusters(g)
        assert {frozenset(np.flatnonzero(clusters == c).tolist()) for c in range(g)} == set(map(frozenset, groups))
        joined = np.column_stack([resp[:, clusters == c].sum(axis=1) for c in range(g)])
        np.testing.assert_allclose(merging.predict_proba(mixture.X, g), joined, atol=1e-14)
        np.testing.assert_array_equal(merging.predict(mixture.X, g), joined.argmax(axis=1))


def test_merging_of_a_cluster_that_is_not_gaussian():
    """By hand: components 0 and 2 lie on each other, 1 is far away, 3 is in between."""
    model = GaussianMixture.from_parameters(
        [0.25] * 4, [[0.0, 0.0], [20.0, 0.0], [0.5, 0.0], [3.0, 0.0]], [1.0] * 4, "spherical"
    )
    model.random_state = 0
    X, _ = model.sample(2000)
    merging = model.merge(X)
    np.testing.assert_array_equal(merging.pairs, [[0, 2], [0, 3], [0, 1]])
    np.testing.assert_array_equal(merging.clusters(4), [0, 1, 2, 3])
    np.testing.assert_array_equal(merging.clusters(3), [0, 1, 0, 2])
    np.testing.assert_array_equal(merging.clusters(2), [0, 1, 0, 0])
    np.testing.assert_array_equal(merging.clusters(1), [0, 0, 0, 0])
    falls = np.diff(merging.entropies)
    assert falls[0] < 1e-3 * 2000 < falls[1]
    np.testing.assert_array_equal(merging.predict([[0.0, 0.0], [19.0, 0.0]], 2), [0, 1])
    means = model.means_.copy()
    model.fit(X)  # the hierarchy keeps the mixture it was made of
    np.testing.assert_array_equal(merging.model.means_, means)
    for bad in (0, 5, 2.0, True):
        with pytest.raises(ValueError, match="n_clusters"):
            merging.clusters(bad)


def test_merging_leaves_noise(data):
    model = model_of(data, noise=(0.1, [data.X.min(axis=0), data.X.max(axis=0)]))
    merging, resp = model.merge(data.X), model.predict_proba(data.X)
    assert merging.entropies[-1] == pytest.approx(entr(resp).sum(), rel=1e-12)
    assert merging.entropies[0] == pytest.approx(
        entr(np.column_stack([resp[:, :K].sum(axis=1), resp[:, K]])).sum(), rel=1e-12
    )
    labels = merging.predict(data.X, 1)
    np.testing.assert_array_equal(labels, np.where(resp[:, K] > 0.5, -1, 0))
    assert merging.predict_proba(data.X, 2).shape == (400, 3)


def test_merging_of_one_component(data):
    merging = GaussianMixture(1).fit(data.X).merge(data.X)
    assert merging.pairs.shape == (0, 2)
    np.testing.assert_array_equal(merging.entropies, [0.0])


def test_entropy_of_responsibilities(data):
    model = model_of(data)
    got = model.responsibility_entropy(data.X)
    np.testing.assert_allclose(got, entr(model.predict_proba(data.X)).sum(axis=1), atol=1e-13)
    assert got.sum() == pytest.approx(fastem.accumulate(data.X, model.params_).entropy, rel=1e-11)
    many = np.tile(data.X, (500, 1))
    np.testing.assert_allclose(model.responsibility_entropy(many)[-400:], got, atol=1e-14)


# ---- scikit-learn's estimator ------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_there_and_back(data, covariance_type, dtype):
    X = data.X.astype(dtype)
    options = dict(covariance_type=covariance_type, random_state=3, tol=1e-4, max_iter=200)
    ours = GaussianMixture(K, **options).fit(X)
    theirs = ours.to_sklearn()
    assert type(theirs) is sklearn.mixture.GaussianMixture
    back = GaussianMixture.from_sklearn(theirs)
    assert back.get_params() == ours.get_params()
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"):
        values = [np.asarray(getattr(one, name)) for one in (ours, theirs, back)]
        assert {value.dtype for value in values} == {np.dtype(dtype)}
        assert values[0].tobytes() == values[1].tobytes() == values[2].tobytes(), name
    for name in ("n_iter_", "converged_", "lower_bound_", "lower_bounds_", "n_features_in_", "status_"):
        assert getattr(back, name) == getattr(ours, name), name
    rtol = 1e-12 if dtype == "f8" else 1e-4
    np.testing.assert_allclose(theirs.score_samples(X), ours.score_samples(X), rtol=rtol)
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), atol=rtol)
    np.testing.assert_array_equal(back.predict_proba(X), ours.predict_proba(X))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_their_fit_here(data, covariance_type):
    frame = pd.DataFrame(data.X, columns=["a", "b", "c", "d"])
    theirs = sklearn.mixture.GaussianMixture(K, covariance_type=covariance_type, random_state=0).fit(frame)
    ours = GaussianMixture.from_sklearn(theirs)
    np.testing.assert_allclose(ours.score_samples(frame), theirs.score_samples(frame), rtol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(frame), theirs.predict_proba(frame), atol=1e-12)
    np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
    assert ours.bic(frame) == pytest.approx(theirs.bic(frame), rel=1e-12)
    assert list(ours.feature_names_in_) == list(frame.columns)
    theirs.means_ += 1  # a copy
    assert not np.array_equal(ours.means_, theirs.means_)


@pytest.mark.parametrize("covariance_type", [name for name in ALL if name not in TYPES])
def test_variances_that_are_shared(data, covariance_type):
    """scikit-learn has no such type: each component gets them."""
    ours = GaussianMixture(K, covariance_type=covariance_type, random_state=0).fit(data.X)
    theirs = ours.to_sklearn()
    assert theirs.covariance_type == find_family(covariance_type).storage.form
    np.testing.assert_allclose(theirs.score_samples(data.X), ours.score_samples(data.X), rtol=1e-12)
    np.testing.assert_array_equal(GaussianMixture.from_sklearn(theirs).predict(data.X), ours.predict(data.X))


def test_what_does_not_convert(data):
    with pytest.raises(TypeError, match="BayesianGaussianMixture"):
        GaussianMixture.from_sklearn(sklearn.mixture.BayesianGaussianMixture(2).fit(data.X))
    with pytest.raises(ValueError, match="not fitted"):
        GaussianMixture.from_sklearn(sklearn.mixture.GaussianMixture())
    with pytest.raises(ValueError, match="not fitted"):
        GaussianMixture().to_sklearn()
    with pytest.raises(ValueError, match="noise"):
        model_of(data, noise=(0.1, [data.X.min(axis=0), data.X.max(axis=0)])).to_sklearn()
    auto = GaussianMixture(2, init_params="auto", random_state=0).fit(data.X).to_sklearn()
    assert auto.init_params == "kmeans"
    auto.fit(data.X)


@pytest.mark.parametrize("value", [1e155, -1e200, 1e306])
def test_conditional_variance_far_away(value):
    """Squares of distances to components that have no share of the row overflow, and count for nothing."""
    covariances = [[[1.0, 0.8], [0.8, 1.0]], [[1.0, -0.8], [-0.8, 1.0]]]
    model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0, 0.0], [3.0, 9.0]], covariances)
    np.testing.assert_allclose(model.conditional_variance([[value]], 0), [[0.36]])
    np.testing.assert_allclose(model.conditional_mean([[value]], 0), [[0.8 * value]])


@pytest.mark.parametrize("method", ["kl_divergence", "align_to"])
@pytest.mark.parametrize(
    "other", [np.zeros((3, 1)), None, "model.npz", GaussianMixture], ids=lambda x: type(x).__name__
)
def test_what_is_no_mixture_is_named(method, other):
    model = GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    kind = type(other).__name__
    with pytest.raises(TypeError, match=f"{method} needs another fitted mixture; got {kind}.*from_parameters"):
        getattr(model, method)(other)


@pytest.mark.parametrize("n", [10**15, 10**18])  # more than memory; more bytes than can be counted
def test_draws_beyond_memory_are_refused_with_their_size(n):
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [1.0], "spherical")
    with pytest.raises(MemoryError, match=rf"{n} draws of 2 features take {16 * n // 10**9} GB"):
        model.sample(n)
