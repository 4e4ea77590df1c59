"""Exports held against their consumers."""
