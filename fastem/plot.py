"""Pictures of a fitted mixture, with matplotlib (``pip install "fastem[plot]"``).

Figures are made without pyplot, so nothing global changes and nothing is shown: save them with
``figure.savefig("fit.png")``, or display them as the last value of a notebook cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastem.model.params import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastem.estimators.gaussian_mixture import GaussianMixture

Array = npt.NDArray[Any]

MAX_FEATURES = 4  # features on each side of a pair plot that chooses its own
MAX_NAMED = 20  # components that get a place in the legend; all have a number

# Okabe and Ito's palette, safe for colour-blind readers; black is kept for the whole mixture, and their
# yellow, too pale for lines on white, is darkened.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C7A00")
_ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 4}  # covers no data
_ALARM = "#C1121F"
_NOISE_COLOR = (0.45, 0.45, 0.45, 1.0)
_OPAQUE_POINTS = 300  # points in scatter plots of more become smaller and more transparent


class _Scene(NamedTuple):
    """What the panels draw: n rows and K components in the d features shown."""

    points: Array  # (n, d)
    labels: Array  # (n,)
    sample_weight: Array  # (n,), mean 1
    weights: Array  # (K,)
    means: Array  # (K, d)
    covariances: Array  # (K, d, d)
    names: list[str]  # d
    colors: Array  # (K + 1, 4), the last for noise
    noise: float  # its weight, 0 if there is none
    box: Array  # (2, d), where it is


def plot_fit(
    model: GaussianMixture,
    X: Any,
    *,
    features: Sequence[int | str] | None = None,
    feature_names: Sequence[str] | None = None,
    sample_weight: npt.ArrayLike | None = None,
    max_points: int = 20_000,
    figure: Figure | None = None,
) -> Figure:
    """Draw data and the mixture fitted to them.

    One feature: a histogram, each component's density and their sum. Two: the points, coloured by their
    component, and each component's ellipses at one and two standard deviations. More: both, for all pairs.
    Components are numbered; up to twenty have a place in the legend, too.

    Parameters
    ----------
    model : GaussianMixture
        A fitted model of any covariance type.
    X : array-like of shape (N, D)
        The data.
    features : sequence of int or str, optional
        The features to draw, by position or by name. Default: all, if there are at most four; else the four
        whose variance lies most between the components (largest ratio of the variance of the component
        means to the mixture's variance), in their order in X.
    feature_names : sequence of D str, optional
        Default: ``model.feature_names_in_``, else x0, x1, ...
    sample_weight : array-like of shape (N,), optional
        The weights of the fit: they count in the histograms and scale the areas of the points.
    max_points : int, default 20_000
        Of more rows than this, so many evenly spaced ones are drawn; the others are not read.
    figure : matplotlib Figure, optional
        Where to draw (a SubFigure serves as well). Default: a new Figure.

    Returns
    -------
    Figure
        The one given or made.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        X does not have the model's number of features, or a feature is unknown.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import load_faithful
    >>> from fastem.plot import plot_fit
    >>> X, names = load_faithful()
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
    >>> figure = plot_fit(model, X, feature_names=names)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('eruptions', 'waiting')
    """
    require_matplotlib()
    scene = _scene(model, X, features, feature_names, sample_weight, max_points)
    d = len(scene.names)
    if figure is None:
        size = {1: (6.0, 4.0), 2: (6.0, 5.0)}.get(d, (2.4 * d, 2.3 * d))
        figure = _new_figure(size)
    if d == 1:
        axes = figure.subplots()
        _draw_marginal(axes, scene, 0)
        means, sd = scene.means[:, 0], np.sqrt(scene.covariances[:, 0, 0])
        _draw_numbers(axes, np.column_stack([means, scene.weights / (sd * np.sqrt(2.0 * np.pi))]), va="bottom")
        axes.set(xlabel=scene.names[0], ylabel="density")
        _draw_legend(axes, scene, **_ABOVE)
    elif d == 2:
        axes = figure.subplots()
        _draw_pair(axes, scene, 0, 1)
        axes.set(xlabel=scene.names[0], ylabel=scene.names[1])
        _draw_legend(axes, scene, **_ABOVE)
    else:
        _draw_pairs(figure, scene)
    return figure


def plot_selection(selection: Any, *, ax: Axes | None = None) -> Axes:
    """Draw what `fastem.select` found: its criterion against the number of components, a line per covariance type.

    Of a selection by cross-validation, the mean log-likelihood of the rows held out, for the best covariance type with
    its standard error, and dashed that of the rows fitted to: where the two part, the mixture learns its rows by heart.
    A ring marks the best. The axis is cut where candidates are much worse than most.

    Parameters
    ----------
    selection : Selection
        What `fastem.select` returned.
    ax : matplotlib Axes, optional
        Where to draw. Default: the only axes of a new figure, ``ax.figure``.

    Returns
    -------
    Axes
        The one given or made.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        None of the selection's fits is sound.

    Examples
    --------
    >>> import fastem
    >>> X, _ = fastem.load_faithful()
    >>> fastem.select(X, range(1, 5), random_state=0).plot().get_ylabel()
    'BIC'
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    ranked, held_out = selection.ranked(), selection.criterion == "cv"
    if not ranked:
        raise ValueError("none of the candidates has a sound fit: there is nothing to draw")
    best, column = ranked[0], "test" if held_out else selection.criterion
    if ax is None:
        ax = _new_figure((6.0, 4.4)).subplots()
    names = list(dict.fromkeys(candidate.covariance_type for candidate in selection.candidates))
    for name, color in zip(names, _colors(len(names)), strict=True):
        mine = sorted((one for one in ranked if one.covariance_type == name), key=lambda one: one.n_components)
        sizes, values = [one.n_components for one in mine], [getattr(one, column) for one in mine]
        ax.plot(sizes, values, color=color, marker="o", markersize=3.5, linewidth=1.2, label=name)
        if held_out:
            ax.plot(sizes, [one.train for one in mine], color=color, linestyle="--", linewidth=1.0)
        if held_out and name == best.covariance_type:
            errors = [one.test_error for one in mine]
            ax.errorbar(sizes, values, errors, color=color, linestyle="none", linewidth=1.0, capsize=2.0)
    ring: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": "black"}
    ax.plot([best.n_components], [getattr(best, column)], linestyle="none", label="best", **ring)
    if held_out:
        ax.plot([], [], color="0.4", linestyle="--", linewidth=1.0, label="rows fitted to")
    ax.set_ylim(*_worthwhile([getattr(one, column) for one in ranked], [one.train for one in ranked if held_out]))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="number of components", ylabel="mean log-likelihood" if held_out else column.upper())
    ax.legend(frameon=False, fontsize="small", handlelength=1.6, **_ABOVE)
    _open_frame(ax)
    return ax


