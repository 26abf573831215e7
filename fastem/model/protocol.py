"""What the EM loop asks of a model: the line between what a mixture is and how it is fitted.

`GaussianModel` (`fastem.model.maximisation`) fits Gaussian mixtures by maximum likelihood, `StudentModel` mixtures of t
distributions, `FactorModel` mixtures of factor analysers, and `VariationalModel` does variational Bayes. A model of
another kind is another class with these methods, whose parameters give the passes their `fastem.model.params.Terms`,
or have passes of their own; the loop, its stopping rules, its checkpoints and its reports stay as they are.
"""

from __future__ import annotations

from typing import Protocol

from fastem.model.params import Params
from fastem.model.stats import Stats


class Model(Protocol):
    """What the EM loop asks of a model.

    Attributes
    ----------
    hard : bool
        whether the E-step gives each row to one component, whole: `Stats.loglik` is then the classification
        log-likelihood, which takes the log-likelihood's place in the objective
    monotone : bool
        whether `update` cannot lower `objective`, so that a fall is a fault
    per_row : bool
        whether `objective` is the mean over rows; else it is that of all rows together
    """

    @property
    def hard(self) -> bool: ...  # noqa: D102
    @property
    def monotone(self) -> bool: ...  # noqa: D102
    @property
    def per_row(self) -> bool: ...  # noqa: D102

    def moments_shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the shape of the second moments that `update` needs."""

    def feasible(self, params: Params) -> Params:
        """Return a start within the model's constraints: from any other the objective may fall."""

    def update(self, stats: Stats, previous: Params | None = None) -> Params:
        """Return the parameters that maximise the expected objective: the M-step.

        Raises
        ------
        SingularCovarianceError
            if a component has no covariance
        """

    def target(self, updated: Params, stats: Stats) -> Params:
        """Return where an accelerated fit takes the M-step to lead to: `updated`, or a guess that is nearer to the end.

        `stats` are those that `updated` was made of. A guess need not ascend: the fit goes to what is made of it only
        if the objective does not fall there.
        """

    def objective(self, params: Params, stats: Stats) -> float:
        """Return what EM maximises; `stats` are those of a pass under `params`."""

    def fell(self, before: float, after: float, params: Params, eps: float) -> bool:
        """Return whether the objective fell by more than rounding of relative size `eps` explains."""

    def n_parameters(self, params: Params) -> int:
        """Return the number of free parameters."""
