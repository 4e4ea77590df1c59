"""Place the experts of all layers: the question of `shardproof place` in one call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from heapq import nsmallest

from shardproof.formulations.placement.bounds import LowerBound, simple_bound
from shardproof.formulations.placement.check import (
    broken_groups,
    broken_rules,
    largest_even_load,
    moved_experts,
    remote_share,
)
from shardproof.formulations.placement.free_split import largest_free_load
from shardproof.formulations.placement.groups import (
    Partition,
    group_partitions,
    node_experts,
    node_problem,
    partition_average,
)
from shardproof.formulations.placement.problem import (
    NO_EXPERT,
    LayerProblem,
    PlacementRules,
    Slots,
    check_rules,
    layer_problem,
)
from shardproof.instances.errors import InternalError
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.reading import refuse
from shardproof.solver.placement.greedy import greedy_group_slots, greedy_slots
from shardproof.solver.placement.group_bound import group_bound
from shardproof.solver.placement.layers import place_layers
from shardproof.solver.placement.moves import take_back_moves
from shardproof.solver.placement.relabel import relabel_ranks
from shardproof.solver.placement.result import LayerPlacement, PlacementResult
from shardproof.solver.placement.work import LayerAnswer, PlaceSettings

_PARTITIONS = 8
"""Partitions of groups over nodes that are searched per layer, those of lightest heaviest node."""

CurrentMap = Sequence[Sequence[int]]
"""``current[layer][slot]``: the placement in force, as `physical_to_logical_map`."""


def place(
    profiles: Sequence[LoadProfile],
    rules: PlacementRules,
    settings: PlaceSettings | None = None,
    *,
    layer_numbers: Sequence[int] | None = None,
    current: CurrentMap | None = None,
    current_file: str = "current",
) -> PlacementResult:
    """Place every layer so that its most loaded rank is as light as can be found.

    Among equal largest loads, ranks are relabelled so that few experts move against ``current``, then so
    that little load crosses nodes (``current_file``: what messages about it call it). Raises `InputError` for rules
    that no placement can keep.
    """
    begun = time.monotonic()
    settings = settings or PlaceSettings()
    check_rules(rules, profiles[0].experts)
    problems = [layer_problem(profiles, layer, rules) for layer in range(profiles[0].layers)]
    before = current_slots(current, problems, where=current_file)
    even = [replace(problem, split="even") for problem in problems]
    if rules.grouped:
        answers = _place_groups(even, rules, settings)
        greedy = [greedy_group_slots(p, groups=rules.groups or 1, nodes=rules.nodes) for p in problems]
    else:
        answers = _place_near(even, before, settings)
        greedy = [greedy_slots(problem) for problem in problems]
    if rules.split == "free":
        answers = [
            _split_freely(problem, answer, baseline)
            for problem, answer, baseline in zip(problems, answers, greedy, strict=True)
        ]
    numbers = layer_numbers if layer_numbers is not None else range(len(problems))
    layers = tuple(
        _finished(number, problem, answer, baseline, rules, before=old)
        for number, problem, answer, baseline, old in zip(numbers, problems, answers, greedy, before, strict=True)
    )
    seconds = time.monotonic() - begun
    return PlacementResult(
        rules=rules,
        profiles=tuple(profile.name for profile in profiles),
        denominator=profiles[0].denominator,
        layers=layers,
        seconds=seconds,
        stop_reason=_stop_reason(layers, settings, seconds),
        seed=settings.seed,
    )


def _place_near(
    problems: Sequence[LayerProblem], before: Sequence[Slots | None], settings: PlaceSettings
) -> list[LayerAnswer]:
    """Search from the placement in force where it keeps the rules, else from the greedy's.

    Where that ends above the greedy's load, the greedy's placement is the answer.
    """
    greedy = [greedy_slots(problem) for problem in problems]
    starts = [
        old if old is not None and not broken_rules(problem, old) else new
        for problem, old, new in zip(problems, before, greedy, strict=True)
    ]
    answers = place_layers(problems, settings, starts=starts)
    loads = [largest_even_load(problem, slots) for problem, slots in zip(problems, greedy, strict=True)]
    return [
        replace(answer, slots=slots, load=load) if load < answer.load else answer
        for answer, slots, load in zip(answers, greedy, loads, strict=True)
    ]


def largest_load(problem: LayerProblem, slots: Slots) -> Fraction:
    """Return the largest rank load under the problem's own split."""
    free = problem.split == "free"
    return largest_free_load(problem, slots) if free else largest_even_load(problem, slots)


