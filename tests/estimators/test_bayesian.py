"""BayesianGaussianMixture: what it does beside what scikit-learn's does."""

import numpy as np
import pandas as pd
import pytest
from helpers import FAMILIES, TYPES, make_mixture, quiet_fit
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import BayesianGaussianMixture, NotFittedError
from fastem.analysis.posteriors import draw_mixtures
from fastem.estimators.bayesian.state import prior_of_fit
from fastem.model.families import find_family
from fastem.model.variational_model import VariationalModel

PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")


def rows(n=400, d=3):
    return make_mixture(n, d, 3, spacing=3.0).X


def fit(X=None, **options):
    return quiet_fit(
        BayesianGaussianMixture(**dict(n_components=3, random_state=0) | options), rows() if X is None else X
    )


def state(model):
    numbers = (model.weights_, model.means_, model.covariances_, model.degrees_of_freedom_, model.lower_bounds_)
    return [np.asarray(one) for one in (*numbers, *np.atleast_2d(model.weight_concentration_))]


def assert_same_bits(one, two):
    for a, b in zip(state(one), state(two), strict=True):
        assert_array_equal(a, b)


# ---- the same fit, from everywhere -----------------------------------------------------------------------------------


def test_bits_do_not_depend_on_where_rows_are(tmp_path):
    X = rows(2000)
    np.save(tmp_path / "rows.npy", X)
    whole = fit(X)
    assert_same_bits(fit(tmp_path / "rows.npy"), whole)
    assert_same_bits(fit(lambda: np.array_split(X, 7)), whole)
    assert_same_bits(fit(np.asfortranarray(X)), whole)
    assert_same_bits(fit(X, n_threads=1), whole)


@pytest.mark.parametrize("start", ["auto", "kmeans", "k-means++", "random", "random_from_data"])
def test_all_starts(start):
    model = fit(init_params=start, max_iter=500, tol=1e-6, weight_concentration_prior_type="dirichlet_distribution")
    assert model.converged_
    assert len(model.lower_bounds_) == model.n_iter_


def test_weights_are_rows():
    X, weight = rows(), np.random.default_rng(0).integers(0, 3, 400)
    once, twice = (
        fit(X, tol=0, max_iter=20),
        BayesianGaussianMixture(n_components=3, random_state=0, tol=0, max_iter=20),
    )
    quiet_fit(twice, X, sample_weight=np.full(400, 2.0))
    assert_allclose(twice.mean_precision_.sum() - 3, 2 * (once.mean_precision_.sum() - 3))
    absent = quiet_fit(twice, X, sample_weight=weight).means_.copy()
    assert_allclose(quiet_fit(twice, X[weight > 0], sample_weight=weight[weight > 0]).means_, absent)
    assert_allclose(twice.score(X, sample_weight=weight), np.average(twice.score_samples(X), weights=weight))


def test_weights_that_sum_to_1_are_no_rows():
    with pytest.raises(ValueError, match="must be more than 1: scale the weights"):
        fit().fit(rows(), sample_weight=np.full(400, 1 / 400))


def test_names_of_features():
    frame = pd.DataFrame(rows(), columns=list("abc"))
    model = fit(frame)
    assert model.to_mixture().feature_names_in_.tolist() == list("abc")
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["c", "b", "a"]])
    with pytest.raises(ValueError, match="BayesianGaussianMixture is expecting 3 features"):
        fit().predict(rows()[:, :2])


# ---- the posterior ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_predictive_density_is_the_mean_over_the_posterior(family):
    X = rows(40, 2)
    model = fit(X, covariance_type=family, weight_concentration_prior_type="dirichlet_distribution")
    new = np.array([[0.0, 0.0], [1.0, -1.0], X[0], X[1] + 1])
    weights, means, covariances = draw_mixtures(model.posterior_, 4000, np.random.RandomState(0))
    away = new - means[:, :, None]
    square = np.einsum("skni,skij,sknj->skn", away, np.linalg.inv(covariances), away)
    peak = weights / (2 * np.pi * np.sqrt(np.linalg.det(covariances)))
    densities = np.einsum("sk,skn->sn", peak, np.exp(-0.5 * square))
    error = densities.std(axis=0) / np.sqrt(len(densities))
    predicted = np.exp(model.score_samples(new, predictive=True))
    assert (np.abs(densities.mean(axis=0) - predicted) < 4 * error).all()
    assert (error < 0.1 * predicted).all()


