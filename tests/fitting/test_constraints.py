"""Parameters held fixed, and covariances that all components share."""

import itertools

import numpy as np
import pytest
from helpers import (
    ALL,
    FAMILIES,
    PAIRS,
    expand,
    make_mixture,
    make_start,
    natural,
    quiet_fit,
    start_params,
    state_bytes,
)
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import GaussianMixture, KMeans, Status
from fastem.fitting.models import model_for
from fastem.model import reference
from fastem.model.families import COVARIANCES
from fastem.model.maximisation import held_parameters
from fastem.model.remedies.table import find_remedy
from fastem.sources.blocks import ArraySource

NAMES = ("weights", "means", "covariances")
SUBSETS = [names for size in (1, 2, 3) for names in itertools.combinations(NAMES, size)]
STARTS = {"weights": "weights_init", "means": "means_init", "covariances": "precisions_init"}


def problem(covariance, n=400, k=3, d=3):
    mixture = make_mixture(n, d, k, spacing=2.0, seed=3)
    return mixture.X, make_start(mixture, covariance)


def held_model(X, params, covariance, fixed, regularization=None):
    held = held_parameters(fixed, params.weights, params.means, params[2:4])
    return model_for(ArraySource(X), covariance, find_remedy(regularization), held)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("fixed", SUBSETS, ids="+".join)
