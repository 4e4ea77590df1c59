"""Forged certificates: none with a false claim may be accepted, none may crash the checker.

``python -m benchmarks.forge --count 60000`` (some 5 minutes on one core) takes true certificates of small
random programs and fleets whose limits are exactly tight and forges them, each forgery aimed at one check. What the
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
from functools import cache
from itertools import islice
from random import Random
from typing import Any

from benchmarks.two_rows import moved, two_rows
from shardproof.formulations.fleet.covering import covered, items
from shardproof.instances.errors import InputError
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate import to_document
from shardproof.solver.proof.certificate_json import write_tree
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Query
from tests.oracles.agreement import certified
from tests.oracles.brute_force import evaluate, every_chain
from tests.oracles.certificate_truth import falsehood, plan_values, share_programs, walls
from tests.oracles.fleet_agreement import certified_fleet
from tests.oracles.random_fleets import random_family
from tests.oracles.random_programs import random_program

Document = dict[str, Any]
Forgery = Callable[[Random, Document], Document | None]
BASES = 400
MIXED = (
    *(6, 13, 26, 30, 34, 52, 57, 154, 161, 174, 183, 193, 214, 241, 284, 306, 307, 312, 315, 317, 326, 327, 343, 346),
    *(350, 361, 374, 409, 418, 438, 451, 453, 455, 460, 478, 479, 505, 510, 525, 527, 548, 602, 628, 631, 638, 645),
)
"""Seeds of fleets whose replicas differ; few random ones do."""

TRIES = 8
"""Slightly different programs that a transplant tries."""


@cache
def base(seed: int) -> str:
    """Return the true certificate of a seed: of replicas all alike, or of a fleet."""
    if seed % 2:
        own = MIXED[seed // 2 % len(MIXED)] if seed % 4 == 1 else seed
        return json.dumps(to_document(certified_fleet(random_family(own, slack=own % 3 == 0))))
    program = random_program(seed, max_layers=5, max_options=3, max_gpus=6, slack=seed % 3 == 0)
    return json.dumps(to_document(certified(program)))


def _refused(document: Document) -> list[Document]:
    """Every load that the document's claims refuse."""
    return [one for claim in document["claims"].values() if claim is not None for one in claim["refused"]]


def _layouts(document: Document) -> list[Document]:
    return [layout for share in document["program"]["shares"] for layout in share["layouts"]]


def _nodes(random: Random, document: Document) -> list[list[Any]] | None:
    """Pick a tree of the document."""
    trees = [tree for one in _refused(document) for tree in one["trees"]]
    return random.choice(trees) if trees else None


def _pick(random: Random, items: list[Any]) -> Any:
    return random.choice(items) if items else None


