"""Directions in which rows have little spread, but more than rounding."""

import numpy as np
import pytest
from helpers import quiet_fit

from fastem import GaussianMixture, lbfgs, make_params
from fastem.fitting.starts.race import coordinate_systems as coordinates
from fastem.model.families import find_family as find
from fastem.model.matrices import EPS
from fastem.model.result import Status
from fastem.model.units import Units
from fastem.passes.statistics import overall
from fastem.sources.blocks import ArraySource

REMEDIES = ("ridge", "map", "floor", "ratio", "geometric")


def time_stamps():
    """Begin and end, in seconds since 1970, of calls that last 10 s or 60 s; and which."""
    rng = np.random.default_rng(0)
    begin = 1.7e9 + rng.uniform(0, 3e7, 4000)
    long = rng.integers(0, 2, 4000)
    return np.c_[begin, begin + np.where(long, 60, 10) + rng.normal(size=4000)], long


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("regularization", REMEDIES)
def test_short_and_long_calls(regularization, scale):
    """The correlation of the columns is 1 - 4e-12, rounding 2e-15."""
    X, long = time_stamps()
    model = GaussianMixture(2, init_params="auto", regularization=regularization, random_state=0, tol=1e-6)
    found = quiet_fit(model, X * scale)
    lasts = (found.means_[:, 1] - found.means_[:, 0]) / scale
    np.testing.assert_allclose(np.sort(lasts), [10, 60], atol=0.2)
    labels = found.predict(X * scale) == np.argmax(lasts)
    assert (labels == long).mean() > 0.999
    assert not found.fit_report_.starts[0].events  # no component lies in a subspace


def collinear(kind, offset, n_rows=3000):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3)) + offset
    last = {
        "constant": np.full(n_rows, 7.7),
        "copy": X[:, 0],
        "sum": X.sum(axis=1),
        "other unit": 1.8 * X[:, 0] + 32,
    }[kind]
    return np.c_[X, last]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("offset", [0, 1, 1e3, 1e6])
@pytest.mark.parametrize("kind", ["constant", "copy", "sum", "other unit"])
def test_rounding_is_no_spread(kind, offset, dtype):
    """A column that others explain but for rounding adds no direction, however far the rows are from 0."""
    if dtype == "f4" and offset > 1e3:
        offset = 1e4
    X = collinear(kind, offset).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    total = overall(ArraySource(X), (1, 4, 4))
    assert Units.of(find("full"), total, eps).rank == 3
    rows, _, white = coordinates(X.astype("f8"), np.ones(len(X)), eps)
    assert (rows.shape[1], white.shape[1]) == (4, 3)


@pytest.mark.parametrize("spread", [1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_a_small_spread_is_a_direction(spread, offset):
    X = collinear("copy", offset)
    X[:, 3] += spread * np.random.default_rng(1).normal(size=len(X))
    assert Units.of(find("full"), overall(ArraySource(X), (1, 4, 4)), EPS).rank == 4
    assert coordinates(X, np.ones(len(X)), EPS)[2].shape[1] == 4


def test_tight_clusters_under_a_bound_on_the_ratio():
    """Two clusters of standard deviation 1 that are 2e6 apart: 1e-12 of the variance of all rows each."""
    X = np.random.default_rng(0).normal(size=(2000, 1)) + 2e6 * (np.arange(2000) % 2)[:, None]
    found = quiet_fit(GaussianMixture(2, regularization="ratio", random_state=0), X)
    np.testing.assert_allclose(found.covariances_.ravel(), 1, rtol=0.1)


def test_a_direct_fit_to_a_narrow_line():
    """From a start that is 1e6 times as wide as the rows: their covariance is small beside it, and no collapse."""
    X = 1e-6 * np.random.default_rng(0).normal(size=(1000, 1))
    result = lbfgs(X, make_params([1.0], [[0.0]], [[[1.0]]]), tol=1e-8, max_iter=500)
    assert result.status is Status.CONVERGED
    assert result.params.covariances.item() == pytest.approx(X.var(), rel=1e-3)
