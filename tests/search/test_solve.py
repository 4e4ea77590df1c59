"""The main case and its variations, engines, statuses and limits, through the public function."""

from __future__ import annotations

import pytest

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.loops import Loop
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.reading import read_mapping
from shardproof.instances.resolve import load_instance, merge, resolve_tree
from shardproof.solver.analysis.limiting import engine_sentences
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.problem import deployment_of
from shardproof.solver.result import Result
from shardproof.solver.search.cp_sat import confirm
from shardproof.solver.search.settings import Progress, Settings
from shardproof.solver.solve import solve
from tests.oracles.places import CASES


def case(name: str, **changes: object) -> Instance:
    path = CASES / f"{name}.yaml"
    return resolve_tree(merge(read_mapping(path), changes), where=str(path))


def small(**changes: object) -> Instance:
    tree = {
        "model": "qwen3-8b",
        "device": "l4",
        "workload": {"kind": "burst", "batch_size": 8, "input_tokens": 1024, "output_tokens": 128},
        "limits": {"ttft": "6 s", "max_gpus": 16},
    }
    return resolve_tree(merge(tree, changes), where="small")


@pytest.mark.parametrize(
    ("name", "gpus"), [("qwen3-235b-a22b", 5), ("qwen3-235b-a22b-bf16-kv", 6), ("qwen3-235b-a22b-longest", 9)]
)
def test_the_hand_written_document(name: str, gpus: int) -> None:
    result = solve(load_instance(CASES / f"{name}.yaml"))
    assert (result.status, result.gpus, result.bound) == ("optimal", gpus, gpus)
    assert result.proof == "certified-optimal"
    assert result.metrics.ttft_s <= 30
    assert result.plan.gpus == gpus


@pytest.mark.parametrize("bandwidth", ["1 GB/s", "25 GB/s", "900 GB/s"])
def test_five_gpus_whatever_the_links(bandwidth: str) -> None:
    link = {"bandwidth": bandwidth}
    result = solve(case("qwen3-235b-a22b", hardware={"scale_up": link, "scale_out": link}))
    assert (result.gpus, result.bound, result.proof) == (5, 5, "certified-optimal")


def test_a_plan_passes_its_own_evaluation() -> None:
    instance = case("qwen3-235b-a22b")
    result = solve(instance)
    evaluation = evaluate(instance, result.plan)
    assert evaluation.violations == ()
    assert evaluation.ttft / 1e9 == result.metrics.ttft_s
    assert evaluation.peak_memory == result.levels["memory"].value
    assert evaluation.ttft == result.levels["ttft"].value


def test_same_question_same_plan() -> None:
    one, other = solve(small()), solve(small())
    assert one.plan == other.plan


def test_infeasible_limits_are_proven() -> None:
    result = solve(small(limits={"ttft": "1 ms"}))
    assert (result.status, result.proof, result.gpus, result.plan) == ("infeasible", "certified-optimal", None, None)
    assert result.exit_code == 1
    assert "TTFT alone" in result.explanation[0]


def test_out_of_time_is_undecided_not_infeasible() -> None:
    """What is at hand before the first look at the clock is given all the same, and called no optimum."""
    result = solve(small(), settings=Settings(time_limit_s=0.0))
    assert result.stop_reason == "time-limit"
    if result.gpus is None:
        assert (result.status, result.proof, result.gap) == ("undecided", "none", None)
        assert result.exit_code == 3
    else:
        assert result.status == "feasible"


def test_interruption_keeps_what_is_known() -> None:
    def interrupt(progress: Progress) -> None:
        if progress.incumbent is not None:
            raise KeyboardInterrupt

    result = solve(case("qwen3-235b-a22b"), settings=Settings(on_progress=interrupt))
    assert result.stop_reason == "interrupted"
    assert result.status in ("feasible", "optimal")
    assert result.gpus >= result.bound >= 1


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_engines_never_need_fewer_gpus(engine: str) -> None:
    free, bound = solve(small()), solve(small(engine=engine))
    assert bound.status == "optimal"
    assert bound.gpus >= free.gpus
    widths = {stage.option.degrees for stage in bound.plan.stages}
    assert len(widths) == 1
    assert bound.engine_flags


