"""Standard errors, the bootstrap of a fit, and the bootstrap test of the number of components."""

import json
import pickle

import numpy as np
import pytest
from helpers import FAMILIES, GOLDEN, make_mixture, outcome, quiet_fit
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.mixture import GaussianMixture as Theirs

import fastem
from fastem import BootstrapInterrupted, GaussianMixture, Parametrization, Status
from fastem.analysis.information import empirical_information, jacobian_of_numbers
from fastem.estimators.uncertainty import likelihood_ratios, replicates, testing
from fastem.estimators.uncertainty.replicates import Rows
from fastem.fitting.models import model_for
from fastem.model.families import COVARIANCES
from fastem.model.matrices import factorise, variances
from fastem.model.numbers import Numbers
from fastem.model.remedies.reg_covar import RegCovar

TIGHT = dict(tol=1e-9, max_iter=2000, random_state=0)


@pytest.fixture(scope="module")
def faithful():
    return fastem.load_faithful()[0]


@pytest.fixture(scope="module")
def model(faithful):
    return GaussianMixture(2, **TIGHT).fit(faithful).sort_components("means")


def bytes_of(found):
    return found.replicates.tobytes(), found.status.tolist()


# --- standard errors


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("noise", [False, True])
def test_errors_have_the_shapes_of_the_parameters(covariance_type, noise):
    X = np.concatenate([make_mixture(300, 3, 2).X, np.random.default_rng(0).uniform(-20, 20, (20, 3))])
    model = quiet_fit(GaussianMixture(2, covariance_type=covariance_type, noise=noise, **TIGHT), X)
    errors = model.standard_errors(X)
    for name in ("weights_", "means_", "covariances_"):
        assert getattr(errors, name).shape == getattr(model, name).shape
        assert (getattr(errors, name) > 0).all()
    assert len(errors.names) == len(errors.estimate) == len(errors.covariance)
    assert len(set(errors.names)) == len(errors.names)
    assert (errors.noise_weight_ is None) is not noise
    shares = errors.covariance[: 2 + noise, : 2 + noise]
    assert_allclose(shares.sum(axis=0), 0, atol=1e-12)
    table = str(errors).splitlines()
    assert len(table) == 1 + len(errors.names)
    assert table[1].split()[:3] == ["weight", "0", f"{model.weights_[0]:.4g}"]


def test_matrices_of_errors_are_symmetric_and_names_are_those_of_the_features(faithful):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(faithful, columns=["eruptions", "waiting"])
    errors = GaussianMixture(2, **TIGHT).fit(frame).standard_errors(frame)
    assert_array_equal(errors.covariances_, errors.covariances_.swapaxes(1, 2))
    assert errors.names[2:4] == ["mean 0 eruptions", "mean 0 waiting"]
    assert errors.names[-3:] == ["covariance 1 eruptions", "covariance 1 waiting eruptions", "covariance 1 waiting"]
    assert "mean 1 waiting" in str(errors)


def test_a_table_of_many_parameters_ends_with_their_number():
    X = make_mixture(2000, 6, 3).X
    errors = GaussianMixture(3, **TIGHT).fit(X).standard_errors(X)
    assert str(errors).splitlines()[-1] == f"... and {3 + 3 * 6 + 3 * 21 - 60} more"


