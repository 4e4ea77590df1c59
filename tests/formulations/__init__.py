"""Costs, tables and programs."""
