"""How far the work of any verb is, told to whoever watches it."""

from __future__ import annotations

from shardproof.solver.search.settings import Progress, watching

__all__ = ["Progress", "watching"]
