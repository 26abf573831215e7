"""MPI: real ranks, each with rows of its own, which call the same functions."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, Fitted, assert_close, child_env, fitted, make_mixture, quiet_fit, state_bytes

import fastem
from fastem import GaussianMixture
from fastem.fitting import levels

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")

ROWS = 6007
WEIGHT = np.random.default_rng(0).uniform(-0.25, 1.0, size=ROWS).clip(0)
BEGIN = """
import json, os, sys, time
import numpy as np
from mpi4py import MPI
from helpers import fitted, make_mixture, quiet_fit, state_bytes
import fastem
from fastem import GaussianMixture, MPISource

comm = MPI.COMM_WORLD
all_found = {}
mixture = make_mixture(%d, 3, 4, spacing=3.0)
X, known = mixture.X, np.where(np.arange(len(mixture.X)) %% 10, -1, mixture.labels)
weight = np.random.default_rng(0).uniform(-0.25, 1.0, size=len(X)).clip(0)
cuts = np.linspace(0, len(X), comm.size + 1).astype(int)
own = slice(cuts[comm.rank], cuts[comm.rank + 1])

def error_of(call, *args, **kwargs):
    "Type, text and notes of the error that a call raises, and the iterations before it."
    since = time.perf_counter()
    try:
        call(*args, **kwargs)
    except BaseException as e:
        found.setdefault("seconds", []).append(time.perf_counter() - since)
        before = getattr(e, "result", None)
        return [type(e).__name__, str(e), getattr(e, "__notes__", []), before and before.n_iter]
"""
END = """
with open(os.path.join(sys.argv[1], f"{comm.rank}.json"), "w") as file:
    json.dump(all_found, file)
"""


def mpirun(n, folder, **codes):
    """Run codes one after another on the same n ranks, whose start takes longer than most codes.

    Return what each code leaves in `found` on each rank, a list by the code's name, and what is printed.
    """
    script = folder / "script.py"
    named = [f"found = all_found[{name!r}] = {{}}\n{code}" for name, code in codes.items()]
    script.write_text("\n".join([BEGIN % ROWS, *named, END]))
    command = [MPIEXEC, "-n", str(n), sys.executable, "-m", "mpi4py", script, folder]
    env = child_env(NUMBA_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(n)]
    return {name: [rank[name] for rank in ranks] for name in codes}, done.stdout


FITS = {
    "plain": dict(random_state=0, tol=1e-5),
    "weighted": dict(random_state=0, tol=1e-5),
    "labelled": dict(random_state=0, tol=1e-5),
    "noise": dict(random_state=0, tol=1e-4, noise=True),
    "k-means": dict(random_state=0, covariance_type="tied_spherical", assignment="hard", fixed=("weights",)),
    "reseeded": dict(random_state=3, tol=1e-4, regularization="ridge", init_params="random_from_data", n_init=2),
    "accelerated": dict(random_state=0, tol=1e-13, solver="auto", regularization="ridge"),
}
OTHERS = {
    "StudentMixture": dict(random_state=0, max_iter=5),
    "FactorMixture": dict(random_state=0, n_factors=1, solver="em", max_iter=20),
}
FIT_ALL = f"""
from fastem.fitting import levels
levels.FIRST_ROWS = 500
FITS, OTHERS = {FITS!r}, {OTHERS!r}
for name, options in FITS.items():
    source = MPISource(
        comm, X[own], weight[own] if name == "weighted" else None, known[own] if name == "labelled" else None
    )
    model = quiet_fit(GaussianMixture(4, max_iter=300, **options), source)
    found[name] = [a.tolist() for a in fitted(model)] + [state_bytes(model).hex()]
    found[name].append(model.score(source))
    labels = model.predict(source)
    assert labels.shape == (own.stop - own.start,)
    assert np.array_equal(labels, model.predict(X[own]))
source = MPISource(comm, X[own])
model = fastem.BayesianGaussianMixture(n_components=4, random_state=0).fit(source)
found["posterior"] = [a.tolist() for a in fitted(model)] + [state_bytes(model).hex(), model.elbo(source)]
for name, options in OTHERS.items():
    model = quiet_fit(getattr(fastem, name)(4, **options), source)
    found[name] = [model.means_.tolist(), model.n_iter_, model.score(source)]
for name, seed in ("unseeded", None), ("seed 0", 0), ("other seeds", comm.rank):
    model = GaussianMixture(4, max_iter=5, n_init=2, init_params="random", random_state=seed)
    found[name] = state_bytes(quiet_fit(model, MPISource(comm, X[own]))).hex()
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """Fits and a checkpoint on 2 ranks, and what is printed."""
    return mpirun(2, tmp_path_factory.mktemp("two"), fits=FIT_ALL, checkpoint=CHECKPOINT)


