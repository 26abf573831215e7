"""The search of init_params="auto" for posteriors: what moves promise, where they lead, and what it leaves alone."""

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, quiet_fit
from numpy.testing import assert_allclose
from scipy.special import logsumexp, xlogy

import fastem
from fastem import BayesianGaussianMixture, Status
from fastem.estimators.bayesian.training import moments_of
from fastem.fitting.starts import posterior_search
from fastem.fitting.starts.moves import Members
from fastem.fitting.starts.posterior_search import Cells, Move, find_merges, search, settle
from fastem.model.families import find_family
from fastem.model.variational import Prior
from fastem.model.variational_model import VariationalModel
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource

PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")
CENTRES = np.array([[0, 0], [6, 0], [14, 0], [7, 9]])


def fit(X, sample_weight=None, **options):
    options = dict(n_components=6, init_params="auto", solver="auto", max_iter=500, random_state=0) | options
    return quiet_fit(BayesianGaussianMixture(**options), X, sample_weight=sample_weight)


def four_clusters(n=800):
    rng = np.random.default_rng(0)
    return CENTRES[rng.choice(4, p=[0.1, 0.2, 0.3, 0.4], size=n)] + rng.normal(size=(n, 2))


def model_of(X, family="full", sticks=True, reg_covar=0.0):
    kind = find_family(family)
    mean, scatter = moments_of(ArraySource(X), kind)
    return VariationalModel(Prior(sticks, 0.2, 1.0, mean, float(X.shape[1]), scatter), kind, reg_covar)


def start_of(X, model, labels, K):
    stats = fastem.moments(X, labels=labels, n_components=K, covariance_type=model.family.name)
    return Cells.of(stats, model.update(stats), model)


def bound_of(model, X, resp):
    """Return the exact bound of responsibilities and the posterior that they make, by plain NumPy but for `update`."""
    mass, shape = resp.sum(axis=0), model.family.shape(resp.shape[1], X.shape[1])
    means = resp.T @ X / np.maximum(mass, 1e-300)[:, None]
    away = X[:, None] - means
    s2 = np.einsum("nk,nki,nkj->kij", resp, away, away)
    if shape[-2] == 1:
        s2 = np.einsum("kii->ki", s2)[:, None]
        s2 = s2 if shape[-1] > 1 else s2.sum(axis=-1, keepdims=True)
    s2 = s2.sum(axis=0, keepdims=True) if shape[0] == 1 else s2
    stats = fastem.Stats(np.nan, np.nan, np.nan, mass, np.zeros_like(means), s2, means, len(X))
    posterior = model.update(stats)
    joint = score(ArraySource(X), posterior, joint=True).joint
    return float((resp * joint).sum() - xlogy(resp, resp).sum() - posterior.divergence(model.prior))


@pytest.mark.parametrize(("family", "sticks"), [(family, i % 2 == 0) for i, family in enumerate(FAMILIES)])
def test_a_merge_gains_what_it_promises(family, sticks):
    """The bound of merged responsibilities is known without a pass."""
    X = make_mixture(300, 2, 3, spacing=2.0, seed=3).X
    model = model_of(X, family, sticks)
    labels = (np.arange(300) % 3).astype(np.int64)
    best = settle(ArraySource(X), start_of(X, model, labels, 3), model)
    joint = score(ArraySource(X), best.params, joint=True).joint
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    moves = find_merges(best, Members.of(ArraySource(X), best.params), np.arange(3), model)
    assert len(moves) == 3
    for move in moves:
        merged = resp.copy()
        merged[:, move.pair[0]] += merged[:, move.pair[1]]
        merged[:, move.pair[1]] = 0.0
        assert move.promise == pytest.approx(bound_of(model, X, merged) - bound_of(model, X, resp), abs=1e-6)


@pytest.mark.parametrize("sticks", [True, False])
@pytest.mark.parametrize("free", [0, 2])
def test_moves_leave_a_wrong_optimum(free, sticks):
    """Two clusters share a component and one is cut in two, with components left over and without."""
    X = four_clusters()
    model = model_of(X, sticks=sticks)
    nearest = ((X[:, None] - CENTRES) ** 2).sum(axis=2).argmin(axis=1)
    wrong = np.array([0, 0, 1, 3])[nearest] + ((nearest == 2) & (X[:, 1] > 0))
    stuck = settle(ArraySource(X), start_of(X, model, wrong, 4 + free), model)
    right = settle(ArraySource(X), start_of(X, model, nearest, 4 + free).in_order(model), model)
    assert right.history[-1] > stuck.history[-1] + 30
    stats, events = search(ArraySource(X), stuck.stats, model, np.ones(2))
    found = settle(ArraySource(X), Cells.of(stats, model.update(stats), model), model)
    assert found.history[-1] == pytest.approx(right.history[-1], abs=0.1)
    assert events[-1].what == "searched"
    assert sum(event.change for event in events[:-1]) == pytest.approx(events[-1].change)
    assert {event.what for event in events[:-1]} == {"moved"}


