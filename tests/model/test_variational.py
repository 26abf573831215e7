"""The posterior of a mixture: its bound against Bishop's terms one by one, and against evidence that is known."""

import copy
import pickle

import numpy as np
import pytest
from helpers import FAMILIES, expand, make_mixture, quiet_fit
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import betaln, digamma, gammaln, multigammaln

import fastem
from fastem import BayesianGaussianMixture
from fastem.model.variational import log_beta

PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")
PRIOR = dict(weight_concentration_prior=0.3, mean_precision_prior=0.7, degrees_of_freedom_prior=4.2)


def overlapping(n=90, d=3, seed=0):
    return make_mixture(n, d, 3, spacing=2.5, seed=seed).X + 3.0


def slow_bound(model, X, weight):
    """The evidence lower bound, term by term: Bishop (2006), eqs. 10.71-10.77, with full matrices and loops."""
    K, D = model.means_.shape
    covariances = expand(model.covariances_, model.covariance_type, K, D)
    dof = np.broadcast_to(model.degrees_of_freedom_, K)
    scales = [np.linalg.inv(covariances[k]) / dof[k] for k in range(K)]
    dof0, beta0, m0 = model.degrees_of_freedom_prior_, model.mean_precision_prior_, model.mean_prior_
    scatter0 = expand([model.covariance_prior_] * K, model.covariance_type, K, D)[0]
    if model.covariance_type.startswith("tied"):
        scatter0 = expand(model.covariance_prior_, model.covariance_type, K, D)[0]

    def log_b(log_det, nu):  # eq. B.79
        return -nu / 2 * log_det - nu * D / 2 * np.log(2) - multigammaln(nu / 2, D)

    log_lambda = np.array(
        [
            sum(digamma((dof[k] - i) / 2) for i in range(D)) + D * np.log(2) + np.linalg.slogdet(scales[k])[1]
            for k in range(K)
        ]
    )
    if isinstance(model.weight_concentration_, tuple):
        a, b = model.weight_concentration_
        stick = [stats.beta(a[k], b[k]) for k in range(K)]
        log_v, log_rest = digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)
        log_pi = np.array([log_v[k] + sum(log_rest[:k]) for k in range(K)])
        alpha = model.weight_concentration_prior_
        weights = sum(np.log(alpha) + (alpha - 1) * log_rest[k] + stick[k].entropy() for k in range(K))
    else:
        alpha, alpha0 = model.weight_concentration_, np.full(K, model.weight_concentration_prior_)
        log_pi = digamma(alpha) - digamma(alpha.sum())
        weights = gammaln(alpha0.sum()) - gammaln(alpha0).sum() + ((alpha0 - 1) * log_pi).sum()
        weights += stats.dirichlet(alpha).entropy()

    log_rho = np.empty((len(X), K))
    for n, x in enumerate(X):
        for k in range(K):
            away = x - model.means_[k]
            square = D / model.mean_precision_[k] + dof[k] * away @ scales[k] @ away
            log_rho[n, k] = log_pi[k] + 0.5 * (log_lambda[k] - D * np.log(2 * np.pi) - square)
    resp = np.exp(log_rho - log_rho.max(axis=1, keepdims=True))
    resp /= resp.sum(axis=1, keepdims=True)
    bound = weights + sum(weight[n] * (resp[n] * log_rho[n]).sum() for n in range(len(X)))
    bound += sum(weight[n] * stats.entropy(resp[n]) for n in range(len(X)))
    for k in range(K):
        beta, nu, away = model.mean_precision_[k], dof[k], model.means_[k] - m0
        bound += 0.5 * (D * np.log(beta0 / (2 * np.pi)) + log_lambda[k] - D * beta0 / beta)
        bound -= 0.5 * beta0 * nu * away @ scales[k] @ away
        bound += log_b(-np.linalg.slogdet(scatter0)[1], dof0) + (dof0 - D - 1) / 2 * log_lambda[k]
        bound -= 0.5 * nu * np.trace(scatter0 @ scales[k])
        bound -= 0.5 * log_lambda[k] + D / 2 * (np.log(beta / (2 * np.pi)) - 1)
        bound -= log_b(np.linalg.slogdet(scales[k])[1], nu) + (nu - D - 1) / 2 * log_lambda[k] - nu * D / 2
    return bound


