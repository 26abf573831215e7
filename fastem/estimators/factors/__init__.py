"""`FactorMixture`: mixtures of factor analysers."""
