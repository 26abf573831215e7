"""What a mixture, once known, is good for: marginals, merging, alignment, bounds, draws."""
