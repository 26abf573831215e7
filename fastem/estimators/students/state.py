"""The state of a fitted mixture of t distributions: its attributes, and how they become parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.state import MixtureState, family_of
from fastem.model.checks import finite_of_shape, real_or_nan
from fastem.model.matrices import Array
from fastem.model.student import DOF_RANGE, MOST_DOF, StudentParams
from fastem.model.student_model import GIVEN, RULES, Dof

NAME = "StudentMixture"


class StudentState(MixtureState):
    """The attributes that a `StudentMixture` has beside those of a mixture."""

    if TYPE_CHECKING:  # what the constructor and a fit set
        dof: str | float
        dof_: NDArray[Any]

    @property
    def params_(self) -> StudentParams:
        """The fitted parameters in canonical shape, float64, read from the attributes.

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if attributes that were set by hand are not those of a mixture
        """
        mixture = super().params_
        return StudentParams(*mixture[:4], positive_dof(self.dof_, len(mixture.means)))

    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
        K, D = np.shape(self.means_)
        return int(K - 1 + K * D + family_of(self).n_parameters(K, D) + rule_of(self.dof).n_parameters(K))


def positive_dof(dof: Any, K: int) -> Array:
    """Return degrees of freedom as (K,) float64, of at most MOST_DOF.

    Raises
    ------
    ValueError
        unless they are finite numbers of at least 0.1: a draw of 0.01 lies beyond float64 once in a thousand times
    """
    array = finite_of_shape("dof", dof, (K,))
    if not (array >= DOF_RANGE[0]).all():
        raise ValueError(f"The parameter 'dof' should be at least {DOF_RANGE[0]}: degrees of freedom; got {array}")
    return np.minimum(array, MOST_DOF)


def is_given(dof: Any) -> bool:
    """Return whether degrees of freedom are a finite number that can be held, and so are not estimated."""
    return DOF_RANGE[0] <= real_or_nan(dof) < np.inf


def rule_of(dof: str | float) -> Dof:
    """Return the rule for the degrees of freedom that the parameter asks for."""
    return RULES[dof] if isinstance(dof, str) else GIVEN
