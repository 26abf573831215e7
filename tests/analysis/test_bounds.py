"""The evidence lower bound: log p = ELBO + KL for every q, and what EM's two half steps do to it."""

import numpy as np
import pytest
from helpers import FAMILIES, exact_log_joint, make_mixture, make_start, start_params

import fastem


@pytest.fixture(scope="module")
def data():
    """300 rows of three overlapping components, weights some of which are 0, and any distributions."""
    mixture = make_mixture(300, 3, 3, spacing=2.5, seed=11)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0, 2, 300) * (rng.uniform(size=300) < 0.8)
    return mixture, weight, rng.dirichlet([0.3, 1.0, 2.0], 300)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_loglik_is_elbo_plus_divergence(data, covariance_type, weighted):
    mixture, weight, q = data
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    w = weight if weighted else None
    bound = fastem.elbo(mixture.X, params, q, w)
    assert bound.loglik == pytest.approx(fastem.accumulate(mixture.X, params, w).loglik, rel=1e-13)
    assert bound.elbo + bound.kl == pytest.approx(bound.loglik, rel=1e-13)
    assert bound.kl > 100


def test_terms_against_exact_arithmetic(data):
    mixture, weight, q = data
    params = fastem.make_params(mixture.weights, mixture.means, mixture.covariances)
    bound = fastem.elbo(mixture.X[:20], params, q[:20], weight[:20])
    rows = exact_log_joint(mixture.X[:20], mixture.weights, mixture.means, mixture.covariances)
    joint = np.array([[float(v) for v in row] for row in rows])
    assert bound.elbo == pytest.approx((weight[:20, None] * q[:20] * (joint - np.log(q[:20]))).sum(), rel=1e-13)


def test_half_steps(data):
    """The E-step closes the gap, the M-step raises the bound: neither lowers it."""
    mixture, weight, q = data
    params = start_params(make_start(mixture, "full"), "full")
    before = fastem.elbo(mixture.X, params, q, weight).elbo
    for _ in range(5):
        q = fastem.GaussianMixture.from_parameters(*params[:3]).predict_proba(mixture.X)
        tight = fastem.elbo(mixture.X, params, q, weight)
        assert tight.elbo > before
        assert abs(tight.kl) < 1e-10
        assert tight.elbo == pytest.approx(tight.loglik, rel=1e-13)
        params = fastem.m_step(fastem.moments(mixture.X, resp=q, sample_weight=weight))
        before = fastem.elbo(mixture.X, params, q, weight).elbo
        assert before > tight.elbo


def test_labels_are_a_distribution(data):
    """q may have zeros: then the bound is that of classification EM."""
    mixture, _, _ = data
    params = start_params(make_start(mixture, "diag"), "diag")
    model = fastem.GaussianMixture.from_parameters(params.weights, params.means, params.covariances[:, 0], "diag")
    q = np.eye(3)[model.predict(mixture.X)]
    bound = fastem.elbo(mixture.X, params, q)
    assert bound.elbo == pytest.approx(fastem.accumulate(mixture.X, params).class_loglik, rel=1e-13)
    assert bound.elbo + bound.kl == pytest.approx(bound.loglik, rel=1e-13)


def test_noise_has_the_last_column(data):
    mixture, _, _ = data
    box = [mixture.X.min(axis=0), mixture.X.max(axis=0)]
    params = fastem.make_params(0.9 * mixture.weights, mixture.means, mixture.covariances, noise=(0.1, box))
    bound = fastem.elbo(mixture.X, params, np.full((300, 4), 0.25))
    assert bound.elbo + bound.kl == pytest.approx(bound.loglik, rel=1e-13)
    with pytest.raises(ValueError, match=r"^q must have shape \(300, 4\)"):
        fastem.elbo(mixture.X, params, np.full((300, 3), 1 / 3))


def test_a_component_that_cannot_be():
    params = fastem.make_params([0.5, 0.5], [[0.0], [1e10]], [1.0, 1e-300], "spherical")
    bound = fastem.elbo([[0.0]], params, [[0.5, 0.5]])
    assert (bound.elbo, bound.kl) == (-np.inf, np.inf)
    assert fastem.elbo([[0.0]], params, [[1.0, 0.0]]).kl == pytest.approx(0.0, abs=1e-15)
    without = fastem.elbo([[0.0], [1.0]], params, [[0.5, 0.5], [1.0, 0.0]], [0.0, 1.0])
    assert np.isfinite(without).all()


def test_single_precision(data):
    """Rows of float32 sum to 1 but for its rounding, and are normalised: the identity has all digits."""
    mixture, _, q = data
    params = start_params(make_start(mixture, "full"), "full")
    bound = fastem.elbo(mixture.X, params, q.astype("f4"))
    assert np.abs(q.astype("f4").sum(axis=1, dtype=float) - 1).max() > 1e-8
    assert bound.elbo + bound.kl == pytest.approx(bound.loglik, rel=1e-13)


def test_blocks_have_their_own_rows(data):
    mixture, _, q = data
    params = start_params(make_start(mixture, "full"), "full")
    X, q = np.tile(mixture.X, (1000, 1)), np.tile(q, (1000, 1))
    whole = fastem.elbo(mixture.X, params, q[:300])
    np.testing.assert_allclose(fastem.elbo(X, params, q), 1000 * np.array(whole), rtol=1e-11)
    streamed = fastem.elbo(lambda: np.array_split(X, 7), params, q)
    np.testing.assert_allclose(streamed, 1000 * np.array(whole), rtol=1e-11)


@pytest.mark.parametrize("q", [[[0.5, 0.6]], [[-0.5, 1.5]], [[np.nan, 1.0]], [[1.0]], [[0.5, 0.5], [0.5, 0.5]]])
def test_what_is_no_distribution(q):
    params = fastem.make_params([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.0], "spherical")
    with pytest.raises(ValueError, match=r"^q must"):
        fastem.elbo([[0.0]], params, q)
