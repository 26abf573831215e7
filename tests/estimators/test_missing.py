"""Fits of rows with missing values: GaussianMixture(missing=True)."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from helpers import FAMILIES, GOLDEN, make_mixture, make_start, quiet_fit, start_params
from incomplete import em_step, slow, with_gaps
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem.fitting.totals import moments_of_all
from fastem.model.params import Noise


@pytest.fixture(scope="module")
def three():
    """Three components in four dimensions, and a third of the cells missing; a row of which nothing is observed."""
    mixture = make_mixture(600, 4, 3, spacing=6.0, seed=3)
    X = with_gaps(mixture.X, 0.33)
    X[7] = np.nan
    X.setflags(write=False)
    return X, mixture


def golden(name):
    return np.genfromtxt(GOLDEN / "missing" / f"{name}.csv", delimiter=",", skip_header=1)


# --- against EM row by row ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "D", "share"),
    [("full", 7, 0.3), ("full", 3, 0.6), ("tied", 4, 0.4), ("diag", 3, 0.6), ("spherical", 2, 0.05)]
    + [("tied_diag", 3, 0.3), ("tied_spherical", 5, 0.5)],
)
def test_steps(family, D, share):
    """The parameters after 1, 5 and 40 steps, and the bound before each."""
    mixture = make_mixture(20 + 10 * D, D, 2, spacing=3.0, seed=D)
    X, start = with_gaps(mixture.X, share, seed=1), make_start(mixture, family)
    expected, bounds = slow(start_params(start, family), family), []
    for step in range(1, 41):
        expected, loglik = em_step(X, expected, family)
        bounds.append(loglik / len(X))
        if step in (1, 5, 40):
            model = fastem.GaussianMixture(
                2, covariance_type=family, reg_covar=0, tol=0, max_iter=step, missing=True, **start
            )
            found = slow(quiet_fit(model, X).params_, family)
            assert_allclose(model.lower_bounds_, bounds, rtol=1e-8)
            for a, b in zip(found[:3], expected[:3], strict=True):
                assert_allclose(a, b, rtol=1e-8, atol=1e-8 * np.abs(b).max())


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_steps_with_weights_labels_and_noise(assignment):
    mixture = make_mixture(90, 3, 2, spacing=3.0, seed=2)
    X, rng = with_gaps(mixture.X, 0.3), np.random.default_rng(0)
    weight = rng.integers(0, 3, len(X)) + 0.5
    labels = np.where(rng.random(len(X)) < 0.2, mixture.labels, -1)
    params = start_params(make_start(mixture, "full"), "full")
    box = np.array([np.nanmin(X, axis=0), np.nanmax(X, axis=0)])
    params = params._replace(weights=0.9 * params.weights, noise=Noise(0.1, box))
    source = fastem.as_source(X, weight, labels, missing=True)
    result = fastem.em(source, params, assignment=assignment, tol=0, max_iter=40)
    allowed = np.equal.outer(labels, np.arange(3)) | (labels < 0)[:, None]
    expected = slow(params, "full")
    for bound in result.history:
        before = expected
        expected, loglik = em_step(X, before, "full", weight, allowed, assignment == "hard")
        assert bound == pytest.approx(loglik / weight.sum(), rel=1e-9)
    found = slow(result.params, "full")
    for a, b in zip(found[:3], before[:3], strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    assert found.noise[0] == pytest.approx(before.noise[0], rel=1e-8)


def test_cholesterol():
    """Maximum likelihood of one Gaussian, to ten digits: see tests/golden/README.md."""
    X = golden("cholesterol")
    options = {"reg_covar": 0, "tol": 1e-13, "stop": "parameters", "max_iter": 500}
    model = fastem.GaussianMixture(1, missing=True, **options).fit(X)
    assert_allclose(model.means_[0], [253.928571428571, 230.642857142857, 222.237170222146], rtol=1e-11)
    covariance = [
        [2194.994897959194, 1454.617346938780, 835.397937369802],
        [1454.617346938780, 2127.158163265311, 1515.467236525721],
        [835.397937369802, 1515.467236525721, 1952.232578101502],
    ]
    assert_allclose(model.covariances_[0], covariance, rtol=1e-11)
    assert -2 * model.score(X) * len(X) == pytest.approx(753.8309306453, abs=5e-10)
    for solver in ("auto", "lbfgs"):
        other = fastem.GaussianMixture(1, missing=True, reg_covar=0, tol=1e-12, max_iter=500, solver=solver).fit(X)
        assert_allclose(other.covariances_, model.covariances_, rtol=1e-6)


def test_flas_converges():
    """Where most of what decides some parameters is missing, EM under the recommended remedy ends soon."""
    X = golden("flas")
    assert len(np.unique(np.isnan(X), axis=0)) == 18
    model = fastem.GaussianMixture(
        1,
        missing=True,
        regularization="geometric",
        solver="auto",
        tol=1e-9,
        weights_init=[1.0],
        means_init=np.nanmean(X, axis=0)[None],
        precisions_init=np.diag(1 / np.nanvar(X, axis=0))[None],
    ).fit(X)
    certificate = model.fit_report_.starts[0].certificate
    assert model.converged_
    assert certificate.passes < 100
    assert certificate.gain < 1e-6
    recommended = fastem.fit(X, 2, missing=True, random_state=0)
    assert recommended.fit_report_.starts[0].certificate.passes < 100


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_finds_the_clusters(three, family):
    X, mixture = three
    model = fastem.GaussianMixture(3, covariance_type=family, missing=True, init_params="auto", random_state=0).fit(X)
    assert model.converged_
    assert same_partition(model.predict(mixture.X), mixture.labels) > 0.97
    assert same_partition(model.predict(np.delete(X, 7, axis=0)), np.delete(mixture.labels, 7)) > 0.9


def same_partition(a, b):
    """The share of rows in the largest cells of the table of two partitions."""
    table = np.zeros((3, 3))
    np.add.at(table, (a, b), 1)
    return table.max(axis=1).sum() / len(a)


@pytest.mark.parametrize(
    "options",
    [
        *({"init_params": name} for name in ("kmeans", "k-means++", "auto")),
        *({"solver": name} for name in ("lbfgs", "auto")),
        *({"regularization": name} for name in ("ridge", "map", "floor", "ratio", "geometric")),
        *({"stop": name} for name in ("aitken", "parameters")),
        {"noise": True},
        {"assignment": "hard"},
        {"fixed": ("weights",)},
        {"n_init": 2, "random_state": 1},
    ],
    ids=str,
)
def test_options_agree(three, options):
    """Whatever the way, the fit is about that of long EM."""
    X, _ = three
    found = fastem.GaussianMixture(3, **{"missing": True, "random_state": 0, **options}).fit(X)
    assert found.converged_
    assert found.score(X) == pytest.approx(-4.87, abs=0.005)


def test_remedies_are_monotone(three):
    X, _ = three
    for name in ("map", "geometric", "ratio"):
        model = fastem.GaussianMixture(3, missing=True, random_state=0, regularization=name, tol=1e-9, max_iter=60)
        bounds = quiet_fit(model, X).lower_bounds_
        assert (np.diff(bounds) > -1e-12).all()


def test_labels(three):
    """Rows of known components; if all are known, EM still has to find what is missing."""
    X, mixture = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0, tol=1e-8, max_iter=200)
    quiet_fit(model, X, labels=mixture.labels)
    assert model.n_iter_ > 3
    for k in range(3):
        one = fastem.GaussianMixture(1, missing=True, tol=1e-8, max_iter=200).fit(X[mixture.labels == k])
        assert_allclose(model.means_[k], one.means_[0], atol=2e-3)
    few = np.where(np.arange(len(X)) % 10 == 0, mixture.labels, -1)
    quiet_fit(model, X, labels=few)
    assert_array_equal(model.predict(mixture.X[:200]), mixture.labels[:200])


def test_streams_and_checkpoints(three, tmp_path):
    X, _ = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0).fit(X)
    stream = fastem.GaussianMixture(3, missing=True, random_state=0).partial_fit(X[:300]).partial_fit(X[300:])
    assert stream.score(X) == pytest.approx(model.score(X), abs=0.05)
    path = tmp_path / "fit.npz"
    first = fastem.GaussianMixture(3, missing=True, random_state=0, max_iter=2, tol=1e-8)
    quiet_fit(first, X, checkpoint=path)
    first.set_params(max_iter=50).fit(X, checkpoint=path)
    whole = fastem.GaussianMixture(3, missing=True, random_state=0, max_iter=50, tol=1e-8).fit(X)
    assert_array_equal(first.means_, whole.means_)


def test_samples_that_grow():
    """Solver "auto" begins on samples, whose rows have gaps too."""
    mixture = make_mixture(45_000, 2, 2, spacing=6.0, seed=3)
    X = with_gaps(mixture.X, 0.3)
    model = fastem.GaussianMixture(2, missing=True, solver="auto", tol=1e-7, random_state=0).fit(X)
    assert model.converged_
    order = np.argsort(model.means_[:, 0]), np.argsort(mixture.means[:, 0])
    assert_allclose(model.means_[order[0]], mixture.means[order[1]], atol=0.05)


# --- what stays as it was -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["em", "auto"])
def test_complete_rows_give_the_bits_of_the_ordinary_fit(three, solver):
    X = three[1].X
    options = {"random_state": 0, "solver": solver, "regularization": "geometric"}
    plain = fastem.GaussianMixture(3, **options).fit(X)
    for rows in (X, lambda: iter(np.split(X, 4))):
        found = fastem.GaussianMixture(3, missing=True, **options).fit(rows)
        assert_array_equal(found.means_, plain.means_)
        assert_array_equal(found.covariances_, plain.covariances_)
        assert found.lower_bounds_ == plain.lower_bounds_


def test_refused_by_default(three):
    X, mixture = three
    with pytest.raises(ValueError, match=r"Input X contains NaN.\nMissing values are not accepted.*missing=True"):
        fastem.GaussianMixture(3).fit(X)
    model = fastem.GaussianMixture(3, random_state=0).fit(mixture.X)
    with pytest.raises(ValueError, match="contains NaN"):
        model.predict(X)
    source = fastem.as_source(X, missing=True)
    for call in (
        lambda: fastem.GaussianMixture(3).fit(source),
        lambda: fastem.BayesianGaussianMixture(n_components=3).fit(source),
        lambda: fastem.KMeans(3).fit(source),
        lambda: fastem.moments(source, labels=mixture.labels),
        lambda: fastem.elbo(source, model.params_, np.ones((len(X), 3)) / 3),
        lambda: model.predict(source),
        lambda: fastem.StudentMixture(3).fit(source),
        lambda: fastem.fit(X, 3, missing=True, random_state=0).standard_errors(X),
        lambda: fastem.fit(X, 3, missing=True, random_state=0).bootstrap(X, 2),
    ):
        with pytest.raises(ValueError, match="missing values"):
            call()
    with pytest.raises(ValueError, match="contains NaN"):
        fastem.MixtureRegressor(3).fit(X, mixture.X[:, 0])
    with pytest.raises(ValueError, match="contains NaN"):
        fastem.bootstrap_test(X, 1)
    with pytest.raises(ValueError, match="missing values"):
        fastem.select(X, [3], ["full"], missing=True, partitions={3: mixture.labels})
    with pytest.raises(ValueError, match="'missing' parameter"):
        fastem.GaussianMixture(3, missing="yes").fit(X)


# --- hostile rows -------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_fitted():
    rng = np.random.default_rng(0)
    X = with_gaps(rng.normal(size=(50, 3)), 0.3)
    model = fastem.GaussianMixture(2, missing=True, random_state=0)
    with pytest.raises(ValueError, match="Column 0 of X has no observed value"):
        model.fit(np.full((10, 3), np.nan))
    never = X.copy()
    never[:, 1] = np.nan
    with pytest.raises(ValueError, match="Column 1 of X has no observed value"):
        model.fit(never)
    with pytest.raises(ValueError, match="has no observed value"):
        fastem.em(fastem.as_source(never, missing=True), fastem.make_params([1.0], np.zeros((1, 3)), np.eye(3)[None]))
    for value in (np.inf, -np.inf):
        bad = X.copy()
        bad[20, 2] = value
        with pytest.raises(ValueError, match=r"contains infinity.*row 20, column 2"):
            model.fit(bad)
    with pytest.raises(ValueError, match="too large"):
        model.fit(X * 1e160)
    assert not hasattr(model, "means_")
    weight = np.where(np.isnan(X[:, 0]), 1.0, 0.0)  # rows of weight 0 are absent
    with pytest.raises(ValueError, match="Column 0 of X has no observed value"):
        model.fit(X, sample_weight=weight)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(three, scale):
    X, _ = three
    options = {"missing": True, "random_state": 0, "regularization": "geometric", "init_params": "auto"}
    plain, scaled = (fastem.GaussianMixture(3, **options).fit(rows) for rows in (X, X * scale))
    assert_allclose(scaled.means_, scale * plain.means_, rtol=1e-6, atol=1e-6 * scale)


def test_columns_that_do_not_vary_or_depend_on_others(three):
    X, _ = three
    constant = np.column_stack([X, np.where(np.arange(len(X)) % 3, 5.0, np.nan)])
    model = fastem.GaussianMixture(3, missing=True, random_state=0, regularization="geometric").fit(constant)
    assert_allclose(model.means_[:, 4], 5.0, rtol=1e-9)
    assert_allclose(model.impute(constant)[:, 4], 5.0, rtol=1e-9)
    both = np.column_stack([X, X[:, 0] + X[:, 1]])
    model = fastem.fit(both, 3, missing=True, random_state=0)
    filled = model.impute(both[np.isnan(both[:, 0]) & ~np.isnan(both[:, 1])])
    assert np.isfinite(filled).all()


def test_a_pattern_of_one_row_and_few_rows():
    X = np.random.default_rng(0).normal(size=(30, 6))
    X[3, :5] = np.nan
    model = fastem.GaussianMixture(1, missing=True).fit(X)
    assert_allclose(model.means_[0], np.nanmean(X, axis=0), atol=0.3)
    assert np.isfinite(model.score_samples(X)).all()
    with pytest.raises(ValueError, match="n_samples >= n_components"):
        fastem.GaussianMixture(40, missing=True).fit(X)


def test_moments_of_all_rows():
    """They are those of complete rows where nothing is missing, and the observed ones where features are apart."""
    X = np.random.default_rng(0).normal(size=(300, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]] + 3.0
    X = np.column_stack([X, np.where(np.arange(300) % 3, 5.0, np.nan)])
    found = moments_of_all(fastem.as_source(X, missing=True), (1, 4, 4))
    mean, covariance = found.origin + found.s1 / 300, found.s2[0] / 300
    assert_allclose(mean[0], [*X[:, :3].mean(axis=0), 5.0], rtol=1e-9)
    assert_allclose(covariance[:3, :3], np.cov(X[:, :3].T, bias=True), rtol=1e-7, atol=1e-7)
    assert not covariance[3].any()
    assert not covariance[:, 3].any()
    for shape, variances in (((1, 1, 4), [*X[:, :3].var(axis=0), 0.0]), ((1, 1, 1), None)):
        found = moments_of_all(fastem.as_source(X, missing=True), shape).s2[0, 0] / 300
        if variances is not None:
            assert_allclose(found, variances, rtol=1e-9, atol=1e-15)
        else:  # of all that is observed, and as much for what is not
            assert found[0] == pytest.approx(4 * 300 * X[:, :3].var(axis=0).sum() / 1100, rel=1e-9)


def test_factors_by_another_way(monkeypatch):
    """Where rounding makes a part of a covariance indefinite, its factor comes of that of the mixture."""
    mixture = make_mixture(80, 4, 2, seed=1)
    params = start_params(make_start(mixture, "full"), "full")
    source = fastem.as_source(with_gaps(mixture.X, 0.4), missing=True)
    expected = fastem.accumulate(source, params)

    def fails(matrices):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "cholesky", fails)
    found = fastem.accumulate(source, params)
    assert found.loglik == pytest.approx(expected.loglik, rel=1e-12)
    assert_allclose(found.s2, expected.s2, rtol=1e-10, atol=1e-10)


def test_nearly_singular_mixtures():
    """A covariance of rank 2 but for rounding."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(5, 2))
    covariance = basis @ basis.T + 1e-15 * np.eye(5)
    params = fastem.make_params([1.0], np.zeros((1, 5)), covariance[None])
    X = with_gaps(rng.normal(size=(40, 2)) @ basis.T, 0.2)
    stats = fastem.accumulate(fastem.as_source(X, missing=True), params)
    assert np.isfinite(stats.s2).all()
    assert np.isfinite(stats.loglik)


