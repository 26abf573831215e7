"""Rows from files, from what slices like an array, from functions: the same bytes as from memory."""

import os
import pickle
import re
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
from helpers import TYPES, digest, make_mixture, make_start, parts_of, quiet_fit, start_params, state_bytes
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import GaussianMixture, SourceError, as_source
from fastem.estimators import outputs
from fastem.files import arrow
from fastem.files.tables import read_table
from fastem.passes import sums as passes
from fastem.sources import readers, streams
from fastem.sources.blocks import ArraySource, rows_at_once
from fastem.sources.streams import StreamSource

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ds = pytest.importorskip("pyarrow.dataset")
h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")

INITS = ("kmeans", "k-means++", "random", "random_from_data")


class Sliced:
    """Something that slices like an array and is none."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self.array[rows]


def names(X):
    return [f"x{j}" for j in range(X.shape[1])]


def table(X, weight=None):
    columns = dict(zip(names(X), X.T, strict=True))
    return pa.table(columns if weight is None else {"w": weight} | columns)


def memory_map(X, weight, folder):
    np.save(folder / "X.npy", X)
    return as_source(str(folder / "X.npy"), weight)


def sliced(X, weight, folder):
    return as_source(Sliced(X), None if weight is None else Sliced(weight))


def hdf5(X, weight, folder):
    with h5py.File(folder / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(1000, X.shape[1]))
        if weight is not None:
            file["w"] = weight
    file = h5py.File(folder / "X.h5")
    return as_source(file["X"], None if weight is None else file["w"])


def zarr_array(X, weight, folder):
    array = zarr.create_array(folder / "X.zarr", shape=X.shape, chunks=(777, X.shape[1]), dtype=X.dtype)
    array[:] = X
    return as_source(array, weight)


def one_parquet(X, weight, folder):
    pq.write_table(table(X, weight), folder / "X.parquet", row_group_size=3000)
    return as_source(folder / "X.parquet", None if weight is None else "w")


def parquet_folder(X, weight, folder):
    (folder / "X").mkdir()
    for number, start in enumerate(range(0, len(X), 4999)):
        part = slice(start, start + 4999)
        pq.write_table(
            table(X[part], None if weight is None else weight[part]),
            folder / "X" / f"part-{number:03}.parquet",
            row_group_size=len(X) + 1 if number % 2 else 1234,
        )
    return as_source(str(folder / "X"), None if weight is None else "w", columns=names(X))


def blocks_of(*sizes):
    """A function that yields blocks of these sizes, over and over."""

    def make(X, weight, folder):
        def blocks():
            for part in parts_of(len(X), sizes):
                yield X[part] if weight is None else (X[part], weight[part])

        return as_source(blocks)

    return make


SOURCES = {
    "memory map": memory_map,
    "slices": sliced,
    "HDF5": hdf5,
    "Zarr": zarr_array,
    "Parquet": one_parquet,
    "Parquet folder": parquet_folder,
    "function, by 1": blocks_of(100, 1, 0, 7),
    "function, by 5000": blocks_of(5000),
    "function, at once": blocks_of(10**9),
}


@pytest.fixture(scope="module", params=["f8", "f4"])
def data(request):
    """20,011 rows: more than a block, less than a slice; a fifth of the weights are 0."""
    X = make_mixture(20_011, 3, 4, spacing=3.0).X.astype(request.param)
    weight = np.random.default_rng(0).uniform(-0.25, 1.0, size=len(X)).clip(0)
    return X, weight


def everything(model, source):
    """The bytes of a fit and of all that can be asked of it."""
    model = quiet_fit(model, source)
    answers = [model.predict(source), model.score_samples(source), model.predict_proba(source)]
    numbers = [model.score(source), model.bic(source), model.aic(source)]
    return digest(state_bytes(model), *answers, np.array(numbers))


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_bytes_of_an_array(data, weighted, kind, tmp_path):
    X, weight = data[0], data[1] if weighted else None
    source = SOURCES[kind](X, weight, tmp_path)
    model = GaussianMixture(4, random_state=0, max_iter=3)
    assert everything(model, source) == everything(model, ArraySource(X, weight))
    assert (source.n_rows, source.n_features, source.dtype) == (*X.shape, X.dtype)
    got, want = (s.sample(1000, np.random.RandomState(1)) for s in (source, ArraySource(X, weight)))
    assert got.X.tobytes() == want.X.tobytes()
    assert got.weight.tobytes() == want.weight.tobytes()


def test_a_sample_keeps_nothing_of_the_buffers_that_rows_are_read_into():
    """Rows that are read in more than two blocks, all of them wanted: the buffer of the first block is used again."""
    rng = np.random.default_rng(0)
    X, weight, labels = rng.normal(size=(3000, 800)), rng.uniform(1, 2, 3000), np.arange(3000) % 7
    assert len(X) > 3 * rows_at_once(800)
    sample = as_source(lambda: [(X, weight, labels)]).sample(4000, rng)
    for got, want in zip(sample, (X, weight, labels), strict=True):
        assert_array_equal(got, want)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 256 rows, slices of 8 of them, and what a source reads at a time fits neither."""
    monkeypatch.setattr(passes, "block_rows", lambda *_: 256)
    monkeypatch.setattr(passes, "slice_blocks", lambda *_: 8)

    return lambda rows: monkeypatch.setattr(streams, "rows_at_once", lambda n_features: rows)


