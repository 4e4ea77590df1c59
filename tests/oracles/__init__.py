"""Brute force, generators and builders that tests and benchmarks share."""
