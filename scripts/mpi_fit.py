"""A fit to rows that are spread over the ranks of MPI, from nothing: each rank draws its own.

    mpiexec -n 4 python -m mpi4py scripts/mpi_fit.py [--rows 1000000] [--components 10] [--features 10] [--quick]

(`python -m mpi4py` ends all ranks if one of them fails outside of fastem. Bind ranks to cores, or set
NUMBA_NUM_THREADS, so that the ranks of a machine share its cores.) A rank holds --rows rows; a code of your own would
read them, or have them in memory. Reported are the time of a pass with its exchange, and of the exchange alone.
"""

from __future__ import annotations

import time
from typing import Any

import _common
import numpy as np
from mpi4py import MPI

_common.add_root_to_path()

import fastem  # noqa: E402


def own_rows(n: int, means: np.ndarray, rank: int) -> np.ndarray:
    """Rows (n, D) of clusters about `means`, other ones on each rank."""
    rng = np.random.default_rng([1, rank])
    return means[rng.integers(len(means), size=n)] + rng.normal(size=(n, means.shape[1]))


def exchange_seconds(comm: MPI.Comm, stats: fastem.Stats, rounds: int) -> float:
    """Time of a pass over one row per rank: it is that of the exchange."""
    tiny = fastem.MPISource(comm, stats.origin[:1])
    params = fastem.m_step(stats, reg_covar=1e-6)
    fastem.accumulate(tiny, params)
    comm.Barrier()
    since = time.perf_counter()
    for _ in range(rounds):
        fastem.accumulate(tiny, params)
    return (time.perf_counter() - since) / rounds


def main() -> None:
    options = _common.parser(__doc__, rounds=False)
    options.add_argument("--rows", type=int, default=1_000_000, help="rows of each rank (default: 1000000)")
    options.add_argument("--components", type=int, default=10)
    options.add_argument("--features", type=int, default=10)
    args = options.parse_args()
    if args.quick:
        args.rows = min(args.rows, 5000)
    comm, K, D = MPI.COMM_WORLD, args.components, args.features
    means = np.random.default_rng(0).normal(scale=3.0, size=(K, D))

    source = fastem.MPISource(comm, own_rows(args.rows, means, comm.rank))
    clock: list[float] = []
    model = fastem.GaussianMixture(K, random_state=0, max_iter=50)
    model.fit(source, callback=lambda *_: clock.append(time.perf_counter()))  # called on rank 0
    labels = model.predict(source)  # of this rank's rows
    counts = comm.allreduce(np.bincount(labels, minlength=K))

    n_rows = args.rows * comm.size
    assert source.n_rows == n_rows
    assert counts.sum() == n_rows
    assert len(set(comm.allgather(model.means_.tobytes()))) == 1  # the same bits on all ranks
    stats = fastem.accumulate(source, model.params_)
    exchange = exchange_seconds(comm, stats, 20)
    if comm.rank:
        return
    per_pass = float(np.median(np.diff(clock))) if len(clock) > 1 else float("nan")
    results: dict[str, Any] = {
        "machine": _common.machine(),
        "ranks": comm.size,
        "rows": n_rows,
        "seconds_per_iteration": per_pass,
        "seconds_per_exchange": exchange,
        "bytes": 8 * len(stats.to_buffer()),
        "status": model.status_.name,
        "iterations": model.n_iter_,
    }
    rows = [
        ["ranks x rows, K, D", f"{comm.size} x {_common.count(args.rows)}, {K}, {D}"],
        ["status, iterations", f"{model.status_.name}, {model.n_iter_}"],
        ["an iteration", f"{_common.seconds(per_pass)}, {n_rows / per_pass / 1e6:.3g} million rows/s"],
        ["of it the exchange (with a pass over 1 row per rank)", _common.seconds(exchange)],
        ["statistics that a rank sends", f"{results['bytes']} bytes"],
    ]
    text = _common.table(["", ""], rows, left=2) + f"\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "mpi_fit", results, text)


if __name__ == "__main__":
    main()
