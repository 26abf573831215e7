"""Faults that a review found, each by its smallest example."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

import fastem
from fastem import GaussianMixture

EYE = np.ones((1, 1, 1))


@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
def test_a_start_far_from_the_data(reg_covar):
    X = 1.7e9 + np.random.RandomState(0).randn(500, 2)
    start = {"means_init": [[0, 0]], "weights_init": [1.0], "precisions_init": [np.eye(2) / 1.7e9**2]}
    model = GaussianMixture(1, reg_covar=reg_covar, **start).fit(X)
    assert model.converged_
    assert_allclose(model.covariances_[0], np.cov(X.T, bias=True) + reg_covar * np.eye(2), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("offset", "spread"), [(9e15, 1.0), (1e8, 3e-8), (1e9, 3e-7), (2.0**53, 3.0)])
def test_variance_of_a_few_units_in_the_last_place(offset, spread):
    X = offset + spread * np.random.RandomState(3).randn(4000, 1)
    exact = np.var([int((x - offset) * 2**40) for x in X[:, 0]]) / 2.0**80
    model = GaussianMixture(1, reg_covar=0).fit(X)
    assert_allclose(model.covariances_.item(), exact, rtol=0.05)


def test_weights_have_no_unit():
    X = np.random.RandomState(0).randn(400, 1)
    fits = [GaussianMixture(1).fit(X, sample_weight=np.full(400, s)) for s in (1.0, 1e-15, 1e-20, 1e15)]
    for model in fits[1:]:
        assert_allclose(model.covariances_, fits[0].covariances_, rtol=1e-12)


def test_a_fit_keeps_its_family():
    X = np.random.RandomState(0).randn(100, 2)
    model = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
    score = model.score(X)
    model.set_params(covariance_type="tied")
    assert model.score(X) == score
    assert pickle.loads(pickle.dumps(model)).score(X) == score
    with pytest.raises(ValueError, match="covariance_type"):
        model.set_params(warm_start=True).fit(X)


def test_clone_keeps_metadata_requests():
    model = GaussianMixture().set_fit_request(sample_weight=True)
    assert clone(model).get_metadata_routing().fit.requests == {"sample_weight": True}


def test_statistics_keep_their_origin():
    X = np.random.RandomState(0).randn(100, 2)
    means = np.zeros((1, 2))
    full = fastem.moments(X, labels=np.zeros(100, int), origin=means)
    before = copy.deepcopy(full)
    means += 1
    assert_allclose(fastem.m_step(full).means, fastem.m_step(before).means)


def test_an_interrupt_keeps_the_starts_that_are_done():
    X, calls = np.random.RandomState(0).randn(300, 2), []

    def stop(iteration, bound, params):
        calls.append(iteration)
        if calls.count(1) == 3:
            raise KeyboardInterrupt

    with pytest.raises(fastem.FitInterrupted) as caught:
        GaussianMixture(3, n_init=5, random_state=0, tol=0.1).fit(X, callback=stop)
    assert caught.value.result.status is fastem.Status.CONVERGED


def test_nearly_dependent_columns_are_not_dependent():
    rng = np.random.RandomState(0)
    X = rng.randn(2000, 20)
    X[:, -1] = X[:, 0] + 1e-7 * rng.randn(2000)
    model = GaussianMixture(1, reg_covar=0).fit(X)
    assert model.converged_


def test_diagonal_parameters_take_linear_memory():
    import tracemalloc

    tracemalloc.start()
    fastem.make_params([1.0], np.zeros((1, 5000)), np.ones((1, 5000)), "diag")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


@pytest.mark.skipif(os.name != "posix", reason="read-only folders")
@pytest.mark.parametrize("cache", [pytest.param("damaged", marks=pytest.mark.slow), "nowhere"])
def test_a_cache_that_does_not_work_costs_time_only(tmp_path, cache):
    """A damaged index, and a folder that cannot be made."""
    folder = tmp_path / "cache"
    if cache == "nowhere":
        folder.write_text("a file, not a folder")
    code = "import fastem; print(fastem.log_density([[0.0]], fastem.make_params([1.0], [[0.0]], [[[1.0]]])).round(3))"
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    for _ in range(1 if cache == "nowhere" else 2):
        found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert found.stdout.strip() == "[-0.919]", found.stderr
        for index in folder.glob("*/*.nb*") if folder.is_dir() else ():
            index.write_bytes(index.read_bytes()[:100])
