"""Forged certificates: none with a false claim may be accepted, none may crash the checker.

``python -m benchmarks.forge --count 60000`` (some 5 minutes on one core) takes true certificates of small
random programs whose limits are exactly tight and forges them, each forgery aimed at one check. What the
checker accepts is decided by brute force over the program *in the file*: an accepted forgery must be true.

The strongest forgeries are bluffs, trees of simple leaves that may or may not hold, and transplants: the exact
search refutes a program that differs in one cell, one limit, one option or one microbatch, and its (there valid)
trees are put into the certificate of the true program, whose claim they would prove falsely. Random tampering
hardly ever gets that close.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random
from typing import Any

from benchmarks.two_rows import moved, two_rows
from shardproof.formulations.deployment.tables import Program
from shardproof.instances.errors import InputError
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate import from_document, to_document
from shardproof.solver.proof.certificate_json import read_program, write_tree
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Query
from tests.oracles.agreement import certified
from tests.oracles.brute_force import brute_force, evaluate, every_chain
from tests.oracles.random_programs import ceilings, random_program, replica_counts
from tests.oracles.restricted import restrict

Document = dict[str, Any]
Forgery = Callable[[Random, Document], Document | None]
BASES = 400
TRIES = 8
"""Slightly different programs that a transplant tries."""


@dataclass(frozen=True)
class Base:
    """A true certificate, as text, and its program."""

    text: str
    program: Program


@cache
def base(seed: int) -> Base:
    """Return the true certificate of a seed."""
    program = random_program(seed, max_layers=5, max_options=3, max_gpus=6, slack=seed % 3 == 0)
    return Base(json.dumps(to_document(certified(program))), program)


def _nodes(random: Random, document: Document) -> list[list[Any]] | None:
    """Pick a tree of the document."""
    claims = [claim for claim in document["claims"].values() if claim is not None and claim["trees"]]
    return random.choice(random.choice(claims)["trees"]) if claims else None


def _pick(random: Random, items: list[Any]) -> Any:
    return random.choice(items) if items else None


def plan_moves(random: Random, document: Document) -> Document | None:
    """Change one thing of the plan, and claim what a reader would compute for it."""
    plan = document["plan"]
    if plan is None:
        return None
    stage = random.choice(plan["stages"])
    match random.randrange(7):
        case 0:
            stage[random.randrange(2)] += random.choice((-1, 1))
        case 1:
            stage[2] = random.randrange(len(document["program"]["options"]) + 1)
        case 2:
            plan["stages"].remove(stage)
        case 3:
            plan["stages"].insert(random.randrange(len(plan["stages"]) + 1), list(stage))
        case 4 if plan["choices"]:
            plan["choices"][random.randrange(len(plan["choices"]))] += random.choice((-1, 1))
        case 5:
            plan["layout"] = random.randrange(len(document["program"]["layouts"]) + 1)
        case _:
            place = plan["stages"].index(stage)
            if place + 1 == len(plan["stages"]):
                return None
            shift = random.choice((-1, 1))
            stage[1] += shift
            plan["stages"][place + 1][0] += shift
    return _restated(document)


def _restated(document: Document) -> Document:
    """Restate the values of the plan as brute force sees it, so that only its feasibility is forged."""
    if any(value < 0 for stage in document["plan"]["stages"] for value in stage):
        return document
    try:
        certificate = from_document(document)
        found = certificate.chain and evaluate(certificate.program, certificate.chain)
    except (IndexError, ValueError, InputError):
        return document
    values = (found.gpus, found.ttft, found.memory) if found else (None, None, None)
    for claim, value in zip(document["claims"].values(), values, strict=True):
        if claim is not None and value is not None:
            claim["upper"] = value
            claim["lower"] = min(claim["lower"], value)
    return document


def claims_move(random: Random, document: Document) -> Document | None:
    """Claim a bound one higher, a value one lower, or drop the plan and claim more."""
    name = random.choice([key for key, claim in document["claims"].items() if claim is not None])
    claim = document["claims"][name]
    match random.randrange(6):
        case 0:
            claim["lower"] += 1
        case 1:
            claim["upper"] = random.choice((None, (claim["upper"] or 0) + random.choice((-1, 1))))
        case 2:
            claim["lower"] += 1
            claim["upper"] = (claim["upper"] or 0) + 1
        case 3:
            document["plan"], claim["upper"] = None, None
        case 4:
            document["plan"] = None
            document["claims"] = dict.fromkeys(document["claims"]) | {
                "gpus": document["claims"]["gpus"] | {"upper": None, "lower": document["claims"]["gpus"]["lower"] + 1}
            }
        case _:
            claim["by"] = random.choice(("certified ", "Certified", "claimed", "agreed by HiGHS\n", "claimed by X", ""))
    return document


def limits_move(random: Random, document: Document) -> Document | None:
    """Move a limit, a number of microbatches or a mark by one."""
    row = random.choice(document["program"]["rows"])
    match random.randrange(4):
        case 0 | 1:
            row["limit"] = random.choice((0, None)) if row["limit"] is None else row["limit"] + random.choice((-1, 1))
        case 2:
            row["microbatches"] += random.choice((-1, 1))
        case _:
            row["marked"] = 1 - row["marked"]
    return document


def cells_move(random: Random, document: Document) -> Document | None:
    """Move a cell of a table, or its slack, by one."""
    table = random.choice(document["program"]["tables"])
    key = random.choice(("base", "entry", "first", "last", "layer", "layer", "slack"))
    if key == "slack":
        table["slack"] += random.choice((-1, 1))
        return document
    cells = random.choice(table["layer"]) if key == "layer" else table[key]
    cells[random.randrange(len(cells))] += random.choice((-1, 1))
    return document


def shape_moves(random: Random, document: Document) -> Document | None:
    """Change budgets, replicas, options, layers, or the pools that rows point into."""
    program = document["program"]
    layout = random.choice(program["layouts"])
    match random.randrange(8):
        case 0:
            layout["max_gpus"] = random.choice((None, max(0, (layout["max_gpus"] or 1) + random.choice((-1, 1)))))
        case 1:
            layout["replicas"] += random.choice((-1, 1))
        case 2:
            program["max_gpus"] += random.choice((-1, 1))
        case 3:
            option = random.choice(program["options"])
            option[random.randrange(4)] += random.choice((-1, 1))
        case 4:
            random.choice(program["kinds"])[random.randrange(2)] += random.choice((-1, 1))
        case 5:
            random.choice(program["rows"])["table"] = random.randrange(len(program["tables"]) + 1)
        case 6:
            rows = random.choice([layout["rows"], *(c["rows"] for a in layout["axes"] for c in a["choices"])])
            if rows:
                rows.pop(random.randrange(len(rows)))
        case _:
            choice = _pick(random, [c for a in layout["axes"] for c in a["choices"]])
            if choice is None:
                return None
            count = len(program["options"])
            choice["options"] = random.choice((None, [], [random.randrange(count + 1)], list(range(count))))
    return document


def cases_vanish(random: Random, document: Document) -> Document | None:
    """Leave out a layout or a choice, with its part of every tree, and keep the claim."""
    program, plan = document["program"], document["plan"]
    place = random.randrange(len(program["layouts"]))
    layout = program["layouts"][place]
    if random.random() < 0.4 or not layout["axes"]:
        program["layouts"].pop(place)
        for claim in document["claims"].values():
            if claim is not None and claim["trees"]:
                claim["trees"].pop(place)
        if plan is not None:
            plan["layout"] -= plan["layout"] > place
        return document
    axis = random.randrange(len(layout["axes"]))
    choice = random.randrange(len(layout["axes"][axis]["choices"]))
    for claim in document["claims"].values():
        if claim is not None and claim["trees"]:
            claim["trees"][place] = _without(claim["trees"][place], layout, axis, choice)
    layout["axes"][axis]["choices"].pop(choice)
    if plan is not None and plan["layout"] == place:
        plan["choices"][axis] -= plan["choices"][axis] > choice
    if random.random() < 0.3:
        layout["axes"][axis]["size"] += random.choice((-1, 1))
    return document


def _without(nodes: list[list[Any]], layout: Document, axis: int, choice: int) -> list[list[Any]]:
    """Return a tree without the child of one choice."""
    position = 0

    def copy(keep: bool) -> list[list[Any]]:
        nonlocal position
        node = nodes[position]
        position += 1
        found = [node] if keep else []
        if node[0] == "axis":
            for child in range(len(layout["axes"][node[1]]["choices"])):
                found += copy(keep and not (node[1] == axis and child == choice))
        elif node[0] == "max":
            found += copy(keep) + copy(keep)
        return found

    return copy(keep=True)


def rules_move(random: Random, document: Document) -> Document | None:
    """Claim another completeness rule than the one that holds."""
    program = document["program"]
    axis = _pick(random, [axis for layout in program["layouts"] for axis in layout["axes"]])
    if axis is None or random.random() < 0.3:
        sizes = program["batch_sizes"]
        if sizes and random.random() < 0.7:
            sizes[random.randrange(len(sizes))] += random.choice((-1, 1))
        else:
            sizes.append(random.randint(0, 6))
        return document
    match random.randrange(3):
        case 0:
            axis["rule"] = random.choice(("listed", "ceilings", "all"))
        case 1:
            axis["size"] += random.choice((-1, 1))
        case _:
            random.choice(axis["choices"])["value"] += random.choice((-1, 1))
    return document


def trees_tampered(random: Random, document: Document) -> Document | None:
    """Change, drop, double or swap nodes of a tree."""
    nodes = _nodes(random, document)
    if not nodes:
        return None
    place = random.randrange(len(nodes))
    node = nodes[place]
    match random.randrange(7):
        case 0:
            nodes.pop(place)
        case 1:
            nodes.insert(place, json.loads(json.dumps(node)))
        case 2:
            other = random.randrange(len(nodes))
            nodes[place], nodes[other] = nodes[other], nodes[place]
        case 3 if node[0] == "max":
            node[2] += random.choice((-1, 1))
        case 4 if node[0] == "axis":
            node[1] += random.choice((-1, 1))
        case 5:
            rows = [row["name"] for row in document["program"]["rows"]]
            kind = random.choice(("volume", "sum", "all"))
            nodes[place] = ["leaf", [[[kind, random.choice(rows), random.randint(0, 2)]]], []]
        case _:
            nodes[place] = random.choice((["leaf", [], []], ["leaf", [[]], []], ["max", "memory", 0], ["stop"], []))
    return document


def labels_move(random: Random, document: Document) -> Document | None:
    """Change a frontier: its rows, its weights, a label's layer or value; drop or add labels."""
    claims = [claim for claim in document["claims"].values() if claim is not None]
    leaves = [node for claim in claims for tree in claim["trees"] for node in tree if node[0] == "leaf" and node[2]]
    leaf = _pick(random, leaves)
    if leaf is None:
        return None
    rows = random.choice(leaf[2])
    match random.randrange(7):
        case 0 if rows:
            random.choice(rows)[0] += random.choice((-1, 1))
        case 1 if rows:
            label = random.choice(rows)
            label[random.randrange(len(label))] += random.choice((-1, 1, 2))
        case 2 if rows:
            rows.pop(random.randrange(len(rows)))
        case 3:
            rows.append([len(document["program"]["kinds"]), *([0] * len(leaf[1]))])
        case 4 if rows:
            label = random.choice(rows)
            label.append(0) if random.random() < 0.5 else label.pop()
        case 5 if leaf[1]:
            random.choice(leaf[1])[0][2] += random.choice((-1, 1))
        case _:
            leaf[2].append([[1] * (len(leaf[1]) + 1)])
    return document


