"""Progress bars, which are shown if standard error is a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from fastem.cli.rows import Rows
from fastem.model.params import Params


@contextmanager
def fit_progress(max_iter: int, source: Rows) -> Iterator[Callable[[int, float, Params], None] | None]:
    """Give a callback that moves a progress bar in a fit; None if standard error is not a terminal."""
    fields = TextColumn("{task.fields[bound]}"), TextColumn("{task.fields[rate]}")
    columns = TextColumn("iteration"), MofNCompleteColumn(), BarColumn(), *fields
    with bar(*columns, total=max_iter, bound="", rate="") as update:
        if update is None:
            yield None
            return
        seen, first, since = 0, 0, 0.0

        def count(n: int) -> None:
            nonlocal seen, first, since
            seen += n
            if first == 0:  # kernels are compiled or loaded before the first block is done: the rate is not known yet
                first, since = n, time.perf_counter()
                return
            rate = (seen - first) / (time.perf_counter() - since)
            done = 100 * ((seen - 1) % source.n_rows + 1) // source.n_rows
            update(rate=f"{rate / 1e6:.1f}e6 rows/s, pass {done:.0f} %")

        source.count = count
        yield lambda iteration, bound, _: update(completed=iteration, bound=f"mean log-likelihood {bound:.6f}")


@contextmanager
def bar(*columns: ProgressColumn, **fields: Any) -> Iterator[Callable[..., None] | None]:
    """Give a function that moves a progress bar; None without columns, or if standard error is not a terminal."""
    if not columns or not sys.stderr.isatty():
        yield None
        return
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield partial(bar.update, bar.add_task("", **fields))
