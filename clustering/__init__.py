"""Fused features in, pseudo-labels out."""
