"""Choosing the number of components and the covariance type."""

import json
import pickle
import sys

import numpy as np
import pytest
import scipy.stats
import sklearn.mixture
from helpers import ALL, FAMILIES, GOLDEN, from_params, make_mixture

import fastem
from fastem import GaussianMixture
from fastem.estimators.selecting import best, folds
from fastem.estimators.selecting.best import SOUND, Fit
from fastem.estimators.selecting.folds import Rows
from fastem.estimators.selecting.selection import Candidate, Fold
from fastem.model import families
from fastem.model.families import COVARIANCES
from fastem.sources.blocks import ArraySource

MCLUST = {
    "VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical", "EEI": "tied_diag", "EII": "tied_spherical",
}  # fmt: skip


@pytest.fixture(scope="module")
def faithful():
    return fastem.load_faithful()[0]


def numbers(selection):
    """All of the table but the times."""
    return [(*candidate[:-1],) for candidate in selection.candidates]


# ---- against mclust ----------------------------------------------------------------------------------


def _golden(name):
    """mclust's BIC, in scikit-learn's sign, by our (covariance type, K): None where it gave up; and its starts."""
    entries = json.loads((GOLDEN / "fits" / f"{name}.json").read_text())
    entries = [entry for entry in entries if entry["model"] in MCLUST]
    bic = {(MCLUST[e["model"]], e["G"]): e.get("bic_sklearn") for e in entries}
    starts = {K: np.loadtxt(GOLDEN / "init" / f"{name}_G{K}.csv", skiprows=1, dtype=int) - 1 for K in range(1, 7)}
    return bic, starts


@pytest.mark.parametrize("name", ["faithful", pytest.param("iris", marks=pytest.mark.slow)])
def test_from_mclusts_starts_its_table_and_order(name):
    X = np.loadtxt(GOLDEN / "data" / f"{name}.csv", delimiter=",", skiprows=1)
    want, starts = _golden(name)
    types = list(dict.fromkeys(covariance for covariance, _ in want))
    found = fastem.select(X, range(1, 7), types, partitions=starts, reg_covar=0.0, tol=1e-11, max_iter=10_000)
    for candidate in found.candidates:
        bic = want[candidate.covariance_type, candidate.n_components]
        assert (candidate.status in SOUND) == (bic is not None), candidate
        if bic is not None:
            assert candidate.bic == pytest.approx(bic, rel=0, abs=1e-4)
    fitted = {key: bic for key, bic in want.items() if bic is not None}
    # By value, not by name: with one component full and tied, diag and tied_diag, ... are the same model.
    order = [fitted[one.covariance_type, one.n_components] for one in found.ranked()]
    assert order == sorted(order)
    assert found.best_params_ == dict(
        zip(("covariance_type", "n_components"), min(fitted, key=fitted.get), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "sizes"), [("faithful", [2, 3]), ("diabetes", [3]), pytest.param("iris", [2, 3], marks=pytest.mark.slow)]
)
def test_all_fourteen_from_mclusts_starts(name, sizes):
    """Its BIC and order; the BIC of its VVE is larger, as its M-steps end before their maximum."""
    X = np.loadtxt(GOLDEN / "data" / f"{name}.csv", delimiter=",", skiprows=1)
    entries = json.loads((GOLDEN / "fits" / f"{name}.json").read_text())
    want = {(e["model"], e["G"]): e["bic_sklearn"] for e in entries if e["G"] in sizes}
    found = fastem.select(X, sizes, "mclust", partitions=_golden(name)[1], reg_covar=0.0, tol=1e-11, max_iter=10_000)
    assert {(one.covariance_type, one.n_components) for one in found.candidates} == {*want}
    assert all(one.status in SOUND for one in found.candidates)
    ranked = [(one.covariance_type, one.n_components, one.bic) for one in found.ranked()]
    for covariance, K, bic in ranked:
        gain = want[covariance, K] - bic
        assert 0.1 < gain < 7 if covariance == "VVE" else abs(gain) < 1e-4, (covariance, K, gain)
    order = [want[covariance, K] for covariance, K, _ in ranked if covariance != "VVE"]
    assert order == sorted(order)


