"""Passes over rows with errors of measurement: against the ordinary pass, NumPy, and astroML's XDGMM if it is there.

    python scripts/errors_speed.py [--rounds 9] [--quick] [--peers FOLDER]

Each line is one pass (E-step and sums) over the same rows under the same mixture, by turns; XDGMM's is one of its
iterations. Times are of the processor, on one thread: they hardly depend on what else runs. The rate of a pass is that
of its useful flops: K (D (D + 3) + (D + 1) (D + 2) + 40) per row of the ordinary one, and
`fastem.kernels.errors.row_flops` of that with errors. astroML is found if it can be imported, or is in the folder of
--peers (``pip install --no-deps --target FOLDER astroML astropy pyerfa astropy-iers-data pyyaml packaging``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import _common
import numpy as np

SHAPES = [(100_000, 5, 5), (1_000_000, 2, 5), (200_000, 10, 10), (100_000, 16, 5)]
QUICK = [(3_000, 5, 5)]
SLOW_ROWS = 20_000  # on which the slow ones are timed; their time is proportional to the rows


def seconds_of(run: Callable[[], Any]) -> float:
    """Seconds of a call, of the processor."""
    _common.rest()
    since = time.process_time()
    run()
    return time.process_time() - since


def xdgmm_iteration(X: np.ndarray, variances: np.ndarray, params: Any) -> Callable[[], Any] | None:
    """An iteration of XDGMM; None if astroML cannot be imported."""
    try:
        from astroML.density_estimation.xdeconv import XDGMM
    except ImportError:
        return None
    peer = XDGMM(len(params.means))
    errors = variances[:, :, None] * np.eye(X.shape[1])

    def iterate() -> None:
        peer.mu, peer.alpha, peer.V = params.means.copy(), params.weights.copy(), params.covariances.copy()
        peer._EMstep(X, errors)
        peer.logL(X, errors)

    return iterate


def passes(X: np.ndarray, params: Any) -> dict[str, tuple[float, Callable[[], Any]]]:
    """The passes by name, each with by how much its time is to be multiplied."""
    import fastem
    from fastem.passes.errors import ErrorsMixture, batched_sums
    from fastem.passes.statistics import evaluate
    from fastem.passes.sums import Given
    from fastem.sources.blocks import Block

    (N, D), rng = X.shape, np.random.default_rng(1)
    variances, half = rng.gamma(1.0, 0.3, size=(N, D)), rng.normal(size=(N, D, D)) / 2
    errors = {"(D, D)": np.diag(variances[0]), "(N, D)": variances, "(N, D, D)": half @ half.swapaxes(1, 2)}
    made = {"no errors": fastem.as_source(X)}
    made |= {name: fastem.as_source(X, errors=one) for name, one in errors.items()}
    found: dict[str, Any] = {name: (1.0, lambda one=one: evaluate(one, params)) for name, one in made.items()}
    few, mixture = min(N, SLOW_ROWS), ErrorsMixture(params)
    block = Block(0, X[:few], None, None, variances[:few])
    found["NumPy, (N, D)"] = (N / few, lambda: batched_sums(block, Given(None), mixture, False))
    peer = xdgmm_iteration(X[:few], variances[:few], params)
    if peer is not None:
        found["XDGMM, (N, D)"] = (N / few, peer)
    return found


def main() -> None:
    parser = _common.parser(__doc__)
    parser.add_argument("--peers", help="a folder that has astroML")
    args = parser.parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    sys.path += [args.peers] if args.peers else []
    import numba
    from threadpoolctl import threadpool_limits

    import fastem
    from fastem.kernels.errors import row_flops
    from fastem.passes import sizes

    numba.set_num_threads(1)
    threadpool_limits(1)
    results: dict[str, Any] = {"machine": _common.machine()}
    lines = []
    for N, D, K in QUICK if args.quick else SHAPES:
        X, means, covariances = _common.draw_mixture(N, D, K)
        params = fastem.make_params(np.full(K, 1 / K), means, covariances)
        runs = passes(X, params)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for name, (_, run) in runs.items():
            if "NumPy" not in name and "XDGMM" not in name:
                run()  # compiles
        for _ in range(args.rounds or (1 if args.quick else 5)):
            for name, (times_rows, run) in runs.items():
                times[name].append(times_rows * seconds_of(run))
        medians = {name: _common.spread(values)["median"] for name, values in times.items()}
        flops = {name: row_flops(K, D) for name in ("(N, D)", "(N, D, D)")} | {"no errors": sizes.row_flops(K, D)}
        rates = {name: N * flops[name] / medians[name] / 1e9 for name in flops}
        shape = f"{_common.count(N)} x {D}, K = {K}"
        results[shape] = {"seconds": medians, "gflops": rates}
        for name, median in medians.items():
            rate = f"{rates[name]:.1f}" if name in rates else ""
            relative = f"{rates[name] / rates['no errors']:.2f}" if name in rates else ""
            times_slower = f"{median / medians['(N, D)']:.2f}"
            lines.append([shape, name, _common.seconds(median), times_slower, rate, relative])
    header = ["rows", "errors", "one pass", "times (N, D)", "GFLOP/s", "of the ordinary rate"]
    text = _common.table(header, lines, left=2)
    _common.write(args.output, "errors_speed", results, text + "\n\n" + _common.describe(results["machine"]))


if __name__ == "__main__":
    main()
