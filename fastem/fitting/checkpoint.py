"""Checkpoints: the state of a fit on disk. A fit that goes on from it ends with the same bits as without a break.

Between two iterations a fit is determined by little: the results of the runs before (of `n_init`), the result of the
last iteration of this run, and the random numbers that later starts draw. Statistics are not kept: a pass under a
result's parameters makes them again, bit by bit. Beside the state a checkpoint says to which fit it belongs, and a fit
refuses the checkpoint of another. Version 1 holds

======================  =================  ====================================================================
array                   shape, dtype       content
======================  =================  ====================================================================
``format``              (), str            ``"fastem.checkpoint"``
``version``             (), int            1
``fit``                 (), str            JSON: the constructor's parameters and a fingerprint of the rows
``runs``                (), int            runs that have ended
``generator``           (624,), uint32     state of the Mersenne Twister
``generator_position``  (), int            and its place in it
``generator_normal``    (0|1,), float64    and the second of the last pair of normal deviates, if it is unused
``run0_weights``, ...   as `Params`        the parameters of a run, ``run0_means``, ``run0_covariances``,
                                           ``run0_factor``, ``run0_noise`` (weight and box in a row, or
                                           nothing); those of the present run, if it has any, come last
``run0_history``        (n_iter,) float64  the objective after each of its iterations
``run0_loglik``         (), float          its last log-likelihood
``run0_status``         (), str            name of its `Status`; INTERRUPTED for one that is to go on: the
                                           present run, and after a larger max_iter those that it had stopped
``run0_events``         (), str            JSON: its `Event` list
``run0_certificate``    (0|3,) float64     its `Certificate`, if it has one
``memory_run``          (), int            of an accelerated fit: the number of the present run
``memory_points``, ...  as `Memory`        and what it remembers of its way, ``memory_steps``,
                                           ``memory_follows``, ``memory_gains``, ``memory_pace``, and its
                                           origin ``memory_weights``, ``memory_means``, ...
======================  =================  ====================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.files.archive import ENDINGS, ArchiveFormat, ModelFileError, floats, read, scalar, status, text, write
from fastem.files.atomic import given_path
from fastem.files.tables import check_output
from fastem.fitting.acceleration import Memory, Pace
from fastem.model.families import find_family
from fastem.model.given import check_noise, check_params
from fastem.model.params import Params
from fastem.model.result import Certificate, Event, Result, Status
from fastem.sources.blocks import Block, Source, options_of_rows, rows_at_once
from fastem.sources.errors import has_errors
from fastem.sources.scans import Known

INTERVAL = 30.0  # seconds between writes; the first write is at once, the last when the fit ends, in whatever way
FINGERPRINT_ROWS = 4096  # how many rows the fingerprint is made of

ARCHIVE = ArchiveFormat(
    what="checkpoint",
    format="fastem.checkpoint",
    version=1,
    names=("fit", "runs", "generator", "generator_position", "generator_normal"),
    optional=rf"run\d+_({'|'.join(Params._fields)}|history|loglik|status|events|certificate)|"
    rf"memory_({'|'.join(Params._fields)}|run|points|steps|follows|gains|pace)",
)
_NO_FIT = ("verbose", "verbose_interval", "warm_start", "n_threads")  # parameters that change no bit


class State(NamedTuple):
    """A fit between two iterations.

    Attributes
    ----------
    results : sequence of Result, one for each run; runs that are to go on have the status INTERRUPTED
    generator : the state of the random numbers, as `numpy.random.RandomState.get_state` gives it
    memory : the number of the present run and its Memory, if it is accelerated; else None
    """

    results: Sequence[Result]
    generator: Any
    memory: tuple[int, Memory] | None = None


class Checkpoint:
    """Keep the latest state of a fit in memory, and from time to time in a file. Without a path, do nothing.

    Parameters
    ----------
    path : path-like ending in ``.npz``, or None for no checkpoint
    fit : dict, what the fit is, as `describe` returns it
    rng : RandomState that starts draw from
    """

    def __init__(self, path: str | os.PathLike[str] | None, fit: dict[str, Any], rng: np.random.RandomState) -> None:
        self.path = None if path is None else given_path(path)
        self.fit, self.rng = fit, rng
        self.memory: tuple[int, Memory] | None = None  # that `load` has found
        self.latest: State | None = None
        self.written: State | None = None
        self.due = -np.inf
        if self.path is not None:
            check_output(self.path, ENDINGS)
            if rng.get_state(legacy=False)["bit_generator"] != "MT19937":
                raise ValueError("checkpoint needs a random_state that is an int, None or RandomState(seed)")

    def load(self) -> list[Result]:
        """Return the results of the runs, without statistics, and set the generator's state.

        Runs that are to go on have the status INTERRUPTED: the present one, and those that a smaller max_iter had
        stopped. Without a file there are no results.

        Raises
        ------
        ModelFileError
            (a ValueError) if the file is no checkpoint, or is damaged
        ValueError
            if it is the checkpoint of another fit; the message says what differs
        """
        if self.path is None or not self.path.exists():
            return []
        arrays = read(self.path, ARCHIVE)
        then = _parse(self.path, arrays, "fit", dict)
        longer = _goes_on(then.get("max_iter"), self.fit["max_iter"])
        _compare(self.path, then | {"max_iter": self.fit["max_iter"]} if longer else then, self.fit)
        try:
            generator = _generator(self.path, arrays)
            results = self._results(self.path, arrays)
            self.memory = _memory(self.path, arrays, results)
        except ModelFileError:
            raise
        except ValueError as error:
            raise ModelFileError(f"{self.path}: the arrays are not the state of a fit: {error}") from error
        self.rng.set_state(generator)
        stopped = Status.MAX_ITER if longer else Status.INTERRUPTED
        return [one._replace(status=Status.INTERRUPTED) if one.status is stopped else one for one in results]

    def __call__(self, results: Sequence[Result], memory: tuple[int, Memory] | None = None) -> None:
        """Note the state of the fit, and write it if the last write is long enough ago; arguments as in `State`."""
        if self.path is not None:
            # The lists of a run that goes on grow: its history is cut at n_iter when it is written.
            results = tuple(result._replace(events=tuple(result.events)) for result in results)
            self.latest = State(results, self.rng.get_state(), memory and (memory[0], memory[1].copy()))
            if time.monotonic() >= self.due:
                self.write()

    def write(self) -> None:
        """Write the latest state, unless the file holds it already.

        Raises
        ------
        OSError
            if the first write fails: the file cannot be written there. Where a later one fails (a full disk), a warning
            says so, and the file stays as it was
        """
        if self.path is None or self.latest is None or self.latest is self.written:
            return
        latest = self.latest
        try:
            write(self.path, ARCHIVE, {"fit": json.dumps(self.fit), **_arrays(latest)})
        except OSError as error:
            if self.written is None:
                raise
            warnings.warn(f"{self.path}: the checkpoint could not be written: {error}", stacklevel=2)
        else:
            self.written = latest
        self.due = time.monotonic() + INTERVAL

    def _results(self, path: Path, arrays: dict[str, NDArray[Any]]) -> list[Result]:
        """Return the results in a file; raise a ValueError if they cannot be those of this fit."""
        results: list[Result] = []
        while f"run{len(results)}_status" in arrays:
            results.append(_result(path, arrays, f"run{len(results)}_"))
            self._check(results[-1])
        n = sum(result.status is not Status.INTERRUPTED for result in results)
        if len(results) > self.fit["n_init"] or n != scalar(path, arrays, "runs", "iu"):
            raise ValueError(f"{len(results)} results, {n} of complete runs")
        return results

    def _check(self, result: Result) -> None:
        """Raise a ValueError if a result has another family or size, or this fit would not go on after it."""
        fit, K, shape = self.fit, len(result.params.means), result.params.covariances.shape
        if fit["noise"] != (result.params.noise is not None):
            raise ValueError("a noise component" if result.params.noise else "no noise component")
        if not (fit["n_components"] >= K and shape == find_family(fit["covariance_type"]).shape(K, fit["features"])):
            raise ValueError(f"{K} components with covariances of shape {shape}")
        if not 1 <= result.n_iter <= fit["max_iter"] - (result.status is Status.INTERRUPTED):
            raise ValueError(f"a run of {result.n_iter} iterations that is {result.status.name}")


def describe(
    parameters: dict[str, Any], source: Source, warm: tuple[Params, float] | None, known: Known | None = None
) -> dict[str, Any]:
    """Describe a fit: the parameters, the start that warm_start continues from, and a fingerprint of the rows.

    The fingerprint is made of a sample of 4096 rows, whatever the array's layout: it is no proof that all rows agree.
    If there are labels, it is made of `known` and of the labels of the sample too.
    """
    rows, weight, labels = source.sample(FINGERPRINT_ROWS, np.random.RandomState(0))
    return {
        **plain(parameters),
        "start": None if warm is None else _digest(*warm[0], warm[1]),
        "rows": source.n_present,
        "features": source.n_features,
        "dtype": str(source.dtype),
        "sum of weights": source.sum_w,
        "checksum of rows": _digest(rows, weight),
        "labels": None if known is None else _digest(known.mass, known.n_unknown, labels),
        **({"errors": _checksum_of_errors(source)} if has_errors(source) else {}),
    }


def _checksum_of_errors(source: Source) -> Any:
    """Return a checksum of the errors of all rows, or of the matrix that they share."""
    shared = options_of_rows(source).get("error_covariance")
    if shared is not None:
        return _digest(shared)

    def checksum(block: Block) -> int:
        return zlib.crc32(np.ascontiguousarray(block.errors).tobytes(), block.start % 2**32)

    return source.reduce(checksum, rows_at_once(source.n_features))


def plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that a fit depends on, as values of JSON."""
    return {name: _plain(value) for name, value in parameters.items() if name not in _NO_FIT}