def test_the_m_step_by_hand(covariance, fixed):
    """What is not held is the maximum given what is: covariances are about the means that are held."""
    X, start = problem(covariance)
    params = start_params(start, covariance)
    stats = fastem.accumulate(X, params)
    got = held_model(X, params, covariance, fixed).update(stats)
    resp = reference.responsibilities(X, params)
    mass = resp.sum(axis=0)
    means = params.means if "means" in fixed else resp.T @ X / mass[:, None]
    z = X[:, None] - means
    scatter = np.einsum("nk,nki,nkj->kij", resp, z, z) / mass[:, None, None]
    weights = params.weights if "weights" in fixed else mass / len(X)
    assert_allclose(got.weights, weights, rtol=1e-12)
    assert_allclose(got.means, means, rtol=1e-12)
    if "covariances" in fixed:
        assert_array_equal(got.covariances, params.covariances)
        assert_array_equal(got.factor, params.factor)
    else:
        want = natural(scatter, covariance, mass)
        assert_allclose(got.covariances.reshape(want.shape), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("covariance", ALL)
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_em_is_monotone_and_holds_them(covariance, assignment):
    X, start = problem(covariance)
    params = start_params(start, covariance)
    remedies = (None, *(remedy for family, remedy in PAIRS if family == covariance))
    cases, turn = [*itertools.product(SUBSETS, remedies)], (ALL.index(covariance) + (assignment == "hard")) % 2
    for fixed, remedy in cases[turn::2]:  # either assignment, in turn from family to family
        options = dict(covariance_type=covariance, assignment=assignment, fixed=fixed, regularization=remedy)
        result = fastem.em(X, params, **options, tol=0.0, max_iter=12)
        assert result.status is Status.MAX_ITER, result
        first = result.history[0]
        assert (np.diff(result.history) >= -1e-13 * (1 + abs(first))).all(), (fixed, remedy)
        for name in fixed:
            tolerance = 1e-15 if name == "weights" else 0.0
            assert_allclose(getattr(result.params, name), getattr(params, name), rtol=tolerance, err_msg=f"{fixed}")
        for name in set(NAMES) - set(fixed):
            assert np.abs(getattr(result.params, name) - getattr(params, name)).max() > 1e-6


def test_the_map_m_step_about_held_means():
    """No covariance nearby has a larger objective: the prior of means that are held pulls at the covariances alone."""
    X, start = problem("full", d=2)
    params = start_params(start, "full")
    resp = reference.responsibilities(X, params)
    model = held_model(X, params, "full", ("means",), fastem.InverseWishart(5.0))
    best = model.update(fastem.accumulate(X, params))

    def objective(covariances):
        other = fastem.make_params(best.weights, best.means, covariances)
        joint = reference.joint_log_density(X, other)
        return (resp * joint).sum() + model.remedy.log_prior(other, model.family, model.units)

    rng, top = np.random.default_rng(0), objective(best.covariances)
    for size in np.repeat([1e-3, 1e-2, 1e-1], 30):
        shake = np.eye(2) + size * rng.normal(size=(3, 2, 2))
        assert objective(shake @ best.covariances @ shake.swapaxes(1, 2)) < top


@pytest.mark.parametrize("covariance", ALL)
def test_free_parameters_are_counted(covariance):
    X, start = problem(covariance)
    k, d = start["means_init"].shape
    sizes = {"weights": k - 1, "means": k * d, "covariances": COVARIANCES[covariance].n_parameters(k, d)}
    for fixed in ((), *SUBSETS):
        model = quiet_fit(GaussianMixture(k, covariance_type=covariance, fixed=fixed, max_iter=2, **start), X)
        p = sum(sizes[name] for name in NAMES if name not in fixed)
        assert model.aic(X) == pytest.approx(-2 * model.score(X) * len(X) + 2 * p)
        assert model.bic(X) == pytest.approx(-2 * model.score(X) * len(X) + np.log(len(X)) * p)
        for name in fixed:
            assert_allclose(getattr(model, {"covariances": "precisions"}.get(name, name) + "_"), start[STARTS[name]])


@pytest.mark.parametrize(("covariance", "n"), [("tied_diag", 4), ("tied_spherical", 1)])
def test_shared_variances(covariance, n):
    """Shapes, scores and samples, against the same mixture with a covariance for each component."""
    mixture = make_mixture(2000, 4, 3, spacing=6.0)
    model = quiet_fit(GaussianMixture(3, covariance_type=covariance, random_state=0, tol=1e-6), mixture.X)
    assert model.covariances_.shape == model.precisions_.shape == COVARIANCES[covariance].natural_shape(3, 4)
    assert model.covariances_.size == n
    same = GaussianMixture.from_parameters(model.weights_, model.means_, expand(model.covariances_, covariance, 3, 4))
    assert_allclose(model.score_samples(mixture.X), same.score_samples(mixture.X), rtol=1e-10)
    assert_allclose(model.predict_proba(mixture.X), same.predict_proba(mixture.X), atol=1e-10)
    assert_allclose(model.precisions_ * model.covariances_, 1.0)
    rows, y = model.set_params(random_state=1).sample(50_000)
    within = np.mean([np.var(rows[y == k], axis=0) for k in range(3)], axis=0)
    assert_allclose(within, np.broadcast_to(model.covariances_, 4), rtol=0.1)
    wider = quiet_fit(GaussianMixture(3, covariance_type=covariance, warm_start=True), mixture.X)
    assert_array_equal(wider.fit(mixture.X).covariances_.shape, model.covariances_.shape)


def test_equal_weights(two):
    """Without weights_init they are 1/K; with noise, of what that leaves."""
    model = GaussianMixture(3, fixed=("weights",), random_state=0).fit(two.X)
    assert_allclose(model.weights_, [1 / 3] * 3)
    noisy = GaussianMixture(2, fixed=("weights",), noise=True, random_state=0).fit(two.X)
    assert noisy.weights_[0] == noisy.weights_[1] == pytest.approx((1 - noisy.noise_weight_) / 2)
    uneven = GaussianMixture(2, fixed=("weights",), weights_init=[0.2, 0.8], noise=True, random_state=0).fit(two.X)
    assert uneven.weights_[1] / uneven.weights_[0] == pytest.approx(4)
    assert noisy.noise_weight_ > 0


@pytest.mark.parametrize("init", ["kmeans", "auto"])
def test_starts_use_what_is_held(two, init):
    """Rows start with the nearest of the means that are held, whatever their order."""
    means = two.means[::-1]
    model = GaussianMixture(2, means_init=means, fixed=("means",), init_params=init, max_iter=0).fit(two.X)
    nearest = KMeans(2, init=means, max_iter=1).fit(two.X)
    labels = ((two.X[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert_array_equal(model.means_, means)
    assert_allclose(model.weights_, np.bincount(labels) / len(labels))
    assert nearest.n_iter_ == 1
    full = GaussianMixture(2, fixed=("covariances",), precisions_init=[np.eye(3)] * 2, init_params=init, random_state=0)
    assert_array_equal(quiet_fit(full, two.X).covariances_, [np.eye(3)] * 2)


def test_every_remedy_and_reseeding_leave_it_alone():
    """A component without rows is reseeded where its weights or covariance are held, and not where its mean is."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(300, 2)), rng.normal(9.0, 1.0, size=(300, 2))])
    start = dict(weights_init=[0.4, 0.3, 0.3], means_init=[[0.0, 0.0], [9.0, 9.0], [900.0, 900.0]])
    start["precisions_init"] = [np.eye(2)] * 3
    for name in NAMES:
        model = GaussianMixture(3, regularization="ridge", fixed=(name,), tol=1e-6, max_iter=500, **start)
        quiet_fit(model, X)
        events = [event.what for event in model.fit_report_.events]
        assert ("reseeded" in events) == (name != "means"), (name, events)
        assert model.status_ is not Status.DECREASED
        stored = {"covariances": "precisions"}.get(name, name)
        assert_allclose(getattr(model, f"{stored}_"), start[STARTS[name]], rtol=1e-12)


def test_saved_and_loaded(two, tmp_path):
    model = GaussianMixture(2, fixed=("weights",), covariance_type="tied_spherical", random_state=0).fit(two.X)
    fastem.save(model, tmp_path / "m.npz")
    other = fastem.load(tmp_path / "m.npz")
    assert other.fixed == ("weights",)
    assert other.bic(two.X) == model.bic(two.X)
    assert_array_equal(other.covariances_, model.covariances_)
    assert other.covariances_.shape == ()


def test_warm_start_holds_what_is_given(two):
    model = GaussianMixture(2, random_state=0, max_iter=3)
    quiet_fit(model, two.X)
    model.set_params(warm_start=True, fixed=("means",), means_init=two.means)
    assert_array_equal(quiet_fit(model, two.X).means_, two.means)


def test_what_is_refused(two):
    for fixed in ("weights", ("sigma",), 3, (None,)):
        with pytest.raises(ValueError, match="The 'fixed' parameter of GaussianMixture must be a tuple of names among"):
            GaussianMixture(2, fixed=fixed).fit(two.X)
    for name, start in (("means", "means_init"), ("covariances", "precisions_init")):
        with pytest.raises(ValueError, match=f"holds the {name} at their start, which is to be given as {start}"):
            GaussianMixture(2, fixed=(name,)).fit(two.X)
    with pytest.raises(ValueError, match="on_collapse='drop' does not work with fixed="):
        GaussianMixture(2, fixed=("weights",), regularization="map", on_collapse="drop").fit(two.X)
    model = GaussianMixture(2, random_state=0).fit(two.X)
    with pytest.raises(ValueError, match="partial_fit does not work with fixed="):
        model.set_params(fixed=("weights",)).partial_fit(two.X)
    before = state_bytes(model)
    with pytest.raises(ValueError, match="fixed"):
        model.set_params(fixed=("means",)).fit(two.X)
    assert state_bytes(model) == before


def test_k_means_is_a_special_case():
    """Classification EM with equal weights and one sphere: the same labels after each pass."""
    mixture = make_mixture(700, 4, 5, spacing=1.5, seed=2)
    X, centres = mixture.X, mixture.X[:5]
    n_iter = KMeans(5, init=centres, tol=0).fit(X).n_iter_
    assert n_iter > 5
    model = GaussianMixture(
        5, covariance_type="tied_spherical", assignment="hard", fixed=("weights",), reg_covar=0.0, tol=0.0,
        means_init=centres, precisions_init=1.0,
    )  # fmt: skip
    for passes in range(1, n_iter + 1):
        means = KMeans(5, init=centres, tol=0, max_iter=passes).fit(X)
        quiet_fit(model.set_params(max_iter=passes), X)
        assert_array_equal(model.predict(X), means.labels_)
        assert_allclose(model.means_, means.cluster_centers_, rtol=1e-10, atol=1e-10)
    assert model.covariances_ * X.size == pytest.approx(means.inertia_)
