"""Passes over rows with errors of measurement: against slow NumPy, and what must not change a bit."""

import mpmath
import numba
import numpy as np
import pytest
from errors_of_rows import KINDS, as_matrices, draw_errors, mixture_and_rows
from helpers import FAMILIES
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem.kernels import errors as kernel
from fastem.kernels.mixture import HARD
from fastem.model import reference
from fastem.passes.scores import score
from fastem.passes.statistics import evaluate

FIELDS = ("loglik", "class_loglik", "entropy", "s0", "s1", "s2")


def assert_same(found, expected, rtol=1e-11):
    for field in FIELDS:
        a, b = np.asarray(getattr(found, field)), np.asarray(getattr(expected, field))
        assert a.shape == b.shape, field
        assert_allclose(a, b, rtol=rtol, atol=rtol * max(1.0, float(np.abs(b).max())), err_msg=field)
    assert (found.noise is None) == (expected.noise is None)
    if found.noise:
        assert_allclose(found.noise.weight, expected.noise.weight, rtol=rtol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("D", [1, 2, 7])
def test_a_pass_equals_its_twin(D, covariance, kind):
    N, K = 40, 3
    params, X, weight = mixture_and_rows(N, D, K, covariance, noise=D == 2)
    errors = draw_errors(N, D, kind)
    found = evaluate(fastem.as_source(X, weight, errors=errors), params)
    assert_same(found, reference.accumulate_with_errors(X, as_matrices(errors, N, D), params, weight))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["labels", "mask"])
def test_a_pass_keeps_to_labels(form, kind):
    N, D, K = 70, 2, 3
    params, X, weight = mixture_and_rows(N, D, K, "full", noise=True)
    errors, rng = draw_errors(N, D, kind), np.random.default_rng(1)
    labels = rng.integers(-1, K, N)
    allowed = given = (labels[:, None] == np.arange(K)) | (labels[:, None] < 0)
    if form == "mask":
        allowed = given = rng.uniform(size=(N, K)) < 0.5
        allowed[np.arange(N), rng.integers(0, K, N)] = True
    else:
        given = labels
    found = evaluate(fastem.as_source(X, weight, given, errors=errors), params)
    allowed = np.column_stack([allowed, allowed.all(axis=1)])
    assert_same(found, reference.accumulate_with_errors(X, as_matrices(errors, N, D), params, weight, allowed))


@pytest.mark.parametrize("kind", KINDS)
def test_hard_assignment_gives_rows_whole(kind):
    N, D, K = 70, 2, 3
    params, X, weight = mixture_and_rows(N, D, K, "full")
    errors = draw_errors(N, D, kind)
    joint = reference.true_places(X, as_matrices(errors, N, D), params)[0]
    best = np.eye(K, dtype=bool)[joint.argmax(axis=1)]
    want = reference.accumulate_with_errors(X, as_matrices(errors, N, D), params, weight, best)
    assert_same(evaluate(fastem.as_source(X, weight, errors=errors), params, mode=HARD), want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [False, True])
def test_scores_equal_their_twin(noise, kind):
    N, D, K = 300, 2, 4
    params, X, _ = mixture_and_rows(N, D, K, "full", noise)
    errors = draw_errors(N, D, kind)
    joint = reference.true_places(X, as_matrices(errors, N, D), params)[0]
    scores = score(fastem.as_source(X, errors=errors), params, density=True, label=True, resp=True, joint=True, top=2)
    density = reference.log_sum_exp(joint)
    assert_allclose(scores.joint, joint, rtol=1e-12, atol=1e-12)
    assert_allclose(scores.density, density, rtol=1e-12, atol=1e-12)
    assert_allclose(scores.resp, np.exp(joint - density[:, None]), rtol=1e-10, atol=1e-14)
    assert_array_equal(scores.label, joint.argmax(axis=1))
    assert_array_equal(scores.top_index[:, 0], scores.label)
    assert_array_equal(scores.top_resp, -np.sort(-scores.resp, axis=1)[:, :2])


