"""Judges of memory: weights, KV cache and totals, per token, request, GPU, stage and in all.

A claim is confirmed inside the interval that careful authors may differ in: from the bare bytes (stated
dtype for every weight, cheapest KV dtype that the document leaves open, ends left out) to the planner's own
full account (scales, embedding, head, workspace, buffers, reserve). Outside it, mistakes are searched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from shardproof.solver.audit.claim import Claim, agrees, confirmed, contradicted, inconsistent, not_checkable, show
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.judges.memory_counts import RECIPES, careful, load, recipe_of, stage_floor, stage_trials
from shardproof.solver.audit.mistakes import MEMORY_MISTAKES, Explanation, Recipe, Trial, explain
from shardproof.solver.audit.readings import Reading
from shardproof.solver.audit.recount import NOTHING, Assume
from shardproof.solver.documents.statement import Statement

NEAR = 0.02
MOST_EXPLAINED = 40
_NEEDS_LOAD = frozenset({"kv_total", "kv_per_gpu", "kv_per_stage", "kv_per_request"})


def judge_part(context: Context, statement: Statement) -> Claim:
    """Weights or KV cache: equal to one of the careful counts, within two per cent."""
    field = statement.field
    if field in _NEEDS_LOAD and load(context, 1) is None:
        return not_checkable(statement, "batch size or sequence lengths are not stated")
    fields = [field]
    if field in ("kv_total", "weights_total") and statement.section in ("memory", "plan", "performance", "none"):
        part = field.split("_")[0]
        fields += [f"{part}_per_gpu", f"{part}_per_stage"]
    values = [trial for name in fields for trial in careful(context, name)]
    if not values or not any(trial.value for trial in values):
        return not_checkable(statement, "the model's bytes are not known")
    near = min(values, key=lambda trial: abs(trial.value - statement.number))
    own = careful(context, field)
    if field == "kv_per_gpu" and (pool := _as_pool(context, statement, own)) is not None:
        return pool
    low_own, high_own = min(trial.value for trial in own), max(trial.value for trial in own)
    binary = {"KB": 1.024, "K": 1.024, "MB": 1.048576}.get(statement.unit.upper())
    if binary and any(abs(float(statement.number) * binary - trial.value) <= NEAR * trial.value for trial in own):
        return confirmed(statement, f"{near.formula}, in units of 1024", near.value)
    if agrees(statement, near.value, tolerance=NEAR) or low_own <= statement.number <= high_own:
        return confirmed(statement, near.formula, near.value)
    return _wrong(context, statement, min(own, key=lambda trial: abs(trial.value - statement.number)))


def _as_pool(context: Context, statement: Statement, needs: Sequence[Trial]) -> Claim | None:
    """Read a KV cache that is no part of a sum as the pool that a GPU sets aside, where requests need less of it."""
    sums = context.document.first("weights_per_gpu", "memory_per_gpu", "memory_per_stage", "memory_utilization")
    need = max(trial.value for trial in needs)
    if sums is not None or statement.number <= need * (1 + NEAR):
        return None
    room = pool_room(context)
    if room is None or statement.number - statement.half > room.value:
        return None
    return confirmed(statement, f"read as the pool of a GPU: requests need {show(need, 'bytes')} of it, {room.text}")


def pool_room(context: Context) -> Trial | None:
    """What weights leave of a GPU (of the share of it that an engine is told to use), bytes."""
    sizes, floor = [Fraction(device.usable_memory) for device in context.facts.devices], stage_floor(context)
    if context.facts.gpu_memory is not None:
        sizes.append(context.facts.gpu_memory)
    if not sizes or floor is None:
        return None
    memory = max(sizes)
    share = context.document.number("memory_fraction") if context.document.engine != "trtllm" else None
    share = share if share is not None and 0 < share <= 1 else Fraction(1)
    lent = memory * share
    left = max(0.0, float(lent) - floor.weights)
    of = show(lent, "bytes") + (f" ({show(share, 'ratio')} of {show(memory, 'bytes')})" if lent != memory else "")
    return Trial(left, f"weights {show(floor.weights, 'bytes')} leave {show(left, 'bytes')} of {of}")


def judge_pool(context: Context, statement: Statement) -> Claim:
    """A pool for KV caches: no more than weights leave of a GPU, no less than requests need."""
    room, needs = pool_room(context), [] if load(context, 1) is None else careful(context, "kv_per_gpu")
    if room is None:
        return not_checkable(statement, "the model's bytes or the memory of a GPU are not known")
    if statement.number - statement.half > room.value:
        return contradicted(statement, room.text, room.value)
    need = min((trial.value for trial in needs), default=0.0)
    formula = f"requests need {show(need, 'bytes')} of it, {room.text}" if needs else room.text
    if statement.number + statement.half < need * (1 - NEAR):
        return contradicted(statement, formula, need)
    return confirmed(statement, formula)


def _wrong(context: Context, statement: Statement, near: Trial) -> Claim:
    found = explained(context, statement, RECIPES[statement.field](context))
    formula = near.formula
    if statement.field.startswith("memory") and (floor := stage_floor(context)) is not None:
        formula, near = floor.formula, Trial(floor.total, near.text)
    if found is None:
        return contradicted(statement, formula, near.value)
    return Claim(statement, "contradicted", formula, near.value, found.mistakes, found.sentence)


def explained(context: Context, statement: Statement, recipe: Recipe, *, most: int = 3) -> Explanation | None:
    """Search the mistakes behind a number, once for each number, and not for every line of a long document."""
    key = (statement.field, statement.number, statement.half)
    if key not in context.explained:
        if len(context.explained) >= MOST_EXPLAINED:
            return None
        context.explained[key] = explain(statement, recipe, MEMORY_MISTAKES, budget=context.budget, most=most)
    return context.explained[key]


def judge_total(context: Context, statement: Statement) -> Claim:
    """A total per GPU or stage: at least weights plus KV cache, at most the planner's full account."""
    sizes = {context.facts.gpu_memory} | {Fraction(device.memory) for device in context.facts.devices}
    if statement.field == "memory_per_gpu" and any(size and agrees(statement, size, tolerance=0.01) for size in sizes):
        return confirmed(statement, "read as the memory that a GPU has")
    if parts := _parts_disagree(context, statement):
        return parts
    own = _stage_subject(context, statement) or careful(context, statement.field)
    if not own:
        return not_checkable(statement, "the model's bytes are not known")
    floor = min(own, key=lambda trial: trial.value)
    ceiling = max([max(trial.value for trial in own), *_accounts(context, statement)])
    stated = statement.number
    if floor.value * (1 - NEAR) <= stated + statement.half and stated - statement.half <= ceiling * (1 + NEAR):
        return confirmed(statement, f"{floor.formula}; in full account up to {show(ceiling, 'bytes')}", floor.value)
    if stated < floor.value:
        if load(context, 1) is None and statement.number * 2 > floor.value:
            return not_checkable(statement, f"{floor.formula}, without knowing the workload", floor.value)
        return _wrong(context, statement, floor)
    found = explained(context, statement, RECIPES[statement.field](context), most=1)
    if found is not None and load(context, 1) is not None:
        return Claim(statement, "contradicted", floor.formula, floor.value, found.mistakes, found.sentence)
    if stated > 2 * ceiling and load(context, 1) is not None:
        return _wrong(context, statement, floor)
    return not_checkable(statement, f"{floor.formula}; more may be reserved", floor.value)