def _plain(value: Any) -> Any:
    """Return a parameter as a value of JSON."""
    if isinstance(value, np.random.RandomState):
        return "RandomState"  # its state is the checkpoint's
    if isinstance(value, tuple | list | set | frozenset) and all(isinstance(one, str) for one in value):
        return sorted(value)
    if np.ndim(value):
        return _digest(value)
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def _digest(*arrays: Any) -> str:
    """Return a checksum of arrays as text."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.asarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()[:16]


def _arrays(state: State) -> dict[str, Any]:
    """Return a state as the arrays of a file."""
    _, key, position, has_normal, normal = state.generator
    arrays = {
        "runs": sum(result.status is not Status.INTERRUPTED for result in state.results),
        "generator": key,
        "generator_position": position,
        "generator_normal": np.array([normal] * has_normal, dtype=np.float64),
    }
    for number, result in enumerate(state.results):
        arrays |= _arrays_of_params(result.params, f"run{number}_")
        arrays[f"run{number}_history"] = np.array(result.history[: result.n_iter], dtype=np.float64)
        arrays[f"run{number}_loglik"] = result.loglik
        arrays[f"run{number}_status"] = result.status.name
        arrays[f"run{number}_events"] = json.dumps(result.events, default=int)  # NumPy's integers
        arrays[f"run{number}_certificate"] = np.array(result.certificate or (), dtype=np.float64)
    if state.memory is not None:
        run, memory = state.memory
        assert memory.origin is not None
        names = "points", "steps", "follows", "gains", "pace"
        arrays |= {"memory_run": run} | {f"memory_{name}": np.array(getattr(memory, name)) for name in names}
        arrays |= _arrays_of_params(memory.origin, "memory_")
    return arrays


def _arrays_of_params(params: Params, prefix: str) -> dict[str, Any]:
    """Return a mixture as the arrays of a file."""
    noise = np.empty(0) if params.noise is None else np.append(params.noise.weight, params.noise.box)
    return {f"{prefix}{name}": array for name, array in (params._asdict() | {"noise": noise}).items()}


def _generator(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[Any, ...]:
    """Return the generator's state after a check: NumPy would read beyond one that is out of range."""
    key, position = arrays["generator"], scalar(path, arrays, "generator_position", "iu")
    normal = floats(path, arrays, "generator_normal").ravel().tolist()
    if key.shape != (624,) or key.dtype.kind != "u" or not 0 <= position <= 624 or len(normal) > 1:
        raise ValueError("random numbers out of range")
    return "MT19937", key.astype(np.uint32), position, len(normal), normal[0] if normal else 0.0


