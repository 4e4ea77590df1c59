"""Benchmarking: the lines that measure a plan, results and start logs read back and held against it."""