def test_mclust_is_the_name_of_fourteen(faithful):
    found = fastem.select(faithful, 1, ["full", "mclust", "VVV"], random_state=0)
    types = [one.covariance_type for one in found.candidates]
    assert types == ["full", *families.MCLUST]
    with pytest.raises(ValueError, match="'covariance_type' parameter"):
        fastem.select(faithful, 1, "mclus")


@pytest.mark.parametrize("seed", range(2))
def test_from_its_own_starts_it_chooses_as_mclust(faithful, seed):
    """Under the remedy of mclust's prior: EEE 3, EEE 4, VVV 2."""
    found = fastem.select(faithful, range(1, 6), regularization="map", tol=1e-6, max_iter=2000, random_state=seed)
    order = [(one.covariance_type, one.n_components) for one in found.ranked()]
    assert order[:3] == [("tied", 3), ("tied", 4), ("full", 2)]


# ---- the criteria ------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ALL)
def test_criteria(two, covariance):
    found = fastem.select(two.X, [1, 3], covariance, random_state=0)
    for candidate in found.candidates:
        model = found.models[covariance, candidate.n_components]
        n, p = len(two.X), candidate.n_parameters
        joint = model._estimate_weighted_log_prob(two.X)
        assert candidate.log_likelihood == pytest.approx(model.score(two.X), rel=1e-12)
        assert candidate.bic == pytest.approx(model.bic(two.X), rel=1e-12)
        assert candidate.aic == pytest.approx(model.aic(two.X), rel=1e-12)
        assert candidate.icl == pytest.approx(-2 * joint.max(axis=1).sum() + p * np.log(n), rel=1e-12)
        assert candidate.icl >= candidate.bic
        assert candidate.n_iter == model.n_iter_
        if covariance in ("full", "tied", "diag", "spherical"):
            peer = sklearn.mixture.GaussianMixture(candidate.n_components, covariance_type=covariance)
            peer._set_parameters(model._get_parameters())
            assert candidate.bic == pytest.approx(peer.bic(two.X), rel=1e-9)


def test_each_criterion_chooses_by_its_own(faithful):
    options = dict(covariance_types=["full", "tied"], regularization="map", random_state=0, tol=1e-4, max_iter=1000)
    table = {name: fastem.select(faithful, range(1, 5), criterion=name, **options) for name in ("bic", "aic", "icl")}
    for name, found in table.items():
        least = min(found.candidates, key=lambda one, name=name: getattr(one, name))
        assert found.best_params_ == {"covariance_type": least.covariance_type, "n_components": least.n_components}
    assert len({str(found.best_params_) for found in table.values()}) == 3  # each another one, on these data


def test_weights_are_repetitions(faithful):
    weight = np.random.default_rng(0).integers(0, 3, len(faithful))
    options = dict(n_components=[1, 2], covariance_types=["full", "diag"], random_state=0, tol=1e-8)
    weighted = fastem.select(faithful, sample_weight=weight.astype(float), **options)
    repeated = fastem.select(np.repeat(faithful, weight, axis=0), **options)
    for a, b in zip(weighted.candidates, repeated.candidates, strict=True):
        np.testing.assert_allclose(a[3:8], b[3:8], rtol=1e-9)


def test_names_of_columns(faithful):
    import pandas

    frame = pandas.DataFrame(np.tile(faithful, (40, 1)), columns=["eruptions", "waiting"])
    for X in (frame[:272], frame):  # as they are, and through a sample
        found = fastem.select(X, 2, "diag", random_state=0, criterion="cv", cv=2)
        assert list(found.best_.feature_names_in_) == ["eruptions", "waiting"]


def test_best_is_a_fit(faithful):
    found = fastem.select(faithful, [2], "tied", random_state=3, tol=1e-5, reg_covar=1e-6)
    want = GaussianMixture(2, covariance_type="tied", random_state=3, tol=1e-5, init_params="auto")
    assert found.best_.get_params() == want.get_params()
    np.testing.assert_array_equal(found.best_.means_, want.fit(faithful).means_)


# ---- cross-validation --------------------------------------------------------------------------------