def malformed(random: Random, document: Document) -> Document | None:
    """Put a value of another type, or far too large, anywhere."""
    spots: list[tuple[Any, Any]] = []
    todo: list[Any] = [document]
    while todo:
        item = todo.pop()
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in pairs:
            spots.append((item, key))
            if isinstance(value, dict | list):
                todo.append(value)
    holder, key = random.choice(spots)
    if isinstance(holder, dict) and random.random() < 0.2:
        del holder[key]
    elif isinstance(holder, dict) and random.random() < 0.1:
        holder["extra"] = 0
    else:
        values: tuple[Any, ...] = (
            True,
            False,
            1.0,
            1e300,
            -1,
            "",
            "x",
            None,
            [],
            {},
            [[]],
            10**50,
            2**63,
            "\x00",
            float("nan"),
        )
        holder[key] = random.choice(values)
    return document


def _changed(random: Random, document: Document) -> Program | None:
    """Return a program that differs from the document's in one thing."""
    changed = json.loads(json.dumps(document))
    move = random.choice((limits_move, cells_move, shape_moves, cells_move, limits_move))
    if move(random, changed) is None or changed["program"]["kinds"] != document["program"]["kinds"]:
        return None
    try:
        checker.shaped(changed, checker.SHAPE, "changed")
        checker.Problem(json.loads(json.dumps(changed["program"])))
    except (checker.CheckError, IndexError, ValueError):
        return None
    return read_program(changed["program"])