@pytest.fixture(scope="module")
def three_ranks(tmp_path_factory):
    """Fits, other functions and errors on 3 ranks, and what is printed."""
    return mpirun(3, tmp_path_factory.mktemp("three"), fits=FIT_ALL, functions=FUNCTIONS, errors=ERRORS)


@pytest.fixture(scope="module", params=["two_ranks", "three_ranks"])
def ranks(request):
    """Fits on 2 or 3 ranks."""
    return request.getfixturevalue(request.param)[0]["fits"]


@pytest.fixture(scope="module")
def data():
    return make_mixture(ROWS, 3, 4, spacing=3.0)


@pytest.mark.parametrize("name", FITS)
def test_fit_is_that_in_memory(ranks, data, name, monkeypatch):
    monkeypatch.setattr(levels, "FIRST_ROWS", 500)
    weight = WEIGHT if name == "weighted" else None
    known = np.where(np.arange(ROWS) % 10, -1, data.labels) if name == "labelled" else None
    model = GaussianMixture(4, max_iter=300, **FITS[name]).fit(data.X, sample_weight=weight, labels=known)
    for rank in ranks:
        *arrays, _, mean = rank[name]
        assert_close(Fitted(*map(np.array, arrays)), fitted(model), 1e-10)
        assert abs(mean - model.score(data.X, sample_weight=weight)) < 1e-12


def test_posterior_is_that_in_memory(ranks, data):
    model = fastem.BayesianGaussianMixture(n_components=4, random_state=0).fit(data.X)
    for rank in ranks:
        *arrays, _, elbo = rank["posterior"]
        assert_close(Fitted(*map(np.array, arrays)), fitted(model), 1e-10)
        assert abs(elbo - model.elbo(data.X)) < 1e-12 * abs(elbo)


@pytest.mark.parametrize("name", OTHERS)
def test_other_mixtures_are_those_in_memory(ranks, data, name, monkeypatch):
    monkeypatch.setattr(levels, "FIRST_ROWS", 500)
    model = quiet_fit(getattr(fastem, name)(4, **OTHERS[name]), data.X)
    for means, n_iter, mean in (rank[name] for rank in ranks):
        assert n_iter == model.n_iter_
        np.testing.assert_allclose(means, model.means_, rtol=1e-7)
        assert abs(mean - model.score(data.X)) < 1e-10


def test_ranks_end_with_the_same_bytes(ranks):
    """Without a seed, or with another one on each: the random numbers are those of rank 0."""
    for name in [*FITS, "posterior"]:
        assert len({rank[name][3] for rank in ranks}) == 1
    assert len({rank["unseeded"] for rank in ranks}) == 1
    assert {rank["other seeds"] for rank in ranks} == {ranks[0]["seed 0"]} != {ranks[0]["unseeded"]}


def test_bytes_are_those_of_a_dask_array(ranks, data):
    dask, da = pytest.importorskip("dask"), pytest.importorskip("dask.array")
    chunks = tuple(np.diff(np.linspace(0, ROWS, len(ranks) + 1).astype(int)).tolist())
    with dask.config.set(scheduler="sync"):
        model = GaussianMixture(4, max_iter=300, **FITS["plain"]).fit(da.from_array(data.X, chunks=(chunks, (3,))))
    assert state_bytes(model).hex() == ranks[0]["plain"][3]


OTHER_BITS = f"""
for name in "plain", "weighted":
    source = MPISource(comm, X[own], weight[own] if name == "weighted" else None)
    found[name] = state_bytes(GaussianMixture(4, max_iter=300, **{FITS["plain"]}).fit(source)).hex()
    if name == "plain" and comm.rank:
        from fastem.fitting import stopping
        from fastem.fitting.starts import kmeans
        from fastem.model import maximisation
        lloyd = kmeans.run_lloyd
        kmeans.run_lloyd = lambda *args: lloyd(*args)._replace(centres=lloyd(*args).centres * (1 + 1e-12))
        maximisation.GaussianModel.update = stopping.Stop.__call__ = None
"""


@pytest.mark.parametrize("comm", [None, 0, np.eye(2)], ids=["None", "a number", "rows"])
def test_what_is_no_communicator_is_named(comm):
    with pytest.raises(TypeError, match=r"comm must be an MPI communicator, such as .*; got"):
        fastem.MPISource(comm, np.eye(2))


def test_ranks_cannot_diverge(three_ranks, tmp_path):
    """The bytes of another run, first the plain fit as it is, and then the weighted one with other bits on ranks 1, 2.

    Those in k-means, in M-steps and in the decision to stop differ, as other processors may have them: rank 0's count.
    """
    again = mpirun(3, tmp_path, again=OTHER_BITS)[0]["again"]
    for name in ("plain", "weighted"):
        assert {rank[name] for rank in again} == {three_ranks[0]["fits"][0][name][3]}


