"""Adaptation and Fisher vectors: against the papers' equations row by row, and finite differences."""

import numpy as np
import pytest
from helpers import FAMILIES, fitted, make_mixture
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal, norm

import fastem
from fastem import GaussianMixture
from fastem.estimators.groups.sums import cut
from fastem.model.families import COVARIANCES
from fastem.passes.sizes import block_rows

OWN = ("full", "diag", "spherical")  # families whose components share no covariance
EVERYTHING = ("weights", "means", "covariances")


def make_background(covariance_type="diag", K=3, D=4):
    X = make_mixture(300, D, K, spacing=2.0, seed=5).X
    return GaussianMixture(K, covariance_type=covariance_type, random_state=0, max_iter=5, tol=1.0).fit(X + 100.0)


@pytest.fixture(scope="module")
def rows():
    """Rows of a mixture that is not the background, far from 0, their groups in any order, and weights."""
    rng = np.random.default_rng(8)
    X = make_mixture(700, 4, 3, spacing=3.0, seed=6).X + 100.3
    groups = rng.choice([30, 4, 11, 7], size=700, p=[0.7, 0.2, 0.06, 0.04])
    return X, groups, rng.integers(0, 3, size=700).astype(float)


def expand_one(covariance_type):
    """Two covariances of one feature, of variance 2."""
    return np.full(COVARIANCES[covariance_type].natural_shape(2, 1), 2.0)


def resp_of(model, X):
    """The responsibilities, by scipy."""
    w, means, covariances = fitted(model)
    joint = [np.log(w[k]) + multivariate_normal(means[k], covariances[k]).logpdf(X) for k in range(len(w))]
    return softmax(np.transpose(joint), axis=1)


def adapted_by_hand(model, X, weight, relevance, update):
    """Reynolds, Quatieri & Dunn (2000), eqs. 8 to 14, in the coordinates of the rows about the first mean."""
    w, means, covariances = fitted(model)
    origin = means[0].copy()
    X, means = X - origin, means - origin
    resp = resp_of(model, X + origin) * weight[:, None]
    new_w, new_means, new_covariances = w.copy(), means.copy(), covariances.copy()
    for k in range(len(w)):
        n = resp[:, k].sum()
        first = resp[:, k] @ X / n
        second = (resp[:, k, None] * X).T @ X / n
        alpha = n / (n + relevance)
        new_w[k] = alpha * n / weight.sum() + (1 - alpha) * w[k]
        new_means[k] = alpha * first + (1 - alpha) * means[k]
        old = covariances[k] + np.outer(means[k], means[k])
        new_covariances[k] = alpha * second + (1 - alpha) * old - np.outer(new_means[k], new_means[k])
    found = dict(weights=new_w / new_w.sum(), means=new_means, covariances=new_covariances)
    given = dict(weights=w, means=means, covariances=covariances)
    chosen = {name: (found if name in update else given)[name] for name in given}
    if model.covariance_type != "full":
        diagonal = np.diagonal(chosen["covariances"], axis1=1, axis2=2)
        if model.covariance_type == "spherical":
            diagonal = np.broadcast_to(diagonal.mean(axis=1, keepdims=True), diagonal.shape)
        chosen["covariances"] = diagonal[:, :, None] * np.eye(X.shape[1])
    return chosen["weights"], chosen["means"] + origin, chosen["covariances"]


# ---- adaptation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", OWN)
@pytest.mark.parametrize("update", [("means",), EVERYTHING, ("means", "covariances")], ids=len)
def test_adaptation_is_reynolds_equations(rows, covariance_type, update):
    X, groups, weight = rows
    model = make_background(covariance_type)
    adapted = model.adapt(X, relevance=16, update=update, sample_weight=weight)
    want = adapted_by_hand(model, X, weight, 16.0, update)
    for got, expected in zip(fitted(adapted), want, strict=True):
        assert_allclose(got, expected, rtol=1e-11, atol=1e-11)
    speakers = model.adapt(X, relevance=16, update=update, sample_weight=weight, groups=groups)
    assert_array_equal(speakers.labels, [4, 7, 11, 30])
    for label in speakers.labels:
        own = groups == label
        want = adapted_by_hand(model, X[own], weight[own], 16.0, update)
        for got, expected in zip(fitted(speakers.model(label)), want, strict=True):
            assert_allclose(got, expected, rtol=1e-11, atol=1e-11)
        alone = model.adapt(X[own], relevance=16, update=update, sample_weight=weight[own])
        assert_allclose(speakers.lower_bound[speakers.labels == label], alone.lower_bound_, rtol=1e-12)
        assert_allclose(alone.lower_bound_, model.score(X[own], sample_weight=weight[own]), rtol=1e-12)