def _refuted(random: Random, document: Document, query: Query) -> list[list[list[Any]]] | None:
    """Return the trees that refute a query for a slightly different program."""
    for _ in range(TRIES):
        other = _changed(random, document)
        refutation = None if other is None else Prover(other, floor=True).decide(query).refutation
        if refutation is not None:
            return list(map(write_tree, refutation.trees))
    return None


def transplanted(random: Random, document: Document) -> Document | None:
    """Prove a false bound for a slightly different program, and claim it for the true one."""
    best = brute_force(read_program(document["program"]), floor=True)
    trees = None if best is None else _refuted(random, document, Query(gpus=best.gpus))
    if best is None or trees is None:
        return None
    return _bounded(document, best.gpus + 1, trees)


def _bounded(document: Document, lower: int, trees: list[list[list[Any]]]) -> Document:
    """Return the document with a bound on GPUs alone."""
    claim = {"lower": lower, "upper": None, "by": "certified", "trees": trees}
    return document | {"plan": None, "claims": {"gpus": claim, "ttft_ns": None, "memory_bytes": None}}


def bluffed(random: Random, document: Document) -> Document | None:
    """Claim the true bound, or one more, on trees of the simplest leaves: some hold, some are bluff."""
    program = read_program(document["program"])
    best = brute_force(program, floor=True)
    lower = (program.max_gpus + 1 if best is None else best.gpus) + random.choice((0, 1))
    return _bounded(document, lower, [_bluff(random, layout, document) for layout in document["program"]["layouts"]])


