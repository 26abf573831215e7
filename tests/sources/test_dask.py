"""Dask collections: fits on a cluster of two processes, whose rows never leave the workers."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, assert_close, child_env, fitted, make_mixture, make_start, quiet_fit, state_bytes
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import GaussianMixture, SourceError, as_source
from fastem.kernels.jit import n_threads
from fastem.sources.blocks import ArraySource
from fastem.sources.dask_source import DaskSource
from fastem.sources.parts import sum_pairwise

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

NAMES = ["a", "b", "c"]
ROWS = 8011


@pytest.fixture(scope="module")
def data():
    """Rows of four components that overlap, and weights, a fifth of which are 0."""
    mixture = make_mixture(ROWS, 3, 4, spacing=3.0)
    return mixture, np.random.default_rng(0).uniform(-0.25, 1.0, size=ROWS).clip(0)


def cluster_of(n_workers, threads=1, processes=True):
    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=threads, processes=processes, dashboard_address=":0"
    )


@pytest.fixture(scope="module")
def client():
    with cluster_of(2) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def alone():
    """No cluster: tasks run in this process, one after the other."""
    with dask.config.set(scheduler="sync"):
        yield


def model(**more):
    return GaussianMixture(4, random_state=0, tol=1e-5, max_iter=300, **more)


def frame(data, n_parts=7):
    table = pd.DataFrame(data[0].X, columns=NAMES).assign(w=data[1])
    return table, dd.from_pandas(table, npartitions=n_parts)


# ---- fits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        fastem.FactorMixture(4, n_factors=2, random_state=0),
        fastem.FactorMixture(4, n_factors=1, noise="shared", solver="em", max_iter=20, random_state=0),
        fastem.StudentMixture(4, max_iter=5, random_state=0),
        fastem.BayesianGaussianMixture(n_components=4, solver="auto", max_iter=5, random_state=0),
    ],
    ids=["factors", "factors, em", "student", "bayesian"],
)
@pytest.mark.filterwarnings("ignore::fastem.ConvergenceWarning")
def test_the_other_mixtures_end_where_they_end_in_memory(data, alone, estimator):
    (X, *_), weight = data
    parts = da.from_array(X, chunks=(3000, 3)), da.from_array(weight, chunks=3000)
    there, here = (copy.copy(estimator).fit(rows, sample_weight=w) for rows, w in (parts, (X, weight)))
    assert there.n_iter_ == here.n_iter_
    assert_allclose(there.means_, here.means_, rtol=1e-6)
    assert_allclose(there.score_samples(X), here.score_samples(X), rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"noise": True}, {"covariance_type": "tied", "regularization": "ridge"}],
    ids=["plain", "noise", "tied"],
)
def test_fit_of_an_array_is_that_in_memory(alone, data, options):
    """The start too: the sample has the rows of the sample in memory."""
    X = da.from_array(data[0].X, chunks=(799, 3))
    here, there = model(**options).fit(data[0].X), model(**options).fit(X)
    assert_close(fitted(there), fitted(here), 1e-10)
    assert there.n_iter_ == here.n_iter_
    assert_allclose(there.lower_bounds_, here.lower_bounds_, rtol=1e-12)
    assert_allclose(there.score(X), here.score(data[0].X), rtol=1e-12)
    assert_allclose(there.bic(X), here.bic(data[0].X), rtol=1e-12)


def test_posterior_of_an_array_is_that_in_memory(alone, data):
    rows, X = data[0].X, da.from_array(data[0].X, chunks=(799, 3))
    here, there = (fastem.BayesianGaussianMixture(n_components=4, random_state=0).fit(one) for one in (rows, X))
    assert_close(fitted(there), fitted(here), 1e-10)
    assert_allclose(there.elbo(X), here.elbo(rows), rtol=1e-12)
    lazy = there.score_samples(X, predictive=True)
    assert lazy.chunks == (X.chunks[0],)
    assert_allclose(lazy.compute(), here.score_samples(rows, predictive=True), rtol=1e-9)


def test_fit_of_a_frame_is_that_in_memory(client, data):
    """Weights from a column, partitions of unknown length, one of them empty."""
    table, parts = frame(data)
    gone = table.index[: ROWS // 7]
    kept = table[table.index > gone[-1]]
    parts = parts.map_partitions(lambda part: part[part.index > gone[-1]])
    here = model().fit(kept[NAMES], sample_weight=kept["w"])
    there = model().fit(parts, sample_weight="w")
    assert_close(fitted(there), fitted(here), 1e-10)
    assert there.feature_names_in_.tolist() == NAMES
    assert as_source(parts, "w").n_rows == len(kept)


def test_a_model_finds_its_columns(alone, data):
    """The frame that it was fitted to has the weights and other columns beside them."""
    table, _ = frame(data)
    parts = dd.from_pandas(table.assign(note="text")[["w", "note", *NAMES]], npartitions=7)
    fit = model().fit(as_source(parts, "w", columns=NAMES))
    assert fit.feature_names_in_.tolist() == NAMES
    assert_array_equal(fit.predict(parts).compute(), fit.predict(table[NAMES]))
    assert_allclose(fit.score(parts, sample_weight="w"), fit.score(table[NAMES], sample_weight=table["w"]), rtol=1e-12)


@pytest.mark.parametrize("what", [np.nan, np.inf, 1e200, "weight"], ids=str)
def test_values_that_change_between_passes(alone, data, what):
    """As they would in a partition that is computed anew from a table that others write to."""
    X, calls = data[0].X, [0]

    def computed(rows):
        calls[0] += 1
        rows = rows.copy()
        if calls[0] >= 30:
            rows[len(rows) // 2] = -1.0 if what == "weight" else what
        return rows

    array = da.from_array(X, chunks=(799, 3))
    weight = da.ones(len(X), chunks=799)
    if what == "weight":
        weight = weight.map_blocks(computed, dtype=float, meta=np.empty(0))
    else:
        array = array.map_blocks(computed, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(SourceError, match=r"pass \d+ over the data: partition \d+: rows \d+ to \d+ have changed since"):
        model().fit(array, sample_weight=weight)


@pytest.fixture(scope="module")
def expected(data):
    """The bytes of a fit without a cluster."""
    with dask.config.set(scheduler="sync"):
        return state_bytes(model().fit(da.from_array(data[0].X, chunks=(799, 3))))


def test_bytes_do_not_depend_on_the_workers(client, data, expected):
    X = da.from_array(data[0].X, chunks=(799, 3))
    assert state_bytes(model().fit(X)) == expected
    with cluster_of(1, threads=2, processes=False) as cluster, distributed.Client(cluster):
        assert state_bytes(model().fit(X)) == expected


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals")
def test_a_worker_killed_in_mid_fit_costs_only_time(client, data, expected):
    X = da.from_array(data[0].X, chunks=(799, 3)).persist()
    distributed.wait(X)
    before = client.run(os.getpid)
    held = [worker for worker, keys in client.has_what().items() if keys]
    assert len(held) == 2

    def kill(iteration, *_):
        if iteration == 3:  # in the pass that comes now
            threading.Timer(0.01, os.kill, (before[held[0]], signal.SIGKILL)).start()

    assert state_bytes(model().fit(X, callback=kill)) == expected
    client.wait_for_workers(2, timeout=30)
    assert set(client.run(os.getpid).values()) != set(before.values())


@pytest.mark.parametrize("init", ["k-means++", "random", "random_from_data", "auto"])
def test_starts(alone, data, init):
    """Every start, twice: the second draws other numbers. Of more rows than the sample has, too."""
    X = da.from_array(data[0].X, chunks=(799, 3))
    first, second = (quiet_fit(GaussianMixture(4, random_state=s, init_params=init, max_iter=3), X) for s in (0, 1))
    assert state_bytes(first) == state_bytes(
        quiet_fit(GaussianMixture(4, random_state=0, init_params=init, max_iter=3), X)
    )
    if init != "auto":
        assert state_bytes(first) != state_bytes(second)


def test_random_responsibilities_differ_from_part_to_part(alone):
    """Parts of equal rows: if they drew the same numbers, statistics would be those of one part, twice."""
    X = da.from_array(np.tile(np.random.default_rng(0).normal(size=(1500, 2)), (2, 1)), chunks=(1500, 2))
    two, one = (
        quiet_fit(GaussianMixture(2, random_state=0, init_params="random", max_iter=1, tol=0.0), rows)
        for rows in (X, X[:1500])
    )
    assert not np.allclose(two.means_, one.means_, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_sample(alone, data, weighted):
    """The rows that an array would give."""
    X, weight = data[0].X, data[1] if weighted else None
    whole = ArraySource(X, weight)
    parts = DaskSource(da.from_array(X, chunks=(799, 3)), weight)
    for n in (10, 1000, ROWS):
        rows = [source.sample(n, np.random.RandomState(1)) for source in (whole, parts)]
        assert_array_equal(rows[0][0], rows[1][0])
        assert_array_equal(rows[0][1], rows[1][1])
    assert_allclose(parts.sum_w, whole.sum_w, rtol=1e-14)


def test_other_functions(alone, data):
    """em, accumulate, moments, partial_fit: all take a collection; labels are those of all rows."""
    mixture, _ = data
    X = da.from_array(mixture.X, chunks=(799, 3))
    params = model().fit(mixture.X).params_
    here, there = fastem.accumulate(mixture.X, params), fastem.accumulate(X, params)
    assert there.n_rows == ROWS
    assert_allclose(there.s2, here.s2, rtol=1e-11)
    assert_allclose(fastem.em(X, params).loglik, fastem.em(mixture.X, params).loglik, rtol=1e-12)
    here, there = (fastem.moments(rows, labels=mixture.labels) for rows in (mixture.X, X))
    assert_allclose(there.s2, here.s2, rtol=1e-11)
    start = GaussianMixture.from_parameters(params.weights, params.means, params.covariances)
    assert start.partial_fit(X).n_iter_ == 1


@pytest.mark.parametrize("kind", ["integers", "sets", "column", "all"])
def test_labels(alone, data, kind):
    """Of some rows, from an array, a Dask Array of the components that rows may belong to, a column; of all rows."""
    mixture, _ = data
    given = np.where(np.random.default_rng(1).uniform(size=ROWS) < (2.0 if kind == "all" else 0.1), mixture.labels, -1)
    if kind == "sets":
        given = np.equal.outer(given, np.arange(4)) | (given < 0)[:, None]
    X = da.from_array(mixture.X, chunks=(799, 3))
    here = quiet_fit(model(), mixture.X, labels=given)
    if kind == "column":
        table = pd.DataFrame(mixture.X, columns=NAMES).assign(known=given)
        there = model().fit(dd.from_pandas(table, npartitions=5), labels="known")
        assert there.feature_names_in_.tolist() == NAMES
    else:
        there = quiet_fit(model(), X, labels=da.from_array(given, chunks=-1) if kind == "sets" else given)
    assert_close(fitted(there), fitted(here), 1e-10)
    assert there.n_iter_ == here.n_iter_ == (1 if kind == "all" else here.n_iter_)


# ---- what travels ----------------------------------------------------------------------------------------------------


def test_rows_stay_on_the_workers(alone, data, monkeypatch):
    """With a start that needs no sample, a pass brings less than 1 % of the rows' bytes."""
    sizes, computed = [], DaskSource._compute

    def measured(*args):
        result = computed(*args)
        sizes.append(len(pickle.dumps(result)))
        return result

    monkeypatch.setattr(DaskSource, "_compute", measured)
    X = da.from_array(data[0].X, chunks=(799, 3))
    found = model(**make_start(data[0], "full")).fit(X)
    assert len(sizes) > found.n_iter_
    assert max(sizes) < data[0].X.nbytes / 100


