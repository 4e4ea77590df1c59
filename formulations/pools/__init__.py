"""Pools: several device types and models in one cluster; how many replicas of which kind, at the least cost."""
