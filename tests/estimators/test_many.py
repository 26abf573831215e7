"""A mixture per group: each is what GaussianMixture makes of the group's rows."""

import numba
import numpy as np
import pytest
from helpers import FAMILIES, assert_close, fitted, make_mixture, make_start, outcome, quiet_fit
from numpy.testing import assert_allclose, assert_array_equal
from tiles import jitted

import fastem
from fastem import GaussianMixture, Status, fit_many
from fastem.estimators.groups import partition
from fastem.estimators.groups.partition import find_codes, stable_order
from fastem.kernels import groups as kernel
from fastem.kernels import jit
from fastem.kernels.mixture import add_point
from fastem.model.families import COVARIANCES
from fastem.model.matrices import factorise, pivot_tolerance
from fastem.model.stats import Stats
from fastem.passes.sums import reduced, unpacked

ROWS = [40, 5, 193, 33, 400, 64, 2, 20]  # on both sides of a tile


@pytest.fixture(autouse=True)
def _interpreter_is_silent():
    """Without JIT, NumPy's scalars warn where compiled code does not."""
    with np.errstate(all="ignore" if numba.config.DISABLE_JIT else None):
        yield


def make_groups(D, K, spacing=4.0, sizes=ROWS, seed=0):
    """Rows of groups with mixtures of their own, in shuffled order, and the rows' groups."""
    parts = [make_mixture(max(n, K), D, K, spacing=spacing, seed=[seed, g]).X[:n] for g, n in enumerate(sizes)]
    X, groups = np.concatenate(parts), np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(seed).permutation(len(X))
    return X[order], groups[order]


def quiet(*args, **options):
    """fit_many without the warning about groups that did not converge."""
    value, error, _ = outcome(lambda: fit_many(*args, **options))
    if error:
        raise error
    return value


def assert_same_fit(fits, label, model):
    """The group's mixture, number of passes, bound and status are those of a fitted GaussianMixture."""
    assert_close(fitted(fits.model(label)), fitted(model), 1e-7, label)
    g = int(np.searchsorted(fits.labels, label))
    assert fits.n_iter[g] == model.n_iter_, label
    assert fits.status[g] is model.status_, label
    assert_allclose(fits.lower_bound[g], model.lower_bound_, rtol=1e-9)


