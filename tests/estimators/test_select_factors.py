"""Choosing the numbers of components and of factors of mixtures of factor analysers."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

import fastem
from fastem import FactorMixture, GaussianMixture
from fastem.estimators.selecting import factors
from fastem.model.factors import FactorParams
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource

TYPES = {"factor": "each", "factor_shared": "shared", "factor_isotropic": "isotropic"}


def draw(K, q, D, n, seed=0, spacing=1.0):
    """Draw rows of K factor analysers, and their components."""
    rng = np.random.default_rng(seed)
    means, loadings, noise = spacing * rng.normal(size=(K, D)), rng.normal(size=(K, D, q)), rng.uniform(0.3, 1, (K, D))
    labels = rng.integers(K, size=n)
    rows = means[labels] + np.einsum("ndq,nq->nd", loadings[labels], rng.normal(size=(n, q)))
    return rows + noise[labels] * rng.normal(size=(n, D)), labels


def joint(model, X):
    """Log weight + log density, (N, K), by SciPy and dense covariances."""
    K, D = model.means_.shape
    noise = model.uniquenesses_.reshape({"each": (K, D), "shared": (1, D), "isotropic": (K, 1)}[model.noise])
    noise = np.broadcast_to(noise, (K, D))
    parts = zip(model.weights_, model.means_, model.loadings_, noise, strict=True)
    return np.stack(
        [np.log(w) + multivariate_normal.logpdf(X, mean, L @ L.T + np.diag(psi)) for w, mean, L, psi in parts], axis=1
    )


@pytest.fixture(scope="module")
def two():
    """Two components of two factors in eight features."""
    return draw(2, 2, 8, 500)[0]


@pytest.fixture(scope="module")
def swept(two):
    return fastem.select(two, range(1, 4), ["full", "factor"], n_factors=range(1, 4), random_state=0, max_iter=60)


# ---- the criteria and the choice ---------------------------------------------------------------------


def test_criteria_by_dense_covariances(two, swept):
    """All of the table: log-likelihoods by SciPy, free parameters as McLachlan, Peel & Bean count them."""
    others = fastem.select(two, [1, 2], ["factor_shared", "factor_isotropic"], n_factors=[2, 3], max_iter=60)
    D, n, models = 8, len(two), swept.models | others.models
    with_factors = [one for one in [*swept.candidates, *others.candidates] if one.n_factors]
    assert len(with_factors) == 3 * 3 + 2 * 2 * 2
    for one in with_factors:
        K, q = one.n_components, one.n_factors
        model = models[one.covariance_type, K, q]
        assert (model.noise, model.n_components, model.n_factors) == (TYPES[one.covariance_type], K, q)
        uniquenesses = {"each": K * D, "shared": D, "isotropic": K}[model.noise]
        p = K - 1 + K * D + K * (D * q - q * (q - 1) // 2) + uniquenesses
        each = joint(model, two)
        L = logsumexp(each, axis=1).sum()
        assert one.n_parameters == p
        assert one.log_likelihood == pytest.approx(L / n, rel=1e-10)
        assert one.bic == pytest.approx(-2 * L + p * np.log(n), rel=1e-10)
        assert one.aic == pytest.approx(-2 * L + 2 * p, rel=1e-10)
        assert one.icl == pytest.approx(-2 * each.max(axis=1).sum() + p * np.log(n), rel=1e-10)


def test_the_numbers_of_components_and_factors_are_found(two, swept):
    assert swept.best_params_ == {"covariance_type": "factor", "n_components": 2, "n_factors": 2}
    assert isinstance(swept.best_, FactorMixture)
    assert swept.best_.bic(two) == pytest.approx(swept.ranked()[0].bic, rel=1e-12)
    assert isinstance(swept.models["full", 2], GaussianMixture)
    found = fastem.select(draw(3, 1, 6, 400, seed=4)[0], range(2, 5), "factor", n_factors=[1, 2], random_state=0)
    assert found.best_params_ == {"covariance_type": "factor", "n_components": 3, "n_factors": 1}


def test_the_column_of_factors(two, swept):
    assert swept.columns[:3] == ["covariance_type", "n_components", "n_factors"]
    assert list(swept.table_.n_factors) == [0, 1, 2, 3] * 3
    assert str(swept).splitlines()[2].split()[:3] == ["factor", "2", "2"]
    assert "n_factors" not in fastem.select(two, 1, "full").columns


def test_plain_types_are_as_without_factors(two, swept):
    alone = fastem.select(two, range(1, 4), "full", random_state=0, max_iter=60)
    beside = [one for one in swept.candidates if one.covariance_type == "full"]
    assert [one[:-1] for one in alone.candidates] == [one[:-1] for one in beside]


def test_one_component_is_its_own_fit(two):
    options = dict(tol=1e-9, regularization="ridge", n_init=2)
    found = fastem.select(two, 1, "factor_shared", n_factors=3, random_state=5, **options).best_
    want = FactorMixture(1, 3, noise="shared", random_state=5, init_params="auto", **options)
    assert found.get_params() == want.get_params()
    assert_array_equal(found.loadings_, want.fit(two).loadings_)


def test_held_out_likelihood_of_factor_analysis():
    """Of one component: that of scikit-learn's FactorAnalysis on the other rows."""
    X, folds = draw(1, 1, 6, 300)[0], np.arange(300) % 3
    (one,) = fastem.select(X, 1, "factor", n_factors=1, criterion="cv", cv=folds, tol=1e-9).candidates
    parts = [(X[folds != fold], X[folds == fold]) for fold in range(3)]
    peer = FactorAnalysis(1, tol=1e-8, max_iter=10_000, svd_method="lapack")
    assert one.test == pytest.approx(np.mean([peer.fit(train).score(test) for train, test in parts]), abs=1e-6)


