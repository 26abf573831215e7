"""The same bits for any number of threads and any layout of the data; blocks of rows add up."""

import functools

import numba
import numpy as np
import pytest
from helpers import (
    TYPES,
    Fitted,
    assert_close,
    digest,
    exact_m_step,
    fitted,
    from_params,
    make_mixture,
    make_start,
    quiet_fit,
    run_child,
    start_params,
    state_bytes,
)
from scipy.special import logsumexp

import fastem
from fastem import GaussianMixture
from fastem.kernels import jit
from fastem.passes import layout

# ---- threads -----------------------------------------------------------------------------------------

CHILD = """
import json, sys, warnings
import numpy as np
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")
helpers.take_all_threads()
out = {}
for d, k, n, dtype in ((3, 4, 30011, "f8"), (11, 3, 9000, "f4")):
    X = helpers.make_mixture(n, d, k, spacing=2.0).X.astype(dtype)
    w = np.random.default_rng(0).uniform(size=n)
    for t in helpers.TYPES:
        m = GaussianMixture(k, covariance_type=t, random_state=0, max_iter=5).fit(X, sample_weight=w)
        scores = (m.score_samples(X), m.predict_proba(X), m.predict(X), *m.predict_top(X, 2))
        out[f"{t}-{dtype}"] = helpers.digest(helpers.state_bytes(m), *scores)
for init in ("random", "k-means++", "auto"):
    m = GaussianMixture(k, init_params=init, random_state=0, max_iter=3, n_init=2).fit(X)
    out[init] = helpers.digest(helpers.state_bytes(m))
print(json.dumps(out))
"""


def test_number_of_threads():
    """NUMBA_NUM_THREADS = 1 and 7 in new processes: fits, starts and scores have identical bytes. For 2, see below."""
    one, seven = (run_child(CHILD, NUMBA_NUM_THREADS=str(n)) for n in (1, 7))
    assert len(one) == 11
    assert one == seven


COLD = """
import json, warnings
import helpers
from fastem import GaussianMixture
warnings.simplefilter("ignore")
helpers.take_all_threads()
X = helpers.make_mixture(30011, 3, 4, spacing=2.0).X
out = {}
for t in ("full", "diag"):
    m = GaussianMixture(4, covariance_type=t, random_state=0, max_iter=5).fit(X)
    out[t] = [helpers.digest(v) for v in (m.weights_, m.means_, m.covariances_, m.score_samples(X))]
print(json.dumps(out))
"""


@pytest.mark.slow
def test_fresh_compilation(tmp_path):
    """A process that compiles the kernels and one that loads them from the cache compute the same bits."""
    env = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    compiled, loaded = (run_child(COLD, **env) for _ in range(2))
    assert any(tmp_path.rglob("*.nbi"))
    assert compiled == loaded


def test_set_num_threads(monkeypatch):
    """The same through Numba's own switch, in one process."""
    monkeypatch.setattr(jit, "THREAD_FLOPS", 1.0)
    X = make_mixture(20_000, 3, 4, spacing=2.0).X
    before, seen = numba.get_num_threads(), set()
    try:
        for n in range(1, min(before, 4) + 1):
            numba.set_num_threads(n)
            seen.add(state_bytes(quiet_fit(GaussianMixture(4, random_state=0, max_iter=5), X)))
            assert numba.get_num_threads() == n
    finally:
        numba.set_num_threads(before)
    assert len(seen) == 1


@pytest.fixture
def used(monkeypatch):
    """The number of threads that each launch of a kernel may use, as they happen."""
    seen = []

    def recorded(*args):
        seen.append(jit.n_threads())
        return jit.count_tasks(*args)

    monkeypatch.setattr(jit, "THREAD_FLOPS", 1.0)
    monkeypatch.setattr(layout, "count_tasks", recorded)
    return seen


