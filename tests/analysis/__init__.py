"""Explanations and sensitivity."""
