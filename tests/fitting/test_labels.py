"""Rows whose component is known, or is one of some: discriminant analysis, semi-supervised EM, labels of sources."""

import itertools
import json
import os

import numpy as np
import pytest
from helpers import (
    TYPES,
    assert_close,
    fitted,
    from_params,
    make_mixture,
    make_start,
    parts_of,
    quiet_fit,
    start_params,
    state_bytes,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis

import fastem
from fastem import GaussianMixture, as_source
from fastem.fitting.starts import labels as labels_start
from fastem.model import reference
from fastem.model.remedies.table import REMEDIES
from fastem.sources import blocks

FIELDS = ("loglik", "class_loglik", "entropy", "s0", "s1", "s2")


def mask_of(labels, K):
    """The same as booleans (N, K)."""
    return (labels[:, None] == np.arange(K)) | (labels[:, None] < 0)


def hidden(labels, share, seed=0):
    """Labels of which a share is unknown."""
    return np.where(np.random.default_rng(seed).uniform(size=len(labels)) < share, -1, labels)


@pytest.fixture(scope="module")
def data():
    """600 rows of three components that overlap."""
    return make_mixture(600, 3, 3, spacing=2.5, seed=3)


# ---- the pass ----------------------------------------------------------------------------------------


def test_a_sum_over_all_allowed_assignments():
    """Likelihood and responsibilities by brute force: the sum over all 3**7 that the booleans allow."""
    mixture = make_mixture(7, 2, 3, spacing=2.0, seed=8)
    params = start_params(make_start(mixture, "full"), "full")
    allowed = np.random.default_rng(1).uniform(size=(7, 3)) < 0.6
    allowed[np.arange(7), mixture.labels] = True
    assert 8 < allowed.sum() < 21
    joint, total, counts = reference.joint_log_density(mixture.X, params), 0.0, np.zeros(3)
    for z in itertools.product(range(3), repeat=7):
        if allowed[np.arange(7), z].all():
            p = np.exp(joint[np.arange(7), z].sum())
            total, counts = total + p, counts + p * np.bincount(z, minlength=3)
    stats = fastem.accumulate(mixture.X, params, labels=allowed)
    assert stats.loglik == pytest.approx(np.log(total), rel=1e-12)
    assert_allclose(stats.s0, counts / total, rtol=1e-12)


@pytest.mark.parametrize("covariance", TYPES)
def test_kinds_of_labels_that_say_the_same(data, covariance):
    params = start_params(make_start(data, covariance), covariance)
    labels, options = hidden(data.labels, 0.7), dict(covariance_type=covariance, max_iter=4, tol=0)
    want = fastem.em(data.X, params, labels=labels, **options)
    same = (mask_of(labels, 3), labels.astype("i1"), labels.astype("f4"), labels.tolist(), np.repeat(labels, 2)[::2])
    for given in same:
        assert fastem.em(data.X, params, labels=given, **options).history == want.history
    free = fastem.em(data.X, params, **options).history
    assert free != want.history
    for given in (np.full(600, -1), np.ones((600, 3), dtype=bool)):
        assert fastem.em(data.X, params, labels=given, **options).history == free


def test_weight_is_repetition(data):
    params = start_params(make_start(data, "full"), "full")
    weight, labels = np.random.default_rng(0).integers(0, 4, 600), hidden(data.labels, 0.5)
    a = fastem.accumulate(data.X, params, weight, labels)
    b = fastem.accumulate(np.repeat(data.X, weight, axis=0), params, labels=np.repeat(labels, weight))
    for field in FIELDS:
        assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-10, atol=1e-10, err_msg=field)


@pytest.mark.parametrize("regularization", [None, *REMEDIES])
@pytest.mark.parametrize("covariance", TYPES)
def test_monotone(data, covariance, regularization):
    """The log-likelihood of what is known never falls; the start is far from its end."""
    params = start_params(make_start(data, covariance, shake=3.0), covariance)
    allowed = mask_of(hidden(data.labels, 0.8), 3)
    allowed[:50, 2] &= ~allowed[:50].all(axis=1)
    options = dict(covariance_type=covariance, regularization=regularization, tol=0, max_iter=40)
    history = np.array(fastem.em(data.X, params, labels=allowed, **options).history)
    assert np.diff(history).min() > -1e-12
    assert history[-1] - history[0] > 0.1


