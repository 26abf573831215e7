"""Model files and tables."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import ALL, FAMILIES

import fastem
from fastem.estimators.saving import load_mixture
from fastem.files import tables
from fastem.files.archive import ModelFileError
from fastem.files.tables import read_table, write_table


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def fitted(rng, covariance_type="full", dtype=np.float64, **options):
    X = np.concatenate([rng.normal(size=(60, 3)), rng.normal(5.0, 2.0, size=(40, 3))]).astype(dtype)
    model = fastem.GaussianMixture(2, covariance_type=covariance_type, random_state=3, **options)
    return model.fit(X), X


# --- models: round trip


@pytest.mark.parametrize("covariance", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loaded_model_is_the_saved_one(tmp_path, rng, covariance, dtype):
    model, X = fitted(rng, covariance, dtype, tol=1e-4, max_iter=50)
    fastem.save(model, tmp_path / "m.npz")
    other = fastem.load(tmp_path / "m.npz")
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(other, name).dtype == dtype
        np.testing.assert_array_equal(getattr(other, name), getattr(model, name))
    for name in ("n_iter_", "converged_", "lower_bound_", "lower_bounds_", "status_"):
        assert getattr(other, name) == getattr(model, name)
    assert other.get_params() == model.get_params()
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert type(other.n_iter_) is int
    assert type(other.converged_) is bool


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_other_mixtures_keep_their_bits(tmp_path, rng, dtype):
    X = fitted(rng, dtype=dtype)[1]
    classes = fastem.BayesianGaussianMixture, fastem.StudentMixture
    models = [cls(n_components=2, covariance_type=one, random_state=0) for one in FAMILIES for cls in classes]
    models += [fastem.FactorMixture(2, noise=noise, random_state=0) for noise in ("each", "shared", "isotropic")]
    for model in models:
        fastem.save(model.fit(X), tmp_path / "m.npz")
        other = fastem.load(tmp_path / "m.npz")
        np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


def test_a_file_without_factors_loads(tmp_path, rng):
    """Versions before them wrote none: they are made of the covariances."""
    model, X = fitted(rng, dtype=np.float32)
    fastem.save(model, tmp_path / "m.npz")
    content = dict(np.load(tmp_path / "m.npz"))
    del content["precisions_cholesky"]
    np.savez(tmp_path / "old.npz", **content)
    other = fastem.load(tmp_path / "old.npz")
    assert other.precisions_cholesky_.dtype == np.float32
    np.testing.assert_allclose(other.score_samples(X), model.score_samples(X), rtol=1e-5)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factors_of_other_covariances_are_refused(tmp_path, rng, covariance, dtype):
    model, _ = fitted(rng, covariance, dtype)
    fastem.save(model, tmp_path / "m.npz")
    content = dict(np.load(tmp_path / "m.npz"))
    np.savez(tmp_path / "bad.npz", **content | {"covariances": content["covariances"] * dtype(1.001)})
    with pytest.raises(ModelFileError, match="'precisions_cholesky' should have the factors"):
        fastem.load(tmp_path / "bad.npz")
    model.covariances_ = model.covariances_ * dtype(1.001)
    with pytest.raises(ValueError, match="'precisions_cholesky' should have the factors"):
        fastem.save(model, tmp_path / "m.npz")
    del model.precisions_cholesky_
    fastem.save(model, tmp_path / "m.npz")
    np.testing.assert_array_equal(fastem.load(tmp_path / "m.npz").covariances_, model.covariances_)


def test_parameters_set_by_hand_are_saved_as_they_are(tmp_path, rng):
    """Also means that are integers, a square root that is no Cholesky factor, and rows of features in other units."""
    unit, X = np.array([1e-90, 1.0, 1e90]), rng.normal(size=(20, 3))
    model = fastem.GaussianMixture(1)
    model.weights_, model.means_ = np.array([1.0]), np.array([[0, 0, 0]])
    model.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(np.cov(X.T)))[None] / unit[:, None]
    fastem.save(model, tmp_path / "m.npz")
    np.testing.assert_array_equal(
        fastem.load(tmp_path / "m.npz").score_samples(X * unit), model.score_samples(X * unit)
    )


# --- models: other kinds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_k_means(tmp_path, rng, dtype):
    X = pd.DataFrame(rng.normal(size=(90, 3)).astype(dtype), columns=["a", "b", "c"])
    model = fastem.KMeans(4, random_state=3, tol=1e-3, algorithm="elkan", n_threads=2).fit(X)
    fastem.save(model, tmp_path / "k.npz")
    other = fastem.load(tmp_path / "k.npz")
    assert type(other) is fastem.KMeans
    assert other.get_params() == model.get_params() | {"n_threads": None}
    assert other.cluster_centers_.dtype == dtype
    np.testing.assert_array_equal(other.predict(X), model.labels_)
    np.testing.assert_array_equal(other.transform(X), model.transform(X))
    assert (other.inertia_, other.n_iter_, other.n_features_in_) == (model.inertia_, model.n_iter_, 3)
    assert list(other.feature_names_in_) == ["a", "b", "c"]
    assert not hasattr(other, "labels_")
    with np.load(tmp_path / "k.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["cluster_centers"], model.cluster_centers_)
    model = fastem.KMeans(2, init=X.to_numpy()[:2]).fit(X)  # an array is no plain parameter
    fastem.save(model, tmp_path / "k.npz", feature_names=["x", "y", "z"])
    assert fastem.load(tmp_path / "k.npz").init == "k-means++"
    assert list(fastem.load(tmp_path / "k.npz").feature_names_in_) == ["x", "y", "z"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_detector(tmp_path, rng, dtype):
    model, X = fitted(rng, dtype=dtype)
    for detector in (fastem.AnomalyDetector(model, contamination=0.05).fit(X), fastem.AnomalyDetector().fit(X)):
        fastem.save(detector, tmp_path / "d.npz")
        other = fastem.load(tmp_path / "d.npz")
        assert type(other) is fastem.AnomalyDetector
        assert (other.threshold_, other.contamination) == (detector.threshold_, detector.contamination)
        np.testing.assert_array_equal(other.is_anomaly(X), detector.is_anomaly(X))
        np.testing.assert_array_equal(other.score_samples(X), detector.score_samples(X))
        assert (other.score_samples(X) == other.threshold_).any()  # the first row above the share


@pytest.mark.parametrize("kind", ["numbers", "numbers as objects", "strings", "strings as objects", "bytes"])
@pytest.mark.parametrize("covariance", FAMILIES)
def test_saved_mixtures_of_groups(tmp_path, rng, covariance, kind):
    groups = np.repeat([4, 7, 9, 12], [40, 30, 1, 60])  # the third has too few rows
    if not kind.startswith("numbers"):
        groups = np.array([f"g{group:02}" for group in groups], dtype=bytes if kind == "bytes" else str)
    if kind.endswith("objects"):
        groups = groups.astype(object)
    X = rng.normal(size=(131, 2)) + 6.0 * rng.integers(0, 2, size=(131, 1))
    with pytest.warns(fastem.ConvergenceWarning):
        many = fastem.fit_many(X, groups, 2, covariance_type=covariance, random_state=0)
    fastem.save(many, tmp_path / "many.npz")
    other = fastem.load(tmp_path / "many.npz")
    assert repr(other) == repr(many)
    for name in ("labels", "weights", "means", "covariances", "n_iter", "lower_bound", "status"):
        np.testing.assert_array_equal(getattr(other, name), getattr(many, name))
    np.testing.assert_array_equal(other.score_samples(X, groups), many.score_samples(X, groups))
    np.testing.assert_array_equal(other.predict(X, groups), many.predict(X, groups))
    assert other.model(groups[0]).score(X) == many.model(groups[0]).score(X)
    with pytest.raises(ValueError, match="has no mixture"):
        other.model(groups[70])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones((3, 2))}, "expected arrays of shapes"),
        ({"labels": np.array([1, 0])}, "labels in ascending order"),
        ({"labels": np.array([0.0, 1.0])}, "labels that are integers or strings"),
        ({"factor": np.zeros((2, 2, 2, 2))}, "factors with a positive diagonal"),
        ({"means": np.full((2, 2, 2), np.inf)}, "expected finite parameters"),
        ({"means": np.zeros((2, 2))}, "means of shape"),
        ({"status": np.array(["CONVERGED", "MAYBE"])}, "names of status"),
        ({"covariance_type": np.array("round")}, "expected a covariance type"),
    ],
    ids=str,
)
def test_damaged_mixtures_of_groups_are_refused(tmp_path, rng, change, message):
    X = rng.normal(size=(80, 2)) + 6.0 * rng.integers(0, 2, size=(80, 1))
    fastem.save(fastem.fit_many(X, sizes=[40, 40], n_components=2, tol=1.0), tmp_path / "many.npz")
    with np.load(tmp_path / "many.npz") as archive:
        np.savez(tmp_path / "bad.npz", **{**archive, **change})
    with pytest.raises(ModelFileError, match=message):
        fastem.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    "centres", [np.zeros(3), np.zeros((0, 3)), np.full((2, 3), np.nan), np.zeros((2, 3), dtype=int)], ids=str
)
def test_a_damaged_k_means_is_refused(tmp_path, rng, centres):
    fastem.save(fastem.KMeans(2).fit(rng.normal(size=(20, 3))), tmp_path / "k.npz")
    with np.load(tmp_path / "k.npz") as archive:
        np.savez(tmp_path / "bad.npz", **{**archive, "cluster_centers": centres})
    with pytest.raises(ModelFileError):
        fastem.load(tmp_path / "bad.npz")


def test_what_cannot_be_saved(tmp_path, rng):
    kinds = "GaussianMixture", "BayesianGaussianMixture", "StudentMixture", "FactorMixture", "AnomalyDetector"
    known = ", ".join([*kinds, "MixtureRegressor", "KMeans", "ManyMixtures", "ManyPosteriors"])
    with pytest.raises(TypeError, match=f"one of {known}; got dict"):
        fastem.save({}, tmp_path / "m.npz")
    for model in (fastem.KMeans(2), fastem.AnomalyDetector()):
        with pytest.raises(fastem.NotFittedError):
            fastem.save(model, tmp_path / "m.npz")
    fastem.save(fastem.KMeans(2).fit(rng.normal(size=(20, 3))), tmp_path / "k.npz")
    with pytest.raises(ModelFileError, match=r"k\.npz: expected a GaussianMixture, found a KMeans: use fastem\.load"):
        load_mixture(tmp_path / "k.npz")


def test_a_model_from_parameters_round_trips(tmp_path):
    model = fastem.GaussianMixture.from_parameters([0.25, 0.75], [[0.0], [3.0]], [1.0, 4.0], "spherical")
    fastem.save(model, tmp_path / "m.npz")
    other = fastem.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(other.covariances_, [1.0, 4.0])
    assert other.n_components == 2
    assert other.status_ is None
    assert not other.converged_


def test_saving_twice_gives_the_same_bytes(tmp_path, rng):
    model, _ = fitted(rng)
    fastem.save(model, tmp_path / "a.npz")
    fastem.save(fastem.load(tmp_path / "a.npz"), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_file_is_read_by_numpy_alone(tmp_path, rng):
    model, _ = fitted(rng, "tied", tol=0.125, weights_init=[0.5, 0.5])
    fastem.save(model, str(tmp_path / "m.npz"), feature_names=["a", "ß", "c, d"])
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        content = dict(archive)
    assert content["format"] == "fastem.GaussianMixture"
    assert content["version"] == 1
    assert content["covariance_type"] == "tied"
    assert content["covariances"].shape == (3, 3)
    assert content["feature_names"].tolist() == ["a", "ß", "c, d"]
    parameters = json.loads(str(content["parameters"]))
    assert parameters["tol"] == 0.125
    assert parameters["random_state"] == 3
    assert "weights_init" not in parameters  # an array
    assert list(fastem.load(tmp_path / "m.npz").feature_names_in_) == ["a", "ß", "c, d"]


def test_numpy_scalars_among_the_parameters_are_stored(tmp_path, rng):
    model, _ = fitted(rng, max_iter=np.int64(7), tol=np.float64(0.5))
    fastem.save(model, tmp_path / "m.npz")
    assert fastem.load(tmp_path / "m.npz").get_params()["max_iter"] == 7


def test_a_random_generator_is_not_stored(tmp_path, rng):
    model, _ = fitted(rng)
    model.set_params(random_state=np.random.RandomState(0))
    fastem.save(model, tmp_path / "m.npz")
    assert fastem.load(tmp_path / "m.npz").random_state is None


def test_a_big_endian_file_loads(tmp_path, rng):
    model, X = fitted(rng)
    fastem.save(model, tmp_path / "m.npz")
    content = dict(np.load(tmp_path / "m.npz"))
    for name in ("weights", "means", "covariances"):
        content[name] = content[name].astype(">f8")
    np.savez(tmp_path / "m.npz", **content)
    other = fastem.load(tmp_path / "m.npz")
    assert other.means_.dtype.isnative
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))


# --- models: refused


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        fastem.save(fastem.GaussianMixture(), tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_could_not_be_read_back_is_not_saved(tmp_path):
    nearly_singular = [[[1.0, 1.0 - 1e-9], [1.0 - 1e-9, 1.0]]]
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], nearly_singular)
    fastem.save(model, tmp_path / "double.npz")
    model.covariances_ = model.covariances_.astype(np.float32)
    with pytest.raises(ValueError, match="positive-definite"):
        fastem.save(model, tmp_path / "single.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["double.npz"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, rng, monkeypatch):
    model, _ = fitted(rng)
    (tmp_path / "m.npz").write_bytes(b"old")

    def fail(stream, **arrays):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        fastem.save(model, tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_saved_file_has_the_usual_permissions(tmp_path, rng):
    fastem.save(fitted(rng)[0], tmp_path / "m.npz")
    (tmp_path / "plain").touch()
    assert (tmp_path / "m.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.fixture
def content(tmp_path, rng):
    """The arrays of a good model file, with names."""
    fastem.save(fitted(rng)[0], tmp_path / "good.npz", feature_names=["a", "b", "c"])
    return dict(np.load(tmp_path / "good.npz"))


def test_every_truncation_is_refused(tmp_path, content):
    whole = (tmp_path / "good.npz").read_bytes()
    path = tmp_path / "short.npz"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            fastem.load(path)


def test_a_flipped_byte_is_refused_or_harmless(tmp_path, content):
    whole = (tmp_path / "good.npz").read_bytes()
    path = tmp_path / "flipped.npz"
    for position in range(0, len(whole), 53):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            model = fastem.load(path)
        except ModelFileError:
            continue
        np.testing.assert_array_equal(model.means_, content["means"])


# --- csv


def table(tmp_path, text, name="t.csv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_table(path, **options)


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [1.0, 2.0]),
        ("1,2.0\n3,4\n", None, [1.0, 2.0]),
        ("1,2.0\n3,4", None, [1.0, 2.0]),
        ("\n\na , b\r\n\r\n1, 2\r\n\r\n3,4\r\n", ["a", "b"], [1.0, 2.0]),
        ("\ufeffa,b\n1,2\n", ["a", "b"], [1.0, 2.0]),
        ('"a,x","b"\n"1","2"\n', ["a,x", "b"], [1.0, 2.0]),
        ('"a\nx",b\n1,2\n', ["a\nx", "b"], [1.0, 2.0]),
        ("-1e-300,+.5\n", None, [-1e-300, 0.5]),
        ("größe\n0.1\n", ["größe"], [0.1]),
    ],
)
def test_csv(tmp_path, text, names, first):
    X, found = table(tmp_path, text)
    assert found == names
    assert X.dtype == np.float64
    assert X.ndim == 2
    np.testing.assert_array_equal(X[0], first)


@pytest.mark.parametrize("columns", [["c", "a"], [2, 0], ["2", "0"], ["c", 0]])
def test_csv_columns_by_name_or_position(tmp_path, columns):
    X, names = table(tmp_path, "a,b,c\n1,red,3\n4,blue,6\n", columns=columns)
    assert names == ["c", "a"]
    np.testing.assert_array_equal(X, [[3.0, 1.0], [6.0, 4.0]])


CSV_FAULTS = {
    "word": ("a,b\n1,2\n3,x\n", "column 'b', row 3: expected a finite number, found 'x'"),
    "empty cell": ("a,b\n1,2\n,4\n", "column 'a', row 3: expected a finite number, found ''"),
    "empty cell in the first row": ("1,,3\n4,5,6\n", "column '1', row 1: .* found ''"),
    "blank lines are counted": ("a\n\n1\n\nx\n", "column 'a', row 5"),
    "nan": ("a,b\n1,nan\n", "column 'b', row 2: expected a finite number, found 'nan'"),
    "infinity": ("1,2\n3,-inf\n", "column '1', row 2: expected a finite number, found '-inf'"),
    "overflow": ("1\n1e999\n", "column '0', row 2: .* found '1e999'"),
    "underscore": ("1\n1_000\n", "found '1_000'"),
    "short row": ("a,b\n1,2\n3\n", "row 3 has 1 cells, expected 2"),
    "long row": ("a,b\n1,2\n3,4,5\n", "row 3 has 3 cells, expected 2"),
    "empty file": ("", "the file is empty"),
    "blank file": ("\n\n", "the file is empty"),
    "header alone": ("a,b\n", "a header and no rows"),
    "words in a column": ("5.1,setosa\n4.9,setosa\n", "column '1', row 1: expected a finite number, found 'setosa'"),
}


@pytest.mark.parametrize("fault", CSV_FAULTS)
def test_a_bad_csv_cell_is_named(tmp_path, fault):
    text, message = CSV_FAULTS[fault]
    with pytest.raises(ValueError, match=message) as caught:
        table(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "t.csv"))


def test_a_long_row_is_refused_even_where_columns_are_chosen(tmp_path):
    with pytest.raises(ValueError, match="row 3 has 3 cells, expected 2"):
        table(tmp_path, "a,b\n1,2\n3,4,5\n", columns=["a"])


def test_an_unknown_column_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="no column 'z'; the columns are a, b"):
        table(tmp_path, "a,b\n1,2\n", columns=["z"])
    with pytest.raises(ValueError, match="no column '2'; the columns are 0 to 1"):
        table(tmp_path, "1,2.5\n", columns=["2"])
    with pytest.raises(ValueError, match="no column '-1'"):
        table(tmp_path, "1,2.5\n", columns=[-1])
    with pytest.raises(ValueError, match="more than one column 'a'"):
        table(tmp_path, "a,a\n1,2\n", columns=["a"])


def test_a_csv_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,\0\n")
    with pytest.raises(ValueError, match="not text: it holds NUL bytes"):
        read_table(tmp_path / "t.csv")


def test_an_unknown_ending_and_a_missing_file(tmp_path):
    (tmp_path / "t.xls").touch()
    with pytest.raises(ValueError, match=r"expected a file ending in \.csv, .*, \.npy or \.parquet"):
        read_table(tmp_path / "t.xls")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        read_table(tmp_path / "absent.csv")


# --- npy


def test_npy_is_mapped_not_read(tmp_path, rng):
    X = rng.normal(size=(5, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    found, names = read_table(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert found.dtype == np.float32
    assert names is None
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(read_table(tmp_path / "x.npy", columns=["2", 0])[0], X[:, [2, 0]])


def test_npy_of_one_dimension_is_one_column(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(4))
    assert read_table(tmp_path / "x.npy")[0].shape == (4, 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 2, 2)), r"in one or two dimensions, found float64 of shape \(2, 2, 2\)"),
        (np.array(1.0), r"found float64 of shape \(\)"),
        (np.array(["a"]), "found <U1"),
        (np.array([1j]), "found complex128"),
        (np.array([{}], dtype=object), "not a .npy file of numbers"),
        (np.empty((0, 2)), "not a .npy file of numbers|the table is empty"),
    ],
)
def test_an_unsuitable_npy_is_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "x.npy")


def test_a_damaged_npy_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((100, 2)))
    whole = (tmp_path / "x.npy").read_bytes()
    for length in (0, 5, 60, 500):
        (tmp_path / "x.npy").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"x\.npy: not a \.npy file of numbers, or a damaged one"):
            read_table(tmp_path / "x.npy")


# --- parquet


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"a": [1.5, 2.5], "b": ["x", "y"], "c": pa.array([3, 4], pa.int32())}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    X, names = read_table(tmp_path / "t.parquet", columns=["c", 0])
    assert names == ["c", "a"]
    np.testing.assert_array_equal(X, [[3.0, 1.5], [4.0, 2.5]])
    assert tables.find_columns(tmp_path / "t.parquet") == tables.TableColumns(["a", "b", "c"], 3)
    with pytest.raises(ValueError, match=r"column 'b' holds (large_)?string, expected numbers"):
        read_table(tmp_path / "t.parquet")


def test_parquet_keeps_float32(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1]}), tmp_path / "t.parquet")
    found, _ = read_table(tmp_path / "t.parquet")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize(("bad", "found"), [(None, "a null"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_a_bad_parquet_cell_is_named(tmp_path, bad, found):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, bad]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=f"column 'b', row 3: expected a finite number, found {found}"):
        read_table(tmp_path / "t.parquet")


def test_a_damaged_parquet_file_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"t\.parquet: not a parquet file, or a damaged one"):
        read_table(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").touch()
    with pytest.raises(ImportError, match=r'pip install "fastem\[parquet\]"'):
        read_table(tmp_path / "t.parquet")


# --- tables out


def test_csv_keeps_every_bit(tmp_path, rng):
    X = rng.normal(size=(50, 2)) * 10.0 ** rng.integers(-300, 300, size=(50, 2))
    write_table(tmp_path / "x.csv", X, ["a", 'b "quoted", with comma'])
    found, names = read_table(tmp_path / "x.csv")
    np.testing.assert_array_equal(found, X)
    assert names == ["a", 'b "quoted", with comma']


def test_long_tables_are_written_whole(tmp_path):
    labels = np.arange(150_000)
    write_table(tmp_path / "x.csv", labels, ["label"])
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "x.csv", skiprows=1), labels)


def test_npy_out(tmp_path, rng):
    X = rng.normal(size=(5, 2)).astype(np.float32)
    write_table(tmp_path / "x.npy", X, ["a", "b"])
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), X)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a file ending in \.csv, \.npy or \.parquet"):
        write_table(tmp_path / "x.txt", np.ones(2), ["a"])
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(ValueError, match="cannot be written here"):
        write_table(tmp_path / "d.csv", np.ones(2), ["a"])


@pytest.mark.parametrize(
    "remedy", [fastem.Ridge(0.5), fastem.EigenvalueFloor(1e-10), fastem.EigenvalueRatio(7.0), "map"]
)
def test_a_remedy_is_kept_with_its_numbers(rng, tmp_path, remedy):
    model = fastem.GaussianMixture(2, regularization=remedy, random_state=0).fit(rng.normal(size=(200, 2)))
    fastem.save(model, tmp_path / "m.npz")
    assert fastem.load(tmp_path / "m.npz").regularization == remedy


@pytest.mark.parametrize(
    "described",
    [{"remedy": "none"}, {"remedy": "floor"}, {"remedy": "floor", "floor": "x"}, {"remedy": "ridge", "a": 1.0}],
)
def test_what_describes_no_remedy_is_refused(rng, tmp_path, described):
    path = tmp_path / "m.npz"
    fastem.save(fastem.GaussianMixture(1).fit(rng.normal(size=(50, 1))), path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["parameters"] = np.array(json.dumps({"regularization": described}))
    np.savez(path, **arrays)
    with pytest.raises(ModelFileError, match="remedy"):
        fastem.load(path)
