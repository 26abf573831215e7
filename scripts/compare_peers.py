"""fastem against other exact EM codes on this machine: same rows, same start, same number of iterations.

    python scripts/compare_peers.py [--quick] [--python onedal=PATH/TO/python] [--output FOLDER]
    python scripts/compare_peers.py --pages results/peers.json      rewrite docs/performance.md and README.md

Each peer is a process that keeps the rows and does fits when asked; a round asks every peer once, so that a ratio
compares neighbours in time. Seconds per iteration = (t(1 + M iterations) - t(1 iteration)) / M, so that checking the
input and preparing the start do not count; tables give the median over the rounds and the median of the rounds'
ratios. The mixtures that the peers end with must have the same log-likelihood (computed here, from their parameters):
if not, they did not do the same work, which is reported, and the exit status is 1. Whole fits start from the raw array
with each tool's default settings (where it has such a fit); they may end elsewhere, so their log-likelihoods are shown.

Variables that limit threads or make OpenBLAS take this processor for another (OPENBLAS_CORETYPE) are not obeyed.

Peers: scikit-learn (with all BLAS threads and with one; tables show the better), oneDAL (daal4py), Armadillo (a C++
driver, compiled if there are a compiler and the headers), gmmx, pomegranate. Those not found are skipped. Each may
live in an environment of its own: --python NAME=EXECUTABLE. Outputs: peers.json, peers.md, peers.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import _common as common
import numpy as np
from _peers import COLUMNS, DTYPES, DTYPES_OF, FAMILIES, FAMILIES_OF, PEERS, PeerError, Team, unpack

TOLERANCE = {"float64": 1e-6, "float32": 1e-3}  # of final mean log-likelihoods, relative to the larger of 1 and them

# Four of the cases: a usual one, many dimensions, `diag`, and the one that is best for another tool.
IN_README = [
    (1_000_000, 10, 10, "full", "float64"),
    (50_000, 64, 64, "full", "float64"),
    (1_000_000, 10, 10, "diag", "float64"),
    (1_000_000, 2, 3, "full", "float32"),
]


# ---- cases -------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """Something to be timed."""

    N: int
    D: int
    K: int
    family: str = "full"
    dtype: str = "float64"
    more: int = 5  # M, the iterations whose time is taken
    peers: tuple[str, ...] = tuple(PEERS)
    axis: str = ""  # of the figure, for the sweeps
    score: bool = False  # score_samples instead of an iteration

    def title(self) -> str:
        """As it stands in messages."""
        return f"{common.count(self.N)} x {self.D}, K = {self.K}, {self.family}, {self.dtype}"


ALL, FAST = tuple(PEERS), ("fastem", "onedal", "armadillo")


def cases(quick: bool) -> list[Case]:
    """Per iteration: against all peers in four shapes and all families; against the fast ones in more."""
    if quick:
        return [
            *(Case(10_000, 10, 10, family, more=3) for family in FAMILIES),
            Case(50_000, 3, 8, peers=FAST),
            Case(10_000, 10, 10, "full", "float32", more=3),
        ]
    shapes = [(1_000_000, 10, 10), (500_000, 3, 32), (100_000, 32, 32), (50_000, 64, 64)]
    more = [(1_000_000, 3, 32), (1_000_000, 2, 3), (200_000, 16, 128), (100_000, 64, 64), (500_000, 7, 20)]
    single = [shapes[0], shapes[2], *more]
    return [
        *(Case(*shape, family, more=2) for family in FAMILIES for shape in shapes),
        *(Case(*shape, peers=FAST) for shape in more),
        Case(200_000, 64, 64, "diag", peers=FAST),
        *(Case(*shape, dtype="float32", peers=(*FAST, "gmmx")) for shape in single),
    ]


def scores(quick: bool) -> list[Case]:
    """score_samples, against scikit-learn's."""
    shapes = (
        [(10_000, 10, 10)] if quick else [(1_000_000, 10, 10), (500_000, 3, 32), (100_000, 32, 32), (50_000, 64, 64)]
    )
    peers = ("fastem", "sklearn", "sklearn1")
    return [Case(*shape, family, peers=peers, score=True) for family in FAMILIES for shape in shapes]