@pytest.mark.parametrize("kind", PRIOR_TYPES)
def test_draws_have_the_moments_of_the_posterior(kind):
    model = fit(rows(60, 2), weight_concentration_prior_type=kind, covariance_type="tied")
    n = 4000
    weights, means, covariances = draw_mixtures(model.posterior_, n, np.random.RandomState(0))
    precisions = np.linalg.inv(covariances)
    assert_allclose(weights.sum(axis=1), 1)
    assert_allclose(weights.mean(axis=0), model.weights_, atol=0.005)
    assert (np.abs(means.mean(axis=0) - model.means_) < 4 * means.std(axis=0) / np.sqrt(n)).all()
    assert (np.abs(precisions.mean(axis=0) - model.precisions_) < 4 * precisions.std(axis=0) / np.sqrt(n)).all()


def test_draws_are_mixtures():
    model = fit(pd.DataFrame(rows(), columns=list("abc")), covariance_type="diag")
    first, second = model.sample_posterior(2)
    assert isinstance(first, fastem.GaussianMixture)
    assert first.covariances_.shape == (3, 3, 3)
    assert first.feature_names_in_.tolist() == list("abc")
    assert not np.array_equal(first.means_, second.means_)
    assert_array_equal(model.sample_posterior()[0].weights_.shape, (3,))


def test_predictive_density_of_a_few_rows_has_heavy_tails():
    X = rows(10, 2)
    model = fit(X, n_components=1)
    far = np.full((1, 2), 1e4)
    assert model.score_samples(far, predictive=True) > 1e-3 * model.score_samples(far)
    assert model.score_samples(X.astype("f4"), predictive=True).dtype == np.float32


def test_components_in_use():
    X = make_mixture(300, 2, 2, spacing=12.0).X
    model = fit(X, n_components=6, weight_concentration_prior=1e-3, max_iter=1000)
    assert model.n_components_in_use_ == 2
    assert model.posterior_.mean_precision.sum() == pytest.approx(300 + 6)


def test_mixture_of_expected_parameters():
    model = fit(covariance_type="diag")
    mixture = model.to_mixture()
    assert isinstance(mixture, fastem.GaussianMixture)
    assert_allclose(mixture.means_, model.means_)
    assert (mixture.score_samples(rows()) > model.score_samples(rows())).all()


def test_names_that_scikit_learns_users_call():
    model, X = fit(), rows(20)
    joint = model._estimate_weighted_log_prob(X)
    assert_allclose(model._estimate_log_prob(X) + model._estimate_log_weights(), joint)
    density, resp = model._estimate_log_prob_resp(X)
    assert_allclose(density, model.score_samples(X))
    assert_allclose(np.exp(resp), model.predict_proba(X), atol=1e-12)


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_not_fitted():
    for call in (
        lambda m: m.posterior_,
        lambda m: m.elbo(rows()),
        lambda m: m.sample_posterior(),
        lambda m: m.to_mixture(),
    ):
        with pytest.raises(NotFittedError):
            call(BayesianGaussianMixture())


def test_a_fit_that_fails_changes_nothing():
    model = fit()
    before = state(model)
    with pytest.raises(ValueError, match="should have the shape"):
        model.set_params(mean_prior=[0.0]).fit(rows())
    for one, two in zip(before, state(model), strict=True):
        assert_array_equal(one, two)


def test_a_singular_prior_names_its_cause():
    X = np.column_stack([rows(), np.ones(400)])
    with pytest.raises(ValueError, match="Column 3 of X is constant"):
        BayesianGaussianMixture(reg_covar=0).fit(X)
    model = quiet_fit(BayesianGaussianMixture(), X)  # reg_covar is enough
    assert np.isfinite(model.score_samples(X, predictive=True)).all()
    with pytest.raises(ValueError, match="covariance_prior_ is singular"):
        model.elbo(X)


