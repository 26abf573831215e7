"""scikit-learn's `reg_covar`: a constant added to every variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastem.model.families import Covariance
from fastem.model.matrices import Array
from fastem.model.remedies.base import Remedy, Target
from fastem.model.stats import Stats, component_mass
from fastem.model.units import Units


@dataclass(frozen=True)
class RegCovar(Remedy):
    """Add `reg_covar`, in the square of the data's units, to every variance after the M-step, as scikit-learn does.

    (The families of `fastem.model.shapes` take theirs from covariances with `reg_covar` in them: so they obey what
    they should, and a component with fewer rows than features has a volume.)

    It maximises no fixed objective: the log-likelihood may fall from pass to pass.
    """

    reg_covar: float = 0.0
    monotone: ClassVar[bool] = False

    def estimate(
        self,
        family: Covariance,
        stats: Stats,
        units: Units,
        held: Array | None = None,
        previous: Array | None = None,
    ) -> Target:
        """See `fastem.model.remedies.base.Remedy`."""
        return Target(*family.estimate(stats, self.reg_covar, held), component_mass(stats))
