"""Benchmarks: how good and how fast, against measurements and peers."""
