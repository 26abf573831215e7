"""The commands bootstrap and bootstrap-test."""

import numpy as np
import pytest

import fastem
from fastem.estimators.uncertainty import replicates

pytest.importorskip("typer")

from commands import run

from fastem.cli import uncertainty


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def progress_that_interrupts(monkeypatch, after):
    """Give the commands a progress bar whose update presses Ctrl-C."""

    class Bar:
        def __init__(self, *columns, **fields): ...

        def __enter__(self):
            return self.update

        def update(self, completed, **fields):
            if completed >= after:
                raise KeyboardInterrupt

        def __exit__(self, *error): ...

    monkeypatch.setattr(uncertainty, "bar", Bar)
    monkeypatch.setattr(replicates, "BATCH_ROWS", 272 * 10)


@pytest.fixture
def model():
    X, names = fastem.load_faithful()
    model = fastem.GaussianMixture(2, tol=1e-6, random_state=0).fit(X)
    fastem.save(model, "model.npz", feature_names=names)
    return model


def test_bootstrap_prints_and_writes_what_the_method_finds(model):
    out, _ = run("bootstrap", "model.npz", "faithful", "-n", 50, "--kind", "weighted", "--seed", 3, "-o", "out.csv")
    found = model.bootstrap(fastem.load_faithful()[0], 50, "weighted", random_state=3)
    assert out.splitlines()[0] == "50 weighted replicates"
    assert "mean 1 waiting" in out
    assert [line.split()[-1] for line in out.splitlines()[2:]] == [
        line.split()[-1] for line in str(found).splitlines()[2:]
    ]
    table = np.genfromtxt("out.csv", delimiter=",", names=True)
    assert len(table) == 50
    np.testing.assert_allclose(table["weight_0"], found.weights_[:, 0])


def test_an_interrupted_bootstrap_prints_and_writes_the_replicates_that_are_done(model, monkeypatch):
    progress_that_interrupts(monkeypatch, 20)
    out, err = run("bootstrap", "model.npz", "faithful", "-n", 50, "--seed", 3, "-o", "out.npy", code=130)
    assert "fastem: interrupted after 20 replicates" in err
    assert out.startswith("20 nonparametric replicates")
    assert len(np.load("out.npy")) == 20


def test_bootstrap_test_prints_what_the_function_finds():
    options = ("--max-components", 3, "-n", 20, "--covariance", "tied", "--level", 0.06, "--seed", 0)
    out, err = run("bootstrap-test", "faithful", *options)
    X, _ = fastem.load_faithful()
    found = fastem.bootstrap_test(X, 1, "tied", max_components=3, n_samples=20, level=0.06, random_state=0)
    assert (out, err) == (f"{found}\n", "")
    out, _ = run("bootstrap-test", "faithful", "--columns", "waiting", "-n", 20, "--seed", 0)
    assert out.splitlines()[1].split()[:2] == ["1", "2"]


def test_an_interrupted_test_prints_what_is_done(monkeypatch):
    progress_that_interrupts(monkeypatch, 20)
    out, err = run("bootstrap-test", "faithful", "-n", 50, "--seed", 0, code=130)
    assert "interrupted" in err
    assert out.splitlines()[1].split()[4] == "20"


def test_wrong_options_are_one_line(model):
    assert "level must be a number" in run("bootstrap-test", "faithful", "--level", 2, code=1)[1]
    assert "ending in .csv" in run("bootstrap", "model.npz", "faithful", "-o", "model.npz", code=1)[1]
