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


@pytest.mark.parametrize("file", ["rows.csv", "rows.parquet", "rows.npy"])
def test_predict_and_score(table, file):
    """Variances count as `error_covariance` does, also where a model of a table without names takes all columns."""
    X, errors, _ = table
    names = "0,1" if file == "rows.npy" else "x,y", "2,3" if file == "rows.npy" else "vx,vy"
    model = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=errors)
    fastem.save(model, "model.npz")
    options = "--columns", names[0], "--errors", names[1]
    run("predict", "model.npz", file, *options, "-o", "labels.npy")
    run("predict", "model.npz", file, *options, "--proba", "-o", "proba.npy")
    out, _ = run("score", "model.npz", file, *options, "-o", "density.npy")
    np.testing.assert_array_equal(np.load("labels.npy"), model.predict(X, error_covariance=errors))
    np.testing.assert_array_equal(np.load("proba.npy"), model.predict_proba(X, error_covariance=errors))
    np.testing.assert_array_equal(np.load("density.npy"), model.score_samples(X, error_covariance=errors))
    assert f"{model.score(X, error_covariance=errors) * len(X):.6g}"[:6] in out
    assert (np.load("density.npy") != model.score_samples(X)).all()
    _, err = run("score", "model.npz", file, "--columns", names[0], "--errors", names[1][0], code=1)
    assert "columns of variances for 2 features" in err or "no column" in err


@pytest.mark.parametrize("gaps", [(), ("--missing",), ("--drop-incomplete",)])
def test_text_says_what_was_not_measured(table, gaps):
    X, errors, _ = table
    errors[3, 1] = errors[7, 0] = np.inf
    np.savetxt("rows.csv", np.column_stack([X, errors]), delimiter=";", header="x;y;vx;vy", comments="", fmt="%.17g")
    run("fit", "rows.csv", "-k", 2, "--errors", "vx,vy", "--seed", 0, "--like-sklearn", "-o", "model.npz", *gaps)
    want = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=errors)
    np.testing.assert_allclose(fastem.load("model.npz").means_, want.means_, rtol=1e-12)


@pytest.mark.parametrize("gaps", [(), ("--missing",)])
@pytest.mark.parametrize("value", [np.nan, -1.0, -np.inf])
@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_the_place_of_a_value_that_is_no_variance(table, ending, value, gaps):
    import pandas

    X, errors, _ = table
    errors[7, 1] = value
    frame = pandas.DataFrame(np.column_stack([X, errors]), columns=["x", "y", "vx", "vy"])
    frame.to_csv("bad.csv", index=False, na_rep="NaN")
    frame.to_parquet("bad.parquet")
    np.save("bad.npy", frame.to_numpy())
    names = "2,3" if ending == "npy" else "vx,vy"
    _, err = run("fit", f"bad.{ending}", "-k", 2, "--errors", names, *gaps, code=1)
    where = "row 9: expected a variance, or inf" if ending == "csv" else f"found {value} in row 7, column 1"
    assert where in " ".join(err.split())
    assert ending != "csv" or "column 'vy'" in err


def test_columns_that_do_not_fit(table):
    for errors, message in (("vx", "1 columns of variances for 3 features"), ("vx,nothing", "no column 'nothing'")):
        _, err = run("fit", "rows.csv", "-k", 2, "--weights", "w", "--errors", errors, code=1)
        assert message in err
    _, err = run("fit", "rows.csv", "-k", 2, "--columns", "w,x", "--errors", "x,vy", code=1)
    assert "column 'x' is chosen twice" in err
    _, err = run("fit", "rows.csv", "-k", 2, "--columns", "w,x", "--errors", "y,vy", code=1)
    assert "column 'y'" in err
    assert "expected a variance, or inf, found '-" in err