def sweeps(quick: bool) -> list[Case]:
    """For the figure: time against N, D and K."""
    base = dict(N=10_000 if quick else 100_000, D=10, K=10)
    values = {
        "N": (5_000, 20_000, 80_000) if quick else (10_000, 30_000, 100_000, 300_000, 1_000_000),
        "D": (2, 10, 24) if quick else (2, 4, 8, 16, 32, 64),
        "K": (2, 10, 24) if quick else (2, 8, 32, 128),
    }
    peers = tuple(name for name in ALL if not (quick and name == "pomegranate"))
    chosen = [(axis, base | {axis: value}) for axis in values for value in values[axis]]
    return [Case(**numbers, more=6 if quick else enough(**numbers), axis=axis, peers=peers) for axis, numbers in chosen]


def enough(N: int, D: int, K: int) -> int:
    """So many iterations that short ones do not drown in what starting and ending a fit costs."""
    return int(np.clip(2e9 / (N * K * (D * D + 20)), 2, 50))


def whole_fits(quick: bool) -> list[Case]:
    """Default fits from the raw array."""
    if quick:
        return [Case(10_000, 2, 3), Case(10_000, 10, 5, "diag")]
    return [Case(1_000, 2, 3), Case(100_000, 2, 3), Case(100_000, 10, 10), Case(100_000, 10, 10, "diag")]


