"""Passes over rows with gaps, against EM row by row."""

import numpy as np
import pytest
from helpers import FAMILIES, make_mixture, make_start, start_params
from incomplete import em_step, joint_of_row, slow, with_gaps
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem.kernels.mixture import HARD, LABELS, SOFT
from fastem.model.params import Noise
from fastem.passes import missing
from fastem.passes.missing import MissingAccumulator, MissingScorer
from fastem.passes.patterns import KnownPatterns, Patterns
from fastem.passes.scorer import Scorer, Scores
from fastem.passes.sums import Accumulator
from fastem.sources.blocks import ArraySource, Block


def problem(D, family, share, n=150, noise=False):
    """Return rows with gaps and a start."""
    mixture = make_mixture(n, D, 3, spacing=3.0, seed=D)
    params = start_params(make_start(mixture, family), family)
    if noise:
        box = np.array([mixture.X.min(axis=0), mixture.X.max(axis=0)])
        params = params._replace(weights=0.9 * params.weights, noise=Noise(0.1, box))
    return with_gaps(mixture.X, share, seed=D), params


def update(stats, family):
    return fastem.m_step(stats, family)


def assert_close(params, expected, family, rtol=1e-10):
    found = slow(params, family)
    for a, b in zip(found[:3], expected[:3], strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("D", "share"), [(2, 0.05), (3, 0.6), (7, 0.3)])
def test_a_step(family, D, share):
    X, params = problem(D, family, share)
    found = MissingAccumulator(params)(Block(0, X, None))
    expected, loglik = em_step(X, slow(params, family), family)
    assert found.loglik == pytest.approx(loglik, rel=1e-12)
    assert_close(update(found, family), expected, family)


