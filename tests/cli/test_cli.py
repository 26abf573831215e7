"""The command line, in this process through typer's runner, and in child processes."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import ALL, FAMILIES, child_env, quiet_fit

import fastem
from fastem.estimators import outputs, scoring, training
from fastem.files.tables import read_table
from fastem.kernels.ahead import CALLS, Warmup
from fastem.plot.scene import full_covariances

pytest.importorskip("typer")

from commands import run
from rich.console import Console
from typer.testing import CliRunner

from fastem import cli
from fastem.cli import fitting, models, opening, printing


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fails(*args):
    """Run a command that should end in an error, and return its one line."""
    out, err = run(*args, code=1)
    assert out == ""
    assert err.startswith("fastem: error: ")
    assert err.count("\n") == 1
    return err


def child(*args, **options):
    command = [sys.executable, "-m", "fastem", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=child_env(), **options)


def field(out, name):
    """Return what follows a label in the printed pairs."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}  ")]
    return line[len(name) :].strip()


@pytest.fixture
def model_file(tmp_path):
    """A file with a fit of Old Faithful, with names."""
    run("fit", "faithful", "-k", 2, "--seed", 0, "-o", "model.npz")
    return tmp_path / "model.npz"


# --- fit


def test_fit_prints_what_the_estimator_finds():
    out, err = run("fit", "faithful", "-k", 2, "--seed", 0, "--tol", 1e-6, "--covariance", "diag")
    X, _ = fastem.load_faithful()
    model = fastem.fit(X, 2, "diag", random_state=0, tol=1e-6)
    assert err == ""
    assert "eruptions" in out
    assert f"{model.means_[0, 1]:.5g} ({np.sqrt(model.covariances_[0, 1]):.3g})" in out
    np.testing.assert_allclose(float(field(out, "log-likelihood")), 272 * model.score(X), rtol=1e-8)
    np.testing.assert_allclose(float(field(out, "mean log-likelihood")), model.score(X), rtol=1e-8)
    np.testing.assert_allclose(float(field(out, "BIC")), model.bic(X), rtol=1e-8)
    np.testing.assert_allclose(float(field(out, "AIC")), model.aic(X), rtol=1e-8)
    assert field(out, "iterations") == str(model.n_iter_)
    assert field(out, "converged") == "yes"


def test_every_option_reaches_the_estimator(monkeypatch):
    seen = {}

    fit = fastem.GaussianMixture.fit

    def spy(self, *args, **options):
        seen.update(self.get_params())
        return fit(self, *args, **options)

    monkeypatch.setattr(fastem.GaussianMixture, "fit", spy)
    options = {"--covariance": "tied", "--seed": 5, "--n-init": 3, "--max-iter": 77, "--tol": 0.5}
    options |= {"--init": "random_from_data", "--components": 2}
    options |= {"--regularization": "ridge", "--on-collapse": "drop", "--stop": "aitken", "--assignment": "hard"}
    options |= {"--solver": "em"}
    run("fit", "faithful", *(word for pair in options.items() for word in pair))
    expected = {"covariance_type": "tied", "random_state": 5, "n_init": 3, "max_iter": 77, "tol": 0.5}
    expected |= {"init_params": "random_from_data", "n_components": 2}
    expected |= {"regularization": "ridge", "on_collapse": "drop", "stop": "aitken", "assignment": "hard"}
    expected |= {"solver": "em"}
    assert {name: seen[name] for name in expected} == expected
    run("fit", "faithful", "--reg-covar", 0.0025)
    assert (seen["reg_covar"], seen["regularization"]) == (0.0025, None)
    _, err = run("fit", "faithful", "--reg-covar", 0.25, "--regularization", "map", code=1)
    assert "takes the place of reg_covar" in err


def test_defaults_are_those_of_fastem_fit_or_scikit_learns():
    X, _ = fastem.load_faithful()
    run("fit", "faithful", "-k", 3, "--seed", 0, "-o", "m.npz")
    ours, want = fastem.load("m.npz"), fastem.fit(X, 3, random_state=0)
    np.testing.assert_array_equal(ours.covariances_, want.covariances_)
    assert ours.get_params() == want.get_params()
    run("fit", "faithful", "-k", 3, "--seed", 0, "--like-sklearn", "-o", "m.npz")
    theirs, want = fastem.load("m.npz"), fastem.GaussianMixture(3, random_state=0).fit(X)
    np.testing.assert_array_equal(theirs.covariances_, want.covariances_)
    assert theirs.get_params() == want.get_params()


@pytest.mark.parametrize("covariance", [*ALL, "VVV"])
def test_every_family_is_known(covariance):
    run("fit", "faithful", "-k", 2, "--seed", 0, "--covariance", covariance, "-o", "m.npz")
    out, _ = run("info", "m.npz")
    assert f"{covariance} covariance" in out


def test_fit_writes_model_labels_and_picture():
    pytest.importorskip("matplotlib")
    run("fit", "faithful", "-k", 2, "--seed", 0, "-o", "m.npz", "--write-labels", "l.csv", "--plot", "p.png")
    model = fastem.load("m.npz")
    X, names = fastem.load_faithful()
    assert list(model.feature_names_in_) == names
    labels, header = read_table("l.csv")
    assert header == ["label"]
    del model.feature_names_in_
    np.testing.assert_array_equal(labels[:, 0], model.predict(X))
    with open("p.png", "rb") as stream:
        assert stream.read(4) == b"\x89PNG"


def test_fit_of_some_columns():
    out, _ = run("fit", "faithful", "--columns", "waiting", "-o", "m.npz")
    assert "waiting" in out
    assert "eruptions" not in out
    np.testing.assert_allclose(fastem.load("m.npz").means_, [[fastem.load_faithful()[0][:, 1].mean()]])