def _split_freely(problem: LayerProblem, answer: LayerAnswer, greedy: Slots) -> LayerAnswer:
    """Judge the even split's placement and the greedy's under the free split; keep the better."""
    load, slots = min((largest_free_load(problem, slots), slots) for slots in (answer.slots, greedy))
    return LayerAnswer(slots, load, simple_bound(problem))


def _stop_reason(layers: Sequence[LayerPlacement], settings: PlaceSettings, seconds: float) -> str:
    if all(found.status == "optimal" for found in layers):
        return "every layer meets its bound"
    if all(found.gap <= settings.target_gap for found in layers):
        return f"every gap is at most {settings.target_gap:.2%}"
    return "time limit" if seconds >= 0.9 * settings.time_limit else "no further progress"


def _finished(
    number: int,
    problem: LayerProblem,
    answer: LayerAnswer,
    greedy: Slots,
    rules: PlacementRules,
    *,
    before: Slots | None,
) -> LayerPlacement:
    """Relabel ranks, check the placement against its rules, and state what it reaches."""
    loads = [sum(column) for column in zip(*problem.loads, strict=True)]
    slots = relabel_ranks(answer.slots, loads, before=before, nodes=rules.nodes, bound_to_nodes=rules.grouped)
    if before is not None and problem.split == "even":
        bound_nodes = rules.nodes if rules.grouped else 1
        slots = take_back_moves(problem, slots, before, largest=answer.load, nodes=bound_nodes)
    broken = broken_rules(problem, slots)
    if rules.grouped:
        broken += broken_groups(slots, experts=problem.experts, groups=rules.groups or 1, nodes=rules.nodes)
    if broken or largest_load(problem, slots) > answer.load:
        raise InternalError(f"layer {number}: the placement found breaks {broken or 'its own load'}")
    return LayerPlacement(
        layer=number,
        problem=problem,
        slots=slots,
        max_load=largest_load(problem, slots),
        greedy_load=largest_load(problem, greedy),
        bound=answer.bound,
        moved=None if before is None else moved_experts(before, slots),
        remote_share=remote_share(loads, slots, nodes=rules.nodes) if rules.nodes > 1 else None,
    )


def current_slots(
    current: CurrentMap | None, problems: Sequence[LayerProblem], *, where: str = "current"
) -> list[Slots | None]:
    """Cut the placement in force into ranks; ``None`` for every layer when there is none."""
    if current is None:
        return [None] * len(problems)
    if len(current) != len(problems):
        raise refuse(where, f"the profile has {len(problems)} layers", field="layers", value=str(len(current)))
    before: list[Slots | None] = []
    for layer, (row, problem) in enumerate(zip(current, problems, strict=True)):
        if len(row) % problem.ranks:
            remedy = f"{len(row)} slots do not divide by {problem.ranks} ranks"
            raise refuse(where, remedy, field=f"physical_to_logical_map[{layer}]")
        wrong = [expert for expert in row if not NO_EXPERT <= expert < problem.experts]
        if wrong:
            remedy = f"experts are numbered 0 to {problem.experts - 1}"
            raise refuse(where, remedy, field=f"physical_to_logical_map[{layer}]", value=str(wrong[0]))
        width = len(row) // problem.ranks
        before.append(tuple(tuple(row[rank * width : (rank + 1) * width]) for rank in range(problem.ranks)))
    return before


