"""The greedy baseline: replicate the expert with the heaviest replicas, then pack heaviest first.

Of the same class as DeepSeek's published EPLB (github.com/deepseek-ai/EPLB), written from its
description: with groups, whole groups are packed onto nodes first and every node is then balanced on
its own. Choices are made in floats; what a placement weighs is judged exactly elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace

from shardproof.formulations.placement.groups import node_experts, node_problem
from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots


def greedy_slots(problem: LayerProblem) -> Slots:
    """Return the greedy placement of a layer without groups, over the sum of its profiles."""
    loads = [float(sum(column)) for column in zip(*problem.loads, strict=True)]
    copies = greedy_copies(loads, problem)
    packed = _packed(loads, copies, problem)
    return packed if packed is not None else _dealt(copies, problem)


def greedy_group_slots(problem: LayerProblem, *, groups: int, nodes: int) -> Slots:
    """Return the greedy placement that keeps every group of experts on one node."""
    size = problem.experts // groups
    loads = [float(sum(column)) for column in zip(*problem.loads, strict=True)]
    weights = [sum(loads[group * size : (group + 1) * size]) for group in range(groups)]
    parts: list[list[int]] = [[] for _ in range(nodes)]
    totals = [0.0] * nodes
    for group in sorted(range(groups), key=lambda index: -weights[index]):
        node = min((n for n in range(nodes) if len(parts[n]) < groups // nodes), key=lambda n: totals[n])
        parts[node].append(group)
        totals[node] += weights[group]
    slots: list[tuple[int, ...]] = []
    for part in parts:
        experts = node_experts(sorted(part), experts=problem.experts, groups=groups)
        local = greedy_slots(node_problem(problem, experts, nodes=nodes))
        slots += [tuple(experts[expert] if expert != NO_EXPERT else NO_EXPERT for expert in held) for held in local]
    return tuple(slots)


def greedy_copies(loads: Sequence[float], problem: LayerProblem) -> list[int]:
    """Return the number of replicas of every expert: the next copy goes to the heaviest replica."""
    copies = [1] * problem.experts
    heap = [(-load, expert) for expert, load in enumerate(loads)]
    heapify(heap)
    for _ in range(problem.filled - problem.experts):
        while copies[heap[0][1]] >= problem.most_copies:
            heappop(heap)
        expert = heap[0][1]
        copies[expert] += 1
        heapreplace(heap, (-loads[expert] / copies[expert], expert))
    return copies


def pack_copies(problem: LayerProblem, copies: Sequence[int]) -> Slots | None:
    """Pack suggested numbers of replicas, after the fewest changes that make them fill the slots."""
    loads = [float(sum(column)) for column in zip(*problem.loads, strict=True)]
    counts = [min(count, problem.most_copies) for count in copies]
    while sum(counts) != problem.filled:
        if sum(counts) < problem.filled:
            able = [e for e, count in enumerate(counts) if count < problem.most_copies]
            counts[max(able, key=lambda e: loads[e] / counts[e])] += 1
        else:
            able = [e for e, count in enumerate(counts) if count > 1]
            counts[min(able, key=lambda e: loads[e] / (counts[e] - 1))] -= 1
    return _packed(loads, counts, problem)


def _packed(loads: Sequence[float], copies: Sequence[int], problem: LayerProblem) -> Slots | None:
    """Put replicas, heaviest first, on the least loaded rank with room; ``None`` if distinct gets stuck."""
    items = [(loads[expert] / count, expert) for expert, count in enumerate(copies) for _ in range(count)]
    items.sort(key=lambda item: -item[0])
    ranks: list[list[int]] = [[] for _ in range(problem.ranks)]
    heap = [(0.0, rank) for rank in range(problem.ranks)]
    for weight, expert in items:
        passed = []
        while heap and problem.distinct and expert in ranks[heap[0][1]]:
            passed.append(heappop(heap))
        if not heap:
            return None
        total, rank = heappop(heap)
        ranks[rank].append(expert)
        if len(ranks[rank]) < problem.width:
            heappush(heap, (total + weight, rank))
        for entry in passed:
            heappush(heap, entry)
    return tuple(tuple(held + [NO_EXPERT] * (problem.width - len(held))) for held in ranks)


def _dealt(copies: Sequence[int], problem: LayerProblem) -> Slots:
    """Deal replicas out like cards: copies of one expert stand in a row, so no rank gets two of them."""
    row = [expert for expert, count in enumerate(copies) for _ in range(count)]
    hands = [row[rank :: problem.ranks] for rank in range(problem.ranks)]
    return tuple(tuple(hand + [NO_EXPERT] * (problem.width - len(hand))) for hand in hands)
