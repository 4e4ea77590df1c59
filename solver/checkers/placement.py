"""Check a placement certificate with plain integers: no solver, none of the code that made it.

Loads, rules and every argument of a bound are recomputed from the certificate's own numbers with the
standard library alone. An optimality that only CP-SAT claims is reported as claimed, never as certified.

Each bound is the largest value that its argument proves; the arguments are described in
`shardproof.formulations.placement.bounds` and `shardproof.formulations.placement.prices`, this is a second
implementation. ``python placement.py certificate.json`` runs it alone.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

_MOST_CELLS = 100_000


class RejectedError(Exception):
    """The certificate is wrong; the message says where."""


@dataclass(frozen=True)
class Verdict:
    """What a check found: ``claim`` is what is proven, ``reason`` why a certificate was turned down."""

    accepted: bool
    claim: str
    reason: str | None = None


@dataclass(frozen=True)
class Shape:
    """The rules of a certificate."""

    ranks: int
    replicas: int
    width: int
    split: str
    distinct: bool
    groups: int | None
    nodes: int

    @property
    def full(self) -> bool:
        """Whether every slot holds a replica."""
        return self.replicas == self.ranks * self.width


def check_placement_text(raw: bytes) -> Verdict:
    """Judge a certificate file: JSON in which no key stands twice and every number is whole."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return dict(pairs)

    def refuse(text: str) -> Any:
        raise ValueError(f"{text[:40]} is no whole number")

    try:
        document = json.loads(raw, object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        return Verdict(False, "none", f"malformed certificate: {error}")
    return check_placement(document)


def check_placement(document: Any) -> Verdict:
    """Judge a certificate as read from JSON; never raises for a bad one."""
    try:
        if not isinstance(document, dict) or document.get("kind") != "shardproof-placement":
            raise RejectedError("this is no placement certificate")
        if document.get("version") != 1:
            raise RejectedError(f"version {document.get('version')} is unknown")
        gaps = [_check_layer(document, row) for row in document["layers"]]
    except RejectedError as error:
        return Verdict(False, "none", str(error))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        return Verdict(False, "none", f"malformed certificate: {type(error).__name__}: {error}")
    if not gaps:
        return Verdict(False, "none", "it holds no layers")
    certified = [gap for gap, _ in gaps]
    claim = f"{len(gaps)} layers placed as stated; {certified.count(Fraction(0))} certified optimal"
    claim += f"; largest certified gap {float(max(certified)):.4%}"
    only_claimed = sum(claimed for _, claimed in gaps)
    if only_claimed:
        claim += f"; sharper bounds of {only_claimed} layers are claimed by CP-SAT only"
    return Verdict(True, claim)


def _check_layer(document: dict[str, Any], row: dict[str, Any]) -> tuple[Fraction, bool]:
    """Check one layer; return its certified gap, and whether a sharper bound is only claimed."""
    where = f"layer {row['layer']}"
    loads = [[_whole(load, where) for load in profile] for profile in row["loads"]]
    if not loads or not loads[0] or any(len(profile) != len(loads[0]) for profile in loads):
        raise RejectedError(f"{where}: profiles of different widths")
    shape = Shape(
        ranks=_whole(document["ranks"], where),
        replicas=_whole(document["replicas"], where),
        width=_whole(document["slots_per_rank"], where),
        split=document["split"],
        distinct=document["distinct"] is True,
        groups=document["groups"],
        nodes=_whole(document["nodes"], where),
    )
    if shape.split not in ("even", "free") or min(shape.ranks, shape.width, shape.nodes) < 1:
        raise RejectedError(f"{where}: a rule that does not exist")
    slots = [[int(expert) for expert in held] for held in row["slots"]]
    _check_rules(where, shape, slots, experts=len(loads[0]))
    reached = _even_load(loads, slots) if shape.split == "even" else _free_load(where, row, loads, slots)
    stated = _fraction(row["max_load"])
    if reached != stated:
        raise RejectedError(f"{where}: the largest rank load is {reached}, not {stated}")
    return _check_bound(where, shape, loads, row["bound"], stated)


def _check_bound(
    where: str, shape: Shape, loads: list[list[int]], bound: dict[str, Any], stated: Fraction
) -> tuple[Fraction, bool]:
    value = _fraction(bound["value"])
    _whole(bound["profile"], where)
    if bound["profile"] >= len(loads):
        raise RejectedError(f"{where}: the bound names a profile that is not there")
    if value > stated:
        raise RejectedError(f"{where}: the bound {value} lies above the load {stated}")
    claimed = bound["argument"] in ("cp-sat", "searched")
    if claimed:
        value = _best_bound(shape, loads)
    else:
        proven = _proven_bound(shape, loads, bound)
        if proven is None or value > proven:
            raise RejectedError(f"{where}: the argument '{bound['argument']}' does not prove {value}")
    if not value and stated:
        raise RejectedError(f"{where}: a bound of 0 says nothing")
    return (stated / value - 1 if value else Fraction(0)), claimed


def _check_rules(where: str, shape: Shape, slots: list[list[int]], *, experts: int) -> None:
    if len(slots) != shape.ranks or any(len(held) != shape.width for held in slots):
        raise RejectedError(f"{where}: not {shape.ranks} ranks of {shape.width} slots")
    placed = Counter(expert for held in slots for expert in held if expert != -1)
    if set(placed) != set(range(experts)):
        raise RejectedError(f"{where}: the experts placed are not 0 to {experts - 1}")
    if sum(placed.values()) != shape.replicas:
        raise RejectedError(f"{where}: {sum(placed.values())} replicas instead of {shape.replicas}")
    for rank, held in enumerate(slots):
        real = [expert for expert in held if expert != -1]
        if shape.distinct and len(set(real)) != len(real):
            raise RejectedError(f"{where}: rank {rank} holds an expert twice")
    if shape.groups is not None:
        _check_groups(where, shape, slots, experts=experts)


def _check_groups(where: str, shape: Shape, slots: list[list[int]], *, experts: int) -> None:
    groups = shape.groups or 1
    if experts % groups or groups % shape.nodes or shape.ranks % shape.nodes:
        raise RejectedError(f"{where}: {groups} groups on {shape.nodes} nodes do not divide")
    home: dict[int, int] = {}
    for rank, held in enumerate(slots):
        for expert in held:
            node = rank // (shape.ranks // shape.nodes)
            if expert != -1 and home.setdefault(expert // (experts // groups), node) != node:
                raise RejectedError(f"{where}: the group of expert {expert} lives on two nodes")


def _even_load(loads: list[list[int]], slots: list[list[int]]) -> Fraction:
    placed = Counter(expert for held in slots for expert in held if expert != -1)
    return max(
        sum((Fraction(profile[expert], placed[expert]) for expert in held if expert != -1), Fraction(0))
        for profile in loads
        for held in slots
    )


def _free_load(where: str, row: dict[str, Any], loads: list[list[int]], slots: list[list[int]]) -> Fraction:
    """Add up the stated shares: none negative, each where its expert lives, all of every load served."""
    if len(row["shares"]) != len(loads) or any(len(shares) != len(slots) for shares in row["shares"]):
        raise RejectedError(f"{where}: shares for other profiles or ranks")
    largest = Fraction(0)
    for profile, ranks in zip(loads, row["shares"], strict=True):
        served = [Fraction(0)] * len(profile)
        for held, shares in zip(slots, ranks, strict=True):
            parts = [(int(expert), _fraction(share)) for expert, share in shares]
            if any(share < 0 or expert not in held or expert < 0 for expert, share in parts):
                raise RejectedError(f"{where}: a share where its expert does not live")
            for expert, share in parts:
                served[expert] += share
            largest = max(largest, sum((share for _, share in parts), Fraction(0)))
        if served != profile:
            raise RejectedError(f"{where}: the shares do not add up to the loads")
    return largest


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RejectedError(f"{where}: {value!r} is no whole number")
    return value


def _fraction(text: str) -> Fraction:
    numerator, denominator = text.split("/")
    return Fraction(int(numerator), int(denominator))


def _proven_bound(shape: Shape, loads: list[list[int]], bound: dict[str, Any]) -> Fraction | None:
    """Return what a bound's argument proves; ``None`` if it does not apply."""
    argument, profile = bound["argument"], loads[bound["profile"]]
    if argument == "nodes":
        return _over_partitions(shape, loads)
    if argument == "prices":
        value = _fraction(bound["value"])
        return value if shape.split == "even" and _prices_hold(shape, profile, value, bound["prices"]) else None
    found = dict(_simple(shape, profile))
    return found.get(argument)


def _best_bound(shape: Shape, loads: list[list[int]]) -> Fraction:
    """Return the best bound that needs no argument beside the problem."""
    found = [value for profile in loads for _, value in _simple(shape, profile)]
    return max([*found, _over_partitions(shape, loads) or Fraction(0)])


def _simple(shape: Shape, loads: list[int]) -> Iterator[tuple[str, Fraction]]:
    heaviest = _heaviest_replica(shape, loads)
    yield "average", Fraction(sum(loads), shape.ranks)
    yield "replicas", heaviest
    if shape.split == "even" and shape.full:
        extra = shape.replicas - len(loads)
        replicas = sorted(Fraction(load, extra + 1) for load in loads for _ in range(extra + 1))
        yield "company", heaviest + sum(replicas[: shape.width - 1], Fraction(0))
        if not extra:
            yield "crowd", _crowd(shape, loads)


def _heaviest_replica(shape: Shape, loads: list[int]) -> Fraction:
    """Return the least value v such that replicas of at most v need no more slots than there are."""
    most = shape.replicas - len(loads) + 1
    if shape.distinct:
        most = min(most, shape.ranks)
    values = sorted({Fraction(load, copies) for load in loads for copies in range(1, most + 1)})
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if _slots_for(values[middle], loads, most) <= shape.replicas:
            high = middle
        else:
            low = middle + 1
    return values[low]


def _slots_for(value: Fraction, loads: list[int], most: int) -> int:
    """Return the slots that replicas of at most ``value`` need; more than exist if an expert cannot."""
    total = 0
    for load in loads:
        copies = max(1, -(-load * value.denominator // value.numerator)) if value else (1 if not load else most + 1)
        if copies > most:
            return sum(loads) + len(loads) * (most + 1)
        total += copies
    return total


def _crowd(shape: Shape, loads: list[int]) -> Fraction:
    ordered, best = sorted(loads), Fraction(0)
    others = shape.width - 1
    for k in range(1, min(shape.ranks, len(loads)) + 1):
        heavy = ordered[len(ordered) - k :]
        case = Fraction(sum(heavy) + sum(ordered[: others * k]), k)
        if k > 1 and others:
            case = min(case, Fraction(heavy[0] + heavy[1] + sum(ordered[: others - 1])))
        best = max(best, case)
    return best


def _prices_hold(shape: Shape, loads: list[int], target: Fraction, prices: dict[str, Any]) -> bool:
    """Say whether the prices refute every largest rank load below ``target``."""
    cells, slot_price = int(prices["cells"]), int(prices["slot_price"])
    listed = {int(cell): int(price) for cell, price in prices["prices"]}
    if not 0 < cells <= _MOST_CELLS or target <= 0:
        return False
    if any(not 0 <= cell < cells or price < 0 for cell, price in listed.items()):
        return False
    price_of, latest = [], 0
    for cell in range(cells):
        latest = listed.get(cell, latest)
        price_of.append(latest)
    most = shape.replicas - len(loads) + 1
    if shape.distinct:
        most = min(most, shape.ranks)
    paid = -slot_price * shape.replicas
    for load in loads:
        costs = []
        for copies in range(1, most + 1):
            cell = load * cells * target.denominator // (copies * target.numerator)
            if cell < cells:
                costs.append(copies * (price_of[cell] + slot_price))
        if not costs:
            return True
        paid += min(costs)
    return paid > shape.ranks * _dearest(_undominated(dict(enumerate(price_of))), cells, shape.width)


def _dearest(listed: dict[int, int], cells: int, width: int) -> int:
    """Return the most that at most ``width`` replicas cost whose cells add up to less than ``cells``."""
    best = {0: 0}
    for _ in range(width):
        longer = dict(best)
        for used, paid in best.items():
            for cell, price in listed.items():
                total = used + cell
                if total < cells and longer.get(total, -1) < paid + price:
                    longer[total] = paid + price
        best = _undominated(longer)
    return max(best.values())


def _undominated(totals: dict[int, int]) -> dict[int, int]:
    """Drop what costs no more than something of a smaller total: it can never lead to a dearer rank."""
    kept: dict[int, int] = {}
    dearest = -1
    for total in sorted(totals):
        if totals[total] > dearest:
            dearest = totals[total]
            kept[total] = dearest
    return kept


def _over_partitions(shape: Shape, loads: list[list[int]]) -> Fraction | None:
    """Return the least, over all ways to put groups on nodes, of the largest bound of a node."""
    if shape.groups is None:
        return None
    node = replace(
        shape,
        ranks=shape.ranks // shape.nodes,
        replicas=shape.replicas // shape.nodes,
        groups=None,
        nodes=1,
    )
    size, known, least = len(loads[0]) // shape.groups, dict[tuple[int, ...], Fraction](), None
    for partition in _partitions(tuple(range(shape.groups)), shape.groups // shape.nodes):
        for part in partition:
            if part not in known:
                known[part] = max(
                    value
                    for profile in loads
                    for _, value in _simple(node, [profile[g * size + i] for g in part for i in range(size)])
                )
        reached = max(known[part] for part in partition)
        least = reached if least is None else min(least, reached)
    return least


def _partitions(left: tuple[int, ...], size: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not left:
        yield ()
        return
    for others in combinations(left[1:], size - 1):
        part = (left[0], *others)
        for rest in _partitions(tuple(group for group in left if group not in part), size):
            yield (part, *rest)


def main() -> int:
    """Judge the certificate file that is named; 0: accepted, 4: refused."""
    verdict = check_placement_text(Path(sys.argv[1]).read_bytes())
    sys.stdout.write(f"accepted: {verdict.claim}\n" if verdict.accepted else f"refused: {verdict.reason}\n")
    return 0 if verdict.accepted else 4


if __name__ == "__main__":
    sys.exit(main())