@pytest.mark.slow(reason="the longest stored case, once with and once without the rules of an engine")
def test_an_engine_rule_is_blamed() -> None:
    """The best plan of the longest case mixes widths; engines with one width for all need more."""
    instance = case("qwen3-235b-a22b-longest", engine="vllm@0.7")
    result = solve(instance, settings=Settings(explain=False))
    assert result.gpus > 9
    sentences = engine_sentences(Deployment(instance), result.gpus)
    assert f"vllm needs {result.gpus} GPUs where 9 would do" in sentences[0]


def test_tpot_limits_hold() -> None:
    loose, tight = solve(small()), solve(small(limits={"tpot": "30 ms"}))
    assert tight.metrics.tpot_ms <= 30
    assert tight.gpus >= loose.gpus


def test_scenarios_hold_together() -> None:
    def scenario(name: str, batch: int, tokens: int) -> dict[str, object]:
        load = {"kind": "burst", "batch_size": batch, "input_tokens": tokens, "output_tokens": 128}
        return {"name": name, "workload": load, "limits": {"ttft": "6 s"}}

    chat, document = scenario("chat", 8, 1024), scenario("document", 2, 8192)

    def gpus(*scenarios: dict[str, object]) -> Result:
        tree = {"model": "qwen3-8b", "device": "l4", "limits": {"max_gpus": 16}, "scenarios": list(scenarios)}
        return solve(resolve_tree(tree, where="x"))

    both = gpus(chat, document)
    assert both.status == "optimal"
    assert both.gpus >= max(gpus(chat).gpus, gpus(document).gpus)
    assert [item.scenario for item in both.plan.microbatches] == ["chat", "document"]


def test_a_tied_head_is_stored_once_on_one_stage() -> None:
    instance = small(model="gemma-3-4b", limits={"ttft": "60 s"})
    result = solve(instance)
    assert result.gpus == 1
    assert result.plan.stages[0].memory_bytes["head"] == 0


def test_cp_sat_agrees_on_an_instance() -> None:
    instance = small(limits={"max_gpus": 4, "ttft": "20 s"}, workload={"batch_size": 2})
    exact, program = solve(instance), solve(instance, settings=Settings(search="cp-sat", workers=1))
    assert (exact.gpus, exact.bound) == (program.gpus, program.bound)
    assert (
        abs(exact.levels["ttft"].value - program.levels["ttft"].value)
        <= exact.levels["ttft"].value - exact.levels["ttft"].bound
    )


def test_confirmation_by_cp_sat() -> None:
    result = solve(small(), settings=Settings(search="both", workers=1))
    assert result.status == "optimal"
    confirm(result.evidence.program, result.evidence.chain, Settings(workers=1))


def test_margin_costs_time_not_truth() -> None:
    plain, careful = solve(small()), solve(small(margin="50%"))
    assert careful.gpus >= plain.gpus
    assert careful.metrics.ttft_s * 1.5 <= 6


def test_programs_are_lazy() -> None:
    program = deployment_of(case("qwen3-235b-a22b")).program
    assert len(program.layouts) > 20
    assert len(program.layouts[0].axes[0].choices) == 22


def loop(**limits: object) -> Result:
    tree = {
        "model": "llama-3.1-8b",
        "device": "l40s",
        "workload": {"kind": "closed-loop", "concurrency": 32, "input_tokens": 1024, "output_tokens": 256},
        "limits": {"max_gpus": 16} | limits,
    }
    return solve(resolve_tree(tree, where="loop"))


def test_closed_loops_are_planned_and_proven() -> None:
    loose, tight = loop(tpot="60 ms", ttft="2 s"), loop(tpot="25 ms", ttft="500 ms")
    for result in (loose, tight):
        assert (result.status, result.proof) == ("optimal", "certified-optimal")
    assert tight.gpus >= loose.gpus
    assert tight.metrics.tpot_ms <= 25
    assert tight.metrics.ttft_s <= 0.5


