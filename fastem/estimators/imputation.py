"""The method of a fitted mixture that fills rows up whose values are missing."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.rows import rows_for
from fastem.estimators.state import MixtureState
from fastem.kernels.jit import threads
from fastem.model.checks import check_fitted, check_n_samples, check_n_threads, check_random_state
from fastem.passes.imputation import drawn_rows, expected_rows
from fastem.sources.blocks import Block, rows_at_once
from fastem.sources.errors import refuse_errors
from fastem.sources.parts import local_rows

KINDS = "mean", "draw"


class Imputing(MixtureState):
    """The method of `GaussianMixture` that fills rows up."""

    def impute(self, X: Any, kind: Literal["mean", "draw"] = "mean", n_samples: int = 1) -> NDArray[Any]:
        """Return rows with values in the place of those that are missing.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
            NaN stands for a value that is missing, whatever the parameter `missing`
        kind : {"mean", "draw"}, default "mean"
            "mean" takes the mean of what is missing, given what is observed, over all components: the best single
            guess. Such rows vary less than true ones. "draw" draws from the conditional distribution, a component and
            then values, so that rows vary as true ones do
        n_samples : int, at least 1, default 1
            with "draw", how many times rows are filled up, for multiple imputation: compute what you want of each, and
            how it varies tells what the gaps cost. Draws begin at `random_state`

        Returns
        -------
        (N, D), or with n_samples > 1 (n_samples, N, D), float32 if X is, else float64
            what is observed stays as it is. A row of which nothing is observed gets the mean of the mixture, or a draw

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for another kind, for n_samples that is no int of at least 1, or more than 1 with "mean", or for rows that
            cannot be used

        See Also
        --------
        conditional_mean : the mean of some features, given values of the others, which no row lacks
        conditional_variance : the variance about it

        References
        ----------
        Little & Rubin (2019), Statistical Analysis with Missing Data, chapters 4, 5 and 11.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[1.0, 5.0]], [[[1.0, 0.5], [0.5, 1.0]]])
        >>> model.impute([[2.0, np.nan], [np.nan, np.nan]])
        array([[2. , 5.5],
               [1. , 5. ]])
        >>> model.set_params(random_state=0).impute([[2.0, np.nan]], kind="draw", n_samples=3)[:, 0, 1].round(2)
        array([6.35, 4.65, 5.41])
        """
        check_fitted(self)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}; got {kind!r}")
        check_n_samples(n_samples)
        if kind == "mean" and n_samples > 1:
            raise ValueError("n_samples counts draws: with kind='mean' it must be 1")
        source, params = local_rows(rows_for(self, X, missing=True)), self.params_
        refuse_errors(source, None)
        rng = check_random_state(self.random_state)
        out = np.empty((n_samples, source.n_rows, source.n_features), source.dtype)

        def fill(sample: NDArray[Any], block: Block) -> None:
            rows = expected_rows(block.X, params) if kind == "mean" else drawn_rows(block.X, params, rng)
            sample[block.start : block.start + len(rows)] = rows

        with threads(check_n_threads(self.n_threads)):
            for sample in out:
                source.for_each(partial(fill, sample), rows_at_once(max(params.n_columns, source.n_features)))
        return out[0] if n_samples == 1 else out
