"""Fit a mixture to files bigger than memory: how, how fast, and in how much memory.

For each format this writes a table of numbers, fits it in a process of its own, and deletes it; so no more than one
file is on disk at a time. Reported are the rate of EM's passes, the same pass over a tenth of the rows in memory, and
the peak of the fitting process's anonymous memory (what no file backs; Linux alone tells).

    python scripts/out_of_core.py                               # 200 MB in each format
    python scripts/out_of_core.py --rows 50000000 --formats npy # 4 GB, as a memory map
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import add_root_to_path, clean_environment, progress, table

ROOT = add_root_to_path()
CHUNK = 100_000  # rows written at a time
STORED = 20_000  # rows in a chunk of HDF5 and Zarr
GROUP = 1_000_000  # rows in a row group of Parquet


# ---- writing: one function for each format --------------------------------------------------------------------------


def chunks(N: int, D: int, K: int) -> Iterator[np.ndarray]:
    """Rows of K clusters that overlap, CHUNK at a time."""
    centres = np.random.default_rng(0).normal(scale=3.0, size=(K, D))
    for number, start in enumerate(range(0, N, CHUNK)):
        rng = np.random.default_rng([1, number])
        n = min(CHUNK, N - start)
        yield centres[rng.integers(K, size=n)] + rng.normal(size=(n, D))


def write_npy(path: Path, N: int, D: int, K: int) -> None:
    X = np.lib.format.open_memmap(path, "w+", np.float64, (N, D))
    for number, rows in enumerate(chunks(N, D, K)):
        X[number * CHUNK : number * CHUNK + len(rows)] = rows


def write_parquet(path: Path, N: int, D: int, K: int) -> None:
    """A folder of two files. (A dictionary of numbers that hardly repeat would only take memory.)"""
    import pyarrow as pa
    from pyarrow import parquet

    path.mkdir()
    names, half = [f"x{j}" for j in range(D)], -(-N // 2 // CHUNK) * CHUNK
    schema = pa.schema([(name, pa.float64()) for name in names])
    rows = chunks(N, D, K)
    for number, (begin, end) in enumerate(((0, half), (half, N))):
        with parquet.ParquetWriter(path / f"part-{number}.parquet", schema, use_dictionary=False) as file:
            for start in range(begin, end, GROUP):
                whole = np.concatenate([next(rows) for _ in range(start, min(start + GROUP, end), CHUNK)])
                file.write_table(pa.table(list(whole.T.copy()), names=names), row_group_size=GROUP)


def write_hdf5(path: Path, N: int, D: int, K: int) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        X = file.create_dataset("X", (N, D), "f8", chunks=(min(N, STORED), D))
        for number, rows in enumerate(chunks(N, D, K)):
            X[number * CHUNK : number * CHUNK + len(rows)] = rows


def write_zarr(path: Path, N: int, D: int, K: int) -> None:
    import zarr

    X = zarr.create_array(path, shape=(N, D), chunks=(min(N, STORED), D), dtype="f8")
    for number, rows in enumerate(chunks(N, D, K)):
        X[number * CHUNK : number * CHUNK + len(rows)] = rows


# ---- opening: what a user writes ------------------------------------------------------------------------------------


def open_path(path: Path) -> Any:
    """A memory map of a .npy file, or a folder of Parquet: the path will do."""
    return path


def open_hdf5(path: Path) -> Any:
    import h5py

    return h5py.File(path)["X"]


def open_zarr(path: Path) -> Any:
    import zarr

    return zarr.open_array(path, mode="r")


Write, Open = Callable[[Path, int, int, int], None], Callable[[Path], Any]
FORMATS: dict[str, tuple[str, Write, Open]] = {
    "npy": ("X.npy", write_npy, open_path),
    "parquet": ("X", write_parquet, open_path),
    "hdf5": ("X.h5", write_hdf5, open_hdf5),
    "zarr": ("X.zarr", write_zarr, open_zarr),
}


# ---- fitting, in a process of its own --------------------------------------------------------------------------------


class Peak(threading.Thread):
    """The largest anonymous memory that this process had, in bytes; NaN where the system does not tell."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.status, self.bytes, self.running = Path("/proc/self/status"), float("nan"), True

    def run(self) -> None:
        while self.running and self.status.exists():
            found = re.search(r"RssAnon:\s+(\d+) kB", self.status.read_text())
            if found:
                self.bytes = np.fmax(self.bytes, 1024.0 * int(found[1]))
            time.sleep(0.002)