@pytest.mark.parametrize("covariance_type", OWN)
def test_covariances_about_means_that_stay(rows, covariance_type):
    """They do not depend on where 0 is, and a component without rows keeps its own."""
    X, _, _ = rows
    model = make_background(covariance_type)
    (w, means, covariances), resp = fitted(model), resp_of(model, X)
    got = fitted(model.adapt(X, relevance=5, update=("covariances",)))
    assert_array_equal(got.means, means)
    for k in range(len(w)):
        about = X - means[k]
        want = ((resp[:, k, None] * about).T @ about + 5 * covariances[k]) / (resp[:, k].sum() + 5)
        want = {"full": want, "diag": np.diag(want.diagonal()), "spherical": want.trace() / 4 * np.eye(4)}
        assert_allclose(got.covariances[k], want[covariance_type], rtol=1e-11, atol=1e-13)
    far = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [1e3]], expand_one(covariance_type), covariance_type)
    few = far.adapt([[0.5]], update=EVERYTHING)
    assert (few.means_[1], few.covariances_.ravel()[1]) == (1e3, 2.0)
    assert few.covariances_.ravel()[0] != 2.0


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_means_and_weights_of_all_families(rows, covariance_type):
    X, groups, _ = rows
    model = make_background(covariance_type)
    speakers = model.adapt(X, groups=groups, update=("means", "weights"))
    for label in speakers.labels:
        got, alone = speakers.model(label), model.adapt(X[groups == label], update=("means", "weights"))
        assert got.covariance_type == covariance_type
        for name in ("weights_", "means_", "covariances_"):
            assert_allclose(getattr(got, name), getattr(alone, name), rtol=1e-12)
    if covariance_type not in OWN:
        with pytest.raises(ValueError, match="covariances that components share"):
            model.adapt(X, update=("covariances",))


def test_relevance_between_the_background_and_the_rows(rows):
    X, _, _ = rows
    model = make_background()
    firm, soft = model.adapt(X, relevance=1e12), model.adapt(X, relevance=1e-9)
    assert_allclose(firm.means_, model.means_, rtol=1e-10)
    assert_allclose(soft.means_, resp_of(model, X).T @ X / resp_of(model, X).sum(axis=0)[:, None], rtol=1e-10)


def test_likelihood_ratios_of_adapted_mixtures(rows, tmp_path):
    """Rows are likelier under the mixture that was adapted to their group; it can be saved and used as others are."""
    X, groups, _ = rows
    model = make_background()
    speakers = model.adapt(X, groups=groups, update=EVERYTHING)
    ratios = speakers.score_samples(X, groups) - model.score_samples(X)
    by_hand = [speakers.model(g).score_samples(x[None])[0] for g, x in zip(groups[:50], X[:50], strict=True)]
    assert_allclose(ratios[:50], by_hand - model.score_samples(X[:50]), rtol=1e-9, atol=1e-10)
    assert all(ratios[groups == label].mean() > 0 for label in speakers.labels)
    assert not speakers.converged.any()
    assert set(speakers.status) == {None}
    fastem.save(speakers, tmp_path / "speakers.npz")
    other = fastem.load(tmp_path / "speakers.npz")
    assert set(other.status) == {None}
    assert_array_equal(other.score_samples(X, groups), speakers.score_samples(X, groups))
    assert_array_equal(
        model.adapt(X, groups=groups).accumulate(X, groups).s0.sum(axis=1), np.bincount(groups)[[4, 7, 11, 30]]
    )


# ---- Fisher vectors ----------------------------------------------------------------------------------


def log_density(X, logits, means, sd):
    """The mean log density of rows, by scipy; weights are the softmax of logits."""
    joint = norm.logpdf(X[:, None], means, sd).sum(axis=2) + logits - logsumexp(logits)
    return logsumexp(joint, axis=1)


def vector_by_hand(model, X, weight):
    """The mean of the rows' scores times the roots of the inverse information, row by row."""
    w, means, sd, resp = model.weights_, model.means_, np.sqrt(model.covariances_), resp_of(model, X)
    total = np.zeros(len(w) * (1 + 2 * means.shape[1]))
    for x, r, share in zip(X, resp, weight / weight.sum(), strict=True):
        z = (x - means) / sd
        parts = (r - w) / np.sqrt(w), (r / np.sqrt(w))[:, None] * z, (r / np.sqrt(2 * w))[:, None] * (z**2 - 1)
        total += share * np.concatenate([part.ravel() for part in parts])
    return total


