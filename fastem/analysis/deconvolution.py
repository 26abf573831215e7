"""Find where rows with errors of measurement truly are, under a known mixture."""

from __future__ import annotations

import numpy as np

from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.errors import ErrorsMixture, true_places
from fastem.sources.blocks import Block, Source, options_of_rows, rows_at_once


def deconvolve(source: Source, params: Params) -> tuple[Array, Array]:
    """Return the mean (N, D) and the covariance (N, D, D) of each row's true place, given the row and its errors.

    They are the moments of a mixture whose components are those of Bovy, Hogg & Roweis (2011), eqs. 16 and 17, and its
    weights the responsibilities of the components: noise has no true places, and is left out.

    Raises
    ------
    ValueError
        for a row that lies so far from all components that squares of its distance overflow
    """
    N, D = source.n_rows, source.n_features
    mixture, shared = ErrorsMixture(params._replace(noise=None)), options_of_rows(source).get("error_covariance")
    mean, covariance = np.empty((N, D)), np.empty((N, D, D))

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused
    def fill(block: Block) -> None:
        if shared is not None:
            block = block._replace(errors=np.broadcast_to(shared, (len(block.X), D, D)))
        for places in true_places(block, mixture):
            rows = slice(block.start + places.rows.start, block.start + places.rows.stop)
            joint = places.joint
            r = np.exp(joint - joint.max(axis=1, keepdims=True, initial=np.finfo(np.float64).min))
            r /= r.sum(axis=1, keepdims=True)
            each = mixture.means + np.einsum("kij,nkj->nki", mixture.root, places.a)
            mean[rows] = np.einsum("nk,nki->ni", r, each)
            away = each - mean[rows][:, None]
            V = np.einsum("nktj,kij->nkti", places.V, mixture.root)
            within = mixture.covariances - np.einsum("nkti,nktj->nkij", V, V)
            covariance[rows] = np.einsum("nk,nkij->nij", r, within)
            covariance[rows] += np.einsum("nk,nki,nkj->nij", r, away, away, optimize=True)
            known = np.isfinite(mean[rows]).all(axis=1) & np.isfinite(covariance[rows]).all(axis=(1, 2))
            if not known.all():
                raise ValueError(
                    f"row {rows.start + int(known.argmin())} lies so far from the components, beside its errors and "
                    "theirs, that the squares of its distances overflow float64: leave it out, or scale the data"
                )

    source.for_each(fill, rows_at_once(D * D))
    return mean, covariance
