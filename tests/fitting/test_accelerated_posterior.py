"""Accelerated fits of posteriors: the exact bound ascends, they end where updates end, and in fewer passes."""

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, quiet_fit
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import logsumexp, xlogy

import fastem
from fastem import BayesianGaussianMixture, FitInterrupted, Status
from fastem.estimators.bayesian.state import prior_of_fit
from fastem.fitting import levels
from fastem.model.families import find_family
from fastem.model.posterior_space import PosteriorSpace
from fastem.model.variational import squares_of_prior
from fastem.model.variational_model import VariationalModel
from fastem.sources.blocks import ArraySource

PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")


def fit(X, sample_weight=None, callback=None, **options):
    options = dict(n_components=3, solver="auto", reg_covar=0.0, tol=1e-7, max_iter=500, random_state=0) | options
    return quiet_fit(BayesianGaussianMixture(**options), X, sample_weight=sample_weight, callback=callback)


def model_of(fitted):
    return VariationalModel(prior_of_fit(fitted), find_family(fitted.covariance_type), fitted.reg_covar)


def log_joint(posterior, X):
    """Return the expected log densities of rows and components, (N, K), by plain NumPy."""
    norm, means, factor = posterior.terms()[:3]
    away = X[:, None] - means
    white = np.einsum("kij,nkj->nki", np.broadcast_to(factor, (len(means), *factor.shape[1:])), away)
    return norm - 0.5 * ((white if factor.shape[-2] > 1 else away * factor[:, 0]) ** 2).sum(axis=-1)


def exact_bound(model, posterior, X, weight):
    """Return the bound of the responsibilities under a posterior together with the posterior that they make."""
    log_resp = log_joint(posterior, X)
    log_resp -= logsumexp(log_resp, axis=1, keepdims=True)
    resp = np.exp(log_resp)
    made = model.update(fastem.accumulate(X, posterior, sample_weight=weight))
    expected = (resp * log_joint(made, X)).sum(axis=1) - xlogy(resp, resp).sum(axis=1)
    return weight @ expected - made.divergence(model.prior)


@settings(max_examples=10, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    kind=st.sampled_from(PRIOR_TYPES),
    concentration=st.sampled_from([1e-3, 0.3, 20.0]),
    mean_precision=st.sampled_from([1e-6, 1.0, 50.0]),
    init=st.sampled_from(["random", "kmeans", "random_from_data"]),
    seed=st.integers(0, 99),
)
def test_the_exact_bound_ascends(family, kind, concentration, mean_precision, init, seed):
    X, weight = make_mixture(150, 2, 3, spacing=2.5, seed=4).X, np.random.default_rng(seed).uniform(0.2, 2.0, 150)
    points = []
    fitted = fit(
        X,
        weight,
        lambda iteration, bound, posterior: points.append(posterior),
        n_components=5,
        covariance_type=family,
        weight_concentration_prior_type=kind,
        weight_concentration_prior=concentration,
        mean_precision_prior=mean_precision,
        init_params=init,
        max_iter=40,
        random_state=seed,
    )
    model = model_of(fitted)
    bounds = np.array([exact_bound(model, posterior, X, weight) for posterior in points])
    assert_allclose(bounds - bounds[-1], np.array(fitted.lower_bounds_) - fitted.lower_bound_, atol=1e-8)
    assert (np.diff(bounds) > -1e-9).all()
    assert fitted.elbo(X, weight) >= bounds[-1] - 1e-9
    assert fitted.status_ in (Status.CONVERGED, Status.MAX_ITER)
    assert fitted.n_iter_ <= fitted.fit_report_.starts[0].certificate.passes <= 40


@pytest.mark.parametrize("reg_covar", [0.0, 1e-2])
@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_ends_where_updates_end(family, kind, reg_covar):
    X = make_mixture(200, 2, 3, spacing=4.0, seed=4).X
    options = dict(covariance_type=family, weight_concentration_prior_type=kind, reg_covar=reg_covar)
    auto, plain = fit(X, tol=1e-9, **options), fit(X, solver="em", tol=1e-12, max_iter=5000, **options)
    assert auto.status_ is plain.status_ is Status.CONVERGED
    assert auto.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-8)
    assert auto.elbo(X) == pytest.approx(plain.elbo(X), rel=1e-8)
    assert_allclose(auto.means_, plain.means_, atol=1e-4)
    certificate = auto.fit_report_.starts[0].certificate
    assert certificate.gain < 1e-9
    assert certificate.passes <= plain.n_iter_ + 2
    assert plain.fit_report_.starts[0].certificate is None


@pytest.mark.parametrize("kind", PRIOR_TYPES)
def test_overlapping_components_take_a_fifth_of_the_passes(kind):
    X = make_mixture(2000, 2, 3, spacing=1.5, seed=2).X
    auto = fit(X, tol=1e-4, weight_concentration_prior_type=kind)
    passes = auto.fit_report_.starts[0].certificate.passes
    plain = fit(X, solver="em", tol=0.0, max_iter=5 * int(passes), weight_concentration_prior_type=kind)
    assert auto.status_ is Status.CONVERGED
    assert auto.lower_bound_ > plain.lower_bound_
    assert f"{passes:.4g} passes over all rows" in str(auto.fit_report_)


