"""`select`: the number of components and the covariance family."""