def _bluff(random: Random, layout: Document, document: Document) -> list[list[Any]]:
    pools, rows = [layout["rows"]], document["program"]["rows"]
    nodes: list[list[Any]] = []

    def leaf(known: list[int]) -> list[Any]:
        names = [row["name"] for row in (rows[index] for index in known) if row["limit"] is not None]
        kinds = [("volume", name) for name in names]
        kinds += [("sum", rows[i]["name"]) for i in known if rows[i]["microbatches"] and rows[i]["limit"] is not None]
        count = random.choice((0, 1, 1, 1, 2)) if kinds else 0
        parts = [
            [[*random.choice(kinds), random.randint(1, 2)] for _ in range(random.choice((1, 1, 2)))]
            for _ in range(count)
        ]
        return ["leaf", parts, []]

    def grow(depth: int, known: list[int]) -> None:
        if depth == len(layout["axes"]) or random.random() < 0.2:
            paths = [rows[index] for index in known if rows[index]["microbatches"]]
            if paths and random.random() < 0.4:
                nodes.append(["max", random.choice(paths)["name"], random.randint(0, 12)])
                nodes.append(leaf(known))
            nodes.append(leaf(known))
            return
        nodes.append(["axis", depth])
        for choice in layout["axes"][depth]["choices"]:
            grow(depth + 1, known + choice["rows"])

    grow(0, pools[0])
    return nodes


def two_rows_moved(random: Random, document: Document) -> Document | None:
    """Change a label of a certificate whose leaves have two surrogate rows; claim the bound or one more."""
    del document
    text = two_rows(random.randrange(2000))
    changed = None if text is None else moved(text, random)
    if changed is None:
        return None
    found: Document = json.loads(changed)
    found["claims"]["gpus"]["lower"] += random.choice((0, 0, 1))
    return found


def levels_transplanted(random: Random, document: Document) -> Document | None:
    """Give a worse plan, and prove it best at its level for a slightly different program."""
    program = read_program(document["program"])
    best = brute_force(program)
    if best is None or best.ttft is None:
        return None
    worse = []
    for chain in islice(every_chain(program), 3000):
        found = evaluate(program, chain)
        if found is not None and found.gpus == best.gpus and (found.ttft or 0) > best.ttft:
            worse.append((chain, found))
    if not worse:
        return None
    chain, found = random.choice(worse)
    level, query = "ttft_ns", Query(gpus=found.gpus, ttft=(found.ttft or 1) - 1)
    trees = _refuted(random, document, query)
    if trees is None:
        return None
    stages = [[stage.start, stage.stop, stage.option] for stage in chain.stages]
    document["plan"] = {"layout": chain.layout, "choices": list(chain.choices), "stages": stages}
    document["claims"][level] = {"lower": found.ttft, "upper": found.ttft, "by": "certified", "trees": trees}
    document["claims"]["memory_bytes"] = None
    return document


