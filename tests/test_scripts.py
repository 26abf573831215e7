"""The example scripts run, in small, and write what they found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import child_env

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("embedding", ["--quick"], ["seconds_per_call", "accepted", "means_moved"]),
        ("many_fits", ["--quick", "--rounds=1"], ["the same start", "k-means, each its own"]),
    ],
)
def test_script(name, options, found, tmp_path):
    command = [sys.executable, SCRIPTS / f"{name}.py", *options, "--output", tmp_path]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(found) <= set(json.loads((tmp_path / f"{name}.json").read_text()))
    assert (tmp_path / f"{name}.md").read_text().rstrip() in done.stdout
