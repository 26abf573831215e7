"""`StudentMixture`: mixtures of t distributions."""
