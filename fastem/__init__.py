"""Gaussian mixtures on CPUs: exact, fast, embeddable.

- `fit` fits a mixture as we recommend it.
- `GaussianMixture` and `KMeans` are scikit-learn's classes: ``help(fastem.GaussianMixture)``.
- `select` and `bootstrap_test` find how many components, `AnomalyDetector` rows to look at, `fit_many` a mixture for
  each group of rows; `MixtureRegressor` predicts.
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
from fastem.analysis.bounds import Bound, elbo
from fastem.analysis.information import SingularInformationError
from fastem.analysis.merging import Merging
from fastem.estimators.anomaly import AnomalyDetector
from fastem.estimators.bayesian.mixture import BayesianGaussianMixture
from fastem.estimators.binned import fit_binned
from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.groups.fit_many import fit_many
from fastem.estimators.groups.mixtures import ManyMixtures
from fastem.estimators.groups.posteriors import ManyPosteriors
from fastem.estimators.kmeans import KMeans
from fastem.estimators.outputs import write_scores
from fastem.estimators.protocol import InconsistentVersionWarning
from fastem.estimators.recommended import fit
from fastem.estimators.regressor import MixtureRegressor
from fastem.estimators.saving import load, save
from fastem.estimators.selecting.selection import Selection, SelectionInterrupted, select
from fastem.estimators.students.mixture import StudentMixture
from fastem.estimators.uncertainty.bootstrap import Bootstrap
from fastem.estimators.uncertainty.replicates import BootstrapInterrupted
from fastem.estimators.uncertainty.standard_errors import StandardErrors
from fastem.estimators.uncertainty.testing import BootstrapTest, bootstrap_test
from fastem.files.datasets import load_faithful
from fastem.fitting.em_api import em
from fastem.fitting.gradient import lbfgs, log_likelihood_and_gradient
from fastem.fitting.interruption import FitInterrupted
from fastem.fitting.stepwise import Stepwise
from fastem.kernels.ahead import warmup
from fastem.model.checks import ConvergenceWarning, NotFittedError
from fastem.model.given import make_params
from fastem.model.matrices import SingularCovarianceError
from fastem.model.maximisation import m_step
from fastem.model.parametrization import Parametrization
from fastem.model.params import Params
from fastem.model.remedies.eigenvalue_floor import EigenvalueFloor
from fastem.model.remedies.eigenvalue_ratio import EigenvalueRatio
from fastem.model.remedies.geometric_ridge import GeometricRidge
from fastem.model.remedies.inverse_wishart import InverseWishart
from fastem.model.remedies.ridge import Ridge
from fastem.model.result import Result, Status
from fastem.model.stats import Stats
from fastem.model.variational import Posterior
from fastem.passes.scores import log_density
from fastem.passes.statistics import accumulate, moments
from fastem.sources.blocks import SourceError
from fastem.sources.mpi_source import MPISource, RankError
from fastem.sources.opening import as_source


def __dir__() -> list[str]:
    """What is for use, without the modules that it is made of."""
    return __all__


__all__ = [
    "AnomalyDetector",
    "BayesianGaussianMixture",
    "Bootstrap",
    "BootstrapInterrupted",
    "BootstrapTest",
    "Bound",
    "ConvergenceWarning",
    "EigenvalueFloor",
    "EigenvalueRatio",
    "FactorMixture",
    "FitInterrupted",
    "GaussianMixture",
    "GeometricRidge",
    "InconsistentVersionWarning",
    "InverseWishart",
    "KMeans",
    "MPISource",
    "ManyMixtures",
    "ManyPosteriors",
    "Merging",
    "MixtureRegressor",
    "NotFittedError",
    "Parametrization",
    "Params",
    "Posterior",
    "RankError",
    "Result",
    "Ridge",
    "Selection",
    "SelectionInterrupted",
    "SingularCovarianceError",
    "SingularInformationError",
    "SourceError",
    "StandardErrors",
    "Stats",
    "Status",
    "Stepwise",
    "StudentMixture",
    "__version__",
    "accumulate",
    "as_source",
    "bootstrap_test",
    "elbo",
    "em",
    "embed",
    "fit",
    "fit_binned",
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
