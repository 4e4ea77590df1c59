"""Random pools problems, solved and certified; where search, checker and brute force differ; forged certificates."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from shardproof.formulations.pools.problem import Kind, PoolsProblem, Supply
from shardproof.solver.checkers import pools as checker
from shardproof.solver.pools.certificate import Evidence, PoolFacts, document
from shardproof.solver.pools.knowledge import Table
from shardproof.solver.pools.outcome import Asked, PoolsOutcome, PoolsSettings, Pursuit
from tests.oracles.random_pools import cheapest

Document = dict[str, Any]


def certified(problem: PoolsProblem, asked: Asked | None = None) -> tuple[PoolsOutcome, Document]:
    """Solve a problem whose capacities are data; return what was found, and its certificate."""
    asked = asked or Asked(problem.demand)
    outcome = Pursuit(Table(problem), asked, PoolsSettings(workers=1), lambda _, fleet: fleet).run()
    size = len(problem.demand)
    every = tuple(range(size))
    facts = tuple(
        PoolFacts(supply.name, place, every, (True,) * size, ((),) * size)
        for place, supply in enumerate(problem.supplies)
    )
    return outcome, document(Evidence("random", asked, facts, outcome, {}, {}, "claimed by nobody"))


def accepted(found: Document) -> str | None:
    """Return what the checker says of a document, or ``None`` where it refuses it."""
    try:
        return checker.check(json.dumps(found).encode())
    except checker.CheckError:
        return None


def disagreement(problem: PoolsProblem) -> str | None:
    """Say where search, checker and brute force differ on the least cost (``None``: they agree)."""
    outcome, found = certified(problem)
    best = cheapest(problem)
    if outcome.value != best or outcome.bound != best:
        return f"{outcome.value} with a bound of {outcome.bound}, brute force {best}"
    unproven = outcome.tree is None and outcome.fleet is None
    return None if unproven or accepted(found) else "the checker refuses"


def load_disagreement(problem: PoolsProblem, resolution: int) -> str | None:
    """Say where they differ on the most load, in steps of 1 / resolution."""
    asked = Asked(problem.demand, most_load=True, resolution=resolution)
    outcome, found = certified(problem, asked)
    value = outcome.value or 0
    if value and cheapest(problem, asked.demand_of(value)) is None:
        return f"{value} steps, which brute force refuses"
    if cheapest(problem, asked.demand_of(value + 1)) is not None or outcome.bound != value:
        return f"{value} steps with a bound of {outcome.bound}, brute force carries one more"
    unproven = outcome.tree is None and outcome.fleet is None
    return None if unproven or accepted(found) else "the checker refuses"


def problem_in(found: Document) -> PoolsProblem:
    """Read the problem that a document (of capacities given as data) is about."""
    return PoolsProblem(
        demand=tuple(found["asked"]),
        kinds=tuple(Kind(k["offer"], k["pool"], k["gpus"], tuple(map(tuple, k["loads"]))) for k in found["kinds"]),
        supplies=tuple(
            Supply(s["name"], s["node"], s["nodes"] and tuple(map(tuple, s["nodes"])), s["cost"], bool(s["by_node"]))
            for s in found["supplies"]
        ),
        limits=tuple(_limit(limit) for limit in found["limits"]),
        placement=found["placement"],
        spare=found["spare"],
        gone=found["gone"],
    )


def _limit(limit: Document) -> Any:
    from shardproof.formulations.pools.problem import Limit

    return Limit(limit["name"], tuple(limit["rates"]), limit["top"])


def is_true(found: Document) -> bool:
    """Whether what a document claims holds of the problem in it, by brute force."""
    best, claim = cheapest(problem_in(found)), found["claim"]
    if found["plan"] is not None and (best is None or claim["value"] < best):
        return False
    if claim["by"] != "certified":
        return True
    return best is None if claim["bound"] is None else best is None or claim["bound"] <= best


def forged(random: Random, found: Document) -> Document | None:
    """Change one thing of a document: a number of the problem, of the plan, of the tree, or the claim itself."""
    made = copy.deepcopy(found)
    claim, plan = made["claim"], made["plan"]
    numbers = list(_numbers(made["kinds"])) if random.random() < 0.5 else list(_numbers(made["supplies"]))
    match random.randrange(9):
        case 0:
            claim["bound"] = None if random.random() < 0.2 else (claim["bound"] or 0) + random.choice((-1, 1, 2))
        case 1 if plan is not None:
            claim["value"] = max(0, claim["value"] - 1)
            claim["bound"] = min(claim["bound"] or 0, claim["value"])
        case 2 if numbers:
            _moved(random, *random.choice(numbers))
        case 3 if plan is not None:
            _moved(random, *random.choice(list(_numbers(plan))))
        case 4 if claim["tree"]:
            _moved(random, *random.choice(list(_numbers(claim["tree"]))))
        case 5 if claim["rows"]:
            _moved(random, *random.choice(list(_numbers(claim["rows"]))))
        case 6 if len(made["kinds"]) > 1:
            made["kinds"].pop(random.randrange(len(made["kinds"])))
        case 7:
            _moved(random, *random.choice([*_numbers(made["limits"]), *_numbers(made["asked"])]))
        case _:
            made["spare"] = random.choice((None, "replica", "node"))
            made["gone"] = random.choice((1, 1, 2, 3))
            made["placement"] = random.choice(("packed", "whole-nodes"))
    return made


def _numbers(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a number in a tree, as (container, key)."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found: list[tuple[Any, Any]] = []
    for key, value in items:
        if isinstance(value, dict | list):
            found += _numbers(value)
        elif isinstance(value, int):
            found.append((tree, key))
    return found


def _moved(random: Random, container: Any, key: Any) -> None:
    container[key] = max(0, container[key] + random.choice((-1, 1)))
