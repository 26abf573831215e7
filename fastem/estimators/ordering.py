"""The order of a mixture's components: as another mixture's, or by the means or weights."""

from __future__ import annotations

import copy
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.analysis.align import ORDERS, match_components
from fastem.estimators.state import MixtureState, arrays_of, check_other, family_of, set_arrays
from fastem.model.checks import check_fitted

M = TypeVar("M", bound=MixtureState)


class Ordering(MixtureState):
    """The methods of `GaussianMixture` that put its components into another order."""

    def align_to(self, reference: MixtureState) -> Self:
        """Return the same fit with its components in the order of another fit's.

        Use it for refits, bootstrap samples and comparisons. Component k of the returned mixture is the one that is
        most like the reference's component k. All components are assigned at once, by the symmetric Kullback-Leibler
        divergence between components, which depends on no units. Weights play no part.

        Parameters
        ----------
        reference : fitted GaussianMixture with as many components and features, of any covariance type

        Returns
        -------
        GaussianMixture
            a new one, whose parameters are those of this one in another order; this one stays as it is

        Raises
        ------
        NotFittedError
            if one of the mixtures is not fitted
        ValueError
            if the numbers of components or features differ
        TypeError
            if the reference is no mixture

        See Also
        --------
        sort_components : an order that needs no reference

        References
        ----------
        Jeffreys (1946), Proc. R. Soc. A 186, 453-461; Stephens (2000), J. R. Stat. Soc. B 62, 795-809.

        Examples
        --------
        >>> import fastem
        >>> a = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
        >>> b = fastem.GaussianMixture.from_parameters([0.4, 0.6], [[9.1], [0.2]], [1.0, 1.0], "spherical")
        >>> b.align_to(a).means_.ravel()
        array([0.2, 9.1])
        """
        check_fitted(self)
        check_other(reference, "align_to")
        check_fitted(reference)
        if np.shape(self.means_) != np.shape(reference.means_):
            raise ValueError(
                "align_to needs a reference of as many components and features: its means have shape "
                f"{np.shape(reference.means_)}, these {np.shape(self.means_)}"
            )
        return permute(self, match_components(self.params_, reference.params_))

    def sort_components(self, by: str = "means") -> Self:
        """Return the same fit with its components sorted.

        Parameters
        ----------
        by : {"means", "weight"}, default "means"
            sort by the means' first coordinate (of equals by the second, ...), or by the weight, the heaviest first

        Returns
        -------
        GaussianMixture
            a new one; this one stays as it is

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for another `by`

        See Also
        --------
        align_to : the order of another mixture's components

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.4, 0.6], [[9.0], [0.0]], [1.0, 1.0], "spherical")
        >>> model.sort_components().means_.ravel(), model.sort_components("weight").weights_
        (array([0., 9.]), array([0.6, 0.4]))
        """
        check_fitted(self)
        if by not in ORDERS:
            raise ValueError(f"by must be one of {', '.join(ORDERS)}; got {by!r}")
        return permute(self, ORDERS[by](self.params_))


def permute(model: M, order: NDArray[np.intp]) -> M:
    """Return a copy of a mixture with its components in another order, (K,)."""
    permuted = copy.copy(model)
    weights, means, *matrices = arrays_of(model)
    each: list[Any] = matrices if family_of(model).shared else [matrix[order] for matrix in matrices]
    set_arrays(permuted, (weights[order], means[order], *each))
    return permuted