def judge_sum(context: Context, statement: Statement) -> Claim:
    """A sum of memory without a scope: that of one GPU, or of all of them."""
    each = judge_total(context, replace(statement, field="memory_per_gpu"))
    gpus = context.best.plan.gpus if context.best is not None else context.facts.gpus
    if each.verdict == "confirmed" or not gpus:
        return replace(each, statement=statement)
    shared = replace(statement, field="memory_per_gpu", value=statement.number / gpus, half=statement.half / gpus)
    spread = judge_total(context, shared)
    if spread.verdict == "confirmed":
        return confirmed(statement, f"over {gpus} GPUs: {spread.formula}")
    if spread.wrong and each.wrong:
        return replace(each, statement=statement)
    return not_checkable(statement, f"of one GPU: {each.formula}; of all {gpus}: {spread.formula}")


def _stage_subject(context: Context, statement: Statement) -> Sequence[Trial]:
    """The counts of the one stage that a table row or stage line is about."""
    digits = statement.subject.removeprefix("stage ")
    model = context.facts.model
    if not statement.subject.startswith("stage") or not digits.isdigit() or model is None:
        return []
    row = context.facts.row_of(statement)
    found: list[Trial] = []
    for reading in context.readings:
        ranges = context.stage_ranges(reading.pp)
        if ranges is None or (row is not None and row.index >= len(ranges)) or row is None:
            continue
        first, last = ranges[row.index]
        own = reading
        if row.option is not None and reading.name == "stage by stage":
            own = Reading(reading.name, reading.replicas, reading.pp, row.option)
        for count in context.recounts(own):
            kinds = model.layer_kinds[first : last + 1]
            found += stage_trials(count, kinds, own, load(context, own.replicas), "memory", "stage", NOTHING)
    return found


