"""What must not matter does not, on well-posed problems drawn at random: orders, units, blocks, kinds of array."""

import numpy as np
import pandas as pd
import pytest
from helpers import FAMILIES, assert_close, from_params, make_mixture, quiet_fit, state_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

import fastem
from fastem import GaussianMixture
from fastem.model.remedies.table import REMEDIES

RTOL = 1e-7  # after 12 iterations: rounding, and what those make of it
SETTINGS = settings(max_examples=4, deadline=None, derandomize=True, database=None)


@st.composite
def problems(draw):
    """Rows of separate components, and their labels."""
    d, k = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    mixture = make_mixture(draw(st.integers(60, 200)) * k, d, k, spacing=5.0, seed=draw(st.integers(0, 10**6)))
    return mixture.X, mixture.labels


def each(test):
    """Run a test of a property for each family and remedy (None: maximum likelihood)."""
    test = pytest.mark.parametrize("remedy", [None, *REMEDIES])(SETTINGS(given(problems(), st.data())(test)))
    return pytest.mark.parametrize("covariance", FAMILIES)(test)


def permutation(draw, n):
    return np.random.default_rng(draw(st.integers(0, 10**6))).permutation(n)


def fit(X, labels, covariance, remedy, weight=None):
    """Twelve iterations from labels; the M-step that makes the start is relative to the rows too."""
    stats = fastem.moments(X, labels=labels, covariance_type=covariance, sample_weight=weight)
    start = fastem.m_step(stats, covariance, regularization=remedy)
    options = dict(covariance_type=covariance, regularization=remedy, tol=0.0, max_iter=12, sample_weight=weight)
    return fastem.em(X, start, **options)


def assert_same(got, want):
    """Parameters and course of two fits."""
    assert_close(from_params(got.params), from_params(want.params), RTOL)
    np.testing.assert_allclose(got.history, want.history, rtol=0, atol=1e-9 * (1 + np.abs(want.history).max()))


@each
def test_order_of_rows(covariance, remedy, problem, data):
    (X, labels), how = problem, (covariance, remedy)
    order = permutation(data.draw, len(X))
    assert_same(fit(X[order], labels[order], *how), fit(X, labels, *how))


@each
def test_order_of_components(covariance, remedy, problem, data):
    (X, labels), how = problem, (covariance, remedy)
    order = permutation(data.draw, labels.max() + 1)
    place = np.argsort(order)
    got, want = fit(X, place[labels], *how), fit(X, labels, *how)
    params = from_params(want.params)
    assert_close(from_params(got.params), type(params)(*(array[order] for array in params)), RTOL)


@each
def test_order_of_features(covariance, remedy, problem, data):
    (X, labels), how = problem, (covariance, remedy)
    order = permutation(data.draw, X.shape[1])
    got, want = fit(X[:, order], labels, *how), fit(X, labels, *how)
    params = from_params(want.params)
    moved = params._replace(means=params.means[:, order], covariances=params.covariances[:, order][:, :, order])
    assert_close(from_params(got.params), moved, RTOL)


