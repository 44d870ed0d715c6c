"""Batches and labels in, weights out."""
