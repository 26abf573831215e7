"""mclust's families whose covariances share a volume, a shape or axes, against direct maximisation by scipy."""

import itertools

import numpy as np
import pytest
from helpers import ALL, CONSTRAINED, FAMILIES, STORED, from_params, make_mixture, quiet_fit
from scipy.linalg import expm
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

import fastem
from fastem.fitting.loop import iterate
from fastem.fitting.models import model_for
from fastem.fitting.stopping import Stop
from fastem.model.common_axes import axes_of, common_axes
from fastem.model.families import COVARIANCES, MCLUST, PLAIN
from fastem.model.maximisation import misfit
from fastem.model.remedies.table import find_remedy
from fastem.model.shapes import share_form
from fastem.sources.blocks import ArraySource

ALIASES = {"EII": "tied_spherical", "VII": "spherical", "EEI": "tied_diag", "VVI": "diag", "EEE": "tied", "VVV": "full"}
MONOTONE = ("ridge", "map", "geometric", "floor")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of BLAS, which wait for each other on a loaded machine, make scipy's searches fifty times as slow."""
    with threadpool_limits(1, user_api="blas"):
        yield


def some_covariances(family, K, D, seed=0):
    """Covariances of rows, as they are stored, and masses; no two of them have anything in common."""
    rng = np.random.default_rng([seed, K, D])
    root = rng.normal(size=(K, D, D)) / np.sqrt(D) + np.eye(D)
    full = root @ root.swapaxes(-1, -2) * rng.uniform(0.1, 10, (K, 1, 1))
    stored = np.einsum("kii->ki", full)[:, None] if STORED[family] == "diag" else full
    return stored, rng.uniform(5, 50, K)


def full_of(covariances):
    """Matrices (K, D, D), of what is stored."""
    return covariances if covariances.shape[-2] > 1 else covariances[:, 0, :, None] * np.eye(covariances.shape[-1])


# ---- independent arithmetic --------------------------------------------------------------------------


def skew(angles, D):
    """An orthogonal matrix (D, D)."""
    matrix = np.zeros((D, D))
    matrix[np.triu_indices(D, 1)] = angles
    return expm(matrix - matrix.T)


