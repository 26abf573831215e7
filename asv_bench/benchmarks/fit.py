"""Whole fits: from a raw array with default settings, and small ones from given parameters."""

import warnings

import numpy as np

import fastem
from fastem.model import reference

from .common import check_close, make_case


class Default:
    """Start by k-means, EM until tol."""

    params = (["100000x2 K=3", "100000x10 K=10"], ["full", "diag"])
    param_names = ("shape", "covariance")

    def setup(self, shape, covariance):
        N = int(shape.split("x")[0])
        self.case, self.covariance = make_case(shape, covariance, distinct=N, spacing=9.0), covariance
        model, rows = self.fit(), self.case.rows[:2000]
        density = reference.log_density(rows, model.params_)
        check_close(model.score_samples(rows), density, self.case, "score_samples")
        truth = reference.log_density(rows, self.case.params).mean()
        if not (model.converged_ and density.mean() > truth - 0.5):  # a local maximum may be somewhat worse
            raise AssertionError(f"{model.status_}: mean log-likelihood {density.mean():.4f}, the truth's {truth:.4f}")

    def fit(self):
        K = len(self.case.params.weights)
        return fastem.GaussianMixture(K, covariance_type=self.covariance, random_state=0).fit(self.case.X)

    def time_fit(self, shape, covariance):
        self.fit()


class Small:
    """Five iterations on 1000 x 2, K = 3, from given parameters: what a fit costs besides arithmetic."""

    iterations = 5

    def setup(self):
        warnings.simplefilter("ignore", fastem.ConvergenceWarning)
        self.case = make_case("1000x2 K=3")
        params = self.case.params
        self.start = dict(
            weights_init=params.weights,
            means_init=params.means,
            precisions_init=np.linalg.inv(params.covariances),
        )
        for _ in range(self.iterations):
            stats = reference.accumulate(self.case.rows, params, np.ones(len(self.case.rows)))
            params = fastem.m_step(stats, reg_covar=1e-6)
        model = self.fit()
        for name in ("weights", "means", "covariances"):
            check_close(getattr(model, name + "_"), getattr(params, name), self.case, name)

    def fit(self):
        return fastem.GaussianMixture(3, tol=0.0, max_iter=self.iterations, **self.start).fit(self.case.X)

    def time_fit(self):
        self.fit()


class Faithful:
    """The README's example."""

    def setup(self):
        self.X, _ = fastem.load_faithful()
        if round(self.fit().bic(self.X), 2) != 2322.19:  # as mclust
            raise AssertionError("the BIC of two components is not 2322.19")

    def fit(self):
        return fastem.GaussianMixture(2, random_state=0).fit(self.X)

    def time_fit(self):
        self.fit()
