"""Benchmarks of fastem for asv. Each one checks its result in `setup` and fails if it is wrong.

    cd asv_bench && asv machine --yes && asv run --python=same --quick

fastem is taken from the environment; where it is not installed, from the checkout.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("fastem") is None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