# ---- all rows labelled -------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_all_labels_are_one_m_step(data, covariance_type, weighted):
    weight = np.random.default_rng(0).integers(0, 3, 600) if weighted else None
    model = GaussianMixture(3, covariance_type=covariance_type, reg_covar=0.0)
    model.fit(data.X + 1e6, sample_weight=weight, labels=data.labels)
    w = np.ones(600) if weight is None else weight
    mass = np.bincount(data.labels, w)
    assert_allclose(model.weights_, mass / mass.sum(), rtol=1e-12)
    rows = [(data.X[data.labels == k], w[data.labels == k]) for k in range(3)]
    assert_allclose(model.means_ - 1e6, [np.average(x, axis=0, weights=v) for x, v in rows], rtol=1e-7, atol=1e-8)
    each = np.array([np.cov(x.T, aweights=v, bias=True) for x, v in rows])
    want = {
        "full": each,
        "tied": np.average(each, axis=0, weights=mass),
        "diag": np.diagonal(each, axis1=1, axis2=2),
        "spherical": np.diagonal(each, axis1=1, axis2=2).mean(axis=1),
    }[covariance_type]
    assert_allclose(model.covariances_, want, rtol=1e-7, atol=1e-8)
    assert (model.converged_, model.n_iter_) == (True, 1)
    joint = model._estimate_weighted_log_prob(data.X + 1e6)[np.arange(600), data.labels]
    assert model.lower_bounds_ == [pytest.approx(np.average(joint, weights=w), rel=1e-9)]


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_discriminant_analysis(data, covariance_type):
    """Against scikit-learn's, whose divisor may be another: here N_k, or N."""
    model = GaussianMixture(3, covariance_type=covariance_type, reg_covar=0.0).fit(data.X, labels=data.labels)
    if covariance_type == "full":
        peer = QuadraticDiscriminantAnalysis(store_covariance=True).fit(data.X, data.labels)
    else:
        peer = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(data.X, data.labels)
    assert_allclose(model.means_, peer.means_, rtol=1e-12)
    assert_allclose(model.weights_, peer.priors_, rtol=1e-12)
    n = np.bincount(data.labels)
    divisor = n if np.allclose(peer.covariance_, model.covariances_, rtol=1e-6) else n - 1
    covariances = model.covariances_
    if covariance_type == "full":
        covariances = covariances * (n / divisor)[:, None, None]
    assert_allclose(covariances, peer.covariance_, rtol=1e-10)
    same = GaussianMixture.from_parameters(peer.priors_, peer.means_, np.array(peer.covariance_), covariance_type)
    assert_allclose(same.predict_proba(data.X), peer.predict_proba(data.X), rtol=1e-9, atol=1e-12)
    assert_allclose(model.predict_proba(data.X), peer.predict_proba(data.X), atol=0.02)
    assert model.score(data.X) < 0  # of the mixture: predict and score know of no labels


@pytest.mark.parametrize("regularization", [None, *REMEDIES])
def test_nothing_is_left_to_em(data, regularization):
    """The parameters are a fixed point; starts, warm_start and n_init change nothing."""
    options = dict(regularization=regularization)
    model = GaussianMixture(3, **options).fit(data.X, labels=data.labels)
    again = fastem.em(data.X, model.params_, labels=data.labels, tol=1e-10, reg_covar=0 if regularization else 1e-6,
                      **options)  # fmt: skip
    assert again.n_iter == 2
    assert_close(from_params(again.params), fitted(model), 1e-9)
    start = make_start(data, "full")
    other = GaussianMixture(3, n_init=3, init_params="random", warm_start=True, **options, **start)
    for _ in range(2):
        other.fit(data.X, labels=data.labels)
        assert state_bytes(other) == state_bytes(model)
        assert len(other.fit_report_.starts) == 1
    assert GaussianMixture(3, max_iter=0).fit(data.X, labels=data.labels).n_iter_ == 0
    if regularization is None:
        other = GaussianMixture(3, solver="lbfgs").fit(data.X, labels=data.labels)
        assert (other.n_iter_, other.converged_) == (1, True)
        assert_close(fitted(other), fitted(model), 1e-10)


