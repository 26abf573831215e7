"""The parts of a figure of a fit: a panel for one feature or for two, the numbers of components, and the legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastem.plot.scene import Array, Scene
from fastem.plot.style import NOISE_COLOR, open_frame, padded_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAMED = 20  # components that get a place in the legend; all have a number
OPAQUE_POINTS = 300  # points in scatter plots of more become smaller and more transparent


def draw_pairs(figure: Figure, scene: Scene) -> None:
    """Draw a lower triangle of scatter plots, the marginals on its diagonal and the legend in its corner."""
    d = len(scene.names)
    axes = figure.subplots(d, d, squeeze=False)
    for i in range(d):
        for j in range(d):
            if j < i:
                draw_pair(axes[i, j], scene, j, i)
            elif j == i:
                draw_marginal(axes[i, i], scene, i)
                axes[i, i].spines["left"].set_visible(False)
                axes[i, i].set_yticks([])
            else:
                axes[i, j].set_axis_off()
            axes[i, j].tick_params(labelbottom=i == d - 1, labelleft=j == 0)
        axes[d - 1, i].set_xlabel(scene.names[i])
        if i > 0:
            axes[i, 0].set_ylabel(scene.names[i])
    figure.align_labels()
    draw_legend(axes[0, d - 1], scene, loc="upper right")


def draw_marginal(ax: Axes, scene: Scene, j: int) -> None:
    """Draw the histogram of feature j, each component's density and the sum of all."""
    x = scene.points[:, j]
    means, sd = scene.means[:, j], np.sqrt(scene.covariances[:, j, j])
    low, high = padded_range(x)
    n_bins = int(np.clip(3.0 * len(x) ** (1 / 3), 10, 60))
    ax.hist(x, n_bins, weights=scene.sample_weight, density=True, histtype="stepfilled", color="0.87")
    # Even spacing alone could miss a narrow component: each brings abscissae of its own.
    own = np.add.outer(np.linspace(-4.0, 4.0, 41), np.zeros_like(means)) * sd + means
    grid = np.unique(np.concatenate([np.linspace(low, high, 300), own.ravel()]))
    z = (grid[:, np.newaxis] - means) / sd
    densities = scene.weights * np.exp(-0.5 * z * z) / (sd * np.sqrt(2.0 * np.pi))
    if scene.box is not None:
        left, right = scene.box[:, j]
        densities = np.column_stack([densities, scene.noise / (right - left) * ((grid >= left) & (grid <= right))])
    ax.plot(grid, densities.sum(axis=1), color="black", linewidth=1.8)  # below: it often is one component
    for density, color in zip(densities.T, scene.colors, strict=False):
        ax.fill_between(grid, density, color=color, alpha=0.15, linewidth=0)
        ax.plot(grid, density, color=color, linewidth=1.0)
    ax.set(xlim=(low, high), ylim=(0.0, None))
    open_frame(ax)


def draw_pair(ax: Axes, scene: Scene, i: int, j: int) -> None:
    """Draw feature j against feature i: the rows, the centres, and ellipses at one and two sigma."""
    pair = [i, j]
    # label -1, noise, has the last colour
    draw_points(ax, scene.points[:, pair], scene.colors[scene.labels], scene.sample_weight)
    covariances = scene.covariances[:, pair][:, :, pair]
    for mean, covariance, color in zip(scene.means[:, pair], covariances, scene.colors, strict=False):
        draw_ellipses(ax, mean, covariance, color)
    draw_centres(ax, scene, pair)


def draw_points(ax: Axes, points: Array, colors: Array, sample_weight: Array) -> None:
    """Draw rows (n, 2) as discs, smaller and paler where there are many, and frame them."""
    fade = min(1.0, (OPAQUE_POINTS / max(len(points), 1)) ** 0.4)
    ax.scatter(
        points[:, 0],
        points[:, 1],
        s=20.0 * fade * sample_weight,
        c=colors,
        alpha=0.2 + 0.5 * fade,
        linewidths=0,
        rasterized=True,  # twenty thousand discs make a slow PDF
    )
    ax.set(xlim=padded_range(points[:, 0]), ylim=padded_range(points[:, 1]))
    open_frame(ax)


def draw_ellipses(ax: Axes, mean: Array, covariance: Array, color: Array) -> None:
    """Draw the ellipses on which the Mahalanobis distance is one (filled) and two."""
    from matplotlib.patches import Ellipse

    variances, directions = np.linalg.eigh(covariance)
    width, height = 2.0 * np.sqrt(np.maximum(variances, 0.0))
    angle = float(np.degrees(np.arctan2(directions[1, 0], directions[0, 0])))
    centre = (float(mean[0]), float(mean[1]))
    dark = (*(0.75 * color[:3]), 1.0)
    pale = (*color[:3], 0.18)
    ax.add_patch(Ellipse(centre, width, height, angle=angle, facecolor=pale, edgecolor=dark))
    ax.add_patch(Ellipse(centre, 2 * width, 2 * height, angle=angle, fill=False, edgecolor=dark, lw=0.8))


def draw_centres(ax: Axes, scene: Scene, pair: list[int]) -> None:
    """Mark the component means by their numbers."""
    draw_numbers(ax, scene.means[:, pair], va="center")


def draw_numbers(ax: Axes, places: Array, va: str) -> None:
    """Write each component's number at its place (K, 2), in smaller type where there are many."""
    from matplotlib.patheffects import withStroke

    size = max(5.0, 10.0 * min(1.0, (MAX_NAMED / len(places)) ** 0.5))
    halo = [withStroke(linewidth=0.25 * size, foreground="white")]
    for k, (x, y) in enumerate(places):
        ax.text(x, y, str(k), ha="center", va=va, size=size, weight="bold", path_effects=halo, clip_on=True)


def draw_legend(ax: Axes, scene: Scene, **place: Any) -> None:
    """List the components' numbers, colours and weights, if they are few, and the mixture's line."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = []
    if len(scene.weights) <= MAX_NAMED:
        for k, (color, weight) in enumerate(zip(scene.colors, scene.weights, strict=False)):
            handles.append(Patch(facecolor=color, label=f"{k} ({100 * weight:.1f} %)"))
        if scene.noise:
            handles.append(Patch(facecolor=NOISE_COLOR, label=f"noise ({100 * scene.noise:.1f} %)"))
    if len(scene.names) != 2:
        handles.append(Line2D([], [], color="black", label="mixture"))
    if handles:
        ax.legend(handles=handles, frameon=False, fontsize="small", handlelength=1.0, **place)
