"""The command line on tables with columns of variances: --errors."""

import numpy as np
import pytest
from errors_of_rows import draw_errors, mixture_and_rows

import fastem

pytest.importorskip("typer")
pytest.importorskip("pyarrow")

from commands import run


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Rows, weights and variances in files of three kinds, in an empty folder."""
    import pandas

    monkeypatch.chdir(tmp_path)
    _, X, weight = mixture_and_rows(300, 2, 2, "full")
    errors = draw_errors(300, 2, "variances")
    frame = pandas.DataFrame(np.column_stack([X, errors, weight]), columns=["x", "y", "vx", "vy", "w"])
    frame.to_csv("rows.csv", index=False, float_format="%.17g")
    frame.to_parquet("rows.parquet")
    np.save("rows.npy", frame.to_numpy())
    return X, errors, weight


@pytest.mark.parametrize("file", ["rows.csv", "rows.parquet", "rows.npy"])
def test_fit(table, file):
    X, errors, weight = table
    names = ("vx,vy", "w") if file != "rows.npy" else ("2,3", "4")
    options = "--seed", 0, "--like-sklearn", "-o", "model.npz", "--write-labels", "labels.npy"
    run("fit", file, "-k", 2, "--errors", names[0], "--weights", names[1], *options)
    want = fastem.GaussianMixture(2, random_state=0).fit(X, sample_weight=weight, error_covariance=errors)
    np.testing.assert_array_equal(fastem.load("model.npz").means_, want.means_)
    np.testing.assert_array_equal(np.load("labels.npy"), want.predict(X, error_covariance=errors))


def test_columns_that_do_not_fit(table):
    for errors, message in (("vx", "1 columns of variances for 3 features"), ("vx,nothing", "no column 'nothing'")):
        _, err = run("fit", "rows.csv", "-k", 2, "--weights", "w", "--errors", errors, code=1)
        assert message in err
    _, err = run("fit", "rows.csv", "-k", 2, "--columns", "w,x", "--errors", "y,vy", code=1)
    assert "expected variances that are not negative" in err
