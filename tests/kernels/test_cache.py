"""Compiled kernels on disk: where there is no place for them, and where what is there is damaged."""

import errno
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest
from helpers import child_env
from numba.core.caching import IndexDataCacheFile

import fastem
from fastem.kernels import ahead, jit, mixture
from fastem.kernels import cache as _cache


def twice(x):
    return 2 * x


def compiled(signature="f8(f8)"):
    """A dispatcher as a new process has it."""
    dispatcher = _cache.cached()(twice)
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    assert dispatcher(2.5) == (5.0 if signature == "f8(f8)" else 4)
    return dispatcher


def found(dispatcher):
    return sum(dispatcher.stats.cache_hits.values())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, and a process that has not warned yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_cache, "_warned", False)
    return tmp_path


@pytest.fixture(scope="module")
def sound():
    """The two files of a cache, as Numba names them and with what is in them."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "CACHE_DIR", folder)
        compiled()
        return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.nb?")}


# ---- damaged files -----------------------------------------------------------------------------------


class _Missing:
    """Pickles as an object of a module that is not there."""

    def __reduce__(self):
        return getattr, (_Missing, "nothing")


def _cut(length):
    return lambda data, rng: data[: int(length * len(data))]


def _flip(data, rng):
    data = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 4)):
        data[place] ^= 1 << rng.integers(0, 8)
    return bytes(data)


def _zeros(data, rng):
    """As after a loss of power: a page of the file was not written."""
    start = rng.integers(0, len(data))
    return data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]


DAMAGE = {
    "empty": _cut(0),
    "cut": _cut(0.5),
    "a byte is missing": lambda data, rng: data[:-1],
    "noise": lambda data, rng: rng.bytes(len(data)),
    "text": lambda data, rng: b"version https://git-lfs.github.com/spec/v1\n",
    "pickle of something else": lambda data, rng: pickle.dumps([1, 2]),
    "ModuleNotFoundError": lambda data, rng: b"cno.such.module\nname\n.",
    "AttributeError": lambda data, rng: pickle.dumps(_Missing()),
    "MemoryError": lambda data, rng: b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",
    "UnicodeDecodeError": lambda data, rng: b"\x80\x04X\x01\x00\x00\x00\xff.",
    **{f"flipped bits {i}": _flip for i in range(20)},
    **{f"zeros {i}": _zeros for i in range(8)},
}


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_costs_time_and_is_replaced(folder, sound, ending, damage):
    """Never an error, a crash or a wrong number; the process after the next finds what the next has written."""
    assert len(sound) == 2
    for name, content in sound.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        change = DAMAGE[damage] if name.endswith(ending) else lambda data, rng: data
        path.write_bytes(change(content, np.random.default_rng(list(damage.encode()))))
    compiled()
    assert found(compiled()) == 1


def test_a_file_of_another_signature(folder):
    """One flipped bit in the index, and the name is that of the code for other types."""
    compiled("f8(f8)"), compiled("i8(i8)")
    one, two = sorted(folder.rglob("*.nbc"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes()), two.write_bytes(content)
    for _ in range(2):
        compiled("f8(f8)"), compiled("i8(i8)")
    assert found(compiled("f8(f8)")) == found(compiled("i8(i8)")) == 1


def test_a_file_that_cannot_be_written(folder, monkeypatch):
    """The disk is full: one warning, no error, and nothing is said to be kept."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    with pytest.warns(UserWarning, match=r"No space left.*NUMBA_CACHE_DIR") as caught:
        paths = [compiled().stats.cache_path for _ in range(2)]
    assert paths == [None, None]
    assert len(caught) == 1


def test_warmup_says_that_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(mixture.Kernel, "_compile", lambda *args: jit.Compiled(None, compiled()))
    for kernel, _ in ahead.CALLS["predict"]:
        monkeypatch.setattr(kernel, "_compiled", {})
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        assert fastem.warmup(["float64"], calls="predict").folder is None


# ---- no place for them -------------------------------------------------------------------------------

# What a user of a container does who may write nowhere. The least optimisation, no launcher, and the kernel that
# compiles fastest: half a minute less.
SESSION = """
import sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastem
    assert not caught, caught[0].message
    for _ in range(2):
        fastem.log_density([[0.0]], fastem.make_params([1.0], [[0.0]], [[[1.0]]]))
print("done", fastem.__file__)
print(*[w.message for w in caught], sep="\\n", file=sys.stderr)
"""
FIT = ["-m", "fastem", "fit", "faithful", "-k", "2"]


def _may_not_write():
    """How to start a process that may not write where the folders' modes forbid it: root may, unless it gives it up."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and setpriv is not there to change that")
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


@pytest.fixture
def installed(tmp_path):
    """A function that installs the package without write bits, beside a home without them; returns the environment."""
    folders = []

    def install(bytecode_only):
        site, home = tmp_path / "site", tmp_path / "home"
        ignored = shutil.ignore_patterns("__pycache__")
        package = Path(fastem.__file__).parent
        shutil.copytree(package, site / "fastem", ignore=ignored)
        shutil.copy(package.parent / "fastem_command.py", site)
        home.mkdir()
        if bytecode_only:
            subprocess.run([sys.executable, "-m", "compileall", "-q", "-b", site], check=True)
            for source in site.rglob("*.py"):
                source.unlink()
        for path in (home, site, *site.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
            folders.extend([path] if path.is_dir() else [])
        env = child_env(PYTHONPATH=str(site), HOME=str(home), NUMBA_OPT="0", NUMBA_NUM_THREADS="1")
        for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
            env.pop(name, None)
        return env

    yield install
    for path in folders:
        path.chmod(stat.S_IRWXU)  # so that it can be removed


@pytest.mark.skipif(os.name != "posix", reason="modes of folders")
@pytest.mark.parametrize(
    ("command", "bytecode_only", "says"),
    [(["-c", SESSION], True, "done"), pytest.param(FIT, False, "converged", marks=pytest.mark.slow)],
)
def test_nowhere_to_write(installed, tmp_path, command, bytecode_only, says):
    """Import, scores and the command line work in memory, with one warning that says what to set."""
    env = installed(bytecode_only)
    done = subprocess.run(
        [*_may_not_write(), sys.executable, *command],
        env=env,
        cwd=tmp_path / "home",
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "site").rglob("*.nb?"))
