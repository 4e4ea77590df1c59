"""Placement files of engines."""
