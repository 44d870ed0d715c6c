"""Configs: defaults, presets, one file per data set, and the schema that validates them."""
