"""Round trips: solved questions and written plans to every target, each file judged by consumers and by `audit`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import shardproof
from benchmarks.exports.engines import Engine
from benchmarks.exports.lines import lines
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.exporters.export import EXPORTERS, Export, export
from tests.exporters.plans import NAMES, question
from tests.oracles.consumers import refusals
from tests.oracles.solved_plans import QUESTIONS


@dataclass
class Trip:
    """What became of one plan: files by target, targets that cannot express it, and whatever was wrong."""

    name: str
    plan: str
    files: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lines: int = 0


def trips(engines: Mapping[str, Engine], *, take: int | None = None) -> Iterator[Trip]:
    """Yield the trip of each question, solved as it is reached, and of each written plan."""
    for name, asked, plan in islice(_plans(), take):
        trip = Trip(name, "no plan" if plan is None else _words(plan))
        if plan is not None:
            for target in EXPORTERS:
                _visit(trip, target, asked, plan, engines)
        yield trip


def _plans() -> Iterator[tuple[str, Instance, Plan | None]]:
    for name, fields in QUESTIONS.items():
        answer = shardproof.solve(**fields)
        assert isinstance(answer, shardproof.Solved)
        yield name, answer.instance, answer.plan
    for name in NAMES:
        yield (f"written/{name}", *question(name))


def _words(plan: Plan) -> str:
    parts = [f"{part.replicas} x {len(part.stages)} stages {part.stages[0].option.degrees}" for part in plan.parts]
    return f"{plan.gpus} GPUs, " + " + ".join(parts)


def _visit(trip: Trip, target: str, asked: Instance, plan: Plan, engines: Mapping[str, Engine]) -> None:
    try:
        made = export(asked, plan, target)
    except InputError as refusal:
        trip.refused[target] += 1
        if "cannot express it: " not in str(refusal):
            trip.wrong.append(f"{target}: {refusal}")
        return
    trip.files[target] += len(made.files)
    trip.wrong += [f"{target}: {why}" for why in refusals(made.files)]
    engine = engines.get(asked.engine)
    for name, words in lines(made.files, asked.engine) if engine is not None else ():
        trip.lines += 1
        why = engine.refusal(words) if engine is not None else None
        trip.wrong += [f"{target}: {name}: {asked.engine} refuses {' '.join(words)}: {why}"] if why else []
    trip.wrong += [f"{target}: audit: {said}" for said in _audit(made)]


def _audit(made: Export) -> Iterator[str]:
    """Yield what `audit` holds to be wrong of files that hold a sound plan."""
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        found = shardproof.audit(folder, completion=False)
        assert isinstance(found, shardproof.Audited)
        for claim in found.wrong:
            yield f"{claim.statement.text}: {claim.formula}"
        if found.exit_code and not found.wrong:
            yield str(found.review.violations)


def written_exports() -> Iterator[Export]:
    """Yield the written plans in every target that can express them: whatever exports write stands in one of these."""
    for name in NAMES:
        for target in EXPORTERS:
            try:
                yield export(*question(name), target)
            except InputError:
                continue