def plan_moves(random: Random, document: Document) -> Document | None:
    """Change one thing of the plan, and claim what a reader would compute for it."""
    if document["plan"] is None:
        return None
    plan = random.choice(document["plan"])
    stage = random.choice(plan["stages"])
    match random.randrange(9):
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
            plan["layout"] = random.randrange(3)
        case 6:
            plan["replicas"] = max(0, plan["replicas"] + random.choice((-1, 1)))
        case 7:
            plan["share"] = random.randrange(len(document["program"]["shares"]) + 1)
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
    if any(value < 0 for group in document["plan"] for stage in group["stages"] for value in stage):
        return document
    try:
        values = plan_values(document)
    except (IndexError, ValueError, InputError):
        return document
    for claim, value in zip(document["claims"].values(), values or (None,) * 4, strict=True):
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
    """Move a limit or a number of microbatches by one, or have a later level lower another row."""
    row = random.choice(document["program"]["rows"])
    match random.randrange(4):
        case 0 | 1:
            row["limit"] = random.choice((0, None)) if row["limit"] is None else row["limit"] + random.choice((-1, 1))
        case 2:
            row["microbatches"] += random.choice((-1, 1))
        case _:
            kind, _, rest = row["name"].partition("[")
            other = "ttft" if row["microbatches"] else "memory"
            row["name"] = f"{'row' if kind == other else other}[{rest}"
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
    """Change budgets, loads, options, layers, or the pools that rows point into."""
    program = document["program"]
    layout = _pick(random, _layouts(document))
    if layout is None:
        return None
    match random.randrange(8):
        case 0:
            layout["max_gpus"] = random.choice((None, max(0, (layout["max_gpus"] or 1) + random.choice((-1, 1)))))
        case 1:
            load = random.choice(program["shares"])["load"]
            load[random.randrange(len(load))] += random.choice((-1, 1))
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
    """Leave out a layout, a choice or a load that is refused, with its part of every tree, and keep the claim."""
    program, shares = document["program"], document["program"]["shares"]
    claims = [claim for claim in document["claims"].values() if claim is not None and claim["refused"]]
    if claims and random.random() < 0.4:
        refused = random.choice(claims)["refused"]
        one = random.choice(refused)
        match random.randrange(3):
            case 0:
                refused.remove(one)
            case 1:
                one["gpus"] += random.choice((-1, 1))
            case _:
                one["share"] = random.randrange(len(shares))
        return document
    place = _pick(random, [place for place, share in enumerate(shares) if share["layouts"]])
    if place is None:
        return None
    at = random.randrange(len(shares[place]["layouts"]))
    layout = shares[place]["layouts"][at]
    mine = [one for one in _refused(document) if one["share"] == place and len(one["trees"]) > at]
    groups = [group for group in document["plan"] or () if group["share"] == place]
    if random.random() < 0.4 or not layout["axes"]:
        shares[place]["layouts"].pop(at)
        for one in mine:
            one["trees"].pop(at)
        for group in groups:
            group["layout"] -= group["layout"] > at
        return document
    axis = random.randrange(len(layout["axes"]))
    choice = random.randrange(len(layout["axes"][axis]["choices"]))
    for one in mine:
        one["trees"][at] = _without(one["trees"][at], layout, axis, choice)
    layout["axes"][axis]["choices"].pop(choice)
    for group in groups:
        if group["layout"] == at:
            group["choices"][axis] -= group["choices"][axis] > choice
    if random.random() < 0.3:
        layout["axes"][axis]["size"] += random.choice((-1, 1))
    del program
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
    axis = _pick(random, [axis for layout in _layouts(document) for axis in layout["axes"]])
    if axis is None or random.random() < 0.3:
        demand, chance = program["demand"], random.random()
        if chance < 0.6:
            demand[random.randrange(len(demand))] += random.choice((-1, 1))
        elif chance < 0.8:
            demand.append(random.randint(0, 6))
        else:
            program["replicas"] = random.choice(("alike", "free", "any"))
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
    trees = [tree for one in _refused(document) for tree in one["trees"]]
    leaves = [node for tree in trees for node in tree if node[0] == "leaf" and node[2]]
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


def _changed(random: Random, document: Document) -> Document | None:
    """Return a document whose problem differs in one thing."""
    changed: Document = json.loads(json.dumps(document))
    move = random.choice((limits_move, cells_move, shape_moves, cells_move, limits_move))
    if move(random, changed) is None or changed["program"]["kinds"] != document["program"]["kinds"]:
        return None
    try:
        checker.shaped(changed, checker.SHAPE, "changed")
        checker.Problem(json.loads(json.dumps(changed["program"])))
    except (checker.CheckError, IndexError, ValueError, ArithmeticError):
        return None
    return changed


def _refusals(document: Document, query: Query) -> list[Document]:
    """Refuse every share of a problem to replicas as wide as can be."""
    found = []
    for place, (_, program) in enumerate(share_programs(document)):
        for gpus in range(query.gpus, 0, -1):
            spans = (layout.max_gpus is None or layout.max_gpus >= gpus for layout in program.layouts)
            answer = Prover(program, floor=True).decide(Query(gpus, query.ttft, query.memory)) if any(spans) else None
            if answer is not None and answer.refutation is not None:
                trees = list(map(write_tree, answer.refutation.trees))
                found.append({"gpus": gpus, "share": place, "trees": trees})
                break
    return found


def _refuted(random: Random, document: Document, query: Query) -> list[Document] | None:
    """Return what is refused in a slightly different problem, more than in the document's own."""
    true = [(wall.gpus, wall.load) for wall in walls(document, ttft=query.ttft, memory=query.memory)]
    for _ in range(TRIES):
        other = _changed(random, document)
        found = [] if other is None else _refusals(other, query)
        if any(one["share"] < len(true) and one["gpus"] > true[one["share"]][0] for one in found):
            return found
    return None


