"""From rows to a mixture: starts, the EM loop, stopping, restarts, gradient ascent, streams, k-means, checkpoints."""
