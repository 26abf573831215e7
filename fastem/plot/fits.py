"""Figures of one fitted model: the fit, its history, rows in the colours of components, and anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastem.plot.panels import draw_legend, draw_marginal, draw_numbers, draw_pair, draw_pairs, draw_points
from fastem.plot.scene import Mixture, make_scene
from fastem.plot.style import (
    ABOVE,
    ALARM,
    NOISE_COLOR,
    PALETTE,
    component_colors,
    new_figure,
    open_frame,
    require_matplotlib,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_fit(
    model: Mixture,
    X: Any,
    *,
    features: Sequence[int | str] | None = None,
    feature_names: Sequence[str] | None = None,
    sample_weight: npt.ArrayLike | None = None,
    max_points: int = 20_000,
    figure: Figure | None = None,
) -> Figure:
    """Draw data and the mixture fitted to them.

    For one feature, the figure shows a histogram, the density of each component and the sum of these. For two
    features, it shows the rows in the colours of their components, and the ellipses of each component at one and two
    standard deviations. For more features, it shows both, for all pairs. Each component has its number in the figure;
    if there are at most twenty, the legend lists them too.

    Parameters
    ----------
    model : GaussianMixture
        A fitted model of any covariance type.
    X : array-like of shape (N, D)
        The data.
    features : sequence of int or str, optional
        The features to draw, by position or by name. Default: all, if there are at most four; else the four
        with the largest ratio of the variance of the component means to the mixture's variance, in their order
        in X.
    feature_names : sequence of D str, optional
        Default: ``model.feature_names_in_``, else x0, x1, ...
    sample_weight : array-like of shape (N,), optional
        The weights of the fit: they count in the histograms and scale the areas of the points. Default: every
        weight is 1.
    max_points : int, default 20_000
        The largest number of rows to draw. If X has more, evenly spaced rows are drawn, and the others are not
        read.
    figure : matplotlib Figure, optional
        Where to draw; a SubFigure will do too. Default: a new Figure.

    Returns
    -------
    Figure
        The one that was given, or a new one.

    Raises
    ------
    ImportError
        if matplotlib is not installed
    ValueError
        if X has not the model's number of features, or a feature is unknown

    See Also
    --------
    plot_points : Rows in the colours of their responsibilities.
    plot_history : The mean log-likelihood by iteration.
    fastem.GaussianMixture : The model.

    Examples
    --------
    >>> import fastem
    >>> from fastem.plot import plot_fit
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
    >>> figure = plot_fit(model, X, feature_names=names)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('eruptions', 'waiting')
    """
    require_matplotlib()
    scene = make_scene(model, X, features, feature_names, sample_weight, max_points)
    d = len(scene.names)
    if figure is None:
        size = {1: (6.0, 4.0), 2: (6.0, 5.0)}.get(d, (2.4 * d, 2.3 * d))
        figure = new_figure(size)
    if d == 1:
        axes = figure.subplots()
        draw_marginal(axes, scene, 0)
        means, sd = scene.means[:, 0], np.sqrt(scene.covariances[:, 0, 0])
        draw_numbers(axes, np.column_stack([means, scene.weights / (sd * np.sqrt(2.0 * np.pi))]), va="bottom")
        axes.set(xlabel=scene.names[0], ylabel="density")
        draw_legend(axes, scene, **ABOVE)
    elif d == 2:
        axes = figure.subplots()
        draw_pair(axes, scene, 0, 1)
        axes.set(xlabel=scene.names[0], ylabel=scene.names[1])
        draw_legend(axes, scene, **ABOVE)
    else:
        draw_pairs(figure, scene)
    return figure


def plot_history(model: Mixture, *, ax: Axes | None = None) -> Axes:
    """Draw the mean log-likelihood of the fit against the iteration.

    Parameters
    ----------
    model : GaussianMixture
        A model that was fitted in at least one iteration.
    ax : matplotlib Axes, optional
        Where to draw. Default: the only axes of a new figure, ``ax.figure``.

    Returns
    -------
    Axes
        The one that was given, or a new one.

    Raises
    ------
    ImportError
        if matplotlib is not installed
    ValueError
        if the model was not fitted in any iteration

    See Also
    --------
    plot_fit : The data and the mixture.
    fastem.GaussianMixture : Its ``lower_bounds_`` are what is drawn.

    Examples
    --------
    >>> import fastem
    >>> from fastem.plot import plot_history
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(fastem.load_faithful()[0])
    >>> plot_history(model).get_xlabel()
    'iteration'
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    bounds = getattr(model, "lower_bounds_", [])
    if not len(bounds):
        raise ValueError("the model has no iterations to draw: expected one that was fitted with max_iter >= 1")
    if ax is None:
        ax = new_figure((6.0, 4.0)).subplots()
    ax.plot(np.arange(1, len(bounds) + 1), bounds, color=PALETTE[0], marker="o", markersize=3.5, linewidth=1.2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="iteration", ylabel="mean log-likelihood")
    open_frame(ax)
    return ax