def make_data(case: Case) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Rows, and a start near the truth: weights, means, covariances."""
    N, D, K = case.N, case.D, case.K
    X, means, matrices = common.draw_mixture(N, D, K)
    pooled = matrices.mean(axis=0)
    variances = np.diagonal(pooled)
    covariances = {
        "full": np.repeat(pooled[None], K, axis=0),
        "tied": pooled,
        "diag": np.repeat(variances[None], K, axis=0),
        "spherical": np.full(K, variances.mean()),
    }[case.family]
    shaken = means + 0.2 * np.random.default_rng(0).normal(size=(K, D))
    return X.astype(case.dtype), (np.full(K, 1 / K), shaken, covariances)


def mean_loglik(X: np.ndarray, path: Path, case: Case) -> float:
    """Mean log-likelihood of the rows under the parameters in a file; for the first rows held to the reference."""
    import fastem
    from fastem.model import reference

    weights, means, covariances = unpack(path, case.family, case.D, case.K)
    if case.family in ("full", "tied"):  # pomegranate's float32 matrices are not quite symmetric
        covariances = (covariances + covariances.swapaxes(-1, -2)) / 2
    params = fastem.make_params(weights / weights.sum(), means, covariances, case.family)
    density = fastem.log_density(X, params)
    few = X[:100].astype(np.float64)
    if not np.allclose(density[:100], reference.log_density(few, params), rtol=1e-4 if X.itemsize == 4 else 1e-9):
        raise AssertionError(f"{case.title()}: log_density is wrong")
    return float(density.mean())


# ---- measuring ---------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """How long to measure."""

    rounds: int
    seeds: int
    budget: float  # seconds that a peer may use for a case; it takes part in one round at least


class Measurement:
    """A case while it is measured: who takes part, who has dropped out, and what is known."""

    def __init__(self, case: Case, team: Team, folder: Path) -> None:
        self.case, self.team, self.folder = case, team, folder
        self.failed: dict[str, str] = {}
        self.spent: dict[str, float] = {}
        self.names: list[str] = []
        self.X, start = make_data(case)
        self.X.tofile(folder / "X.bin")
        np.concatenate([part.ravel() for part in start]).tofile(folder / "start.bin")

    def admit(self) -> None:
        """Give rows and start to every peer that can do the case, and let it warm up."""
        case = self.case
        for name in case.peers:
            able = case.family in FAMILIES_OF[name] and case.dtype in DTYPES_OF[name]
            if name in self.team.commands and able:
                self.names.append(name)
                self.spent[name] = 0.0
                common.progress(f"{case.title()}: {PEERS[name].title} warms up")
                self.ask(name, "load", self.folder, case.family, case.dtype, case.N, case.D, case.K)
                self.ask(name, "run", 1)

    def ask(self, name: str, *words: object) -> dict[str, Any] | None:
        """An answer, or None if the peer has failed."""
        if name in self.failed:
            return None
        begin = time.perf_counter()
        try:
            common.rest()
            return self.team.start(name).ask(*words)
        except PeerError as error:
            self.failed[name] = str(error)
            return None
        finally:
            self.spent[name] += time.perf_counter() - begin

    def iteration(self, name: str) -> float | None:
        """Seconds per iteration, once (in noise, the difference may be negative); None if the peer failed."""
        if self.case.score:
            answer = self.ask(name, "score", 1)
            return None if answer is None else float(answer["seconds"])
        few, many = (self.ask(name, "run", n) for n in (1, 1 + self.case.more))
        if few is None or many is None:
            return None
        if many["iterations"] != 1 + self.case.more:
            self.failed[name] = f"stopped after {many['iterations']} of {1 + self.case.more} iterations"
            return None
        return float(many["seconds"] - few["seconds"]) / self.case.more

    def loglik(self, name: str) -> float | None:
        """Mean log-likelihood of the mixture that a peer last found (of the rows that it scored)."""
        if self.case.score:
            return float(np.fromfile(self.folder / "found.bin").mean())
        try:
            return mean_loglik(self.X, self.folder / "found.bin", self.case)
        except ValueError as error:
            self.failed[name] = f"no valid mixture: {error}"
            return None


def measure_case(case: Case, team: Team, settings: Settings) -> dict[str, Any]:
    """Rounds in turns, forwards and backwards; then the comparison of what was found."""
    with tempfile.TemporaryDirectory(dir=team.folder) as folder:
        measurement = Measurement(case, team, Path(folder))
        measurement.admit()
        times: dict[str, dict[int, float]] = {name: {} for name in measurement.names}
        loglik: dict[str, float] = {}
        for number in range(settings.rounds):
            for name in measurement.names[:: 1 if number % 2 == 0 else -1]:
                if number and measurement.spent[name] > settings.budget:
                    continue
                common.progress(f"{case.title()}: round {number + 1}, {PEERS[name].title}")
                taken = measurement.iteration(name)
                if taken is not None:
                    times[name][number] = taken
                if name not in measurement.failed and name not in loglik:
                    found = measurement.loglik(name)
                    loglik |= {} if found is None else {name: found}
        return case_record(case, times, loglik, measurement.failed)


def case_record(
    case: Case, times: dict[str, dict[int, float]], loglik: dict[str, float], failed: dict[str, str]
) -> dict[str, Any]:
    """What is kept of a case."""
    times = {name: taken for name, taken in times.items() if taken and name not in failed}
    noisy = [name for name, taken in times.items() if common.spread(taken.values())["median"] <= 0]
    times = {name: taken for name, taken in times.items() if name not in noisy}
    ours = times.get("fastem", {})
    ratios = {
        name: [taken[i] / ours[i] for i in taken if taken[i] > 0 < ours.get(i, 0)]
        for name, taken in times.items()
        if name != "fastem"
    }
    expected = loglik.get("fastem")
    gaps = {
        name: abs(value - expected) / max(1.0, abs(expected))
        for name, value in loglik.items()
        if expected is not None and name not in failed
    }
    return {
        "N": case.N,
        "D": case.D,
        "K": case.K,
        "covariance": case.family,
        "dtype": case.dtype,
        "iterations": case.more,
        "axis": case.axis,
        "seconds": {name: common.spread(taken.values()) for name, taken in times.items()},
        "ratio": {name: common.spread(values) for name, values in ratios.items() if values},
        "loglik": loglik,
        "mismatch": {name: gap for name, gap in gaps.items() if not gap <= TOLERANCE[case.dtype]},
        "noisy": noisy,
        "failed": failed,
    }


def measure_fit(case: Case, team: Team, settings: Settings) -> dict[str, Any]:
    """Whole default fits for a few seeds, in turns; first one of few rows, so that nothing is compiled later."""
    able = [name for name in team.commands if hasattr(PEERS[name].worker, "fit")]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in able if case.family in FAMILIES_OF[name]}
    with tempfile.TemporaryDirectory(dir=team.folder) as folder:
        small = Measurement(case._replace(N=1000, peers=tuple(runs)), team, Path(folder))
        small.admit()
        for name in small.names:
            small.ask(name, "fit", 0)
        measurement = Measurement(case._replace(peers=tuple(runs)), team, Path(folder))
        measurement.admit()
        for seed, name in itertools.product(range(settings.seeds), measurement.names):
            common.progress(f"whole fit of {case.title()}: seed {seed}, {PEERS[name].title}")
            answer = None if seed and measurement.spent[name] > settings.budget else measurement.ask(name, "fit", seed)
            if answer is not None:
                runs[name].append(answer | {"loglik": measurement.loglik(name)})
    runs = {name: done for name, done in runs.items() if done and name not in measurement.failed}
    ours = [run["seconds"] for run in runs.get("fastem", [])]
    return {
        "N": case.N,
        "D": case.D,
        "K": case.K,
        "covariance": case.family,
        "dtype": case.dtype,
        "runs": runs,
        "seconds": {name: common.spread(run["seconds"] for run in done) for name, done in runs.items()},
        "ratio": {
            name: common.spread(run["seconds"] / own for run, own in zip(done, ours, strict=False))
            for name, done in runs.items()
            if name != "fastem" and ours
        },
        "failed": measurement.failed,
    }


# TorchGMM's table as its authors printed it: seconds for 100 iterations on a Xeon with at most 4 cores.
PUBLISHED = (
    (100_000, 32, 16, "full", 110.0, 13.5),
    (1_000_000, 64, 64, "diag", 730.0, 196.0),
    (100_000, 32, 16, "tied", 72.2, 12.1),
)


def measure_context(team: Team, settings: Settings, quick: bool) -> list[dict[str, Any]]:
    """The published rows on this machine: 100 iterations of fastem, and scikit-learn's time per iteration times 100."""
    records = []
    for N, D, K, family, *published in PUBLISHED:
        case = Case(N // 20 if quick else N, D, K, family, more=2, peers=("fastem", "sklearn", "sklearn1"))
        record = measure_case(case, team, settings._replace(rounds=1))
        with tempfile.TemporaryDirectory(dir=team.folder) as folder:
            measurement = Measurement(case._replace(peers=("fastem",)), team, Path(folder))
            measurement.admit()
            common.progress(f"{case.title()}: 100 iterations")
            hundred = [measurement.ask("fastem", "run", 100) for _ in range(1 if quick else 3)]
        record["hundred"] = common.spread(answer["seconds"] for answer in hundred if answer)
        records.append(record | dict(zip(("published_sklearn", "published_torchgmm"), published, strict=True)))
    return records


# ---- tables, pages, figure --------------------------------------------------------------------------


def best(record: dict[str, Any], key: str) -> dict[str, dict[str, float]]:
    """record[key] with one scikit-learn, the one whose median time is the smaller."""
    seconds, found = record["seconds"], dict(record[key])
    both = [name for name in ("sklearn", "sklearn1") if name in seconds]
    better = min(both, key=lambda name: seconds[name]["median"], default="")
    chosen = found.get(better)
    found.pop("sklearn", None)
    found.pop("sklearn1", None)
    return found | ({"sklearn": chosen} if chosen else {})


def factor(value: float) -> str:
    """A ratio: 0.87, 2.3, 31."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def shape(record: dict[str, Any]) -> str:
    """Rows, D and K."""
    return f"{common.count(record['N'])} x {record['D']}, K = {record['K']}"


def columns(records: list[dict[str, Any]]) -> list[str]:
    """The peers that took part in any of the records."""
    return [name for name in COLUMNS if any(name in best(record, "seconds") for record in records)]


def time_table(records: list[dict[str, Any]]) -> str:
    """A row per case: fastem's time, the others' with their ratios."""
    names = columns(records)
    rows = []
    for record in records:
        seconds, ratio = best(record, "seconds"), best(record, "ratio")
        cells = [
            "" if name not in seconds
            else common.seconds(seconds[name]["median"])
            + (f" ({factor(ratio[name]['median'])})" if name in ratio else "")
            for name in names
        ]  # fmt: skip
        rows.append([shape(record), record["covariance"], record["dtype"], *cells])
    return common.table(["rows x D, K", "covariance", "rows", *(PEERS[name].title for name in names)], rows, left=3)


def mean_table(records: list[dict[str, Any]]) -> str:
    """Geometric means of the ratios by family and type of rows, with the smallest."""
    names = [name for name in columns(records) if name != "fastem"]
    rows = []
    for family, dtype in itertools.product(FAMILIES, DTYPES):
        mine = [best(r, "ratio") for r in records if (r["covariance"], r["dtype"]) == (family, dtype)]
        cells = []
        for name in names:
            values = [ratios[name]["median"] for ratios in mine if name in ratios]
            mean = (
                f"{factor(common.geometric_mean(values))} (of {len(values)}, least {factor(min(values))})"
                if values
                else ""
            )
            cells.append(mean)
        if any(cells):
            rows.append([family, dtype, *cells])
    return common.table(["covariance", "rows", *(PEERS[name].title for name in names)], rows, left=2)


def fit_table(records: list[dict[str, Any]]) -> str:
    """Whole fits: time, ratio, iterations and mean log-likelihood, medians over the seeds."""
    rows = []
    for record in records:
        seconds, ratio = best(record, "seconds"), best(record, "ratio")
        for name in columns([record]):
            done = record["runs"][name]
            iterations, loglik = (common.spread(run[key] for run in done)["median"] for key in ("iterations", "loglik"))
            times = factor(ratio[name]["median"]) if name in ratio else ""
            took = common.seconds(seconds[name]["median"])
            rows.append(
                [
                    shape(record),
                    record["covariance"],
                    PEERS[name].title,
                    took,
                    times,
                    f"{iterations:g}",
                    f"{loglik:.4f}",
                ]
            )
    header = ["rows x D, K", "covariance", "", "time", "times fastem's", "iterations", "mean log-likelihood"]
    return common.table(header, rows, left=3)


def context_table(records: list[dict[str, Any]]) -> str:
    """TorchGMM's rows."""
    header = ["rows x D, K", "covariance", "scikit-learn, published", "TorchGMM, published"]
    header += ["scikit-learn, here", "fastem, here", "scikit-learn / fastem, here"]
    rows = []
    for record in records:
        sklearn = best(record, "seconds").get("sklearn")
        cells = [shape(record), record["covariance"]]
        cells += [f"{record[key]:g} s" for key in ("published_sklearn", "published_torchgmm")]
        here, ours = 100 * sklearn["median"] if sklearn else None, record["hundred"]["median"]
        cells += [common.seconds(here) if here else "", common.seconds(ours), factor(here / ours) if here else ""]
        rows.append(cells)
    return common.table(header, rows, left=2)


def winners(results: dict[str, Any]) -> str:
    """The cases in which another tool is faster, by name."""
    lost = []
    for kind, records in (
        ("", results["cases"] + results["sweeps"]),
        ("score_samples, ", results["scores"]),
        ("whole default fit, ", results["fits"]),
    ):
        for record in records:
            for name, ratio in best(record, "ratio").items():
                if ratio["median"] < 1:
                    where = f"{kind}{shape(record)}, {record['covariance']}, {record['dtype']}"
                    lost.append(f"- {PEERS[name].title} at {where}: {1 / ratio['median']:.2f} times as fast as fastem")
    if not lost:
        return "In none of these cases was another tool faster."
    return "Another tool wins here:\n\n" + "\n".join(lost)


def section(results: dict[str, Any]) -> str:
    """What docs/performance.md shows."""
    machine, cases = results["machine"], results["cases"]
    versions = ", ".join(f"{PEERS[name].title} {v}" for name, v in results["peers"].items() if v and name != "sklearn1")
    parts = [
        f"Measured on {machine['date']} by `scripts/compare_peers.py` on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']} (Python {machine['versions']['python']}, Numba {machine['versions']['numba']}; "
        f"{versions}). Time per EM iteration, all tools with the same rows and start, in turns, medians; in "
        f"parentheses how many times as long as fastem the tool takes. {agreement(results)} "
        "scikit-learn is the better of one and all BLAS threads.",
        time_table(cases),
        "Geometric means of the ratios:",
        mean_table(cases),
    ]
    if results["scores"]:
        parts += ["`score_samples`:", mean_table(results["scores"])]
    if results["fits"]:
        parts += ["Whole fits from the raw array with each tool's default settings, starts included:"]
        parts += [fit_table(results["fits"])]
    parts.append(winners(results))
    if results["context"]:
        parts += [CONTEXT, context_table(results["context"])]
    if results["absent"]:
        parts.append(f"Not installed, so not measured: {absent(results)}.")
    return "\n\n".join(parts)


CONTEXT = (
    "For context, the table that TorchGMM's authors published (100 iterations, seconds, on a Xeon with at most 4 "
    "cores: another machine), and the same shapes here; scikit-learn's time here is its time per iteration times 100:"
)


def absent(results: dict[str, Any]) -> str:
    """The peers that were not found."""
    return ", ".join(PEERS[name].title for name in results["absent"] if name != "sklearn1")


def summary(results: dict[str, Any]) -> str:
    """What README.md shows."""
    machine = results["machine"]
    records = [r for r in results["cases"] if (r["N"], r["D"], r["K"], r["covariance"], r["dtype"]) in IN_README]
    return (
        f"Time per EM iteration on {machine['cpu']}, {machine['cores']} cores, {machine['date']}; in parentheses how "
        f"many times as long as fastem the tool takes:\n\n{time_table(records)}"
    )


def agreement(results: dict[str, Any]) -> str:
    """Whether all did the same work."""
    same = not any(line.startswith("NOT") for line in problems(results))
    return "All ended with the same log-likelihood." if same else "**Not all ended with the same log-likelihood.**"


def problems(results: dict[str, Any]) -> list[str]:
    """Mismatches and failures, a line each."""
    lines = []
    for record in results["cases"] + results["scores"] + results["sweeps"] + results["fits"] + results["context"]:
        where = f"{shape(record)}, {record['covariance']}, {record['dtype']}"
        for name, gap in record.get("mismatch", {}).items():
            lines.append(f"NOT THE SAME WORK: {where}: {PEERS[name].title}'s log-likelihood differs by {gap:.1e}")
        noisy = [PEERS[name].title for name in record.get("noisy", [])]
        lines += [f"no time: {where}: {title}: an iteration is shorter than this machine's noise" for title in noisy]
        lines += [f"failed: {where}: {PEERS[name].title}: {why}" for name, why in record["failed"].items()]
    return lines


def to_markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    parts = [f"# fastem and its peers\n\n{common.describe(results['machine'])}"]
    parts += ["**A quick run: the shapes are too small for the times to mean much.**"] * results["quick"]
    parts.append(section(results))
    if results["sweeps"]:
        parts += ["## Time per iteration against N, D and K", time_table(results["sweeps"])]
    if results["scores"]:
        parts += ["## score_samples", time_table(results["scores"])]
    if found := problems(results):
        parts += ["## Problems", "\n".join(f"- {line}" for line in found)]
    return "\n\n".join(parts)


def draw(results: dict[str, Any], path: Path) -> None:
    """Time per iteration against N, D and K."""
    figure, panels = common.new_figure(3)
    records = results["sweeps"]
    names = columns(records)
    fixed = {"N": "D = {D}, K = {K}", "D": "{N} rows, K = {K}", "K": "{N} rows, D = {D}"}
    labels = {"N": "rows N", "D": "features D", "K": "components K"}
    for panel, axis in zip(panels, fixed, strict=True):
        mine = [record for record in records if record["axis"] == axis]
        for name, colour, marker in zip(names, common.COLOURS, common.MARKERS, strict=False):
            points = [(r[axis], best(r, "seconds")[name]) for r in mine if name in best(r, "seconds")]
            x = [value for value, _ in points]
            low, y, high = ([s[key] for _, s in points] for key in ("min", "median", "max"))
            width = 2.4 if name == "fastem" else 1.3
            panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            panel.plot(x, y, marker=marker, markersize=4, color=colour, linewidth=width, label=PEERS[name].title)
        panel.set(xscale="log", yscale="log", xlabel=labels[axis])
        ticks = sorted({record[axis] for record in mine})
        panel.set_xticks(ticks, [common.count(value) for value in ticks])
        panel.xaxis.minorticks_off()
        panel.set_title(fixed[axis].format(N=common.count(mine[0]["N"]), D=mine[0]["D"], K=mine[0]["K"]))
    panels[0].set_ylabel("seconds per iteration")
    panels[0].legend(loc="upper left")
    cpu, cores = results["machine"]["cpu"], results["machine"]["cores"]
    figure.suptitle(f"EM with full covariances, float64: {cpu}, {cores} cores", fontsize=9)
    figure.savefig(path, dpi=160)


def rewrite_pages(results: dict[str, Any]) -> None:
    """Put the tables between the markers of docs/performance.md, and a few rows between README's."""
    if results["quick"] or any(line.startswith("NOT") for line in problems(results)):
        sys.exit("these results are of a quick run, or hold a mismatch: they are not for the docs")
    common.rewrite_section(common.DOCS / "performance.md", "performance", section(results))
    common.rewrite_section(common.ROOT / "README.md", "speed", summary(results))


# ---- the whole ---------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """The command line."""
    parser = common.parser(__doc__ or "")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PEER=EXECUTABLE", help="of a peer's environment"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="which peers, separated by commas (default: all)")
    parser.add_argument(
        "--parts", default="cases,scores,sweeps,fits", help="what to measure (default: cases,scores,sweeps,fits)"
    )
    parser.add_argument(
        "--case", action="append", default=[], metavar="N,D,K[,COVARIANCE[,DTYPE]]", help="these cases only"
    )
    parser.add_argument("--context", action="store_true", help="also the rows that TorchGMM's authors published")
    parser.add_argument("--budget", type=float, help="seconds for a peer in a case, after which it sits out")
    parser.add_argument("--cxxflags", default="", help="for Armadillo's driver, for instance --cxxflags=-I/opt/include")
    parser.add_argument("--pages", type=Path, metavar="JSON", help="only rewrite docs and README from these results")
    args = parser.parse_args()
    if wrong := set(args.peers.split(",")) - set(PEERS):
        parser.error(f"--peers: there is no {', '.join(sorted(wrong))}; there are {', '.join(PEERS)}")
    if wrong := [text for text in args.python if not re.fullmatch(r"\w+=.+", text)]:
        parser.error(f"--python takes PEER=EXECUTABLE, not {wrong[0]}")
    return args


def chosen_cases(args: argparse.Namespace) -> dict[str, list[Case]]:
    """Cases by part."""
    if args.case:
        given = [text.split(",") for text in args.case]
        for words in given:
            if len(words) < 3 or not {*words[3:4]} <= {*FAMILIES} or not {*words[4:5]} <= {"float64", "float32"}:
                sys.exit(f"--case takes N,D,K[,COVARIANCE[,float64|float32]], not {','.join(words)}")
        return {"cases": [Case(*(int(float(word)) for word in words[:3]), *words[3:]) for words in given]}
    parts = {"cases": cases, "scores": scores, "sweeps": sweeps, "fits": whole_fits}
    return {name: make(args.quick) for name, make in parts.items() if name in args.parts.split(",")}


def measure_all(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start the peers and do all parts."""
    names = list(dict.fromkeys(["fastem", *args.peers.split(",")]))
    pythons = dict(text.split("=", 1) for text in args.python)
    team = Team(folder, names, pythons, args.cxxflags.split(), 120 if args.quick else 900)
    for name, why in team.absent.items():
        print(f"{PEERS[name].title}: not installed ({why})", file=sys.stderr)
    settings = Settings(
        args.rounds or (3 if args.quick else 5), 1 if args.quick else 3, args.budget or (1 if args.quick else 30)
    )
    results: dict[str, Any] = {"machine": common.machine(), "quick": args.quick}
    results["peers"] = {name: worker.version for name, worker in team.workers.items()}
    results["absent"] = team.absent
    try:
        todo = chosen_cases(args)
        for part in ("cases", "scores", "sweeps", "fits"):
            measure = measure_fit if part == "fits" else measure_case
            results[part] = [measure(case, team, settings) for case in todo.get(part, [])]
        results["context"] = measure_context(team, settings, args.quick) if args.context else []
    finally:
        team.stop()
        common.progress()
    return results


def main() -> None:
    """Measure, write and draw; or rewrite the pages."""
    args = parse()
    if args.pages:
        return rewrite_pages(json.loads(args.pages.read_text()))
    common.restart_in_clean_environment()
    with tempfile.TemporaryDirectory() as folder:
        results = measure_all(args, Path(folder))
    common.write(args.output, "peers", results, to_markdown(results))
    if results["sweeps"]:
        draw(results, args.output / "peers.png")
    found = problems(results)
    ours = any(
        "fastem" in record["failed"] for part in ("cases", "scores", "sweeps", "fits") for record in results[part]
    )
    sys.exit(bool(ours or any(line.startswith("NOT") for line in found)))


if __name__ == "__main__":
    main()