def test_labels_of_unequal_lengths_are_refused():
    for labels in ([[0, 1], [1], [0]], [[True, False], [True], [True]]):
        with pytest.raises(ValueError, match=r"labels must be 3 integers, .* got rows of unequal lengths"):
            GaussianMixture(2).fit(np.arange(6.0).reshape(3, 2), labels=labels)


def test_rows_without_a_weight_need_no_label(data):
    labels = hidden(data.labels, 0.3)
    a = GaussianMixture(3).fit(data.X, sample_weight=labels >= 0, labels=labels)
    b = GaussianMixture(3).fit(data.X[labels >= 0], labels=labels[labels >= 0])
    assert a.n_iter_ == 1
    assert_close(fitted(a), fitted(b), 1e-10)


def test_few_rows_of_a_label(data):
    """What becomes of a component that its rows do not determine is the remedy's business."""
    keep = np.concatenate([np.flatnonzero(data.labels > 0), np.flatnonzero(data.labels == 0)[:2]])
    X, labels = data.X[keep], data.labels[keep]
    with pytest.raises(fastem.SingularCovarianceError, match="Singular: component 0"):
        GaussianMixture(3, reg_covar=0.0).fit(X, labels=labels)
    assert np.linalg.eigvalsh(GaussianMixture(3).fit(X, labels=labels).covariances_[0])[0] == pytest.approx(1e-6)
    for name in REMEDIES:
        model = GaussianMixture(3, regularization=name).fit(X, labels=labels)
        assert model.n_iter_ == 1
        assert [event.components for event in model.fit_report_.starts[0].events] == [(0,)]


# ---- some rows labelled ------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("n_labels", [1, 30])
def test_component_k_is_label_k(covariance_type, n_labels):
    """From a label or from 30 of each component: its number is the label, whatever that is."""
    mixture = make_mixture(2000, 3, 4, spacing=6.0, seed=2)
    truth = GaussianMixture(4, covariance_type=covariance_type).fit(mixture.X, labels=mixture.labels)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        true = np.array(order)[mixture.labels]
        labels = np.full(2000, -1)
        for k in range(4):
            labels[np.flatnonzero(true == k)[:n_labels]] = k
        model = GaussianMixture(4, covariance_type=covariance_type, tol=1e-6).fit(mixture.X, labels=labels)
        assert model.converged_
        assert model.n_iter_ > 1
        assert_allclose(model.means_[order], truth.means_, atol=0.1)
        assert (model.predict(mixture.X) == true).mean() > 0.98


