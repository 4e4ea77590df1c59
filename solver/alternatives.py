"""The next best answers to a question: the same question on other devices, in other formats, layouts and engines.

Every alternative is a question of its own, answered by the same code as the first; each names the fields that ask it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from shardproof.instances.catalogue import device_names, load_device, siblings
from shardproof.instances.clock import now
from shardproof.instances.engine_choice import NAMED
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan
from shardproof.instances.units import format_duration, format_gpus, write_quantity
from shardproof.solver.answer import answer
from shardproof.solver.result import Proof, Result, Status
from shardproof.solver.search.settings import Progress, Settings

Kind = Literal["format", "layout", "faster", "alike", "engine", "device", "cheaper"]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A question that differs from the first in ``changes``, fields of an instance file; ``words`` say in what."""

    kind: Kind
    words: str
    changes: Tree


@dataclass(frozen=True)
class Alternative:
    """The answer to a variant; times of the slowest request, price of all GPUs with its kind."""

    kind: Kind
    words: str
    changes: Tree
    status: Status
    proof: Proof
    gpus: int
    bound: int | None
    layout: str
    ttft_s: float | None
    tpot_ms: float | None
    price_per_hour_usd: float | None
    price_kind: str | None


@dataclass(frozen=True)
class Asked:
    """The question as its fields, with what a message calls it and the folder of its file, and its answer."""

    tree: Tree
    where: str
    folder: Path | None
    instance: Instance
    result: Result


def variants(asked: Asked) -> Iterator[Variant]:
    """Yield the questions next to the one asked."""
    for find in (_formats, _layouts, _faster, _alike, _engines, _devices):
        yield from find(asked)


def answered(asked: Asked, variant: Variant, settings: Settings, max_gpus: int) -> Alternative | None:
    """Answer a variant; ``None`` where it cannot be asked, or has no plan of at most ``max_gpus`` GPUs."""
    from shardproof.instances.resolve import merge, resolve_tree

    try:
        instance = resolve_tree(merge(_base(asked, variant), variant.changes), where=asked.where, folder=asked.folder)
    except InputError:
        return None
    instance = instance.model_copy(update={"max_gpus": min(instance.max_gpus, max_gpus)})
    found = answer(instance, settings=settings)
    if found.gpus is None:
        return None
    metrics = found.metrics
    price, price_kind = _price(instance, found.gpus)
    return Alternative(
        kind=variant.kind,
        words=variant.words,
        changes=variant.changes,
        status=found.status,
        proof=found.proof,
        gpus=found.gpus,
        bound=found.bound,
        layout=_layout_words(found.plan),
        ttft_s=None if metrics is None else metrics.ttft_s,
        tpot_ms=None if metrics is None else metrics.tpot_ms,
        price_per_hour_usd=price,
        price_kind=price_kind,
    )


def _layout_words(plan: Plan | None) -> str:
    """Say how many replicas of how many stages a plan has, group by group."""
    groups = () if plan is None else plan.parts
    return " + ".join(f"{group.replicas} x {_widths(group)}" for group in groups)


def _widths(group: Group) -> str:
    """Write the GPUs of each stage, equal neighbours once: ``4+4`` as ``2*4``."""
    runs = [(width, len(list(same))) for width, same in groupby(stage.gpus for stage in group.stages)]
    return "+".join(str(width) if count == 1 else f"{count}*{width}" for width, count in runs)


def next_best(
    asked: Asked, settings: Settings, top: int, *, give_up: float | None = None
) -> tuple[tuple[Alternative, ...], int]:
    """Return the ``top`` of each kind: fewest GPUs first, then the lowest TTFT; kinds in the order of `variants`.

    What needs more GPUs than the ``top`` of its kind that are known is not searched to the end. Also return how many
    variants were not looked at before the moment of the clock at which to ``give_up``.
    """
    left_out = 0
    ranked: dict[Kind, list[Alternative]] = {}
    tell, started = settings.told, now()
    settings = replace(settings, explain=False, on_progress=None)
    for variant in variants(asked):
        left = None if give_up is None else give_up - now()
        if left is not None and left <= 0:
            left_out += 1
            continue
        settings = replace(settings, time_limit_s=left)
        kept = ranked.setdefault(variant.kind, [])
        most = kept[top - 1].gpus if len(kept) >= top else asked.instance.max_gpus
        most = max(most, _affordable(asked, variant))
        if tell is not None:
            seconds, level = now() - started, f"instead {variant.words}"
            tell(Progress(asked.result.gpus, asked.result.bound, seconds, level))
        found = answered(asked, variant, settings, most)
        if found is not None:
            kept.append(found)
            kept.sort(key=lambda item: (item.gpus, item.ttft_s or 0))
    ranked["cheaper"] = _cheaper(asked, ranked.get("device", []))
    return tuple(item for kept in ranked.values() for item in kept[:top]), left_out


def _price(instance: Instance, gpus: int) -> tuple[float | None, str | None]:
    """Price per hour of so many GPUs in USD, and its kind."""
    device = instance.device
    if device.price_per_hour is None:
        return None, None
    return float(device.price_per_hour) * gpus, None if device.price_basis is None else device.price_basis.kind


