"""Stepwise EM on streams of blocks."""

import pickle

import numpy as np
import pytest
from helpers import ALL, FAMILIES, make_mixture, make_start, natural, start_params, state_bytes
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import GaussianMixture, Stepwise
from fastem.files.archive import ModelFileError
from fastem.model.families import find_family as find
from fastem.model.params import Noise

N_BLOCKS = 100


def draw(n, seed=0):
    """Rows of five overlapping components in two dimensions, in random order, and a start near them."""
    mixture = make_mixture(n, 2, 5, spacing=2.5, seed=seed)
    X = np.random.default_rng(seed).permutation(mixture.X)
    return X, start_params(make_start(mixture, "full"), "full"), mixture


def stream(X, state, n_blocks, first=0):
    """The state after all blocks, taken in order from block `first` on and round again."""
    blocks = np.array_split(X, n_blocks)
    for b in range(n_blocks):
        state = state.partial_fit(blocks[(first + b) % n_blocks])
    return state


def nats_below_batch(n, n_blocks, firsts, tol=1e-9):
    """How far below the batch fit's mean log-likelihood a single pass ends, for streams that begin elsewhere."""
    X, start, _ = draw(n)
    batch = fastem.em(X, start, tol=tol, max_iter=2000).loglik / n
    ends = [stream(X, Stepwise(start), n_blocks, first).params for first in firsts]
    return batch - np.array([fastem.log_density(X, params).mean() for params in ends])


def test_one_pass_is_near_the_batch_fit():
    below = nats_below_batch(200_000, N_BLOCKS, (0, 37, 81))
    assert (below < 0.01).all(), below
    assert (below > -1e-9).all()


@pytest.mark.slow
def test_two_million_rows():
    below = nats_below_batch(2_000_000, 1000, (0, 333), tol=1e-6)
    assert (below < 0.01).all(), below


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_recursion(covariance_type):
    """The definition, written with parameters of the statistics: averages of (1, x, x x')."""
    mixture = make_mixture(3000, 3, 2, spacing=3.0)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, size=3000)
    params = start_params(make_start(mixture, covariance_type), covariance_type)
    state, total, running = Stepwise(params, covariance_type, reg_covar=0.0, exponent=0.7), 0.0, 0.0
    zero = np.zeros((2, 3))
    for rows in np.array_split(np.arange(3000), [500, 600, 1900]):
        block = fastem.accumulate(mixture.X[rows], params, weight[rows]).shifted(zero)
        w = weight[rows].sum()
        total += w
        gamma = (w / total) ** 0.7
        mine = np.concatenate([np.ravel(a) for a in (block.s0, block.s1, block.s2)]) / w
        running = (1 - gamma) * running + gamma * mine
        s0, s1, s2 = (
            part.reshape(a.shape)
            for part, a in zip(
                np.split(running, np.cumsum([block.s0.size, block.s1.size])),
                (block.s0, block.s1, block.s2),
                strict=True,
            )
        )
        params = fastem.m_step(fastem.Stats(np.nan, np.nan, np.nan, s0, s1, s2, zero, 1), covariance_type)
        state = state.partial_fit(mixture.X[rows], weight[rows])
        for got, want in zip(state.params[:4], params[:4], strict=True):
            assert_allclose(got, want, rtol=1e-8, atol=1e-8)
    assert state.n_steps == 4
    assert state.stats.n_rows == 3000
    assert_allclose(state.stats.sum_w, weight.sum(), rtol=1e-12)


def test_the_first_block_is_one_step_of_em():
    X, start, _ = draw(2000)
    state = Stepwise(start, reg_covar=0.0).partial_fit(X)
    want = fastem.m_step(fastem.accumulate(X, start))
    for got, right in zip(state.params[:4], want[:4], strict=True):
        assert_allclose(got, right, rtol=1e-12)


def test_weights_have_no_unit():
    X, start, _ = draw(2000)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, size=2000)
    states = [
        Stepwise(start).partial_fit(X[:900], c * weight[:900]).partial_fit(X[900:], c * weight[900:]) for c in (1, 64)
    ]
    assert_allclose(states[1].params.means, states[0].params.means, rtol=1e-10)


