"""Fleets: how many replicas of which shape, each with its own share of the load."""
