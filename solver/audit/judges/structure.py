"""Judges of the plan's structure: degrees, stages, GPUs, and the sums that a document does itself."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import cast

from formulations.engines.rules import WHOLE_BLOCKS
from instances.instance import Instance
from solver.audit.claim import Claim, agrees, confirmed, contradicted, inconsistent, not_checkable, show
from solver.audit.context import Context
from solver.audit.readings import readings
from solver.documents.statement import Statement


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
        return not_checkable(statement, f"{text}; {count} is a multiple of it, {' and '.join(missing).upper()} not stated")
    if not counts:
        return not_checkable(statement, "the degrees fit in no known way")
    pp = facts.pp or 1
    rest = f"; {count} is no multiple of {pp} stages" if count % pp else ""
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
    if facts.gpus is not None and facts.gpus % count and _stage_widths(context) is None and "gpu" in statement.text.lower():
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
    tp = min(inside) if facts.document.first("attention_dp_enabled") else tp
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
    """Block-quantised weights whose shards would be no whole blocks, under every reading, in an engine."""
    model = context.facts.model
    if model is None or not context.readings or not context.document.engine:
        return None
    asked = cast(Instance, SimpleNamespace(model=model))
    if any(WHOLE_BLOCKS.accepts(asked, reading.option) for reading in context.readings):
        return None
    return contradicted(statement, f"{model.name}: {WHOLE_BLOCKS.sentence}; with TP {int(statement.number)} it is not")


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
        return contradicted(statement, f"{slots} experts over {ep} ranks: {slots} / {ep} = {slots / ep:.4g}, no whole number")
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
            return inconsistent(statement, f"moe_tp {moe_tp} x ep {ep} = {moe_tp * ep}, but the stage has {min(widths)} ranks",
                                Fraction(max(1, min(widths) // ep)))  # fmt: skip
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
        return (confirmed if total == layers and len(value) == pp else contradicted)(statement, formula, Fraction(layers))
    count = int(statement.number)
    expected = Fraction(layers, pp)
    formula = f"{pp} stages x {count} layers = {pp * count}, the model has {layers} layers"
    if count * pp == layers:
        return confirmed(statement, formula, expected)
    words = statement.text.lower()
    loose = statement.hedge or any(word in words for word in ("up to", "at most", "max", "about", "roughly", "~", "approx", "average"))
    if loose and count in (layers // pp, -(-layers // pp)):
        return confirmed(statement, f"{layers} / {pp} = {layers / pp:.4g}", expected)
    rows = context.facts.stages
    sizes = [row.last - row.first + 1 for row in rows if row.last is not None and row.first is not None]
    if sizes and count in sizes and sum(sizes) == layers:
        return not_checkable(statement, f"stages of {sorted(set(sizes))} layers are listed", expected)
    return contradicted(statement, formula, expected)


def judge_stage_layers(context: Context, statement: Statement) -> Claim:
    """The stages' layer ranges follow each other from the first layer to the last."""
    rows, layers = context.facts.stages, context.facts.layers
    index = next((i for i, row in enumerate(rows) if row.line == statement.line), None)
    value = statement.value
    if index is None or not isinstance(value, tuple) or rows[index].first is None:
        return not_checkable(statement, "stated for several stages at once or twice")
    row = rows[index]
    first, last = row.first or 0, row.last if row.last is not None else 0
    before = rows[index - 1] if index else None
    if last < first:
        return contradicted(statement, f"layers {first} to {last} are no range")
    if layers is not None and last >= layers:
        return contradicted(statement, f"the model's last layer is {layers - 1} (counted from 0)", Fraction(layers - 1))
    if before is not None and before.last is not None and row.index == before.index + 1 and first != before.last + 1:
        word = "overlaps" if first <= before.last else "leaves a gap after"
        where = f"the stage of line {before.line}, which ends at layer {before.last}"
        return inconsistent(statement, f"{word} {where}", Fraction(before.last + 1))
    if index == 0 and row.index == 0 and first != 0:
        return contradicted(statement, "the first stage starts at the first layer", Fraction(0))
    final = index == len(rows) - 1 and len(rows) == (context.facts.stated("pp") or len(rows))
    if final and layers is not None and last != layers - 1:
        return contradicted(statement, f"the last stage ends at layer {last}, the model at {layers - 1}", Fraction(layers - 1))
    return confirmed(statement, f"layers {first} to {last} (from 0): {last - first + 1} layers")