def test_the_beta_function_of_many_rows():
    """SciPy's is -inf or NaN where both are beyond 1e77, as sums of weights may be; per row the logarithm is known."""
    assert float(log_beta(np.array(2e99), np.array(2e99))) == pytest.approx(-4e99 * np.log(2.0), rel=1e-14)
    assert float(log_beta(np.array(1e90), np.array(1e80))) == pytest.approx(-1e80 * (10 * np.log(10) + 1), rel=1e-9)
    assert log_beta(np.array(3.0), np.array(4.0)) == betaln(3.0, 4.0)
    X = overlapping()
    weight = np.where(np.arange(len(X)) % 2, 1e98, 1e80)
    model = quiet_fit(BayesianGaussianMixture(n_components=2, random_state=0, max_iter=5), X, sample_weight=weight)
    assert np.isfinite(model.lower_bounds_).all()


@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_elbo_equals_a_slow_one(family, kind):
    X = overlapping()
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
    model = BayesianGaussianMixture(
        n_components=3,
        covariance_type=family,
        weight_concentration_prior_type=kind,
        max_iter=3,
        random_state=0,
        **PRIOR,
    )
    quiet_fit(model, X, sample_weight=weight)
    assert_allclose(model.elbo(X, weight), slow_bound(model, X, weight), rtol=1e-12)


@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_elbo_ascends_and_is_the_lower_bound_but_for_a_constant(family, kind):
    X = overlapping(seed=1)
    model = BayesianGaussianMixture(
        n_components=4, covariance_type=family, weight_concentration_prior_type=kind, reg_covar=0, tol=0, **PRIOR
    )
    model.set_params(init_params="random_from_data", random_state=0, max_iter=1, warm_start=True)
    exact, theirs = [], []
    for _ in range(12):
        quiet_fit(model, X)
        exact.append(model.elbo(X))
        theirs.append(model.lower_bound_)
    assert (np.diff(exact) >= -1e-10).all()
    assert (np.diff(theirs) >= -1e-10).all()
    constant = quiet_fit(model.set_params(max_iter=3000, tol=1e-11), X).elbo(X) - model.lower_bound_
    # Each bound of the loop is that of an update, which the next responsibilities raise, and the next update more.
    exact, theirs = np.array(exact), np.array(theirs) + constant
    assert (exact >= theirs - 1e-9).all()
    assert (theirs[1:] >= exact[:-1] - 1e-9).all()


def test_one_component_has_the_evidence_that_is_known():
    """With one component the bound is the log evidence, and so a sum of predictive densities: the chain rule."""
    X = overlapping(n=12)
    prior = dict(mean_prior=[1.0, 2.0, 3.0], covariance_prior=np.diag([1.0, 2.0, 3.0]) + 0.3, **PRIOR)
    model = BayesianGaussianMixture(weight_concentration_prior_type="dirichlet_distribution", reg_covar=0, **prior)
    evidence = [model.fit(X[:n]).elbo(X[:n]) for n in range(2, 13)]
    predicted = [model.fit(X[:n]).score_samples(X[n : n + 1], predictive=True)[0] for n in range(2, 12)]
    assert_allclose(np.diff(evidence), predicted, rtol=1e-10)
    first = stats.multivariate_t(
        prior["mean_prior"], prior["covariance_prior"] * (1.7 / 0.7 / 2.2), df=2.2, seed=0
    )  # of the prior, eqs. 10.81 and 10.82 with nothing seen
    pair = stats.multivariate_t(*_location_and_shape(prior, X[:1]), df=3.2, seed=0)  # and of the posterior of one row
    assert_allclose(evidence[0], first.logpdf(X[0]) + pair.logpdf(X[1]), rtol=1e-10)


def _location_and_shape(prior, rows):
    beta0, nu0, D, n = prior["mean_precision_prior"], prior["degrees_of_freedom_prior"], 3, len(rows)
    beta, nu, m0 = beta0 + n, nu0 + n, np.array(prior["mean_prior"])
    away = rows - rows.mean(axis=0)
    scatter = prior["covariance_prior"] + away.T @ away
    scatter = scatter + beta0 * n / beta * np.outer(rows.mean(axis=0) - m0, rows.mean(axis=0) - m0)
    mean = (beta0 * m0 + rows.sum(axis=0)) / beta
    return mean, scatter * (beta + 1) / (beta * (nu + 1 - D))


@pytest.mark.parametrize("kind", PRIOR_TYPES)
def test_the_posterior_travels(kind):
    model = BayesianGaussianMixture(n_components=3, weight_concentration_prior_type=kind, random_state=0)
    posterior = quiet_fit(model, overlapping()).posterior_
    for other in (pickle.loads(pickle.dumps(posterior)), copy.deepcopy(posterior)):
        assert isinstance(other, fastem.Posterior)
        for one, two in zip(posterior.terms(), other.terms(), strict=True):
            assert_array_equal(one, two)
    assert type(posterior._replace(weights=np.ones(3) / 3)) is fastem.Params
    assert_array_equal(posterior.weights, model.weights_)
