"""The peers of compare_peers.py: one process each, which keeps the rows and does fits when asked.

As a program, ``_peers.py NAME``, it is the worker of a peer in Python: requests come on standard input, one per line,
words separated by tabs; answers are JSON lines. ``load FOLDER FAMILY DTYPE N D K`` reads rows and a start, ``run N``
does a fit of N iterations from the start, ``fit SEED`` a whole default fit, ``score N`` scores the rows N times by the
mixture of the last run. What they found (the mixture, or log densities) is written to FOLDER/found.bin.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import _common as common
import numpy as np

FAMILIES = ("full", "tied", "diag", "spherical")
DTYPES = ("float64", "float32")


def natural_shape(family: str, D: int, K: int) -> tuple[int, ...]:
    """The shape of a family's covariances: scikit-learn's."""
    return {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[family]


# ---- the workers: one process per peer ---------------------------------------------------------------


class Task(NamedTuple):
    """Rows and a start, as a worker gets them."""

    X: np.ndarray  # (N, D)
    family: str
    K: int
    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, D)
    covariances: np.ndarray  # of natural_shape


class Answer(NamedTuple):
    """What a fit took, and what it found."""

    seconds: float
    iterations: int
    parameters: tuple[Any, ...]  # weights, means, covariances


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


class Estimator:
    """fastem and scikit-learn."""

    families, dtypes = FAMILIES, DTYPES

    def __init__(self, module: str) -> None:
        self.make = importlib.import_module(module).GaussianMixture

    def run(self, task: Task, iterations: int) -> Answer:
        """A fit of so many iterations from the start."""
        matrices = task.family in ("full", "tied")
        precisions = np.linalg.inv(task.covariances) if matrices else 1 / task.covariances
        start = dict(weights_init=task.weights, means_init=task.means, precisions_init=precisions)
        model = self.make(task.K, covariance_type=task.family, tol=0.0, reg_covar=0.0, max_iter=iterations, **start)
        return self._fit(model, task)

    def fit(self, task: Task, seed: int) -> Answer:
        """A whole default fit."""
        return self._fit(self.make(task.K, covariance_type=task.family, random_state=seed), task)

    def score(self, task: Task, times: int) -> Answer:
        """score_samples of the last fitted model."""
        taken, densities = timed(lambda: [self.model.score_samples(task.X) for _ in range(times)])
        return Answer(taken / times, times, (densities[-1],))

    def _fit(self, model: Any, task: Task) -> Answer:
        self.model = model
        taken, _ = timed(lambda: model.fit(task.X))
        return Answer(taken, model.n_iter_, (model.weights_, model.means_, model.covariances_))


class OneDAL:
    """oneDAL's em_gmm."""

    families, dtypes = ("full", "diag"), DTYPES

    def __init__(self, module: str) -> None:
        self.module = importlib.import_module(module)

    def run(self, task: Task, iterations: int) -> Answer:
        """A fit of so many iterations from the start."""
        weights, means, covariances = (
            array.astype(task.X.dtype) for array in (task.weights[None], task.means, task.covariances)
        )
        algorithm = self.module.em_gmm(task.K, maxIterations=iterations, accuracyThreshold=0.0, **self._options(task))
        start = [np.ascontiguousarray(np.atleast_2d(covariance)) for covariance in covariances]
        return self._answer(*timed(lambda: algorithm.compute(task.X, weights, means, start)), task)

    def fit(self, task: Task, seed: int) -> Answer:
        """A whole default fit: short runs from random starts, then EM."""
        engine = self.module.engines_mt19937(seed=seed + 1, fptype=self._options(task)["fptype"])
        first = self.module.em_gmm_init(task.K, engine=engine, **self._options(task))
        algorithm = self.module.em_gmm(task.K, **self._options(task))

        def whole() -> Any:
            start = first.compute(task.X)
            return algorithm.compute(task.X, start.weights, start.means, start.covariances)

        return self._answer(*timed(whole), task)

    def _options(self, task: Task) -> dict[str, str]:
        kind = {"fptype": "float" if task.X.dtype == np.float32 else "double"}
        return kind if task.family == "full" else kind | {"covarianceStorage": "diagonal"}

    def _answer(self, taken: float, result: Any, task: Task) -> Answer:
        parameters = (result.weights, result.means, np.array(result.covariances))
        return Answer(taken, int(result.nIterations[0, 0]), parameters)