def test_tasks_use_one_thread_each(client, data):
    """Whatever Numba is set to: a worker runs as many tasks at a time as it has threads."""
    source = as_source(da.from_array(data[0].X, chunks=(3000, 3)))
    assert source.sum_over_parts(lambda part: [(part.number, n_threads())]) == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 16, 23, 100])
def test_tree_adds_pairwise(alone, n):
    """FAN_IN at a time, the sums are those of `sum_pairwise`: strings show the order."""
    source = as_source(da.zeros((n, 1), chunks=(1, 1)))

    class Term(str):
        def __add__(self, other):
            return Term(f"({self}{other})")

    terms = [Term(f"{number}.") for number in range(n)]
    assert source.sum_over_parts(lambda part: terms[part.number]) == sum_pairwise(terms)
    assert sum_pairwise([Term(c) for c in "abcde"]) == "(((ab)(cd))e)"


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_scores_of_an_array_are_lazy(alone, data):
    X, rows = data[0].X, da.from_array(data[0].X, chunks=(799, 3))
    found = model(noise=True).fit(X)
    for method in ("predict", "predict_proba", "score_samples"):
        lazy, whole = getattr(found, method)(rows), getattr(found, method)(X)
        assert isinstance(lazy, da.Array)
        assert lazy.chunks[0] == rows.chunks[0]
        assert (lazy.shape, lazy.dtype) == (whole.shape, whole.dtype)
        assert_array_equal(lazy.compute(), whole)
    assert_array_equal(model(noise=True).fit_predict(rows).compute(), found.predict(X))


