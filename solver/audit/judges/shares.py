"""Judges of what one GPU gets: heads, KV heads, experts, and the map of experts to GPUs."""

from __future__ import annotations

from fractions import Fraction

from shardproof.solver.audit.claim import Claim, confirmed, contradicted, inconsistent, not_checkable, show
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.judges.memory_counts import stage_floor
from shardproof.solver.documents.statement import Statement


def judge_heads_per_gpu(context: Context, statement: Statement) -> Claim:
    """Heads divided by TP; KV heads at least one on every rank."""
    facts = context.facts
    kv = statement.field == "kv_heads_per_gpu"
    heads = facts.kv_heads if kv else facts.heads
    if heads is None or not facts.one_shape:
        return not_checkable(statement, "the model's heads are not known, or differ by layer")
    widths = {reading.option.attn_tp for reading in context.readings}
    if not widths or (facts.stated("tp") is None and facts.gpus is None):
        return not_checkable(statement, "tensor parallelism is not stated")
    accepted = {max(Fraction(1), Fraction(heads, tp)) if kv else Fraction(heads, tp) for tp in widths}
    expected = min(accepted)
    name = "KV heads" if kv else "heads"
    formula = f"{heads} {name} / TP {' or '.join(map(str, sorted(widths)))} = {show(expected)}"
    return (confirmed if statement.number in accepted else contradicted)(statement, formula, expected)