def test_held_out_likelihood(faithful):
    """Of one Gaussian: that of its maximum-likelihood estimate on the other rows."""
    folds = np.random.default_rng(1).integers(0, 4, len(faithful))
    found = fastem.select(faithful, 1, "full", criterion="cv", cv=folds, reg_covar=0.0)
    pairs = []
    for fold in range(4):
        train, test = faithful[folds != fold], faithful[folds == fold]
        normal = scipy.stats.multivariate_normal(train.mean(axis=0), np.cov(train.T, bias=True))
        pairs.append([normal.logpdf(train).mean(), normal.logpdf(test).mean()])
    (one,) = found.candidates
    np.testing.assert_allclose([one.train, one.test], np.mean(pairs, axis=0), rtol=1e-12)
    want = scipy.stats.sem(pairs, axis=0)
    np.testing.assert_allclose([one.train_error, one.test_error], want, rtol=1e-10)


def test_overfitting_shows():
    X = make_mixture(300, 3, 2, spacing=5.0, seed=3).X
    found = fastem.select(X, range(1, 5), "full", criterion="cv", random_state=0)
    assert found.best_params_["n_components"] == 2
    train, test = (np.array([getattr(one, name) for one in found.candidates]) for name in ("train", "test"))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test)[1:] < 0).all()


def test_folds_are_dealt_evenly_and_at_random(faithful):
    order = np.argsort(faithful[:, 0])  # contiguous folds of sorted rows would have another likelihood
    found = fastem.select(faithful[order], 1, "full", criterion="cv", random_state=0)
    other = fastem.select(faithful[order], 1, "full", criterion="cv", random_state=1)
    assert abs(found.candidates[0].train - found.candidates[0].test) < 0.1
    assert found.candidates[0].test != other.candidates[0].test
    assert numbers(found) == numbers(fastem.select(faithful[order], 1, "full", criterion="cv", random_state=0))


def test_a_fold_sees_nothing_of_its_rows(faithful):
    """Neither its rows nor the fit to all rows have a part in its fits."""
    keep = np.arange(len(faithful)) % 3 != 0
    other = np.where(keep[:, None], faithful, faithful[::-1] * 1.1)
    fits = []
    for X in (faithful, other):
        part = Fold(Rows(ArraySource(X), None), keep)
        fits.append([part.fit(GaussianMixture(K, random_state=0))[0].model for K in (1, 2, 3)])
    for one, same in zip(*fits, strict=True):
        np.testing.assert_array_equal(one.means_, same.means_)


def test_rows_from_elsewhere(faithful, tmp_path):
    """A memory map and a function: as rows in memory, to rounding."""
    np.save(tmp_path / "X.npy", faithful)
    weight = np.random.default_rng(2).integers(0, 3, len(faithful)).astype(float)

    def blocks():
        for start in range(0, len(faithful), 100):
            yield faithful[start : start + 100], weight[start : start + 100]

    sources = {
        "memory": fastem.as_source(faithful, weight),
        "map": fastem.as_source(tmp_path / "X.npy", weight),
        "function": fastem.as_source(blocks),
    }
    options = dict(n_components=[1, 2, 3], covariance_types="diag", criterion="cv", cv=3, random_state=0)
    found = {name: fastem.select(source, **options) for name, source in sources.items()}
    for name in ("map", "function"):
        for a, b in zip(found["memory"].candidates, found[name].candidates, strict=True):
            np.testing.assert_allclose(a[3:12], b[3:12], rtol=1e-9)


def test_cross_validation_needs_blocks(faithful):
    class Elsewhere:
        """What follows the protocol of sources, and no more."""

        columns = None

        def __init__(self):
            self.own = ArraySource(faithful)
            self.n_features, self.n_rows, self.n_present = 2, 272, 272
            self.sum_w, self.dtype = 272.0, self.own.dtype

        def reduce(self, *args):
            return self.own.reduce(*args)

        def for_each(self, *args):
            return self.own.for_each(*args)

        def sample(self, *args):
            return self.own.sample(*args)

    assert fastem.select(Elsewhere(), [1, 2], "tied", random_state=0).best_params_["n_components"] == 2
    with pytest.raises(ValueError, match="block by block; got a Elsewhere"):
        fastem.select(Elsewhere(), [1, 2], "tied", criterion="cv")


