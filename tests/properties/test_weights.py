"""sample_weight: weight 2 is the row twice, weight 0 the row absent; without a prior their scale means nothing."""

import numpy as np
import pytest
from helpers import (
    ALL,
    FAMILIES,
    assert_close,
    exact_m_step,
    fitted,
    from_params,
    make_mixture,
    make_start,
    parts_of,
    quiet_fit,
    start_params,
    state_bytes,
)
from numpy.testing import assert_allclose

import fastem
from fastem import GaussianMixture

INITS = ("kmeans", "k-means++", "random", "random_from_data")


@pytest.fixture(scope="module")
def data():
    """400 rows of three overlapping components, integer weights 0 to 3, the rows repeated accordingly."""
    mixture = make_mixture(400, 2, 3, spacing=3.0, seed=21)
    weight = np.random.default_rng(0).integers(0, 4, 400).astype(float)
    return mixture, weight, np.repeat(mixture.X, weight.astype(int), axis=0)


def test_one_row_may_have_all_the_weight(data):
    """Rows then vary in no direction that float64 sees: the fit is a point of least width, and no error of NumPy's."""
    X = data[0].X
    weight = np.r_[1e99, np.full(len(X) - 1, 1e-150)]
    for model in (fastem.fit(X, 2, sample_weight=weight, random_state=0), fastem.StudentMixture(2, random_state=0)):
        quiet_fit(model, X, sample_weight=weight)
        assert np.isfinite(model.lower_bound_)
        assert_allclose(model.means_[model.weights_.argmax()], X[0], rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ALL)
def test_weight_is_repetition(data, covariance_type):
    """From a given start: parameters, bounds, scores and criteria of the repeated rows."""
    mixture, weight, repeated = data
    options = {
        "covariance_type": covariance_type,
        "tol": 1e-5,
        "max_iter": 500,
        **make_start(mixture, covariance_type),
    }
    a = GaussianMixture(3, **options).fit(mixture.X, sample_weight=weight)
    b = GaussianMixture(3, **options).fit(repeated)
    assert 2 < a.n_iter_ == b.n_iter_ < 500
    assert_close(fitted(a), fitted(b), 1e-10)
    np.testing.assert_allclose(a.lower_bounds_, b.lower_bounds_, rtol=1e-12)
    for name in ("score", "bic", "aic"):
        got = getattr(a, name)(mixture.X, sample_weight=weight)
        assert got == pytest.approx(getattr(b, name)(repeated), rel=1e-10), name
        assert type(got) is float


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data"])
def test_weight_is_repetition_from_any_start(data, init, covariance_type):
    """A seeded start must not depend on whether a row is repeated or weighted."""
    mixture, weight, repeated = data
    options = {"covariance_type": covariance_type, "init_params": init, "random_state": 3, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(3, **options), repeated)
    assert_close(fitted(a), fitted(b), 1e-8)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("init", INITS)
def test_weight_0_is_absence(data, init, covariance_type):
    mixture, weight, _ = data
    options = {"covariance_type": covariance_type, "init_params": init, "random_state": 0, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=(weight > 0).astype(float))
    b = quiet_fit(GaussianMixture(3, **options), mixture.X[weight > 0])
    assert_close(fitted(a), fitted(b), 1e-8)


@pytest.mark.parametrize("init", INITS)
def test_weight_1_is_no_weight(data, init):
    mixture, _, _ = data
    options = {"init_params": init, "random_state": 0, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=np.ones(400))
    b = quiet_fit(GaussianMixture(3, **options), mixture.X)
    assert_close(fitted(a), fitted(b), 1e-9)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("scale", [2.0**-30, 1e-3, 7.0, 1e6])
def test_scale_of_weights(data, init, scale):
    """Without a prior a fit is the same for any unit of the weights; totals (bic's n) are not."""
    mixture, weight, _ = data
    options = {"init_params": init, "random_state": 1, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight * scale)
    assert_close(fitted(a), fitted(b), 1e-5 if scale < 1 else 1e-8)  # nk + 10 eps
    assert b.lower_bound_ == pytest.approx(a.lower_bound_, rel=1e-6 if scale < 1 else 1e-9)
    assert a.score(mixture.X, sample_weight=weight) == pytest.approx(
        a.score(mixture.X, sample_weight=weight * scale), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["list", "float32", "int", "strided", "read-only"])