OPTIONS = [
    *({"init_params": init, "n_init": 2} for init in INITS),
    *({"covariance_type": covariance_type} for covariance_type in TYPES),
    {"noise": True},
    {"assignment": "hard"},
    {"regularization": "map"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_the_bytes_of_any_blocking(small_blocks, options):
    """Pieces, blocks that are read, blocks of the grid and slices all differ; starts, restarts and labels do not."""
    X = make_mixture(5003, 3, 4, spacing=3.0).X
    weight = np.random.default_rng(0).uniform(-0.25, 1.0, size=len(X)).clip(0)
    model = GaussianMixture(4, random_state=0, max_iter=3, **options)
    want = everything(model, ArraySource(X, weight))
    for rows, sizes in ((1000, (513, 0, 2)), (300, (10**6,))):
        small_blocks(rows)
        assert everything(model, blocks_of(*sizes)(X, weight, None)) == want


def test_sums_of_parts_add_up(small_blocks):
    """As of workers that have a part of the rows each: longer than a slice, not multiples of a block."""
    mixture = make_mixture(9001, 3, 4, spacing=3.0)
    params = start_params(make_start(mixture, "full"), "full")
    accumulator = passes.Accumulator(params)

    def sums(X):
        return ArraySource(X).reduce(accumulator.sums, accumulator.slice_rows, accumulator.block_rows)

    whole = sums(mixture.X).stats()
    for ends in ((5000, 5001), (100, 8000), (2048, 4096)):
        parts = [sums(X) for X in np.split(mixture.X, ends)]
        for found in (sum(parts).stats(), (parts[0] + (parts[1] + parts[2])).stats()):
            assert found.n_rows == 9001
            for name in ("loglik", "entropy", "s0", "s1", "s2"):
                assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-11, atol=1e-8, err_msg=name)


def test_functions_take_whatever_holds_rows(data, tmp_path):
    """em, accumulate, moments and log_density, without as_source."""
    X, weight = data
    model = quiet_fit(GaussianMixture(4, random_state=0, max_iter=3), X)
    file = hdf5(X, weight, tmp_path).reader
    calls = [
        lambda X, weight: fastem.em(X, model.params_, sample_weight=weight, max_iter=3).params.means,
        lambda X, weight: fastem.accumulate(X, model.params_, weight).s2,
        lambda X, weight: fastem.moments(X, labels=model.predict(X), sample_weight=weight).s2,
        lambda X, weight: fastem.log_density(X, model.params_),
        lambda X, weight: quiet_fit(GaussianMixture(4, random_state=0), X, sample_weight=weight).means_,
        lambda X, weight: np.array(model.score(X, sample_weight=weight)),
        lambda X, weight: GaussianMixture(4, random_state=0, tol=0.1).fit_predict(X, sample_weight=weight),
    ]
    for call in calls:
        assert_array_equal(call(file.X, file.weight), call(X, weight))
    pq.write_table(table(X), tmp_path / "rows.parquet")
    named = quiet_fit(GaussianMixture(4, random_state=0, max_iter=3), tmp_path / "rows.parquet")
    assert_array_equal(named.predict(tmp_path / "rows.parquet"), model.predict(X))
    assert_array_equal(model.predict(lambda: iter([X[:5], X[5:50]])), model.predict(X[:50]))


def test_columns_and_their_names(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=99), "n": np.arange(99), "t": ["x"] * 99, "b": rng.normal(size=99)})
    frame.to_parquet(tmp_path / "t.parquet")
    source = as_source(tmp_path / "t.parquet", "n", columns=["b", 0])
    model = GaussianMixture(1, random_state=0).fit(source)
    assert model.feature_names_in_.tolist() == source.columns.tolist() == ["b", "a"]
    assert_allclose(model.means_[0], np.average(frame[["b", "a"]], axis=0, weights=frame["n"]))
    assert_array_equal(model.score_samples(source), model.score_samples(frame[["b", "a"]]))
    with pytest.raises(ValueError, match="The feature names should match"):
        model.predict(as_source(tmp_path / "t.parquet", columns=["a", "n"]))
    with pytest.raises(ValueError, match=r"t\.parquet: column 't' holds (large_)?string, expected numbers"):
        as_source(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="no column 'z'"):
        as_source(tmp_path / "t.parquet", "z")
    with pytest.raises(ValueError, match="column 'a' is chosen twice"):
        as_source(tmp_path / "t.parquet", "a", columns=["a"])
    dataset = ds.dataset(str(tmp_path / "t.parquet"))
    assert_array_equal(
        GaussianMixture(1, random_state=0).fit(as_source(dataset, "n", columns=["b", "a"])).means_, model.means_
    )
    X = frame[["a", "n", "b"]].to_numpy()
    assert_array_equal(
        GaussianMixture(1, random_state=0).fit(as_source(X, frame["n"], columns=[2, 0])).means_, model.means_
    )


