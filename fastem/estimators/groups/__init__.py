"""Mixtures of groups of rows: many at once, in one call of a kernel."""
