"""Errors of measurement from wherever rows come from, and errors that are none."""

import itertools

import h5py
import numpy as np
import pytest
from errors_of_rows import draw_errors, mixture_and_rows
from numpy.testing import assert_array_equal

import fastem
from fastem.sources.blocks import Block

pa = pytest.importorskip("pyarrow")
FIELDS = ("loglik", "s0", "s1", "s2")


def sources(X, weight, errors, folder):
    """The same rows, variances and weights, from everywhere."""
    import pandas
    from pyarrow import parquet

    table = pandas.DataFrame(np.column_stack([X, errors, weight]), columns=["x", "y", "vx", "vy", "w"])
    table.to_csv(folder / "rows.csv", index=False, float_format="%.17g")
    parquet.write_table(pa.Table.from_pandas(table), folder / "rows.parquet", row_group_size=300)
    with h5py.File(folder / "rows.h5", "w") as file:
        file["X"], file["errors"], file["w"] = X, errors, weight
    file = h5py.File(folder / "rows.h5")
    cuts = [0, 10, 700, len(X)]
    blocks = [(X[a:b], weight[a:b], None, errors[a:b]) for a, b in itertools.pairwise(cuts)]
    beside = {"columns": ["x", "y"], "errors": ["vx", "vy"]}
    return {
        "csv": fastem.as_source(folder / "rows.csv", "w", errors=["vx", "vy"]),
        "parquet": fastem.as_source(folder / "rows.parquet", "w", **beside),
        "all columns": fastem.as_source(folder / "rows.parquet", "w", errors=[2, "vy"]),
        "frame": fastem.as_source(table, weight, **beside),
        "arrow": fastem.as_source(pa.Table.from_pandas(table), weight, **beside),
        "hdf5": fastem.as_source(file["X"], file["w"], errors=file["errors"]),
        "function": fastem.as_source(lambda: iter(blocks)),
    }


def test_sources_give_the_same_bits(tmp_path):
    params, X, weight = mixture_and_rows(1500, 2, 3, "full")
    errors = draw_errors(1500, 2, "variances with gaps")
    want = fastem.accumulate(fastem.as_source(X, weight, errors=errors), params)
    for name, source in sources(X, weight, errors, tmp_path).items():
        for _ in range(2):  # the first pass checks values
            found = fastem.accumulate(source, params)
            for field in FIELDS:
                assert_array_equal(getattr(found, field), getattr(want, field), err_msg=f"{name}: {field}")
        if source.columns is not None:
            assert source.columns.tolist() == ["x", "y"], name


def test_one_matrix_goes_with_every_source(tmp_path):
    params, X, _ = mixture_and_rows(500, 2, 3, "full")
    S = draw_errors(500, 2, "one matrix")
    np.save(tmp_path / "rows.npy", X)
    want = fastem.accumulate(fastem.as_source(X, errors=S), params)
    for rows in (tmp_path / "rows.npy", lambda: iter([X[:100], X[100:]]), X.tolist()):
        found = fastem.accumulate(fastem.as_source(rows, errors=S), params)
        for field in FIELDS:
            assert_array_equal(getattr(found, field), getattr(want, field))


def test_a_block_cuts_errors_with_its_rows():
    block = Block(0, np.zeros((4, 2)), None, None, np.arange(8.0).reshape(4, 2))
    assert_array_equal(block.take(slice(1, 3)).errors, [[2, 3], [4, 5]])
    assert_array_equal(block._replace(weight=np.array([1.0, 0, 0, 1])).present().errors, [[0, 1], [6, 7]])


def changed(value, place=(7, 1)):
    errors = np.ones((20, 2))
    errors[place] = value
    return errors