def plot_points(X: Any, resp: npt.ArrayLike | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw rows of two features in the colours of the components that may have produced them.

    Parameters
    ----------
    X : array-like of shape (N, 2)
        The data.
    resp : array-like of shape (N, K) or (N,), optional
        Either responsibilities (N, K): a row has a mixture of the components' colours. Or the component of each row
        (N,): -1, noise, is grey. Default: all rows are grey.
    ax : matplotlib Axes, optional
        Where to draw. Default: the only axes of a new figure, ``ax.figure``.

    Returns
    -------
    Axes
        The one that was given, or a new one.

    Raises
    ------
    ImportError
        if matplotlib is not installed
    ValueError
        if X has not two columns, or `resp` not as many rows as X

    See Also
    --------
    plot_fit : Rows and the ellipses of the components.
    fastem.GaussianMixture.predict_proba : The responsibilities.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, figure 9.5.

    Examples
    --------
    >>> import fastem
    >>> from fastem.plot import plot_points
    >>> X, names = fastem.load_faithful()
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
    >>> len(plot_points(X, model.predict_proba(X)).collections[0].get_offsets())
    272
    """
    require_matplotlib()
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != 2:
        raise ValueError(f"plot_points draws rows of two features, but X has shape {X.shape}")
    shares = np.full(len(X), -1) if resp is None else np.asarray(resp)
    if shares.ndim not in (1, 2) or len(shares) != len(X):
        raise ValueError(f"resp should have the shape (N,) or (N, K) with N = {len(X)}, but got {shares.shape}")
    if shares.ndim == 1:
        colors = np.vstack([component_colors(int(shares.max(initial=0)) + 1), NOISE_COLOR])[shares]
    else:
        colors = np.clip(shares @ component_colors(shares.shape[1]), 0.0, 1.0)
    if ax is None:
        ax = new_figure((6.0, 5.0)).subplots()
    draw_points(ax, X, colors, np.ones(len(X)))
    return ax


def plot_anomalies(detector: Any, X: Any, *, ax: Axes | None = None) -> Axes:
    """Draw rows of two features and lines of equal density; the rows that a detector flags are red.

    Parameters
    ----------
    detector : AnomalyDetector
        A fitted detector of two features.
    X : array-like of shape (N, 2)
        The data.
    ax : matplotlib Axes, optional
        Where to draw. Default: the only axes of a new figure, ``ax.figure``.

    Returns
    -------
    Axes
        The one that was given, or a new one. A dashed line shows where the density equals the threshold; from one of
        the other lines to the next, the density changes by a factor of e.

    Raises
    ------
    ImportError
        if matplotlib is not installed
    ValueError
        if X has not two features

    See Also
    --------
    plot_points : Rows without a detector.
    fastem.AnomalyDetector : The detector.

    Examples
    --------
    >>> import fastem
    >>> from fastem.plot import plot_anomalies
    >>> X, names = fastem.load_faithful()
    >>> detector = fastem.AnomalyDetector(fastem.GaussianMixture(2, random_state=0), contamination=0.02).fit(X)
    >>> plot_anomalies(detector, X).get_legend().get_texts()[0].get_text()
    '5 of 272 rows'
    """
    require_matplotlib()
    from matplotlib.lines import Line2D

    flagged = detector.is_anomaly(X)
    ax = plot_points(X, ax=ax)
    points = np.asarray(X, dtype=np.float64)
    sides = [np.linspace(*limits, 200) for limits in (ax.get_xlim(), ax.get_ylim())]
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    density = detector.score_samples(grid.reshape(-1, 2)).reshape(200, 200)
    levels = np.arange(density.max(), detector.threshold_, -1.0)[:0:-1]
    ax.contour(*sides, density, levels, colors="0.75", linewidths=0.7, linestyles="solid", zorder=0)
    ax.contour(*sides, density, [detector.threshold_], colors=ALARM, linewidths=1.2, linestyles="dashed")
    ax.scatter(points[flagged, 0], points[flagged, 1], s=28.0, color=ALARM, zorder=3)
    dot = Line2D([], [], linestyle="none", marker="o", color=ALARM, label=f"{flagged.sum()} of {len(points)} rows")
    line = Line2D([], [], color=ALARM, linestyle="dashed", label=f"log density {detector.threshold_:.2f}")
    ax.legend(handles=[dot, line], frameon=False, fontsize="small", **ABOVE)
    return ax
