"""The search of init_params="auto": components move from where two share a cluster to where one has two."""

import itertools

import numpy as np
import pytest
from helpers import CONSTRAINED, FAMILIES, expand, from_params, make_mixture, natural, state_bytes
from numpy.testing import assert_allclose

import fastem
from fastem import FitInterrupted, GaussianMixture
from fastem.fitting.degenerate import are_thin, find_lost
from fastem.fitting.loop import iterate
from fastem.fitting.models import model_for
from fastem.fitting.starts import moves, race, search
from fastem.fitting.stopping import Stop
from fastem.kernels.jit import threads
from fastem.model.families import COVARIANCES
from fastem.model.params import Noise
from fastem.model.reference import joint_log_density
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.remedies.table import REMEDIES
from fastem.sources.blocks import ArraySource

ALL_REMEDIES = {"reg_covar": RegCovar(1e-6), "likelihood": RegCovar(0.0), **REMEDIES}
MEANS = np.array([[0.0, 0.0], [4.0, 0.0], [12.0, 0.0], [6.0, 9.0]])
WRONG = np.array([[2.0, 0.0], [12.0, -0.7], [12.0, 0.7], [6.0, 9.0]])  # two clusters in the first, the third cut in two


def four_clusters(n=800, seed=0):
    rng = np.random.default_rng(seed)
    return MEANS[rng.integers(0, 4, n)] + rng.normal(size=(n, 2))


def fit_of(X, means, model):
    """EM to a sample, from these means and unit covariances."""
    K, family = len(means), model.family.name
    start = fastem.make_params(np.full(K, 1 / K), means, natural(np.tile(np.eye(2), (K, 1, 1)), family), family)
    return iterate(X, start, model, stop=Stop("change", 1e-6), max_iter=200)


def searched(sample, result, model):
    return search.search(sample, result, model, np.cov(sample.X.T, bias=True))


@pytest.mark.parametrize(
    ("family", "remedy"),
    [*itertools.product(FAMILIES, ALL_REMEDIES), *((family, "geometric") for family in CONSTRAINED)],
)
def test_a_wrong_optimum_is_mended(family, remedy):
    """EM stays where two clusters share a component and another is cut in two; a move ends where the truth does."""
    sample = ArraySource(four_clusters())
    model = model_for(sample, family, ALL_REMEDIES[remedy])
    wrong, right = (fit_of(sample, means, model) for means in (WRONG, MEANS))
    assert wrong.history[-1] < right.history[-1] - 0.08
    found = searched(sample, wrong, model)
    assert len(found.taken) >= 1
    assert found.result.history[-1] == pytest.approx(right.history[-1], abs=1e-3)
    assert searched(sample, right, model).result is right


@pytest.mark.parametrize("kind", ["hard", "noise", "weighted", "fixed weights"])
def test_a_wrong_optimum_is_mended_in_every_kind_of_fit(kind):
    """From the worst start there is, means of one cluster, by whatever way the fit goes."""
    X, options, weight = four_clusters(), dict(init_params="auto", regularization="ridge", random_state=0), None
    start = dict(means_init=WRONG, weights_init=np.full(4, 0.25), precisions_init=np.tile(np.eye(2), (4, 1, 1)))
    if kind == "hard":
        options["assignment"] = "hard"
    if kind == "noise":
        X, options["noise"] = np.concatenate([X, np.random.default_rng(1).uniform(-20, 30, (40, 2))]), True
    if kind == "weighted":
        weight = np.random.default_rng(2).uniform(0.1, 3.0, len(X))
    if kind == "fixed weights":
        options["fixed"] = ("weights",)
    wrong = GaussianMixture(4, **options, **start).fit(X, sample_weight=weight)
    model = GaussianMixture(4, **options).fit(X, sample_weight=weight)
    assert model.lower_bound_ > wrong.lower_bound_ + 0.05
    nearest = np.linalg.norm(model.means_[:, None] - MEANS, axis=-1).min(axis=0)
    assert nearest.max() < 0.5