def judge_stage_layer_count(context: Context, statement: Statement) -> Claim:
    """A stage's number of layers agrees with its range, and all stages with the model."""
    rows, layers = context.facts.stages, context.facts.layers
    counts = [row.layers for row in rows]
    for row in rows:
        if row.line == statement.line and row.first is not None and row.last is not None:
            size = row.last - row.first + 1
            return (confirmed if size == statement.number else inconsistent)(
                statement, f"layers {row.first} to {row.last} are {size}", Fraction(size)
            )
    if layers is None or any(count is None for count in counts) or len(rows) != (context.facts.stated("pp") or len(rows)):
        return not_checkable(statement, "not every stage's layers are stated")
    total = sum(count for count in counts if count is not None)
    formula = f"the stages' layers add up to {total}, the model has {layers}"
    return (confirmed if total == layers else contradicted)(statement, formula, Fraction(layers))


def judge_stage_gpus(context: Context, statement: Statement) -> Claim:
    """The stages' GPU ranges do not overlap, stay within the total, and have the stated width."""
    rows = context.facts.stages
    row = next((row for row in rows if row.line == statement.line), None)
    value = statement.value
    if row is None or row.gpu_first is None or row.gpu_last is None or not isinstance(value, tuple):
        return not_checkable(statement, "stated for several stages at once or twice")
    first, last = row.gpu_first, row.gpu_last
    for other in rows:
        if other.index >= row.index or other.gpu_first is None or other.gpu_last is None:
            continue
        if first <= other.gpu_last and other.gpu_first <= last:
            return inconsistent(statement, f"overlaps the stage of line {other.line}: GPUs {other.gpu_first} to {other.gpu_last}")
    base = min((r.gpu_first for r in rows if r.gpu_first is not None), default=0)
    total = context.facts.gpus
    if total is not None and last - min(base, 1) >= total:
        return inconsistent(statement, f"{total} GPUs are numbered 0 to {total - 1}", Fraction(total - 1))
    widths = {reading.option.gpus for reading in context.readings}
    known = context.facts.stated("tp") is not None
    copies = (context.facts.replicas or 1) * (context.facts.stated("dp") or 1)
    if known and widths and last - first + 1 not in widths | {width * copies for width in widths}:
        return inconsistent(statement, f"{product_text(context)}: a stage has {min(widths)} GPUs, not {last - first + 1}", Fraction(min(widths)))
    return confirmed(statement, f"GPUs {first} to {last}: {last - first + 1} GPUs")


def judge_stage_gpu_count(context: Context, statement: Statement) -> Claim:
    """A stage's number of GPUs is the width that the degrees give it."""
    row = next((row for row in context.facts.stages if row.line == statement.line), None)
    if row is not None and row.gpu_first is not None and row.gpu_last is not None:
        size = row.gpu_last - row.gpu_first + 1
        judge = confirmed if size == statement.number else inconsistent
        return judge(statement, f"GPUs {row.gpu_first} to {row.gpu_last} are {size}", Fraction(size))
    if row is not None and row.option is not None:
        option = row.option
        return confirmed(statement, f"TP {option.attn_tp} x DP {option.attn_dp} = {option.gpus}")
    widths = {reading.option.gpus for reading in context.readings}
    if context.facts.stated("tp") is None or not widths:
        return not_checkable(statement, "the width of a stage is not stated")
    copies = (context.facts.replicas or 1) * (context.facts.stated("dp") or 1)
    if int(statement.number) in widths | {width * copies for width in widths}:
        return confirmed(statement, product_text(context), statement.number)
    return inconsistent(statement, product_text(context), Fraction(min(widths)))


def judge_stage_degree(context: Context, statement: Statement) -> Claim:
    """A degree that a stage states of itself: divides heads or experts, and fits the stage's GPUs."""
    facts, degree = context.facts, int(statement.number)
    row = next((row for row in facts.stages if row.line == statement.line), None)
    if degree < 1:
        return contradicted(statement, "a degree is at least 1")
    if statement.field == "tp" and facts.heads and facts.one_shape and facts.heads % degree:
        return contradicted(statement, f"{facts.heads} heads over {degree} ranks leave {facts.heads % degree}")
    if statement.field == "ep" and facts.experts and facts.experts % degree:
        return contradicted(statement, f"{facts.experts} experts over {degree} ranks leave {facts.experts % degree}")
    if row is None or row.width is None:
        return not_checkable(statement, "the stage's GPUs are not stated")
    products = [row.tp * row.dp if row.tp and row.dp else None, row.moe_tp * row.ep if row.moe_tp and row.ep else None]
    mine = products[0 if statement.field in ("tp", "dp") else 1]
    if row.width % degree or (mine is not None and mine != row.width):
        return inconsistent(statement, f"the stage has {row.width} GPUs")
    return confirmed(statement, f"the stage has {row.width} GPUs")


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
    "stage_layers": judge_stage_layers,
    "stage_layer_count": judge_stage_layer_count,
    "stage_gpus": judge_stage_gpus,
    "stage_gpu_count": judge_stage_gpu_count,
    "sum": judge_sum,
}