def plot_history(model: GaussianMixture, *, ax: Axes | None = None) -> Axes:
    """Draw the mean log-likelihood of the fit against the iteration.

    Parameters
    ----------
    model : GaussianMixture
        A model with ``lower_bounds_`` of one iteration or more.
    ax : matplotlib Axes, optional
        Where to draw. Default: the only axes of a new figure, ``ax.figure``.

    Returns
    -------
    Axes
        The one given or made.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The model has not been through any iteration.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import load_faithful
    >>> from fastem.plot import plot_history
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(load_faithful()[0])
    >>> plot_history(model).get_xlabel()
    'iteration'
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    bounds = getattr(model, "lower_bounds_", [])
    if not len(bounds):
        raise ValueError("the model has no iterations to draw: expected one that was fitted with max_iter >= 1")
    if ax is None:
        ax = _new_figure((6.0, 4.0)).subplots()
    ax.plot(np.arange(1, len(bounds) + 1), bounds, color=_PALETTE[0], marker="o", markersize=3.5, linewidth=1.2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="iteration", ylabel="mean log-likelihood")
    _open_frame(ax)
    return ax


def plot_points(X: Any, resp: npt.ArrayLike | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw rows of two features in the colours of the components that may have produced them.

    Parameters
    ----------
    X : array-like of shape (N, 2)
        The data.
    resp : array-like of shape (N, K) or (N,), optional
        Responsibilities, by which the components' colours are mixed, or components; -1, noise, is grey. Default: all
        rows are grey.
    ax : matplotlib Axes, optional
        Where to draw. Default: the only axes of a new figure, ``ax.figure``.

    Returns
    -------
    Axes
        The one given or made.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        X has other than two columns, or resp another number of rows.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, figure 9.5.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import load_faithful
    >>> from fastem.plot import plot_points
    >>> X, names = load_faithful()
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
        colors = np.vstack([_colors(int(shares.max(initial=0)) + 1), _NOISE_COLOR])[shares]
    else:
        colors = np.clip(shares @ _colors(shares.shape[1]), 0.0, 1.0)
    if ax is None:
        ax = _new_figure((6.0, 5.0)).subplots()
    _draw_points(ax, X, colors, np.ones(len(X)))
    return ax


def plot_anomalies(detector: Any, X: Any, *, ax: Axes | None = None) -> Axes:
    """Draw rows of two features, those that a detector flags in red, and lines of equal density.

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
        The one given or made. The threshold's line is dashed; between two others the density changes by a factor of e.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        X or the detector has other than two features.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import load_faithful
    >>> from fastem.plot import plot_anomalies
    >>> X, names = load_faithful()
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
    ax.contour(*sides, density, [detector.threshold_], colors=_ALARM, linewidths=1.2, linestyles="dashed")
    ax.scatter(points[flagged, 0], points[flagged, 1], s=28.0, color=_ALARM, zorder=3)
    dot = Line2D([], [], linestyle="none", marker="o", color=_ALARM, label=f"{flagged.sum()} of {len(points)} rows")
    line = Line2D([], [], color=_ALARM, linestyle="dashed", label=f"log density {detector.threshold_:.2f}")
    ax.legend(handles=[dot, line], frameon=False, fontsize="small", **_ABOVE)
    return ax


