"""Gaussian mixtures on CPUs: exact, fast, embeddable.

- `GaussianMixture` and `KMeans` are scikit-learn's classes: ``help(fastem.GaussianMixture)``.
- `select` finds how many components, `AnomalyDetector` rows to look at, `fit_many` a mixture for each group of rows.
- `save` and `load` keep models in files that NumPy alone can read.
- `as_source` takes rows from files, databases of arrays, functions and clusters; `write_scores` writes what a model
  makes of them.
- `em`, `accumulate`, `m_step`, `log_density` and `make_params` are for a program with a loop of its own, `embed` for
  one that Numba compiles.
- `plot` draws.

The modules in the package are its inside: what is for use is here, in `fastem.embed` and in `fastem.plot`.
"""

from fastem import embed, plot
from fastem._version import __version__
from fastem.anomaly import AnomalyDetector
from fastem.bounds import Bound, elbo
from fastem.covariance import SingularCovarianceError
from fastem.datasets import load_faithful
from fastem.em import FitInterrupted, accumulate, em, log_density, moments
from fastem.estimator import GaussianMixture
from fastem.files import load, save
from fastem.gradient import lbfgs, log_likelihood_and_gradient
from fastem.kmeans import KMeans
from fastem.many import ManyMixtures, fit_many
from fastem.merging import Merging
from fastem.model import Params, Result, Stats, Status
from fastem.mpi import MPISource, RankError
from fastem.outputs import write_scores
from fastem.parametrization import Parametrization
from fastem.protocol import InconsistentVersionWarning
from fastem.regularize import EigenvalueFloor, EigenvalueRatio, InverseWishart, Ridge, m_step
from fastem.select import Selection, SelectionInterrupted, select
from fastem.sources import SourceError
from fastem.stepwise import Stepwise
from fastem.streams import as_source
from fastem.validate import ConvergenceWarning, NotFittedError, make_params
from fastem.warmup import warmup


def __dir__() -> list[str]:
    """What is for use, without the modules that it is made of."""
    return __all__


__all__ = [
    "AnomalyDetector",
    "Bound",
    "ConvergenceWarning",
    "EigenvalueFloor",
    "EigenvalueRatio",
    "FitInterrupted",
    "GaussianMixture",
    "InconsistentVersionWarning",
    "InverseWishart",
    "KMeans",
    "MPISource",
    "ManyMixtures",
    "Merging",
    "NotFittedError",
    "Parametrization",
    "Params",
    "RankError",
    "Result",
    "Ridge",
    "Selection",
    "SelectionInterrupted",
    "SingularCovarianceError",
    "SourceError",
    "Stats",
    "Status",
    "Stepwise",
    "__version__",
    "accumulate",
    "as_source",
    "elbo",
    "em",
    "embed",
    "fit_many",
    "lbfgs",
    "load",
    "load_faithful",
    "log_density",
    "log_likelihood_and_gradient",
    "m_step",
    "make_params",
    "moments",
    "plot",
    "save",
    "select",
    "warmup",
    "write_scores",
]