@each
def test_affine_maps(covariance, remedy, problem, data):
    """Any for full and tied, a unit for each feature for diag, a rotation and one unit for spherical."""
    X, labels = problem
    d = X.shape[1]
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    units = 10.0 ** np.array(data.draw(st.lists(st.floats(-6, 6), min_size=d, max_size=d)))
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    matrix = {
        "full": lambda: (rotation * rng.uniform(0.5, 2.0, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0] * units,
        "diag": lambda: np.diag(units),
        "spherical": lambda: rotation * units[0],
    }["full" if covariance == "tied" else covariance.removeprefix("tied_")]()
    shift = X.std(axis=0) @ matrix * rng.uniform(-10, 10, d)
    got, want = fit(X @ matrix + shift, labels, covariance, remedy), fit(X, labels, covariance, remedy)
    back = from_params(got.params)
    inverse = np.linalg.inv(matrix)
    back = back._replace(means=(back.means - shift) @ inverse, covariances=inverse.T @ back.covariances @ inverse)
    assert_close(back, from_params(want.params), 100 * RTOL)
    change = got.loglik - want.loglik + len(X) * np.linalg.slogdet(matrix)[1]
    assert abs(change) < 1e-7 * len(X) * (1 + abs(want.loglik) / len(X))


@each
def test_weights_are_repetition(covariance, remedy, problem, data):
    """Under a remedy the weight counts in what the remedy is relative to as well."""
    (X, labels), how = problem, (covariance, remedy)
    weight = np.random.default_rng(data.draw(st.integers(0, 10**6))).integers(1, 4, len(X))
    repeated = fit(np.repeat(X, weight, axis=0), np.repeat(labels, weight), *how)
    assert_same(fit(X, labels, *how, weight=weight.astype(float)), repeated)


@each
def test_blocks_add_up(covariance, remedy, problem, data):
    """Statistics of any blocks of rows, and the M-step from their sum."""
    X, labels = problem
    params = fastem.m_step(fastem.moments(X, labels=labels, covariance_type=covariance), covariance)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(X) - 1), max_size=6)))
    parts = [fastem.accumulate(part, params) for part in np.split(X, cuts)]
    whole, total = fastem.accumulate(X, params), sum(parts)
    assert total.n_rows == whole.n_rows == len(X)
    assert total.loglik == pytest.approx(whole.loglik, rel=1e-12)
    got, want = (from_params(fastem.m_step(s, covariance, regularization=remedy)) for s in (total, whole))
    assert_close(got, want, RTOL)


# ---- kinds of array ----------------------------------------------------------------------------------

KINDS = {
    **{
        dtype: np.dtype(dtype)
        for dtype in ("i1", "u2", "<i4", ">i4", "u8", "f8", "f4", ">f4", ">f8", "f2", "g", "O", "?")
    },
    **{name: name for name in ("Int8", "UInt32", "Int64", "Float32", "Float64", "boolean")},
}
LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
}


def make(X, kind, layout, contained):
    """The values of X as an array of a kind and layout, a frame of such, or lists."""
    if isinstance(KINDS[kind], str):
        return pd.DataFrame({f"x{j}": pd.array(X[:, j], dtype=KINDS[kind]) for j in range(X.shape[1])})
    array = LAYOUTS[layout](X.astype(KINDS[kind]))
    return {"array": lambda: array, "frame": lambda: pd.DataFrame(array), "list": array.tolist}[contained]()


@settings(SETTINGS, max_examples=100)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(["array", "frame", "list"]),
    st.integers(0, 10**6),
)
def test_kind_of_array(kind, layout, contained, seed):
    """The bits of the same values in a C-ordered float64 array; in a float32 one, where float32 came in."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 2, (80, 3)) if kind in ("?", "boolean") else rng.integers(0, 100, (80, 3))
    single = kind in ("f4", ">f4") and contained != "list"
    options = dict(n_components=2, random_state=0, reg_covar=1e-2, max_iter=5)
    got = quiet_fit(GaussianMixture(**options), make(X, kind, layout, contained))
    want = quiet_fit(GaussianMixture(**options), X.astype("f4" if single else "f8"))
    assert state_bytes(got) == state_bytes(want)


@settings(SETTINGS, max_examples=40)
@given(
    st.sampled_from(["Int8", "Int64", "Float32", "Float64", "boolean", "O", "f4", "f8", "g"]),
    st.integers(0, 79),
    st.integers(0, 2),
)
def test_a_missing_value_of_any_kind_is_named(kind, row, column):
    X = np.arange(240).reshape(80, 3) % 2
    if (kind[0].isupper() and len(kind) > 1) or kind == "boolean":
        frame = pd.DataFrame({f"x{j}": pd.array(X[:, j], dtype=kind) for j in range(3)})
        frame.iloc[row, column] = pd.NA
    else:
        frame = X.astype(kind)
        frame[row, column] = None if kind == "O" else np.nan
    with pytest.raises(ValueError, match=r"Input X contains NaN"):
        GaussianMixture(2).fit(frame)