# What to draw


def _scene(
    model: GaussianMixture,
    X: Any,
    features: Sequence[int | str] | None,
    feature_names: Sequence[str] | None,
    sample_weight: npt.ArrayLike | None,
    max_points: int,
) -> _Scene:
    params = model.params_
    K, D = params.means.shape
    names = _names(model, feature_names, D)
    shown = _most_separating(params) if features is None else _positions(features, names)
    X = X if hasattr(X, "shape") else np.asarray(X)
    n = min(len(X), max_points)
    rows = np.arange(n) * len(X) // max(n, 1)
    sample = X.iloc[rows] if hasattr(X, "iloc") else X[rows]  # data frames keep their column names for predict
    labels = model.predict(sample)
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[rows]
    return _Scene(
        points=np.asarray(sample, dtype=np.float64)[:, shown],
        labels=labels,
        sample_weight=weight / weight.mean(),
        weights=np.asarray(params.weights, dtype=np.float64),
        means=np.asarray(params.means, dtype=np.float64)[:, shown],
        covariances=full_covariances(params)[:, shown][:, :, shown],
        names=[names[j] for j in shown],
        colors=np.vstack([_colors(K), _NOISE_COLOR]),
        noise=0.0 if params.noise is None else params.noise.weight,
        box=getattr(model, "noise_box_", np.zeros((2, D)))[:, shown],
    )


def _names(model: GaussianMixture, feature_names: Sequence[str] | None, D: int) -> list[str]:
    if feature_names is None:
        return [str(name) for name in getattr(model, "feature_names_in_", [f"x{j}" for j in range(D)])]
    if len(feature_names) != D:
        raise ValueError(f"feature_names should have {D} names, one for each feature, but got {len(feature_names)}")
    return list(feature_names)


def _positions(features: Sequence[int | str], names: list[str]) -> list[int]:
    for feature in features:
        if feature not in names and feature not in range(len(names)):
            there = f"{', '.join(names)} or 0 to {len(names) - 1}"
            raise ValueError(f"features should be among {there}, but got {feature!r}")
    if not len(features):
        raise ValueError("features should name at least one feature, but got none")
    return [names.index(f) if isinstance(f, str) else int(f) for f in features]


