"""scripts/out_of_core.py: files bigger than memory, and how much memory they take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, child_env

for package in ("pyarrow", "h5py", "zarr"):
    pytest.importorskip(package)

SCRIPT = ROOT / "scripts" / "out_of_core.py"
LIMIT = 150e6


def measure(folder, *options):
    """Run the script in a folder and return what it found, by format; it leaves nothing behind."""
    command = [sys.executable, str(SCRIPT), "--json", "--folder", str(folder), *map(str, options)]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout)


def assert_same(found, rows):
    """The same fit from every format."""
    assert list(found) == ["npy", "parquet", "hdf5", "zarr"]
    (bound,) = {one["lower_bound"] for one in found.values()}
    assert bound < 0
    assert all(one["labels"] == found["npy"]["labels"] for one in found.values())
    assert all(one["rows"] == sum(one["labels"]) == rows for one in found.values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads RssAnon of Linux")
def test_200_megabytes(tmp_path):
    """K = 10 from k-means, and labels written, in less anonymous memory than the file's size."""
    found = measure(tmp_path, "--rows", 2_500_000, "--iterations", 2, "--rounds", 1)
    assert_same(found, 2_500_000)
    for name, one in found.items():
        assert one["peak_anonymous_bytes"] < LIMIT, f"{name}: {one['peak_anonymous_bytes'] / 1e6:.0f} MB"
