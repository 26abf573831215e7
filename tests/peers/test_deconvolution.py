"""Fits of an independent program to rows with errors of measurement; see golden/deconvolution/README.md."""

import json

import numpy as np
import pytest
from helpers import GOLDEN
from numpy.testing import assert_allclose

import fastem

FOLDER = GOLDEN / "deconvolution"
LAST = {"one_dimension": 838, "two_full": 984}  # the iteration after which that program ended


@pytest.fixture(params=LAST)
def golden(request):
    found = json.loads((FOLDER / f"{request.param}.json").read_text())
    X, errors = (
        np.loadtxt(FOLDER / f"{request.param}_{what}.csv", delimiter=",", ndmin=2) for what in ("rows", "errors")
    )
    if found["kind"] == "full":
        errors = errors.reshape(len(X), X.shape[1], X.shape[1])
    start = fastem.make_params(found["weights_init"], found["means_init"], found["covariances_init"])
    return found, fastem.as_source(X, errors=errors), start


def assert_is(params, fit, tolerance=1e-10):
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(params, name), fit[name], rtol=0, atol=tolerance, err_msg=name)


def test_step_by_step_to_the_end(golden):
    found, source, params = golden
    fits = {fit["iterations"]: fit for fit in found["fits"]}
    fits[LAST[found["name"]]] = fits.pop(max(fits))
    for iteration in range(1, max(fits) + 1):
        stats = fastem.accumulate(source, params)
        params = fastem.m_step(stats, previous=params)
        if iteration in fits:
            assert_is(params, fits[iteration])
            before = stats.loglik / source.n_rows
            assert_allclose(before, fits[iteration]["mean_loglik_before_last_update"], rtol=1e-13)
    assert_allclose(
        fastem.accumulate(source, params).loglik / source.n_rows, fits[iteration]["mean_loglik"], rtol=1e-13
    )


def test_the_estimator_ends_no_lower(golden):
    found, source, start = golden
    model = fastem.GaussianMixture(
        len(start.means),
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        reg_covar=0,
        solver="auto",
        tol=1e-13,
        max_iter=1000,
    ).fit(source)
    assert 0 <= model.lower_bound_ - found["fits"][-1]["mean_loglik"] < 1e-11