@pytest.mark.parametrize("columns", [(), ("--columns", "a,b"), ("--columns", "b,a")])
def test_a_column_of_weights_is_no_feature(columns):
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(size=(40, 2)), rng.integers(0, 4, 40)])[:, [0, 2, 1]]
    np.savetxt("t.csv", table, delimiter=",", header="a,w,b", comments="")
    out, _ = run("fit", "t.csv", "--weights", "w", "-o", "m.npz", *columns)
    model = fastem.load("m.npz")
    names = columns[-1].split(",") if columns else ["a", "b"]
    assert list(model.feature_names_in_) == names
    X = table[:, [0, 2] if names == ["a", "b"] else [2, 0]]
    np.testing.assert_allclose(model.means_[0], np.average(X, axis=0, weights=table[:, 1]))
    del model.feature_names_in_
    score = model.score(X, sample_weight=table[:, 1])
    np.testing.assert_allclose(float(field(out, "log-likelihood")), score * table[:, 1].sum(), rtol=1e-8)


def test_npy_without_names():
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    np.save("x.npy", X)
    out, _ = run("fit", "x.npy", "-o", "m.npz")
    assert "x2" in out
    model = fastem.load("m.npz")
    assert model.means_.dtype == np.float32
    assert not hasattr(model, "feature_names_in_")
    assert run("predict", "m.npz", "x.npy")[0] == "label\n" + "0\n" * 30


def test_parquet_in():
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    X, names = fastem.load_faithful()
    pq.write_table(pa.table(dict(zip(names, X.T, strict=True))), "f.parquet")
    assert run("fit", "f.parquet", "--seed", 0) == run("fit", "faithful", "--seed", 0)


def test_many_features_are_cut_short():
    np.save("x.npy", np.random.default_rng(0).normal(size=(300, 40)))
    out, _ = run("fit", "x.npy")
    assert "of 40 features shown" in out
    assert max(map(len, out.splitlines())) <= printing.PIPE_WIDTH


def test_names_with_brackets_are_no_markup():
    with open("t.csv", "w") as stream:
        stream.write("a [cm],[bold]b\n1,2\n3,5\n2,2\n")
    out, _ = run("fit", "t.csv")
    assert "a [cm]" in out
    assert "[bold]b" in out


def test_a_fit_that_did_not_converge_warns_in_one_line():
    out, err = run("fit", "faithful", "-k", 3, "--seed", 0, "--max-iter", 2)
    assert err.startswith("fastem: warning: Best performing initialization did not converge")
    assert err.count("\n") == 1
    assert field(out, "converged") == "no"
    assert field(out, "status") == fastem.Status.MAX_ITER.advice


def test_verbose_reports_on_standard_error():
    out, err = run("fit", "faithful", "-k", 2, "--seed", 0, "--regularization", "map", "--verbose")
    X, _ = fastem.load_faithful()
    model = fastem.fit(X, 2, random_state=0, regularization="map")
    assert err == f"{model.fit_report_}\n"
    assert out == run("fit", "faithful", "-k", 2, "--seed", 0, "--regularization", "map")[0]


