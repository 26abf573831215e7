"""The look that all figures share: colours, frames, margins, and new figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

# Okabe and Ito's palette, safe for colour-blind readers; black is kept for the whole mixture, and their
# yellow, too pale for lines on white, is darkened.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C7A00")
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 4}  # a legend that covers no data
ALARM = "#C1121F"
NOISE_COLOR = (0.45, 0.45, 0.45, 1.0)


def component_colors(K: int) -> Array:
    """Return K colours that colour-blind readers can tell apart (K > 7: as far as that is possible), (K, 4)."""
    import matplotlib
    from matplotlib.colors import to_rgba_array

    if len(PALETTE) >= K:
        return np.asarray(to_rgba_array(list(PALETTE[:K])))  # a tuple of two: a colour and its opacity, in 3.8
    # Neighbours in number get far-apart colours; the pale end of the map is left out.
    golden_steps = np.arange(K) * 0.618034 % 1.0
    return np.asarray(matplotlib.colormaps["viridis"](0.92 * golden_steps))


def line_styles(n: int) -> list[dict[str, Any]]:
    """Return the colours and markers of n lines with points that can be told apart (n > 21: as far as possible).

    The palette's colours come back with another marker, as shades of one map would not be told apart.
    """
    if n <= len(PALETTE):
        return [{"color": color, "marker": "o"} for color in component_colors(n)]
    marks: list[dict[str, Any]] = [
        {"marker": "o"},
        {"marker": "s", "markerfacecolor": "white"},
        {"marker": "^", "markerfacecolor": "white"},
    ]
    return [{"color": PALETTE[i % len(PALETTE)], **marks[i // len(PALETTE) % len(marks)]} for i in range(n)]


def padded_range(x: Array) -> tuple[float, float]:
    """Return the least and the largest value with a margin: far tails of the components are cut off.

    Values that are missing are not drawn.
    """
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    margin = 0.06 * (high - low) or max(0.06 * abs(high), 1e-6)
    return low - margin, high + margin


def open_frame(ax: Axes) -> None:
    """Hide the frame's upper and right sides."""
    ax.spines[["top", "right"]].set_visible(False)


def new_figure(size: tuple[float, float]) -> Figure:
    """Make a figure of this size in inches, without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=150, layout="constrained")


def require_matplotlib() -> None:
    """Raise an ImportError that names the extra to install if there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "fastem[plot]"') from error