def test_cross_validation_chooses_them_too(two):
    found = fastem.select(two, [1, 2], "factor", n_factors=[1, 2], criterion="cv", cv=2, max_iter=60)
    assert found.best_params_ == {"covariance_type": "factor", "n_components": 2, "n_factors": 2}
    assert found.ranked()[0].test < found.ranked()[0].train


def test_weights_are_repetitions():
    X, weight = draw(2, 1, 5, 300)[0], np.random.default_rng(0).integers(0, 3, 300)
    options = dict(n_components=[1, 2], covariance_types="factor", n_factors=1, tol=1e-9, random_state=0)
    weighted = fastem.select(X, sample_weight=weight.astype(float), **options)
    repeated = fastem.select(np.repeat(X, weight, axis=0), **options)
    for a, b in zip(weighted.candidates, repeated.candidates, strict=True):
        assert_allclose(a[3:8], b[3:8], rtol=1e-6)


def test_more_rows_than_the_sample_and_rows_of_a_file(tmp_path):
    X = draw(2, 1, 4, 11_000, spacing=2.0)[0]
    np.save(tmp_path / "X.npy", X)
    found, mapped = (
        fastem.select(rows, [1, 2], "factor", n_factors=1, random_state=0) for rows in (X, tmp_path / "X.npy")
    )
    assert found.best_params_["n_components"] == 2
    assert found.best_.weights_.sum() == pytest.approx(1.0)
    assert [one[:-1] for one in found.candidates] == [one[:-1] for one in mapped.candidates]


# ---- starts ------------------------------------------------------------------------------------------


def test_a_split_finds_what_the_own_start_does_not():
    """Four lines in ten features that cross: their own start ends 0.4 nats per row below."""
    X = draw(4, 1, 10, 600, seed=2, spacing=0.3)[0]
    found = fastem.select(X, range(1, 5), "factor", n_factors=1, random_state=0)
    own = [
        FactorMixture(K, 1, init_params="auto", random_state=0, regularization=fastem.EigenvalueFloor(1e-10))
        for K in range(1, 5)
    ]
    gain = np.array([one.log_likelihood for one in found.candidates]) - [model.fit(X).score(X) for model in own]
    assert gain.min() > -1e-5
    assert gain.max() > 0.1


