"""Pools: several devices and models in one fleet."""