@pytest.mark.parametrize("kind", KINDS[:4])
def test_many_features_go_through_lapack(monkeypatch, kind):
    """Beyond MOST_FEATURES; both ways are right, so that the limit is of no concern."""
    N, D, K = 40, 4, 3
    params, X, weight = mixture_and_rows(N, D, K, "full", noise=True)
    errors, labels = draw_errors(N, D, kind), np.random.default_rng(1).integers(-1, K, N)
    source = fastem.as_source(X, weight, labels, errors=errors)
    monkeypatch.setattr(kernel, "MOST_FEATURES", 3)
    allowed = (labels[:, None] == np.arange(K + 1)) | (labels[:, None] < 0)
    matrices = as_matrices(errors, N, D)
    assert_same(evaluate(source, params), reference.accumulate_with_errors(X, matrices, params, weight, allowed))
    joint = score(source, params, joint=True).joint
    assert_allclose(joint, reference.true_places(X, matrices, params)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["variances", "matrices", "one matrix"])
def test_no_errors_is_the_ordinary_pass_to_rounding(kind):
    params, X, weight = mixture_and_rows(500, 2, 3, "full")
    errors = 0 * draw_errors(500, 2, kind)
    want = fastem.accumulate(X, params, weight)
    assert_same(evaluate(fastem.as_source(X, weight, errors=errors), params), want, rtol=1e-12)


@pytest.mark.parametrize("kind", ["variances", "matrices"])
def test_errors_of_vast_size_leave_the_prior(kind):
    """1e12 and 1e24 times the rows' variance: densities keep their digits, and the row tells nothing of its place."""
    params, X, _ = mixture_and_rows(50, 2, 2, "full")
    for size in (1e12, 1e24):
        errors = size * (1 + draw_errors(50, 2, "variances"))
        errors = errors if kind == "variances" else as_matrices(errors, 50, 2)
        found = evaluate(fastem.as_source(X, errors=errors), params)
        assert_same(found, reference.accumulate_with_errors(X, as_matrices(errors, 50, 2), params, np.ones(50)))
        assert_allclose(found.s2, found.s0[:, None, None] * params.covariances, rtol=1e-10)


def test_narrow_directions_keep_their_digits():
    """Correlations of 1 - 1e-10, and small errors beside them: in whitened coordinates nothing cancels."""
    C = np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]])
    params = fastem.make_params([1.0], [[0.0, 0.0]], [C])
    rng = np.random.default_rng(0)
    X = rng.multivariate_normal([0, 0], C, size=200)
    errors = np.full((200, 2), 1e-13)
    stats = evaluate(fastem.as_source(X, errors=errors), params)
    covariance = fastem.m_step(stats).covariances[0]
    narrow = np.array([1.0, -1.0]) / np.sqrt(2)
    plain = fastem.m_step(fastem.accumulate(X, params)).covariances[0]
    assert_allclose(narrow @ covariance @ narrow, narrow @ plain @ narrow, rtol=1e-2)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("layout", ["F", "strided", "float32", "readonly"])
def test_layouts_give_the_same_bits(layout, full):
    params, X, _ = mixture_and_rows(700, 2, 2, "full")
    X = X.astype(np.float32).astype(np.float64)
    errors = draw_errors(700, 2, "matrices" if full else "variances")

    def laid_out(array):
        if layout == "F":
            return np.asfortranarray(array)
        wide = np.zeros((1400, *array.shape[1:]))
        wide[::2] = array
        copy = wide[::2] if layout == "strided" else array.copy()
        copy.flags.writeable = layout != "readonly"
        return copy

    rows = X.astype(np.float32) if layout == "float32" else laid_out(X)
    found = evaluate(fastem.as_source(rows, errors=laid_out(errors)), params)
    expected = evaluate(fastem.as_source(X, errors=errors), params)
    for field in FIELDS:
        assert_array_equal(getattr(found, field), getattr(expected, field))


def test_threads_give_the_same_bits():
    params, X, weight = mixture_and_rows(60_000, 2, 5, "full")
    source = fastem.as_source(X, weight, errors=draw_errors(60_000, 2, "variances"))
    before, found = numba.get_num_threads(), []
    try:
        for n in (1, before):
            numba.set_num_threads(n)
            found.append((evaluate(source, params), score(source, params, density=True).density))
    finally:
        numba.set_num_threads(before)
    for field in FIELDS:
        assert_array_equal(getattr(found[0][0], field), getattr(found[1][0], field))
    assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", ["variances with gaps", "matrices", "one matrix"])
