"""Checkpoints: an interrupted fit that goes on ends with the bits of one that was never interrupted."""

import json
import os
import pickle
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import TYPES, quiet_fit, run_child, state_bytes

import fastem
from fastem import FitInterrupted, GaussianMixture, Status
from fastem.files.archive import ModelFileError
from fastem.fitting import checkpoint as checkpoints
from fastem.fitting import restarts, steps

pytestmark = pytest.mark.filterwarnings("ignore:reg_covar")  # some fits have a large one, so that the bound falls


@pytest.fixture
def file(tmp_path):
    return tmp_path / "c.npz"


@pytest.fixture
def every_pass(monkeypatch):
    """Write the state before each pass, not every 30 s."""
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)


def bits(model):
    """All that a fit leaves behind."""
    return state_bytes(model), model.status_, model.fit_report_


FITS = {
    **{f"{name}, three runs": dict(covariance_type=name, n_init=3, init_params="random") for name in TYPES},
    "max_iter": dict(tol=0.0, max_iter=7),
    "auto": dict(init_params="auto", n_init=2),
    "runs that end by max_iter": dict(tol=0.0, max_iter=3, n_init=4, init_params="k-means++"),
    "ridge": dict(regularization="ridge", n_init=2),
    "ratio": dict(regularization=fastem.EigenvalueRatio(2.0), covariance_type="diag", init_params="random"),
    "given start": dict(means_init=[[-1.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0]], tol=1e-5),
    "collapse": dict(reg_covar=0.0, init_params="random", n_init=2),
    "reseed": dict(n_components=6, regularization="map", n_init=2, init_params="random_from_data"),
    "drop": dict(n_components=6, regularization="floor", on_collapse="drop", n_init=3, init_params="k-means++"),
    "falls": dict(reg_covar=0.5, tol=0.0, max_iter=12),
    "float32": dict(n_init=2, dtype="f4"),
    "noise": dict(n_init=2, noise=True),
    "parameters": dict(stop="parameters", n_init=2),
    "aitken": dict(stop="aitken", n_init=2),
    "accelerated": dict(solver="auto", n_init=2, tol=1e-9, init_params="random"),
    "VVE, accelerated": dict(covariance_type="VVE", solver="auto", regularization="geometric", init_params="random"),
    "VEE": dict(covariance_type="VEE", regularization="geometric", tol=1e-4),
    "accelerated, reseed": dict(
        solver="auto", n_components=6, regularization="map", n_init=2, init_params="random_from_data"
    ),
}


EVENTFUL = {"collapse": "collapsed", "reseed": "reseeded", "drop": "dropped", "falls": "fell"}