def test_scores_of_a_frame_keep_its_index(alone, data):
    table, parts = frame(data)
    found = model().fit(table[NAMES])
    rows = parts[NAMES]
    label, density, proba = found.predict(rows), found.score_samples(rows), found.predict_proba(rows)
    for lazy in (label, density, proba):
        assert lazy.divisions == parts.divisions
    assert label.name == "label"
    assert list(proba.columns) == ["p0", "p1", "p2", "p3"]
    assert_array_equal(label.compute(), found.predict(table[NAMES]))
    assert_array_equal(density.compute(), found.score_samples(table[NAMES]))
    assert_array_equal(proba.compute(), found.predict_proba(table[NAMES]))
    joined = parts.assign(label=label).compute()
    assert_array_equal(joined["label"], found.predict(joined[NAMES]))
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(rows.rename(columns={"a": "z"}))


def test_scores_of_unknown_and_empty_chunks(alone, data):
    X = da.from_array(data[0].X, chunks=(799, 3))
    some = X[X[:, 0] > 1e9].astype(np.float32)
    found = quiet_fit(GaussianMixture(2, max_iter=2), X)
    assert found.predict(some).compute().shape == (0,)
    assert found.predict_proba(some).compute().dtype == np.float32


@pytest.mark.parametrize("method", ["predict_top", "write_scores"])
def test_what_would_gather_the_rows(alone, data, method, tmp_path):
    X = da.from_array(data[0].X, chunks=(799, 3))
    found = quiet_fit(GaussianMixture(2, max_iter=2), X)
    with pytest.raises(TypeError, match="stay on its workers"):
        found.predict_top(X, 1) if method == "predict_top" else fastem.write_scores(found, X, tmp_path / "labels.npy")


