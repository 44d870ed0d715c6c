"""Training: from pairs and pseudo-labels to weights."""
