"""A posterior per group or column: each is what BayesianGaussianMixture makes of the group's rows."""

import warnings

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, outcome
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.mixture import BayesianGaussianMixture as Theirs

import fastem
from fastem import BayesianGaussianMixture, ManyPosteriors, Status, fit_many
from fastem.estimators.bayesian.state import prior_of_fit
from fastem.estimators.groups import posterior_fits
from fastem.estimators.groups.posterior_fits import GroupRows, arrays_of, clusters_as_stats, clusters_of, cut_stats
from fastem.fitting.loop import iterate
from fastem.fitting.steps import last_update
from fastem.fitting.stopping import Stop
from fastem.model.families import COVARIANCES
from fastem.model.variational_model import VariationalModel
from fastem.sources.blocks import ArraySource

SIZES = [60, 33, 193, 40]
TYPES = ("dirichlet_process", "dirichlet_distribution")


def make_groups(D=2, K=2, sizes=SIZES):
    """Rows of groups with mixtures of their own, in shuffled order, and the rows' groups."""
    parts = [make_mixture(n, D, K, spacing=6.0, seed=g).X for g, n in enumerate(sizes)]
    X, groups = np.concatenate(parts), np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], groups[order]


def quiet(*args, **options):
    """fit_many without the warning about groups that did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_many(*args, **options)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("kind", TYPES)
def test_each_group_is_what_the_loop_makes_of_it_from_the_same_start(kind, covariance_type):
    X, groups = make_groups()
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(X))
    prior = {"weight_concentration_prior_type": kind, "weight_concentration_prior": 0.1}
    options = dict(covariance_type=covariance_type, tol=1e-5, max_iter=40)
    fits = quiet(X, groups, 3, prior=prior, sample_weight=weight, random_state=5, **options)
    order, family = np.argsort(groups, kind="stable"), COVARIANCES[covariance_type]
    rows = GroupRows(X[order], weight[order], np.concatenate([[0], np.cumsum(SIZES)]))
    clusters, _ = clusters_of(rows, 3, family, np.random.RandomState(5))
    stats = clusters_as_stats(rows.sums_of_weights(), clusters, family, np.array(SIZES))
    for g in range(len(SIZES)):
        source = ArraySource(X[groups == g], weight[groups == g])
        other = BayesianGaussianMixture(n_components=3, reg_covar=0, random_state=0, **options, **prior)
        _, error, _ = outcome(lambda other=other, g=g: other.fit(X[groups == g], sample_weight=weight[groups == g]))
        assert error is None
        model = VariationalModel(prior_of_fit(other), family, 0.0)
        found = fits.prior_of(g)
        assert_allclose(found.mean, model.prior.mean, rtol=1e-10)
        assert_allclose(found.scatter, model.prior.scatter, rtol=1e-10)
        one = cut_stats(stats, g)
        result = iterate(source, model.update(one), model, stop=Stop("change", 1e-5), max_iter=40)
        assert (fits.n_iter[g], fits.status[g]) == (result.n_iter, result.status)
        assert_allclose(fits.lower_bound[g], result.history[-1], rtol=1e-10)
        for mine, wanted in zip(arrays_of(fits.posterior), arrays_of(last_update(source, result, model)), strict=True):
            assert_allclose(mine[g], wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_groups_of_two_clusters_end_where_scikit_learn_does(covariance_type):
    X, groups = make_groups(sizes=[200, 150])
    prior = {"weight_concentration_prior_type": "dirichlet_distribution", "weight_concentration_prior": 1.0}
    options = dict(covariance_type=covariance_type, tol=1e-8, max_iter=1000, reg_covar=0.0, random_state=0)
    fits = fit_many(X, groups, 2, prior=prior, **options)
    for g in range(2):
        theirs = Theirs(n_components=2, **options, **prior).fit(X[groups == g])
        assert_allclose(fits.lower_bound[g], theirs.lower_bound_, rtol=1e-8)
        mine = fits.model(g)
        order = np.argsort(theirs.means_[:, 0]), np.argsort(mine.means_[:, 0])
        assert_allclose(mine.weights_[order[1]], theirs.weights_[order[0]], rtol=1e-5)
        assert_allclose(mine.means_[order[1]], theirs.means_[order[0]], rtol=1e-5, atol=1e-6)
        assert_allclose(np.sort(mine.covariances_, axis=0), np.sort(theirs.covariances_, axis=0), rtol=1e-4, atol=1e-6)


def test_columns_are_groups_of_their_values():
    X = np.random.default_rng(0).normal(size=(150, 3)) * [1.0, 3.0, 1e-3] + [0.0, 50.0, -1.0]
    weight = np.random.default_rng(1).integers(0, 3, 150).astype(float)
    options = dict(prior={"weight_concentration_prior": 1e-3}, random_state=0, sample_weight=weight)
    fits = quiet(X, n_components=4, columns=True, **options)
    options["sample_weight"] = np.tile(weight, 3)
    groups = quiet(X.T.reshape(-1, 1), n_components=4, sizes=[150] * 3, **options)
    for mine, wanted in zip(arrays_of(fits.posterior), arrays_of(groups.posterior), strict=True):
        assert_array_equal(mine, wanted)
    assert fits.labels.tolist() == [0, 1, 2]
    assert fits.predict(X).shape == (150, 3)
    proba = fits.predict_proba(X)
    assert proba.shape == (150, 3, 4)
    for c in range(3):
        one = fits.model(c)
        assert_allclose(proba[:, c], one.predict_proba(X[:, [c]]), rtol=1e-9, atol=1e-12)
        assert_array_equal(fits.predict(X)[:, c], one.predict(X[:, [c]]))
        assert_allclose(fits.score_samples(X)[:, c], one.score_samples(X[:, [c]]), rtol=1e-9)


def test_columns_of_a_frame_have_their_names(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(100, 2)), columns=["age", "income"])
    fits = quiet(frame, n_components=3, columns=True, prior={}, random_state=0)
    assert fits.labels.tolist() == ["age", "income"]
    assert_array_equal(fits.predict_proba(frame)[:, 1], fits.predict_proba(frame[["age", "income"]])[:, 1])
    for other in (frame[["income", "age"]], frame[["age"]], frame.to_numpy()):
        with pytest.raises(ValueError, match="X must have the columns of the fit, 2 in its order"):
            fits.predict(other)
    with pytest.raises(ValueError, match="pass X alone"):
        fits.predict(frame, sizes=[100])
    path = tmp_path / "fits.npz"
    fastem.save(fits, path)
    again = fastem.load(path)
    assert again.columns
    assert_array_equal(again.predict_proba(frame), fits.predict_proba(frame))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("covariance_type", ["full", "tied_diag"])
def test_files(kind, covariance_type, tmp_path):
    X, groups = make_groups()
    X, groups = np.append(X, [[1.0, 1.0]], axis=0), np.append(groups, 9)  # and a group without a posterior
    prior = {"weight_concentration_prior_type": kind, "mean_precision_prior": 2.0}
    fits = quiet(X, groups, 2, covariance_type=covariance_type, prior=prior, random_state=0)
    path = tmp_path / "fits.npz"
    fastem.save(fits, path)
    again = fastem.load(path)
    assert isinstance(again, ManyPosteriors)
    assert_array_equal(again.predict_proba(X, groups), fits.predict_proba(X, groups))
    assert repr(again) == repr(fits)
    assert_array_equal(again.n_components_in_use, fits.n_components_in_use)
    assert (again.status == fits.status).all()
    assert_array_equal(again.model(1).weight_concentration_, fits.model(1).weight_concentration_)
    assert again.model(0).elbo(X[groups == 0]) == fits.model(0).elbo(X[groups == 0])
    arrays = dict(np.load(path))
    for name, value in {
        "means": arrays["means"][:1],
        "covariances": -arrays["covariances"],
        "labels": [1.5] * 5,
    }.items():
        np.savez(path, **arrays | {name: value})
        with pytest.raises(fastem.load.__globals__["ModelFileError"]):
            fastem.load(path)


def test_a_group_with_too_few_rows_has_clusters_that_are_nan_and_not_what_memory_held():
    rows = GroupRows(np.zeros((3, 2)), np.empty(0), np.array([0, 2, 3]))
    clusters, _ = clusters_of(rows, 4, COVARIANCES["full"], np.random.RandomState(0))
    assert all(np.isnan(array).all() for array in clusters[:4])


def test_a_group_without_a_posterior_does_not_stop_the_others():
    X, groups = make_groups()
    X = np.concatenate([X, np.full((20, 2), 7.0), [[0.0, 0.0], [1.0, 1.0]]])
    groups = np.concatenate([groups, np.full(20, 4), [5, 5]])
    with pytest.warns(fastem.ConvergenceWarning, match="of 6 groups did not converge"):
        fits = fit_many(X, groups, 3, prior={}, random_state=0, max_iter=2)
    assert fits.status[4:].tolist() == [Status.DEGENERATE, Status.TOO_FEW_ROWS]
    assert np.isnan(fits.means[4:]).all()
    assert np.isfinite(fits.means[:4]).all()
    assert np.isnan(fits.predict_proba([[7.0, 7.0]], [4])).all()
    with pytest.raises(ValueError, match="group 4 has no posterior"):
        fits.model(4)
    with pytest.raises(ValueError, match="there is no group 17"):
        fits.model(17)
    with pytest.raises(ValueError, match=r"there is no group \[0, 1, 2\]"):
        fits.model([0, 1, 2])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
def test_groups_of_fewer_rows_than_features_under_a_prior_that_is_one(family, kind):
    """With them groups in a plane and of equal rows: each is what the class makes of it, and no other group changes."""
    rng, eye = np.random.default_rng(0), np.eye(4)
    plane, large = rng.normal(size=(9, 2)) @ rng.normal(size=(2, 4)), make_mixture(40, 4, 2, spacing=6.0).X
    pairs = np.repeat(10.0 * eye[:2], [2, 1], axis=0) + 0.01 * rng.normal(size=(3, 4))  # two clusters, of 2 rows and 1
    parts = [rng.normal(size=(2, 4)), pairs, plane, np.full((3, 4), 7.0), large]
    groups = np.repeat(np.arange(5), [len(part) for part in parts])
    scatter = {"full": eye, "tied": eye, "diag": np.ones(4), "spherical": 1.0}[family]
    prior = {"covariance_prior": scatter, "weight_concentration_prior_type": kind, "mean_precision_prior": 0.1}
    options = dict(covariance_type=family, reg_covar=0.0, tol=1e-10, max_iter=3000, random_state=0)
    one = fit_many(np.concatenate(parts), groups, 1, prior=prior, **options)
    assert one.converged.all()
    for g, part in enumerate(parts):
        alone = BayesianGaussianMixture(**options, **prior).fit(part)
        assert_allclose(one.lower_bound[g], alone.lower_bound_, rtol=1e-9)
        assert_allclose(one.means[g], alone.means_, rtol=1e-9, atol=1e-9)
        assert_allclose(one.model(g).covariances_, alone.covariances_, rtol=1e-9, atol=1e-9)
    two = quiet(np.concatenate(parts[1:]), groups[2:], 2, prior=prior, **options)
    alone = BayesianGaussianMixture(n_components=2, **options, **prior).fit(pairs)
    assert_allclose(two.lower_bound[0], alone.lower_bound_, rtol=1e-9)
    assert_allclose(np.sort(two.means[0, :, 0]), np.sort(alone.means_[:, 0]), rtol=1e-6)
    same = quiet(large, np.full(40, 4), 2, prior=prior, **options)
    assert np.isfinite(two.lower_bound).all()
    assert same.lower_bound[0] == pytest.approx(two.lower_bound[-1], rel=1e-8)


def test_a_prior_of_fewer_rows_than_features_is_none():
    """Without reg_covar it is singular; with some, each group is what the class makes of it."""
    X, groups = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 0, 1, 1, 1])
    assert quiet(X, groups, 1, prior={}).status.tolist() == [Status.DEGENERATE] * 2
    fits = fit_many(X, groups, 1, prior={}, reg_covar=1e-6)
    for g in range(2):
        alone = BayesianGaussianMixture(reg_covar=1e-6).fit(X[groups == g])
        assert fits.lower_bound[g] == pytest.approx(alone.lower_bound_, rel=1e-6)


def test_a_given_prior_is_that_of_all_groups():
    X, groups = make_groups()
    prior = {"mean_prior": [1.0, 2.0], "covariance_prior": np.eye(2), "degrees_of_freedom_prior": 4.0}
    fits = quiet(X, groups, 2, prior=prior, random_state=0)
    for g in range(4):
        mine = fits.model(g)
        assert mine.mean_prior_.tolist() == [1.0, 2.0]
        assert mine.covariance_prior_.tolist() == np.eye(2).tolist()
        assert mine.degrees_of_freedom_prior_ == 4.0


def test_bits_do_not_depend_on_threads_or_other_groups():
    X, groups = make_groups()
    options = dict(prior={}, random_state=0, max_iter=30)
    wanted = quiet(X, groups, 2, **options)
    single = quiet(X, groups, 2, n_threads=1, **options)
    for mine, other in zip(arrays_of(wanted.posterior), arrays_of(single.posterior), strict=True):
        assert_array_equal(mine, other)


def test_large_groups_start_from_some_of_their_rows(monkeypatch):
    monkeypatch.setattr(posterior_fits, "START_ROWS", 50)
    X, groups = make_groups(sizes=[400, 30, 300])
    fits = fit_many(X, groups, 2, prior={}, tol=1e-6, max_iter=1000, random_state=0)
    rows = GroupRows(X, np.empty(0), np.array([0, 400, 430, 730])).thinned(np.random.RandomState(0))
    assert np.diff(rows.bounds).tolist() == [50, 30, 50]
    monkeypatch.undo()
    wanted = fit_many(X, groups, 2, prior={}, tol=1e-6, max_iter=1000, random_state=0)
    assert_allclose(fits.lower_bound, wanted.lower_bound, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(prior=1), "prior must be a dict with some of the keys weight_concentration_prior_type"),
        (dict(prior={"tol": 1}), "prior must be a dict"),
        (dict(prior={"mean_precision_prior": -1}), "mean_precision_prior"),
        (dict(prior={"degrees_of_freedom_prior": 0.5}), "greater than 1"),
        (dict(prior={}, regularization="floor"), "takes no regularization"),
        (dict(prior={}, means_init=[[0.0, 0.0]]), "takes no means_init"),
        (dict(prior={}, columns=True), "leave groups and sizes out"),
        (dict(columns=True), "columns=True needs a prior"),
        (dict(prior={}, sample_weight=np.full(326, 1e-3)), "must be more than 1"),
        (dict(prior={}, reg_covar=-1), "reg_covar"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    X, groups = make_groups()
    with pytest.raises(ValueError, match=message):
        fit_many(X, groups, 2, **arguments)


@pytest.mark.parametrize("names", [["a", None], ["a", 1], [("a", 1), ("a", 2)], [(1, 1), (1, 2)]], ids=str)
def test_names_of_columns_that_a_file_could_not_hold_are_refused(names):
    frame = pytest.importorskip("pandas").DataFrame(make_groups()[0], columns=names)
    with pytest.raises(ValueError, match="names of columns must all be strings or all integers"):
        fit_many(frame, n_components=2, columns=True, prior={})
