"""The version of the package, where each of its modules can read it."""

__version__ = "0.1.0"
