"""The flags with which an engine runs a plan whose stages all look alike.

Sources: vLLM 0.19 engine arguments and ``VLLM_PP_LAYER_PARTITION``; SGLang 0.5 server arguments and
``SGLANG_PP_LAYER_PARTITION``; TensorRT-LLM 1.1 LLM API arguments.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.formulations.costs.engine_memory import EngineMemory
from shardproof.formulations.costs.sharding import divide_up
from shardproof.instances.catalogue import published_name
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.groups import questions

UTILISATION = 0.9
"""Share of a device's memory that the engine is told to use."""


def engine_flags(instance: Instance, plan: Plan) -> tuple[str, ...]:
    """Return the flags of the plan's engine, one replica each, and the engine's own account of its memory.

    None for ``any`` or for stages that differ. A mixed fleet has those of each group, and the router's weights.
    """
    if plan.groups:
        return tuple(_fleet_flags(instance, plan))
    widths = {stage.option.degrees for stage in plan.stages}
    if plan.engine not in _WRITERS or len(widths) != 1:
        return ()
    return (*_WRITERS[plan.engine](plan, sequences(instance, plan)), _account(instance, plan))


def _fleet_flags(instance: Instance, plan: Plan) -> Iterator[str]:
    for place, (asked, part) in enumerate(questions(instance, plan)):
        found = engine_flags(asked, part)
        if found:
            weights = ", ".join(f"{share.requests} of {share.scenario}" for share in part.shares)
            yield f"group {place}, {part.replicas} x, routing weight of each (requests): {weights}"
            yield from found


def sequences(instance: Instance, plan: Plan) -> int:
    """Sequences that one attention replica holds at once, at most."""
    ranks = plan.replicas * plan.stages[0].attn_dp
    return max(divide_up(scenario.workload.requests, ranks) for scenario in instance.scenarios)


def engine_account(instance: Instance, plan: Plan) -> EngineMemory:
    """Return the engine's own account of one device of the binding stage, under the flags of the plan."""
    return EnginePlan(instance, plan).binding


def _account(instance: Instance, plan: Plan) -> str:
    found = engine_account(instance, plan)
    verdict = f"; by that account it would refuse: {found.refusal}" if found.refusal else ""
    return (
        f"the engine's own account at memory utilisation {UTILISATION:g}: KV cache of {found.kv_tokens:,} tokens, "
        f"{found.kv_bytes / 2**30:.2f} GiB{verdict}"
    )


def _partition(plan: Plan) -> str:
    return ",".join(str(stage.layers[1] - stage.layers[0] + 1) for stage in plan.stages)


def _vllm(plan: Plan, sequences: int) -> tuple[str, ...]:
    stage = plan.stages[0]
    flags = [f"--tensor-parallel-size {stage.attn_tp}", f"--pipeline-parallel-size {len(plan.stages)}"]
    if stage.attn_dp > 1:
        flags.append(f"--data-parallel-size {stage.attn_dp}")
    if stage.moe_ep > 1:
        flags.append("--enable-expert-parallel")
    flags += [
        f"--max-num-batched-tokens {plan.microbatch_tokens}",
        f"--max-num-seqs {sequences}",
        f"--gpu-memory-utilization {UTILISATION}",
    ]
    environment = f"VLLM_PP_LAYER_PARTITION={_partition(plan)} " if len(plan.stages) > 1 else ""
    return (f"{environment}vllm serve {published_name(str(plan.model))} {' '.join(flags)}",)


def _sglang(plan: Plan, sequences: int) -> tuple[str, ...]:
    stage = plan.stages[0]
    flags = [f"--tp-size {stage.gpus}", f"--pp-size {len(plan.stages)}"]
    if stage.attn_dp > 1:
        flags += [f"--dp-size {stage.attn_dp}", "--enable-dp-attention"]
    if stage.moe_ep > 1:
        flags.append(f"--ep-size {stage.moe_ep}")
    flags += [
        f"--chunked-prefill-size {plan.microbatch_tokens}",
        f"--max-running-requests {sequences}",
        f"--mem-fraction-static {UTILISATION}",
    ]
    environment = f"SGLANG_PP_LAYER_PARTITION={_partition(plan)} " if len(plan.stages) > 1 else ""
    return (
        f"{environment}python -m sglang.launch_server --model-path {published_name(str(plan.model))} {' '.join(flags)}",
    )


def _trtllm(plan: Plan, sequences: int) -> tuple[str, ...]:
    stage = plan.stages[0]
    lines = [f"tensor_parallel_size: {stage.gpus}", f"pipeline_parallel_size: {len(plan.stages)}"]
    if stage.attn_dp > 1:
        lines.append("enable_attention_dp: true")
    if stage.moe_ep > 1:
        lines.append(f"moe_expert_parallel_size: {stage.moe_ep}")
    if len(plan.stages) > 1:
        lines.append(f"pp_partition: [{_partition(plan)}]")
    lines += [f"max_num_tokens: {plan.microbatch_tokens}", f"max_batch_size: {sequences}"]
    return tuple(lines)


_WRITERS = {"vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm}