def unfold(letters, vector, K, D):
    """Covariances (K, D, D) of a family, by letters, from a vector without constraints."""
    vector, parts = list(vector), []
    for letter, size in zip(letters, (1, D - 1, D * (D - 1) // 2), strict=True):
        n = {"E": 1, "V": K, "I": 0}[letter]
        part = np.reshape([vector.pop(0) for _ in range(n * size)], (n, size))
        parts.append(np.repeat(part, K, axis=0) if n == 1 else part if n else np.zeros((K, size)))
    volume, shape, angles = parts
    shape = np.column_stack([shape, -shape.sum(axis=1)])
    axes = np.array([skew(each, D) for each in angles])
    return (axes * np.exp(volume + shape)[:, None]) @ axes.swapaxes(-1, -2)


def size_of(letters, K, D):
    return COVARIANCES[letters].n_parameters(K, D)


def misfit_of(full, rows, mass):
    """sum_k m_k [log det cov_k + tr(C_k inv(cov_k))], by NumPy."""
    traces = np.trace(np.linalg.solve(full, rows), axis1=-2, axis2=-1)
    return mass @ (np.linalg.slogdet(full)[1] + traces)


def least(function, size, n_starts, seed=0):
    """The least value that BFGS finds from some starts."""
    rng = np.random.default_rng(seed)
    starts = [np.zeros(size), *rng.normal(scale=0.7, size=(n_starts - 1, size))]
    return min(minimize(function, start, method="BFGS", options={"gtol": 1e-7}).fun for start in starts)


@pytest.mark.parametrize("letters", CONSTRAINED)
@pytest.mark.parametrize("seed", range(2))
def test_the_m_step_is_the_maximum_that_scipy_finds(letters, seed):
    K, D = 2 + seed, 3 - seed
    stored, mass = some_covariances(letters, K, D, seed)
    found, rows = full_of(COVARIANCES[letters].constraint.maximise(stored, mass)), full_of(stored)
    best = least(lambda v: misfit_of(unfold(letters, v, K, D), rows, mass) / mass.sum(), size_of(letters, K, D), 5)
    assert misfit_of(found, rows, mass) / mass.sum() == pytest.approx(best, rel=0, abs=1e-9)


def majorised_axes(rows, mass, letters, axes, n):
    """The axes after n steps of Browne & McNicholas (2014), section 3."""
    top = np.linalg.eigvalsh(rows)[:, -1]
    for _ in range(n):
        values = np.einsum("ia,kij,ja->ka", axes, rows, axes)
        if letters[0] == "E":
            values = values / np.exp(np.log(values).mean(axis=1))[:, None]
        weight = mass[:, None] / values
        F = np.einsum("ka,ia,kij->aj", weight, axes, rows) - np.einsum("ka,k,ja->aj", weight, top, axes)
        left, _, right = np.linalg.svd(F)
        axes = -(left @ right).T
    return axes


@pytest.mark.parametrize("letters", ["EVE", "VVE"])
@pytest.mark.parametrize(("K", "D"), [(2, 2), (3, 4)])
def test_common_axes_are_where_majorisation_goes(letters, K, D):
    rows, mass = some_covariances(letters, K, D)
    share, equal = mass / mass.sum(), letters[0] == "E"
    axes = common_axes(rows, share, equal, None)
    np.testing.assert_allclose(axes.T @ axes, np.eye(D), atol=1e-13)

    def height(axes):
        values = np.einsum("ia,kij,ja->ka", axes, rows, axes)
        volumes = np.exp(np.log(values).mean(axis=1))
        return D * np.log(share @ volumes) if equal else D * share @ np.log(volumes)

    pooled = np.linalg.eigh(np.einsum("k,kij->ij", mass, rows))[1]
    assert height(majorised_axes(rows, mass, letters, pooled, 500)) == pytest.approx(height(axes), rel=0, abs=1e-8)
    for shake in (0.0, 0.05):  # a local minimum
        near = axes @ skew(shake * np.random.default_rng(0).normal(size=D * (D - 1) // 2), D)
        assert height(majorised_axes(rows, mass, letters, near, 50)) >= height(axes) - 1e-13


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("exponent", [-600, -332, 332, 600])
def test_common_axes_do_not_depend_on_the_unit(exponent, equal):
    root = np.random.default_rng(1).normal(size=(3, 4, 4))
    rows, share, unit = root @ root.swapaxes(-1, -2), np.array([0.2, 0.3, 0.5]), 2.0**exponent
    for start in (None, rows):
        want = common_axes(rows, share, equal, start)
        found = common_axes(rows * unit, share, equal, None if start is None else start * unit)
        np.testing.assert_array_equal(found, want)


def test_axes_that_rows_have_in_common_are_found():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    values = rng.uniform(0.01, 100, (5, 20))
    rows = (axes * values[:, None]) @ axes.T
    found = common_axes(rows, np.full(5, 0.2), False, None)
    assert (np.abs(found.T @ axes).max(axis=0) > 1 - 1e-10).all()


def test_the_axes_of_covariances_are_those_of_no_sum_with_equal_weights():
    covariances = np.array([np.diag([1.0, 9.0]), np.diag([9.0, 1.0])])
    turn = skew([0.3], 2)
    assert (np.abs(axes_of(turn @ covariances @ turn.T).T @ turn).max(axis=0) > 1 - 1e-12).all()


def test_a_swap_of_axes_is_no_sphere():
    """The pooled covariance of these two has no axes, and the mean of their own has none either."""
    rows = np.array([np.diag([1.0, 9.0]), np.diag([9.0, 1.0])])
    turn = skew([0.3], 2)
    found = common_axes(turn @ rows @ turn.T, np.full(2, 0.5), False, turn @ rows @ turn.T)
    assert (np.abs(found.T @ turn).max(axis=0) > 1 - 1e-12).all()


# ---- what the letters say ----------------------------------------------------------------------------


@pytest.mark.parametrize("letters", CONSTRAINED)
@pytest.mark.parametrize("options", [{}, {"reg_covar": 0.3}, *({"regularization": name} for name in MONOTONE)], ids=str)
def test_fits_obey_their_letters(letters, options):
    mixture = make_mixture(300, 3, 3, spacing=3.0, seed=5)
    model = fastem.GaussianMixture(3, covariance_type=letters, random_state=0, **{"reg_covar": 0.0, **options})
    full = from_params(quiet_fit(model, mixture.X).params_).covariances
    volumes = np.linalg.det(full)
    values = np.linalg.eigvalsh(full) / volumes[:, None] ** (1 / 3)
    commute = [np.abs(a @ b - b @ a).max() / np.abs(a @ b).max() for a, b in itertools.combinations(full, 2)]
    assert (np.ptp(volumes) / volumes.max() < 1e-9) == (letters[0] == "E")
    assert (np.ptp(values, axis=0).max() < 1e-8) == (letters[1] == "E")
    assert (max(commute) < 1e-9) == (letters[2] != "V")
    assert (np.abs(full * (1 - np.eye(3))).max() == 0) == (letters[2] == "I")


@pytest.mark.parametrize("letters", CONSTRAINED)
def test_covariances_that_obey_are_their_own_maximum(letters):
    stored, mass = some_covariances(letters, 4, 3)
    maximise = COVARIANCES[letters].constraint.maximise
    once = maximise(stored, mass)
    for other in (mass, mass[::-1]):
        for start in (None, once):
            np.testing.assert_allclose(maximise(once, other, start), once, rtol=1e-8, atol=1e-10)


def test_numbers_of_parameters():
    """mclust's nVarParams, d = 4 and G = 3."""
    want = [1, 3, 4, 6, 10, 12, 10, 12, 16, 18, 22, 24, 28, 30]
    assert [COVARIANCES[letters].n_parameters(3, 4) for letters in MCLUST] == want
    assert [COVARIANCES[letters].n_parameters(1, 4) for letters in MCLUST] == [1, 1, *[4] * 4, *[10] * 8]
    assert [COVARIANCES[letters].n_parameters(3, 1) for letters in MCLUST] == [3 if c[0] == "V" else 1 for c in MCLUST]


def test_the_names():
    assert len(MCLUST) == 14
    assert PLAIN == FAMILIES
    assert {*ALIASES, *CONSTRAINED} == {*MCLUST}
    assert {*ALL, *ALIASES} == {*COVARIANCES}
    for letters, name in ALIASES.items():
        assert COVARIANCES[letters].storage == COVARIANCES[name].storage
        assert COVARIANCES[letters].free


@pytest.mark.parametrize(("letters", "name"), ALIASES.items())
def test_an_alias_is_the_family_of_the_other_name(letters, name):
    X = make_mixture(200, 2, 2, spacing=4.0).X
    one, other = (fastem.GaussianMixture(2, covariance_type=t, random_state=0).fit(X) for t in (letters, name))
    assert one.get_params()["covariance_type"] == letters
    assert one.covariances_.tobytes() == other.covariances_.tobytes()
    assert one.bic(X) == other.bic(X)


# ---- degenerate rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("letters", CONSTRAINED)
def test_one_component_or_feature(letters):
    """With one component nothing is shared; in one dimension there is a volume alone."""
    X = make_mixture(200, 3, 2, spacing=4.0).X
    one = fastem.GaussianMixture(1, covariance_type=letters, reg_covar=0.0).fit(X)
    plain = fastem.GaussianMixture(1, covariance_type=STORED[letters], reg_covar=0.0).fit(X)
    np.testing.assert_allclose(one.covariances_, plain.covariances_, rtol=1e-12, atol=1e-13)
    line = fastem.GaussianMixture(2, covariance_type=letters, reg_covar=0.0, random_state=0, tol=1e-9, max_iter=500)
    name = "tied_spherical" if letters[0] == "E" else "spherical"
    want = fastem.GaussianMixture(2, covariance_type=name, reg_covar=0.0, random_state=0, tol=1e-9, max_iter=500)
    assert line.fit(X[:, :1]).score(X[:, :1]) == pytest.approx(want.fit(X[:, :1]).score(X[:, :1]), rel=0, abs=1e-9)


@pytest.mark.parametrize("letters", CONSTRAINED)
@pytest.mark.parametrize("remedy", MONOTONE)
def test_columns_that_do_not_vary_change_nothing(letters, remedy):
    """A constant column, and for matrices one that depends on others: the rest is fitted as without them."""
    X = make_mixture(150, 3, 3, spacing=4.0, seed=2).X
    labels = np.arange(150) % 3
    depends = X[:, :1] - 2 * X[:, 1:2] if STORED[letters] == "full" else np.full((150, 1), 7.0)
    wide = np.column_stack([X, np.full(150, 3.0), depends])
    logliks = []
    for rows in (X, wide):
        stats = fastem.moments(rows, labels=labels, covariance_type=letters)
        params = fastem.m_step(stats, letters, regularization=remedy)
        if letters in ("VEE", "EVV", "VEI", "EVI"):  # right angles, which the others know, are other ones there
            logliks.append(fastem.em(rows, params, covariance_type=letters, regularization=remedy, max_iter=20).history)
        assert np.isfinite(params.covariances).all()
    if logliks and remedy != "map":  # whose prior depends on the number of features
        np.testing.assert_allclose(np.diff(logliks[0]), np.diff(logliks[1]), atol=1e-7)


@pytest.mark.parametrize("letters", ["EVE", "VVE"])
def test_clusters_that_are_points_have_no_axes(letters):
    X = np.repeat([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]], 20, axis=0)
    with pytest.raises(fastem.SingularCovarianceError, match="linear combination of other columns"):
        fastem.GaussianMixture(2, covariance_type=letters, reg_covar=0.0, random_state=0).fit(X)


@pytest.mark.parametrize("letters", CONSTRAINED)
def test_rows_without_volume(letters):
    """A component on two rows: without a remedy an error that names it, or a shape or axes from the others."""
    X = np.vstack([make_mixture(60, 3, 2, spacing=5.0).X, np.full((2, 3), 30.0) + np.eye(3)[:2]])
    labels = np.r_[np.arange(60) % 2, 2, 2]
    stats = fastem.moments(X, labels=labels, covariance_type=letters)
    if letters in ("EVI", "EVV"):
        with pytest.raises(fastem.SingularCovarianceError) as error:
            fastem.m_step(stats, letters)
        assert error.value.components == [2]
    elif letters not in ("EVE", "VVE"):  # whose likelihood may run off, as axes can turn until a variance is 0
        assert np.isfinite(fastem.m_step(stats, letters).factor).all()
    for options in ({"reg_covar": 1e-6}, *({"regularization": name} for name in MONOTONE)):
        assert np.isfinite(fastem.m_step(stats, letters, **options).factor).all()


@pytest.mark.parametrize("letters", CONSTRAINED)
def test_an_empty_component_without_a_remedy_keeps_its_own(letters):
    """As far as the family lets it: the other components do not notice it."""
    mixture = make_mixture(90, 2, 3, spacing=5.0)
    before = fastem.m_step(fastem.moments(mixture.X, labels=np.arange(90) % 3, covariance_type=letters), letters)
    labels = np.where(np.arange(90) % 3 == 2, 0, np.arange(90) % 3)
    stats = fastem.moments(mixture.X, labels=labels, n_components=3, covariance_type=letters)
    params = fastem.m_step(stats, letters, previous=before)
    alone = fastem.m_step(fastem.moments(mixture.X, labels=labels, covariance_type=letters), letters)
    np.testing.assert_allclose(params.covariances[:2], alone.covariances, rtol=1e-7, atol=1e-9)
    assert np.isfinite(params.factor).all()


def test_iterations_end_where_nothing_is_in_common():
    """Variances of components that have no feature in common: volumes run off, and the iteration stops."""
    values = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 3.0]])
    found = share_form(values, np.array([0.4, 0.6]), None)
    assert np.isfinite(found).all()


