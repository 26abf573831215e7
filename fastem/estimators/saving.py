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

Files of other models have another ``format``, and, beside ``version``, ``feature_names`` and ``parameters``:

- ``fastem.AnomalyDetector``: the arrays of its mixture, ``threshold`` and ``contamination``;
- ``fastem.KMeans``: ``cluster_centers`` (K, D), ``inertia`` and ``n_iter``;
- ``fastem.ManyMixtures``, of `fit_many`, without these two: ``labels`` (G,), ``weights`` (G, K), ``means`` (G, K, D),
  ``covariances`` and ``factor``, ``covariance_type``, and ``status``, ``n_iter`` and ``lower_bound``, (G,).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastem.estimators.anomaly import AnomalyDetector
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.kmeans import KMeans
from fastem.estimators.many import ManyMixtures
from fastem.files.archive import (
    ENDINGS,
    ArchiveFormat,
    ModelFileError,
    floats,
    read,
    scalar,
    stamp,
    status,
    text,
    write,
)
from fastem.files.tables import check_output
from fastem.fitting.stepwise import Stepwise
from fastem.model.checks import check_fitted, check_seen
from fastem.model.families import COVARIANCES
from fastem.model.given import check_means
from fastem.model.matrices import variances
from fastem.model.maximisation import m_step
from fastem.model.params import Params
from fastem.model.result import Status
from fastem.model.stats import Stats

Array = npt.NDArray[Any]

