"""The figures of a course on mixtures, drawn with fastem: PNG files, and a page that explains each.

    pip install ".[gallery]" && python scripts/gallery.py             # all, into docs/gallery
    python scripts/gallery.py --only photograph --output elsewhere    # one of them

Each figure is a function; the first line of its docstring is the title on the page, the rest the text.
"""

from __future__ import annotations

import argparse
import inspect
import io
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np

_common.add_root_to_path()

from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

import fastem  # noqa: E402
from fastem import GaussianMixture, plot  # noqa: E402
from fastem.model.families import COVARIANCES, MCLUST, PLAIN  # noqa: E402

RED, GREY = "#c1121f", "0.6"
FIGURES: dict[str, Callable[[], Figure]] = {}


def drawn(function: Callable[[], Figure]) -> Callable[[], Figure]:
    """Enter a function among the figures."""
    FIGURES[function.__name__] = function
    return function


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that no window knows."""
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def panels(figure: Figure, rows: int, columns: int, titles: Sequence[str]) -> Any:
    """Subfigures with titles, in reading order; those beyond the titles have none."""
    parts = figure.subfigures(rows, columns, wspace=0.02, hspace=0.03).ravel()
    for part, title in zip(parts, titles, strict=False):
        part.suptitle(title, fontsize="medium", fontweight="bold")
    return parts


def mixture(params: Any, covariance_type: str = "full") -> GaussianMixture:
    """An estimator of parameters."""
    covariances = params.covariances[0] if covariance_type == "tied" else params.covariances
    return GaussianMixture.from_parameters(params.weights, params.means, covariances, covariance_type)


def steps(X: np.ndarray, model: GaussianMixture) -> list[Any]:
    """The parameters before each iteration of a fit, and those at its end."""
    seen: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.ConvergenceWarning)
        model.fit(X, callback=lambda iteration, bound, params: seen.append(params))
    return seen


def draw_steps(X: np.ndarray, model: GaussianMixture, shown: Sequence[int], figure: Figure, **options: Any) -> None:
    """Panels of a fit after the iterations of `shown` and at its end, and its rising log-likelihood."""
    seen = steps(X, model)
    shown = [*shown, len(seen) - 1]
    titles = ["the start" if i == 0 else f"after {i} iteration{'s' * (i > 1)}" for i in shown]
    parts = panels(figure, 2, -(-(len(shown) + 1) // 2), [*titles, "log-likelihood per row"])
    for part, i in zip(parts, shown, strict=False):
        plot.plot_fit(mixture(seen[i]), X, figure=part, **options)
        for legend in [ax.get_legend() for ax in part.axes]:
            legend.remove()
    axes = parts[len(shown)].subplots()
    plot.plot_history(model, ax=axes)
    axes.plot(np.add(shown, 1), np.take(model.lower_bounds_, shown), "o", color=RED, zorder=3)


# ---- the data: the geyser, and clusters of known shapes --------------------------------------------------------------


def stretched(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three round clusters under a shear: rows and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], 250)
    centres = np.array([[-3.0, -6.0], [0.0, 2.5], [4.0, 0.0]])
    rows = centres[labels] + rng.normal(size=(750, 2))
    return rows @ np.array([[0.6, -0.6], [-0.4, 0.85]]), labels


def unequal(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clusters of very different variances."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], 250)
    centres = np.array([[-5.0, -4.0], [0.0, 3.0], [4.0, -2.0]])
    return centres[labels] + rng.normal(size=(750, 2)) * np.array([0.6, 2.8, 0.9])[labels, None], labels


def uneven(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A large cluster between two small ones."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [1000, 60, 40])
    centres = np.array([[0.0, 0.0], [5.0, 3.5], [-5.0, 3.5]])
    return centres[labels] + rng.normal(size=(1100, 2)) * np.array([1.9, 0.5, 0.5])[labels, None], labels


# ---- the figures -----------------------------------------------------------------------------------------------------


@drawn
def iterations() -> Figure:
    """EM, iteration by iteration

    The eruptions of the Old Faithful geyser: their length, and the wait for the next. EM starts from two wrong
    components, and each iteration weighs every eruption by its probability of having come from either, then fits each
    component to the eruptions so weighed. The log-likelihood never falls: slow while both components claim the same
    rows, fast once each has found its own, and slow again at the end.
    """
    X, names = fastem.load_faithful()
    precision = np.diag(1 / X.var(axis=0))
    start = dict(weights_init=[0.5, 0.5], means_init=[[2.6, 88.0], [4.4, 52.0]], precisions_init=[precision] * 2)
    figure = new_figure(10.0, 6.4)
    draw_steps(X, GaussianMixture(2, tol=1e-7, **start), [0, 1, 4, 8], figure, feature_names=names)
    return figure


@drawn
def one_dimension() -> Figure:
    """A density on the line, step by step

    A thousand numbers drawn from three normal distributions, and the mixture that EM fits to their histogram. It
    starts from three components side by side, of the same width. The narrow one finds its peak within a few
    iterations; the two broad ones, which overlap, take longer to share their rows out.
    """
    rng = np.random.default_rng(1)
    component = rng.choice(3, size=1000, p=[0.3, 0.25, 0.45])
    X = rng.normal(np.array([-3.0, 1.0, 3.6])[component], np.array([1.2, 0.35, 1.1])[component])[:, None]
    start = dict(weights_init=[1 / 3] * 3, means_init=[[-1.0], [0.0], [1.0]], precisions_init=[[[0.5]]] * 3)
    figure = new_figure(10.0, 6.0)
    draw_steps(X, GaussianMixture(3, tol=1e-9, max_iter=300, **start), [0, 2, 5, 15], figure, feature_names=["x"])
    return figure


@drawn
def joint_and_marginal() -> Figure:
    """Joint and marginal samples, and responsibilities

    `sample` draws a component, then a row of it; with both, the rows are drawn from the joint distribution (left).
    Forget the components, and what is left is a sample of the marginal distribution, which is all that a fit sees
    (middle). `predict_proba` tells how probable each component is given the row: between the clusters the colours mix
    (right).
    """
    weights, means = [0.5, 0.3, 0.2], [[0.25, 0.5], [0.45, 0.55], [0.72, 0.42]]
    covariances = [
        [[0.008, 0.007], [0.007, 0.012]],
        [[0.008, -0.006], [-0.006, 0.01]],
        [[0.008, 0.005], [0.005, 0.009]],
    ]
    model = GaussianMixture.from_parameters(weights, means, covariances).set_params(random_state=3)
    X, component = model.sample(700)
    figure = new_figure(10.5, 3.6)
    titles = ["rows and components", "rows", "responsibilities"]
    for ax, title, resp in zip(figure.subplots(1, 3), titles, [component, None, model.predict_proba(X)], strict=True):
        plot.plot_points(X, resp, ax=ax).set_title(title, fontsize="medium", fontweight="bold")
    return figure


@drawn
def families() -> Figure:
    """What a covariance may look like

    The same rows under each constraint on the covariances, and the BIC of each fit (smaller is better). Every
    constraint has fewer parameters than `full`, and what its ellipses cannot follow. `tied` shares one matrix,
    `diag` has axes along the features, `spherical` has circles.
    """
    rng = np.random.default_rng(3)
    roots = [[[1.3, 0.0], [1.0, 0.5]], [[0.5, 0.0], [-0.2, 1.2]], [[0.9, 0.0], [0.0, 0.5]]]
    means = [[-3.0, 1.2], [2.6, 1.2], [0.2, -2.6]]
    X = np.vstack([m + rng.normal(size=(250, 2)) @ np.transpose(r) for m, r in zip(means, roots, strict=True)])
    figure = new_figure(10.0, 6.4)
    fits = {name: GaussianMixture(3, covariance_type=name, random_state=0).fit(X) for name in PLAIN}
    titles = [f"{name}: BIC {model.bic(X):.0f}" for name, model in fits.items()]
    for part, model in zip(panels(figure, 2, 3, titles), fits.values(), strict=False):
        plot.plot_fit(model, X, figure=part)
        part.axes[0].get_legend().remove()
        part.axes[0].set_aspect("equal")
    return figure


@drawn
def fourteen() -> Figure:
    """The fourteen families of mclust

    The same rows under each family. A name says of the volume, the shape and the axes of components in turn whether
    they are equal (E) or vary (V); with I for axes these are the features', with I for the shape it is a sphere. From
    above to below there is less that components share. The number is that of the free parameters of covariances, and
    the BIC is smaller for the better.
    """
    rng = np.random.default_rng(3)
    roots = [[[1.5, 0.0], [1.2, 0.4]], [[0.5, 0.0], [-0.3, 1.2]], [[0.4, 0.0], [0.2, 0.25]]]
    means = [[-3.0, 1.2], [2.6, 1.2], [0.6, -2.6]]
    X = np.vstack([m + rng.normal(size=(250, 2)) @ np.transpose(r) for m, r in zip(means, roots, strict=True)])
    figure = new_figure(11.0, 7.2)
    settings = {"means_init": means, "reg_covar": 0.0, "tol": 1e-8, "max_iter": 2000, "random_state": 0}
    fits = {name: GaussianMixture(3, covariance_type=name, **settings).fit(X) for name in MCLUST}
    titles = [f"{name}: {COVARIANCES[name].n_parameters(3, 2)}, BIC {model.bic(X):.0f}" for name, model in fits.items()]
    for part, model in zip(panels(figure, 3, 5, titles), fits.values(), strict=False):
        plot.plot_fit(model, X, figure=part)
        part.axes[0].get_legend().remove()
        part.axes[0].set(aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
    return figure


@drawn
def runaway() -> Figure:
    """The likelihood that runs away

    A mixture's likelihood has no maximum: with one component on a single row, it grows without bound as that
    component shrinks (black). A penalised likelihood has one: `regularization="ridge"` and `"map"` subtract what grows
    faster (colours). Below, six components fitted to 40 eruptions from the same start: with a covariance floor of
    1e-10 one ends as a needle on rows in a line; under the remedies none does.
    """
    X, names = fastem.load_faithful()
    X = X[:40]
    figure = new_figure(10.0, 7.0)
    above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.1])
    ax = above.subplots()
    sizes = np.geomspace(1e-6, 3.0, 200)
    remedies = {"likelihood": None, '"ridge"': "ridge", '"map"': "map"}
    for (label, remedy), color in zip(remedies.items(), ["black", "#0072B2", "#D55E00"], strict=True):
        objectives = []
        for size in sizes:
            covariances = [np.cov(X.T), np.cov(X.T) * size**2]
            params = fastem.make_params([0.95, 0.05], [X.mean(axis=0), X[7]], covariances)
            objectives.append(fastem.em(X, params, regularization=remedy, max_iter=1).history[0])
        ax.plot(sizes, objectives, color=color, label=label)
    ax.set(
        xscale="log",
        xlabel="size of a component that sits on one row (relative to the data)",
        ylabel="objective per row",
    )
    likelihood = ax.lines[0].get_ydata()
    ax.set_ylim(likelihood.min() - 0.6, likelihood.max() + 0.1)
    ax.invert_xaxis()
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    options = {
        "reg_covar=1e-10": {"reg_covar": 1e-10},
        'regularization="ridge"': {"regularization": "ridge"},
        'regularization="map"': {"regularization": "map"},
        "EigenvalueRatio(20)": {"regularization": fastem.EigenvalueRatio(20)},
    }
    for part, option in zip(panels(below, 1, 4, list(options)), options.values(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastem.ConvergenceWarning)
            model = GaussianMixture(6, random_state=5, tol=1e-8, max_iter=500, **option).fit(X)
        plot.plot_fit(model, X, figure=part, feature_names=names)
        part.axes[0].get_legend().remove()
    return figure


@drawn
def outliers() -> Figure:
    """A component for what belongs nowhere

    Three clusters among rows scattered over the whole plane. Without a place for the scattered rows, the components
    stretch to take them in (left). `noise=True` adds a component of constant density over the data's box, which takes
    them, and their share is estimated with the rest (right).
    """
    X, _ = stretched()
    rng = np.random.default_rng(5)
    low, high = X.min(axis=0) - 2, X.max(axis=0) + 2
    X = np.vstack([X, rng.uniform(low, high, size=(250, 2))])
    figure = new_figure(10.0, 4.2)
    for part, noise in zip(panels(figure, 1, 2, ["three components", "noise=True"]), (False, True), strict=True):
        model = GaussianMixture(3, noise=noise, random_state=0, n_init=5).fit(X)
        plot.plot_fit(model, X, figure=part)
    return figure


@drawn
def photograph() -> Figure:
    """A photograph segmented by colour

    A mixture is fitted to the colours of a photograph, one row per pixel, 273,280 in all. Each pixel is then drawn in
    the mean colour of its most probable component. Components have covariances, so that a colour's shades in light
    and shadow, a long streak in the cube of colours, make one segment.
    """
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg")
    X = image.reshape(-1, 3) / 255.0
    figure = new_figure(10.0, 6.9)
    axes = figure.subplots(2, 2).ravel()
    axes[0].imshow(image)
    axes[0].set_title("273,280 pixels", fontsize="medium", fontweight="bold")
    for ax, K in zip(axes[1:], (3, 6, 12), strict=True):
        since = time.perf_counter()
        model = GaussianMixture(K, init_params="k-means++", reg_covar=1e-5, random_state=0, tol=1e-4, max_iter=300)
        model.fit(X)
        label, took = model.predict(X), time.perf_counter() - since
        ax.imshow(model.means_[label].clip(0.0, 1.0).reshape(image.shape))
        title = f"{K} components: {model.n_iter_} iterations in {took:.1f} s"
        ax.set_title(title, fontsize="medium", fontweight="bold")
    for ax in axes:
        ax.set_axis_off()
    return figure


@drawn
def kmeans_and_em() -> Figure:
    """k-means against EM

    k-means gives each row to the nearest centre: it finds round clusters of equal size, and cuts others up (middle).
    EM fits a covariance and a weight to each component as well, and so finds clusters that are stretched (above),
    that have different variances (in the middle row), or different sizes (below). The percentages are rows given to
    the right cluster.
    """
    figure = new_figure(10.0, 9.6)
    axes = figure.subplots(3, 3)
    for row, (X, truth) in zip(axes, (stretched(), unequal(), uneven()), strict=True):
        kmeans = fastem.KMeans(3, n_init=10, random_state=0).fit(X)
        model = GaussianMixture(3, init_params="auto", random_state=0).fit(X)
        found = {"k-means": kmeans.labels_, "EM": model.predict(X)}
        plot.plot_points(X, truth, ax=row[0]).set_title("as drawn", fontsize="medium", fontweight="bold")
        for ax, (name, labels) in zip(row[1:], found.items(), strict=True):
            labels = matched(labels, truth)
            title = f"{name}: {np.mean(labels == truth):.0%}"
            plot.plot_points(X, labels, ax=ax).set_title(title, fontsize="medium", fontweight="bold")
        row[1].plot(*kmeans.cluster_centers_.T, "+", color="black", markersize=10, markeredgewidth=2)
        row[2].plot(*model.means_.T, "+", color="black", markersize=10, markeredgewidth=2)
    return figure


def matched(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Labels numbered so that they agree with the truth as often as they can."""
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(together, (labels, truth), 1)
    rows, columns = linear_sum_assignment(-together)
    number = np.arange(together.shape[0])
    number[rows] = columns
    return number[labels]


