"""Remedies against the unbounded likelihood, each in a module of its own; `table` has them by name."""
