"""Figures of the pages on heavy tails, many features, and speakers and images, which no other script prints.

    python scripts/page_figures.py [--quick] [--rounds 5] [--output FOLDER]

Two ways of one thing take turns, and a ratio is the median of the ratios within the turns. What is drawn is drawn from
a seed, so that iterations and log-likelihoods are the same in each run on one machine.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import _common
import numpy as np


def in_turns(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median seconds of the first of two ways, and how many times as long the second takes."""
    first(), second()  # compiled, and in the caches
    times = np.empty((rounds, 2))
    for turn in times:
        for place, way in enumerate((first, second)):
            since = time.perf_counter()
            way()
            turn[place] = time.perf_counter() - since
    return {"seconds": float(np.median(times[:, 0])), "ratio": float(np.median(times[:, 1] / times[:, 0]))}


def passes_of_t(N: int, rounds: int) -> dict[str, Any]:
    """A pass for t distributions beside one for Gaussians, of full covariances."""
    import fastem
    from fastem.model.student import StudentParams
    from fastem.passes.statistics import evaluate
    from fastem.sources.blocks import ArraySource

    found = {}
    for D, K in ((10, 10), (2, 3)):
        rng = np.random.default_rng(D)
        means = 3 * rng.normal(size=(K, D))
        source = ArraySource(means[np.arange(N) % K] + rng.normal(size=(N, D)))
        gaussian = fastem.make_params(np.full(K, 1 / K), means, np.tile(np.eye(D), (K, 1, 1)))
        student = StudentParams(*gaussian[:4], np.full(K, 5.0))
        ways = [lambda s=source, p=params: evaluate(s, p) for params in (gaussian, student)]
        found[f"t pass / Gaussian pass, {_common.count(N)} x {D}, K = {K}"] = in_turns(*ways, rounds)["ratio"]
    return found


def passes_to_dof(N: int, true: tuple[int, ...]) -> dict[str, Any]:
    """Passes until degrees of freedom are found, by EM and by the accelerated loop."""
    import fastem

    found = {}
    for dof in true:
        rng = np.random.default_rng(dof)
        X = rng.normal(size=(N, 2)) / np.sqrt(rng.chisquare(dof, size=(N, 1)) / dof)
        for solver, tol in (("em", 1e-10), ("auto", 1e-6)):
            model = fastem.StudentMixture(1, solver=solver, tol=tol, max_iter=20_000, random_state=0).fit(X)
            certificate = model.fit_report_.starts[0].certificate
            n_passes = model.n_iter_ if certificate is None else certificate.passes
            found[f"passes to the dof of {_common.count(N)} rows, true {dof}, {solver}"] = float(n_passes)
            found[f"dof found, true {dof}, {solver}"] = float(model.dof_[0])
    return found


def passes_to_factors() -> dict[str, Any]:
    """Passes of one factor analyser, and iterations of scikit-learn's to within 1e-6 per row of where it ends."""
    from sklearn.decomposition import FactorAnalysis

    import fastem

    rng = np.random.default_rng(1)
    X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 9)) + rng.normal(size=(500, 9)) * rng.uniform(0.3, 1, 9)
    theirs = FactorAnalysis(3, svd_method="lapack", tol=1e-9 * len(X), max_iter=10_000).fit(X)
    there = np.array(theirs.loglike_) > theirs.loglike_[-1] - 1e-6 * len(X)
    model = fastem.FactorMixture(1, 3, regularization=None, reg_covar=0.0, random_state=0).fit(X)
    return {
        "one factor analyser, passes": float(model.fit_report_.starts[0].certificate.passes),
        "scikit-learn's FactorAnalysis, iterations": float(there.argmax() + 1),
        "log-likelihood per row beside scikit-learn's": float(model.score(X) - theirs.score(X)),
    }