@drawn
def lower_bound() -> Figure:
    """The bound that EM climbs

    For any distributions q over the components of each row, the log-likelihood is the sum of a lower bound (ELBO) and
    the divergence KL of q from the posterior. An E-step sets q to the posterior: the divergence becomes 0, and the
    bound meets the log-likelihood. An M-step raises the bound by moving the parameters, which opens the gap again, so
    that the log-likelihood rises by more than the bound did.
    """
    X, _ = fastem.load_faithful()
    params = fastem.make_params([0.5, 0.5], [[2.6, 88.0], [4.4, 52.0]], [np.diag(X.var(axis=0))] * 2)
    found = []
    for _ in range(10):
        q = mixture(params).predict_proba(X)
        found.append(fastem.elbo(X, params, q))
        params = fastem.m_step(fastem.moments(X, resp=q))
        found.append(fastem.elbo(X, params, q))
    bounds, logliks = np.array([[one.elbo, one.loglik] for one in found[2:]]).T / len(X)  # the first step is too large
    steps_done = 1 + np.arange(1, len(bounds) + 1) / 2
    figure = new_figure(9.0, 5.0)
    ax = figure.subplots()
    ax.fill_between(steps_done, bounds, logliks, color="#E69F00", alpha=0.35, linewidth=0, label="KL(q || posterior)")
    ax.plot(steps_done, logliks, color="black", label="log-likelihood")
    ax.plot(steps_done, bounds, color="#0072B2", linewidth=1.0)
    ax.plot(steps_done[::2], bounds[::2], "o", color="#0072B2", label="ELBO after an E-step")
    ax.plot(steps_done[1::2], bounds[1::2], "s", color="#0072B2", markerfacecolor="white", label="ELBO after an M-step")
    ax.set(xlabel="iteration", ylabel="per row", xticks=range(2, 11))
    ax.legend(frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@drawn
def moves() -> Figure:
    """A move that leaves a wrong optimum

    Five clusters, and five components. EM has converged, but two components (above) have one cluster to share, while
    another (below) covers two (left). Every small step from here loses, so EM stays, and so does every start that leads
    here. The search of `fastem.fit` and `init_params="auto"` merges the two halves and gives the free component half of
    the one that covers two clusters (middle). EM goes on from there, to a better optimum (right). Above each panel is
    the log-likelihood per row.
    """
    rng = np.random.default_rng(5)
    centres = np.array([[-5.0, 4.5], [0.0, 5.5], [5.0, 4.5], [-2.2, -4.0], [2.6, -4.0]])
    shapes = rng.normal(size=(5, 2, 2)) * 0.45 + np.eye(2)
    labels = rng.integers(5, size=1500)
    X = centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.normal(size=(1500, 2)))
    apart = np.array([0.7, 0.0])
    wrong = [centres[0], centres[1] - apart, centres[1] + apart, centres[2], (centres[3] + centres[4]) / 2]
    stuck = GaussianMixture(5, means_init=wrong, tol=1e-9, max_iter=3000, reg_covar=0).fit(X)
    weights, means, covariances = stuck.weights_.copy(), stuck.means_.copy(), stuck.covariances_.copy()
    values, vectors = np.linalg.eigh(covariances[4])
    step = 0.8 * np.sqrt(values[1]) * vectors[:, 1]
    gap = means[1] - means[2]
    share = weights[1:3] / weights[1:3].sum()
    covariances[2] = np.tensordot(share, covariances[1:3], 1) + share.prod() * np.outer(gap, gap)
    means[2], weights[2] = share @ means[1:3], weights[1] + weights[2]
    means[1], means[4] = means[4] + step, means[4] - step
    weights[[1, 4]] = weights[4] / 2
    covariances[[1, 4]] = covariances[4] - np.outer(step, step)
    moved = GaussianMixture.from_parameters(weights, means, covariances)
    start = {"weights_init": weights, "means_init": means, "precisions_init": np.linalg.inv(covariances)}
    mended = GaussianMixture(5, **start, tol=1e-9, max_iter=3000, reg_covar=0).fit(X)
    figure = new_figure(11.0, 3.9)
    names = {"EM has converged": stuck, "a move": moved, "EM from there": mended}
    parts = panels(figure, 1, 3, [f"{name}: {model.score(X):.3f}" for name, model in names.items()])
    for part, model in zip(parts, names.values(), strict=True):
        plot.plot_fit(model, X, figure=part)
        part.axes[0].get_legend().remove()
    return figure


