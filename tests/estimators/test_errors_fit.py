"""Fits to rows with errors of measurement, and where the rows truly are."""

import copy

import numpy as np
import pytest
from errors_of_rows import as_matrices, draw_errors, mixture_and_rows
from helpers import ALL, FAMILIES, PAIRS, quiet_fit
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem.fitting.totals import moments_of_all
from fastem.model import reference

TRUE = fastem.make_params([0.4, 0.6], [[0.0, 0.0], [3.0, 1.0]], [[[1.0, 0.3], [0.3, 0.2]], [[0.2, -0.1], [-0.1, 0.4]]])


def measured(N, seed=0, matrices=False):
    """Rows of TRUE, their true places and the covariances of their errors."""
    rng = np.random.default_rng(seed)
    which = rng.uniform(size=N) < TRUE.weights[0]
    roots = np.linalg.cholesky(TRUE.covariances)
    noise = rng.normal(size=(N, 2))
    places = np.where(which[:, None], TRUE.means[0] + noise @ roots[0].T, TRUE.means[1] + noise @ roots[1].T)
    if matrices:
        half = rng.normal(size=(N, 2, 2)) / 2
        return places + np.einsum("nij,nj->ni", half, rng.normal(size=(N, 2))), places, half @ half.swapaxes(1, 2)
    errors = rng.gamma(1.0, 0.5, size=(N, 2))
    return places + np.sqrt(errors) * rng.normal(size=(N, 2)), places, errors


def slow_em(X, errors, params, covariance, weight, steps):
    """EM by the slow twin, from the papers' formulae."""
    for _ in range(steps):
        stats = reference.accumulate_with_errors(X, as_matrices(errors, *X.shape), params, weight)
        params = fastem.m_step(stats, covariance, previous=params)
    return params, stats.loglik / weight.sum()


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("kind", ["variances", "matrices with gaps", "one matrix"])
def test_em_is_the_slow_twin_for_five_steps(kind, covariance):
    params, X, weight = mixture_and_rows(60, 3, 2, covariance)
    errors = draw_errors(60, 3, kind)
    want, bound = slow_em(X, errors, params, covariance, weight, 5)
    source = fastem.as_source(X, weight, errors=errors)
    result = fastem.em(source, params, covariance_type=covariance, tol=0.0, max_iter=6)
    assert_allclose(result.history[4], bound, rtol=1e-12)
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(result.params, name), getattr(want, name), rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", FAMILIES)
def test_em_is_the_slow_twin_for_forty_steps(covariance):
    params, X, weight = mixture_and_rows(60, 7, 2, covariance)
    errors = draw_errors(60, 7, "variances")
    want, bound = slow_em(X, errors, params, covariance, weight, 40)
    result = fastem.em(
        fastem.as_source(X, weight, errors=errors), params, covariance_type=covariance, tol=0.0, max_iter=41
    )
    assert_allclose(result.history[39], bound, rtol=1e-10)
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(result.params, name), getattr(want, name), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("matrices", [False, True])
def test_the_truth_is_found_within_its_sampling_error(matrices):
    """Ten data sets tell the standard error of their mean; without the errors, variances are wrong by far more."""

    def parameters(model):
        params = model.sort_components().params_
        return np.concatenate([params.weights, params.means.ravel(), params.covariances.ravel()])

    found, naive = [], []
    for seed in range(10):
        X, _, errors = measured(2000, seed, matrices)
        model = fastem.GaussianMixture(2, random_state=0, tol=1e-6, reg_covar=0, max_iter=500)
        found.append(parameters(model.fit(X, error_covariance=errors)))
        naive.append(parameters(model.fit(X)))
    truth = np.concatenate([TRUE.weights, TRUE.means.ravel(), TRUE.covariances.ravel()])
    standard_error = np.std(found, axis=0, ddof=1) / np.sqrt(10)
    assert (np.abs(np.mean(found, axis=0) - truth) < 4 * standard_error).all()
    assert (np.abs(np.mean(naive, axis=0) - truth) > 20 * standard_error).any()


def test_true_places_are_nearer_than_rows_and_as_uncertain_as_they_say():
    X, places, errors = measured(20_000)
    model = fastem.GaussianMixture.from_parameters(*TRUE[:3])
    mean, covariance = model.deconvolve(X, errors)
    assert ((mean - places) ** 2).mean() < 0.75 * ((X - places) ** 2).mean()
    z = np.einsum("ni,nij,nj->n", places - mean, np.linalg.inv(covariance), places - mean)
    assert_allclose(z.mean(), 2.0, atol=4 * z.std() / np.sqrt(len(z)))


