"""Rows of low density."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.base
import sklearn.exceptions
from sklearn.utils.estimator_checks import check_estimator

import fastem
from fastem import AnomalyDetector, GaussianMixture
from fastem.estimators.anomaly import lowest, rows_at
from fastem.sources.blocks import rows_at_once


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).multivariate_normal([1.0, -2.0], [[2.0, 0.8], [0.8, 1.0]], size=1000)


def mixture():
    return GaussianMixture.from_parameters([0.3, 0.7], [[0.0, 0.0], [5.0, 10.0]], [1.0, 4.0], "spherical").set_params(
        random_state=0
    )


def log_density(X):
    parts = [scipy.stats.multivariate_normal([0, 0], 1.0).pdf(X), scipy.stats.multivariate_normal([5, 10], 4.0).pdf(X)]
    return np.log(0.3 * parts[0] + 0.7 * parts[1])


# ---- the threshold -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.29, 0.5])
def test_as_many_as_asked_for(X, share):
    """Those of least density under the maximum-likelihood normal."""
    detector = AnomalyDetector(GaussianMixture(reg_covar=0.0), contamination=share).fit(X)
    density = scipy.stats.multivariate_normal(X.mean(axis=0), np.cov(X.T, bias=True)).logpdf(X)
    want = np.zeros(len(X), dtype=bool)
    want[np.argsort(density)[: round(share * len(X))]] = True
    np.testing.assert_array_equal(detector.is_anomaly(X), want)
    assert detector.threshold_ == pytest.approx(np.sort(density)[round(share * len(X))], rel=1e-9)


def test_a_share_that_is_no_number_of_rows(X):
    """At most that share: 0.0129 of 1000 rows are 12."""
    assert AnomalyDetector(contamination=0.0129).fit(X).is_anomaly(X).sum() == 12


def test_ties_are_not_anomalies(X):
    twice = np.repeat(X, 2, axis=0)
    assert AnomalyDetector(contamination=0.0015).fit(twice).is_anomaly(twice).sum() == 2  # the third has a twin


def test_weights_are_repetitions(X):
    weight = np.random.default_rng(1).integers(0, 4, len(X))
    options = dict(estimator=GaussianMixture(2, random_state=0), contamination=0.03)
    weighted = AnomalyDetector(**options).fit(X, sample_weight=weight.astype(float))
    repeated = AnomalyDetector(**options).fit(np.repeat(X, weight, axis=0))
    assert weighted.threshold_ == pytest.approx(repeated.threshold_, rel=1e-9)
    assert weighted.threshold_ != pytest.approx(AnomalyDetector(**options).fit(X).threshold_, rel=1e-3)


def test_lowest():
    density = np.array([3.0, -np.inf, 1.0, 2.0])
    assert [lowest(density, None, share) for share in (0.1, 0.25, 0.5)] == [-np.inf, 1.0, 2.0]
    assert lowest(density, np.array([1.0, 0.0, 1.0, 1.0]), 1 / 3) == 2.0
    assert lowest(np.zeros(3), None, 0.5) == 0.0
    assert 0.29 * 100 < 29
    assert lowest(np.arange(100.0), None, 0.29) == 29.0
    assert lowest(density, np.array([0.0, 1.0, 0.0, 0.0]), 0.5) == -np.inf  # one row: it is no anomaly


def test_a_threshold_that_is_given(X):
    detector = AnomalyDetector(contamination=0.5, threshold=-6.0).fit(X)
    assert detector.threshold_ == detector.offset_ == -6.0
    np.testing.assert_array_equal(detector.is_anomaly(X), detector.score_samples(X) < -6.0)
    assert 0 < detector.is_anomaly(X).sum() < 100


def test_float32_flags_as_many(X):
    """Scores are float64, whatever the rows are: rounded ones would not be those of the threshold."""
    single = X.astype(np.float32)
    detector = AnomalyDetector(contamination=0.1).fit(single)
    assert detector.score_samples(single).dtype == np.float64
    assert detector.is_anomaly(single).sum() == 100


# ---- a mixture that is there already -----------------------------------------------------------------


def test_from_mixture():
    X, _ = mixture().sample(500)
    detector = AnomalyDetector.from_mixture(mixture(), -6.5)
    np.testing.assert_allclose(detector.score_samples(X), log_density(X), rtol=1e-9)
    np.testing.assert_array_equal(detector.predict(X), np.where(log_density(X) < -6.5, -1, 1))
    np.testing.assert_allclose(detector.decision_function(X), log_density(X) + 6.5, rtol=0, atol=1e-8)
    model = mixture()
    detector = AnomalyDetector.from_mixture(model, -6.5)
    model.means_[:] = 0.0  # it has its own copy
    assert detector.estimator_.means_.any()


def test_calibrate():
    X, _ = mixture().sample(500)
    model = mixture()
    detector = AnomalyDetector.from_mixture(model)
    with pytest.raises(sklearn.exceptions.NotFittedError, match="This AnomalyDetector instance is not fitted yet"):
        detector.predict(X)
    detector.set_params(contamination=0.02).calibrate(X)
    assert detector.is_anomaly(X).sum() == 10
    np.testing.assert_array_equal(detector.estimator_.means_, model.means_)
    weight = np.where(np.arange(500) < 250, 1.0, 0.0)
    assert detector.calibrate(X, weight).is_anomaly(X[:250]).sum() == 5
    assert detector.set_params(threshold=-9.0).calibrate(X).threshold_ == -9.0
    model.means_[:] = 0.0  # it has its own copy
    assert detector.estimator_.means_.any()


def test_a_fitted_mixture_is_kept(X):
    """Not fitted anew, which might end elsewhere: fit sets the threshold, whatever rows it is given."""
    model = GaussianMixture(2, random_state=0).fit(X)
    detector = AnomalyDetector(model, contamination=0.02).fit(X[:100], sample_weight=np.ones(100))
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(detector.estimator_, name), getattr(model, name))
    want = AnomalyDetector.from_mixture(model).set_params(contamination=0.02).calibrate(X[:100])
    assert detector.threshold_ == want.threshold_
    assert want.fit(X[:100]).threshold_ == detector.threshold_
    model.means_[:] = 0.0  # it has its own copy
    assert detector.estimator_.means_.any()
    anew = sklearn.base.clone(detector).fit(X[:100]).estimator_
    assert anew.means_.tobytes() == GaussianMixture(2, random_state=0).fit(X[:100]).means_.tobytes()
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting"):
        detector.fit(X[:, :1])


# ---- scikit-learn ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks():
    """Those of outlier detectors among them: predict, decision_function, contamination, fit_predict."""
    results = check_estimator(AnomalyDetector(), on_skip=None)
    assert {one["check_name"] for one in results if one["status"] == "passed"} >= {
        "check_outliers_train",
        "check_outliers_fit_predict",
        "check_outlier_contamination",
        "check_sample_weight_equivalence_on_dense_data",
    }


def test_copies(X):
    detector = AnomalyDetector(GaussianMixture(2, random_state=0), contamination=0.02).fit(X)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.predict(X), detector.predict(X))
    clone = sklearn.base.clone(detector)
    assert not hasattr(clone, "threshold_")
    assert clone.estimator is not detector.estimator
    np.testing.assert_array_equal(clone.fit_predict(X), detector.predict(X))


def test_the_estimator_given_stays_as_it_is(X):
    model = GaussianMixture(2, random_state=0)
    AnomalyDetector(model).fit(X)
    assert not hasattr(model, "weights_")
    rng = np.random.RandomState(0)
    AnomalyDetector(GaussianMixture(2, random_state=rng)).fit(X)
    assert rng.uniform() == np.random.RandomState(0).uniform()


def test_names(X):
    import pandas

    frame = pandas.DataFrame(X, columns=["a", "b"])
    detector = AnomalyDetector().fit(frame)
    assert list(detector.feature_names_in_) == ["a", "b"]
    assert detector.n_features_in_ == 2
    detector.fit(X)
    assert not hasattr(detector, "feature_names_in_")


# ---- rows from elsewhere, and what is refused --------------------------------------------------------


def test_rows_that_are_read_in_blocks():
    """In several: buffers are used again."""
    X = np.random.default_rng(1).normal(size=(40_000, 32))
    assert len(X) > 2 * rows_at_once(32)
    weight = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)

    def blocks():
        for start in range(0, len(X), 7000):
            yield X[start : start + 7000], weight[start : start + 7000]

    detector = AnomalyDetector(GaussianMixture(random_state=0))  # the start's rounding depends on the seed
    near, far = (sklearn.base.clone(detector).fit(source) for source in (fastem.as_source(X, weight), blocks))
    assert near.threshold_ == far.threshold_
    np.testing.assert_array_equal(near.predict(X), far.predict(fastem.as_source(blocks)))
    index = np.array([0, 6999, 7000, 20_000, 39_999])
    np.testing.assert_array_equal(rows_at(fastem.as_source(blocks), index), X[index])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(contamination=0.0), r"contamination must be a float in \(0, 0.5\]; got 0.0"),
        (dict(contamination=0.51), r"contamination must be a float in \(0, 0.5\]"),
        (dict(contamination="auto"), r"contamination must be a float in \(0, 0.5\]; got 'auto'"),
        (dict(threshold=np.nan), "threshold must be a log density, a finite number; got nan"),
        (dict(threshold="-3"), "threshold must be a log density"),
        (dict(estimator=3), "estimator must be a GaussianMixture or None; got int"),
    ],
)
def test_refused(X, options, message):
    with pytest.raises(ValueError, match=message):
        AnomalyDetector(**options).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if "estimator" not in options:
            with pytest.raises(ValueError, match=message):
                AnomalyDetector.from_mixture(mixture()).set_params(**options).calibrate(X)


@pytest.mark.parametrize("model", [None, 3, fastem.KMeans(2), fastem.StudentMixture(2)], ids=str)
def test_from_mixture_takes_gaussian_mixtures(model):
    with pytest.raises(TypeError, match=f"from_mixture takes a GaussianMixture; got a {type(model).__name__}"):
        AnomalyDetector.from_mixture(model)


def test_from_mixture_refuses(X):
    with pytest.raises(ValueError, match="threshold must be"):
        AnomalyDetector.from_mixture(mixture(), np.inf)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        AnomalyDetector.from_mixture(GaussianMixture())
    with pytest.raises(sklearn.exceptions.NotFittedError):
        AnomalyDetector().calibrate(X)


def test_small_units_do_not_hide_anomalies():
    """A column of sd 3e-5, rows of 20 sd."""
    X = np.random.default_rng(0).normal(size=(2000, 2)) * [1.0, 3e-5]
    X[:5, 1] = 20 * 3e-5
    flagged = fastem.AnomalyDetector(contamination=0.0025).fit(X).is_anomaly(X)
    np.testing.assert_array_equal(np.flatnonzero(flagged), np.arange(5))


def test_a_threshold_of_minus_infinity():
    """More rows than `contamination` have a density that underflows: nothing is less, and nothing is NaN."""
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    detector = fastem.AnomalyDetector.from_mixture(model).set_params(contamination=0.1)
    X = [[1e200], [1e200], [-1e200], [0.0], [1.0]]
    detector.calibrate(X)
    assert detector.threshold_ == -np.inf
    np.testing.assert_array_equal(detector.decision_function(X), [0, 0, 0, np.inf, np.inf])
    assert (detector.predict(X) == 1).all()