def judge_experts_per_gpu(context: Context, statement: Statement) -> Claim:
    """Experts of a layer divided by EP, redundant ones included."""
    facts = context.facts
    if facts.experts is None:
        return not_checkable(statement, "the model's experts are not known")
    if facts.experts == 0:
        return (confirmed if statement.number == 0 else contradicted)(
            statement, "the model has no experts", Fraction(0)
        )
    if facts.stated("ep") is None and facts.document.first("expert_parallel_enabled") is None:
        return not_checkable(statement, "expert parallelism is not stated")
    slots = facts.experts + (facts.stated("redundant_experts") or 0)
    degrees = {reading.option.moe_ep for reading in context.readings} | {facts.stated("ep") or 1}
    accepted = {Fraction(-(-slots // ep)) for ep in degrees} | {Fraction(slots // ep) for ep in degrees if slots >= ep}
    stated_ep = facts.stated("ep") or min(degrees)
    expected = Fraction(-(-slots // stated_ep))
    formula = f"{slots} experts / EP {stated_ep} = {slots / stated_ep:.4g} per layer"
    if statement.number in accepted:
        return confirmed(statement, formula, expected)
    depths = {last - first + 1 for first, last in (context.stage_ranges(facts.pp or 1) or ())} | {facts.layers or 0}
    if "per layer" not in statement.text.lower() and any(
        statement.number == each * depth for each in accepted for depth in depths
    ):
        return confirmed(statement, f"{formula}, over the layers that the GPU holds", expected)
    return contradicted(statement, formula, expected)


def judge_replicated(context: Context, statement: Statement) -> Claim:
    """Every GPU holding every expert needs EP 1, and memory for a stage's layers with all their experts."""
    facts = context.facts
    ep = facts.stated("ep")
    experts = facts.experts
    if statement.value is False:
        return not_checkable(statement, "says what is not done")
    if experts == 0:
        return contradicted(statement, "the model has no experts")
    if statement.field == "experts_replicated" and experts is not None and statement.number != experts:
        return contradicted(statement, f"the model has {experts} experts", Fraction(experts))
    if ep is not None and ep > 1:
        return inconsistent(
            statement, f"EP {ep} gives each GPU {experts or 0} / {ep} experts of a layer, not all of them"
        )
    floor = stage_floor(context)
    memory = facts.gpu_memory
    if floor is None or memory is None:
        return not_checkable(statement, "the model's bytes or the memory of a GPU are not known")
    if floor.total > memory:
        return contradicted(
            statement,
            f"a GPU would hold {floor.layers} layers with all their experts: {floor.formula}; "
            f"a GPU has {show(memory, 'bytes')}",
        )
    return confirmed(statement, f"{floor.formula} of {show(memory, 'bytes')}")


def judge_expert_ids(context: Context, statement: Statement) -> Claim:
    """The expert map gives every expert a GPU, none twice unless redundant, none that does not exist."""
    experts = context.facts.experts
    value = statement.value
    if not isinstance(value, tuple):
        return not_checkable(statement, "holds no expert numbers")
    rows = [row for row in context.document.of(statement.field) if isinstance(row.value, tuple)]
    if experts and max(value) >= experts and not _counted_from_one(rows, experts):
        return contradicted(statement, f"experts are numbered 0 to {experts - 1}", Fraction(experts - 1))
    redundant = context.facts.stated("redundant_experts") or 0
    for row in rows:
        if row.line >= statement.line or row.subject == statement.subject:
            continue
        twice = set(row.value) & set(value) if isinstance(row.value, tuple) else set()
        if twice and not redundant:
            return inconsistent(statement, f"expert {min(twice)} stands on {row.subject} as well (line {row.line})")
    if statement is rows[-1] and experts and not any("..." in row.text for row in rows):
        held = {expert for row in rows if isinstance(row.value, tuple) for expert in row.value}
        base = 1 if _counted_from_one(rows, experts) else 0
        missing = sorted(set(range(base, experts + base)) - held)
        if missing and len(rows) >= (context.facts.stated("ep") or 1):
            return contradicted(
                statement, f"expert {missing[0]} stands on no GPU ({len(missing)} of {experts} missing)"
            )
    return confirmed(statement, f"{len(value)} experts on {statement.subject}")


def _counted_from_one(rows: list[Statement], experts: int) -> bool:
    held = {expert for row in rows if isinstance(row.value, tuple) for expert in row.value}
    return bool(held) and min(held) == 1 and max(held) == experts


def judge_placement_row(context: Context, statement: Statement) -> Claim:
    """One layer's slots name existing experts, and every expert at least once."""
    experts, value = context.facts.experts, statement.value
    if not experts or not isinstance(value, tuple):
        return not_checkable(statement, "the model's experts are not known")
    missing = sorted(set(range(experts)) - set(value))
    if max(value) >= experts:
        return contradicted(statement, f"experts are numbered 0 to {experts - 1}", Fraction(experts - 1))
    if missing:
        return contradicted(statement, f"expert {missing[0]} stands on no slot ({len(missing)} missing)")
    return confirmed(statement, f"{len(value)} slots hold all {experts} experts")


def judge_tp_heads(context: Context, statement: Statement) -> Claim:
    """Heads "parallelised across N GPUs": N is TP, and one GPU is no parallelism where a stage has more."""
    facts, count = context.facts, int(statement.number)
    tp, pp = facts.stated("tp"), facts.pp or 1
    if tp is not None and tp != count:
        return inconsistent(statement, f"TP is {tp}", Fraction(tp))
    if count == 1 and facts.gpus is not None and facts.gpus > pp * (facts.replicas or 1) * (facts.stated("dp") or 1):
        share = Fraction(facts.gpus, pp)
        return inconsistent(
            statement,
            f"across 1 GPU nothing is parallel, while {facts.gpus} GPUs for {pp} stages are {show(share)} a stage",
        )
    heads = f": {facts.heads} heads, {facts.heads // count} each" if facts.heads and count else ""
    return confirmed(statement, f"TP {count}{heads}", Fraction(count))


JUDGES = {
    "heads_per_gpu": judge_heads_per_gpu,
    "kv_heads_per_gpu": judge_heads_per_gpu,
    "experts_per_gpu": judge_experts_per_gpu,
    "experts_replicated": judge_replicated,
    "complete_experts": judge_replicated,
    "expert_ids": judge_expert_ids,
    "placement_row": judge_placement_row,
    "tp_heads": judge_tp_heads,
}
