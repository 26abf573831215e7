"""The command line, ``fastem COMMAND``: fit, select, bootstrap-test, bootstrap, predict, score, anomalies,
sample, info and warmup.

Results go to standard output or to the files that the user names. Everything else goes to standard error. The exit
status is 0 after success, 1 after an error in data or files (with one line on standard error), 2 for wrong usage, and
130 after Ctrl-C. An interrupted ``fit`` still writes the model of its last complete iteration, and an interrupted
``select`` the best model that it has found; ``bootstrap`` and ``bootstrap-test`` print what they have so far.
"""

import sys

try:
    import rich  # noqa: F401
    import typer  # noqa: F401
except ImportError:
    sys.exit('fastem: error: the command line needs typer and rich: pip install "fastem[cli]"')

from fastem.cli.app import app

# isort: off
from fastem.cli import fitting, uncertainty, scoring, models  # help lists the commands in this order

# isort: on

__all__ = ["app", "fitting", "models", "scoring", "uncertainty"]