@drawn
def passes() -> Figure:
    """The same maximum in fewer passes

    What the log-likelihood of all rows has yet to gain, against the rows read so far divided by their number, from the
    start that the search has found on a sample of 10,000 of 200,000 rows. Where clusters are told apart (left) a few
    passes do for any method. Where they overlap (right) EM creeps. L-BFGS and `solver="auto"` remember where their last
    steps led, and go far with each; "auto" makes its first steps on samples, which cost a fraction of a pass, and all
    of its steps, like EM's, keep to what a remedy, a family or labels demand.
    """
    figure = new_figure(9.0, 3.8)
    for ax, (title, apart) in zip(figure.subplots(1, 2), {"told apart": 3.0, "overlapping": 1.1}.items(), strict=True):
        rng = np.random.default_rng(3)
        means = apart * rng.normal(size=(5, 3))
        X = means[rng.integers(5, size=200_000)] + rng.normal(size=(200_000, 3))
        start = GaussianMixture(5, init_params="auto", tol=1e-4, random_state=0).fit(X[:10_000])
        curves = {solver: course(X, start, solver) for solver in ("em", "lbfgs", "auto")}
        best = max(bounds[-1] for _, bounds in curves.values())
        for (solver, (read, bounds)), colour in zip(curves.items(), ("black", "#E69F00", "#0072B2"), strict=True):
            short = len(X) * (best - np.array(bounds))
            ax.loglog(read, np.maximum(short, 1e-2), ".-", color=colour, label=f'"{solver}"')
        ax.set(title=title, xlabel="passes over the rows", ylabel="nats to gain, all rows")
        ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return figure