@pytest.mark.parametrize("remedy", ALL_REMEDIES)
@pytest.mark.parametrize("seed", range(4))
def test_the_end_is_never_below_the_start(seed, remedy):
    """From random means, of overlapping components, and without a component that is lost or thin on the way."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[seed]
    sample = ArraySource(rng.normal(size=(500, 2)) + 2.5 * rng.integers(0, 3, (500, 2)), rng.uniform(0.5, 2.0, 500))
    model = model_for(sample, family, ALL_REMEDIES[remedy])
    start = fit_of(sample, sample.X[:6], model)
    found = searched(sample, start, model)
    gains = [gain for _, gain in found.taken]
    assert all(gain > 0 for gain in gains)
    assert found.result.history[-1] == pytest.approx(start.history[-1] + sum(gains), abs=1e-12)
    assert found.tried >= len(found.taken)
    for count in (lambda r: len(find_lost(model, r.stats).components), lambda r: are_thin(model, r).sum()):
        assert count(found.result) <= count(start)
    assert model.objective(found.result.params, found.result.stats) == found.result.history[-1]


@pytest.mark.parametrize("remedy", ALL_REMEDIES)
def test_a_component_on_few_rows_is_not_taken(remedy):
    """Five rows all but equal, with a component to spare, have a higher objective than any sound fit."""
    X = four_clusters()
    X[:5] = [6.0, 3.0] + 1e-4 * np.random.default_rng(0).normal(size=(5, 2))
    refused(X, [6.0, 3.0], 1e-6 * np.eye(2), remedy)


@pytest.mark.parametrize("remedy", ["reg_covar", "likelihood", "large reg_covar"])
def test_a_spike_is_not_taken(remedy):
    """Sixty rows share a value: only reg_covar bounds the likelihood of a component on them."""
    X = four_clusters()
    X[:60, 0] = 3.0
    refused(X, [3.0, 0.0], np.diag([1e-6, 1.0]), remedy)


def refused(X, mean, covariance, remedy):
    """A fit whose fifth component starts there ends higher than one of five broad ones, and is not as sound."""
    sample = ArraySource(X)
    model = model_for(sample, "full", RegCovar(1e-3) if remedy == "large reg_covar" else ALL_REMEDIES[remedy])
    sound = fit_of(sample, np.append(MEANS, [[0.5, 0.5]], axis=0), model)
    weights = np.array([0.24, 0.24, 0.24, 0.24, 0.04])
    covariances = np.append(np.tile(np.eye(2), (4, 1, 1)), [covariance], axis=0)
    start = fastem.make_params(weights, np.append(MEANS, [mean], axis=0), covariances)
    trial = iterate(sample, start, model, stop=Stop("change", 1e-6), max_iter=100)
    assert trial.history[-1] > sound.history[-1] + search.LEAST_GAIN
    assert not search.is_as_sound(trial, sound, model, np.cov(X.T))
    assert search.is_as_sound(sound, sound, model, np.cov(X.T))


def test_bits_do_not_depend_on_threads():
    sample = ArraySource(make_mixture(5000, 8, 6, spacing=3.0).X)
    model = model_for(sample, "full", fastem.Ridge())

    def bits():
        start = fastem.make_params(np.full(6, 1 / 6), sample.X[:6], np.tile(9 * np.eye(8), (6, 1, 1)))
        found = searched(sample, iterate(sample, start, model, stop=Stop("change", 0.0), max_iter=10), model)
        return found.tried, found.taken, *(part.tobytes() for part in found.result.params[:4])

    many = bits()
    with threads(1):
        assert bits() == many
    assert many[0] > 0


# --- what moves cost ------------------------------------------------------------------------------------------------


def params_of(family, K=4, D=3, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(K, D, D)) + 2 * np.eye(D)
    covariances = natural(roots @ roots.swapaxes(1, 2), family)
    return fastem.make_params(rng.dirichlet(np.full(K, 4.0)), 3 * rng.normal(size=(K, D)), covariances, family)


def complete_loglik(weights, means, scatters, family):
    """Mean log-likelihood of rows whose component is known, at its maximum: dense matrices, one component at a time.

    scatters (K, D, D) are the covariances of the components' rows.
    """
    D, eye = scatters.shape[1], np.eye(scatters.shape[1])
    if family.startswith("tied"):
        scatters = np.repeat(np.einsum("k,kij->ij", weights, scatters)[None], len(weights), axis=0)
    if family.endswith("diag"):
        scatters = scatters * eye
    if family.endswith("spherical"):
        scatters = np.trace(scatters, axis1=1, axis2=2)[:, None, None] / D * eye
    each = [
        np.log(w) - (D * np.log(2 * np.pi) + np.linalg.slogdet(scatter)[1] + D) / 2
        for w, scatter in zip(weights, scatters, strict=True)
    ]
    return weights @ each


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cost_of_a_merge(family):
    """That of the likelihood of complete data, whose pair becomes one component of the same moments."""
    params = params_of(family)
    w, m = params.weights, params.means
    C = expand(params.covariances.reshape(COVARIANCES[family].natural_shape(4, 3)), family, 4, 3)
    before = complete_loglik(w, m, C, family)
    for i, j in itertools.combinations(range(4), 2):
        W = w[i] + w[j]
        mean, rest = (w[i] * m[i] + w[j] * m[j]) / W, [k for k in range(4) if k not in (i, j)]
        C_m = sum(w[k] * (C[k] + np.outer(m[k] - mean, m[k] - mean)) for k in (i, j)) / W
        merged = np.append(w[rest], W), np.append(m[rest], [mean], axis=0), np.append(C[rest], [C_m], axis=0)
        want = before - complete_loglik(*merged, family)
        got = moves.separate_merge_costs(params, np.array([[i], [j]]), COVARIANCES[family])
        assert got[0] == pytest.approx(want, rel=1e-10)


def test_overlap_is_the_entropy_between_two():
    """By the responsibilities of all rows; the weights of rows count."""
    rng, params = np.random.default_rng(1), params_of("full", K=3)
    X, weight = 4 * rng.normal(size=(200, 3)), rng.uniform(0.0, 2.0, 200)
    joint = joint_log_density(X, params)
    resp = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    got = moves.overlaps(moves.Members.of(ArraySource(X, weight), params), 3)
    for i, j in itertools.permutations(range(3), 2):
        pair = resp[:, [i, j]]
        share = pair / pair.sum(axis=1, keepdims=True)
        want = -(weight[:, None] * pair * np.log(np.where(pair > 0, share, 1.0))).sum() / weight.sum()
        assert got[i, j] == pytest.approx(want, rel=1e-9, abs=1e-12)
    cost = moves.merge_costs(params, moves.Members.of(ArraySource(X, weight), params), COVARIANCES["full"])
    alone = moves.separate_merge_costs(params, np.array([[1], [0]]), COVARIANCES["full"])[0]
    assert cost[0, 1] == cost[1, 0] == pytest.approx(alone + got[0, 1], rel=1e-12)
    assert np.isinf(np.diagonal(cost)).all()


def test_components_that_no_row_is_shared_by_do_not_overlap():
    """However heavy the rows are: a share of 0 is no division."""
    params = fastem.make_params([0.5, 0.5], [[-50.0], [50.0]], [[[1.0]], [[1.0]]])
    rows = ArraySource(np.array([[-50.0], [50.0]]), np.array([1e3, 1e3]))
    assert moves.overlaps(moves.Members.of(rows, params), 2)[0, 1] == pytest.approx(0.0, abs=1e-100)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merge_keeps_the_moments_of_all_rows(family):
    """As an M-step does: the mean, and of the covariance what the family holds; halves of a third are its own."""
    params, model = params_of(family), model_for(ArraySource(np.eye(3)), family, RegCovar(0.0))
    thirds = params._replace(means=params.means[[2, 2]], weights=np.full(2, 0.5))
    thirds = thirds._replace(covariances=params.covariances if model.family.shared else params.covariances[[2, 2]])
    after = moves.moved(params, moves.Move(3, 0, 2), thirds, model)
    assert after.weights.sum() == pytest.approx(1.0)
    assert_allclose(after.weights @ after.means, params.weights @ params.means, rtol=1e-12)
    traces = []
    for mixture in (params, after):
        one = from_params(mixture)
        away = one.means - one.weights @ one.means
        second = one.weights @ (np.diagonal(one.covariances, axis1=1, axis2=2) + away**2)
        traces.append(second.sum() if family.endswith("spherical") else second)
    if not model.family.shared:
        assert_allclose(traces[1], traces[0], rtol=1e-12)


# --- what users see -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    """Rows on which the race ends in a wrong optimum: twelve clusters of very different sizes."""
    rng = np.random.default_rng(2)
    means = np.array(list(itertools.product(range(4), range(3)))) * 6.0
    return means[rng.choice(12, 2000, p=rng.dirichlet(np.full(12, 0.7)))] + rng.normal(size=(2000, 2))


def auto(**options):
    return GaussianMixture(
        **dict(n_components=12, init_params="auto", regularization="ridge", random_state=0) | options
    )


@pytest.fixture(scope="module")
def whole(crowd):
    return auto().fit(crowd)


def test_the_report(crowd, whole, monkeypatch):
    model = whole
    events = model.fit_report_.events
    *moved, summary = [event for event in events if event.iteration == 0]
    assert {event.what for event in moved} == {"moved"}
    assert summary.what == "searched"
    assert summary.detail.startswith(tuple(f"{n} moves tried, {len(moved)} taken: +" for n in range(len(moved), 200)))
    assert summary.change == pytest.approx(sum(event.change for event in moved))
    assert all(event.detail.startswith("merged into ") and event.change > 0 for event in moved)
    assert "moves tried" in str(model.fit_report_)
    with monkeypatch.context() as patch:
        patch.setattr(race, "search", lambda sample, result, *_: search.Search(result))
        without = auto().fit(crowd)
    assert without.fit_report_.events == ()
    assert model.lower_bound_ > without.lower_bound_ + 0.01


def test_a_checkpoint_keeps_the_report(crowd, whole, tmp_path):
    file = tmp_path / "c.npz"
    stopped = auto().fit(crowd, callback=lambda iteration, *_: iteration == 2, checkpoint=file)
    assert stopped.fit_report_.events == whole.fit_report_.events[: len(stopped.fit_report_.events)]
    again = auto().fit(crowd, checkpoint=file)
    assert again.fit_report_.events == whole.fit_report_.events
    assert state_bytes(again) == state_bytes(whole)


def test_ctrl_c_in_the_search(crowd, monkeypatch):
    """What it has so far is a fit to a sample: it is not handed out."""

    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "climb", press)
    with pytest.raises(FitInterrupted) as caught:
        auto().fit(crowd)
    assert caught.value.result is None


def test_ctrl_c_after_the_search_hands_its_events_out(crowd):
    def press(iteration, *_):
        if iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(FitInterrupted) as caught:
        auto().fit(crowd, callback=press)
    assert caught.value.result.events[0].what == "moved"


def test_labels_are_a_start_of_their_own(crowd):
    """Rows with labels are not searched: each component keeps the rows that are known to be its own."""
    labels = np.full(len(crowd), -1)
    labels[:400] = np.arange(400) % 12
    models = [auto(init_params=init).fit(crowd, labels=labels) for init in ("auto", "kmeans")]
    assert state_bytes(models[0]) != b""
    assert_allclose(models[0].means_, models[1].means_, rtol=0, atol=0)
    assert not any(event.what in ("moved", "searched") for event in models[0].fit_report_.events)


@pytest.mark.parametrize("options", [{"fixed": ("means",)}, {"fixed": ("covariances",)}, {"n_components": 2}])
def test_where_no_component_moves(options):
    """Means and covariances that are held tell components apart, and of two components none is left to split."""
    X = four_clusters()
    start = {"means": "means_init", "covariances": "precisions_init"}
    given = {"means_init": MEANS, "precisions_init": np.tile(np.eye(2), (4, 1, 1))}
    for name in options.get("fixed", ()):
        options = options | {start[name]: given[start[name]]}
    model = auto(**{"n_components": 4} | options).fit(X)
    assert model.fit_report_.events == ()


def test_a_component_of_weight_zero_costs_nothing():
    params = params_of("full")
    params = params._replace(weights=np.array([0.0, 0.3, 0.3, 0.4]))
    got = moves.separate_merge_costs(params, np.array([[0], [1]]), COVARIANCES["full"])
    assert got[0] == pytest.approx(0.0, abs=1e-12)
    assert params._replace(noise=Noise(0.1, np.array([[0.0] * 3, [1.0] * 3]))).n_columns == 5