OTHER_STARTS = """
from fastem.estimators.selecting import best
from fastem.fitting import restarts
from fastem.fitting.starts import models
from fastem.model.parametrization import Parametrization
best.CONTEST_ROWS = 1000
if comm.rank:
    def moved(function):
        def other_bits(*args):
            params, *others = function(*args)
            return params._replace(means=params.means * (1 + 1e-12)), *others
        return other_bits

    models.make_start = moved(models.make_start)
    axes = best.principal_axes
    best.principal_axes = lambda *args: axes(*args) * (1 + 1e-12)
    completed, gradient = restarts.completed, Parametrization.gradient

    def completed_otherwise(*args):
        rows = completed(*args)
        rows.X *= 1 + 1e-12
        return rows

    restarts.completed = completed_otherwise
    Parametrization.gradient = lambda *args: gradient(*args) * (1 + 1e-3)
model = quiet_fit(fastem.StudentMixture(4, random_state=0), MPISource(comm, X[own]))
found["student"] = [a.tolist() for a in (model.means_, model.covariances_, model.dof_)]
found["select"] = fastem.select(MPISource(comm, X[own]), [3, 4]).best_.means_.tolist()
holes = np.where(np.random.default_rng(0).uniform(size=X.shape) < 0.1, np.nan, X)
for missing, rows in (False, X), (True, holes):
    model = GaussianMixture(4, solver="lbfgs", tol=1e-6, missing=missing, random_state=0)
    found[f"lbfgs {missing}"] = quiet_fit(model, MPISource(comm, rows[own], missing=missing)).means_.tolist()
"""


def test_starts_of_a_sample_and_steps_of_lbfgs_are_rank_0s(tmp_path):
    """Each rank makes them of the same rows or sums, with the bits of its processor."""
    first, second = mpirun(2, tmp_path, starts=OTHER_STARTS)[0]["starts"]
    assert first == second


FUNCTIONS = """
from fastem import accumulate, em, make_params
mine = [X[:0], X[:4000], lambda: iter(np.array_split(X[4000:], 7))][comm.rank]
source = MPISource(comm, mine)
params = GaussianMixture(4, random_state=0).fit(X).params_
here, there = accumulate(X, params), accumulate(source, params)
assert source.n_rows == there.n_rows == len(X)
np.testing.assert_allclose(there.s2, here.s2, rtol=1e-11)
np.testing.assert_allclose(em(source, params).loglik, em(X, params).loglik, rtol=1e-12)
whole = fastem.as_source(X)
for n in (7, 3000, 10**6):
    a, b = (s.sample(n, np.random.RandomState(0))[0] for s in (source, whole))
    np.testing.assert_array_equal(a, b)
found["scores"] = len(fastem.log_density(source, params))
found["called"] = []
model = GaussianMixture(4, max_iter=3, tol=0, verbose=1, verbose_interval=1)
quiet_fit(model, source, callback=lambda iteration, *_: found["called"].append(iteration))
"""


def test_functions_and_unequal_ranks(three_ranks):
    """A rank without rows, one that reads them anew on each pass; and what is not `GaussianMixture`."""
    found, printed = three_ranks[0]["functions"], three_ranks[1]
    assert [rank["scores"] for rank in found] == [0, 4000, ROWS - 4000]
    assert [rank["called"] for rank in found] == [[1, 2, 3], [], []]
    assert printed.count("Iteration 2") == 1


ERRORS = """
last, passes = comm.size - 1, []
bad = X[own].copy()
bad[5, 1] = np.nan if comm.rank == last else 0.0
found["rows"] = error_of(MPISource, comm, bad)
found["shape"] = error_of(MPISource, comm, X[own, : 3 - (comm.rank == last)])

def blocks():
    passes.append(None)
    if comm.rank == last and len(passes) == 9:
        raise RuntimeError("disk gone")
    yield X[own]

model = GaussianMixture(4, random_state=0, tol=0.0, max_iter=30)
found["read"] = error_of(model.fit, MPISource(comm, blocks))
source = MPISource(comm, X[own])

def callback(iteration, *_):
    if iteration == 3:
        raise KeyError("callback")

found["callback"] = error_of(model.fit, source, callback=callback)
unpicklable = type("Odd", (Exception,), {"__reduce__": lambda self: (None,)})

def odd(iteration, *_):
    raise unpicklable("odd")

found["odd"] = error_of(model.fit, source, callback=odd)

def interrupt(iteration, *_):
    if iteration == 3:
        raise KeyboardInterrupt

found["interrupt"] = error_of(model.fit, source, callback=interrupt)
found["singular"] = error_of(GaussianMixture(2, reg_covar=0.0).fit, MPISource(comm, np.ones((5, 2))))
found["arguments"] = error_of(GaussianMixture(4 + (comm.rank == last), tol=0.0, random_state=0).fit, source)
from fastem.fitting.starts import kmeans
lloyd = kmeans.run_lloyd

def fails(*args):
    if comm.rank == last:
        raise MemoryError("between two passes")
    return lloyd(*args)

kmeans.run_lloyd = fails
found["start"] = error_of(model.fit, source)
kmeans.run_lloyd = lloyd
step = fastem.em if comm.rank == last else fastem.accumulate
params = fastem.make_params([1.0], [[0.0] * 3], [1.0], "spherical")
options = {"covariance_type": "spherical"} if comm.rank == last else {}
found["step"] = error_of(step, source, params, **options)
found["lbfgs"] = error_of(model.set_params(solver="lbfgs").fit, source, callback=callback)
quiet_fit(model.set_params(solver="em"), source)  # after all that, ranks are in step
found["after"] = state_bytes(model).hex()
"""