def test_enough_labels_give_the_start_its_shape():
    """Long clusters side by side, which k-means cuts across, even with centres of labelled rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)) * [20.0, 1.0]
    true = np.arange(2000) % 2
    X[:, 1] += 6.0 * true
    labels = np.where(np.arange(2000) < 40, true, -1)
    model = quiet_fit(GaussianMixture(2, max_iter=2), X, labels=labels)
    assert (model.predict(X) == true).mean() > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_components_without_a_label(seed):
    """Two of five have labels; the others are found, and numbered by their first coordinate."""
    mixture = make_mixture(3000, 2, 5, spacing=12.0, seed=4)
    labels = np.full(3000, -1)
    for k, label in ((3, 1), (0, 4)):
        labels[np.flatnonzero(mixture.labels == k)[:5]] = label
    model = GaussianMixture(5, random_state=seed).fit(mixture.X, labels=labels)
    assert_allclose(model.means_[[1, 4]], mixture.means[[3, 0]], atol=0.2)
    others = mixture.means[[1, 2, 4]]
    assert_allclose(model.means_[[0, 2, 3]], others[others[:, 0].argsort()], atol=0.2)


def test_another_solver_climbs_the_same_hill(data):
    labels = hidden(data.labels, 0.8)
    a, b = (GaussianMixture(3, solver=solver, tol=1e-10, max_iter=500, reg_covar=0.0) for solver in ("em", "lbfgs"))
    assert a.fit(data.X, labels=labels).lower_bound_ == pytest.approx(b.fit(data.X, labels=labels).lower_bound_, 1e-7)
    assert a.lower_bound_ != GaussianMixture(3, tol=1e-10, max_iter=500).fit(data.X).lower_bound_
    assert_close(fitted(a), fitted(b), 1e-2)


def test_rows_that_may_belong_to_some():
    """No row is known, but of which pair of components each is: the pairs have the numbers that they were given."""
    mixture = make_mixture(2000, 2, 4, spacing=10.0, seed=6)
    pair = mixture.labels // 2
    allowed = np.stack([pair == 1, pair == 0, pair == 0, pair == 1], axis=1)
    model = GaussianMixture(4, random_state=0).fit(mixture.X, labels=allowed)
    found = model.predict(mixture.X)
    assert (allowed[np.arange(2000), found]).all()
    for k in range(4):
        assert len(np.unique(mixture.labels[found == k])) == 1


@pytest.mark.parametrize("seed", range(5))
def test_centres_of_components_without_a_label(monkeypatch, seed):
    """Each starts at a row that may belong to it; those at the mean of labelled rows stay there."""
    mixture = make_mixture(500, 2, 4, spacing=3.0, seed=6)
    allowed = np.random.default_rng(seed).uniform(size=(500, 4)) < 0.3
    allowed[np.arange(500), mixture.labels] = True
    seeded, centres = np.array([False, True, False, False]), mixture.means + 0.5
    source, rng = as_source(mixture.X, labels=allowed), np.random.RandomState(seed)
    assert_array_equal(labels_start.unlabelled_centres(source, centres, seeded, rng)[1], centres[1])
    monkeypatch.setattr(labels_start, "LABELLED_LLOYD", 0)
    found = labels_start.unlabelled_centres(source, centres, seeded, rng)
    for k in (0, 2, 3):
        (row,) = np.flatnonzero((found[k] == mixture.X).all(axis=1))
        assert allowed[row, k]


def test_labels_that_a_sample_of_the_rows_misses(monkeypatch):
    monkeypatch.setattr(labels_start, "SEED_ROWS", 300)
    mixture = make_mixture(20_000, 2, 3, spacing=10.0, seed=7)
    labels = np.full(20_000, -1)
    labels[[np.flatnonzero(mixture.labels == k)[0] for k in (2, 0)]] = [0, 1]
    model = GaussianMixture(3, random_state=0).fit(mixture.X, labels=labels)
    assert_allclose(model.means_, mixture.means[[2, 0, 1]], atol=0.2)


def test_labels_overrule_the_density():
    """Labels that cut one cluster in two halves along no gap."""
    X = np.random.default_rng(0).normal(size=(1000, 2))
    labels = np.where(X[:, 0] > 0, 1, 0)
    model = GaussianMixture(2).fit(X, labels=hidden(labels, 0.1))
    assert_allclose(model.means_[:, 0], [-0.8, 0.8], atol=0.1)


@pytest.mark.parametrize("kind", ["labels", "mask"])
def test_order_of_rows_does_not_matter(data, kind):
    labels = np.where(data.labels == 1, hidden(data.labels, 0.99), -1)
    given = mask_of(labels, 3) if kind == "mask" else labels
    order = np.random.default_rng(5).permutation(600)
    a = GaussianMixture(3, random_state=0).fit(data.X, labels=given)
    b = GaussianMixture(3, random_state=0).fit(data.X[order], labels=given[order])
    assert_close(fitted(a), fitted(b), 1e-8)


def test_parts_of_the_start_that_are_given(data):
    labels, start = hidden(data.labels, 0.9), make_start(data, "full")
    model = quiet_fit(GaussianMixture(3, max_iter=1, reg_covar=0.0, **start), data.X, labels=labels)
    params = start_params(start, "full")
    want = fastem.m_step(fastem.accumulate(data.X, params, labels=labels))
    assert_close(fitted(model), from_params(want), 1e-10)


def test_y_is_ignored(data):
    a, b = (GaussianMixture(3, random_state=0).fit(data.X, y) for y in (None, data.labels))
    assert state_bytes(a) == state_bytes(b)


def test_with_noise(data):
    """A labelled row is no noise, and one that may be any component may be noise."""
    X = np.concatenate([data.X, np.random.default_rng(0).uniform(-40, 40, (60, 3))])
    labels = np.append(hidden(data.labels, 0.5), np.full(60, -1))
    model = GaussianMixture(3, noise=True, random_state=0).fit(X, labels=labels)
    assert (model.predict(X)[600:] == -1).mean() > 0.8
    assert_allclose(model.means_, data.means, atol=0.4)
    same = GaussianMixture(3, noise=True, random_state=0).fit(X, labels=mask_of(labels, 3))
    assert state_bytes(same) == state_bytes(model)
    labels = np.append(data.labels, np.full(60, 1))
    all_known = quiet_fit(GaussianMixture(3, noise=True, max_iter=5, tol=0.0), X, labels=labels)
    assert all_known.noise_weight_ == 0.0
    assert all_known.lower_bound_ == pytest.approx(GaussianMixture(3).fit(X, labels=labels).lower_bound_, rel=1e-12)


def test_reseeding_keeps_to_labels():
    """A component that loses its rows takes half of another: its labelled rows stay its own."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(200, 1)), rng.normal(8, 1, (200, 1)), [[-60.0]]])
    labels = np.full(401, -1)
    labels[400] = 2
    model = GaussianMixture(3, regularization="map", random_state=0).fit(X, labels=labels)
    assert "reseeded  2" in str(model.fit_report_)
    assert model.means_[2, 0] < -50
    assert model.lower_bound_ >= model.lower_bounds_[1]