def test_what_is_reported(three):
    X, mixture = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0).fit(X)
    assert [event.what for event in model.fit_report_.events] == ["empty"]
    assert "nothing is observed: 1" in str(model.fit_report_)
    k = mixture.labels == 1
    hidden = np.where(k[:, None] & (np.arange(4) == 2), np.nan, mixture.X)
    for options in ({}, {"regularization": "geometric"}):
        model = fastem.GaussianMixture(3, missing=True, random_state=0, **options).fit(hidden)
        unseen = [event for event in model.fit_report_.events if event.what == "unseen"]
        assert [event.components for event in unseen] == [(int(model.predict(mixture.means[[1]] * [1, 1, 0, 1])[0]),)]
        assert "feature 2" in unseen[0].detail


def test_empty_rows_count_for_nothing(three):
    X, _ = three
    with_empty = np.concatenate([X, np.full((50, 4), np.nan)])
    one, other = (
        fastem.GaussianMixture(3, missing=True, random_state=0, tol=1e-6).fit(rows) for rows in (X, with_empty)
    )
    assert_allclose(one.means_, other.means_, atol=1e-3)
    assert_allclose(other.predict_proba(with_empty[-1:])[0], other.weights_, rtol=1e-12)
    assert other.score_samples(with_empty[-1:])[0] == pytest.approx(0.0, abs=1e-12)


