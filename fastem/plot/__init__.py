"""Figures of a fitted mixture, with matplotlib (``pip install "fastem[plot]"``).

Figures are made without pyplot, so nothing global changes and nothing is shown: save them with
``figure.savefig("fit.png")``, or display them as the last value of a notebook cell.
"""

from fastem.plot.fits import plot_anomalies, plot_fit, plot_history, plot_points
from fastem.plot.selections import plot_selection

__all__ = ["plot_anomalies", "plot_fit", "plot_history", "plot_points", "plot_selection"]