@pytest.mark.parametrize(
    ("prior", "scale", "message"),
    [
        (dict(degrees_of_freedom_prior=1e300), 1.0, "'degrees_of_freedom_prior' counts rows: at most 1e.150, but got"),
        (dict(mean_precision_prior=1e300), 1.0, "'mean_precision_prior' counts rows: at most 1e.150, but got 1e.300"),
        (
            dict(degrees_of_freedom_prior=1e150),
            1e-100,
            r"degrees_of_freedom_prior of 1e\+150 makes .* choose a smaller",
        ),
        (dict(mean_prior=[1e9, 1e9, 0.0]), 1.0, "mean_prior is so far from the rows .* choose a nearer one"),
        (dict(mean_prior=[0.0, 0.0, 1e300]), 1.0, "mean_prior is so far from the rows .* choose a nearer one"),
    ],
)
def test_a_prior_out_of_range_is_named(prior, scale, message):
    with pytest.raises(ValueError, match=message):
        BayesianGaussianMixture(reg_covar=0.0, **prior).fit(scale * rows())
    with pytest.raises(ValueError, match=message):
        fastem.fit_many(scale * rows(), np.arange(400) % 2, 1, reg_covar=0.0, prior=prior)


@pytest.mark.parametrize(
    ("family", "prior", "message"),
    [
        ("full", [1.0, 2.0, 3.0], r"'full covariance_prior' should have the shape of \(3, 3\)"),
        ("full", -np.eye(3), "'full covariance_prior' should be symmetric, positive-definite"),
        ("tied", np.eye(2), r"'tied covariance_prior' should have the shape of \(3, 3\)"),
        ("diag", [1.0, 0.0, 1.0], "'diag covariance_prior' should be positive"),
        ("spherical", [1.0], r"'spherical covariance_prior' should have the shape of \(\)"),
    ],
)
def test_covariance_priors_that_are_none(family, prior, message):
    with pytest.raises(ValueError, match=message):
        BayesianGaussianMixture(covariance_type=family, covariance_prior=prior).fit(rows())


def test_what_is_not_there():
    with pytest.raises(ValueError, match="takes no labels"):
        BayesianGaussianMixture().fit(fastem.as_source(rows(), labels=np.zeros(400, int)))
    for name in ("bic", "aic", "merge", "from_parameters"):
        assert not hasattr(BayesianGaussianMixture(), name)
    model = fit(warm_start=True)
    with pytest.raises(ValueError, match="weight_concentration_prior_type has changed"):
        model.set_params(weight_concentration_prior_type="dirichlet_distribution").fit(rows())

    class Own(BayesianGaussianMixture):
        def _initialize(self, X, resp):
            raise AssertionError

    with pytest.raises(TypeError, match="Use init_params instead"):
        Own().fit(rows())


def test_attributes_that_are_no_posterior():
    model = fit()
    model.mean_precision_ = -model.mean_precision_
    with pytest.raises(ValueError, match="'mean_precision' should be positive"):
        model.predict(rows())


def test_an_interrupted_fit_has_a_posterior():
    def interrupt(iteration, bound, posterior):
        if iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(fastem.FitInterrupted) as caught:
        BayesianGaussianMixture(n_components=3, init_params="random", random_state=0).fit(rows(), callback=interrupt)
    assert isinstance(caught.value.result.params, fastem.Posterior)
    model = fit(init_params="random")
    model.fit(rows(), callback=lambda iteration, *_: iteration == 2)
    assert model.status_.name == "INTERRUPTED"
    assert model.n_iter_ == 2


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PRIOR_TYPES)
def test_a_step_moves_natural_parameters(kind):
    """Hoffman et al. (2013): a part of the way to the posterior of the block, as if all rows were like it."""
    X, block = rows(300, 2), rows(90, 2) + 0.3
    model = fit(X, weight_concentration_prior_type=kind, reg_covar=0)
    resp = model.predict_proba(block)
    gamma = (90 / 390) ** 0.6

    def natural(model):
        dof, mean, kappa = model.degrees_of_freedom_, model.means_, model.mean_precision_
        second = dof[:, None, None] * model.covariances_ + np.einsum("k,ki,kj->kij", kappa, mean, mean)
        return np.array(model.weight_concentration_), kappa, kappa[:, None] * mean, dof, second

    def move(before, prior, of_block):
        return prior + (1 - gamma) * 390 / 300 * (before - prior) + gamma * 390 / 90 * of_block

    before, mass, m0 = natural(model), resp.sum(axis=0), model.mean_prior_
    concentration = mass
    if kind == "dirichlet_process":
        concentration = np.array([mass, [mass[1:].sum(), mass[2], 0.0]])
    alpha0 = model.weight_concentration_prior_
    prior = (
        *(np.array([[1.0], [alpha0]]) if kind == "dirichlet_process" else alpha0, 1.0, m0, 2.0),
        model.covariance_prior_ + np.outer(m0, m0),
    )
    of_block = concentration, mass, resp.T @ block, mass, np.einsum("nk,ni,nj->kij", resp, block, block)
    want = [move(*parts) for parts in zip(before, prior, of_block, strict=True)]
    for got, expected in zip(natural(model.partial_fit(block)), want, strict=True):
        assert_allclose(got, expected, rtol=1e-9)
    assert model.n_samples_seen_ == 390
    assert model.status_ is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_posterior_is_its_prior_and_its_statistics(family):
    model = fit(covariance_type=family, reg_covar=0.1, max_iter=5)
    update = VariationalModel(prior_of_fit(model), find_family(family), 0.1)
    posterior, stats = model.posterior_, update.expected(model.posterior_, entropy=1.0)
    again = update.update(stats)
    for name in ("weights", "means", "covariances", "concentration", "mean_precision", "degrees_of_freedom"):
        assert_allclose(getattr(again, name), getattr(posterior, name), rtol=1e-9, atol=1e-12, err_msg=name)
    assert_allclose(stats.sum_w, 400)