def _place_groups(
    problems: Sequence[LayerProblem], rules: PlacementRules, settings: PlaceSettings
) -> list[LayerAnswer]:
    """Search every layer's most promising partitions in turn, all nodes of all layers in one batch.

    A later partition is tried only where its heaviest node's average leaves room for a lighter placement.
    """
    groups, nodes = rules.groups or 1, rules.nodes
    deadline = time.monotonic() + settings.time_limit
    ranked = [_ranked_partitions(problem, groups=groups, nodes=nodes) for problem in problems]
    best = [_greedy_answer(problem, groups=groups, nodes=nodes) for problem in problems]
    searched: list[dict[tuple[int, ...], Fraction]] = [{} for _ in problems]
    for turn in range(max(map(len, ranked))):
        tried = [
            (index, ranked[index][turn][1])
            for index in range(len(problems))
            if turn < len(ranked[index]) and ranked[index][turn][0] < best[index].load
        ]
        left = deadline - time.monotonic()
        if left <= 0 or not tried:
            break
        parts = [(index, part) for index, partition in tried for part in partition]
        node_problems = [_part_problem(problems[index], part, groups=groups, nodes=nodes) for index, part in parts]
        found = place_layers(node_problems, replace(settings, time_limit=left / 2))
        for place_in_list, (index, partition) in enumerate(tried):
            answers = found[place_in_list * nodes : (place_in_list + 1) * nodes]
            searched[index] |= {p: a.bound.value for p, a in zip(partition, answers, strict=True)}
            load = max(answer.load for answer in answers)
            if load < best[index].load:
                slots = _joined(partition, answers, problems[index], groups=groups)
                best[index] = replace(best[index], slots=slots, load=load)
    return [_with_bound(best[index], problem, rules, searched[index]) for index, problem in enumerate(problems)]


def _ranked_partitions(problem: LayerProblem, *, groups: int, nodes: int) -> list[tuple[Fraction, Partition]]:
    """Return the partitions whose heaviest node is lightest, with its average rank load."""
    return nsmallest(
        _PARTITIONS,
        (
            (partition_average(problem, partition, groups=groups), partition)
            for partition in group_partitions(groups, nodes)
        ),
    )


def _greedy_answer(problem: LayerProblem, *, groups: int, nodes: int) -> LayerAnswer:
    slots = greedy_group_slots(problem, groups=groups, nodes=nodes)
    return LayerAnswer(slots, largest_even_load(problem, slots), LowerBound(Fraction(0), "nodes"))


def _part_problem(problem: LayerProblem, part: Sequence[int], *, groups: int, nodes: int) -> LayerProblem:
    return node_problem(problem, node_experts(part, experts=problem.experts, groups=groups), nodes=nodes)


def _joined(partition: Partition, parts: Sequence[LayerAnswer], problem: LayerProblem, *, groups: int) -> Slots:
    slots: list[tuple[int, ...]] = []
    for part, answer in zip(partition, parts, strict=True):
        experts = node_experts(part, experts=problem.experts, groups=groups)
        slots += [tuple(experts[e] if e != NO_EXPERT else NO_EXPERT for e in held) for held in answer.slots]
    return tuple(slots)


def _with_bound(
    answer: LayerAnswer,
    problem: LayerProblem,
    rules: PlacementRules,
    searched: Mapping[tuple[int, ...], Fraction],
) -> LayerAnswer:
    """Bound all partitions, by the simple bounds and by those that the search found."""
    groups, nodes = rules.groups or 1, rules.nodes
    bound = LowerBound(group_bound(problem, groups=groups, nodes=nodes), "nodes")
    sharper = group_bound(problem, groups=groups, nodes=nodes, searched=searched)
    return replace(answer, bound=LowerBound(sharper, "searched") if sharper > bound.value else bound)