def _accounts(context: Context, statement: Statement) -> list[float]:
    """The planner's full account of the fullest GPU (or of all GPUs of its stage)."""
    found = []
    for candidate in context.candidates:
        peak = float(candidate.evaluation.peak_memory) if candidate.evaluation.scenarios else 0.0
        found.append(peak)
        if "stage" in statement.field:
            found.append(peak * candidate.reading.option.gpus)
    return found


def _parts_disagree(context: Context, statement: Statement) -> Claim | None:
    """Parts listed in the same section that add up to more than the total, or to much less."""
    scope = "stage" if "stage" in statement.field else "gpu"
    names = (f"weights_per_{scope}", f"kv_per_{scope}", "activations", "reserve")
    found = [context.document.first(name) for name in names]
    parts = [part for part in found if part is not None]
    if found[0] is None or found[1] is None or statement.subject:
        return None
    total = sum((part.number for part in parts), Fraction(0))
    slack = sum((part.half for part in parts), statement.half) + total / 200
    if statement.number >= total - slack:
        return None
    formula = " + ".join(show(part.number, "bytes") for part in parts) + f" = {show(total, 'bytes')}"
    return inconsistent(
        statement, f"the parts stated on lines {', '.join(str(p.line) for p in parts)}: {formula}", total
    )


def judge_utilization(context: Context, statement: Statement) -> Claim:
    """Memory in use over memory of a GPU, as stated, usable or by the datasheet, whichever the author took."""
    facts = context.facts
    sizes = [facts.document.number("gpu_memory"), facts.gpu_memory]
    sizes += [Fraction(size) for device in facts.devices for size in (device.memory, device.usable_memory)]
    claims = [_utilization(context, statement, size) for size in dict.fromkeys(sizes) if size]
    if not claims:
        return not_checkable(statement, "the memory of a GPU is not stated")
    return next((claim for claim in claims if not claim.wrong), claims[0])


def _utilization(context: Context, statement: Statement, memory: Fraction) -> Claim:
    """Against the stated total, and against the recount."""
    own = careful(context, "memory_per_gpu")
    stated_total = context.document.first("memory_per_gpu", "memory_per_stage")
    if not own:
        if stated_total is None:
            return not_checkable(statement, "the model's bytes are not known")
        ratio = stated_total.number / memory
        formula = f"{show(stated_total.number, 'bytes')} / {show(memory, 'bytes')} = {show(ratio, 'ratio')}"
        same = agrees(statement, ratio, tolerance=NEAR)
        return confirmed(statement, formula, ratio) if same else inconsistent(statement, formula, ratio)
    floor = min(own, key=lambda trial: trial.value)
    ceiling = max([max(trial.value for trial in own), *_accounts(context, statement)])
    low, high = floor.value / float(memory), ceiling / float(memory)
    formula = f"({floor.formula}) / {show(memory, 'bytes')}"
    stated = statement.number
    if low * (1 - NEAR) <= stated + statement.half and stated - statement.half <= high * (1 + NEAR) and stated <= 1:
        if other := _other_total(statement, stated_total, memory):
            return other
        return confirmed(statement, f"{formula}; in full account up to {show(high, 'ratio')}", low)
    if low * (1 - NEAR) > stated and load(context, 1) is None and stated * 2 > low:
        return not_checkable(statement, f"{formula}, without knowing the workload", low)
    if stated > high and stated <= 1:
        return _other_total(statement, stated_total, memory) or not_checkable(
            statement, f"{formula}; more may be reserved", low
        )
    fullest = stage_floor(context)
    if fullest is not None:
        return _wrong_share(
            context,
            statement,
            memory,
            Trial(fullest.total / float(memory), f"({fullest.formula}) / {show(memory, 'bytes')}", "ratio"),
        )
    return _wrong_share(context, statement, memory, Trial(low, formula, "ratio"))


