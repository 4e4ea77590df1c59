"""Judges of stages that a document lists one by one: their layers, GPUs and degrees."""

from __future__ import annotations

from fractions import Fraction

from shardproof.solver.audit.claim import Claim, confirmed, contradicted, inconsistent, not_checkable
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.judges.structure import product_text
from shardproof.solver.documents.statement import Statement


def judge_stage_layers(context: Context, statement: Statement) -> Claim:
    """The stages' layer ranges follow each other from the first layer to the last."""
    rows, layers = context.facts.stages, context.facts.layers
    about = context.facts.row_of(statement)
    index = rows.index(about) if about is not None else None
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
        return contradicted(
            statement, f"the last stage ends at layer {last}, the model at {layers - 1}", Fraction(layers - 1)
        )
    return confirmed(statement, f"layers {first} to {last} (from 0): {last - first + 1} layers")


def judge_stage_layer_count(context: Context, statement: Statement) -> Claim:
    """A stage's number of layers agrees with its range, and all stages with the model."""
    rows, layers = context.facts.stages, context.facts.layers
    counts = [row.layers for row in rows]
    about = context.facts.row_of(statement)
    if about is not None and about.first is not None and about.last is not None:
        size = about.last - about.first + 1
        judge = confirmed if size == statement.number else inconsistent
        return judge(statement, f"layers {about.first} to {about.last} are {size}", Fraction(size))
    if (
        layers is None
        or any(count is None for count in counts)
        or len(rows) != (context.facts.stated("pp") or len(rows))
    ):
        return not_checkable(statement, "not every stage's layers are stated")
    total = sum(count for count in counts if count is not None)
    formula = f"the stages' layers add up to {total}, the model has {layers}"
    return (confirmed if total == layers else contradicted)(statement, formula, Fraction(layers))


def judge_stage_gpus(context: Context, statement: Statement) -> Claim:
    """The stages' GPU ranges do not overlap, stay within the total, and have the stated width."""
    rows = context.facts.stages
    row = context.facts.row_of(statement)
    value = statement.value
    if row is None or row.gpu_first is None or row.gpu_last is None or not isinstance(value, tuple):
        return not_checkable(statement, "stated for several stages at once or twice")
    first, last = row.gpu_first, row.gpu_last
    for other in rows:
        if other.index >= row.index or other.gpu_first is None or other.gpu_last is None:
            continue
        if first <= other.gpu_last and other.gpu_first <= last:
            return inconsistent(
                statement, f"overlaps the stage of line {other.line}: GPUs {other.gpu_first} to {other.gpu_last}"
            )
    base = min((r.gpu_first for r in rows if r.gpu_first is not None), default=0)
    total = context.facts.gpus
    if total is not None and last - min(base, 1) >= total:
        return inconsistent(statement, f"{total} GPUs are numbered 0 to {total - 1}", Fraction(total - 1))
    widths = {reading.option.gpus for reading in context.readings}
    known = context.facts.stated("tp") is not None
    copies = (context.facts.replicas or 1) * (context.facts.stated("dp") or 1)
    if known and widths and last - first + 1 not in widths | {width * copies for width in widths}:
        return inconsistent(
            statement,
            f"{product_text(context)}: a stage has {min(widths)} GPUs, not {last - first + 1}",
            Fraction(min(widths)),
        )
    return confirmed(statement, f"GPUs {first} to {last}: {last - first + 1} GPUs")


def judge_stage_gpu_count(context: Context, statement: Statement) -> Claim:
    """A stage's number of GPUs is the width that the degrees give it."""
    row = context.facts.row_of(statement)
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
    row = facts.row_of(statement)
    if statement.field == "extra_slots":
        return confirmed(statement, "taken as the plan's")
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


JUDGES = {
    "stage_layers": judge_stage_layers,
    "stage_layer_count": judge_stage_layer_count,
    "stage_gpus": judge_stage_gpus,
    "stage_gpu_count": judge_stage_gpu_count,
}
