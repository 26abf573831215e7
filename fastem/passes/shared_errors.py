"""The E-step of rows that have errors of measurement, the same for all: the ordinary pass, under wider components.

The rows are distributed as a mixture whose component k has the covariance T = C + S. What the ordinary pass sums up
under it gives the statistics of the true places: Bovy, Hogg & Roweis (2011), Ann. Appl. Stat. 5, 1657-1677, eqs. 16 to
18, where the gain A = C T^-1 does not depend on the row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem.kernels.mixture import LABELS, RESP, SOFT
from fastem.model.matrices import Array, SingularCovarianceError, factorise, variances
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.errors import LOST, lost_beside
from fastem.passes.layout import KernelMixture
from fastem.passes.scorer import Scorer
from fastem.passes.sums import Accumulator, in_form, reduced


def widened(params: Params, error_covariance: Array) -> Params:
    """Return the mixture that rows with errors of this covariance (D, D) are drawn from."""
    S = error_covariance
    variance = np.diagonal(S)
    if params.covariances.shape[-2] > 1 or (np.diag(variance) != S).any():
        D = len(S)
        C = params.covariances
        C = C if C.shape[-2] > 1 or D == 1 else np.eye(D) * np.broadcast_to(C, (len(C), 1, D))
        covariances = C + S
    else:
        covariances = params.covariances + variance
    try:
        factor = factorise(covariances)
        lost = lost_beside(1.0 / variances(factor), variance)
        if lost.any():
            raise SingularCovarianceError(np.flatnonzero(lost).tolist())
        return params._replace(covariances=covariances, factor=factor)
    except SingularCovarianceError as error:
        raise error.because(f"This is its covariance together with the errors' one. {LOST}") from None


class SharedErrorsAccumulator(Accumulator):
    """The fused pass over rows whose errors all have one covariance (D, D); other parameters as of `Accumulator`."""

    def __init__(
        self, params: Params, shape: tuple[int, ...] | None, mode: int, exact: bool, error_covariance: Array
    ) -> None:
        wide = widened(params, error_covariance)
        super().__init__(wide, wide.covariances.shape, mode, exact=exact)
        self.narrow, self.error_covariance = params, error_covariance
        self.narrow_shape = params.covariances.shape if shape is None else shape

    def stats(self, layout: KernelMixture, total: Array, n_rows: int) -> Stats:
        """Return the statistics of the true places."""
        seen, form = super().stats(layout, total, n_rows), self.shape
        mass = seen.s0.sum(keepdims=True) if form[0] == 1 else seen.s0
        if form[-2] == 1:
            C = np.broadcast_to(self.narrow.covariances, (len(mass), 1, form[-1]))
            gain = C * self.params.factor**2
            s1 = seen.s1 * gain[:, 0]
            s2 = gain**2 * seen.s2 + mass[:, None, None] * gain * np.diagonal(self.error_covariance)
            s2 = reduced(s2, self.narrow_shape)
        else:
            gain, left = self._gain()
            s1 = np.einsum("kij,kj->ki", np.broadcast_to(gain, (len(seen.s1), *gain.shape[1:])), seen.s1)
            s2 = np.einsum("kij,kjl,kml->kim", gain, seen.s2, gain) + mass[:, None, None] * left
            s2 = in_form(s2, self.narrow_shape)
        return Stats(
            seen.loglik, seen.class_loglik, seen.entropy, seen.s0, s1, s2, seen.origin, n_rows, seen.noise, seen.eps
        )

    def _gain(self) -> tuple[Array, Array]:
        """Return A = C T^-1 and C - A C = S T^-1 C of each component, (K|1, D, D)."""
        C, W, S = self.narrow.covariances, self.params.factor, self.error_covariance
        if C.shape[-2] == 1:
            C = np.eye(len(S)) * np.broadcast_to(C, (len(C), 1, len(S)))
        inverse = np.einsum("kji,kjl->kil", W, W)
        gain = np.einsum("kij,kjl->kil", C, inverse)
        left = np.einsum("ij,klj->kil", S, gain)
        return gain, (left + left.swapaxes(1, 2)) / 2


def shared_errors_accumulator(
    params: Params,
    shape: tuple[int, ...] | None = None,
    mode: int = SOFT,
    *,
    error_covariance: Array,
    exact: bool = False,
    **options: Any,
) -> Accumulator:
    """Return what sums up rows with these errors; where components are given, as in starts, rows as they are."""
    if mode in (LABELS, RESP) or options.get("distances"):
        return Accumulator(params, shape, mode, exact=exact, **options)
    return SharedErrorsAccumulator(params, shape, mode, exact, error_covariance)


def shared_errors_scorer(params: Params, *, error_covariance: Array, distances: bool = False) -> Scorer:
    """Return what scores rows with these errors; with `distances` it takes rows as they are."""
    return Scorer(params, distances=True) if distances else Scorer(widened(params, error_covariance))
