"""What scikit-learn's users and their tools find on an estimator: nested parameters, hooks, methods, versions, HTML."""

import copy
import pickle
import re
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import ALL, TYPES, quiet_fit
from sklearn.base import clone
from sklearn.cluster import KMeans as PeerKMeans
from sklearn.mixture import GaussianMixture as Peer

import fastem
from fastem import AnomalyDetector, GaussianMixture, KMeans, Status
from fastem.estimators.protocol import Estimator

# ---- parameters --------------------------------------------------------------------------------------


def test_parameters_of_a_nested_estimator():
    """As in scikit-learn's pipelines: a search over estimator__n_components sets those of the mixture."""
    detector = AnomalyDetector(GaussianMixture(2), contamination=0.1)
    deep = detector.get_params()
    assert deep["estimator__n_components"] == 2
    assert {name for name in deep if "__" not in name} == set(detector.get_params(deep=False))
    detector.set_params(contamination=0.2, estimator__tol=0.5)
    assert (detector.contamination, detector.estimator.tol) == (0.2, 0.5)
    detector.set_params(estimator__n_components=5, estimator=GaussianMixture(3))  # the estimator first
    assert detector.estimator.n_components == 5
    for wrong in ("estimator__clusters", "nothing__tol", "contamination__tol"):
        with pytest.raises(ValueError, match="Invalid parameter"):
            detector.set_params(**{wrong: 1})
    assert repr(detector).count("GaussianMixture") == 1