def test_files_of_a_folder_that_differ(tmp_path):
    """Columns in another order or of another type are found by name; in float32 only if all are."""
    X = make_mixture(900, 2, 2).X
    single = pa.table({"x0": X[:300, 0].astype("f4"), "x1": X[:300, 1].astype("f4")})
    pq.write_table(single, tmp_path / "a.parquet")
    assert as_source(tmp_path).dtype == np.float32
    pq.write_table(pa.table({"x1": X[300:600, 1], "more": X[:300, 0], "x0": X[300:600, 0]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"x0": np.arange(300), "x1": X[600:, 1]}), tmp_path / "c.parquet")
    want = np.r_[X[:300].astype("f4"), X[300:600], np.c_[np.arange(300), X[600:, 1]]]
    found = as_source(tmp_path).sample(900, np.random.RandomState(0)).X
    assert_array_equal(found, want)
    assert_array_equal(read_table(tmp_path)[0], want)
    pq.write_table(pa.table({"x0": X[:, 0], "x1": ["a"] * 900}), tmp_path / "d.parquet")
    for read in (as_source, read_table):
        with pytest.raises(ValueError, match=r"d\.parquet: column 'x1' holds"):
            read(tmp_path)
    pq.write_table(pa.table({"x0": X[:, 0]}), tmp_path / "d.parquet")
    for read in (as_source, read_table):
        with pytest.raises(ValueError, match=r"d\.parquet: no column 'x1'"):
            read(tmp_path)


