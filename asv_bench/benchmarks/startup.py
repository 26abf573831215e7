"""What a new process pays: import, first fit with nothing compiled, first fit with a warm cache.

Times are taken inside of the child, so that the interpreter's own start does not count.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

IMPORT = """
import json, time
start = time.perf_counter()
import fastem
print(json.dumps({"seconds": time.perf_counter() - start, "version": fastem.__version__}))
"""
FIT = """
import json, time
import fastem
X, _ = fastem.load_faithful()
start = time.perf_counter()
model = fastem.GaussianMixture(2, random_state=0).fit(X)
seconds = time.perf_counter() - start
labels = model.predict(X)
print(json.dumps({"seconds": seconds, "with_predict": time.perf_counter() - start, "bic": round(model.bic(X), 2)}))
"""


def child(code, **env):
    """Run code in a new process and return the JSON object that it prints last."""
    root = str(Path(importlib.util.find_spec("fastem").origin).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, **env}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def first_fit(folder):
    """A first fit whose compiled code is in, or goes to, `folder`."""
    answer = child(FIT, NUMBA_CACHE_DIR=str(folder))
    if answer["bic"] != 2322.19:  # as mclust
        raise AssertionError(f"the BIC of two components is {answer['bic']}, not 2322.19")
    return answer


def compiled(folder):
    """The files of compiled code in a cache."""
    return sorted(str(path) for path in Path(folder).rglob("*.nbc"))


class Import:
    def setup(self):
        child(IMPORT)  # byte code and file cache

    def track_import(self):
        return child(IMPORT)["seconds"]

    track_import.unit = "s"


class FirstFit:
    """The child of `setup_cache` starts with an empty cache; later children find it filled."""

    def setup_cache(self):
        answer = first_fit(Path.cwd() / "numba-cache")
        if not compiled("numba-cache"):
            raise AssertionError("nothing was cached")
        return answer

    setup_cache.timeout = 180

    def setup(self, cold):
        before = compiled("numba-cache")
        first_fit(Path.cwd() / "numba-cache")
        if compiled("numba-cache") != before:
            raise AssertionError("the second process compiled")

    def track_cold(self, cold):
        return cold["seconds"]

    def track_cached(self, cold):
        return first_fit(Path.cwd() / "numba-cache")["seconds"]

    def track_cached_with_predict(self, cold):
        return first_fit(Path.cwd() / "numba-cache")["with_predict"]

    track_cold.unit = track_cached.unit = track_cached_with_predict.unit = "s"