def test_a_detector_says_what_to_do_instead(alone, data):
    X = da.from_array(data[0].X, chunks=(799, 3))
    with pytest.raises(TypeError, match=r"threshold of an AnomalyDetector .*calibrate\(some_rows\)"):
        fastem.AnomalyDetector().fit(X)
    found = quiet_fit(GaussianMixture(2, max_iter=2), X)
    detector = fastem.AnomalyDetector.from_mixture(found)
    with pytest.raises(TypeError, match=r"threshold of an AnomalyDetector .*calibrate\(some_rows\)"):
        detector.calibrate(X)
    assert detector.calibrate(data[0].X).is_anomaly(data[0].X).sum() == 80
    with pytest.raises(TypeError, match="compute some of them first"):
        detector.predict(X)
    given = fastem.AnomalyDetector(GaussianMixture(2, max_iter=2), threshold=-9.0)
    assert quiet_fit(given, X).threshold_ == -9.0


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_values_are_looked_at(alone, data):
    X = data[0].X.copy()
    X[800 * 5 + 7, 1] = np.nan
    with pytest.raises(ValueError, match=r"partition 5: Input X contains NaN(.|\n)*row 7, column 1"):
        model().fit(da.from_array(X, chunks=(800, 3)))
    weight = np.ones(ROWS)
    weight[800 * 3 + 2] = -1.0
    with pytest.raises(ValueError, match=r"partition 3: sample_weight.*-1.0 in row 2"):
        model().fit(da.from_array(data[0].X, chunks=(800, 3)), sample_weight=weight)
    with pytest.raises(ValueError, match="every weight is zero"):
        model().fit(da.from_array(data[0].X, chunks=(800, 3)), sample_weight=np.zeros(ROWS))
    with pytest.raises(ValueError, match=r"0 sample"):
        model().fit(da.zeros((0, 3), chunks=(1, 3)))