def test_far_from_zero():
    X, start, _ = draw(20_000)
    moved = start._replace(means=start.means + 2.0**27)
    X = np.round(X * 2**16) / 2**16
    near, far = stream(X, Stepwise(start), 40), stream(X + 2.0**27, Stepwise(moved), 40)
    assert_allclose(far.params.covariances, near.params.covariances, rtol=1e-5)


def test_noise():
    X, start, _ = draw(20_000)
    X = np.random.default_rng(0).permutation(np.r_[X, np.random.default_rng(1).uniform(-30, 30, size=(5000, 2))])
    noise = Noise(0.05, np.array([[-30.0] * 2, [30.0] * 2]))
    start = start._replace(weights=0.95 * start.weights, noise=noise)
    state = stream(X, Stepwise(start), 50)
    assert abs(state.params.noise.weight - 0.2) < 0.03
    assert_allclose(state.params.weights.sum() + state.params.noise.weight, 1)


def test_a_failed_step_changes_nothing():
    X, start, _ = draw(2000)
    state = Stepwise(start).partial_fit(X)
    for bad in (X[:, :1], np.full((3, 2), np.nan)):
        with pytest.raises(ValueError, match=r"X has 1 features|NaN"):
            state.partial_fit(bad)
    assert state.n_steps == 1
    rows = np.ones((10, 2))
    with pytest.raises(fastem.SingularCovarianceError):
        Stepwise(start._replace(means=rows[:5]), reg_covar=0.0).partial_fit(rows)
    for exponent in (0.5, 1.1, 0.0):
        with pytest.raises(ValueError, match="exponent must be a number in"):
            Stepwise(start, exponent=exponent)


def test_family_must_fit():
    _, _, mixture = draw(100)
    diag = fastem.make_params(mixture.weights, mixture.means, natural(mixture.covariances, "diag"), "diag")
    with pytest.raises(ValueError, match="needs covariances of shape"):
        Stepwise(diag, "full")
    stats = fastem.accumulate(mixture.X, diag)
    with pytest.raises(ValueError, match="needs second moments of shape"):
        Stepwise(fastem.make_params(mixture.weights, mixture.means, mixture.covariances), stats=stats)
    with pytest.raises(ValueError, match=r"as many components .* stats of \(5, 2\), and params of \(1, 2\)"):
        Stepwise(fastem.make_params([1.0], [[0.0, 0.0]], [[1.0, 1.0]], "diag"), "diag", stats=stats)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"params": 3}, TypeError, "params must be a fastem.Params, as make_params returns; got int"),
        ({"covariance_type": "fool"}, ValueError, "fool"),
        ({"reg_covar": -1.0}, ValueError, "reg_covar"),
        ({"exponent": "half"}, ValueError, r"exponent must be a number in \(0.5, 1\]; got 'half'"),
        ({"stats": 3}, TypeError, "stats must be a fastem.Stats"),
    ],
)
def test_what_is_no_state_is_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        Stepwise(**{"params": draw(100)[1], **options})


def test_log_likelihood_that_is_not_known():
    """Of statistics of labels: the running mean is that of the blocks."""
    X, start, mixture = draw(1000)
    known = fastem.moments(mixture.X, labels=mixture.labels, n_components=5)
    state = Stepwise(start, stats=known).partial_fit(X)
    assert_allclose(state.mean_loglik, fastem.accumulate(X, start).loglik / 1000)


def test_states_do_not_change():
    X, start, _ = draw(2000)
    first = Stepwise(start).partial_fit(X[:1000])
    before = first.stats.s2.copy()
    second = first.partial_fit(X[1000:])
    assert_array_equal(first.stats.s2, before)
    assert (first.n_steps, second.n_steps) == (1, 2)


# ---- the estimator -------------------------------------------------------------------------------------