def course(X: np.ndarray, start: GaussianMixture, solver: str) -> tuple[list[float], list[float]]:
    """Passes over the rows so far and the objective per row, at each iteration of a fit from the parameters given."""
    n_read, read, bounds = 0, [], []

    def blocks() -> Iterator[np.ndarray]:
        nonlocal n_read
        for block in np.array_split(X, 8):
            n_read += len(block)
            yield block

    def note(iteration: int, bound: float, params: Any) -> None:
        read.append(n_read / len(X) - 1)  # the first pass checks the rows
        bounds.append(bound)

    model = GaussianMixture(
        start.n_components,
        weights_init=start.weights_,
        means_init=start.means_,
        precisions_init=start.precisions_,
        reg_covar=0,
        solver=solver,
        tol=1e-8,
        max_iter=400,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.ConvergenceWarning)
        model.fit(blocks, callback=note)
    return read, bounds


@drawn
def how_many() -> Figure:
    """How many components?

    With every component the likelihood of the rows fitted to rises, that of rows held out only as long as the
    component is one of the data's own: cross-validation sees a mixture learn its rows by heart (left). The Bayesian
    information criterion charges for parameters instead, and needs one fit where cross-validation needs five (right;
    smaller is better). Both are `fastem.select`, which starts each fit from the one before, a component split in two,
    as well as from k-means.
    """
    rng = np.random.default_rng(11)
    component = rng.choice(4, size=300, p=[0.3, 0.3, 0.2, 0.2])
    centres = np.array([[-3.0, -1.0], [0.0, 2.5], [3.0, -0.5], [0.3, -2.5]])
    roots = np.array(
        [[[1.0, 0.0], [0.8, 0.5]], [[1.3, 0.0], [0.0, 0.5]], [[0.5, 0.0], [-0.3, 1.0]], [[0.6, 0.0], [0.0, 0.6]]]
    )
    X = centres[component] + np.einsum("nij,nj->ni", roots[component], rng.normal(size=(300, 2)))
    figure = new_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2)
    options: dict[str, Any] = {"random_state": 0, "tol": 1e-5, "max_iter": 500}
    fastem.select(X, range(1, 9), "full", criterion="cv", **options).plot(ax=left)
    fastem.select(X, range(1, 9), ("full", "tied", "diag", "spherical"), **options).plot(ax=right)
    return figure


