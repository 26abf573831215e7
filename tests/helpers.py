"""What the tests share: tolerances, data, starts, exact arithmetic, comparison, child processes."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import NamedTuple

import mpmath
import numpy as np

TYPES = ("full", "tied", "diag", "spherical")  # scikit-learn's
FAMILIES = (*TYPES, "tied_diag", "tied_spherical")  # in which every number that is stored is free
CONSTRAINED = ("VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV")  # mclust's that these do not have
ALL = (*FAMILIES, *CONSTRAINED)
PAIRS = [  # of a family and a remedy that go together
    (family, remedy)
    for family in ALL
    for remedy in ("ridge", "map", "floor", "ratio", "geometric")
    if remedy != "ratio" or family in FAMILIES
]
STORED = {name: "diag" if name.endswith("I") else "full" for name in CONSTRAINED}  # as which they are stored
ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
COLLAPSED = "Fitting the mixture model failed because some components have ill-defined empirical covariance"


class Tolerance(NamedTuple):
    """Relative to the scale of the quantity; see `tolerance`."""

    params: float  # parameters against another implementation, after any number of iterations
    norm: float  # the same, norm-wise
    score: float  # log densities, relative to 1 + |value|
    prob: float  # responsibilities, absolute


_TOLERANCES = {
    np.dtype("f8"): Tolerance(params=1e-7, norm=1e-7, score=1e-9, prob=1e-9),
    np.dtype("f4"): Tolerance(params=2e-3, norm=2e-3, score=2e-5, prob=2e-3),
}


def tolerance(dtype):
    """Return the one tolerance table's entry for data of this dtype."""
    return _TOLERANCES[np.dtype(dtype)]


# ---- data and starts ---------------------------------------------------------------------------------


class Mixture(NamedTuple):
    X: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,)
    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, D)
    covariances: np.ndarray  # (K, D, D)


def make_mixture(n, d, k, *, spacing=8.0, seed=0):
    """Draw n rows of k Gaussians whose means lie `spacing` standard deviations apart along a line."""
    rng = np.random.default_rng([seed, n, d, k])
    weights = rng.uniform(0.5, 1.5, k)
    weights /= weights.sum()
    line = rng.normal(size=d)
    line /= np.linalg.norm(line)
    means = spacing * np.outer(rng.permutation(k) - (k - 1) / 2, line)
    means += 0.3 * spacing * rng.uniform(-1, 1, (k, d)) / np.sqrt(d)
    axes, _ = np.linalg.qr(rng.normal(size=(k, d, d)))
    roots = axes * rng.uniform(0.5, 1.2, (k, 1, d))  # well conditioned: a start nearby loses no component
    labels = rng.choice(k, n, p=weights)
    labels[:k] = np.arange(k)
    X = means[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n, d)))
    return Mixture(X, labels, weights, means, roots @ roots.transpose(0, 2, 1))


def natural(covariances, covariance_type, weights=None):
    """Turn K full covariances (K, D, D) into the estimator's shape for the covariance type."""
    diagonals = np.diagonal(covariances, axis1=1, axis2=2)
    return {
        "tied_diag": lambda: np.average(diagonals, axis=0, weights=weights),
        "tied_spherical": lambda: np.average(diagonals.mean(axis=1), weights=weights),
        "full": lambda: covariances.copy(),
        "tied": lambda: np.average(covariances, axis=0, weights=weights),
        "diag": lambda: diagonals.copy(),
        "spherical": lambda: diagonals.mean(axis=1),
    }[STORED.get(covariance_type, covariance_type)]()


def expand(covariances, covariance_type, k, d):
    """Turn the estimator's shape into K full matrices (K, D, D)."""
    eye = np.eye(d)
    return {
        "tied_diag": lambda: np.tile(np.asarray(covariances) * eye, (k, 1, 1)),
        "tied_spherical": lambda: np.tile(np.asarray(covariances) * eye, (k, 1, 1)),
        "full": lambda: np.array(covariances),
        "tied": lambda: np.tile(covariances, (k, 1, 1)),
        "diag": lambda: np.asarray(covariances)[:, :, None] * eye,
        "spherical": lambda: np.asarray(covariances)[:, None, None] * eye,
    }[STORED.get(covariance_type, covariance_type)]()


def invert(covariances, covariance_type):
    """Invert covariances of the estimator's shape."""
    if STORED.get(covariance_type, covariance_type) in ("full", "tied"):
        inverse = np.linalg.inv(covariances)
        return (inverse + np.swapaxes(inverse, -1, -2)) / 2
    return 1.0 / np.asarray(covariances)