@pytest.mark.parametrize("kind", FITS)
def test_every_state_leads_to_the_same_bits(two, file, every_pass, monkeypatch, kind):
    """The file is copied at each pass of a fit; from half a dozen of the copies the fit goes on."""
    options = {"n_components": 3, "random_state": 5, "tol": 1e-2, **FITS[kind]}
    X, weight = two.X[:150].astype(options.pop("dtype", "f8")), np.linspace(0.0, 2.0, 150)
    if kind in ("collapse", "reseed", "drop", "accelerated, reseed"):
        X = np.concatenate([X[:20], X[:20] * 0 + 1])
        weight = np.ones(len(X))
    model = quiet_fit(GaussianMixture(**options), X, sample_weight=weight)
    whole = bits(model)
    if kind in EVENTFUL:
        assert EVENTFUL[kind] in {event.what for one in model.fit_report_.starts for event in one.events}
    copies = []

    def copy(*args):
        copies.append(file.with_name(f"{len(copies)}.npz"))
        shutil.copy(file, copies[-1])

    watched = quiet_fit(GaussianMixture(**options), X, sample_weight=weight, callback=copy, checkpoint=file)
    assert bits(watched) == whole
    assert len(copies) >= watched.n_iter_
    monkeypatch.setattr(checkpoints, "INTERVAL", 30.0)
    for path in [*copies[:: len(copies) // 6 + 1], copies[-1], file]:
        assert bits(quiet_fit(GaussianMixture(**options), X, sample_weight=weight, checkpoint=path)) == whole, path


KILL = """
import json, os, random, signal, sys, time, warnings
import numpy as np
import helpers
from fastem import GaussianMixture
from fastem.fitting import checkpoint
warnings.simplefilter("ignore")
checkpoint.INTERVAL = 0.0
moments, folder = int(sys.argv[1]), sys.argv[2]
X = helpers.make_mixture(4000, 3, 4, spacing=2.0).X
random.seed(0)

def fit(path):
    model = GaussianMixture(4, n_init=3, init_params="random", tol=0.0, max_iter=15, random_state=0)
    return helpers.digest(helpers.state_bytes(model.fit(X, checkpoint=path)))

whole = fit(None)
durations = []
for run in range(3):
    began = time.perf_counter()
    fit(f"{folder}/whole{run}.npz")
    durations.append(time.perf_counter() - began)
found, killed, states = [], 0, set()
for moment in range(moments):
    path = f"{folder}/{moment}.npz"
    pid = os.fork()
    if pid == 0:
        fit(path)
        os._exit(0)
    time.sleep((moment + random.random()) / moments * min(durations))  # others' work makes a run longer
    os.kill(pid, signal.SIGKILL)
    killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
    if os.path.exists(path):
        with np.load(path) as archive:
            states.add(tuple(len(archive[name]) for name in archive.files if name.endswith("history")))
    found.append(fit(path))
print(json.dumps([whole, found, killed, sorted(states)]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("moments", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments(tmp_path, moments):
    """Three runs, the state written before each pass, the process killed anywhere: the same bits each time."""
    whole, found, killed, states = run_child(KILL, moments, tmp_path)
    assert found == [whole] * moments
    assert killed >= moments // 2
    assert len(states) >= moments // 2  # the moments differ


# --- how a fit ends


def stop_at(n, error=None):
    """A callback that ends the fit, or raises, at its n-th call."""
    calls = []

    def callback(*args):
        calls.append(args)
        if len(calls) == n and error is not None:
            raise error
        return len(calls) == n

    callback.calls = calls
    return callback


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), ZeroDivisionError()])
def test_a_fit_that_ends_early_leaves_its_state(two, file, error):
    """Written at the end, long before the 30 s are over: only the last pass is done again."""
    options = dict(n_components=2, tol=1e-8, max_iter=1000, random_state=0)
    whole = GaussianMixture(**options).fit(two.X)
    if error is None:
        assert GaussianMixture(**options).fit(two.X, callback=stop_at(6), checkpoint=file).n_iter_ == 6
    else:
        with pytest.raises(type(error)):
            GaussianMixture(**options).fit(two.X, callback=stop_at(6, error), checkpoint=file)
    again = stop_at(0)
    assert bits(GaussianMixture(**options).fit(two.X, callback=again, checkpoint=file)) == bits(whole)
    assert [iteration for iteration, *_ in again.calls] == list(range(6, whole.n_iter_ + 1))


@pytest.mark.parametrize("n", range(1, 12))
def test_an_iteration_that_is_done_again_is_reported_once(two, file, n):
    """Stopped where the bound has just fallen, which the state of the iteration before must not tell of."""
    options = dict(n_components=3, reg_covar=0.5, tol=0.0, max_iter=12, random_state=5)
    whole = quiet_fit(GaussianMixture(**options), two.X)
    assert len(whole.fit_report_.events) > 3
    quiet_fit(GaussianMixture(**options), two.X, callback=stop_at(n), checkpoint=file)
    assert bits(quiet_fit(GaussianMixture(**options), two.X, checkpoint=file)) == bits(whole)


def test_a_finished_fit_is_at_its_end_at_once(two, file):
    model = GaussianMixture(2, random_state=0, n_init=3).fit(two.X, checkpoint=file)
    again = stop_at(0)
    assert bits(GaussianMixture(2, random_state=0, n_init=3).fit(two.X, callback=again, checkpoint=file)) == bits(model)
    assert again.calls == []


def test_ctrl_c_in_the_first_pass_of_a_resumed_fit_has_the_result_of_the_checkpoint(two, file, monkeypatch):
    options = dict(n_components=2, tol=1e-8, max_iter=1000, random_state=0)
    GaussianMixture(**options).fit(two.X, callback=stop_at(6), checkpoint=file)
    module, calls = steps, []
    evaluate = module.evaluate

    def interrupted(source, params, *args, **kwargs):
        calls.append(params)
        if len(calls) == 2:  # after the pass that makes the checkpoint's statistics again
            raise KeyboardInterrupt
        return evaluate(source, params, *args, **kwargs)

    monkeypatch.setattr(module, "evaluate", interrupted)
    with pytest.raises(FitInterrupted) as caught:
        GaussianMixture(**options).fit(two.X, checkpoint=file)
    assert caught.value.result.n_iter == 5
    assert caught.value.result.loglik == pytest.approx(fastem.log_density(two.X, caught.value.result.params).sum())


def test_a_callback_that_ends_a_later_run_ends_the_fit(two):
    """INTERRUPTED, and without a warning, whichever run was the best."""
    for n in range(1, 9):
        model = GaussianMixture(2, random_state=0, n_init=5, tol=0.1, init_params="random").fit(
            two.X, callback=stop_at(n)
        )
        assert (model.status_, model.converged_) == (Status.INTERRUPTED, False)


def test_ctrl_c_in_a_later_start_keeps_the_best_run(two, monkeypatch):
    first = GaussianMixture(2, random_state=0).fit(two.X)
    start, calls = restarts.Runs.first_params, []

    def second(runs):
        calls.append(runs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return start(runs)

    monkeypatch.setattr(restarts.Runs, "first_params", second)
    with pytest.raises(FitInterrupted) as caught:
        GaussianMixture(2, n_init=3, random_state=0).fit(two.X)
    assert caught.value.result.history == first.lower_bounds_


def test_ctrl_c_before_the_first_pass_is_complete(two, monkeypatch):
    monkeypatch.setattr(restarts.Runs, "first_params", lambda runs: signal.raise_signal(signal.SIGINT))
    with pytest.raises(FitInterrupted) as caught:
        GaussianMixture(2).fit(two.X)
    assert caught.value.result is None


def test_the_generator_is_put_where_it_was(two, file):
    """NumPy's global state, and a RandomState of the user's, end where they would have ended."""
    options = dict(n_components=2, n_init=4, init_params="random", tol=0.05)
    np.random.seed(3)  # noqa: NPY002
    whole = GaussianMixture(**options).fit(two.X)
    after = np.random.uniform()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    GaussianMixture(**options).fit(two.X, callback=stop_at(whole.n_iter_ + 3), checkpoint=file)
    np.random.seed(99)  # noqa: NPY002
    assert bits(GaussianMixture(**options).fit(two.X, checkpoint=file)) == bits(whole)
    assert np.random.uniform() == after  # noqa: NPY002

    rng = np.random.RandomState(3)
    rng.standard_normal(1)  # leaves the second of a pair
    state = rng.get_state()
    own = dict(options, random_state=rng)
    whole, after = GaussianMixture(**own).fit(two.X), rng.standard_normal(3)
    rng.set_state(state)
    file.unlink()
    GaussianMixture(**own).fit(two.X, callback=stop_at(whole.n_iter_ + 3), checkpoint=file)
    rng.seed(99)
    assert bits(GaussianMixture(**own).fit(two.X, checkpoint=file)) == bits(whole)
    np.testing.assert_array_equal(rng.standard_normal(3), after)


def test_a_warm_start_goes_on(two, file):
    def first():
        return quiet_fit(GaussianMixture(2, random_state=0, warm_start=True, tol=1e-7, max_iter=3), two.X)

    whole = quiet_fit(first(), two.X)
    quiet_fit(first(), two.X, callback=stop_at(2), checkpoint=file)
    assert bits(quiet_fit(first(), two.X, checkpoint=file)) == bits(whole)
    with pytest.raises(ValueError, match=r"another fit, with start '\w+' \(here '\w+'\)"):
        whole.fit(two.X, checkpoint=file)


# --- writing


def test_writes_at_the_start_at_the_end_and_rarely_between(two, file, monkeypatch):
    writes = []
    replace, now = os.replace, [0.0]

    def record(temporary, path):
        if path == file:
            writes.append(now[0])
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", record)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def tick(*args):
        now[0] += 12.0

    quiet_fit(GaussianMixture(2, tol=0.0, max_iter=10, random_state=0), two.X, callback=tick, checkpoint=file)
    assert writes == [0.0, 36.0, 72.0, 108.0, 120.0]
    assert list(file.parent.iterdir()) == [file]


def test_a_disk_that_fills_up_is_a_warning(two, file, every_pass, monkeypatch):
    """The fit is worth more than its checkpoint, which stays as it was; but a file that never could be is an error."""
    options = dict(n_components=2, random_state=0, tol=1e-6)
    whole = GaussianMixture(**options).fit(two.X)
    savez = np.savez

    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    def fill(iteration, *args):
        if iteration == 2:
            monkeypatch.setattr(np, "savez", full)

    with pytest.warns(UserWarning, match=r"c\.npz: the checkpoint could not be written: .*No space left"):
        assert bits(GaussianMixture(**options).fit(two.X, callback=fill, checkpoint=file)) == bits(whole)
    model = GaussianMixture(**options)
    with pytest.raises(OSError, match="No space left"):
        model.fit(two.X, checkpoint=file.with_name("d.npz"))
    assert not hasattr(model, "means_")
    assert list(file.parent.iterdir()) == [file]
    monkeypatch.setattr(np, "savez", savez)
    assert bits(GaussianMixture(**options).fit(two.X, checkpoint=file)) == bits(whole)


def test_an_impossible_file_is_found_before_the_fit(two, tmp_path):
    def never(*args):
        raise AssertionError

    for name, message in (("c.model", r"expected a file ending in \.npz"), ("absent/c.npz", "does not exist")):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(2).fit(two.X, callback=never, checkpoint=tmp_path / name)
    generator = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(ValueError, match="random_state"):
        GaussianMixture(2, random_state=generator).fit(two.X, callback=never, checkpoint=tmp_path / "c.npz")


# --- refused

OTHERS = {
    "n_components": (dict(n_components=3), None, "n_components 2 .here 3"),
    "covariance_type": (dict(covariance_type="diag"), None, "covariance_type 'full' .here 'diag'"),
    "tol": (dict(tol=0.5), None, "tol 0.001 .here 0.5"),
    "max_iter": (dict(max_iter=5), None, "max_iter 100 .here 5"),
    "n_init": (dict(n_init=np.int64(2)), None, "n_init 1 .here 2"),
    "random_state": (dict(random_state=1), None, "random_state 0 .here 1"),
    "init_params": (dict(init_params="random"), None, "init_params 'kmeans' .here 'random'"),
    "means_init": (dict(means_init=[[0.0] * 3, [1.0] * 3]), None, r"means_init None .here '\w+'"),
    "remedy": (dict(regularization=fastem.Ridge(0.5)), None, r"regularization None .here 'Ridge\(strength=0.5\)'"),
    "two of them": (dict(tol=0.5, max_iter=5), None, "tol 0.001 .here 0.5., max_iter 100 .here 5"),
    "features": ({}, lambda X: X[:, :2], "features 3 .here 2"),
    "rows": ({}, lambda X: X[:-1], "rows 600 .here 599"),
    "dtype": ({}, lambda X: X.astype("f4"), "dtype 'float64' .here 'float32'"),
    "one value": ({}, lambda X: X + 1e-9 * (X[300, 1] == X), r"checksum of rows '\w+' .here '\w+'"),
    "order": ({}, lambda X: X[::-1], r"checksum of rows '\w+' .here '\w+'"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_checkpoint_of_another_fit_is_refused(two, file, kind):
    options, change, message = OTHERS[kind]
    GaussianMixture(2, random_state=0).fit(two.X, checkpoint=file)
    before = file.read_bytes()
    model = GaussianMixture(**{"n_components": 2, "random_state": 0, **options})
    with pytest.raises(ValueError, match=r"c\.npz: the checkpoint of another fit, with .*" + message):
        model.fit(two.X if change is None else change(two.X), checkpoint=file)
    assert file.read_bytes() == before
    assert not hasattr(model, "means_")


def test_other_weights_are_another_fit(two, file):
    GaussianMixture(2, random_state=0).fit(two.X, checkpoint=file)
    weight = np.ones(600)
    GaussianMixture(2, random_state=0).fit(two.X, sample_weight=weight, checkpoint=file)  # the same to the last bit
    weight[:2] = 0.5, 1.5
    with pytest.raises(ValueError, match="checksum of rows"):
        GaussianMixture(2, random_state=0).fit(two.X, sample_weight=weight, checkpoint=file)
    with pytest.raises(ValueError, match=r"sum of weights 600\.0 .here 1200\.0"):
        GaussianMixture(2, random_state=0).fit(two.X, sample_weight=2.0, checkpoint=file)


def test_the_same_fit_otherwise_said_is_not_refused(two, file):
    """Layout of the rows, type of the numbers, what is printed."""
    model = GaussianMixture(2, random_state=0, tol=0.25, means_init=two.means).fit(two.X, checkpoint=file)
    other = GaussianMixture(np.int32(2), random_state=np.int64(0), tol=np.float32(0.25), means_init=two.means.tolist())
    other.set_params(verbose_interval=3, warm_start=True)
    assert bits(other.fit(np.asfortranarray(two.X), checkpoint=str(file))) == bits(model)


@pytest.fixture
def content(two, file):
    """The arrays of a good checkpoint, in the second run of two."""
    options = dict(n_init=2, random_state=0, tol=0.0, max_iter=5)
    quiet_fit(GaussianMixture(2, **options), two.X, callback=stop_at(8), checkpoint=file)
    arrays = dict(np.load(file))
    assert (arrays["runs"], len(arrays["run0_history"]), len(arrays["run1_history"])) == (1, 5, 2)

    def resume():
        return quiet_fit(GaussianMixture(2, **options), two.X, checkpoint=file)

    return arrays, resume


FAULTS = {
    "newer": (dict(version=2), "checkpoint file of version 2, expected 1"),
    "a model": (dict(format="fastem.GaussianMixture"), "not a fastem checkpoint: expected format"),
    "not JSON": (dict(fit="{"), "expected JSON of a dict in array 'fit'"),
    "deep JSON": (dict(fit="[" * 100_000), "expected JSON of a dict in array 'fit'"),
    "events": (dict(run0_events="{}"), "expected JSON of a list in array 'events'"),
    "event": (dict(run0_events='[["1", "fell", [], "", 0.0]]'), "no event"),
    "components": (dict(run0_events='[[1, "fell", ["x"], "", 0.0]]'), "not the state of a fit"),
    "NaN": (dict(run1_means=np.full((2, 3), np.nan)), "'means' contains NaN"),
    "K": (dict(run1_means=np.zeros((3, 3))), "not the state of a fit"),
    "family": (dict(run1_covariances=np.ones((2, 1, 3)), run1_factor=np.ones((2, 1, 3))), "covariances of shape"),
    "factor": (dict(run0_factor=-np.ones((2, 3, 3))), "positive diagonal"),
    "earlier run": (dict(run0_means=np.zeros((2, 2))), "not the state of a fit"),
    "text": (dict(run1_weights="heavy"), "float32 or float64 in array 'weights'"),
    "too many runs": (dict(runs=3), "2 results, 1 of complete runs"),
    "fewer runs": (dict(runs=0), "2 results, 1 of complete runs"),
    "negative runs": (dict(runs=-1), "not the state of a fit"),
    "more runs than n_init": (dict(runs=3, run1_status="MAX_ITER"), "2 results, 2 of complete runs"),
    "iterations": (dict(run1_history=np.zeros(5)), "a run of 5 iterations that is INTERRUPTED"),
    "no iterations": (dict(run0_history=np.zeros(0)), "a run of 0 iterations"),
    "status": (dict(run0_status="HAPPY"), "a status among"),
    "no status": (dict(run0_status=""), "no status"),
    "incomplete": (dict(run2_status="CONVERGED"), "no 'run2_weights'"),
    "generator": (dict(generator=np.zeros(600, np.uint32)), "random numbers"),
    "position": (dict(generator_position=10**6), "random numbers"),
    "key": (dict(generator=np.zeros(624)), "random numbers"),
    "normal": (dict(generator_normal=np.zeros(2)), "random numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_crafted_file_is_refused(file, content, fault):
    arrays, resume = content
    change, message = FAULTS[fault]
    np.savez(file, **arrays | change)
    with pytest.raises(ModelFileError, match=rf"c\.npz: .*{message}"):
        resume()


def test_a_truncated_file_is_refused(file, content):
    whole = file.read_bytes()
    for length in range(0, len(whole), len(whole) // 50):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"c\.npz: not a checkpoint file, or a damaged one"):
            content[1]()


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["FASTEM_BOMB"],)


def test_a_foreign_file_is_refused_and_never_executed(two, file, content, monkeypatch):
    monkeypatch.setenv("FASTEM_BOMB", str(file.with_name("exploded")))
    arrays, resume = content

    def save_array():
        with file.open("wb") as stream:
            np.save(stream, two.X)

    writers = {
        "damaged": [
            lambda: file.write_bytes(pickle.dumps(Bomb())),
            lambda: np.savez(file, **arrays | {"run1_means": np.array([Bomb()], dtype=object)}),
            lambda: file.write_text("a,b\n1,2\n"),
            save_array,
        ],
        "not a fastem checkpoint": [
            lambda: fastem.save(GaussianMixture(2, random_state=0).fit(two.X), file),
            lambda: np.savez(file, data=two.X),
        ],
    }
    for message, writes in writers.items():
        for write in writes:
            write()
            with pytest.raises(ModelFileError, match=rf"c\.npz: .*{message}"):
                resume()
    assert not file.with_name("exploded").exists()


def test_the_file_is_read_by_numpy_alone(file, content):
    with np.load(file, allow_pickle=False) as archive:
        fit = json.loads(str(archive["fit"]))
        assert archive["run0_means"].shape == archive["run1_means"].shape == (2, 3)
    assert (fit["n_components"], fit["rows"], fit["dtype"]) == (2, 600, "float64")


def test_an_interrupt_keeps_the_starts_that_are_done():
    X, calls = np.random.RandomState(0).randn(300, 2), []

    def stop(iteration, bound, params):
        calls.append(iteration)
        if calls.count(1) == 3:
            raise KeyboardInterrupt

    with pytest.raises(fastem.FitInterrupted) as caught:
        GaussianMixture(3, n_init=5, random_state=0, tol=0.1).fit(X, callback=stop)
    assert caught.value.result.status is fastem.Status.CONVERGED


# --- a larger max_iter


@pytest.mark.parametrize("options", [{}, {"n_init": 3, "init_params": "random"}, {"regularization": "map"}])
def test_a_larger_max_iter_goes_on(two, file, options):
    """From the last iteration, with the bits of a fit that had it from the beginning."""
    options = {"n_components": 3, "random_state": 0, "tol": 1e-7, **options}
    whole = GaussianMixture(max_iter=60, **options)
    passes = quiet_fit(whole, two.X).fit_report_
    iterations = []
    for max_iter in (7, 20, 60):
        model = GaussianMixture(max_iter=max_iter, **options)
        quiet_fit(model, two.X, callback=lambda i, *_: iterations.append(i), checkpoint=file)
    assert state_bytes(model) == state_bytes(whole)
    assert model.fit_report_ == passes
    n_iter = [start.n_iter for start in passes.starts]
    assert len(iterations) == sum(n_iter)  # no pass twice


def test_a_larger_max_iter_goes_on_after_an_interruption(two, file):
    """In the second of two runs that go on, with a third to come: nothing of any of them is lost."""
    options = {"n_components": 3, "random_state": 0, "tol": 1e-9, "n_init": 3, "init_params": "random"}
    whole = quiet_fit(GaussianMixture(max_iter=40, **options), two.X)
    calls = []

    def stop_at(n):
        return lambda *_: calls.append(None) or len(calls) == n

    GaussianMixture(max_iter=8, **options).fit(two.X, callback=stop_at(20), checkpoint=file)  # in the third run
    GaussianMixture(max_iter=40, **options).fit(two.X, callback=stop_at(20 + 32 + 5), checkpoint=file)
    model = quiet_fit(GaussianMixture(max_iter=40, **options), two.X, checkpoint=file)
    assert state_bytes(model) == state_bytes(whole)
    assert model.fit_report_ == whole.fit_report_


def test_a_smaller_max_iter_is_another_fit(two, file):
    quiet_fit(GaussianMixture(2, random_state=0, max_iter=5, tol=0), two.X, checkpoint=file)
    with pytest.raises(ValueError, match=r"max_iter 5 .here 4"):
        GaussianMixture(2, random_state=0, max_iter=4, tol=0).fit(two.X, checkpoint=file)


def test_a_larger_max_iter_leaves_what_has_converged(two, file):
    first = GaussianMixture(2, random_state=0).fit(two.X, checkpoint=file)
    again = GaussianMixture(2, random_state=0, max_iter=500).fit(two.X, checkpoint=file, callback=lambda *_: 1 / 0)
    assert state_bytes(first) == state_bytes(again)