def test_sticks_are_in_order_and_others_by_their_means():
    X = four_clusters()
    for kind in PRIOR_TYPES:
        model = fit(X, weight_concentration_prior_type=kind)
        assert model.n_components_in_use_ == 4
        rows = model.mean_precision_ - 1
        used = rows > 0.5
        if kind == "dirichlet_process":
            assert (np.diff(rows[used]) < 0).all()
        else:
            assert (np.diff(model.means_[used, 0]) > 0).all()


@pytest.mark.slow
def test_it_ends_no_lower_than_kmeans():
    """On six problems, with two components too many; on some of them far higher."""
    gains = []
    for seed in range(6):
        X = make_mixture(300, 2, 4, spacing=3.0, seed=seed).X
        options = dict(n_components=6, weight_concentration_prior_type=PRIOR_TYPES[seed % 2], random_state=seed)
        gains.append(fit(X, **options).elbo(X) - fit(X, init_params="kmeans", **options).elbo(X))
    assert min(gains) > -1.0
    assert max(gains) > 1.0


@pytest.mark.parametrize(("family", "kind"), [(family, PRIOR_TYPES[i % 2]) for i, family in enumerate(FAMILIES[1:4])])
def test_all_families(family, kind):
    X = four_clusters(600)
    model = fit(X, covariance_type=family, weight_concentration_prior_type=kind)
    assert model.status_ is Status.CONVERGED
    assert model.n_components_in_use_ == 4
    assert any(event.what == "searched" for event in model.fit_report_.events)


def test_repeated_rows_are_weights_and_the_bits_do_not_depend_on_threads():
    X, weight = four_clusters(300), np.random.default_rng(1).integers(1, 3, 300)
    weighted, repeated = fit(X, weight), fit(np.repeat(X, weight, axis=0))
    assert_allclose(weighted.means_, repeated.means_, rtol=1e-6)
    assert weighted.lower_bounds_ == fit(X, weight, n_threads=1).lower_bounds_


def test_a_sample_stands_for_all_rows(monkeypatch):
    monkeypatch.setattr(posterior_search, "RACE_ROWS", 300)
    X = four_clusters(3000)
    model = quiet_fit(
        BayesianGaussianMixture(n_components=6, init_params="auto", random_state=0, max_iter=0, reg_covar=0.0), X
    )
    assert model.mean_precision_.sum() == pytest.approx(3000 + 6)
    assert fit(X).n_components_in_use_ == 4
    weights, found = [], posterior_search.search_on_sample

    def look(sample, *args):
        weights.append((sample.n_rows, sample.sum_w))
        return found(sample, *args)

    monkeypatch.setattr(posterior_search, "search_on_sample", look)
    model, rng = model_of(X), np.random.RandomState(0)
    for source in (ArraySource(X), ArraySource(X[:300], np.full(300, 10.0)), ArraySource(X[:200], np.full(200, 2.0))):
        begun = posterior_search.from_posterior_search(source, 5, model, rng)
        assert begun.stats.sum_w == pytest.approx(source.sum_w)
    assert weights == [(300, pytest.approx(300)), (300, pytest.approx(300)), (200, pytest.approx(400))]


def test_small_and_odd_rows():
    one = fit(four_clusters(50), n_components=1)
    assert not one.fit_report_.events
    assert fit(four_clusters(50), n_components=2).n_components_in_use_ <= 2
    few = fit(four_clusters(8), n_components=8)
    assert np.isfinite(few.elbo(four_clusters(8)))
    X = np.column_stack([four_clusters(60), np.ones(60)])
    assert np.isfinite(fit(X).means_).all()
    with pytest.raises(ValueError, match="Column 2 of X is constant"):
        fit(X, reg_covar=0)


def test_words_for_moves():
    assert str(Move(0.0, (1, 2))) == "two components merged"
    assert str(Move(0.0, (), (0,))) == "one cut in two"
    assert str(Move(0.0, (1, 2), (0,))) == "two components merged and one cut in two"
