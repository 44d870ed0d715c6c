"""Plumbing that knows nothing of people or pictures."""
