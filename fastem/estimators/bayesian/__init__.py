"""`BayesianGaussianMixture`: mixtures by variational Bayes."""