def test_twice_the_weights_are_half_the_variances(faithful, model):
    once, twice = model.standard_errors(faithful), model.standard_errors(faithful, np.full(len(faithful), 2.0))
    assert_allclose(twice.covariance, once.covariance / 2, rtol=1e-9)
    assert_allclose(model.standard_errors(np.repeat(faithful, 2, axis=0)).covariance, twice.covariance, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_units_that_float64_does_not_hold_are_refused(covariance_type, faithful):
    """The variance of a variance has the fourth power of the unit: it would be infinite, or 0."""
    options = dict(covariance_type=covariance_type, reg_covar=0.0, **TIGHT)
    want = GaussianMixture(2, **options).fit(faithful).standard_errors(faithful)
    for unit in (1e-70, 1e70):
        found = GaussianMixture(2, **options).fit(faithful * unit).standard_errors(faithful * unit)
        assert_allclose(found.covariances_ / unit**2, want.covariances_, rtol=1e-4)
    for unit in (1e-120, 1e120):
        model, X = GaussianMixture(2, **options).fit(faithful * unit), faithful * unit
        replicates = model.bootstrap(X, 5, random_state=0)
        for use in (lambda model=model, X=X: model.standard_errors(X), lambda found=replicates: found.standard_errors):
            with pytest.raises(ValueError, match=r"too large or too small: .* Scale the data"):
                use()
    with pytest.raises(ValueError, match="squared distances overflow"):
        GaussianMixture(2, **options).fit(faithful).standard_errors(faithful * 1e200)


def test_rows_of_a_cluster(faithful, model):
    dask = pytest.importorskip("dask.array")
    rows = dask.from_array(faithful, chunks=(100, 2))
    assert_allclose(model.standard_errors(rows).covariance, model.standard_errors(faithful).covariance, rtol=1e-9)
    assert bytes_of(model.bootstrap(rows, 10, random_state=0)) == bytes_of(
        model.bootstrap(faithful, 10, random_state=0)
    )


def test_parameters_that_are_fixed_have_no_error(faithful):
    start = dict(weights_init=[0.5, 0.5], means_init=[[2.0, 55.0], [4.3, 80.0]])
    errors = GaussianMixture(2, fixed=("weights", "means"), **start, **TIGHT).fit(faithful).standard_errors(faithful)
    assert not errors.weights_.any()
    assert not errors.means_.any()
    assert (errors.covariances_ > 0).all()
    noisy = GaussianMixture(2, fixed=("weights",), noise=True, **TIGHT).fit(faithful).standard_errors(faithful)
    assert_allclose(noisy.weights_, noisy.noise_weight_ / 2)


def test_where_there_is_no_formula_the_error_says_what_to_try(faithful, model):
    hard = GaussianMixture(2, assignment="hard", random_state=0).fit(faithful)
    with pytest.raises(ValueError, match=r"no formula for assignment='hard'.*bootstrap\(X\)"):
        hard.standard_errors(faithful)
    labelled = fastem.as_source(faithful, labels=np.full(len(faithful), -1))
    for method in (model.standard_errors, model.bootstrap):
        with pytest.raises(ValueError, match="takes no rows of known components"):
            method(labelled)
        with pytest.raises(ValueError, match="3 features"):
            method(np.ones((10, 3)))
        with pytest.raises(fastem.NotFittedError):
            getattr(GaussianMixture(2), method.__name__)(faithful)


@pytest.mark.parametrize("covariance_type", ["VEI", "EVV"])
def test_families_with_a_constraint_have_the_bootstrap_alone(covariance_type, faithful):
    model = GaussianMixture(2, covariance_type=covariance_type, **TIGHT).fit(faithful)
    with pytest.raises(ValueError, match=f"no formula for covariance_type='{covariance_type}': use bootstrap"):
        model.standard_errors(faithful)
    with pytest.raises(ValueError, match=f"bootstrap_test fits the covariance types full, .*; got '{covariance_type}'"):
        fastem.bootstrap_test(faithful, 1, covariance_type)
    found = model.bootstrap(faithful, 10, random_state=0)
    assert found.sound.all()
    for one in (model.covariances_, *found.covariances_):  # the same shape, or the same volume
        equal = one[:, 1] / one[:, 0] if covariance_type == "VEI" else np.linalg.det(one)
        assert_allclose(equal[0], equal[1], rtol=1e-3)


def test_rows_that_are_not_complete_are_refused(faithful):
    gaps = faithful.copy()
    gaps[::7, 1] = np.nan
    model = GaussianMixture(2, missing=True, random_state=0).fit(gaps)
    stream = fastem.as_source(lambda: iter(np.array_split(gaps, 3)), missing=True)
    measured = fastem.as_source(faithful, errors=np.full(faithful.shape, 0.01))
    for rows in (gaps, stream, measured):
        for method in (model.standard_errors, model.bootstrap):
            with pytest.raises(ValueError, match=rf"{method.__name__} takes no rows with"):
                method(rows)
    assert (model.standard_errors(faithful).vector > 0).all()
    assert model.bootstrap(faithful, 5, random_state=0).sound.all()


# --- the bootstrap


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_replicates_are_what_estimators_fit_to_the_same_rows(covariance_type, faithful):
    options = dict(covariance_type=covariance_type, max_iter=2000, random_state=0)
    model = GaussianMixture(2, tol=1e-9, **options).fit(faithful)
    found = model.bootstrap(faithful, 5, random_state=3)
    rng, n = np.random.RandomState(3), len(faithful)
    for b in range(5):
        weight = rng.multinomial(n, np.full(n, 1 / n)).astype(float)
        start = dict(weights_init=model.weights_, means_init=model.means_, precisions_init=model.precisions_)
        other = GaussianMixture(2, tol=1e-5 / n, **start, **options).fit(faithful, sample_weight=weight)
        for name in ("weights_", "means_", "covariances_"):
            assert_allclose(getattr(found, name)[b], getattr(other, name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["nonparametric", "parametric", "weighted"])
def test_the_kernel_and_the_loop_fit_the_same(kind, faithful, model, monkeypatch):
    at_once = model.bootstrap(faithful, 10, kind, random_state=0)
    monkeypatch.setattr(replicates, "LARGE", 0)
    one_by_one = model.bootstrap(faithful, 10, kind, random_state=0)
    assert_allclose(one_by_one.replicates, at_once.replicates, rtol=1e-6)


def test_replicates_agree_with_the_information():
    """Within four times their own error, 1 / sqrt(2 B).

    Those of the rows have the covariance inv(H) S inv(H), with S the empirical information and H the Hessian, whether
    or not the model is true; those of the model have inv(H).
    """
    X = make_mixture(3000, 2, 2, spacing=5.0).X
    model = GaussianMixture(2, **TIGHT).fit(X)
    space = Parametrization.around(model.params_)

    def gradient(theta):
        return space.gradient(theta, fastem.accumulate(X, space.unpack(theta)))

    steps = 1e-5 * np.eye(space.unit.size)
    inverse = np.linalg.pinv(-np.stack([(gradient(e) - gradient(-e)) / 2e-5 for e in steps]), rcond=1e-8)
    information = empirical_information(fastem.as_source(X), model.params_)
    jacobian = jacobian_of_numbers(model.params_)
    sandwich = jacobian @ inverse @ information @ inverse @ jacobian.T
    wanted = {"parametric": jacobian @ inverse @ jacobian.T, "nonparametric": sandwich, "weighted": sandwich}
    for kind, covariance in wanted.items():
        found = model.bootstrap(X, 250, kind, random_state=0)
        errors = np.sqrt(np.diagonal(covariance))
        assert_allclose(found.standard_errors.vector, errors, rtol=4 / np.sqrt(500), err_msg=kind)
        assert found.sound.all()


def test_standard_errors_are_those_of_a_parametric_bootstrap_where_the_model_is_true():
    X = make_mixture(15_000, 2, 2, spacing=4.0).X
    model = GaussianMixture(2, **TIGHT).fit(X)
    found = model.bootstrap(X, 200, "parametric", random_state=0)
    assert_allclose(found.standard_errors.vector, model.standard_errors(X).vector, rtol=4 / np.sqrt(400))


def test_sample_weights_are_rows(faithful, model):
    weight = np.random.default_rng(0).integers(0, 3, len(faithful)).astype(float)
    repeated = np.repeat(faithful, weight.astype(int), axis=0)
    options = dict(kind="parametric", random_state=0)
    weighted = model.bootstrap(faithful, 20, sample_weight=weight, **options)
    assert bytes_of(weighted) == bytes_of(model.bootstrap(repeated, 20, **options))
    source = fastem.as_source(lambda: iter(np.array_split(repeated, 5)))
    assert bytes_of(weighted) == bytes_of(model.bootstrap(source, 20, **options))
    doubled = model.bootstrap(faithful, 400, sample_weight=np.full(len(faithful), 2.0), kind="weighted", random_state=0)
    single = model.bootstrap(faithful, 400, kind="weighted", random_state=0)
    ratio = doubled.standard_errors.vector / single.standard_errors.vector
    assert_allclose(ratio, np.sqrt(0.5), rtol=0.2)


@pytest.mark.parametrize("kind", ["nonparametric", "weighted"])
def test_the_seed_alone_decides_the_bits(kind, faithful, model, monkeypatch):
    wanted = bytes_of(model.bootstrap(faithful, 30, kind, random_state=1))
    monkeypatch.setattr(replicates, "BATCH_ROWS", 1000)
    single = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_)
    single.set_params(n_threads=1)
    single.__dict__.update({name: value for name, value in vars(model).items() if name.endswith("cholesky_")})
    assert bytes_of(single.bootstrap(faithful, 30, kind, random_state=1)) == wanted
    assert bytes_of(model.bootstrap(faithful, 30, kind, random_state=2)) != wanted


def test_components_are_put_into_the_order_of_the_fit(faithful, model):
    params = model.params_
    numbers = Numbers.of(params, COVARIANCES["full"])
    gaussian = model_for(fastem.as_source(faithful), "full", RegCovar(1e-6))
    refit = replicates.Refit(params, numbers, gaussian, len(faithful))
    moved = params._replace(means=params.means + 0.1)
    assert_array_equal(refit.vector(moved.permuted(np.array([1, 0]))), refit.vector(moved))
    assert_array_equal(refit.vector(params), model.standard_errors(faithful).estimate)


@pytest.mark.parametrize("options", [dict(noise=True), dict(regularization="geometric"), dict(assignment="hard")])
def test_models_that_the_kernel_does_not_fit(options, faithful):
    model = quiet_fit(GaussianMixture(2, **options, **TIGHT), faithful)
    found = model.bootstrap(faithful, 20, random_state=0)
    assert found.sound.all()
    assert (found.noise_weight_ is not None) == bool(options.get("noise"))
    errors = found.standard_errors
    assert errors.noise_weight_ is None or errors.noise_weight_ > 0
    assert_allclose(found.weights_.mean(axis=0), model.weights_, atol=0.05)


def test_what_is_fixed_stays(faithful):
    start = dict(weights_init=[0.5, 0.5], means_init=[[2.0, 55.0], [4.3, 80.0]])
    model = GaussianMixture(2, fixed=("means",), **start, **TIGHT).fit(faithful)
    found = model.bootstrap(faithful, 10, random_state=0)
    assert (found.means_ == model.means_).all()
    assert (found.standard_errors.weights_ > 0).all()


def test_intervals_are_percentiles(faithful, model):
    found = model.bootstrap(faithful, 200, random_state=0)
    low, high = found.interval(0.9)
    assert_array_equal(low[1], np.quantile(found.means_, 0.05, axis=0))
    assert_array_equal(high[2], np.quantile(found.covariances_, 0.95, axis=0))
    for level in (0, 1, 1.5, "0.9", np.nan):
        with pytest.raises(ValueError, match=r"level must be a number in \(0, 1\)"):
            found.interval(level)
    table = str(found).splitlines()
    assert table[0] == "200 nonparametric replicates"
    assert table[1].split() == ["parameter", "estimate", "standard", "error", "2.5", "%", "97.5", "%"]
    assert len(table) == 2 + 12


def test_replicates_without_a_sound_fit_are_left_out():
    X = np.concatenate([np.random.default_rng(0).normal(size=20), [50.0, 50.001]])[:, None]
    model = quiet_fit(GaussianMixture(2, reg_covar=0, **TIGHT), X)
    found = model.bootstrap(X, 100, random_state=0)
    assert set(found.status[~found.sound].tolist()) <= {Status.DEGENERATE, Status.TOO_FEW_ROWS}
    assert 0 < found.sound.sum() < 90
    assert f"{(~found.sound).sum()} of them have no sound fit" in str(found)
    assert np.isfinite(found.standard_errors.vector).all()
    assert model.bootstrap(X, 50, "weighted", random_state=0).sound.all()  # no component loses its rows by it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n_samples=1), "at least two samples"),
        (dict(n_samples=2.5), "n_samples"),
        (dict(kind="jackknife"), "kind must be one of nonparametric, parametric, weighted; got 'jackknife'"),
        (dict(random_state="a"), "random_state"),
        (dict(sample_weight=[1.0]), "weight"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message, faithful, model):
    with pytest.raises(ValueError, match=message):
        model.bootstrap(faithful, **arguments)


@pytest.mark.parametrize("kind", ["nonparametric", "parametric", "weighted"])
def test_weights_whose_sum_is_no_number_of_rows_are_refused(kind, faithful, model):
    """Shares would make replicates of one row; a huge unit, more rows than memory holds."""
    shares = np.full(len(faithful), 1 / len(faithful))
    with pytest.raises(ValueError, match=r"272 rows sum to 1, .* 1 rows, for 11 free .* sample_weight \* len\(X\)"):
        model.bootstrap(faithful, 2, kind, sample_weight=shares)
    for unit in (1e15, 1e18):
        if kind == "parametric" or (kind == "nonparametric" and unit == 1e18):
            with pytest.raises(ValueError, match=rf"sum to {272 * unit:.6g}".replace("+", r"\+")):
                model.bootstrap(faithful, 2, kind, sample_weight=unit * shares * 272)
        else:
            assert model.bootstrap(faithful, 2, kind, sample_weight=unit * shares * 272).sound.all()
    assert model.bootstrap(faithful, 2, kind, sample_weight=shares * 100).sound.all()


def test_an_interrupted_bootstrap_has_the_replicates_that_are_done(faithful, model, monkeypatch):
    monkeypatch.setattr(replicates, "BATCH_ROWS", 272 * 10)
    seen = []

    def interrupt(done, total):
        seen.append((done, total))
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(BootstrapInterrupted) as caught:
        model.bootstrap(faithful, 35, random_state=0, callback=interrupt)
    assert seen == [(10, 35), (20, 35)]
    whole = model.bootstrap(faithful, 35, random_state=0)
    again = pickle.loads(pickle.dumps(caught.value)).result
    assert_array_equal(again.replicates, whole.replicates[:20])
    assert len(model.bootstrap(faithful, 35, random_state=0, callback=lambda done, _: done >= 10).replicates) == 10


# --- the test of K against K + 1


def test_one_component_of_old_faithful_is_rejected(faithful):
    """The statistic is that of mclust's fits."""
    fits = json.loads((GOLDEN / "fits" / "faithful.json").read_text())
    one, two = (next(f["loglik"] for f in fits if (f["model"], f["G"]) == ("VVV", K)) for K in (1, 2))
    found = fastem.bootstrap_test(faithful, n_samples=199, random_state=0)
    (step,) = found.steps
    assert_allclose(step.statistic, 2 * (two - one), rtol=1e-6)
    assert step.p_value == 1 / (1 + len(step.replicates)) <= 0.0052
    assert found.n_components_ == 2
    assert str(found).splitlines()[1].split()[:4] == ["1", "2", f"{step.statistic:.4f}", f"{step.p_value:.4g}"]


@pytest.mark.parametrize("covariance_type", ["full", "spherical", "tied_diag"])
def test_the_statistic_is_at_least_that_of_scikit_learn_from_three_starts(covariance_type, faithful):
    X = (faithful - faithful.mean(axis=0)) / (1 if "spherical" in covariance_type else faithful.std(axis=0))
    step = fastem.bootstrap_test(X, 1, covariance_type, n_samples=9, random_state=0).steps[0]
    ours = covariance_type.startswith("tied_")
    kind, options = GaussianMixture if ours else Theirs, dict(covariance_type=covariance_type, reg_covar=0, tol=1e-8)
    one, two = (kind(K, n_init=3, max_iter=1000, random_state=0, **options).fit(X).score(X) for K in (1, 2))
    assert step.statistic >= 2 * len(X) * (two - one) - 0.01


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("K", [1, 2])
def test_halves_of_a_component_are_a_start_of_about_its_moments(covariance_type, K):
    params = make_mixture(500, 3, K).X
    model = quiet_fit(GaussianMixture(K, covariance_type=covariance_type, **TIGHT), params)
    mixtures = tuple(np.stack([part, part]) for part in model.params_[:4])
    family = COVARIANCES[covariance_type]
    weights, means, covariances, factor = likelihood_ratios.split(mixtures, 0, family.shared)
    assert weights.shape == (2, K + 1)
    assert covariances.shape == (2, *family.shape(K + 1, 3))
    assert_allclose(weights.sum(axis=1), 1)
    assert_allclose((means[:, 0] + means[:, -1]) / 2, mixtures[1][:, 0])
    assert_allclose(factor, factorise(covariances))
    if not family.shared:
        step = (means[0, 0] - means[0, -1]) / 2
        before, after = (np.broadcast_to(variances(part[0])[0], 3).sum() for part in (mixtures[2], covariances))
        assert_allclose(after + (step**2).sum(), before)
    assert_array_equal(mixtures[0][0], model.params_.weights)  # the arrays that were given stay


@pytest.mark.parametrize("means", [[0.0, 4.0, 30.0], [0.0, 26.0, 30.0]])
def test_any_component_may_be_the_one_that_is_cut(means, monkeypatch):
    """Without starts from k-means."""
    monkeypatch.setattr(likelihood_ratios, "K_MEANS", 0)
    monkeypatch.setattr(likelihood_ratios, "MORE", 0)
    rng = np.random.default_rng(0)
    X = np.array(means)[rng.integers(3, size=600)] + rng.normal(size=600)
    two = GaussianMixture(2, **TIGHT).fit(X[:, None]).sort_components("means").params_
    (ratio,), _ = likelihood_ratios.log_likelihood_ratios(
        [Rows(X[:, None], np.ones(600))], two, COVARIANCES["full"], np.random.RandomState(0)
    )
    assert ratio > 50


def test_k_means_is_a_start_too(faithful, monkeypatch):
    """Where halves of a component stay together."""
    monkeypatch.setattr(likelihood_ratios, "longest_axis", lambda covariances, D: np.zeros((len(covariances), D)))
    assert fastem.bootstrap_test(faithful, n_samples=9, random_state=0).steps[0].statistic > 300


def test_tests_go_on_until_one_does_not_reject():
    X = make_mixture(300, 2, 2, spacing=8.0).X
    found = fastem.bootstrap_test(X, max_components=5, n_samples=39, random_state=0)
    assert [step.n_components for step in found.steps] == [1, 2]
    assert [step.p_value <= 0.05 for step in found.steps] == [True, False]
    assert found.n_components_ == 2
    stricter = fastem.bootstrap_test(X, max_components=5, n_samples=9, level=0.05, random_state=0)
    assert stricter.n_components_ == 1  # ten sets cannot show a p-value of less than a tenth


def test_the_statistic_does_not_depend_on_units(faithful):
    plain = fastem.bootstrap_test(faithful, n_samples=19, random_state=0).steps[0]
    other = fastem.bootstrap_test(faithful * [1e-4, 1e3] + [5.0, -7e4], n_samples=19, random_state=0).steps[0]
    assert_allclose(other.statistic, plain.statistic, rtol=1e-6)
    assert_allclose(other.replicates, plain.replicates, rtol=1e-2, atol=0.05)


def test_the_seed_alone_decides_a_test(faithful, monkeypatch):
    wanted = fastem.bootstrap_test(faithful, n_samples=20, random_state=0).steps[0]
    alone = fastem.bootstrap_test(faithful, n_samples=20, random_state=0, n_threads=1).steps[0]
    assert alone.replicates.tobytes() == wanted.replicates.tobytes()
    assert fastem.bootstrap_test(faithful, n_samples=20, random_state=1).steps[0].statistic > 300


def test_an_interrupted_test_has_what_is_done(faithful, monkeypatch):
    monkeypatch.setattr(replicates, "BATCH_ROWS", 272 * 10)

    def interrupt(K, done, total):
        if (K, done) == (2, 20):
            raise KeyboardInterrupt

    with pytest.raises(BootstrapInterrupted) as caught:
        fastem.bootstrap_test(faithful, max_components=4, n_samples=30, level=0.06, random_state=0, callback=interrupt)
    assert [len(step.replicates) for step in caught.value.result.steps] == [30, 20]
    stopped = fastem.bootstrap_test(faithful, n_samples=30, random_state=0, callback=lambda K, done, total: done >= 10)
    assert len(stopped.steps[0].replicates) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n_components=0), r"n_components must be an int in \[1, inf\); got 0"),
        (dict(n_components=2, max_components=2), "max_components must be more than n_components, 2; got 2"),
        (dict(max_components=2.5), "max_components must be an int"),
        (dict(level=0), "level must be a number"),
        (dict(n_samples=0), "n_samples"),
        (dict(covariance_type="round"), "covariance_type must be one of"),
        (dict(n_threads=0), "n_threads"),
    ],
)
def test_arguments_of_a_test_that_cannot_be_used(arguments, message, faithful):
    with pytest.raises(ValueError, match=message):
        fastem.bootstrap_test(faithful, **arguments)