@drawn
def anomalies() -> Figure:
    """Rows where the density is low

    A mixture is a density, and rows where it is below a threshold are anomalies (red): eruptions between the two
    kinds, and waits that do not go with the eruption's length. The threshold is a log density, or the share of the
    rows that one is ready to look at, here 3 %. Between two neighbouring lines the density changes by a factor of e.
    """
    X, names = fastem.load_faithful()
    detector = fastem.AnomalyDetector(GaussianMixture(2, random_state=0), contamination=0.03).fit(X)
    figure = new_figure(7.0, 5.2)
    plot.plot_anomalies(detector, X, ax=figure.subplots()).set(xlabel=names[0], ylabel=names[1])
    return figure


@drawn
def labels() -> Figure:
    """A few labels

    Two long clusters side by side. Without labels EM starts from k-means, which cuts them across, and stays there:
    it is a local maximum (left). With the labels of three rows of each (large dots) it starts from those, keeps to
    them, and finds the clusters (right).
    """
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 200)
    X = np.column_stack([rng.uniform(-3.6, 3.6, 400), np.where(truth == 0, 0.7, -0.7) + rng.normal(0.0, 0.42, 400)])
    known = np.full(400, -1)
    known[[10, 80, 150, 210, 280, 350]] = [0, 0, 0, 1, 1, 1]
    figure = new_figure(10.0, 3.9)
    for part, given in zip(panels(figure, 1, 2, ["no labels", "six labels"]), (None, known), strict=True):
        model = GaussianMixture(2, random_state=0, tol=1e-6, max_iter=500).fit(X, labels=given)
        plot.plot_fit(model, X, figure=part)
        if given is not None:
            shown = given >= 0
            colours = np.array(["#0072B2", "#E69F00"])[given[shown]]
            part.axes[0].scatter(*X[shown].T, s=70, c=colours, edgecolors="black", zorder=4)
    return figure