def _result(path: Path, arrays: dict[str, NDArray[Any]], prefix: str) -> Result:
    """Return a result without statistics; raise a ValueError unless its parameters are those of a mixture."""
    arrays = _with_prefix(arrays, prefix, (*Params._fields, "history", "loglik", "events"))
    params = _params(path, arrays)
    history = floats(path, arrays, "history").ravel().tolist()
    ending, loglik = status(path, arrays, "status"), scalar(path, arrays, "loglik", "f")
    if ending is None:
        raise ValueError("no status")
    events = [_event(row) for row in _parse(path, arrays, "events", list)]
    numbers = floats(path, arrays, "certificate").ravel().tolist() if "certificate" in arrays else []
    certificate = Certificate(*numbers) if len(numbers) == len(Certificate._fields) else None
    return Result(params, None, loglik, history, len(history), ending, events, certificate)  # type: ignore[arg-type]


def _with_prefix(arrays: dict[str, NDArray[Any]], prefix: str, needed: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names have a prefix, without it; raise a ValueError if one that is needed is missing."""
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if missing := [name for name in needed if name not in found]:
        raise ValueError(f"no '{prefix}{missing[0]}'")
    return found


def _params(path: Path, arrays: dict[str, NDArray[Any]]) -> Params:
    """Return the mixture in these arrays; raise a ValueError unless it is one."""
    weights, means, covariances, factor, uniform = (
        floats(path, arrays, name).astype(np.float64) for name in Params._fields
    )
    noise = check_noise((uniform[0], uniform[1:].reshape(2, -1)), means.shape[-1]) if uniform.size else None
    return check_params(Params(weights, means, covariances, factor, noise))


def _memory(path: Path, arrays: dict[str, NDArray[Any]], results: Sequence[Result]) -> tuple[int, Memory] | None:
    """Return the number of the present run and what it remembers, or None; raise a ValueError for another run's."""
    if "memory_run" not in arrays:
        return None
    arrays = _with_prefix(arrays, "memory_", (*Params._fields, "points", "steps", "follows", "gains", "pace"))
    points, steps, gains, pace = (floats(path, arrays, name) for name in ("points", "steps", "gains", "pace"))
    if pace.shape != (len(Pace._fields),):
        raise ValueError("a memory without a pace")
    stretch, *counts = pace.tolist()
    memory = Memory(
        _params(path, arrays),
        points,
        steps,
        arrays["follows"] != 0,
        gains.ravel().tolist(),
        Pace(stretch, *map(int, counts)),
        new_rows=False,
    )
    run = scalar(path, arrays, "run", "iu")
    if not 0 <= run < len(results) or not memory.is_of(results[run].params):
        raise ValueError("a memory of other points than those of the present run")
    return run, memory


def _event(row: Any) -> Event:
    """Return an event of a row of JSON; raise a ValueError if it is none."""
    kinds = (int, str, list, str, float | int)
    if not (isinstance(row, list) and len(row) == len(kinds) and all(map(isinstance, row, kinds))):
        raise ValueError(f"no event: {row!r:.60}")
    return Event(row[0], row[1], tuple(map(int, row[2])), *row[3:])


def _parse(path: Path, arrays: dict[str, NDArray[Any]], name: str, kind: type) -> Any:
    """Return an object or a list that an array holds as JSON.

    Raises
    ------
    ModelFileError
        if the array holds anything else
    """
    try:
        found = json.loads(text(path, arrays, name))
    except (RecursionError, json.JSONDecodeError):
        found = None
    if not isinstance(found, kind):
        raise ModelFileError(f"{path}: damaged checkpoint file: expected JSON of a {kind.__name__} in array '{name}'")
    return found


def _goes_on(then: Any, now: int) -> bool:
    """Return whether max_iter has been raised."""
    return isinstance(then, int) and then < now


def _compare(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise a ValueError if a checkpoint is that of another fit."""
    differ = [name for name in {**now, **then} if then.get(name) != now.get(name)]
    if differ:
        what = ", ".join(f"{name} {then.get(name)!r:.60} (here {now.get(name)!r:.60})" for name in differ)
        raise ValueError(
            f"{path}: the checkpoint of another fit, with {what}. To start anew, remove it or name another file"
        )