@pytest.mark.parametrize(("covariance", "remedy"), [*PAIRS, *((family, None) for family in ALL)])
def test_the_objective_never_falls(covariance, remedy):
    X, _, errors = measured(300)
    start = "kmeans" if remedy is None else "random_from_data"  # whose components have no variance
    model = fastem.GaussianMixture(
        2, covariance_type=covariance, regularization=remedy, reg_covar=0, random_state=0, tol=1e-9, init_params=start
    )
    quiet_fit(model, X, error_covariance=errors)
    assert model.n_iter_ > 3
    assert np.diff(model.lower_bounds_).min() > -1e-12


@pytest.mark.parametrize("options", [{"solver": "auto"}, {"solver": "lbfgs"}], ids=str)
def test_solvers_end_at_the_same_optimum(options):
    X, _, errors = measured(500)
    fit = {"random_state": 0, "reg_covar": 0, "max_iter": 2000, "init_params": "kmeans"}
    em = fastem.GaussianMixture(2, tol=1e-12, **fit).fit(X, error_covariance=errors)
    other = fastem.GaussianMixture(2, tol=1e-11, **fit, **options).fit(X, error_covariance=errors)
    assert_allclose(other.lower_bound_, em.lower_bound_, atol=1e-9)
    assert_allclose(other.means_, em.means_, atol=2e-3)


def test_noise_labels_and_held_parameters():
    X, _, errors = measured(1000)
    X[:40] = np.random.default_rng(1).uniform(-20, 20, size=(40, 2))
    noisy = fastem.GaussianMixture(2, noise=True, random_state=0).fit(X, error_covariance=errors)
    assert (noisy.predict(X, error_covariance=errors)[:40] == -1).mean() > 0.7
    labels = np.full(len(X), -1)
    labels[50:60] = noisy.predict(X[50:60], error_covariance=errors[50:60]) ^ 1
    labels[labels > 1] = -1
    other = fastem.GaussianMixture(2, noise=True, random_state=0).fit(X, error_covariance=errors, labels=labels)
    assert_allclose(other.means_[::-1], noisy.means_, atol=0.2)
    held = fastem.GaussianMixture(2, means_init=TRUE.means, fixed=("means",), random_state=0)
    assert_array_equal(held.fit(X, error_covariance=errors).means_, TRUE.means)


def test_the_total_of_true_places_is_one_gaussian_without_errors():
    rng = np.random.default_rng(0)
    V = rng.multivariate_normal([1.0, -2.0], [[4.0, 1.0], [1.0, 1.0]], size=20_000)
    errors = rng.gamma(1.0, size=V.shape)
    source = fastem.as_source(V + np.sqrt(errors) * rng.normal(size=V.shape), errors=errors)
    total = moments_of_all(source, (1, 2, 2))
    assert_allclose(total.s2[0] / total.sum_w, [[4.0, 1.0], [1.0, 1.0]], atol=0.1)
    assert total.sum_w == total.n_rows == 20_000
    diagonal = moments_of_all(source, (1, 1, 2))
    assert_allclose(diagonal.s2[0, 0] / diagonal.sum_w, [4.0, 1.0], atol=0.1)


def test_units_change_nothing():
    X, _, errors = measured(400)
    fits = [
        fastem.GaussianMixture(2, regularization="geometric", random_state=0, tol=1e-8, max_iter=500).fit(
            X * unit, error_covariance=errors * unit**2
        )
        for unit in (1.0, 2.0**40)
    ]
    assert_allclose(fits[1].means_ / 2.0**40, fits[0].means_, rtol=1e-6)


@pytest.mark.parametrize("shape", ["one matrix", "variances", "matrices"])
def test_deconvolve_is_the_moments_of_the_posterior(shape):
    N, D = 30, 2
    params, X, _ = mixture_and_rows(N, D, 3, "full", noise=True)
    errors = draw_errors(N, D, shape)
    model = fastem.GaussianMixture.from_parameters(*params[:3], noise=params.noise)
    mean, covariance = model.deconvolve(X, errors)
    joint, a, within = reference.true_places(X, as_matrices(errors, N, D), params._replace(noise=None))
    r = np.exp(joint - reference.log_sum_exp(joint)[:, None])
    each = params.means + a
    assert_allclose(mean, np.einsum("nk,nki->ni", r, each), rtol=1e-11)
    second = np.einsum("nk,nkij->nij", r, within + each[..., :, None] * each[..., None, :])
    assert_allclose(covariance, second - mean[:, :, None] * mean[:, None, :], rtol=1e-9, atol=1e-11)
    with pytest.raises(ValueError, match="needs the errors of the rows"):
        model.deconvolve(X)
    assert_array_equal(model.deconvolve(fastem.as_source(X, errors=errors))[0], mean)


