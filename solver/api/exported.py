"""`export`: a plan as the files of an engine, a container runtime, a cluster or a batch system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from shardproof.instances.reading import refuse
from shardproof.solver.api.fleets import fleet_from
from shardproof.solver.api.predicted import asked_and_stated
from shardproof.solver.api.question import Fields, check_fields, shows_fields
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetGroup, FleetPlan, Taken
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

    Of a fleet of several devices or models each model has a folder, of all its groups where one router serves them.
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
    fleet = fleet_from(plan, instance, fields)
    if fleet is not None:
        return _exported_fleet(*fleet, to)
    from shardproof.solver.evaluation.engine_plan import require_plan_of
    from shardproof.solver.exporters.export import export as export_plan

    asked, wanted = asked_and_stated(plan, instance, dict(fields))
    for part in wanted.parts:
        require_plan_of(asked, wanted.part(part))
    return Exported(asked, wanted, export_plan(asked, wanted, to))


def _exported_fleet(question: PoolsQuestion, plan: FleetPlan, to: str) -> Exported:
    """Return the files of every group, each in a folder of its own (both pools of a model share one).

    Raises
    ------
    InputError
        If a group is a row of a table, or the target cannot express one.
    """
    from shardproof.solver.exporters.export import Export

    files: dict[str, str] = {}
    lines = [f"# {question.name}: {len(plan.groups)} groups for {to}", ""]
    for folder, groups, made in _folders(question, plan, to):
        files |= {f"{folder}/{name}": text for name, text in made.files.items()}
        for group in groups:
            takes = ", ".join(f"{_amount(one)} of {one.name}" for one in group.takes)
            phase = f", the {group.phase} pool" if group.phase else ""
            count = f"{group.replicas} replica{'s' if group.replicas > 1 else ''}"
            lines.append(f"- `{folder}/`: {group.model} on {group.device}{phase}, {count}, each takes {takes}")
    files["README.md"] = "\n".join([*lines, "", "The numbers are weights at the router, model by model.", ""])
    return Exported(question, plan, Export(to, files))


def _amount(taken: Taken) -> str:
    return f"{taken.requests} requests" if taken.requests is not None else f"{taken.rate_per_s or 0:g} requests/s"


def _folders(question: PoolsQuestion, plan: FleetPlan, to: str) -> Iterator[tuple[str, Sequence[FleetGroup], Export]]:
    """Yield folders with their groups and files: one of all groups of a model and engine, with its router.

    Where the target has no router of groups that differ, each has a folder of its own. No two names are alike.
    """
    from shardproof.instances.errors import InputError
    from shardproof.solver.exporters.export import export_pools

    def made(name: str, groups: Sequence[FleetGroup]) -> tuple[str, Sequence[FleetGroup], Export]:
        parts = [(_asked(question, group), _plan_of(group), group.phase) for group in groups]
        return name, groups, export_pools(parts, to, name)

    for name, groups in _families(plan).items():
        try:
            yield made(name, groups)
        except InputError:
            if len(groups) == 1 or groups[0].phase is not None:
                raise
            for place, group in enumerate(groups):
                yield made(f"{name}-{place}", [group])


def _asked(question: PoolsQuestion, group: FleetGroup) -> Instance:
    """Return what a group answers alone; engines are set up for what it takes.

    Raises
    ------
    InputError
        If it takes nothing, or is not of the question.
    """
    from shardproof.solver.pools.fleet_plans import group_instance

    asked = group_instance(question, group)
    if not asked.scenarios:
        remedy = "takes no requests of the question: give takes with requests or rate_per_s above 0"
        raise refuse("plan", remedy, field="groups.takes", value=group.pool or group.device)
    return asked


def _families(plan: FleetPlan) -> dict[str, list[FleetGroup]]:
    """Groups by the name of what they serve together: model, engine where several run it, and whether apart."""
    from shardproof.solver.exporters.units import slug

    keys = [(str(group.model), str(_plan_of(group).engine), group.phase is not None) for group in plan.groups]
    found: dict[tuple[str, str, bool], list[FleetGroup]] = {}
    for key, group in zip(keys, plan.groups, strict=True):
        found.setdefault(key, []).append(group)
    named: dict[str, list[FleetGroup]] = {}
    for (model, engine, apart), groups in found.items():
        several = len({own for name, own, _ in found if name == model}) > 1
        name = slug(model)[:32] + (f"-{engine}" if several else "") + ("-apart" if apart else "")
        name = name if name not in named else f"{name}-{len(named)}"
        named[name] = sorted(groups, key=lambda group: group.phase == "decode")
    return named


def _plan_of(group: FleetGroup) -> Plan:
    from shardproof.instances.errors import InputError

    if group.plan is None:
        raise InputError("capacities are given as data: there is no plan of a replica to export; name models")
    return group.plan
