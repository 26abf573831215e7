"""The pass in two phases, against the reference, and where it is taken."""

from pathlib import Path

import numpy as np
import pytest
from helpers import quiet_fit, run_child
from numpy.testing import assert_allclose

import fastem
from fastem.kernels.mixture import HARD, SOFT
from fastem.model import reference
from fastem.model.params import Noise, Params, unit_spheres
from fastem.passes import phases, sizes
from fastem.passes.kinds import accumulator_for
from fastem.passes.sums import Accumulator
from fastem.sources.blocks import ArraySource, Block

FIELDS = ("loglik", "class_loglik", "entropy", "s0", "s1", "s2")


def _problem(N, D, K, dtype=float):
    rng = np.random.default_rng([N, D, K])
    A = rng.normal(size=(K, D, D)) / np.sqrt(D) + 0.5 * np.eye(D)
    params = fastem.make_params(rng.dirichlet(np.full(K, 5.0)), 2 * rng.normal(size=(K, D)), A @ A.swapaxes(1, 2))
    weight = rng.uniform(0, 2, N) * (np.arange(N) % 7 > 0)
    return (2 * rng.normal(size=(N, D))).astype(dtype), params, weight


def _stats(params, source):
    made = phases.PhasedAccumulator(params, None, SOFT)
    return source.reduce(made.sums, made.slice_rows, made.block_rows).stats()


def _assert_same(found, want, tolerance=1e-12):
    for field in FIELDS:
        a, b = np.asarray(getattr(found, field)), np.asarray(getattr(want, field))
        assert_allclose(a, b, tolerance, tolerance * np.abs(b).max(), err_msg=field)


@pytest.fixture
def small(monkeypatch):
    """Chunks of 256 rows, and few components at a time."""
    monkeypatch.setattr(sizes, "CHUNK_ROWS", 256)
    monkeypatch.setattr(sizes, "TOGETHER_BYTES", 1000)


# Tiles have 128 points: on both sides of each edge; a last chunk of rows of weight 0 alone.
@pytest.mark.parametrize("shape", [(1, 1, 1), (127, 2, 3), (129, 3, 9), (256, 5, 4), (700, 8, 2), (520, 17, 5)])
def test_the_pass_is_that_of_the_reference(small, shape):
    X, params, weight = _problem(*shape)
    weight[0], weight[512:] = 1.5, 0.0
    _assert_same(_stats(params, ArraySource(X, weight)), reference.accumulate(X, params, weight))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_both_dtypes_and_any_weights(dtype, scale):
    X, params, weight = _problem(900, 6, 5, dtype)
    found = _stats(params, ArraySource(X, scale * weight))
    want = reference.accumulate(X.astype(float), params, scale * weight)
    _assert_same(found, want, 1e-12 if dtype == "float64" else 1e-5)


def test_labels_noise_and_rows_that_are_far_from_all(small):
    """As the pass in one phase, whose bits in the sums over a tile are others."""
    X, params, weight = _problem(700, 3, 4)
    X[5], box = 1e3, np.array([[-9.0] * 3, [9.0] * 3])
    noisy = params._replace(weights=0.9 * params.weights, noise=Noise(0.1, box))
    allowed = np.random.default_rng(0).uniform(size=(700, 4)) < 0.7
    allowed[:, 1] = True
    for mixture in (params, noisy):
        for labels in (None, np.arange(700) % 5 - 1, allowed):
            block = Block(0, X, weight, labels)
            made = phases.PhasedAccumulator(mixture, None, SOFT)
            _assert_same(made.sums(block).stats(), Accumulator(mixture).sums(block).stats())


def test_where_it_is_taken():
    """Where K D^2 numbers exceed 4 MiB, of responsibilities that a pass computes, for covariances of each component."""

    def taken(K, D, mode=SOFT, covariance="full", **options):
        identity = np.eye(D)[None] if covariance == "tied" else np.broadcast_to(np.eye(D), (K, D, D))
        params = Params(np.full(K, 1 / K), np.zeros((K, D)), identity, identity)
        source = ArraySource(np.zeros((2, D)))
        return isinstance(accumulator_for(source, params, None, mode, **options), phases.PhasedAccumulator)

    assert not taken(64, 64)
    assert not taken(1024, 16)
    assert taken(4096, 16)
    assert taken(64, 128)
    assert taken(8, 512)
    assert not taken(2, 1024)  # too few components for the second phase
    assert not taken(64, 128, HARD)
    assert not taken(64, 128, covariance="tied")
    assert not taken(64, 128, second_moments=False)
    spheres = unit_spheres(np.zeros((64, 128)))
    assert not isinstance(accumulator_for(ArraySource(np.zeros((2, 128))), spheres), phases.PhasedAccumulator)


CHILD = """
import sys
import numba
from helpers import take_all_threads
sys.path.insert(0, sys.argv[1])
from test_phases import _problem, _stats
from fastem.passes import sizes
from fastem.sources.blocks import ArraySource
take_all_threads()
sizes.TOGETHER_BYTES = 4000
X, params, weight = _problem(3000, 9, 50)
found = []
for n in (1, 3):
    numba.set_num_threads(n)
    stats = _stats(params, ArraySource(X, weight))
    found.append([stats.loglik.hex(), *(getattr(stats, name).tobytes() for name in ("s0", "s1", "s2"))])
print("true" if found[0] == found[1] else "false")
"""


def test_bits_do_not_depend_on_threads():
    assert run_child(CHILD, Path(__file__).parent, NUMBA_NUM_THREADS="3")


def test_a_fit_takes_it(monkeypatch):
    """Of more rows than a chunk; a fit in one phase ends at the same place."""
    X, params, _ = _problem(3000, 4, 6)
    options = {
        "weights_init": params.weights,
        "means_init": params.means,
        "random_state": 0,
        "max_iter": 5,
        "tol": 0.0,
        "solver": "em",
    }
    want = quiet_fit(fastem.GaussianMixture(6, **options), X)
    monkeypatch.setattr(sizes, "PHASE_BYTES", 0)
    model = quiet_fit(fastem.GaussianMixture(6, **options), X)
    assert_allclose(model.means_, want.means_, rtol=1e-9)
    assert_allclose(model.lower_bound_, want.lower_bound_, rtol=1e-12)
    blocks = quiet_fit(fastem.GaussianMixture(6, **options), lambda: iter([X[:700], X[700:]]))
    assert blocks.means_.tobytes() == model.means_.tobytes()
