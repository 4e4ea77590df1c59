"""Careful counts of memory: every way in which an author may rightly count weights, KV cache and totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shardproof.solver.audit.claim import show
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.mistakes import Recipe, Trial, in_units
from shardproof.solver.audit.readings import Reading
from shardproof.solver.audit.recount import NOTHING, Assume, Recount


@dataclass(frozen=True)
class Floor:
    """The least bytes that one GPU of a stage holds: weights and KV cache."""

    layers: int
    weights: float
    kv: float

    @property
    def total(self) -> float:
        """Weights and KV cache, bytes."""
        return self.weights + self.kv

    @property
    def formula(self) -> str:
        """The sum with its numbers."""
        kv = f" + KV cache {show(self.kv, 'bytes')} = {show(self.total, 'bytes')}" if self.kv else ""
        return f"weights of {self.layers} layers {show(self.weights, 'bytes')}{kv}"


def stage_layers(context: Context, reading: Reading) -> list[tuple[str, ...]]:
    """The layer kinds of every distinct stage: as stated (a number per stage), else an even split."""
    model = context.facts.model
    assert model is not None
    stated = context.document.number("layers_per_stage")
    kinds = model.layer_kinds
    if stated is not None and not context.facts.stages and 0 < stated <= len(kinds):
        ranges = [(start, min(start + int(stated), len(kinds)) - 1) for start in range(0, len(kinds), int(stated))]
    else:
        ranges = list(context.stage_ranges(reading.pp) or ((0, len(kinds) - 1),))
    return list(dict.fromkeys(kinds[first : last + 1] for first, last in ranges))


Work = tuple[int, int, int]
"""Requests of one copy, tokens of each at full length, prompt tokens."""


def load(context: Context, replicas: int) -> Work | None:
    """What one copy works on; ``None`` where it is not stated."""
    batch, prompt = context.facts.workload("batch"), context.facts.workload("input_tokens")
    if batch is None or prompt is None or replicas < 1:
        return None
    return -(-batch // replicas), prompt + (context.facts.workload("output_tokens") or 0), prompt


def counted(count: Recount, kinds: Sequence[str], work: Work | None, assume: Assume) -> tuple[float, float]:
    """Weights and KV cache of some layers on one device, bytes."""
    weights = 0.0 if "weights-omitted" in assume else count.weights(kinds, assume)
    if work is None or "kv-cache-omitted" in assume:
        return weights, 0.0
    requests, tokens, prompt = work
    return weights, count.kv(kinds, requests=requests, tokens=tokens, prompt=prompt, assume=assume)


def stage_floor(context: Context) -> Floor | None:
    """The least bytes on the fullest GPU, under the most charitable reading."""
    floors = []
    for reading in context.readings:
        counts, work = context.recounts(reading), load(context, reading.replicas)
        stages = stage_layers(context, reading) if counts else []
        for count in counts:
            parts = [(len(kinds), *counted(count, kinds, work, NOTHING)) for kinds in stages]
            layers, weights, kv = max(parts, key=lambda part: part[1] + part[2])
            floors.append(Floor(layers, weights, kv))
    return min(floors, key=lambda floor: floor.total) if floors else None


def recipe_of(context: Context, part: str, scope: str) -> Recipe:
    """Every way to count ``part`` (weights, kv, memory) in ``scope`` (gpu, stage, all)."""
    cells = [
        (reading, count, kinds, load(context, reading.replicas))
        for reading in context.readings
        for count in context.recounts(reading)
        for kinds in (stage_layers(context, reading) if scope != "all" else [count.model.layer_kinds])
    ]

    def trials(assume: Assume) -> Iterable[Trial]:
        for reading, count, kinds, work in cells:
            for trial in stage_trials(count, kinds, reading, work, part, scope, assume):
                yield Trial(in_units(trial.value, assume), trial.text)

    return trials


def stage_trials(
    count: Recount,
    kinds: Sequence[str],
    reading: Reading,
    work: Work | None,
    part: str,
    scope: str,
    assume: Assume,
) -> Iterable[Trial]:
    """Count one part of a stage, on one GPU of it or on all."""
    weights, kv = counted(count, kinds, work, assume)
    value = {"weights": weights, "kv": kv, "memory": weights + kv}[part]
    words = {"weights": "weights", "kv": "KV cache", "memory": "weights + KV cache"}[part]
    width = reading.option.gpus
    text = f"{words} of {len(kinds)} layers"
    if scope == "gpu":
        yield Trial(value, f"{text} on one GPU")
        if not assume and part != "kv":
            yield from _even_split(count, reading, work, part)
        if part != "kv":
            for first, last in ((True, False), (False, True), (True, True)):
                ends = count.end_weights(first=first, last=last, assume=assume)
                yield Trial(value + ends, f"{text} with embedding or head")
        return
    yield Trial(value * width, f"{text} on {width} GPU{'s' if width > 1 else ''}")
    if scope == "stage":
        yield Trial(value, f"{text} on one GPU")


def _even_split(count: Recount, reading: Reading, work: Work | None, part: str) -> Iterable[Trial]:
    """The whole model over all GPUs of a copy, as a rough but honest author divides."""
    alone = Recount(count.model, count.weight_bytes, count.kv_dtype, by_class=count.by_class)
    kinds, width = count.model.layer_kinds, reading.option.gpus * reading.pp
    weights, kv = counted(alone, kinds, work, NOTHING)
    for ends in (0.0, alone.end_weights(first=True, last=True)):
        value = (weights + ends + (kv if part == "memory" else 0)) / width
        yield Trial(value, f"the whole model over {width} GPUs")


def _whole(context: Context, part: str) -> Recipe:
    """Weights of the whole model, or KV cache of all requests, whatever the division."""

    def trials(assume: Assume) -> Iterable[Trial]:
        for count in context.recounts():
            kinds = count.model.layer_kinds
            if part == "weights":
                value = count.weights(kinds, assume)
                for extra in (0.0, count.end_weights(first=True, last=True, assume=assume)):
                    total = in_units(value + extra, assume)
                    yield Trial(total, "weights of the whole model")
                continue
            work = load(context, 1)
            if work is None:
                continue
            requests, tokens, prompt = work
            if part == "kv_token":
                value = count.kv(kinds, requests=1, tokens=1, prompt=1, assume=assume)
            elif part == "kv_request":
                value = count.kv(kinds, requests=1, tokens=tokens, prompt=prompt, assume=assume)
            else:
                value = count.kv(kinds, requests=requests, tokens=tokens, prompt=prompt, assume=assume)
            yield Trial(in_units(value, assume), "KV cache")

    return trials


def _kv_token(context: Context) -> Recipe:
    def trials(assume: Assume) -> Iterable[Trial]:
        for count in context.recounts():
            kinds = count.model.layer_kinds
            value = count.kv(kinds, requests=1, tokens=1, prompt=1, assume=assume)
            yield Trial(in_units(value, assume), f"KV cache of one token in {len(kinds)} layers")
            if "per layer" in "".join(s.text.lower() for s in context.document.of("kv_per_token")):
                one = max(count.layer_kv(kind, 1, assume) for kind in set(kinds))
                yield Trial(in_units(one, assume), "KV cache of one token in one layer")

    return trials


RECIPES: dict[str, Callable[[Context], Recipe]] = {
    "weights_total": lambda context: _whole(context, "weights"),
    "weights_per_gpu": lambda context: recipe_of(context, "weights", "gpu"),
    "weights_per_stage": lambda context: recipe_of(context, "weights", "stage"),
    "kv_total": lambda context: _whole(context, "kv"),
    "kv_per_gpu": lambda context: recipe_of(context, "kv", "gpu"),
    "kv_per_stage": lambda context: recipe_of(context, "kv", "stage"),
    "kv_per_token": _kv_token,
    "kv_per_request": lambda context: _whole(context, "kv_request"),
    "memory_per_gpu": lambda context: recipe_of(context, "memory", "gpu"),
    "memory_per_stage": lambda context: recipe_of(context, "memory", "stage"),
    "memory_per_stage_gpu": lambda context: recipe_of(context, "memory", "stage"),
}


def careful(context: Context, field: str) -> tuple[Trial, ...]:
    """Every careful count of a field, made once."""
    if field not in context.kept:
        context.kept[field] = tuple(RECIPES[field](context)(NOTHING))
    return context.kept[field]
