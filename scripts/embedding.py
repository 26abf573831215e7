"""A mixture inside somebody else's simulation: particles that diffuse in the potential -log p(x) of a mixture.

    python scripts/embedding.py [--particles 200000] [--steps 50] [--quick]

Each particle does Metropolis steps in a loop of its own, compiled by Numba, parallel over particles: the loop calls
fastem's kernels for the density at a point that it holds in registers, and allocates nothing. At the end every
particle adds itself, with a weight, to statistics, of which one M-step makes a mixture: that of the particles, which
is near the one they moved in.
"""

from __future__ import annotations

import time
from typing import Any

import _common
import numpy as np

_common.add_root_to_path()

from numba import njit, prange  # noqa: E402

import fastem  # noqa: E402
from fastem import embed  # noqa: E402


@njit(parallel=True)
def walk(mixture, positions, steps, levels, accepted, density):
    """Metropolis: positions (N, 2) IN OUT; steps (T, N, 2), levels (T, N) IN: proposals and logs of uniforms.

    accepted (N), density (N) OUT: number of accepted steps, log density at the end.
    """
    for i in prange(len(positions)):
        x, y = positions[i, 0], positions[i, 1]
        now = embed.log_density(mixture, (x, y))
        count = 0
        for t in range(len(steps)):
            u, v = x + steps[t, i, 0], y + steps[t, i, 1]
            proposed = embed.log_density(mixture, (u, v))
            if levels[t, i] < proposed - now:
                x, y, now = u, v, proposed
                count += 1
        positions[i, 0], positions[i, 1], accepted[i], density[i] = x, y, count, now


@njit(parallel=True)
def census(mixture, positions, weight, sums, scratch):
    """Statistics of weighted particles; sums (B, .), scratch (B, .) of `embed.buffers`: a row per block."""
    n_blocks = len(sums)
    for b in prange(n_blocks):
        for i in range(b, len(positions), n_blocks):
            embed.accumulate_point(mixture, positions[i], weight[i], sums[b], scratch[b])


def main() -> None:
    options = _common.parser(__doc__)
    options.add_argument("--particles", type=int, default=200_000)
    options.add_argument("--steps", type=int, default=50)
    args = options.parse_args()
    _common.restart_in_clean_environment()
    if args.quick:
        args.particles, args.steps = min(args.particles, 20_000), min(args.steps, 20)
    N, T, rng = args.particles, args.steps, np.random.default_rng(0)
    covariances = [[[1.0, 0.6], [0.6, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, -0.3], [-0.3, 0.4]]]
    params = fastem.make_params([0.5, 0.3, 0.2], [[-2.0, 0.0], [1.0, 1.0], [2.0, -2.0]], covariances)
    start = fastem.GaussianMixture.from_parameters(params.weights, params.means, covariances).sample(N)[0]
    steps, levels = rng.normal(size=(T, N, 2)), np.log(rng.uniform(size=(T, N)))
    mixture = embed.pack(params)
    results: dict[str, Any] = {"machine": _common.machine(), "arguments": vars(args) | {"output": str(args.output)}}
    times: list[float] = []
    for _ in range((args.rounds or 3) + 1):
        positions, accepted, density = start.copy(), np.empty(N, dtype=np.int64), np.empty(N)
        since = time.perf_counter()
        walk(mixture, positions, steps, levels, accepted, density)
        times.append(time.perf_counter() - since)
    sums, scratch = embed.buffers(mixture, 64)
    census(mixture, positions, np.ones(N), sums, scratch)
    stats = embed.to_stats(params, mixture, sums.sum(axis=0), N)
    found = fastem.m_step(stats)

    np.testing.assert_allclose(density, fastem.log_density(positions, params), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(stats.s2, fastem.accumulate(positions, params).s2, rtol=1e-8)
    away = float(np.abs(found.means - params.means).max())
    if not away < 30 / np.sqrt(N):  # the mixture is the walk's stationary distribution
        raise SystemExit(f"the particles' mixture is {away:.3g} from the one that they moved in")
    per_call = _common.spread(seconds / (N * (T + 1)) for seconds in times[1:])
    results |= {"seconds_per_call": per_call, "accepted": float(accepted.mean() / T), "means_moved": away}
    rows = [
        ["particles x steps", f"{_common.count(N)} x {T}"],
        ["log density, K = 3, D = 2, per call, all threads", _common.seconds(per_call["median"])],
        ["accepted steps", f"{accepted.mean() / T:.2f}"],
        ["means of the particles' mixture, largest distance", f"{away:.4f}"],
    ]
    text = _common.table(["", ""], rows) + f"\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "embedding", results, text)


if __name__ == "__main__":
    main()
