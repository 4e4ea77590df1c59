"""A proven plan as a Markdown deployment document, in the shape of those that teams write by hand.

Every figure is printed as it was computed, so that the auditor can read the document back and confirm it.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.formulations.engines.told import memory_budget
from shardproof.instances.instance import Instance
from shardproof.instances.layers import CompressedAttention, GroupedQueryAttention, LatentAttention, MixtureOfExperts
from shardproof.instances.plan import Group, Plan, Stage
from shardproof.instances.units import format_bytes
from shardproof.instances.workload import OpenLoop
from shardproof.solver.documents.text import printable
from shardproof.solver.evaluation.figures import Evaluation, GroupFigures
from shardproof.solver.open_loop.evaluated import evaluate_any
from shardproof.solver.result import Result
from shardproof.solver.solve import metrics_of


def write_document(instance: Instance, result: Result) -> str:
    """Write the plan of a result as a deployment document.

    Raises
    ------
    ValueError
        If the result holds no plan.
    """
    if result.plan is None:
        raise ValueError("there is no plan to write")
    plan, figures = result.plan, evaluate_any(instance, result.plan)
    name = printable(instance.model.name, limit=80)
    sections = [
        [f"# Parallel Strategy Deployment Method for {name}"],
        ["## Model Configuration", *_model(instance)],
        ["## Hardware Environment", *_hardware(instance)],
        ["## Input Requirements", *_workload(instance)],
        *_strategies(instance, plan, figures),
        ["## GPU Allocation", *_allocation(instance, plan)],
        ["## Performance Characteristics", *_performance(instance, plan, figures)],
        ["## Proof", *_proof(instance, result)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _model(instance: Instance) -> Iterator[str]:
    model = instance.model
    moe = _experts(instance)
    yield f"- Model: {printable(model.name, limit=80)}"
    yield f"- Parameters: {model.parameters / 1e9:.2f}B"
    yield f"- Layers: {model.layer_count}"
    if moe is not None:
        yield f"- Experts per layer: {moe.experts}"
        yield f"- Experts per token: {moe.topk}"
    yield f"- Precision: {(model.formats.experts if moe else model.formats.attention).dtype.upper()}"
    yield f"- KV cache precision: {model.kv_dtype.upper()}"
    yield f"- Token Dimension: {model.hidden}"


def _hardware(instance: Instance) -> Iterator[str]:
    device, model = instance.device, instance.model
    dtype = device.compute_dtype((model.formats.experts if _experts(instance) else model.formats.attention).dtype)
    yield f"- Single GPU Compute: {device.peak_flops[dtype] / 1e12:.6g} TFLOPS ({dtype.upper()})"
    yield f"- Single GPU Memory: {instance.memory_limit / 1e9:.6g} GB"
    yield f"- Memory Bandwidth: {device.memory_bandwidth / 1e12:.6g} TB/s"
    yield f"- MFU Utilization: {float(device.mfu * 100):.6g}%"


def _workload(instance: Instance) -> Iterator[str]:
    scenario = instance.scenarios[0]
    load = scenario.workload
    if isinstance(load, OpenLoop):
        yield f"- Request Rate: {float(load.rate):.6g} requests per second"
    else:
        yield f"- Batch Size: {load.requests} sequences"
    if load.sequence_length_range is not None:
        yield f"- Sequence Length: Variable [{load.sequence_length_range[0]}, {load.sequence_length_range[1]}]"
    yield f"- Input Sequence: {load.input_tokens} tokens"
    yield f"- Output Sequence: {load.output_tokens} tokens"
    for item in scenario.limits.percentiles:
        yield f"- {item.figure.upper()} p{float(item.percent):g} Requirement: {item.limit / 1e6:.9g} ms"
    if scenario.limits.ttft is not None:
        yield f"- TTFT Requirement: {scenario.limits.ttft / 1e9:.9g} seconds"
    if scenario.limits.tpot is not None:
        yield f"- TPOT Requirement: {scenario.limits.tpot / 1e6:.9g} ms"


def _strategies(instance: Instance, plan: Plan, figures: Evaluation) -> Iterator[list[str]]:
    """One section for replicas that are all alike, one for each group of a mixed fleet."""
    start = 0
    for place, found in enumerate(figures.groups):
        group = found.group
        lines = list(_strategy(instance, group, found, start))
        if not plan.groups:
            yield ["## Parallel Strategy", *lines]
            continue
        routed = " and ".join(f"{share.requests} requests of {share.scenario}" for share in group.shares)
        head = f"{group.replicas} replica{'s' if group.replicas > 1 else ''} of {group.width} GPUs"
        yield [f"## Parallel Strategy of Group {place}", f"- {head}; each takes at most {routed}", *lines]
        start += group.gpus


def _strategy(instance: Instance, plan: Group, figures: GroupFigures, start: int) -> Iterator[str]:
    options = {stage.option.degrees for stage in plan.stages}
    uniform = plan.stages[0] if len(options) == 1 else None
    if uniform is not None:
        yield from _degrees(instance, uniform)
    yield f"\n### Pipeline Parallel (PP): {len(plan.stages)}"
    for index, stage in enumerate(plan.stages):
        memory = max(scenario.stages[index].memory for scenario in figures.scenarios)
        own = "" if uniform is not None else f", TP {stage.attn_tp}, DP {stage.attn_dp}, EP {stage.moe_ep}"
        gpus = f"GPU {start}" if stage.gpus == 1 else f"GPUs {start}-{start + stage.gpus - 1}"
        layers = f"layers {stage.layers[0]}-{stage.layers[1]}"
        yield f"- Stage {index}: {layers}, {gpus}{own}, memory per GPU {memory / 1e9:.2f} GB"
        start += stage.gpus
    runs = plan.microbatches[0] if plan.microbatches else None
    if runs is not None:
        yield f"- Microbatch size: {runs.prefill_requests} requests"
        if runs.prompt_chunks > 1:
            yield f"- Prompt chunks: {runs.prompt_chunks}"
        yield f"- Decode microbatches: {runs.decode_microbatches}"


def _degrees(instance: Instance, stage: Stage) -> Iterator[str]:
    moe, heads = _experts(instance), _heads(instance)
    yield f"\n### Tensor Parallel (TP): {stage.attn_tp}"
    if heads is not None:
        yield f"- Each GPU handles {heads // stage.attn_tp} attention heads"
    yield f"\n### Data Parallel (DP): {stage.attn_dp}"
    if moe is not None:
        slots = -(-moe.experts // stage.moe_ep) + stage.extra_slots
        yield f"\n### Expert Parallel (EP): {stage.moe_ep}"
        if slots * stage.moe_ep > moe.experts:
            yield f"- Redundant experts: {slots * stage.moe_ep - moe.experts}"
        yield f"- Each GPU holds {slots} experts"


def _allocation(instance: Instance, plan: Plan) -> Iterator[str]:
    yield f"- Total GPUs Required: {plan.gpus}"
    yield f"- Replicas: {plan.replicas}"
    del instance


def _performance(instance: Instance, plan: Plan, figures: Evaluation) -> Iterator[str]:
    limits = instance.scenarios[0].limits
    own = max((group.scenarios[0] for group in figures.groups), key=lambda found: found.ttft)
    yield f"- Estimated TTFT: {own.ttft / 1e9:.3f} seconds"
    if limits.ttft is not None:
        yield f"- Meets TTFT Requirement: {'YES' if own.ttft <= limits.ttft else 'NO'}"
    yield f"- Estimated TPOT: {own.tpot / 1e6:.3f} ms"
    if limits.tpot is not None:
        yield f"- Meets TPOT Requirement: {'YES' if own.tpot <= limits.tpot else 'NO'}"
    yield f"- Peak memory per GPU: {figures.peak_memory / 1e9:.2f} GB"
    yield f"- Mean memory utilisation: {metrics_of(instance, plan, figures).memory_utilisation:.1%}"
    yield f"- Fits in GPU memory: {'YES' if figures.peak_memory <= memory_budget(instance) else 'NO'}"


def _proof(instance: Instance, result: Result) -> Iterator[str]:
    bound = result.bound
    yield f"> {result.status}, {result.proof}; lower bound {bound}; instance {instance.fingerprint[:16]}"
    yield ">"
    for sentence in result.explanation:
        yield f"> {printable(sentence, limit=300)}"
    yield f"> Usable memory of a device: {format_bytes(memory_budget(instance))}"


def _experts(instance: Instance) -> MixtureOfExperts | None:
    kinds = instance.model.kinds.values()
    return next((kind.feed_forward for kind in kinds if isinstance(kind.feed_forward, MixtureOfExperts)), None)


def _heads(instance: Instance) -> int | None:
    found = {
        kind.attention.heads
        for kind in instance.model.kinds.values()
        if isinstance(kind.attention, GroupedQueryAttention | LatentAttention | CompressedAttention)
    }
    return found.pop() if len(found) == 1 else None