@drawn
def gaps() -> Figure:
    """A third of the cells missing

    Two moons, and a third of all cells taken away: most rows lack one of their two values, some lack both (left: the
    rows that are complete). With `missing=True` every row counts by what is observed of it, and the mixture is about
    that of all rows (middle). `impute` then draws the missing values from their conditional distribution: where a value
    leaves two places open, draws fall on both moons (right; draws in orange).
    """
    rng = np.random.default_rng(3)
    angle, upper = rng.uniform(0.0, np.pi, 900), rng.random(900) < 0.5
    moons = np.column_stack([np.cos(angle), np.sin(angle)])
    moons = np.where(upper[:, None], moons, [1.0, 0.4] - moons) + rng.normal(0.0, 0.08, (900, 2))
    X = np.where(rng.random(moons.shape) < 1 / 3, np.nan, moons)
    complete = ~np.isnan(X).any(axis=1)
    model = fastem.fit(X, 8, missing=True, random_state=0)
    figure = new_figure(11.0, 3.9)
    titles = ["the complete rows", "a fit of all rows", "missing values drawn"]
    parts = panels(figure, 1, 3, titles)
    limits = {"xlim": (-1.4, 2.4), "ylim": (-1.1, 1.5)}
    plot.plot_points(X[complete], ax=parts[0].subplots()).set(**limits)
    ax = plot.plot_points(X[complete], ax=parts[1].subplots())
    grid = np.meshgrid(np.linspace(-1.4, 2.4, 200), np.linspace(-1.1, 1.5, 200))
    density = model.score_samples(np.column_stack([axis.ravel() for axis in grid])).reshape(200, 200)
    ax.contour(*grid, np.exp(density), levels=[0.02, 0.1, 0.3, 0.6], colors="#0072B2", linewidths=1.2)
    ax.set(**limits)
    drawn_rows = model.impute(X, kind="draw")
    ax = plot.plot_points(drawn_rows[complete], ax=parts[2].subplots())
    ax.scatter(*drawn_rows[~complete].T, s=9, c="#D55E00", alpha=0.6, linewidths=0)
    ax.set(**limits)
    return figure


