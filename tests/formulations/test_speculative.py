"""Speculative decoding in costs: what an iteration gives and takes, by hand, and what must never turn round."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import pytest

from shardproof.formulations.costs.compute import Step, head_operation
from shardproof.formulations.costs.memory import head_bytes, kv_bytes_per_request, layer_weight_bytes
from shardproof.formulations.costs.speculative import draft_weight_bytes, guess_steps, per_token
from shardproof.formulations.deployment.cells import decode_step
from shardproof.formulations.engines.told import account_of
from shardproof.instances.catalogue import load_model
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.plan import Microbatches, Plan, Stage
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.speculative import MILLION, Speculative
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.problem import deployment_of
from shardproof.solver.solve import solve

ALONE = Option(1, 1, 1, 1)


def question(speculative: Any = None, **changes: Any) -> Instance:
    tree: dict[str, Any] = {
        "model": "mimo-7b-base",
        "device": "h100-sxm",
        "efficiency": "flat",
        "workload": {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 256},
        "limits": {"max_gpus": 8, "tpot": "30 ms", "ttft": "1 s"},
        "speculative": speculative,
    }
    return resolve_tree(tree | changes, where="test")


def up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def test_tokens_of_an_iteration_by_hand() -> None:
    """One chance a: 1 + a + a^2 + a^3; a list as engines report it: one and its sum; a length as it is."""
    assert Speculative(method="ngram", draft_tokens=3, acceptance="0.7").tokens == 2_533_000
    assert Speculative(method="ngram", acceptance="0.8,0.5,0.2").tokens == 2_500_000
    assert Speculative(method="ngram", draft_tokens=3, acceptance_length="2.44").tokens == 2_440_000
    assert Speculative(method="ngram", draft_tokens=1, acceptance=Fraction(1, 3)).tokens == 1_333_333
    assert Speculative(method="ngram", draft_tokens=5, acceptance=0).tokens == MILLION
    assert Speculative(method="ngram", draft_tokens=5, acceptance=1).tokens == 6 * MILLION


def test_a_request_gets_no_more_than_it_asks_for() -> None:
    """Two output tokens: prefill gives the first, so that no iteration gives more than one."""
    instance = question({"method": "mtp", "acceptance": 1})
    scenario = instance.scenarios[0]
    short = scenario.model_copy(update={"workload": scenario.workload.model_copy(update={"output_tokens": 2})})
    assert decode_step(scenario, 4, instance.speculative).gives == 4 * MILLION
    assert decode_step(short, 4, instance.speculative).gives == MILLION


def test_times_are_rounded_up() -> None:
    assert per_token(1000, 2_500_000) == 400
    assert per_token(1001, 2_500_000) == 401
    assert per_token(7, MILLION) == 7


def test_a_stage_takes_verification_and_guesses_by_hand() -> None:
    """Layers at k + 1 tokens, each over E; the last stage also the head for every token, and all guesses."""
    instance = question({"method": "mtp", "draft_tokens": 2, "acceptance": "0.8,0.5"})
    deployment = deployment_of(instance)
    step = decode_step(instance.scenarios[0], 4, instance.speculative)
    assert (step.tokens, step.gives) == (3, 2_300_000)
    plain = Step("decode", 4, 3, step.context)
    kind = deployment.kind_names[0]
    whole = sum(deployment.clock.picoseconds(one)[1] for one in deployment.operations(kind, ALONE, plain))
    assert deployment.layer_time(kind, ALONE, step) == up(up(whole, 1000) * MILLION, 2_300_000)

    draft = instance.speculative and instance.speculative.draft
    assert draft is not None
    assert instance.speculative is not None
    steps = list(guess_steps(instance.speculative, step))
    assert [(one.tokens, one.context) for one in steps] == [(3, step.context), (1, step.context + 3)]
    clock, head = deployment.clock, head_operation(instance.model, ALONE, plain, "bf16")
    assert head.shape.m == 12
    guesses = list(deployment.guesses(ALONE, step))
    assert sum(one.shape.k == 2 * instance.model.hidden for one in guesses) == 2
    ends = sum(clock.picoseconds(one)[1] for one in (head, *guesses))
    assert deployment.end_times(ALONE, step, "scale_up").last == up(up(ends, 1000) * MILLION, 2_300_000)


def test_memory_of_modules_by_hand() -> None:
    """A module's layer, the matrix that joins two states, three norms; cache and slots of every request."""
    instance = question({"method": "mtp", "draft_tokens": 3})
    model, deployment = instance.model, deployment_of(instance)
    draft = instance.speculative and instance.speculative.draft
    assert draft is not None
    layer = model.predictors[0]
    by_hand = layer_weight_bytes(model, layer, ALONE) + 2 * 2 * model.hidden**2 + 2 * 3 * model.hidden
    assert draft_weight_bytes(draft, ALONE) == by_hand
    tokens = 512 + 256 + 3
    kept = 8 * kv_bytes_per_request(model, layer, ALONE, tokens)
    assert deployment.draft_kv(ALONE, instance.scenarios[0], 8) == kept
    assert deployment.layer_kv(deployment.kind_names[0], ALONE, instance.scenarios[0], 8) == kept


