"""Model files: versioned ``.npz`` archives without pickle.

A model file needs nothing but NumPy to be read, for instance ``np.load(path)["means"]``. Version 1 holds

=======================  ==================  ======================================================
array                    shape, dtype        content
=======================  ==================  ======================================================
``format``               (), str             ``"fastem.GaussianMixture"``
``version``              (), int             1
``covariance_type``      (), str             ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, ``"tied_diag"``,
                                             ``"tied_spherical"``, or one of mclust's names
``weights``              (K,), float         float32 or float64, like the next two
``means``                (K, D), float
``covariances``          by family, float    (K, D, D), (D, D), (K, D), (K,), (D,) or ()
``noise_weight``         (), float           of the noise component; 0 if there is none
``noise_box``            (2, D) or (0, 0)    its box, float64
``feature_names``        (D,) or (0,), str   empty if the model was fitted without names
``parameters``           (), str             JSON: the constructor's other plain parameters, but for n_threads
``lower_bound``          (), float           mean log-likelihood of the last iteration
``lower_bounds``         (n_iter,), float    and of each
``n_iter``               (), int
``status``               (), str             name of the `Status`; empty if the parameters were given
``converged``            (), bool            whether that is CONVERGED
``precisions_cholesky``  by family, float    U, with U U' the inverse covariance; if missing, it is made of
                                             ``covariances``, which float32 has rounded
``n_samples_seen``       (), float           how many rows the mixture stands for in a stream; may be missing
``statistics``           (P,) or (0,)        `Stats.to_buffer` of a stream's running statistics; empty if the
                                             mixture is of no stream; may be missing
=======================  ==================  ======================================================

Files of other models have another ``format``, and, beside ``version``, ``feature_names`` and ``parameters``:

- ``fastem.AnomalyDetector``: the arrays of its mixture, ``threshold`` and ``contamination``;
- ``fastem.MixtureRegressor``: the arrays of its mixture, whose last features are the targets, ``target_shape``, (0,) if
  y was (N,), else (1,) with the number of targets, and ``feature_names`` of the other features;
- ``fastem.BayesianGaussianMixture``: ``covariances`` as above and ``means``; ``concentration`` (K,) or (K, 2),
  ``mean_precision`` and ``degrees_of_freedom`` (K,); the same names and ``mean`` (D,) and ``covariance`` of the prior,
  behind ``prior_``; ``n_samples_seen``; and the last five arrays above that say how the fit went;
- ``fastem.StudentMixture``: the arrays of a mixture without noise and stream, and ``dof`` (K,);
- ``fastem.FactorMixture``: ``weights``, ``means``, ``loadings`` (K, D, q), ``uniquenesses`` and ``noise``, which says
  of what shape these are; ``parameters`` and how the fit went, as above;
- ``fastem.KMeans``: ``cluster_centers`` (K, D), ``inertia`` and ``n_iter``;
- ``fastem.ManyMixtures``, of `fit_many`, without these two: ``labels`` (G,), ``weights`` (G, K), ``means`` (G, K, D),
  ``covariances`` and ``factor``, ``covariance_type``, and ``status``, ``n_iter`` and ``lower_bound``, (G,);
- ``fastem.ManyPosteriors``, of `fit_many` with a prior: the arrays of a Bayesian mixture that describe posterior and
  prior, those that groups do not share with a leading axis of groups, and covariances in canonical shape;
  ``labels``, ``status``, ``n_iter``, ``lower_bound`` and ``sum_w``, (G,); ``columns``, 0 or 1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from fastem.estimators.anomaly import AnomalyDetector
from fastem.estimators.bayesian.mixture import BayesianGaussianMixture
from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.groups.mixtures import ManyMixtures
from fastem.estimators.groups.posteriors import ManyPosteriors
from fastem.estimators.kmeans import KMeans
from fastem.estimators.regressor import MixtureRegressor
from fastem.estimators.stored.factors import FACTORS
from fastem.estimators.stored.group_posteriors import GROUP_POSTERIORS
from fastem.estimators.stored.groups import GROUPS
from fastem.estimators.stored.kmeans import KMEANS
from fastem.estimators.stored.mixtures import DETECTOR, MIXTURE
from fastem.estimators.stored.posteriors import POSTERIOR
from fastem.estimators.stored.regressors import REGRESSOR
from fastem.estimators.stored.students import STUDENT
from fastem.estimators.students.mixture import StudentMixture
from fastem.files.archive import ENDINGS, ModelFileError, read, stamp, write
from fastem.files.atomic import given_path
from fastem.files.tables import check_output

CLASSES = (MIXTURE, POSTERIOR, STUDENT, FACTORS, DETECTOR, REGRESSOR, KMEANS, GROUPS, GROUP_POSTERIORS)
Saveable: TypeAlias = (
    GaussianMixture
    | BayesianGaussianMixture
    | StudentMixture
    | FactorMixture
    | KMeans
    | AnomalyDetector
    | MixtureRegressor
    | ManyMixtures
    | ManyPosteriors
)


def save(
    model: Saveable,
    path: str | os.PathLike[str],
    *,
    feature_names: Sequence[str] | None = None,
) -> None:
    """Write a fitted model to a ``.npz`` file that NumPy alone can read.

    The file appears whole or not at all. It holds all that a model needs to predict, to score and to continue with a
    stream. It does not hold parameters of the constructor that are arrays, random generators, nor the labels of the
    rows of a k-means.

    Parameters
    ----------
    model : an estimator of fastem, or what `fit_many` returns
        A fitted model, float32 or float64.
    path : str or path-like
        Ends in ``.npz``. An existing file is replaced.
    feature_names : sequence of D str, optional
        Names of the features. Default: ``model.feature_names_in_``; if the model has no names, the file has none.

    Raises
    ------
    NotFittedError
        The model is not fitted.
    TypeError
        The model is of another class.
    ValueError
        The ending is not ``.npz``, the folder does not exist, there are not D names, or the model could not
        be read back: covariances so ill-conditioned that they are singular once rounded to float32, or factors that
        are not theirs, where either was set by hand.

    See Also
    --------
    load : read the file

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
    kind = next((kind for kind in CLASSES if isinstance(model, kind.model)), None)
    if kind is None:
        takes = ", ".join(kind.model.__name__ for kind in CLASSES)
        raise TypeError(f"save takes a fitted model, one of {takes}; got {type(model).__name__}")
    arrays = kind.to_arrays(model, feature_names)
    target = given_path(path)
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
    an estimator of fastem, or what `fit_many` returns
        A fitted model of the class and dtype of the saved one that predicts and scores as that did, with the same
        bits.

    Raises
    ------
    ModelFileError
        The file is truncated, foreign, pickled, of a newer version, or its parameters are not those of a
        model (shapes, finite values, weights, positive definite covariances are all checked).
    OSError
        The file does not exist or cannot be opened.

    See Also
    --------
    save : write the file

    Examples
    --------
    >>> import fastem
    >>> fastem.save(fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"), "model.npz")
    >>> fastem.load("model.npz").predict([[0.5]])
    array([0])
    """
    source = given_path(path)
    found = stamp(source)
    kind = next((kind for kind in CLASSES if kind.layout.format == found), MIXTURE)
    arrays = read(source, kind.layout)
    try:
        return kind.from_arrays(source, arrays)
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{source}: the arrays do not describe a {kind.noun}: {error}") from error


def load_mixture(path: str | os.PathLike[str]) -> GaussianMixture | FactorMixture:
    """Read a mixture that `save` wrote, Gaussian or of factor analysers; raise a ModelFileError for another model."""
    model = load(path)
    if not isinstance(model, (GaussianMixture, FactorMixture)):
        raise ModelFileError(
            f"{path}: expected a GaussianMixture, found a {type(model).__name__}: use fastem.load in Python"
        )
    return model