def _affordable(asked: Asked, variant: Variant) -> int:
    """GPUs of another device that cost no more than the answer does, by prices of one kind; 0 where none is known."""
    if variant.kind != "device" or asked.result.gpus is None:
        return 0
    own, kind = _price(asked.instance, asked.result.gpus)
    device = load_device(variant.changes["device"])
    if own is None or not device.price_per_hour or device.price_basis is None or device.price_basis.kind != kind:
        return 0
    return min(asked.instance.max_gpus, int(own / float(device.price_per_hour)))


def _cheaper(asked: Asked, devices: list[Alternative]) -> list[Alternative]:
    """Other devices that cost less than the answer, by prices of the same kind; the cheapest first."""
    own, kind = (None, None) if asked.result.gpus is None else _price(asked.instance, asked.result.gpus)
    if own is None:
        return []
    less = [
        (item.price_per_hour_usd, replace(item, kind="cheaper"))
        for item in devices
        if item.price_kind == kind and item.price_per_hour_usd is not None and item.price_per_hour_usd < own
    ]
    return [item for _, item in sorted(less, key=lambda pair: pair[0])]


def saving(found: Iterable[Alternative], gpus: int | None) -> tuple[str, ...]:
    """Say which formats would do with fewer GPUs than the answer has."""
    saves = (item for item in found if item.kind == "format" and (gpus is None or item.gpus < gpus))
    instead = "" if gpus is None else f" instead of {gpus}"
    return tuple(f"{_saved(item)}: {format_gpus(item.gpus)}{instead}" for item in saves)


def _saved(item: Alternative) -> str:
    return f"checkpoint {item.words}" if "model" in item.changes else item.words


def _base(asked: Asked, variant: Variant) -> Tree:
    """Return the fields that the variant is laid over: figures of one device do not hold for another."""
    tree = dict(asked.tree)
    if variant.kind == "device":
        tree.pop("hardware", None)
        limits = tree.get("limits")
        if isinstance(limits, Mapping):
            tree["limits"] = {key: value for key, value in limits.items() if key != "memory"}
    if "engine" in variant.changes:
        tree.pop("engine", None)
    return tree


def _formats(asked: Asked) -> Iterator[Variant]:
    """KV cache in FP8, and checkpoints of the same weights in other formats."""
    if asked.instance.model.kv_dtype != "fp8":
        yield Variant("format", "KV cache in FP8", {"precision": {"kv_cache": "fp8"}})
    for model in siblings(asked.instance.model):
        yield Variant("format", model.name, {"model": model.name, "precision": {"weights": None}})


def _layouts(asked: Asked) -> Iterator[Variant]:
    """Every other option of a stage that the rules accept, fixed for all stages."""
    from shardproof.formulations.deployment.options import options_of
    from shardproof.formulations.engines.rules import has_experts, rules_of

    plan, routed = asked.result.plan, has_experts(asked.instance)
    used = set() if plan is None else {stage.option.degrees for group in plan.parts for stage in group.stages}
    seen = used if len(used) == 1 else set()
    for option in options_of(asked.instance, rules_of(asked.instance.engine)):
        if option.degrees in seen:
            continue
        seen.add(option.degrees)
        fixed = {"tensor_parallel": option.attn_tp, "data_parallel": option.attn_dp}
        words = f"TP{option.attn_tp} x DP{option.attn_dp}"
        if routed:
            fixed["expert_parallel"] = option.moe_ep
            words += f", EP{option.moe_ep}"
        yield Variant("layout", words, {"fixed": fixed})


def _faster(asked: Asked) -> Iterator[Variant]:
    """Limits at half of what the plan reaches, each alone."""
    metrics = asked.result.metrics
    if metrics is None or asked.instance.scenarios[0].workload.kind == "requests" or "scenarios" in asked.tree:
        return
    for name, value in (("ttft", round(metrics.ttft_s * 1e9)), ("tpot", round(metrics.tpot_ms * 1e6))):
        limit = value // 2
        if limit > 0:
            words = f"{name.upper()} {format_duration(limit)}"
            yield Variant("faster", words, {"limits": {name: write_quantity(limit, "duration")}})


def _alike(asked: Asked) -> Iterator[Variant]:
    plan = asked.result.plan
    if plan is not None and len(plan.parts) > 1:
        yield Variant("alike", "replicas all alike", {"replicas": "alike"})


def _engines(asked: Asked) -> Iterator[Variant]:
    if asked.instance.engine == "any":
        return
    for name in NAMED:
        if name != asked.instance.engine:
            yield Variant("engine", name, {"engine": {"name": name}})


def _devices(asked: Asked) -> Iterator[Variant]:
    others = (load_device(name) for name in device_names() if name != asked.instance.device.name)
    for device in sorted(others, key=lambda device: (-device.usable_memory, device.name)):
        yield Variant("device", device.name, {"device": device.name})