def transplanted(random: Random, document: Document) -> Document | None:
    """Prove a false bound for a slightly different program, and claim it for the true one."""
    lower = _true_bound(document)
    found = None if lower is None else _refuted(random, document, Query(gpus=lower))
    if lower is None or found is None:
        return None
    return _bounded(document, lower + 1, found)


def _true_bound(document: Document) -> int | None:
    """Fewest GPUs that the loads truly refused leave a fleet (``None``: none is left)."""
    demand, most = tuple(document["program"]["demand"]), document["program"]["max_gpus"]
    shapes = 1 if document["program"]["replicas"] == "alike" else None
    return covered(demand, items(demand, walls(document), most), most, shapes)


def _bounded(document: Document, lower: int, refused: list[Document]) -> Document:
    """Return the document with a bound on GPUs alone."""
    claim = {"lower": lower, "upper": None, "by": "certified", "refused": refused}
    return document | {"plan": None, "claims": dict.fromkeys(document["claims"]) | {"gpus": claim}}


def bluffed(random: Random, document: Document) -> Document | None:
    """Claim the true bound, or one more, on trees of the simplest leaves: some hold, some are bluff."""
    bound, most = _true_bound(document), document["program"]["max_gpus"]
    lower = (most + 1 if bound is None else bound) + random.choice((0, 1))
    refused = []
    for place, wall in enumerate(walls(document)):
        layouts = document["program"]["shares"][place]["layouts"]
        trees = [_bluff(random, layout, document) for layout in layouts]
        refused.append({"gpus": max(0, wall.gpus + random.choice((0, 0, 1))), "share": place, "trees": trees})
    return _bounded(document, lower, refused)


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
    plan, claims = document["plan"], document["claims"]
    if plan is None or claims["ttft_ns"] is None:
        return None
    group = random.choice(plan)
    program = share_programs(document)[group["share"]][1]
    width = sum(program.options[option].gpus for _, _, option in group["stages"])
    best, worse = claims["ttft_ns"]["upper"], []
    for chain in islice(every_chain(program), 3000):
        found = evaluate(program, chain)
        if found is not None and found.gpus == width and (found.ttft or 0) > best:
            worse.append((chain, found.ttft))
    if not worse:
        return None
    chain, ttft = random.choice(worse)
    gpus = claims["gpus"]["upper"]
    refused = _refuted(random, document, Query(gpus=gpus, ttft=(ttft or 1) - 1))
    if refused is None:
        return None
    group["layout"], group["choices"] = chain.layout, list(chain.choices)
    group["stages"] = [[stage.start, stage.stop, stage.option] for stage in chain.stages]
    claims["ttft_ns"] = {"lower": ttft, "upper": ttft, "by": "certified", "refused": refused}
    claims["memory_bytes"] = None
    return document


def fleets_forged(random: Random, document: Document) -> Document | None:
    """Overstate or understate what a width carries, and claim the bound that would follow."""
    refused, program = document["claims"]["gpus"]["refused"], document["program"]
    if not refused:
        return None
    one = random.choice(refused)
    load = program["shares"][one["share"]]["load"]
    place = random.randrange(len(load))
    match random.randrange(4):
        case 0:
            load[place] = max(0, load[place] + random.choice((-1, 1)))
        case 1:
            one["gpus"] += 1
        case 2:
            program["demand"][random.randrange(len(load))] += 1
        case _:
            refused.remove(one)
    changed = document["claims"]["gpus"]["lower"] + random.choice((0, 1))
    return _bounded(document, changed, refused)


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
    fleets_forged,
    fleets_forged,
)


def forged(seed: int, bases: int = BASES) -> tuple[str, str] | None:
    """Return the forgery's name and the text of the forged certificate of a seed, one of so many certificates."""
    random = Random(f"forgery {seed}")
    forge = FORGERIES[seed % len(FORGERIES)]
    true: Document = json.loads(base(random.randrange(bases)))
    document = forge(random, true) if true["program"]["rows"] else None
    return None if document is None else (forge.__name__, json.dumps(document))


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
    parser.add_argument("--bases", type=int, default=BASES, help="true certificates that they are made from")
    chosen = parser.parse_args(arguments)
    counts: Counter[tuple[str, str]] = Counter()
    done, seed, false = 0, 0, 0
    while done < chosen.count:
        made = forged(seed, chosen.bases)
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