def matrix_in_row_7(matrix):
    errors = np.broadcast_to(np.eye(2), (20, 2, 2)).copy()
    errors[7] = matrix
    return errors


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (changed(np.nan), "variances that are not negative, found nan in row 7"),
        (changed(-1.0), "found -1.0 in row 7"),
        (changed(-np.inf), "found -inf in row 7"),
        (matrix_in_row_7([[1, np.nan], [0, 1]]), "finite covariances, found nan in row 7"),
        (matrix_in_row_7([[1, np.inf], [np.inf, 1]]), "finite covariances, found inf in row 7"),
        (matrix_in_row_7([[1, 0.5], [0.4, 1]]), r"symmetric .*by 0.1\) in row 7"),
        (matrix_in_row_7([[1, 2], [2, 1]]), "positive semidefinite .* eigenvalue -1 in row 7"),
        (matrix_in_row_7([[0, 1], [1, 1]]), "positive semidefinite .* in row 7"),
        (matrix_in_row_7([[1e300, 1e150], [1e150, 1]]), r"at most 1e\+100, or inf .* found 1e\+300 in row 7, column 0"),
        ([[1e300, 1e300], [1e300, 1e300]], r"at most 1e\+100, or inf .* found 1e\+300 in column 0"),
        (matrix_in_row_7([[-1, 0], [0, 1]]), "not negative, found -1.0 in row 7"),
        (np.ones((19, 2)), r"shape \(D, D\) for all rows, .* N = 20 and D = 2; got \(19, 2\)"),
        (np.ones((20, 3)), r"got \(20, 3\)"),
        (np.ones((2, 20)), r"got \(2, 20\)"),
        (np.ones((20, 2, 3)), r"got \(20, 2, 3\)"),
        (np.ones(2), r"got \(2,\)\. For the same variances v in all rows, pass np.diag\(v\)"),
        (1.0, r"got \(\)\. For the same"),
        (np.ones((3, 3)), r"D = 2; got \(3, 3\)"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        (np.diag([-1.0, 1.0]), "not negative"),
        (np.diag([np.inf, 1.0]), "remove its column"),
        (np.ones((20, 2)) + 1j, "real numbers"),
        (np.ma.masked_equal(changed(5.0), 5.0), "masked"),
        (["x", "y"], "error_covariance"),
    ],
    ids=range(24),
)
def test_errors_that_are_none(errors, message):
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=message):
        fastem.as_source(X, errors=errors)


def test_large_variances_without_covariances_are_errors():
    X = np.random.default_rng(0).normal(size=(20, 2))
    for errors in (np.full((20, 2), 1e300), np.broadcast_to(1e300 * np.eye(2), (20, 2, 2)), 1e300 * np.eye(2)):
        assert fastem.as_source(X, errors=errors).n_rows == 20


