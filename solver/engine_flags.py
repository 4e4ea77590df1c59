"""The flags with which an engine runs a plan whose stages all look alike.

Sources: vLLM 0.19 engine arguments and ``VLLM_PP_LAYER_PARTITION``; SGLang 0.5 server arguments and
``SGLANG_PP_LAYER_PARTITION``; TensorRT-LLM 1.1 LLM API arguments.
"""

from __future__ import annotations

from instances.plan import Plan


def engine_flags(plan: Plan) -> tuple[str, ...]:
    """Return the flags of the plan's engine, one replica each; none for ``any`` or for stages that differ."""
    widths = {(stage.attn_tp, stage.attn_dp, stage.moe_tp, stage.moe_ep) for stage in plan.stages}
    if plan.engine not in _WRITERS or len(widths) != 1:
        return ()
    return _WRITERS[plan.engine](plan)


def _partition(plan: Plan) -> str:
    return ",".join(str(stage.layers[1] - stage.layers[0] + 1) for stage in plan.stages)


def _vllm(plan: Plan) -> tuple[str, ...]:
    stage = plan.stages[0]
    flags = [f"--tensor-parallel-size {stage.attn_tp}", f"--pipeline-parallel-size {len(plan.stages)}"]
    if stage.attn_dp > 1:
        flags.append(f"--data-parallel-size {stage.attn_dp}")
    if stage.moe_ep > 1:
        flags.append("--enable-expert-parallel")
    flags.append(f"--max-num-batched-tokens {plan.microbatch_tokens}")
    environment = f"VLLM_PP_LAYER_PARTITION={_partition(plan)} " if len(plan.stages) > 1 else ""
    return (f"{environment}vllm serve {plan.model} {' '.join(flags)}",)


def _sglang(plan: Plan) -> tuple[str, ...]:
    stage = plan.stages[0]
    flags = [f"--tp-size {stage.gpus}", f"--pp-size {len(plan.stages)}"]
    if stage.attn_dp > 1:
        flags += [f"--dp-size {stage.attn_dp}", "--enable-dp-attention"]
    if stage.moe_ep > 1:
        flags.append(f"--ep-size {stage.moe_ep}")
    flags.append(f"--chunked-prefill-size {plan.microbatch_tokens}")
    environment = f"SGLANG_PP_LAYER_PARTITION={_partition(plan)} " if len(plan.stages) > 1 else ""
    return (f"{environment}python -m sglang.launch_server --model-path {plan.model} {' '.join(flags)}",)


def _trtllm(plan: Plan) -> tuple[str, ...]:
    stage = plan.stages[0]
    lines = [f"tensor_parallel_size: {stage.gpus}", f"pipeline_parallel_size: {len(plan.stages)}"]
    if stage.attn_dp > 1:
        lines.append("enable_attention_dp: true")
    if stage.moe_ep > 1:
        lines.append(f"moe_expert_parallel_size: {stage.moe_ep}")
    if len(plan.stages) > 1:
        lines.append(f"pp_partition: [{_partition(plan)}]")
    lines.append(f"max_num_tokens: {plan.microbatch_tokens}")
    return tuple(lines)


_WRITERS = {"vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm}
