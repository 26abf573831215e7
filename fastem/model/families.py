"""Covariance families: how covariances are stored, what they obey, and the M-step of maximum likelihood.

To add a family, add a row to `COVARIANCES` at the end of this module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from fastem.model.matrices import Array, variances
from fastem.model.params import Params
from fastem.model.rounding import replace_cancelled_variances
from fastem.model.shapes import Own, Shape
from fastem.model.stats import Stats, component_mass, outer


@dataclass(frozen=True)
class Storage:
    """How the covariances of a mixture are stored: their canonical shape, and what follows from it alone.

    Attributes
    ----------
    shared : bool, whether all components have one covariance
    form : "full", "diag" or "spherical"
    """

    shared: bool
    form: Literal["full", "diag", "spherical"]

    @property
    def matrices(self) -> bool:
        """Whether covariances are stored as matrices; else only their diagonals are, as variances."""
        return self.form == "full"

    @property
    def own_variances(self) -> bool:
        """Whether each component has a variance of its own for each feature, and no more."""
        return not self.shared and self.form == "diag"

    def shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the canonical shape (K|1, D|1, D|1)."""
        return 1 if self.shared else K, D if self.matrices else 1, 1 if self.form == "spherical" else D

    def natural_shape(self, K: int, D: int) -> tuple[int, ...]:
        """Return the estimator's shape: (K, D, D), (K, D) or (K,), and without K if the covariance is shared."""
        matrix = {"full": (D, D), "diag": (D,), "spherical": ()}[self.form]
        return matrix if self.shared else (K, *matrix)

    def divisor(self, mass: Array, D: int) -> Array:
        """Return what divides scatter to make covariances, (..., K|1, 1, 1); `mass` (..., K) is the weight of rows."""
        each = mass.sum(axis=-1, keepdims=True) if self.shared else mass
        return np.asarray((each * D if self.form == "spherical" else each)[..., None, None])


class Constraint(Protocol):
    """What the covariances of a family obey, beside their storage."""

    def maximise(self, covariances: Array, mass: Array, start: Array | None = None) -> Array:
        """Return the covariances of maximum likelihood that obey this.

        Parameters
        ----------
        covariances : canonical shape, those of maximum likelihood if every number that is stored is free
        mass : (K|1,), the weight of the rows that each is of
        start : like covariances, obeying this, optional
            where an iteration begins. Default None: where it seems best
        """

    def own(self, storage: Storage) -> Own:
        """Return what of its covariance a component does not share: what it can lose on its own."""

    def n_parameters(self, storage: Storage, K: int, D: int) -> int:
        """Return the number of free parameters of K covariances in D dimensions."""


