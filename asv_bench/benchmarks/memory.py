"""Peak memory of a process that holds 80 MB of rows and fits, scores and labels them."""

import numpy as np

import fastem
from fastem.model import reference

from .common import check_close, check_stats, make_case, model_of

N, D, K = 1_000_000, 10, 10


class Memory:
    """The rows are 80 MB; one N x K array would add as much."""

    def setup(self):
        # Checked on few rows: a check on all of them would raise the peak that is measured.
        small = make_case(f"5000x{D} K={K}")
        check_stats(fastem.accumulate(small.X, small.params), small)
        self.params, self.model = small.params, model_of(small, "full")
        check_close(
            self.model.score_samples(small.rows), reference.log_density(small.rows, small.params), small, "density"
        )
        self.X = np.empty((N, D))
        for start in range(0, N, len(small.X)):
            self.X[start : start + len(small.X)] = small.X

    def peakmem_rows_alone(self):
        """What the others are to be compared with."""

    def peakmem_em(self):
        fastem.em(self.X, self.params, tol=0.0, max_iter=2)

    def peakmem_fit(self):
        fastem.GaussianMixture(K, random_state=0, tol=1e-2).fit(self.X)

    def peakmem_score_samples(self):
        self.model.score_samples(self.X)

    def peakmem_predict(self):
        self.model.predict(self.X)
