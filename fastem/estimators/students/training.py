"""The fit of a `StudentMixture`: what is fitted, from which starts, and what the estimator takes over."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem.estimators.parameters import SOLVERS, check_shared, check_strings
from fastem.estimators.rows import rows_for
from fastem.estimators.state import remedy_of, set_names, set_params_of, set_record
from fastem.estimators.students.state import NAME, StudentState, is_given, rule_of
from fastem.estimators.training import check_warm, fit_plainly, take_over, warn_of_fit
from fastem.fitting.loop import Callback
from fastem.fitting.models import model_for
from fastem.kernels.jit import threads
from fastem.model.checks import demand
from fastem.model.matrices import Array
from fastem.model.remedies.inverse_wishart import InverseWishart
from fastem.model.student import DOF_RANGE, MOST_DOF, StudentParams
from fastem.model.student_model import RULES, START_DOF, StudentModel
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource, Block, Source, rows_at_once
from fastem.sources.opening import find_source
from fastem.sources.parts import local_rows
from fastem.sources.scans import check_extent, check_known


def fit_student(
    model: StudentState, X: Any, sample_weight: Any = None, callback: Callback | None = None, labels: Any = None
) -> Source:
    """Fit a mixture of t distributions to rows, and return their source.

    All is computed and checked before an attribute is set. Warnings are those of the caller's caller.
    """
    check_parameters(model)
    source = find_source(X, sample_weight, labels, min_rows=2, who=NAME)
    check_extent(source, model.n_components, NAME)
    check_known(source, model.n_components)
    before = None
    if model.warm_start and hasattr(model, "converged_"):
        check_warm(model, source.n_features)
        before = model.params_, model.lower_bound_

    def make_model(sample: ArraySource | None) -> StudentModel:
        gaussian = model_for(source, model.covariance_type, remedy_of(model), sample=sample)
        dof = START_DOF if isinstance(model.dof, str) else float(min(model.dof, MOST_DOF))
        return StudentModel(gaussian, rule_of(model.dof), dof)

    params, results, kept = fit_plainly(model, source, before, callback, make_model)
    assert isinstance(params, StudentParams)
    take_over(model, params, results, kept, np.dtype(np.float64))
    model.dof_ = params.dof
    set_names(model, source.columns)
    warn_of_fit(model, results[kept], model.reg_covar if model.regularization is None else 0.0)
    return source


def set_student(model: StudentState, params: StudentParams) -> None:
    """Set the attributes of a mixture whose parameters are given."""
    set_params_of(model, params, np.dtype(np.float64))
    model.dof_ = params.dof
    set_record(model, None, -np.inf, [], 0)


def check_parameters(model: StudentState) -> None:
    """Raise a ValueError, in scikit-learn's words, for constructor parameters that cannot be used."""
    check_shared(model, NAME)
    check_strings(model, NAME, solver=[name for name in SOLVERS if name != "lbfgs"])
    known = model.dof in RULES if isinstance(model.dof, str) else is_given(model.dof)
    demand(known, "dof", f"'each', 'shared' or a float in the range [{DOF_RANGE[0]}, inf)", model.dof, NAME)
    remedy = remedy_of(model)
    if isinstance(remedy, InverseWishart) and remedy.shrinkage > 0:
        raise ValueError(
            "StudentMixture: regularization='map' has a prior of means, under which the update of a t component is not "
            "that of a Gaussian. Use fastem.InverseWishart(shrinkage=0), which has none, or 'geometric'"
        )


def weights_of_rows(model: StudentState, X: Any) -> Array:
    """Return what each row counts for, (N,): the mean of u over the components that it may belong to."""
    source, params = local_rows(rows_for(model, X)), model.params_
    (K, D), norm, out = params.means.shape, params.terms().log_norm, np.empty(source.n_rows)
    half, most = 0.5 * (params.dof + D), 1 + D / params.dof

    def fill(block: Block) -> None:
        scores = score(ArraySource(block.X), params, joint=True, resp=True)
        with np.errstate(invalid="ignore"):  # of a component of weight 0
            u = most * np.exp((scores.joint - norm) / half)
        out[block.start : block.start + len(block.X)] = np.where(scores.resp > 0, scores.resp * u, 0.0).sum(axis=1)

    with threads(model.n_threads):
        source.for_each(fill, rows_at_once(3 * K))
    return out