@pytest.mark.parametrize("family", ["full", "tied_diag"])
@pytest.mark.parametrize("hard", [False, True])
def test_weights_labels_and_noise(family, hard):
    X, params = problem(4, family, 0.4, noise=True)
    X[5], X[6] = np.nan, np.nan
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, len(X)).astype(float)
    labels = np.where(rng.random(len(X)) < 0.3, rng.integers(0, 3, len(X)), -1)
    labels[5], labels[6] = 1, -1
    weight[5] = weight[6] = 2.0
    allowed = np.equal.outer(labels, np.arange(4)) | (labels < 0)[:, None]
    found = MissingAccumulator(params, mode=HARD if hard else SOFT)(Block(0, X, weight, labels))
    expected, loglik = em_step(X, slow(params, family), family, weight, allowed, hard)
    assert found.loglik == pytest.approx(loglik, rel=1e-12)
    new = update(found, family)
    assert_close(new, expected, family)
    assert new.noise.weight == pytest.approx(expected.noise[0], rel=1e-12)
    several = rng.random((len(X), 3)) < 0.6
    several[:, 0] |= ~several.any(axis=1)
    several[6] = True
    found = MissingAccumulator(params, mode=HARD if hard else SOFT)(Block(0, X, weight, several))
    allowed = np.column_stack([several, several.all(axis=1)])
    expected, loglik = em_step(X, slow(params, family), family, weight, allowed, hard)
    assert found.loglik == pytest.approx(loglik, rel=1e-12)
    assert_close(update(found, family), expected, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores(family):
    X, params = problem(4, family, 0.4, n=60, noise=True)
    X[3] = np.nan
    scores = Scores.empty(len(X), 4, density=True, label=True, resp=True, joint=True, top=2)
    MissingScorer(params).fill(Block(0, X, None), scores)
    joint = np.array([joint_of_row(x, slow(params, family)) for x in X])
    resp = joint / joint.sum(axis=1, keepdims=True)
    assert_allclose(scores.joint, np.log(joint), rtol=1e-11)
    assert_allclose(scores.density, np.log(joint.sum(axis=1)), rtol=1e-11, atol=1e-11)
    assert_allclose(scores.resp, resp, atol=1e-12)
    assert_array_equal(scores.label, joint.argmax(axis=1))
    assert_array_equal(scores.top_index[:, 0], scores.label)
    assert_allclose(scores.resp[3], [*params.weights, 0.1], rtol=1e-14)


def test_complete_rows():
    X, params = problem(4, "full", 0.0)
    found, plain = MissingAccumulator(params)(Block(0, X, None)), Accumulator(params)(Block(0, X, None))
    assert found.loglik == pytest.approx(plain.loglik, rel=1e-13)
    assert_allclose(found.s2, plain.s2, rtol=1e-12, atol=1e-10)
    scores, others = (Scores.empty(len(X), 3, density=True) for _ in range(2))
    MissingScorer(params).fill(Block(0, X, None), scores)
    Scorer(params).fill(Block(0, X, None), others)
    assert_allclose(scores.density, others.density, rtol=1e-13)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient(family):
    """The statistics give the gradient of the observed log-likelihood (Fisher's identity)."""
    X, params = problem(3, family, 0.4, n=80)
    vectors = fastem.Parametrization.of(params)
    theta = vectors.pack(params)
    gradient = vectors.gradient(theta, MissingAccumulator(params)(Block(0, X, None)))

    def loglik(theta):
        return MissingAccumulator(vectors.unpack(theta))(Block(0, X, None)).loglik

    for i, step in enumerate(1e-5 * np.eye(len(theta))):
        assert gradient[i] == pytest.approx((loglik(theta + step) - loglik(theta - step)) / 2e-5, rel=1e-6, abs=1e-5)


def test_windows_and_groups(monkeypatch):
    """Rows are done in windows and patterns in groups, whatever their number: the sums are the same to rounding."""
    X, params = problem(7, "full", 0.4, n=700)
    whole = MissingAccumulator(params)(Block(0, X, None))
    monkeypatch.setattr(missing, "WINDOW_BYTES", 8 * 7 * 128)
    monkeypatch.setattr(missing, "GROUP_BYTES", 1)
    accumulator = MissingAccumulator(params)
    assert accumulator.block_rows == 128
    parts = ArraySource(X).reduce(accumulator.sums, accumulator.slice_rows, accumulator.block_rows).stats()
    assert_allclose(parts.s2, whole.s2, rtol=1e-11, atol=1e-9)
    assert parts.loglik == pytest.approx(whole.loglik, rel=1e-13)
    scores, others = Scores.empty(len(X), 3, resp=True), Scores.empty(len(X), 3, resp=True)
    MissingScorer(params).fill(Block(0, X, None), scores)
    monkeypatch.undo()
    MissingScorer(params).fill(Block(0, X, None), others)
    assert_array_equal(scores.resp, others.resp)


@pytest.mark.parametrize("D", [1, 8, 9, 17, 33, 70])
def test_patterns(D):
    rng = np.random.default_rng(D)
    gaps = (rng.random((20, D)) < 0.3)[rng.integers(0, 20, 200)]
    X = np.where(gaps, np.nan, 1.0)
    found = Patterns.of(X)
    assert len(found.observed) == len(np.unique(gaps, axis=0))
    assert_array_equal(np.sort(found.order), np.arange(200))
    for p, observed in enumerate(found.observed):
        rows = found.order[found.bounds[p] : found.bounds[p + 1]]
        assert (np.diff(rows) > 0).all()
        assert_array_equal(~np.isnan(X[rows]), np.broadcast_to(observed, (len(rows), D)))
    assert sorted(np.concatenate([*found.groups(3)]).tolist()) == list(range(len(found.observed)))


def test_patterns_are_found_once(monkeypatch):
    X, params = problem(3, "full", 0.4)
    known = KnownPatterns()
    first = MissingAccumulator(params, known=known)(Block(0, X, None))
    monkeypatch.setattr(Patterns, "of", lambda X: pytest.fail("found again"))
    again = MissingAccumulator(params, known=known)(Block(0, X, None))
    assert_array_equal(first.s2, again.s2)


def test_rows_without_a_mixture_have_no_moments():
    _, params = problem(3, "full", 0.4)
    with pytest.raises(ValueError, match="no moments"):
        MissingAccumulator(params, mode=LABELS)
    with pytest.raises(ValueError, match="no distances"):
        MissingScorer(params, distances=True)