# ---- threads, checkpoints, the command line ----------------------------------------------------------


def test_threads_do_not_change_bits(data):
    X, labels = np.tile(data.X, (60, 1)), np.tile(hidden(data.labels, 0.9), 60)
    a, b = (GaussianMixture(3, n_threads=n, max_iter=3, tol=0.0) for n in (1, 2))
    assert state_bytes(quiet_fit(a, X, labels=labels)) == state_bytes(quiet_fit(b, X, labels=labels))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_checkpoint_is_of_its_labels(data, tmp_path, share):
    labels, path = hidden(data.labels, share), tmp_path / "c.npz"

    def fit(labels, **options):
        return GaussianMixture(3, n_init=2, random_state=0).fit(data.X, labels=labels, checkpoint=path, **options)

    stopped = fit(labels, callback=lambda *_: True)
    assert stopped.status_ is fastem.Status.INTERRUPTED
    resumed = fit(labels)
    assert state_bytes(resumed) == state_bytes(GaussianMixture(3, n_init=2, random_state=0).fit(data.X, labels=labels))
    assert state_bytes(fit(labels)) == state_bytes(resumed)
    other = labels.copy()
    other[other >= 0] = np.roll(other[other >= 0], 1)
    for given in (None, other):
        with pytest.raises(ValueError, match="checkpoint of another fit, with labels"):
            fit(given)


def test_a_checkpoint_knows_labels_that_its_sample_misses(tmp_path):
    X = make_mixture(50_000, 1, 2).X
    labels = np.full(50_000, -1)
    labels[[0, 1, 49_999]] = [0, 1, 1]
    GaussianMixture(2, max_iter=1, tol=1e300).fit(
        X, labels=labels, checkpoint=tmp_path / "c.npz", callback=lambda *_: True
    )
    labels[49_999] = 0
    with pytest.raises(ValueError, match="checkpoint of another fit, with labels"):
        GaussianMixture(2, max_iter=1, tol=1e300).fit(X, labels=labels, checkpoint=tmp_path / "c.npz")


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_the_command_line(data, tmp_path, ending):
    testing = pytest.importorskip("typer.testing")
    from fastem import cli

    labels = hidden(data.labels, 0.9)
    table = np.column_stack([labels, data.X, np.arange(600) % 3])
    names = ["known", "a", "b", "c", "w"]
    if ending == "npy":
        np.save(tmp_path / "t.npy", table)
    elif ending == "csv":
        np.savetxt(tmp_path / "t.csv", table, delimiter=",", header=",".join(names), comments="")
    else:
        pq = pytest.importorskip("pyarrow.parquet")
        import pyarrow as pa

        pq.write_table(pa.table(dict(zip(names, table.T, strict=True))), tmp_path / "t.parquet")
    known, weight = ("0", "4") if ending == "npy" else ("known", "w")
    command = ["fit", str(tmp_path / f"t.{ending}"), "-k", "3", "--labels", known, "--weights", weight]
    done = testing.CliRunner().invoke(cli.app, [*command, "-o", str(tmp_path / "m.npz")])
    assert done.exit_code == 0, done.output
    want = fastem.fit(data.X, 3, sample_weight=np.arange(600) % 3, labels=labels)
    assert_close(fitted(fastem.load(tmp_path / "m.npz")), fitted(want), 1e-9)
    assert json.loads(json.dumps(os.listdir(tmp_path))).count("m.npz") == 1


