"""One pass of EM over the data, by shape, covariance and type of the rows."""

from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource

from .common import COVARIANCES, DTYPES, check_stats, make_case


class Pass:
    params = (["100000x2 K=3", "100000x10 K=10", "20000x32 K=32"], COVARIANCES, DTYPES)
    param_names = ("shape", "covariance", "dtype")

    def setup(self, shape, covariance, dtype):
        self.case = make_case(shape, covariance, dtype)
        self.source = ArraySource(self.case.X)
        check_stats(evaluate(self.source, self.case.params), self.case)

    def time_pass(self, shape, covariance, dtype):
        evaluate(self.source, self.case.params)


class ManyComponents(Pass):
    """Most of the time in exponentials, and statistics that outgrow the caches."""

    params = (["100000x3 K=32", "20000x16 K=128", "10000x64 K=64"], ["full", "diag"], ["float64"])
