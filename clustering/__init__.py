"""Cluster fused features into pseudo-labels."""
