"""Mixtures, their rows, and the checks that every benchmark makes before it is timed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastem
from fastem.kernels import jit as _jit
from fastem.model import reference

COVARIANCES = ["full", "tied", "diag", "spherical"]
DTYPES = ["float64", "float32"]
DISTINCT = 500  # rows that X repeats, and that the reference sees
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


class Case(NamedTuple):
    """A mixture and rows drawn from it.

    X repeats `rows`, so that the reference's answer for `rows` is also the answer, times `times`, for all of X.
    """

    X: NDArray[Any]  # (N, D)
    rows: NDArray[Any]  # (N / times, D)
    params: fastem.Params
    times: int


def make_case(
    shape: str, covariance: str = "full", dtype: str = "float64", *, distinct: int = DISTINCT, spacing: float = 4.0
) -> Case:
    """Rows, `distinct` of them different, of K Gaussians with means about `spacing` standard deviations apart.

    `shape` is written as N x D and K: "100000x10 K=10".
    """
    if _jit._forked:
        raise RuntimeError("a forked process does not run the parallel kernels: use launch_method 'spawn'")
    N, D, K = (int(number) for number in shape.replace(" K=", "x").split("x"))
    rng = np.random.default_rng([N, D, K])
    means = rng.normal(size=(K, D)) * spacing / np.sqrt(2 * D)
    axes, _ = np.linalg.qr(rng.normal(size=(K, D, D)))
    roots = axes * rng.uniform(0.6, 1.2, (K, 1, D))
    labels = rng.integers(K, size=distinct)
    rows = means[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(distinct, D)))
    matrices = roots @ roots.swapaxes(1, 2)
    natural = {
        "full": matrices,
        "tied": matrices.mean(axis=0),
        "diag": np.diagonal(matrices, axis1=1, axis2=2),
        "spherical": np.diagonal(matrices, axis1=1, axis2=2).mean(axis=1),
    }[covariance]
    params = fastem.make_params(np.full(K, 1 / K), means, natural, covariance)
    rows = rows.astype(dtype)
    times = N // distinct
    return Case(np.tile(rows, (times, 1)), rows, params, times)


def check_stats(stats: fastem.Stats, case: Case) -> None:
    """Raise unless the statistics of X are those of the reference."""
    want = reference.accumulate(case.rows.astype(np.float64), case.params, np.ones(len(case.rows)))
    for name in ("loglik", "class_loglik", "entropy", "s0", "s1", "s2"):
        check_close(
            np.asarray(getattr(stats, name)) / case.times, np.asarray(getattr(want, name)), case, name, len(case.rows)
        )


def check_close(got: NDArray[Any], want: NDArray[Any], case: Case, name: str, scale: float = 1.0) -> None:
    """Raise unless got = want, to the tolerance of the rows' type, relative to the larger of |want| and `scale`."""
    tolerance = TOLERANCE[case.rows.dtype.name]
    if not np.allclose(got, want, rtol=tolerance, atol=tolerance * scale):
        raise AssertionError(f"{name} is wrong by {np.max(np.abs(got - want)):.1e} (scale {scale:g})")


def model_of(case: Case, covariance: str) -> fastem.GaussianMixture:
    """The estimator with the case's own parameters."""
    K, D = case.params.means.shape
    shape = {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[covariance]
    return fastem.GaussianMixture.from_parameters(
        case.params.weights, case.params.means, case.params.covariances.reshape(shape), covariance
    )