@drawn
def regression() -> Figure:
    """Regression by conditioning

    A mixture fitted to two features jointly (left) answers for either given the other. The mean of y for each x, with
    two standard deviations, follows the curve although nobody said what curve (middle). The other way round there is
    no function: given y = 0 the conditional mixture of x has three humps, and its mean would be a poor answer (right).
    """
    rng = np.random.default_rng(4)
    x = rng.uniform(-4.5, 4.5, 1500)
    X = np.column_stack([x, np.sin(x * 1.05) * 2 + rng.normal(0.0, 0.15 + 0.05 * (x + 4.5), 1500)])
    model = GaussianMixture(8, init_params="auto", random_state=0, tol=1e-6, max_iter=1000).fit(X)
    figure = new_figure(11.0, 3.9)
    parts = panels(figure, 1, 3, ["the joint density", "y given x", "x given y = 0"])
    plot.plot_fit(model, X, figure=parts[0], feature_names=["x", "y"])
    grid = np.linspace(-4.5, 4.5, 300)[:, None]
    mean, spread = model.conditional_mean(grid, 0)[:, 0], np.sqrt(model.conditional_variance(grid, 0)[:, 0])
    ax = plot.plot_points(X, ax=parts[1].subplots())
    ax.fill_between(grid[:, 0], mean - 2 * spread, mean + 2 * spread, color="#0072B2", alpha=0.2, linewidth=0)
    ax.plot(grid[:, 0], mean, color="#0072B2", linewidth=2)
    ax.set(xlabel="x", ylabel="y")
    ax = parts[2].subplots()
    density = np.exp(model.condition(1, 0.0).score_samples(grid))
    ax.fill_between(grid[:, 0], density, color="#D55E00", alpha=0.2, linewidth=0)
    ax.plot(grid[:, 0], density, color="#D55E00", linewidth=2)
    ax.set(xlabel="x", ylabel="density", ylim=(0.0, None))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@drawn