# ---- remedies ----------------------------------------------------------------------------------------


def expected_objective(model, params, stats):
    """The expected log-likelihood of the rows' moments, and the log prior, up to a constant."""
    own = stats.shifted(params.means)
    rows = own.s2 / own.s0[:, None, None]
    return -misfit(params.factor, rows, own.s0) / 2 + model.remedy.log_prior(params, model.family, model.units)


@pytest.mark.parametrize("letters", CONSTRAINED)
@pytest.mark.parametrize("remedy", [fastem.Ridge(2.0), fastem.InverseWishart(), fastem.GeometricRidge(3.0)])
def test_the_m_step_under_a_remedy_is_the_maximum_that_scipy_finds(letters, remedy):
    """In one step where rows are added that do not depend on the covariances, and else after some."""
    K, D = 2, 2
    X = make_mixture(40, D, K, spacing=2.0, seed=8).X * [1, 5]
    model = model_for(ArraySource(X), letters, remedy)
    stats = fastem.moments(X, labels=(np.arange(40) > 25).astype(int), covariance_type=letters)
    params = model.update(stats)
    for _ in range(0 if "Geometric" not in str(remedy) else 40):
        before, params = params, model.update(stats, params)
        gain = expected_objective(model, params, stats) - expected_objective(model, before, stats)
        assert gain > -1e-12
    scale = np.diag(X.std(axis=0)) if letters[2] == "I" else np.eye(D)

    def loss(vector):
        full = scale @ unfold(letters, vector, K, D) @ scale
        own = full if STORED[letters] == "full" else np.einsum("kii->ki", full)
        try:
            trial = fastem.make_params(params.weights, params.means, own, letters)
        except ValueError:
            return 1e9
        return -expected_objective(model, trial, stats) / 40

    best = least(loss, size_of(letters, K, D), 3)
    assert -expected_objective(model, params, stats) / 40 == pytest.approx(best, rel=0, abs=1e-8)