@pytest.mark.parametrize("n_threads", [1, 2, 10**6, np.int64(1)])
def test_n_threads(two, used, n_threads):
    """The argument bounds each method and `em`, changes no bit, never exceeds Numba's own number, and is undone."""
    model = GaussianMixture(2, random_state=0, n_threads=n_threads)
    before = numba.get_num_threads()
    calls = {
        "fit": lambda m: state_bytes(m.fit(two.X)),
        "fit_predict": lambda m: m.fit_predict(two.X).tobytes(),
        "predict": lambda m: m.predict(two.X).tobytes(),
        "predict_proba": lambda m: m.predict_proba(two.X).tobytes(),
        "score_samples": lambda m: m.score_samples(two.X).tobytes(),
        "score": lambda m: m.score(two.X),
        "bic": lambda m: m.bic(two.X),
        "em": lambda m: fastem.em(two.X, m.params_, n_threads=m.n_threads).params.factor.tobytes(),
    }
    for name, call in calls.items():
        used.clear()
        got = call(model)
        assert set(used) == {min(n_threads, before)}, name
        assert numba.get_num_threads() == before
        assert got == call(GaussianMixture(2, random_state=0).fit(two.X)), name


def test_n_threads_raises_nothing(two, used):
    """Where joblib or `numba.set_num_threads` allow one thread, an argument of two gives one."""
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        GaussianMixture(2, random_state=0, n_threads=2).fit(two.X)
    finally:
        numba.set_num_threads(before)
    assert set(used) == {1}


def test_n_threads_after_an_error(two):
    before = numba.get_num_threads()

    def callback(*_):
        raise RuntimeError("the callback's")

    for call in (
        lambda: GaussianMixture(2, n_threads=1).fit(two.X, callback=callback),
        lambda: fastem.em(two.X, GaussianMixture(2).fit(two.X).params_, n_threads=1, callback=callback),
    ):
        with pytest.raises(RuntimeError, match="the callback's"):
            call()
        assert numba.get_num_threads() == before


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, True, "2", np.inf, [1]])
def test_bad_n_threads(two, n_threads):
    model = GaussianMixture(2, random_state=0).fit(two.X)
    for call in (
        lambda: GaussianMixture(2, n_threads=n_threads).fit(two.X),
        lambda: model.set_params(n_threads=n_threads).predict(two.X),
        lambda: fastem.em(two.X, model.params_, n_threads=n_threads),
    ):
        with pytest.raises(ValueError, match=r"n_threads must be an int in \[1, inf\), or None"):
            call()


# ---- layouts -----------------------------------------------------------------------------------------


def _strided(X, tmp_path):
    wide = np.full((2 * len(X), 3 * X.shape[1]), np.nan, X.dtype)
    wide[::2, 1::3] = X
    return wide[::2, 1::3]


def _backwards(X, tmp_path):
    return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]


def _read_only(X, tmp_path):
    X = X.copy()
    X.setflags(write=False)
    return X


def _unaligned(X, tmp_path):
    buffer = bytearray(X.nbytes + 1)
    out = np.frombuffer(buffer, X.dtype, X.size, offset=1).reshape(X.shape)
    out[:] = X
    assert not out.flags.aligned
    return out


def _packed(X, tmp_path):
    """A field of packed records: unaligned and strided at once."""
    records = np.zeros(len(X), [("tag", "u1"), ("x", X.dtype, (X.shape[1],))])
    records["x"] = X
    return records["x"]


def _memory_mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def _memory_mapped_fortran(X, tmp_path):
    np.save(tmp_path / "F.npy", np.asfortranarray(X))
    return np.load(tmp_path / "F.npy", mmap_mode="r")


