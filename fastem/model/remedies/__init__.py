"""Remedies against the unbounded likelihood, one a module: a new one is a module here and a row of `table`."""
