"""Rows that are spread over the ranks of MPI: each rank has its own, and all call the same functions.

This module needs no MPI of its own: it calls methods of the communicator that it is given.
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
TAG = 0x6D69  # of this module's messages


class RankError(SourceError):
    """Another rank could not go on: the message names the rank and its error; raised on all ranks but that one.

    Attributes
    ----------
    result : Result or None
        the last complete iteration of the fit that this ended; None if there was none
    """


class Message(NamedTuple):
    """What ranks send each other.

    Attributes
    ----------
    value : a sum, or None; of statistics the vector of `Stats.to_buffer`
    is_stats : bool
    failure : (rank, text) or None, of the first rank that could not do its part
    kind : str, what the sender is at
    """

    value: Any
    is_stats: bool
    failure: tuple[int, str] | None
    kind: str

    @classmethod
    def of(cls, value: Any, failure: tuple[int, str] | None, kind: str) -> Message:
        """A message that can be sent."""
        is_stats = isinstance(value, Stats)
        return cls(value.to_buffer() if is_stats else value, is_stats, failure, kind)

    def content(self) -> Any:
        """The value; ValueError for statistics of another version."""
        return Stats.from_buffer(self.value) if self.is_stats else self.value


class MPISource(PartedSource):
    """Rows that are spread over the ranks of an MPI communicator, for every function that takes a source.

    Each rank makes one of its own rows, and all ranks call the same functions with the same arguments, for instance
    ``GaussianMixture(5, random_state=0).fit(source)``. A pass over the data is a pass over its own rows on each rank;
    then statistics are added pairwise in the order of the ranks, and all ranks get the sum. Whatever is decided
    otherwise (the random numbers, each M-step, whether to stop, what a callback returns) is computed on rank 0 and
    broadcast: ranks cannot diverge, and end with the same bits. Callbacks run, verbose prints and checkpoints are
    written on rank 0 alone.

    `predict` and the other scores of rows are those of the rank's own rows (`score`, `bic` and `aic` those of all).

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        with ``pip install "fastem[mpi]"``. While a function runs, no other thread may use it
    X : the rank's own rows, what `fastem.as_source` takes; an array may have 0 rows on some ranks
        float64 on all ranks, or float32 on all
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it
    labels : of the rank's rows, as `fastem.as_source` takes them; on all ranks or on none
    columns : names or positions of the columns wanted, as for `fastem.as_source`

    Raises
    ------
    ValueError, TypeError
        as `fastem.as_source`, or for other features or another dtype than on rank 0: on the rank where that is
    RankError
        (a SourceError) on all other ranks, at the latest when the function that they are in ends: no rank waits for
        one that has failed. A rank that fails outside of fastem is another matter: run scripts with
        ``python -m mpi4py``, which then ends all ranks

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
    ) -> None:
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.leads = self.rank == 0
        self._failed = False  # whether all ranks know of a failure that ends what they are in
        error = None
        try:
            source = find_source(X, sample_weight, labels, columns=columns, min_rows=0)
            if not isinstance(source, BlockSource):
                raise TypeError(f"X must be the rank's own rows; got {type(source).__name__}")
            self._own, names = source, source.columns
            kind = dict(features=source.n_features, dtype=str(source.dtype), version=BUFFER_VERSION)
            kind["labelled"] = is_labelled(source)
            kind["names"] = None if names is None else names.tolist()
        except Exception as caught:
            error = caught
        self._exchange(None, error)
        self.check_alike("rows", kind)
        self.n_features, self.dtype, self.columns = source.n_features, source.dtype, names
        self.labelled = is_labelled(source)

    def here(self) -> BlockSource:
        """See PartedSource: the rank's own rows."""
        return self._own

    def total(self, function: Callable[[Part], T | None]) -> T | None:
        """See PartedSource; all ranks call it."""
        value, error = None, None
        try:
            before = (0, 0.0) if self._sizes is None else self.starts()[self.rank]
            value = function(Part(self.rank, self._own, *before))
        except Exception as caught:
            error = caught
        return self._exchange(value, error, "a pass")  # type: ignore[no-any-return]

    def agree(self, function: Callable[[], T]) -> T:
        """See PartedSource: what it returns or raises on rank 0."""
        outcome, error = None, None
        if self.leads:
            try:
                outcome = Outcome.of(function)
            except Exception as caught:
                error = caught
        return self._exchange(outcome, error, "a decision").result(self.rank)  # type: ignore[no-any-return]

    def check_alike(self, what: str, value: dict[str, Any]) -> None:
        """See PartedSource; values are dicts."""
        first: Any = self.agree(lambda: value)
        error = None
        for name in value:
            if error is None and value[name] != first[name]:
                both = f"{first[name]!r} on rank 0, {value[name]!r} on rank {self.rank}"
                error = ValueError(f"all ranks need the same {what}: {name} is {both}")
        self._exchange(None, error, "a comparison")

    @contextmanager
    def together(self) -> Iterator[None]:
        """See PartedSource.

        Every exchange tells of failures. A rank that fails between two of them takes part in the next of the others,
        if only in that at the end of this context; whoever hears of one leaves, and exchanges nothing more.
        """
        self._failed = False
        try:
            yield
        except BaseException as error:
            if not self._failed:
                self._exchange(None, error)
            raise
        self._exchange(None)

    def _joined(self, value: Any, message: Message, kind: str) -> Any:
        """The sum with another rank's; ValueError for statistics that do not add."""
        if message.kind != kind:
            raise RuntimeError(f"ranks are out of step: one is at {message.kind}, rank {self.rank} at {kind}")
        return add(value, message.content())

    def _exchange(self, value: Any, error: BaseException | None = None, kind: str = "the end") -> Any:
        """The sum of the ranks' values, on all; if there was an error, that error on its rank and RankError elsewhere.

        Sums go up a binary tree of ranks, of which `pairwise` gives the bits, and the sum of all comes back.
        """
        failure, step = None if error is None else (self.rank, _line(error)), 1
        while step < self.size and not self.rank & step:
            if self.rank + step < self.size:
                message = self.comm.recv(source=self.rank + step, tag=TAG)
                failure = failure or message.failure
                try:
                    value = None if failure else self._joined(value, message, kind)
                except Exception as caught:
                    error, failure = caught, (self.rank, _line(caught))
            step *= 2
        if self.rank:
            self.comm.send(Message.of(value, failure, kind), dest=self.rank - step, tag=TAG)
        message = self.comm.bcast(None if self.rank else Message.of(value, failure, kind), root=0)
        if message.failure is None:
            return message.content() if self.rank else value
        self._failed = True
        if error is not None:
            raise error
        rank, text = message.failure
        raise RankError(f"rank {rank} of {self.size} could not go on ({text})")


class Outcome(NamedTuple):
    """What rank 0 found, for all.

    Attributes
    ----------
    value : what a function returned, or None
    error : Exception that it raised, or None
    """

    value: Any = None
    error: Exception | None = None

    @classmethod
    def of(cls, function: Callable[[], Any]) -> Outcome:
        """The outcome of a function; its error is raised where it cannot be sent."""
        try:
            return cls(function())
        except Exception as error:
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                raise error from None
            return cls(error=error)

    def result(self, rank: int) -> Any:
        """The value, or the error raised."""
        if self.error is None:
            return self.value
        if rank:
            self.error.add_note("(on rank 0)")
        raise self.error


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
