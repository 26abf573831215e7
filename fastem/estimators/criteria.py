"""Information criteria, for every place that states one: estimators, selection and the command line."""

from __future__ import annotations

import math


def bic(log_likelihood: float, n_parameters: int, n: float) -> float:
    """Return the Bayesian information criterion, the lower the better.

    With the log-likelihood of the rows and their most probable components it is ICL.

    Parameters
    ----------
    log_likelihood : float, of all rows
    n_parameters : int, free parameters
    n : float, the sum of the rows' weights

    References
    ----------
    Schwarz (1978), Ann. Stat. 6, 461-464; ICL: Biernacki, Celeux & Govaert (2000), IEEE Trans. Pattern Anal. Mach.
    Intell. 22, 719-725, section 3.3.
    """
    return -2 * log_likelihood + n_parameters * math.log(n)


def aic(log_likelihood: float, n_parameters: int) -> float:
    """Return Akaike's information criterion, the lower the better; arguments as in `bic`.

    References
    ----------
    Akaike (1974), IEEE Trans. Autom. Control 19, 716-723.
    """
    return -2 * log_likelihood + 2 * n_parameters
