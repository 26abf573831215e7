"""Micro-kernels are compiled once, for all kernels; their code comes with a kernel, or with what a user compiles."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import child_env
from numba import types

from fastem.kernels import shared

# The distances of two rows to two centres, by the kernel that compiles fastest; how often the compiler ran. Of what it
# made only the function itself may be seen: two kernels that have a helper in common would share the first one's.
CHILD = """
import numpy as np
from fastem.kernels import compiler, mixture
from fastem.kernels.lanes import aligned
compiled = []
finalize = compiler.InOneGo._optimize_final_module
def optimise(self):
    finalize(self)
    compiled.append(self.name)
    seen = [f.name for f in self._final_module.functions if not f.is_declaration and f.linkage.name != "internal"]
    assert all("score_" in name or name == self.name for name in seen), seen
compiler.InOneGo._optimize_final_module = optimise
X, none, joint = np.array([[0.0, 3.0], [5.0, 4.0]]), np.empty((0, 0)), np.zeros((2, 2))
score = mixture.score_spheres if SPHERES else mixture.score_white_spheres
score(X, np.zeros(2), np.array([[0.0, 0.0], [2.0, 0.0]]), np.ones((1, 1, 1)), np.zeros(0), none, 2,
      np.empty(0), np.empty(0, np.int64), none, joint, np.empty((0, 0), np.int64), none,
      aligned((1, mixture.scratch_size(2, 2, 64, 8)), float))
print(len(compiled), *(-2 * joint).ravel())
"""
DISTANCES = [9.0, 13.0, 41.0, 25.0]


def run(folder, spheres=True):
    """Return how many libraries a process compiles that keeps its code in a folder."""
    env = child_env(NUMBA_CACHE_DIR=str(folder))
    child = [sys.executable, "-c", CHILD.replace("SPHERES", str(spheres))]
    count, *distances = subprocess.run(child, env=env, check=True, capture_output=True, text=True).stdout.split()
    assert [float(each) for each in distances] == DISTANCES
    return int(count)


def files(folder, name):
    return sorted(Path(folder).rglob(f"*{name}*.nbc"))


def test_a_kernel_finds_the_micro_kernels_of_others(tmp_path):
    every = run(tmp_path)
    assert every > len(files(tmp_path, "micro")) > 2
    (gone,), (cut,) = files(tmp_path, "nearest"), files(tmp_path, "log_joint_diag")
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-100])
    assert run(tmp_path) == 2  # compiled anew, though the kernel itself is there
    assert 0 < run(tmp_path, spheres=False) < every  # of another kernel its own code and `whiten`


USER = """
import numpy as np
from numba import njit
from fastem.kernels import micro, shared

@njit(cache=True)
def distances(xt, means, lp):
    micro.log_joint_diag(xt, np.zeros(2), means, np.ones((1, 1)), 2, lp)

xt, lp = np.zeros((4, 64)), np.zeros((2, 64))
xt[:2, :2] = [[0.0, 5.0], [3.0, 4.0]]
distances(xt, np.array([[0.0, 0.0], [2.0, 0.0]]), lp)
print(len(shared.libraries), *(-2 * lp[:, :2]).T.ravel())
"""


def test_code_of_users_is_whole(tmp_path):
    """Its cache needs no file of ours: that is gone, and a symbol that is not found would end the process."""
    module = tmp_path / "user.py"
    module.write_text(USER)
    env = child_env(NUMBA_CACHE_DIR=str(tmp_path / "cache"), NUMBA_DISABLE_JIT="0")
    for libraries in (1, 0):
        out = subprocess.run([sys.executable, module], env=env, check=True, capture_output=True, text=True).stdout
        count, *distances = out.split()
        assert int(count) == libraries
        assert [float(each) for each in distances] == DISTANCES
        for code in files(tmp_path, "micro-"):
            code.unlink()


@pytest.mark.parametrize(
    "kind",
    [types.float64, types.float32, types.intp, types.boolean, types.Array(types.float32, 2, "C"), types.int64[::1]],
)
def test_types_in_symbols(kind):
    assert shared._kind_of(shared._code_of(kind)) == kind