def make_start(mixture, covariance_type, *, seed=0, shake=0.4):
    """Return weights_init, means_init and precisions_init near the truth, as keyword arguments."""
    rng = np.random.default_rng([seed, 7])
    weights = mixture.weights * rng.uniform(0.7, 1.3, mixture.weights.shape)
    covariances = natural(mixture.covariances, covariance_type, mixture.weights) * 1.5
    return {
        "weights_init": weights / weights.sum(),
        "means_init": mixture.means + shake * rng.uniform(-1, 1, mixture.means.shape),
        "precisions_init": invert(covariances, covariance_type),
    }


def start_params(start, covariance_type):
    """Return the same start as fastem's Params."""
    import fastem

    covariances = invert(start["precisions_init"], covariance_type)
    return fastem.make_params(start["weights_init"], start["means_init"], covariances, covariance_type)


def quiet_fit(model, X, **kwargs):
    """Fit without the warnings that max_iter was reached, and that reg_covar is large for these data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Best performing initialization did not converge|reg_covar=")
        return model.fit(X, **kwargs)


# ---- comparison --------------------------------------------------------------------------------------


class Fitted(NamedTuple):
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray  # (K, D, D)


def fitted(model):
    """Copy the parameters of an estimator, covariances as full matrices."""
    k, d = model.means_.shape
    covariances = expand(np.asarray(model.covariances_, float), model.covariance_type, k, d)
    return Fitted(np.array(model.weights_, float), np.array(model.means_, float), covariances)


def from_params(params):
    """Copy fastem's Params, covariances as full matrices."""
    k, d = params.means.shape
    c = np.asarray(params.covariances, float)
    if c.shape[1] == d:
        full = np.broadcast_to(c, (k, d, d)).copy()
    else:
        full = np.broadcast_to(c, (k, 1, d))[:, 0, :, None] * np.eye(d)
    return Fitted(np.array(params.weights, float), np.array(params.means, float), full)


def scaled_errors(got, want):
    """Return the largest error of weights, means and covariances, each relative to its natural scale.

    Weights to themselves, means to the larger of |mean| and the component's standard deviation, entry (i, j) of a
    covariance to the larger of itself and sqrt(c_ii c_jj).
    """
    sd = np.sqrt(np.diagonal(want.covariances, axis1=1, axis2=2))
    return (
        np.max(np.abs(got.weights - want.weights) / want.weights),
        np.max(np.abs(got.means - want.means) / np.maximum(np.abs(want.means), sd)),
        np.max(np.abs(got.covariances - want.covariances) / (sd[:, :, None] * sd[:, None, :])),
    )


def norm_errors(got, want):
    """Return the norm-wise relative errors of weights, means and covariances."""
    return tuple(np.linalg.norm(g - w) / np.linalg.norm(w) for g, w in zip(got, want, strict=True))


def assert_close(got, want, rtol, context=""):
    """Assert that two Fitted agree to rtol in the sense of `scaled_errors`."""
    errors = dict(zip(Fitted._fields, scaled_errors(got, want), strict=True))
    assert max(errors.values()) <= rtol, f"{context} {errors} > {rtol}"  # NaN fails too


def state_bytes(model):
    """Return the fitted parameters and bounds of an estimator as bytes."""
    parts = [model.weights_, model.means_, model.covariances_, model.precisions_cholesky_]
    parts += [np.array(model.lower_bounds_, float), np.array([model.n_iter_, model.converged_], float)]
    parts += [np.array(getattr(model, name, ()), float) for name in ("noise_weight_", "noise_box_")]
    return b"".join(np.ascontiguousarray(p).tobytes() for p in parts)


def digest(*arrays):
    """Return a short hash of the bytes of arrays."""
    h = hashlib.sha256()
    for a in arrays:
        h.update(a if isinstance(a, bytes) else np.ascontiguousarray(a).tobytes())
    return h.hexdigest()[:16]


