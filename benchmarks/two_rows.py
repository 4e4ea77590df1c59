"""Certificates whose every leaf has two or three surrogate rows; the search hardly writes such.

The labels are enumerated in full and those that others dominate are dropped, and so the rule for
several surrogates is exercised where the search's own certificates have one.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.capacity import alike_claims
from shardproof.solver.proof.certificate_json import write_program
from tests.oracles.brute_force import brute_force
from tests.oracles.random_programs import random_program

LABELS_AT_MOST = 4000


def two_rows(seed: int) -> str | None:
    """Return a certificate of the true bound on GPUs of a random program (``None``: not all of it fits)."""
    program = random_program(seed, max_layers=5, max_options=2, max_gpus=5)
    best = brute_force(program)
    lower = program.max_gpus + 1 if best is None else best.gpus
    claims = alike_claims(program.layouts, lower - 1, None, program.batch_sizes)
    shares = [(claim.load, claim.layouts) for claim in claims]
    written = write_program(program, shares, replicas="alike")
    problem = checker.Problem(json.loads(json.dumps(written)))
    rows, refused = 2 + seed % 2, []
    for place, claim in enumerate(claims):
        trees = [_tree(problem, layout, claim.gpus, rows) for layout in problem.shares[place]["layouts"]]
        if any(tree is None for tree in trees):
            return None
        refused.append({"gpus": claim.gpus, "share": place, "trees": trees})
    gpus = {"lower": lower, "upper": None, "by": "certified", "refused": refused}
    rest = {"shapes": None, "ttft_ns": None, "memory_bytes": None}
    document = {"format": checker.FORMAT, "instance": "two-rows", "program": written, "plan": None}
    return json.dumps(document | {"claims": {"gpus": gpus, **rest}})


def _in_force(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the checker reads it at the first level."""
    limit = row["limit"]
    return row | {"lo": -1, "top": None if limit is None else limit // max(1, row["microbatches"])}


def _tree(problem: checker.Problem, layout: dict[str, Any], gpus: int, surrogates: int) -> list[Any] | None:
    nodes: list[Any] = []
    most = min(gpus, layout["max_gpus"])
    fit = {option for option, count in enumerate(problem.gpus) if count <= most}

    def grow(depth: int, rows: list[int], options: set[int]) -> bool:
        if depth < len(layout["axes"]):
            nodes.append(["axis", depth])
            choices = layout["axes"][depth]["choices"]
            kept = [options if c["options"] is None else options & set(c["options"]) for c in choices]
            return all(grow(depth + 1, rows + c["rows"], own) for c, own in zip(choices, kept, strict=True))
        known = {problem.rows[i]["name"]: _in_force(problem.rows[i]) for i in rows}
        leaf = _leaf(problem, known, options, most, surrogates)
        nodes.append(leaf)
        return leaf is not None

    return nodes if grow(0, layout["rows"], fit) else None


def _leaf(problem: checker.Problem, known: dict[str, Any], options: set[int], most: int, rows: int) -> list[Any] | None:
    paths = [["sum", name, 1] for name, row in known.items() if row["microbatches"] and row["limit"] is not None]
    volumes = [["volume", name, 1] for name, row in known.items() if row["limit"] is not None]
    parts = [[part] for part in (paths + volumes)[:2]]
    if len(parts) < 2:
        return None
    parts = (parts + parts[:1])[:rows]
    surrogates = [problem.surrogate(known, options, most, part)[1:] for part in parts]
    labels: list[list[list[int]]] = [[[0] * (rows + 1)], *([] for _ in range(most))]
    count = 0
    for used in range(most + 1):
        for label in labels[used]:
            for option in options:
                total = used + problem.gpus[option]
                found = _extensions(problem, known, surrogates, label, option) if total <= most else []
                fresh = [item for item in found or () if item not in labels[total]] if found is not None else []
                count += len(fresh)
                if found is None or count > LABELS_AT_MOST:
                    return None
                labels[total if total <= most else 0] += fresh
    return ["leaf", parts, _pruned(labels)]


def _pruned(labels: list[list[list[int]]]) -> list[list[list[int]]]:
    """Return the labels that no other of at most as many GPUs dominates."""
    kept: list[list[int]] = []
    found = []
    for items in labels:
        fresh = []
        for item in sorted(items, key=lambda item: (-item[0], item[1:])):
            if not any(o[0] >= item[0] and all(map(int.__le__, o[1:], item[1:])) for o in kept):
                kept.append(item)
                fresh.append(item)
        found.append(fresh)
    return found


def _extensions(problem: checker.Problem, known: dict[str, Any], surrogates: Any, label: list[int], option: int) -> Any:
    """Viable extensions of a label; ``None`` when one covers every layer."""
    start, found = label[0], list[Any]()
    for stop in range(start + 1, len(problem.kinds) + 1):
        for row in known.values():
            cells = problem.spread(problem.cost(row["table"], option, floor=True))
            if row["top"] is not None and cells[start > 0] + cells[stop + 2] - cells[start + 2] > row["top"]:
                return found
        values, dead = [], False
        for before, (limit, costs, least) in zip(label[1:], surrogates, strict=True):
            cells, rests = problem.spread(costs[option]), problem.spread(least)
            value = before + cells[start > 0] + cells[stop + 2] - cells[start + 2]
            rest = rests[1] + rests[-1] - rests[stop + 2] if stop < len(problem.kinds) else 0
            dead |= value + rest > limit
            values.append(value)
        if dead:
            continue
        if stop == len(problem.kinds):
            return None
        found.append([stop, *values])
    return found


def moved(text: str, random: Random) -> str | None:
    """Return the certificate with a label of it moved, dropped or joined with another."""
    document = json.loads(text)
    trees = [tree for one in document["claims"]["gpus"]["refused"] for tree in one["trees"]]
    rows = [items for tree in trees for node in tree if node[0] == "leaf" for items in node[2][1:] if items]
    if not rows:
        return None
    items = random.choice(rows)
    label = random.choice(items)
    match random.randrange(4):
        case 0:
            items.remove(label)
        case 1:
            other = random.choice(items)
            label[:] = [max(label[0], other[0]), *map(min, label[1:], other[1:])]
        case 2:
            label[1:] = reversed(label[1:])
        case _:
            place = random.randrange(len(label))
            label[place] = max(0, label[place] + random.randint(-5, 5))
    return json.dumps(document)
