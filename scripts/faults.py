"""Bad input and faults: what scikit-learn's GaussianMixture does with them, and what fastem's does, as this run saw it.

    python scripts/faults.py [--quick] [--case WORDS] [--output FOLDER]
    python scripts/faults.py --page results/faults.json      rewrite the tables of docs/faults.md

Each case runs in a process under a time limit, so that a hang or a crash is an outcome like any other. Nothing in the
tables is written by hand but the descriptions of the cases: an outcome is an exception's class with the first and last
words of its message, or what came out with the right answer beside it. Outputs: faults.json, faults.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _common as common
import numpy as np
from _worker import LostError, Worker

PACKAGES = ("scikit-learn", "fastem")
LIMIT = 60.0  # seconds for a case
COMPILATION = 600.0  # seconds that kernels may take to compile, before the first case
HUNG = 15.0  # seconds after which a forked child counts as hung
WORDS = 9  # of a message, at either end


class Found(NamedTuple):
    """What came out, and what is right (None: there is no such thing); `what` says what they are."""

    what: str
    value: Any
    right: Any = None


class AbsentError(Exception):
    """The package has nothing that a case could be shown with."""


Mixture = Callable[..., Any]  # the class, of either package
Case = Callable[[Mixture, int], Found]
CASES: dict[str, Case] = {}
FRESH: set[str] = set()  # cases that want a process which has not done anything else


def case(title: str, fresh: bool = False) -> Callable[[Case], Case]:
    """Enter a function in the table. It gets the class and a number of rows that counts as large."""

    def enter(function: Case) -> Case:
        CASES[title] = function
        if fresh:
            FRESH.add(title)
        return function

    return enter


def groups(n: int = 600, d: int = 2, seed: int = 0) -> np.ndarray:
    """Rows of two groups, eight standard deviations apart."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X[n // 2 :] += 8.0
    return X


