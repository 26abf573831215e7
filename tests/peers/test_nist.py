"""NIST's Statistical Reference Datasets for univariate summaries, NumAcc1 to NumAcc4: mean and standard deviation.

https://www.itl.nist.gov/div898/strd/univ/homepage.html. One component is the sample's mean and its deviation (with n,
NIST's with n - 1). The certified values are those of the decimals; 1000000.1 has no exact double, and the standard
deviation of the doubles nearest to the decimals agrees with the certified one in 9.5 digits (NumAcc3) and 8.3 digits
(NumAcc4): no program that reads doubles can see more of it. So the exact values of the doubles, in rational
arithmetic, are what all digits are asked of.
"""

import math
from fractions import Fraction

import numpy as np
import pytest

import fastem


def _alternating(middle, low, high):
    return np.array([middle] + 500 * [low, high])


# rows, certified mean and standard deviation, digits that the nearest doubles carry of the latter
SETS = {
    "NumAcc1": (np.array([10000001.0, 10000003.0, 10000002.0]), 10000002.0, 1.0, 15),
    "NumAcc2": (_alternating(1.2, 1.1, 1.3), 1.2, 0.1, 15),
    "NumAcc3": (_alternating(1000000.2, 1000000.1, 1000000.3), 1000000.2, 0.1, 9),
    "NumAcc4": (_alternating(10000000.2, 10000000.1, 10000000.3), 10000000.2, 0.1, 8),
}


def _exact(x):
    """Mean and standard deviation of the stored doubles, correctly rounded but for the root."""
    values = [Fraction(v) for v in x.tolist()]
    mean = sum(values) / len(values)
    return float(mean), math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _digits(got, want):
    return 16.0 if got == want else -math.log10(abs(got - want) / abs(want))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", SETS)
def test_numacc(name, covariance_type):
    x, mean, sd, sd_digits = SETS[name]
    model = fastem.GaussianMixture(1, covariance_type=covariance_type, reg_covar=0.0).fit(x[:, None])
    got_mean = model.means_.item()
    got_sd = math.sqrt(model.covariances_.item() * len(x) / (len(x) - 1))
    exact_mean, exact_sd = _exact(x)
    assert _digits(got_mean, exact_mean) >= 15
    assert _digits(got_sd, exact_sd) >= 15
    assert _digits(got_mean, mean) >= 15
    assert _digits(got_sd, sd) >= sd_digits
    assert sd_digits <= _digits(exact_sd, sd) <= sd_digits + 1  # what the doubles permit
