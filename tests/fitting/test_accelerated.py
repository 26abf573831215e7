"""Accelerated fits: they ascend, end where EM ends, in fewer passes, and say how near they have come."""

import functools
import warnings

import numpy as np
import pytest
from helpers import FAMILIES, PAIRS, make_mixture, make_start, start_params, state_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastem
from fastem import FitInterrupted, GaussianMixture, Parametrization, Status
from fastem.fitting import accelerated, acceleration, levels
from fastem.fitting.accelerated import climb
from fastem.fitting.loop import iterate
from fastem.fitting.models import model_for
from fastem.fitting.stopping import Stop
from fastem.model.remedies.table import find_remedy
from fastem.sources.blocks import ArraySource
from fastem.sources.opening import find_source


@functools.cache
def rows(n=120, d=2, k=3, spacing=2.5):
    return make_mixture(n, d, k, spacing=spacing, seed=4)


def ways(mixture, covariance="full", regularization=None):
    """Return a source, a model and a start for loops."""
    source = ArraySource(mixture.X)
    return (
        source,
        start_params(make_start(mixture, covariance), covariance),
        model_for(source, covariance, find_remedy(regularization)),
    )


def auto(mixture, covariance="full", **options):
    """Return an accelerated fit of the estimator from a start near the truth."""
    options = {"tol": 1e-10, "reg_covar": 0.0, "random_state": 0, "max_iter": 500, **options}
    start = make_start(mixture, covariance)
    return GaussianMixture(len(mixture.means), covariance_type=covariance, solver="auto", **start, **options)


