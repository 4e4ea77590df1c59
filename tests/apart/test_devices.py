"""Prefill and decode on devices of their own: every fleet against brute force, certificates, links, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

import shardproof
from shardproof.formulations.apart.transfer import prompt_bytes, sending_time
from shardproof.formulations.pools.build import replica_question
from shardproof.instances.errors import InputError
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.pools_resolve import resolve_pools
from shardproof.solver.pools.solve import certificate_document, solve_pools
from shardproof.solver.search.settings import Settings
from tests.oracles.apart_fleets import TWO, least_cost, small_question

QUICK = Settings(explain=False)


def asked(**fields: Any) -> PoolsQuestion:
    return resolve_pools(TWO | fields, where="test")


def solved(**fields: Any) -> shardproof.SolvedFleet:
    found = shardproof.solve(TWO | fields)
    assert isinstance(found, shardproof.SolvedFleet)
    return found


@pytest.mark.slow  # every chain, link and fleet of three questions a block; more: `benchmarks.apart`
@pytest.mark.parametrize("block", range(2))
@pytest.mark.parametrize("serving", ["apart", "any"])
def test_the_least_price_equals_brute_force(serving: str, block: int) -> None:
    for seed in range(block * 6, block * 6 + 3):
        question = small_question(seed, serving)
        result = solve_pools(question, QUICK)
        assert (result.value, result.proof) == (least_cost(question), "certified-optimal"), seed


@pytest.mark.slow  # three questions, each asked three ways
def test_any_is_never_dearer_than_together_or_apart() -> None:
    for seed in range(50, 53):
        found = [solve_pools(small_question(seed, serving), QUICK).value for serving in ("any", "apart")]
        both = small_question(seed, "any")
        alone = tuple(pool for pool in both.pools if pool.phase is None)
        if alone:
            found.append(solve_pools(both.model_copy(update={"pools": alone}), QUICK).value)
        dearest = float("inf")
        values = [dearest if value is None else value for value in found]
        assert values[0] == min(values), seed


def test_each_phase_has_its_device_and_its_plan() -> None:
    found = solved()
    assert found.proof == "certified-optimal"
    assert found.plan is not None
    assert {(group.device, group.phase) for group in found.plan.groups} == {
        ("h100-sxm", "prefill"),
        ("a100-80-sxm", "decode"),
    }
    for phase in ("prefill", "decode"):
        groups = [group for group in found.plan.groups if group.phase == phase]
        assert sum(group.replicas * (one.requests or 0) for group in groups for one in group.takes) >= 24
    (held,) = shardproof.compare(found.plan, instance=TWO).plans
    assert held.broken == ()


def test_the_link_is_no_faster_than_either_end() -> None:
    prefill, _ = (pool for pool in asked().pools)
    assert prefill.instance.transfer.bandwidth == 20 * 10**9  # 80 % of the A100's 25 GB/s
    question = replica_question(prefill)
    assert question.scenarios[0].workload.sending == sending_time(prefill.instance, 2048)
    assert question.scenarios[0].workload.sending == -(-prompt_bytes(prefill.instance, 2048) // 20) + 10_000
    stated = asked(transfer={"bandwidth": "1 GB/s"}).pools[0].instance.transfer
    assert (stated.bandwidth, stated.setup) == (10**9, None)


def test_a_slow_device_that_does_not_decode_slows_nobody() -> None:
    """Both devices may decode: those that send to the fast one alone are asked about too."""
    fields = {"devices": "h100-sxm=8,h200-sxm:decode=8,a100-80-sxm:decode=8"}
    links = {
        pool.instance.transfer.bandwidth or 40 * 10**9 for pool in asked(**fields).pools if pool.phase == "prefill"
    }
    assert links == {20 * 10**9, 40 * 10**9}
    question = asked(**fields)
    counted = {pool.name: set(pool.counts[0]) for pool in question.pools}
    assert len(question.names) == 3  # all prompts, all tokens, and tokens on the fast link with prompts for the other
    fast = {place for place, name in enumerate(question.names) if "others" in name}
    assert fast <= counted["llama-3.1-8b-instruct on h200-sxm: decode"]
    assert not fast & counted["llama-3.1-8b-instruct on a100-80-sxm: decode"]
    assert not fast & counted["llama-3.1-8b-instruct on h100-sxm: prefill at 40 GB/s"]
    assert fast <= counted["llama-3.1-8b-instruct on h100-sxm: prefill at 20 GB/s"]


def test_a_certificate_names_every_demand_of_both_phases() -> None:
    found = solved()
    certificate = found.certificate()
    assert certificate is not None
    verdict = shardproof.verify(certificate, TWO)
    assert verdict.accepted, verdict.reason
    assert not shardproof.verify(certificate, TWO | {"transfer": {"bandwidth": "1 GB/s"}})
    forged = json.loads(json.dumps(certificate))
    for pool in forged["pools"]:
        pool["also"] = [[1 - place] for place in pool["scenarios"]]  # one replica would serve both phases
    assert not shardproof.verify(forged)


def test_replicas_of_both_phases_count_for_both() -> None:
    found = solve_pools(small_question(3, "any"), QUICK)
    certificate = certificate_document(small_question(3, "any"), found)
    assert certificate is not None
    assert shardproof.verify(certificate)
    size = len(certificate["asked"])
    both = [kind for kind in certificate["kinds"] if len(certificate["pools"][kind["pool"]]["also"][0]) == size - 1]
    assert both
    for kind in both:
        kind["loads"][0][-1] += 1  # decodes more than it prefills
    assert not shardproof.verify(certificate)


def test_questions_that_no_fleet_answers_are_refused() -> None:
    with pytest.raises(InputError, match="in common"):
        asked(devices="h100-sxm:prefill=8,mi300x:decode=8")
    with pytest.raises(InputError, match="serving: apart"):
        asked(serving="together")
    with pytest.raises(InputError, match="something to decode"):
        shardproof.solve(TWO | {"workload": TWO["workload"] | {"output_tokens": 1}})
    with pytest.raises(InputError, match=r"devices\.0\.phases"):
        shardproof.solve(
            {
                "devices": "a:prefill@1 USD/h",
                "capacities": [{"device": "a", "rates": {"x": "1/s"}}],
                "requests": {"x": "1/s"},
            }
        )


def test_a_question_without_phases_keeps_its_fingerprint() -> None:
    plain = {key: value for key, value in TWO.items() if key not in ("serving", "devices")}
    fields = plain | {"devices": "h100-sxm=16"}
    one, two = (resolve_pools(fields | more, where="test") for more in ({}, {"serving": "together"}))
    assert one.fingerprint == two.fingerprint
    assert "serving" not in json.dumps(one.model_dump(mode="json", include={"names": True}))
