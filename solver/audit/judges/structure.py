"""Judges of the plan's structure: degrees, stages, GPUs, and the sums that a document does itself."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import cast

from shardproof.formulations.engines.rules import WHOLE_BLOCKS, WHOLE_GROUPS
from shardproof.instances.engine import EngineSettings
from shardproof.instances.instance import Instance
from shardproof.solver.audit.claim import (
    Claim,
    agrees,
    confirmed,
    contradicted,
    idle,
    inconsistent,
    not_checkable,
    show,
)
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.readings import readings
from shardproof.solver.documents.statement import Statement


def product_text(context: Context) -> str:
    """The stated degrees as a product, e.g. ``EP 1 x PP 4 x TP 1 x DP 1 = 4``."""
    facts = context.facts
    names = [("TP", facts.stated("tp")), ("PP", facts.pp), ("DP", facts.stated("dp")), ("EP", facts.stated("ep")),
             ("replicas", facts.replicas)]  # fmt: skip
    stated = [(name, value) for name, value in names if value is not None]
    counts = sorted({reading.gpus for reading in readings(facts)})
    return f"{' x '.join(f'{name} {value}' for name, value in stated)} = {' or '.join(map(str, counts))} devices"


def judge_gpus(context: Context, statement: Statement) -> Claim:
    """The GPUs are what the degrees (or the stages, one by one) come to."""
    facts, count = context.facts, int(statement.number)
    if other := _other_value(context, statement):
        return other
    widths = _stage_widths(context)
    copies = facts.replicas or 1
    if widths is not None:
        total = sum(widths)
        accepted = {total, total * copies, total * copies * (facts.stated("dp") or 1)}
        formula = f"the stages take {' + '.join(map(str, widths[:8]))}{' + ...' if len(widths) > 8 else ''} = {total}"
        if count in accepted:
            return confirmed(statement, formula, Fraction(count))
        return inconsistent(statement, formula, Fraction(total * copies))
    if all(facts.stated(name) is None for name in ("tp", "pp", "ep", "dp")):
        return not_checkable(statement, "no degree of parallelism is stated")
    counts = {reading.gpus for reading in readings(facts)}
    text = product_text(context)
    if count in counts:
        return confirmed(statement, text, Fraction(count))
    missing = [name for name in ("tp", "pp", "dp") if facts.stated(name) is None and not (name == "pp" and facts.pp)]
    if missing and facts.replicas is None and any(count % value == 0 for value in counts):
        return not_checkable(
            statement, f"{text}; {count} is a multiple of it, {' and '.join(missing).upper()} not stated"
        )
    if not counts:
        return not_checkable(statement, "the degrees fit in no known way")
    pp = facts.pp or 1
    rest = f"; {count} is no multiple of {pp} stages" if count % pp else ""
    rest += f"; {idle(count - max(counts))}" if facts.replicas and count > max(counts) else ""
    return inconsistent(statement, f"{text}, but {count} are allocated{rest}", Fraction(min(counts)))


def _other_value(context: Context, statement: Statement) -> Claim | None:
    """The same field with another value further up in the document."""
    first = context.document.first(statement.field)
    if first is None or statement.subject or first.line >= statement.line or first.value == statement.value:
        return None
    if isinstance(first.value, tuple) or isinstance(statement.value, tuple):
        return None
    return inconsistent(statement, f"line {first.line} says {show(first.number)}", first.value)


def _stage_widths(context: Context) -> list[int] | None:
    """GPUs of every stage, where the document lists them all."""
    rows = context.facts.stages
    widths = [row.width for row in rows if row.width is not None]
    complete = bool(rows) and len(widths) == len(rows) == (context.facts.stated("pp") or len(rows))
    return widths if complete else None


def judge_pp(context: Context, statement: Statement) -> Claim:
    """The pipeline stages: the same everywhere, as many as are listed, no more than layers."""
    if other := _other_value(context, statement):
        return other
    facts, count = context.facts, int(statement.number)
    if count < 1 or (facts.layers is not None and count > facts.layers):
        return contradicted(statement, f"the model has {facts.layers} layers; a stage holds at least one")
    rows = facts.stages
    if rows and len(rows) == rows[-1].index + 1 and len(rows) != count and len(rows) > 1:
        return inconsistent(statement, f"{len(rows)} stages are listed one by one", Fraction(len(rows)))
    if (
        facts.gpus is not None
        and facts.gpus % count
        and _stage_widths(context) is None
        and "gpu" in statement.text.lower()
    ):
        return inconsistent(statement, f"{facts.gpus} GPUs are no multiple of {count} stages")
    return confirmed(statement, "taken as the plan's")


def judge_tp(context: Context, statement: Statement) -> Claim:
    """Tensor parallelism divides heads, and KV heads or the reverse."""
    if other := _other_value(context, statement):
        return other
    facts, tp = context.facts, int(statement.number)
    if tp < 1:
        return contradicted(statement, "a degree is at least 1")
    inside = [reading.option.attn_tp for reading in context.readings] or [tp]
    is_shared = facts.document.first("attention_dp_enabled") or facts.stated("attention_dp")
    tp = min(inside) if is_shared else tp  # ranks that share heads: those of one data-parallel share
    if facts.heads and facts.one_shape and facts.heads % tp:
        return contradicted(statement, f"{facts.heads} heads over {tp} ranks leave {facts.heads % tp}")
    if facts.kv_heads and facts.one_shape and facts.kv_heads % tp and tp % facts.kv_heads:
        return contradicted(statement, f"{facts.kv_heads} KV heads and {tp} ranks: neither divides the other")
    if block := _broken_block(context, statement):
        return block
    if facts.heads is None:
        return not_checkable(statement, "the model's heads are not known")
    return confirmed(statement, f"{facts.heads} heads over {tp} ranks = {facts.heads // tp} each")


def _broken_block(context: Context, statement: Statement) -> Claim | None:
    """Quantised weights whose shards would be no whole blocks or groups, under every reading, in an engine."""
    model = context.facts.model
    if model is None or not context.readings or not context.document.engine:
        return None
    engine = context.document.engine
    asked = cast(Instance, SimpleNamespace(model=model, engine=engine, engine_settings=EngineSettings()))
    for rule in (WHOLE_BLOCKS, WHOLE_GROUPS):
        if not any(rule.accepts(asked, reading.option) for reading in context.readings):
            return contradicted(statement, f"{model.name}: {rule.sentence}; with TP {int(statement.number)} it is not")
    return None


def judge_ep(context: Context, statement: Statement) -> Claim:
    """Expert parallelism divides the experts, redundant ones included."""
    if other := _other_value(context, statement):
        return other
    facts, ep = context.facts, int(statement.number)
    if ep < 1:
        return contradicted(statement, "a degree is at least 1")
    if facts.experts is None:
        return not_checkable(statement, "the model's experts are not known")
    if facts.experts == 0:
        return (confirmed if ep == 1 else contradicted)(statement, "the model has no experts")
    slots = facts.experts + (facts.stated("redundant_experts") or 0)
    if ep > slots or slots % ep:
        return contradicted(
            statement, f"{slots} experts over {ep} ranks: {slots} / {ep} = {slots / ep:.4g}, no whole number"
        )
    return confirmed(statement, f"{slots} experts over {ep} ranks = {slots // ep} each")


def judge_degree(context: Context, statement: Statement) -> Claim:
    """A degree that only has to be the same everywhere."""
    if other := _other_value(context, statement):
        return other
    if int(statement.number) < 1:
        return contradicted(statement, "a degree is at least 1")
    facts = context.facts
    if statement.field == "moe_tp" and facts.stated("tp") and facts.stated("ep"):
        tp, ep, moe_tp = facts.stated("tp") or 1, facts.stated("ep") or 1, int(statement.number)
        widths = {tp, tp * (facts.stated("dp") or 1)}
        if moe_tp * ep not in widths:
            formula = f"moe_tp {moe_tp} x ep {ep} = {moe_tp * ep}, but the stage has {min(widths)} ranks"
            return inconsistent(statement, formula, Fraction(max(1, min(widths) // ep)))
    return confirmed(statement, "taken as the plan's")


def judge_per_part(context: Context, statement: Statement) -> Claim:
    """GPUs per stage or per replica."""
    facts = context.facts
    found = context.readings
    counts = {reading.option.gpus * (1 if statement.field == "gpus_per_stage" else reading.pp) for reading in found}
    widths = _stage_widths(context)
    if widths is not None:
        counts = {*widths} if statement.field == "gpus_per_stage" else {sum(widths)}
    if widths is None and all(facts.stated(name) is None for name in ("tp", "ep", "dp")):
        pp, copies = facts.pp, facts.replicas or 1
        if facts.gpus is None or pp is None or facts.gpus % (pp * copies):
            return not_checkable(statement, "nothing else is stated that decides it")
        counts = {facts.gpus // copies // (pp if statement.field == "gpus_per_stage" else 1)}
    if int(statement.number) in counts:
        return confirmed(statement, product_text(context), statement.number)
    if not counts:
        return not_checkable(statement, "the degrees fit in no known way")
    return inconsistent(statement, product_text(context), Fraction(min(counts)))


def judge_layers_per_stage(context: Context, statement: Statement) -> Claim:
    """Stages times layers per stage is the model's layers."""
    layers, pp = context.facts.layers, context.facts.pp
    value = statement.value
    if layers is None or pp is None:
        return not_checkable(statement, "the model's layers or the number of stages are not stated")
    if isinstance(value, tuple):
        total = sum(value)
        formula = f"{' + '.join(map(str, value[:12]))} = {total}, the model has {layers} layers; {pp} stages"
        if len(value) == 2 and pp > 2 and value[1] - value[0] in (0, 1) and value[0] * pp <= layers <= value[1] * pp:
            return confirmed(statement, f"{layers} / {pp} = {layers / pp:.4g}")
        return (confirmed if total == layers and len(value) == pp else contradicted)(
            statement, formula, Fraction(layers)
        )
    count = int(statement.number)
    expected = Fraction(layers, pp)
    formula = f"{pp} stages x {count} layers = {pp * count}, the model has {layers} layers"
    if count * pp == layers:
        return confirmed(statement, formula, expected)
    words = statement.text.lower()
    loose = statement.hedge or any(
        word in words for word in ("up to", "at most", "max", "about", "roughly", "~", "approx", "average")
    )
    if loose and count in (layers // pp, -(-layers // pp)):
        return confirmed(statement, f"{layers} / {pp} = {layers / pp:.4g}", expected)
    rows = context.facts.stages
    sizes = [row.last - row.first + 1 for row in rows if row.last is not None and row.first is not None]
    if sizes and count in sizes and sum(sizes) == layers:
        return not_checkable(statement, f"stages of {sorted(set(sizes))} layers are listed", expected)
    return contradicted(statement, formula, expected)


def judge_sum(context: Context, statement: Statement) -> Claim:
    """A sum that the document does comes out as it says."""
    del context
    left, _, value = statement.subject.rpartition("|")
    expected = Fraction(value)
    slack = Fraction(1, 100) if expected.denominator != 1 or statement.half > Fraction(1, 2) else Fraction(0)
    formula = f"{left} = {show(expected / statement.scale)} {statement.unit}".strip()
    if agrees(statement, expected, tolerance=slack):
        return confirmed(statement, formula, expected)
    return inconsistent(statement, formula, expected)


JUDGES = {
    "gpus": judge_gpus,
    "pp": judge_pp,
    "tp": judge_tp,
    "ep": judge_ep,
    **dict.fromkeys(("dp", "moe_tp", "replicas"), judge_degree),
    "gpus_per_stage": judge_per_part,
    "gpus_per_replica": judge_per_part,
    "layers_per_stage": judge_layers_per_stage,
    "sum": judge_sum,
}