def _as_files():
    """The same table with weights, as a csv file, .npy, .parquet and a folder of .parquet files."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    X, _ = fastem.load_faithful()
    table = np.column_stack([X[:, 0], np.arange(len(X)) % 4, X[:, 1]])
    np.savetxt("t.csv", table, delimiter=",", header="a,w,b", comments="", fmt="%.17g")
    np.save("t.npy", table)
    columns = pa.table(dict(zip("awb", table.T, strict=True)))
    pq.write_table(columns, "t.parquet", row_group_size=100)
    os.mkdir("folder")
    for number, start in enumerate(range(0, len(X), 90)):
        pq.write_table(columns.slice(start, 90), f"folder/part-{number}.parquet")
    return {"t.csv": "w", "t.npy": "1", "t.parquet": "w", "folder": "1"}


@pytest.mark.parametrize("columns", [(), ("--columns", "2,0")])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_format_gives_the_same_fit(columns, weighted):
    outputs = set()
    for file, weight in _as_files().items():
        options = [*columns, *(("--weights", weight) if weighted else ())]
        out, err = run("fit", file, "-k", 2, "--seed", 0, "-o", "m.npz", "--write-labels", "l.npy", *options)
        assert err == (
            "fastem: t.csv: 272 rows of 3 columns separated by ','; header a, w, b\n" if file == "t.csv" else ""
        )
        names = list(getattr(fastem.load("m.npz"), "feature_names_in_", ["a", "w", "b"][: 2 if weighted else 3]))
        assert names == (["b", "a"] if columns and file != "t.npy" else names)
        model = fastem.load("m.npz")
        fields = [field(out, name) for name in ("log-likelihood", "BIC", "AIC", "iterations")]
        outputs.add((model.means_.tobytes(), np.load("l.npy").tobytes(), *fields))
        predicted, _ = run("predict", "m.npz", file, *(options[:2] if columns else ["--columns", "0,2"] * weighted))
        assert predicted.split()[1:] == [str(label) for label in np.load("l.npy")]
    assert len(outputs) == 1


def test_scores_as_parquet(model_file):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    run("predict", model_file, "faithful", "--proba", "-o", "p.parquet")
    run("fit", "faithful", "-k", 2, "--seed", 0, "--write-labels", "l.parquet")
    X, _ = fastem.load_faithful()
    model = fastem.load(model_file)
    del model.feature_names_in_
    np.testing.assert_array_equal(pd.read_parquet("p.parquet"), model.predict_proba(X))
    np.testing.assert_array_equal(pd.read_parquet("l.parquet")["label"], model.predict(X))


def test_a_file_that_vanishes_leaves_the_model_so_far(monkeypatch):
    _as_files()
    calls = []

    def break_a_file(n):
        calls.append(n)
        if len(calls) == 10:
            os.unlink("folder/part-1.parquet")

    original = opening.Rows.__init__

    def rows(self, source):
        original(self, source)
        self.count = break_a_file

    monkeypatch.setattr(opening.Rows, "__init__", rows)
    err = fails("fit", "folder", "--columns", "a,b", "-k", 2, "--seed", 0, "--tol", 0, "-o", "m.npz")
    assert re.search(r"pass \d+ over the data: row group 0 of folder/part-1.parquet could not be read", err)
    assert re.search(r"the fit ends after (\d+) iterations: their model is in m.npz", err)
    assert fastem.load("m.npz").n_iter_ == int(re.search(r"after (\d+) iter", err)[1]) > 0


# --- predict, score, sample, info


def test_predict_prints_csv(model_file):
    X, _ = fastem.load_faithful()
    out, err = run("predict", model_file, "faithful")
    assert err == ""
    model = fastem.load(model_file)
    del model.feature_names_in_
    assert out == "label\n" + "".join(f"{label}\n" for label in model.predict(X))


def test_predict_writes_probabilities(model_file):
    out, _ = run("predict", model_file, "faithful", "--proba", "-o", "p.csv")
    assert out == ""
    proba, names = read_table("p.csv")
    assert names == ["p0", "p1"]
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


def test_columns_are_matched_by_name(model_file):
    X, _ = fastem.load_faithful()
    with open("swapped.csv", "w") as stream:
        stream.write("waiting,place,eruptions\n")
        stream.writelines(f"{waiting},here,{eruptions}\n" for eruptions, waiting in X)
    assert run("predict", model_file, "swapped.csv")[0] == run("predict", model_file, "faithful")[0]
    np.save("bare.npy", X)
    assert run("predict", model_file, "bare.npy") == run("predict", model_file, "faithful")
    np.save("swapped.npy", X[:, ::-1])
    swapped = run("predict", model_file, "swapped.npy", "--columns", "1,0")
    assert swapped == run("predict", model_file, "faithful")


def test_score(model_file):
    X, _ = fastem.load_faithful()
    model = fastem.load(model_file)
    del model.feature_names_in_
    out, err = run("score", model_file, "faithful", "-o", "s.npy")
    assert err == ""
    np.testing.assert_array_equal(np.load("s.npy"), model.score_samples(X))
    np.testing.assert_allclose(float(field(out, "mean log-likelihood")), model.score(X), rtol=1e-8)
    np.testing.assert_allclose(float(field(out, "BIC")), model.bic(X), rtol=1e-8)


def test_sample_pipes_into_fit(model_file):
    out, err = run("sample", model_file, "-n", 500, "--seed", 1)
    assert err == ""
    with open("s.csv", "w") as stream:
        stream.write(out)
    X, names = read_table("s.csv")
    assert names == ["eruptions", "waiting"]
    assert X.shape == (500, 2)
    np.testing.assert_allclose(X.mean(axis=0), [3.49, 70.9], rtol=0.05)
    run("sample", model_file, "-n", 500, "--seed", 1, "-o", "s.npy")
    np.testing.assert_array_equal(np.load("s.npy"), X)


def test_sample_without_a_seed_is_random_whatever_the_seed_of_the_fit(model_file):
    assert run("sample", model_file, "-n", 3) != run("sample", model_file, "-n", 3)


def test_info(model_file):
    out, _ = run("info", model_file)
    assert "full covariance" in out
    assert "waiting" in out
    assert field(out, "components") == "2"
    assert field(out, "dtype") == "float64"
    assert field(out, "converged") == "yes"
    assert field(out, "random_state") == "0"


def test_info_on_a_model_that_was_given_not_fitted():
    fastem.save(fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"), "m.npz")
    out, _ = run("info", "m.npz")
    assert "converged" not in out


# --- errors


def test_columns_of_one_name_are_taken_in_order():
    """A file whose names are the model's needs no choice; in another file the name would not tell which column."""
    X, _ = fastem.load_faithful()
    np.savetxt("twice.csv", X[:60], delimiter=",", header="a,a", comments="")
    run("fit", "twice.csv", "-k", 2, "--seed", 0, "-o", "twice.npz")
    run("predict", "twice.npz", "twice.csv", "-o", "labels.npy")
    with pytest.warns(UserWarning, match="feature names"):
        want = fastem.load("twice.npz").predict(X[:60])
    assert (np.load("labels.npy") == want).all()
    np.savetxt("other.csv", X[:60, [0, 1, 0]], delimiter=",", header="a,a,b", comments="")
    assert "more than one column 'a'" in fails("predict", "twice.npz", "other.csv", "-o", "no.npy")


def test_a_model_without_names_takes_columns_in_order_and_says_so(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    np.save(tmp_path / "x.npy", X)
    np.savetxt(tmp_path / "x.csv", X, delimiter=",", header="b,a", comments="")
    model = str(tmp_path / "m.npz")
    run("fit", tmp_path / "x.npy", "-o", model)
    assert "taken in their order" in run("predict", model, tmp_path / "x.csv")[1]


def test_version():
    assert run("--version")[0].startswith("fastem ")


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("-o", "absent/m.npz", "the folder 'absent' does not exist"),
        ("--write-labels", "absent/l.csv", "the folder 'absent' does not exist"),
        ("--plot", "absent/p.png", "the folder 'absent' does not exist"),
        ("-o", "m.pkl", "expected a file ending in .npz"),
        ("--write-labels", "l.txt", "expected a file ending in .csv, .npy or .parquet"),
        ("--plot", "p.doc", "expected a file ending in .png, .pdf or .svg"),
    ],
)
def test_an_impossible_output_is_found_before_the_fit(monkeypatch, option, name, message):
    monkeypatch.setattr(fitting, "recommended", None)  # a fit would fail otherwise
    assert message in fails("fit", "faithful", option, name)