def test_partial_fit_is_fit_and_steps():
    X, _, _ = draw(4000)
    blocks = np.array_split(X, 4)
    model = GaussianMixture(5, random_state=0, tol=1e-2)
    for block in blocks:
        assert model.partial_fit(block) is model
    first = GaussianMixture(5, random_state=0, tol=1e-2).fit(blocks[0])
    state = Stepwise(first.params_)
    for block in blocks:
        state = state.partial_fit(block)
    assert_array_equal(model.means_, state.params.means)
    assert_array_equal(model.covariances_, state.params.covariances)
    assert (model.n_iter_, model.status_, model.converged_) == (4, None, False)
    assert_allclose(model.lower_bound_, state.stats.loglik / 4000)
    assert np.isnan(Stepwise(first.params_).mean_loglik)
    assert len(model.lower_bounds_) == 4
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.partial_fit(blocks[0]).means_, model.partial_fit(blocks[0]).means_)
    model.fit(blocks[0])  # begins anew
    assert_array_equal(model.partial_fit(blocks[1]).means_, first.partial_fit(blocks[1]).means_)
    assert model.n_iter_ == 1


@pytest.mark.parametrize("changed", [{"n_components": 3}, {"covariance_type": "diag"}, {"noise": True}], ids=str)
def test_a_stream_refuses_parameters_that_it_cannot_follow(changed):
    X = draw(400)[0]
    for model in (GaussianMixture(2, random_state=0).fit(X), GaussianMixture(2, random_state=0).partial_fit(X)):
        before = model.means_.copy()
        with pytest.raises(ValueError, match=f"partial_fit goes on .*, but {next(iter(changed))} has changed.* Set it"):
            model.set_params(**changed).partial_fit(X)
        assert_array_equal(model.means_, before)
        assert len(model.fit(X).means_) == model.n_components
        assert model.set_params(reg_covar=1.0).partial_fit(X).n_iter_ == 1  # which a stream does follow


@pytest.mark.parametrize("covariance_type", ALL)
def test_partial_fit_of_each_kind(covariance_type):
    X = draw(4000)[0].astype(np.float32)
    model = GaussianMixture(5, covariance_type=covariance_type, noise=True, random_state=0, tol=1e-2)
    model.fit(X[:1000])
    model.partial_fit(X[1000:], sample_weight=np.ones(3000))
    assert model.means_.dtype == np.float32
    assert_allclose(model.weights_.sum() + model.noise_weight_, 1, rtol=1e-5)
    assert np.isfinite(model.score(X))


def test_partial_fit_refusals():
    X, start, _ = draw(2000)
    model = GaussianMixture.from_parameters(start.weights, start.means, start.covariances).partial_fit(X)
    before = state_bytes(model)
    for bad, message in ((X[:, :1], "X has 1 features"), (np.full((3, 2), np.nan), "NaN")):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(bad)
    with pytest.raises(ValueError, match="partial_fit does not work with regularization='map'"):
        GaussianMixture(2, regularization="map", reg_covar=0.0).partial_fit(X)
    with pytest.raises(ValueError, match="Expected n_samples >= n_components"):
        GaussianMixture(5).partial_fit(X[:3])
    assert state_bytes(model) == before


# ---- after a fit, of given parameters, from a file --------------------------------------------------------


def known_to_sklearn(model):
    return GaussianMixture.from_sklearn(model.to_sklearn(), n_samples_seen=2000)


def saved(model, tmp_path):
    fastem.save(model, tmp_path / "m.npz")
    return fastem.load(tmp_path / "m.npz")


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("way", ["fit", "parameters", "sklearn", "file"])
def test_partial_fit_goes_on_from_the_model(covariance_type, way, tmp_path):
    """One row, however wild, counts as one of the 2000: the mixture hardly moves."""
    X, _, _ = draw(2000)
    fit = GaussianMixture(5, covariance_type=covariance_type, random_state=0, tol=1e-2).fit(X)
    assert fit.n_samples_seen_ == 2000
    if way == "sklearn" and covariance_type in ("tied_diag", "tied_spherical"):
        pytest.skip("scikit-learn does not have it")
    model = {
        "fit": lambda: fit,
        "parameters": lambda: GaussianMixture.from_parameters(
            fit.weights_, fit.means_, fit.covariances_, covariance_type, n_samples_seen=2000
        ),
        "sklearn": lambda: known_to_sklearn(fit),
        "file": lambda: saved(fit, tmp_path),
    }[way]()
    before, bound, row = model.score(X), model.lower_bound_, np.array([[8.0, -8.0]])
    resp, means, weights, params = model.predict_proba(row)[0], model.means_, model.weights_, model.params_
    model.partial_fit(row)
    gamma = (1 / 2001) ** 0.6
    assert model.n_samples_seen_ == pytest.approx(2001)
    mixed = (1 - gamma) * weights + gamma * resp
    assert_allclose(model.weights_, mixed, rtol=1e-9)
    moved = (1 - gamma) * weights[:, None] * means + gamma * resp[:, None] * row
    assert_allclose(model.means_, moved / mixed[:, None], rtol=1e-9)
    assert model.score(X) > before - 0.3
    assert np.isfinite(model.lower_bound_)
    if way != "parameters":
        density = fastem.log_density(row, params)[0]
        assert model.lower_bound_ == pytest.approx((1 - gamma) * bound + gamma * density)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("noise", [False, True])
