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
helpers.take_all_threads()

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
helpers.take_all_threads()
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

# One thread compiles without a pause, another loads kernels; the children compile and load the same.
FORK_WHILE_COMPILING = """
import json, os, signal, threading
import numba, numpy as np
import fastem
from fastem.kernels import mixture

X, _ = fastem.load_faithful()
params = fastem.make_params([1.0], X.mean(axis=0)[None], np.eye(2)[None])
want = fastem.log_density(X, params)

def compile_one():
    return numba.njit(lambda x: x + 1)(1)

def load_one():
    mixture.score_all._compiled.clear()
    return fastem.log_density(X, params)

done = threading.Event()

def loop(job):
    while not done.is_set():
        job()

threads = [threading.Thread(target=loop, args=(job,)) for job in (compile_one, load_one)]
[t.start() for t in threads]
ends = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a child that hangs is killed
        os._exit(not (compile_one() == 2 and (load_one() == want).all()))
    ends.append(os.waitpid(pid, 0)[1])
done.set()
[t.join() for t in threads]
print(json.dumps(ends))
"""

NESTED = """
import json, multiprocessing, sys, warnings
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")
helpers.take_all_threads()

def job(seed):
    X = helpers.make_mixture(5000, 2, 2, spacing=2.0, seed=seed).X
    return helpers.digest(helpers.state_bytes(GaussianMixture(2, random_state=0, max_iter=10).fit(X)))

plain = [job(i) for i in range(4)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(json.dumps([plain, pool.map(job, range(4))]))
"""

JOBLIB = """
import json, sys, warnings
import joblib, helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")

def job(seed):
    helpers.take_all_threads()
    X = helpers.make_mixture(20000, 3, 3, spacing=2.0, seed=seed).X
    m = GaussianMixture(3, random_state=0, max_iter=10, n_threads=seed % 2 + 1).fit(X)
    return helpers.digest(helpers.state_bytes(m), m.score_samples(X), m.predict(X))

plain = [job(i) for i in range(4)]  # and so both backends come after a fit
pooled = [joblib.Parallel(2, backend=name)(joblib.delayed(job)(i) for i in range(4)) for name in ("threading", "loky")]
import numba
print(json.dumps([plain, pooled, numba.threading_layer()]))
"""

CTRL_C = """
import json, os, signal, threading, time
import numpy as np
import fastem
rng = np.random.default_rng(0)
X = rng.standard_normal((10_000_000, 3), dtype="f4")
K = 256
params = fastem.make_params(np.full(K, 1 / K), rng.normal(size=(K, 3)), np.tile(np.eye(3), (K, 1, 1)))
fastem.accumulate(X[:1000], params)
start = time.perf_counter()
fastem.accumulate(X, params)
one_pass, delays, results = time.perf_counter() - start, [], []
for _ in range(3):
    sent = []
    def press():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.4 * one_pass, press).start()
    try:
        fastem.em(X, params)
    except fastem.FitInterrupted as interrupt:
        delays.append(time.perf_counter() - sent[0])
        results.append(interrupt.result is None)  # no pass was complete
print(json.dumps([one_pass, delays, results]))
"""

# Threads that wait in a loop, as those of OpenBLAS do for up to 0.1 s after each call that wakes them, show in the
# processor time. 60 dimensions: past the sizes at which LAPACK and matrix products would take all threads.
BLAS = """
import json, sys, time, warnings
import numpy as np
import helpers
from threadpoolctl import threadpool_info
from fastem import GaussianMixture
warnings.simplefilter("ignore")
X = helpers.make_mixture(3000, 60, 4, spacing=3.0).X
models = [GaussianMixture(4, covariance_type=t, random_state=0, tol=0, max_iter=60, n_threads=1) for t in helpers.TYPES]
[m.fit(X).score(X) for m in models]
before = [pool["num_threads"] for pool in threadpool_info()]
time.sleep(0.3)
wall, cpu = time.perf_counter(), time.process_time()
[m.fit(X).score(X) for m in models]
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, before == [pool["num_threads"] for pool in threadpool_info()]]))
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_other_threads_compile():
    """Neither the lock of Numba's compiler is left closed in the child nor LLVM's: it hung in all of three tries."""
    assert run_child(FORK_WHILE_COMPILING, timeout=240) == [0] * 6


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", LAYERS)
def test_pool_of_forked_workers(layer):
    """multiprocessing's fork pool, after a fit in the parent."""
    plain, pooled = _run(NESTED, layer)
    assert pooled == plain


@pytest.mark.parametrize("layer", [pytest.param("workqueue", marks=pytest.mark.slow), *LAYERS[1:]])
def test_joblib(layer):
    """In its threads and in its processes, after a fit in the parent: the bits of a plain fit."""
    plain, pooled, used = _run(JOBLIB, layer)
    assert pooled == [plain, plain]
    assert used == layer


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
@pytest.mark.parametrize("layer", LAYERS)
def test_ctrl_c_during_a_long_pass(layer):
    """1e7 rows, the signal in the middle of the first pass: served within 0.2 s, in two of three tries at least."""
    one_pass, delays, without_result = _run(CTRL_C, layer)
    assert 0.6 * one_pass > 0.25  # what is left of the pass: else this shows nothing
    assert len(delays) == 3
    assert sorted(delays)[1] < 0.2, delays
    assert all(without_result)


def test_blas_threads_sleep():
    """A fit on one thread takes one processor, and leaves BLAS's number of threads alone."""
    wall, cpu, unchanged = _run(BLAS, "omp")  # one thread: no layer has anything to do
    assert unchanged
    assert cpu < 1.2 * wall