def merging() -> Figure:
    """Clusters that are not Gaussian

    The density of a cross and two clusters needs four components, and BIC finds as many (left). To count clusters
    rather than components, `merge` joins what overlaps, step by step, so that the entropy of the assignment falls as
    far as it can (right): it falls steeply while one cluster's components are joined, and hardly afterwards. At the
    elbow the cross is one cluster (middle).
    """
    rng = np.random.default_rng(8)
    arms = [rng.normal(size=(300, 2)) * [2.4, 0.25], rng.normal(size=(300, 2)) * [0.25, 2.4]]
    others = [[7.0, 2.5] + rng.normal(size=(200, 2)) * 0.8, [6.5, -3.0] + rng.normal(size=(200, 2)) * [1.1, 0.5]]
    X = np.vstack([*arms, *others])
    model = fastem.select(X, range(1, 8), "full", random_state=0, n_init=3, tol=1e-5, max_iter=500).best_
    merged = model.merge(X)
    figure = new_figure(11.0, 3.9)
    titles = [f"{model.n_components} components, by BIC", "three clusters", "entropy"]
    parts = panels(figure, 1, 3, titles)
    plot.plot_fit(model, X, figure=parts[0])
    parts[0].axes[0].get_legend().remove()
    plot.plot_points(X, merged.predict(X, 3), ax=parts[1].subplots()).set(xlabel="x0", ylabel="x1")
    ax = parts[2].subplots()
    ax.plot(np.arange(1, len(merged.entropies) + 1), merged.entropies, "o-", color="#0072B2")
    ax.set(xlabel="number of clusters", ylabel="nats", xticks=range(1, len(merged.entropies) + 1))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@drawn
def deconvolution() -> Figure:
    """A density without its errors of measurement

    The stars of a ring, a bar and a clump, each measured with an error of its own: large for most, small for some
    (left). A mixture fitted to the measurements is as blurred as they are (second). Given the covariance of each error,
    `fit(X, error_covariance=S)` finds the density of the true places, sharper than any single measurement (third):
    the rows are weighed by what they tell. Right: the places that were measured, which no fit has seen.
    """
    rng = np.random.default_rng(5)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    ring = 3.0 * np.column_stack([np.cos(angle), np.sin(angle)]) + 0.12 * rng.normal(size=(3000, 2))
    bar = rng.normal(size=(1200, 2)) * [0.9, 0.1]
    clump = [4.5, 3.2] + rng.normal(size=(600, 2)) * 0.15
    places = np.vstack([ring, bar, clump])
    half = rng.normal(size=(len(places), 2, 2)) * rng.choice([0.15, 0.55], p=[0.25, 0.75], size=(len(places), 1, 1))
    X = places + np.einsum("nij,nj->ni", half, rng.normal(size=places.shape))
    options = {"init_params": "kmeans", "regularization": "geometric", "tol": 1e-5, "max_iter": 500, "random_state": 0}
    blurred = GaussianMixture(16, **options).fit(X)
    sharp = GaussianMixture(16, **options).fit(X, error_covariance=half @ half.swapaxes(1, 2))
    titles = ["as measured", "fitted to the measurements", "deconvolved", "the true places"]
    figure, low, high = new_figure(12.8, 3.5), [-4.6, -4.2], [5.6, 4.4]
    axes = figure.subplots(1, 4, sharex=True, sharey=True)
    across, up = (np.linspace(*ends, 240) for ends in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    for ax, title, what in zip(axes, titles, (X, blurred, sharp, places), strict=True):
        ax.set_title(title, fontsize="medium", fontweight="bold")
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
        if isinstance(what, GaussianMixture):
            density = np.exp(what.score_samples(grid)).reshape(len(up), len(across))
            ax.imshow(np.sqrt(density), origin="lower", extent=(low[0], high[0], low[1], high[1]), cmap="Greys")
        else:
            ax.plot(*what.T, ".", color="black", markersize=0.8, alpha=0.6)
    return figure


# ---- the page --------------------------------------------------------------------------------------------------------


def page(names: Sequence[str]) -> str:
    """The markdown page of these figures."""
    parts = ["# Mixtures in pictures", "Each figure is drawn by the function of its name in `scripts/gallery.py`."]
    for name in names:
        title, _, text = inspect.getdoc(FIGURES[name]).partition("\n\n")
        parts += [f"## {title}", f"![{title}]({name}.png)", " ".join(text.split())]
    return "\n\n".join(parts) + "\n"


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours, a third of the size."""
    buffer = io.BytesIO()
    figure.savefig(buffer)
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = _common.DOCS / "gallery"
    options.add_argument("--output", type=Path, default=folder, help="where to (default: docs/gallery)")
    options.add_argument("--only", nargs="+", choices=list(FIGURES), help="some of the figures, and no page")
    args = options.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.only or FIGURES:
        since = time.perf_counter()
        save(FIGURES[name](), args.output / f"{name}.png")
        print(f"{args.output / name}.png ({time.perf_counter() - since:.1f} s)")
    if not args.only:
        (args.output / "index.md").write_text(page(list(FIGURES)))


if __name__ == "__main__":
    main()