FORGERIES: tuple[Forgery, ...] = (
    plan_moves,
    claims_move,
    limits_move,
    cells_move,
    shape_moves,
    cases_vanish,
    rules_move,
    trees_tampered,
    labels_move,
    malformed,
    transplanted,
    transplanted,
    bluffed,
    bluffed,
    two_rows_moved,
    levels_transplanted,
)


def forged(seed: int) -> tuple[str, str] | None:
    """Return the forgery's name and the text of the forged certificate of a seed."""
    random = Random(f"forgery {seed}")
    forge = FORGERIES[seed % len(FORGERIES)]
    document = forge(random, json.loads(base(random.randrange(BASES)).text))
    return None if document is None else (forge.__name__, json.dumps(document))


def falsehood(document: Document) -> str | None:
    """Say which claim of an accepted document is false by brute force (``None``: all hold)."""
    certificate = from_document(_with_layout_paths_on_an_axis(document))
    program, chain = certificate.program, certificate.chain
    found = None if chain is None else evaluate(program, chain)
    if chain is not None and found is None:
        return "the plan is not feasible"
    values = (None, None, None) if found is None else (found.gpus, found.ttft, found.memory)
    limits: list[int | None] = []
    for level, (name, value) in enumerate(zip(("gpus", "ttft", "memory"), values, strict=True)):
        claim = certificate.claims.get(name)  # type: ignore[call-overload]
        if claim is not None and claim.upper != value:
            return f"{name} of the plan is {value}"
        if claim is not None and claim.by == "certified" and claim.lower > 0:
            gpus, ttft, memory = [*limits, claim.lower - 1, None, None][:3]
            if brute_force(restrict(program, gpus=gpus, ttft=ttft, memory=memory), floor=True) is not None:
                return f"{name} can be below {claim.lower}"
        limits.append(value)
        del level
    return _incompleteness(program)


def _with_layout_paths_on_an_axis(document: Document) -> Document:
    """Move rows that a forgery has put where no program has them (a path of a layout) to an axis of one choice.

    The trees go: what a claim says does not depend on them.
    """
    program, plan = document["program"], document["plan"]
    for claim in document["claims"].values():
        if claim is not None:
            claim["trees"] = []
    for place, layout in enumerate(program["layouts"]):
        paths = [index for index in layout["rows"] if program["rows"][index]["microbatches"]]
        if paths:
            layout["rows"] = [index for index in layout["rows"] if index not in paths]
            choice = {"value": 0, "rows": paths, "options": None}
            layout["axes"].append({"name": "moved", "rule": "listed", "size": 0, "choices": [choice]})
            if plan is not None and plan["layout"] == place:
                plan["choices"].append(0)
    return document


def _incompleteness(program: Program) -> str | None:
    for layout in program.layouts:
        for axis in layout.axes:
            if axis.rule == "ceilings" and [choice.value for choice in axis.choices] != ceilings(axis.size):
                return f"{axis.name} lacks a choice"
    if program.batch_sizes:
        for replicas in replica_counts(program.batch_sizes, program.max_gpus):
            spans = [layout.max_gpus for layout in program.layouts if layout.replicas == replicas]
            if not any(span is None or span * replicas > program.max_gpus - replicas for span in spans):
                return f"{replicas} replicas are missing"
    return None


def verdict(text: str) -> str | None:
    """Return the claim that the checker accepts (``None``: it refuses)."""
    try:
        return checker.check(text.encode())
    except checker.CheckError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Forge many certificates; 0 when every accepted one is true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    chosen = parser.parse_args(arguments)
    counts: Counter[tuple[str, str]] = Counter()
    done, seed, false = 0, 0, 0
    while done < chosen.count:
        made = forged(seed)
        seed += 1
        if made is None:
            continue
        done += 1
        name, text = made
        accepted = verdict(text)
        counts[name, "refused" if accepted is None else "accepted, true"] += 1
        reason = None if accepted is None else falsehood(json.loads(text))
        if reason is not None:
            false += 1
            sys.stdout.write(f"forgery {seed - 1} ({name}) accepted, but {reason}\n")
    for (name, outcome), count in sorted(counts.items()):
        sys.stdout.write(f"{name:22} {outcome:15} {count}\n")
    sys.stdout.write(f"{done} forgeries, {false} false claims accepted\n")
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(main())