def test_fisher_vectors_are_scaled_scores(rows):
    X, groups, weight = rows
    model = make_background()
    K, D = model.means_.shape
    got = model.fisher_vector(X, sample_weight=weight)
    assert got.shape == (K + 2 * K * D,)
    assert_allclose(got, vector_by_hand(model, X, weight), rtol=0, atol=1e-12)
    images = model.fisher_vector(X, sample_weight=weight, groups=groups)
    for vector, label in zip(images, np.unique(groups), strict=True):
        own = groups == label
        assert_allclose(vector, vector_by_hand(model, X[own], weight[own]), rtol=0, atol=1e-12)


def test_fisher_vectors_are_gradients(rows):
    """By central differences of the log-likelihood: weights are the softmax of what it is differentiated by."""
    X = rows[0][:60]
    model = make_background()
    w, means, sd = model.weights_, model.means_, np.sqrt(model.covariances_)
    K, D = means.shape

    def mean_log_density(theta):
        logits, mu, sigma = theta[:K], theta[K : K + K * D].reshape(K, D), theta[K + K * D :].reshape(K, D)
        return log_density(X, logits, mu, sigma).mean()

    theta = np.concatenate([np.log(w), means.ravel(), sd.ravel()])
    forward, back = (approx_fprime(theta, mean_log_density, step) for step in (1e-5, -1e-5))
    scale = [1 / np.sqrt(w), sd / np.sqrt(w)[:, None], sd / np.sqrt(2 * w)[:, None]]
    want = (forward + back) / 2 * np.concatenate([part.ravel() for part in scale])
    assert_allclose(model.fisher_vector(X), want, rtol=0, atol=1e-6)


