"""Numbers of some seventy small fits of all kinds, recorded and compared: did a change of the code change a result?

    python scripts/recorded_fits.py record FILE.npz         numbers of the fastem that is imported
    python scripts/recorded_fits.py compare A.npz B.npz     the fits whose bytes differ (exit status 1 if any do)

Record two checkouts in one environment (``PYTHONPATH=CHECKOUT``), then compare: their bytes must be the same, unless a
change of results is meant. Bits depend on the processor, so the test suite compares values to 1e-12 with the recording
in ``tests``: after a change that is meant, record that anew and say so in CHANGELOG.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastem
from fastem import GaussianMixture, KMeans

FAMILIES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
REMEDIES = ("ridge", "map", "floor", "ratio", "geometric")
K, D = 3, 4

Numbers = dict[str, np.ndarray]


def rows(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, D) of K clusters of different shapes, and their clusters (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, size=n)
    shapes = np.eye(D) + 0.4 * rng.normal(size=(K, D, D))
    means = 4.0 * rng.normal(size=(K, D))
    return means[labels] + np.einsum("ni,nij->nj", rng.normal(size=(n, D)), shapes[labels]), labels


def mixture(model: Any, X: np.ndarray) -> Numbers:
    """Return what a fitted mixture has and says of its rows."""
    names = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "n_iter_", "noise_weight_")
    found = {name: np.asarray(getattr(model, name)) for name in names if hasattr(model, name)}
    return found | {"score_samples": model.score_samples(X[:20]), "predict": model.predict(X[:20])}


def fits() -> Iterator[tuple[str, Callable[[], Numbers]]]:
    """Give the name of each fit, and a function that makes its numbers."""
    X, labels = rows()
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(X))

    def fit(name: str, X: np.ndarray = X, fitting: dict[str, Any] | None = None, **options: Any) -> Any:
        settings: dict[str, Any] = dict(n_components=K, random_state=0, tol=1e-4, max_iter=20) | options
        return name, lambda: mixture(GaussianMixture(**settings).fit(X, **(fitting or {})), X)

    for family in FAMILIES:
        yield fit(f"{family}, float64", covariance_type=family)
        yield fit(f"{family}, float32", X.astype(np.float32), covariance_type=family)
        yield fit(f"{family}, weights", covariance_type=family, fitting=dict(sample_weight=weight))
        for remedy in REMEDIES:
            yield fit(f"{family}, {remedy}", covariance_type=family, regularization=remedy)
    for init in ("auto", "k-means++", "random", "random_from_data"):
        yield fit(f"start {init}", init_params=init, regularization="map")
    yield fit("restarts", n_init=3, init_params="random_from_data")
    partly = np.where(np.arange(len(X)) % 5 == 0, labels, -1)
    allowed = (labels[:, None] == np.arange(K)) | (np.arange(len(X)) % 2 == 0)[:, None]
    for name, known in (("all", labels), ("partial", partly), ("several allowed", allowed)):
        yield fit(f"labels, {name}", fitting=dict(labels=known))
    for family in ("full", "diag"):
        yield fit(f"noise, {family}", covariance_type=family, noise=True, regularization="map")
        yield fit(f"hard, {family}", covariance_type=family, assignment="hard")
        yield fit(f"lbfgs, {family}", covariance_type=family, solver="lbfgs")
    means = X[[0, 1, 2]]
    yield fit("fixed weights", fixed=("weights",), means_init=means)
    yield fit("fixed means", fixed=("means",), means_init=means)
    yield fit("stop aitken", stop="aitken")
    yield fit("reseeded", X[:60], n_components=9, init_params="auto", regularization="map")
    yield fit("dropped", X[:60], n_components=9, regularization="map", on_collapse="drop")
    yield from others(X, weight)
    yield from sources(X)


def others(X: np.ndarray, weight: np.ndarray) -> Iterator[tuple[str, Callable[[], Numbers]]]:
    """Give fits other than those of a GaussianMixture."""

    def kmeans(**options: Any) -> Numbers:
        model = KMeans(K, random_state=0, n_init=2, **options).fit(X)
        return {"centers": model.cluster_centers_, "inertia": np.asarray(model.inertia_), "labels": model.labels_}

    def stream() -> Numbers:
        model = GaussianMixture(K, random_state=0)
        for block in np.split(X, 3):
            model.partial_fit(block)
        return mixture(model, X)

    def selected(**options: Any) -> Numbers:
        found = fastem.select(X, range(1, 5), ("full", "diag"), random_state=0, **options)
        return mixture(found.best_, X)

    def many(**options: Any) -> Numbers:
        found = fastem.fit_many(X, np.arange(len(X)) % 6, 2, random_state=0, **options)
        return {name: np.asarray(getattr(found, name)) for name in ("weights", "means", "covariances")}

    def anomalies() -> Numbers:
        detector = fastem.AnomalyDetector(GaussianMixture(K, random_state=0), contamination=0.05).fit(X)
        return {"threshold": np.asarray(detector.threshold_), "decision": detector.decision_function(X[:20])}

    yield "k-means", kmeans
    yield "k-means, random seeds", lambda: kmeans(init="random")
    yield "stream", stream
    yield "select by BIC", selected
    yield "select by cross-validation", lambda: selected(criterion="cv")
    yield "many, full", many
    yield "many, diag", lambda: many(covariance_type="diag", sample_weight=weight)
    yield "anomalies", anomalies


def sources(X: np.ndarray) -> Iterator[tuple[str, Callable[[], Numbers]]]:
    """Give fits of rows that are not in memory."""

    def of(name: str) -> Numbers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.npy")
            np.save(path, X)
            source = {"file": path, "memory map": np.load(path, mmap_mode="r"), "blocks": lambda: np.split(X, 5)}[name]
            return mixture(GaussianMixture(K, random_state=0, max_iter=20).fit(source), X)

    for name in ("file", "memory map", "blocks"):
        yield f"source, {name}", lambda name=name: of(name)


def record() -> Numbers:
    """Return the numbers of all fits, by "fit: name"."""
    found: Numbers = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, fit in fits():
            found |= {f"{name}: {what}": np.asarray(values) for what, values in fit().items()}
    return found


def differing(a: Numbers, b: Numbers) -> dict[str, float]:
    """Return the names whose bytes differ, each with the largest difference of its numbers."""
    found = dict.fromkeys(a.keys() ^ b.keys(), np.inf)
    for name in a.keys() & b.keys():
        one, other = a[name], b[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            found[name] = np.inf
        elif one.tobytes() != other.tobytes():
            found[name] = float(np.max(np.abs(one.astype(np.float64) - other), initial=0.0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record").add_argument("file", type=Path)
    compare = commands.add_parser("compare")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    options = parser.parse_args()
    if options.command == "record":
        found = record()
        np.savez_compressed(options.file, **found)
        n_fits = len({name.split(": ")[0] for name in found})
        print(f"{options.file}: {len(found)} arrays of {n_fits} fits by fastem in {Path(fastem.__file__).parent}")
        return
    with np.load(options.a) as a, np.load(options.b) as b:
        found = differing(dict(a), dict(b))
        print("\n".join(f"{name}: differs by up to {by:.3g}" for name, by in sorted(found.items())) or "the same bytes")
        print(f"{len(found)} of {len(a.files)} arrays differ")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
