"""The version of the package, where each of its modules can read it."""

from __future__ import annotations

__version__ = "0.1.0"
