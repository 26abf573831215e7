"""GaussianMixture as scikit-learn's users know it: parameters, attributes, messages, and what they nest it in."""

import copy
import inspect
import pickle
import re
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn.exceptions
from helpers import (
    TYPES,
    digest,
    fitted,
    invert,
    make_mixture,
    make_start,
    natural,
    outcome,
    quiet_fit,
    run_child,
    state_bytes,
)
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as Peer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastem
from fastem import GaussianMixture

INITS = ("kmeans", "k-means++", "random", "random_from_data")
METHODS = ("predict", "predict_proba", "score_samples", "score", "bic", "aic")


def _shapes(covariance_type, k, d):
    return {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[covariance_type]


def _frozen(model):
    """Everything a model holds, by value: to see that nothing changed."""
    return {name: pickle.dumps(value) for name, value in vars(model).items()}


# ---- parameters --------------------------------------------------------------------------------------


# Keyword-only parameters that scikit-learn does not have, and their defaults.
OURS = {
    "n_threads": None,
    "regularization": None,
    "on_collapse": "reseed",
    "stop": "change",
    "solver": "em",
    "noise": False,
    "assignment": "soft",
    "fixed": (),
    "missing": False,
}


def test_signature():
    """The same names, order, defaults and kinds as scikit-learn's; then our own."""
    got, want = (inspect.signature(c.__init__).parameters for c in (GaussianMixture, Peer))
    ours = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in OURS.items()]
    assert [(p.name, p.default, p.kind) for p in got.values()] == [
        (p.name, p.default, p.kind) for p in [*want.values(), *ours]
    ]


def test_get_and_set_params():
    model, peer = GaussianMixture(3, tol=0.5), Peer(3, tol=0.5)
    assert model.get_params() == peer.get_params() | OURS
    assert model.get_params(deep=False) == peer.get_params(deep=False) | OURS
    assert model.set_params(n_components=7, init_params="random") is model
    assert (model.n_components, model.init_params) == (7, "random")
    with pytest.raises(ValueError, match="Invalid parameter 'nothing' for estimator GaussianMixture"):
        model.set_params(nothing=1)


def test_repr_names_what_differs():
    assert "n_components=3" in repr(GaussianMixture(3))


BAD = [
    {name: value}
    for name, values in {
        "n_components": (0, -1, 2.0, "2", None),
        "n_init": (0, 1.5),
        "max_iter": (-1, 10.0),
        "verbose_interval": (0,),
        "tol": (-1, -1e-300, np.nan, "small", None),
        "reg_covar": (-1, np.nan, "x"),
        "covariance_type": ("ball", 1, None),
        "init_params": ("best",),
        "warm_start": ("yes",),
        "verbose": (-1, "loud"),
        "random_state": ("seed", -1),
    }.items()
    for value in values
]


@pytest.mark.parametrize("bad", BAD, ids=lambda b: str(b).strip("{}"))
def test_bad_parameters(two, bad):
    """Accepted by the constructor, refused at fit with scikit-learn's class of error and its words."""
    _, want, _ = outcome(lambda: Peer(**bad).fit(two.X))
    _, got, _ = outcome(lambda: GaussianMixture(**bad).fit(two.X))
    assert isinstance(want, ValueError)
    assert isinstance(got, ValueError)
    if next(iter(bad)) in ("covariance_type", "init_params", "random_state", "warm_start", "verbose"):
        # what follows "must be" is a list of types or options: scikit-learn's grows with its versions
        assert str(got).startswith(str(want).split(" must be ")[0] + " must be ")
        assert str(got).endswith(str(want)[str(want).index(" Got ") :])
    else:
        assert str(got) == str(want)
    assert not hasattr(GaussianMixture(**bad), "means_")


BAD_STARTS = [
    {"weights_init": [0.2, 0.2]},
    {"weights_init": [1.5, -0.5]},
    {"weights_init": [1.0]},
    {"weights_init": [[0.5, 0.5]]},
    {"means_init": [[0.0, 0.0, 0.0]]},
    {"means_init": [[0.0, 0.0], [1.0, 1.0]]},
    {"means_init": [0.0, 0.0]},
    {"precisions_init": np.ones((2, 2)), "covariance_type": "diag"},
    {"precisions_init": [[1, 1, 1], [1, -1, 1]], "covariance_type": "diag"},
    {"precisions_init": [1.0, 0.0], "covariance_type": "spherical"},
    {"precisions_init": [1.0], "covariance_type": "spherical"},
    {"precisions_init": np.triu(np.ones((3, 3))), "covariance_type": "tied"},
    {"precisions_init": -np.eye(3), "covariance_type": "tied"},
    {"precisions_init": np.eye(3), "covariance_type": "full"},
    {"precisions_init": np.stack([np.eye(3), np.triu(np.ones((3, 3)))]), "covariance_type": "full"},
    {"precisions_init": np.zeros((2, 3, 3)), "covariance_type": "full"},
]