def test_the_component_of_two_clusters_is_cut_first():
    """At the mean of the longer of its two factors, which is the line that joins them."""
    rng = np.random.default_rng(0)
    clusters = np.repeat([[20.0, 0, 0, 0], [0, -4, -4, 0], [0, 4, 4, 0]], 200, axis=0)
    X = clusters + rng.normal(size=(600, 4)) * [1, 1, 1, 2]
    model = FactorMixture(2, 2, random_state=0).fit(X, labels=np.minimum(np.arange(600) // 200, 1))
    source = ArraySource(X)
    _, (start,) = factors.splits(model, evaluate(source, model.params_), source, 1)
    assert_allclose(start.means[[0, 2], 0], [20, 0], atol=0.5)
    assert_allclose(sorted(start.means[1:, 1]), [-4, 4], atol=1.0)


@pytest.mark.parametrize("noise", ["each", "shared", "isotropic"])
def test_halves(two, noise):
    """Both together have the donor's weight, mean and covariance."""
    params = FactorMixture(2, 2, noise=noise, random_state=0).fit(two).params_
    halves = factors.with_half(params, 1, 0)
    assert isinstance(halves, FactorParams)
    assert_allclose(halves.weights, params.weights[[0, 1, 1]] * [1, 0.5, 0.5], rtol=1e-12)
    assert_allclose(halves.means[1:].mean(axis=0), params.means[1], rtol=1e-12)
    between, within = np.cov(halves.means[1:].T, bias=True), halves.full_covariances()[1:]
    assert_allclose(within[0], within[1], rtol=1e-12)
    assert_allclose(within[0] + between, params.full_covariances()[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise", ["each", "isotropic"])
def test_the_start_of_a_partition_is_factor_analysis_of_its_parts(noise):
    X, labels = draw(2, 2, 8, 600)
    start = factors.of_labels(FactorMixture(2, 2, noise=noise, random_state=0), ArraySource(X), labels)
    assert_allclose(start.weights, np.bincount(labels) / 600, rtol=1e-9)
    for k in range(2):
        own = X[labels == k]
        assert_allclose(start.means[k], own.mean(axis=0), atol=0.02)
        found = multivariate_normal.logpdf(own, start.means[k], start.full_covariances()[k]).mean()
        if noise == "each":
            best_possible = FactorAnalysis(2, tol=1e-9, max_iter=10_000).fit(own).score(own)
            assert found == pytest.approx(best_possible, abs=0.01)


def test_partitions(two):
    """The fit is that of EM from the partition, and n_init is of no account."""
    labels = draw(2, 2, 8, 500)[1]
    options = dict(partitions={2: labels}, random_state=0, n_init=3)
    (one,) = fastem.select(two, 2, "factor", n_factors=2, **options).candidates
    own = fastem.select(two, 2, "factor", n_factors=2, random_state=0)
    assert one.log_likelihood == pytest.approx(own.candidates[0].log_likelihood, abs=1e-5)
    folded = fastem.select(two, 2, "factor", n_factors=2, criterion="cv", cv=2, **options)
    assert np.isfinite(folded.candidates[0].test)
    with pytest.raises(ValueError, match="labels must be 500 integers"):
        fastem.select(two, 2, "factor", n_factors=2, partitions={2: labels[:5]})


# ---- fits that are not sound -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, "SPIKE"), ({"reg_covar": 1e-6}, "SPIKE"), ({"regularization": "geometric"}, "SPIKE"),
     ({"reg_covar": 0.0}, "DEGENERATE"), ({"regularization": "ridge"}, "CONVERGED")],
)  # fmt: skip
@pytest.mark.parametrize("covariance", ["factor", "factor_isotropic"])
def test_a_component_of_equal_rows_is_a_spike(options, status, covariance):
    """As it is with covariances without factors, under each remedy."""
    X, labels = draw(2, 1, 5, 300)
    X[labels == 1] = 0.5
    found = fastem.select(X, 2, [covariance, "diag"], n_factors=1, partitions={2: labels}, **options)
    assert [one.status for one in found.candidates] == [status] * 2


def test_a_constant_feature_of_a_component_is_a_spike():
    X, labels = draw(2, 1, 5, 300)
    X[labels == 1, 3] = 0.25
    found = fastem.select(X, 2, "factor", n_factors=1, partitions={2: labels})
    assert found.candidates[0].status == "SPIKE"


def test_a_heywood_case_is_sound():
    """A uniqueness goes to 0, while the covariance of the component is far from singular."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 1))
    X = np.hstack([z, z + rng.normal(size=(200, 3))])
    found = fastem.select(X, 1, "factor", n_factors=1, random_state=0, tol=1e-10, max_iter=5000)
    assert (found.best_.uniquenesses_ / X.var(axis=0)).min() <= 1e-6
    assert found.candidates[0].status == "CONVERGED"


def test_too_few_rows(two):
    (one,) = fastem.select(two[:3], 4, "factor", n_factors=1).candidates
    assert one.status == "TOO_FEW_ROWS"


# ---- the way there and what comes back ---------------------------------------------------------------


def test_interrupt_keeps_what_is_done(two):
    def interrupt(done, total, candidate):
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(fastem.SelectionInterrupted) as caught:
        fastem.select(two, [1, 2], "factor", n_factors=[1, 2], callback=interrupt, random_state=0)
    found = pickle.loads(pickle.dumps(caught.value)).selection
    assert sorted(found.models) == [("factor", 1, 1), ("factor", 1, 2)]


def test_the_seed_decides(two):
    options = dict(covariance_types="factor_shared", n_factors=2, init_params="random_from_data")
    first, second = (fastem.select(two, 3, random_state=5, **options) for _ in range(2))
    assert first.candidates[0][:-1] == second.candidates[0][:-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(n_factors=None), r"'factor' needs n_factors, such as n_factors=range\(1, 5\)"),
        (dict(covariance_types=["full", "tied"]), "n_factors=2 is for .*'factor', .* got 'full', 'tied': leave n_fac"),
        (dict(n_factors=9), "n_factors=9 is more than the number of columns"),
        (dict(n_factors=[0, 1]), "'n_factors' parameter of FactorMixture must be an int"),
        (dict(n_factors=1.5), "'n_factors' parameter of FactorMixture must be an int"),
        (dict(n_factors=[]), "at least one number of components, and of factors"),
        (dict(noise=True), "'factor' does not go with noise=True, an option of GaussianMixture .* say which noise"),
        (dict(missing=True), "'factor' does not go with missing=True"),
        (dict(stop="aitken"), "'factor' does not go with stop='aitken', an option of GaussianMixture alone: leave one"),
        (dict(means_init=np.zeros((2, 8))), "'factor' does not go with means_init"),
        (dict(solver="lbfgs"), "'solver' parameter of FactorMixture"),
        (dict(regularization="map"), "prior of means"),
        (dict(covariance_types="factors"), "'covariance_type' parameter|leave n_factors out"),
    ],
)
def test_refused(two, change, message):
    with pytest.raises(ValueError, match=message):
        fastem.select(two, **(dict(n_components=[1, 2], covariance_types="factor", n_factors=2) | change))


def test_options_that_say_nothing_are_allowed(two):
    """As the command line and loops over models give them: defaults of what factors do not have."""
    found = fastem.select(two, 1, "factor", n_factors=1, noise=False, missing=False, fixed=(), means_init=None)
    assert found.candidates[0].status == "CONVERGED"


def test_unknown_options_are_refused(two):
    with pytest.raises(TypeError, match="n_component"):
        fastem.select(two, 1, "factor", n_factors=1, n_component=3)


def test_a_line_for_each_number_of_factors(two, swept):
    pytest.importorskip("matplotlib")
    lines = {line.get_label(): line for line in swept.plot().get_lines()}
    assert list(lines) == ["full", *(f"factor, q = {q}" for q in (1, 2, 3)), "best"]
    own = [swept.models["factor", K, 2].bic(two) for K in (1, 2, 3)]
    assert_allclose(lines["factor, q = 2"].get_ydata(), own, rtol=1e-9)
    assert lines["best"].get_ydata() == [swept.ranked()[0].bic]
