"""Benchmarks that are run by hand: measurements of speed, memory and accuracy that have no pass or fail."""
