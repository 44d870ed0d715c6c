"""Describe images and rewrite queries in one style."""