def test_a_missing_matplotlib_is_found_before_the_fit(monkeypatch):
    monkeypatch.setattr(fitting, "recommended", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "fastem[plot]"' in fails("fit", "faithful", "--plot", "p.png")


def test_help_names_the_data_sets():
    out, _ = run("--help")
    assert "faithful" in out
    assert "--components" in run("fit", "--help")[0]


# --- in child processes


def test_in_a_pipe_there_is_no_bar_and_no_colour():
    result = child("fit", "faithful", "-k", "2", "--seed", "0", "--write-labels", "l.npy")
    assert result.returncode == 0
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    assert "converged" in result.stdout
    np.testing.assert_array_equal(np.sort(np.bincount(np.load("l.npy"))), [97, 175])


def test_an_error_in_a_child_is_one_line_and_status_1():
    result = child("fit", "absent.csv")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "fastem: error: absent.csv: no such file\n"


def test_without_typer_the_extra_is_named():
    code = "import sys, runpy; sys.modules['typer'] = None; runpy.run_module('fastem', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=child_env())
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith('pip install "fastem[cli]"')
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
@pytest.mark.parametrize("n", [5, 200_000])
def test_a_reader_that_leaves_is_no_error(model_file, n):
    command = [sys.executable, "-m", "fastem", "sample", str(model_file), "-n", str(n)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_env()) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and terminals")
def test_on_a_terminal_there_is_a_bar_and_ctrl_c_is_status_130_with_the_last_complete_iteration():
    import pty

    np.save("x.npy", np.random.default_rng(0).normal(size=(20_000, 2)))
    leader, follower = pty.openpty()
    args = ["fit", "x.npy", "-k", "3", "--seed", "0", "--tol", "0", "--max-iter", "100000", "-o", "m.npz"]
    args += ["--like-sklearn"]  # plain EM, which with a tol of 0 never ends
    command = [sys.executable, "-m", "fastem", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=child_env()) as process:
        os.close(follower)
        seen, deadline = b"", time.monotonic() + 60
        while b"mean log-likelihood -" not in seen and time.monotonic() < deadline:
            seen += os.read(leader, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        rest = os.read(leader, 65536)
        while b"m.npz" not in rest:
            rest += os.read(leader, 65536)
        assert b"Traceback" not in rest
    os.close(leader)
    model = fastem.load("m.npz")
    assert f"fastem: interrupted after {model.n_iter_} iterations: their model is in m.npz" in rest.decode()
    assert model.status_ is fastem.Status.INTERRUPTED
    X = np.load("x.npy")
    full = fastem.GaussianMixture(3, random_state=0, tol=0.0, max_iter=model.n_iter_)
    assert model.lower_bounds_ == quiet_fit(full, X).lower_bounds_
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-12)  # the parameters that the bound is of


INTERRUPTED_START = """
import os, signal, sys, time
from fastem.fitting import restarts
from fastem_command import main

def start(runs):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)

restarts.Runs.first_params = start
sys.argv[0] = "fastem"
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_before_the_first_iteration_saves_nothing_and_says_so():
    command = [sys.executable, "-c", INTERRUPTED_START, "fit", "faithful", "-k", "2", "-o", "m.npz"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=child_env())
    assert result.returncode == 130
    assert result.stdout == ""
    assert result.stderr == "fastem: interrupted before the first iteration was complete: no model is written\n"
    assert not os.path.exists("m.npz")


def test_ctrl_c_without_an_output_says_that_nothing_is_saved(monkeypatch):
    def fit(self, *args, **kwargs):
        result = fastem.em([[0.0], [1.0], [3.0]], fastem.make_params([1.0], [[0.0]], [[[1.0]]]), max_iter=1)
        raise fastem.FitInterrupted(result)

    monkeypatch.setattr(fitting.GaussianMixture, "fit", fit)
    out, err = run("fit", "faithful", code=130)
    assert (out, err) == ("", "fastem: interrupted after 1 iterations: no model is written, for want of --output\n")


def kept_iterations(path):
    """Return the iterations of the first run in a checkpoint; 0 if there is none yet."""
    if not os.path.exists(path):
        return 0
    with np.load(path) as archive:
        return len(archive["run0_history"]) if "run0_history" in archive else 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_fit_goes_on_from_its_checkpoint():
    """SIGINT as soon as three iterations are kept; the second command ends with the model file of an unbroken one."""
    np.save("x.npy", np.random.default_rng(0).normal(size=(20_000, 2)))
    args = ["fit", "x.npy", "-k", "3", "--seed", "0", "--tol", "0", "--max-iter", "250"]
    code = (
        "import fastem_command; from fastem.fitting import checkpoint;checkpoint.INTERVAL = 0.0; fastem_command.main()"
    )
    command = [sys.executable, "-c", code, *args, "--checkpoint", "c.npz"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_env()) as process:
        deadline = time.monotonic() + 60
        while kept_iterations("c.npz") < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert 3 <= kept_iterations("c.npz") < 250
    run(*args, "--checkpoint", "c.npz", "-o", "resumed.npz")
    run(*args, "-o", "unbroken.npz")
    with open("resumed.npz", "rb") as resumed, open("unbroken.npz", "rb") as unbroken:
        assert resumed.read() == unbroken.read()
    assert "max_iter 250 (here 9)" in fails(*args[:-1], 9, "--checkpoint", "c.npz")


def test_warmup(monkeypatch, tmp_path):
    """Of both dtypes and of all calls; which kernels these need: tests/kernels/test_warmup.py."""
    seen = []
    monkeypatch.setattr(models, "warmup", lambda *args: seen.append(args) or Warmup(1.54, tmp_path))
    out, _ = run("warmup")
    assert field(out, "ready after") == "1.5 s"
    assert field(out, "compiled code") == str(tmp_path)
    run("warmup", "--dtype", "float32")
    assert seen == [(("float64", "float32"), None, list(CALLS)), (("float32",), None, list(CALLS))]


def test_warmup_of_some_calls():
    out, _ = run("warmup", "--dtype", "float64", "--for", "predict")
    assert field(out, "ready after").endswith(" s")
    assert Path(field(out, "compiled code")).is_dir()
    assert "calls must be of 'fit', 'predict', " in fails("warmup", "--for", "fit,score")


def test_warmup_that_nobody_will_find_is_an_error(monkeypatch):
    monkeypatch.setattr(models, "warmup", lambda *_: Warmup(1.5, None))
    assert "compiled in 1.5 s, but for this process only" in fails("warmup")


def test_threads(model_file, monkeypatch):
    """The option reaches fits and scores."""
    seen = []

    @contextmanager
    def recorded(most):
        seen.append(most)
        yield

    for module in (training, scoring, outputs):
        monkeypatch.setattr(module, "threads", recorded)
    run("fit", "faithful", "--threads", 1)
    run("predict", model_file, "faithful", "--threads", 2)
    run("score", model_file, "faithful", "--threads", 3)
    assert set(seen) == {1, 2, 3}
    assert seen[0] == 1
    run("fit", "faithful", "--threads", 0, code=2)


def test_noise():
    """In the table of components, among probabilities, and -1 among labels."""
    rng = np.random.default_rng(0)
    np.save("spoiled.npy", np.r_[rng.normal(size=(500, 2)), rng.uniform(-30, 30, size=(100, 2))])
    out, _ = run("fit", "spoiled.npy", "--noise", "--seed", 0, "-o", "model.npz", "--write-labels", "labels.csv")
    (line,) = [line for line in out.splitlines() if "noise" in line]
    assert "uniform, -2" in line
    labels, _ = read_table(Path("labels.csv"))
    assert set(np.unique(labels)) == {-1, 0}
    run("predict", "model.npz", "spoiled.npy", "--proba", "-o", "proba.csv")
    proba, names = read_table(Path("proba.csv"))
    assert names == ["p0", "p_noise"]
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-9)


# --- select


def test_select_prints_the_table_and_the_best():
    options = ["--regularization", "map", "--tol", 1e-6, "--max-iter", 1000, "--seed", 0]
    out, err = run("select", "faithful", "-k", "1-2,4", *options, "-o", "best.npz", "--plot", "bic.png")
    X, _ = fastem.load_faithful()
    found = fastem.select(X, [1, 2, 4], regularization="map", tol=1e-6, max_iter=1000, random_state=0)
    assert err == ""
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")][: len(found.candidates)]
    want = [(one.covariance_type, str(one.n_components), f"{one.bic:.2f}") for one in found.ranked()]
    assert [(row[0].strip(), row[1].strip(), row[4].strip()) for row in rows] == want
    assert "tied covariance: mean" in out
    assert field(out, "converged") == "yes"
    assert opening.load_model(Path("best.npz"))[0].bic(X) == pytest.approx(found.best_.bic(X), rel=1e-12)
    assert list(fastem.load("best.npz").feature_names_in_) == ["eruptions", "waiting"]
    assert Path("bic.png").stat().st_size > 10_000


def test_select_by_rows_held_out():
    out, _ = run(
        "select", "faithful", "-k", 2, "--covariance", "full, tied", "--criterion", "cv", "--cv", 3, "--seed", 0
    )
    X, _ = fastem.load_faithful()
    best = fastem.select(X, 2, ["full", "tied"], criterion="cv", cv=3, random_state=0).ranked()[0]
    (first, *_) = [line for line in out.splitlines() if line.startswith("│")]
    assert first.split("│")[1].strip() == best.covariance_type
    assert f"{best.test:.5f}" in first
    assert "held out" in out


def test_select_chooses_the_number_of_factors():
    """Its model goes through the commands that read models; what these print is of the factor mixture."""
    rng = np.random.default_rng(0)
    X = np.vstack([mean + rng.normal(size=(150, 2)) @ rng.normal(size=(2, 6)) for mean in (0, 4)])
    X += 0.4 * rng.normal(size=X.shape)
    np.save("rows.npy", X)
    options = ["--covariance", "factor,full", "--n-factors", "1-3", "--seed", 0, "-o", "best.npz", "--plot", "bic.png"]
    out, err = run("select", "rows.npy", "-k", "1-2", *options, "--params", "best.json")
    found = fastem.select(X, [1, 2], ["factor", "full"], n_factors=[1, 2, 3], random_state=0)
    assert err == ""
    assert "2 factors: mean" in out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")][:8]
    assert [(row[0], row[2], row[5]) for row in rows] == [
        (one.covariance_type, str(one.n_factors), f"{one.bic:.2f}") for one in found.ranked()
    ]
    model = fastem.load("best.npz")
    assert model.loadings_.shape == (2, 6, 2)
    np.testing.assert_allclose(json.loads(Path("best.json").read_text())["covariances"], model.covariances_)
    assert float(field(run("score", "best.npz", "rows.npy")[0], "BIC")) == pytest.approx(model.bic(X), rel=1e-9)
    assert run("predict", "best.npz", "rows.npy")[0].split()[1:] == [str(k) for k in model.predict(X)]
    assert field(run("info", "best.npz")[0], "n_factors") == "2"
    assert "3 of 300 rows" in run("anomalies", "best.npz", "rows.npy", "--share", 0.01)[1]
    assert "bootstrap needs a GaussianMixture" in fails("bootstrap", "best.npz", "rows.npy")
    assert "'factor' needs n_factors" in fails("select", "rows.npy", "--covariance", "factor")
    assert "--n-factors takes numbers" in fails("select", "rows.npy", "--covariance", "factor", "--n-factors", "a")


def test_select_reports_what_is_wrong():
    for numbers in ("two", "2-", "4-2", "1-2-3", "1,,2"):
        assert "takes numbers and ranges" in fails("select", "faithful", "-k", numbers)
    assert "'covariance_type' parameter" in fails("select", "faithful", "--covariance", "round")
    assert "does not exist" in fails("select", "faithful", "-o", "nowhere/model.npz")
    np.save("few.npy", np.eye(4))
    out, err = run("select", "few.npy", "-k", 9, code=1)
    assert "TOO_FEW_ROWS" in out
    assert "has a sound fit" in err


def test_select_after_an_interrupt(monkeypatch):
    def interrupted(X, *args, **options):
        found = fastem.select(X, [1, 2], "tied", random_state=0)
        raise fastem.SelectionInterrupted(found)

    monkeypatch.setattr(fitting, "select", interrupted)
    out, err = run("select", "faithful", "-o", "model.npz", code=130)
    assert "interrupted after 2 candidates" in err
    assert "tied covariance" in out
    assert len(fastem.load("model.npz").weights_) == 2


# --- anomalies


def test_anomalies(model_file):
    out, err = run("anomalies", model_file, "faithful", "--share", 0.02)
    X, _ = fastem.load_faithful()
    density = opening.load_model(model_file)[0].score_samples(X)
    header, *lines = out.splitlines()
    assert header == "row,log_likelihood,eruptions,waiting"
    found = [line.split(",") for line in lines]
    assert [int(row[0]) for row in found] == sorted(np.argsort(density)[:5])
    for row in found:
        assert [float(value) for value in row[1:]] == [density[int(row[0])], *X[int(row[0])]]
    assert err.startswith("fastem: 5 of 272 rows have a log-likelihood below -")


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_anomalies_to_a_file(model_file, ending):
    out, err = run("anomalies", model_file, "faithful", "--threshold", -7, "-o", f"found.{ending}")
    X, _ = fastem.load_faithful()
    density = opening.load_model(model_file)[0].score_samples(X)
    values, _ = read_table(Path(f"found.{ending}"))
    rows = np.flatnonzero(density < -7)
    np.testing.assert_array_equal(values, np.column_stack([rows, density[rows], X[rows]]))
    assert out == ""
    assert err == f"fastem: {len(rows)} of 272 rows have a log-likelihood below -7\n"


def test_no_anomalies(model_file):
    out, err = run("anomalies", model_file, "faithful", "--threshold", -1000)
    assert out == "row,log_likelihood,eruptions,waiting\n"
    assert err.startswith("fastem: 0 of 272 rows")


def test_a_share_of_nothing_and_a_seed_beyond_32_bits_name_their_options(model_file):
    for option, command in {
        "--share": f"anomalies {model_file} faithful --share 0",
        "--seed": "fit faithful --seed 4294967296",
    }.items():
        result = CliRunner().invoke(cli.app, command.split())
        assert result.exit_code == 2
        assert f"Invalid value for '{option}'" in result.stderr


def test_units_do_not_matter(tmp_path):
    """A column of sd 3e-5 keeps it."""
    X = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 3e-5]
    np.save(tmp_path / "rows.npy", X)
    run("fit", tmp_path / "rows.npy", "-o", "m.npz")
    model = fastem.load(tmp_path / "m.npz")
    np.testing.assert_allclose(model.covariances_[0], np.cov(X.T, bias=True), rtol=1e-9)
    _, err = run("fit", tmp_path / "rows.npy", "--reg-covar", 1e-6)
    assert "reg_covar=1e-06 is more than 1% of the variance of column 1" in err


# --- outputs


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("predict m.npz rows.npy -o rows.npy", "--output rows.npy would replace the input rows.npy"),
        ("predict m.npz rows.npy -o link.npy", "--output link.npy would replace the input rows.npy"),
        ("score m.npz rows.npy -o ./rows.npy", "--output rows.npy would replace the input rows.npy"),
        ("anomalies m.npz rows.csv -o rows.csv", "--output rows.csv would replace the input rows.csv"),
        ("fit rows.csv --write-labels rows.csv", "--write-labels rows.csv would replace the input rows.csv"),
        ("fit rows.csv --params rows.csv", "--params rows.csv would replace the input rows.csv"),
        ("fit rows.csv -o c.npz --checkpoint c.npz", "--output and --checkpoint are the same file"),
        ("fit rows.csv --params l.csv --write-labels l.csv", "--params and --write-labels are the same file"),
        ("fit folder --write-labels folder/l.parquet", "would be a part of the input folder"),
        ("select rows.csv --params rows.csv", "--params rows.csv would replace the input rows.csv"),
    ],
)
def test_no_output_replaces_an_input_or_another(monkeypatch, command, message):
    """Refused before anything is read."""
    for name in ("rows.npy", "rows.csv", "m.npz"):
        Path(name).write_text("no table")
    os.mkdir("folder")
    os.symlink("rows.npy", "link.npy")
    assert message in fails(*command.split())
    assert Path("rows.npy").read_text() == Path("rows.csv").read_text() == "no table"


@pytest.mark.parametrize("option", ["--tol", "--reg-covar", "--share", "--threshold"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_that_are_none_are_refused(model_file, option, value):
    command = ["anomalies", model_file] if option in ("--share", "--threshold") else ["fit"]
    result = CliRunner().invoke(cli.app, [*map(str, command), "faithful", option, value])
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert option.strip("-").replace("-", "_") in result.stderr.replace("-", "_")


def test_a_picture_appears_whole_or_not_at_all(monkeypatch):
    figures = pytest.importorskip("matplotlib.figure")
    Path("p.png").write_text("old")

    def fail(self, target, **options):
        target.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures.Figure, "savefig", fail)
    _, err = run("fit", "faithful", "--plot", "p.png", code=1)
    assert err == "fastem: error: p.png: No space left on device\n"
    assert Path("p.png").read_text() == "old"
    assert os.listdir() == ["p.png"]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "PNG"])
def test_pictures_have_the_format_of_their_ending(ending):
    pytest.importorskip("matplotlib")
    run("fit", "faithful", "--plot", f"p.{ending}")
    first = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}[ending.lower()]
    assert Path(f"p.{ending}").read_bytes().startswith(first)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_parameters_as_json_and_csv(covariance):
    options = ["-k", 2, "--seed", 0, "--covariance", covariance, "-o", "m.npz"]
    run("fit", "faithful", *options, "--params", "p.json")
    run("info", "m.npz", "--params", "p.csv")
    model = fastem.load("m.npz")
    found = json.loads(Path("p.json").read_text())
    assert (found["covariance_type"], found["features"], found["noise"]) == (covariance, ["eruptions", "waiting"], None)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(found[name], getattr(model, f"{name}_"))
    lines = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    assert len(lines) == 2 * (1 + 2 + 4)
    matrices = full_covariances(model.params_)
    place = {"eruptions": 0, "waiting": 1}
    for line in lines:
        k, names = int(line["component"]), [line["feature"], line["other_feature"]]
        array = {"weight": model.weights_, "mean": model.means_, "covariance": matrices}[line["parameter"]]
        assert float(line["value"]) == array[(k, *(place[name] for name in names if name))]


def test_parameters_of_noise_and_of_a_selection():
    run("fit", "faithful", "--noise", "--seed", 0, "-o", "m.npz", "--params", "p.json")
    model, found = fastem.load("m.npz"), json.loads(Path("p.json").read_text())
    assert found["noise"] == {"weight": model.noise_weight_, "box": model.noise_box_.tolist()}
    run("info", "m.npz", "--params", "p.csv")
    assert f"noise,high,waiting,,{model.noise_box_[1, 1]!r}".replace("np.float64(", "").replace(")", "") in (
        Path("p.csv").read_text()
    )
    run("select", "faithful", "-k", "1-2", "--covariance", "tied", "--seed", 0, "-o", "s.npz", "--params", "s.json")
    found = json.loads(Path("s.json").read_text())
    np.testing.assert_array_equal(found["means"], fastem.load("s.npz").means_)


# --- tables of text


def german():
    """Write the data as a German Excel does, with units and an index."""
    X, names = fastem.load_faithful()
    lines = [
        f";{';'.join(names)}",
        ";min;min",
        *(f"{i};{a!r};{b!r}".replace(".", ",") for i, (a, b) in enumerate(X.tolist())),
    ]
    Path("t.csv").write_bytes("\r\n".join(lines).encode("cp1252"))


def test_a_table_of_text_gives_the_fit_of_its_numbers_and_says_how_it_was_read(model_file):
    german()
    out, err = run("fit", "t.csv", "-k", 2, "--seed", 0)
    assert out == run("fit", "faithful", "-k", 2, "--seed", 0)[0]
    said = (
        "fastem: t.csv: 272 rows of 3 columns separated by ';'; decimal sign ','; header (none), eruptions, waiting; "
        "units (none), min, min; the first column counts or names the rows\n"
    )
    assert err == said
    assert run("predict", model_file, "t.csv") == (run("predict", model_file, "faithful")[0], said)


def test_options_decide_what_is_doubtful():
    Path("t.csv").write_text("2019,2020\n1.5,2.5\n2.5,1.5\n4.5,2.0\n")
    assert "--header or --no-header" in fails("fit", "t.csv")
    assert "header 2019, 2020" in run("fit", "t.csv", "--header")[1]
    assert "4 rows of 2 columns separated by ','; no header" in run("fit", "t.csv", "--no-header")[1]
    Path("t.csv").write_text("a\tb\n1,000\t2,000\n3,000\t4,000\n1,000\t7,000\n")
    assert "--decimal" in fails("fit", "t.csv", "--delimiter", "tab")
    assert "decimal sign ','" in run("fit", "t.csv", "--decimal", ",")[1]
    Path("t.csv").write_text("1;7\n2;9\n3;8\n")
    assert run("fit", "t.csv", "--index")[1].endswith("the first column counts or names the rows\n")
    assert "--delimiter takes one ASCII character" in fails("fit", "t.csv", "--delimiter", "::")


def test_incomplete_rows_are_left_out_of_a_fit_if_asked():
    X, _ = fastem.load_faithful()
    spoiled = X.copy()
    spoiled[::7, 1] = np.nan
    np.save("t.npy", spoiled)
    Path("t.csv").write_text("a,b\n" + "".join(f"{a!r},{'' if b != b else repr(b)}\n" for a, b in spoiled.tolist()))
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: pa.array(column, from_pandas=True) for name, column in zip("ab", spoiled.T, strict=True)}
    pq.write_table(pa.table(columns), "t.parquet")
    want = fastem.fit(spoiled[~np.isnan(spoiled[:, 1])], 2, random_state=0)
    for name in ("t.csv", "t.npy", "t.parquet"):
        run("fit", name, "-k", 2, "--seed", 0, code=1)
        _, err = run("fit", name, "-k", 2, "--seed", 0, "--drop-incomplete", "-o", "m.npz")
        assert f"fastem: {name}: 39 of 272 rows have empty cells and are left out\n" in err
        np.testing.assert_array_equal(fastem.load("m.npz").means_, want.means_)
    _, err = run("select", "t.csv", "-k", 1, "--covariance", "tied", "--drop-incomplete")
    assert "39 of 272" in err
    _, err = run("fit", "t.csv", "--columns", "a", "--drop-incomplete")
    assert "0 of 272 rows have empty cells" in err  # in the columns that are used
    assert "--drop-incomplete leaves rows out" in fails("fit", "t.csv", "--drop-incomplete", "--write-labels", "l.csv")
    Path("t.csv").write_text("a,b\n1,\n,2\n")
    assert "no row is complete" in run("fit", "t.csv", "--drop-incomplete", code=1)[1]


def test_labels_are_an_input_as_in_python():
    X, _ = fastem.load_faithful()
    labels = np.where(np.arange(272) % 5 == 0, X[:, 0] > 3, -1)
    np.save("t.npy", np.column_stack([X, labels]))
    run("fit", "t.npy", "-k", 2, "--seed", 0, "--labels", "2", "-o", "m.npz")
    want = fastem.fit(X, 2, labels=labels, random_state=0)
    np.testing.assert_array_equal(fastem.load("m.npz").means_, want.means_)


def test_share_and_threshold_are_not_given_together(model_file):
    assert "--share and --threshold" in fails("anomalies", model_file, "faithful", "--share", 0.02, "--threshold", -7)


# --- what a terminal shows


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_control_characters_of_names_do_not_reach_the_terminal(monkeypatch):
    Path("t.csv").write_text("\x1b[31ma,b\x07\n1,2\n3,5\n2,2\n")
    out, err = run("fit", "t.csv", "-o", "m.npz")
    assert r"\x1b[31ma" in out
    assert r"\x1b[31ma" in err
    out += err + run("info", "m.npz")[0] + fails("fit", "t.csv", "--columns", "z")
    assert "\x1b" not in out
    assert "\x07" not in out
    assert list(fastem.load("m.npz").feature_names_in_) == ["\x1b[31ma", "b\x07"]  # the model has them as they are
    assert run("sample", "m.npz")[0].startswith("\x1b[31ma,b\x07\n")  # and so has a pipe
    monkeypatch.setattr(printing.sys, "stdout", Terminal())
    printing.standard_csv(["\x1b[31ma", "b"])
    assert printing.sys.stdout.getvalue() == "\\x1b[31ma,b\n"


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl", "cv"])
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_of_a_selection_is_not_cut(monkeypatch, criterion, width):
    """Numbers as of a billion rows, in terminals of all widths: columns are left out, not digits."""
    monkeypatch.setattr(printing, "terminal", lambda: Console(width=width))
    X, _ = fastem.load_faithful()
    found = fastem.select(X, [1, 2], ["tied_spherical", "full"], criterion=criterion, cv=2, random_state=0)
    large = [
        one._replace(bic=one.bic * 1e6, aic=one.aic * 1e6, icl=one.icl * 1e6, seconds=1234.5)
        for one in found.candidates
    ]
    found.candidates[:] = large
    with contextlib.redirect_stdout(io.StringIO()) as out:
        printing.print_candidates(found)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    column = "test" if criterion == "cv" else criterion
    form = ".5f" if criterion == "cv" else ".2f"
    for one in large:
        assert f" {format(getattr(one, column), form)} " in text
        assert f" {one.status} " in text
    assert ("not shown: seconds" in " ".join(text.split())) == (width < 160)


@pytest.mark.parametrize("width", [50, 80, 200])
def test_the_table_of_components_is_not_cut(monkeypatch, width):
    monkeypatch.setattr(printing, "terminal", lambda: Console(width=width))
    D = 30
    model = fastem.GaussianMixture.from_parameters([1.0], [[-1.23456e-200] * D], [2e-300], "spherical")
    names = [f"{j} a rather long name of a column, with_parts_that_have_no_blanks" for j in range(D)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        printing.print_components(model, names)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    shown = text.count("-1.2346e-200 (1.41e-150)")
    assert shown == (width - 22) // 27
    assert f"{shown} of 30 features shown" in text


def on_a_terminal(*args, **env):
    """Run a command with a terminal as its standard error, and return what that showed."""
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "fastem", *args]
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower, env=child_env(**env)) as process:
        os.close(follower)
        with contextlib.suppress(OSError):  # Linux: the other end is closed
            while part := os.read(leader, 4096):
                shown += part
        assert process.wait(timeout=60) == 0
    os.close(leader)
    return shown.decode()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX terminals")
def test_while_kernels_are_compiled_a_terminal_says_so(tmp_path):
    first, second = (
        on_a_terminal("fit", "faithful", "-k", "2", "--seed", "0", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        for _ in range(2)
    )
    assert first.count("fastem: compiling kernels for this processor, about 5 s, once ...") == 1
    assert "compiling" not in second
    assert "nan" not in first + second
    assert "pass 0 %" not in first + second


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_a_full_disk_behind_standard_output_is_named(model_file):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastem", "sample", str(model_file), "-n", "9"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=child_env())
    assert result.returncode == 1
    assert result.stderr == "fastem: error: standard output: No space left on device\n"


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells")
@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_standard_stream_is_one_that_nobody_reads(model_file, stream):
    command = f"'{sys.executable}' -m fastem info '{model_file}' {stream}>&-"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, env=child_env())
    assert (result.returncode, result.stderr) == (0, "")
    assert bool(result.stdout) == (stream == 2)


def test_help_lists_commands_from_fit_to_warmup():
    text = run("--help")[0]
    commands = (
        "fit",
        "select",
        "bootstrap",
        "bootstrap-test",
        "predict",
        "score",
        "anomalies",
        "sample",
        "info",
        "warmup",
    )
    places = [text.index(f"│ {name} ") for name in commands]
    assert places == sorted(places)


INTERRUPTED_IMPORT = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from fastem_command import main
main()
"""


@pytest.mark.parametrize(
    "module", ["numba", "scipy", "fastem.estimators.gaussian_mixture", "typer", "fastem.cli.fitting"]
)
def test_ctrl_c_while_modules_load_is_no_traceback(module):
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, module]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=child_env())
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "fastem: interrupted\n")