def test_arrow_arrays():
    """Validity and booleans are bits, from any place in a buffer."""
    rng = np.random.default_rng(0)
    mask = rng.random(50) < 0.3
    for values in (rng.normal(size=50), rng.integers(-9, 9, size=50).astype("i2"), rng.random(50) < 0.5):
        for nulls in (np.zeros(50, bool), mask):
            column = pa.array(values, mask=nulls)
            for start, stop in ((0, 50), (3, 50), (11, 40)):
                out = np.empty(stop - start)
                arrow.copy_column(column[start:stop], out)
                assert_array_equal(out, np.where(nulls, np.nan, values.astype("f8"))[start:stop])


def test_huge_chunks_are_read_in_parts(monkeypatch):
    X = make_mixture(1000, 2, 2).X
    rows, read = Sliced(X), []
    rows.chunks = (1000, 1)
    monkeypatch.setattr(readers, "CHUNK_BYTES", 16 * 300)
    monkeypatch.setattr(Sliced, "__getitem__", lambda self, part: read.append(part) or self.array[part])
    assert_array_equal(as_source(rows).sample(1000, np.random.RandomState(0))[0], X)
    assert read == [slice(0, 300), slice(300, 600), slice(600, 900), slice(900, 1000)]


@pytest.mark.parametrize("dtype", ["i4", "u1", "f2", ">f4", ">f8", "?"])
def test_other_numbers(dtype, tmp_path):
    """Memory maps and what slices are converted block by block, as arrays are."""
    X = (10 * make_mixture(500, 2, 2).X).astype(dtype)
    np.save(tmp_path / "X.npy", X)
    want = GaussianMixture(1, random_state=0).fit(X)
    for source in (as_source(tmp_path / "X.npy"), as_source(Sliced(X))):
        assert isinstance(source, StreamSource)
        assert state_bytes(GaussianMixture(1, random_state=0).fit(source)) == state_bytes(want)


# ---- reading ahead -----------------------------------------------------------------------------------


def test_the_next_block_is_read_while_this_one_is_in_use():
    """And not the one after that."""
    read, wanted = [threading.Event() for _ in range(4)], []

    def blocks():
        for number in range(4):
            read[number].set()
            yield np.full((10, 1), float(number))

    def use(block):
        number = int(block.X[0, 0])
        if number < 3:
            assert read[number + 1].wait(timeout=10)
        wanted.append((number, number + 2 < 4 and read[number + 2].is_set()))

    source = as_source(blocks)
    read[1].clear()
    source.for_each(use, 10)
    assert wanted == [(0, False), (1, False), (2, False), (3, False)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_does_not_wait_for_a_read(two):
    """Nor is the iteration before lost."""
    calls, go_on = [], threading.Event()

    def blocks():
        calls.append(None)
        yield two.X[:300]
        if len(calls) == 8:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            go_on.wait(timeout=30)
        yield two.X[300:]

    since = time.perf_counter()
    with pytest.raises(fastem.FitInterrupted) as caught:
        GaussianMixture(2, random_state=0, tol=0.0).fit(blocks)
    assert time.perf_counter() - since < 10
    go_on.set()
    assert caught.value.result.n_iter > 0


def test_a_pass_that_is_left_early_leaves_no_thread():
    source = as_source(lambda: (np.zeros((10, 1)) + i for i in range(100)))

    def fail(block):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.for_each(fail, 10)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastem-reader")]


# ---- what goes wrong ---------------------------------------------------------------------------------


def _pieces(X, fail_in_pass):
    """A function that yields X by 1000 rows, and in one pass fails after 3 of them."""
    calls = []

    def blocks():
        calls.append(None)
        for number, start in enumerate(range(0, len(X), 1000)):
            if len(calls) == fail_in_pass and number == 3:
                raise OSError("the disk is gone")
            yield X[start : start + 1000]

    return blocks


def test_a_block_that_cannot_be_read_in_mid_fit(two):
    X = np.repeat(two.X, 10, axis=0)
    model = GaussianMixture(2, random_state=0, tol=0.0)
    quiet_fit(model, as_source(_pieces(X, 0)))
    before = pickle.dumps(vars(model))
    with pytest.raises(SourceError) as caught:
        model.fit(as_source(_pieces(X, 12)))
    message = r"pass \d+ over the data: block 3 could not be read \(OSError: the disk is gone\)"
    assert re.fullmatch(message, str(caught.value))
    assert pickle.dumps(vars(model)) == before
    result = caught.value.result
    assert 0 < result.n_iter == len(result.history) < 12
    want = fastem.em(X, result.params, max_iter=1)
    assert result.loglik == pytest.approx(want.loglik, rel=1e-12)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.result.n_iter) == (str(caught.value), result.n_iter)
    with pytest.raises(SourceError) as caught:
        fastem.em(_pieces(X, 4), result.params, tol=0.0)
    assert caught.value.result.n_iter == 2  # the first call looks at the first block