# ---- starts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", FAMILIES)
def test_a_split_of_the_fit_before_competes(covariance):
    """Six blobs of which k-means' seeds may miss some: never worse than the own start, sometimes much better."""
    X = make_mixture(2000, 2, 8, spacing=6.0, seed=4).X
    options = dict(covariance_type=covariance, random_state=0, init_params="random_from_data")
    found = fastem.select(X, range(1, 9), covariance, random_state=0, init_params="random_from_data", reg_covar=1e-6)
    own = np.array([GaussianMixture(K, **options).fit(X).score(X) for K in range(1, 9)])
    gain = np.array([one.log_likelihood for one in found.candidates]) - own
    assert gain[0] == pytest.approx(0.0, abs=1e-12)
    assert gain.min() > -2e-3  # the bounds that are compared are those before the last M-step
    assert gain.max() > 0.02


def test_starts_are_found_on_a_sample_of_many_rows():
    """The fit itself is to all rows."""
    mixture = make_mixture(12_000, 2, 4, spacing=6.0, seed=4)
    found = fastem.select(mixture.X, range(1, 6), "full", random_state=0)
    assert found.best_params_["n_components"] == 4
    start = fastem.make_params(mixture.weights, mixture.means, mixture.covariances)
    want = fastem.em(mixture.X, start, tol=1e-9, max_iter=1000)
    assert found.best_.score(mixture.X) == pytest.approx(want.loglik / 12_000, rel=0, abs=1e-3)
    assert sum(found.best_.weights_) == pytest.approx(1.0)
    assert found.ranked()[0].n_parameters == 23
    assert found.ranked()[0].n_iter < 8  # it has converged on the sample


def test_where_no_fit_to_the_sample_is_sound_all_rows_have_their_own_start(monkeypatch):
    X = make_mixture(12_000, 2, 2, spacing=2.0, seed=4).X
    sample_fit = best.better_start(GaussianMixture(2, random_state=0), ArraySource(X[:10_000]), None)
    want = GaussianMixture(2, random_state=0, init_params="auto").fit(X)
    for lost in (Fit(want, None, "DEGENERATE"), sample_fit._replace(status="SPIKE")):
        monkeypatch.setattr(best, "better_start", lambda *args, lost=lost: lost)
        found = fastem.select(X, 2, "full", random_state=0, reg_covar=1e-6)
        np.testing.assert_array_equal(found.best_.means_, want.means_)


def test_noise():
    mixture = make_mixture(400, 2, 2, spacing=8.0, seed=1)
    X = np.vstack([mixture.X, np.random.default_rng(0).uniform(-30, 30, (40, 2))])
    found = fastem.select(X, range(1, 4), "full", noise=True, random_state=0)
    assert found.best_params_["n_components"] == 2
    assert found.best_.noise_weight_ == pytest.approx(40 / 440, abs=0.03)
    assert found.best_.bic(X) == pytest.approx(found.ranked()[0].bic, rel=1e-12)


def test_the_split_start_is_not_an_option_of_the_fit(faithful):
    found = fastem.select(faithful, [1, 2, 3], "tied", random_state=0, n_init=2)
    for model in found.models.values():
        assert model.means_init is None
        assert model.n_init == 2