def test_expected_statistics_make_the_same_mixture(covariance_type, noise):
    _, _, mixture = draw(1000)
    box = (0.1, [[-9.0, -9.0], [9.0, 9.0]]) if noise else None
    shares = mixture.weights * (0.9 if noise else 1.0)
    params = fastem.make_params(
        shares, mixture.means, natural(mixture.covariances, covariance_type), covariance_type, box
    )
    stats = find(covariance_type).expected(params, 50.0, 1e-3)
    assert stats.sum_w == pytest.approx(50)
    again = fastem.m_step(stats, covariance_type, reg_covar=1e-3)
    for a, b in zip(again[:4], params[:4], strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_variances_below_reg_covar_become_that():
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [[[1e-8, 0.9e-4], [0.9e-4, 1.0]]])
    model.partial_fit([[0.0, 0.0]])
    assert 0.9e-6 < model.covariances_[0, 0, 0] < 1.1e-6
    assert np.isfinite(model.score([[0.0, 0.0]]))


def test_given_parameters_count_for_ten_rows_each():
    start = draw(10)[1]
    model = GaussianMixture.from_parameters(start.weights, start.means, start.covariances)
    assert model.n_samples_seen_ == 10 * model._n_parameters() == 290
    assert model.marginal(0).n_samples_seen_ == 290
    for bad in (0, -1, np.nan, np.inf, "many", True):
        with pytest.raises(ValueError, match="n_samples_seen must be a positive number"):
            GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical", n_samples_seen=bad)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_a_saved_stream_goes_on_where_it_was(dtype, tmp_path):
    """To the bit, also where the model's own numbers are float32."""
    X, _, _ = draw(4000)
    X = (X + 1e3).astype(dtype)
    model = GaussianMixture(5, random_state=0, tol=1e-2)
    for block in np.array_split(X[:3000], 3):
        model.partial_fit(block)
    again = saved(model, tmp_path)
    assert again.n_samples_seen_ == model.n_samples_seen_ == pytest.approx(3000)
    again.partial_fit(X[3000:])
    model.partial_fit(X[3000:])
    assert state_bytes(again) == state_bytes(model)
    assert again.n_samples_seen_ == model.n_samples_seen_ == pytest.approx(4000)


def test_a_file_without_a_stream_loads(tmp_path):
    """One of an older version."""
    X, _, _ = draw(500)
    model = GaussianMixture(5, random_state=0, tol=1e-2).fit(X)
    fastem.save(model, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as new:
        kept = {name: new[name] for name in new.files if name not in ("n_samples_seen", "statistics")}
        np.savez(tmp_path / "old.npz", **kept)
    old = fastem.load(tmp_path / "old.npz")
    assert state_bytes(old) == state_bytes(model)
    assert old.n_samples_seen_ == 290
    with np.load(tmp_path / "new.npz") as new:
        np.savez(tmp_path / "bad.npz", **{**new, "statistics": np.ones(40)})
    with pytest.raises(ModelFileError, match="do not describe a stream"):
        fastem.load(tmp_path / "bad.npz")


def test_a_stream_in_another_order_goes_on():
    """Components that have been sorted stay sorted."""
    X, _, _ = draw(4000)
    model = GaussianMixture(5, random_state=0, tol=1e-2).partial_fit(X[:2000]).partial_fit(X[2000:3000])
    a = model.sort_components("weight").partial_fit(X[3000:])
    b = model.partial_fit(X[3000:]).sort_components("weight")
    assert_allclose(a.means_, b.means_, rtol=1e-9)
    assert_allclose(a.covariances_, b.covariances_, rtol=1e-9)
