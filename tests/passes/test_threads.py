"""How many threads a call of a kernel takes: one for each millisecond of work."""

import numpy as np
import pytest

import fastem
from fastem.estimators.groups.partition import make_scratch
from fastem.kernels import jit
from fastem.kernels.micro import DIAG, FIRST, FULL
from fastem.passes.scorer import Scorer, Scores
from fastem.passes.sizes import row_flops, work
from fastem.passes.sums import Accumulator
from fastem.sources.blocks import Block


@pytest.fixture
def four(monkeypatch):
    """Four threads, as far as the rule can see."""
    monkeypatch.setattr(jit, "n_threads", lambda: 4)


@pytest.mark.parametrize(
    ("n_blocks", "milliseconds", "n_tasks"),
    [
        (100, 0.0, 1),
        (100, 0.9, 1),
        (100, 1.99, 1),
        (100, 2.01, 2),
        (100, 3.5, 3),
        (100, 99.0, 4),
        (1, 99.0, 1),
        (3, 99.0, 3),
    ],
)
def test_the_rule(four, n_blocks, milliseconds, n_tasks):
    assert jit.count_tasks(n_blocks, milliseconds * jit.THREAD_FLOPS) == n_tasks


def test_work_grows_with_what_a_pass_does():
    """By form, and by whether one matrix whitens rows for all components: as measured, to a factor of two."""
    kmeans, diag, full = (work(1000, 64, 64, form) for form in (FIRST, DIAG, FULL))
    white = work(1000, 64, 64, FULL, white=True)
    assert kmeans < diag < white < full
    assert 5 < full / white < 20  # 8 times was measured
    assert work(2000, 64, 64, FULL) == 2 * full


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize(("n_rows", "n_tasks"), [(1_000, 1), (10_000, 1), (3_000_000, 4)])
def test_passes_and_scores(four, covariance, n_rows, n_tasks):
    """Small passes of every family are those of one thread; a slice of a large one takes all four."""
    D, K = 5, 4
    matrix = np.eye(D)
    unit = {"full": [matrix] * K, "tied": matrix, "diag": np.ones((K, D)), "spherical": np.ones(K)}[covariance]
    params = fastem.make_params(np.full(K, 1 / K), np.eye(K, D), unit, covariance)
    accumulator = Accumulator(params)
    layout = accumulator.layout(np.dtype(float))
    n_blocks = -(-n_rows // accumulator.block_rows)
    assert len(layout.scratch(n_rows, n_blocks, accumulator.work)) == n_tasks


def test_groups(four):
    few, many = np.array([0, 50, 100]), np.arange(0, 10**6, 50)
    assert len(make_scratch(few, 2, 2, row_flops(2, 2))) == 1
    assert len(make_scratch(many, 2, 2, row_flops(2, 2))) == 2
    assert len(make_scratch(many, 2, 2, 30 * row_flops(2, 2))) == 4
    assert len(make_scratch(few, 2, 2, 1e9)) == 2  # no more than groups


def test_a_small_fit_enters_no_thread(monkeypatch):
    """Where other threads spin, each entry costs 10 ms: see docs/performance.md."""

    def launched(*args):
        raise AssertionError("a call of a small fit took threads")

    monkeypatch.setattr(jit, "n_threads", launched)
    X = np.random.default_rng(0).normal(size=(10_000, 5))
    model = fastem.GaussianMixture(4, random_state=0, max_iter=2, tol=1e9).fit(X)
    scores = Scores.empty(len(X), 4, density=True)
    Scorer(model.params_).fill(Block(0, X, None), scores)
    assert scores.density.mean() == pytest.approx(model.lower_bound_, abs=0.1)