def digits_held_out(N: int, factors: tuple[int, ...]) -> dict[str, Any]:
    """Mean log-likelihoods of digits that are held out, of fits to N others."""
    from sklearn.datasets import load_digits

    import fastem

    rng = np.random.default_rng(0)
    X = load_digits().data
    X = (X + rng.uniform(size=X.shape))[rng.permutation(len(X))]
    train, test = X[:N], X[N:]
    found = {}
    for noise in ("each", "shared", "isotropic"):
        for q in factors:
            model = fastem.FactorMixture(10, q, noise=noise, random_state=0).fit(train)
            found[f"digits held out, {noise}, q = {q}"] = model.score(test)
    options = dict(regularization="ridge", solver="auto", tol=1e-6, max_iter=1000, random_state=0)
    for kind in ("diag", "tied", "full"):
        found[f"digits held out, {kind}"] = (
            fastem.GaussianMixture(10, covariance_type=kind, **options).fit(train).score(test)
        )
    return found


def adapted(n_speakers: int, N: int, K: int, D: int, rounds: int) -> dict[str, Any]:
    """One call of `adapt` for all speakers, and a loop over them."""
    import fastem

    rng = np.random.default_rng(0)
    means = 3 * rng.normal(size=(K, D))
    background = fastem.GaussianMixture.from_parameters(np.full(K, 1 / K), means, np.ones((K, D)), "diag")
    X = means[rng.integers(K, size=n_speakers * N)] + rng.normal(size=(n_speakers * N, D))
    who = np.repeat(np.arange(n_speakers), N)
    found = in_turns(
        lambda: background.adapt(X, groups=who),
        lambda: [background.adapt(X[one * N : (one + 1) * N]) for one in range(n_speakers)],
        rounds,
    )
    name = f"adapt, {n_speakers} speakers of {N} rows, K = {K}, D = {D}"
    return {f"{name}, seconds of one call": found["seconds"], f"{name}, a loop / one call": found["ratio"]}


def fisher_vectors(n_sets: int, rounds: int) -> dict[str, Any]:
    """One call of `fisher_vector` for all sets, and a loop over them."""
    import fastem

    rng, K, D, N = np.random.default_rng(0), 16, 16, 30
    means = 3 * rng.normal(size=(K, D))
    words = fastem.GaussianMixture.from_parameters(np.full(K, 1 / K), means, np.ones((K, D)), "diag")
    X = means[rng.integers(K, size=n_sets * N)] + rng.normal(size=(n_sets * N, D))
    found = in_turns(
        lambda: words.fisher_vector(X, groups=np.repeat(np.arange(n_sets), N)),
        lambda: [words.fisher_vector(X[one * N : (one + 1) * N]) for one in range(n_sets)],
        rounds,
    )
    name = f"fisher_vector, {n_sets} sets of {N} rows, K = {K}, D = {D}"
    return {f"{name}, seconds of one call": found["seconds"], f"{name}, a loop / one call": found["ratio"]}


def main() -> None:
    args = _common.parser(__doc__).parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    small, rounds = args.quick, args.rounds or 5
    found = passes_of_t(20_000 if small else 1_000_000, rounds)
    found |= passes_to_dof(500, (5,)) if small else passes_to_dof(10_000, (5, 100))
    found |= passes_to_factors()
    found |= digits_held_out(300, (3,)) if small else digits_held_out(1200, (3, 6, 10))
    for n_speakers, N in ((10, 100),) if small else ((100, 1000), (1000, 100)):
        found |= adapted(n_speakers, N, 16 if small else 512, 40, 1 if n_speakers == 1000 else rounds)
    found |= fisher_vectors(100 if small else 20_000, 1 if small else rounds)
    machine = _common.machine()
    text = _common.table(["figure", ""], [[name, f"{value:.4g}"] for name, value in found.items()])
    _common.write(
        args.output, "page_figures", {"machine": machine, "figures": found}, f"{text}\n\n{_common.describe(machine)}"
    )


if __name__ == "__main__":
    main()
