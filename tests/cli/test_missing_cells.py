"""The command line on tables with empty cells: --missing."""

import numpy as np
import pytest
from helpers import make_mixture
from incomplete import with_gaps

import fastem

pytest.importorskip("typer")

from commands import run


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of text, a third of whose cells are empty, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    X = with_gaps(make_mixture(300, 3, 2, spacing=8.0).X, 0.33)
    lines = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in X]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    np.save(tmp_path / "rows.npy", X)
    return X


@pytest.mark.parametrize("file", ["rows.csv", "rows.npy"])
def test_fit_and_score(table, file):
    out, _ = run("fit", file, "-k", 2, "--missing", "--seed", 0, "-o", "model.npz", "--write-labels", "labels.npy")
    assert "log-likelihood" in out
    model = fastem.load("model.npz")
    assert model.missing
    model.__dict__.pop("feature_names_in_", None)  # the rows have none here
    np.testing.assert_array_equal(np.load("labels.npy"), model.predict(table))
    run("predict", "model.npz", file, "-o", "again.npy")
    np.testing.assert_array_equal(np.load("again.npy"), np.load("labels.npy"))
    out, _ = run("score", "model.npz", file)
    assert f"{model.score(table):.6f}"[:7] in out
    _, err = run("anomalies", "model.npz", file, "--share", 0.02)
    assert "6 of 300 rows" in err


def test_select_and_plot(table):
    out, _ = run(
        "select", "rows.csv", "-k", "1-2", "--covariance", "diag", "--missing", "--init", "kmeans", "--seed", 0
    )
    assert "diag" in out
    run("fit", "rows.csv", "--missing", "--plot", "fit.png")


def test_refused_by_default(table):
    _, err = run("fit", "rows.csv", "-k", 2, code=1)
    assert "expected a finite number, found ''" in err
    _, err = run("fit", "rows.npy", "-k", 2, code=1)
    assert "fit such rows with --missing" in err
    assert "GaussianMixture(" not in err
    _, err = run("fit", "rows.csv", "-k", 2, "--missing", "--drop-incomplete", code=1)
    assert "give one of them" in err
