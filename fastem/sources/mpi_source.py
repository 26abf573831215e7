"""Rows that are spread over the ranks of MPI: each rank has its own rows, and all ranks call the same functions.

This module imports no MPI package: it calls methods of the communicator that it is given.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from numpy.typing import ArrayLike

from fastem.model.stats import BUFFER_VERSION, Stats
from fastem.sources.blocks import BlockSource, SourceError
from fastem.sources.labels import is_labelled
from fastem.sources.opening import find_source
from fastem.sources.parts import Part, PartedSource, add

T = TypeVar("T")
TAG = 0x6D69  # marks the messages of this module


class RankError(SourceError):
    """Another rank failed, so that this rank cannot go on either.

    The message names the rank that failed and its error. That rank raises its own error, and all others this one.

    Attributes
    ----------
    result : Result or None
        the last complete iteration of the fit that the error ended; None if no iteration was complete

    See Also
    --------
    MPISource : The rows of a distributed fit.
    SourceError : Rows could not be read.

    Examples
    --------
    On each rank, with the rows of `MPISource`::

        try:
            model.fit(source)
        except fastem.RankError as error:
            print(error, "last complete iteration:", error.result and error.result.n_iter)
    """


class Message(NamedTuple):
    """What ranks send each other.

    Attributes
    ----------
    value : a sum, or None; statistics are sent as the vector of `Stats.to_buffer`
    is_stats : bool, whether the value is such a vector
    failure : (rank, text) of the first rank that failed, with its error; None if no rank failed
    kind : str, what the sender is doing, in words
    """

    value: Any
    is_stats: bool
    failure: tuple[int, str] | None
    kind: str

    @classmethod
    def pack(cls, value: Any, failure: tuple[int, str] | None, kind: str) -> Message:
        """Return a message with the value in a form that can be sent."""
        is_stats = type(value) is Stats  # those of other mixtures hold more, and are sent as they are
        return cls(value.to_buffer() if is_stats else value, is_stats, failure, kind)

    def unpack(self) -> Any:
        """Return the value; raise a ValueError for statistics of another version."""
        return Stats.from_buffer(self.value) if self.is_stats else self.value


class MPISource(PartedSource):
    """Rows that are spread over the ranks of an MPI communicator, for every function that takes a source.

    Each rank makes a source of its own rows, and all ranks call the same functions with the same arguments, for
    instance ``GaussianMixture(5, random_state=0).fit(source)``. In a pass over the data, each rank goes through its own
    rows; then statistics are added pairwise in the order of the ranks, and all ranks get the sum. All decisions (the
    random numbers, each M-step, whether to stop, what a callback returns) are computed on rank 0 and broadcast: ranks
    cannot diverge, and end with the same bits. Callbacks, the output of verbose and checkpoints are for rank 0 alone.

    `predict`, `predict_proba` and `score_samples` return the scores of the rank's own rows; `score`, `bic` and `aic`
    return those of all rows.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        the communicator, with ``pip install "fastem[mpi]"``. While a function runs, no other thread may use it
    X : whatever `fastem.as_source` takes
        the rank's own rows, float64 on all ranks or float32 on all. An array may have 0 rows on some ranks
    sample_weight : (N,) array-like or what else `fastem.as_source` takes, default None
        the weights of the rank's rows, not negative; None: every weight is 1
    labels : (N,) array-like or what else `fastem.as_source` takes, default None
        the known components of the rank's rows, on all ranks or on none; None: all are unknown
    columns : sequence of str or int, default None
        names or positions of the columns wanted, as for `fastem.as_source`; None: all columns
    missing : bool, default False
        whether NaN stands for a value that is missing, as for `fastem.as_source`

    Raises
    ------
    ValueError, TypeError
        where `fastem.as_source` would raise them, or if the number of features or the dtype differs from rank 0's; on
        the rank where that is so
    RankError
        (a SourceError) on all other ranks, at the latest when the function that they are in ends: no rank waits for
        a rank that has failed. Errors outside of fastem are not noticed on other ranks: run scripts with
        ``python -m mpi4py``, which ends all ranks then

    See Also
    --------
    as_source : The rows of one process, and Dask collections.
    RankError : The error of the ranks that did not fail themselves.

    Notes
    -----
    Results are the same bits whenever the same rows lie on the same number of ranks, and equal those of one process to
    rounding. A rank uses as many threads as Numba is set to: bind ranks to cores, or set NUMBA_NUM_THREADS, so that
    ranks of one machine share its cores.

    References
    ----------
    Neal & Hinton (1998), in: Jordan (ed.), Learning in Graphical Models, 355-368 (sums over parts of the data).

    Examples
    --------
    In a script ``fit.py`` that is run by ``mpiexec -n 4 python -m mpi4py fit.py``::

        import numpy as np, fastem
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        mine = np.load(f"rows-{comm.Get_rank()}.npy")
        source = fastem.MPISource(comm, mine)
        model = fastem.GaussianMixture(5, random_state=0).fit(source)
        labels = model.predict(source)  # of this rank's rows
    """

    def __init__(
        self,
        comm: Any,
        X: Any,
        sample_weight: ArrayLike | None = None,
        labels: Any = None,
        *,
        columns: Sequence[str | int] | None = None,
        missing: bool = False,
        errors: Any = None,
    ) -> None:
        if not (hasattr(comm, "Get_rank") and hasattr(comm, "Get_size")):
            raise TypeError(f"comm must be an MPI communicator, such as MPI.COMM_WORLD; got {type(comm).__name__}")
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.is_leader = self.rank == 0
        self._failed = False  # whether all ranks know of a failure, which ends the function that they are in
        error = None
        try:
            options = {"missing": missing, "errors": errors, "with_errors": True}
            source = find_source(X, sample_weight, labels, columns=columns, min_rows=0, **options)
            if not isinstance(source, BlockSource):
                raise TypeError(f"X must be the rank's own rows; got {type(source).__name__}")
            self._own, names = source, source.columns
            kind = dict(features=source.n_features, dtype=str(source.dtype), version=BUFFER_VERSION)
            kind["labelled"], kind["missing"], kind["errors"] = is_labelled(source), missing, errors is not None
            kind["names"] = None if names is None else names.tolist()
        except Exception as caught:
            error = caught
        self._exchange(None, error)
        self.check_alike("rows", kind)
        self.n_features, self.dtype, self.columns = source.n_features, source.dtype, names
        self.labelled, self.missing = is_labelled(source), missing
        self.rows_options, self.errors = self._own.rows_options, errors if self._own.rows_options == {} else None

    def local_rows(self) -> BlockSource:
        """See PartedSource; these are the rank's own rows."""
        return self._own

    def sum_over_parts(self, function: Callable[[Part], T | None]) -> T | None:
        """See PartedSource; all ranks call it."""
        value, error = None, None
        try:
            before = (0, 0.0) if self._sizes is None else self.offsets()[self.rank]
            value = function(Part(self.rank, self._own, *before))
        except Exception as caught:
            error = caught
        return self._exchange(value, error, "a pass")  # type: ignore[no-any-return]

    def agreed(self, function: Callable[[], T]) -> T:
        """See PartedSource; return or raise what the function returns or raises on rank 0."""
        outcome, error = None, None
        if self.is_leader:
            try:
                outcome = Outcome.find(function)
            except Exception as caught:
                error = caught
        return self._exchange(outcome, error, "a decision").unpack(self.rank)  # type: ignore[no-any-return]

    def check_alike(self, what: str, value: dict[str, Any]) -> None:
        """See PartedSource; values are dicts."""
        first: Any = self.agreed(lambda: value)
        error = None
        for name in value:
            if error is None and value[name] != first[name]:
                both = f"{first[name]!r} on rank 0, {value[name]!r} on rank {self.rank}"
                error = ValueError(f"all ranks need the same {what}: {name} is {both}")
        self._exchange(None, error, "a comparison")

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """See PartedSource.

        Every exchange between ranks tells of failures. A rank that fails between two exchanges still takes part in the
        next exchange of the other ranks, which is the one at the end of this context at the latest. A rank that hears
        of a failure leaves the context, and exchanges nothing more.
        """
        self._failed = False
        try:
            yield
        except BaseException as error:
            if not self._failed:
                self._exchange(None, error)
            raise
        self._exchange(None)

    def _add_message(self, value: Any, message: Message, kind: str) -> Any:
        """Return the sum of a value and another rank's; raise a ValueError for statistics that cannot be added."""
        if message.kind != kind:
            raise RuntimeError(f"ranks are out of step: one is at {message.kind}, rank {self.rank} at {kind}")
        return add(value, message.unpack())

    def _exchange(self, value: Any, error: BaseException | None = None, kind: str = "the end") -> Any:
        """Return the sum of all ranks' values, on all ranks. An error is raised on its rank, a RankError on the others.

        Sums go up a binary tree of ranks, with the bits of `sum_pairwise`; the sum of all is broadcast.
        """
        failure, step = None if error is None else (self.rank, _describe_error(error)), 1
        while step < self.size and not self.rank & step:
            if self.rank + step < self.size:
                message = self.comm.recv(source=self.rank + step, tag=TAG)
                failure = failure or message.failure
                try:
                    value = None if failure else self._add_message(value, message, kind)
                except Exception as caught:
                    error, failure = caught, (self.rank, _describe_error(caught))
            step *= 2
        if self.rank:
            self.comm.send(Message.pack(value, failure, kind), dest=self.rank - step, tag=TAG)
        message = self.comm.bcast(None if self.rank else Message.pack(value, failure, kind), root=0)
        if message.failure is None:
            return message.unpack() if self.rank else value
        self._failed = True
        if error is not None:
            raise error
        rank, text = message.failure
        raise RankError(f"rank {rank} of {self.size} could not go on ({text})")


class Outcome(NamedTuple):
    """What a function did on rank 0, to be broadcast.

    Attributes
    ----------
    value : what the function returned; None if it raised an error
    error : Exception, what it raised; None if it returned
    """

    value: Any = None
    error: Exception | None = None

    @classmethod
    def find(cls, function: Callable[[], Any]) -> Outcome:
        """Call a function and return its outcome; raise its error if that cannot be pickled."""
        try:
            return cls(function())
        except Exception as error:
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                raise error from None
            return cls(error=error)

    def unpack(self, rank: int) -> Any:
        """Return the value, or raise the error."""
        if self.error is None:
            return self.value
        if rank:
            self.error.add_note("(on rank 0)")
        raise self.error


def _describe_error(error: BaseException) -> str:
    """Return the type and the message of an error, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
