"""Classification EM: each row, whole, to its most probable component."""

import numpy as np
import pytest
from helpers import (
    ALL,
    FAMILIES,
    PAIRS,
    from_params,
    make_mixture,
    make_start,
    natural,
    quiet_fit,
    start_params,
    state_bytes,
)
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import GaussianMixture, Status
from fastem.fitting.starts.table import INIT_PARAMS
from fastem.model import reference


def classify(X, params, covariance, n_iter, weight=None):
    """Classification EM as its definition says: mean classification log-likelihoods, and the last parameters."""
    weight, history, stats = np.ones(len(X)) if weight is None else weight, [], None
    for _ in range(n_iter):
        params = params if stats is None else fastem.m_step(stats, covariance)
        resp, joint = reference.assignment(X, params), reference.joint_log_density(X, params)
        history.append(weight @ joint.max(axis=1) / weight.sum())
        stats = reference.moments(X, resp, weight, params.means, params.covariances.shape)
    return history, params


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_follows_its_definition(covariance, weighted):
    mixture = make_mixture(300, 3, 3, spacing=2.5)
    start = start_params(make_start(mixture, covariance), covariance)
    weight = np.random.default_rng(0).integers(1, 4, len(mixture.X)).astype(float) if weighted else None
    history, params = classify(mixture.X, start, covariance, 8, weight)
    got = fastem.em(
        mixture.X, start, covariance_type=covariance, assignment="hard", tol=0.0, max_iter=8, sample_weight=weight
    )
    assert_allclose(got.history, history, rtol=1e-12)
    for a, b in zip(from_params(got.params), from_params(params), strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    total = len(mixture.X) if weight is None else weight.sum()
    assert got.loglik == got.stats.class_loglik == pytest.approx(history[-1] * total)
    soft = fastem.em(mixture.X, start, covariance_type=covariance, tol=0.0, max_iter=8, sample_weight=weight)
    assert abs(soft.history[-1] - history[-1]) > 1e-3


# With noise and without, in turn: of families, and of remedies.
@pytest.mark.parametrize(
    ("covariance", "remedy", "noise"),
    [
        (*pair, (i + j) % 2 > 0)
        for i, family in enumerate(ALL)
        for j, pair in enumerate([(family, None)] * (family in FAMILIES) + [p for p in PAIRS if p[0] == family])
    ],
)
def test_the_objective_never_falls(covariance, remedy, noise):
    mixture, rng = make_mixture(400, 2, 4, spacing=2.0), np.random.default_rng(1)
    X = np.concatenate([mixture.X, rng.uniform(-30, 30, size=(40, 2))])
    box = (0.1, [X.min(axis=0), X.max(axis=0)]) if noise else None
    for seed in range(3):
        means = X[np.random.default_rng(seed).choice(len(X), 4, replace=False)]
        each = np.tile(np.cov(X.T), (4, 1, 1))
        shares = np.full(4, 0.225 if noise else 0.25)
        start = fastem.make_params(shares, means, natural(each, covariance), covariance, box)
        options = dict(covariance_type=covariance, assignment="hard", regularization=remedy, tol=0.0, max_iter=60)
        result = fastem.em(X, start, **options)
        reseeded = [event.iteration for event in result.events if event.what == "reseeded"]
        steps = np.delete(np.diff(result.history), [i - 1 for i in reseeded if i <= len(result.history) - 1])
        assert result.status is not Status.DECREASED
        assert (steps >= -1e-12 * (1 + np.abs(result.history[-1]))).all()


def test_rows_with_a_label_keep_it():
    """The others go to their most probable component; the history is that of this, and never falls."""
    mixture = make_mixture(300, 2, 3, spacing=1.5, seed=1)
    labels = np.where(np.arange(300) % 3 == 0, mixture.labels, -1)
    known, params = labels >= 0, start_params(make_start(mixture, "full"), "full")
    got = fastem.em(mixture.X, params, assignment="hard", labels=labels, tol=0.0, max_iter=6)
    history = []
    for i in range(6):
        joint = reference.joint_log_density(mixture.X, params)
        chosen = np.where(known, labels, joint.argmax(axis=1))
        history.append(joint[np.arange(300), chosen].mean())
        if i < 5:
            params = fastem.m_step(fastem.moments(mixture.X, labels=chosen, n_components=3))
    assert (joint.argmax(axis=1)[known] != labels[known]).sum() > 5
    assert_allclose(got.history, history, rtol=1e-12)
    assert (np.diff(got.history) > -1e-13).all()
    assert_allclose(got.params.means, params.means, rtol=1e-9, atol=1e-9)


def test_the_end_is_a_fixed_point():
    mixture = make_mixture(500, 3, 3, spacing=2.5)
    start = start_params(make_start(mixture, "full"), "full")
    result = fastem.em(mixture.X, start, assignment="hard", tol=1e-13, max_iter=200)
    assert result.status is Status.CONVERGED
    assert result.n_iter < 100
    again = fastem.m_step(result.stats)
    for a, b in zip(again[:3], result.params[:3], strict=True):
        assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    labels = reference.assignment(mixture.X, result.params).argmax(axis=1)
    assert_allclose(again.weights, np.bincount(labels) / len(labels), rtol=1e-12)
    assert_allclose(again.covariances[1], np.cov(mixture.X[labels == 1].T, bias=True), rtol=1e-9)


@pytest.mark.parametrize("init", INIT_PARAMS)
def test_the_class(two, init):
    """The bound is the mean classification log-likelihood of its own labels."""
    options = dict(random_state=0, init_params=init, tol=1e-9, reg_covar=1e-2, max_iter=300, n_init=2)
    model = quiet_fit(GaussianMixture(2, assignment="hard", **options), two.X)
    labels, joint = model.predict(two.X), model._estimate_weighted_log_prob(two.X)
    assert model.converged_
    assert model.lower_bound_ == pytest.approx(joint.max(axis=1).mean(), abs=1e-6)
    assert_allclose(model.weights_, np.bincount(labels, minlength=2) / len(labels), atol=1e-12)
    soft = quiet_fit(GaussianMixture(2, **options), two.X)
    assert model.lower_bound_ < soft.lower_bound_


def test_noise_is_an_assignment_too():
    mixture, rng = make_mixture(500, 2, 2, spacing=8.0), np.random.default_rng(0)
    X = np.concatenate([mixture.X, rng.uniform(-60, 60, size=(50, 2))])
    model = GaussianMixture(2, assignment="hard", noise=True, random_state=0, tol=1e-9).fit(X)
    labels = model.predict(X)
    assert model.noise_weight_ == pytest.approx((labels == -1).mean())
    assert (labels[-50:] == -1).mean() > 0.8


def test_float32_and_streams(two):
    """Rows that are read anew give the same bits; float32 rows the same fit, to their rounding."""
    model = GaussianMixture(2, assignment="hard", random_state=0, tol=1e-6)
    whole = state_bytes(model.fit(two.X))
    blocks = [two.X[:100], two.X[100:350], two.X[350:]]
    assert state_bytes(model.fit(lambda: iter(blocks))) == whole
    single = GaussianMixture(2, assignment="hard", random_state=0, tol=1e-6).fit(two.X.astype("f4"))
    assert_allclose(single.means_, model.means_, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_goes_on(two, tmp_path):
    options = dict(assignment="hard", fixed=("weights",), random_state=0, tol=1e-12, n_init=3, init_params="random")
    whole = GaussianMixture(2, **options).fit(two.X)
    file = tmp_path / "c.npz"
    count = iter(range(100))
    GaussianMixture(2, **options).fit(two.X, checkpoint=file, callback=lambda *_: next(count) == 7)
    assert state_bytes(GaussianMixture(2, **options).fit(two.X, checkpoint=file)) == state_bytes(whole)
    with pytest.raises(ValueError, match=r"another fit, with assignment 'hard' .here 'soft'"):
        GaussianMixture(2, **(options | {"assignment": "soft"})).fit(two.X, checkpoint=file)


def test_what_is_refused(two):
    start = start_params(make_start(two, "full"), "full")
    for bad in ("firm", None, 1):
        with pytest.raises(ValueError, match="The 'assignment' parameter of GaussianMixture must be a str among"):
            GaussianMixture(2, assignment=bad).fit(two.X)
        with pytest.raises(ValueError, match="The 'assignment' parameter of em must be a str among"):
            fastem.em(two.X, start, assignment=bad)
    model = GaussianMixture(2, random_state=0).fit(two.X)
    with pytest.raises(ValueError, match="partial_fit does not work with assignment='hard'"):
        model.set_params(assignment="hard").partial_fit(two.X)


def test_labels_of_ties():
    """The first of equals, in the pass and in scores."""
    X = np.array([[0.0], [1.0], [2.0]])
    params = fastem.make_params([0.5, 0.5], [[0.0], [2.0]], [1.0, 1.0], "spherical")
    result = fastem.em(X, params, covariance_type="spherical", assignment="hard", max_iter=1)
    assert_array_equal(result.stats.s0, [2.0, 1.0])
    model = GaussianMixture.from_parameters(*params[:2], [1.0, 1.0], "spherical")
    assert_array_equal(model.predict(X), [0, 0, 1])
