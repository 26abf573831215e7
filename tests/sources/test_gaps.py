"""Rows with missing values from all kinds of sources: the same bits, wherever they come from."""

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, child_env, make_mixture, state_bytes
from incomplete import with_gaps
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem.passes import missing
from fastem.sources.gaps import find_gaps

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def X():
    """Rows of three components, some of whose values are missing."""
    X = with_gaps(make_mixture(2000, 3, 3, spacing=4.0).X, 0.25)
    X[11] = np.nan
    X.setflags(write=False)
    return X


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    """Windows of 512 rows, so that rows fill several."""
    monkeypatch.setattr(missing, "WINDOW_BYTES", 512 * 8 * 3)


def fit(X, **options):
    return fastem.GaussianMixture(3, missing=True, random_state=0, max_iter=20, tol=1e-3).fit(X, **options)


def test_layouts_and_threads(X):
    expected = state_bytes(fit(X))
    wide = np.full((4000, 6), np.nan)
    wide[::2, ::2] = X
    for rows in (np.asfortranarray(X), wide[::2, ::2], X[::-1][::-1]):
        assert state_bytes(fit(rows)) == expected
    for n in (1, numba.config.NUMBA_NUM_THREADS):
        model = fastem.GaussianMixture(3, missing=True, random_state=0, max_iter=20, n_threads=n).fit(X)
        assert_array_equal(model.means_, fit(X).means_)


def test_frames_and_masked_arrays(X):
    expected = fit(X).means_
    gaps = np.isnan(X)
    frame = pd.DataFrame(X, columns=NAMES)
    nullable = frame.astype("Float64").where(~gaps, pd.NA)
    for rows in (frame, nullable, np.ma.array(np.where(gaps, -1.0, X), mask=gaps), np.where(gaps, None, X)):
        assert_array_equal(fit(rows).means_, expected)
    whole = np.ma.array(np.arange(12).reshape(6, 2), mask=[[0, 1]] + [[0, 0]] * 5)
    assert np.isnan(fastem.as_source(whole, missing=True).X[0, 1])
    with pytest.raises(ValueError, match="masked"):
        fastem.GaussianMixture(3).fit(whole)


def test_files_and_functions(X, tmp_path):
    expected = fit(X).means_
    frame = pd.DataFrame(X, columns=NAMES)
    np.save(tmp_path / "rows.npy", X)
    frame.astype("Float64").where(~np.isnan(X), pd.NA).to_parquet(tmp_path / "rows.parquet", row_group_size=300)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for rows in (
        *(tmp_path / f"rows.{ending}" for ending in ("npy", "parquet", "csv")),
        lambda: iter(np.array_split(X, 7)),
        lambda: iter(np.ma.masked_invalid(part) for part in np.array_split(X, 7)),
        fastem.as_source(np.load(tmp_path / "rows.npy", mmap_mode="r"), missing=True),
    ):
        model = fit(rows)
        assert_array_equal(model.means_, expected)
        assert [event.what for event in model.fit_report_.events] == ["empty"]
        assert_array_equal(model.predict(rows), fit(X).predict(X))
    with pytest.raises(ValueError, match=r"contains NaN(.|\n)*missing=True"):
        fastem.GaussianMixture(3).fit(tmp_path / "rows.csv")
    never = frame.assign(b=np.nan)
    never.to_parquet(tmp_path / "never.parquet")
    with pytest.raises(ValueError, match="Column 'b' of X has no observed value"):
        fit(tmp_path / "never.parquet")
    fastem.write_scores(fit(tmp_path / "rows.parquet"), tmp_path / "rows.parquet", tmp_path / "labels.npy")
    assert_array_equal(np.load(tmp_path / "labels.npy"), model.predict(X))


def test_weights_and_labels_of_a_file(X, tmp_path):
    rng = np.random.default_rng(0)
    weight, labels = (
        rng.integers(0, 3, len(X)) + 0.0,
        np.where(rng.random(len(X)) < 0.1, rng.integers(0, 3, len(X)), -1),
    )
    pd.DataFrame(X, columns=NAMES).assign(w=weight, y=labels).to_parquet(tmp_path / "rows.parquet")
    source = fastem.as_source(tmp_path / "rows.parquet", "w", "y", missing=True)
    assert_array_equal(fit(source).means_, fit(X, sample_weight=weight, labels=labels).means_)


