"""Make the data of docs/worked.md, and run the first two of its examples at full size.

python scripts/worked_data.py [--cells 1000000] [--grid 4000]

It prints how long the first two fits take, how many cells are in their population, and how well moments are conserved.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np

import fastem

MARKERS = 10
SHARES = np.array([0.30, 0.20, 0.15, 0.12, 0.10, 0.08, 0.04, 0.01])  # of populations among the cells


class Cells(NamedTuple):
    """Cells of a cytometer: (N, 10) intensities after an arcsinh, and the population of each, -1 for debris."""

    X: np.ndarray
    population: np.ndarray


def cytometry(n: int, seed: int = 0) -> Cells:
    """Return n cells of eight populations, high or low in each marker, the rarest 1 %, and 3 % of debris."""
    rng = np.random.default_rng(seed)
    high = np.random.default_rng(42).permutation(2**MARKERS)[: len(SHARES), None] >> np.arange(MARKERS) & 1
    population = rng.choice(len(SHARES), size=n, p=SHARES)
    spread = np.random.default_rng(43).uniform(0.3, 0.7, size=high.shape)
    mixing = np.random.default_rng(44).normal(scale=0.15, size=(MARKERS, MARKERS)) + np.eye(MARKERS)  # spill-over
    X = (1.0 + 3.0 * high[population] + spread[population] * rng.normal(size=(n, MARKERS))) @ mixing
    debris = rng.uniform(size=n) < 0.03
    X[debris] = rng.uniform(X.min(axis=0), X.max(axis=0), size=(int(debris.sum()), MARKERS))
    return Cells(X, np.where(debris, -1, population))


class Particles(NamedTuple):
    """Particles of a plasma: velocities (N, 3), the weight of each, and its cell."""

    velocity: np.ndarray
    weight: np.ndarray
    cell: np.ndarray


def plasma(n_cells: int, per_cell: int = 200, seed: int = 0) -> Particles:
    """Return particles of a hot background and a cold beam, whose share and speed change from cell to cell."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(n_cells), per_cell)
    place = cell / n_cells
    beam = rng.uniform(size=len(cell)) < 0.2 + 0.1 * np.sin(2 * np.pi * place)
    velocity = rng.normal(size=(len(cell), 3)) * np.where(beam, 0.2, 1.0)[:, None]
    velocity[:, 0] += np.where(beam, 4.0 + np.cos(2 * np.pi * place), 0.0)
    return Particles(velocity, rng.uniform(0.5, 1.5, size=len(cell)), cell)


def households(n: int, seed: int = 0) -> np.ndarray:
    """Return a table (n, 3): age in years, income and savings, which are positive, skewed and depend on age."""
    rng = np.random.default_rng(seed)
    retired = rng.uniform(size=n) < 0.25
    age = np.where(retired, rng.normal(72.0, 6.0, n), rng.normal(42.0, 10.0, n))
    income = np.exp(np.where(retired, 10.0, 10.5) + 0.01 * (age - 42.0) * ~retired + rng.normal(scale=0.4, size=n))
    savings = np.exp(0.03 * age + 0.6 * np.log(income) + rng.normal(scale=0.7, size=n))
    return np.column_stack([age, income, savings])


def moments(velocity: np.ndarray, weight: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean velocity (G, 3) and the mean of v v' (G, 3, 3) of the particles of each cell."""
    mass = np.bincount(cell, weight)
    first = [np.bincount(cell, weight * v) / mass for v in velocity.T]
    second = [[np.bincount(cell, weight * v * u) / mass for u in velocity.T] for v in velocity.T]
    return np.array(first).T, np.moveaxis(np.array(second), 2, 0)


def moments_of(fits: fastem.ManyMixtures) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of the mixtures of cells."""
    spread = fits.covariances + fits.means[..., :, None] * fits.means[..., None, :]
    return np.einsum("gk,gkd->gd", fits.weights, fits.means), np.einsum("gk,gkde->gde", fits.weights, spread)


def matched(labels: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of rows whose label is the most frequent one of their true class."""
    table = np.zeros((labels.max() + 2, truth.max() + 2), dtype=int)
    np.add.at(table, (labels + 1, truth + 1), 1)
    return float(table.max(axis=0).sum() / len(truth))


def main() -> None:
    """Run the examples and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--grid", type=int, default=4000)
    options = parser.parse_args()

    cells = cytometry(options.cells)
    begun = time.perf_counter()
    model = fastem.fit(cells.X, len(SHARES), noise=True, random_state=0)
    took = time.perf_counter() - begun
    print(
        f"{options.cells} cells: {took:.1f} s, {matched(model.predict(cells.X), cells.population):.2%} in their class"
    )
    print(model.fit_report_.starts[0].certificate)

    particles = plasma(options.grid)
    begun = time.perf_counter()
    fits = fastem.fit_many(
        particles.velocity, particles.cell, 2, sample_weight=particles.weight, reg_covar=0.0, random_state=0
    )
    took = time.perf_counter() - begun
    true, found = moments(*particles), moments_of(fits)
    worst = max(np.nanmax(np.abs(a - b)) / np.abs(a).max() for a, b in zip(true, found, strict=True))
    lost = int(np.isnan(fits.weights[:, 0]).sum())
    print(f"{options.grid} cells of particles: {took:.2f} s, moments to {worst:.1e}, {lost} without a mixture")


if __name__ == "__main__":
    main()