def test_the_gradient_is_that_of_finite_differences(kind):
    N, D, K = 60, 2, 2
    params, X, weight = mixture_and_rows(N, D, K, "full")
    source = fastem.as_source(X, weight, errors=draw_errors(N, D, kind))
    space = fastem.Parametrization.of(params)
    theta = space.pack(params)
    _, gradient = fastem.log_likelihood_and_gradient(source, params)
    for i in range(len(theta)):
        step = np.zeros(len(theta))
        step[i] = 1e-5
        up, down = (fastem.accumulate(source, space.unpack(theta + sign * step)).loglik for sign in (1, -1))
        assert_allclose(gradient[i], (up - down) / 2e-5, rtol=1e-6, atol=1e-6)


def exact_log_density(x, S, params):
    """Return the log density of a row of two features with the error S, as a mixture of mpmath's numbers."""
    terms = []
    for weight, mean, C in zip(params.weights, params.means, params.covariances, strict=True):
        a, b, _, d = (mpmath.mpf(float(u)) + float(v) for u, v in zip(np.ravel(C), np.ravel(S), strict=True))
        z, det = [mpmath.mpf(float(u)) - float(v) for u, v in zip(x, mean, strict=True)], a * d - b * b
        square = (d * z[0] ** 2 - 2 * b * z[0] * z[1] + a * z[1] ** 2) / det
        terms.append(float(weight) * mpmath.exp(-square / 2) / (2 * mpmath.pi * mpmath.sqrt(det)))
    return float(mpmath.log(mpmath.fsum(terms)))


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # by the interpreter, without JIT
@pytest.mark.parametrize("largest", [1e3, 1e9, 1e12, 1e14, 1e17, 1e30, 1e60])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_scores_beside_large_errors_are_right_or_an_error(shared, many, largest, monkeypatch):
    """Of singular errors, T = C + S keeps what is rounded off at 1e-16 S: 0.01 nats are right, and more is refused."""
    if many:
        monkeypatch.setattr(kernel, "MOST_FEATURES", 1)  # as LAPACK does it
    params, X, _ = mixture_and_rows(20, 2, 3, "full")
    S = largest * np.array([[1.0, 0.5], [0.5, 0.25]])
    errors = S if shared else np.broadcast_to(S, (20, 2, 2))
    if largest > 1e13:
        for call in (fastem.log_density, fastem.accumulate):
            with pytest.raises(
                ValueError, match="Beside the error_covariance those of the mixture are lost to rounding"
            ):
                call(fastem.as_source(X, errors=errors), params)
        return
    density = fastem.log_density(fastem.as_source(X, errors=errors), params)
    assert_allclose(density, [exact_log_density(x, S, params) for x in X], atol=0.01)
    stats = fastem.accumulate(fastem.as_source(X, errors=errors), params)
    assert_allclose(stats.loglik, density.sum(), rtol=1e-9)


@pytest.mark.parametrize("many", [False, True])
def test_what_is_large_but_not_lost_is_taken(many, monkeypatch):
    """A large variance alone, or correlations that leave a direction its share, lose nothing; nor do absent rows."""
    if many:
        monkeypatch.setattr(kernel, "MOST_FEATURES", 1)
    params, X, weight = mixture_and_rows(20, 2, 3, "full")
    errors = np.zeros((20, 2, 2))
    errors[0], errors[1] = [[1e60, 0.0], [0.0, 1.0]], [[1e60, 5e59], [5e59, 1e60]]
    expected = [exact_log_density(x, S, params) for x, S in zip(X, errors, strict=True)]
    assert_allclose(fastem.log_density(fastem.as_source(X, errors=errors), params), expected, rtol=1e-10)
    weight[:3] = 1.0, 1.0, 0.0
    without = fastem.accumulate(fastem.as_source(X, weight, errors=errors), params)
    errors[2] = 1e60
    stats = fastem.accumulate(fastem.as_source(X, weight, errors=errors), params)
    for field in FIELDS:
        assert_array_equal(getattr(stats, field), getattr(without, field))