def test_infinity_is_refused(X, tmp_path):
    bad = X.copy()
    bad[1500, 1] = np.inf
    pd.DataFrame(bad, columns=NAMES).to_parquet(tmp_path / "rows.parquet")
    for rows in (bad, tmp_path / "rows.parquet", lambda: iter(np.array_split(bad, 7))):
        with pytest.raises(ValueError, match=r"contains infinity.*row 1500, column 1"):
            fit(rows)


def test_rows_that_change(X):
    """Infinity that comes later shows in the sums."""
    passes = []

    def blocks():
        passes.append(1)
        bad = X.copy()
        if len(passes) > 4:
            bad[5] = np.inf
        return iter([bad])

    with pytest.raises(fastem.SourceError, match="have changed since the first pass"):
        fit(blocks)


def test_gaps(X):
    found = find_gaps(fastem.as_source(X, missing=True))
    assert_array_equal(found.observed, (~np.isnan(X)).sum(axis=0))
    assert found.n_empty == 1
    assert find_gaps(fastem.as_source(X[~np.isnan(X).any(axis=1)], missing=True)) is None
    stream = fastem.as_source(lambda: iter([X[~np.isnan(X).any(axis=1)]]), missing=True)
    assert stream.rows_kind == "missing"  # until it is known
    assert find_gaps(stream) is None
    assert stream.rows_kind == "complete"


def test_dask(X):
    dask, da, dd = (pytest.importorskip(f"dask{name}") for name in ("", ".array", ".dataframe"))
    expected = fit(X)
    with dask.config.set(scheduler="sync"):
        rows = da.from_array(X, chunks=(300, 3))
        model = fit(rows)
        assert_allclose(model.means_, expected.means_, rtol=1e-10)
        assert_allclose(model.covariances_, expected.covariances_, rtol=1e-10, atol=1e-10)
        assert_array_equal(model.predict(rows).compute(), expected.predict(X))
        assert_allclose(model.score_samples(rows).compute(), expected.score_samples(X), rtol=1e-10, atol=1e-10)
        frame = fit(dd.from_pandas(pd.DataFrame(X, columns=NAMES), npartitions=4))
        assert_allclose(frame.means_, expected.means_, rtol=1e-10)
        complete = np.nan_to_num(X)
        plain = fastem.GaussianMixture(3, random_state=0, max_iter=20).fit(da.from_array(complete, chunks=(300, 3)))
        assert_array_equal(fit(da.from_array(complete, chunks=(300, 3))).means_, plain.means_)
        with pytest.raises(ValueError, match="contains NaN"):
            fastem.GaussianMixture(3).fit(rows)
        with pytest.raises(ValueError, match="Column 2 of X has no observed value"):
            fit(da.from_array(np.where([True, True, False], X, np.nan), chunks=(300, 3)))


def test_a_world_of_one_rank(X):
    MPI = pytest.importorskip("mpi4py.MPI")
    source = fastem.MPISource(MPI.COMM_SELF, X, missing=True)
    assert_array_equal(fit(source).means_, fit(X).means_)


RANKS = """
import sys
import numpy as np
from mpi4py import MPI
import fastem

comm = MPI.COMM_WORLD
X = np.load(sys.argv[1])
cuts = np.linspace(0, len(X), comm.size + 1).astype(int)
source = fastem.MPISource(comm, X[cuts[comm.rank] : cuts[comm.rank + 1]], missing=True)
model = fastem.GaussianMixture(3, missing=True, random_state=0, max_iter=20, tol=1e-3).fit(source)
if comm.rank == 0:
    np.save(sys.argv[2], model.means_)
"""


@pytest.mark.slow
def test_ranks(X, tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).parent / "mpiexec"
    if not mpiexec.exists():
        pytest.skip("no mpiexec")
    np.save(tmp_path / "rows.npy", X)
    (tmp_path / "fit.py").write_text(RANKS)
    files = tmp_path / "fit.py", tmp_path / "rows.npy", tmp_path / "means.npy"
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py", *files]
    env = child_env(NUMBA_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    subprocess.run(list(map(str, command)), check=True, timeout=240, env=env, cwd=ROOT)
    assert_allclose(np.load(tmp_path / "means.npy"), fit(X).means_, rtol=1e-10)
