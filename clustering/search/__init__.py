"""Nearest-neighbor search: exact on the CPU or a GPU, or approximate for large sets."""