LAYOUT = ArchiveFormat(
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


def save(
    model: GaussianMixture | KMeans | AnomalyDetector | ManyMixtures,
    path: str | os.PathLike[str],
    *,
    feature_names: Sequence[str] | None = None,
) -> None:
    """Write a fitted model to a ``.npz`` file that NumPy alone can read.

    The file appears whole or not at all. Array-valued constructor parameters, random generators and the labels of a
    k-means' rows are not stored; everything that `load` needs to predict, to score and to go on with a stream is.

    Parameters
    ----------
    model : GaussianMixture, KMeans, AnomalyDetector or ManyMixtures
        A fitted model, float32 or float64.
    path : str or path-like
        Ends in ``.npz``. An existing file is replaced.
    feature_names : sequence of D str, optional
        Default: ``model.feature_names_in_``, or none if the model was fitted without names.

    Raises
    ------
    NotFittedError
        The model is not fitted.
    TypeError
        It is none of these.
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
    kind = next((kind for kind in KINDS if isinstance(model, kind.model)), None)
    if kind is None:
        takes = ", ".join(kind.model.__name__ for kind in KINDS)
        raise TypeError(f"save takes a fitted model, one of {takes}; got {type(model).__name__}")
    arrays = kind.arrays(model, feature_names)
    target = Path(path)
    check_output(target, ENDINGS)
    write(target, kind.layout, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote. Nothing in the file is ever executed.

    Parameters
    ----------
    path : str or path-like
        A file written by `save`.

    Returns
    -------
    GaussianMixture, KMeans, AnomalyDetector or ManyMixtures
        A fitted model of the class and dtype of the saved one that predicts and scores as that did: with the same bits
        in float64, to rounding in float32, since the Cholesky factors are computed anew.

    Raises
    ------
    ModelFileError
        The file is truncated, foreign, pickled, of a newer version, or its parameters are not those of a
        model (shapes, finite values, weights, positive definite covariances are all checked).
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
    found = stamp(source)
    kind = next((kind for kind in KINDS if kind.layout.format == found), KINDS[0])
    arrays = read(source, kind.layout)
    try:
        return kind.model_of(source, arrays)
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{source}: the arrays do not describe a {kind.noun}: {error}") from error


def load_mixture(path: str | os.PathLike[str]) -> GaussianMixture:
    """`load` of a mixture; ModelFileError for another model."""
    model = load(path)
    if not isinstance(model, GaussianMixture):
        raise ModelFileError(f"{path}: expected a GaussianMixture, found a {type(model).__name__}: use fastem.load")
    return model


# --- mixtures -----------------------------------------------------------------------------------------------------


def _mixture_arrays(model: GaussianMixture, feature_names: Sequence[str] | None) -> dict[str, Any]:
    names = _names(model, feature_names, model.params_.means.shape[1])  # or NotFittedError
    mixture = (model.weights_, model.means_, model.covariances_)
    noise = (model.noise_weight_, model.noise_box_) if hasattr(model, "noise_box_") else None
    family = model._family().name  # of the fit, whatever covariance_type has been set to since
    # Refused now rather than when it is read.
    bare = GaussianMixture.from_parameters(*mixture, family, noise)
    record = model if hasattr(model, "lower_bound_") else bare  # or its attributes were set by hand
    stream = getattr(model, "_stepwise", None)
    return {
        **dict(zip(("weights", "means", "covariances"), mixture, strict=True)),
        "covariance_type": family,
        "noise_weight": noise[0] if noise else 0.0,
        "noise_box": noise[1] if noise else np.empty((0, 0)),
        "feature_names": names,
        "parameters": json.dumps(plain_parameters(model)),
        "lower_bound": record.lower_bound_,
        "lower_bounds": np.array(record.lower_bounds_, dtype=np.float64),
        "n_iter": record.n_iter_,
        "status": "" if record.status_ is None else record.status_.name,
        "converged": record.converged_,
        "n_samples_seen": model._seen(),
        "statistics": np.empty(0) if stream is None else stream.stats.to_buffer(),
    }


def _mixture(path: Path, arrays: dict[str, Array]) -> GaussianMixture:
    covariance_type, parameters = (text(path, arrays, name) for name in ("covariance_type", "parameters"))
    weights, means, covariances = (floats(path, arrays, name) for name in ("weights", "means", "covariances"))
    box = floats(path, arrays, "noise_box")
    noise = (scalar(path, arrays, "noise_weight", "f"), box) if box.size else None
    model = GaussianMixture.from_parameters(weights, means, covariances, covariance_type, noise)
    model.set_params(**_parse_parameters(parameters))
    model._set_parameters(tuple(array.astype(means.dtype) for array in model._get_parameters()))
    _restore_names(path, arrays, model, means.shape[1])
    _restore_record(path, arrays, model)
    _restore_stream(path, arrays, model)
    return model


def _detector_arrays(detector: AnomalyDetector, feature_names: Sequence[str] | None) -> dict[str, Any]:
    check_fitted(detector)
    arrays = _mixture_arrays(detector.estimator_, feature_names)
    return arrays | {"threshold": detector.threshold_, "contamination": float(detector.contamination)}


def _detector(path: Path, arrays: dict[str, Array]) -> AnomalyDetector:
    detector = AnomalyDetector.from_mixture(_mixture(path, arrays), scalar(path, arrays, "threshold", "f"))
    return detector.set_params(contamination=scalar(path, arrays, "contamination", "f"))


# --- k-means ------------------------------------------------------------------------------------------------------


def _kmeans_arrays(model: KMeans, feature_names: Sequence[str] | None) -> dict[str, Any]:
    check_fitted(model)
    return {
        "cluster_centers": model.cluster_centers_,
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "feature_names": _names(model, feature_names, model.cluster_centers_.shape[1]),
        "parameters": json.dumps(plain_parameters(model)),
    }


def _kmeans(path: Path, arrays: dict[str, Array]) -> KMeans:
    centres = floats(path, arrays, "cluster_centers")
    if centres.ndim != 2 or not centres.size:
        raise ValueError(f"expected centres of shape (K, D), found {centres.shape}")
    check_means(centres, *centres.shape)
    model = KMeans(len(centres)).set_params(**_parse_parameters(text(path, arrays, "parameters")))
    model.cluster_centers_, model.n_features_in_ = centres, centres.shape[1]
    model.inertia_, model.n_iter_ = scalar(path, arrays, "inertia", "f"), scalar(path, arrays, "n_iter", "iu")
    _restore_names(path, arrays, model, centres.shape[1])
    return model


# --- mixtures of groups -------------------------------------------------------------------------------------------


def _many_arrays(many: ManyMixtures, feature_names: Sequence[str] | None) -> dict[str, Any]:
    if feature_names is not None:
        raise ValueError("feature_names: the mixtures of groups have none")
    return {
        "labels": many.labels.astype(str) if many.labels.dtype == object else many.labels,
        "weights": many.weights,
        "means": many.means,
        "covariances": many.covariances,
        "factor": many.params.factor,
        "covariance_type": many.covariance_type,
        "status": np.array([one.name for one in many.status], dtype=str),
        "n_iter": many.n_iter,
        "lower_bound": many.lower_bound,
    }


def _many(path: Path, arrays: dict[str, Array]) -> ManyMixtures:
    weights, means, covariances, factor, bound = (
        floats(path, arrays, name).astype(np.float64)
        for name in ("weights", "means", "covariances", "factor", "lower_bound")
    )
    labels, states, n_iter = (arrays[name] for name in ("labels", "status", "n_iter"))
    family = COVARIANCES.get(text(path, arrays, "covariance_type"))
    if family is None or means.ndim != 3 or 0 in means.shape:
        raise ValueError(f"expected a covariance type and means of shape (G, K, D), found {means.shape}")
    G, K, D = means.shape
    shape = (G, *family.shape(K, D))
    expected = ((G,), (G, K), (G, *family.natural_shape(K, D)), shape, (G,), (G,), (G,))
    found = tuple(array.shape for array in (labels, weights, covariances, factor, states, n_iter, bound))
    if found != expected:
        raise ValueError(f"expected arrays of shapes {expected}, found {found}")
    fitted = ~np.isnan(weights[:, 0])
    sound = all(np.isfinite(array[fitted]).all() for array in (weights, means, covariances, factor))
    if not sound or not (variances(factor[fitted]) > 0).all() or not (labels[1:] > labels[:-1]).all():
        raise ValueError("expected finite parameters, factors with a positive diagonal and labels in ascending order")
    if (
        labels.dtype.kind not in "iubU"
        or n_iter.dtype.kind not in "iu"
        or not {*states.tolist()} <= {*Status.__members__}
    ):
        raise ValueError("expected labels that are integers or strings, counts, and names of status")
    params = Params(weights, means, covariances.reshape(shape), factor)
    status = np.array([Status[name] for name in states.tolist()], dtype=object)
    return ManyMixtures(labels, params, family.name, status, n_iter.astype(np.int64), bound)


# --- what they share ----------------------------------------------------------------------------------------------


def _names(model: Any, feature_names: Sequence[str] | None, D: int) -> Array:
    names = np.array(getattr(model, "feature_names_in_", ()) if feature_names is None else feature_names, dtype=str)
    if names.shape not in ((0,), (D,)):
        found = len(names) if names.ndim == 1 else f"an array of shape {names.shape}"
        raise ValueError(f"feature_names should have {D} names, one for each feature, but got {found}")
    return names


def plain_parameters(model: GaussianMixture | KMeans) -> dict[str, Any]:
    """Return the constructor's parameters that are numbers, strings, tuples of strings or None."""
    own = KMeans if isinstance(model, KMeans) else GaussianMixture
    plain, known = {}, own().get_params()  # a subclass may have more, which `load` could not set
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


def _restore_names(path: Path, arrays: dict[str, Array], model: Any, n_features: int) -> None:
    names = arrays["feature_names"]
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


class Kind(NamedTuple):
    """A class of models, and how its objects become arrays and are made of them.

    Attributes
    ----------
    model : type
    noun : str, what an object is called in messages
    layout : Layout
    arrays : of a model and names of features, the arrays of a file
    model_of : of a path, for messages, and its arrays, the model
    """

    model: type
    noun: str
    layout: ArchiveFormat
    arrays: Callable[[Any, Sequence[str] | None], dict[str, Any]]
    model_of: Callable[[Path, dict[str, Array]], Any]


KINDS = (
    Kind(GaussianMixture, "mixture", LAYOUT, _mixture_arrays, _mixture),
    Kind(
        AnomalyDetector,
        "detector",
        ArchiveFormat(
            "model", "fastem.AnomalyDetector", 1, (*LAYOUT.names, "threshold", "contamination"), LAYOUT.optional
        ),
        _detector_arrays,
        _detector,
    ),
    Kind(
        KMeans,
        "k-means",
        ArchiveFormat(
            "model", "fastem.KMeans", 1, ("cluster_centers", "inertia", "n_iter", "feature_names", "parameters")
        ),
        _kmeans_arrays,
        _kmeans,
    ),
    Kind(
        ManyMixtures,
        "set of mixtures",
        ArchiveFormat(
            what="model",
            format="fastem.ManyMixtures",
            version=1,
            names=(
                *("labels", "weights", "means", "covariances", "factor", "covariance_type"),
                *("status", "n_iter", "lower_bound"),
            ),
        ),
        _many_arrays,
        _many,
    ),
)
