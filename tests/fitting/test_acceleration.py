"""Anderson's step against closed forms and GMRES, and the memory of points that it is taken from."""

import numpy as np
import pytest
from helpers import make_mixture, make_start, start_params
from numpy.testing import assert_allclose
from scipy.sparse.linalg import gmres

import fastem
from fastem.fitting import acceleration
from fastem.fitting.acceleration import Memory, Pace, anderson_step, slowest_rate


@pytest.fixture
def linear():
    """A contraction x -> A x + b in six dimensions, which is not symmetric, and its fixed point."""
    rng = np.random.default_rng(0)
    A, b = 0.35 * rng.normal(size=(6, 6)), rng.normal(size=6)
    return A, b, np.linalg.solve(np.eye(6) - A, b)


def accelerate(A, b, n):
    """Return the points of n accelerated iterations from 0."""
    points, steps = [np.zeros(len(b))], []
    for _ in range(n):
        steps.append(A @ points[-1] + b - points[-1])
        step, _ = anderson_step(steps[-1], np.diff(points, axis=0), np.diff(steps, axis=0))
        points.append(points[-1] + step)
    return points


def test_as_many_differences_as_dimensions_find_the_fixed_point(linear):
    A, b, fixed = linear
    points = accelerate(A, b, 7)
    assert np.abs(points[3] - fixed).max() > 1e-2
    assert_allclose(points[7], fixed, rtol=1e-6)  # the ridge leaves 1e-10 of the residuals


def test_on_a_linear_map_it_is_gmres(linear):
    """Point n + 1 is the image of what GMRES finds in n iterations (Walker & Ni 2011, theorem 2.2)."""
    A, b, _ = linear
    points = accelerate(A, b, 6)
    for n in range(1, 6):
        found, _ = gmres(np.eye(6) - A, b, x0=np.zeros(6), restart=n, maxiter=1, rtol=0.0)
        assert_allclose(points[n + 1], A @ found + b, atol=1e-7)


def test_without_differences_it_is_the_iteration_itself():
    residual, none = np.array([1.0, -2.0]), np.empty((0, 2))
    step, left = anderson_step(residual, none, none)
    assert_allclose(step, residual)
    assert_allclose(left, residual)
    assert slowest_rate(none, none) == 1.0


def test_differences_that_depend_on_each_other_or_vanish_do_no_harm():
    d_points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    step, _ = anderson_step(np.array([1.0, 1.0]), d_points, -0.1 * d_points)
    assert_allclose(step, [10.0, 1.0], rtol=1e-8)


def test_the_slowest_rate_is_that_of_the_largest_factor():
    factors = np.array([0.5, 0.95])
    assert slowest_rate(np.eye(2), np.diag(factors - 1)) == pytest.approx(20.0)


def test_new_coordinates_change_nothing_but_the_units():
    """After a renewal the same points are remembered: the step leads to nearly the same mixture."""
    mixture = make_mixture(400, 2, 2, spacing=3.0, seed=1)
    params = start_params(make_start(mixture, "full"), "full")
    memory = Memory()
    for turn in range(10):  # the first steps are long: there units count
        updated = fastem.m_step(fastem.accumulate(mixture.X, params))
        if turn > 5:
            memory.add(params, updated)
        params = updated
    before = memory.look_ahead()
    origin, points = memory.origin, [memory.space.unpack(point) for point in memory.points]
    memory._renew(params)
    assert memory.origin is not origin
    for point, vector in zip(points, memory.points, strict=True):
        assert_allclose(memory.space.unpack(vector).means, point.means, rtol=1e-10)
    after = memory.look_ahead()
    assert after.n_differences == before.n_differences == 3
    assert_allclose(after.params.means, before.params.means, rtol=1e-3)
    assert after.gain == pytest.approx(before.gain, rel=0.1)


def test_the_memory_is_bounded_and_other_rows_make_no_difference(monkeypatch):
    monkeypatch.setattr(acceleration, "DEPTH", 3)
    rng, memory = np.random.default_rng(0), Memory()
    for turn in range(6):
        if turn == 4:
            memory.change_rows()
        one, other = (fastem.make_params([0.5, 0.5], rng.normal(size=(2, 1)), np.ones((2, 1, 1))) for _ in range(2))
        memory.add(one, other)
    assert memory.points.shape == (4, 6)
    assert memory.follows.tolist() == [True, True, False, True]


def test_trials_in_vain_become_rare_and_a_taken_one_ends_that():
    memory = Memory(follows=np.ones(6, dtype=bool))
    waits = []
    for _ in range(3):
        memory.note_failure(concave=False)
        waits.append(memory.pace.wait)
        while memory.pace.wait:
            memory.note_step(trial=False, concave=True)
    assert waits == [2, 4, 8]
    assert memory.follows.sum() == acceleration.AFTER_FAILURE
    memory.note_step(trial=True, concave=False)
    assert memory.pace == Pace(stretch=4.0)
    memory.note_failure(concave=False)
    assert memory.pace == Pace(stretch=2.0, wait=2, failed=2)
