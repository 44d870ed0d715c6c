"""Measurements that are run by hand, of parts that no test can judge by right and wrong alone."""
