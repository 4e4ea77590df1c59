"""Batches and their reports."""
