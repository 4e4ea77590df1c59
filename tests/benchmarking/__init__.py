"""Benchmarks of plans: lines, results, start logs."""
