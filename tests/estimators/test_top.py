"""predict_top: the m largest responsibilities of each row, without an N x K array."""

import tracemalloc

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, natural

from fastem import GaussianMixture


def _model(k, covariance_type="full", d=3, seed=0):
    mixture = make_mixture(max(300, k), d, k, spacing=1.0, seed=seed)
    covariances = natural(mixture.covariances, covariance_type, mixture.weights)
    return GaussianMixture.from_parameters(mixture.weights, mixture.means, covariances, covariance_type)


def _largest(proba, m):
    order = np.argsort(-proba, axis=1, kind="stable")[:, :m]
    return order, np.take_along_axis(proba, order, axis=1)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(("n", "k", "m"), [(1, 1, 1), (7, 3, 3), (2100, 5, 2), (1300, 40, 40), (900, 257, 7)])
def test_those_of_predict_proba(covariance_type, n, k, m):
    """Bit by bit, in order, from the middle of the mixture to where most responsibilities are exactly 0."""
    model = _model(k, covariance_type)
    X = np.random.default_rng(n).normal(size=(n, 3)) * np.geomspace(1, 1e3, n)[:, None]
    indices, values = model.predict_top(X, m)
    assert (indices.dtype, values.dtype, indices.shape, values.shape) == (np.int64, np.float64, (n, m), (n, m))
    want_indices, want_values = _largest(model.predict_proba(X), m)
    np.testing.assert_array_equal(indices, want_indices)
    np.testing.assert_array_equal(values, want_values)
    np.testing.assert_array_equal(indices[:, 0], model.predict(X))


def test_float32_and_layout():
    """Values in the dtype of predict_proba, from an array of any layout."""
    X = make_mixture(500, 3, 20, spacing=1.0).X
    model = _model(20)
    indices, values = model.predict_top(X.astype("f4"), 3)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(
        values, np.take_along_axis(model.predict_proba(X.astype("f4")), indices, axis=1).astype("f4")
    )
    for other in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.tolist()):
        for got, want in zip(model.predict_top(other, 3), model.predict_top(X, 3), strict=True):
            np.testing.assert_array_equal(got, want)


def test_of_equals_the_first():
    """Twin components, and components so far that nothing is left for them: by their indices."""
    model = GaussianMixture.from_parameters(
        np.full(6, 1 / 6), [[500.0], [0.0], [0.0], [400.0], [0.0], [1.0]], np.ones(6), "spherical"
    )
    indices, values = model.predict_top([[0.0]], 6)
    np.testing.assert_array_equal(indices, [[1, 2, 4, 5, 0, 3]])
    assert values[0, 0] == values[0, 1] == values[0, 2] > values[0, 3] > values[0, 4] == 0.0


def test_far_points():
    """Where the density underflows under every component, the row is the first one's, as in predict."""
    model = _model(4)
    X = np.full((3, 3), 1e300)
    indices, values = model.predict_top(X, 2)
    np.testing.assert_array_equal(indices[:, 0], model.predict(X))
    np.testing.assert_array_equal(values, [[1.0, 0.0]] * 3)


def test_noise():
    """The noise component is one more of those that compete, and has the label that predict gives it."""
    X = np.r_[make_mixture(300, 2, 2).X, np.random.default_rng(0).uniform(-40, 40, (60, 2))]
    model = GaussianMixture(2, noise=True, random_state=0).fit(X)
    indices, values = model.predict_top(X, 3)
    np.testing.assert_array_equal(indices[:, 0], model.predict(X))
    assert set(indices[0]) == {-1, 0, 1}
    np.testing.assert_array_equal(values, np.take_along_axis(model.predict_proba(X), indices, axis=1))
    with pytest.raises(ValueError, match="m must be"):
        model.predict_top(X, 4)


@pytest.mark.parametrize("m", [0, -1, 5, 10**9, 1.0, True, "2", None])
def test_refused(m):
    with pytest.raises(ValueError, match=r"m must be an int in \[1, 4\], as there are 4 components"):
        _model(4).predict_top(np.zeros((2, 3)), m)


def test_refused_as_elsewhere():
    with pytest.raises(ValueError, match="not fitted"):
        GaussianMixture(3).predict_top(np.zeros((2, 3)), 1)
    with pytest.raises(ValueError, match="X has 2 features"):
        _model(3).predict_top(np.zeros((2, 2)), 1)
    with pytest.raises(ValueError, match="NaN"):
        _model(3).predict_top(np.full((2, 3), np.nan), 1)


def test_memory():
    """20,000 rows and 500 components, N x K = 80 MB: the answer and the scratch memory of the tiles alone."""
    n, k, m = 20_000, 500, 3
    model, X = _model(k), np.random.default_rng(0).normal(size=(n, 3))
    model.predict_top(X[:10], m)  # compiles
    tracemalloc.start()
    try:
        model.predict_top(X, m)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n * m * 16 <= peak < 40e6
