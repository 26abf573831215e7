"""Fit a mixture to each of many small groups of rows, and compute statistics and scores of groups, one at a time.

This module is long because a whole fit runs inside one kernel: k-means, passes, M-steps and the stopping rule. A
group's rows and its mixture so stay in the caches from the first pass to the last, and nothing leaves the kernel before
the fit has ended.

The passes are those of `mixture`. The M-step does for one mixture what `Covariance.estimate` and `factorise` do, and
k-means does what `fastem.fitting.lloyd` does: tests compare them.

Rows of a group are consecutive, ``bounds[g]`` to ``bounds[g + 1]``. The width of the tile depends on the number of rows
in the group, so that its bits do not depend on the other groups.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types

from fastem.kernels.compiler import HELPER
from fastem.kernels.jit import Kernel
from fastem.kernels.lanes import STEP
from fastem.kernels.memory import part
from fastem.kernels.micro import DIAG, FIRST, FULL, ROWS, moments_rows
from fastem.kernels.mixture import (
    N_ROWS,
    N_SCALARS,
    Mixture,
    Outputs,
    Rows,
    accumulate_rows,
    add_labelled,
    add_softly,
    fetch,
    fetch_alone,
    fill,
    fill_scores,
    n_values,
    read_only,
    score_rows,
)

CONVERGED, MAX_ITER, DEGENERATE, TOO_FEW_ROWS = range(4)  # how the fit of a group ended
WEIGHTS, MEANS, PRECISIONS = 1, 2, 4  # parts of the start that are given, added up
LLOYD, ASSIGN, EM = range(3)  # what a pass is for
MAX_LLOYD, LLOYD_TOL = 300, 1e-4
EPS = float(np.finfo(np.float64).eps)
POINTS = STEP // 8  # a tile is a multiple of it


class Settings(NamedTuple):
    """The settings of a fit: arguments of `fit_worker`, which describes them."""

    reg_covar: Any
    floor: Any
    zero: Any
    tol: Any
    max_iter: Any


@njit(**HELPER)
def tile_size(size, n_rows, D, K):
    """Return how many of a task's `size` numbers of scratch a group of n_rows uses: tiles that its rows fill evenly."""
    P = moments_rows(FIRST, D) * ROWS
    head, lines = P * POINTS + (K + POINTS - 1) // POINTS * POINTS, 2 * P + ROWS + K + N_ROWS
    most = (size - head) // lines
    n_tiles = max(1, (n_rows + most - 1) // most)
    width = (max(1, (n_rows + n_tiles - 1) // n_tiles) + POINTS - 1) // POINTS * POINTS
    return head + lines * min(width, most)


def state_size(K: int, D: int, shape: tuple[int, ...]) -> int:
    """Return the size of a task's state memory, for `carve_state`: whole cache lines, and one between tasks."""
    F, R, C = shape
    out = n_values(K, D, FULL if R > 1 else DIAG)
    return -(-(out + 3 * K + 1 + 2 * K * D + 2 * F * R * C + 2 * F * C + C) // 8) * 8 + 8


@njit(**HELPER)
def cut(memory, n):
    """Return the first n numbers, and the others."""
    return memory[:n], memory[n:]


@njit(**HELPER)
def carve_state(state, K, D, F, R, C):
    """Cut a task's state memory into its arrays.

    out: what a pass fills; lognorm (K); mass (K); variances (2, F, C); one (1, 1, 1); centres (K, D); least (C); and a
    proposal: weights (K), means (K, D), covariances and factor (F, R, C).
    """
    out, rest = cut(state, n_values(K, D, FULL if R > 1 else DIAG))
    lognorm, rest = cut(rest, K)
    mass, rest = cut(rest, K)
    variances, rest = cut(rest, 2 * F * C)
    one, rest = cut(rest, 1)
    centres, rest = cut(rest, K * D)
    least, rest = cut(rest, C)
    weights, rest = cut(rest, K)
    means, rest = cut(rest, K * D)
    covariances, rest = cut(rest, F * R * C)
    factor = rest[: F * R * C]
    proposal = weights, part(means, 0, (K, D)), part(covariances, 0, (F, R, C)), part(factor, 0, (F, R, C))
    centres = part(centres, 0, (K, D))
    return out, lognorm, mass, part(variances, 0, (2, F, C)), part(one, 0, (1, 1, 1)), centres, least, proposal


@njit(**HELPER)
def moments_of(out, K, form, D):
    """Return s0 (K) and sums (K, rows, 4) of what a pass has filled."""
    n_rows = moments_rows(form, D)
    s0, sums = cut(out[N_SCALARS:], K)
    return s0, part(sums, 0, (K, n_rows, ROWS))


@njit(**HELPER)
def take(source, target):
    """Copy an array into another one of its shape."""
    a, b = part(source, 0, (source.size,)), part(target, 0, (target.size,))
    for i in range(a.size):
        b[i] = a[i]


# --- k-means --------------------------------------------------------------------------------------------------------


@njit(**HELPER)
def row_weight(weight, r):
    """Return the weight of row r, 1 if there are no weights."""
    return weight[r] if weight.size > 0 else 1.0


@njit(**HELPER)
def distance(X, r, centre):
    """Return the squared distance of row r to a centre (D)."""
    total = 0.0
    for d in range(centre.size):
        step = X[r, d] - centre[d]
        total += step * step
    return total


@njit(**HELPER)
def place(X, r, centre):
    """Put a centre (D) at row r."""
    for d in range(centre.size):
        centre[d] = X[r, d]


@njit(**HELPER)
def draw(weight, nearest, start, stop, u):
    """Return a row, drawn in proportion to weight * nearest: the inverse of their cumulated sum at u in [0, 1)."""
    total = 0.0
    for r in range(start, stop):
        total += row_weight(weight, r) * nearest[r]
    target, cumulated, chosen = u * total, 0.0, start
    for r in range(start, stop):
        mass = row_weight(weight, r) * (nearest[r] if total > 0.0 else 1.0)
        if mass > 0.0:
            chosen = r
        cumulated += mass
        if cumulated > target:
            break
    return chosen


@njit(**HELPER)
def seeds(X, weight, start, stop, uniforms, nearest, centres):
    """Find centres by greedy k-means++, as `fastem.fitting.seeds.seeds` does.

    uniforms (1 + (K - 1) candidates) IN, centres (K, D) OUT.
    """
    K, used = centres.shape[0], 1
    n_candidates = (uniforms.size - 1) // max(1, K - 1)
    fill(nearest[start:stop], 1.0)
    chosen = draw(weight, nearest, start, stop, uniforms[0])
    fill(nearest[start:stop], np.inf)
    for k in range(K):
        if k > 0:
            least = np.inf
            for _ in range(n_candidates):
                candidate = draw(weight, nearest, start, stop, uniforms[used])
                used += 1
                place(X, candidate, centres[k])
                total = 0.0
                for r in range(start, stop):
                    total += row_weight(weight, r) * min(nearest[r], distance(X, r, centres[k]))
                if total < least:
                    least, chosen = total, candidate
        place(X, chosen, centres[k])
        for r in range(start, stop):
            nearest[r] = min(nearest[r], distance(X, r, centres[k]))


@njit(**HELPER)
def mean_row(X, weight, start, stop, mean):
    """Set mean (D) to the weighted mean of the rows, and return their weight."""
    total = 0.0
    for r in range(start, stop):
        total += row_weight(weight, r)
    for d in range(mean.size):
        first, moved = X[start, d], 0.0
        for r in range(start, stop):
            moved += row_weight(weight, r) * (X[r, d] - first)
        mean[d] = first + moved / total
    return total


@njit(**HELPER)
def least_variances(X, weight, start, stop, reg_covar, floor, mean, least):
    """Set least (C) to what is added to variances: `reg_covar` + `floor` * the variance of the rows; mean (D) OUT.

    For C = 1 the variance is the mean over features. Rows without spread say nothing about a variance: all components
    then get the same one, the square of the rows' value, or 1.
    """
    D, C = mean.size, least.size
    fill(least, 0.0)
    total = mean_row(X, weight, start, stop, mean)
    for r in range(start, stop):
        for d in range(D):
            least[d if C > 1 else 0] += row_weight(weight, r) * (X[r, d] - mean[d]) ** 2
    for c in range(C):
        variance = least[c] / total / (D if C == 1 else 1)
        if variance == 0.0:
            variance = (mean[c] ** 2 if mean[c] != 0.0 else 1.0) / floor
        least[c] = reg_covar + floor * variance


@njit(**HELPER)
def mean_variance(X, weight, start, stop, mean):
    """Return the mean over features of the rows' weighted variances; mean (D) OUT."""
    total, squares = mean_row(X, weight, start, stop, mean), 0.0
    for r in range(start, stop):
        squares += row_weight(weight, r) * distance(X, r, mean)
    return squares / total / mean.size


@njit(**HELPER)
def move_centres(X, weight, start, stop, s0, sums, nearest, centres):
    """Move centres (K, D) IN OUT to the means of their rows, a turn of Lloyd's; return the sum of squared shifts.

    sums (K, rows, 4) IN: first moments about the centres. An empty cluster takes the row that is farthest from its
    centre.
    """
    (K, D), shift, n_empty = centres.shape, 0.0, 0
    for k in range(K):
        n_empty += s0[k] == 0.0
    if n_empty > 0:
        for r in range(start, stop):
            nearest[r] = np.inf if row_weight(weight, r) > 0.0 else -1.0
            for k in range(K):
                nearest[r] = min(nearest[r], distance(X, r, centres[k]))
    for k in range(K):
        if s0[k] > 0.0:
            for d in range(D):
                step = sums[k, d // ROWS, d % ROWS] / s0[k]
                centres[k, d] += step
                shift += step * step
        else:
            farthest = start
            for r in range(start, stop):
                farthest = r if nearest[r] > nearest[farthest] else farthest
            shift += distance(X, farthest, centres[k])
            place(X, farthest, centres[k])
            for r in range(start, stop):
                nearest[r] = min(nearest[r], distance(X, r, centres[k]))
    return shift


@njit(**HELPER)
def comes_before(a, b):
    """Tell whether a is before b in lexicographic order."""
    for d in range(a.size):
        if a[d] != b[d]:
            return a[d] < b[d]
    return False


@njit(**HELPER)
def sort_rows(rows):
    """Sort rows in lexicographic order, in place."""
    for i in range(1, rows.shape[0]):
        for j in range(i, 0, -1):
            if comes_before(rows[j], rows[j - 1]):
                for d in range(rows.shape[1]):
                    rows[j, d], rows[j - 1, d] = rows[j - 1, d], rows[j, d]


@njit(**HELPER)
def match_rows(rows, others):
    """Order rows (K, D) by the others that they are near: swap two as long as that lowers the sum of distances."""
    for _ in range(rows.shape[0]):
        moved = False
        for a in range(rows.shape[0]):
            for b in range(a):
                apart = distance(rows, a, others[a]) + distance(rows, b, others[b])
                if distance(rows, a, others[b]) + distance(rows, b, others[a]) < apart:
                    moved = True
                    for d in range(rows.shape[1]):
                        rows[a, d], rows[b, d] = rows[b, d], rows[a, d]
        if not moved:
            break


# --- M-step ---------------------------------------------------------------------------------------------------------


@njit(**HELPER)
def first_moment(sums, is_full, i):
    """Return the first moment of feature i, from a component's rows of 4 (see `micro.moments_rows`)."""
    block = i // ROWS
    return sums[block + 2 * block * (block + 1) if is_full else 2 * block, i % ROWS]


@njit(**HELPER)
def second_moment(sums, is_full, i, j):
    """Return the second moment of features i and j <= i; without `is_full`, i == j."""
    block = i // ROWS
    if not is_full:
        return sums[2 * block + 1, i % ROWS]
    place = 0 if j // ROWS == block else 1 + j // ROWS
    return sums[block + 2 * block * (block + 1) + 1 + ROWS * place + i % ROWS, j % ROWS]


@njit(**HELPER)
def m_step(s0, sums, n_rows, least, zero, before, origin, mass, variances, proposal):
    """Do `Covariance.estimate` and `factorise`; return False if a covariance is not positive definite.

    s0 (K), sums (K, rows, 4) IN: a pass's moments about origin (K, D); least (C) IN: added to the variances; before
    (F, R, C) IN: covariances that components without rows keep, or (0, 0, 0): they keep none; mass (K), variances
    (2, F, C): scratch; proposal OUT.
    """
    weights, means, covariances, factor = proposal
    (K, D), (F, R, C) = means.shape, covariances.shape
    is_full, second, square, sum_w = R > 1, variances[0], variances[1], s0.sum()
    nothing = 10 * EPS * sum_w / n_rows
    fill(mass, 0.0)
    fill(part(variances, 0, (variances.size,)), 0.0)
    fill(part(covariances, 0, (covariances.size,)), 0.0)
    for k in range(K):
        f, nk = k if F > 1 else 0, s0[k] + nothing
        weights[k] = nk / (sum_w + K * nothing)
        mass[f] += nk
        for i in range(D):  # the means' steps, at first
            means[k, i] = first_moment(sums[k], is_full, i) / nk
        for i in range(D):
            c, moved = i if C > 1 else 0, (2 * nk - s0[k]) * means[k, i]
            for j in range(0 if is_full else i, i + 1):
                scatter = second_moment(sums[k], is_full, i, j) - moved * means[k, j]
                covariances[f, i if is_full else 0, j if C > 1 else 0] += scatter
            second[f, c] += second_moment(sums[k], is_full, i, i)
            square[f, c] += nk * (origin[k, i] + means[k, i]) ** 2
        for i in range(D):
            means[k, i] += origin[k, i]
    sound = True
    for f in range(F):
        divisor = mass[f] * (D if C == 1 else 1)
        mend(covariances[f], second[f], square[f], divisor)
        for c in range(C):
            covariances[f, c if is_full else 0, c] += least[c]
        if before.size > 0 and s0[f] <= nothing:
            take(before[f], covariances[f])
        sound &= factorise(covariances[f], zero, factor[f])
    return sound


@njit(**HELPER)
def mend(covariance, second, square, divisor):
    """Divide sums by `divisor`, then as `fastem.model.rounding` replaces variances; fill the upper triangle."""
    R, C = covariance.shape
    for i in range(R):
        for j in range(i + 1 if R > 1 else C):
            covariance[i, j] /= divisor
    for c in range(C):
        i, before = c if R > 1 else 0, second[c] / divisor
        if covariance[i, c] <= 16 * EPS * before:
            constant = before <= (8 * EPS) ** 2 * (square[c] / divisor)
            for j in range(0 if constant or R == 1 else R):
                covariance[max(i, j), min(c, j)] = 0.0
            covariance[i, c] = 0.0 if constant else 16 * EPS * before
    for i in range(R if R > 1 else 0):
        for j in range(i):
            covariance[j, i] = covariance[i, j]


@njit(**HELPER)
def factorise(covariance, zero, factor):
    """Set factor (R, C) to the inverse of the Cholesky factor; return False if a pivot is <= zero * variance."""
    R, C = covariance.shape
    if R == 1:
        sound = True
        for c in range(C):
            sound &= 0.0 < covariance[0, c] < np.inf
            factor[0, c] = 1.0 / np.sqrt(covariance[0, c])
        return sound
    for j in range(R):
        pivot = covariance[j, j]
        for m in range(j):
            pivot -= factor[j, m] * factor[j, m]
        if not (pivot > 0.0 and pivot > zero * covariance[j, j]):
            return False
        factor[j, j] = np.sqrt(pivot)
        for i in range(j + 1, R):
            total = covariance[i, j]
            for m in range(j):
                total -= factor[i, m] * factor[j, m]
            factor[i, j] = total / factor[j, j]
            factor[j, i] = 0.0
    for i in range(R):  # the inverse, in place: entries of row i are read before they are replaced
        factor[i, i] = 1.0 / factor[i, i]
        for j in range(i):
            total = 0.0
            for m in range(j, i):
                total += factor[i, m] * factor[m, j]
            factor[i, j] = -factor[i, i] * total
    return True


@njit(**HELPER)
def log_norm(weights, factor, D, lognorm):
    """Set lognorm (K) to log weight + log normalising constant, as `fastem.model.params.log_norm`."""
    F, R, C = factor.shape
    for k in range(weights.size):
        log_det = 0.0
        for c in range(C):
            log_det += np.log(factor[k if F > 1 else 0, c if R > 1 else 0, c])
        lognorm[k] = np.log(weights[k]) + log_det * (D if C == 1 else 1) - 0.5 * D * np.log(2 * np.pi)


# --- fits -----------------------------------------------------------------------------------------------------------


@njit(**HELPER)
def n_present(weight, start, stop):
    """Return the number of rows of positive weight."""
    present = 0
    for r in range(start, stop):
        present += row_weight(weight, r) > 0.0
    return present


@njit(**HELPER)
def fit_group(rows, start, stop, uniforms, given, mixture, settings, nearest, state, scratch):
    """Fit a group: k-means and an assignment to its centres, unless the start is given, then EM.

    rows (Rows) IN: those of all groups; mixture (weights, means, covariances, factor): given parts of the start IN, the
    fit OUT; settings (Settings) IN; the others as in the worker. Returns status, n_iter, bound.
    """
    X, weight = rows.X, rows.weight
    reg_covar, floor, zero, tol, max_iter = settings
    weights, means, covariances, factor = mixture
    (K, D), (F, R, C) = means.shape, factor.shape
    out, lognorm, mass, variances, one, centres, least, proposal = carve_state(state, K, D, F, R, C)
    form, empty, keep = FULL if R > 1 else DIAG, state[:0], reg_covar == 0.0 and floor == 0.0 and F > 1
    fill(least, reg_covar)
    if floor > 0.0:
        least_variances(X, weight, start, stop, reg_covar, floor, centres[0], least)
    status, n_iter, bound, phase, turn, enough = MAX_ITER, 0, -np.inf, EM, 0, 0.0
    if given != WEIGHTS + MEANS + PRECISIONS:
        phase = LLOYD
        enough = LLOYD_TOL * mean_variance(X, weight, start, stop, centres[0])
        seeds(X, weight, start, stop, uniforms, nearest, centres)
        fill(lognorm, 0.0)
        one[0, 0, 0] = 1.0
    while phase != EM or n_iter < max_iter:
        origin, precision = (means, factor) if phase == EM else (centres, one)
        if phase == EM:
            log_norm(weights, factor, D, lognorm)
        fill(out, 0.0)
        terms = Mixture(lognorm, origin, precision, empty, part(empty, 0, (0, 0)))
        moments = FIRST if phase == LLOYD else form
        if phase == EM:
            accumulate_rows(fetch, add_softly, rows, start, stop, terms, moments, out, scratch)
        else:
            accumulate_rows(fetch_alone, add_labelled, rows, start, stop, terms, moments, out, scratch)
        s0, sums = moments_of(out, K, moments, D)
        if phase == LLOYD:
            turn += 1
            if move_centres(X, weight, start, stop, s0, sums, nearest, centres) <= enough or turn == MAX_LLOYD:
                sort_rows(centres)
                if given & MEANS:
                    match_rows(centres, means)
                phase = ASSIGN
            continue
        if phase == EM:
            n_iter, previous, bound = n_iter + 1, bound, out[0] / s0.sum()
            if abs(bound - previous) < tol:
                status = CONVERGED
        before = covariances if keep and phase == EM else part(empty, 0, (0, 0, 0))
        sound = m_step(s0, sums, stop - start, least, zero, before, origin, mass, variances, proposal)
        parts = given if phase == ASSIGN else 0
        if not sound and not parts & PRECISIONS:
            return DEGENERATE, n_iter, bound
        if not parts & WEIGHTS:
            take(proposal[0], weights)
        if not parts & MEANS:
            take(proposal[1], means)
        if not parts & PRECISIONS:
            take(proposal[2], covariances)
            take(proposal[3], factor)
        phase = EM
        if status == CONVERGED:
            break
    return status, n_iter, bound


def fit_worker(
    task,
    n_tasks,
    X,
    weight,
    bounds,
    uniforms,
    given,
    weights,
    means,
    covariances,
    factor,
    reg_covar,
    floor,
    zero,
    tol,
    max_iter,
    status,
    n_iter,
    bound,
    nearest,
    state,
    scratch,
):
    """Fit groups task, task + n_tasks, ...

    X (N, D), weight (N) or (0) for 1, bounds (G + 1) IN; uniforms (G, 1 + (K - 1) candidates) IN, for k-means;
    given: WEIGHTS, MEANS, PRECISIONS, added up; weights (G, K), means (G, K, D), covariances, factor (G, F, R, C):
    the given parts of the start IN, the fit OUT; floor: added to the variances, as `least_variances` has it, beside
    reg_covar; zero: pivots at or below it times the variance are 0;
    status, n_iter, bound (G) OUT; nearest (N), state (n_tasks, `state_size`), scratch (n_tasks, `scratch_size`):
    memory to work in.
    """
    (_, K, D), size, no_matrix = means.shape, -1, part(nearest, 0, (0, 0))
    rows = Rows(X, weight, bounds[:0], no_matrix, no_matrix)
    settings = Settings(reg_covar, floor, zero, tol, max_iter)
    for g in range(task, status.size, n_tasks):
        start, stop = bounds[g], bounds[g + 1]
        if stop - start < 2 or n_present(weight, start, stop) < K:
            status[g], n_iter[g], bound[g] = TOO_FEW_ROWS, 0, -np.inf
            continue
        tile = scratch[task, : tile_size(scratch.shape[1], stop - start, D, K)]
        if tile.size != size:  # another tile: the rows of features beyond D lie elsewhere
            size = tile.size
            fill(tile, 0.0)
        mixture = weights[g], means[g], covariances[g], factor[g]
        status[g], n_iter[g], bound[g] = fit_group(
            rows, start, stop, uniforms[g], given, mixture, settings, nearest, state[task], tile
        )


# --- statistics and scores ------------------------------------------------------------------------------------------


def accumulate_worker(task, n_tasks, X, weight, bounds, lognorm, means, factor, form, out, scratch):
    """Do the pass over groups task, task + n_tasks, ...; out (G, `n_values`) OUT, as in `mixture.accumulator`.

    lognorm (G|1, K), means (G|1, K, D), factor (G|1, F, R, C) IN: a mixture for each group, or one for all. The
    statistics of a group without a mixture (lognorm is NaN) are NaN.
    """
    (n_mixtures, K, D), size, none = means.shape, -1, out[0, :0]
    no_matrix = part(none, 0, (0, 0))
    rows = Rows(X, weight, bounds[:0], no_matrix, no_matrix)
    for g in range(task, out.shape[0], n_tasks):
        start, stop, m = bounds[g], bounds[g + 1], g if n_mixtures > 1 else 0
        if np.isnan(lognorm[m, 0]):
            fill(out[g], np.nan)
            continue
        tile = scratch[task, : tile_size(scratch.shape[1], stop - start, D, K)]
        if tile.size != size:
            size = tile.size
            fill(tile, 0.0)
        fill(out[g], 0.0)
        terms = Mixture(lognorm[m], means[m], factor[m], none, no_matrix)
        accumulate_rows(fetch, add_softly, rows, start, stop, terms, form, out[g], tile)


def score_worker(task, n_tasks, X, bounds, lognorm, means, factor, density, labels, resp, scratch):
    """Score groups task, task + n_tasks, ...; outputs as in `mixture.scorer`.

    Scores of a group without a mixture (lognorm is NaN) are left as they are.
    """
    (G, K, D), size, none = means.shape, -1, lognorm[0, :0]
    outputs = Outputs(density, labels, resp, resp[:0], part(labels, 0, (0, 0)), resp[:0])
    for g in range(task, G, n_tasks):
        start, stop = bounds[g], bounds[g + 1]
        if np.isnan(lognorm[g, 0]):
            continue
        tile = scratch[task, : tile_size(scratch.shape[1], stop - start, D, K)]
        if tile.size != size:
            size = tile.size
            fill(tile, 0.0)
        mixture = Mixture(lognorm[g], means[g], factor[g], none, part(none, 0, (0, 0)))
        score_rows(fetch, fill_scores, X, start, stop, mixture, outputs, tile)


def _fit_types(real):
    rows = read_only(real, 1), read_only(types.int64, 1), read_only(real, 2)
    mixture = real[:, ::1], real[:, :, ::1], real[:, :, :, ::1], real[:, :, :, ::1]
    results = types.int64[::1], types.int64[::1], real[::1]
    memory = real[::1], real[:, ::1], real[:, ::1]
    return *rows, types.intp, *mixture, real, real, real, real, types.intp, *results, *memory


def _mixture(real):
    """Return the types of lognorm, means and factor, of one mixture per group."""
    return read_only(real, 2), read_only(real, 3), read_only(real, 4)


def _accumulate_types(real):
    return read_only(real, 1), read_only(types.int64, 1), *_mixture(real), types.intp, real[:, ::1], real[:, ::1]


def _score_types(real):
    outputs = real[::1], types.int64[::1], real[:, ::1]
    return read_only(types.int64, 1), *_mixture(real), *outputs, real[:, ::1]


fit = Kernel(fit_worker, _fit_types, "fit_groups")
accumulate = Kernel(accumulate_worker, _accumulate_types, "accumulate_groups")
score = Kernel(score_worker, _score_types, "score_groups")