def fit(format: str, path: Path, K: int, n_iter: int, init: str, rounds: int) -> dict[str, Any]:
    """Fit K components; what is reported."""
    import fastem

    peak = Peak()
    peak.start()
    model = fastem.GaussianMixture(K, tol=0.0, max_iter=n_iter, init_params=init, random_state=0)
    source = fastem.as_source(FORMATS[format][2](path))
    since = time.perf_counter()
    model.fit(source)
    whole = time.perf_counter() - since
    fastem.write_scores(model, source, path.with_name("labels.npy"))
    peak.running = False
    peak.join()
    labels = np.load(path.with_name("labels.npy"), mmap_mode="r")
    rate, rate_in_memory = rates(source, model.params_, rounds)
    return {
        "fit_seconds": whole,
        "rows_per_second": rate,
        "rows_per_second_in_memory": rate_in_memory,
        "rows": source.n_rows,
        "peak_anonymous_bytes": peak.bytes,
        "lower_bound": model.lower_bound_,
        "labels": np.bincount(labels, minlength=K).tolist(),
    }


def rates(source: Any, params: Any, rounds: int) -> tuple[float, float]:
    """Rows per second of passes over a source, and over its first rows in memory, a tenth; in turns, the medians."""
    import fastem

    rows = np.empty((-(-source.n_rows // 10), source.n_features))

    def copy(block: Any) -> None:
        n = max(0, min(len(block.X), len(rows) - block.start))
        rows[block.start : block.start + n] = block.X[:n]

    source.for_each(copy, CHUNK)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for one, times in zip((source, fastem.as_source(rows)), found, strict=True):
            since = time.perf_counter()
            for _ in range(1 if one is source else 3):
                n = fastem.accumulate(one, params).n_rows
            times.append(n * (1 if one is source else 3) / (time.perf_counter() - since))
    return float(np.median(found[0])), float(np.median(found[1]))


def measure(format: str, folder: Path, N: int, D: int, K: int, *options: Any) -> dict[str, Any]:
    """Write a file, have it fitted, delete it."""
    path = folder / FORMATS[format][0]
    progress(f"{format}: writing {N * D * 8 / 1e6:.0f} MB")
    try:
        FORMATS[format][1](path, N, D, K)
        progress(f"{format}: fitting")
        job = json.dumps([format, str(path), K, *options])
        command = [sys.executable, "-W", "ignore", __file__, "--fit", job]
        done = subprocess.run(command, env=clean_environment(), stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)
    finally:
        progress()
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.with_name("labels.npy").unlink(missing_ok=True)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--formats", default=",".join(FORMATS), help="of these (default: %(default)s)")
    args.add_argument("--rows", type=int, default=2_500_000)
    args.add_argument("--features", type=int, default=10)
    args.add_argument("--components", type=int, default=10)
    args.add_argument("--iterations", type=int, default=5)
    args.add_argument("--init", default="kmeans", help="init_params (default: %(default)s)")
    args.add_argument("--rounds", type=int, default=3, help="of passes that are timed (default: %(default)s)")
    args.add_argument("--folder", type=Path, help="where the files go (default: the system's for temporary files)")
    args.add_argument("--json", action="store_true", help="print the measurements alone")
    args.add_argument("--fit", metavar="JOB", help="fit a file that is there, and print what was measured")
    options = args.parse_args()
    if options.fit:
        format, path, *rest = json.loads(options.fit)
        print(json.dumps(fit(format, Path(path), *rest)))
        return
    # Or a compilation would be what takes the memory.
    warm = "import sys; sys.path.insert(0, sys.argv[1]); import fastem; fastem.warmup(['float64'])"
    subprocess.run([sys.executable, "-c", warm, ROOT], env=clean_environment(), check=True)
    sizes = options.rows, options.features, options.components, options.iterations, options.init, options.rounds
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = {name: measure(name, Path(folder), *sizes) for name in options.formats.split(",")}
    if options.json:
        print(json.dumps(found))
        return
    rows = []
    for name, one in found.items():
        rate, in_memory, peak = (
            one[key] for key in ("rows_per_second", "rows_per_second_in_memory", "peak_anonymous_bytes")
        )
        rows.append([name, f"{rate / 1e6:.2f}", f"{rate / in_memory:.0%}", f"{peak / 1e6:.0f}"])
    print(table(["format", "million rows/s", "of the rate in memory", "peak MB"], rows))


if __name__ == "__main__":
    main()