def test_not_only_the_widest_component_is_split():
    """The best split is that of two clusters which share a component, next to a wide one that is whole."""
    rng = np.random.default_rng(0)
    clusters = ([0, 60], 15), ([-4, 0], 1), ([4, 0], 1)
    X = np.vstack([rng.normal(mean, scale, (300, 2)) for mean, scale in clusters])
    start = best.of_labels(GaussianMixture(2), ArraySource(X), np.minimum(np.arange(900) // 300, 1))
    fit = best.fit_from(GaussianMixture(2, random_state=0), ArraySource(X), start)
    found = best.best_split(fit, ArraySource(X))
    np.testing.assert_allclose(sorted(found.means[:, 0][found.means[:, 1] < 9]), [-4, 4], atol=0.3)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_halves(two, covariance):
    """They have the donor's weight, mean and, but for tied covariances, the variance along the cut."""
    model = GaussianMixture(2, covariance_type=covariance, random_state=0).fit(two.X)
    params, axis = model.params_, np.array([1.0, 0.5, 0.0]) * 0.1
    shared = COVARIANCES[covariance].shared
    halves = best.with_half(params, 1, axis, shared)
    np.testing.assert_allclose(halves.weights, params.weights[[0, 1, 1]] * [1, 0.5, 0.5], rtol=1e-12)
    np.testing.assert_allclose(halves.means[1:].mean(axis=0), params.means[1], rtol=1e-12)
    whole = np.cov(halves.means[1:].T, bias=True) + from_params(halves).covariances[1]
    if not shared:
        assert np.trace(whole) == pytest.approx(np.trace(from_params(params).covariances[1]), rel=1e-12)
    root = np.linalg.inv(np.linalg.cholesky(from_params(halves).covariances))
    found = halves.factor if halves.factor.shape[1] > 1 else halves.factor * np.eye(3)
    np.testing.assert_allclose(np.broadcast_to(found, (3, 3, 3)), root, atol=1e-9)


def test_partitions(faithful):
    labels = (faithful[:, 0] > 3).astype(int)
    found = fastem.select(faithful, 2, "full", partitions={2: labels}, tol=1e-8, reg_covar=1e-6)
    start = fastem.m_step(fastem.moments(faithful, labels=labels), reg_covar=1e-6)
    want = fastem.em(faithful, start, reg_covar=1e-6, tol=1e-8)
    assert found.models["full", 2].lower_bound_ == pytest.approx(want.history[-1], rel=1e-12)
    assert found.models["full", 2].means_init is None
    again = fastem.select(faithful, 2, "full", partitions={2: labels}, n_init=5)
    assert len(again.best_.fit_report_.starts) == 1
    folded = fastem.select(faithful, 2, "full", partitions={2: labels}, tol=1e-8, criterion="cv", cv=2)
    assert np.isfinite(folded.candidates[0].test)


# ---- fits that are not sound -------------------------------------------------------------------------


def _with_a_spike():
    X = np.random.default_rng(0).normal(size=(300, 2))
    X[:40] = [0.5, 0.5]
    return X


@pytest.mark.parametrize(("reg_covar", "status"), [(1e-6, "SPIKE"), (0.0, "DEGENERATE")])
def test_a_spike_is_not_chosen(reg_covar, status):
    """Forty equal rows: a component on them has a likelihood that only reg_covar bounds."""
    X = _with_a_spike()
    means = np.array([[0.5, 0.5], [0.0, 0.0]])
    labels = {1: np.zeros(300, int), 2: np.argmin(((X[:, None] - means) ** 2).sum(-1) - [[1e-9, 0.0]], axis=1)}
    labels[2][:] = np.arange(300) >= 40
    found = fastem.select(X, [1, 2], "full", partitions=labels, reg_covar=reg_covar)
    assert [one.status for one in found.candidates] == ["CONVERGED", status]
    assert found.best_params_["n_components"] == 1
    mapped = fastem.select(X, [1, 2], "full", partitions=labels, regularization="map")
    assert [one.status for one in mapped.candidates] == ["CONVERGED"] * 2


@pytest.mark.parametrize("unit", [1.0, 1e5, 1e6, 1e7])
def test_too_few_rows_for_a_component_is_no_fit(unit):
    """Two rows far away: a full covariance of theirs is reg_covar's in one direction, or rounding."""
    X = np.vstack([np.random.default_rng(0).normal(size=(100, 2)), [[50.0, 50.0], [51.3, 51.0]]])
    found = fastem.select(X * unit, [2], "full", random_state=0)
    assert found.candidates[0].status not in SOUND


def test_narrow_clusters_in_small_units_are_sound():
    """Variances near reg_covar are no spikes where all rows have as little."""
    X = np.random.default_rng(0).normal(size=(300, 2)) * 1e-3
    found = fastem.select(X, [1], random_state=0)
    assert {one.status for one in found.candidates} == {"CONVERGED"}


def test_more_components_than_rows(faithful):
    found = fastem.select(faithful[:5], [1, 4, 7], "spherical", random_state=0, criterion="cv", cv=2)
    few = {one.n_components: one for one in found.candidates}
    assert few[7].status == "TOO_FEW_ROWS"
    assert few[4].status in ("TOO_FEW_ROWS", "SPIKE")  # of two or three rows less; or of one row each
    assert np.isnan(few[7].bic)
    assert np.isnan(few[7].test)


def test_none_is_sound(faithful):
    found = fastem.select(faithful[:5], [7], "spherical")
    assert found.ranked() == []
    with pytest.raises(ValueError, match="none of 1 candidates has a sound fit"):
        _ = found.best_


def test_a_fit_that_does_not_converge_may_be_chosen(faithful):
    found = fastem.select(faithful, 2, "full", max_iter=1, tol=0.0)
    assert found.candidates[0].status == "MAX_ITER"
    assert found.best_.n_iter_ == 1


# ---- the way there and what comes back ---------------------------------------------------------------


def test_table(faithful, monkeypatch):
    import pandas

    found = fastem.select(faithful, [1, 2], ["tied", "diag"], random_state=0)
    table = found.table_
    assert isinstance(table, pandas.DataFrame)
    assert list(table.covariance_type) == ["tied", "diag"] * 2
    assert list(table.n_components) == [1, 1, 2, 2]
    assert "test" not in table
    np.testing.assert_array_equal(table.bic, [one.bic for one in found.candidates])
    monkeypatch.setitem(sys.modules, "pandas", None)
    plain = found.table_
    assert isinstance(plain, np.ndarray)
    np.testing.assert_array_equal(plain["bic"], table.bic)
    np.testing.assert_array_equal(plain["covariance_type"], table.covariance_type)
    folded = fastem.select(faithful, 1, "tied", criterion="cv")
    assert folded.table_.dtype.names == tuple(name for name in Candidate._fields if name != "n_factors")


def test_callback(faithful):
    calls = []
    found = fastem.select(faithful, [1, 2, 3], "tied", callback=lambda *args: calls.append(args) or args[0] == 2)
    assert [(done, total) for done, total, _ in calls] == [(1, 3), (2, 3)]
    assert [candidate for _, _, candidate in calls] == found.candidates
    assert sorted(found.models) == [("tied", 1), ("tied", 2)]


def test_interrupt_keeps_what_is_done(faithful):
    def interrupt(done, total, candidate):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(fastem.SelectionInterrupted) as caught:
        fastem.select(faithful, [1, 2, 3], "tied", callback=interrupt, random_state=0)
    found = pickle.loads(pickle.dumps(caught.value)).selection
    assert [one.n_components for one in found.candidates] == [1, 2]
    assert found.best_params_ == {"covariance_type": "tied", "n_components": 2}


def test_random_states(faithful):
    options = dict(n_components=[2, 3], covariance_types="full", init_params="random_from_data")
    first, second = (fastem.select(faithful, random_state=5, **options) for _ in range(2))
    assert numbers(first) == numbers(second) == numbers(fastem.select(faithful, random_state=5, n_threads=1, **options))
    np.random.seed(0)  # noqa: NPY002
    for state in (None, np.random.RandomState(0), np.int64(3)):
        assert len(fastem.select(faithful, random_state=state, **options).candidates) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(criterion="BIC"), "criterion must be one of bic, aic, icl, cv; got 'BIC'"),
        (dict(n_components=[]), "at least one number of components"),
        (dict(covariance_types=[]), "at least one number of components"),
        (dict(n_components=[0, 1]), "'n_components' parameter of GaussianMixture must be an int"),
        (dict(covariance_types="round"), "'covariance_type' parameter of GaussianMixture must be a str among"),
        (dict(covariance_types=None), "'covariance_type' parameter of GaussianMixture must be a str among"),
        (dict(criterion="cv", cv=1), r"cv must be an int in \[2, 272\]"),
        (dict(criterion="cv", cv=True), r"cv must be an int in \[2, 272\]"),
        (dict(criterion="cv", cv=np.zeros(272, int)), r"cv must be an int in \[2, 272\]"),
        (dict(criterion="cv", cv=np.zeros(272)), r"cv must be an int in \[2, 272\]"),
        (dict(partitions={2: np.zeros(272, int)}), "there is none for 1"),
        (dict(partitions={1: np.zeros(5, int), 2: np.zeros(272, int)}), "labels must be 272 integers"),
        (dict(stop="never"), "'stop' parameter of GaussianMixture"),
        (dict(random_state=-1), "random_state"),
        (dict(sample_weight=np.zeros(272)), "weight"),
    ],
)
def test_refused(faithful, change, message):
    with pytest.raises(ValueError, match=message):
        fastem.select(faithful, **(dict(n_components=[1, 2]) | change))


