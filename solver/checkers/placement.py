"""Check a placement certificate with plain integers: no solver, none of the code that made it.

Loads, rules and every argument of a bound are recomputed from the certificate's own numbers with the
standard library alone. An optimality that only CP-SAT claims is reported as claimed, never as certified.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shardproof.solver.checkers.placement_bounds import Shape, best_bound, proven_bound


class RejectedError(Exception):
    """The certificate is wrong; the message says where."""


@dataclass(frozen=True)
class Verdict:
    """What a check found: ``claim`` is what is proven, ``reason`` why a certificate was turned down."""

    accepted: bool
    claim: str
    reason: str | None = None


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
        value = best_bound(shape, loads)
    else:
        proven = proven_bound(shape, loads, bound)
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