def test_an_error_on_one_rank_ends_all(three_ranks):
    """Wherever it is raised, nobody waits; those that did not fail say who did."""
    found = first, middle, last = three_ranks[0]["errors"]
    who = "rank 2 of 3 could not go on"
    for name, kind, text in (
        ("rows", "ValueError", "Input X contains NaN"),
        ("read", "SourceError", "disk gone"),
        ("start", "MemoryError", "between two passes"),
        ("shape", "ValueError", "features is 3 on rank 0, 2 on rank 2"),
        ("arguments", "ValueError", "n_components is 4 on rank 0, 5 on rank 2"),
    ):
        assert last[name][0] == kind
        assert text in last[name][1]
        for other in (first, middle):
            assert other[name][0] == "RankError"
            assert other[name][1].startswith(f"{who} ({kind}: ")
            assert text in other[name][1]
    assert {rank["read"][3] for rank in found} == {3}
    for rank in found:
        assert rank["callback"][:2] == ["KeyError", "'callback'"]
        assert rank["callback"][2] == ([] if rank is first else ["(on rank 0)"])
        assert rank["singular"][0] == "SingularCovarianceError"
        assert rank["lbfgs"][0] == "KeyError"
        assert rank["after"] == first["after"]
        assert max(rank["seconds"]) < 20
    assert first["step"][:2] == ["RuntimeError", "ranks are out of step: one is at a decision, rank 0 at a pass"]
    assert first["odd"][0] == "Odd"
    assert {rank["interrupt"][0] for rank in found} == {"FitInterrupted"}  # rank 0 decides to end, and tells all
    for other in (middle, last):
        assert other["odd"][1] == "rank 0 of 3 could not go on (Odd: odd)"
        assert other["interrupt"][3] == first["interrupt"][3] == 3


CHECKPOINT = """
source, file = MPISource(comm, X[own]), os.path.join(sys.argv[1], f"only-0-{comm.rank}.npz")
def make():
    return GaussianMixture(4, tol=1e-5, max_iter=300, random_state=0, n_init=2)
make().fit(source, callback=lambda iteration, *_: iteration == 5, checkpoint=file)
found["there"] = os.path.exists(file)
iterations = []
model = make().fit(source, checkpoint=file, callback=lambda iteration, *_: iterations.append(iteration))
found["first"] = iterations[:1]
found["same"] = state_bytes(model) == state_bytes(make().fit(source))
"""


def test_checkpoint_is_rank_0s(two_ranks):
    """Written once, by rank 0; from it all ranks go on, and end with the bits of a fit that was never interrupted."""
    found = two_ranks[0]["checkpoint"]
    assert [rank["there"] for rank in found] == [True, False]
    assert found[0]["first"] == [5]  # the pass that the callback ended is done again
    assert all(rank["same"] for rank in found)


def test_a_world_of_one_rank(data):
    """Without mpiexec it is the fit in memory, to the bit."""

    class World:
        def Get_rank(self):
            return 0

        def Get_size(self):
            return 1

        def bcast(self, value, root):
            return value

    here = GaussianMixture(4, random_state=0).fit(data.X)
    there = GaussianMixture(4, random_state=0).fit(fastem.MPISource(World(), data.X))
    assert state_bytes(here) == state_bytes(there)


@pytest.mark.slow
def test_example(tmp_path):
    script = ROOT / "scripts" / "mpi_fit.py"
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "mpi4py", script, "--quick", "--output", tmp_path]
    done = subprocess.run(command, env=child_env(NUMBA_NUM_THREADS="1"), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "million rows/s" in done.stdout
    assert json.loads((tmp_path / "mpi_fit.json").read_text())["ranks"] == 2