# --- uses ---------------------------------------------------------------------------------------------------------


def test_impute(three):
    X, mixture = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0, tol=1e-6).fit(X)
    filled = model.impute(X)
    seen = ~np.isnan(X)
    assert_array_equal(filled[seen], X[seen])
    rows = np.flatnonzero(np.isnan(X[:, 1]) & seen[:, [0, 2, 3]].all(axis=1))
    assert_allclose(filled[rows, 1], model.conditional_mean(X[rows][:, [0, 2, 3]], [0, 2, 3])[:, 0], rtol=1e-10)
    assert_allclose(filled[7], model.weights_ @ model.means_, rtol=1e-12)
    error = filled[~seen] - mixture.X[~seen]
    assert (error**2).mean() < 0.5 * ((np.nanmean(X, axis=0) - mixture.X)[~seen] ** 2).mean()
    draws = model.impute(X, kind="draw", n_samples=50)
    assert draws.shape == (50, *X.shape)
    assert_array_equal(draws[:, seen], np.broadcast_to(X[seen], (50, seen.sum())))
    assert_allclose(draws[:, ~seen].mean(axis=0), filled[~seen], atol=3.0)
    spread = model.conditional_variance(X[rows][:, [0, 2, 3]], [0, 2, 3])[:, 0]
    assert np.mean(draws[:, rows, 1].var(axis=0) / spread) == pytest.approx(1.0, abs=0.1)
    assert_array_equal(draws[0], model.impute(X, kind="draw"))
    blocks = model.impute(lambda: iter(np.split(X, 4)), kind="draw")
    assert_array_equal(blocks, draws[0])
    plain = copy.copy(model).set_params(missing=False)
    assert_array_equal(plain.impute(X), filled)
    for wrong in ({"kind": "mode"}, {"n_samples": 0}, {"n_samples": 2}):
        with pytest.raises(ValueError, match=r"kind|n_samples"):
            model.impute(X, **wrong)


