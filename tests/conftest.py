"""Before any test: throw away compiled code that is older than the kernels it was made from.

Numba's cache notices a change in the file of a cached function, not in the files of what it calls: other kernels, and
kernels that functions of the tests call.
"""

import gc
import importlib.util
import os
import sys
from pathlib import Path

import pytest

# Threads of OpenMP that wait in a loop take the processors of other processes: scikit-learn's KMeans of some hundred
# rows takes seven times the processor time. Read when its library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from helpers import make_mixture

sys.path.append(str(Path(__file__).parent.parent / "scripts"))


def _wipe_stale_cache():
    spec = importlib.util.find_spec("fastem")  # does not import it
    if spec is None or not spec.origin:
        return
    package = Path(spec.origin).parent
    sources = [package / "embed.py", *(package / "kernels").glob("*.py")]
    newest = max((p.stat().st_mtime for p in sources if p.exists()), default=0.0)
    if os.environ.get("NUMBA_CACHE_DIR"):
        cache = Path(os.environ["NUMBA_CACHE_DIR"])
        roots = [*cache.glob("kernels_*"), *cache.glob("embed_*")]
    else:
        roots = [package, Path(__file__).parent]
    for root in roots:
        for index in root.rglob("*.nbi"):
            files = [index, *index.parent.glob(f"{index.stem}.*.nbc")]
            if min(p.stat().st_mtime for p in files) < newest:
                for p in files:
                    p.unlink(missing_ok=True)


_wipe_stale_cache()


def pytest_collection_finish():
    """Let collections of garbage leave out the tests themselves, which stay: 0.4 s each time."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each process of ``-n`` a run of files, and at the end tests of another's.

    So what a file makes once (compiled functions, clusters of processes) is made in one of them. The option
    ``--dist worksteal`` in pyproject.toml would say the same, but pytest-benchmark then refuses to measure.
    """
    if config.getoption("dist") != "load":  # what -n alone says
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="session")
def two():
    """Two overlapping components in three dimensions, 600 rows; treat as read-only."""
    mixture = make_mixture(600, 3, 2, spacing=3.0, seed=1)
    mixture.X.setflags(write=False)
    return mixture
