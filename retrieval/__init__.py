"""Embeddings in, fused similarity, ranking, metrics and a report out."""
