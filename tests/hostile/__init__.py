"""Damaged and hostile inputs, generated from seeds, and what must happen with them."""
