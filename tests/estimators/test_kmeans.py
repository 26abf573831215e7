"""`KMeans` against scikit-learn's: the same labels after each iteration, whatever the data; and what is its own."""

import re
import warnings

import numpy as np
import pytest
import sklearn.cluster
from helpers import make_mixture, run_child
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from fastem import KMeans, as_source
from fastem.fitting.lloyd import assign, farthest, run_lloyd, tolerated_shift
from fastem.kernels import micro
from fastem.sources.blocks import ArraySource

SHAPES = [(30, 1, 2), (50, 2, 1), (200, 2, 3), (1025, 3, 4), (3000, 17, 20), (400, 4, 64), (150, 30, 5)]


def theirs(K, centres, **options):
    return sklearn.cluster.KMeans(K, init=centres, n_init=1, **options)


def rows(N, D, seed=0):
    rng = np.random.default_rng([seed, N, D])
    return rng.normal(size=(N, D)) + 2.0 * rng.integers(0, 4, size=(N, 1))


# --- against scikit-learn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i4"])
@pytest.mark.parametrize(("N", "D", "K"), SHAPES)
def test_the_same_optimum_in_as_many_iterations(N, D, K, dtype, weighted):
    X = (1000 * rows(N, D)).astype(dtype)  # rows that are equally far from two centres would be a matter of rounding
    weight = np.random.default_rng(1).integers(1, 5, N).astype(float) if weighted else None
    centres = np.unique(X, axis=0)[:: max(1, len(np.unique(X, axis=0)) // K)][:K].astype(float)
    ours = KMeans(K, init=centres, tol=0).fit(X, sample_weight=weight)
    want = theirs(K, centres, tol=0).fit(X, sample_weight=weight)
    single = dtype == "f4"
    assert ours.inertia_ == pytest.approx(want.inertia_, rel=1e-4 if single else 1e-12)
    if not single:  # scikit-learn's float32 distances are off by more than some rows' are apart
        assert ours.n_iter_ == want.n_iter_
        assert_array_equal(ours.labels_, want.labels_)
    assert_allclose(ours.cluster_centers_, want.cluster_centers_, rtol=1e-12, atol=1.0 if single else 1e-9)
    assert ours.labels_.dtype == want.labels_.dtype
    assert ours.cluster_centers_.dtype == want.cluster_centers_.dtype


def test_the_same_path():
    """After each iteration, and the tolerance stops it where it stops theirs."""
    X = rows(2000, 5)
    centres = X[:10]
    path = [KMeans(10, init=centres, tol=0, max_iter=n).fit(X) for n in range(1, 12)]
    want = [theirs(10, centres, tol=0, max_iter=n).fit(X) for n in range(1, 12)]
    for a, b in zip(path, want, strict=True):
        assert_array_equal(a.labels_, b.labels_)
        assert_allclose(a.cluster_centers_, b.cluster_centers_, rtol=1e-12)
    assert (np.diff([a.inertia_ for a in path]) < 0).all()
    for tol in (1e-6, 1e-4, 1e-2, 1.0):
        assert KMeans(10, init=centres, tol=tol).fit(X).n_iter_ == theirs(10, centres, tol=tol).fit(X).n_iter_


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_empty", [1, 2, 3])
def test_empty_clusters_are_relocated(n_empty, weighted):
    """To the rows that are farthest from their centres; which of several empty clusters takes which is free."""
    X = rows(300, 2)
    weight = np.random.default_rng(1).integers(1, 5, len(X)).astype(float) if weighted else None
    centres = np.concatenate([X[:3], 50.0 + 10.0 * np.arange(2 * n_empty).reshape(-1, 2)])
    K = len(centres)
    for passes in (1, 2, 5, 100):
        ours = KMeans(K, init=centres, tol=0, max_iter=passes).fit(X, sample_weight=weight)
        want = theirs(K, centres, tol=0, max_iter=passes).fit(X, sample_weight=weight)
        assert ours.inertia_ == pytest.approx(want.inertia_, rel=1e-12)
        order = [np.lexsort(model.cluster_centers_.T) for model in (ours, want)]
        assert_allclose(ours.cluster_centers_[order[0]], want.cluster_centers_[order[1]], rtol=1e-12, atol=1e-14)
        assert ours.n_iter_ == want.n_iter_
        assert len(np.unique(ours.labels_)) == K


def test_a_cluster_may_lose_its_only_row():
    X = np.array([[0.0], [1.0], [2.5], [100.0]])
    centres = np.array([[1.0], [-500.0], [90.0]])  # the second is empty and takes the row of the third
    for passes in (1, 2, 3, 10):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            ours = KMeans(3, init=centres, tol=0, max_iter=passes).fit(X)
            want = theirs(3, centres, tol=0, max_iter=passes).fit(X)
        assert_array_equal(ours.labels_, want.labels_)
        assert_allclose(ours.cluster_centers_, want.cluster_centers_)


def test_rows_without_weight_are_no_clusters_seed():
    X, weight = np.array([[0.0], [1.0], [2.0], [1000.0]]), np.array([1.0, 1.0, 1.0, 0.0])
    model = KMeans(2, init=[[0.0], [-500.0]]).fit(X, sample_weight=weight)
    assert model.cluster_centers_.max() <= 2
    assert model.inertia_ == pytest.approx(0.5)
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
        KMeans(4).fit(X, sample_weight=weight)


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat([[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]], 5, axis=0)
    with pytest.warns(ConvergenceWarning, match=re.escape("Number of distinct clusters (3) found smaller than n_cl")):
        model = KMeans(5, random_state=0).fit(X)
    assert model.inertia_ == 0
    assert len(np.unique(model.labels_)) == 3


def test_methods():
    X = rows(500, 3)
    ours, want = KMeans(4, init=X[:4]).fit(X), theirs(4, X[:4]).fit(X)
    weight = np.random.default_rng(0).uniform(size=500)
    assert_array_equal(ours.predict(X + 0.3), want.predict(X + 0.3))
    assert_allclose(ours.transform(X), want.transform(X), rtol=1e-9, atol=1e-9)
    assert ours.score(X) == pytest.approx(want.score(X)) == pytest.approx(-ours.inertia_)
    assert ours.score(X, sample_weight=weight) == pytest.approx(want.score(X, sample_weight=weight))
    assert isinstance(ours.score(X), float)
    assert_array_equal(KMeans(4, init=X[:4]).fit_predict(X), want.labels_)
    assert_allclose(KMeans(4, init=X[:4]).fit_transform(X, sample_weight=weight).shape, (500, 4))
    assert_array_equal(ours.get_feature_names_out(), want.get_feature_names_out())
    assert ours.transform(X.astype("f4")).dtype == np.float32
    assert ours.predict(X).dtype == np.int32
    assert repr(KMeans(3, tol=0.1)) == "KMeans(n_clusters=3, tol=0.1)"
    with pytest.raises(sklearn.exceptions.NotFittedError, match="This KMeans instance is not fitted yet"):
        KMeans().predict(X)


def test_n_init():
    """As many starts as scikit-learn makes; the best is kept."""
    X, calls = rows(200, 2), []

    def init(X, n_clusters, random_state):
        calls.append(random_state)
        return X[random_state.choice(len(X), n_clusters, replace=False)]

    runs = [KMeans(6, init=init, n_init=1, random_state=np.random.RandomState(seed)).fit(X) for seed in range(3)]
    assert len(calls) == 3
    KMeans(6, init=init, random_state=0).fit(X)
    assert len(calls) == 13
    best = KMeans(6, init="random", random_state=0, n_init=30).fit(X).inertia_
    assert best <= min(run.inertia_ for run in runs) * (1 + 1e-12)
    assert KMeans(6, init="random", random_state=0).fit(X).inertia_ <= (
        KMeans(6, init="random", random_state=0, n_init=1).fit(X).inertia_
    )
    with pytest.warns(RuntimeWarning, match="Explicit initial center position passed: performing only one init in KM"):
        KMeans(6, init=X[:6], n_init=3).fit(X)


def test_seeds_are_as_good():
    """k-means++: the mean inertia over seeds, without iterations, is scikit-learn's."""
    X = make_mixture(2000, 2, 12, spacing=6.0).X

    def mean(cluster, **options):
        options |= dict(n_init=1, max_iter=1)
        return np.mean([cluster(12, random_state=seed, **options).fit(X).inertia_ for seed in range(30)])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert mean(KMeans) < 1.15 * mean(sklearn.cluster.KMeans)
        assert mean(KMeans) < 0.7 * mean(KMeans, init="random")


BAD = {
    "n_clusters": (0, 2.5, "3", True),
    "max_iter": (0, 1.5),
    "tol": (-1.0, np.nan, "small", None),
    "n_init": (0, "many", 2.5),
    "init": ("kmeans", 3, None),
    "verbose": (-1,),
    "random_state": (-1, "seed"),
}


@pytest.mark.parametrize("name", BAD)
def test_parameters_are_refused_in_its_words(name):
    X = rows(20, 2)
    for value in BAD[name]:
        with pytest.raises(ValueError, match=f"The '{name}' parameter of KMeans must be "):
            KMeans(**{name: value}).fit(X)
    for centres, message in (
        (X[:3], r"The shape of the initial centers \(3, 2\) does not match the number of clusters 2\."),
        (np.ones((2, 3)), r"\(2, 3\) does not match the number of features of the data 2\."),
        (np.full((2, 2), np.nan), "contains NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            KMeans(2, init=centres).fit(X)
    with pytest.raises(ValueError, match="X has 3 features, but KMeans is expecting 2 features"):
        KMeans(2, random_state=0).fit(X).predict(np.ones((4, 3)))


def test_verbose(capsys):
    X = rows(300, 2)
    KMeans(4, init=X[:4], verbose=1).fit(X)
    ours = capsys.readouterr().out
    theirs(4, X[:4], verbose=1).fit(X)
    want = capsys.readouterr().out
    number = re.compile(r"\d+\.\d+")
    assert number.sub("#", ours).split("within")[0] == number.sub("#", want).split("within")[0]
    assert_allclose(*([float(x) for x in number.findall(text.split("within")[0])] for text in (ours, want)), rtol=1e-10)


def test_scikit_learns_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is no subclass of BaseEstimator
        found = check_estimator(KMeans(), on_fail=None)
    assert [(one["check_name"], one["exception"]) for one in found if one["status"] == "failed"] == []
    assert sum(one["status"] == "passed" for one in found) > 40


# --- its own ------------------------------------------------------------------------------------------------------


def test_far_from_zero():
    """At an offset of 1e8 the labels and the inertia are those at 0."""
    X = np.round(rows(500, 3) * 2**10) / 2**10
    near, far = (KMeans(5, init=Z[:5], tol=0).fit(Z) for Z in (X, X + 1e8))
    assert_array_equal(near.labels_, far.labels_)
    assert far.inertia_ == pytest.approx(near.inertia_, rel=1e-6)


def test_weights_are_repetitions():
    X, times = rows(400, 3), np.random.default_rng(0).integers(0, 4, 400)
    for tol in (0.0, 1e-2):
        a = KMeans(5, random_state=3, tol=tol).fit(X, sample_weight=times)
        b = KMeans(5, random_state=3, tol=tol).fit(np.repeat(X, times, axis=0))
        assert a.n_iter_ == b.n_iter_
        assert_allclose(a.cluster_centers_, b.cluster_centers_, rtol=1e-12)
        assert a.inertia_ == pytest.approx(b.inertia_, rel=1e-12)


def test_rows_from_elsewhere(tmp_path):
    """Blocks, memory maps and other layouts give the same bits."""
    X = rows(5000, 3)
    weight = np.random.default_rng(0).uniform(size=5000)
    want = KMeans(4, random_state=0).fit(X, sample_weight=weight)
    np.save(tmp_path / "X.npy", X)
    blocks = [(X[a : a + 999], weight[a : a + 999]) for a in range(0, 5000, 999)]
    for source in (
        as_source(lambda: iter(blocks)),
        as_source(tmp_path / "X.npy", weight),
        as_source(np.asfortranarray(X), weight),
        as_source(np.repeat(X, 2, axis=1)[:, ::2], weight),
    ):
        model = KMeans(4, random_state=0).fit(source)
        assert model.inertia_ == want.inertia_
        assert_array_equal(model.cluster_centers_, want.cluster_centers_)
        assert_array_equal(model.labels_, want.labels_)
        assert_array_equal(model.predict(source), want.labels_)
        assert model.score(source) == -want.inertia_
    with pytest.raises(ValueError, match="a function as init needs the rows in memory"):
        KMeans(4, init=lambda X, k, random_state: X[:k]).fit(lambda: iter(blocks))


def test_bits_do_not_depend_on_threads():
    code = """
        import hashlib, json, sys, numpy as np, fastem, helpers
        helpers.take_all_threads()
        X = np.random.default_rng(0).normal(size=(50_000, 5))
        model = fastem.KMeans(7, random_state=0, n_threads=int(sys.argv[1])).fit(X)
        print(json.dumps(hashlib.sha256(model.cluster_centers_.tobytes() + model.labels_.tobytes()).hexdigest()))
        """
    assert run_child(code, 1) == run_child(code, 2)


def test_ties_go_to_the_first():
    X = np.array([[1.0], [3.0], [1.0], [3.0]])
    stats = assign(ArraySource(X), np.array([[0.0], [2.0], [4.0]]))
    assert_array_equal(stats.s0, [2, 2, 0])
    assert_array_equal(KMeans(2, init=[[0.0], [2.0]]).fit([[0.0], [2.0]]).predict([[1.0]]), 0)


def test_farthest_rows():
    X, rng = rows(3000, 2), np.random.default_rng(0)
    weight, centres = rng.integers(0, 3, 3000).astype(float), rng.normal(size=(4, 2))
    distance = ((X[:, None] - centres) ** 2).sum(axis=2)
    order = np.argsort(-np.where(weight > 0, distance.min(axis=1), -1), kind="stable")[:7]
    for X_, pieces in ((X, 1), (X, 4)):
        parts = np.array_split(np.arange(3000), pieces)
        source = as_source(lambda X=X_, parts=parts: ((X[p], weight[p]) for p in parts))
        far = farthest(source, centres, 7)
        assert_array_equal(far.rows, X[order])
        assert_allclose(far.distance, distance.min(axis=1)[order])
        assert_array_equal(far.label, distance.argmin(axis=1)[order])
        assert_array_equal(far.weight, weight[order])


def test_settled_is_told_from_small_steps():
    X = rows(300, 2)
    source = ArraySource(X)
    end = run_lloyd(source, X[:4], 0.0, 300)
    assert end.settled
    assert end.n_iter < 100
    early = run_lloyd(source, X[:4], tolerated_shift(source, 1e-1), 300)
    assert not early.settled
    assert 0 < early.shift <= tolerated_shift(source, 1e-1)


# --- the kernels, against their plain twins -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (7, 2, 3), (9, 3, 2), (200, 4, 5), (1000, 5, 7), (385, 13, 3)])
def test_the_pass_equals_numpy(N, D, K, dtype, order):
    rng = np.random.default_rng(0)
    X, centres, weight = rng.normal(size=(N, D)).astype(dtype), rng.normal(size=(K, D)), rng.uniform(size=N)
    stats = assign(ArraySource(np.asarray(X, order=order), weight), centres)
    z = X[:, None].astype(float) - centres
    distance = (z**2).sum(axis=2)
    resp = weight[:, None] * np.eye(K)[distance.argmin(axis=1)]
    assert_allclose(stats.s0, resp.sum(axis=0), rtol=1e-12)
    assert_allclose(stats.s1, np.einsum("nk,nkd->kd", resp, z), rtol=1e-9, atol=1e-12)
    assert -2 * stats.loglik == pytest.approx(weight @ distance.min(axis=1), rel=1e-12)
    for other in (np.ascontiguousarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        assert_array_equal(assign(ArraySource(other, weight), centres).s1, stats.s1)


def test_plain_twins():
    rng = np.random.default_rng(0)
    X, centres, w = rng.normal(size=(16, 5)), rng.normal(size=(3, 5)), rng.uniform(size=16)
    xt, sums, mass = np.zeros((8, 16)), np.zeros((3, 8)), np.zeros(3)
    top, label, norm = np.empty(16), np.empty(16), rng.normal(size=3)
    micro.load_plain(xt, X, 8, 0, 16, 0)
    assert_array_equal(xt[:5], X.T)
    micro.nearest_plain(xt, norm, centres, 16, top, label)
    value = norm - 0.5 * ((X[:, None] - centres) ** 2).sum(axis=2)
    assert_array_equal(label, value.argmax(axis=1))
    assert_allclose(top, value.max(axis=1))
    micro.add_rows_plain(sums, mass, X, 8, 0, 16, w, label, centres)
    assert_allclose(mass, np.bincount(label.astype(int), w, minlength=3))
    for k in range(3):
        assert_allclose(sums[k, :5], w[label == k] @ (X[label == k] - centres[k]), atol=1e-14)


def test_no_distance_is_minus_zero():
    X = [[0.0], [0.0], [3.0], [3.0]]
    model = KMeans(2, random_state=0).fit(X)
    for value in (model.inertia_, model.score(X), *model.transform(X).ravel()):
        assert not np.signbit(value)
