"""Model files: versioned ``.npz`` archives without pickle.

A model file needs nothing but NumPy to be read, for instance ``np.load(path)["means"]``. Version 1 holds

===================  ==================  ======================================================
array                shape, dtype        content
===================  ==================  ======================================================
``format``           (), str             ``"fastem.GaussianMixture"``
``version``          (), int             1
``covariance_type``  (), str             ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, ``"tied_diag"``
                                         or ``"tied_spherical"``
``weights``          (K,), float         float32 or float64, like the next two
``means``            (K, D), float
``covariances``      by family, float    (K, D, D), (D, D), (K, D), (K,), (D,) or ()
``noise_weight``     (), float           of the noise component; 0 if there is none
``noise_box``        (2, D) or (0, 0)    its box, float64
``feature_names``    (D,) or (0,), str   empty if the model was fitted without names
``parameters``       (), str             JSON: the constructor's other plain parameters, but for n_threads
``lower_bound``      (), float           mean log-likelihood of the last iteration
``lower_bounds``     (n_iter,), float    and of each
``n_iter``           (), int
``status``           (), str             name of the `Status`; empty if the parameters were given
``converged``        (), bool            whether that is CONVERGED
``n_samples_seen``   (), float           how many rows the mixture stands for in a stream; may be missing
``statistics``       (P,) or (0,)        `Stats.to_buffer` of a stream's running statistics; empty if the
                                         mixture is of no stream; may be missing
===================  ==================  ======================================================
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastem.archive import ENDINGS, Layout, ModelFileError, floats, read, scalar, status, text, write
from fastem.estimator import GaussianMixture
from fastem.model import Stats
from fastem.regularize import m_step
from fastem.stepwise import Stepwise
from fastem.tables import check_output
from fastem.validate import check_seen

Array = npt.NDArray[Any]

LAYOUT = Layout(
    what="model",
    format="fastem.GaussianMixture",
    version=1,
    names=(
        *("weights", "means", "covariances", "covariance_type", "noise_weight", "noise_box", "feature_names"),
        *("parameters", "lower_bound", "lower_bounds", "n_iter", "status", "converged"),
    ),
    optional="n_samples_seen|statistics",
)
# The arrays themselves say the first three; the fourth belongs to a machine, not to a model.
_NOT_STORED = ("n_components", "covariance_type", "noise", "n_threads")


def save(model: GaussianMixture, path: str | os.PathLike[str], *, feature_names: Sequence[str] | None = None) -> None:
    """Write a fitted model to a ``.npz`` file that NumPy alone can read.

    The file appears whole or not at all. Array-valued constructor parameters and random generators are
    not stored; everything that `load` needs to predict, to score and to go on with a stream is.

    Parameters
    ----------
    model : GaussianMixture
        A fitted model, float32 or float64.
    path : str or path-like
        Ends in ``.npz``. An existing file is replaced.
    feature_names : sequence of D str, optional
        Default: ``model.feature_names_in_``, or none if the model was fitted without names.

    Raises
    ------
    NotFittedError
        The model is not fitted.
    ValueError
        The ending is not ``.npz``, the folder does not exist, there are not D names, or the model could not
        be read back: covariances so ill-conditioned that they are singular once rounded to float32.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastem
    >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0, 5.0]], [[2.0, 3.0]], "diag")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     fastem.save(model, path)
    ...     fastem.load(path).means_
    array([[0., 5.]])
    """
    D = model.params_.means.shape[1]  # or NotFittedError
    names = np.array(getattr(model, "feature_names_in_", ()) if feature_names is None else feature_names, dtype=str)
    if names.shape not in ((0,), (D,)):
        found = len(names) if names.ndim == 1 else f"an array of shape {names.shape}"
        raise ValueError(f"feature_names should have {D} names, one for each feature, but got {found}")
    mixture = (model.weights_, model.means_, model.covariances_)
    noise = (model.noise_weight_, model.noise_box_) if hasattr(model, "noise_box_") else None
    family = model._family().name  # of the fit, whatever covariance_type has been set to since
    stream = getattr(model, "_stepwise", None)
    # Refused now rather than when it is read.
    GaussianMixture.from_parameters(*mixture, family, noise)
    target = Path(path)
    check_output(target, ENDINGS)
    arrays: dict[str, Any] = {
        **dict(zip(("weights", "means", "covariances"), mixture, strict=True)),
        "covariance_type": family,
        "noise_weight": noise[0] if noise else 0.0,
        "noise_box": noise[1] if noise else np.empty((0, 0)),
        "feature_names": names,
        "parameters": json.dumps(plain_parameters(model)),
        "lower_bound": model.lower_bound_,
        "lower_bounds": np.array(model.lower_bounds_, dtype=np.float64),
        "n_iter": model.n_iter_,
        "status": "" if model.status_ is None else model.status_.name,
        "converged": model.converged_,
        "n_samples_seen": model._seen(),
        "statistics": np.empty(0) if stream is None else stream.stats.to_buffer(),
    }
    write(target, LAYOUT, arrays)


def load(path: str | os.PathLike[str]) -> GaussianMixture:
    """Read a model that `save` wrote. Nothing in the file is ever executed.

    Parameters
    ----------
    path : str or path-like
        A file written by `save`.

    Returns
    -------
    GaussianMixture
        A fitted model of the same dtype that predicts and scores as the saved one did: with the same bits in
        float64, to rounding in float32, since the Cholesky factors are computed anew.

    Raises
    ------
    ModelFileError
        The file is truncated, foreign, pickled, of a newer version, or its parameters are not those of a
        mixture (shapes, finite values, weights, positive definite covariances are all checked).
    OSError
        The file does not exist or cannot be opened.

    Examples
    --------
    >>> import fastem
    >>> fastem.save(fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"), "model.npz")
    >>> fastem.load("model.npz").predict([[0.5]])
    array([0])
    """
    source = Path(path)
    arrays = read(source, LAYOUT)
    covariance_type, parameters = (text(source, arrays, name) for name in ("covariance_type", "parameters"))
    weights, means, covariances = (floats(source, arrays, name) for name in ("weights", "means", "covariances"))
    try:
        box = floats(source, arrays, "noise_box")
        noise = (scalar(source, arrays, "noise_weight", "f"), box) if box.size else None
        model = GaussianMixture.from_parameters(weights, means, covariances, covariance_type, noise)
        model.set_params(**_parse_parameters(parameters))
    except ValueError as error:
        raise ModelFileError(f"{source}: the arrays do not describe a mixture: {error}") from error
    model._set_parameters(tuple(array.astype(means.dtype) for array in model._get_parameters()))
    _restore_names(source, arrays, model)
    _restore_record(source, arrays, model)
    _restore_stream(source, arrays, model)
    return model


def plain_parameters(model: GaussianMixture) -> dict[str, Any]:
    """Return the constructor's parameters that are numbers, strings, tuples of strings or None."""
    plain, known = {}, GaussianMixture().get_params()  # a subclass may have more, which `load` could not set
    for name, value in model.get_params().items():
        value = value.item() if isinstance(value, np.generic) else value
        if name in known and name not in _NOT_STORED and _is_plain(value):
            plain[name] = value
    return plain


def _parse_parameters(text: str) -> dict[str, Any]:
    """Return the constructor's parameters from their JSON text; ValueError if they are anything else."""
    try:
        parameters = json.loads(text)
    except RecursionError:  # JSON nested by the thousand
        parameters = None
    if not isinstance(parameters, dict):
        raise ValueError("'parameters' should be a JSON object")
    for name, value in parameters.items():
        if name in _NOT_STORED or not _is_plain(value):
            raise ValueError(f"'parameters' should not contain '{name}': {value!r:.40}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, bool | int | float | str | None)


def _restore_names(path: Path, arrays: dict[str, Array], model: GaussianMixture) -> None:
    names, n_features = arrays["feature_names"], model.means_.shape[1]
    if names.dtype.kind != "U" or names.shape not in ((0,), (n_features,)):
        found = f"{names.dtype} of shape {names.shape}"
        raise ModelFileError(f"{path}: expected no feature names or {n_features} strings, found {found}")
    if names.size:
        model.feature_names_in_ = names.astype(object)


def _restore_record(path: Path, arrays: dict[str, Array], model: GaussianMixture) -> None:
    """Restore how the fit went."""
    model._record(
        status(path, arrays, "status"),
        scalar(path, arrays, "lower_bound", "f"),
        floats(path, arrays, "lower_bounds").ravel().tolist(),
        scalar(path, arrays, "n_iter", "iu"),
    )


def _restore_stream(path: Path, arrays: dict[str, Array], model: GaussianMixture) -> None:
    """Restore what `partial_fit` goes on from."""
    try:
        if "n_samples_seen" in arrays:
            model.n_samples_seen_ = check_seen(scalar(path, arrays, "n_samples_seen", "f"))
        if "statistics" in arrays and arrays["statistics"].size:
            stats = Stats.from_buffer(floats(path, arrays, "statistics"))
            family, reg_covar = model._family().name, model.reg_covar
            params = m_step(stats, family, reg_covar=reg_covar, previous=model.params_)  # float64, whatever the model's
            model._stepwise = Stepwise(params, family, reg_covar, stats=stats, n_steps=model.n_iter_)
    except ValueError as error:
        raise ModelFileError(f"{path}: the arrays do not describe a stream: {error}") from error
