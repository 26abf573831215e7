"""Run scikit-learn's own tests of KMeans, copied from the installed package at run time, against `fastem.KMeans`.

    python scripts/peer_kmeans.py [-k EXPRESSION]

Exit status 0 when nothing fails but what is listed in `EXPECTED`, each with its reason.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

IMPORT = "from sklearn.cluster import KMeans, MiniBatchKMeans, k_means, kmeans_plusplus\n"
OURS = "from sklearn.cluster import MiniBatchKMeans, k_means, kmeans_plusplus\nfrom fastem import KMeans\n"

SPARSE = "sparse rows, which fastem does not take"
PRIVATE_N_INIT = "reads the private attribute _n_init"
PRIVATE_CENTRES = "calls the private method _init_centroids"
EXPECTED = {
    "test_kmeans_init_auto_with_initial_centroids": PRIVATE_N_INIT,
    "test_n_init_auto": PRIVATE_N_INIT,
    "test_sample_weight_init": PRIVATE_CENTRES,
    "test_sample_weight_zero": PRIVATE_CENTRES,
}
OURS_ALONE = "not minibatch"  # of the tests, by pytest's -k: there is no MiniBatchKMeans here


class Outcome(NamedTuple):
    """Of scikit-learn's tests.

    Attributes
    ----------
    passed : int
    expected : dict of reasons by the names of tests that fail for one
    failed : dict of messages by the names of tests that fail without one
    """

    passed: int
    expected: dict[str, str]
    failed: dict[str, str]


def run(expression: str = OURS_ALONE) -> Outcome:
    """The tests' outcome, without those of MiniBatchKMeans; those of private functions pass, whatever fastem does."""
    import sklearn.cluster.tests

    source = (Path(sklearn.cluster.tests.__file__).parent / "test_k_means.py").read_text()
    if source.count(IMPORT) != 1:
        raise ValueError(f"test_k_means.py of scikit-learn has changed: expected one line {IMPORT!r}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_peer_kmeans.py").write_text(source.replace(IMPORT, OURS))
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p sklearn.conftest -p no:cacheprovider\n")
        command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "--junitxml=out.xml", "-k", expression]
        ours = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join([ours, *filter(None, [os.environ.get("PYTHONPATH")])])
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, check=False)
        return outcome(folder / "out.xml")


def outcome(report: Path) -> Outcome:
    """What a report of pytest in JUnit's format says."""
    passed, expected, failed = 0, dict[str, str](), dict[str, str]()
    for case in ET.parse(report).iter("testcase"):
        name, bad = case.get("name", ""), [part for part in case if part.tag in ("failure", "error")]
        message = bad[0].get("message", "") if bad else ""
        base, _, parameters = name.partition("[")
        reason = SPARSE if "Sparse data was passed" in message or "sparse" in parameters else EXPECTED.get(base)
        if not bad:
            passed += not len(case)
        elif reason is None:
            failed[name] = message
        else:
            expected[name] = reason
    return Outcome(passed, expected, failed)


def main() -> int:
    """Print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="expression", default=OURS_ALONE, help="of pytest: the tests to run")
    found = run(parser.parse_args().expression)
    for name, message in found.failed.items():
        print(f"FAILED {name}: {message.splitlines()[0][:160]}")
    for reason in sorted(set(found.expected.values())):
        names = [name for name, why in found.expected.items() if why == reason]
        print(f"expected: {reason}: {len(names)}, of {', '.join(sorted({name.partition('[')[0] for name in names}))}")
    print(f"{found.passed} passed, {len(found.failed)} failed, {len(found.expected)} failed for a reason")
    return int(bool(found.failed) or not found.passed)


if __name__ == "__main__":
    sys.exit(main())