@pytest.mark.parametrize("partitions", [3, "kmeans", [np.zeros(272, int)]], ids=str)
def test_partitions_that_are_no_mapping_are_refused(faithful, partitions):
    with pytest.raises(TypeError, match=f"partitions must map each number .* got {type(partitions).__name__}"):
        fastem.select(faithful, [1, 2], partitions=partitions)


@pytest.mark.parametrize(
    "change",
    [
        dict(n_components=[[1], [2]]),
        dict(n_components=["a", 1]),
        dict(covariance_types=[["full"]]),
        dict(covariance_types=np.array([["full"]])),
        dict(covariance_types="factor", n_factors=np.array(1)),
    ],
    ids=str,
)
def test_lists_of_other_things_are_refused(faithful, change):
    name = list(change)[-1]
    with pytest.raises(TypeError, match=f"{name} of select must be one value, or a flat list of such; got "):
        fastem.select(faithful, **(dict(n_components=[1]) | change))
    sizes = np.array([2, 1, 2])
    assert [one.n_components for one in fastem.select(faithful, sizes, "full").candidates] == [1, 2]


def test_rows_of_known_components_are_refused(faithful):
    source = fastem.as_source(faithful, labels=np.zeros(272, dtype=int))
    with pytest.raises(ValueError, match="no rows of known components"):
        fastem.select(source, [1, 2])