def test_a_closed_loop_charges_the_prompts_of_others() -> None:
    result = loop(tpot="60 ms")
    instance = resolve_tree(
        {
            "model": "llama-3.1-8b",
            "device": "l40s",
            "workload": {"kind": "closed-loop", "concurrency": 32, "input_tokens": 1024, "output_tokens": 256},
            "limits": {"tpot": "60 ms", "max_gpus": 16},
        },
        where="loop",
    )
    figures = evaluate(instance, result.plan).scenarios[0]
    loop_of = Loop(Deployment(instance), instance.scenarios[0], figures.running, figures.running, "scale_up")
    assert figures.decode_microbatches == 1
    option = result.plan.stages[0].option
    kind = loop_of.cells.kind_names[0]
    beside = loop_of.cells.layer_time(kind, option, loop_of.steps[2])
    assert loop_of.layer(kind, option).iteration - loop_of.layer(kind, option).decode >= beside * figures.running / 256
    assert figures.tpot > sum(stage.decode for stage in figures.stages)


def profiled(profile: str | None, **limits: object) -> Instance:
    tree = {
        "model": "qwen3-30b-a3b",
        "device": "l4",
        "max_stage_gpus": 4,
        "load_profile": profile,
        "workload": {"kind": "burst", "batch_size": 16, "input_tokens": 1024, "output_tokens": 128},
        "limits": {"max_gpus": 4} | limits,
    }
    return resolve_tree(tree, where="x")


def test_a_load_profile_enters_the_stage_time() -> None:
    equal, skewed = Deployment(profiled(None)), deployment_of(profiled("zipf:0.9"))
    assert len(set(skewed.layer_kinds)) > 1
    step = Step("prefill", 16, 1024, 0)
    kind = skewed.layer_kinds[0]
    plain = Option(1, 4, 1, 4)
    one_more = Option(1, 4, 1, 4, extra_slots=1)
    assert skewed.layer_time(kind, plain, step) > equal.layer_time(equal.layer_kinds[0], plain, step)
    assert skewed.layer_time(kind, one_more, step) <= skewed.layer_time(kind, plain, step) * 1.001
    assert skewed.layer_weights(kind, one_more) > skewed.layer_weights(kind, plain)


def test_equal_loads_stay_one_kind() -> None:
    assert len(set(deployment_of(profiled("uniform")).layer_kinds)) == 1


def test_a_plan_carries_its_placement() -> None:
    result = solve(profiled("zipf:0.9", ttft="60 s"))
    assert result.proof == "certified-optimal"
    for stage in result.plan.stages:
        for layer in range(stage.layers[0], stage.layers[1] + 1):
            slots = result.plan.placement[layer]
            assert set(slots) == (set(range(128)) if stage.moe_ep > 1 else set())


def test_calibrated_times_come_from_measurements() -> None:
    flat, fitted = solve(small(device="h100-sxm", efficiency="flat")), solve(small(device="h100-sxm"))
    assert fitted.status == "optimal"
    assert fitted.metrics.ttft_s != flat.metrics.ttft_s
    assert any("curves fitted to measurements" in sentence for sentence in fitted.assumptions)


@pytest.mark.parametrize("max_gpus", [8, 64])
def test_a_closed_loop_is_certified_whatever_the_budget(max_gpus: int) -> None:
    """What is refuted under a plan's own GPUs must fit the program of the whole budget."""
    tree = {
        "model": "gpt-oss-20b",
        "device": "l4",
        "engine": "sglang",
        "workload": {"kind": "closed-loop", "concurrency": 100, "input_tokens": 1024, "output_tokens": 256},
        "limits": {"ttft": "2 s", "max_gpus": max_gpus},
    }
    answer = solve(resolve_tree(tree, where="case"), settings=Settings(explain=False))
    assert answer.proof == "certified-optimal"


@pytest.mark.parametrize("engine", ["any", "vllm"])
@pytest.mark.parametrize("tpot", ["50 ms", "12 ms"])
def test_a_tpot_limit_that_a_burst_keeps_anyway_makes_nothing_slower(engine: str, tpot: str) -> None:
    """The limit is met by several numbers of decode microbatches; the plan has the fastest, as without a limit."""
    changes = {"device": "h100-sxm", "engine": engine, "efficiency": "flat"}
    bound = solve(small(**changes, limits={"tpot": tpot}))
    free = solve(small(**changes))
    assert bound.plan is not None
    assert free.plan is not None
    assert bound.plan.microbatches == free.plan.microbatches
    assert bound.metrics == free.metrics