def test_a_feature_that_was_never_measured():
    """A fit cannot say anything of it; scores of a few rows, of which none shows it, can."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = fastem.GaussianMixture(2, random_state=0).fit(X)
    errors = np.column_stack([np.full(50, np.inf), np.ones(50)])
    with pytest.raises(ValueError, match="column 0 has an infinite variance in all rows"):
        model.fit(X, error_covariance=errors)
    np.testing.assert_array_equal(
        model.score_samples(X[:3], error_covariance=errors[:3]),
        model.score_samples(X, error_covariance=np.ones((50, 2)) * [[np.inf, 1.0]])[:3],
    )


def test_covariances_of_a_feature_that_was_not_measured_count_for_nothing():
    X = np.random.default_rng(0).normal(size=(50, 2))
    errors = np.tile(np.eye(2), (50, 1, 1))
    errors[:3, 0, 0] = np.inf
    model = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=errors)
    errors[:3, 0, 1] = errors[:3, 1, 0] = np.nan
    again = fastem.GaussianMixture(2, random_state=0).fit(X, error_covariance=errors)
    np.testing.assert_array_equal(model.means_, again.means_)


def test_frames_of_errors_have_the_columns_of_the_rows():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])
    errors = pd.DataFrame(np.ones((50, 2)), columns=["b", "a"])
    with pytest.raises(ValueError, match=r"error_covariance has the columns \['b', 'a'\], but X \['a', 'b'\]"):
        fastem.GaussianMixture(2).fit(X, error_covariance=errors)


def test_a_square_has_two_meanings():
    X = np.random.default_rng(0).normal(size=(2, 2))
    with pytest.raises(ValueError, match=r"of shape \(2, 2\) may be one matrix .*broadcast_to"):
        fastem.as_source(X, errors=np.eye(2))
    assert fastem.as_source(X[:1, :1], errors=[[1.0]]).n_rows == 1  # both mean the same


def test_rounding_is_no_fault():
    """Matrices that are singular, or asymmetric, but for rounding."""
    half = np.random.default_rng(0).normal(size=(20, 3, 1))
    errors = half @ half.swapaxes(1, 2) * (1 + 1e-10 * np.tril(np.ones((3, 3)), -1))
    errors[3] = 0.0
    errors[4] = 1e-300 * np.eye(3)
    errors[5] = 1e300 * np.eye(3)
    assert fastem.as_source(np.zeros((20, 3)), errors=errors).n_rows == 20


def test_streams_check_their_errors(tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 2))
    params = fastem.make_params([1.0], [[0.0, 0.0]], [np.eye(2)])
    blocks = [(X[:10], None, None, np.ones((10, 2))), (X[10:], None, None, changed(np.nan, (5, 0))[:10])]
    with pytest.raises(ValueError, match="found nan in row 15"):
        fastem.accumulate(lambda: iter(blocks), params)
    with pytest.raises(fastem.SourceError, match="errors as in the first block"):
        fastem.accumulate(lambda: iter([blocks[0], (X[10:], None, None, None)]), params)
    for wrong in (["a"], ["a", "b", "c"]):
        (tmp_path / "rows.csv").write_text("x,y,a,b,c\n1,2,3,4,5\n2,3,4,5,6\n")
        with pytest.raises(ValueError, match="columns of variances for 2 features"):
            fastem.as_source(tmp_path / "rows.csv", columns=["x", "y"], errors=wrong)
    with pytest.raises(ValueError, match="names of its columns of variances"):
        fastem.as_source(tmp_path / "rows.csv", errors=np.ones((2, 5)))
    with pytest.raises(ValueError, match="a function yields its weights"):
        fastem.as_source(lambda: iter(blocks), errors=np.ones((20, 2)))


def test_a_source_has_its_own_errors():
    X = np.zeros((5, 2))
    with pytest.raises(ValueError, match="pass them to as_source"):
        fastem.GaussianMixture(1).fit(fastem.as_source(X), error_covariance=np.eye(2))


@pytest.mark.parametrize("kind", ["one matrix", "variances", "matrices", "columns"])
def test_dask(kind):
    array = pytest.importorskip("dask.array")
    params, X, weight = mixture_and_rows(1000, 2, 3, "full")
    errors = draw_errors(1000, 2, "variances" if kind == "columns" else kind)
    want = fastem.accumulate(fastem.as_source(X, weight, errors=errors), params)
    rows, given = array.from_array(X, chunks=(300, 2)), errors
    if kind == "columns":
        frame = pytest.importorskip("dask.dataframe")
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame(np.column_stack([X, errors, weight]), columns=["x", "y", "vx", "vy", "w"])
        rows, weight, given = frame.from_pandas(table, npartitions=3), "w", ["vx", "vy"]
    source = fastem.as_source(rows, weight, errors=given)
    found = fastem.accumulate(source, params)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), getattr(want, field), rtol=1e-10, err_msg=field)
    model = fastem.GaussianMixture(2, random_state=0).fit(source)
    with pytest.raises(ValueError, match="takes no errors"):
        model.predict(source)


def test_mpi_of_one_rank():
    mpi = pytest.importorskip("mpi4py.MPI")
    params, X, weight = mixture_and_rows(500, 2, 3, "full")
    for kind in ("one matrix", "variances with gaps", "matrices"):
        errors = draw_errors(500, 2, kind)
        found = fastem.accumulate(fastem.MPISource(mpi.COMM_SELF, X, weight, errors=errors), params)
        want = fastem.accumulate(fastem.as_source(X, weight, errors=errors), params)
        for field in FIELDS:
            assert_array_equal(getattr(found, field), getattr(want, field))