class Gmmx:
    """gmmx, in JAX; float32 only."""

    families, dtypes = ("full", "diag"), ("float32",)

    def __init__(self, module: str) -> None:
        self.module, self.jax, self.compiled = importlib.import_module(module), importlib.import_module("jax"), set()

    def run(self, task: Task, iterations: int) -> Answer:
        """A fit of so many iterations from the start."""
        parts = (task.means, task.covariances, task.weights)
        start = self.module.GaussianMixtureModelJax.from_squeezed(
            *(self.jax.numpy.asarray(part, dtype="float32") for part in parts), covariance_type=task.family
        )
        X, fitter = self.jax.numpy.asarray(task.X), self.module.EMFitter(max_iter=iterations, tol=0.0, reg_covar=0.0)
        key = task.X.shape, task.K, task.family, iterations
        if key not in self.compiled:  # each number of iterations is compiled anew
            self.jax.block_until_ready(fitter.fit(X, start))
            self.compiled.add(key)
        taken, result = timed(lambda: self.jax.block_until_ready(fitter.fit(X, start)))
        found = result.gmm
        covariances = np.asarray(found.covariances.values).reshape(natural_shape(task.family, X.shape[1], task.K))
        return Answer(taken, int(result.n_iter), (found.weights_numpy, found.means_numpy, covariances))


class Pomegranate:
    """pomegranate, in PyTorch."""

    families, dtypes = ("full", "diag"), DTYPES

    def __init__(self, module: str) -> None:
        self.torch = importlib.import_module("torch")
        self.normal = importlib.import_module(f"{module}.distributions").Normal
        self.mixture = importlib.import_module(f"{module}.gmm").GeneralMixtureModel

    def run(self, task: Task, iterations: int) -> Answer:
        """A fit of so many iterations from the start."""
        tensor = lambda array: self.torch.tensor(np.asarray(array, dtype=task.X.dtype))  # noqa: E731
        parts = zip(task.means, task.covariances, strict=True)
        normals = [self.normal(tensor(mean), tensor(c), covariance_type=task.family) for mean, c in parts]
        model = self.mixture(normals, priors=tensor(task.weights), max_iter=iterations, tol=-np.inf)
        X = self.torch.from_numpy(task.X)
        taken, _ = timed(lambda: model.fit(X))
        means, covariances = ([getattr(n, name).numpy() for n in normals] for name in ("means", "covs"))
        return Answer(taken, iterations, (model.priors.numpy(), means, covariances))