@pytest.mark.parametrize("family", FAMILIES)
def test_impute_draws_have_the_conditional_covariance(family):
    mixture = make_mixture(200, 3, 1, seed=5)
    model = fastem.GaussianMixture(1, covariance_type=family, missing=True, random_state=0).fit(mixture.X)
    x = np.array([[mixture.X[0, 0], np.nan, np.nan]])
    draws = model.impute(np.repeat(x, 20_000, axis=0), kind="draw")[:, 1:]
    given = model.condition(0, x[0, 0])
    covariance = slow(given.params_, family).covariances[0]
    assert_allclose(draws.mean(axis=0), given.means_[0], atol=0.05)
    assert_allclose(np.cov(draws.T), covariance, atol=0.05)


def test_draws_of_components_and_of_values_are_independent():
    means, covariances = [[-50.0, 0.0], [50.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]
    model = fastem.GaussianMixture.from_parameters([0.5, 0.5], means, covariances, "diag").set_params(random_state=0)
    draws = model.impute([[np.nan, 0.0]] * 4000, kind="draw")[:, 0]
    left = draws < 0
    assert left.mean() == pytest.approx(0.5, abs=0.03)
    assert_allclose([draws[left].mean(), draws[~left].mean()], [-50.0, 50.0], atol=0.1)
    assert_allclose([draws[left].std(), draws[~left].std()], 1.0, atol=0.05)


def test_impute_noise():
    params = [0.5], [[0.0, 0.0]], [1.0], "spherical"
    model = fastem.GaussianMixture.from_parameters(*params, noise=(0.5, [[0.0, 50.0], [1000.0, 60.0]]))
    draws = model.set_params(random_state=0).impute([[900.0, np.nan]] * 500, kind="draw")
    assert draws[:, 1].min() > 50
    assert draws[:, 1].max() < 60
    assert model.impute([[900.0, np.nan]])[0, 1] == pytest.approx(55.0)


def test_other_uses(three):
    X, mixture = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0).fit(X)
    density = model.score_samples(X)
    marginal = model.marginal([0, 2])
    assert_allclose(
        marginal.score_samples(mixture.X[:5, [0, 2]]),
        model.score_samples(
            np.column_stack([mixture.X[:5, 0], np.full(5, np.nan), mixture.X[:5, 2], np.full(5, np.nan)])
        ),
        rtol=1e-10,
    )
    assert model.score(X) == pytest.approx(density.mean(), rel=1e-12)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    index, _ = model.predict_top(X, 2)
    assert_array_equal(index[:, 0], model.predict(X))
    assert model.merge(X).clusters(2).max() == 1
    assert np.isfinite(model.responsibility_entropy(X)).all()
    assert np.isfinite(model.bic(X))
    detector = fastem.AnomalyDetector(fastem.GaussianMixture(3, missing=True, random_state=0), contamination=0.02)
    assert detector.fit(X).is_anomaly(X).sum() == 12
    found = fastem.select(X, [2, 3], ["full"], missing=True, random_state=0)
    assert found.best_params_["n_components"] == 3
    found = fastem.select(X, [2, 3], ["diag"], missing=True, random_state=0, criterion="cv", cv=2)
    assert found.best_params_["n_components"] == 3