LAYOUTS = {
    "F": lambda X, tmp_path: np.asfortranarray(X),
    "strided": _strided,
    "backwards": _backwards,
    "read-only": _read_only,
    "unaligned": _unaligned,
    "packed": _packed,
    "memory-mapped": _memory_mapped,
    "memory-mapped F": _memory_mapped_fortran,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("d", [3, 10])
def test_layout_of_the_data(tmp_path, layout, dtype, d):
    """Fits, scores and functions have the bytes that they have for a C-ordered copy."""
    X = _contiguous(d, dtype)
    V = LAYOUTS[layout](X, tmp_path)
    np.testing.assert_array_equal(V, X)
    assert _everything(V) == _of_contiguous(d, dtype)


def _contiguous(d, dtype):
    return np.ascontiguousarray(make_mixture(5003, d, 3, spacing=2.0).X.astype(dtype))


@functools.cache
def _of_contiguous(d, dtype):
    return _everything(_contiguous(d, dtype))


def _everything(X):
    """Digests, by name, of fits of rows X and of what is asked about the rows."""
    found = {}
    for covariance_type, init in (("full", "kmeans"), ("diag", "kmeans"), ("full", "auto")):
        options = {"covariance_type": covariance_type, "init_params": init, "random_state": 0, "max_iter": 4}
        model = quiet_fit(GaussianMixture(3, **options), X)
        found[f"{covariance_type}, {init}"] = digest(state_bytes(model))
        for name in ("score_samples", "predict_proba", "predict", "score"):
            found[f"{covariance_type}, {init}: {name}"] = digest(np.asarray(getattr(model, name)(X)))
    resp = np.random.default_rng(0).dirichlet(np.ones(3), len(X))
    found["accumulate"] = digest(*_arrays(fastem.accumulate(X, model.params_)))
    found["moments"] = digest(*_arrays(fastem.moments(X, resp=resp)))
    return found


def _arrays(stats):
    return stats.s0, stats.s1, stats.s2, np.array([stats.loglik])


def test_layout_of_responsibilities_and_labels():
    """Given by another layout or integer type: the same bytes."""
    X = make_mixture(3001, 3, 2).X
    resp = np.random.default_rng(0).dirichlet(np.ones(2), len(X))
    want = digest(*_arrays(fastem.moments(X, resp=resp)))
    for other in (np.asfortranarray(resp), np.repeat(resp, 2, axis=0)[::2], resp.tolist()):
        assert digest(*_arrays(fastem.moments(X, resp=other))) == want
    labels = np.random.default_rng(1).integers(0, 2, len(X))
    want = digest(*_arrays(fastem.moments(X, labels=labels)))
    for other in (labels.astype("i1"), labels.astype("u8"), np.repeat(labels, 2)[::2], labels.tolist()):
        assert digest(*_arrays(fastem.moments(X, labels=other))) == want


# ---- blocks ------------------------------------------------------------------------------------------

SIZES = sorted({b * m + e for b in (256, 1024, 4096) for m in (1, 2) for e in (-1, 0, 1)} | {2, 7, 63, 129})


def _numpy_pass(X, weights, means, covariances):
    """Responsibilities and log densities by plain NumPy; covariances (K, D, D)."""
    joint = np.empty((len(X), len(means)))
    for k, (w, m, c) in enumerate(zip(weights, means, covariances, strict=True)):
        low = np.linalg.cholesky(c)
        y = np.linalg.solve(low, (X - m).T)
        joint[:, k] = np.log(w) - len(m) / 2 * np.log(2 * np.pi) - np.log(np.diag(low)).sum() - (y**2).sum(0) / 2
    norm = logsumexp(joint, axis=1)
    return np.exp(joint - norm[:, None]), norm


@pytest.mark.parametrize("n", SIZES)
def test_sizes_around_blocks(n):
    """One pass over n rows, for each family and with weights, against NumPy; rows scored one by one the same."""
    d, k = 3, 3
    mixture = make_mixture(n, d, k, spacing=2.0) if n >= k else make_mixture(k, d, k)._replace()
    X = mixture.X[:n]
    weight = np.random.default_rng(n).uniform(0.5, 1.5, n)
    for covariance_type in TYPES:
        params = start_params(make_start(mixture, covariance_type), covariance_type)
        full = from_params(params)
        resp, norm = _numpy_pass(X, *full)
        np.testing.assert_allclose(fastem.log_density(X, params), norm, rtol=1e-11, atol=1e-11)
        stats = fastem.accumulate(X, params, weight)
        wr = resp * weight[:, None]
        assert stats.n_rows == n
        assert stats.loglik == pytest.approx(weight @ norm, rel=1e-12)
        np.testing.assert_allclose(stats.s0, wr.sum(0), rtol=1e-11, atol=1e-13)
        shift = X[:, None] - full.means
        s2 = np.einsum("nk,nki,nkj->kij", wr, shift, shift)
        scale = np.abs(s2).max()
        np.testing.assert_allclose(stats.s1, np.einsum("nk,nki->ki", wr, shift), rtol=0, atol=1e-12 * scale)
        want = {
            "full": lambda s2=s2: s2,
            "tied": lambda s2=s2: s2.sum(0, keepdims=True),
            "diag": lambda s2=s2: np.einsum("kii->ki", s2)[:, None],
            "spherical": lambda s2=s2: np.einsum("kii->k", s2)[:, None, None],
        }[covariance_type]()
        assert stats.s2.shape == want.shape
        np.testing.assert_allclose(stats.s2, want, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("d", [*range(1, 13), 15, 16, 17, 24, 31, 33, 64])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_every_dimension(d, dtype):
    """Full and diagonal, in every number of columns around the kernels' register blocks, against NumPy."""
    k = 2 + d % 4
    mixture = make_mixture(500, d, k, spacing=2.0)
    X = mixture.X.astype(dtype)
    rtol, atol = (1e-11, 1e-11) if dtype == "f8" else (2e-5, 2e-5)
    for covariance_type in ("full", "diag"):
        params = start_params(make_start(mixture, covariance_type), covariance_type)
        resp, norm = _numpy_pass(X.astype("f8"), *from_params(params))
        np.testing.assert_allclose(fastem.log_density(X, params), norm, rtol=rtol, atol=atol)
        stats = fastem.accumulate(X, params)
        shift = X.astype("f8")[:, None] - params.means
        s2 = np.einsum("nk,nki,nkj->kij", resp, shift, shift)
        want = s2 if covariance_type == "full" else np.einsum("kii->ki", s2)[:, None]
        np.testing.assert_allclose(stats.s2, want, rtol=0, atol=10 * atol * np.abs(s2).max())
        model = GaussianMixture.from_parameters(*_natural(params, covariance_type))
        got = model.predict_proba(X)
        np.testing.assert_allclose(got, resp, rtol=0, atol=1e-10 if dtype == "f8" else 2e-4)
        np.testing.assert_array_equal(model.predict(X), got.argmax(axis=1))


def _natural(params, covariance_type):
    c = params.covariances
    return params.weights, params.means, c if covariance_type == "full" else c[:, 0], covariance_type


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33, 100, 300])
def test_every_number_of_components(k):
    mixture = make_mixture(700, 3, k, spacing=2.0)
    params = start_params(make_start(mixture, "full"), "full")
    resp, norm = _numpy_pass(mixture.X, *from_params(params))
    np.testing.assert_allclose(fastem.log_density(mixture.X, params), norm, rtol=1e-11, atol=1e-11)
    stats = fastem.accumulate(mixture.X, params)
    np.testing.assert_allclose(stats.s0, resp.sum(0), rtol=1e-10, atol=1e-13)
    want = from_params(fastem.m_step(stats, reg_covar=1e-3))
    other = from_params(fastem.m_step(fastem.moments(mixture.X, resp=resp), reg_covar=1e-3))
    some = stats.s0 > 1e-3  # s0 + 10 eps draws the mean of fewer rows than that towards the origin
    assert some.sum() > k / 2
    assert_close(*(Fitted(*(array[some] for array in fit)) for fit in (other, want)), 1e-9)


