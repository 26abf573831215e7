"""init_params="auto": starts from raw, standardised and whitened coordinates compete."""

import numpy as np
import pytest
from helpers import TYPES, make_mixture, outcome, quiet_fit, run_child, state_bytes
from sets import SETS, Labelled, loud_noise
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

import fastem
from fastem import GaussianMixture
from fastem.fitting import degenerate, seeds
from fastem.fitting.starts import race
from fastem.model.matrices import EPS
from fastem.sources.blocks import ArraySource

SYSTEMS = ("raw", "standardised", "whitened")
SEEDS = range(2)


def _auto(K, seed=0, **options):
    return GaussianMixture(K, init_params="auto", random_state=seed, **options)


def _index(data, monkeypatch, system=None):
    """Mean adjusted Rand index over seeds, of one system of coordinates or of all."""
    with monkeypatch.context() as patch:
        if system is not None:
            every = race.coordinate_systems
            patch.setattr(
                race, "coordinate_systems", lambda X, weight, eps: [every(X, weight, eps)[SYSTEMS.index(system)]]
            )
        models = [quiet_fit(_auto(data.K, seed), data.X) for seed in SEEDS]
    return np.mean([adjusted_rand_score(data.labels, model.predict(data.X)) for model in models])


@pytest.mark.parametrize("name", SETS)
def test_as_good_as_the_best_coordinates(name, monkeypatch):
    """Without knowing which they are: within .02 of the best system's adjusted Rand index."""
    data = SETS[name]()
    index = _index(data, monkeypatch)
    single = {system: _index(data, monkeypatch, system) for system in SYSTEMS}
    assert index >= max(single.values()) - 0.02, (index, single)


def test_no_single_system_serves():
    """The reason for it all: k-means in the columns' own units fails on elongated clusters."""
    data = SETS["cigars"]()
    assert adjusted_rand_score(data.labels, quiet_fit(GaussianMixture(3, random_state=0), data.X).predict(data.X)) < 0.1
    assert adjusted_rand_score(data.labels, _auto(3).fit(data.X).predict(data.X)) > 0.95


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("seed", range(3))
def test_units_do_not_matter(covariance_type, seed):
    """Columns in other units, by powers of two: the same labels, parameters that differ by those powers."""
    mixture = make_mixture(1000, 4, 3, spacing=6.0, seed=seed)
    unit = 2.0 ** np.array([-20, 0, 7, 30])
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "tol": 1e-8, "max_iter": 1000}
    plain, other = _auto(3, seed, **options).fit(mixture.X), _auto(3, seed, **options).fit(mixture.X * unit)
    np.testing.assert_array_equal(plain.predict(mixture.X), other.predict(mixture.X * unit))
    np.testing.assert_allclose(other.means_ / unit, plain.means_, rtol=1e-4, atol=1e-4)


def test_standardised_and_whitened_rows():
    X = make_mixture(500, 3, 2).X @ np.array([[1e3, 0, 0], [5.0, 1.0, 0], [0, 0.2, 1e-3]]) + 50.0
    weight = np.random.default_rng(0).uniform(0.5, 2, 500)
    raw, standard, white = race.coordinate_systems(X, weight, EPS)
    assert raw is X
    for rows in (standard, white):
        np.testing.assert_allclose(np.average(rows, axis=0, weights=weight), 0, atol=1e-8)
    np.testing.assert_allclose(np.average(standard**2, axis=0, weights=weight), 1, rtol=1e-9)
    np.testing.assert_allclose((white * weight[:, None]).T @ white / weight.sum(), np.eye(3), atol=1e-8)
    for scaled in race.coordinate_systems(X * [4.0, 1.0, 0.5], weight, EPS)[1:]:
        assert scaled.tobytes() in (standard.tobytes(), white.tobytes())


def test_columns_without_information_are_left_out():
    X = make_mixture(500, 3, 2).X
    X = np.c_[X[:, 0], np.full(500, 7.0), X[:, 1:], X[:, 0] - 3 * X[:, 1], X[:, 2]]
    raw, standard, white = race.coordinate_systems(X, np.ones(500), EPS)
    assert (raw.shape, standard.shape, white.shape) == ((500, 6), (500, 5), (500, 3))
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(3), atol=1e-10)
    np.testing.assert_allclose(_auto(2).fit(X).means_[:, 1], 7.0, rtol=1e-12)
    for seed in range(3):
        assert adjusted_rand_score(_auto(2, seed).fit(X).predict(X), make_mixture(500, 3, 2).labels) > 0.95


