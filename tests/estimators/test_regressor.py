"""Regression: against the exact conditional distribution by scipy, and as scikit-learn's tools use it."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from helpers import FAMILIES, fitted, make_mixture
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import kstest, multivariate_normal, norm
from sklearn.base import clone, is_regressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastem
from fastem import GaussianMixture, MixtureRegressor
from fastem.files.archive import ModelFileError


@pytest.fixture(scope="module")
def rows():
    """Rows of three features and two targets, in three overlapping components."""
    X = make_mixture(500, 5, 3, spacing=3.0, seed=3).X + 5.0
    return X[:, :3], X[:, 3:]


def exact(model, x):
    """Weights, means (K, U) and covariances of the targets given a row, by scipy and solves with the covariances."""
    w, means, covariances = fitted(model.mixture_)
    V = len(x)
    joint = [w[k] * multivariate_normal(means[k][:V], covariances[k][:V, :V]).pdf(x) for k in range(len(w))]
    slopes = [np.linalg.solve(c[:V, :V], c[:V, V:]) for c in covariances]
    given = np.array([m[V:] + (x - m[:V]) @ slope for m, slope in zip(means, slopes, strict=True)])
    left = [c[V:, V:] - c[V:, :V] @ slope for c, slope in zip(covariances, slopes, strict=True)]
    return np.array(joint) / np.sum(joint), given, left


# ---- the distribution of y -----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_mean_and_spread_and_density_by_scipy(rows, covariance_type):
    X, Y = rows
    model = MixtureRegressor(3, covariance_type=covariance_type, random_state=0).fit(X, Y)
    mean, std = model.predict(X[:40], return_std=True)
    assert_array_equal(model.predict(X[:40]), mean)
    density = model.log_density(X[:40], Y[:40])
    for i in range(40):
        shares, means, covariances = exact(model, X[i])
        want = shares @ means
        variance = sum(r * (np.diag(c) + (m - want) ** 2) for r, m, c in zip(shares, means, covariances, strict=True))
        assert_allclose(mean[i], want, rtol=1e-9)
        assert_allclose(std[i], np.sqrt(variance), rtol=1e-9)
        parts = [r * multivariate_normal(m, c).pdf(Y[i]) for r, m, c in zip(shares, means, covariances, strict=True)]
        assert_allclose(density[i], np.log(np.sum(parts)), rtol=1e-9)
    joint, alone = model.mixture_, model.mixture_.marginal([0, 1, 2])
    both = np.column_stack([X, Y])
    assert_allclose(model.log_density(X, Y), joint.score_samples(both) - alone.score_samples(X), rtol=0, atol=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_draws_have_the_distribution(rows, covariance_type):
    X, Y = rows
    model = MixtureRegressor(3, covariance_type=covariance_type, random_state=0).fit(X, Y)
    draws = model.sample_y(X[:4], 20_000, random_state=1)
    assert draws.shape == (4, 2, 20_000)
    for i in range(4):
        shares, means, covariances = exact(model, X[i])
        for u in range(2):
            sd = np.sqrt([c[u, u] for c in covariances])
            places = np.sort(draws[i, u])
            assert kstest(norm.cdf(places[:, None], means[:, u], sd) @ shares, "uniform").pvalue > 1e-4
        mean = shares @ means
        spread = sum(r * (c + np.outer(m - mean, m - mean)) for r, m, c in zip(shares, means, covariances, strict=True))
        assert_allclose(np.cov(draws[i]), spread, atol=0.05 * spread.trace())
    assert_array_equal(model.sample_y(X[:4], 3, random_state=1), model.sample_y(X[:4], 3, random_state=1))
    assert model.sample_y(X[:4], random_state=np.random.RandomState(0)).shape == (4, 2, 1)


def test_noise_of_the_mixture():
    """The uniform component of y: its share depends on x, its density, mean, variance and draws are those of a box."""
    mixture = GaussianMixture.from_parameters(
        [0.7], [[0.0, 1.0]], [[[1.0, 0.5], [0.5, 1.0]]], noise=(0.3, [[-4.0, -6.0], [4.0, 10.0]])
    )
    model = MixtureRegressor.from_mixture(mixture)
    for x in (0.0, 3.0):
        share = 0.7 * norm.pdf(x) / (0.7 * norm.pdf(x) + 0.3 / 8)
        gaussian = norm(1 + 0.5 * x, np.sqrt(0.75))

        def density(y, share=share, gaussian=gaussian):
            return share * gaussian.pdf(y) + (1 - share) / 16 * (-6 < y < 10)

        y = np.array([-5.0, 1.0, 4.0])
        want = [density(one) for one in y]
        assert_allclose(model.log_density(np.full((3, 1), x), y), np.log(want), rtol=1e-9)
        mean, std = model.predict([[x]], return_std=True)
        moments = [quad(lambda t, p=p: t**p * density(t), -6, 10, points=[x], epsabs=1e-9)[0] for p in (1, 2)]
        assert_allclose([mean[0], mean[0] ** 2 + std[0] ** 2], moments, rtol=1e-6)
        draws = model.sample_y([[x]], 20_000)[0]
        places = share * gaussian.cdf(draws) + (1 - share) * np.clip((draws + 6) / 16, 0, 1)
        assert kstest(places, "uniform").pvalue > 1e-4


def test_one_component_is_linear_regression(rows):
    X, Y = rows
    peer = LinearRegression().fit(X, Y)
    model = MixtureRegressor(regularization="floor").fit(X, Y)
    assert_allclose(model.predict(X), peer.predict(X), rtol=1e-6)
    assert_allclose(
        model.predict(X, return_std=True)[1], np.tile((Y - peer.predict(X)).std(axis=0), (500, 1)), rtol=1e-6
    )


def test_far_from_the_rows(rows):
    """One component is left there, and its plane goes on; nothing overflows to NaN."""
    X, Y = rows
    model = MixtureRegressor(3, random_state=0).fit(X, Y)
    for size in (1e4, 1e8):
        mean, std = model.predict(size * X[:5], return_std=True)
        assert np.isfinite(mean).all()
        assert (std > 0).all()
        assert np.isfinite(model.log_density(size * X[:5], mean)).all()


# ---- units, weights, shapes ----------------------------------------------------------------------------


def test_units_do_not_matter(rows):
    X, Y = rows
    scale, shift = np.array([1e-3, 1.0, 1e6]), np.array([0.0, 50.0, -1e6])
    model = MixtureRegressor(3, random_state=0).fit(X, Y)
    other = MixtureRegressor(3, random_state=0).fit(X * scale + shift, 1e4 * Y)
    for got, want in zip(
        other.predict(X * scale + shift, return_std=True), model.predict(X, return_std=True), strict=True
    ):
        assert_allclose(got / 1e4, want, atol=0.01)  # a fit leaves 0.1 nats of all rows to gain


def test_weights(rows):
    X, Y = rows
    times = np.random.default_rng(0).integers(0, 3, size=500)
    again = MixtureRegressor(3, random_state=0).fit(np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0))
    model = MixtureRegressor(3, random_state=0).fit(X, Y, sample_weight=times)
    assert_allclose(model.predict(X), again.predict(X), atol=0.02)
    shares = MixtureRegressor(3, random_state=0).fit(X, Y, sample_weight=times / times.sum())
    assert_allclose(shares.predict(X), model.predict(X), atol=0.02)  # no counts, so that the remedy stays weak


def test_score_is_scikit_learns(rows):
    X, Y = rows
    w = np.random.default_rng(0).uniform(size=500)
    for y in (Y, Y[:, 0], Y[:, :1], np.column_stack([Y[:, 0], np.ones(500)])):
        model = MixtureRegressor(2, random_state=0).fit(X, y)
        for weight in (None, w):
            want = sklearn.metrics.r2_score(y, model.predict(X), sample_weight=weight)
            assert_allclose(model.score(X, y, sample_weight=weight), want, rtol=1e-12)
    assert model.score(X[:1].repeat(3, axis=0), model.predict(X[:1]).repeat(3, axis=0)) == 1.0
    with pytest.warns(UserWarning, match="not well-defined with less than two samples"):
        assert np.isnan(model.score(X[:1], y[:1]))


def test_shapes_follow_y(rows):
    X, Y = rows
    flat, column = (MixtureRegressor(2, random_state=0).fit(X, y) for y in (Y[:, 0], Y[:, :1]))
    assert flat.predict(X).shape == (500,)
    assert column.predict(X).shape == (500, 1)
    assert flat.sample_y(X, 7).shape == (500, 7)
    assert column.sample_y(X, 7).shape == (500, 1, 7)
    assert_array_equal(flat.log_density(X, Y[:, 0]), column.log_density(X, Y[:, :1]))
    with pytest.raises(ValueError, match=r"y should have shape \(500,\), as in the fit; got \(500, 1\)"):
        flat.log_density(X, Y[:, :1])
    single = MixtureRegressor(2, random_state=0).fit(X.astype(np.float32), Y.astype(np.float32))
    assert single.mixture_.means_.dtype == np.float32
    assert single.predict(X.astype(np.float32)).dtype == np.float64


# ---- as scikit-learn's tools use it --------------------------------------------------------------------


def test_pipeline_and_search(rows):
    X, Y = rows
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), MixtureRegressor(random_state=0))
    search = GridSearchCV(pipe, {"mixtureregressor__n_components": [1, 3]}, cv=3).fit(frame, Y)
    assert search.best_score_ > cross_val_score(LinearRegression(), X, Y, cv=3).mean() + 0.02
    assert search.best_params_ == {"mixtureregressor__n_components": 3}
    model = search.best_estimator_[-1]
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert is_regressor(model)

    def density(model, X, y):
        return model.log_density(X, y).mean()

    by_density = GridSearchCV(MixtureRegressor(random_state=0), {"n_components": [1, 3]}, scoring=density, cv=3).fit(
        X, Y
    )
    assert by_density.best_params_ == {"n_components": 3}
    again = pickle.loads(pickle.dumps(by_density.best_estimator_))
    assert_array_equal(again.predict(X), by_density.predict(X))
    assert not hasattr(clone(again), "mixture_")


@pytest.mark.parametrize("kind", ["1d", "2d"])
def test_save_and_load(rows, tmp_path, kind):
    X, Y = rows
    y = Y[:, 0] if kind == "1d" else Y
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = MixtureRegressor(3, n_init=2, regularization="ridge", random_state=4).fit(frame, y)
    fastem.save(model, tmp_path / "r.npz")
    other = fastem.load(tmp_path / "r.npz")
    assert type(other) is MixtureRegressor
    assert other.get_params() == model.get_params()
    assert list(other.feature_names_in_) == ["a", "b", "c"]
    assert_array_equal(other.predict(frame), model.predict(frame))
    assert other.sample_y(frame, 2).tobytes() == model.sample_y(frame, 2).tobytes()
    arrays = dict(np.load(tmp_path / "r.npz"))
    for shape in ([5], [-1], [1, 1], [0.5]):
        np.savez(tmp_path / "bad.npz", **arrays | {"target_shape": np.array(shape)})
        with pytest.raises(ModelFileError, match="do not describe a regressor"):
            fastem.load(tmp_path / "bad.npz")


def test_of_a_mixture_that_is_fitted(rows, tmp_path):
    X, Y = rows
    np.save(tmp_path / "rows.npy", np.column_stack([X, Y]))
    mixture = GaussianMixture(2, random_state=0).fit(tmp_path / "rows.npy")
    model = MixtureRegressor.from_mixture(mixture, 2)
    assert_array_equal(model.predict(X), mixture.conditional_mean(X, [0, 1, 2]))
    np.save(tmp_path / "X.npy", X)
    assert_array_equal(model.predict(tmp_path / "X.npy"), model.predict(X))
    for bad in (0, 5, 1.0, True):
        with pytest.raises(ValueError, match=r"n_targets must be an int in \[1, 4\]"):
            MixtureRegressor.from_mixture(mixture, bad)
    with pytest.raises(fastem.NotFittedError):
        MixtureRegressor.from_mixture(GaussianMixture(2))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.zeros((9, 0)), "y should be a 1d array"),
        (np.zeros((9, 2, 2)), "y should be a 1d array"),
        (np.zeros(8), r"inconsistent numbers of samples: \[9, 8\]"),
        (np.array([np.nan] * 9), "Input y contains NaN"),
        (np.array([np.inf] * 9), "Input y contains infinity"),
        (np.array(["a"] * 9), "y should hold real numbers"),
    ],
)
def test_targets_that_cannot_be_used(y, message):
    X = np.random.default_rng(0).normal(size=(9, 2))
    model = MixtureRegressor()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "mixture_")


def test_rows_that_are_not_in_memory(rows):
    with pytest.raises(TypeError, match="from_mixture"):
        MixtureRegressor().fit(lambda: iter([rows[0]]), rows[1])


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_features_that_are_missing(covariance_type):
    """Each row is predicted from what it has, as by the mixture of just these features; a file gives the same bits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = np.column_stack([np.abs(X[:, 0]) + X[:, 1], X[:, 2]]) + 0.1 * rng.normal(size=(400, 2))
    X[rng.random(X.shape) < 0.3] = np.nan
    assert np.isnan(X).all(axis=1).any()
    model = MixtureRegressor(2, covariance_type=covariance_type, missing=True, random_state=0).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    density = model.log_density(X, y)
    for row, target, m, s, d in zip(X, y, mean, std, density, strict=True):
        there = np.flatnonzero(~np.isnan(row))
        part = model.mixture_.marginal([*there, 3, 4])
        want = MixtureRegressor.from_mixture(part, 2) if len(there) else None
        if want is None:
            shares, means = model.mixture_.weights_, model.mixture_.means_[:, 3:]
            np.testing.assert_allclose(m, shares @ means, rtol=1e-12)
            continue
        wanted, spread = want.predict([row[there]], return_std=True)
        np.testing.assert_allclose(m, wanted[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(s, spread[0], rtol=1e-9)
        np.testing.assert_allclose(d, want.log_density([row[there]], [target])[0], rtol=1e-9)
    assert model.sample_y(X, 3).shape == (400, 2, 3)
    streamed = model.predict(lambda: [X[:150], X[150:]])
    np.testing.assert_array_equal(streamed, mean)
    assert model.__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(X, np.where(y > 0, np.nan, y))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MixtureRegressor(2).fit(X, y)


@pytest.mark.parametrize("name", ["n_components", "covariance_type", "n_init", "missing", "random_state"])
def test_parameters_that_are_none_name_the_class(name):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of MixtureRegressor must be "):
        MixtureRegressor(**{name: 0.5}).fit(np.eye(3), np.ones(3))


def test_mixtures_of_other_kinds_are_refused():
    X = np.random.default_rng(0).normal(size=(100, 2))
    for other in (fastem.StudentMixture(1).fit(X), fastem.KMeans(1).fit(X), "x"):
        with pytest.raises(TypeError, match=f"takes a GaussianMixture; got a {type(other).__name__}"):
            MixtureRegressor.from_mixture(other)


def test_an_exact_linear_target():
    """Rows that lie in a plane: the target is what the features make of it."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    y = X @ [1.0, 2.0, 3.0]
    assert MixtureRegressor(1).fit(X, y).score(X, y) > 1 - 1e-9