@pytest.mark.parametrize("cluster", [True, False], ids=["cluster", "threads"])
def test_a_partition_that_cannot_be_computed(client, data, tmp_path, cluster):
    """The message names the pass, and on a cluster the partition; the parameters so far are there."""
    gone = tmp_path / "gone"

    def read(block, number):
        if number[0, 0] == 4 and Path(gone).exists():
            raise RuntimeError("disk gone")
        return block

    X = da.from_array(data[0].X, chunks=(2000, 3))
    X = X.map_blocks(read, da.arange(5, chunks=1)[:, None], dtype=X.dtype, chunks=X.chunks)
    message = r"pass \d+ over the data.*RuntimeError: disk gone"
    with (
        dask.config.set({} if cluster else {"scheduler": "threads"}),
        pytest.raises(SourceError, match=message) as caught,
    ):
        model().fit(X, callback=lambda iteration, *_: gone.touch() if iteration == 3 else None)
    assert caught.value.result.n_iter == 3
    assert ("partition 4" in str(caught.value)) == cluster


def test_a_partition_that_changes(alone, data, tmp_path):
    gone = tmp_path / "gone"
    X = da.from_array(data[0].X, chunks=(2000, 3))
    X = X.map_blocks(lambda block: block[: 1999 if gone.exists() else 2000], dtype=X.dtype, chunks=X.chunks)
    with pytest.raises(SourceError, match="partition 0: it brought 1999 rows, expected 2000"):
        model().fit(X, callback=lambda *_: gone.touch())


def test_what_cannot_be_rows(alone, data):
    X = da.from_array(data[0].X, chunks=(799, 3))
    _, parts = frame(data)
    with pytest.raises(ValueError, match="cut into 3 chunks along its columns"):
        as_source(X.rechunk({1: 1}))
    with pytest.raises(ValueError, match="Expected 2D array"):
        as_source(X[:, 0])
    with pytest.raises(ValueError, match="no column 'q'"):
        as_source(parts, "q")
    with pytest.raises(ValueError, match=r"expected 7 of 1D"):
        as_source(parts[NAMES], parts["w"].repartition(npartitions=2))
    with pytest.raises(TypeError, match="Dask Series or Array, or a column"):
        as_source(parts[NAMES], data[1])
    with pytest.raises(ValueError, match=r"numeric|convert"):
        as_source(dd.from_pandas(pd.DataFrame({"a": ["x", "y"]}), npartitions=1))
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(8012,\), expected \(8011,\)!"):
        as_source(X, da.ones(ROWS + 1, chunks=799))


def test_columns_and_weights_in_other_chunks(alone, data):
    _, parts = frame(data)
    chosen = as_source(parts, "w", columns=["c", "a"])
    assert chosen.columns.tolist() == ["c", "a"]
    X = da.from_array(data[0].X, chunks=(799, 3))
    other = as_source(X, da.from_array(data[1], chunks=777), columns=[2, 0])
    assert_allclose(chosen.sum_w, other.sum_w, rtol=1e-14)
    assert_array_equal(chosen.sample(5, np.random.RandomState(0))[0], other.sample(5, np.random.RandomState(0))[0])


@pytest.mark.slow
def test_example(tmp_path):
    script = ROOT / "scripts" / "dask_fit.py"
    command = [sys.executable, script, "--quick", "--output", tmp_path]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "million rows/s" in (tmp_path / "dask_fit.md").read_text()


def test_kmeans_says_how(alone, data):
    with pytest.raises(TypeError, match=r"assignment='hard', fixed=\('weights',\)\) is k-means"):
        fastem.KMeans(3).fit(da.from_array(data[0].X, chunks=(4000, 3)))