def _most_separating(params: Params) -> list[int]:
    """Choose the features with the largest share of variance between the components, in their order."""
    weights = params.weights / params.weights.sum()
    between = weights @ (params.means - weights @ params.means) ** 2
    within = weights @ np.diagonal(full_covariances(params), axis1=1, axis2=2)
    chosen = np.argsort(-between / (between + within), kind="stable")[:MAX_FEATURES]
    return sorted(chosen.tolist())


def full_covariances(params: Params) -> Array:
    """Return every component's covariance matrix, (K, D, D) float64, whatever the family's shape."""
    K, D = params.means.shape
    covariances = np.asarray(params.covariances, dtype=np.float64)
    if covariances.shape[1] < D:  # variances alone: (K, 1, D) or (K, 1, 1)
        covariances = covariances * np.eye(D)
    return np.broadcast_to(covariances, (K, D, D))


def _colors(K: int) -> Array:
    """Return K colours that colour-blind readers can tell apart, as far as there are so many."""
    import matplotlib
    from matplotlib.colors import to_rgba_array

    if len(_PALETTE) >= K:
        return np.asarray(to_rgba_array(list(_PALETTE[:K])))  # a tuple of two: a colour and its opacity, in 3.8
    # Neighbours in number get far-apart colours; the pale end of the map is left out.
    golden_steps = np.arange(K) * 0.618034 % 1.0
    return np.asarray(matplotlib.colormaps["viridis"](0.92 * golden_steps))


# Panels


def _draw_pairs(figure: Figure, scene: _Scene) -> None:
    """Draw a lower triangle of scatter plots, the marginals on its diagonal and the legend in its corner."""
    d = len(scene.names)
    axes = figure.subplots(d, d, squeeze=False)
    for i in range(d):
        for j in range(d):
            if j < i:
                _draw_pair(axes[i, j], scene, j, i)
            elif j == i:
                _draw_marginal(axes[i, i], scene, i)
                axes[i, i].spines["left"].set_visible(False)
                axes[i, i].set_yticks([])
            else:
                axes[i, j].set_axis_off()
            axes[i, j].tick_params(labelbottom=i == d - 1, labelleft=j == 0)
        axes[d - 1, i].set_xlabel(scene.names[i])
        if i > 0:
            axes[i, 0].set_ylabel(scene.names[i])
    figure.align_labels()
    _draw_legend(axes[0, d - 1], scene, loc="upper right")


def _draw_marginal(ax: Axes, scene: _Scene, j: int) -> None:
    """Draw the histogram of feature j, the components' densities and their sum."""
    x = scene.points[:, j]
    means, sd = scene.means[:, j], np.sqrt(scene.covariances[:, j, j])
    low, high = _limits(x)
    n_bins = int(np.clip(3.0 * len(x) ** (1 / 3), 10, 60))
    ax.hist(x, n_bins, weights=scene.sample_weight, density=True, histtype="stepfilled", color="0.87")
    # Even spacing alone could miss a narrow component: each brings abscissae of its own.
    own = np.add.outer(np.linspace(-4.0, 4.0, 41), np.zeros_like(means)) * sd + means
    grid = np.unique(np.concatenate([np.linspace(low, high, 300), own.ravel()]))
    z = (grid[:, np.newaxis] - means) / sd
    densities = scene.weights * np.exp(-0.5 * z * z) / (sd * np.sqrt(2.0 * np.pi))
    if scene.noise:
        left, right = scene.box[:, j]
        densities = np.column_stack([densities, scene.noise / (right - left) * ((grid >= left) & (grid <= right))])
    ax.plot(grid, densities.sum(axis=1), color="black", linewidth=1.8)  # below: it often is one component
    for density, color in zip(densities.T, scene.colors, strict=False):
        ax.fill_between(grid, density, color=color, alpha=0.15, linewidth=0)
        ax.plot(grid, density, color=color, linewidth=1.0)
    ax.set(xlim=(low, high), ylim=(0.0, None))
    _open_frame(ax)


