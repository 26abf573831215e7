"""No N x K array, no copy of the data: a million rows in 64 MB beside them."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import child_env, make_mixture

import fastem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads RssAnon of Linux"),
]

N, D, K = 1_000_000, 10, 10
LIMIT = 64e6

CHILD = """
import sys, warnings
import numpy as np
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")
path, where, how, covariance_type = sys.argv[1:]
mixture = helpers.make_mixture(1000, 10, 10)
start = helpers.make_start(mixture, covariance_type) if how == "given" else {"random_state": 0, "init_params": how}
model = GaussianMixture(10, covariance_type=covariance_type, tol=0.0, max_iter=3, **start)
model.fit(mixture.X.astype(np.load(path, mmap_mode="r").dtype))
X = np.load(path, mmap_mode="r" if where == "memory-mapped" else None)
labels, score = model.predict(X[:5]), model.score(X[:5])
print("ready", flush=True)
input()
model.fit(X)
print("fitted", flush=True)
input()
labels = model.predict(X)
print("labelled", flush=True)
input()
"""


class Watch(threading.Thread):
    """Samples the anonymous resident memory of a process, in bytes."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.status, self.peak, self.samples, self.go = Path(f"/proc/{pid}/status"), 0, 0, True

    def now(self):
        line = next(s for s in self.status.read_text().splitlines() if s.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def run(self):
        while self.go:
            self.peak = max(self.peak, self.now())
            self.samples += 1
            time.sleep(0.001)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of a million rows, by dtype."""
    mixture, folder = make_mixture(100_000, D, K), tmp_path_factory.mktemp("data")
    for dtype in ("f8", "f4"):
        X = np.lib.format.open_memmap(folder / f"{dtype}.npy", "w+", dtype, (N, D))
        for i in range(0, N, 100_000):
            X[i : i + 100_000] = mixture.X
        X.flush()
    return {dtype: folder / f"{dtype}.npy" for dtype in ("f8", "f4")}


# Every start with both dtypes, one of them mapped and one in memory; every family.
CASES = [
    (dtype, ("memory-mapped", "in memory")[(i + j) % 2], how, "full")
    for i, how in enumerate(("given", "kmeans", "random", "k-means++"))
    for j, dtype in enumerate(("f8", "f4"))
] + [("f8", "memory-mapped", "kmeans", t) for t in ("tied", "diag", "spherical")]


@pytest.mark.parametrize(("dtype", "where", "how", "covariance_type"), CASES)
def test_peak_of_a_million_rows(paths, dtype, where, how, covariance_type):
    """Above the memory held before the fit, in a process that has fitted 1,000 rows before; predict: its labels."""
    command = [sys.executable, "-c", CHILD, str(paths[dtype]), where, how, covariance_type]
    with subprocess.Popen(command, env=child_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        alarm = threading.Timer(120, child.kill)
        alarm.start()
        try:
            assert child.stdout.readline() == "ready\n"
            for done, extra in (("fitted", 0), ("labelled", 8 * N)):
                watch = Watch(child.pid)
                base = watch.now()
                watch.start()
                child.stdin.write("\n")
                child.stdin.flush()
                assert child.stdout.readline() == f"{done}\n"
                watch.go = False
                watch.join()
                assert watch.samples > 5
                assert watch.peak - base < LIMIT + extra, f"{done}: {(watch.peak - base) / 1e6:.1f} MB"
        finally:
            alarm.cancel()
            child.kill()


def test_diagonal_parameters_take_linear_memory():
    import tracemalloc

    tracemalloc.start()
    fastem.make_params([1.0], np.zeros((1, 5000)), np.ones((1, 5000)), "diag")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