def test_a_stream_may_begin_at_a_fit_without_iterations():
    X = make_mixture(200, 2, 3, spacing=5.0).X
    model = quiet_fit(BayesianGaussianMixture(n_components=3, random_state=0, max_iter=0), X)
    assert np.isfinite(model.partial_fit(X).lower_bound_)


@pytest.mark.parametrize(
    "changed",
    [
        {"n_components": 2},
        {"covariance_type": "tied"},
        {"weight_concentration_prior_type": "dirichlet_distribution"},
        {"weight_concentration_prior": 9.0},
        {"mean_precision_prior": 9.0},
        {"mean_prior": [0.0, 9.0]},
        {"degrees_of_freedom_prior": 9.0},
        {"covariance_prior": np.eye(2)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_stream_refuses_another_prior(changed):
    X = make_mixture(200, 2, 3, spacing=5.0).X
    model = BayesianGaussianMixture(n_components=3, random_state=0, mean_prior=[0.0, 1.0]).partial_fit(X)
    with pytest.raises(ValueError, match=f"partial_fit goes on from .*, but {next(iter(changed))} has changed"):
        model.set_params(**changed).partial_fit(X)
    assert quiet_fit(model, X).partial_fit(X).n_samples_seen_ == 400


def test_a_stream_comes_near_the_fit_of_all_rows(tmp_path):
    X = make_mixture(4000, 2, 3, spacing=5.0).X
    whole, stream = fit(X), BayesianGaussianMixture(n_components=3, random_state=0)
    for block in np.array_split(X, 20):
        stream.partial_fit(block)
    assert_allclose(stream.means_, whole.means_, atol=0.15)
    assert_allclose(stream.weights_, whole.weights_, atol=0.02)
    assert abs(stream.elbo(X) - whole.elbo(X)) < 1e-3 * abs(whole.elbo(X))
    fastem.save(stream, tmp_path / "stream.npz")
    other = fastem.load(tmp_path / "stream.npz")
    assert_same_bits(other.partial_fit(X[:50]), stream.partial_fit(X[:50]))
    before = state(stream)
    with pytest.raises(ValueError, match="NaN"):
        stream.partial_fit([[np.nan, 0.0]])
    for one, two in zip(before, state(stream), strict=True):
        assert_array_equal(one, two)


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PRIOR_TYPES)
@pytest.mark.parametrize("family", TYPES)
def test_files(family, kind, tmp_path):
    X, path = rows(), tmp_path / "model.npz"
    model = fit(X, covariance_type=family, weight_concentration_prior_type=kind, tol=0.01)
    fastem.save(model, path, feature_names=["a", "b", "c"])
    loaded = fastem.load(path)
    assert_same_bits(loaded, model)
    assert loaded.get_params() == model.get_params()
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c"]
    assert_array_equal(loaded.predict_proba(pd.DataFrame(X, columns=list("abc"))), model.predict_proba(X))
    assert loaded.elbo(pd.DataFrame(X, columns=list("abc"))) == model.elbo(X)
    assert (loaded.status_, loaded.n_iter_) == (model.status_, model.n_iter_)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "mean_precision": -arrays["mean_precision"]})
    with pytest.raises(fastem.files.archive.ModelFileError, match="do not describe a Bayesian mixture"):
        fastem.load(path)