@settings(max_examples=15, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    assignment=st.sampled_from(["soft", "hard"]),
    noise=st.booleans(),
    share=st.sampled_from([0.0, 0.3]),
    weighted=st.booleans(),
    fixed=st.sampled_from([(), ("weights",), ("means",), ("covariances",), ("weights", "means")]),
    seed=st.integers(0, 99),
)
def test_every_fit_ascends(pair, assignment, noise, share, weighted, fixed, seed):
    (covariance, regularization), mixture, rng = pair, rows(), np.random.default_rng(seed)
    labels = np.where(rng.uniform(size=120) < share, mixture.labels, -1) if share else None
    start = make_start(mixture, covariance, seed=seed, shake=2.0)
    model = GaussianMixture(
        3,
        covariance_type=covariance,
        regularization=regularization,
        assignment=assignment,
        noise=noise,
        fixed=fixed,
        solver="auto",
        tol=1e-9,
        max_iter=40,
        random_state=seed,
        **start,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Best performing initialization did not converge")
        model.fit(mixture.X, sample_weight=rng.uniform(0.2, 2.0, 120) if weighted else None, labels=labels)
    falls = np.diff(model.lower_bounds_) < -1e-12 * (1 + np.abs(model.lower_bounds_[1:]))
    reseeded = {event.iteration for event in model.fit_report_.events if event.what in ("reseeded", "dropped")}
    assert set(np.flatnonzero(falls) + 1) <= reseeded
    all_noise = model.status_ is Status.DEGENERATE and assignment == "hard" and noise  # as it happens in EM
    assert all_noise or model.status_ in (Status.CONVERGED, Status.MAX_ITER)
    certificate = model.fit_report_.starts[0].certificate
    assert model.n_iter_ <= certificate.passes <= 40
    for name in fixed:
        held = {"weights": "weights_init", "means": "means_init"}.get(name)
        if held is not None and not noise:
            assert_allclose(getattr(model, f"{name}_"), start[held], rtol=1e-12)


@pytest.mark.parametrize(("covariance", "regularization"), [*((family, None) for family in FAMILIES), *PAIRS])
def test_it_ends_where_em_ends(covariance, regularization):
    source, params, model = ways(rows(spacing=4.0), covariance, regularization)
    em = iterate(source, params, model, stop=Stop("change", 1e-13), max_iter=2000)
    fit = climb(source, params, model, stop=Stop("change", 1e-11), max_iter=500)
    assert fit.status is Status.CONVERGED
    assert fit.history[-1] == pytest.approx(em.history[-1], rel=1e-8)
    assert fit.certificate.gain < 1e-11 * 120
    assert fit.certificate.passes <= em.n_iter + 2


@pytest.mark.parametrize("reg_covar", [1e-6, 1e-2])
def test_reg_covar_too(reg_covar):
    """It has no objective, but a fixed point, which is that of EM."""
    source, params, _ = ways(rows(spacing=4.0))
    model = model_for(source, "full", find_remedy(None, reg_covar))
    em = iterate(source, params, model, stop=Stop("change", 1e-14), max_iter=2000)
    fit = climb(source, params, model, stop=Stop("change", 1e-12), max_iter=500)
    assert fit.status is Status.CONVERGED
    assert_allclose(fit.params.means, em.params.means, rtol=1e-4)
    assert fit.history[-1] == pytest.approx(em.history[-1], rel=1e-8)


def test_overlapping_components_take_fewer_passes_than_em():
    source, params, model = ways(make_mixture(2000, 2, 3, spacing=1.5, seed=2))
    fit = climb(source, params, model, stop=Stop("change", 1e-9), max_iter=1000)
    em = iterate(source, params, model, stop=Stop("change", 0.0), max_iter=3 * int(fit.certificate.passes))
    assert fit.history[-1] > em.history[-1]


@pytest.mark.parametrize("covariance", FAMILIES)
def test_the_certificate_has_the_gradient_per_row(covariance):
    """EM's step is the gradient, in coordinates in which the information of the complete data is the identity."""
    source, params, model = ways(rows(600), covariance)
    fit = climb(source, params, model, stop=Stop("change", 1e-6), max_iter=500)
    space = Parametrization.around(fit.params)
    step = space.pack(fastem.m_step(fit.stats, covariance))
    gradient = space.gradient(np.zeros(len(step)), fit.stats) / 600
    assert fit.certificate.gradient == pytest.approx(np.linalg.norm(step), rel=1e-12)
    assert fit.certificate.gradient == pytest.approx(np.linalg.norm(gradient), rel=0.1)


def test_the_last_step_is_em_and_keeps_mean_and_covariance():
    mixture = rows()
    model = auto(mixture, tol=1e-4).fit(mixture.X)
    mean = model.weights_ @ model.means_
    away = model.means_ - mean
    covariance = np.einsum("k,kij->ij", model.weights_, model.covariances_ + away[:, :, None] * away[:, None])
    assert_allclose(mean, mixture.X.mean(axis=0), rtol=1e-12, atol=1e-12)
    assert_allclose(covariance, np.cov(mixture.X.T, bias=True), rtol=1e-12)


def test_trials_in_vain_do_no_harm(monkeypatch):
    """Steps that lead far away are refused: EM's own are made instead, and the end is the same."""
    source, params, model = ways(rows(spacing=4.0), regularization="ridge")
    em = iterate(source, params, model, stop=Stop("change", 1e-12), max_iter=2000)
    step = acceleration.anderson_step

    def wild(residual, *differences):
        return 300.0 * residual, step(residual, *differences)[1]

    monkeypatch.setattr(acceleration, "anderson_step", wild)
    fit = climb(source, params, model, stop=Stop("change", 1e-14), max_iter=300)
    assert fit.certificate.passes > fit.n_iter
    assert np.all(np.diff(fit.history) >= -1e-13)
    assert fit.history[-1] == pytest.approx(em.history[-1], rel=1e-8)


def test_one_component_takes_a_few_passes():
    X = np.random.default_rng(0).normal(size=(50, 3))
    for dtype in ("f8", "f4"):
        model = GaussianMixture(1, solver="auto", tol=1e-12, reg_covar=0.0).fit(X.astype(dtype))
        assert model.n_iter_ <= 5
        assert model.status_ is Status.CONVERGED


def test_a_component_that_collapses_ends_the_fit():
    X = np.array([[0.0], [0.0], [0.0], [5.0], [6.0], [7.0]])
    start = {"means_init": [[0.0], [6.0]], "weights_init": [0.5, 0.5], "precisions_init": np.ones((2, 1, 1))}
    model = GaussianMixture(2, solver="auto", reg_covar=0.0, tol=1e-9, **start)
    with pytest.warns(fastem.ConvergenceWarning, match="collapsed"):
        model.fit(X)
    assert model.status_ is Status.DEGENERATE
    assert np.isfinite(model.covariances_).all()


def test_weights_of_zero_have_no_logit_and_stay():
    start = make_start(rows(), "full") | {"weights_init": [0.5, 0.5, 0.0]}
    model = GaussianMixture(3, solver="auto", fixed=("weights",), regularization="ridge", tol=1e-6, **start)
    model.fit(rows().X)
    assert model.weights_.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("on_collapse", ["reseed", "drop"])
def test_lost_components(on_collapse):
    """Three points with three components: as in EM, they are reseeded or dropped, and all passes count."""
    X = np.concatenate([rows().X, np.full((4, 2), 30.0)])
    model = GaussianMixture(
        6, solver="auto", regularization="map", on_collapse=on_collapse, init_params="random_from_data", random_state=3
    ).fit(X)
    report = model.fit_report_
    assert {"reseed": "reseeded", "drop": "dropped"}[on_collapse] in {event.what for event in report.events}
    assert report.starts[0].certificate.passes >= model.n_iter_


# ---- ends --------------------------------------------------------------------------------------------


def test_max_iter_counts_all_passes_and_the_report_says_so():
    mixture = make_mixture(500, 2, 3, spacing=1.0, seed=2)
    with pytest.warns(fastem.ConvergenceWarning, match=r"max_iter before .* 7 passes over all rows: "):
        model = auto(mixture, tol=0.0, max_iter=7).fit(mixture.X)
    certificate = model.fit_report_.starts[0].certificate
    assert certificate.passes == 7 >= model.n_iter_
    assert str(certificate) in str(model.fit_report_)
    assert "scaled gradient" in str(certificate)


def test_ctrl_c_hands_over_the_last_point():
    mixture = rows()

    def press(iteration, bound, params):
        if iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(FitInterrupted) as caught:
        auto(mixture, tol=0.0).fit(mixture.X, callback=press)
    result = caught.value.result
    assert result.n_iter == len(result.history) == 3
    assert result.certificate.passes >= 3
    assert GaussianMixture.from_result(result).fit_report_.starts[0].certificate == result.certificate
    stopped = auto(mixture, tol=0.0).fit(mixture.X, callback=lambda iteration, *_: iteration == 3)
    assert stopped.status_ is Status.INTERRUPTED
    assert stopped.lower_bounds_ == result.history


# ---- samples that grow -------------------------------------------------------------------------------


@pytest.fixture
def small_levels(monkeypatch):
    """Let levels begin with 100 rows."""
    monkeypatch.setattr(levels, "FIRST_ROWS", 100)
    monkeypatch.setattr(levels, "ROWS_PER_COMPONENT", 1)


def test_sizes_of_levels():
    assert levels.rows_of_levels(39_999, 5, 10) == []
    assert levels.rows_of_levels(1_000_000, 5, 10) == [10_000, 40_000, 160_000]
    assert levels.rows_of_levels(10**9, 2**12, 300) == []  # a sample of that many columns would not fit MOST_BYTES
    assert levels.rows_of_levels(10**9, 8, 300) == [15_000, 60_000, 240_000, 960_000, 3_840_000]


def test_samples_lead_to_the_optimum_of_all_rows(small_levels):
    mixture = make_mixture(3000, 2, 3, spacing=4.0, seed=6)
    source, params, model = ways(mixture, regularization="ridge")
    sample = levels.draw_sample(source, 3)
    assert sample.n_rows == 400
    assert sample.sum_w == pytest.approx(3000)
    em = iterate(source, params, model, stop=Stop("change", 1e-13), max_iter=2000)
    fit = levels.climb_by_levels(source, params, model, sample=sample, stop=Stop("change", 1e-11), max_iter=100)
    assert fit.history[-1] == pytest.approx(em.history[-1], rel=1e-8)
    assert fit.history[0] > em.history[0]  # all rows begin where the samples ended
    assert fit.certificate.passes == pytest.approx(fit.n_iter, abs=2.0)
    assert fit.certificate.passes > fit.n_iter
    one = levels.climb_by_levels(source, params, model, sample=sample, stop=Stop("change", 0.0), max_iter=1)
    assert (one.status, one.n_iter, one.certificate.passes) == (Status.MAX_ITER, 1, 1.0)


def test_a_sample_on_which_a_component_collapses_counts_for_nothing(small_levels):
    """The sample has one row of the second component, twice."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(2990, 1)), 1e3 + rng.normal(size=(10, 1))])
    params = fastem.make_params([0.9, 0.1], [[0.0], [1e3]], np.ones((2, 1, 1)))
    source = ArraySource(X)
    model = model_for(source, "full", find_remedy(None))
    sample = ArraySource(np.concatenate([X[:396], X[-1:].repeat(4, axis=0)]), np.full(400, 7.5))
    params_after, memory, passes = levels.climb_sample(sample, params, model, 100, 3000)
    assert params_after is params
    assert not len(memory.points)
    assert 0 < passes < 2
    fit = levels.climb_by_levels(source, params, model, sample=sample, stop=Stop("change", 1e-9), max_iter=100)
    assert fit.status is Status.CONVERGED


def test_rows_with_labels_have_no_sample(small_levels):
    X = rows().X.repeat(10, axis=0)
    assert levels.draw_sample(ArraySource(X), 3) is not None
    assert levels.draw_sample(ArraySource(X, labels=np.full(1200, -1)), 3) is None


@pytest.mark.parametrize("regularization", [None, "ridge"])
def test_the_bits_depend_neither_on_threads_nor_on_where_the_rows_are(small_levels, regularization):
    mixture = make_mixture(3000, 2, 3, spacing=2.5, seed=6)
    n_read = 0

    def blocks():
        nonlocal n_read
        for start in range(0, 3000, 700):
            n_read += len(mixture.X[start : start + 700])
            yield mixture.X[start : start + 700]

    def fit(X, **options):
        model = GaussianMixture(3, solver="auto", regularization=regularization, tol=1e-7, random_state=0, **options)
        return model.fit(X)

    one, two, read = fit(mixture.X, n_threads=1), fit(mixture.X, n_threads=2), fit(blocks)
    assert state_bytes(one) == state_bytes(two) == state_bytes(read)
    certificate = one.fit_report_.starts[0].certificate
    assert certificate == two.fit_report_.starts[0].certificate == read.fit_report_.starts[0].certificate
    all_rows = round(certificate.passes)  # beside the samples: a check, the sample, and the moments of a remedy's units
    assert n_read / 3000 <= all_rows + 2 + (regularization is not None)
    assert certificate.passes != all_rows


def test_rows_in_parts(small_levels):
    """As on Dask and MPI: the sample is the same, and sums differ by rounding."""
    da = pytest.importorskip("dask.array")
    import dask

    mixture = make_mixture(3000, 2, 3, spacing=2.5, seed=6)
    with dask.config.set(scheduler="sync"):
        source = find_source(da.from_array(mixture.X, chunks=(700, 2)))
        model = GaussianMixture(3, solver="auto", regularization="ridge", tol=1e-7, random_state=0)
        parts = model.fit(source).lower_bounds_
    assert_allclose(parts, model.fit(mixture.X).lower_bounds_, rtol=1e-9)


def test_a_warm_start_goes_on_with_all_rows(small_levels):
    mixture = make_mixture(3000, 2, 3, spacing=2.5, seed=6)
    model = auto(mixture, warm_start=True).fit(mixture.X)
    again = model.fit(mixture.X)
    assert again.n_iter_ <= accelerated.LEAST_DIFFERENCES + 1
    assert again.fit_report_.starts[0].certificate.passes == again.n_iter_


def test_a_checkpoint_goes_on_with_a_larger_max_iter(tmp_path):
    mixture, file = rows(spacing=4.0), tmp_path / "c.npz"
    with pytest.warns(fastem.ConvergenceWarning, match="3 passes"):
        auto(mixture, max_iter=3).fit(mixture.X, checkpoint=file)
    model = auto(mixture).fit(mixture.X, checkpoint=file)
    assert model.status_ is Status.CONVERGED
    assert model.lower_bound_ == pytest.approx(auto(mixture).fit(mixture.X).lower_bound_, rel=1e-8)
    assert model.fit_report_.starts[0].certificate.passes >= model.n_iter_ > 3
