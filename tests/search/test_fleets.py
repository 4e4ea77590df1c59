"""Fleets: the two counterexamples, brute force over small fleets, what alike costs, and how a plan says it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.forge import MIXED
from shardproof.formulations.fleet.covering import Item, Refused, covered, items, maximal, tops, trimmed
from shardproof.formulations.fleet.program import fewest_gpus
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.predictions import predict
from shardproof.solver.search.fleet_search import FleetSearch
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve
from tests.oracles.fleet_agreement import fleet_disagreement
from tests.oracles.random_fleets import brute_force_fleet, random_family


def question(requests: int, **fields: Any) -> Instance:
    """Bursts to mixtral-8x7b, of which 1..12 GPUs carry 0, 22, 33, 44, 54, 66, 73, 88, 99, 110, 116, 132."""
    tree: dict[str, Any] = {
        "model": "mixtral-8x7b",
        "device": "a100-80-sxm",
        "efficiency": "flat",
        "workload": {"kind": "burst", "input_tokens": 2048, "output_tokens": 512, "batch_size": requests},
        "limits": {"ttft": "4 s"},
    }
    return resolve_tree(tree | fields, where="test")


@pytest.mark.parametrize(("requests", "gpus", "alike"), [(55, 5, 6), (77, 7, 8)])
def test_a_mixed_fleet_saves_a_gpu(requests: int, gpus: int, alike: int) -> None:
    result = solve(question(requests))
    assert (result.gpus, result.bound, result.status, result.proof) == (gpus, gpus, "optimal", "certified-optimal")
    assert f"replicas that are all alike would need {alike} GPUs: alike costs 1 GPU" in result.explanation
    assert result.plan is not None
    assert len(result.plan.parts) == result.levels["shapes"].value == 2
    assert sum(group.replicas * group.shares[0].requests for group in result.plan.parts) >= requests
    assert evaluate(question(requests), result.plan).violations == ()
    assert len(predict(question(requests), result.plan)) == 2


def test_alike_is_today_and_says_what_it_costs() -> None:
    result = solve(question(55, replicas="alike"))
    assert (result.gpus, result.proof) == (6, "certified-optimal")
    assert result.plan is not None
    assert result.plan.groups == ()
    assert "replicas that need not be alike would do with 5 GPUs: alike costs 1 GPU" in result.explanation


def test_a_share_too_small_is_a_violation() -> None:
    asked = question(55)
    plan = solve(asked, settings=Settings(explain=False)).plan
    assert plan is not None
    first = plan.groups[0]
    less = first.model_copy(update={"shares": (first.shares[0].model_copy(update={"requests": 1}),)})
    found = evaluate(asked, plan.with_parts((less, *plan.groups[1:])))
    assert {violation.group for violation in found.violations} == {"load[main]"}


@pytest.mark.parametrize("block", range(4))
def test_search_and_brute_force_agree(block: int) -> None:
    for seed in (*range(block * 6, block * 6 + 6), *MIXED[block * 4 : block * 4 + 4]):
        assert fleet_disagreement(random_family(seed, slack=seed % 3 == 0)) is None, seed


def test_tops_are_what_no_wall_excludes() -> None:
    assert tops((9,), [(5,), (7,)]) == [(4,)]
    assert tops((3, 3), [(2, 2)]) == [(3, 1), (1, 3)]
    assert tops((3, 3), [(0, 1), (1, 0)]) == []
    assert maximal([(1, 2), (2, 1), (1, 1), (2, 1)]) == [(2, 1), (1, 2)]
    assert items((9,), [Refused(1, (2,)), Refused(3, (5,))], 4) == [Item(1, (1,)), Item(2, (4,)), Item(4, (9,))]


@pytest.mark.parametrize("shapes", [None, 1, 2, 3])
@pytest.mark.parametrize("demand", [(9,), (14,), (23,), (5, 3)])
def test_cp_sat_and_the_table_of_sums_agree(demand: tuple[int, ...], shapes: int | None) -> None:
    kinds = [Item(gpus, tuple(gpus * gpus // 2 + 1 + place for place in range(len(demand)))) for gpus in (1, 2, 3, 5)]
    for budget in range(1, 12):
        fleet = fewest_gpus(demand, kinds, budget, shapes=shapes)
        gpus = None if fleet is None else sum(count * kind.gpus for count, kind in fleet)
        assert gpus == covered(demand, kinds, budget, shapes)


def test_loads_are_trimmed_to_the_demand() -> None:
    fleet = ((2, Item(3, (4,))), (1, Item(2, (3,))))
    kept = trimmed((9,), fleet)
    assert sum(count * kind.load[0] for count, kind in kept) in (9, 10)
    assert all(kind.load[0] <= before.load[0] for (_, kind), (_, before) in zip(kept, fleet, strict=True))


def test_scenarios_share_replicas() -> None:
    """Each scenario alone needs 5 and 6 GPUs; one fleet serves both."""
    scenarios = [
        {"name": name, "workload": load, "limits": {"ttft": "4 s"}}
        for name, load in (
            ("short", {"kind": "burst", "input_tokens": 2048, "output_tokens": 512, "batch_size": 55}),
            ("long", {"kind": "burst", "input_tokens": 4096, "output_tokens": 512, "batch_size": 20}),
        )
    ]
    asked = question(1, workload=None, limits={"max_gpus": 12}, scenarios=scenarios)
    result = solve(asked)
    assert result.proof == "certified-optimal"
    assert result.plan is not None
    assert result.gpus is not None
    assert result.gpus >= 5
    assert evaluate(asked, result.plan).violations == ()


@pytest.mark.parametrize("seed", [4, 8, MIXED[0], MIXED[3]])
def test_cp_sat_alone_finds_the_same_fleet(seed: int) -> None:
    family = random_family(seed)
    best = brute_force_fleet(family)
    outcome = FleetSearch(family, Settings(search="cp-sat", workers=1)).run()
    assert outcome.levels["gpus"].value == (None if best is None else best.gpus)
    assert outcome.claimed_by is not None
    if best is not None:
        assert outcome.levels["ttft"].value == best.ttft if best.ttft is not None else True
        assert outcome.levels["memory"].value == best.memory


def test_a_replica_that_fits_into_a_node_stays_in_it() -> None:
    """Slow links within a node once made replicas of a node's size leave it, which no smaller budget knows."""
    links = {"scale_up": {"bandwidth": "1 GB/s"}, "scale_out": {"bandwidth": "25 GB/s"}}
    tree = {
        "model": "llama-3.1-70b-fp8",
        "device": "l40s",
        "hardware": links,
        "efficiency": "flat",
        "workload": {"kind": "burst", "batch_size": 16, "input_tokens": 512, "output_tokens": 64},
        "limits": {"ttft": "1500 ms", "max_gpus": 32},
    }
    found = solve(resolve_tree(tree, where="slow inside"))
    assert found.proof == "certified-optimal"
    assert found.gpus is not None
