"""Rows that a fitted mixture is asked about: checked against the features that it was fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem.estimators.state import MixtureState, names_of, takes_missing
from fastem.model.checks import check_fitted
from fastem.sources.blocks import Source
from fastem.sources.opening import find_named
from fastem.sources.rows import check_n_features


def rows_for(
    model: MixtureState, X: Any, sample_weight: Any = None, missing: bool = False, errors: Any = None
) -> Source:
    """Return a source of rows that have the features of a fitted mixture, in its order.

    Parameters
    ----------
    model : GaussianMixture, fitted
    X : (N, D) array-like, or what `fastem.as_source` takes
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
    missing : bool, default False
        whether values may be missing, whatever the mixture's parameter says
    errors : covariances of the errors of measurement, as `fastem.as_source` takes them, optional

    Raises
    ------
    NotFittedError
        if the mixture is not fitted
    ValueError
        for rows that cannot be used, or have other features
    """
    check_fitted(model)
    who = type(model).__name__
    missing = missing or takes_missing(model)
    source = find_named(X, names_of(model), sample_weight, who, missing, errors, model.takes_errors)
    check_n_features(source.n_features, np.shape(model.means_)[1], who)
    return source
