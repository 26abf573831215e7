"""Centres of k-means that move from where they are of little use."""

import numpy as np
import pytest
from helpers import make_mixture
from sklearn.datasets import load_iris

from fastem import KMeans
from fastem.fitting import centres
from fastem.fitting.lloyd import assign, inertia, run_lloyd
from fastem.sources.blocks import ArraySource


def _two_in_one(n=900):
    """Three clusters, and centres at which k-means has ended with two in one cluster and one between the others."""
    mixture = make_mixture(n, 2, 3, spacing=20.0, seed=2)
    rows = ArraySource(mixture.X)
    a, b, c = mixture.means
    ended = run_lloyd(rows, np.array([a - [0.5, 0.0], a + [0.5, 0.0], (b + c) / 2]), 0.0, 300)
    assert ended.settled
    return mixture, rows, ended.centres


def test_a_centre_moves_to_the_cluster_that_shares_one():
    mixture, rows, ended = _two_in_one()
    found = centres.move_centres(rows, ended, 0.0, 300)
    order = [np.linalg.norm(found - mean, axis=1).argmin() for mean in mixture.means]
    np.testing.assert_allclose(found[order], [mixture.X[mixture.labels == k].mean(axis=0) for k in range(3)])
    assert inertia(assign(rows, found)) < 0.1 * inertia(assign(rows, ended))
    assert centres.move_centres(rows, found, 0.0, 300) is found


def test_weights_are_rows_repeated():
    mixture, _, ended = _two_in_one()
    weight = np.random.default_rng(0).integers(1, 4, len(mixture.X))
    found = centres.move_centres(ArraySource(mixture.X, weight.astype(float)), ended, 0.0, 300)
    repeated = centres.move_centres(ArraySource(np.repeat(mixture.X, weight, axis=0)), ended, 0.0, 300)
    np.testing.assert_allclose(found, repeated, rtol=1e-10)


def test_centres_of_a_large_sample_are_tried_on_some_rows(monkeypatch):
    mixture, rows, ended = _two_in_one()
    monkeypatch.setattr(centres, "MOVE_ROWS", 200)
    assert centres.thinned(rows, 3).n_rows == 225
    found = centres.move_centres(rows, ended, 0.0, 300)
    order = [np.linalg.norm(found - mean, axis=1).argmin() for mean in mixture.means]
    np.testing.assert_allclose(found[order], [mixture.X[mixture.labels == k].mean(axis=0) for k in range(3)])


@pytest.mark.parametrize(("X", "K"), [(np.ones((20, 2)), 3), (np.arange(3.0)[:, None], 3), (np.ones((5, 1)), 1)])
def test_where_there_is_nothing_to_gain(X, K):
    first = X[:K] + 0.0
    assert centres.move_centres(ArraySource(X), first, 0.0, 300) is first


def test_kmeans_counts_iterations_before_and_after_a_move(capsys):
    """From this seed two centres end in one kind of iris: inertia 142.8, where 78.9 is the least."""
    model = KMeans(3, n_init=1, random_state=42, verbose=1).fit(load_iris().data)
    lines = capsys.readouterr().out.split("\n")
    counted = [line.split()[1].strip(",") for line in lines if line.startswith("Iteration")]
    assert counted == [str(i) for i in range(model.n_iter_)]
    assert sum(line.startswith("Converged") for line in lines) == 2
    assert model.inertia_ == pytest.approx(78.85, abs=0.01)


def test_kmeans_that_max_iter_ends_does_not_move():
    model = KMeans(3, n_init=1, random_state=42, max_iter=3).fit(load_iris().data)
    assert (model.n_iter_, model.inertia_ > 140) == (3, True)


def test_nearest_in_parts(monkeypatch):
    rows = ArraySource(np.random.default_rng(0).normal(size=(100, 3)))
    whole = centres.find_nearest(rows, rows.X[:5])
    monkeypatch.setattr(centres, "rows_at_once", lambda n: 7)
    for part, want in zip(centres.find_nearest(rows, rows.X[:5]), whole, strict=True):
        np.testing.assert_array_equal(part, want)