@pytest.mark.parametrize("bad", BAD_STARTS, ids=lambda b: "-".join(b))
def test_bad_starts(two, bad):
    """scikit-learn's words, to the letter."""
    _, want, _ = outcome(lambda: Peer(2, **bad).fit(two.X))
    _, got, _ = outcome(lambda: GaussianMixture(2, **bad).fit(two.X))
    assert isinstance(want, ValueError)
    assert isinstance(got, ValueError)
    # scikit-learn mixes up minimum and maximum in one of these
    assert str(got).split("max value")[0] == str(want).split("max value")[0]


@pytest.mark.parametrize("covariance_type", TYPES)
def test_fit_leaves_parameters_alone(two, covariance_type):
    """The very objects that were given stay, and their contents; scikit-learn replaces them."""
    start = {k: v.tolist() for k, v in make_start(two, covariance_type).items()}
    rng = np.random.RandomState(3)
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=rng, **start)
    before, contents = model.get_params(), copy.deepcopy(start)
    quiet_fit(model, two.X)
    for name, value in model.get_params().items():
        assert value is before[name], name
    assert start == contents


# ---- attributes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("k", [1, 2])
def test_attributes(two, covariance_type, k, dtype):
    """Names, shapes, dtypes and the relations between them."""
    X = two.X.astype(dtype)
    model = GaussianMixture(k, covariance_type=covariance_type, random_state=0)
    assert model.fit(X) is model
    shape = _shapes(covariance_type, k, 3)
    for name, expected in {
        "weights_": (k,), "means_": (k, 3), "covariances_": shape, "precisions_": shape, "precisions_cholesky_": shape,
    }.items():  # fmt: skip
        assert getattr(model, name).shape == expected, name
        assert getattr(model, name).dtype == np.dtype(dtype), name
    assert model.weights_.sum() == pytest.approx(1.0, abs=1e-6 if dtype == "f4" else 1e-14)
    u, eps = model.precisions_cholesky_, 1e-4 if dtype == "f4" else 1e-11
    if covariance_type in ("full", "tied"):
        np.testing.assert_array_equal(u, np.triu(u))
        np.testing.assert_allclose(
            u @ np.swapaxes(u, -1, -2), model.precisions_, rtol=0, atol=eps * np.abs(u).max() ** 2
        )
    else:
        np.testing.assert_allclose(u**2, model.precisions_, rtol=eps)
    np.testing.assert_allclose(
        invert(model.precisions_.astype("f8"), covariance_type), model.covariances_, rtol=0,
        atol=eps * np.abs(model.covariances_).max(),
    )  # fmt: skip
    assert (type(model.converged_), type(model.n_iter_), type(model.n_features_in_)) == (bool, int, int)
    assert isinstance(model.lower_bounds_, list)
    assert len(model.lower_bounds_) == model.n_iter_
    assert model.lower_bound_ == model.lower_bounds_[-1]
    assert isinstance(model.lower_bound_, float)
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")
    assert model.converged_
    assert model.status_ is fastem.Status.CONVERGED
    assert isinstance(model.params_, fastem.Params)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_types_of_answers(two, dtype):
    X = two.X.astype(dtype)
    model = GaussianMixture(2, random_state=0).fit(X)
    assert model.predict(X).dtype == np.int64
    assert model.predict(X).shape == (600,)
    assert model.fit_predict(X).dtype == np.int64
    assert model.predict_proba(X).shape == (600, 2)
    assert model.score_samples(X).shape == (600,)
    for name in ("score", "bic", "aic"):
        assert type(getattr(model, name)(X)) is float, name
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))
    assert model.score(X) == pytest.approx(model.score_samples(X).astype("f8").mean(), rel=1e-6)
    tol = 1e-4 if dtype == "f4" else 1e-9
    ref = Peer(2).set_params(random_state=0)
    ref._set_parameters((model.weights_, model.means_, model.covariances_, model.precisions_cholesky_))
    ref.n_features_in_ = 3
    np.testing.assert_allclose(model.score_samples(X), ref.score_samples(two.X.astype(dtype).astype("f8")), atol=tol)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(("max_iter", "tol"), [(1, 0.0), (3, 1e-3), (100, 1e-3)])