def test_weights_of_any_kind(data, kind):
    mixture, weight, _ = data
    given = {
        "list": weight.tolist(),
        "float32": weight.astype("f4"),
        "int": weight.astype("i8"),
        "strided": np.repeat(weight, 2)[::2],
        "read-only": np.frombuffer(weight.tobytes()),
    }[kind]
    before = np.array(given)
    a = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=weight)
    b = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=given)
    assert state_bytes(a) == state_bytes(b)
    np.testing.assert_array_equal(given, before)


def test_fit_predict_labels_every_row(data):
    """Rows of weight 0 are not fitted, but labelled."""
    mixture, weight, _ = data
    model = GaussianMixture(3, random_state=0)
    labels = model.fit_predict(mixture.X, sample_weight=weight)
    assert labels.shape == (400,)
    np.testing.assert_array_equal(labels, model.predict(mixture.X))
    other = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=weight)
    assert state_bytes(model) == state_bytes(other)


def test_criteria_are_weighted_sums(data):
    """N is the sum of the weights."""
    mixture, _, _ = data
    weight = np.random.default_rng(1).uniform(0, 2, 400)
    model = GaussianMixture(3, random_state=0).fit(mixture.X)
    rows, n, p = model.score_samples(mixture.X), weight.sum(), model._n_parameters()
    assert model.score(mixture.X, sample_weight=weight) == pytest.approx(weight @ rows / n, rel=1e-12)
    assert model.bic(mixture.X, sample_weight=weight) == pytest.approx(-2 * weight @ rows + p * np.log(n), rel=1e-12)
    assert model.aic(mixture.X, sample_weight=weight) == pytest.approx(-2 * weight @ rows + 2 * p, rel=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_functions(data, covariance_type):
    """accumulate, moments (labels and responsibilities) and em."""
    mixture, weight, repeated = data
    index = np.repeat(np.arange(400), weight.astype(int))
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    resp = np.random.default_rng(2).dirichlet(np.ones(3), 400)
    pairs = {
        "accumulate": (fastem.accumulate(mixture.X, params, weight), fastem.accumulate(repeated, params)),
        "resp": (
            fastem.moments(mixture.X, resp=resp, covariance_type=covariance_type, sample_weight=weight),
            fastem.moments(repeated, resp=resp[index], covariance_type=covariance_type),
        ),
        "labels": (
            fastem.moments(
                mixture.X,
                labels=mixture.labels,
                n_components=3,
                covariance_type=covariance_type,
                sample_weight=weight,
            ),
            fastem.moments(repeated, labels=mixture.labels[index], n_components=3, covariance_type=covariance_type),
        ),
        "em": tuple(
            fastem.em(X, params, covariance_type=covariance_type, sample_weight=w, tol=0, max_iter=5).stats
            for X, w in ((mixture.X, weight), (repeated, None))
        ),
    }
    for name, (a, b) in pairs.items():
        assert a.sum_w == pytest.approx(weight.sum(), rel=1e-12), name
        np.testing.assert_allclose(a.s0, b.s0, rtol=1e-10)
        got, want = (from_params(fastem.m_step(s, covariance_type)) for s in (a, b))
        assert_close(got, want, 1e-10, name)
        if name in ("accumulate", "em"):
            assert a.loglik == pytest.approx(b.loglik, rel=1e-12)
            assert a.entropy == pytest.approx(b.entropy, rel=1e-10)


def test_weighted_moments_are_exact(data):
    """Against exact arithmetic, at an offset of 1e8 and with weights of very different size."""
    mixture, _, _ = data
    X = mixture.X[:60] + 1e8
    weight = 10.0 ** np.random.default_rng(3).uniform(-6, 6, 60)
    resp = np.random.default_rng(4).dirichlet(np.ones(2), 60)
    stats = fastem.moments(X, resp=resp, sample_weight=weight)
    want = exact_m_step(X, (resp * weight[:, None]).tolist(), "full")
    got = from_params(fastem.m_step(stats))
    np.testing.assert_allclose(got.means, want.means, rtol=5e-16)
    sd = np.sqrt(np.diagonal(want.covariances, axis1=1, axis2=2))
    assert (np.abs(got.covariances - want.covariances) <= 1e-10 * sd[:, :, None] * sd[:, None, :]).all()


BAD = {
    "negative": (lambda w: np.where(np.arange(len(w)) == 3, -1.0, w), "(?i)negative"),
    "NaN": (lambda w: np.where(np.arange(len(w)) == 3, np.nan, w), "NaN"),
    "inf": (lambda w: np.where(np.arange(len(w)) == 3, np.inf, w), "inf"),
    "all zero": (lambda w: 0 * w, "(?is)(?=.*weight)(?=.*zero)"),
    "too short": (lambda w: w[:-1], "sample_weight"),
    "too long": (lambda w: np.append(w, 1.0), "sample_weight"),
    "two axes": (lambda w: w[:, None], "(?i)weight"),
    "text": (lambda w: ["a"] * len(w), "could not convert|sample_weight"),
}
CALLS = {
    "fit": lambda m, X, w: m.fit(X, sample_weight=w),
    "fit_predict": lambda m, X, w: m.fit_predict(X, sample_weight=w),
    "score": lambda m, X, w: m.score(X, sample_weight=w),
    "bic": lambda m, X, w: m.bic(X, sample_weight=w),
    "aic": lambda m, X, w: m.aic(X, sample_weight=w),
    "accumulate": lambda m, X, w: fastem.accumulate(X, m.params_, w),
    "moments": lambda m, X, w: fastem.moments(X, labels=np.zeros(len(X), int), n_components=1, sample_weight=w),
    "em": lambda m, X, w: fastem.em(X, m.params_, sample_weight=w),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("call", CALLS)
def test_bad_weights(data, call, bad):
    mixture, _, _ = data
    model = GaussianMixture(2, random_state=0).fit(mixture.X)
    before = state_bytes(model)
    damage, words = BAD[bad]
    with pytest.raises(ValueError, match=words):
        CALLS[call](model, mixture.X, damage(np.ones(400)))
    assert state_bytes(model) == before


def test_rows_without_weight_do_not_count():
    """Five rows of which two weigh: too few for three components, enough for two."""
    X, weight = np.arange(10.0).reshape(5, 2) ** 2, np.array([1, 0, 0, 2, 0.0])
    with pytest.raises(ValueError, match="Expected n_samples >= n_components but got n_components = 3, n_samples = 2"):
        GaussianMixture(3).fit(X, sample_weight=weight)
    assert GaussianMixture(2, random_state=0).fit(X, sample_weight=weight).means_.shape == (2, 2)


def test_rows_without_weight_may_be_wild(data):
    """A row of weight 0 has no part in the fit, wherever it lies."""
    mixture, weight, _ = data
    X = mixture.X.copy()
    X[weight == 0] = 1e6
    a = GaussianMixture(3, random_state=0).fit(X, sample_weight=weight)
    b = GaussianMixture(3, random_state=0).fit(mixture.X, sample_weight=weight)
    assert_close(fitted(a), fitted(b), 1e-7)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data"])
def test_order_of_rows_does_not_matter(data, init):
    """With weights (scikit-learn's check): the same start from the rows in another order."""
    mixture, weight, _ = data
    order = np.random.default_rng(5).permutation(400)
    options = {"init_params": init, "random_state": 2, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), mixture.X, sample_weight=weight)
    b = quiet_fit(GaussianMixture(3, **options), mixture.X[order], sample_weight=weight[order])
    assert_close(fitted(a), fitted(b), 1e-8)


def test_weights_have_no_unit():
    X = np.random.RandomState(0).randn(400, 1)
    fits = [GaussianMixture(1).fit(X, sample_weight=np.full(400, s)) for s in (1.0, 1e-15, 1e-20, 1e15)]
    for model in fits[1:]:
        assert_allclose(model.covariances_, fits[0].covariances_, rtol=1e-12)


# ---- rows of weight 0 ----------------------------------------------------------------------------------


def absent_rows(X):
    """Rows of weight 0: some among the others, some far away, some further than squares reach."""
    far = 3e38 if X.dtype == np.float32 else 1e200
    extra = np.concatenate([X[:7], np.full((5, X.shape[1]), 1e6), np.full((5, X.shape[1]), far)]).astype(X.dtype)
    extra[-1, 0] = -far
    return np.concatenate([X, np.tile(extra, (200, 1))])  # 3400: more than a block


def with_absent(X, weight):
    """The same rows and weights with rows of weight 0 after them."""
    X = absent_rows(X)
    return X, np.concatenate([weight, np.zeros(len(X) - len(weight))])


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("init", [*INITS, "auto"])
def test_rows_of_weight_0_change_no_bit(data, init, covariance_type, dtype):
    mixture, weight, _ = data
    X = mixture.X.astype(dtype)
    options = {"covariance_type": covariance_type, "init_params": init, "random_state": 3, "max_iter": 20}
    a = quiet_fit(GaussianMixture(3, **options), X, sample_weight=weight)
    more, zeros = with_absent(X, weight)
    b = quiet_fit(GaussianMixture(3, **options), more, sample_weight=zeros)
    assert state_bytes(a) == state_bytes(b)
    for name in ("score", "bic", "aic"):
        assert getattr(a, name)(X, sample_weight=weight) == getattr(a, name)(more, sample_weight=zeros), name


@pytest.mark.parametrize("on_collapse", ["reseed", "drop"])
@pytest.mark.parametrize("regularization", ["map", "ridge", "floor", "ratio", "geometric"])
@pytest.mark.parametrize("init", ["kmeans", "auto"])
def test_rows_of_weight_0_change_no_bit_under_a_remedy(init, regularization, on_collapse):
    """Three rows are a component too few: it is put elsewhere, or dropped."""
    rng = np.random.default_rng(8)
    X = np.concatenate([rng.normal(size=(100, 2)), [[30.0, 0.0], [30.1, 0.2], [30.0, 0.1]], rng.normal(9, 1, (80, 2))])
    weight = np.full(len(X), 0.3)
    options = {"init_params": init, "regularization": regularization, "on_collapse": on_collapse, "random_state": 0}
    a, b = (
        GaussianMixture(4, **options, max_iter=300).fit(rows, sample_weight=w)
        for rows, w in ((X, weight), with_absent(X, weight))
    )
    assert state_bytes(a) == state_bytes(b)
    assert a.fit_report_ == b.fit_report_


def test_rows_of_weight_0_do_not_save_a_component():
    """Four rows of weight 1, too few for five dimensions: dropped, whatever number of absent rows there is."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, 5)), rng.normal(40, 0.1, (4, 5))])
    model = GaussianMixture(2, regularization="map", on_collapse="drop", random_state=0)
    assert len(model.fit(X).weights_) == 1
    more, zeros = with_absent(X, np.ones(64))
    assert len(model.fit(more, sample_weight=zeros).weights_) == 1


@pytest.mark.parametrize(
    "options", [{"noise": True}, {"assignment": "hard"}, {"solver": "lbfgs"}, {"solver": "auto"}, {"n_init": 3}]
)
def test_rows_of_weight_0_change_no_bit_of_other_fits(data, options):
    mixture, weight, _ = data
    a, b = (
        quiet_fit(GaussianMixture(3, random_state=1, **options), rows, sample_weight=w)
        for rows, w in ((mixture.X, weight), with_absent(mixture.X, weight))
    )
    assert state_bytes(a) == state_bytes(b)


@pytest.mark.parametrize("n_known", [2, 40, 400])
def test_rows_of_weight_0_change_no_bit_of_fits_from_labels(data, n_known):
    mixture, weight, _ = data
    labels = np.where(np.arange(400) < n_known, mixture.labels, -1)
    more, zeros = with_absent(mixture.X, weight)
    more_labels = np.concatenate([labels, np.full(len(more) - 400, n_known // 400 - 1)])
    a = quiet_fit(GaussianMixture(3, random_state=1), mixture.X, sample_weight=weight * 0.01, labels=labels)
    b = quiet_fit(GaussianMixture(3, random_state=1), more, sample_weight=zeros * 0.01, labels=more_labels)
    assert state_bytes(a) == state_bytes(b)


@pytest.mark.parametrize("init", INITS)
def test_rows_of_weight_0_change_no_bit_where_starts_look_at_a_sample(init):
    """More than 50,000 rows, of which fewer weigh."""
    mixture = make_mixture(49_000, 2, 3, spacing=3.0, seed=2)
    weight = np.random.default_rng(1).uniform(0.5, 1.5, 49_000)
    a, b = (
        quiet_fit(GaussianMixture(3, init_params=init, random_state=0, max_iter=3), rows, sample_weight=w)
        for rows, w in ((mixture.X, weight), with_absent(mixture.X, weight))
    )
    assert state_bytes(a) == state_bytes(b)


def as_function(X, weight):
    return lambda: [(X[part], weight[part]) for part in parts_of(len(X), [700])]


@pytest.mark.parametrize("init", ["kmeans", "random"])
def test_rows_of_weight_0_change_no_bit_of_sources(data, init):
    mixture, weight, _ = data
    a, b = (
        quiet_fit(GaussianMixture(3, init_params=init, random_state=1), as_function(rows, w))
        for rows, w in ((mixture.X, weight), with_absent(mixture.X, weight))
    )
    assert state_bytes(a) == state_bytes(b)
    sample = fastem.as_source(as_function(*with_absent(mixture.X, weight))).sample(400, np.random.RandomState(0))
    np.testing.assert_array_equal(sample.X, mixture.X[weight > 0])


def test_rows_of_weight_0_change_no_bit_of_functions(data):
    mixture, weight, _ = data
    params = start_params(make_start(mixture, "full"), "full")
    more, zeros = with_absent(mixture.X, weight)
    a, b = (fastem.accumulate(rows, params, w) for rows, w in ((mixture.X, weight), (more, zeros)))
    assert a.to_buffer().tobytes() == b.to_buffer().tobytes()
    assert a.n_rows == np.count_nonzero(weight)
    a, b = (fastem.em(rows, params, sample_weight=w) for rows, w in ((mixture.X, weight), (more, zeros)))
    assert a.history == b.history
    a, b = (
        fastem.Stepwise(params).partial_fit(rows, w).partial_fit(rows, w)
        for rows, w in ((mixture.X, weight), (more, zeros))
    )
    assert a.stats.to_buffer().tobytes() == b.stats.to_buffer().tobytes()
    model = GaussianMixture(3, random_state=0).fit(mixture.X)
    a, b = (model.merge(rows, w).entropies for rows, w in ((mixture.X, weight), (more, zeros)))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("criterion", "n"), [("bic", 300), ("bic", 9000), ("cv", 300)])  # samples are of 10,000 rows
def test_rows_of_weight_0_change_no_bit_of_select(criterion, n):
    mixture = make_mixture(n, 2, 3, spacing=5.0, seed=2)
    weight = np.random.default_rng(1).uniform(0.5, 1.5, n)
    options = {"criterion": criterion, "cv": 3, "random_state": 0, "max_iter": 20}
    a, b = (
        fastem.select(rows, [2, 3], ("full", "tied"), sample_weight=w, **options)
        for rows, w in ((mixture.X, weight), with_absent(mixture.X, weight))
    )
    for one, other in zip(a.candidates, b.candidates, strict=True):
        np.testing.assert_equal(one[:-1], other[:-1])


def test_folds_without_weight_are_none(data):
    mixture, weight, _ = data
    folds, there = np.arange(400) % 4, (weight > 0).astype(float)
    there[folds == 3] = 0.0
    options = {"criterion": "cv", "random_state": 0, "max_iter": 50}
    a = fastem.select(mixture.X, [2], "full", cv=folds, sample_weight=there, **options)
    kept = there > 0
    b = fastem.select(mixture.X[kept], [2], "full", cv=folds[kept], **options)
    assert a.candidates[0].test == pytest.approx(b.candidates[0].test, rel=1e-9)
    with pytest.raises(ValueError, match="cv must be"):
        fastem.select(mixture.X, [2], "full", cv=(there == 0).astype(int), sample_weight=there, **options)


@pytest.mark.parametrize("by", ["groups", "sizes"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_rows_of_weight_0_change_no_bit_of_many_fits(by, covariance_type):
    """In each group, after its rows."""
    rng = np.random.default_rng(5)
    X, groups = rng.normal(size=(300, 2)) + 6.0 * rng.integers(0, 2, (300, 1)), np.repeat(np.arange(6), 50)
    weight, options = rng.uniform(0.5, 1.5, 300), {"covariance_type": covariance_type, "random_state": 0}
    a = fastem.fit_many(X, groups, 2, sample_weight=weight, **options)
    far = np.full((6, 40, 2), 1e200)
    more = np.concatenate([X.reshape(6, 50, 2), far], axis=1).reshape(-1, 2)
    zeros = np.concatenate([weight.reshape(6, 50), np.zeros((6, 40))], axis=1).ravel()
    if by == "sizes":
        b = fastem.fit_many(more, None, 2, sizes=[90] * 6, sample_weight=zeros, **options)
    else:
        order = np.argsort(rng.uniform(size=540).round(1) * 0 + np.tile(np.arange(90), 6), kind="stable")
        more, zeros, groups = more[order], zeros[order], np.repeat(np.arange(6), 90)[order]
        b = fastem.fit_many(more, groups, 2, sample_weight=zeros, **options)
    for name in ("weights", "means", "covariances", "lower_bound", "n_iter"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    given = {"sizes": [90] * 6} if by == "sizes" else {"groups": groups}
    sums = a.accumulate(X, np.repeat(np.arange(6), 50), weight), b.accumulate(more, sample_weight=zeros, **given)
    for name in ("s0", "s1", "s2", "n_rows"):
        assert getattr(sums[0], name).tobytes() == getattr(sums[1], name).tobytes(), name


def test_groups_without_weight_have_no_mixture():
    X, weight = np.arange(20.0).reshape(10, 2), [0.0] * 4 + [1.0] * 6
    with pytest.warns(UserWarning, match="1 of 2 groups did not converge"):
        fits = fastem.fit_many(X, sizes=[4, 6], sample_weight=weight)
    assert [status.name for status in fits.status] == ["TOO_FEW_ROWS", "CONVERGED"]


@pytest.mark.parametrize("init", ["k-means++", "random", lambda X, K, random_state: X[:K] + 0.0])
def test_rows_of_weight_0_change_no_bit_of_kmeans(data, init):
    mixture, weight, _ = data
    X, weight = mixture.X[weight > 0], weight[weight > 0]
    a, b = (
        fastem.KMeans(5, init=init, n_init=1, random_state=0).fit(rows, sample_weight=w)
        for rows, w in ((X, weight), with_absent(X, weight))
    )
    assert a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
    assert (a.inertia_, a.n_iter_) == (b.inertia_, b.n_iter_)
    np.testing.assert_array_equal(a.labels_, b.labels_[: len(X)])


def test_clusters_of_absent_rows_are_none():
    """Two distinct rows that weigh, and a third that does not: two clusters."""
    X, weight = np.array([[0.0], [0.0], [1.0], [5.0]]), [1.0, 1.0, 1.0, 0.0]
    with pytest.warns(UserWarning, match=r"distinct clusters \(2\)"):
        fastem.KMeans(3, init=[[0.0], [1.0], [5.0]]).fit(X, sample_weight=weight)


def test_rows_of_weight_0_change_no_bit_of_anomalies(data):
    mixture, weight, _ = data
    a, b = (
        fastem.AnomalyDetector(contamination=0.05).fit(rows, sample_weight=w)
        for rows, w in ((mixture.X, weight), with_absent(mixture.X, weight))
    )
    assert a.threshold_ == b.threshold_
    assert state_bytes(a.estimator_) == state_bytes(b.estimator_)


def test_rows_of_weight_0_must_be_numbers(data):
    mixture, weight, _ = data
    X = mixture.X.copy()
    X[np.flatnonzero(weight == 0)[0]] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        GaussianMixture(2).fit(X, sample_weight=weight)


def test_one_row_that_weighs_is_too_few():
    with pytest.raises(ValueError, match=r"1 sample\(s\).*Rows of weight 0 do not count"):
        GaussianMixture(1).fit([[0.0], [1.0]], sample_weight=[1.0, 0.0])