def test_loglik_and_gradient(three):
    X, _ = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0, reg_covar=0, tol=1e-12, max_iter=1000).fit(X)
    source = fastem.as_source(X, missing=True)
    loglik, gradient = fastem.log_likelihood_and_gradient(source, model.params_)
    assert loglik == pytest.approx(fastem.log_density(source, model.params_).sum(), rel=1e-12)
    assert np.abs(gradient).max() < 0.05


def test_estimator_protocol(three, tmp_path):
    from sklearn.base import clone

    X, _ = three
    model = fastem.GaussianMixture(3, missing=True, random_state=0).fit(X)
    assert clone(model).missing
    assert model.__sklearn_tags__().input_tags.allow_nan
    assert not fastem.GaussianMixture(3).__sklearn_tags__().input_tags.allow_nan
    assert fastem.AnomalyDetector(model).__sklearn_tags__().input_tags.allow_nan
    assert not fastem.KMeans(3).__sklearn_tags__().input_tags.allow_nan
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    fastem.save(model, tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.missing
    assert_array_equal(loaded.predict(X), model.predict(X))


def test_float32(three):
    X, _ = three
    single = X.astype(np.float32)
    model = fastem.GaussianMixture(3, missing=True, random_state=0).fit(single)
    double = fastem.GaussianMixture(3, missing=True, random_state=0).fit(single.astype(np.float64))
    assert model.means_.dtype == np.float32
    assert_allclose(model.means_, double.means_, rtol=1e-5)
    assert model.score_samples(single).dtype == model.impute(single).dtype == np.float32


def test_no_warnings_of_numpy(three):
    X, _ = three
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastem.fit(X, 3, missing=True, random_state=0)
