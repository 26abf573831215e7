"""The variational posterior against pypmc: its test of nine points, computed by hand, and its own runs on them.

pypmc 1.2.6 (Beaujean & Jahn, github.com/pypmc/pypmc) follows Bishop (2006), section 10.2, in code of its own. The
values of the first two tests stand in its pypmc/mix_adapt/variational_test.py (`TestGaussianInference.test_update` and
`TestWishart`, the latter by Mathematica). Those of the third were printed by

    inference = GaussianInference(X, 2, weights=weights, m=means, alpha0=0.5, beta0=2.0, nu0=4.5)
    for _ in range(12):
        inference.update()
        print(repr(inference.likelihood_bound()))
    print(inference.alpha, inference.beta, inference.nu, inference.m, inference.W)

whose prior mean is 0, whose prior scale matrix is the identity, and which scales weights so that they sum to 9.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import digamma

from fastem import Posterior
from fastem.fitting.steps import e_step
from fastem.model.families import find_family
from fastem.model.matrices import factorise
from fastem.model.variational import Prior, log_wishart
from fastem.model.variational_model import VariationalModel
from fastem.passes.scores import mean_density, score
from fastem.sources.blocks import ArraySource

POINTS = np.array([[-2, 3], [2, 5], [-1, 7], [0, 4], [1, 6], [2, -3], [-1, -6], [1, -4], [-2, -7.0]])


def model_and_start(concentration, mean_precision, dof, means):
    prior = Prior(False, concentration, mean_precision, np.zeros(2), dof, np.eye(2)[None])
    two = np.ones(2)
    covariances = np.stack([np.eye(2) / dof] * 2)  # the scale matrices are those of the prior
    counts = concentration * two, mean_precision * two, dof * two
    start = Posterior(np.array(means), covariances, factorise(covariances), *counts)
    return VariationalModel(prior, find_family("full"), 0.0), start


def test_nine_points_by_hand():
    model, start = model_and_start(1e-5, 1e-5, 3.0, [[-2.0, 3.0], [2.0, -3.0]])
    log_det = digamma(1.5) + digamma(1.0) + 2 * np.log(2.0)
    assert log_det == pytest.approx(0.84556867019693416, rel=1e-14)
    joint = score(ArraySource(POINTS), start, joint=True).joint
    norm = digamma(1e-5) - digamma(2e-5) + 0.5 * log_det - np.log(2 * np.pi)
    expected = [[2e5, 2e5 + 3 * 52], [2e5 + 3 * 20, None]]  # of the exponent: rows 0 and 1, components 0 and 1
    for row, component in ((0, 0), (0, 1), (1, 0)):
        assert joint[row, component] == pytest.approx(norm - 0.5 * expected[row][component], rel=1e-14)
    resp = score(ArraySource(POINTS), start, resp=True).resp
    assert_allclose(resp[0], [1.0, 1.3336148155022614e-34], rtol=1e-9)
    stats = e_step(ArraySource(POINTS), start, model)
    assert_allclose(stats.s0, [5.0, 4.0], rtol=1e-14)
    posterior = model.update(stats)
    assert_allclose(posterior.degrees_of_freedom, [8.0, 7.0], rtol=1e-14)
    assert_allclose(posterior.mean_precision, [5 + 1e-5, 4 + 1e-5], rtol=1e-14)
    assert_allclose(posterior.concentration, [5 + 1e-5, 4 + 1e-5], rtol=1e-14)
    assert_allclose(posterior.means, [[0, 25 / (5 + 1e-5)], [0, -20 / (4 + 1e-5)]], atol=1e-12)
    scatter = np.array([[10, 3], [3, 10.0]]), np.full((2, 2), 10.0)  # 4 and 3 times the covariances that it states
    for k, (n, y) in enumerate([(5, 5.0), (4, -5.0)]):
        inverse = np.eye(2) + scatter[k] + 1e-5 * n / (1e-5 + n) * np.diag([0, y * y])
        assert_allclose(posterior.covariances[k] * posterior.degrees_of_freedom[k], inverse, rtol=1e-12, atol=1e-12)


def test_the_normaliser_of_a_wishart_density():
    """Bishop's log B, of which `log_wishart` is minus the logarithm but for powers of pi."""
    for W, nu, wanted in (
        (np.eye(3), 6.0, np.log(0.00013192862453429398)),
        (np.array([[1.0, 0.3], [0.3, 11.2]]), 8.3, -19.6714760251454),
    ):
        D = len(W)
        found = log_wishart(np.linalg.slogdet(W)[1], np.array(nu), D) + D * (D - 1) / 4 * np.log(np.pi)
        assert -found == pytest.approx(wanted, rel=1e-13)


RUNS = {
    "rows": (
        np.ones(9),
        [
            *(-67.68155202641402, -67.57724231862298, -67.48869662524368, -67.31973663530182, -67.0189589198343),
            *(-66.71119431813256, -66.62579368892592, -66.62212481812917, -66.6220766792273, -66.62207616759589),
            *(-66.62207616191866, -66.62207616184935),
        ],
        [5.503311922293729, 4.496688077706271],
        [[9.5428900885007474e-04, 3.5580339599030966], [-1.1144791102007025e-03, -3.3215037022459164]],
        [
            [[0.0922729872398747, -0.00555819828364101], [-0.00555819828364101, 0.02148650408434872]],
            [[0.11472375409309116, -0.02581910231283615], [-0.02581910231283615, 0.02807968272706698]],
        ],
    ),
    "weights": (
        np.array([1, 2, 1, 0.5, 1, 1, 3, 1, 1]) * 9 / 11.5,
        [
            *(-67.03790416744395, -66.78175870567163, -66.44146969510234, -66.05750602629904, -65.92644602986093),
            *(-65.91389616072492, -65.91244913028149, -65.91224165501816, -65.91220969395373, -65.91220461297252),
            *(-65.91220379259768, -65.91220365901721),
        ],
        [2.267970392451493, 7.732029607548508],
        [[-0.6017120978393506, 2.2200005737771167], [0.24558341619536853, -1.2451575335533063]],
        [
            [[0.36878744640948014, 0.06201351056953713], [0.06201351056953713, 0.04293997504857854]],
            [[0.11538659833771307, -0.02334865647815956], [-0.02334865647815956, 0.0097308961401322]],
        ],
    ),
}


@pytest.mark.parametrize(("weight", "bounds", "concentration", "means", "scales"), RUNS.values(), ids=RUNS)
def test_its_runs(weight, bounds, concentration, means, scales):
    """The exact bound after each of twelve updates, and the posterior after the last."""
    model, posterior = model_and_start(0.5, 2.0, 4.5, [[-2.0, 3.0], [2.0, 1.0]])
    source = ArraySource(POINTS, weight)
    found = []
    for _ in bounds:
        posterior = model.update(e_step(source, posterior, model))
        mean, n = mean_density(source, posterior)
        found.append(mean * n - posterior.divergence(model.prior))
    assert_allclose(found, bounds, rtol=1e-13)
    assert_allclose(posterior.concentration, concentration, rtol=1e-12)
    assert_allclose(posterior.mean_precision, np.array(concentration) + 1.5, rtol=1e-12)
    assert_allclose(posterior.degrees_of_freedom, np.array(concentration) + 4.0, rtol=1e-12)
    assert_allclose(posterior.means, means, rtol=1e-10)
    dof = posterior.degrees_of_freedom[:, None, None]
    assert_allclose(np.linalg.inv(posterior.covariances) / dof, scales, rtol=1e-10)
