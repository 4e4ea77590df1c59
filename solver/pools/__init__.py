"""Pools: the cheapest fleet of several device types and models, its proof, and what it says in words."""
