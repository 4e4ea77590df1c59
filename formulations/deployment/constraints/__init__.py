"""The constraint groups of the deployment program: one module each, all of them in this list.

Every module has ``post`` (adds its rows to a CP-SAT model) and ``check`` (judges a finished chain with plain
integers and names the first row that it breaks; the judges stand in `shardproof.formulations.deployment.check`, which
the auditor can import without ortools).
"""

from __future__ import annotations

from types import ModuleType

from shardproof.formulations.deployment.constraints import budget, cap, cover, path

GROUPS: tuple[ModuleType, ...] = (cover, budget, cap, path)
