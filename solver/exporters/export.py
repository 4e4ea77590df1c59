"""Export: a plan in the files of one target, or the reason why the target cannot express it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Pool
from shardproof.instances.writing import write_folder
from shardproof.solver.exporters import (
    compose,
    dynamo,
    engines,
    kserve,
    kubernetes,
    llm_d,
    production_stack,
    ray_serve,
    slurm,
)
from shardproof.solver.exporters.readme import write_readme
from shardproof.solver.exporters.release import release_note
from shardproof.solver.exporters.text import cannot
from shardproof.solver.exporters.units import Unit, units_of, units_of_parts

Exporter = Callable[[Sequence[Unit]], dict[str, str]]

EXPORTERS: Mapping[str, Exporter] = {
    "vllm": engines.vllm,
    "sglang": engines.sglang,
    "trtllm": engines.trtllm,
    "docker-compose": compose.write,
    "kubernetes": kubernetes.write,
    "slurm": slurm.write,
    "kserve": kserve.write,
    "dynamo": dynamo.write,
    "llm-d": llm_d.write,
    "production-stack": production_stack.write,
    "ray-serve": ray_serve.write,
}
"""All targets: each takes the groups of a plan and returns the text of every file by its path."""


@dataclass(frozen=True)
class Export:
    """The files of a target: text by path below the folder that they are written to."""

    target: str
    files: Mapping[str, str]
    note: str | None = None
    """What is to be known of the release that the files start."""

    def write(self, folder: Path) -> None:
        """Write every file, making the folders that are missing.

        Raises
        ------
        InputError
            If a file stands where a folder has to be.
        """
        write_folder(folder, self.files)


def _plans(units: Sequence[Unit], *, several: bool) -> dict[str, str]:
    """Return the plan itself; of a mixed fleet one file a group, since a plan's readers know one shape a document."""
    files = {}
    for unit in units:
        name = f"{unit.name}.plan.json" if several else "plan.json"
        tree = unit.told.plan.model_dump(mode="json", exclude_none=True)
        files[name] = json.dumps(tree, indent=2) + "\n"
    return files


def export(instance: Instance, plan: Plan, target: str) -> Export:
    """Write a plan as the files of a target.

    Raises
    ------
    InputError
        If the target is unknown, or cannot express the plan: with the reason.
    """
    if target not in EXPORTERS:
        raise InputError(f"--to: {str(target)[:80]!r}: is no target; known are {', '.join(EXPORTERS)}")
    return _written(units_of(instance, plan), target, instance, several=bool(plan.groups))


def export_pools(parts: Sequence[tuple[Instance, Plan, Pool | None]], target: str, name: str) -> Export:
    """Write groups or pools whose devices may differ as the files of a target: each one's own flags, one router of all.

    ``name`` begins the names of all that the target starts.

    Raises
    ------
    InputError
        If the target is unknown, or cannot express them: with the reason.
    """
    if target not in EXPORTERS:
        raise InputError(f"--to: {str(target)[:80]!r}: is no target; known are {', '.join(EXPORTERS)}")
    several = len(parts) > 1
    return _written(units_of_parts(parts, name, numbered=several), target, parts[0][0], several=several)


def _written(units: Sequence[Unit], target: str, asked: Instance, *, several: bool) -> Export:
    if target != "sglang" and any(unit.placement for unit in units):
        raise cannot(target, "the map of experts is a file on every node; export to sglang", field="placement")
    files = dict(EXPORTERS[target](units))
    files |= _plans(units, several=several)
    note = release_note(asked, [(unit.instance, unit.told.plan) for unit in units])
    files["README.md"] = write_readme(target, units, tuple(files), note)
    return Export(target, files, note)
