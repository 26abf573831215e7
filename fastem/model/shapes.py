"""mclust's families of covariances whose components share a volume, a shape or axes: their M-steps.

Celeux & Govaert write cov_k = volume_k V_k diag(shape_k) V_k', with the axes V_k and a shape whose product is 1. A name
says of volume, shape and axes in turn whether components share it (E: equal), have their own (V: varying), or whether
axes are those of the features (I: identity). Six of the fourteen leave every stored number free and are rows of
`fastem.model.families.COVARIANCES` without this module.

In the docstrings C_k is the covariance of a component's rows (under a remedy, with the rows that it adds) and m_k their
weight: an M-step minimises sum_k m_k [log det cov_k + tr(C_k inv(cov_k))].

References
----------
Celeux & Govaert (1995), Gaussian parsimonious clustering models, Pattern Recognition 28, 781-793; Browne & McNicholas
(2014), Estimating common principal components in high dimensions, Adv. Data Anal. Classif. 8, 217-226; Scrucca, Fop,
Murphy & Raftery (2016), mclust 5, R Journal 8, 289-317, table 2 (numbers of parameters).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fastem.model.common_axes import along, common_axes
from fastem.model.matrices import Array, SingularCovarianceError, factorise

Own = Literal["nothing", "volume", "variances", "matrix"]  # what a component has for itself of its covariance

PRECISION = 1e-10  # to which volumes that are found by iteration do not change any more, relative
MOST_STEPS = 1000  # of such an iteration. Where shapes have something in common it ends after some ten


@dataclass(frozen=True)
class Shape:
    """Covariances some of whose volume, shape and axes are shared.

    Attributes
    ----------
    letters : str, three letters: "E" or "V" for the volume, "E" or "V" for the shape, "I", "E" or "V" for the axes
    """

    letters: str

    def own(self, storage: object) -> Own:
        """See Constraint."""
        if self.letters[1] == "V":
            return "matrix" if self.letters[2] == "V" else "variances"
        return "volume" if self.letters[0] == "V" else "nothing"

    def n_parameters(self, storage: object, K: int, D: int) -> int:
        """See Constraint."""
        volume, shape, axes = ({"V": K, "E": 1, "I": 0}[letter] for letter in self.letters)
        return volume + shape * (D - 1) + axes * (D * (D - 1) // 2)

    def maximise(self, covariances: Array, mass: Array, start: Array | None = None) -> Array:
        """See Constraint."""
        if not np.isfinite(covariances).all():  # of no rows at all: the factorisation refuses them
            return covariances
        form, axes, share = self.letters[:2], self.letters[2], mass / mass.sum()
        if self.letters == "VEE":
            return share_form(covariances, share, start)
        if self.letters == "EVV":
            return share_volume(covariances, share)
        if axes == "I":
            return variances_within(form, covariances[:, 0], share, start)[:, None]
        if axes == "E":
            vectors = common_axes(covariances, share, form[0] == "E", start)[None]
            values = along(covariances, vectors[0])
        else:
            values, vectors = np.linalg.eigh(covariances)
            values = np.maximum(values, 0.0)
        values = variances_within(form, values, share, start)
        return np.asarray((vectors * values[:, None]) @ vectors.swapaxes(-1, -2))


def variances_within(letters: str, values: Array, share: Array, start: Array | None) -> Array:
    """Return the variances (K, D) of maximum likelihood along axes that are known, for those of the rows there.

    Parameters
    ----------
    letters : str, for volume and shape
    values : (K, D), the variances of the rows. Of axes that components do not share the least comes first, as the
        trace is least where variances have one order (von Neumann)
    share : (K,), of all rows, sum 1
    start : covariances at which an iteration may begin, or None
    """
    if letters == "VV":
        return values
    if letters == "EE":
        return np.asarray(np.broadcast_to(share @ values, values.shape))
    if letters == "EV":
        return share_volume(values, share)
    return share_form(values, share, start)


def share_volume(forms: Array, share: Array) -> Array:
    """Return the covariances of maximum likelihood that have one volume: (K, D, D) or variances (K, D), as `forms`.

    A component whose rows have no volume has no such covariance, and gets one that is not finite.
    """
    own = volumes_of(forms)
    return np.asarray((share @ own / own).reshape(-1, *[1] * (forms.ndim - 1)) * forms)


def share_form(forms: Array, share: Array, start: Array | None) -> Array:
    """Return the covariances volume_k * B of maximum likelihood, with B common: one matrix, or variances.

    In the logarithms of volumes, log det sum_k share_k C_k / volume_k + sum_k share_k D log volume_k is convex, so that
    there is one minimum. B = sum_k share_k C_k / volume_k and volume_k = tr(C_k inv(B)) / D, in turn, never raise it.
    They end where no volume changes by more than PRECISION, what the objective loses by that being about its square.

    Parameters
    ----------
    forms : (K, D, D) or (K, D), C_k or its variances
    share : (K,), of all rows, sum 1
    start : covariances (K, D|1, D) whose volumes the iteration begins at; None: the mean variances of the rows
    """
    volumes = sizes(forms) if start is None else volumes_of(start if start.shape[-2] > 1 else start[:, 0])
    common = mean_form(forms, share, volumes)
    for _ in range(MOST_STEPS):
        try:
            before, volumes = volumes, sizes(forms, common)
        except SingularCovarianceError:  # which the factorisation of all these covariances says again
            break
        common = mean_form(forms, share, volumes)
        if not (np.abs(volumes - before) > PRECISION * before).any():
            break
    return np.asarray(volumes.reshape(-1, *[1] * common.ndim) * common)


def mean_form(forms: Array, share: Array, volumes: Array) -> Array:
    """Return sum_k share_k C_k / volume_k; a component without variance has no form, and does not count."""
    weight = np.where(volumes > 0, share / volumes, 0.0)
    return np.asarray(np.einsum("k,k...->...", weight, forms))


def sizes(forms: Array, common: Array | None = None) -> Array:
    """Return the mean variance of each form relative to a common one, (K,); None stands for the identity."""
    if forms.ndim == 2:
        return np.asarray((forms if common is None else forms / common).mean(axis=-1))
    D = forms.shape[-1]
    if common is None:
        return np.asarray(np.trace(forms, axis1=-2, axis2=-1) / D)
    factor = factorise(common[None])[0]
    return np.asarray(np.einsum("ij,kij->k", factor.T @ factor, forms) / D)


def volumes_of(forms: Array) -> Array:
    """Return det(C)^(1/D) of matrices (K, D, D), or the geometric mean of variances (K, D); (K,)."""
    if forms.ndim == 2:
        return np.asarray(np.exp(np.log(forms).mean(axis=-1)))
    return np.asarray(np.exp(np.linalg.slogdet(forms)[1] / forms.shape[-1]))