def test_a_draft_model_has_all_that_it_is_made_of() -> None:
    instance = question({"method": "draft", "draft_model": "qwen3-0.6b"}, model="qwen3-32b")
    small = load_model("qwen3-0.6b")
    draft = instance.speculative and instance.speculative.draft
    assert draft is not None
    layers = sum(layer_weight_bytes(small, small.kinds[kind], ALONE) for kind in small.layer_kinds)
    ends = 2 * small.vocab * small.hidden
    assert layers + ends <= draft_weight_bytes(draft, ALONE) <= layers + ends + head_bytes(small, ALONE)


@pytest.mark.parametrize(("engine", "hybrid"), [("vllm", True), ("vllm", False), ("sglang", True), ("trtllm", False)])
def test_engines_keep_the_draft_on_the_last_stage(engine: str, hybrid: bool) -> None:
    """Its layers' blocks count among those of their group, and every guess has its slot and state."""
    model = "qwen3.5-27b" if hybrid else "mimo-7b-base"
    accounts = [
        account_of(question(told, model=model, engine=engine))
        for told in (None, {"method": "ngram"}, {"method": "mtp"})
    ]
    none, ngram, modules = accounts
    assert none.groups == modules.groups[: len(none.groups)] or modules.pool.is_hybrid
    assert len(modules.groups) == len(none.groups)
    assert (none.pool.states, ngram.pool.states, modules.pool.states) == (1, 4, 4)
    assert none.draft_weights(ALONE) == ngram.draft_weights(ALONE) == 0 < modules.draft_weights(ALONE)
    assert sum(modules.draft_kinds.values()) == 1


@pytest.mark.parametrize("kind", ["burst", "closed-loop"])
@pytest.mark.parametrize("efficiency", ["flat", "calibrated"])
def test_guesses_that_never_hold_are_never_faster(kind: str, efficiency: str) -> None:
    load = {"kind": kind, "input_tokens": 512, "output_tokens": 256}
    load |= {"batch_size": 8} if kind == "burst" else {"concurrency": 8}
    plan = Plan(
        replicas=1,
        microbatch_tokens=4096,
        microbatches=(Microbatches(prefill_requests=8),),
        stages=(Stage.of((0, 35), ALONE),),
    )
    found = []
    for told in (None, {"method": "ngram", "acceptance": 0}, {"method": "mtp", "acceptance": 0}):
        figures = evaluate(question(told, workload=load, efficiency=efficiency), plan).scenarios[0]
        found.append((figures.tpot, figures.ttft, figures.stages[0].memory))
    for before, after in pairwise(found):
        assert all(later >= earlier for earlier, later in zip(before, after, strict=True)), found


def test_times_fall_with_acceptance_and_grow_with_guesses() -> None:
    times = []
    for acceptance in (0, "0.3", "0.6", "0.9", 1):
        row = []
        for guesses in (1, 2, 4, 8):
            told = {"method": "mtp", "draft_tokens": guesses, "acceptance": acceptance}
            deployment = deployment_of(question(told))
            step = decode_step(deployment.instance.scenarios[0], 8, deployment.instance.speculative)
            ends = deployment.end_times(ALONE, step, "scale_up")
            row.append(sum(deployment.layer_time(kind, ALONE, step) for kind in deployment.layer_kinds) + ends.last)
        times.append(row)
    pairs = [pair for before, after in pairwise(times) for pair in zip(before, after, strict=True)]
    assert all(better < worse for worse, better in pairs)
    assert times[0] == sorted(times[0])
    assert times[-1] == sorted(times[-1], reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_solve_equals_brute_force_over_plans(seed: int) -> None:
    """Two layers, every cut, option and microbatch: the fewest GPUs and the lowest TTFT are those of `solve`."""
    told = ({"method": "mtp", "draft_tokens": 1, "acceptance": "0.9"}, {"method": "ngram", "acceptance": "0.2"}, None)
    limit = (1_500, 1_000, 700, 500, 400, 300)[seed]
    instance = question(
        told[seed % 3],
        limits={"max_gpus": 4, "tpot": f"{limit} us", "ttft": "200 ms"},
        max_stage_gpus=2,
        replicas="alike",
        workload={"kind": "burst", "batch_size": 4, "input_tokens": 256, "output_tokens": 64},
    )
    kinds = instance.model.layer_kinds[:2]
    instance = instance.model_copy(update={"model": instance.model.model_copy(update={"layer_kinds": kinds})})
    deployment = deployment_of(instance)
    best: tuple[int, int] | None = None
    cuts = [[(0, 1)], [(0, 0), (1, 1)]]
    for replicas, cut in product((1, 2, 4), cuts):
        for options in product(deployment.options, repeat=len(cut)):
            for prefill, decode in product((1, 2, 4), (1, 2, 4)):
                stages = tuple(Stage.of(span, option) for span, option in zip(cut, options, strict=True))
                runs = Microbatches(prefill_requests=prefill, decode_microbatches=decode)
                plan = Plan(replicas=replicas, microbatch_tokens=256, microbatches=(runs,), stages=stages)
                figures = evaluate(instance, plan, deployment=deployment)
                if plan.gpus <= 4 and not figures.violations:
                    key = plan.gpus, figures.ttft
                    best = key if best is None else min(best, key)
    result = solve(instance)
    assert (best is None) == (seed == 5)
    if best is None:
        assert result.status == "infeasible"
        return
    assert result.plan is not None
    assert result.metrics is not None
    assert (result.gpus, round(result.metrics.ttft_s * 1e9)) == best
    assert result.proof == "certified-optimal"
