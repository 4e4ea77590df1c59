"""Instances: files, catalogue, load profiles."""
