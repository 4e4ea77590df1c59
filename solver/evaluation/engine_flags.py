"""The command lines with which an engine runs a plan whose stages all look alike, and what is to be said beside them.

Sources: vLLM 0.33 engine arguments, ``VLLM_PP_LAYER_PARTITION`` (vllm/distributed/utils.py) and multi-node serving
(``--nnodes``; ``--data-parallel-size-local``); SGLang 0.5.23 server arguments, ``SGLANG_PP_LAYER_PARTITION``, and its
division of running requests and chunks by dp under DP attention (server_args.py); TensorRT-LLM 1.1 LLM API arguments.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from shardproof.formulations.costs.engine_memory import EngineMemory
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Pool
from shardproof.solver.evaluation.engine_commands import WRITERS, Told, served_name
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.groups import pool_names, questions
from shardproof.solver.evaluation.pool_flags import pool_flags, pool_options


def engine_flags(instance: Instance, plan: Plan, *, pool: Pool | None = None) -> tuple[str, ...]:
    """Return the command lines of one replica of a plan, node by node, and notes on them; ``pool``: its phase, if one.

    None for ``any`` or for stages that differ in their widths. A mixed fleet has those of each group, and the
    router's weights.
    """
    if plan.groups:
        return tuple(_fleet_flags(instance, plan))
    widths = {stage.option.degrees for stage in plan.stages}
    if plan.engine not in WRITERS or instance.engine != plan.engine or len(widths) != 1:
        return ()
    told = Told(EnginePlan(instance, plan))
    lines = WRITERS[plan.engine](told)
    if pool is not None:
        added, options = pool_flags(plan.engine, pool), pool_options(pool, told.launch.longest).splitlines()
        lines = [f"{line} {shlex.join(added)}" for line in lines] if added else [*lines, *options]
    return (*lines, *engine_notes(told))


def _fleet_flags(instance: Instance, plan: Plan) -> Iterator[str]:
    names = pool_names(plan)
    for place, (asked, part) in enumerate(questions(instance, plan)):
        pool = names[place] if names else None
        found = engine_flags(asked, part, pool=pool)
        if found:
            weights = ", ".join(f"{share.requests} of {share.scenario}" for share in part.shares)
            said = f", routing weight of each (requests): {weights}" if weights else ""
            yield f"group {place}{f', {pool} pool' if pool else ''}, {part.replicas} x{said}"
            yield from found


def engine_account(instance: Instance, plan: Plan) -> EngineMemory:
    """Return the engine's own account of one device of the binding stage, under the flags of the plan."""
    return EnginePlan(instance, plan).binding


def engine_notes(told: Told) -> list[str]:
    """Return what is to be said beside the lines: the engine's account, copies, weights that no flag serves."""
    instance, plan = told.instance, told.plan
    found = told.engine.binding
    verdict = f"; by that account it would refuse: {found.refusal}" if found.refusal else ""
    notes = [
        f"the engine's own account at memory utilisation {float(told.engine.utilisation):g}: KV cache of "
        f"{found.kv_tokens:,} tokens, {found.kv_bytes / 2**30:.2f} GiB{verdict}"
    ]
    if plan.replicas > 1:
        notes.append(f"that is one replica; {plan.replicas} of them run beside each other")
    notes += weight_notes(told)
    notes += position_notes(told)
    cache = instance.model.kv_dtype
    if told.cache_dtype() is None and cache not in ("bf16", "fp16"):
        notes.append(f"{instance.engine} has no KV cache in {cache}: its flag is left out")
    return notes


def weight_notes(told: Told) -> list[str]:
    """Say what the checkpoint stores, where the plan counts on another dtype."""
    instance, own = told.instance, told.instance.checkpoint.weights
    if own is None:
        return []
    wanted, said = instance.model.formats.attention.dtype, f"{served_name(instance)} stores its weights in {own}"
    if not told.quantises:
        return [
            f"{said}: no flag serves them in {wanted}; quantise the checkpoint first, or name one that is stored so"
        ]
    if not told.fits_before:
        return [
            f"{said}, {told.before / 1e9:.1f} GB on each device before the engine could quantise them, more than it "
            f"has: name a checkpoint that is stored in {wanted}"
        ]
    return [f"{said}; the engine quantises them after it loaded them"]


def position_notes(told: Told) -> list[str]:
    """Say how requests beyond the positions of the checkpoint's config are reached, and what the engine lowers."""
    instance, settings = told.instance, told.instance.engine_settings
    positions, asked = instance.model.max_position, settings.max_model_len
    notes = []
    if settings.rope_scaling is not None:
        rope = settings.rope_scaling
        notes.append(
            f"positions are stretched to {positions:,} ({rope.rope_type} x {float(rope.factor):g}); the flag replaces "
            "the checkpoint's own section (inside text_config where that wraps the text model)"
            + ("" if rope.rope_theta or instance.engine != "vllm" else ": add its rope_theta to it")
        )
    if told.beyond:
        notes.append(f"requests beyond the model's {positions:,} positions are accepted at the reader's own risk")
    if asked is not None and told.launch.longest < asked:
        notes.append(f"{instance.engine} lowers max_seq_len {asked:,} to the model's {positions:,} positions")
    return notes
