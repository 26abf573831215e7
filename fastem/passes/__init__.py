"""Rows times a mixture, once: statistics and scores."""
