"""Gaussian mixtures on CPUs: exact, fast, embeddable. See `GaussianMixture` and `em`."""

from fastem import plot
from fastem.covariance import SingularCovarianceError, m_step
from fastem.datasets import load_faithful
from fastem.em import FitInterrupted, accumulate, em, log_density, moments
from fastem.estimator import GaussianMixture
from fastem.files import load, save
from fastem.model import Params, Result, Stats, Status
from fastem.validate import ConvergenceWarning, NotFittedError, make_params
from fastem.warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "FitInterrupted",
    "GaussianMixture",
    "NotFittedError",
    "Params",
    "Result",
    "SingularCovarianceError",
    "Stats",
    "Status",
    "accumulate",
    "em",
    "load",
    "load_faithful",
    "log_density",
    "m_step",
    "make_params",
    "moments",
    "plot",
    "save",
    "warmup",
]
