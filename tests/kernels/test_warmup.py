"""`fastem.kernels.ahead`, and what a later process finds: every kernel that its calls need, and nothing to compile."""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import TYPES, make_mixture, make_start, quiet_fit, run_child

import fastem
from fastem.kernels.ahead import CALLS

KERNELS = {kernel for needed in CALLS.values() for kernel, _ in needed}

# Numba counts, for each function, how often its cache had the compiled code and how often it did not.
CHILD = """
import json, sys
import fastem
from fastem.kernels.ahead import CALLS
ready = fastem.warmup(sys.argv[1].split(), calls=sys.argv[2].split())
kernels = {kernel for needed in CALLS.values() for kernel, _ in needed}
stats = [entry.stats for one in kernels for entry in one._entries.values()]
hits, misses = (sum(sum(getattr(s, name).values()) for s in stats) for name in ("cache_hits", "cache_misses"))
print(json.dumps([hits, misses, str(ready.folder), ready.seconds]))
"""


def _keys():
    return [set(kernel._compiled) for kernel in KERNELS]


def test_the_second_process_compiles_nothing():
    """As fits do (tests/test_bits.py), it loads from disk what an earlier process, this one or another, compiled."""
    first, second = (run_child(CHILD, "float64 float32", "fit predict") for _ in range(2))
    assert second[:2] == [6, 0]
    assert first[0] + first[1] == 6
    assert first[2] == second[2]


@pytest.mark.slow
def test_into_an_empty_cache(tmp_path):
    """What a fit needs is compiled in under 20 s (idle machines take 4), and loaded in under 1 s."""
    env = {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (run_child(CHILD, "float64", "fit", **env) for _ in range(2))
    assert first[:2] == [0, 3]
    assert second[:2] == [3, 0]
    assert first[2].startswith(str(tmp_path))
    others = [path for path in tmp_path.rglob("*.nbc") if not path.name.startswith("micro-")]
    assert len(others) == 6  # also what packs arguments, and the launcher
    assert first[3] < 20
    assert second[3] < 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nothing_is_left_to_compile(dtype):
    """After the warm-up, no kind of call asks for a kernel that it did not make."""
    fastem.warmup([dtype], calls=["fit", "predict"])
    before = _keys()
    data = make_mixture(3000, 3, 2, spacing=4.0)
    X = data.X.astype(dtype)
    for covariance_type in TYPES:
        model = quiet_fit(fastem.GaussianMixture(2, covariance_type=covariance_type, random_state=0), X)
        model.predict_proba(X), model.bic(X)
    start = make_start(data, "full")
    quiet_fit(fastem.GaussianMixture(2, **start), X + 1e5)  # float32 without digits to spare: float64 arithmetic
    fastem.moments(X, labels=data.labels)
    fastem.accumulate(X, model.params_)
    assert _keys() == before


def test_progress_and_answer():
    seen = []
    ready = fastem.warmup(("float64",), lambda done, total: seen.append((done, total)))
    n = len(seen) - 1
    assert n > 10
    assert seen == [(i, n) for i in range(n + 1)]
    assert ready.seconds > 0
    assert ready.folder.is_dir()
    assert fastem.warmup("float64").folder == ready.folder
    assert fastem.warmup([np.float64]).folder == ready.folder


@pytest.mark.parametrize("dtypes", ["float16", [], ["float64", "int"], [np.int32], 3])
def test_other_dtypes_are_refused(dtypes):
    with pytest.raises(ValueError, match="dtypes must be 'float64', 'float32' or both; got"):
        fastem.warmup(dtypes)


def test_only_what_is_named_is_compiled():
    seen = []
    fastem.warmup("float64", lambda done, total: seen.append(total), "predict")
    assert seen == [3] * 4
    fastem.warmup("float32", lambda done, total: seen.append(total), ["predict", "fit_many"])
    assert seen[4:] == [9] * 10


@pytest.mark.parametrize("calls", ["fits", [], ["fit", "score"]])
def test_other_calls_are_refused(calls):
    with pytest.raises(ValueError, match=r"calls must be of 'fit', 'predict', .*'fit_many'; got"):
        fastem.warmup("float64", calls=calls)


@pytest.mark.skipif(os.name != "posix", reason="read-only folders")
@pytest.mark.parametrize("cache", [pytest.param("damaged", marks=pytest.mark.slow), "nowhere"])
def test_a_cache_that_does_not_work_costs_time_only(tmp_path, cache):
    """A damaged index, and a folder that cannot be made."""
    folder = tmp_path / "cache"
    if cache == "nowhere":
        folder.write_text("a file, not a folder")
    code = "import fastem; print(fastem.log_density([[0.0]], fastem.make_params([1.0], [[0.0]], [[[1.0]]])).round(3))"
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder), "NUMBA_OPT": "0"}
    for _ in range(1 if cache == "nowhere" else 2):
        found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert found.stdout.strip() == "[-0.919]", found.stderr
        for index in folder.glob("*/*.nb*") if folder.is_dir() else ():
            index.write_bytes(index.read_bytes()[:100])
