"""An iteration for every family of covariances, of variational Bayes, of t distributions and of factor analysers.

    python scripts/families_speed.py [--rounds 7] [--quick] [--pages]

An iteration is a pass over all rows and the M-step, from where five iterations lead. All families take turns, and so
do scikit-learn's two mixtures with their four: from the same parameters, or for a Bayesian mixture from those of its
own first iteration, which take as long. Times are processor time of one thread, which other programs
disturb less than the clock's. --pages rewrites the table of docs/performance.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import _common
import numpy as np

SHAPES = [(200_000, 5, 5), (100_000, 10, 10), (20_000, 64, 8)]
SMALL = [(2000, 5, 5), (1000, 10, 10)]
PEERS = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}  # by scikit-learn's names
FACTORS = {5: 2, 10: 4, 64: 8}  # by the number of features
STUDENTS = tuple(PEERS)  # the other families differ from these in the M-step, as they do without t


class Way(NamedTuple):
    """The two halves of an iteration, and what a peer does for both; None if there is no peer."""

    e_step: Callable[[], Any]
    m_step: Callable[[Any], Any]
    peer: Callable[[], Any] | None = None


def make_ways(N: int, D: int, K: int) -> dict[str, Way]:
    """All ways by the names of the table's rows."""
    from sklearn import mixture

    from fastem import BayesianGaussianMixture, FactorMixture, GaussianMixture, StudentMixture
    from fastem.estimators.bayesian.state import prior_of_fit
    from fastem.estimators.factors.training import factor_model
    from fastem.estimators.state import family_of, remedy_of
    from fastem.estimators.students.state import rule_of
    from fastem.fitting.models import model_for
    from fastem.model.families import MCLUST
    from fastem.model.student_model import START_DOF, StudentModel
    from fastem.model.variational_model import VariationalModel
    from fastem.passes.statistics import evaluate
    from fastem.sources.blocks import ArraySource

    X = _common.draw_mixture(N, D, K)[0]
    source, shared, ways = ArraySource(X), {"solver": "em", "max_iter": 5, "tol": 0.0, "random_state": 0}, {}

    def gaussian(model: Any) -> Any:
        return model_for(source, model.covariance_type, remedy_of(model))

    def bayesian(model: Any) -> Any:
        return VariationalModel(prior_of_fit(model), family_of(model), model.reg_covar)

    def add(name: str, estimator: Any, make_model: Callable[[Any], Any], peer: Any = None) -> None:
        _common.progress(f"{N} x {D}, K = {K}: a fit of {name}")
        params = estimator.fit(X).params_
        model = make_model(estimator)
        one = None if peer is None else iteration_of_scikit_learn(peer, X, estimator)
        ways[name] = Way(lambda: evaluate(source, params), lambda stats: model.update(stats, params), one)

    for name in MCLUST:
        peer = mixture.GaussianMixture(K, covariance_type=PEERS[name]) if name in PEERS else None
        add(name, GaussianMixture(K, covariance_type=name, **shared), gaussian, peer)
    for name, theirs in PEERS.items():
        settings = {"n_components": K, "covariance_type": theirs, "random_state": 0}
        peer = mixture.BayesianGaussianMixture(**settings, max_iter=1, init_params="random").fit(X)
        add(f"Bayesian, {name}", BayesianGaussianMixture(**shared | settings), bayesian, peer)
    for name in STUDENTS:
        student = StudentMixture(K, covariance_type=name, **shared)
        add(f"t, {name}", student, lambda model: StudentModel(gaussian(model), rule_of(model.dof), START_DOF))
    for noise in ("each", "shared", "isotropic"):
        mixture = FactorMixture(K, FACTORS[D], noise=noise, **shared)
        add(f"factors, {noise} noise", mixture, lambda model: factor_model(model, source))
    return ways


def iteration_of_scikit_learn(peer: Any, X: np.ndarray, estimator: Any) -> Callable[[], Any]:
    """An iteration of a mixture of scikit-learn, from its own parameters if it is fitted, else from fastem's."""
    parameters = peer._get_parameters() if hasattr(peer, "means_") else estimator._get_parameters()

    def iterate() -> None:
        peer._set_parameters(parameters)
        _, log_resp = peer._e_step(X)
        peer._m_step(X, log_resp)

    return iterate


def measure(N: int, D: int, K: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Of each way the nanoseconds per row, times those of VVV, the share of the M-step, and scikit-learn's time."""
    ways = make_ways(N, D, K)
    halves = np.empty((rounds + 1, len(ways), 2))
    peers: dict[str, list[float]] = {name: [] for name, way in ways.items() if way.peer}
    for turn in range(rounds + 1):
        _common.progress(f"{N} x {D}, K = {K}: round {turn} of {rounds}")
        for i, (name, way) in enumerate(ways.items()):
            stats: list[Any] = []
            halves[turn, i, 0] = _common.processor_seconds(lambda way=way, stats=stats: stats.append(way.e_step()))
            halves[turn, i, 1] = _common.processor_seconds(lambda way=way, stats=stats: way.m_step(stats[0]))
            if way.peer:
                peers[name].append(_common.processor_seconds(way.peer))
    _common.progress()
    halves = halves[1:]  # the first round warms up
    whole = halves.sum(axis=2)
    found = {}
    for i, name in enumerate(ways):
        found[name] = {
            "ns_per_row": _common.spread(1e9 / N * whole[:, i]),
            "of_VVV": _common.spread(whole[:, i] / whole[:, list(ways).index("VVV")]),
            "m_step": _common.spread(halves[:, i, 1] / whole[:, i]),
        }
        if name in peers:
            found[name]["scikit-learn"] = _common.spread(1e9 / N * np.array(peers[name][1:]))
    return found


def table(found: dict[tuple[int, int, int], dict[str, dict[str, Any]]]) -> str:
    """A row per family, and for each shape its time, the share of the M-step and the time of scikit-learn."""
    header = ["covariances"]
    for N, D, K in found:
        header += [f"{_common.count(N)} x {D}, K = {K}", "M-step", "scikit-learn"]
    rows = []
    for name in next(iter(found.values())):
        row = [name]
        for records in found.values():
            record = {what: spread["median"] for what, spread in records[name].items()}
            peer, own = record.get("scikit-learn"), record["ns_per_row"]
            row += [f"{own:.0f} ns ({record['of_VVV']:.2f})", f"{record['m_step']:.1%}"]
            row.append("" if peer is None else f"{peer:.0f} ns ({peer / own:.1f})")
        rows.append(row)
    return _common.table(header, rows)


def main() -> None:
    args = _common.begin_page(__doc__)
    import sklearn.mixture  # noqa: F401  # before the limit, so that it holds for SciPy's BLAS too
    from numba import set_num_threads
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")
    set_num_threads(1)
    rounds = args.rounds or 7
    with threadpool_limits(1):
        found = {shape: measure(*shape, rounds) for shape in (SMALL if args.quick else SHAPES)}
    machine = _common.machine()
    factors = ", ".join(str(FACTORS[D]) for _, D, _ in found)
    where = f"One thread of {machine['cpu']}, {machine['date']}; processor time, medians of {rounds} in turns; float64"
    text = f"{table(found)}\n\n{where}; {factors} factors."
    shapes = [{"shape": shape, "families": records} for shape, records in found.items()]
    _common.write(args.output, "families_speed", {"machine": machine, "shapes": shapes}, text)
    if args.pages:
        _common.rewrite_section(_common.DOCS / "performance.md", "families", text)


if __name__ == "__main__":
    main()
