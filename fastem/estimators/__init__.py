"""What users of scikit-learn see: estimators, selection, many fits, saved models."""
