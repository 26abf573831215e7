"""Rows from files, from what slices like an array, from functions: the same bytes as from memory, whatever the blocks."""

import pickle
import threading
import time

import numpy as np
import pytest
from helpers import TYPES, digest, make_mixture, quiet_fit, state_bytes
from numpy.testing import assert_array_equal

import fastem
from fastem import GaussianMixture, SourceError, as_source

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
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
            start, number = 0, 0
            while start < len(X):
                part = slice(start, start + sizes[number % len(sizes)])
                yield X[part] if weight is None else (X[part], weight[part])
                start, number = part.stop, number + 1

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
    model = GaussianMixture(4, random_state=0, max_iter=4)
    # bic and score take the weights that come with the source
    assert everything(model, source) == everything(model, fastem.as_source(X, weight))
    assert (source.n_rows, source.n_features, source.dtype) == (*X.shape, X.dtype)
    if not weighted:
        assert quiet_fit(model, X).means_.tobytes() == quiet_fit(model, source).means_.tobytes()