def start(X: np.ndarray, k: int) -> dict[str, Any]:
    """A complete start at k rows, so that no k-means is needed."""
    precisions = np.repeat(np.eye(X.shape[1])[None], k, axis=0)
    return {"weights_init": np.full(k, 1 / k), "means_init": X[:: len(X) // k][:k], "precisions_init": precisions}


def is_fastem(mixture: Mixture) -> bool:
    """Whether a class is fastem's."""
    return mixture.__module__.startswith("fastem")


def need_fastem(mixture: Mixture) -> Any:
    """Return the package, for what scikit-learn has not; AbsentError for that."""
    if not is_fastem(mixture):
        raise AbsentError
    import fastem

    return fastem


def short_fit(model: Any, X: np.ndarray) -> Any:
    """A fit that is meant to end before it has converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def yes(answer: Any) -> str:
    """A truth value in words."""
    return "yes" if answer else "no"


def state(model: Any) -> bytes:
    """The fitted parameters as bytes."""
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (model.weights_, model.means_, model.covariances_))


# ---- values ------------------------------------------------------------------------------------------


@case("NaN in X")
def nan(mixture: Mixture, big: int) -> Found:
    X = groups()
    X[3, 1] = np.nan
    return Found("mean", mixture(2).fit(X).means_[0, 0])


@case("a wild entry that is masked (`numpy.ma`)")
def masked(mixture: Mixture, big: int) -> Found:
    X = np.ma.masked_array(groups())
    X[3, 1] = 1e6
    X[3, 1] = np.ma.masked
    return Found("mean", mixture(1).fit(X).means_[0, 1], float(X[:, 1].mean()))


@case("dates, one of them missing (NaT)")
def dates(mixture: Mixture, big: int) -> Found:
    X = np.datetime64("2020-01-01") + (10 * groups()).astype("m8[D]")
    right = X[1:].astype("f8").mean()
    X[0] = "NaT"
    return Found("mean", mixture(1).fit(X).means_.mean(), right)


@case("integer rows in `score_samples`")
def integers(mixture: Mixture, big: int) -> Found:
    X = groups().round()
    model = mixture(2, random_state=0).fit(X)
    error = np.abs(model.score_samples(X.astype(int)) - model.score_samples(X)).max()
    return Found("largest error of a log density", error, 0.0)


@case("offset of 1e8, `diag`")
def offset(mixture: Mixture, big: int) -> Found:
    X = groups()[:300] + 1e8
    return Found("variance", mixture(1, covariance_type="diag").fit(X).covariances_[0, 0], X[:, 0].var() + 1e-6)


@case("float32 rows at an offset of 1e4, `diag`")
def offset32(mixture: Mixture, big: int) -> Found:
    X = (groups()[:300] + 1e4).astype(np.float32)
    right = X[:, 0].astype(float).var() + 1e-6
    return Found("variance", mixture(1, covariance_type="diag").fit(X).covariances_[0, 0], right)


@case("`score` of many float32 rows")
def score32(mixture: Mixture, big: int) -> Found:
    X = groups(big).astype(np.float32)
    model = mixture(2, random_state=0).fit(groups())
    return Found("mean log density", model.score(X), model.score(X.astype(float)))


@case("a query point at 1e155")
def far(mixture: Mixture, big: int) -> Found:
    proba = mixture(2, random_state=0).fit(groups()).predict_proba([[1e155, 0.0]])
    return Found("sum of its probabilities", proba.sum(), 1.0)


@case("values of 1e-100, `reg_covar=0`")
def tiny(mixture: Mixture, big: int) -> Found:
    X = groups()[:300] * 1e-100
    return Found("variance", mixture(1, reg_covar=0.0).fit(X).covariances_[0, 0, 0], X[:, 0].var())


@case("values of 1e100, `reg_covar=0`")
def huge(mixture: Mixture, big: int) -> Found:
    X = groups()[:300] * 1e100
    return Found("variance", mixture(1, reg_covar=0.0).fit(X).covariances_[0, 0, 0], X[:, 0].var())


@case("values of 1e200")
def overflow(mixture: Mixture, big: int) -> Found:
    return Found("variance", mixture(1).fit(groups() * 1e200).covariances_[0, 0, 0])


@case("default `reg_covar`, data in small units (standard deviation 1e-4)")
def units(mixture: Mixture, big: int) -> Found:
    X = groups()[:300] * 1e-4
    return Found("variance", mixture(1).fit(X).covariances_[0, 0, 0], X[:, 0].var())


@case("float32 rows, one column the sum of the others")
def dependent32(mixture: Mixture, big: int) -> Found:
    rng = np.random.default_rng(0)
    A = 10 * rng.normal(size=(5000, 3))
    X = np.c_[A, A.sum(axis=1)].astype(np.float32)
    right = float(mixture(1).fit(X.astype(float)).lower_bound_)
    return Found("mean log-likelihood", float(mixture(1).fit(X).lower_bound_), right)


@case("float32 rows, 2e-4 from the line x = y, two groups along it")
def narrow32(mixture: Mixture, big: int) -> Found:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 1)) + 6 * rng.integers(0, 2, size=(4000, 1))
    X = np.c_[z, z + 2.2e-4 * rng.normal(size=z.shape)].astype(np.float32)
    options: dict[str, Any] = {"means_init": [[0, 0], [6, 6]], "tol": 1e-7, "max_iter": 300, "reg_covar": 0.0}
    right = mixture(2, **options).fit(X.astype(float)).lower_bound_
    return Found("mean log-likelihood", float(mixture(2, **options).fit(X).lower_bound_), float(right))


@case("float32 rows of 1e-20, `reg_covar=0`")
def tiny32(mixture: Mixture, big: int) -> Found:
    X = (groups()[:300] * 1e-20).astype(np.float32)
    model = mixture(1, reg_covar=0.0).fit(X)
    return Found("precisions finite:", yes(np.isfinite(model.precisions_).all()), "yes")


@case("integers beyond 2**53")
def large_integers(mixture: Mixture, big: int) -> Found:
    X = 2**60 + np.arange(100)[:, None]
    return Found("variance", mixture(1).fit(X).covariances_[0, 0, 0], float(np.arange(100).var()) + 1e-6)


@case("a polars frame with a column of dates")
def polars_dates(mixture: Mixture, big: int) -> Found:
    import datetime

    import polars

    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i % 28) for i in range(600)]
    model = mixture(2).fit(polars.DataFrame({"x": groups()[:, 0], "day": days}))
    return Found("mean of the dates", model.means_[:, 1].mean())


@case("a far row, where the first of two components has weight 0")
def far_and_empty(mixture: Mixture, big: int) -> Found:
    model = mixture(2, random_state=0).fit(groups())
    model.weights_ = np.array([0.0, 1.0])
    return Found("component", int(model.predict([[1e200, 0.0]])[0]), 1)


@case(
    "five rows at 20 standard deviations of a column of 3e-5 (fastem: `AnomalyDetector`; scikit-learn: least density)"
)
def small_anomalies(mixture: Mixture, big: int) -> Found:
    X = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 3e-5]
    X[:5, 1] = 20 * 3e-5
    if is_fastem(mixture):
        import fastem

        found = np.flatnonzero(fastem.AnomalyDetector(contamination=0.005).fit(X).is_anomaly(X))
    else:
        found = np.argsort(mixture(1).fit(X).score_samples(X))[:5]
    return Found("of them found:", int((found < 5).sum()), 5)


@case("the number of components by BIC, two groups in small units (standard deviation 1e-4)")
def small_select(mixture: Mixture, big: int) -> Found:
    X = groups() * 1e-4
    if is_fastem(mixture):
        import fastem

        found = fastem.select(X, range(1, 5), ("full",), random_state=0).best_params_["n_components"]
    else:
        found = 1 + int(np.argmin([mixture(k, random_state=0).fit(X).bic(X) for k in range(1, 5)]))
    return Found("components", found, 2)


@case("two groups, 50 s apart in the difference of times near 1.7e9 s (fastem: 'auto' start, `regularization='map'`)")
def narrow_split(mixture: Mixture, big: int) -> Found:
    rng = np.random.default_rng(0)
    s, late = 1.7e9 + rng.uniform(0, 3e7, 4000), rng.integers(0, 2, 4000)
    X = np.c_[s, s + np.where(late, 60, 10) + rng.normal(size=4000)]
    options = {"init_params": "auto", "regularization": "map"} if is_fastem(mixture) else {}
    agree = (mixture(2, random_state=0, **options).fit(X).predict(X) == late).mean()
    return Found("rows in their group:", f"{max(agree, 1 - agree):.0%}", "100%")


# ---- degenerate data ---------------------------------------------------------------------------------


@case("all points identical")
def identical(mixture: Mixture, big: int) -> Found:
    return Found("variance", mixture(2).fit(np.full((100, 2), 3.0)).covariances_[0, 0, 0], 1e-6)


@case("all points identical, `reg_covar=0`")
def identical_strict(mixture: Mixture, big: int) -> Found:
    return Found("variance", mixture(2, reg_covar=0.0).fit(np.full((100, 2), 3.0)).covariances_[0, 0, 0])


@case("a constant column, `reg_covar=0`")
def constant(mixture: Mixture, big: int) -> Found:
    return Found("variance", mixture(2, reg_covar=0.0).fit(groups() * [1, 0]).covariances_[0, 0, 0])


@case("a component that collapses in mid-fit, `reg_covar=0`")
def collapse(mixture: Mixture, big: int) -> Found:
    X = groups()[:300]
    X[:20] = 0.5
    options = {"weights_init": [0.9, 0.1], "means_init": [[0, 0], [0.5, 0.5]]}
    precisions = [np.eye(2), 1e3 * np.eye(2)]
    model = mixture(2, reg_covar=0.0, tol=0.0, max_iter=5000, precisions_init=precisions, **options).fit(X)
    return Found("parameters finite:", yes(np.isfinite(model.covariances_).all()), "yes")


@case("more components than rows")
def few(mixture: Mixture, big: int) -> Found:
    return Found("components", len(mixture(9).fit(groups(6)).weights_))


# ---- how it is called --------------------------------------------------------------------------------


@case("`sample_weight`: one row twice as heavy")
def weights(mixture: Mixture, big: int) -> Found:
    X = groups()
    weight = np.where(np.arange(600) == 0, 2.0, 1.0)
    model = mixture(1).fit(X, sample_weight=weight)
    return Found("mean", model.means_[0, 0], np.average(X[:, 0], weights=weight))


@case("`bic` of a list of lists")
def lists(mixture: Mixture, big: int) -> Found:
    model, X = mixture(1).fit(groups()), groups(60)
    return Found("BIC", model.bic(X.tolist()), model.bic(X))


@case("`warm_start=True` after `n_components` changed from 2 to 3")
def warm(mixture: Mixture, big: int) -> Found:
    model = mixture(2, warm_start=True, random_state=0).fit(groups())
    return Found("components", len(model.set_params(n_components=3).fit(groups()).weights_), 3)


@case("`max_iter=0` with a complete start")
def initialise(mixture: Mixture, big: int) -> Found:
    X = groups()
    return Found("mean", mixture(2, max_iter=0, **start(X, 2)).fit(X).means_[1, 0], start(X, 2)["means_init"][1, 0])


@case("`means_init` as a list: the parameter after `fit`")
def parameters(mixture: Mixture, big: int) -> Found:
    given = [[0.0, 0.0], [8.0, 8.0]]
    kept = mixture(2, means_init=given).fit(groups()).means_init is given
    return Found("the object that was given is", "kept" if kept else "replaced", "kept")


@case("`numpy.seterr(all='raise')` set by the caller")
def strict_numpy(mixture: Mixture, big: int) -> Found:
    with np.errstate(all="raise"):
        model = mixture(2, random_state=0, **start(groups(), 2)).fit(groups() * [1, 30])
    return Found("converged:", yes(model.converged_), "yes")


@case("`means_init` in each of the six orders of iris' three classes")
def order_of_means(mixture: Mixture, big: int) -> Found:
    from itertools import permutations

    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    means = np.array([X[y == k].mean(axis=0) for k in range(3)])
    fits = [mixture(3, means_init=means[list(order)], random_state=0).fit(X) for order in permutations(range(3))]
    best = max(scores := [fit.score(X) for fit in fits])
    return Found("orders that lead to the best of the fits:", int(np.isclose(scores, best).sum()), 6)


@case("`sample_weight` in units of 1e-50, float32 rows")
def unit_of_weights(mixture: Mixture, big: int) -> Found:
    X, weight = groups().astype(np.float32), np.random.default_rng(0).uniform(1, 2, 600)
    model = mixture(1).fit(X, sample_weight=weight * 1e-50)
    return Found(
        "mean", float(model.means_[0, 0]), float(np.float32(np.average(X[:, 0].astype(float), weights=weight)))
    )


@case("rows of weight 0 at 1e200 after the others")
def weight_zero(mixture: Mixture, big: int) -> Found:
    X = groups()
    right = mixture(2, random_state=0).fit(X, sample_weight=np.ones(600))
    more = np.concatenate([X, np.full((50, 2), 1e200)])
    model = mixture(2, random_state=0).fit(more, sample_weight=np.repeat([1.0, 0.0], [600, 50]))
    return Found("bits of the parameters:", "equal" if state(model) == state(right) else "different", "equal")


@case("a subclass that overrides `_m_step`, to hold the weights equal")
def hook(mixture: Mixture, big: int) -> Found:
    class Equal(mixture):  # type: ignore[misc, valid-type]
        def _m_step(self, X: Any, log_resp: Any, **options: Any) -> None:
            super()._m_step(X, log_resp, **options)
            self.weights_ = np.full(self.n_components, 1 / self.n_components)

    return Found("weight", float(Equal(2, random_state=0).fit(groups()[:400]).weights_[0]), 0.5)


@case("`weights_`, `means_` and `covariances_` set by hand")
def by_hand(mixture: Mixture, big: int) -> Found:
    fitted, model = mixture(2, random_state=0).fit(groups()), mixture(2)
    for name in ("weights_", "means_", "covariances_"):
        setattr(model, name, getattr(fitted, name))
    return Found("mean log density", model.score(groups()), fitted.score(groups()))


@case("`partial_fit` of one row after `fit`")
def partial_fit(mixture: Mixture, big: int) -> Found:
    X = groups()
    model = mixture(2, random_state=0).fit(X)
    before = model.score(X)
    after = model.partial_fit(X[:1]).score(X)
    return Found("mean log density of the rows of `fit`", f"before {before:.4f}, then {after:.4f}")


@case("sparse rows")
def sparse(mixture: Mixture, big: int) -> Found:
    from scipy.sparse import csr_array

    return Found("mean", mixture(1).fit(csr_array(groups())).means_[0, 0])


@case("rows in a file of text with semicolons and decimal commas, `fit(Path)`")
def text_file(mixture: Mixture, big: int) -> Found:
    X = groups()
    lines = [";".join(f"{value!r}".replace(".", ",") for value in row) for row in X.tolist()]
    Path("rows.csv").write_text("\n".join(["a;b", *lines]))
    return Found("mean", mixture(1).fit(Path("rows.csv")).means_[0, 0], float(X[:, 0].mean()))


@case("rows that a function yields anew for each pass, with NaN from its fifth call on")
def changing_rows(mixture: Mixture, big: int) -> Found:
    X, passes = groups(), iter(range(10**6))

    def blocks() -> Any:
        wrong = next(passes) >= 4
        yield np.where(np.arange(600)[:, None] == 3, np.nan, X) if wrong else X

    model = mixture(2, tol=0.0, **start(X, 2)).fit(blocks)
    return Found("mean", model.means_[0, 0])


@case("`max_iter=3`, then the same call with a checkpoint and `max_iter=100`")
def longer(mixture: Mixture, big: int) -> Found:
    X = np.random.default_rng(0).normal(size=(600, 2))
    short_fit(mixture(2, max_iter=3, tol=0.0, random_state=0), X)
    options: dict[str, Any] = {"tol": 0.0, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = mixture(2, max_iter=100, **options).fit(X)
        mixture(2, max_iter=3, **options).fit(X, checkpoint="state.npz")
        model = mixture(2, max_iter=100, **options).fit(X, checkpoint="state.npz")
    return Found("bits of the parameters:", "equal" if state(model) == state(right) else "different", "equal")


# ---- processes, threads, signals, memory -------------------------------------------------------------


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@case("a second fit interrupted: the estimator afterwards")
def interrupted(mixture: Mixture, big: int) -> Found:
    X = groups(20_000, 5)
    model = short_fit(mixture(3, random_state=0, max_iter=3), X)
    before = state(model)
    model.set_params(max_iter=10**6, tol=0.0, **start(X, 3))
    signal.signal(signal.SIGALRM, raise_interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with contextlib.suppress(KeyboardInterrupt):
        model.fit(X * 1.1)
    return Found("parameters of the first fit:", "kept" if state(model) == before else "overwritten", "kept")


@case("Ctrl-C during a fit of many rows, 20 components")
def ctrl_c(mixture: Mixture, big: int) -> Found:
    X = groups(big, 5)
    model = mixture(20, max_iter=10**6, tol=0.0, **start(X, 20))
    signal.signal(signal.SIGINT, raise_interrupt)
    delays = []
    for wait in (0.7, 0.8, 0.9):
        sent: list[float] = []
        timer = threading.Timer(
            wait, lambda sent=sent: (sent.append(time.perf_counter()), os.kill(os.getpid(), signal.SIGINT))
        )
        timer.start()
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(X)
        delays.append(time.perf_counter() - sent[0])
    return Found("obeyed, at worst of three times, after", common.seconds(max(delays)))


@case("peak memory of a fit of a tenth of them, 100 components, beside the rows", fresh=True)
def memory(mixture: Mixture, big: int) -> Found:
    X = groups(big // 10)

    def fit(rows: np.ndarray) -> int:
        short_fit(mixture(100, max_iter=1, **start(rows, 100)), rows)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)

    before = fit(X[:1000])
    return Found(f"for {X.nbytes / 2**20:.3g} MiB of rows:", f"{fit(X) - before} MiB")


@case("one thread and all threads")
def bits(mixture: Mixture, big: int) -> Found:
    import numba
    from threadpoolctl import threadpool_limits

    X = groups(big // 20, 10)
    found = []
    for limit in (1, common.n_cores()):
        numba.set_num_threads(min(limit, numba.config.NUMBA_NUM_THREADS))
        with threadpool_limits(limit):
            found.append(state(short_fit(mixture(5, max_iter=5, random_state=0), X)))
    return Found("bits of the parameters:", "equal" if found[0] == found[1] else "different", "equal")


@case("two fits at once in two threads")
def threads(mixture: Mixture, big: int) -> Found:
    X, found = groups(20_000, 5), []

    def fit() -> None:
        found.append(mixture(3, random_state=0).fit(X).score(X))

    fit()
    both = [threading.Thread(target=fit) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    return Found("results like that of one:", int(sum(np.allclose(score, found[0]) for score in found[1:])), 2)


@case("a fit in a forked child after a fit in the parent", fresh=True)
def fork(mixture: Mixture, big: int) -> Found:
    X = groups(20_000, 5)
    mixture(3, random_state=0).fit(X)
    child = os.fork()
    if child == 0:
        mixture(3, random_state=0).fit(X)
        os._exit(0)
    deadline = time.perf_counter() + HUNG
    while time.perf_counter() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Found("the child's exit status is", os.waitstatus_to_exitcode(status), 0)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Found("the child", f"hangs ({HUNG:g} s)", "ends")


# ---- files -------------------------------------------------------------------------------------------


class Code:
    """An object whose pickle makes a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("the code ran",)


@case("a file with code in it, read as a model (`pickle.load`, `fastem.load`)")
def hostile_file(mixture: Mixture, big: int) -> Found:
    Path("model.npz").write_bytes(pickle.dumps(Code()))
    if is_fastem(mixture):
        import fastem

        fastem.load("model.npz")
    else:
        pickle.loads(Path("model.npz").read_bytes())
    return Found("the code", "ran" if Path("the code ran").exists() else "did not run", "did not run")


@case("a pickled model whose weights are those of another (5 for 2 components)")
def damaged_pickle(mixture: Mixture, big: int) -> Found:
    model = mixture(2, random_state=0).fit(groups())
    damaged = mixture.__new__(mixture)  # type: ignore[call-overload]
    damaged.__setstate__(model.__getstate__() | {"weights_": np.full(5, 0.2)})
    return Found("mean log density", damaged.score(groups()), model.score(groups()))


@case("a memory-mapped file cut short while it is in use")
def cut_short(mixture: Mixture, big: int) -> Found:
    groups(20_000).tofile("rows.bin")
    X = np.memmap("rows.bin", mode="r").view(np.float64).reshape(-1, 2)
    os.truncate("rows.bin", 0)
    return Found("mean", mixture(2).fit(X).means_[0, 0])


@case("a pickle of another version")
def other_version(mixture: Mixture, big: int) -> Found:
    model = mixture(2, random_state=0).fit(groups())
    old = mixture.__new__(mixture)  # type: ignore[call-overload]
    version = "_fastem_version" if is_fastem(mixture) else "_sklearn_version"
    old.__setstate__(model.__getstate__() | {version: "0.0.1"})
    return Found("mean log density", old.score(groups()), model.score(groups()))


@case("a model file of 80 kB with an array that unpacks to 80 MB")
def unpacks(mixture: Mixture, big: int) -> Found:
    fastem = need_fastem(mixture)
    fastem.save(mixture(2, random_state=0).fit(groups()), "model.npz")
    with np.load("model.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez_compressed("model.npz", **arrays | {"lower_bounds": np.zeros(10**7)})
    return Found("iterations", len(fastem.load("model.npz").lower_bounds_))


@case("the command line, told to write its result over the table that it reads")
def own_input(mixture: Mixture, big: int) -> Found:
    fastem = need_fastem(mixture)
    from typer.testing import CliRunner

    from fastem.cli import app

    np.save("rows.npy", groups())
    before = Path("rows.npy").read_bytes()
    fastem.save(mixture(2, random_state=0).fit(groups()), "model.npz")
    result = CliRunner().invoke(app, ["predict", "model.npz", "rows.npy", "-o", "rows.npy"])
    kept = Path("rows.npy").read_bytes() == before
    return Found("the table", f"{'kept' if kept else 'lost'}, exit status {result.exit_code}", "kept, exit status 1")


# ---- observing ---------------------------------------------------------------------------------------


@functools.cache
def load(package: str) -> Mixture:
    """The class, after a first fit: what is compiled is compiled."""
    if package == "fastem":
        common.add_root_to_path()
        from fastem import GaussianMixture
    else:
        from sklearn.mixture import GaussianMixture
    for dtype in (np.float64, np.float32):
        GaussianMixture(2, covariance_type="diag").fit(groups().astype(dtype)).predict(groups().astype(dtype))
    return GaussianMixture


def compile_ahead(package: str) -> None:
    """Compile what cases need, so that no case is charged with it."""
    load(package)
    if package == "fastem":
        import fastem

        fastem.warmup()


def observe(package: str, title: str, big: int, folder: str) -> str:
    """What comes of a case, in words."""
    mixture = load(package)
    os.chdir(tempfile.mkdtemp(dir=folder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            words = describe(CASES[title](mixture, big))
        except AbsentError:
            words = "(has none)"
        except Exception as error:
            words = f"{type(error).__name__}: {shorten(str(error))}"
    warned = sorted({warning.category.__name__ for warning in caught})
    return "; ".join([words, *warned])


def describe(found: Found) -> str:
    """`variance 5120 (right: 2884)`, or `variance 2884 (right)`."""
    value, right = found.value, found.right
    if right is None:
        return f"{found.what} {number(value)}"
    if value == right or (is_float(value) and abs(value - right) <= 1e-6 * abs(right)):
        return f"{found.what} {number(value)} (right)"
    return f"{found.what} {number(value, 7)} (right: {number(right, 7)})"


def number(value: Any, digits: int = 4) -> str:
    """A number with a few digits; anything else as it is."""
    return f"{value:.{digits}g}" if is_float(value) else str(value)


def is_float(value: Any) -> bool:
    """Whether a value is a floating-point number, of any precision."""
    return isinstance(value, float | np.floating)


def shorten(message: str) -> str:
    """The first and the last words of a message, as it stands in a table."""
    words = re.sub(r"https?://\S+", "...", message).replace("|", "\\|").split()
    return " ".join(words if len(words) <= 2 * WORDS + 2 else [*words[:WORDS], "...", *words[-WORDS:]])


def observe_all(titles: list[str], big: int) -> list[dict[str, str]]:
    """All cases in both packages, each case's outcome by package."""
    rows = [{"case": title} for title in titles]
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            first = Worker(compile_ahead)
            first.ask(package, limit=COMPILATION)
            first.stop()
            worker = Worker(observe)
            for row in rows:
                title = row["case"]
                common.progress(f"{package}: {title}")
                if title in FRESH:
                    worker.stop()
                try:
                    row[package] = worker.ask(package, title, big, folder, limit=LIMIT)
                except LostError as error:
                    row[package] = str(error)
            worker.stop()
    common.progress()
    return rows


# ---- the report --------------------------------------------------------------------------------------


def section(results: dict[str, Any]) -> str:
    """What docs/faults.md shows."""
    versions = results["machine"]["versions"]
    head = (
        f"Seen on {results['machine']['date']} by `scripts/faults.py`, which runs both packages (scikit-learn "
        f"{versions['scikit-learn']}), each case in a process under a time limit. Many rows are {results['rows']:,}."
    )
    rows = [[row["case"], *(row[package] for package in PACKAGES)] for row in results["cases"]]
    return head + "\n\n" + common.table(["bad input or fault", *PACKAGES], rows, left=3)


def main() -> None:
    """Observe and write; or rewrite docs/faults.md."""
    parser = common.parser(__doc__ or "", rounds=False)
    parser.add_argument("--case", action="append", default=[], metavar="WORDS", help="cases whose description has them")
    parser.add_argument("--page", type=Path, metavar="JSON", help="only rewrite docs/faults.md from these results")
    args = parser.parse_args()
    if args.page:
        results = json.loads(args.page.read_text())
        if not results["whole"]:
            sys.exit("these results are of a quick run, or of some cases: they are not for the docs")
        return common.rewrite_section(common.DOCS / "faults.md", "faults", section(results))
    common.restart_in_clean_environment()
    titles = [title for title in CASES if not args.case or any(words in title for words in args.case)]
    big = 20_000 if args.quick else 1_000_000
    results = {"machine": common.machine(), "rows": big, "whole": not (args.quick or args.case)}
    results["cases"] = observe_all(titles, big)
    common.write(args.output, "faults", results, section(results))
    return None


if __name__ == "__main__":
    main()