def test_the_result_of_a_better_run_before_is_kept(two):
    X = np.repeat(two.X, 10, axis=0)
    passes = []

    def blocks():
        passes.append(None)
        return _pieces(X, 0)() if len(passes) < 30 else _pieces(X, 1)()

    with pytest.raises(SourceError) as caught:
        GaussianMixture(2, random_state=0, tol=0.0, max_iter=20, n_init=5).fit(as_source(blocks))
    assert caught.value.result.n_iter == 20


def test_a_checkpoint_of_a_stream(two, tmp_path):
    X = np.repeat(two.X, 10, axis=0)
    model = GaussianMixture(2, random_state=0, tol=0.0, max_iter=12)
    with pytest.raises(SourceError):
        model.fit(as_source(_pieces(X, 12)), checkpoint=tmp_path / "c.npz")
    resumed = quiet_fit(model, as_source(blocks_of(100)(X, None, None)), checkpoint=tmp_path / "c.npz")
    assert resumed.lower_bounds_ == quiet_fit(GaussianMixture(**model.get_params()), X).lower_bounds_


def _parquet(X, folder, n_files=3):
    for number, part in enumerate(np.array_split(X, n_files)):
        pq.write_table(table(part), folder / f"{number}.parquet", row_group_size=500)


def _vanish(folder):
    (folder / "1.parquet").unlink()


def _truncate(folder):
    content = (folder / "1.parquet").read_bytes()
    (folder / "1.parquet").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damage", [_vanish, _truncate])
def test_a_parquet_file_that_is_damaged_in_mid_fit(tmp_path, damage):
    X = make_mixture(6000, 3, 2).X
    _parquet(X, tmp_path)

    def callback(iteration, bound, params):
        if iteration == 3:
            damage(tmp_path)

    with pytest.raises(
        SourceError, match=r"pass \d+ over the data: row group \d of .*1\.parquet could not be read"
    ) as e:
        GaussianMixture(2, random_state=0, tol=0.0).fit(as_source(tmp_path), callback=callback)
    assert e.value.result.n_iter == 3


def test_files_that_are_damaged_before(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"a\.parquet: not a parquet file, or a damaged one"):
        as_source(tmp_path / "a.parquet")
    (tmp_path / "X").mkdir()
    _parquet(np.zeros((100, 2)), tmp_path / "X")
    _truncate(tmp_path / "X")
    with pytest.raises(ValueError, match=r"1\.parquet: not a parquet file, or a damaged one"):
        as_source(tmp_path / "X")


