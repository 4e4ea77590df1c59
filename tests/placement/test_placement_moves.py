"""Few experts move, replicas spread over nodes, and the fewest redundant experts are found."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from shardproof.formulations.placement.check import broken_rules, largest_even_load, moved_experts
from shardproof.formulations.placement.problem import PlacementRules
from shardproof.instances.errors import InputError
from shardproof.instances.load_profile.read import load_profile
from shardproof.solver.placement.greedy import greedy_slots
from shardproof.solver.placement.inverse import fewest_redundant
from shardproof.solver.placement.moves import take_back_moves
from shardproof.solver.placement.place import place
from shardproof.solver.placement.relabel import best_assignment, relabel_ranks
from shardproof.solver.placement.work import PlaceSettings
from tests.oracles.placement_brute_force import least_largest_load
from tests.placement.test_placement import EXACT, profile, random_layers


def test_from_moves_as_few_experts_as_equal_loads_allow() -> None:
    loads, rules = load_profile("zipf:0.6", layers=2, experts=32, seed=3), PlacementRules(ranks=8, redundant=8)
    settings = PlaceSettings(time_limit=30, target_gap=0.02)
    first = place([loads], rules, settings)
    draw = random.Random(0)
    shuffled = [draw.sample(found.slots, k=8) for found in first.layers]
    current = [[expert for held in slots for expert in held] for slots in shuffled]
    again = place([loads], rules, settings, current=current)
    assert [found.moved for found in again.layers] == [0, 0]
    assert [list(found.slots) for found in again.layers] == [[tuple(held) for held in slots] for slots in shuffled]


def test_a_changed_profile_moves_far_fewer_experts_than_starting_anew() -> None:
    old, rules = load_profile("zipf:0.6", layers=2, experts=128, seed=1), PlacementRules(ranks=16, redundant=32)
    draw = random.Random(1)
    new = profile(*([int(load * draw.uniform(0.8, 1.25)) for load in row] for row in old.loads))
    first = place([old], rules, PlaceSettings(time_limit=10))
    current = [[expert for held in found.slots for expert in held] for found in first.layers]
    kept = place([new], rules, PlaceSettings(time_limit=10), current=current)
    anew = place([new], rules, PlaceSettings(time_limit=10))
    for found, fresh, row in zip(kept.layers, anew.layers, first.layers, strict=True):
        assert found.gap < Fraction(2, 1000)
        relabelled = relabel_ranks(fresh.slots, new.loads[0], before=row.slots, nodes=1, bound_to_nodes=False)
        assert (found.moved or 0) < moved_experts(row.slots, relabelled)


@pytest.mark.parametrize("distinct", [False, True])
def test_taking_back_moves_never_raises_the_largest_load(distinct: bool) -> None:
    draw = random.Random(5)
    for problem in random_layers(60, 9):
        if problem.distinct != distinct:
            continue
        slots = greedy_slots(problem)
        before = tuple(tuple(draw.choices(range(problem.experts), k=problem.width)) for _ in slots)
        largest = largest_even_load(problem, slots) * Fraction(draw.choice([10, 12]), 10)
        after = take_back_moves(problem, slots, before, largest=largest)
        assert not broken_rules(problem, after)
        assert largest_even_load(problem, after) <= largest
        assert moved_experts(before, after) <= moved_experts(before, slots)


def test_relabelling_within_groups_keeps_groups_together() -> None:
    loads, rules = (
        load_profile("zipf:0.6", layers=1, experts=16, seed=3),
        PlacementRules(ranks=4, redundant=4, groups=4, nodes=2),
    )
    settings = PlaceSettings(time_limit=30, target_gap=0.05)
    slots = place([loads], rules, settings).layers[0].slots
    current = [expert for held in (*slots[2:], *slots[:2]) for expert in held]
    again = place([loads], rules, settings, current=[current])
    assert again.layers[0].moved == 0


@pytest.mark.parametrize(
    ("current", "message"),
    [([[0, 1]], "layers"), ([[0, 1, 2]] * 2, "do not divide"), ([[0, 9]] * 2, "numbered 0 to 3")],
)
def test_a_current_placement_of_another_shape_is_refused(current: list[list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        place([profile([1] * 4, [1] * 4)], PlacementRules(ranks=2), current=current)


def test_moved_experts_counts_fetched_replicas() -> None:
    assert moved_experts([(0, 1), (2, 3)], ((1, 0), (2, 0))) == 1
    assert moved_experts([(0, 0), (1, 2)], ((0, 1), (0, 2))) == 2


@pytest.mark.parametrize("seed", range(20))
def test_assignment_is_optimal(seed: int) -> None:
    costs = np.random.default_rng(seed).integers(-9, 9, (5, 5))
    chosen = best_assignment(costs)
    least = min(sum(costs[row, column] for row, column in enumerate(p)) for p in itertools.permutations(range(5)))
    assert sorted(chosen) == list(range(5))
    assert sum(costs[row, column] for row, column in enumerate(chosen)) == least


def test_nodes_without_groups_spread_replicas() -> None:
    loads = profile([40, 1, 1, 1, 1, 1, 1, 1])
    (found,) = place([loads], PlacementRules(ranks=4, redundant=4, nodes=2), PlaceSettings(time_limit=1)).layers
    assert found.remote_share is not None
    homes = {rank // 2 for rank, held in enumerate(found.slots) for expert in held if expert == 0}
    assert homes == {0, 1}


def test_fewest_redundant_experts_are_proven_on_small_layers() -> None:
    loads = (60, 20, 10, 10, 10, 10)
    found = fewest_redundant([profile(loads)], PlacementRules(ranks=3), EXACT, limit=Fraction(11, 10)).layers[0]
    mean = Fraction(sum(loads), 3)
    reaches = [
        least_largest_load(loads, ranks=3, width=-(-(6 + extra) // 3), redundant=extra) <= Fraction(11, 10) * mean
        for extra in range(4)
    ]
    assert found.redundant == reaches.index(True)
    assert found.greedy_redundant is None or found.greedy_redundant >= (found.redundant or 0)


def test_few_redundant_experts_suffice_where_the_greedy_takes_a_full_row() -> None:
    loads = load_profile("zipf:0.6", layers=2, experts=128, seed=1)
    result = fewest_redundant([loads], PlacementRules(ranks=32), PlaceSettings(time_limit=20), limit=Fraction(105, 100))
    assert result.reached
    assert all((found.redundant or 0) <= 6 and found.greedy_redundant == 32 for found in result.layers)
