"""Remedies against the unbounded likelihood, and the M-step under them.

The likelihood of a Gaussian mixture has no maximum: a component that shrinks onto one row, or into a subspace that
holds its rows, takes it to infinity (Kiefer & Wolfowitz 1956). Each remedy but scikit-learn's `reg_covar` maximises
an objective that is bounded, the log-likelihood plus `log_prior`, perhaps within a constraint; its M-step is the
exact maximiser, so that no pass lowers the objective.

A remedy says which covariances and masses a family's own maximum is to be taken of (`Target`). Where every number is
free these covariances are that maximum. For the families of `fastem.model.shapes` it is the maximum of the same
objective if the remedy adds rows that do not depend on the covariances (`Ridge`, `InverseWishart`); else it is one of a
lower bound that touches the objective at the covariances before (`GeometricRidge`), or a proposal (`EigenvalueFloor`),
and `Target.rows` are what a new covariance is judged by before it replaces the one before.

They work in `fastem.model.units.Units`, coordinates in which the covariance S0 of all rows is the identity (for diag
its diagonal, for spherical the mean of that): what they do follows a change of the features' units, and none of their
parameters has a unit. In the docstrings of remedies, N_k is the weight of a component's rows and M_k their covariance
in these coordinates.

To add a remedy, write a class in a module beside this one, and a row of `fastem.model.remedies.table.REMEDIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastem.model.families import Covariance
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats, component_mass
from fastem.model.units import Units

Estimate = tuple[Array, Array, Array]  # weights, means, covariances


class Target(NamedTuple):
    """What an M-step makes a mixture of.

    Attributes
    ----------
    weights : (K,)
    means : (K, D)
    covariances : canonical shape, the M-step's if every number is free
    mass : (K|1,), the weight of the rows, with those that a remedy adds, that each of these is of
    rows : like covariances, those that the objective is made of. None: they are `covariances`
    """

    weights: Array
    means: Array
    covariances: Array
    mass: Array
    rows: Array | None = None


class Remedy:
    """What keeps covariances from becoming singular. This base class constrains their eigenvalues.

    Attributes
    ----------
    monotone : bool
        whether an M-step cannot lower the sum of the log-likelihood and `log_prior`
    """

    monotone: ClassVar[bool] = True

    def estimate(
        self,
        family: Covariance,
        stats: Stats,
        units: Units,
        held: Array | None = None,
        previous: Array | None = None,
    ) -> Target:
        """Return what the M-step makes a mixture of.

        Parameters
        ----------
        family, stats, units
        held : (K, D), optional
            means that are not estimated; covariances are about them. None: means are estimated
        previous : canonical shape, optional
            the covariances before. None: there are none
        """
        weights, means, relative, mass = unconstrained(family, stats, units, held)
        covariances = units.absolute(constrain_eigenvalues(self, relative, mass, units))
        return Target(weights, means, covariances, mass, None if family.free else units.absolute(relative))

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """Return what the objective adds to the log-likelihood, up to a constant."""
        return 0.0

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """Return eigenvalues (K|1, R), relative to S0, within the constraint, for rows of weight `mass` (K|1,)."""
        return eigenvalues

    def least(self, mass: Array) -> Array | None:
        """Return the variance, relative to S0, of rows of weight `mass` (K|1,) that do not vary, (K|1, 1).

        Return None, as this base class does, if the remedy does not tell spikes by that.
        """
        return None


def unconstrained(
    family: Covariance, stats: Stats, units: Units, held: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Return weights, means, and covariances in `units`, without a remedy, and the weight of their rows, (K|1,)."""
    weights, means, covariances = family.estimate(stats, 0.0, held)
    mass = component_mass(stats)
    return weights, means, units.relative(covariances), mass.sum(keepdims=True) if family.shared else mass


def identity_like(relative: Array, units: Units) -> Array:
    """Return S0 in its own coordinates, where it is the identity, in the form of `relative`."""
    return np.eye(relative.shape[-1]) if units.matrices else np.ones(relative.shape[-1])


def constrain_eigenvalues(remedy: Remedy, relative: Array, mass: Array, units: Units) -> Array:
    """Return covariances, which are given in `units`, with eigenvalues within the constraint of a remedy."""
    return map_eigenvalues(lambda values: remedy.constrain(values, mass), relative, units)


def map_eigenvalues(change: Callable[[Array], Array], relative: Array, units: Units) -> Array:
    """Return covariances, which are given in `units`, with changed eigenvalues, but no less than `units.least`.

    A floor of 1e-6 in a direction that has 1e-11 of a feature's variance would be singular in float64. Covariances of
    no rows at all, which are NaN, stay so: the factorisation refuses them.
    """
    if not np.isfinite(relative).all():
        return relative
    if not units.matrices:
        return change(relative[..., 0, :])[..., None, :]
    values, vectors = np.linalg.eigh(relative)
    values = np.maximum(change(values), units.least)
    return np.asarray((vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2))


def demand_value(holds: bool, message: str, value: Any) -> None:
    """Raise a ValueError with the value unless a condition `holds`."""
    if not holds:
        raise ValueError(f"{message}; got {value!r}")