def test_scores_take_errors():
    X, _, errors = measured(200)
    model = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=errors)
    source = fastem.as_source(X, errors=errors)
    density = model.score_samples(X, error_covariance=errors)
    assert_array_equal(density, model.score_samples(source))
    assert_allclose(model.score(X, error_covariance=errors), density.mean(), rtol=1e-13)
    resp = model.predict_proba(X, error_covariance=errors)
    assert_array_equal(model.predict(X, error_covariance=errors), resp.argmax(axis=1))
    assert_array_equal(model.predict_top(source, 2)[1], -np.sort(-resp, axis=1))
    assert model.bic(source) < model.bic(X)
    assert_allclose(fastem.log_density(source, model.params_), density, rtol=1e-12)


@pytest.mark.parametrize("errors", [np.eye(2), np.full((3, 2), 1e200), np.full((3, 2), [1.0, np.inf])])
def test_rows_whose_squared_distances_overflow_have_no_true_place(errors):
    model = fastem.GaussianMixture.from_parameters(*TRUE[:3])
    X = np.array([[0.0, 0.0], [1.0, 0.0], [1e300, 1e300]])
    with pytest.raises(ValueError, match=r"row 2 lies so far .* overflow float64"):
        model.deconvolve(X, errors)
    mean, covariance = model.deconvolve(np.minimum(X, 1e140), errors)
    assert np.isfinite(mean).all()
    assert np.isfinite(covariance).all()


def test_covariances_that_are_lost_beside_those_of_errors():
    model = fastem.GaussianMixture.from_parameters(*TRUE[:3])
    errors = np.full((2, 2), 1e90) * [[1.0, 1e3], [1e3, 1e6]]  # singular: T = C + errors has no other direction left
    X = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match=r"of some rows, errors included, are singular.* pass an infinite variance"):
        model.deconvolve(X, np.broadcast_to(errors, (3, 2, 2)))
    with pytest.raises(ValueError, match="errors are too large, and too strongly correlated"):
        model.score(X, error_covariance=errors)


@pytest.mark.parametrize("matrices", [False, True])
def test_fit_predict_is_fit_and_predict(matrices):
    X, _, errors = measured(200, matrices=matrices)
    labels = fastem.GaussianMixture(2, random_state=0).fit_predict(X, error_covariance=errors)
    model = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=errors)
    assert_array_equal(labels, model.predict(X, error_covariance=errors))
    shared = np.diag([0.1, 0.2])
    model.fit(X, error_covariance=shared)
    labels = fastem.GaussianMixture(2, random_state=0).fit_predict(X, error_covariance=shared)
    assert_array_equal(labels, model.predict(X, error_covariance=shared))


def test_a_checkpoint_knows_its_errors(tmp_path):
    X, _, errors = measured(300)

    def make(**options):
        return fastem.GaussianMixture(2, tol=1e-9, max_iter=500, random_state=0, **options)

    file = tmp_path / "fit.npz"
    make().fit(X, error_covariance=errors, checkpoint=file, callback=lambda iteration, *_: iteration == 5)
    for other in (2 * errors, None, np.eye(2)):
        with pytest.raises(ValueError, match="errors"):
            make().fit(X, error_covariance=other, checkpoint=file)
    whole, resumed = (make().fit(X, error_covariance=errors, checkpoint=path) for path in (None, file))
    assert whole.lower_bounds_ == resumed.lower_bounds_


def test_a_stream_takes_blocks_with_errors():
    X, _, errors = measured(4000)
    model = fastem.GaussianMixture(2, random_state=0).fit(X[:2000], error_covariance=errors[:2000])
    before = copy.copy(model.means_)
    model.partial_fit(fastem.as_source(X[2000:], errors=errors[2000:]))
    assert 0 < np.abs(model.means_ - before).max() < 0.1


def test_float32_rows_give_float32_parameters():
    X, _, errors = measured(2000)
    for given in (errors, np.eye(2) / 2):
        single = fastem.GaussianMixture(2, random_state=0).fit(X.astype("f4"), error_covariance=given)
        double = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=given)
        assert single.means_.dtype == np.float32
        assert_allclose(single.means_, double.means_, atol=1e-3)