# ---- against GaussianMixture -------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(("D", "K", "reg_covar"), [(1, 2, 1e-6), (2, 2, 0.0), (3, 3, 1e-6), (6, 2, 0.0)])
def test_each_group_is_what_gaussian_mixture_makes_of_it(D, K, covariance_type, reg_covar):
    mixture = make_mixture(400, D, K, spacing=4.0)
    start = make_start(mixture, covariance_type)
    sizes = [n for n in ROWS if n >= 10 * D]
    X, groups = make_groups(D, K, sizes=sizes)
    X += mixture.X.mean(axis=0)
    options = dict(covariance_type=covariance_type, reg_covar=reg_covar, tol=1e-4, max_iter=60, **start)
    fits = quiet(X, groups, K, **options)
    for g in range(len(sizes)):
        model, error, _ = outcome(lambda g=g: quiet_fit(GaussianMixture(K, **options), X[groups == g]))
        assert error is None
        assert_same_fit(fits, g, model)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_weights(covariance_type):
    X, groups = make_groups(2, 2, sizes=[60, 90, 200])
    weight = np.random.default_rng(1).integers(0, 3, size=len(X)).astype(float)
    start = make_start(make_mixture(400, 2, 2, spacing=4.0), covariance_type)
    options = dict(covariance_type=covariance_type, reg_covar=1e-6, **start)
    fits = quiet(X, groups, 2, sample_weight=weight, **options)
    for g in range(3):
        mine = groups == g
        assert_same_fit(fits, g, quiet_fit(GaussianMixture(2, **options), X[mine], sample_weight=weight[mine]))
    times = weight.astype(int)
    again = quiet(np.repeat(X, times, axis=0), np.repeat(groups, times), 2, **options)
    assert_allclose(again.means, fits.means, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_starts_by_kmeans(covariance_type):
    """Of clusters far apart any k-means finds the same start, numbered in the same order."""
    X, groups = make_groups(3, 3, spacing=40.0, sizes=[60, 30, 250])
    for max_iter in (0, 20):
        options = dict(covariance_type=covariance_type, reg_covar=1e-6, max_iter=max_iter, random_state=0)
        fits = fit_many(X, groups, 3, **options)
        for g in range(3):
            model = quiet_fit(GaussianMixture(3, **options), X[groups == g])
            assert_close(fitted(fits.model(g)), fitted(model), 1e-7, g)
        assert_array_equal(fits.n_iter > 0, max_iter > 0)


def test_kmeans_finds_the_optimum_of_overlapping_clusters():
    """As good as GaussianMixture's start, on the whole: the bound is lower by 0.01 in few groups."""
    X, groups = make_groups(2, 3, spacing=4.0, sizes=[150] * 40)
    fits = quiet(X, groups, 3, random_state=0, tol=1e-6, max_iter=500)
    models = [quiet_fit(GaussianMixture(3, random_state=0, tol=1e-6, max_iter=500), X[groups == g]) for g in range(40)]
    worse = fits.lower_bound - [model.lower_bound_ for model in models]
    assert np.mean(worse < -0.01) < 0.25
    assert worse.mean() > -0.01


@pytest.mark.parametrize(
    "given", [("weights_init",), ("means_init",), ("precisions_init",), ("means_init", "weights_init")]
)
def test_parts_of_a_start(given):
    X, groups = make_groups(2, 2, spacing=40.0, sizes=[60, 90])
    start = make_start(make_mixture(400, 2, 2, spacing=40.0), "full")
    if "means_init" in given:
        X = X[groups == 0]
        groups = np.zeros(len(X), dtype=int)
    options = {name: start[name] for name in given} | dict(random_state=0)
    fits = quiet(X, groups, 2, max_iter=3, reg_covar=1e-6, **options)
    for g in fits.labels:
        assert_same_fit(fits, g, quiet_fit(GaussianMixture(2, max_iter=3, **options), X[groups == g]))


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_start_per_group(covariance_type):
    X, groups = make_groups(2, 2, sizes=[60, 90, 200])
    starts = [make_start(make_mixture(400, 2, 2, spacing=4.0), covariance_type, seed=g) for g in range(3)]
    together = {name: np.array([start[name] for start in starts]) for name in starts[0]}
    fits = quiet(X, groups, 2, reg_covar=1e-6, covariance_type=covariance_type, **together)
    for g, start in enumerate(starts):
        alone = quiet(X[groups == g], groups[groups == g], 2, reg_covar=1e-6, covariance_type=covariance_type, **start)
        assert_array_equal(alone.means[0], fits.means[g])
        assert_array_equal(alone.covariances[0], fits.covariances[g])
    assert fits.covariances.shape == (3, *np.shape(starts[0]["precisions_init"]))


# ---- the M-step ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("D", [1, 3, 5])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_m_step_is_that_of_the_families(covariance_type, D, offset):
    """Also where variances are lost to rounding: a constant column, means that come from far away."""
    K, rng = 3, np.random.default_rng(D)
    family = COVARIANCES[covariance_type]
    X, labels = rng.normal(size=(200, D)) + offset, rng.integers(0, K, size=200)
    X[:, 0] = offset + 3.0
    start = rng.normal(size=(K, D)) + offset
    start[2] += 1e9
    shape = family.shape(K, D)
    form = kernel.FULL if shape[-2] > 1 else kernel.DIAG
    mass = np.array([1e-15, 1.0, 1.0])  # component 0 has next to no rows
    sums = packed(X - start[labels], labels, form, K) * mass[:, None, None]
    s0 = np.bincount(labels, minlength=K) * mass
    s1, s2 = unpacked(sums, form, D)
    stats = Stats(np.nan, np.nan, np.nan, s0, s1, reduced(s2, shape), start, len(X))
    want = family.estimate(stats, 1e-6)
    got = np.empty(K), np.empty((K, D)), np.empty(shape), np.empty(shape)
    scratch = np.empty(K), np.empty((2, shape[0], shape[2]))
    least, before = np.full(shape[2], 1e-6), np.empty((0, 0, 0))
    assert jitted(kernel.m_step)(s0, sums, len(X), least, 0.0, before, start, *scratch, got)
    assert_allclose(got[0], want[0], rtol=1e-13)
    assert_allclose(got[1], want[1], rtol=1e-13, atol=1e-6)  # component 2 came from 1e9
    error = got[2] - want[2]
    if shape[-2] > 1:
        scale = np.sqrt(np.einsum("kii->ki", want[2]))
        error /= scale[:, :, None] * scale[:, None, :]
    else:
        error /= want[2]
    assert np.abs(error).max() < 1e-8
    assert_allclose(got[3], factorise(got[2]), rtol=1e-8, atol=1e-12)


def packed(Z, labels, form, K):
    """Moments (K, rows, 4) in the kernels' layout, of rows Z (N, D) about their components' origins."""
    sums = np.zeros((K, kernel.moments_rows(form, Z.shape[1]), 4))
    padded = np.zeros((len(Z), -(-Z.shape[1] // 4) * 4))
    padded[:, : Z.shape[1]] = Z
    add = jitted(add_point)
    for z, k in zip(padded, labels, strict=True):
        add(z, 1.0, form, Z.shape[1], sums[k])
    return sums


def test_m_step_of_a_constant_column():
    """About an origin that is off by rounding, its variance is 0."""
    X = np.c_[np.full(50, 1e8), np.random.default_rng(0).normal(size=50)]
    origin = np.array([[np.nextafter(1e8, np.inf), 0.0]])
    for form, shape in ((kernel.FULL, (1, 2, 2)), (kernel.DIAG, (1, 1, 2))):
        sums = packed(X - origin, np.zeros(50, dtype=int), form, 1)
        got = np.empty(1), np.empty((1, 2)), np.empty(shape), np.empty(shape)
        scratch = np.empty(1), np.empty((2, 1, 2))
        assert not jitted(kernel.m_step)(
            np.array([50.0]), sums, 50, np.zeros(2), 0.0, np.empty((0, 0, 0)), origin, *scratch, got
        )
        assert got[2].ravel()[0] == 0.0


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_the_start_is_where_lloyds_iterations_end(covariance_type):
    """A further one moves the centres, all of them, by less than the tolerance of k-means."""
    X = np.random.default_rng(0).uniform(size=(600, 3))
    groups, K = np.arange(600) // 200, 4
    found = fit_many(X, groups, K, covariance_type=covariance_type, random_state=0, max_iter=0)
    for g, means in enumerate(found.means):
        rows = X[groups == g]
        nearest = ((rows[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        moved = np.array([rows[nearest == k].mean(axis=0) for k in range(K)])
        assert ((moved - means) ** 2).sum() <= kernel.LLOYD_TOL * rows.var(axis=0).mean()


@pytest.mark.parametrize("weight", [np.empty(0), np.array([1.0, 1.0, 1.0, 0.0])])
def test_empty_cluster(weight):
    """It takes the row, of those with a weight, that is farthest from its centre."""
    X, centres = np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([[1.0], [100.0]])
    n = 3 if weight.size else 4
    sums = np.zeros((2, 1, 4))
    sums[0, 0, 0] = (X[:n] - 1.0).sum()
    shift = jitted(kernel.move_centres)(X, weight, 0, 4, np.array([float(n), 0.0]), sums, np.empty(4), centres)
    assert_allclose(centres.ravel(), [X[:n].mean(), X[n - 1, 0]])
    assert_allclose(shift, (X[:n].mean() - 1) ** 2 + (X[n - 1, 0] - 100) ** 2)


def test_pivots_that_are_rounding():
    covariance, factor = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-15]]), np.empty((2, 2))
    assert jitted(kernel.factorise)(covariance, 0.0, factor)
    assert not jitted(kernel.factorise)(covariance, pivot_tolerance(2, 0.0), factor)
    assert not jitted(kernel.factorise)(np.array([[1.0, np.nan], [np.nan, 1.0]]), 0.0, factor)
    assert not jitted(kernel.factorise)(np.array([[np.inf, 1.0]]), 0.0, np.empty((1, 2)))


# ---- groups that cannot be fitted ---------------------------------------------------------------------


def test_one_group_does_not_stop_the_others():
    X, groups = make_groups(2, 3, sizes=[50, 2, 60])
    X = np.r_[X, np.ones((7, 2))]
    groups = np.r_[groups, np.full(7, 3)]
    with pytest.warns(fastem.ConvergenceWarning, match="2 of 4 groups did not converge"):
        fits = fit_many(X, groups, 3, reg_covar=0.0, random_state=0, max_iter=1000)
    assert [status.name for status in fits.status] == ["CONVERGED", "TOO_FEW_ROWS", "CONVERGED", "DEGENERATE"]
    assert_array_equal(fits.converged, [True, False, True, False])
    assert_array_equal(np.isnan(fits.means).all(axis=(1, 2)), [False, True, False, True])
    assert_array_equal(np.isinf(fits.lower_bound), [False, True, False, True])
    assert_array_equal(fits.n_iter[[1, 3]], 0)
    for values in (fits.score_samples(X, groups), fits.predict_proba(X, groups).sum(axis=1)):
        assert_array_equal(np.isnan(values), (groups % 2) == 1)
    assert_array_equal(fits.predict(X, groups) == -1, (groups % 2) == 1)
    stats = fits.accumulate(X, groups)
    for field in ("loglik", "s0", "s1", "s2"):
        sums = getattr(stats, field).reshape(4, -1)
        assert_array_equal(np.isnan(sums), np.broadcast_to([[False], [True]] * 2, sums.shape), err_msg=field)
    with pytest.raises(ValueError, match=r"group 1 has no mixture\. Not fitted: the group has fewer rows"):
        fits.model(1)
    with pytest.raises(ValueError, match=r"a group has one label, such as 0; got an array of shape \(2,\)"):
        fits.model([0, 1])


def test_a_single_row():
    """GaussianMixture refuses it even for one component."""
    fits = quiet([[0.0], [1.0], [2.0], [5.0]], [0, 0, 0, 1], 1)
    assert [status.name for status in fits.status] == ["CONVERGED", "TOO_FEW_ROWS"]


def test_weightless_rows_do_not_count():
    X, groups = make_groups(2, 2, sizes=[50, 20])
    weight = (groups == 0).astype(float)
    weight[np.flatnonzero(groups == 1)[0]] = 1.0
    fits = quiet(X, groups, 2, sample_weight=weight)
    assert [status.name for status in fits.status] == ["CONVERGED", "TOO_FEW_ROWS"]


def test_collapse():
    """In mid-fit, without reg_covar: the last sound parameters, as GaussianMixture's."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    X[:3] = 8.0, 8.0
    start = dict(weights_init=[0.9, 0.1], means_init=[[0.0, 0.0], [8.0, 8.0]], precisions_init=[np.eye(2)] * 2)
    options = dict(reg_covar=0.0, tol=0.0, max_iter=200)
    model = quiet_fit(GaussianMixture(2, **options, **start), X)
    assert model.status_ is Status.DEGENERATE
    fits = quiet(X, np.zeros(30, dtype=int), 2, **options, **start)
    assert_same_fit(fits, 0, model)


@pytest.mark.parametrize("reg_covar", [1e-6, 0.0])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_empty_component(covariance_type, reg_covar):
    X = make_mixture(60, 2, 2, spacing=4.0).X
    start = make_start(make_mixture(60, 2, 2, spacing=4.0), covariance_type)
    start["means_init"] = np.array([X.mean(axis=0), [1e4, 1e4]])
    options = dict(covariance_type=covariance_type, reg_covar=reg_covar, **start)
    model = quiet_fit(GaussianMixture(2, **options), X)
    fits = quiet(X, np.zeros(60, dtype=int), 2, **options)
    assert fits.status[0] is model.status_
    assert fits.n_iter[0] == model.n_iter_
    assert_allclose(fits.means[0], model.means_, rtol=1e-9)
    assert_allclose(fits.covariances[0], model.covariances_, rtol=1e-7, atol=1e-12)


def test_fewer_distinct_rows_than_components():
    X = np.repeat(make_mixture(3, 2, 2).X, 10, axis=0)
    fits = quiet(X, np.zeros(30, dtype=int), 5, random_state=0)
    assert np.isfinite(fits.covariances).all()
    assert_allclose(fits.weights.sum(), 1)


# ---- how groups are given ------------------------------------------------------------------------------


def test_labels_of_any_kind():
    X, groups = make_groups(2, 2, sizes=[60, 90, 200])
    names = {
        "negative": np.array([-5, 0, 7]),
        "far apart": np.array([-(2**60), 3, 2**60]),
        "unsigned": np.array([1, 250, 255], dtype=np.uint8),
        "strings": np.array(["anna", "bert", "carl"]),
        "objects": np.array(["anna", "bert", "carl"], dtype=object),
    }
    want = quiet(X, groups, 2, random_state=0)
    for kind, labels in names.items():
        fits = quiet(X, labels[groups], 2, random_state=0)
        assert_array_equal(fits.labels, labels, err_msg=kind)
        assert_array_equal(fits.means, want.means, err_msg=kind)
        assert_array_equal(fits.predict(X[5:], labels[groups[5:]]), want.predict(X[5:], groups[5:]), err_msg=kind)
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    by_size = quiet(X[order], None, 2, sizes=sizes, random_state=0)
    assert_array_equal(by_size.means, want.means)
    assert_array_equal(by_size.predict(X[order], sizes=sizes), want.predict(X, groups)[order])
    with_empty = quiet(X[order], None, 2, sizes=np.insert(sizes, 3, 0), random_state=0)
    assert with_empty.status[3] is Status.TOO_FEW_ROWS


@pytest.mark.parametrize("n_groups", [3, 200, 70_000])
def test_order_of_rows(n_groups):
    values = np.random.default_rng(0).integers(0, n_groups, size=100_000) * 3 - 7
    labels, codes = find_codes(values)
    want, want_codes = np.unique(values, return_inverse=True)
    assert_array_equal(labels, want)
    assert_array_equal(codes, want_codes)
    assert_array_equal(stable_order(codes), np.argsort(codes, kind="stable"))


def test_refusals():
    X, groups = make_groups(2, 2, sizes=[60, 90])
    for options, message in (
        (dict(groups=None), "give either groups, a label for each row, or sizes, and not both"),
        (dict(groups=groups, sizes=[60, 90]), "not both"),
        (dict(groups=groups[:-1]), "groups must be 150 integers or strings, one per row"),
        (dict(groups=groups + 0.5), "groups must be 150 integers or strings"),
        (dict(groups=np.array(["a", None] * 75, dtype=object)), "some are missing or of another type"),
        (dict(groups=["a", np.nan] * 75), "some are missing or of another type"),
        (dict(groups=["a", 1] * 75), "some are missing or of another type"),
        (dict(groups=np.array([0.5, 1.5] * 75, dtype=object)), "some are missing or of another type"),
        (dict(groups=None, sizes=[60, 91]), "whose sum is the number of rows, 150"),
        (dict(groups=None, sizes=[-60, 210]), "sizes must be integers from 0 on"),
        (dict(groups=groups, n_components=0), "The 'n_components' parameter of GaussianMixture must be an int"),
        (dict(groups=groups, tol=-1.0), "The 'tol' parameter"),
        (dict(groups=groups, covariance_type="round"), "The 'covariance_type' parameter"),
        (dict(groups=groups, means_init=np.zeros((3, 2, 2))), r"'means' should have the shape of \(2, 2, 2\)"),
        (dict(groups=groups, weights_init=[[0.5, 0.5], [0.5, 0.6]]), r"normalized, but got sum\(weights\) = 1.1"),
        (dict(groups=groups, precisions_init=-np.ones((2, 2, 2, 2))), "symmetric, positive-definite"),
        (dict(groups=groups, sample_weight=np.zeros(150)), "every weight is zero"),
        (dict(groups=groups, n_threads=0), "n_threads must be an int"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_many(X, **{"n_components": 2, **options})
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fit_many(np.full((4, 2), np.nan), [0, 0, 1, 1])
    fits = quiet(X, groups, 2)
    with pytest.raises(ValueError, match="group 2 was not there"):
        fits.predict(X, groups + 1)
    with pytest.raises(ValueError, match="X has 1 features"):
        fits.predict(X[:, :1], groups)
    with pytest.raises(ValueError, match="labels of the fit are int64; got some of type NoneType or str"):
        fits.predict(X, np.array(["a", None] * 75, dtype=object))
    with pytest.raises(ValueError, match="labels of the fit are <U1; got some of type int"):
        quiet(X, ["a", "b"] * 75, 2).predict(X, groups.astype(object))
    with pytest.raises(ValueError, match="sizes must be those of all 2 groups"):
        fits.predict(X, sizes=[150])


# ---- scores and statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_scores_and_statistics(covariance_type):
    X, groups = make_groups(3, 2, sizes=[60, 400, 35])
    weight = np.random.default_rng(0).uniform(size=len(X))
    fits = quiet(X, groups, 2, covariance_type=covariance_type, random_state=0)
    density, label, resp = (method(X, groups) for method in (fits.score_samples, fits.predict, fits.predict_proba))
    stats = fits.accumulate(X, groups, weight)
    assert isinstance(stats, Stats)
    for g in range(3):
        mine, model = groups == g, fits.model(g)
        assert_allclose(density[mine], model.score_samples(X[mine]), rtol=1e-10)
        assert_array_equal(label[mine], model.predict(X[mine]))
        assert_allclose(resp[mine], model.predict_proba(X[mine]), atol=1e-10)
        want = fastem.accumulate(X[mine], model.params_, weight[mine])
        for field in ("loglik", "class_loglik", "entropy", "s0", "s1", "s2", "n_rows"):
            assert_allclose(getattr(stats, field)[g], getattr(want, field), rtol=1e-9, atol=1e-9, err_msg=field)
        one = COVARIANCES[covariance_type].estimate(want, 1e-6)
        for got, expected in zip(COVARIANCES[covariance_type].estimate(stats, 1e-6), one, strict=True):
            assert_allclose(got[g], expected, rtol=1e-9, atol=1e-9)


# ---- the same bits -------------------------------------------------------------------------------------


def test_threads_layouts_and_neighbours_do_not_matter(monkeypatch):
    monkeypatch.setattr(jit, "THREAD_FLOPS", 1.0)
    X, groups = make_groups(3, 2, sizes=[60, 400, 35, 193, 80])
    want = quiet(X, groups, 2, random_state=0)
    wide = np.zeros((len(X), 6))
    wide[:, ::2] = X
    for other, options in ((X, dict(n_threads=1)), (np.asfortranarray(X), {}), (wide[:, ::2], {}), (X.tolist(), {})):
        fits = quiet(other, groups, 2, random_state=0, **options)
        for a, b in zip(fits.params[:4], want.params[:4], strict=True):
            assert a.tobytes() == b.tobytes()
    few = groups < 2  # the first groups get the same uniforms
    fits = quiet(X[few], groups[few], 2, random_state=0)
    assert fits.means.tobytes() == want.means[:2].tobytes()
    assert fits.covariances.tobytes() == want.covariances[:2].tobytes()


def test_float32_rows():
    X, groups = make_groups(2, 2, sizes=[60, 90])
    single = X.astype(np.float32)
    fits, want = quiet(single, groups, 2, random_state=0), quiet(single.astype(float), groups, 2, random_state=0)
    assert fits.means.tobytes() == want.means.tobytes()


def test_offset():
    """Data far from 0 keep their digits."""
    X, groups = make_groups(2, 2, spacing=40.0, sizes=[60, 90])
    X = np.round(X * 2**10) / 2**10
    near, far = (quiet(X + offset, groups, 2, random_state=0) for offset in (0.0, 2.0**26))
    assert_allclose(far.covariances, near.covariances, rtol=1e-7)
    assert_array_equal(far.n_iter, near.n_iter)


def test_numpy_errors_set_to_raise():
    X, groups = make_groups(2, 2, sizes=[60, 2])
    with np.errstate(all="raise"):
        fits = quiet(X, groups, 3, random_state=0)
        fits.predict_proba(X, groups)
    assert fits.status[1] is Status.TOO_FEW_ROWS


# ---- units -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_units_do_not_matter(covariance_type):
    rng = np.random.default_rng(0)
    X, sizes = rng.normal(size=(400, 2)) + 9.0 * rng.integers(0, 2, (400, 1)), [100] * 4
    unit = 2.0 ** np.array([-20, -20] if "spherical" in covariance_type else [-20, 30])
    start = dict(weights_init=[0.5, 0.5], means_init=[[0.0, 0.0], [9.0, 9.0]], precisions_init=None)
    a = fit_many(X, None, 2, sizes=sizes, covariance_type=covariance_type, random_state=0, tol=1e-8)
    start["means_init"] = a.means[0] * unit
    b = fit_many(X * unit, None, 2, sizes=sizes, covariance_type=covariance_type, random_state=0, tol=1e-8, **start)
    np.testing.assert_allclose(b.means, a.means * unit, rtol=1e-3)


def test_small_units_keep_their_standard_deviation():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 0.0008, (4000, 1))
    fits = fit_many(X, sizes=[2000, 2000])
    np.testing.assert_allclose(np.sqrt(fits.covariances.ravel()), 0.0008, rtol=0.05)
    floor = fit_many(X, sizes=[2000, 2000], regularization=fastem.EigenvalueFloor(0.5))
    np.testing.assert_allclose(floor.covariances, 1.5 * fits.covariances, rtol=1e-6)
    np.testing.assert_allclose(fit_many(X, sizes=[4000], reg_covar=1.0).covariances, 1.0, rtol=1e-3)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_columns_without_spread(covariance_type):
    """A constant column, and a group whose rows are all the same."""
    X = np.column_stack([np.random.default_rng(0).normal(size=60), np.full(60, 3.0)])
    X[40:] = 2.0
    fits = fit_many(X, sizes=[40, 20], covariance_type=covariance_type)
    assert fits.converged.all()
    assert np.isfinite(fits.score_samples(X, sizes=[40, 20])).all()
    if covariance_type == "diag":
        np.testing.assert_allclose(fits.covariances[:, 0, 1], [9.0, 4.0])


@pytest.mark.parametrize(("seconds", "largest", "last"), [(1e-7, 400, 400), (1e-2, 100, 20), (1.0, 100, 8)])
def test_calls_become_smaller_where_they_last_long(monkeypatch, seconds, largest, last):
    # Ctrl-C waits for a call, so that only the first may last long, where fits take more passes than were counted on.
    now, calls = [0.0], []
    monkeypatch.setattr(partition.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(partition, "n_threads", lambda: 2)
    bounds = np.arange(0, 400_001, 100)
    for g in partition.split_calls(bounds, partition.CALL_FLOPS / 40_000):  # 400 groups are a whole call
        calls.append(g)
        now[0] += seconds * (g.stop - g.start)  # for each group
    sizes = [g.stop - g.start for g in calls]
    assert [g.start for g in calls] + [4000] == [0] + [g.stop for g in calls]
    assert (sizes[0], max(sizes)) == (100, largest)
    assert abs(sizes[-2] - last) <= 1


def test_other_remedies_are_refused():
    with pytest.raises(ValueError, match="fit_many's regularization must be 'floor' or an EigenvalueFloor; got 'map'"):
        fit_many(np.eye(4), sizes=[4], regularization="map")
    with pytest.raises(ValueError, match="takes the place of reg_covar"):
        fit_many(np.eye(4), sizes=[4], regularization="floor", reg_covar=1.0)