def _other_total(statement: Statement, stated: Statement | None, memory: Fraction) -> Claim | None:
    if stated is None or (stated.field == "memory_per_stage"):
        return None
    ratio = stated.number / memory
    slack = float(statement.half + stated.half / memory) + float(ratio) * NEAR
    if abs(statement.number - ratio) <= slack:
        return None
    return inconsistent(
        statement,
        f"{show(stated.number, 'bytes')} (line {stated.line}) / {show(memory, 'bytes')} = {show(ratio, 'ratio')}",
        ratio,
    )


def _wrong_share(context: Context, statement: Statement, memory: Fraction, near: Trial) -> Claim:
    base, capacity, size = recipe_of(context, "memory", "gpu"), show(memory, "bytes"), float(memory)

    def recipe(assume: Assume) -> Iterable[Trial]:
        for trial in base(assume):
            yield Trial(trial.value / size, f"{trial.text} / {capacity}", "ratio")

    found = explained(context, statement, recipe)
    if found is None:
        return contradicted(statement, near.formula, near.value)
    return Claim(statement, "contradicted", near.formula, near.value, found.mistakes, found.sentence)


def judge_headroom(context: Context, statement: Statement) -> Claim:
    """What is left of a GPU's memory after the stated total."""
    memory, total = context.facts.gpu_memory, context.document.first("memory_per_gpu")
    if memory is None or total is None:
        return not_checkable(statement, "memory of a GPU or the total per GPU is not stated")
    left = memory - total.number
    formula = f"{show(memory, 'bytes')} - {show(total.number, 'bytes')} = {show(left, 'bytes')}"
    slack = statement.half + total.half + memory / 200
    return (confirmed if abs(statement.number - left) <= slack else inconsistent)(statement, formula, left)


def judge_fits(context: Context, statement: Statement) -> Claim:
    """Whether every GPU holds its share."""
    memory, floor = context.facts.gpu_memory, stage_floor(context)
    if memory is None or floor is None:
        return not_checkable(statement, "the model's bytes or the memory of a GPU are not known")
    formula = f"{floor.formula}; a GPU has {show(memory, 'bytes')}"
    if floor.total > memory:
        return (contradicted if statement.value is True else confirmed)(statement, formula, False)
    if load(context, 1) is None:
        return not_checkable(statement, formula)
    if statement.value is True:
        return confirmed(statement, formula, True)
    best = context.best
    fits = best is not None and not any(v.group.startswith("memory") for v in best.evaluation.violations)
    return contradicted(statement, formula, True) if fits else not_checkable(statement, formula)


def judge_overhead(context: Context, statement: Statement) -> Claim:
    """Workspace and reserves depend on the engine; they only have to fit."""
    memory = context.facts.gpu_memory
    if memory is not None and statement.number > memory:
        return contradicted(statement, f"a GPU has {show(memory, 'bytes')}", memory)
    return not_checkable(statement, "depends on the engine")


JUDGES = {
    **dict.fromkeys(("weights_total", "weights_per_gpu", "weights_per_stage", "kv_total", "kv_per_gpu", "kv_per_stage",
                     "kv_per_token", "kv_per_request"), judge_part),
    **dict.fromkeys(("memory_per_gpu", "memory_per_stage", "memory_per_stage_gpu"), judge_total),
    "memory_total": judge_sum,
    "kv_pool": judge_pool,
    "memory_utilization": judge_utilization,
    "headroom": judge_headroom,
    "fits_memory": judge_fits,
    "activations": judge_overhead,
    "reserve": judge_overhead,
}  # fmt: skip
