"""The figure of a selection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastem.plot.style import ABOVE, line_styles, new_figure, open_frame, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_selection(selection: Any, *, ax: Axes | None = None) -> Axes:
    """Draw what `fastem.select` found: its criterion against the number of components, a line per covariance type.

    Mixtures of factor analysers have a line for each number of factors, q. If the selection is by cross-validation,
    solid lines show the mean log-likelihood of the rows held out (the line of the best candidate with its standard
    errors), and dashed lines that of the rows fitted to. Where the two part, the mixture learns its rows by heart. A
    ring marks the best candidate. The axis ends where candidates are much worse than most.

    Parameters
    ----------
    selection : Selection
        What `fastem.select` returned.
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
        if no fit of the selection is sound

    See Also
    --------
    plot_fit : The data and one mixture.
    fastem.select : Makes the selection.
    fastem.Selection.plot : Calls this function.

    Examples
    --------
    >>> import fastem
    >>> X, _ = fastem.load_faithful()
    >>> fastem.select(X, range(1, 5), "full", random_state=0).plot().get_ylabel()
    'BIC'
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    if not hasattr(selection, "ranked"):
        raise TypeError(f"plot_selection draws what select returns; got {type(selection).__name__}")
    ranked, held_out = selection.ranked(), selection.criterion == "cv"
    if not ranked:
        raise ValueError("none of the candidates has a sound fit: there is nothing to draw")
    best, column = ranked[0], "test" if held_out else selection.criterion
    if ax is None:
        ax = new_figure((6.0, 4.4)).subplots()
    names = list(dict.fromkeys(map(_line_of, selection.candidates)))
    for name, style in zip(names, line_styles(len(names)), strict=True):
        color = style["color"]
        mine = sorted((one for one in ranked if _line_of(one) == name), key=lambda one: one.n_components)
        sizes, values = [one.n_components for one in mine], [getattr(one, column) for one in mine]
        ax.plot(sizes, values, markersize=3.5, linewidth=1.2, label=name, **style)
        if held_out:
            ax.plot(sizes, [one.train for one in mine], color=color, linestyle="--", linewidth=1.0)
        if held_out and name == _line_of(best):
            errors = [one.test_error for one in mine]
            ax.errorbar(sizes, values, errors, color=color, linestyle="none", linewidth=1.0, capsize=2.0)
    ring: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": "black"}
    ax.plot([best.n_components], [getattr(best, column)], linestyle="none", label="best", **ring)
    if held_out:
        ax.plot([], [], color="0.4", linestyle="--", linewidth=1.0, label="rows fitted to")
    ax.set_ylim(*_worthwhile_range([getattr(one, column) for one in ranked], [one.train for one in ranked if held_out]))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="number of components", ylabel="mean log-likelihood" if held_out else column.upper())
    ax.legend(frameon=False, fontsize="small", handlelength=1.6, **ABOVE)
    open_frame(ax)
    return ax


def _line_of(candidate: Any) -> str:
    """Return the label of the line that a candidate is on."""
    q = f", q = {candidate.n_factors}" if candidate.n_factors else ""
    return f"{candidate.covariance_type}{q}"


def _worthwhile_range(values: list[float], above: list[float]) -> tuple[float, float]:
    """Return limits that show the better candidates, of whose values the first is the best, and the values `above`."""
    away = np.asarray(values) - values[0]
    reach = float(min(np.abs(away).max(), 3.0 * np.median(np.abs(away)))) or max(1e-3 * abs(values[0]), 1e-6)
    low, high = (values[0] - reach, max([values[0], *above])) if above else (values[0], values[0] + reach)
    margin = 0.06 * (high - low)
    return low - margin, high + margin
