"""Placements equal exhaustive search on small layers, meet known optima, and never lose to the greedy."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import pytest

from shardproof.formulations.placement.check import broken_rules, even_rank_loads, largest_even_load
from shardproof.formulations.placement.problem import LayerProblem, PlacementRules, layer_problem
from shardproof.instances.errors import InputError
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.load_profile.read import load_profile, serve_profiles
from shardproof.solver.placement.greedy import greedy_slots
from shardproof.solver.placement.layers import place_layers
from shardproof.solver.placement.place import place
from shardproof.solver.placement.result import LayerPlacement
from shardproof.solver.placement.work import PlaceSettings
from tests.oracles.placement_brute_force import least_largest_load
from tests.oracles.places import DATA

FULL = bool(os.environ.get("SHARDPROOF_FULL"))
EXACT = PlaceSettings(time_limit=120 if FULL else 20, target_gap=0)
CASES = json.loads((DATA / "placement_optima.json").read_text())["cases"]


def profile(*rows: Sequence[int]) -> LoadProfile:
    return LoadProfile(name="p", source="test", loads=tuple(tuple(row) for row in rows))


def random_layers(count: int, seed: int) -> Iterator[LayerProblem]:
    """Small layers at every corner: empty experts, ties, heavy tails, full and uneven ranks, one rank."""
    draw = random.Random(seed)
    while count:
        ranks, redundant = draw.randint(1, 4), draw.randint(0, 3)
        experts = draw.randint(max(1, ranks - redundant), 10)
        distinct = draw.random() < 0.3
        filled = experts + redundant
        if (distinct and filled > experts * ranks) or (filled % ranks and draw.random() < 0.7):
            continue
        loads = tuple(
            draw.choice([draw.randint(0, 100), draw.randint(0, 10), 1000 // (1 + place)]) for place in range(experts)
        )
        yield LayerProblem((loads,), ranks, filled, -(-filled // ranks), distinct=distinct)
        count -= 1


@pytest.mark.slow(reason="every placement is enumerated")
@pytest.mark.parametrize("seed", range(40) if FULL else range(2))
def test_small_layers_equal_exhaustive_search(seed: int) -> None:
    for problem in random_layers(60, seed):
        optimum = least_largest_load(
            problem.loads[0],
            ranks=problem.ranks,
            width=problem.width,
            redundant=problem.filled - problem.experts,
            distinct=problem.distinct,
        )
        (answer,) = place_layers([problem], EXACT)
        assert (answer.load, answer.bound.value) == (optimum, optimum), problem
        assert not broken_rules(problem, answer.slots)
        assert answer.load <= largest_even_load(problem, greedy_slots(problem))


def placed(case: dict[str, Any], rule: str) -> LayerPlacement:
    grouped = rule.startswith("same") and case["policy"] == "hierarchical"
    rules = PlacementRules(
        ranks=case["num_gpus"],
        redundant=case["num_replicas"] - len(case["weight"]),
        distinct="distinct" in rule,
        groups=case["num_groups"] if grouped else None,
        nodes=case["num_nodes"] if grouped else 1,
    )
    return place([profile(case["weight"])], rules, PlaceSettings(time_limit=4, target_gap=0)).layers[0]


@pytest.mark.slow(reason="each search ends with its time limit")
@pytest.mark.parametrize("rule", ["same_rules_distinct", "same_rules_dups_allowed", "global_distinct"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['case']}-{case['layer']}")
def test_known_optima_are_met(case: dict[str, Any], rule: str) -> None:
    found = placed(case, rule)
    known = Fraction(case[rule]["max_load"]).limit_denominator(1000)
    assert found.max_load == known if case[rule]["proven"] else found.max_load <= known
    assert found.bound.value <= found.max_load <= found.greedy_load
    if rule == "same_rules_dups_allowed":  # our baseline is of the published greedy's class
        assert float(found.greedy_load) == pytest.approx(case["eplb_max_load"])


@pytest.mark.parametrize("source", ["zipf:0.3", "zipf:0.6", "zipf:0.9", "zipf:1.2", "lognormal:1.0"])
@pytest.mark.parametrize(("ranks", "redundant"), [(8, 0), (8, 16), (16, 16), (32, 0), (32, 32)])
def test_large_layers_beat_the_greedy_and_come_near_the_bound(source: str, ranks: int, redundant: int) -> None:
    loads = load_profile(source, layers=3, experts=128, seed=5)
    result = place([loads], PlacementRules(ranks=ranks, redundant=redundant), PlaceSettings(time_limit=3))
    assert all(found.max_load <= found.greedy_load for found in result.layers)
    assert all(found.gap < Fraction(5, 1000) for found in result.layers)


def test_a_uniform_profile_is_optimal_at_once() -> None:
    loads = load_profile("uniform", layers=94, experts=128)
    result = place([loads], PlacementRules(ranks=32, redundant=0), PlaceSettings(time_limit=30))
    assert all(found.status == "optimal" for found in result.layers)
    assert result.seconds < 60


def test_a_layer_without_load_is_placed_and_optimal() -> None:
    (found,) = place([profile([0] * 8)], PlacementRules(ranks=4, redundant=4)).layers
    assert (found.max_load, found.bound.value, found.gap, found.status) == (0, 0, 0, "optimal")
    assert not broken_rules(found.problem, found.slots)


def test_a_second_copy_on_a_rank_can_be_best_and_can_be_forbidden() -> None:
    loads = profile([200, 150, 100, 50, 25, 12])
    free, strict = (
        place([loads], PlacementRules(ranks=2, redundant=4, distinct=distinct), EXACT).layers[0]
        for distinct in (False, True)
    )
    assert free.max_load == Fraction(537, 2)
    assert strict.max_load == 275
    assert all(len(set(held)) == len(held) for held in strict.slots)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"ranks": 3, "redundant": 0}, "use 1, or --uneven"),
        ({"ranks": 16, "redundant": 0}, "use 8, or"),
        ({"ranks": 2, "redundant": 10, "distinct": True}, "at most 8"),
        ({"ranks": 4, "redundant": 0, "nodes": 3}, "divide 4 ranks"),
        ({"ranks": 4, "redundant": 0, "nodes": 2, "groups": 3}, "divide 8 experts"),
        ({"ranks": 8, "redundant": 0, "nodes": 8, "groups": 4}, "divide 4 groups"),
        ({"ranks": 4, "redundant": 1, "nodes": 2, "groups": 4, "uneven": True}, "uneven"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        place([profile([1] * 8)], PlacementRules(**rules))


def test_uneven_ranks_take_fewer_replicas_than_slots() -> None:
    (found,) = place([profile([9, 1, 1, 1, 1])], PlacementRules(ranks=3, redundant=0, uneven=True), EXACT).layers
    assert found.max_load == 9
    assert sum(expert == -1 for held in found.slots for expert in held) == 1


def test_the_worst_of_several_profiles_is_balanced() -> None:
    day, night = profile([8, 8, 1, 1]), profile([8, 1, 8, 1])
    rules = PlacementRules(ranks=2)
    worst = place(serve_profiles([day, night], serve="worst"), rules, EXACT).layers[0]
    assert worst.max_load == 9
    assert [max(row) for row in even_rank_loads(worst.problem, worst.slots)] == [9, 9]


@pytest.mark.parametrize("seed", range(12))
def test_groups_stay_on_their_node(seed: int) -> None:
    draw = random.Random(seed)
    loads = profile([draw.randint(0, 50) for _ in range(16)])
    rules = PlacementRules(ranks=4, redundant=4, groups=4, nodes=2)
    (found,) = place([loads], rules, PlaceSettings(time_limit=2)).layers
    homes = {(expert // 4, rank // 2) for rank, held in enumerate(found.slots) for expert in held}
    assert len(homes) == 4
    assert found.bound.value <= found.max_load <= found.greedy_load


def test_free_split_reaches_the_hall_bound() -> None:
    (found,) = place([profile([90, 10, 10, 10])], PlacementRules(ranks=3, redundant=2, split="free"), EXACT).layers
    assert found.max_load == 40  # the three copies of the heavy expert share 90 as the ranks have room
    assert found.status == "optimal"


def test_the_time_limit_is_kept_and_an_answer_is_there_at_once() -> None:
    loads = load_profile("lognormal:1.0", layers=20, experts=128, seed=1)
    result = place([loads], PlacementRules(ranks=32, redundant=32), PlaceSettings(time_limit=0.2, target_gap=0))
    assert result.seconds < 60
    assert all(found.max_load <= found.greedy_load for found in result.layers)


def test_the_same_seed_gives_the_same_placement() -> None:
    loads = load_profile("zipf:0.6", layers=2, experts=64, seed=1)
    one, two = (
        place([loads], PlacementRules(ranks=8, redundant=8), PlaceSettings(time_limit=20, seed=4)) for _ in range(2)
    )
    assert [found.slots for found in one.layers] == [found.slots for found in two.layers]


def test_processes_agree_with_one() -> None:
    loads = load_profile("zipf:0.6", layers=9, experts=64, seed=1)
    rules, settings = PlacementRules(ranks=8, redundant=8), PlaceSettings(time_limit=20, workers=2)
    assert all(found.gap <= Fraction(1, 1000) for found in place([loads], rules, settings).layers)


def test_the_documented_json() -> None:
    loads = load_profile("zipf:0.9", layers=2, experts=8, seed=1)
    document = place(
        [loads], PlacementRules(ranks=4, redundant=4), PlaceSettings(time_limit=1), layer_numbers=(3, 4)
    ).to_json()
    assert [row["layer"] for row in document["layers"]] == [3, 4]
    assert {"layer", "max_load", "mean_load", "bound", "gap", "status"} <= set(document["layers"][0])
    assert [len(row) for row in document["physical_to_logical_map"]] == [12, 12]
    assert json.loads(json.dumps(document)) == document


def test_layers_use_their_own_loads() -> None:
    problem = layer_problem([profile([1, 2], [3, 4])], 1, PlacementRules(ranks=2))
    assert problem.loads == ((3, 4),)
    assert problem.mean == Fraction(7, 2)
