"""What a mixture is: parameters, statistics, covariance families, remedies and the M-step. NumPy and SciPy only."""
