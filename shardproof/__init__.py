"""shardproof plans LLM serving deployments with provably the fewest GPUs.

One function per question, each silent and returning a frozen record; its parts are loaded when they are used::

    import shardproof

    answer = shardproof.solve("case.yaml", ttft="2 s")
    answer.plan, answer.metrics, answer.explain(), answer.certificate(), answer.to_frame()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardproof.instances.errors import CheckFailed, InputError, InternalError, Problem, ShardproofError
    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan, Stage, load_plan
    from shardproof.solver.api.audited import Audited, Compared, audit, compare
    from shardproof.solver.api.audited_fleet import AuditedFleet
    from shardproof.solver.api.batched import Batched, Reported, batch, batch_tasks, report
    from shardproof.solver.api.benchmarked import Benched, Checked, bench, check
    from shardproof.solver.api.calibrated import Calibrated, calibrate
    from shardproof.solver.api.catalogued import Catalogued, catalog
    from shardproof.solver.api.doctor import Setup, doctor
    from shardproof.solver.api.explained import Explained, explain
    from shardproof.solver.api.exported import Exported, export
    from shardproof.solver.api.fleets import ComparedFleets, ExplainedFleet, FleetSensitivity, SolvedFleet
    from shardproof.solver.api.placed import Placed, PlacedWithin, place, place_within
    from shardproof.solver.api.predicted import Predicted, predict
    from shardproof.solver.api.schemas import schema
    from shardproof.solver.api.sensitivity import Sensitivity, sensitivity
    from shardproof.solver.api.simulated import Simulated, simulate
    from shardproof.solver.api.solved import Solved, load_instance, question, solve
    from shardproof.solver.api.verified import Verified, verify
    from shardproof.solver.page.serve import page

    __version__: str

_HOMES = {
    "shardproof.instances.errors": ("CheckFailed", "InputError", "InternalError", "Problem", "ShardproofError"),
    "shardproof.instances.instance": ("Instance",),
    "shardproof.instances.plan": ("Plan", "Stage", "load_plan"),
    "shardproof.solver.api.audited": ("Audited", "Compared", "audit", "compare"),
    "shardproof.solver.api.audited_fleet": ("AuditedFleet",),
    "shardproof.solver.api.batched": ("Batched", "Reported", "batch", "batch_tasks", "report"),
    "shardproof.solver.api.benchmarked": ("Benched", "Checked", "bench", "check"),
    "shardproof.solver.api.calibrated": ("Calibrated", "calibrate"),
    "shardproof.solver.api.catalogued": ("Catalogued", "catalog"),
    "shardproof.solver.api.doctor": ("Setup", "doctor"),
    "shardproof.solver.api.explained": ("Explained", "explain"),
    "shardproof.solver.api.fleets": ("ComparedFleets", "ExplainedFleet", "FleetSensitivity", "SolvedFleet"),
    "shardproof.solver.api.exported": ("Exported", "export"),
    "shardproof.solver.api.placed": ("Placed", "PlacedWithin", "place", "place_within"),
    "shardproof.solver.api.predicted": ("Predicted", "predict"),
    "shardproof.solver.api.schemas": ("schema",),
    "shardproof.solver.api.sensitivity": ("Sensitivity", "sensitivity"),
    "shardproof.solver.api.simulated": ("Simulated", "simulate"),
    "shardproof.solver.api.solved": ("Solved", "load_instance", "question", "solve"),
    "shardproof.solver.api.verified": ("Verified", "verify"),
    "shardproof.solver.page.serve": ("page",),
}
"""Where each public name lives."""

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Audited",
    "AuditedFleet",
    "Batched",
    "Benched",
    "Calibrated",
    "Catalogued",
    "CheckFailed",
    "Checked",
    "Compared",
    "ComparedFleets",
    "Explained",
    "ExplainedFleet",
    "Exported",
    "FleetSensitivity",
    "InputError",
    "Instance",
    "InternalError",
    "Placed",
    "PlacedWithin",
    "Plan",
    "Predicted",
    "Problem",
    "Reported",
    "Sensitivity",
    "Setup",
    "ShardproofError",
    "Simulated",
    "Solved",
    "SolvedFleet",
    "Stage",
    "Verified",
    "__version__",
    "audit",
    "batch",
    "batch_tasks",
    "bench",
    "calibrate",
    "catalog",
    "check",
    "compare",
    "doctor",
    "explain",
    "export",
    "load_instance",
    "load_plan",
    "page",
    "place",
    "place_within",
    "predict",
    "question",
    "report",
    "schema",
    "sensitivity",
    "simulate",
    "solve",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name == "__version__":
        found: Any = _version()
    elif name in _HOME_OF:
        found = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'shardproof' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, also those not loaded yet."""
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the version of this very code: a clone's own, not that of an installed copy."""
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    project = Path(__file__).parent.parent / "pyproject.toml"
    if project.is_file():
        import tomllib

        table = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if table.get("name") == "shardproof":
            return str(table["version"])
    try:
        return version("shardproof")
    except PackageNotFoundError:  # copied from somewhere without its metadata
        return "unknown"