def test_rows_are_scored_alone():
    """The score of a row does not depend on its neighbours or on its place in a block."""
    mixture = make_mixture(2100, 5, 3, spacing=2.0)
    model = GaussianMixture(3, random_state=0).fit(mixture.X)
    score, proba = model.score_samples(mixture.X), model.predict_proba(mixture.X)
    for part in (slice(0, 1), slice(1, 8), slice(255, 258), slice(1000, 1100), slice(2099, 2100)):
        np.testing.assert_array_equal(model.score_samples(mixture.X[part]), score[part])
        np.testing.assert_array_equal(model.predict_proba(mixture.X[part]), proba[part])


def test_many_slices_add_up():
    """More rows than one kernel call takes, with labels: exact counts, and means of a million equal rows exact."""
    n = 1_100_003
    X = np.full((n, 1), 0.1)
    X[::2] = 0.3
    labels = np.arange(n) % 2
    stats = fastem.moments(X, labels=labels)
    assert stats.s0.tolist() == [(n + 1) // 2, n // 2]
    got = from_params(fastem.m_step(stats, reg_covar=1e-3))
    np.testing.assert_allclose(got.means, [[0.3], [0.1]], rtol=1e-15)
    np.testing.assert_allclose(got.covariances, 1e-3, rtol=1e-12)


def test_a_block_of_rounding():
    """Sums over 20,000 rows at an offset of 1e8 keep the digits that exact arithmetic finds."""
    X = np.random.default_rng(0).normal(size=(20_000, 1)) + 1e8
    want = exact_m_step(X, [[1]] * len(X), "full")
    got = fitted(quiet_fit(GaussianMixture(1, reg_covar=0.0), X))
    np.testing.assert_allclose(got.means, want.means, rtol=3e-16)
    np.testing.assert_allclose(got.covariances, want.covariances, rtol=1e-13)
