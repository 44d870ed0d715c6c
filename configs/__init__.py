"""Every setting of a run: defaults, presets, data sets, and what each key may hold."""