def outcome(call):
    """Run a call and return (what it returned, its exception, its warnings' messages)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value, error = call(), None
        except Exception as e:
            value, error = None, e
    return value, error, [str(w.message) for w in caught]


# ---- exact arithmetic --------------------------------------------------------------------------------


def _exact(a):
    return [[mpmath.mpf(float(v)) for v in row] for row in a]


def _exact_cholesky(c):
    d = len(c)
    low = [[mpmath.mpf(0)] * d for _ in range(d)]
    for i in range(d):
        for j in range(i + 1):
            s = c[i][j] - mpmath.fsum(low[i][m] * low[j][m] for m in range(j))
            low[i][j] = mpmath.sqrt(s) if i == j else s / low[j][j]
    return low


def exact_log_joint(X, weights, means, covariances):
    """Return log(weight_k N(x_n | k)) as lists of mpf: doubles taken as stored, 60 digits, covariances (K, D, D)."""
    X, means = _exact(X), _exact(means)
    columns = []
    for w, m, c in zip(weights, means, covariances, strict=True):
        d = len(m)
        low = _exact_cholesky(_exact(c))
        constant = mpmath.log(mpmath.mpf(float(w))) - mpmath.mpf(d) / 2 * mpmath.log(2 * mpmath.pi)
        constant -= mpmath.fsum(mpmath.log(low[i][i]) for i in range(d))
        column = []
        for x in X:
            y = []
            for i in range(d):
                s = x[i] - m[i] - mpmath.fsum(low[i][j] * y[j] for j in range(i))
                y.append(s / low[i][i])
            column.append(constant - mpmath.fsum(v * v for v in y) / 2)
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def _exact_logsumexp(row):
    top = max(row)
    return top + mpmath.log(mpmath.fsum(mpmath.exp(v - top) for v in row))


def exact_score(X, weights, means, covariances):
    """Return log p(x_n), correctly rounded."""
    with mpmath.workdps(60):
        rows = exact_log_joint(X, weights, means, covariances)
        return np.array([float(_exact_logsumexp(row)) for row in rows])


def exact_proba(X, weights, means, covariances):
    """Return the responsibilities, correctly rounded."""
    with mpmath.workdps(60):
        rows = exact_log_joint(X, weights, means, covariances)
        return np.array([[float(mpmath.exp(v - _exact_logsumexp(row))) for v in row] for row in rows])


def exact_m_step(X, resp, covariance_type, reg_covar=0.0):
    """Return the M-step of responsibilities as a Fitted, exact but for the last rounding."""
    with mpmath.workdps(60):
        d, k, n = len(X[0]), len(resp[0]), len(X)
        X = _exact(X)
        mass = [mpmath.fsum(row[j] for row in resp) for j in range(k)]
        means = [[mpmath.fsum(resp[r][j] * X[r][i] for r in range(n)) / mass[j] for i in range(d)] for j in range(k)]
        scatter = [
            [
                [
                    mpmath.fsum(resp[r][m] * (X[r][i] - means[m][i]) * (X[r][j] - means[m][j]) for r in range(n))
                    for j in range(d)
                ]
                for i in range(d)
            ]
            for m in range(k)
        ]
        total, reg = mpmath.fsum(mass), mpmath.mpf(reg_covar)

        def cov(m, i, j):
            if covariance_type == "full":
                value = scatter[m][i][j] / mass[m]
            elif covariance_type == "tied":
                value = mpmath.fsum(s[i][j] for s in scatter) / total
            elif i != j:
                return 0.0
            elif covariance_type == "tied_diag":
                value = mpmath.fsum(s[i][i] for s in scatter) / total
            elif covariance_type == "tied_spherical":
                value = mpmath.fsum(s[a][a] for s in scatter for a in range(d)) / total / d
            elif covariance_type == "diag":
                value = scatter[m][i][i] / mass[m]
            else:
                value = mpmath.fsum(scatter[m][a][a] for a in range(d)) / mass[m] / d
            return float(value + (reg if i == j else 0))

        covariances = [[[cov(m, i, j) for j in range(d)] for i in range(d)] for m in range(k)]
        return Fitted(np.array([float(v / total) for v in mass]), np.array(means, dtype=float), np.array(covariances))


def exact_em_step(X, weights, means, covariances, covariance_type, reg_covar=0.0):
    """Return (mean log-likelihood of the parameters, the Fitted after one step from them)."""
    with mpmath.workdps(60):
        rows = exact_log_joint(X, weights, means, covariances)
        norms = [_exact_logsumexp(row) for row in rows]
        resp = [[mpmath.exp(v - z) for v in row] for row, z in zip(rows, norms, strict=True)]
        return float(mpmath.fsum(norms) / len(X)), exact_m_step(X, resp, covariance_type, reg_covar)


# ---- child processes ---------------------------------------------------------------------------------


def child_env(**env):
    """Return the environment for a child that must import this fastem and these helpers."""
    import fastem

    here = [str(Path(__file__).parent), str(Path(fastem.__file__).parents[1])]
    inherited = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(here + inherited), **env}


def take_all_threads():
    """Let calls of kernels take all threads however little work they are, so that small data show what threads do."""
    from fastem.kernels import jit

    jit.THREAD_FLOPS = 1.0


def run_child(code, *args, timeout=240, **env):
    """Run code in a new Python process; return the JSON object it prints last. A hang or a crash fails."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    p = subprocess.run(command, env=child_env(**env), capture_output=True, text=True, timeout=timeout)
    assert p.returncode == 0, f"exit status {p.returncode}\n{p.stdout[-2000:]}\n{p.stderr[-4000:]}"
    return json.loads(p.stdout.strip().splitlines()[-1])


def parts_of(n, sizes):
    """Slices of n rows, of these sizes over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= n:
            return
        yield slice(start, start + size)
        start += size
