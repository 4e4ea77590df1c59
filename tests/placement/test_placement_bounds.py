"""Bounds never exceed the optimum, and the checker believes neither a wrong placement nor a wrong bound."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from shardproof.formulations.placement.bounds import LowerBound, PriceList, replica_bound, simple_bound
from shardproof.formulations.placement.check import broken_rules, largest_even_load
from shardproof.formulations.placement.free_split import split_freely
from shardproof.formulations.placement.price_program import ask_prices
from shardproof.formulations.placement.prices import prices_refute
from shardproof.formulations.placement.problem import LayerProblem, PlacementRules, Slots, layer_problem
from shardproof.formulations.placement.program import solve_layer
from shardproof.instances.load_profile.read import load_profile
from shardproof.solver.checkers.placement import check_placement, check_placement_text
from shardproof.solver.placement.certificate import certificate
from shardproof.solver.placement.greedy import greedy_slots, pack_copies
from shardproof.solver.placement.imbalance import searched_table
from shardproof.solver.placement.place import place
from shardproof.solver.placement.work import PlaceSettings
from tests.oracles.bound_check import bound_holds
from tests.oracles.placement_brute_force import least_largest_load
from tests.oracles.places import ROOT
from tests.placement.test_placement import profile, random_layers

QUICK = PlaceSettings(time_limit=2)


def optimum(problem: LayerProblem) -> Fraction:
    return least_largest_load(
        problem.loads[0],
        ranks=problem.ranks,
        width=problem.width,
        redundant=problem.filled - problem.experts,
        distinct=problem.distinct,
    )


@pytest.mark.parametrize("seed", range(100, 104))
def test_bounds_lie_below_the_optimum(seed: int) -> None:
    for problem in random_layers(60, seed):
        bound = simple_bound(problem)
        assert bound.value <= optimum(problem), problem
        assert bound_holds(problem, bound)
        for argument in ("average", "replicas", "company", "crowd", "prices", "cp-sat"):
            assert not bound_holds(problem, LowerBound(optimum(problem) + 1, argument))


@pytest.mark.parametrize("seed", range(200, 203))
def test_prices_refute_nothing_that_exists(seed: int) -> None:
    for problem in random_layers(20, seed):
        best = optimum(problem)
        if best:
            start = greedy_slots(problem)
            for target in (best, best * Fraction(9, 10), best * Fraction(1001, 1000), best * 2):
                prices = ask_prices(problem, problem.loads[0], target, start=start).prices
                if prices is not None:
                    assert target <= best, problem
                    assert prices_refute(problem, problem.loads[0], target, prices)


@pytest.mark.slow(reason="hundreds of layers, each solved by enumeration")
def test_random_prices_prove_nothing_false() -> None:
    draw = random.Random(7)
    for problem in random_layers(60, 300):
        best = optimum(problem)
        if not best:
            continue
        prices = PriceList(20, tuple(sorted(draw.randint(0, 50) for _ in range(20))), draw.randint(-20, 20))
        assert not prices_refute(problem, problem.loads[0], best + Fraction(1, 1000), prices)


def test_prices_close_a_gap_that_simple_bounds_leave() -> None:
    loads = load_profile("zipf:0.9", layers=1, experts=64, seed=1)
    (found,) = place([loads], PlacementRules(ranks=36, redundant=8), PlaceSettings(time_limit=10)).layers
    assert found.bound.argument == "prices"
    assert found.gap < Fraction(5, 1000)
    assert simple_bound(found.problem).value < found.bound.value


@pytest.mark.parametrize("seed", range(3))
def test_the_program_and_the_check_agree_on_the_optimum(seed: int) -> None:
    for problem in random_layers(8, 400 + seed):
        found = solve_layer(problem, hint=greedy_slots(problem), seconds=20)
        assert found.slots is not None
        assert not broken_rules(problem, found.slots)
        assert largest_even_load(problem, found.slots) == found.bound == optimum(problem)


def test_the_program_serves_the_worst_profile() -> None:
    problem = LayerProblem(((8, 8, 1, 1), (8, 1, 8, 1)), ranks=2, filled=4, width=2)
    found = solve_layer(problem, hint=None, seconds=5)
    assert found.bound == 9


@pytest.mark.parametrize("seed", range(30))
def test_free_split_equals_the_largest_crowd_per_rank(seed: int) -> None:
    draw = random.Random(seed)
    experts, ranks = draw.randint(1, 6), draw.randint(1, 4)
    loads = [draw.randint(0, 30) for _ in range(experts)]
    extra = [draw.randrange(experts) for _ in range(draw.randint(0, 4))]
    row = [*range(experts), *extra]
    draw.shuffle(row)
    slots = tuple(tuple(row[rank::ranks]) for rank in range(ranks))
    crowds = [crowd for size in range(1, experts + 1) for crowd in combinations(range(experts), size)]
    homes = {crowd: sum(bool(set(crowd) & set(held)) for held in slots) for crowd in crowds}
    split = split_freely(loads, slots)
    assert split.load == max(
        Fraction(sum(loads)) / ranks, *(Fraction(sum(loads[e] for e in c), homes[c]) for c in crowds)
    )
    assert max(sum((share for _, share in rank), Fraction(0)) for rank in split.shares) <= split.load


def test_packing_suggested_copies_fills_the_slots() -> None:
    problem = LayerProblem(((9, 5, 3, 1),), ranks=3, filled=6, width=2)
    for copies in ((1, 1, 1, 1), (9, 1, 1, 1), (2, 2, 2, 2), (3, 1, 1, 1)):
        slots = pack_copies(problem, copies)
        assert slots is not None
        assert not broken_rules(problem, slots)


def documents() -> list[dict[str, Any]]:
    """Certificates of every kind: simple bounds, prices, groups, free split, uneven, distinct, two profiles."""
    zipf = load_profile("zipf:0.9", layers=2, experts=16, seed=1)
    hard = load_profile("zipf:0.9", layers=1, experts=64, seed=1)
    rules = [
        ([zipf], PlacementRules(ranks=8)),
        ([hard], PlacementRules(ranks=36, redundant=8)),
        ([zipf], PlacementRules(ranks=4, redundant=4, groups=4, nodes=2)),
        ([zipf], PlacementRules(ranks=4, redundant=4, split="free")),
        ([zipf], PlacementRules(ranks=5, redundant=2, uneven=True, distinct=True)),
        ([profile([8, 8, 1, 1]), profile([8, 1, 8, 1])], PlacementRules(ranks=2)),
    ]
    settings = PlaceSettings(time_limit=2, target_gap=0.001)
    by_gap = PlaceSettings(time_limit=60, target_gap=0.005)  # prices come before the time, however slow the machine
    results = [place(*both, by_gap if both[0] == [hard] else settings) for both in rules]
    return [json.loads(json.dumps(certificate(one))) for one in results]


@pytest.fixture(scope="module")
def certificates() -> list[dict[str, Any]]:
    return documents()


def test_true_certificates_are_accepted(certificates: list[dict[str, Any]]) -> None:
    for document in certificates:
        verdict = check_placement(document)
        assert verdict.accepted, verdict.reason
        assert verdict.reason is None


def lower(text: str, by: int = 1) -> str:
    numerator, denominator = map(int, text.split("/"))
    return f"{numerator - by}/{denominator}"


def first(document: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = document["layers"][0]
    return row


def set_bound(document: dict[str, Any], **fields: object) -> None:
    first(document)["bound"].update(fields)


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a lighter load": lambda d: first(d).update(max_load=lower(first(d)["max_load"])),
    "a bound above the load": lambda d: set_bound(d, value=lower(first(d)["max_load"], -1)),
    "a bound lifted to the load": lambda d: set_bound(d, value=first(d)["max_load"], argument="average"),
    "an argument that does not exist": lambda d: set_bound(d, argument="faith"),
    "another profile": lambda d: set_bound(d, profile=9),
    "an expert left out": lambda d: first(d)["slots"][0].__setitem__(0, first(d)["slots"][0][-1]),
    "an expert that does not exist": lambda d: first(d)["slots"][0].__setitem__(0, 999),
    "a rank missing": lambda d: first(d)["slots"].pop(),
    "a slot missing": lambda d: first(d)["slots"][0].pop(),
    "more replicas claimed": lambda d: d.update(replicas=d["replicas"] + 1),
    "a negative load": lambda d: first(d)["loads"][0].__setitem__(0, -1),
    "another kind": lambda d: d.update(kind="plan"),
    "another version": lambda d: d.update(version=2),
    "no layers": lambda d: d.update(layers=[]),
    "no bound": lambda d: first(d).pop("bound"),
    "no number": lambda d: first(d).update(max_load="x"),
    "a zero denominator": lambda d: first(d).update(max_load="1/0"),
    "another split": lambda d: d.update(split="half"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_certificates_are_rejected(certificates: list[dict[str, Any]], forgery: str) -> None:
    for document in certificates:
        forged = copy.deepcopy(document)
        FORGERIES[forgery](forged)
        if forged == document or (forgery == "a bound lifted to the load" and proven_average(document)):
            continue
        verdict = check_placement(forged)
        assert not verdict.accepted, (forgery, document["split"])
        assert verdict.reason


def proven_average(document: dict[str, Any]) -> bool:
    row = first(document)
    return (
        max(sum(loads) for loads in row["loads"]) >= Fraction(*map(int, row["max_load"].split("/"))) * document["ranks"]
    )


def test_forged_prices_groups_and_shares_are_rejected(certificates: list[dict[str, Any]]) -> None:
    _, priced, grouped, free, uneven, _ = map(copy.deepcopy, certificates)
    assert first(priced)["bound"]["argument"] == "prices"
    set_bound(priced, value=first(priced)["max_load"])
    first(priced)["bound"]["prices"]["prices"] = [[0, 10**9]]
    slots = first(grouped)["slots"]
    slots[0], slots[-1] = slots[-1], slots[0]
    first(free)["shares"][0][0][0][1] = "0/1"
    first(uneven)["slots"][0] = [first(uneven)["slots"][0][0]] * len(first(uneven)["slots"][0])
    for document in (priced, grouped, free, uneven):
        assert not check_placement(document).accepted


def test_negative_prices_prove_nothing(certificates: list[dict[str, Any]]) -> None:
    priced = copy.deepcopy(certificates[1])
    first(priced)["bound"]["prices"]["prices"][0][1] = -1
    assert not check_placement(priced).accepted


@pytest.mark.parametrize("document", [None, [], 3, {}, {"kind": "shardproof-placement", "version": 1}])
def test_what_is_no_certificate_is_rejected(document: object) -> None:
    assert not check_placement(document).accepted


def test_a_certificate_file_is_strict_json(certificates: list[dict[str, Any]]) -> None:
    raw = json.dumps(certificates[0]).encode()
    assert check_placement_text(raw).accepted
    for bad in (raw[:-2], raw.replace(b'"ranks"', b'"kind": "x", "ranks"', 1), raw.replace(b": 1,", b": 1.0,", 1)):
        assert not check_placement_text(bad).accepted


def test_cp_sat_bounds_are_claimed_not_certified() -> None:
    loads = profile([10, 20, 30, 40, 50, 60])
    result = place([loads], PlacementRules(ranks=4, redundant=2), PlaceSettings(time_limit=5, target_gap=0))
    verdict = check_placement(json.loads(json.dumps(certificate(result))))
    assert result.layers[0].bound.argument == "cp-sat"
    assert verdict.accepted
    assert "claimed by CP-SAT" in verdict.claim
    assert "0 certified optimal" in verdict.claim
    assert "largest certified gap" in verdict.claim


@pytest.mark.parametrize("spoilt", [False, True])
def test_the_checker_runs_as_a_script(tmp_path: Path, *, spoilt: bool) -> None:
    document = certificate(place([profile([60, 20, 10, 10], [10] * 4)], PlacementRules(ranks=2), QUICK))
    if spoilt:
        document["layers"][0]["max_load"] = "1/1"
    file = tmp_path / "cert.json"
    file.write_text(json.dumps(document))
    run = subprocess.run(
        [sys.executable, "-I", str(ROOT / "solver" / "checkers" / "placement.py"), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == (4 if spoilt else 0)
    assert run.stdout.startswith("refused: layer 0" if spoilt else "accepted: 2 layers")


def test_the_imbalance_table_brackets_the_optimum() -> None:
    loads = profile([60, 20, 10, 10, 10, 10], [10] * 6, [0] * 6)
    table = searched_table(loads, moe_ep=(1, 2, 3, 6), settings=QUICK)
    for key, cell in table.items():
        redundant = key.moe_ep * key.slots_per_rank - 6
        row = loads.loads[key.layer]
        if not sum(row):
            assert cell.lower == cell.achieved == 1
            continue
        if redundant <= 3:
            best = least_largest_load(row, ranks=key.moe_ep, width=key.slots_per_rank, redundant=redundant)
            assert cell.lower <= best / Fraction(sum(row), key.moe_ep) <= cell.achieved
        assert slots_hold(cell.slots, 6)
    assert {(key.moe_ep, key.slots_per_rank) for key in table} >= {(1, 6), (2, 3), (3, 2), (3, 3), (6, 1)}


def test_the_heaviest_replica_is_that_of_all_experts() -> None:
    chance = random.Random(5)
    for _ in range(200):
        loads = [chance.choice((0, 1, 2, 3, 5, 8, 60)) for _ in range(chance.randrange(2, 9))]
        ranks = chance.randrange(1, 5)
        redundant = -len(loads) % ranks + ranks * chance.randrange(3)
        distinct = len(loads) + redundant <= ranks * len(loads) and chance.random() < 0.5
        rules = PlacementRules(ranks=ranks, redundant=redundant, distinct=distinct)
        copies = [1] * len(loads)
        for _ in range(redundant):
            heaviest = max(range(len(loads)), key=lambda expert: Fraction(loads[expert], copies[expert]))
            if distinct and copies[heaviest] == ranks:
                break
            copies[heaviest] += 1
        problem = layer_problem([profile(loads)], 0, rules)
        assert replica_bound(problem, loads) == max(map(Fraction, loads, copies))


def slots_hold(slots: Slots, experts: int) -> bool:
    return {expert for held in slots for expert in held} == set(range(experts))
