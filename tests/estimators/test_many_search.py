"""`fit_many(init_params="auto")`: what moves promise, what they make, and that groups end at better optima."""

import numpy as np
import pytest
from helpers import TYPES, make_mixture, outcome
from scipy import stats as sps

import fastem
from fastem.estimators.groups import search as groups
from fastem.estimators.groups.partition import Partition
from fastem.fitting.starts import moves as one
from fastem.model import reference
from fastem.model.families import COVARIANCES
from fastem.model.params import Params

SIZES = np.full(12, 150)
COLUMN = np.array([0.0, 4.0, 8.0, 30.0])  # three clusters near each other, and one far away: k-means often cuts that


@pytest.fixture(scope="module")
def rows():
    """Twelve groups, each of four clusters on a line."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, SIZES.sum(), p=[0.15, 0.15, 0.15, 0.55])
    return np.column_stack([COLUMN[labels], np.zeros(len(labels))]) + rng.normal(size=(len(labels), 2))


def quiet(*args, **options):
    """fit_many without the warning about groups that did not converge."""
    value, error, _ = outcome(lambda: fastem.fit_many(*args, **options))
    if error:
        raise error
    return value


def fit(rows, covariance_type="full", init_params="auto", **options):
    options = {"sizes": SIZES, "n_components": 4, "random_state": 0, "tol": 1e-6, "max_iter": 2000} | options
    return quiet(rows, covariance_type=covariance_type, init_params=init_params, **options)


def test_groups_end_where_em_from_the_truth_does(rows):
    truth = {"means_init": np.column_stack([COLUMN, np.zeros(4)]), "weights_init": np.full(4, 0.25)}
    best = fit(rows, init_params="kmeans", precisions_init=np.tile(np.eye(2), (4, 1, 1)), **truth)
    plain, found = fit(rows, init_params="kmeans"), fit(rows)
    assert (plain.lower_bound < best.lower_bound - 0.01).sum() >= 3
    assert (found.lower_bound > best.lower_bound - 2e-3).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_no_group_is_worse(rows, covariance_type):
    plain, found = fit(rows, covariance_type, "kmeans"), fit(rows, covariance_type)
    gain = found.lower_bound - plain.lower_bound
    assert ((gain == 0) | (gain > groups.LEAST_GAIN)).all()
    assert (gain > 0.01).any()
    labels = np.arange(12)
    for label in labels[gain > 0.01]:
        X = rows[150 * label : 150 * (label + 1)]
        assert found.model(label).score(X) == pytest.approx(found.lower_bound[label], abs=2e-3)
    np.testing.assert_array_equal(found.means[gain == 0], plain.means[gain == 0])


def test_groups_of_any_size_do_not_depend_on_each_other(rows):
    sizes = np.array([300, 20, 600, 3, 877])
    whole = fit(rows, sizes=sizes)
    first = fit(rows[:320], sizes=sizes[:2])
    np.testing.assert_allclose(whole.means[:2], first.means, rtol=1e-12)
    assert whole.status[3].name == "TOO_FEW_ROWS"


def test_a_weight_is_a_number_of_rows(rows):
    rng = np.random.default_rng(1)
    weight = rng.integers(1, 3, len(rows))
    start = {"means_init": np.column_stack([[30.0, 29.0, 31.0, 4.0], np.zeros(4)])}
    once = fit(rows, sample_weight=weight, **start)
    sizes = np.add.reduceat(weight, np.arange(0, len(rows), 150))
    twice = fit(np.repeat(rows, weight, axis=0), sizes=sizes, **start)
    np.testing.assert_allclose(once.means, twice.means, rtol=1e-6, atol=1e-6)


def test_two_components_have_no_moves(rows):
    plain, found = (fit(rows, init_params=how, n_components=2) for how in ("kmeans", "auto"))
    np.testing.assert_array_equal(plain.means, found.means)


def test_refusals(rows):
    with pytest.raises(ValueError, match="init_params must be 'kmeans' or 'auto'; got 'random'"):
        fit(rows, init_params="random")
    with pytest.raises(ValueError, match="takes no init_params"):
        fit(rows, prior={})


def test_promise_of_a_cut():
    """The skewness and kurtosis of scipy, along the axes of one component and its own covariance."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=400) + 6 * (rng.random(400) < 0.3), rng.exponential(size=400)])
    fits = fastem.fit_many(X, sizes=[400], reg_covar=0.0)
    y, axes, log_det = groups.standardised(X[None], fits.params, COVARIANCES["full"])
    np.testing.assert_allclose(axes[0, 0].T @ axes[0, 0], fits.covariances[0, 0], rtol=1e-10)
    assert log_det[0, 0] == pytest.approx(np.linalg.slogdet(fits.covariances[0, 0])[1])
    want = (sps.skew(y[0, 0]) ** 2 + sps.kurtosis(y[0, 0]) ** 2 / 4) / 12
    np.testing.assert_allclose(groups.gains_of_cuts(y, np.ones((1, 1, 400)))[0, 0], want, rtol=1e-10)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_merges_and_overlaps_are_those_of_one_mixture(covariance_type):
    data = make_mixture(200, 3, 4, spacing=1.5, seed=3)
    params = fastem.m_step(fastem.moments(data.X, labels=data.labels, covariance_type=covariance_type), covariance_type)
    family, pairs = COVARIANCES[covariance_type], np.array([[1, 3, 2], [0, 2, 0]])
    many = Params(*(np.stack([part, part]) for part in params[:4]))
    costs = one.separate_merge_costs(many, pairs, family)
    np.testing.assert_allclose(costs, np.tile(one.separate_merge_costs(params, pairs, family), (2, 1)), rtol=1e-13)
    y, _, log_det = groups.standardised(np.stack([data.X] * 2), many, family)
    resp = groups.responsibilities(y, many.weights, log_det)
    np.testing.assert_allclose(resp[1].T, reference.responsibilities(data.X, params), rtol=1e-9, atol=1e-12)
    r = resp[0, [1, 0]]
    entropy = -(r * np.log(r / r.sum(axis=0))).sum() / len(data.X)
    assert groups.overlaps(resp, pairs)[0, 0] == pytest.approx(entropy)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_move_keeps_the_mean_of_all(covariance_type):
    data = make_mixture(200, 3, 4, seed=3)
    params = fastem.m_step(fastem.moments(data.X, labels=data.labels, covariance_type=covariance_type), covariance_type)
    many = Params(*(part[None] for part in params[:4]))
    axes = np.random.default_rng(0).normal(size=(1, 4, 3))
    move = groups.Moves(*(np.array([k]) for k in (3, 0, 2)))
    after = groups.moved(many, move, axes, COVARIANCES[covariance_type])
    np.testing.assert_allclose(after.weights.sum(), 1.0)
    np.testing.assert_allclose(after.weights[0] @ after.means[0], params.weights @ params.means, rtol=1e-12)
    np.testing.assert_allclose(after.means[0, 3] - after.means[0, 2], 1.6 * axes[0, 2], rtol=1e-12)
    np.testing.assert_array_equal(after.means[0, 1], params.means[1])
    if not COVARIANCES[covariance_type].shared:
        pair = params.weights[[3, 0]] / params.weights[[3, 0]].sum()
        away = params.means[3] - params.means[0]
        trace = pair @ [
            data.X.shape[1] / c.shape[-1] * np.trace(c * np.eye(c.shape[-1])) for c in params.covariances[[3, 0]]
        ]
        merged = after.covariances[0, 0]
        total = np.trace(merged * np.eye(merged.shape[-1])) * (3 / merged.shape[-1])
        assert total == pytest.approx(trace + pair.prod() * away @ away)


def test_the_rows_of_some_groups():
    parts = Partition.of(7, [2, 0, 1, 1, 0, 2, 2], None)
    some = parts.only(np.array([2, 0]))
    assert some.bounds.tolist() == [0, 3, 5]
    assert some.by_group(np.arange(7)).tolist() == [0, 5, 6, 1, 4]