def test_what_is_missing_or_unknown(tmp_path, monkeypatch):
    for name in ("a.npy", "a.parquet", "folder"):
        with pytest.raises(FileNotFoundError, match=name):
            as_source(tmp_path / name)
    for name, package in (("a.h5", "hdf5"), ("a.zarr", "zarr")):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=rf'pip install "fastem\[{package}\]"'):
            as_source(tmp_path / name)
    (tmp_path / "a.xls").touch()
    with pytest.raises(ValueError, match=r"expected a file ending in .*, \.npy or \.parquet"):
        as_source(str(tmp_path / "a.xls"))
    (tmp_path / "b.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "fastem\[parquet\]"'):
        as_source(tmp_path / "b.parquet")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["slices", "Parquet folder", "function, by 5000", "memory map"])
def test_a_value_that_is_no_number_is_named(tmp_path, kind, bad):
    X = make_mixture(12_000, 3, 2).X
    X[11_111, 2] = bad
    words = "Input X contains NaN" if np.isnan(bad) else "Input X contains infinity"
    with pytest.raises(ValueError, match=rf"{words}[\s\S]*row 11111, column 2"):
        GaussianMixture(2).fit(SOURCES[kind](X, None, tmp_path))


@pytest.mark.parametrize("bad", [np.nan, -1.0])
@pytest.mark.parametrize("kind", ["slices", "Parquet", "function, by 5000"])
def test_a_weight_that_is_none_is_named(tmp_path, kind, bad):
    X = make_mixture(12_000, 3, 2).X
    weight = np.ones(len(X))
    weight[11_111] = bad
    with pytest.raises(ValueError, match=rf"sample_weight: .* found {bad} in row 11111"):
        GaussianMixture(2).fit(SOURCES[kind](X, weight, tmp_path))


def test_a_null_is_a_missing_value(tmp_path):
    for column in (pa.array([1.0, None, 2.0]), pa.array([1, None, 2]), pa.array([True, None, False])):
        pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
        with pytest.raises(ValueError, match=r"Input X contains NaN[\s\S]*row 1, column 0"):
            GaussianMixture().fit(tmp_path / "x.parquet")


def test_passes_that_differ(two):
    rows = iter([600, 600, 599])
    with pytest.raises(SourceError, match="brought 599 rows, expected 600"):
        GaussianMixture(2, random_state=0).fit(lambda: iter([two.X[: next(rows)]]))


def test_refused(two):
    X = two.X
    source = as_source(Sliced(X))
    model = GaussianMixture(2, random_state=0).fit(X)
    stats = fastem.accumulate(X, model.params_)
    cases = [
        (TypeError, "pass the function .* not 'list_iterator'", lambda: as_source(iter([X]))),
        (ValueError, "a source has its own weights", lambda: model.fit(source, sample_weight=np.ones(600))),
        (TypeError, "yield blocks of rows.* returned NoneType", lambda: as_source(lambda: None)),
        (TypeError, "yield blocks of rows.* returned ndarray", lambda: as_source(lambda: X)),
        (TypeError, "yield blocks of rows.* returned DataFrame", lambda: as_source(lambda: pd.DataFrame(X))),
        (ValueError, "yields its weights with the rows", lambda: as_source(lambda: [X], np.ones(600))),
        (ValueError, r"sample_weight.shape == \(5,\)", lambda: as_source(Sliced(X), np.ones(5))),
        (ValueError, "got 1D array", lambda: as_source(Sliced(X[0]))),
        (ValueError, "expected rows of numbers", lambda: as_source(Sliced(X.astype("c16")))),
        (ValueError, "Found array with 0 sample", lambda: as_source(lambda: [])),
        (ValueError, "Found array with 0 sample", lambda: model.fit(lambda: [X[:0]])),
        (ValueError, "minimum of 2 is required", lambda: model.fit(lambda: [X[:1]])),
        (ValueError, "every weight is zero", lambda: model.fit(lambda: [(X, np.zeros(600))])),
        (ValueError, "n_components = 2, n_samples = 1", lambda: model.fit(lambda: [(X, np.arange(600) == 7)])),
        (ValueError, "X has 2 features", lambda: model.predict(Sliced(X[:, :2]))),
        (ValueError, "X has 2 features", lambda: fastem.accumulate(lambda: [X[:, :2]], model.params_)),
        (SourceError, "block 1 could not be read .*X has 2 feat", lambda: model.fit(lambda: [X, X[:, :2]])),
        (SourceError, "block 1 .*expected float64", lambda: model.fit(lambda: [X, X.astype("f4")])),
        (SourceError, "block 1 .*expected no weights", lambda: model.fit(lambda: [X, (X, np.ones(600))])),
        (SourceError, "block 0 .*expected 600 weights", lambda: model.fit(lambda: [(X, np.ones(5))])),
        (ValueError, "too large", lambda: model.fit(lambda: [X * 1e160])),
        (ValueError, "contains infinity", lambda: model.fit(Sliced(np.full((9, 1), np.longdouble("1e999"))))),
        (ValueError, "0 feature", lambda: as_source(Sliced(X), columns=[])),
        (TypeError, "columns must be a list of names or positions; got 'ab'", lambda: as_source(X, columns="ab")),
        (TypeError, "columns must be a list of names or positions; got 0", lambda: as_source(Sliced(X), columns=0)),
        (TypeError, "write_scores takes a fitted mixture; got int", lambda: fastem.write_scores(3, X, "l.npy")),
        (ValueError, r"what must be one of .* got \[\]", lambda: fastem.write_scores(model, X, "l.npy", [])),
        (TypeError, "previous must be a fastem.Params", lambda: fastem.m_step(stats, previous=model)),
        (ValueError, "too large or too small", lambda: model.fit(lambda: [(X, np.full(600, 1e-200))])),
    ]  # fmt: skip
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


