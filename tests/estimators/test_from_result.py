"""A fitted estimator of the result of a fit: of `em`, of `lbfgs`, and of a fit that was interrupted."""

import numpy as np
import pytest
from helpers import TYPES, quiet_fit

import fastem
from fastem import FitInterrupted, GaussianMixture, Status
from fastem.model.params import Noise


def interrupted(model, X, at=3):
    """Return the result that Ctrl-C leaves of a fit."""

    def stop(iteration, *_):
        if iteration == at:
            raise KeyboardInterrupt

    with pytest.raises(FitInterrupted) as caught:
        model.fit(X, callback=stop)
    return caught.value.result


@pytest.mark.parametrize("covariance_type", TYPES)
def test_an_interrupted_fit(two, covariance_type):
    options = dict(covariance_type=covariance_type, random_state=0, tol=0.0, init_params="random_from_data")
    model = GaussianMixture(2, **options)
    result = interrupted(model, two.X)
    assert not hasattr(model, "weights_")
    got = GaussianMixture.from_result(result, **model.get_params())
    assert got.get_params() == model.get_params()
    assert (got.status_, got.converged_, got.n_iter_) == (Status.INTERRUPTED, False, 3)
    assert got.lower_bounds_ == quiet_fit(GaussianMixture(2, max_iter=3, **options), two.X).lower_bounds_
    assert got.fit_report_.starts[0].status is Status.INTERRUPTED
    assert got.n_samples_seen_ == len(two.X)
    for mine, theirs in zip(got.params_[:3], result.params[:3], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert got.score(two.X) == pytest.approx(got.lower_bound_, abs=1e-12)


def test_it_goes_on(two):
    model = GaussianMixture(2, random_state=0, tol=1e-6, max_iter=500)
    got = GaussianMixture.from_result(interrupted(model, two.X), **model.get_params())
    got.set_params(warm_start=True).fit(two.X)
    assert got.converged_
    np.testing.assert_allclose(got.means_, model.fit(two.X).means_, atol=1e-3)


@pytest.mark.parametrize("fit", [fastem.em, fastem.lbfgs])
def test_results_of_functions(two, fit):
    start = GaussianMixture(2, random_state=0).fit(two.X).params_
    got = GaussianMixture.from_result(fit(two.X, start, tol=1e-6))
    assert got.n_components == 2
    assert got.converged_
    assert got.predict(two.X).shape == (len(two.X),)


def test_noise_names_and_float32(two):
    start = GaussianMixture(2, random_state=0).fit(two.X).params_
    D = two.X.shape[1]
    box = np.array([two.X.min(axis=0), two.X.max(axis=0)])
    result = fastem.em(two.X, start._replace(weights=0.9 * start.weights, noise=Noise(0.1, box)))
    names = [f"f{j}" for j in range(D)]
    got = GaussianMixture.from_result(result, dtype="float32", feature_names=names)
    assert got.noise
    assert got.means_.dtype == got.covariances_.dtype == np.float32
    assert got.feature_names_in_.tolist() == names
    assert got.noise_weight_ == result.params.noise.weight
    np.testing.assert_array_equal(got.noise_box_, box)


def test_what_is_no_result_is_refused(two):
    with pytest.raises(ValueError, match=r"needs a fastem\.Result; got None"):
        GaussianMixture.from_result(None)
    model = quiet_fit(GaussianMixture(2, random_state=0), two.X)
    result = fastem.em(two.X, model.params_)
    with pytest.raises(ValueError, match="covariance_type='diag' needs covariances of shape"):
        GaussianMixture.from_result(result, covariance_type="diag")
    huge = result._replace(params=result.params._replace(means=result.params.means + 1e300))
    with pytest.raises(ValueError, match="the means do not fit the range of float32"):
        GaussianMixture.from_result(huge, dtype=np.float32)
    wide = result._replace(params=result.params._replace(covariances=1e300 * result.params.covariances))
    with pytest.raises(ValueError, match="do not fit the range of float32"):
        GaussianMixture.from_result(wide, dtype=np.float32)
    with pytest.raises(TypeError):
        GaussianMixture.from_result(result, no_such_parameter=1)
