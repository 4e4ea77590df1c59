"""The release of an engine that exported files start, which is the one whose account of memory the plan keeps.

Images and flags are those of the release whose options are recorded. Where the question names no version, a plan was
made by the account of the release with the most logs: it is accounted anew, and where it does not hold by the account
of the recorded release, the files start the one that it was made for.
"""

from __future__ import annotations

from collections.abc import Sequence

from shardproof.formulations.costs.engine_profiles import default_version, find_profile
from shardproof.formulations.engines.told import budget_of
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group
from shardproof.instances.units import format_bytes
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.exporters.contract import contract

Part = tuple[Instance, Group]


def recorded(engine: str) -> str:
    """Return the release whose options are recorded."""
    return tag_of(contract(engine)[0])


def tag_of(version: str) -> str:
    """Return a version as images are tagged: three numbers, whatever follows them."""
    plain = version.lstrip("v")
    numbers = plain.split(".")
    if not all(number.isdigit() for number in numbers):
        return plain
    return ".".join((*numbers, "0", "0")[: max(3, len(numbers))])


def release_of(instance: Instance) -> str:
    """Return the tag of the release that an instance's files start."""
    named = instance.engine_settings.version
    return recorded(instance.engine) if named is None else tag_of(named)


def released(parts: Sequence[Part]) -> list[Instance]:
    """Return the questions of a plan's groups under the release that files start, where accounts of memory differ."""
    asked = [instance for instance, _ in parts]
    engine = asked[0].engine
    if any(one.engine_settings.version is not None for one in asked):
        return asked
    release, planned = recorded(engine), default_version(engine)
    if find_profile(engine, release) is find_profile(engine, planned):
        return asked
    under = {version: [under_version(one, version) for one in asked] for version in (release, planned)}
    plans = [plan for _, plan in parts]
    holds = {version: missing(list(zip(found, plans, strict=True))) == 0 for version, found in under.items()}
    return under[release] if holds[release] or not holds[planned] else under[planned]


def release_note(asked: Instance, parts: Sequence[Part]) -> str | None:
    """Say why the files start an older release than the one recorded (``None``: the recorded one, or as asked).

    ``asked``: the question as it was put; ``parts``: the groups' questions under the release.
    """
    started, newest = release_of(parts[0][0]), recorded(asked.engine)
    if asked.engine_settings.version is not None or started == newest:
        return None
    over = missing([(under_version(one, newest), plan) for one, plan in parts])
    return (
        f"these files start {asked.engine} {started}, for which the plan was made: by the account of {newest} a device "
        f"lacks {format_bytes(over)}; plan with --engine {asked.engine}@{newest} to run that"
    )


def under_version(instance: Instance, version: str) -> Instance:
    """Return a question with a version of its engine."""
    settings = instance.engine_settings.model_copy(update={"version": version})
    return instance.model_copy(update={"engine_settings": settings})


def missing(parts: Sequence[Part]) -> int:
    """Bytes that the fullest device lacks by its engine's account."""
    over = 0
    for instance, plan in parts:
        engine = EnginePlan(instance, plan)
        needed = max(sum(engine.memory(place).values()) for place in range(len(plan.stages)))
        over = max(over, needed - budget_of(engine.account))
    return over
