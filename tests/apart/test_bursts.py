"""Bursts apart: both pools against brute force, certificates, never worse than together, and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.apart import never_worse
from shardproof.formulations.apart.phases import ANY_TOKEN, pool_instance
from shardproof.formulations.apart.transfer import prompt_bytes, sending_time
from shardproof.formulations.timeline import last_sent, simulate_prefill, simulate_sending
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan, Share
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.api.solved import Solved
from shardproof.solver.api.verified import verify
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.predictions import predict
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import simulate
from tests.oracles.apart_brute_force import fewest_of_mixes, fewest_of_pools, small_instance

QUICK = Settings(explain=False)


def question(**fields: Any) -> Instance:
    """A burst of 32 prompts to a model of 8 billion parameters."""
    tree: dict[str, Any] = {
        "model": "qwen3-8b",
        "device": "a100-80-sxm",
        "efficiency": "flat",
        "workload": {"kind": "burst", "input_tokens": 2048, "output_tokens": 256, "batch_size": 32},
        "limits": {"ttft": "2 s", "tpot": "30 ms", "max_gpus": 16},
        "serving": "apart",
    }
    return resolve_tree(tree | fields, where="test")


@pytest.mark.slow  # every chain, microbatch and fleet of eight questions; more of them: `benchmarks.apart --random`
def test_each_pool_equals_brute_force() -> None:
    for seed in range(8):
        asked = small_instance(seed)
        expected = fewest_of_pools(asked)
        result = answer(asked, settings=QUICK)
        assert (result.pools["prefill"].gpus, result.pools["decode"].gpus) == expected, seed
        total = None if None in expected else sum(gpus for gpus in expected if gpus is not None)
        within = total if total is not None and total <= asked.max_gpus else None
        assert (result.gpus, result.proof) == (within, "certified-optimal"), seed


@pytest.mark.slow  # every fleet of replicas of one phase and of both, of eight questions
def test_any_equals_brute_force_over_mixes() -> None:
    for seed in range(8, 16):
        asked = small_instance(seed).model_copy(update={"serving": "any", "engine": "any"})
        free = asked.model_copy(update={"device": asked.device.model_copy(update={"engines": ()})})
        result = answer(free, settings=QUICK)
        assert (result.gpus, result.proof) == (fewest_of_mixes(free), "certified-optimal"), seed


@pytest.mark.slow  # each engine's answer has a certificate, checked twice
@pytest.mark.parametrize("serving", ["apart", "any"])
def test_where_no_engine_is_named_each_has_a_certificate(serving: str) -> None:
    asked = question(serving=serving)
    solved = Solved(asked, answer(asked, settings=QUICK))
    assert solved.proof == "certified-optimal"
    assert {one.engine for one in solved.result.engines if one.chosen} == {solved.result.engine}
    found = solved.certificates()
    assert set(found) == {"any", "vllm", "sglang", "trtllm"}
    for document in found.values():
        assert verify(document, asked).accepted
        assert not verify(document, question(serving=serving, transfer={"bandwidth": "1 GB/s"})).accepted


def mixed() -> tuple[Instance, Plan]:
    """The plan of both pools for 32 prompts, and one replica of both phases for eight more."""
    asked = question(engine="vllm", serving="any")
    apart = answer(question(engine="vllm"), settings=QUICK).plan
    both = answer(question(engine="vllm", serving="together"), settings=QUICK).plan
    assert apart is not None
    assert both is not None
    group = Group(**{name: getattr(both.parts[0], name) for name in Group.model_fields})
    group = group.model_copy(update={"replicas": 1, "shares": (Share(requests=8),)})
    load = asked.scenarios[0].workload.model_copy(update={"batch_size": 40})
    more = asked.model_copy(update={"scenarios": (asked.scenarios[0].model_copy(update={"workload": load}),)})
    plan = apart.model_copy(update={"groups": (*apart.groups, group), "replicas": apart.replicas + 1})
    return more, Plan.model_validate(plan.model_dump())


def test_a_mixed_plan_is_judged_predicted_and_played_in_its_parts() -> None:
    asked, plan = mixed()
    found = evaluate(asked, plan)
    assert found.violations == ()
    assert [one.pool for one in predict(asked, plan)] == ["prefill", "decode", None]
    parts = [
        one.throughput("main").requests_per_s for one in (found, evaluate(question(engine="vllm"), apart_of(plan)))
    ]
    assert parts[0] > parts[1]
    (outcome,) = simulate(asked, plan)
    assert len(outcome.runs[0].finished) == 40
    short = plan.model_copy(update={"groups": (*plan.groups[:2], with_share(plan.groups[2], 4))})
    assert {item.group for item in evaluate(asked, short).violations} == {"ttft[main]"}  # the pools take the rest
    late = asked.model_copy(update={"transfer": asked.transfer.model_copy(update={"setup": 1_900_000_000})})
    assert {item.index for item in evaluate(late, plan).violations} == {"prefill, plan"}


def apart_of(plan: Plan) -> Plan:
    return plan.model_copy(update={"groups": plan.groups[:2], "replicas": plan.replicas - 1})


def with_share(group: Group, requests: int) -> Group:
    return group.model_copy(update={"shares": (Share(requests=requests),)})


@pytest.mark.slow  # nine questions
def test_any_is_never_worse_than_together_or_apart() -> None:
    for seed in range(40, 43):
        apart = small_instance(seed)
        found = {
            serving: answer(apart.model_copy(update={"serving": serving}), settings=QUICK)
            for serving in ("together", "apart", "any")
        }
        fewest = min((one.gpus for one in found.values() if one.gpus is not None), default=None)
        assert found["any"].gpus == fewest, seed
        bounds = [one.bound for name, one in found.items() if name != "any" and one.status != "infeasible"]
        assert found["any"].bound == min((bound for bound in bounds if bound is not None), default=None), seed


def test_a_certificate_is_accepted_with_and_without_its_question() -> None:
    asked = question(serving="any", engine="vllm")
    solved = Solved(asked, answer(asked, settings=QUICK))
    document = solved.certificate()
    assert document is not None
    assert verify(document).accepted
    found = verify(document, asked)
    assert found.accepted, found.reason
    assert found.claim is not None
    assert found.claim.startswith("certified-optimal")
    other = verify(document, question(serving="any", engine="vllm", transfer={"bandwidth": "1 GB/s"}))
    assert not other.accepted


def test_forged_sums_are_refused() -> None:
    asked = question(engine="vllm")
    document = Solved(asked, answer(asked, settings=QUICK)).certificate()
    assert document is not None
    whole = json.dumps(document)
    for forge in (_lower_claim, _lower_part, _no_decode, _other_budget, _together_missing):
        forged = json.loads(whole)
        forge(forged)
        assert not verify(forged).accepted, forge.__name__


def _lower_claim(document: Any) -> None:
    document["claim"]["lower"] += 1
    document["claim"]["upper"] += 1


def _lower_part(document: Any) -> None:
    document["prefill"]["claims"]["gpus"]["lower"] -= 1


def _no_decode(document: Any) -> None:
    document["decode"] = None


def _other_budget(document: Any) -> None:
    document["max_gpus"] = document["claim"]["lower"] - 1


def _together_missing(document: Any) -> None:
    document["serving"] = "any"


def test_a_plan_says_its_pools_and_reads_back() -> None:
    asked = question()
    result = answer(asked, settings=QUICK)
    assert result.plan is not None
    again = Plan.model_validate(json.loads(result.plan.model_dump_json()))
    assert again == result.plan
    assert {group.pool for group in again.groups} == {"prefill", "decode"}
    assert again.in_pool("prefill").gpus + again.in_pool("decode").gpus == result.gpus
    found = evaluate(asked, again)
    assert found.violations == ()
    assert result.metrics is not None
    assert found.ttft / 1e9 == result.metrics.ttft_s <= 2
    assert 0 < found.tpot / 1e6 == result.metrics.tpot_ms <= 30


def test_ttft_holds_the_transfer_and_the_limit_binds_with_it() -> None:
    asked = question()
    slow = question(transfer={"bandwidth": "1 GB/s"})
    sent = sending_time(slow, 2048)
    assert sent == pytest.approx(1e9 * prompt_bytes(slow, 2048) / 1e9 + 10_000, abs=1)
    fast, late = (answer(one, settings=QUICK).pools["prefill"].gpus for one in (asked, slow))
    assert fast is not None
    assert late is not None
    assert late > fast
    assert answer(question(transfer={"setup": "2 s"}), settings=QUICK).status == "infeasible"


def test_a_pool_left_without_its_transfer_is_a_violation() -> None:
    result = answer(question(), settings=QUICK)
    assert result.plan is not None
    found = evaluate(question(transfer={"setup": "1900 ms"}), result.plan)
    assert [item.group for item in found.violations] == ["ttft[main]"]
    assert found.violations[0].index == "prefill, plan"


def test_pools_keep_what_is_theirs() -> None:
    asked = question()
    prefill, decode = (pool_instance(asked, name, ANY_TOKEN).scenarios[0] for name in ("prefill", "decode"))
    assert (prefill.workload.resident_tokens, decode.workload.resident_tokens) == (2048, 2304)
    assert (prefill.limits.tpot, decode.limits.ttft) == (None, None)


def test_the_link_is_one_more_stage() -> None:
    for times, groups, chunks, sending in (((3, 5, 2), 4, 1, 7), ((3, 5, 2), 4, 3, 4), ((9,), 3, 2, 1)):
        leaves = simulate_prefill(times, groups * chunks)
        arrives = simulate_sending(leaves, chunks=chunks, sending=sending)
        assert arrives[-1] == last_sent(times, groups * chunks, chunks=chunks, sending=sending)


def test_one_gpu_is_no_two_pools() -> None:
    found = answer(question(limits={"max_gpus": 1}))
    assert (found.status, found.exit_code) == ("infeasible", 1)
    both = answer(question(limits={"max_gpus": 1}, serving="any"), settings=QUICK)
    assert both.gpus == 1
    assert both.pools.keys() == {"together"}


def test_questions_that_say_too_little_are_refused() -> None:
    loop = {"kind": "closed-loop", "input_tokens": 512, "output_tokens": 64, "concurrency": 8}
    with pytest.raises(InputError, match=r"limits\.ttft"):
        answer(question(workload=loop, limits={}))
    with pytest.raises(InputError, match="something to decode"):
        answer(question(workload={"kind": "burst", "input_tokens": 9, "output_tokens": 1, "batch_size": 2}))
    with pytest.raises(InputError, match="serving"):
        deployment_of(question())


def test_a_question_without_pools_keeps_its_fingerprint() -> None:
    plain = question(serving="together")
    assert plain.fingerprint == question(serving="together", transfer={"setup": "1 s"}).fingerprint
    assert plain.fingerprint != question().fingerprint


@pytest.mark.slow  # two random questions, each answered three ways
def test_the_documented_command_counts_no_worse_answer() -> None:
    assert never_worse(2) == 0
