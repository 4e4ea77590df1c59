"""Whether what a certificate claims is true of the problem in it: by brute force over every replica program."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.covering import Refused, covered, items
from shardproof.solver.proof.certificate import KEYS, from_document
from shardproof.solver.proof.certificate_json import read_program, read_shares
from tests.oracles.brute_force import Best, brute_force, evaluate
from tests.oracles.random_programs import ceilings
from tests.oracles.restricted import restrict

Document = dict[str, Any]
Values = tuple[int | None, int | None, int | None, int | None]


def share_programs(document: Document) -> list[tuple[tuple[int, ...], Program]]:
    """Return load and program of every replica program in a document."""
    base = read_program(document["program"])
    shares = read_shares(document["program"])
    return [(load, replace(base, layouts=layouts, batch_sizes=())) for load, layouts in shares]


def plan_values(document: Document) -> Values | None:
    """GPUs, shapes, TTFT and memory of the plan (``None``: it is not feasible)."""
    fleet = from_document(document).fleet
    assert fleet is not None
    found: list[tuple[int, Best]] = []
    for group in fleet.groups:
        best = evaluate(group.program, group.chain)
        if best is None:
            return None
        found.append((group.replicas, best))
    demand = document["program"]["demand"]
    carried = [sum(group.replicas * group.load[place] for group in fleet.groups) for place in range(len(demand))]
    gpus, shapes = sum(count * best.gpus for count, best in found), len(found)
    alike = document["program"]["replicas"] == "alike"
    if any(have < want for have, want in zip(carried, demand, strict=True)) or (alike and shapes > 1):
        return None
    ttft = max((best.ttft for _, best in found if best.ttft is not None), default=None)
    memory = max((best.memory for _, best in found if best.memory is not None), default=None)
    return None if gpus > document["program"]["max_gpus"] else (gpus, shapes, ttft, memory)


def walls(document: Document, *, ttft: int | None = None, memory: int | None = None) -> list[Refused]:
    """Everything that single replicas are truly refused."""
    found = []
    for load, program in share_programs(document):
        best = brute_force(restrict(program, ttft=ttft, memory=memory), floor=True)
        found.append(Refused(program.max_gpus if best is None else best.gpus - 1, load))
    return found


def holds(document: Document, gpus: int, shapes: int | None, ttft: int | None, memory: int | None) -> bool:
    """Whether what single replicas are truly refused leaves no fleet within the limits."""
    demand = tuple(document["program"]["demand"])
    if shapes == 0 or gpus < 1:
        return True
    kinds = items(demand, walls(document, ttft=ttft, memory=memory), gpus)
    return covered(demand, kinds, gpus, shapes) is None


def falsehood(document: Document) -> str | None:
    """Say which claim of an accepted document is false by brute force (``None``: all hold)."""
    document = with_layout_paths_on_an_axis(json.loads(json.dumps(document)))
    values: Values | None = (None, None, None, None)
    if document["plan"]:
        values = plan_values(document)
        if values is None:
            return "the plan is not feasible"
    every = 1 if document["program"]["replicas"] == "alike" else None
    limits: list[int | None] = []
    for level, (key, value) in enumerate(zip(KEYS.values(), values or (), strict=True)):
        claim = document["claims"][key]
        if claim is not None and claim["upper"] != value:
            return f"{key} of the plan is {value}"
        if claim is not None and claim["by"] == "certified" and claim["lower"] > 0:
            gpus, shapes, ttft, memory = [*limits, claim["lower"] - 1, *(every, None, None)[level:]]
            if not holds(document, gpus or 0, shapes, ttft, memory):
                return f"{key} can be below {claim['lower']}"
        limits.append(value)
    return _incompleteness(document)


def with_layout_paths_on_an_axis(document: Document) -> Document:
    """Move rows that a forgery has put where no program has them (a path of a layout) to an axis of one choice.

    The trees go: what a claim says does not depend on them.
    """
    program = document["program"]
    for claim in document["claims"].values():
        if claim is not None:
            claim["refused"] = []
    for place, share in enumerate(program["shares"]):
        for at, layout in enumerate(share["layouts"]):
            paths = [index for index in layout["rows"] if program["rows"][index]["microbatches"]]
            if paths:
                layout["rows"] = [index for index in layout["rows"] if index not in paths]
                choice = {"value": 0, "rows": paths, "options": None}
                layout["axes"].append({"name": "moved", "rule": "listed", "size": 0, "choices": [choice]})
                for group in document["plan"] or ():
                    if (group["share"], group["layout"]) == (place, at):
                        group["choices"].append(0)
    return document


def _incompleteness(document: Document) -> str | None:
    for _, program in share_programs(document):
        for axis in (axis for layout in program.layouts for axis in layout.axes):
            if axis.rule == "ceilings" and [choice.value for choice in axis.choices] != ceilings(axis.size):
                return f"{axis.name} lacks a choice"
    return None
