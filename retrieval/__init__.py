"""Rank a gallery by text queries: embeddings, fused similarity, re-ranking, metrics and a report."""
