"""The command line, ``fastem COMMAND``: fit, select, predict, score, anomalies, sample, info and warmup.

Results go to standard output or to the files asked for, everything else to standard error. Exit status: 0,
1 for an error in the data or files (one line on standard error), 2 for wrong usage, 130 after Ctrl-C (an interrupted
``fit`` still writes the model of its last complete iteration, ``select`` the best that it has found).
"""

import sys

try:
    import rich  # noqa: F401
    import typer  # noqa: F401
except ImportError:
    sys.exit('fastem: error: the command line needs typer and rich: pip install "fastem[cli]"')

from fastem.cli.app import app

# isort: off
from fastem.cli import fitting, scoring, models  # help lists the commands in this order

# isort: on

__all__ = ["app", "fitting", "models", "scoring"]