def test_unknown_options_are_refused(faithful):
    with pytest.raises(TypeError, match="n_component"):
        fastem.select(faithful, n_component=3)


# ---- the picture -------------------------------------------------------------------------------------


def test_plot_of_a_criterion(faithful):
    pytest.importorskip("matplotlib")
    found = fastem.select(faithful, range(1, 5), ["full", "tied"], random_state=0, regularization="map", tol=1e-5)
    axes = found.plot()
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["full", "tied", "best"]
    np.testing.assert_array_equal(lines["tied"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(lines["tied"].get_ydata(), [one.bic for one in found.candidates[1::2]])
    assert (lines["best"].get_xdata(), lines["best"].get_ydata()) == ([3], [found.ranked()[0].bic])
    assert axes.get_ylabel() == "BIC"
    assert axes.get_ylim()[0] < found.ranked()[0].bic
    assert axes.get_ylim()[1] < found.candidates[0].bic  # one component is far worse than the others


def test_fourteen_lines_can_be_told_apart(faithful):
    pytest.importorskip("matplotlib")
    axes = fastem.select(faithful, [1, 2], "mclust", random_state=0).plot()
    lines = [line for line in axes.get_lines() if line.get_label() in families.MCLUST]
    assert len({(str(line.get_color()), line.get_marker()) for line in lines}) == len(lines) == 14
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*families.MCLUST, "best"]


def test_plot_of_cross_validation(faithful):
    pytest.importorskip("matplotlib")
    found = fastem.select(faithful, range(1, 4), ["full", "tied"], random_state=0, criterion="cv", cv=2)
    other = found.plot()
    axes = found.plot(ax=other)
    assert axes is other
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    np.testing.assert_array_equal(dashed[0].get_ydata(), [one.train for one in found.candidates[::2]])
    assert axes.get_ylim()[1] > max(one.train for one in found.candidates)
    assert axes.get_ylim()[0] < found.ranked()[1].test
    assert axes.get_ylabel() == "mean log-likelihood"


def test_nothing_to_plot(faithful):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="nothing to draw"):
        fastem.select(faithful[:5], [7], "spherical").plot()


# ---- folds of rows that are not in memory ------------------------------------------------------------------


@pytest.fixture(scope="module")
def long():
    """12,000 rows: more than a sample of 10,000, of which four folds of five have fewer."""
    return make_mixture(12_000, 2, 3, spacing=4.0, seed=5).X


