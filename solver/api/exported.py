"""`export`: a plan as the files of an engine, a container runtime, a cluster or a batch system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from shardproof.solver.api.predicted import asked_and_stated
from shardproof.solver.api.question import Fields, check_fields, shows_fields
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.api.fleets import SolvedFleet
    from shardproof.solver.api.predicted import AnyPlan
    from shardproof.solver.api.question import Question
    from shardproof.solver.exporters.export import Export


@dataclass(frozen=True, repr=False, eq=False)
class Exported(Answered):
    """The files with which a target runs a plan; nothing is written until `write`.

    Of a fleet of several devices or models each group has a folder of its own.
    """

    instance: Instance | PoolsQuestion
    plan: Plan | FleetPlan
    export: Export

    @property
    def files(self) -> Mapping[str, str]:
        """Text of every file by its path below the folder."""
        return self.export.files

    def write(self, folder: str | Path) -> None:
        """Write the files below a folder, which is made where it is missing.

        Raises
        ------
        InputError
            If something else stands in their place.
        """
        self.export.write(Path(folder))

    def to_dict(self) -> dict[str, Any]:
        """Return target and files."""
        return {"target": self.export.target, "files": dict(self.files)}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each file."""
        return [{"file": name, "lines": len(text.splitlines())} for name, text in self.files.items()]

    def __str__(self) -> str:
        """Return the target and its files in one line."""
        return f"{self.export.target}: {', '.join(self.files)}"

    def __repr__(self) -> str:
        """Return one line."""
        return f"Exported({self.export.target!r}, {len(self.files)} files)"


@shows_fields
def export(
    plan: AnyPlan | SolvedFleet, instance: Question | None = None, *, to: str, **fields: Unpack[Fields]
) -> Exported:
    """Return the files with which a target runs a plan, or refuse with the reason why it cannot.

    Parameters
    ----------
    plan
        A `Plan`, an answer of `solve`, a mapping, the path of a plan in any form that `audit` reads, or an engine's
        command line.
    instance
        The question that the plan answers; may be left out for an answer of `solve`.
    to
        ``vllm``, ``sglang``, ``trtllm``, ``docker-compose``, ``kubernetes`` ...: the message for an unknown one
        lists all.
    **fields
        What a flag of the command line says, under the flag's name.

    Raises
    ------
    InputError
        If plan or question is wrong, or the target cannot express the plan.
    """
    check_fields(fields, "export")
    from shardproof.solver.api.fleets import SolvedFleet

    if isinstance(plan, SolvedFleet):
        return _exported_fleet(plan, to)
    fleet = _stated_fleet(plan, instance, dict(fields))
    if fleet is not None:
        return _exported_fleet(fleet, to)
    from shardproof.solver.evaluation.engine_plan import require_plan_of
    from shardproof.solver.exporters.export import export as export_plan

    asked, wanted = asked_and_stated(plan, instance, dict(fields))
    for part in wanted.parts:
        require_plan_of(asked, wanted.part(part))
    return Exported(asked, wanted, export_plan(asked, wanted, to))


Stated = tuple["PoolsQuestion", "FleetPlan"]


def _stated_fleet(plan: object, instance: object, fields: Mapping[str, Any]) -> Stated | None:
    """Return the question about pools and the fleet plan of a file or mapping; ``None``: it is no such question."""
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.instances.reading import read_mapping, validate
    from shardproof.solver.api.question import asked_from, asks_about_pools

    if isinstance(instance, PoolsQuestion):
        asked: PoolsQuestion = instance
    elif isinstance(instance, str | Path | Mapping) and asks_about_pools(instance, fields):
        found = asked_from(instance, fields)
        assert isinstance(found, PoolsQuestion)
        asked = found
    else:
        return None
    if isinstance(plan, FleetPlan):
        return asked, plan
    tree: Any = plan if isinstance(plan, Mapping) else read_mapping(Path(str(plan)))
    inner = tree.get("plan")
    where = "plan" if isinstance(plan, Mapping) else str(plan)
    return asked, validate(FleetPlan, inner if isinstance(inner, dict) else tree, where=where)


def _exported_fleet(fleet: SolvedFleet | Stated, to: str) -> Exported:
    """Return the files of every group, each in a folder of its own, and one page about all of them.

    Raises
    ------
    InputError
        If there is no fleet, a group is a row of a table, or the target cannot express one.
    """
    from shardproof.instances.errors import InputError
    from shardproof.solver.api.fleets import SolvedFleet
    from shardproof.solver.exporters.export import Export, export
    from shardproof.solver.pools.fleet_plans import group_instance

    question, plan = (fleet.instance, fleet.plan) if isinstance(fleet, SolvedFleet) else fleet
    if plan is None:
        raise InputError("the answer holds no fleet to export")
    files: dict[str, str] = {}
    lines = [f"# {question.name}: {len(plan.groups)} groups for {to}", ""]
    for place, group in enumerate(plan.groups):
        if group.plan is None:
            raise InputError("capacities are given as data: there is no plan of a replica to export; name models")
        folder = f"group-{place}-{group.offer}".replace("#", "-").replace("/", "-")
        made = export(group_instance(question, group), group.plan, to)
        files |= {f"{folder}/{name}": text for name, text in made.files.items()}
        takes = ", ".join(f"{one.requests} of {one.name}" for one in group.takes)
        lines.append(f"- `{folder}/`: {group.model} on {group.device}, {group.replicas} replicas, each takes {takes}")
    files["README.md"] = "\n".join([*lines, "", "The numbers are weights at the router, model by model.", ""])
    return Exported(question, plan, Export(to, files))