def test_fit_predict_is_fit_then_predict(two, covariance_type, max_iter, tol):
    options = {"covariance_type": covariance_type, "max_iter": max_iter, "tol": tol, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = GaussianMixture(2, **options).fit_predict(two.X)
        np.testing.assert_array_equal(labels, GaussianMixture(2, **options).fit(two.X).predict(two.X))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_free_parameters_and_criteria(two, covariance_type):
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(two.X)
    p = {"full": 12, "tied": 6, "diag": 6, "spherical": 2}[covariance_type] + 2 * 3 + 1
    assert model._n_parameters() == p
    s = model.score(two.X) * 600
    assert model.bic(two.X) == pytest.approx(-2 * s + p * np.log(600), rel=1e-12)
    assert model.aic(two.X) == pytest.approx(-2 * s + 2 * p, rel=1e-12)


def test_criteria_take_lists(two):
    model = GaussianMixture(2, random_state=0).fit(two.X.tolist())
    for name in METHODS:
        np.testing.assert_array_equal(getattr(model, name)(two.X[:5].tolist()), getattr(model, name)(two.X[:5]))
    assert np.isfinite(model.bic([[0.0, 0.0, 0.0]]))


# ---- what it refuses ---------------------------------------------------------------------------------

REFUSED = {
    "one row": lambda X: X[:1],
    "no row": lambda X: X[:0],
    "no column": lambda X: X[:, :0],
    "one axis": lambda X: X[:, 0],
    "three axes": lambda X: X[None],
    "scalar": lambda X: 3.0,
    "too few rows": lambda X: X[:5],
    "NaN": lambda X: np.where(np.arange(3) == 1, np.nan, X),
    "inf": lambda X: np.where(np.arange(3) == 1, -np.inf, X),
    "text": lambda X: np.array([["a", "b"]] * 20),
    "complex": lambda X: X + 1j,
    "sparse": lambda X: scipy.sparse.csr_matrix(X),
    "sparse array": lambda X: scipy.sparse.coo_array(X),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_at_fit(two, case):
    X = REFUSED[case](two.X)
    _, want, _ = outcome(lambda: Peer(9).fit(X))
    _, got, _ = outcome(lambda: GaussianMixture(9).fit(X))
    assert want is not None
    _same_complaint(got, want)


@pytest.fixture(scope="module")
def pair(two):
    """A fit by scikit-learn and one by fastem, to read only."""
    return Peer(2).fit(two.X), GaussianMixture(2).fit(two.X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["NaN", "inf", "no row", "one axis", "three axes", "sparse", "other width"])
def test_refused_later(two, pair, case, method):
    X = two.X[:, :2] if case == "other width" else REFUSED[case](two.X)
    peer, model = pair
    _, want, _ = outcome(lambda: getattr(peer, method)(X))
    _, got, _ = outcome(lambda: getattr(model, method)(X))
    assert want is not None
    _same_complaint(got, want)


# beyond the words that scikit-learn's users are known to match on, the class of error and what it is about
ABOUT = {
    "Found array with dim 3": "dim|3D",
    "could not convert string": "string",
    "Sparse data was passed": "Sparse data was passed",
    "Found array with 0 feature": "Found array with 0 feature",
}


def _same_complaint(got, want):
    """The same class of error and the same first sentence, or the same subject."""
    assert got is not None
    assert isinstance(got, type(want)), repr(got)
    subject = [words for start, words in ABOUT.items() if str(want).startswith(start)]
    if subject:
        assert re.search(subject[0], str(got)), str(got)
    else:
        assert str(want).splitlines()[0].split(". ")[0].rstrip(".:") in str(got)


@pytest.mark.parametrize("method", [*METHODS, "sample"])
def test_not_fitted(two, method):
    model = GaussianMixture(2)
    message = (
        "This GaussianMixture instance is not fitted yet. Call 'fit' with appropriate arguments before using this "
        "estimator."
    )
    with pytest.raises(sklearn.exceptions.NotFittedError) as caught:
        getattr(model, method)(*([] if method == "sample" else [two.X]))
    assert str(caught.value) == message


def test_convergence_warning(two):
    message = (
        "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, "
        f"or check for degenerate data. {fastem.Status.MAX_ITER.advice}"
    )
    with pytest.warns(sklearn.exceptions.ConvergenceWarning) as caught:
        model = GaussianMixture(2, max_iter=1, tol=0.0).fit(two.X)
    assert [str(w.message) for w in caught] == [message]
    assert model.converged_ is False
    assert model.status_ is fastem.Status.MAX_ITER


# ---- loops and restarts ------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_max_iter_zero(two, covariance_type):
    """Initialise only, complete start included (scikit-learn raises an AttributeError there)."""
    start = make_start(two, covariance_type)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({}, start):
            model = GaussianMixture(2, covariance_type=covariance_type, max_iter=0, random_state=0, **options).fit(
                two.X
            )
            assert (model.n_iter_, model.lower_bound_, model.lower_bounds_) == (0, -np.inf, [])
            assert model.converged_ is False
            assert np.isfinite(model.score(two.X))
    np.testing.assert_array_equal(model.means_, start["means_init"])
    np.testing.assert_array_equal(model.weights_, start["weights_init"])
    np.testing.assert_allclose(model.precisions_, start["precisions_init"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        model.covariances_, invert(start["precisions_init"], covariance_type), rtol=1e-11, atol=1e-11
    )


def test_max_iter_zero_is_the_kmeans_start():
    """Hard labels of separated clusters, one M-step: their own moments."""
    mixture = make_mixture(500, 2, 3, spacing=25.0)
    model = GaussianMixture(3, max_iter=0, random_state=0, reg_covar=0.0).fit(mixture.X)
    for k in range(3):
        own = mixture.X[mixture.labels == k]
        j = np.argmin(np.linalg.norm(model.means_ - own.mean(axis=0), axis=1))
        np.testing.assert_allclose(model.means_[j], own.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.covariances_[j], np.cov(own.T, bias=True), rtol=1e-9)
        assert model.weights_[j] == pytest.approx(len(own) / 500, rel=1e-12)


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_one_hot_starts(two, covariance_type, init):
    """K rows as means, weights 1/K (scikit-learn leaves them summing to K/n), covariances about reg_covar."""
    model = GaussianMixture(
        4, covariance_type=covariance_type, init_params=init, max_iter=0, random_state=0, reg_covar=1e-3
    ).fit(two.X)
    np.testing.assert_allclose(model.weights_, 0.25, rtol=1e-12)
    # a seed's mean is s1 / (1 + 10 eps)
    distance = np.abs(model.means_[:, None] - two.X).max(axis=2)
    assert (distance.min(axis=1) < 1e-13).all()
    assert len(np.unique(distance.argmin(axis=1))) == 4
    np.testing.assert_allclose(fitted(model).covariances, np.tile(1e-3 * np.eye(3), (4, 1, 1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("init", INITS)
def test_every_init_fits(two, init):
    model = GaussianMixture(2, init_params=init, random_state=0, max_iter=2000, tol=1e-6).fit(two.X)
    peer = Peer(2, init_params=init, random_state=0, max_iter=2000, tol=1e-6).fit(two.X)
    assert model.converged_
    assert model.score(two.X) == pytest.approx(peer.score(two.X), abs=1e-3)


@pytest.mark.parametrize("init", INITS)
def test_random_state(two, init):
    """An int repeats itself, a RandomState moves on, two of the same seed agree."""

    def fit(random_state):
        return GaussianMixture(3, init_params=init, max_iter=0, random_state=random_state).fit(two.X).means_

    np.testing.assert_array_equal(fit(5), fit(5))
    rng = np.random.RandomState(5)
    first, second = fit(rng), fit(rng)
    np.testing.assert_array_equal(first, fit(np.random.RandomState(5)))
    np.testing.assert_array_equal(first, fit(5))
    if init != "kmeans":  # which may well find the same centres again
        assert not np.array_equal(first, second)
        assert not np.array_equal(fit(5), fit(6))
    fit(None)


def test_n_init_keeps_the_best():
    """Bound, counts and parameters of one run: the best of five, which share one RandomState."""
    X = make_mixture(400, 2, 6, spacing=2.0, seed=3).X
    options = {"init_params": "random", "max_iter": 30, "tol": 1e-4}
    rng = np.random.RandomState(0)
    runs = [quiet_fit(GaussianMixture(6, random_state=rng, **options), X) for _ in range(5)]
    bounds = [run.lower_bound_ for run in runs]
    assert len(set(bounds)) > 1
    best = runs[int(np.argmax(bounds))]
    model = quiet_fit(GaussianMixture(6, random_state=np.random.RandomState(0), n_init=5, **options), X)
    assert state_bytes(model) == state_bytes(best)
    assert model.status_ is best.status_


def test_no_warning_when_only_a_worse_run_did_not_converge():
    """converged_ and the warning speak of the best run."""
    X = make_mixture(400, 2, 4, spacing=2.0, seed=3).X
    for seed in range(8):
        options = {"init_params": "random", "max_iter": 60, "n_init": 3, "random_state": seed}
        model, _, messages = outcome(lambda options=options: GaussianMixture(4, **options).fit(X))
        assert bool(messages) != model.converged_


@pytest.mark.parametrize("covariance_type", TYPES)
def test_warm_start_continues(two, covariance_type):
    """max_iter=1 in a loop is one long fit; n_init is ignored after the first."""
    start = make_start(two, covariance_type)
    options = {"covariance_type": covariance_type, "tol": 0.0, **start}
    long = quiet_fit(GaussianMixture(2, max_iter=10, **options), two.X)
    step = GaussianMixture(2, max_iter=1, warm_start=True, n_init=3, **options)
    bounds = [quiet_fit(step, two.X).lower_bound_ for _ in range(10)]
    np.testing.assert_allclose(bounds, long.lower_bounds_, rtol=1e-12)
    for a, b in zip(fitted(step), fitted(long), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert step.n_iter_ == 1


def test_warm_start_compares_with_the_last_bound(two):
    """The first change is taken against lower_bound_ of the previous fit: a loop of single steps converges."""
    kwargs = {"max_iter": 1, "warm_start": True, "random_state": 0, "tol": 1e-4}
    for model in (GaussianMixture(2, **kwargs), Peer(2, **kwargs)):
        for _ in range(1000):
            quiet_fit(model, two.X)
            if model.converged_:
                break
        assert model.converged_
        assert model.n_iter_ == 1


def test_cold_start_forgets(two):
    a = GaussianMixture(2, random_state=0).fit(two.X)
    before = state_bytes(a)
    assert state_bytes(a.fit(two.X)) == before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"n_components": 3}, "n_components"),
        ({"covariance_type": "diag"}, "covariance_type"),
        ({"columns": 2}, "features|columns"),
    ],
)
def test_warm_start_refuses_another_shape(two, change, names):
    """scikit-learn goes on with the old shape or dies inside; here the error names what differs."""
    model = GaussianMixture(2, warm_start=True).fit(two.X)
    before, columns = state_bytes(model), change.pop("columns", 3)
    model.set_params(**change)
    with pytest.raises(ValueError, match=names):
        model.fit(two.X[:, :columns])
    assert state_bytes(model) == before


def test_refit_with_another_shape(two):
    """Without warm_start a model may be fitted to anything next."""
    model = GaussianMixture(2, random_state=0).fit(two.X)
    model.set_params(n_components=3, covariance_type="diag").fit(two.X[:, :2])
    assert model.means_.shape == (3, 2)
    assert model.n_features_in_ == 2


@pytest.mark.parametrize("verbose", [1, 2])
def test_verbose_prints(two, capfd, verbose):
    GaussianMixture(2, random_state=0).fit(two.X)
    assert capfd.readouterr() == ("", "")
    GaussianMixture(2, random_state=0, verbose=verbose, verbose_interval=1).fit(two.X)
    out, err = capfd.readouterr()
    assert "Initialization 0" in out
    assert "Iteration 1" in out
    assert err == ""


# ---- sampling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e5, 1e12, 1e150])
@pytest.mark.parametrize("student", [False, True])
def test_a_sample_of_features_in_units_far_apart(student, unit):
    """Each has its own variance and the correlation, and NumPy has nothing to warn of."""
    covariances = [[[1.0, 0.5 * unit], [0.5 * unit, unit * unit]]]
    cls = fastem.StudentMixture if student else GaussianMixture
    model = cls.from_parameters([1.0], [[0.0, 0.0]], covariances, *([[1e6]] if student else []))
    X = model.set_params(random_state=0).sample(40_000)[0] / [1.0, unit]
    np.testing.assert_allclose(np.cov(X.T), [[1.0, 0.5], [0.5, 1.0]], atol=0.03)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_sample(covariance_type):
    mixture = make_mixture(10, 3, 3, spacing=3.0)
    model = GaussianMixture.from_parameters(
        mixture.weights, mixture.means, natural(mixture.covariances, covariance_type), covariance_type
    ).set_params(random_state=0)
    X, y = model.sample(60_000)
    assert (X.shape, y.shape, X.dtype, y.dtype) == ((60_000, 3), (60_000,), np.float64, np.int64)
    assert (np.diff(y) >= 0).all()
    for k in range(3):
        own, c, n = X[y == k], fitted(model).covariances[k], np.sum(y == k)
        assert n / 60_000 == pytest.approx(mixture.weights[k], abs=5 * np.sqrt(0.25 / 60_000))
        assert (np.abs(own.mean(axis=0) - mixture.means[k]) < 5 * np.sqrt(np.diag(c) / n)).all()
        spread = np.sqrt((np.outer(np.diag(c), np.diag(c)) + c**2) / n)
        assert (np.abs(np.cov(own.T) - c) < 5 * spread).all()
    again, _ = model.sample(60_000)
    np.testing.assert_array_equal(again, X)
    for n in (1, np.int64(2)):
        assert model.sample(n)[0].shape == (n, 3)
    assert model.sample()[0].shape == (1, 3)
    rng = np.random.RandomState(0)
    model.set_params(random_state=rng)
    first, second = model.sample(5)[0], model.sample(5)[0]
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_sample_draws_are_scikit_learns(two, covariance_type):
    """The same seed and the same parameters give the same rows."""
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=4).fit(two.X)
    peer = Peer(2, covariance_type=covariance_type, random_state=4)
    peer._set_parameters((model.weights_, model.means_, model.covariances_, model.precisions_cholesky_))
    (a, i), (b, j) = model.sample(50), peer.sample(50)
    np.testing.assert_array_equal(i, j)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_sample_of_a_float32_model(two):
    X, _ = GaussianMixture(2, random_state=0).fit(two.X.astype("f4")).sample(5)
    assert X.dtype == np.float64


# ---- from_parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_from_parameters(two, covariance_type):
    """Lists in, a fitted model out: the answers of the fit that the parameters come from."""
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(two.X)
    other = GaussianMixture.from_parameters(
        model.weights_.tolist(),
        model.means_.tolist(),
        model.covariances_.tolist(),
        covariance_type=covariance_type,
    )
    assert isinstance(other, GaussianMixture)
    assert (other.n_components, other.covariance_type, other.n_features_in_) == (2, covariance_type, 3)
    for name in METHODS:
        np.testing.assert_allclose(getattr(other, name)(two.X), getattr(model, name)(two.X), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.precisions_cholesky_, model.precisions_cholesky_, rtol=1e-9, atol=1e-12)
    other.sample(3)
    pickle.loads(pickle.dumps(other)).predict(two.X)
    quiet_fit(other, two.X)


@pytest.mark.parametrize(
    "bad",
    [
        {"weights": [0.5, 0.6]},
        {"weights": [1.5, -0.5]},
        {"weights": [1.0]},
        {"weights": [0.5, np.nan]},
        {"means": [[0.0, 0.0]]},
        {"means": [0.0, 1.0]},
        {"means": [[0.0, np.inf], [0.0, 0.0]]},
        {"covariances": [np.eye(2)]},
        {"covariances": [np.eye(2), -np.eye(2)]},
        {"covariances": [np.eye(2), [[1.0, 2.0], [2.0, 1.0]]]},
        {"covariances": [np.eye(2), [[1.0, 0.5], [0.0, 1.0]]]},
        {"covariances": [np.eye(2), np.full((2, 2), np.nan)]},
        {"covariances": [np.eye(2), np.ones((2, 2))]},
        {"covariances": np.ones((2, 2))},
        {"covariance_type": "ball"},
        {"covariance_type": "diag"},
    ],
    ids=lambda b: "-".join(b),
)
def test_from_parameters_refuses(bad):
    good = {
        "weights": [0.5, 0.5],
        "means": np.zeros((2, 2)),
        "covariances": [np.eye(2)] * 2,
        "covariance_type": "full",
    }
    GaussianMixture.from_parameters(**good)
    with pytest.raises(ValueError, match=r"weights|means|covariance"):
        GaussianMixture.from_parameters(**{**good, **bad})
    with pytest.raises(ValueError, match=r"weights|means|covariance"):
        fastem.make_params(**{**good, **bad})


# ---- frames ------------------------------------------------------------------------------------------

FRAMES = {
    "pandas": lambda X, names: pd.DataFrame(X, columns=names),
    "polars": lambda X, names: pl.DataFrame(X, schema=list(names)),
}
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(two, kind):
    frame = FRAMES[kind](two.X, NAMES)
    model = GaussianMixture(2, random_state=0).fit(frame)
    assert state_bytes(model) == state_bytes(GaussianMixture(2, random_state=0).fit(two.X))
    assert model.feature_names_in_.dtype == object
    assert list(model.feature_names_in_) == NAMES
    plain = GaussianMixture(2, random_state=0).fit(two.X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in METHODS:
            np.testing.assert_array_equal(getattr(model, name)(frame), getattr(plain, name)(two.X))
    assert not hasattr(model.fit(two.X), "feature_names_in_")


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize(
    "case",
    ["array after frame", "frame after array", "renamed", "reordered", "missing", "extra", "mixed names"],
)
def test_frame_names_are_checked(two, kind, case):
    """The errors and warnings are scikit-learn's."""
    make, results = FRAMES[kind], []
    if case == "mixed names" and kind == "polars":
        pytest.skip("polars has no other names than strings")
    frame = make(two.X, NAMES)
    fit_on, query = {
        "array after frame": lambda: (frame, two.X),
        "frame after array": lambda: (two.X, frame),
        "renamed": lambda: (frame, make(two.X, ["a", "b", "z"])),
        "reordered": lambda: (frame, make(two.X, ["c", "b", "a"])),
        "missing": lambda: (frame, make(two.X[:, :2], ["a", "b"])),
        "extra": lambda: (frame, make(np.c_[two.X, two.X[:, 0]], [*NAMES, "d"])),
        "mixed names": lambda: (make(two.X, ["a", 1, "c"]), two.X),
    }[case]()
    for cls in (Peer, GaussianMixture):
        _, error, messages = outcome(lambda cls=cls: cls(2, random_state=0).fit(fit_on).predict(query))
        results.append((type(error), str(error), messages))
    assert results[1] == results[0]
    assert results[0][0] is not type(None) or results[0][2]


def test_frame_of_mixed_numbers(two):
    """Columns of several dtypes, and nullable ones, come in as float64."""
    frame = pd.DataFrame(
        {"a": two.X[:, 0].astype("f4"), "b": np.arange(600), "c": pd.array(np.arange(600) % 7, "Int64")}
    )
    model = GaussianMixture(1).fit(frame)
    assert model.means_.dtype == np.float64
    np.testing.assert_allclose(model.means_[0], frame.astype("f8").mean(), rtol=1e-12)
    frame.loc[3, "c"] = pd.NA
    with pytest.raises(ValueError, match=r"NaN|missing"):
        GaussianMixture(1).fit(frame)


# ---- nesting -----------------------------------------------------------------------------------------


def test_clone(two):
    model = GaussianMixture(2, covariance_type="diag", random_state=0, means_init=two.means).fit(two.X)
    other = clone(model)
    assert not hasattr(other, "means_")
    assert str(other.get_params()) == str(model.get_params())
    assert state_bytes(other.fit(two.X)) == state_bytes(model)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        clone(model).predict(two.X)


def test_pipeline_and_grid_search(two):
    pipe = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)).fit(two.X)
    assert pipe.predict(two.X).shape == (600,)
    assert np.isfinite(pipe.score(two.X))
    grid = {"n_components": [1, 2, 4], "covariance_type": ["full", "spherical"]}
    searches = [
        GridSearchCV(cls(random_state=0), grid, cv=3).fit(two.X).best_params_ for cls in (GaussianMixture, Peer)
    ]
    assert searches[0] == searches[1]
    assert searches[0]["n_components"] == 2


def test_grid_search_by_bic(two):
    """The recipe of scikit-learn's documentation: a scorer that calls bic."""
    search = GridSearchCV(
        GaussianMixture(random_state=0), {"n_components": [1, 2, 3]}, scoring=lambda est, X: -est.bic(X)
    ).fit(two.X)
    assert search.best_params_ == {"n_components": 2}


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(two, backend):
    """In threads and in processes, the bits of a plain fit."""

    def job(seed):
        return GaussianMixture(2, covariance_type="diag", init_params="random", random_state=seed)

    with joblib.parallel_config(backend=backend):
        models = joblib.Parallel(n_jobs=2)(joblib.delayed(job(seed).fit)(two.X) for seed in range(4))
    for seed, model in enumerate(models):
        assert state_bytes(model) == state_bytes(job(seed).fit(two.X))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(two, protocol):
    frame = FRAMES["pandas"](two.X, NAMES)
    model = GaussianMixture(2, random_state=0).fit(frame)
    other = pickle.loads(pickle.dumps(model, protocol))
    assert _frozen(other) == _frozen(model)
    np.testing.assert_array_equal(other.predict_proba(frame), model.predict_proba(frame))
    unfitted = pickle.loads(pickle.dumps(GaussianMixture(4), protocol))
    assert unfitted.get_params() == GaussianMixture(4).get_params()
    assert _frozen(copy.deepcopy(model)) == _frozen(model)


@pytest.mark.parametrize(
    "damage",
    [
        {"means_": np.zeros((2, 2))},
        {"means_": np.full((2, 3), np.nan)},
        {"weights_": np.array([1.0])},
        {"weights_": np.array([2.0, -1.0])},
        {"covariances_": np.zeros((2, 3))},
        {"covariances_": -np.tile(np.eye(3), (2, 1, 1))},
        {"covariances_": np.full((2, 3, 3), np.inf)},
        {"precisions_cholesky_": np.full((2, 3, 3), np.nan)},
        {"precisions_cholesky_": np.zeros((1, 1, 1))},
        {"means_": None},
    ],
    ids=lambda d: "-".join(d),
)
def test_damaged_pickle(two, damage):
    """__setstate__ checks shapes, finiteness and positive definiteness."""
    model = GaussianMixture(2, random_state=0).fit(two.X)
    state = copy.deepcopy(model.__reduce_ex__(2)[2])
    assert set(damage) <= set(state)
    with pytest.raises(ValueError, match=r"weights|means|covariance|precision|state|finite"):
        GaussianMixture.__new__(GaussianMixture).__setstate__({**state, **damage})
    GaussianMixture.__new__(GaussianMixture).__setstate__(state)


def test_y_is_ignored(two):
    a = GaussianMixture(2, random_state=0).fit(two.X, two.labels)
    assert state_bytes(a) == state_bytes(GaussianMixture(2, random_state=0).fit(two.X))
    assert a.score(two.X, two.labels) == a.score(two.X)
    np.testing.assert_array_equal(a.fit_predict(two.X, two.labels), a.predict(two.X))


def test_private_names_that_users_call(two):
    """Seen in other people's code: parameters out and in again, the weighted log probabilities."""
    model = GaussianMixture(2, random_state=0).fit(two.X)
    other = GaussianMixture(2)
    other._set_parameters(model._get_parameters())
    peer = Peer(2)
    peer._set_parameters(model._get_parameters())
    np.testing.assert_allclose(other.means_, model.means_)
    np.testing.assert_allclose(other.precisions_, peer.precisions_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        model._estimate_weighted_log_prob(two.X),
        peer._estimate_weighted_log_prob(two.X),
        rtol=1e-9,
        atol=1e-9,
    )
    assert digest(other.predict(two.X)) == digest(model.predict(two.X))


# ---- callback ----------------------------------------------------------------------------------------


def test_callback(two):
    """Called once an iteration with its number, the bound and the parameters; True ends the fit."""
    seen = []
    model = GaussianMixture(2, random_state=0, tol=1e-6).fit(two.X, callback=lambda *a: seen.append(a))
    assert [s[0] for s in seen] == list(range(1, model.n_iter_ + 1))
    np.testing.assert_array_equal([s[1] for s in seen], model.lower_bounds_)
    assert all(isinstance(s[2], fastem.Params) for s in seen)
    stopped = quiet_fit(GaussianMixture(2, random_state=0), two.X, callback=lambda i, bound, params: i == 2)
    assert stopped.n_iter_ == 2
    assert stopped.status_ is fastem.Status.INTERRUPTED
    assert stopped.converged_ is False
    assert stopped.lower_bounds_ == model.lower_bounds_[:2]


def test_callback_of_em(two):
    params = GaussianMixture(2, random_state=0, max_iter=0).fit(two.X).params_
    seen = []
    result = fastem.em(two.X, params, callback=lambda i, bound, p: seen.append(bound) or i >= 3)
    assert seen == list(result.history)
    assert (result.n_iter, result.status) == (3, fastem.Status.INTERRUPTED)
    np.testing.assert_allclose(fastem.log_density(two.X, result.params).sum(), result.loglik, rtol=1e-12)


# ---- without scikit-learn ----------------------------------------------------------------------------


def test_without_scikit_learn(tmp_path):
    """Import does not load it; blocked, everything works, with errors and warnings of its own."""
    np.save(tmp_path / "X.npy", make_mixture(300, 2, 2, spacing=6.0).X)
    got = run_child(
        """
        import json, sys, pickle, warnings
        import numpy as np
        X = np.load(sys.argv[1])
        import fastem
        assert not [m for m in sys.modules if m.split(".")[0] in ("sklearn", "pandas", "matplotlib")]
        sys.modules["sklearn"] = None
        model = fastem.GaussianMixture(2, random_state=0)
        try:
            model.predict(X)
        except (ValueError, AttributeError) as e:
            assert isinstance(e, ValueError) and isinstance(e, AttributeError)
            name = type(e).__name__
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fastem.GaussianMixture(2, max_iter=1, tol=0).fit(X)
        model.fit(X)
        pickle.loads(pickle.dumps(model)).predict(X)
        repr(model), model.get_params(), model.sample(3), model.bic(X)
        for init in ("k-means++", "random", "random_from_data"):
            fastem.GaussianMixture(2, init_params=init, random_state=0).fit(X)
        category = caught[0].category
        print(json.dumps([name, category.__name__, issubclass(category, UserWarning), model.score(X)]))
        """,
        tmp_path / "X.npy",
    )
    want = GaussianMixture(2, random_state=0).fit(np.load(tmp_path / "X.npy"))
    assert got[:3] == ["NotFittedError", "ConvergenceWarning", True]
    assert got[3] == want.score(np.load(tmp_path / "X.npy"))


def test_exceptions_are_both_libraries():
    with pytest.raises(fastem.NotFittedError) as caught:
        GaussianMixture().predict(np.zeros((2, 2)))
    assert isinstance(caught.value, sklearn.exceptions.NotFittedError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("estimator", [GaussianMixture(2), fastem.KMeans(2)], ids=lambda one: type(one).__name__)
def test_names_come_before_values(estimator):
    """As in scikit-learn's check_dataframe_column_names_consistency, whose frames of other names hold NaN."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])
    model = clone(estimator).fit(frame)
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        model.predict(pd.DataFrame(frame, columns=["c", "d"]))


def test_a_fit_keeps_its_family():
    X = np.random.RandomState(0).randn(100, 2)
    model = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
    score = model.score(X)
    model.set_params(covariance_type="tied")
    assert model.score(X) == score
    assert pickle.loads(pickle.dumps(model)).score(X) == score
    with pytest.raises(ValueError, match="covariance_type"):
        model.set_params(warm_start=True).fit(X)


def test_clone_keeps_metadata_requests():
    model = GaussianMixture().set_fit_request(sample_weight=True)
    assert clone(model).get_metadata_routing().fit.requests == {"sample_weight": True}