# ---- scores to files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
@pytest.mark.parametrize("noise", [False, True])
def test_scores_block_by_block(data, tmp_path, monkeypatch, ending, noise):
    X = data[0]
    model = quiet_fit(GaussianMixture(3, random_state=0, max_iter=3, noise=noise), X)
    for module in (outputs, streams):
        monkeypatch.setattr(module, "rows_at_once", lambda n_features: 5000)
    path = tmp_path / f"out.{ending}"
    for what, want in (
        ("label", model.predict(X)), ("log_likelihood", model.score_samples(X)), ("proba", model.predict_proba(X)),
    ):  # fmt: skip
        fastem.write_scores(model, Sliced(X), path, what)
        if ending == "npy":
            found = np.load(path)
            assert found.dtype == want.dtype
        else:
            frame = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
            columns = {"proba": [f"p{k}" for k in range(3)] + ["p_noise"] * noise}.get(what, [what])
            assert frame.columns.tolist() == columns
            found = frame.to_numpy().reshape(want.shape)
        assert_array_equal(found.astype(want.dtype), want)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_failure_leaves_no_output(two, tmp_path):
    model = GaussianMixture(2, random_state=0).fit(two.X)
    (tmp_path / "labels.npy").write_text("before")
    with pytest.raises(SourceError):
        fastem.write_scores(model, as_source(_pieces(np.repeat(two.X, 10, axis=0), 3)), tmp_path / "labels.npy")
    assert (tmp_path / "labels.npy").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="what must be one of 'label', 'log_likelihood', 'proba'; got 'score'"):
        fastem.write_scores(model, two.X, tmp_path / "labels.npy", "score")


# ---- rows that change between passes -----------------------------------------------------------------

CHANGED = {
    "NaN": np.nan,
    "infinity": np.inf,
    "1e200": 1e200,
    "weight -1": -1.0,
    "weight NaN": np.nan,
    "weight inf": np.inf,
}


def _changing(X, what, number):
    """A source whose row 3007 has another value, or weight, from a pass on."""

    def blocks():
        later = source.passes >= number if source is not None else False
        for start in range(0, len(X), 1000):
            rows, weight = X[start : start + 1000].copy(), np.ones(1000)
            if start == 3000 and later:
                place = weight[7:] if what.startswith("weight") else rows[7]
                place[0] = CHANGED[what]
            yield rows, weight

    source = None
    source = as_source(blocks)
    return source