@pytest.mark.parametrize("covariance_type", TYPES)
def test_hard_cases(covariance_type):
    """Identical rows, fewer distinct rows than components, as many components as rows: as with k-means."""
    for X, K in (
        (np.full((20, 3), 5.0), 2),
        (np.repeat([[0.0, 1.0], [5.0, 2.0], [9.0, -3.0]], 20, axis=0), 5),
        (make_mixture(12, 2, 2).X, 12),
        (make_mixture(30, 2, 2).X, 1),
    ):
        model, error, _ = outcome(lambda X=X, K=K: _auto(K, covariance_type=covariance_type).fit(X))
        assert error is None
        assert np.isfinite(model.score_samples(X)).all()
        _, error, _ = outcome(lambda X=X, K=K: _auto(K, covariance_type=covariance_type, reg_covar=0.0).fit(X))
        assert error is None or isinstance(error, fastem.SingularCovarianceError)


def test_a_collapsed_fit_does_not_win():
    """Nine equal rows among noise: a component of its own on them has an unbounded likelihood."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 300])
    X = rng.normal(size=(600, 2)) * 1000 + 6000 * labels[:, None]
    X[:9] = X[0]
    for reg_covar in (0.0, 1e-6):
        assert adjusted_rand_score(labels, _auto(2, reg_covar=reg_covar).fit(X).predict(X)) > 0.95


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_collapse_is_judged_without_units(covariance_type, scale):
    narrow = {"full": [[1.0, 0], [0, 1e-8]], "tied": [[1e-8, 0], [0, 1e-8]], "diag": [1e-8, 1.0], "spherical": 1e-8}
    sound = {"full": np.eye(2), "tied": np.eye(2), "diag": np.ones(2), "spherical": 1.0}
    shared = covariance_type == "tied"
    for bad in (False, True):
        last = (narrow if bad else sound)[covariance_type]
        covariances = np.array(last if shared else [sound[covariance_type], last]) * scale**2
        params = fastem.make_params([0.5, 0.5], [[0.0, 0.0], [scale, scale]], covariances, covariance_type)
        result = fastem.em(
            scale * np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, axis=0), params, covariance_type=covariance_type
        )
        result = result._replace(params=params)
        assert degenerate.is_too_narrow(result, np.array([[1.0, 0.5], [0.5, 1.0]]) * scale**2) is bad


def test_bits(two):
    """A seed repeats itself; order and repetition of rows do not matter; nor does the number of threads."""
    model = _auto(3, 1).fit(two.X)
    assert state_bytes(model) == state_bytes(_auto(3, 1).fit(two.X))
    assert (np.diff(_auto(3, 1, max_iter=0).fit(two.X).means_[:, 0]) > 0).all()
    weight = np.random.default_rng(0).integers(1, 4, 600)
    weighted, repeated = _auto(2).fit(two.X, sample_weight=weight), _auto(2).fit(np.repeat(two.X, weight, axis=0))
    shuffled = _auto(2).fit(np.repeat(two.X, weight, axis=0)[::-1])
    for other in (repeated, shuffled):
        np.testing.assert_allclose(other.means_, weighted.means_, rtol=1e-8)
    code = """
        import json, hashlib, fastem
        from helpers import make_mixture, state_bytes
        model = fastem.GaussianMixture(4, init_params="auto", random_state=0)
        print(json.dumps(hashlib.sha256(state_bytes(model.fit(make_mixture(20000, 5, 4, spacing=4.0).X))).hexdigest()))
    """
    assert len({run_child(code, NUMBA_NUM_THREADS=str(n), OPENBLAS_NUM_THREADS=str(n)) for n in (1, 2)}) == 1


def test_many_rows_and_float32():
    """More rows than the race looks at, in single precision: close to the fit of a float64 copy."""
    mixture = make_mixture(30_000, 3, 4, spacing=6.0)
    X = mixture.X.astype("f4")
    single, double = _auto(4).fit(X), _auto(4).fit(X.astype("f8"))
    assert adjusted_rand_score(single.predict(X), mixture.labels) > 0.95
    np.testing.assert_allclose(single.means_, double.means_, rtol=2e-3, atol=2e-3)


def test_n_init_is_so_many_competitions():
    """The best of three is at least as good as the first alone, which it contains."""
    data = SETS["digits"]()
    one, three = (quiet_fit(_auto(10, 3, n_init=n), data.X).lower_bound_ for n in (1, 3))
    assert three >= one


def test_parts_that_are_given_are_kept(two):
    model = _auto(2, means_init=two.means, max_iter=0).fit(two.X)
    np.testing.assert_array_equal(model.means_, two.means)


def test_ctrl_c_in_the_race(monkeypatch):
    """The short fits are of a sample: no result of theirs is handed out."""

    def interrupted(*args, **options):
        raise fastem.FitInterrupted("a result of a sample")

    data = Labelled(*loud_noise(300))
    monkeypatch.setattr(race, "iterate", interrupted)
    with pytest.raises(fastem.FitInterrupted) as caught:
        _auto(3).fit(data.X)
    assert caught.value.result is None


def test_a_component_of_few_rows_does_not_win():
    """Eleven rows in thirteen columns have a flat covariance: with reg_covar alone, the likelihood would prefer it."""
    data = SETS["wine"]()
    for seed in SEEDS:
        assert quiet_fit(_auto(data.K, seed), data.X).weights_.min() * len(data.X) > 14


@pytest.mark.parametrize("decimals", [1, 12])
def test_distinct_rows_are_in_lexicographic_order(decimals):
    """Whether the first column has ties (and whole rows do) or not."""
    X = np.random.default_rng(0).normal(size=(300, 2)).round(decimals)
    X = np.repeat(X, np.random.default_rng(1).integers(1, 3, len(X)), axis=0)
    want, count = np.unique(X, axis=0, return_counts=True)
    for order in (np.arange(len(X)), np.random.default_rng(2).permutation(len(X))):
        sample = seeds.distinct_sample(ArraySource(X[order]), 3, np.random.RandomState(0))
        np.testing.assert_array_equal(sample.X, want)
        np.testing.assert_array_equal(sample.weight, count)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("init", ["kmeans", "auto"])
def test_means_alone_meet_their_own_clusters(init, order):
    """Iris, means of its classes: in any order the fit is the same, but for the order."""
    iris = load_iris()
    means = np.array([iris.data[iris.target == k].mean(axis=0) for k in range(3)])
    options = {"init_params": init, "random_state": 0, "max_iter": 500, "tol": 1e-6}
    model = GaussianMixture(3, means_init=means[list(order)], **options).fit(iris.data)
    assert model.score(iris.data) == pytest.approx(-1.2012, abs=2e-4)
    plain = GaussianMixture(3, means_init=means, **options).fit(iris.data)
    np.testing.assert_allclose(model.means_, plain.means_[list(order)], rtol=1e-9)


def test_means_alone_meet_their_own_clusters_whatever_the_units():
    """The first column, in small units, tells clusters from each other; two means are nearest to one cluster."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2)) * [1e-3, 1.0] + np.repeat([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], 300, axis=0)
    X[:300, 1] *= 0.1
    X[600:, 1] *= 10.0
    for order in ([0, 1, 2], [2, 0, 1]):
        means = np.array([[0.0, 0.0], [0.4, 0.0], [2.0, 0.0]])[order]
        model = GaussianMixture(3, init_params="auto", means_init=means, reg_covar=0, max_iter=0, random_state=0).fit(X)
        np.testing.assert_allclose(np.sqrt(model.covariances_[:, 1, 1]), np.array([0.1, 1.0, 10.0])[order], rtol=0.2)


def test_means_alone_meet_their_own_clusters_in_groups():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (50, 1)), rng.normal(30, 5, (50, 1)), rng.normal(90, 0.1, (50, 1))])
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        means = np.array([[0.0], [30.0], [90.0]])[order]
        fits = fastem.fit_many(X, sizes=[150], n_components=3, means_init=means, max_iter=0, random_state=0)
        np.testing.assert_allclose(np.sqrt(fits.covariances.ravel()), np.array([1, 5, 0.1])[order], rtol=0.2)