def test_rows_that_cannot_be_tested():
    with pytest.raises(ValueError, match="Column 1 of X is constant: leave it out"):
        fastem.bootstrap_test(np.column_stack([np.arange(9.0), np.ones(9)]))
    with pytest.raises(ValueError, match=r"3 rows are too few for the 5 free parameters of 2 components"):
        fastem.bootstrap_test([[0.0], [1.0], [2.0]], n_samples=9)
    line = np.arange(20.0)[:, None] * [1.0, 2.0]
    with pytest.raises(ValueError, match=r"no sound fit of K = 1.*Try fewer components"):
        fastem.bootstrap_test(line, n_samples=9)


def test_spikes_do_not_count():
    """On rows that are there five times the likelihood of two components is unbounded."""
    X = np.concatenate([np.random.default_rng(0).normal(size=60), np.full(5, 0.5)])[:, None]
    found = fastem.bootstrap_test(X, n_samples=39, random_state=0)
    assert found.steps[0].statistic < 20


def test_without_a_sound_fit_of_more_components_the_statistic_is_0(faithful, monkeypatch):
    monkeypatch.setattr(
        likelihood_ratios, "LARGEST_PRECISION", 5.0
    )  # one component has 1 / 0.2 and less, two have more
    with pytest.warns(UserWarning, match="No sound fit of 2 components is better than that of 1"):
        step = fastem.bootstrap_test(faithful[:, :1], n_samples=9, random_state=0).steps[0]
    assert (step.statistic, step.p_value) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No sound fit")