def random_problem(seed):
    """Rows that components fit ill: few, rounded, constant or dependent columns among them; and a partition."""
    rng = np.random.default_rng(seed)
    D, K, N = int(rng.integers(1, 6)), int(rng.integers(1, 5)), int(rng.integers(20, 150))
    X = rng.normal(size=(N, D)) * rng.uniform(0.1, 10, D)
    X[: N // 2] = X[: N // 2] @ rng.normal(size=(D, D)) + 3 * rng.normal(size=D)
    if seed % 3 == 0:
        X = np.round(X)
    if seed % 7 == 0 and D > 1:
        X[:, 0] = 2.0
    if seed % 11 == 0 and D > 2:
        X[:, 1] = X[:, 0] + X[:, 2]
    labels = rng.integers(0, K, N)
    labels[:K] = range(K)
    return X, labels, K


def assert_ascends(letters, remedy, seed):
    """EM from a random partition: the objective never falls by more than rounding explains."""
    X, labels, K = random_problem(seed)
    model = model_for(ArraySource(X), letters, find_remedy(remedy))
    stats = fastem.moments(X, labels=labels, n_components=K, covariance_type=letters)
    try:
        start = model.feasible(model.update(stats))
    except fastem.SingularCovarianceError:
        assert remedy is None
        return
    result = iterate(ArraySource(X), start, model, stop=Stop("change", 0.0), max_iter=40)
    assert result.status in (fastem.Status.MAX_ITER, fastem.Status.CONVERGED) or remedy is None
    assert not any(event.what == "fell" for event in result.events), result.events


@pytest.mark.parametrize("letters", CONSTRAINED)
@pytest.mark.parametrize("remedy", [None, *MONOTONE, fastem.EigenvalueFloor(0.2)], ids=str)
def test_ascent(letters, remedy):
    """A high floor bites, where what comes of it may be worse than what was before."""
    for seed in (5, 7, 22):
        assert_ascends(letters, remedy, seed)


@pytest.mark.slow
@pytest.mark.parametrize("letters", CONSTRAINED)
def test_ascent_on_a_hundred_problems(letters):
    """Without a remedy, and under each of them in turn."""
    for seed in range(100):
        assert_ascends(letters, None, seed)
        assert_ascends(letters, MONOTONE[seed % 4], seed)


@pytest.mark.parametrize("letters", ["VEI", "EEV"])
def test_what_is_refused(letters):
    X = make_mixture(50, 2, 2).X
    stats = fastem.moments(X, labels=np.arange(50) % 2, covariance_type=letters)
    params = fastem.m_step(stats, letters)
    for call in (
        lambda: fastem.m_step(stats, letters, regularization="ratio"),
        lambda: fastem.em(X, params, covariance_type=letters, regularization=fastem.EigenvalueRatio(10.0)),
        lambda: fastem.GaussianMixture(2, covariance_type=letters, regularization="ratio").fit(X),
        lambda: fastem.GaussianMixture(2, covariance_type=letters, solver="lbfgs").fit(X),
        lambda: fastem.lbfgs(X, params, covariance_type=letters),
        lambda: fastem.fit_many(X, np.arange(50) % 3, 1, covariance_type=letters),
    ):
        with pytest.raises(ValueError, match=f"covariance_type='{letters}' does not work with"):
            call()
    with pytest.raises(ValueError, match="'covariance_type' parameter of BayesianGaussianMixture must be"):
        fastem.BayesianGaussianMixture(n_components=2, covariance_type=letters).fit(X)
