"""Threads and forks: what aborts, deadlocks or kills with others. Each in a process of its own, against hangs."""

import importlib.util
import os

import pytest
from helpers import run_child

LAYERS = ["workqueue", "omp"] + (["tbb"] if importlib.util.find_spec("tbb") else [])

THREADS = """
import json, threading, traceback, warnings
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")

def job(i):
    X = helpers.make_mixture(20000, 3, 3, spacing=2.0, seed=i).X.astype("f4" if i == 3 else "f8")
    m = GaussianMixture(3, covariance_type=helpers.TYPES[i % 2], random_state=0, max_iter=15).fit(X)
    return helpers.digest(helpers.state_bytes(m), m.score_samples(X), m.predict(X))

results, errors, gate = [set() for _ in range(4)], [], threading.Barrier(4)

def loop(i):
    try:
        gate.wait()
        for _ in range(3):
            results[i].add(job(i))
    except BaseException:
        errors.append(traceback.format_exc())

threads = [threading.Thread(target=loop, args=(i,)) for i in range(4)]  # the very first fits of this process
[t.start() for t in threads]
[t.join() for t in threads]
plain = [[job(i)] for i in range(4)]
import numba
print(json.dumps([errors, [sorted(r) for r in results], plain, numba.threading_layer()]))
"""

FORK = """
import json, os, sys, warnings
import numpy as np
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")
X = helpers.make_mixture(20000, 3, 3, spacing=2.0).X

def job():
    m = GaussianMixture(3, random_state=0, max_iter=15).fit(X)
    return helpers.digest(helpers.state_bytes(m), m.score_samples(X), m.predict(X))

plain = job()
children = []
for _ in range(2):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(w, job().encode())
        finally:
            os._exit(0)
    os.close(w)
    with os.fdopen(r) as pipe:
        children.append(pipe.read())
    children.append(os.waitpid(pid, 0)[1])
import numba
print(json.dumps([plain, children, job(), numba.threading_layer()]))
"""

NESTED = """
import json, multiprocessing, sys, warnings
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")

def job(seed):
    X = helpers.make_mixture(5000, 2, 2, spacing=2.0, seed=seed).X
    return helpers.digest(helpers.state_bytes(GaussianMixture(2, random_state=0, max_iter=10).fit(X)))

plain = [job(i) for i in range(4)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(json.dumps([plain, pool.map(job, range(4))]))
"""


def _run(code, layer):
    return run_child(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2", timeout=120)


@pytest.mark.parametrize("layer", LAYERS)
def test_four_threads_at_once(layer):
    """From the first call on, while kernels compile or load, two dtypes at once: the bits of a plain fit."""
    errors, results, plain, used = _run(THREADS, layer)
    assert not errors, errors[0]
    assert results == plain
    assert used == layer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", LAYERS)
def test_fork_after_a_fit(layer):
    """Two children one after the other; the parent goes on afterwards."""
    plain, children, after, used = _run(FORK, layer)
    assert children == [plain, 0, plain, 0]
    assert after == plain
    assert used == layer


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", LAYERS)
def test_pool_of_forked_workers(layer):
    """multiprocessing's fork pool, after a fit in the parent."""
    plain, pooled = _run(NESTED, layer)
    assert pooled == plain