def _draw_pair(ax: Axes, scene: _Scene, i: int, j: int) -> None:
    """Draw feature j against feature i: the rows, the centres, and ellipses at one and two sigma."""
    pair = [i, j]
    # label -1, noise, has the last colour
    _draw_points(ax, scene.points[:, pair], scene.colors[scene.labels], scene.sample_weight)
    covariances = scene.covariances[:, pair][:, :, pair]
    for mean, covariance, color in zip(scene.means[:, pair], covariances, scene.colors, strict=False):
        _draw_ellipses(ax, mean, covariance, color)
    _draw_centres(ax, scene, pair)


def _draw_points(ax: Axes, points: Array, colors: Array, sample_weight: Array) -> None:
    """Draw rows (n, 2) as discs, smaller and paler the more there are, and frame them."""
    fade = min(1.0, (_OPAQUE_POINTS / max(len(points), 1)) ** 0.4)
    ax.scatter(
        points[:, 0],
        points[:, 1],
        s=20.0 * fade * sample_weight,
        c=colors,
        alpha=0.2 + 0.5 * fade,
        linewidths=0,
        rasterized=True,  # twenty thousand discs make a slow PDF
    )
    ax.set(xlim=_limits(points[:, 0]), ylim=_limits(points[:, 1]))
    _open_frame(ax)


def _draw_ellipses(ax: Axes, mean: Array, covariance: Array, color: Array) -> None:
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


def _draw_centres(ax: Axes, scene: _Scene, pair: list[int]) -> None:
    """Mark the component means by their numbers."""
    _draw_numbers(ax, scene.means[:, pair], va="center")


def _draw_numbers(ax: Axes, places: Array, va: str) -> None:
    """Write each component's number at its place (K, 2), smaller the more there are."""
    from matplotlib.patheffects import withStroke

    size = max(5.0, 10.0 * min(1.0, (MAX_NAMED / len(places)) ** 0.5))
    halo = [withStroke(linewidth=0.25 * size, foreground="white")]
    for k, (x, y) in enumerate(places):
        ax.text(x, y, str(k), ha="center", va=va, size=size, weight="bold", path_effects=halo, clip_on=True)


def _draw_legend(ax: Axes, scene: _Scene, **place: Any) -> None:
    """List the components' numbers, colours and weights, if they are few, and the mixture's line."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = []
    if len(scene.weights) <= MAX_NAMED:
        for k, (color, weight) in enumerate(zip(scene.colors, scene.weights, strict=False)):
            handles.append(Patch(facecolor=color, label=f"{k} ({100 * weight:.1f} %)"))
        if scene.noise:
            handles.append(Patch(facecolor=_NOISE_COLOR, label=f"noise ({100 * scene.noise:.1f} %)"))
    if len(scene.names) != 2:
        handles.append(Line2D([], [], color="black", label="mixture"))
    if handles:
        ax.legend(handles=handles, frameon=False, fontsize="small", handlelength=1.0, **place)


def _worthwhile(values: list[float], above: list[float]) -> tuple[float, float]:
    """Return limits of an axis that hold the better candidates, the first the best, and what is `above` them."""
    away = np.asarray(values) - values[0]
    reach = float(min(np.abs(away).max(), 3.0 * np.median(np.abs(away)))) or max(1e-3 * abs(values[0]), 1e-6)
    low, high = (values[0] - reach, max([values[0], *above])) if above else (values[0], values[0] + reach)
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _limits(x: Array) -> tuple[float, float]:
    """Return the range of the data with a margin: far tails of the components are cut off."""
    low, high = float(x.min()), float(x.max())
    margin = 0.06 * (high - low) or max(0.06 * abs(high), 1e-6)
    return low - margin, high + margin


def _open_frame(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _new_figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=150, layout="constrained")


def require_matplotlib() -> None:
    """Raise ImportError, naming the extra to install, if there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "fastem[plot]"') from error