@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_certificate_has_the_gradient_of_the_exact_bound(family, kind):
    """An update is the gradient, per row, where the information of the posterior is the identity per row."""
    X = make_mixture(2000, 2, 3, spacing=2.5, seed=4).X
    points = []
    fitted = fit(
        X,
        None,
        lambda iteration, bound, posterior: points.append(posterior),
        covariance_type=family,
        weight_concentration_prior_type=kind,
        tol=1e-2,
    )
    model, space = model_of(fitted), PosteriorSpace.around(points[-1])
    origin = space.pack(points[-1])

    def bound(theta):
        posterior = space.unpack(theta)
        return (logsumexp(log_joint(posterior, X), axis=1).sum() - posterior.divergence(model.prior)) / 2000

    h = 1e-4
    slopes = [(bound(origin + h * one) - bound(origin - h * one)) / (2 * h) for one in np.eye(len(origin))]
    assert fitted.fit_report_.starts[0].certificate.gradient == pytest.approx(np.linalg.norm(slopes), rel=0.1)


@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", ["full", "tied"])
def test_vectors_are_posteriors(family, kind):
    X = make_mixture(200, 2, 3, spacing=4.0, seed=4).X
    options = dict(covariance_type=family, weight_concentration_prior_type=kind, max_iter=3)
    one, other = fit(X, **options), fit(X, init_params="random", **options)
    model, space = model_of(one), PosteriorSpace.around(one.posterior_)
    for got in (space.unpack(space.pack(other.posterior_)), model.feasible(other.posterior_)):
        for name in ("means", "covariances", "factor", "concentration", "mean_precision", "degrees_of_freedom"):
            assert_allclose(getattr(got, name), getattr(other.posterior_, name), rtol=1e-9, err_msg=name)
    few = other.posterior_.mean_precision * [1.3, 1.0, 1e-3]  # less than the prior has
    moved = space.unpack(space.pack(fastem.Posterior(*other.posterior_[1:4], other.posterior_.concentration, few, few)))
    mended = model.feasible(moved)
    assert mended.mean_precision.min() == model.prior.mean_precision
    assert mended.mean_precision.sum() == pytest.approx(one.mean_precision_.sum())
    assert (mended.concentration > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_posterior_is_narrower_than_its_prior(family):
    """Such a trial is not made: its numbers may be none."""
    fitted = fit(make_mixture(200, 2, 3, spacing=4.0, seed=4).X, n_components=5, covariance_type=family)
    model, mine = model_of(fitted), fitted.posterior_
    assert sum(squares_of_prior(mine, model.prior)).max() <= 2 * mine.degrees_of_freedom.max() * (1 + 1e-12)
    counts = mine.concentration, mine.mean_precision, mine.degrees_of_freedom
    far = mine.means + np.where(np.arange(5)[:, None] == 1, 1e200, 0.0)
    for parts in (
        (mine.means, 1e-6 * mine.covariances, 1e3 * mine.factor),
        (far, mine.covariances, mine.factor),
        (mine.means, mine.covariances, np.nan * mine.factor),
    ):
        with pytest.raises(fastem.SingularCovarianceError):
            model.feasible(fastem.Posterior(*parts, *counts))


def test_samples_lead_to_the_optimum_of_all_rows(monkeypatch):
    monkeypatch.setattr(levels, "FIRST_ROWS", 100)
    monkeypatch.setattr(levels, "ROWS_PER_COMPONENT", 1)
    X = make_mixture(3000, 2, 3, spacing=4.0, seed=6).X
    auto, plain = fit(X), fit(X, solver="em", tol=1e-11, max_iter=5000)
    assert levels.draw_sample(ArraySource(X), 3).n_rows == 400
    assert auto.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-8)
    certificate = auto.fit_report_.starts[0].certificate
    assert 0 < certificate.passes - auto.n_iter_ != round(certificate.passes - auto.n_iter_)
    for other in (fit(X, n_threads=1), fit(lambda: np.array_split(X, 7))):
        assert other.lower_bounds_ == auto.lower_bounds_
        assert other.fit_report_.starts[0].certificate == certificate
    again = auto.set_params(warm_start=True).fit(X)  # on all rows
    assert again.fit_report_.starts[0].certificate.passes == again.n_iter_ <= 4


def test_an_update_is_made_once(monkeypatch):
    made = []
    update = VariationalModel._updated
    monkeypatch.setattr(VariationalModel, "_updated", lambda *args: made.append(args) or update(*args))
    for solver in ("em", "auto"):
        fitted = fit(make_mixture(200, 2, 3, seed=4).X, solver=solver, tol=0.0, max_iter=10)
        assert len(made) == 1 + 10  # of the start, and of each pass
        made.clear()
    assert fitted.fit_report_.starts[0].certificate.passes == 10


def test_ctrl_c_hands_over_a_posterior():
    def press(iteration, bound, posterior):
        if iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(FitInterrupted) as caught:
        BayesianGaussianMixture(n_components=3, solver="auto", tol=0.0, random_state=0).fit(
            make_mixture(200, 2, 3, spacing=2.5, seed=4).X, callback=press
        )
    assert isinstance(caught.value.result.params, fastem.Posterior)
    assert caught.value.result.certificate.passes >= 3


def test_rows_of_float32():
    X = make_mixture(2000, 2, 3, spacing=2.5, seed=4).X
    auto, exact = fit(X.astype("f4"), tol=1e-2), fit(X, tol=1e-2)
    assert auto.status_ is Status.CONVERGED
    assert auto.lower_bound_ == pytest.approx(exact.lower_bound_, rel=1e-5)


def test_solvers():
    with pytest.raises(ValueError, match="'solver' parameter of BayesianGaussianMixture must be a str among"):
        BayesianGaussianMixture(solver="lbfgs").fit(np.eye(3))
