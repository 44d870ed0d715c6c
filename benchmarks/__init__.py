"""Measurements of what is claimed to be fast."""
