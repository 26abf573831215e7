"""The scripts, in small (their benchmarks run in quick mode elsewhere)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import _common
import compare_peers
import kmeans_starts
import posterior_optimum
import pytest
from helpers import ROOT, child_env

SCRIPTS, GALLERY = ROOT / "scripts", ROOT / "docs" / "gallery"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks")
def test_faults(tmp_path):
    """An error, a right and a wrong number, a death, and what only fastem has: each in its cell, for both packages."""
    cases = ["NaN in X", "masked", "one row twice", "cut short", "the command line"]
    command = [sys.executable, str(SCRIPTS / "faults.py"), "--quick", "--output", str(tmp_path)]
    command += [word for case in cases for word in ("--case", case)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, env=child_env())
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "faults.json").read_text())
    nan, masked, weights, cut, own_input = found["cases"]
    assert not found["whole"]
    for package in ("scikit-learn", "fastem"):
        assert nan[package].startswith("ValueError: Input X contains NaN")
        assert cut[package] == "process killed by SIGBUS"
    assert masked["scikit-learn"].startswith("mean 1")
    assert "(right: 4." in masked["scikit-learn"]
    assert masked["fastem"].startswith("ValueError: Input X has masked entries")
    assert weights["scikit-learn"].startswith("TypeError: ")
    assert weights["fastem"].endswith(" (right)")
    assert own_input["scikit-learn"] == "(has none)"
    assert own_input["fastem"] == "the table kept, exit status 1 (right)"
    for row in found["cases"]:
        assert f"| {row['case']} | {row['scikit-learn']} | {row['fastem']} |" in (tmp_path / "faults.md").read_text()


def test_rewrite_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults:start -->\nold\n<!-- faults:end -->\nafter\n")
    for _ in range(2):
        _common.rewrite_section(page, "faults", "new")
        assert page.read_text() == "before\n<!-- faults:start -->\nnew\n<!-- faults:end -->\nafter\n"
    with pytest.raises(SystemExit, match="performance:start"):
        _common.rewrite_section(page, "performance", "new")


def test_tables_of_the_peers_go_to_docs_and_four_rows_of_them_to_readme(tmp_path, monkeypatch):
    """A run with one case that README shows and one that it does not, and the pages as they are but for the tables."""
    (tmp_path / "docs").mkdir()
    for page in (Path("README.md"), Path("docs", "performance.md")):
        (tmp_path / page).write_text((ROOT / page).read_text())
    monkeypatch.setattr(_common, "ROOT", tmp_path)
    monkeypatch.setattr(_common, "DOCS", tmp_path / "docs")
    case = dict(N=1_000_000, D=10, K=10, covariance="full", dtype="float64")
    case |= dict(
        seconds={"fastem": {"median": 0.0123}, "onedal": {"median": 1.0}}, ratio={"onedal": {"median": 81.0}}, failed={}
    )
    versions = {"python": "3.14.0", "numba": "0.99"}
    machine = dict(date="2099-01-01", cpu="a processor", cores=3, system="a system", versions=versions)
    nothing = dict(quick=False, scores=[], sweeps=[], fits=[], context=[], absent={})
    peers = {"fastem": "9.9", "onedal": "8.8"}
    results = dict(machine=machine, peers=peers, cases=[case, case | dict(N=2_000_000)], **nothing)
    (tmp_path / "peers.json").write_text(json.dumps(results))
    monkeypatch.setattr(sys, "argv", ["compare_peers.py", "--pages", str(tmp_path / "peers.json")])
    compare_peers.main()
    shown, other = (f"| {n} x 10, K = 10 | full | float64 | 12.3 ms | 1 s (81) |" for n in ("1e6", "2e6"))
    readme, page = (tmp_path / "README.md").read_text(), (tmp_path / "docs" / "performance.md").read_text()
    assert shown in readme
    assert other not in readme
    assert shown in page
    assert other in page
    assert "2099-01-01" in readme
    assert readme.startswith("# fastem")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("embedding", ["--quick"], ["seconds_per_call", "accepted", "means_moved"]),
        ("many_fits", ["--quick", "--rounds=1"], ["the same start", "k-means, each its own"]),
        ("many_optima", ["--quick"], ["2 x 3"]),
        ("factors_speed", ["--quick", "--rounds=1"], ["seconds", "megabytes", "share_of_products"]),
        ("page_figures", ["--quick", "--rounds=1"], ["figures", "machine"]),
        ("large_sweep", ["--quick", "--rounds=1"], ["machine", "shapes"]),
        ("families_speed", ["--quick", "--rounds=1"], ["machine", "shapes"]),
    ],
)
def test_examples(name, options, found, tmp_path):
    command = [sys.executable, SCRIPTS / f"{name}.py", *options, "--output", tmp_path]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(found) <= set(json.loads((tmp_path / f"{name}.json").read_text()))
    assert (tmp_path / f"{name}.md").read_text().rstrip() in done.stdout


@pytest.mark.slow
def test_gallery(tmp_path):
    """Figures and the page; what is in the repository is of this text."""
    command = [sys.executable, SCRIPTS / "gallery.py", "--output", tmp_path]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "index.md").read_text()
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(pictures) >= 10
    assert pictures == sorted(re.findall(r"\]\((\w+\.png)\)", page))
    assert all((tmp_path / name).stat().st_size > 10_000 for name in pictures)
    assert page == (GALLERY / "index.md").read_text(), "run scripts/gallery.py"
    assert pictures == sorted(path.name for path in GALLERY.glob("*.png"))


def test_one_figure(tmp_path):
    command = [sys.executable, SCRIPTS / "gallery.py", "--output", tmp_path, "--only", "lower_bound"]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in tmp_path.iterdir()] == ["lower_bound.png"]


def test_kmeans_starts(tmp_path, monkeypatch, capsys):
    """Two problems: each package has a share of fits that reach the best, and a mean gap."""
    command = ["kmeans_starts.py", "--problems", "2", "--seeds", "1", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    kmeans_starts.main()
    found = json.loads((tmp_path / "kmeans_starts.json").read_text())
    for packages in found.values():
        assert packages.keys() == {"fastem", "scikit-learn"}
        assert max(one["reached"] for one in packages.values()) > 0
        assert all(one["gap"] >= 0 for one in packages.values())
    assert "| KMeans, n_init=1 | fastem |" in capsys.readouterr().out


@pytest.mark.slow
def test_posterior_optimum(tmp_path, monkeypatch, capsys):
    """Two problems: the search of fastem ends at the best bound that is known."""
    monkeypatch.setattr(sys, "argv", ["posterior_optimum.py", "--quick", "--output", str(tmp_path)])
    monkeypatch.setattr(_common, "restart_in_clean_environment", lambda: None)
    posterior_optimum.main()
    found = json.loads((tmp_path / "posterior_optimum.json").read_text())["found"]
    assert found['fastem, `"auto"`']["reached"] == 1
    assert all(one["mean gap"] >= 0 for one in found.values())
    assert "| scikit-learn |" in capsys.readouterr().out


@pytest.mark.slow
def test_worked_examples():
    command = [sys.executable, str(SCRIPTS / "worked_data.py"), "--cells", "20000", "--grid", "100"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, env=child_env())
    assert result.returncode == 0, result.stderr
    found = re.search(r"([\d.]+)% in their class(?:.|\n)*moments to ([\d.e-]+), (\d+) without", result.stdout)
    assert float(found[1]) > 99
    assert float(found[2]) < 1e-13
    assert int(found[3]) == 0
