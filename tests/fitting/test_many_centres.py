"""Starts of k-means with many centres: seeds and moves that do not look at all rows times all centres each time."""

import numpy as np
import pytest
from helpers import make_mixture
from numpy.testing import assert_allclose, assert_array_equal

from fastem import KMeans
from fastem.fitting import centres, lloyd, many_centres, seeds
from fastem.fitting.lloyd import assign, inertia, run_lloyd
from fastem.passes.nearest import two_nearest
from fastem.sources.blocks import ArraySource


@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 2), (193, 3, 2), (700, 5, 37), (2100, 16, 130)])
def test_two_nearest(N, D, K):
    rng = np.random.default_rng([N, D, K])
    X, means = rng.normal(size=(N, D)) + 100.0, rng.normal(size=(K, D)) + 100.0
    found, square = two_nearest(X, means), ((X[:, None] - means) ** 2).sum(axis=2)
    assert_array_equal(found.label, square.argmin(axis=1))
    square.sort(axis=1)
    assert_allclose(np.stack(found[1:], axis=1), square[:, :2], rtol=1e-10, atol=1e-10)


def test_two_nearest_of_rows_that_are_centres():
    X = np.repeat(np.arange(5.0)[:, None], 3, axis=1)
    found = two_nearest(X, X)
    assert_array_equal(found.label, range(5))
    assert_allclose(np.stack(found[1:]), [[0.0] * 5, [3.0] * 5], atol=1e-12)


@pytest.fixture
def many(monkeypatch):
    """Sixty are many."""
    for module in (seeds, centres):
        monkeypatch.setattr(module, "MANY", 60)
    monkeypatch.setattr(seeds, "FIRST_SEEDS", 20)


def test_seeds_are_rows_and_as_good_as_those_of_greedy_kmeans(many):
    X = make_mixture(6000, 4, 80, spacing=4.0).X
    rows, drawn = ArraySource(X), []
    for K in (100, 59):  # 59 are few: drawn with all rows
        found = seeds.draw_seeds(rows, K, np.random.RandomState(0))
        assert found.shape == (K, 4)
        assert {tuple(row) for row in found} <= {tuple(row) for row in X}
        assert len(np.unique(found, axis=0)) == K
        drawn.append(inertia(assign(rows, found)))
    careful = X[np.random.default_rng(0).choice(6000, 100, replace=False)]
    assert drawn[0] < 0.8 * inertia(assign(rows, careful))


def test_rows_of_weight_0_and_rows_that_repeat(many):
    """Where there are fewer distinct rows than seeds, all are drawn, and rows repeat."""
    X = np.repeat(np.random.default_rng(0).normal(size=(50, 2)), 4, axis=0)
    weight = (np.arange(200) < 160).astype(float)
    found = seeds.draw_seeds(ArraySource(X, weight), 70, np.random.RandomState(0))
    assert {tuple(row) for row in found} == {tuple(row) for row in X[:160]}


def test_moves_find_clusters_that_share_a_centre(many):
    """Of 80 clusters far apart, 20 have no centre at first, and others have two or more."""
    mixture = make_mixture(4000, 4, 80, spacing=40.0)
    rows, start = ArraySource(mixture.X), np.concatenate([mixture.means[:60], mixture.means[:20] + 0.01])
    ended = run_lloyd(rows, start, 0.0, 100).centres
    found = centres.move_centres(rows, ended, 0.0, 100)
    least = inertia(assign(rows, mixture.means))
    assert inertia(assign(rows, ended)) > 3 * least
    assert inertia(assign(rows, found)) < 1.001 * least


def test_no_worse_than_moves_one_by_one(many, monkeypatch):
    X = make_mixture(3000, 5, 50, spacing=3.0).X
    rows, few = ArraySource(X), []
    for most in (60, 1000):
        monkeypatch.setattr(seeds, "MANY", most), monkeypatch.setattr(centres, "MANY", most)
        start = seeds.draw_seeds(rows, 100, np.random.RandomState(0))
        ended = centres.move_centres(rows, run_lloyd(rows, start, 1e-6, 300).centres, 1e-6, 300)
        few.append(inertia(assign(rows, ended)))
    assert few[0] < 1.005 * few[1]


def test_empty_clusters_move(many):
    X = make_mixture(2000, 3, 70, spacing=10.0).X
    start = np.concatenate([X[:60], np.full((10, 3), 1e3) + np.arange(10)[:, None]])
    found = many_centres.settle_many(ArraySource(X), start, 0.0)
    assert np.all(assign(ArraySource(X), found).s0 > 0)


def test_kmeans_takes_them(many):
    X = make_mixture(3000, 3, 80, spacing=6.0).X
    model = KMeans(80, n_init=1, random_state=0).fit(X)
    again = KMeans(80, n_init=1, random_state=0).fit(X)
    assert model.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()
    assert lloyd.inertia(assign(ArraySource(X), model.cluster_centers_)) == pytest.approx(model.inertia_)