def test_who_cannot_take_errors_says_so():
    X, _, errors = measured(50)
    source = fastem.as_source(X, errors=errors)
    model = fastem.GaussianMixture(2, random_state=0).fit(X)
    bayes = fastem.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    factors = fastem.FactorMixture(2, 1, random_state=0).fit(X)
    student = fastem.StudentMixture(2, random_state=0).fit(X)
    for call in (
        lambda: fastem.KMeans(2).fit(source),
        lambda: fastem.BayesianGaussianMixture(n_components=2).fit(source),
        lambda: bayes.score_samples(X, error_covariance=errors),
        lambda: bayes.predict(source),
        lambda: fastem.select(source, [1, 2]),
        lambda: fastem.AnomalyDetector().fit(source),
        lambda: fastem.moments(source, labels=np.zeros(50, int)),
        lambda: factors.predict(source),
        lambda: factors.fit(fastem.as_source(X, errors=np.eye(2))),
        lambda: fastem.log_density(source, factors.params_),
        lambda: student.fit(source),
        lambda: student.predict(source),
        lambda: student.score(X, error_covariance=errors),
        lambda: fastem.log_density(source, student.params_),
        lambda: model.impute(fastem.as_source(X, errors=errors, missing=True)),
        lambda: model.conditional_mean(fastem.as_source(X[:, :1], errors=errors[:, :1]), 0),
    ):
        with pytest.raises(ValueError, match="rows with errors of measurement are for"):
            call()


def test_errors_and_gaps_together():
    """NaN with missing=True is what an infinite variance is, to the last bit; starts fill rows up."""
    X, _, errors = measured(2000)
    gaps = np.random.default_rng(1).uniform(size=X.shape) < 0.2
    holes, infinite = np.where(gaps, np.nan, X), np.where(gaps, np.inf, errors)
    fit = {"random_state": 0, "missing": True, "tol": 1e-7, "max_iter": 300}
    for options in ({}, {"noise": True}, {"regularization": "geometric"}, {"solver": "auto", "init_params": "auto"}):
        model = fastem.GaussianMixture(2, **fit, **options).fit(holes, error_covariance=errors)
        assert_allclose(model.sort_components().means_, TRUE.means, atol=0.15)
    scores = model.score_samples(X, error_covariance=infinite)
    assert_array_equal(model.score_samples(holes, error_covariance=errors), scores)
    assert_array_equal(
        fastem.accumulate(fastem.as_source(holes, errors=errors, missing=True), TRUE).s2,
        fastem.accumulate(fastem.as_source(X, errors=infinite), TRUE).s2,
    )
    mean, _ = model.deconvolve(holes, errors)
    assert_array_equal(mean, model.deconvolve(X, infinite)[0])
    one = fastem.GaussianMixture(2, **fit).fit(holes, error_covariance=np.diag([0.5, 0.5])).sort_components()
    assert_allclose(one.means_, TRUE.means, atol=0.3)
    with pytest.raises(ValueError, match="contains NaN"):
        fastem.GaussianMixture(2).fit(holes, error_covariance=errors)
    with pytest.raises(ValueError, match="one matrix of errors for rows that are not in memory"):
        fastem.as_source(lambda: iter([holes]), errors=np.eye(2), missing=True)
    with pytest.raises(ValueError, match="no observed value"):
        fastem.GaussianMixture(2, missing=True).fit(np.where([True, False], X, np.nan), error_covariance=errors)


def test_streams_with_errors_and_gaps():
    X, _, errors = measured(500)
    holes = np.where(np.random.default_rng(1).uniform(size=X.shape) < 0.2, np.nan, X)
    blocks = [(part, None, None, own) for part, own in zip(np.split(holes, 5), np.split(errors, 5), strict=True)]
    fits = [
        fastem.GaussianMixture(2, missing=True, random_state=0).fit(source)
        for source in (
            fastem.as_source(holes, errors=errors, missing=True),
            fastem.as_source(lambda: iter(blocks), missing=True),
        )
    ]
    assert_array_equal(fits[0].means_, fits[1].means_)


def test_known_components_leave_em_its_work():
    X, _, errors = measured(2000)
    labels = fastem.GaussianMixture.from_parameters(*TRUE[:3]).predict(X, error_covariance=errors)
    model = fastem.GaussianMixture(2, random_state=0, tol=1e-6).fit(X, error_covariance=errors, labels=labels)
    assert model.n_iter_ > 2
    plain = fastem.GaussianMixture(2, random_state=0).fit(X, labels=labels)
    assert model.covariances_[1, 0, 0] < 0.6 * plain.covariances_[1, 0, 0]
