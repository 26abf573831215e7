"""The order of components: aligned to another fit's, or canonical."""

import numpy as np
import pytest
from helpers import FAMILIES, expand, make_mixture, natural, quiet_fit
from hypothesis import given, settings
from hypothesis import strategies as st

from fastem import GaussianMixture
from fastem.analysis.align import divergences
from fastem.estimators.state import family_of

ARRAYS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def _model(covariance_type, k=5, d=3, seed=0):
    mixture = make_mixture(200, d, k, spacing=2.0, seed=seed)
    covariances = natural(mixture.covariances, covariance_type, mixture.weights)
    return GaussianMixture.from_parameters(mixture.weights, mixture.means, covariances, covariance_type)


def _shuffled(model, order):
    """Parameters in another order, by hand."""
    covariances = model.covariances_ if family_of(model).shared else model.covariances_[order]
    return GaussianMixture.from_parameters(
        model.weights_[order], model.means_[order], covariances, model.covariance_type
    )


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(5)), st.sampled_from(FAMILIES))
def test_a_permutation_is_undone(order, covariance_type):
    model = _model(covariance_type)
    back = _shuffled(model, np.array(order)).align_to(model)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(model, name), err_msg=name)
    for a, b in zip(back.params_, model.params_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_all_attributes_move_together(two, covariance_type, dtype):
    """Probabilities are those of the columns' new order, all else stays; the estimator itself is left alone."""
    X = two.X.astype(dtype)
    model = quiet_fit(GaussianMixture(3, covariance_type=covariance_type, random_state=0), X)
    before = {name: getattr(model, name).tobytes() for name in ARRAYS}
    for other in (model.sort_components("weight"), model.align_to(_shuffled(model, np.array([2, 0, 1])))):
        order = [int(np.flatnonzero((model.means_ == mean).all(axis=1))[0]) for mean in other.means_]
        np.testing.assert_allclose(
            model.predict_proba(X)[:, order], other.predict_proba(X), rtol=1e-5 if dtype == "f4" else 1e-12
        )
        for name in ARRAYS:
            shared = covariance_type.startswith("tied") and name not in ("weights_", "means_")
            want = getattr(model, name) if shared else getattr(model, name)[order]
            np.testing.assert_array_equal(getattr(other, name), want)
            assert getattr(other, name).dtype == dtype
        assert (other.lower_bounds_, other.n_iter_, other.status_) == (
            model.lower_bounds_,
            model.n_iter_,
            model.status_,
        )
        assert other.get_params() == model.get_params()
    assert before == {name: getattr(model, name).tobytes() for name in ARRAYS}


def test_fits_of_two_seeds(two):
    """Bootstrap samples: each component near its own, whatever the start's order."""
    mixture = make_mixture(3000, 3, 4, spacing=8.0)
    reference = GaussianMixture(4, random_state=0, init_params="auto").fit(mixture.X)
    rng = np.random.default_rng(0)
    for _ in range(3):
        rows = rng.integers(0, 3000, 3000)
        model = GaussianMixture(4, random_state=1, init_params="auto").fit(mixture.X[rows])
        model = _shuffled(model, rng.permutation(4)).align_to(reference)
        np.testing.assert_allclose(model.means_, reference.means_, atol=0.5)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_divergence_is_that_of_the_formula(covariance_type):
    a, b = _model(covariance_type, seed=1), _model("full", seed=2)
    got = divergences(a.params_, b.params_)
    A, B = expand(a.covariances_, covariance_type, 5, 3), b.covariances_
    for i in range(5):
        for j in range(5):
            P, Q = np.linalg.inv(A[i]), np.linalg.inv(B[j])
            step = a.means_[i] - b.means_[j]
            want = 0.5 * (np.trace(P @ B[j]) + np.trace(Q @ A[i]) - 6 + step @ (P + Q) @ step)
            assert got[i, j] == pytest.approx(want, rel=1e-10)


def test_no_unit_matters():
    a, b = _model("full", seed=1), _model("full", seed=2)
    T = np.array([[1e3, 0.0, 0.0], [2.0, 1e-4, 0.0], [5.0, -1.0, 1.0]])

    def moved(model):
        return GaussianMixture.from_parameters(model.weights_, model.means_ @ T.T + 7.0, T @ model.covariances_ @ T.T)

    np.testing.assert_allclose(
        divergences(moved(a).params_, moved(b).params_), divergences(a.params_, b.params_), rtol=1e-6
    )


def test_a_component_without_a_like_leaves_the_others_in_place():
    """0, 1, 2 and 1, 2, 9: least squares would shift all three by one."""
    ones = np.ones(3)
    reference = GaussianMixture.from_parameters(ones / 3, [[0.0], [4.0], [8.0]], ones, "spherical")
    model = GaussianMixture.from_parameters(ones / 3, [[4.0], [8.0], [12.0]], ones, "spherical")
    np.testing.assert_array_equal(model.align_to(reference).means_.ravel(), [12.0, 4.0, 8.0])


def test_canonical_orders():
    model = GaussianMixture.from_parameters(
        [0.2, 0.3, 0.3, 0.2], [[1.0, 5.0], [3.0, 0.0], [1.0, 2.0], [0.0, 9.0]], np.ones(4), "spherical"
    )
    np.testing.assert_array_equal(model.sort_components().means_, [[0, 9], [1, 2], [1, 5], [3, 0]])
    np.testing.assert_array_equal(model.sort_components("weight").means_, [[1, 2], [3, 0], [0, 9], [1, 5]])
    with pytest.raises(ValueError, match="by must be one of means, weight; got 'size'"):
        model.sort_components("size")


def test_refused(two):
    with pytest.raises(ValueError, match="as many components"):
        _model("full", k=3).align_to(_model("full", k=4))
    with pytest.raises(ValueError, match="as many components and features"):
        _model("full", d=2).align_to(_model("full"))
    for call in (lambda: GaussianMixture(2).align_to(_model("full")), lambda: GaussianMixture(2).sort_components()):
        with pytest.raises(ValueError, match="not fitted"):
            call()