def test_fisher_vector_of_rows_of_the_mixture_is_white():
    """Its numbers have mean 0 and, where components are far apart, variance 1 over n: what the scaling is for."""
    means = 50.0 * np.arange(6.0).reshape(3, 2)
    model = GaussianMixture.from_parameters([0.2, 0.3, 0.5], means, [[1.0, 4.0], [2.0, 2.0], [3.0, 0.1]], "diag")
    X, _ = model.set_params(random_state=0).sample(200_000)
    images = model.fisher_vector(X, groups=np.random.default_rng(0).permutation(np.arange(200_000) // 50))
    assert_allclose(images.mean(axis=0), 0.0, atol=5 / np.sqrt(200_000))
    variance = 50 * images.var(axis=0)
    assert_allclose(variance[:3], 1 - model.weights_, rtol=0.1)  # softmax has a direction that changes nothing
    assert_allclose(variance[3:], 1.0, rtol=0.15)


def test_improved_vectors(rows):
    X, groups, _ = rows
    model = make_background()
    plain = model.fisher_vector(X, groups=groups)
    for alpha in (0.5, 0.3):
        powers = np.sign(plain) * np.abs(plain) ** alpha
        want = powers / np.linalg.norm(powers, axis=1, keepdims=True)
        assert_allclose(model.fisher_vector(X, groups=groups, improved=True, alpha=alpha), want, rtol=1e-12)
    one = GaussianMixture.from_parameters([1.0], [[0.0]], [[1.0]], "diag")
    assert_array_equal(one.fisher_vector([[1.0], [-1.0]], improved=True), [0.0, 0.0, 0.0])
    two = GaussianMixture.from_parameters([1.0, 0.0], [[0.0], [5.0]], [[1.0], [1.0]], "diag")
    assert_allclose(two.fisher_vector([[2.0]]), [0, 0, 2, 0, 3 / np.sqrt(2), 0])


def test_gradients_of_rows_with_gaps_and_errors():
    """By Fisher's identity, expected moments make the gradient of what is observed; groups of such rows are refused."""
    rng = np.random.default_rng(0)
    X, K, D = rng.normal(size=(200, 3)), 2, 3
    gaps = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    gaps[np.isnan(gaps).all(axis=1)] = 0.0
    sources = fastem.as_source(gaps, missing=True), fastem.as_source(X, errors=rng.uniform(0.1, 0.4, size=X.shape))
    w, means, sd = np.array([0.4, 0.6]), rng.normal(size=(K, D)), rng.uniform(0.7, 1.2, size=(K, D))
    theta = np.concatenate([np.log(w), means.ravel(), sd.ravel()])
    scale = [1 / np.sqrt(w), (sd / np.sqrt(w)[:, None]).ravel(), (sd / np.sqrt(2 * w)[:, None]).ravel()]

    def model(theta):
        mu, sigma = theta[K : K + K * D].reshape(K, D), theta[K + K * D :].reshape(K, D)
        return GaussianMixture.from_parameters(softmax(theta[:K]), mu, sigma**2, "diag").set_params(missing=True)

    for source in sources:
        slopes = [
            (
                fastem.log_density(source, model(theta + step).params_).mean()
                - fastem.log_density(source, model(theta - step).params_).mean()
            )
            / 2e-5
            for step in 1e-5 * np.eye(len(theta))
        ]
        assert_allclose(model(theta).fisher_vector(source), slopes * np.concatenate(scale), rtol=0, atol=1e-6)
        for call in ("adapt", "fisher_vector"):
            with pytest.raises(ValueError, match="groups need complete rows without errors"):
                getattr(model(theta), call)(source, groups=np.zeros(len(X), int))


# ---- both --------------------------------------------------------------------------------------------


def test_a_group_has_the_same_bits_beside_others(rows):
    """Whatever the threads, the order of the rows, and the groups beside it; a large group is cut into pieces."""
    rng = np.random.default_rng(0)
    K, D = 4, 3
    sizes = np.array([1, 7, 3 * block_rows(K, D) + 5, 300, 0, 64])
    groups = np.repeat(np.arange(6), sizes)
    X = rng.normal(size=(len(groups), D))
    model = GaussianMixture(K, covariance_type="diag", random_state=0, max_iter=3, tol=1.0).fit(X[:500])
    whole = model.fisher_vector(X, groups=groups)
    for g, own in enumerate(np.flatnonzero(sizes)):
        alone = model.set_params(n_threads=1).fisher_vector(X[groups == own], groups=groups[groups == own])
        assert alone.tobytes() == whole[g].tobytes()
    order = np.argsort(rng.permuted(groups), kind="stable").argsort(kind="stable")  # groups interleaved
    assert model.fisher_vector(X[order], groups=groups[order]).tobytes() == whole.tobytes()
    assert model.fisher_vector(X.astype(np.float32), groups=groups).dtype == np.float32


def test_pieces_of_groups():
    cuts, owner = cut(np.array([0, 3, 3, 13, 18]), 5)
    assert_array_equal(cuts, [0, 3, 3, 8, 13, 18])
    assert_array_equal(owner, [0, 1, 2, 2, 3])


def test_rows_in_batches_of_groups(rows, monkeypatch):
    X, groups, weight = rows
    model = make_background()
    whole = model.adapt(X, groups=groups, sample_weight=weight, update=EVERYTHING)
    monkeypatch.setattr("fastem.estimators.groups.sums.BATCH_BYTES", 1)
    again = model.adapt(X, groups=groups, sample_weight=weight, update=EVERYTHING)
    for name in ("weights", "means", "covariances", "lower_bound"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes()


@pytest.mark.parametrize(
    ("call", "options", "message"),
    [
        ("adapt", {"relevance": 0}, "'relevance' parameter of adapt must be a positive number of rows"),
        ("adapt", {"relevance": np.nan}, "relevance"),
        ("adapt", {"update": "means"}, "'update' parameter of adapt must be a tuple of names"),
        ("adapt", {"update": ()}, "update"),
        ("adapt", {"update": ("variances",)}, "update"),
        ("fisher_vector", {"alpha": 0.0}, "'alpha' parameter of fisher_vector"),
        ("fisher_vector", {"improved": 1}, "improved"),
        ("fisher_vector", {"groups": [1, 2]}, "groups must be 5 integers or strings"),
        ("adapt", {"groups": [0.5] * 5}, "groups must be 5 integers or strings"),
        ("adapt", {"groups": [1, 1, 2, 3, 3], "sample_weight": [1, 1, 0, 1, 1]}, "all rows of group 2 have weight 0"),
    ],
)
def test_what_cannot_be_used(rows, call, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(make_background(), call)(rows[0][:5], **options)


def test_what_is_no_mixture_for_it(rows, tmp_path):
    X = rows[0]
    np.save(tmp_path / "X.npy", X)
    for call in ("adapt", "fisher_vector"):
        with pytest.raises(fastem.NotFittedError):
            getattr(GaussianMixture(2), call)(X)
        noisy = GaussianMixture.from_parameters([0.9], [[0.0]], [[1.0]], "diag", noise=(0.1, [[-4.0], [4.0]]))
        with pytest.raises(ValueError, match=f"{call} needs a mixture without noise"):
            getattr(noisy, call)([[0.0]])
        with pytest.raises(TypeError, match="groups need rows in memory"):
            getattr(make_background(), call)(lambda: iter([X]), groups=np.zeros(len(X), int))
    for family in ("full", "spherical", "tied_diag"):
        with pytest.raises(ValueError, match=f"covariance_type='diag'; this one has '{family}'"):
            make_background(family).fisher_vector(X)
    model = make_background()
    assert_array_equal(model.adapt(tmp_path / "X.npy").means_, model.adapt(X).means_)
