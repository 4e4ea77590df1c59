"""Judge a placement in exact arithmetic: slots, rules and rank loads. No solver, no floats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots


def count_replicas(slots: Slots) -> Counter[int]:
    """Return the number of replicas of every placed expert."""
    return Counter(expert for rank in slots for expert in rank if expert != NO_EXPERT)


def even_rank_loads(problem: LayerProblem, slots: Slots) -> list[list[Fraction]]:
    """Return ``[profile][rank]`` loads when replicas share their expert's load equally."""
    replicas = count_replicas(slots)
    return [
        [
            sum((Fraction(row[expert], replicas[expert]) for expert in rank if expert != NO_EXPERT), Fraction(0))
            for rank in slots
        ]
        for row in problem.loads
    ]


def largest_even_load(problem: LayerProblem, slots: Slots) -> Fraction:
    """Return the load of the most loaded rank, over all profiles.

    The exact sums are taken only for ranks within rounding of the largest float sum: a float sum of
    at most 4096 non-negative terms is off by less than one part in 10**11.
    """
    replicas = count_replicas(slots)
    largest = Fraction(0)
    for row in problem.loads:
        parts = [row[expert] / replicas[expert] if expert in replicas else 0.0 for expert in range(len(row))]
        sums = [sum(parts[expert] for expert in rank if expert != NO_EXPERT) for rank in slots]
        threshold = max(sums) * (1 - 1e-9)
        for rank, rough in zip(slots, sums, strict=True):
            if rough >= threshold:
                exact = sum((Fraction(row[e], replicas[e]) for e in rank if e != NO_EXPERT), Fraction(0))
                largest = max(largest, exact)
    return largest


def broken_rules(problem: LayerProblem, slots: Slots) -> list[str]:
    """Return what a placement breaks, as ``group[index]: what is wrong``; nothing if it keeps all rules."""
    broken = []
    if len(slots) != problem.ranks:
        broken.append(f"ranks: {len(slots)} instead of {problem.ranks}")
    for rank, held in enumerate(slots):
        if len(held) != problem.width:
            broken.append(f"slots[rank={rank}]: {len(held)} instead of {problem.width}")
        unknown = [expert for expert in held if not NO_EXPERT <= expert < problem.experts]
        if unknown:
            broken.append(f"expert[rank={rank}]: {unknown[0]} does not exist")
        twice = [expert for expert, times in Counter(held).items() if times > 1 and expert != NO_EXPERT]
        if problem.distinct and twice:
            broken.append(f"distinct[rank={rank}]: expert {twice[0]} stands twice")
    replicas = count_replicas(slots)
    broken += [f"placed[expert={e}]: no slot" for e in range(problem.experts) if e not in replicas]
    if sum(replicas.values()) != problem.filled:
        broken.append(f"filled: {sum(replicas.values())} slots instead of {problem.filled}")
    return broken


def broken_groups(slots: Slots, *, experts: int, groups: int, nodes: int) -> list[str]:
    """Return the groups of experts that live on more than one node."""
    size, ranks = experts // groups, len(slots) // nodes
    homes: dict[int, set[int]] = {}
    for rank, held in enumerate(slots):
        for expert in held:
            homes.setdefault(expert // size, set()).add(rank // ranks)
    return [f"group[group={g}]: on {len(at)} nodes" for g, at in sorted(homes.items()) if len(at) > 1]


def moved_experts(before: Sequence[Sequence[int]], after: Slots) -> int:
    """Return how many slots' experts a rank has to fetch: replicas after that the rank did not hold before."""
    return sum(
        sum((Counter(e for e in new if e != NO_EXPERT) - Counter(old)).values())
        for old, new in zip(before, after, strict=True)
    )


def remote_share(loads: Sequence[int], slots: Slots, *, nodes: int) -> Fraction:
    """Return the share of load whose sending node holds no replica of the expert, senders being equal."""
    ranks, total = len(slots) // nodes, sum(loads)
    homes: dict[int, set[int]] = {}
    for rank, held in enumerate(slots):
        for expert in held:
            homes.setdefault(expert, set()).add(rank // ranks)
    remote = sum(load * (nodes - len(homes[expert])) for expert, load in enumerate(loads))
    return Fraction(remote, total * nodes) if total else Fraction(0)
