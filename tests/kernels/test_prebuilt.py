"""Kernels compiled ahead of time: when they are used, and that they are what would be compiled."""

import json
import logging
import subprocess
import sys
import types as modules

import numba
import numpy as np
import pytest
from helpers import ROOT, child_env, make_mixture

import fastem
from fastem.kernels import jit, memory, mixture, prebuilt
from fastem.kernels.cache import stamp
from fastem.kernels.lanes import BYTES

NARROW = dict.fromkeys(prebuilt.LEVELS["x86-64-v3"].features, True)
WIDE = dict.fromkeys(prebuilt.LEVELS["x86-64-v4"].features, True)


@pytest.mark.parametrize(
    ("has", "vector", "level"),
    [
        (WIDE, 64, "x86-64-v4"),
        (NARROW, 32, "x86-64-v3"),
        (WIDE | {"avx512bw": False, "avx512f": True}, 64, None),  # kernels of 64 bytes, and not all of AVX-512
        (NARROW | {"fma": False}, 32, None),
        ({"neon": True}, 16, "generic"),
        ({}, 32, None),
    ],
)
def test_a_processor_gets_the_code_that_it_can_run(has, vector, level):
    assert prebuilt.find_level(has, vector) == level


def test_frames_are_those_that_compiled_code_makes():
    """Every layout of X, strides of 0 and below 0, arrays without elements, and numbers."""
    if numba.config.DISABLE_JIT:
        pytest.skip("without JIT there are no frames")
    kinds = memory.ROWS_OF_EITHER, *mixture._accumulate_types(numba.float64)
    X = np.arange(60.0).reshape(20, 3)
    for rows in (X, np.asfortranarray(X), X[::-2], X[:, ::2], np.broadcast_to(X[:1], (20, 3)), X[:0]):
        empty = [np.empty(0), np.empty(0, np.int64), np.empty((0, 0), bool), np.empty((0, 0))]
        given = [np.zeros(2), np.zeros((2, 3)), np.zeros((2, 3, 3)), np.zeros(3), np.zeros((3, 3))]
        arguments = rows, *empty, *given, 2, 64, np.zeros((1, 30)), np.zeros((1, 99))
        made, compiled = prebuilt.packer(kinds)(*arguments), jit._packer(kinds)(*arguments)
        np.testing.assert_array_equal(made, compiled[: len(made)])
    assert np.asarray(prebuilt.packer([numba.float64])(2.5)).view(np.float64) == 2.5


@pytest.fixture
def package(monkeypatch):
    """A function that installs a package of another stamp or of ours, which holds no library."""

    def install(made_from):
        prebuilt._library.cache_clear()
        module = modules.ModuleType(prebuilt.PACKAGE)
        module.STAMP, module.__file__ = made_from, "/nowhere/__init__.py"
        monkeypatch.setitem(sys.modules, prebuilt.PACKAGE, module)

    yield install
    prebuilt._library.cache_clear()


def test_code_of_other_kernels_is_not_used(package, caplog):
    package("00")
    with caplog.at_level(logging.INFO, "fastem"):
        assert prebuilt.find("score_all", "float64") is None
    assert "built from other kernels" in caplog.text


def test_a_missing_library_is_not_used(package, caplog):
    package(stamp().hex())
    with caplog.at_level(logging.INFO, "fastem"):
        assert prebuilt.find("score_all", "float64") is None
    assert "is not used" in caplog.text


def test_who_tells_numba_how_to_compile_gets_that(package, monkeypatch, caplog):
    package(stamp().hex())
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    with caplog.at_level(logging.INFO, "fastem"):
        assert prebuilt.find("score_all", "float64") is None
    assert "has been told how to compile" in caplog.text


FIT = """
import json, os
import numpy as np, fastem, helpers
from fastem.kernels import mixture
model = fastem.GaussianMixture(2, random_state=0).fit(helpers.make_mixture(60_000, 3, 2, spacing=4.0).X)
soft = mixture.accumulate_soft.compiled(np.dtype("f8"), np.dtype("f8")).jitted
places = [os.path.join(f, n) for f, _, names in os.walk(os.environ["NUMBA_CACHE_DIR"]) for n in names]
print(json.dumps([soft, len(places), model.n_iter_, model.lower_bound_, model.covariances_.tolist()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the script links with cc")
def test_a_fit_with_built_kernels_compiles_nothing(tmp_path):
    """On two threads, and in the numbers of a fit whose kernels are compiled."""
    build = [sys.executable, ROOT / "scripts" / "build_kernels.py", "--calls", "fit", "--dtypes", "float64"]
    subprocess.run([*build, "--output", tmp_path / "dist"], check=True, timeout=300, env=child_env())
    wheel = next((tmp_path / "dist").glob("*.whl"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", wheel]
    subprocess.run(install, check=True, timeout=120)
    env = child_env(NUMBA_CACHE_DIR=str(tmp_path / "cache"), NUMBA_NUM_THREADS="2")
    (tmp_path / "cache").mkdir()
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{FIT}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    jitted, n_files, n_iter, *built = json.loads(run.stdout or run.stderr)
    assert not jitted
    assert n_files == 0
    compiled = fastem.GaussianMixture(2, random_state=0).fit(make_mixture(60_000, 3, 2, spacing=4.0).X)
    assert n_iter == compiled.n_iter_
    np.testing.assert_allclose(built[0], compiled.lower_bound_, rtol=1e-13)
    np.testing.assert_allclose(built[1], compiled.covariances_, rtol=1e-13)
    assert BYTES in {level.vector for level in prebuilt.LEVELS.values()}