# ---- labels of sources -------------------------------------------------------------------------------


class Sliced:
    """Something that slices like an array and is none."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self.array[rows]


def memory_map(X, weight, labels, folder):
    np.save(folder / "X.npy", X)
    return as_source(folder / "X.npy", weight, labels)


def sliced(X, weight, labels, folder):
    return as_source(Sliced(X), None if weight is None else Sliced(weight), Sliced(labels))


def hdf5(X, weight, labels, folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "X.h5", "w") as file:
        file["X"], file["labels"] = X, labels
        file.create_dataset("chunked", data=X, chunks=(1000, X.shape[1]))
    file = h5py.File(folder / "X.h5")
    return as_source(file["chunked"], weight, file["labels"])


def zarr_array(X, weight, labels, folder):
    zarr = pytest.importorskip("zarr")
    arrays = []
    for name, array in (("X", X), ("labels", labels)):
        made = zarr.create_array(folder / name, shape=array.shape, chunks=(777, *array.shape[1:]), dtype=array.dtype)
        made[:] = array
        arrays.append(made)
    return as_source(arrays[0], weight, arrays[1])


def parquet(X, weight, labels, folder):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"label": labels} | {f"x{j}": column for j, column in enumerate(X.T)}
    if weight is not None:
        columns["w"] = weight
    pq.write_table(pa.table(columns), folder / "X.parquet", row_group_size=3000)
    return as_source(folder / "X.parquet", None if weight is None else "w", "label")


def function(*sizes):
    def make(X, weight, labels, folder):
        def blocks():
            for part in parts_of(len(X), sizes):
                yield X[part], None if weight is None else weight[part], labels[part]

        return as_source(blocks)

    return make


SOURCES = {
    "memory map": memory_map,
    "slices": sliced,
    "HDF5": hdf5,
    "Zarr": zarr_array,
    "Parquet": parquet,
    "function, by 1": function(100, 1, 0, 7),
    "function, at once": function(10**9),
}


@pytest.fixture(scope="module")
def many():
    """20,011 rows, of which one in a hundred has a label: of three components of four."""
    mixture = make_mixture(20_011, 3, 4, spacing=4.0)
    labels = hidden(np.where(mixture.labels == 2, -1, mixture.labels), 0.99)
    return mixture.X, np.random.default_rng(0).uniform(-0.25, 1.0, size=20_011).clip(0), labels


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "mask"])
@pytest.mark.parametrize("name", SOURCES)
def test_the_bytes_of_an_array(many, name, kind, weighted, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "rows_at_once", lambda n_features: 5000)  # blocks end within what readers give
    X, weight, labels = many
    weight = weight if weighted else None
    given = mask_of(labels, 4) if kind == "mask" else labels
    if kind == "mask" and name == "Parquet":
        pytest.skip("a column holds integers")
    source = SOURCES[name](X, weight, given, tmp_path)
    options = dict(random_state=0, max_iter=3)
    got = quiet_fit(GaussianMixture(4, **options), source)
    want = quiet_fit(GaussianMixture(4, **options), X, sample_weight=weight, labels=given)
    assert state_bytes(got) == state_bytes(want)
    assert_array_equal(got.predict(source), want.predict(X))
    stats = fastem.accumulate(source, want.params_)
    assert stats.loglik == fastem.accumulate(X, want.params_, weight, given).loglik


def test_a_stream_with_labels(data):
    """Stepwise EM on blocks that bring labels."""
    model = GaussianMixture(3, random_state=0).fit(data.X, labels=data.labels)
    for start in range(0, 600, 200):
        part = slice(start, start + 200)
        model.partial_fit(as_source(data.X[part], labels=data.labels[part]))
    assert_allclose(model.means_, data.means, atol=0.3)


# ---- what is refused ---------------------------------------------------------------------------------


def changed(array, row, value):
    array = np.array(array)
    array[row] = value
    return array


TWO = np.arange(600) % 3
BAD = {
    "too few": (lambda: TWO[1:], r"labels must be 600 integers, .* got shape \(599,\)"),
    "a column": (lambda: TWO[:, None], r"labels must be 600 integers, .* got shape \(600, 1\), dtype int64"),
    "text": (lambda: TWO.astype(str), "labels must be 600 integers, .* dtype <U"),
    "objects": (lambda: TWO.astype(object), "labels must be 600 integers, .* dtype object"),
    "booleans": (lambda: TWO > 0, "labels must be 600 integers, .* dtype bool"),
    "scalar": (lambda: 3, r"labels must be 600 integers, .* got shape \(\)"),
    "masked": (lambda: np.ma.masked_equal(TWO, 2), "labels has masked entries"),
    "fractions": (lambda: changed(TWO + 0.0, 7, 1.5), "row 7 has label 1.5, expected an integer"),
    "NaN": (lambda: changed(TWO + 0.0, 8, np.nan), "row 8 has label nan, expected an integer"),
    "-2": (lambda: changed(TWO, 9, -2), "row 9 has label -2, expected an integer from 0 on, or -1 for unknown"),
    "2**63": (lambda: changed(TWO.astype("u8"), 5, 2**63), "row 5 has label 9223372036854775808"),
    "K": (lambda: changed(TWO, 500, 3), r"labels must lie in -1\.\.2, for 3 components; found 3 in row 500"),
    "four columns": (lambda: np.ones((600, 4), dtype=bool), "labels with 4 columns, for 3 components"),
    "no component": (lambda: changed(np.ones((600, 3), dtype=bool), 77, False), "row 77 may belong to no component"),
    "integers by column": (lambda: np.ones((600, 3), dtype=int), r"got shape \(600, 3\), dtype int64"),
}
CALLS = {
    "fit": lambda X, labels: GaussianMixture(3).fit(X, labels=labels),
    "em": lambda X, labels: fastem.em(X, PARAMS, labels=labels),
    "accumulate": lambda X, labels: fastem.accumulate(X, PARAMS, labels=labels),
    "slices": lambda X, labels: GaussianMixture(3).fit(as_source(Sliced(X), labels=labels)),
}
PARAMS = start_params(make_start(make_mixture(600, 3, 3, spacing=2.5, seed=3), "full"), "full")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_labels(data, bad, call):
    make, words = BAD[bad]
    if bad == "masked" and call == "slices":
        pytest.skip("a mask is of arrays in memory")
    with pytest.raises(ValueError, match=words):
        CALLS[call](data.X, make())


def test_bad_sources(data):
    X, labels = data.X, data.labels
    model = GaussianMixture(3, random_state=0)
    cases = [
        ("a source has its own weights, labels", lambda: model.fit(as_source(X), labels=labels)),
        ("yields its weights with the rows, as tuples", lambda: as_source(lambda: [X], labels=labels)),
        ("expected labels as in the first block", lambda: model.fit(lambda: [(X, None, labels), X])),
        ("expected labels in no block", lambda: model.fit(lambda: [X, (X, None, labels)])),
        ("labels must be 600 integers", lambda: model.fit(lambda: [(X, None, labels), (X, None, labels[1:])])),
        ("expected labels as in the first", lambda: model.fit(lambda: [(X, None, labels), (X, None, X > 0)])),
        ("row 607 has label -5", lambda: model.fit(lambda: [(X, None, labels), (X, None, changed(labels, 7, -5))])),
        ("got 5 parts", lambda: model.fit(lambda: [(X, None, labels, None, None)])),
        ("found 7 in row 606", lambda: model.fit(lambda: [(X, None, labels), (X, None, changed(labels, 6, 7))])),
    ]  # fmt: skip
    for words, call in cases:
        with pytest.raises((ValueError, OSError), match=words):
            call()


def test_refused(data):
    X, labels = data.X, data.labels
    with pytest.raises(ValueError, match=r"none \(of positive weight\) has label 3"):
        GaussianMixture(4).fit(X, labels=labels)
    with pytest.raises(ValueError, match=r"none \(of positive weight\) has label 1"):
        GaussianMixture(3).fit(X, sample_weight=labels != 1, labels=labels)
    for call in (
        lambda: GaussianMixture(3, regularization="map", on_collapse="drop").fit(X, labels=labels),
        lambda: fastem.em(X, PARAMS, regularization="map", on_collapse="drop", labels=labels),
    ):
        with pytest.raises(ValueError, match="on_collapse='drop' does not work with labels: the components"):
            call()