@pytest.mark.parametrize("options", [{}, {"assignment": "hard"}, {"solver": "lbfgs"}, {"noise": True}], ids=str)
@pytest.mark.parametrize("what", CHANGED)
def test_rows_that_change_between_passes(two, what, options):
    """In whatever pass: the error names it and the rows, instead of a collapse or a silent fit to something else."""
    X = np.repeat(two.X, 10, axis=0)
    for number in (4, 6, 9):
        source = _changing(X, what, number)
        with pytest.raises(SourceError) as caught:
            quiet_fit(GaussianMixture(2, random_state=0, tol=0.0, max_iter=20, **options), source)
        found = re.match(
            r"pass (\d+) over the data: rows (\d+) to (\d+) have changed since the first pass", str(caught.value)
        )
        assert int(found[1]) == number
        assert int(found[2]) <= 3007 <= int(found[3])
        assert what == "1e200" or "row 3007" in str(caught.value)
    assert caught.value.result.n_iter > 0


@pytest.mark.parametrize("what", CHANGED)
def test_rows_that_change_under_k_means_and_scores(two, what):
    X = np.repeat(two.X, 10, axis=0)
    with pytest.raises(SourceError, match="pass 4 over the data: rows "):
        fastem.KMeans(2, random_state=0, tol=0.0).fit(_changing(X, what, 4))
    model, source = GaussianMixture(2, random_state=0).fit(X), _changing(X, what, 3)
    assert len(model.predict(source)) == len(X)
    for use in (model.predict, model.score):  # labels would be wrong without a word
        with pytest.raises(SourceError, match=r"pass \d over the data: rows "):
            use(source)


def test_values_that_do_not_change(two):
    """Sums may overflow in every pass: the message of a later one says so, too."""
    X = np.repeat(two.X, 2, axis=0)
    X[7] = 1e160
    source, params = as_source(blocks_of(300)(X, None, None)), GaussianMixture(2, random_state=0).fit(two.X).params_
    assert not np.isfinite(fastem.accumulate(source, params).loglik)
    with pytest.raises(SourceError, match=r"have changed since the first pass, or overflow: with a value of 1e\+160"):
        fastem.accumulate(source, params)


# ---- columns by the model's names --------------------------------------------------------------------


def _stored(kind, folder, two):
    frame = pd.DataFrame(two.X, columns=["a", "b", "c"])
    frame["weight"], frame["label"], frame["note"] = 1.0 + np.arange(len(frame)) % 3, two.labels, "text"
    frame = frame[["weight", "c", "note", "a", "label", "b"]]
    frame.to_parquet(folder / "rows.parquet")
    if kind == "dataset":
        return ds.dataset(folder / "rows.parquet")
    return folder / "rows.parquet" if kind == "path" else str(folder / "rows.parquet")


@pytest.mark.parametrize("kind", ["path", "str", "dataset"])
def test_a_model_finds_its_columns(two, tmp_path, kind):
    """It was fitted to some columns, with weights and labels beside them: it knows their names."""
    stored = _stored(kind, tmp_path, two)
    source = as_source(stored, "weight", "label", columns=["a", "b", "c"])
    for model in (GaussianMixture(2, random_state=0).fit(source), fastem.KMeans(2, random_state=0).fit(source)):
        assert list(model.feature_names_in_) == ["a", "b", "c"]
        bare = pickle.loads(pickle.dumps(model))
        del bare.feature_names_in_
        np.testing.assert_array_equal(model.predict(stored), bare.predict(two.X))
        weight = 1.0 + np.arange(len(two.X)) % 3
        assert model.score(stored, sample_weight="weight") == bare.score(two.X, sample_weight=weight)
    model = GaussianMixture(2).fit(pd.DataFrame(two.X, columns=["a", "b", "x"]))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(stored)
