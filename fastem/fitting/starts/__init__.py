"""Starts of a fit, each in a module of its own; `table` has them by name."""