@dataclass(frozen=True)
class Free:
    """Every number that is stored is free."""

    def maximise(self, covariances: Array, mass: Array, start: Array | None = None) -> Array:
        """See Constraint."""
        return covariances

    def own(self, storage: Storage) -> Own:
        """See Constraint."""
        own: dict[str, Own] = {"full": "matrix", "diag": "variances", "spherical": "volume"}
        return "nothing" if storage.shared else own[storage.form]

    def n_parameters(self, storage: Storage, K: int, D: int) -> int:
        """See Constraint."""
        return (1 if storage.shared else K) * {"full": D * (D + 1) // 2, "diag": D, "spherical": 1}[storage.form]


@dataclass(frozen=True)
class Covariance:
    """A covariance family.

    Attributes
    ----------
    name : str, the covariance_type, as scikit-learn or mclust calls it
    storage : Storage, how its covariances are stored
    constraint : Constraint, what they obey
    """

    name: str
    storage: Storage
    constraint: Constraint = Free()

    @property
    def shared(self) -> bool:
        """Whether all components have one covariance."""
        return self.storage.shared

    @property
    def matrices(self) -> bool:
        """Whether covariances are stored as matrices; else only their diagonals are, as variances."""
        return self.storage.matrices

    @property
    def free(self) -> bool:
        """Whether every number that is stored is free."""
        return isinstance(self.constraint, Free)

    @property
    def plain(self) -> str:
        """The name of the family of the same storage in which every number is free."""
        return self.name if self.free else self.storage.form

    @property
    def own(self) -> Own:
        """What of its covariance a component does not share with the others."""
        return self.constraint.own(self.storage)

    def shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the canonical shape (K|1, D|1, D|1) of its covariances."""
        return self.storage.shape(K, D)

    def natural_shape(self, K: int, D: int) -> tuple[int, ...]:
        """Return the shape of its covariances in an estimator."""
        return self.storage.natural_shape(K, D)

    def n_parameters(self, K: int, D: int) -> int:
        """Return the number of free parameters of its covariances."""
        return self.constraint.n_parameters(self.storage, K, D)

    def estimate(self, stats: Stats, reg_covar: float, means: Array | None = None) -> tuple[Array, Array, Array]:
        """Return the weights, means and covariances of maximum likelihood, with `reg_covar` added to the variances.

        The covariances are those of storage alone: `constraint.maximise` makes those of the family of them.

        As in scikit-learn, N_k = s0 + 10 eps (times the rows' mean weight): an empty component keeps its mean, weight
        about 0 and variance `reg_covar`. Dempster, Laird & Rubin (1977).

        Parameters
        ----------
        stats : Stats, whose arrays may have leading batch axes
        reg_covar : float
        means : (K, D) float64, optional
            means that are held: they are returned as they are, and the covariances are about them. None: the means
            are estimated
        """
        if means is not None:  # the rows' moments about means that do not move
            stats = replace(stats.shifted(means), s1=np.zeros_like(stats.s1))
        s0, s1, s2 = stats.s0, stats.s1, stats.s2
        nk = component_mass(stats)
        weights = nk / (nk.sum(axis=-1, keepdims=True) + (stats.noise.weight if stats.noise else 0.0))
        step = s1 / nk[..., None]  # the means' move; the scatter about the new means is s2 - (2 nk - s0) step step'
        moved = (2 * nk - s0)[..., None] * step
        scatter = s2 - outer(moved, step, s2.shape)
        divisor = self.storage.divisor(nk, s1.shape[-1])
        covariances = scatter / divisor
        means = stats.origin + step
        replace_cancelled_variances(covariances, s2, divisor, nk[..., None], means)
        variances(covariances)[...] += reg_covar
        return weights, means, covariances

    def expected(self, params: Params, weight: float, reg_covar: float) -> Stats:
        """Return the statistics of rows of this weight that are distributed as a mixture says.

        From these statistics `estimate` makes the mixture again; variances below `reg_covar` become that, as in any
        M-step.
        """
        (K, D), s0 = params.means.shape, weight * params.weights
        covariances = params.covariances.copy()
        variances(covariances)[...] -= reg_covar
        s2 = covariances * self.storage.divisor(s0, D)
        noise = params.noise and params.noise._replace(weight=weight * params.noise.weight)
        return Stats(np.nan, np.nan, np.nan, s0, np.zeros((K, D)), s2, params.means, round(weight), noise)


def find_family(covariance_type: str) -> Covariance:
    """Return the family of this name; raise a ValueError if there is none."""
    if not isinstance(covariance_type, str) or covariance_type not in COVARIANCES:
        raise ValueError(f"covariance_type must be one of {', '.join(COVARIANCES)}; got {covariance_type!r}")
    return COVARIANCES[covariance_type]


def free_family(shape: tuple[int, ...], K: int, D: int) -> Covariance:
    """Return the first family whose covariances have this canonical shape, and of which every number is free.

    Several have it where K or D is 1. Their covariances are then the same.
    """
    return next(family for family in COVARIANCES.values() if family.free and family.shape(K, D) == shape)


FULL, TIED = Storage(shared=False, form="full"), Storage(shared=True, form="full")
DIAG, TIED_DIAG = Storage(shared=False, form="diag"), Storage(shared=True, form="diag")
SPHERICAL, TIED_SPHERICAL = Storage(shared=False, form="spherical"), Storage(shared=True, form="spherical")

COVARIANCES = {
    family.name: family
    for family in (
        Covariance("full", FULL),
        Covariance("tied", TIED),
        Covariance("diag", DIAG),
        Covariance("spherical", SPHERICAL),
        Covariance("tied_diag", TIED_DIAG),
        Covariance("tied_spherical", TIED_SPHERICAL),
        Covariance("EII", TIED_SPHERICAL),
        Covariance("VII", SPHERICAL),
        Covariance("EEI", TIED_DIAG),
        Covariance("VEI", DIAG, Shape("VEI")),
        Covariance("EVI", DIAG, Shape("EVI")),
        Covariance("VVI", DIAG),
        Covariance("EEE", TIED),
        Covariance("VEE", FULL, Shape("VEE")),
        Covariance("EVE", FULL, Shape("EVE")),
        Covariance("VVE", FULL, Shape("VVE")),
        Covariance("EEV", FULL, Shape("EEV")),
        Covariance("VEV", FULL, Shape("VEV")),
        Covariance("EVV", FULL, Shape("EVV")),
        Covariance("VVV", FULL),
    )
}
PLAIN = tuple(name for name in COVARIANCES if name.islower())  # scikit-learn's names, and two like them
MCLUST = tuple(name for name in COVARIANCES if name.isupper())  # mclust's fourteen, among them the same six
CONSTRAINED = tuple(name for name, family in COVARIANCES.items() if not family.free)