def serve(peer: Any, version: str, requests: Iterator[str], reply: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests, one per line, until there are no more."""
    reply({"ready": version})
    task, folder = None, Path()
    for line in requests:
        what, *words = line.rstrip("\n").split("\t")
        try:
            if what == "load":
                folder = Path(words[0])
                task = load(folder, words[1], words[2], *map(int, words[3:]))
                reply({})
                continue
            answer = getattr(peer, what)(task, int(words[0]))
            flat = [np.ravel(np.asarray(part, dtype=np.float64)) for part in answer.parameters]
            np.concatenate(flat).tofile(folder / "found.bin")
            reply({"seconds": answer.seconds, "iterations": int(answer.iterations)})
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]})


def load(folder: Path, family: str, dtype: str, N: int, D: int, K: int) -> Task:
    """Read what `write_data` wrote."""
    X = np.fromfile(folder / "X.bin", dtype=dtype).reshape(N, D)
    return Task(X, family, K, *unpack(folder / "start.bin", family, D, K))


def unpack(path: Path, family: str, D: int, K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances from a file of doubles."""
    weights, means, covariances = np.split(np.fromfile(path), [K, K + K * D])
    return weights, means.reshape(K, D), covariances.reshape(natural_shape(family, D, K))


def work(name: str) -> None:
    """The life of a worker: its standard output belongs to the protocol, what libraries print goes elsewhere."""
    warnings.filterwarnings("ignore")
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(answer: dict[str, Any]) -> None:
        replies.write(json.dumps(answer) + "\n")

    peer = PEERS[name]
    try:
        worker = peer.worker(peer.module)
    except ImportError as error:
        reply({"absent": f"{error}"})
    else:
        version = metadata.version(peer.package) if peer.package else importlib.import_module(peer.module).__version__
        serve(worker, version, iter(sys.stdin.readline, ""), reply)


class Peer(NamedTuple):
    """How a peer is found and run."""

    title: str
    worker: Any
    module: str
    package: str  # whose version is shown; "": the module's __version__
    env: dict[str, str] = {}  # noqa: RUF012


ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PEERS = {
    "fastem": Peer("fastem", Estimator, "fastem", ""),
    "sklearn": Peer("scikit-learn", Estimator, "sklearn.mixture", "scikit-learn"),
    "sklearn1": Peer("scikit-learn, 1 BLAS thread", Estimator, "sklearn.mixture", "scikit-learn", ONE_THREAD),
    "onedal": Peer("oneDAL", OneDAL, "daal4py", "daal4py"),
    "armadillo": Peer("Armadillo", None, "", ""),
    "gmmx": Peer("gmmx", Gmmx, "gmmx", "gmmx"),
    "pomegranate": Peer("pomegranate", Pomegranate, "pomegranate", "pomegranate"),
}
FAMILIES_OF = {name: peer.worker.families if peer.worker else ("full", "diag") for name, peer in PEERS.items()}
DTYPES_OF = {name: peer.worker.dtypes if peer.worker else DTYPES for name, peer in PEERS.items()}
COLUMNS = [name for name in PEERS if name != "sklearn1"]  # of tables and figures: one scikit-learn, the better

DRIVER = Path(__file__).with_name("armadillo_driver.cpp")
LIBRARIES = (
    ["-DARMA_DONT_USE_WRAPPER", "-lopenblas"],
    ["-larmadillo"],
    ["-DARMA_DONT_USE_WRAPPER", "-lblas", "-llapack"],
)


def build_armadillo(folder: Path, flags: list[str]) -> list[str]:
    """Compile the driver and return its command; PeerError if there is no compiler or no Armadillo."""
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX") or "c++", "g++", "clang++"])), None)
    if compiler is None:
        raise PeerError("no C++ compiler")

    def build(name: str, source: str, libraries: list[str]) -> str:
        (folder / f"{name}.cpp").write_text(source)
        command = [compiler, "-std=c++14", "-O3", "-march=native", "-fopenmp", "-DARMA_NO_DEBUG", *flags]
        command += [str(folder / f"{name}.cpp"), "-o", str(folder / name), *libraries]
        return subprocess.run(command, capture_output=True, text=True).stderr

    linkable = (libraries for libraries in LIBRARIES if not build("empty", "int main() {}", libraries))
    message = build("driver", DRIVER.read_text(), next(linkable, []))
    if (folder / "driver").exists():
        return [str(folder / "driver")]
    missing = "armadillo: No such file" in message or "'armadillo' file not found" in message
    reason = next((line for line in message.splitlines() if "error" in line or "undefined" in line), message)
    raise PeerError("no headers of Armadillo" if missing else f"does not compile: {reason[:150]}")


# ---- the peers as the measuring process sees them ----------------------------------------------------


class PeerError(RuntimeError):
    """A peer is absent, or failed; the message says why."""


class Worker:
    """A peer's process."""

    def __init__(self, command: list[str], env: dict[str, str], folder: Path, limit: float) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.limit = folder, limit
        self.log = (folder / "log").open("w+")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)
        self.process = subprocess.Popen(command, env=env, **pipes)  # type: ignore[call-overload]
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.version = str(self.answer()["ready"])

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def ask(self, *words: object) -> dict[str, Any]:
        """The answer to a request; PeerError if it is an error, or does not come."""
        try:
            self.process.stdin.write("\t".join(map(str, words)) + "\n")
        except OSError:
            raise PeerError(self._last_words()) from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        try:
            line = self.lines.get(timeout=self.limit)
        except queue.Empty:
            self.stop()
            raise PeerError(f"no answer within {self.limit:g} s") from None
        if not line:
            raise PeerError(self._last_words())
        found: dict[str, Any] = json.loads(line)
        if problem := found.get("absent") or found.get("error"):
            raise PeerError(problem)
        return found

    def _last_words(self) -> str:
        self.process.wait()
        self.log.seek(0)
        return ([f"ended with status {self.process.returncode}", *self.log.read().split("\n")[:-1]])[-1][:200]

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()


class Team:
    """The peers that could be started; one that dies is started again for the next case."""

    def __init__(self, folder: Path, names: list[str], pythons: dict[str, str], flags: list[str], limit: float) -> None:
        self.folder, self.limit = folder, limit
        self.workers: dict[str, Worker] = {}
        self.commands: dict[str, list[str]] = {}
        self.absent: dict[str, str] = {}
        self.root = common.add_root_to_path()
        for name in names:
            try:
                script = [
                    pythons.get(name.rstrip("1"), sys.executable),
                    str(Path(__file__).resolve()),
                    name,
                ]
                self.commands[name] = build_armadillo(folder, flags) if name == "armadillo" else script
                self.start(name)
            except (PeerError, OSError) as error:
                self.commands.pop(name, None)
                self.absent[name] = str(error)

    def start(self, name: str) -> Worker:
        """The peer's process, started if it is not there."""
        worker = self.workers.get(name)
        if worker is None or worker.process.poll() is not None:
            extra = dict(PEERS[name].env) | ({"PYTHONPATH": self.root} if name == "fastem" else {})
            env = common.clean_environment(**extra)
            worker = self.workers[name] = Worker(self.commands[name], env, self.folder / name, self.limit)
        return worker

    def stop(self) -> None:
        """End all processes."""
        for worker in self.workers.values():
            worker.stop()


if __name__ == "__main__":
    work(sys.argv[1])
