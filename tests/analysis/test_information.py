"""Scores of rows and the information: against finite differences, closed forms and the Hessian."""

import pickle

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, quiet_fit
from numpy.testing import assert_allclose

import fastem
from fastem import GaussianMixture, Parametrization, SingularInformationError
from fastem.analysis.information import empirical_information, jacobian_of_numbers, row_scores
from fastem.model import reference
from fastem.model.families import COVARIANCES
from fastem.model.numbers import Numbers

STEP = 1e-5


def fit(D, K, covariance_type, noise=False, n=300, spacing=3.0):
    X = make_mixture(n, D, K, spacing=spacing).X
    model = GaussianMixture(K, covariance_type=covariance_type, noise=noise, reg_covar=0, tol=1e-9, max_iter=3000)
    return quiet_fit(model.set_params(random_state=0), X), X


def differences(function, P):
    """The central differences of a function of the coordinates at 0, one column each."""
    return np.stack([(function(STEP * e) - function(-STEP * e)) / (2 * STEP) for e in np.eye(P)], axis=-1)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(("D", "K", "noise"), [(1, 1, False), (1, 3, False), (3, 2, False), (3, 2, True)])
def test_scores_and_jacobian_are_those_of_finite_differences(D, K, noise, covariance_type):
    model, X = fit(D, K, covariance_type, noise)
    params = model.params_
    space = Parametrization.around(params)
    scores = row_scores(X, reference.responsibilities(X, params), params)
    wanted = differences(lambda theta: reference.log_density(X, space.unpack(theta)), space.unit.size)
    assert_allclose(scores, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
    numbers = Numbers.of(params, COVARIANCES[covariance_type])

    def vector(theta):
        moved = space.unpack(theta)
        return numbers.join(moved.shares, moved.means, moved.covariances)

    wanted = differences(vector, space.unit.size)
    assert_allclose(jacobian_of_numbers(params), wanted, atol=1e-7 * np.abs(wanted).max())


def test_the_information_is_the_sum_of_products_of_scores_over_blocks_and_weights():
    model, X = fit(2, 2, "full")
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    scores = row_scores(X, reference.responsibilities(X, model.params_), model.params_)
    wanted = (weight[:, None] * scores).T @ scores
    in_memory = fastem.as_source(X, weight)
    in_blocks = fastem.as_source(lambda: zip(np.array_split(X, 7), np.array_split(weight, 7), strict=True))
    for source in (in_memory, in_blocks):
        assert_allclose(empirical_information(source, model.params_), wanted, rtol=1e-10, atol=1e-8)


def test_a_mixture_of_one_has_the_standard_errors_of_mean_and_variance():
    X = np.random.default_rng(0).gamma(3.0, size=(500, 1))
    errors = GaussianMixture(1, reg_covar=0).fit(X).standard_errors(X)
    z = (X[:, 0] - X.mean()) / X.std()
    scores = np.stack([z / X.std(), (z**2 - 1) / (2 * X.var())])  # by mean and variance
    wanted = np.linalg.inv(scores @ scores.T)
    assert_allclose(errors.covariance, np.pad(wanted, ((1, 0), (1, 0))), rtol=1e-10, atol=1e-14)
    assert errors.weights_.tolist() == [0.0]


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_standard_errors_are_those_of_the_hessian_for_many_rows_of_a_true_model(covariance_type):
    """The Hessian is that of the log-likelihood, by differences of its gradient."""
    rng = np.random.default_rng(0)
    n, means = 100_000, np.array([[0.0, 0.0], [2.5, 1.0]])
    X = means[(rng.uniform(size=n) < 0.4).astype(int)] + rng.normal(size=(n, 2))
    start = dict(weights_init=[0.6, 0.4], means_init=means, reg_covar=0, tol=1e-9, max_iter=2000)
    model = quiet_fit(GaussianMixture(2, covariance_type=covariance_type, random_state=0, solver="auto", **start), X)
    errors, space = model.standard_errors(X), Parametrization.of(model.params_)
    theta = space.pack(model.params_)

    def gradient(step):
        return fastem.log_likelihood_and_gradient(X, space.unpack(theta + step))[1]

    hessian = -differences(gradient, theta.size)
    numbers = Numbers.of(model.params_, COVARIANCES[covariance_type])

    def vector(step):
        moved = space.unpack(theta + step)
        return numbers.join(moved.shares, moved.means, moved.covariances)

    jacobian = differences(vector, theta.size)
    wanted = np.sqrt(np.diagonal(jacobian @ np.linalg.pinv((hessian + hessian.T) / 2, rcond=1e-9) @ jacobian.T))
    assert_allclose(errors.vector, wanted, rtol=0.05)


def test_rows_that_do_not_determine_the_parameters_are_a_named_error():
    X = make_mixture(30, 4, 3, spacing=8.0).X
    model = quiet_fit(GaussianMixture(3, random_state=0), X)
    with pytest.raises(SingularInformationError, match=r"30 rows do not determine the 44 free parameters.*bootstrap"):
        model.standard_errors(X)
    twice = GaussianMixture.from_parameters([0.5, 0.25, 0.25], [[0.0], [5.0], [5.0]], [1.0] * 3, "spherical")
    with pytest.raises(SingularInformationError) as caught:
        twice.standard_errors(np.random.default_rng(0).normal([0, 5], size=(400, 2)).reshape(-1, 1))
    assert caught.value.components == [1, 2]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.components, str(again)) == ([1, 2], str(caught.value))
