"""Using a fit: densities, labels, responsibilities, one row, samples."""

import numpy as np

from fastem.model import reference

from .common import COVARIANCES, check_close, make_case, model_of


class Score:
    params = (["100000x2 K=3", "100000x10 K=10", "20000x32 K=32"], ["full", "diag"])
    param_names = ("shape", "covariance")

    def setup(self, shape, covariance):
        self.case = make_case(shape, covariance)
        self.model = model_of(self.case, covariance)
        X, rows, times, params = self.case.X, self.case.rows, self.case.times, self.case.params
        resp = reference.responsibilities(rows, params)
        want = np.tile(reference.log_density(rows, params), times)
        check_close(self.model.score_samples(X), want, self.case, "score_samples")
        check_close(self.model.predict_proba(X), np.tile(resp, (times, 1)), self.case, "predict_proba")
        if not np.array_equal(self.model.predict(X), np.tile(resp.argmax(axis=1), times)):
            raise AssertionError("predict is wrong")

    def time_score_samples(self, shape, covariance):
        self.model.score_samples(self.case.X)

    def time_predict(self, shape, covariance):
        self.model.predict(self.case.X)

    def time_predict_proba(self, shape, covariance):
        self.model.predict_proba(self.case.X)


class OneRow:
    """What a call costs besides arithmetic."""

    def setup(self):
        self.case = make_case("1000x2 K=3")
        self.model = model_of(self.case, "full")
        self.row = self.case.rows[:1].copy()
        if self.model.predict(self.row) != reference.responsibilities(self.row, self.case.params).argmax(axis=1):
            raise AssertionError("predict is wrong")
        check_close(
            self.model.score_samples(self.row), reference.log_density(self.row, self.case.params), self.case, "density"
        )

    def time_predict(self):
        self.model.predict(self.row)

    def time_score_samples(self):
        self.model.score_samples(self.row)


class Sample:
    params = COVARIANCES
    param_names = ("covariance",)
    n = 100_000

    def setup(self, covariance):
        case = make_case("1000x10 K=10", covariance)
        self.model = model_of(case, covariance)
        X, y = self.model.sample(self.n)
        weights, means = case.params.weights, case.params.means
        spread = np.sqrt(X.var(axis=0) / self.n)
        if (abs(X.mean(axis=0) - weights @ means) > 6 * spread).any() or (np.diff(y) < 0).any():
            raise AssertionError("the sample's mean is not the mixture's")
        share = np.bincount(y, minlength=len(weights)) / self.n
        if (abs(share - weights) > 6 * np.sqrt(weights / self.n)).any():
            raise AssertionError("the sample's shares are not the mixture's weights")

    def time_sample(self, covariance):
        self.model.sample(self.n)