# ---- methods that users of scikit-learn's class call -------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_private_scores_are_scikit_learns(two, covariance_type):
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(two.X)
    peer = model.to_sklearn()
    for name in ("_estimate_log_prob", "_estimate_weighted_log_prob"):
        np.testing.assert_allclose(getattr(model, name)(two.X), getattr(peer, name)(two.X), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(model._estimate_log_weights(), peer._estimate_log_weights())
    for got, want in zip(model._estimate_log_prob_resp(two.X), peer._estimate_log_prob_resp(two.X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_density_of_a_component_without_weight():
    model = GaussianMixture.from_parameters([0.0, 1.0], [[0.0], [5.0]], [1.0, 1.0], "spherical")
    assert model._estimate_log_weights()[0] == -np.inf
    np.testing.assert_allclose(
        model._estimate_log_prob([[0.0]]), [[-0.5 * np.log(2 * np.pi), -0.5 * np.log(2 * np.pi) - 12.5]]
    )


@pytest.mark.parametrize(
    "options",
    [{"regularization": "map"}, {"assignment": "hard"}, {"fixed": ("weights",)}],
    ids=lambda one: next(iter(one)),
)
def test_partial_fit_is_not_there_where_it_cannot_work(two, options):
    """As by scikit-learn's available_if: tools ask hasattr."""
    model = GaussianMixture(2, random_state=0)
    assert hasattr(model, "partial_fit")
    model.partial_fit(two.X)
    model.set_params(**options)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit does not work with "):
        model.partial_fit(two.X)
    assert "stepwise EM" in GaussianMixture.partial_fit.__doc__


# ---- attributes set by hand --------------------------------------------------------------------------


def _by_hand(peer, family, *names):
    model = GaussianMixture(2, covariance_type=family, random_state=0)
    for name in ("weights_", "means_", *names):
        setattr(model, name, getattr(peer, name))
    return model


@pytest.mark.parametrize("given", ["covariances_", "precisions_", "precisions_cholesky_"])
@pytest.mark.parametrize("family", ALL)
def test_a_mixture_set_by_hand(two, family, given, tmp_path):
    """Weights, means and one kind of matrix make a model."""
    want = GaussianMixture(2, covariance_type=family, random_state=0).fit(two.X)
    model = _by_hand(want, family, given)
    fastem.save(model, tmp_path / "model.npz")
    models = model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model), fastem.load(tmp_path / "model.npz")
    for one in (*models, model.sort_components().align_to(model)):
        np.testing.assert_allclose(one.predict_proba(two.X), want.predict_proba(two.X), rtol=0, atol=1e-9)
        for name in ("covariances_", "precisions_", "precisions_cholesky_"):
            np.testing.assert_allclose(getattr(one, name), getattr(want, name), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(one.sample(10)[0], want.sample(10)[0], rtol=1e-7)
    np.testing.assert_allclose(model.to_sklearn().score(two.X), want.score(two.X))
    with pytest.raises(AttributeError, match="no attribute 'covariance_'"):
        _ = model.covariance_
    with pytest.raises(fastem.NotFittedError, match="not fitted yet"):
        _ = GaussianMixture().params_


@pytest.mark.parametrize("family", ["full", "tied"])
def test_a_lower_triangular_root_of_the_precision(two, family):
    """People set numpy.linalg.cholesky(precision), which scikit-learn's formula takes."""
    peer = Peer(2, covariance_type=family, random_state=0).fit(two.X)
    model = _by_hand(peer, family, "covariances_")
    model.precisions_cholesky_ = peer.precisions_cholesky_ = np.linalg.cholesky(peer.precisions_)
    assert np.abs(np.triu(model.precisions_cholesky_, 1)).max() == 0
    np.testing.assert_allclose(model.score_samples(two.X), peer.score_samples(two.X), rtol=1e-9)
    for one in (pickle.loads(pickle.dumps(model)), GaussianMixture.from_sklearn(peer)):
        np.testing.assert_allclose(one.score_samples(two.X), peer.score_samples(two.X), rtol=1e-9)


def test_a_scikit_learn_model_set_by_hand(two):
    fit = Peer(2, random_state=0).fit(two.X)
    peer = Peer(2)
    for name in ("weights_", "means_", "covariances_"):
        setattr(peer, name, getattr(fit, name))
    model = GaussianMixture.from_sklearn(peer)
    np.testing.assert_allclose(model.score_samples(two.X), fit.score_samples(two.X), rtol=1e-9)


def test_set_by_hand_to_what_is_no_mixture(two):
    model = _by_hand(GaussianMixture(2).fit(two.X), "full", "covariances_")
    model.covariances_ = -model.covariances_
    with pytest.raises(ValueError, match="'full covariance' should be symmetric, positive-definite"):
        model.predict(two.X)


# ---- hooks -------------------------------------------------------------------------------------------

HOOKS = [
    *((GaussianMixture, Peer, name) for name in GaussianMixture.hooks),
    *((KMeans, PeerKMeans, name) for name in KMeans.hooks),
]


@pytest.mark.parametrize(("own", "peer", "name"), HOOKS, ids=lambda one: getattr(one, "__name__", one))
def test_an_overridden_hook_is_refused(two, own, peer, name):
    """Published code derives from scikit-learn's class; here its method would never be called."""
    assert callable(getattr(peer, name))
    changed = type("Changed", (own,), {name: lambda self, *args: None})
    with pytest.raises(TypeError, match=f"Changed overrides {name}, .* it would have no effect. Use "):
        changed(2).fit(two.X)
    model = own(2)
    setattr(model, name, lambda *args: None)
    with pytest.raises(TypeError, match=f"overrides {name}"):
        model.fit(two.X)


def test_every_hook_of_scikit_learn_is_known():
    """Its methods that are not ours, and those of ours that our own fit does not call."""
    called = {"_get_parameters", "_set_parameters", "_n_parameters"}
    general = {name for name in dir(Peer) if hasattr(Estimator, name) or name in dir(PeerKMeans)}
    private = {name for name in dir(Peer) if name.startswith("_") and callable(getattr(Peer, name))}
    assert private - general - called == set(GaussianMixture.hooks)


def test_a_subclass_that_overrides_nothing_of_these(two):
    class Sub(GaussianMixture):
        def fit(self, X, y=None, sample_weight=None):
            return super().fit(np.asarray(X) + 1.0, y, sample_weight)

        def _n_parameters(self):
            return 7

        def _own(self):
            return None

    model = Sub(2, random_state=0).fit(two.X)
    assert model.aic(two.X) == -2 * model.score(two.X) * len(two.X) + 14


# ---- other tools -------------------------------------------------------------------------------------


def test_names_that_older_tools_ask_for():
    got = [one._estimator_type for one in (GaussianMixture(), KMeans(), AnomalyDetector())]
    assert got == ["DensityEstimator", "clusterer", "outlier_detector"]


def test_html(two, monkeypatch):
    import sklearn

    model = GaussianMixture(2, tol=0.125)
    assert "GaussianMixture" in model._repr_html_()
    assert "0.125" in model._repr_html_()
    assert "fitted" in model.fit(two.X)._repr_html_()
    with sklearn.config_context(display="text"):
        assert model._repr_html_() is None
    monkeypatch.setitem(sys.modules, "sklearn.utils", None)
    assert model._repr_html_() is None


def test_status_is_made_of_its_name():
    """What skops stores of an object that its class makes again, and what keeps a pickle readable."""
    for status in Status:
        kind, arguments = status.__reduce__()
        assert kind is type(status)
        assert arguments == (status.name,)
        assert kind(*arguments) is status
        assert Status(status.value) is status  # as older pickles have it
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert status.advice.encode() not in pickle.dumps(status, protocol)
            assert pickle.loads(pickle.dumps(status, protocol)) is status
    with pytest.raises(ValueError, match="not a valid Status"):
        Status("MAYBE")


@pytest.mark.parametrize(
    "estimator", [GaussianMixture(), KMeans(2), AnomalyDetector()], ids=lambda one: type(one).__name__
)
def test_a_pickle_of_another_version_warns(two, estimator, monkeypatch):
    model = clone(estimator).fit(two.X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(model))
        copy.deepcopy(model)
    saved = pickle.dumps(model)
    monkeypatch.setattr("fastem.estimators.protocol.__version__", "99.0")
    name = type(model).__name__
    with pytest.warns(fastem.InconsistentVersionWarning) as caught:
        other = pickle.loads(saved)
    assert re.search(rf"{name} from version \S+ of fastem when using version 99.0", str(caught[-1].message))
    np.testing.assert_array_equal(other.predict(two.X), model.predict(two.X))
    assert vars(other).keys() == vars(model).keys()


# ---- rows in scikit-learn's words --------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [GaussianMixture(2), KMeans(2)], ids=lambda one: type(one).__name__)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_what_is_no_table(two, estimator):
    name = type(estimator).__name__
    peer = {"GaussianMixture": Peer, "KMeans": PeerKMeans}[name](2)
    for rows, error in ((np.zeros((4, 3, 2)), ValueError), (np.asmatrix(two.X), TypeError), (np.zeros(4), ValueError)):
        with pytest.raises(error) as want:
            peer.fit(rows)
        with pytest.raises(error) as got:
            estimator.fit(rows)
        assert str(got.value).splitlines()[0] == str(want.value).splitlines()[0]


def test_a_path_may_be_a_str(two, tmp_path):
    np.save(tmp_path / "rows.npy", two.X)
    path = str(tmp_path / "rows.npy")
    model = quiet_fit(GaussianMixture(2, random_state=0), path)
    assert model.means_.tobytes() == quiet_fit(GaussianMixture(2, random_state=0), two.X).means_.tobytes()
    np.testing.assert_array_equal(model.predict(path), model.predict(two.X))
    with pytest.raises(FileNotFoundError, match=r"nothing\.npy"):
        GaussianMixture(2).fit("nothing.npy")


def test_a_model_where_its_parameters_are_wanted(two):
    model = GaussianMixture(2).fit(two.X)
    for use in (
        fastem.embed.pack,
        lambda params: fastem.em(two.X, params),
        lambda params: fastem.log_density(two.X, params),
    ):
        with pytest.raises(TypeError, match="got GaussianMixture: pass its attribute params_"):
            use(model)


def test_help_begins_with_what_is_for_use():
    assert dir(fastem) == sorted(fastem.__all__)
    for name in ("GaussianMixture", "select", "as_source", "embed"):
        assert f"`{name}`" in fastem.__doc__


# ---- KMeans ------------------------------------------------------------------------------------------


def test_kmeans_algorithm_and_copy_x(two):
    X = two.X.copy()
    models = [KMeans(2, random_state=0, algorithm=name, copy_x=False).fit(X) for name in ("lloyd", "elkan")]
    assert models[0].cluster_centers_.tobytes() == models[1].cluster_centers_.tobytes()
    np.testing.assert_array_equal(X, two.X)
    assert KMeans().get_params() == PeerKMeans().get_params() | {"n_threads": None}
    for bad in ({"algorithm": "full"}, {"copy_x": "yes"}):
        messages = []
        for one in (KMeans, PeerKMeans):
            with pytest.raises(ValueError, match=next(iter(bad))) as caught:
                one(2, **bad).fit(X)
            messages.append(str(caught.value))
        assert sorted(messages[0]) == sorted(messages[1])  # the order of its choices changes from process to process
    with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster"):
        KMeans(1, algorithm="elkan").fit(X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_kmeans_set_output(two, kind):
    import sklearn

    frame = pd.DataFrame(two.X, columns=["a", "b", "c"], index=np.arange(len(two.X)) + 7)
    model = KMeans(2, random_state=0).fit(frame)
    plain = model.transform(frame)
    assert type(plain) is np.ndarray
    with sklearn.config_context(transform_output=kind):
        globally = model.transform(frame)
    assert clone(model.set_output(transform=kind)).fit_transform(frame).equals(globally)
    assert model.set_output().transform(frame).equals(globally)
    assert list(globally.columns) == ["kmeans0", "kmeans1"]
    np.testing.assert_array_equal(globally.to_numpy(), plain)
    if kind == "pandas":
        assert globally.index.equals(frame.index)
    with sklearn.config_context(transform_output=kind):
        assert type(model.set_output(transform="default").transform(frame)) is np.ndarray
    with pytest.raises(ValueError, match=r"output config must be in .* got table"):
        model.set_output(transform="table").transform(frame)