def test_cross_validation_chooses_the_same_from_a_file(long, tmp_path):
    np.save(tmp_path / "rows.npy", long)
    options = {"criterion": "cv", "random_state": 0, "tol": 1e-4}
    a = fastem.select(long, 3, ("full", "tied"), **options)
    for rows in (tmp_path / "rows.npy", lambda: [long[:5000], long[5000:]]):
        b = fastem.select(rows, 3, ("full", "tied"), **options)
        assert a.best_params_ == b.best_params_
        for one, other in zip(a.candidates, b.candidates, strict=True):
            assert one.status == other.status
            assert one.n_iter == other.n_iter
            np.testing.assert_allclose(one[3:12], other[3:12], rtol=1e-8)


def test_folds_of_a_memory_map_are_not_copied(long, tmp_path):
    np.save(tmp_path / "rows.npy", long)
    for rows in (tmp_path / "rows.npy", np.load(tmp_path / "rows.npy", mmap_mode="r")):
        source = fastem.as_source(rows)
        part = folds.Rows(source, None).part(np.arange(12_000) % 5 > 0).source
        assert isinstance(part, folds.Masked)
        assert (part.n_rows, part.n_present, part.sum_w) == (12_000, 9600, 9600.0)
        assert all(np.shares_memory(block.X, source.X) for block in part.blocks(1000))
    assert not isinstance(folds.Rows(fastem.as_source(long), None).part(np.arange(12_000) > 5).source, folds.Masked)


# ---- units ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["bic", "cv"])
def test_units_of_columns_do_not_matter(criterion):
    X = make_mixture(600, 2, 3, spacing=6.0, seed=3).X
    options = {"criterion": criterion, "cv": 2, "random_state": 0, "tol": 1e-7, "max_iter": 1000, "init_params": "auto"}
    a = fastem.select(X, [2, 3, 4], "full", **options)
    assert a.best_params_["n_components"] == 3
    b = fastem.select(X * [2.0**-30, 2.0**20], [2, 3, 4], "full", **options)
    assert b.best_params_ == a.best_params_
    np.testing.assert_allclose(b.best_.means_ / [2.0**-30, 2.0**20], a.best_.means_, atol=1e-3)


def test_clusters_that_are_far_apart_are_not_spikes():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (200, 1)), rng.normal(1e4, 1, (200, 1))])
    found = fastem.select(X, [1, 2], "full", random_state=0)
    assert found.best_params_["n_components"] == 2
    np.testing.assert_allclose(found.best_.covariances_.ravel(), 1.0, rtol=0.2)


@pytest.mark.parametrize("regularization", [None, "floor"])
def test_a_spike_at_the_floor_is_not_chosen(regularization):
    """Rows that share a value: in any units."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=200), np.full(40, 0.5)])[:, None] * 1e-8
    options = {} if regularization is None else {"regularization": regularization}
    labels = {1: np.zeros(240, int), 2: np.repeat([0, 1], [200, 40])}
    found = fastem.select(X, [1, 2], "full", partitions=labels, random_state=0, **options)
    assert [candidate.status for candidate in found.candidates] == ["CONVERGED", "SPIKE"]


def test_reg_covar_and_a_regularization_are_one_too_many(faithful):
    with pytest.raises(ValueError, match="regularization='map' takes the place of reg_covar: leave that out"):
        fastem.select(faithful, [1], regularization="map", reg_covar=1e-6)


def test_a_selection_is_printed(faithful, capsys):
    """What was tried, the best first, and what was chosen."""
    found = fastem.select(faithful, range(1, 4), ("full", "tied"), random_state=0)
    print(found)
    title, names, *rows = capsys.readouterr().out.splitlines()
    assert title == f"6 candidates, the best by bic {found.best_params_}"
    assert repr(found) == f"<{title}>"
    assert names.split() == found.columns
    assert [row.split()[:2] for row in rows] == [[one.covariance_type, str(one.n_components)] for one in found.ranked()]
    assert float(rows[0].split()[names.split().index("bic")]) == pytest.approx(found.ranked()[0].bic, rel=1e-6)
    assert repr(fastem.Selection("bic")) == "<0 candidates, none with a sound fit>"