def test_the_test_holds_its_level():
    """Of 200 sets of one component about 5 % are rejected; the p-values are uniform."""
    rng = np.random.default_rng(0)
    found = [fastem.bootstrap_test(rng.normal(size=(100, 1)), n_samples=39, random_state=i) for i in range(200)]
    p_values = np.array([one.steps[0].p_value for one in found])
    assert stats.binomtest(int((p_values <= 0.05).sum()), 200, 0.05).pvalue > 0.01
    assert stats.kstest(p_values - 1 / 80, "uniform").pvalue > 0.01


def test_sets_are_fitted_from_given_starts_or_k_means():
    X = make_mixture(120, 2, 2).X
    sets = [Rows(X[:60], np.ones(60)), Rows(X[60:], np.ones(60))]
    ratios, null = likelihood_ratios.log_likelihood_ratios(
        sets, GaussianMixture(2, **TIGHT).fit(X).params_, COVARIANCES["full"], np.random.RandomState(0)
    )
    assert (ratios >= 0).all()
    assert [part.shape for part in null] == [(2, 2), (2, 2, 2), (2, 2, 2, 2), (2, 2, 2, 2)]
    assert testing.scaled(X, COVARIANCES["full"]).X.std(axis=0).round(12).tolist() == [1.0, 1.0]
    assert outcome(lambda: null)[1] is None
