"""A fit to a Dask Array on a cluster, from nothing: workers draw the rows, hold them, and sum their statistics.

    python scripts/dask_fit.py [--rows 2000000] [--partitions 16] [--workers 2] [--scheduler tcp://...] [--quick]

Without --scheduler a cluster of processes on this machine is started. Reported are the time of a pass over rows that
the workers hold (`persist`), and of a pass over nothing: what Dask's scheduler takes for a task per partition.
"""

from __future__ import annotations

import time
from typing import Any

import _common
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

_common.add_root_to_path()

import fastem  # noqa: E402


def rows_of(block: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Rows (n, D) of clusters about `means`; block (n, 1) holds a seed."""
    rng = np.random.default_rng([1, int(block[0, 0])])
    return means[rng.integers(len(means), size=len(block))] + rng.normal(size=(len(block), means.shape[1]))


def seconds_per_pass(X: da.Array, K: int, n_iter: int) -> tuple[fastem.GaussianMixture, float]:
    """A fit, and its median time between iterations."""
    clock: list[float] = []

    def note(iteration: int, *_: Any) -> bool:
        clock.append(time.perf_counter())
        return iteration == n_iter

    model = fastem.GaussianMixture(K, random_state=0, tol=0.0, max_iter=n_iter + 1).fit(X, callback=note)
    return model, float(np.median(np.diff(clock)))


def fit(client: Client, args: Any) -> dict[str, Any]:
    """The example itself."""
    K, D = args.components, args.features
    means = np.random.default_rng(0).normal(scale=3.0, size=(K, D))
    chunk = -(-args.rows // args.partitions)
    seeds = da.arange(args.rows, chunks=chunk)[:, None]
    X = seeds.map_blocks(rows_of, means, chunks=(seeds.chunks[0], (D,)), dtype=np.float64).persist()

    model, per_pass = seconds_per_pass(X, K, args.iterations)
    labels = model.predict(X)  # lazy: nothing is computed yet
    counts = da.bincount(labels, minlength=K).compute()
    assert counts.sum() == args.rows
    few = X.map_blocks(lambda block: block[:K], chunks=((K,) * X.numblocks[0], (D,))).persist()
    _, overhead = seconds_per_pass(few, K, 5)
    return {
        "workers": len(client.scheduler_info(n_workers=-1)["workers"]),
        "partitions": X.npartitions,
        "rows": args.rows,
        "seconds_per_iteration": per_pass,
        "seconds_of_tasks": overhead,
        "counts": counts.tolist(),
        "means_found": float(np.linalg.norm(model.means_[:, None] - means, axis=2).min(axis=0).mean()),
    }


def main() -> None:
    options = _common.parser(__doc__, rounds=False)
    options.add_argument("--rows", type=int, default=2_000_000)
    options.add_argument("--partitions", type=int, default=16)
    options.add_argument("--components", type=int, default=10)
    options.add_argument("--features", type=int, default=10)
    options.add_argument("--iterations", type=int, default=10)
    options.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    options.add_argument("--scheduler", help="address of a cluster that runs already")
    args = options.parse_args()
    if args.quick:
        args.rows, args.partitions, args.iterations = min(args.rows, 8000), 4, 4
    if args.scheduler:
        with Client(args.scheduler) as client:
            found = fit(client, args)
    else:
        cluster = LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=":0")
        with cluster, Client(cluster) as client:
            found = fit(client, args)
    results = {"machine": _common.machine(), **found}
    per_pass = found["seconds_per_iteration"]
    rows = [
        ["workers, partitions", f"{found['workers']}, {found['partitions']}"],
        ["rows, K, D", f"{_common.count(args.rows)}, {args.components}, {args.features}"],
        ["an iteration", f"{_common.seconds(per_pass)}, {args.rows / per_pass / 1e6:.3g} million rows/s"],
        ["of it tasks", _common.seconds(found["seconds_of_tasks"])],
    ]
    text = _common.table(["", ""], rows, left=2) + f"\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "dask_fit", results, text)


if __name__ == "__main__":
    main()
