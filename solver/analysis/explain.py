"""Why fewer GPUs are impossible, in sentences read off a refutation; and which limits of an instance conflict.

A sentence says what a leaf of the tree says: the numbers are those that the checker compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from shardproof.formulations.deployment.build import OPTION_AXIS, Deployment
from shardproof.formulations.deployment.loop_shapes import loop_shape
from shardproof.formulations.deployment.prefill import decoded
from shardproof.formulations.deployment.tables import Cap, Choice, Layout, Path, Program, Table
from shardproof.formulations.deployment.volume import least_work
from shardproof.formulations.engines.rules import has_experts
from shardproof.instances.instance import Instance
from shardproof.instances.units import format_bytes, format_duration, format_gpus
from shardproof.instances.workload import Scenario
from shardproof.solver.proof.refutation import (
    CapacityClaim,
    Empty,
    Frontier,
    Node,
    Reach,
    Refutation,
    SplitAxis,
    SplitMax,
    Sum,
    Volume,
)


@dataclass(frozen=True)
class Place:
    """Where a leaf stands: the layout, its budget, the choices picked so far."""

    program: Program
    layout: Layout
    budget: int
    picked: tuple[Choice, ...] = ()

    @property
    def options(self) -> tuple[int, ...]:
        """Options that the budget and the picked choices leave."""
        fit = (index for index, option in enumerate(self.program.options) if option.gpus <= self.budget)
        return tuple(o for o in fit if all(c.options is None or o in c.options for c in self.picked))

    def row(self, name: str) -> Cap | Path:
        """Row of a name."""
        rows: list[Cap | Path] = [*self.layout.caps]
        for choice in self.picked:
            rows += [*choice.caps, *choice.paths]
        return next(row for row in rows if row.name == name)


def why_not_fewer(deployment: Deployment, refutation: Refutation) -> tuple[str, ...]:
    """Say why no plan of at most ``refutation.gpus`` GPUs exists: one sentence per reason.

    Replica counts that fall for the same reason share a sentence, with the numbers of the fewest replicas.
    """
    program = deployment.program
    counts, sentences = dict[tuple[object, ...], list[int]](), dict[tuple[object, ...], str]()
    for layout, tree in zip(program.layouts, refutation.trees, strict=True):
        budget = refutation.gpus // layout.replicas
        place = Place(program, layout, budget if layout.max_gpus is None else min(budget, layout.max_gpus))
        key = (layout.replicas > 1, budget == 0, type(tree), getattr(tree, "row", None))
        if key not in sentences:
            sentences[key] = _tree_sentence(deployment, place, tree)
        if layout.replicas not in counts.setdefault(key, []):
            counts[key].append(layout.replicas)
    return tuple(f"{_replicas(counts[key])}: {text}" for key, text in sentences.items())


SHOWN = 8
"""Widths whose reason is written out; what further ones carry stands in one sentence."""


def why_no_fleet(deployment: Deployment, claims: tuple[CapacityClaim, ...], gpus: int) -> tuple[str, ...]:
    """Say what a replica of each width carries at most and why, and that ``gpus`` GPUs cannot carry all.

    Numbers of requests are those that the certificate's table of sums is made of.
    """
    program, demand = deployment.program, deployment.demand
    sentences = []
    for claim in sorted(claims, key=lambda claim: -claim.gpus):
        reasons = dict[str, None]()
        for layout, tree in zip(claim.layouts, claim.trees or (), strict=False):
            widest = claim.gpus if layout.max_gpus is None else min(claim.gpus, layout.max_gpus)
            place = Place(program, replace(layout, replicas=1), widest)
            reasons[_tree_sentence(deployment, place, tree)] = None
        why = "; ".join(reasons) or "by the word of a solver"
        head = f"a replica of at most {format_gpus(claim.gpus)} does not take {_requests(deployment, claim.load)}"
        sentences.append(f"{head}: {why}")
    rest = len(sentences) - SHOWN
    shown = sentences[:SHOWN] + ([f"{rest} narrower widths fall likewise"] if rest > 0 else [])
    every = _requests(deployment, demand)
    return (*shown, f"no fleet of {format_gpus(gpus)} of replicas that carry no more than that takes {every}")


def _requests(deployment: Deployment, load: tuple[int, ...]) -> str:
    scenarios = deployment.instance.scenarios
    if len(scenarios) == 1:
        return f"{load[0]:,} request{'s' if load[0] != 1 else ''}"
    parts = (f"{count:,} of {item.name}" for count, item in zip(load, scenarios, strict=True) if count)
    return f"requests {' and '.join(parts)}"


def _replicas(counts: list[int]) -> str:
    if len(counts) == 1:
        return f"{counts[0]} replica{'s' if counts[0] > 1 else ''}"
    return f"{counts[0]} to {counts[-1]} replicas, {counts[0]} shown"


def _tree_sentence(deployment: Deployment, place: Place, tree: Node) -> str:
    if place.budget < min((option.gpus for option in place.program.options), default=1):
        return "fewer GPUs than replicas, not one for each" if place.budget == 0 else "no stage is narrow enough"
    if isinstance(tree, SplitAxis):
        return _split_sentence(deployment, place, tree)
    return _leaf_sentence(deployment, place, tree)


def _split_sentence(deployment: Deployment, place: Place, tree: SplitAxis) -> str:
    """Say what refutes the choice that comes closest, and how many others fall with it."""
    axis = place.layout.axes[tree.axis]
    sentences: dict[type[Node], list[tuple[int, str]]] = {}
    for choice, child in zip(axis.choices, tree.children, strict=True):
        inner = replace(place, picked=(*place.picked, choice))
        text = _tree_sentence(deployment, inner, child)
        sentences.setdefault(type(child), []).append((choice.value, text))
    hardest = max(sentences, key=lambda kind: _DIFFICULTY.get(kind, 0))
    value, text = sentences[hardest][-1]
    kind, count = axis.name.partition("[")[0], len(axis.choices)
    name, words = kind.replace("_", " "), _value_words(deployment, place, kind, value)
    if count == 1:
        return f"with {words}, {text}" if kind == OPTION_AXIS else f"with {words} {name}, {text}"
    return f"{name}: each of the {count} values that matter is refuted; with {words}, {text}"


def _value_words(deployment: Deployment, place: Place, kind: str, value: int) -> str:
    """Return what a choice's value stands for: requests and their chunks, or an option's degrees."""
    if kind == OPTION_AXIS and len(deployment.options) == len(place.program.options):
        option = deployment.options[value]
        experts = f", experts TP{option.moe_tp} x EP{option.moe_ep}" if has_experts(deployment.instance) else ""
        return f"TP{option.attn_tp} x DP{option.attn_dp}{experts}"
    if kind == "prefill_requests":
        requests, chunks = decoded(value)
        return f"{requests}" if chunks == 1 else f"{requests} in {chunks} chunks"
    if kind == "decode_requests":
        shape = loop_shape(value)
        return f"{shape.size}" if shape.chunk is None else f"{shape.size} and iterations of {shape.chunk} tokens"
    return str(value)


_DIFFICULTY: dict[type[Node], int] = {Empty: 0, Volume: 1, Sum: 2, Reach: 3, Frontier: 4, SplitMax: 5, SplitAxis: 6}


def _leaf_sentence(deployment: Deployment, place: Place, leaf: Node) -> str:
    match leaf:
        case Volume(row=name):
            row = place.row(name)
            if row.name.startswith("running"):
                return _running(place, row)
            return _memory_volume(deployment, place, row) if isinstance(row, Cap) and row.memory else _work(place, row)
        case Sum(row=name):
            return _cheapest(place, place.row(name))
        case Reach(layers=layers):
            covered, all_layers = max(layers), len(place.program.kinds)
            return (
                f"stages of {place.budget} GPUs in all that keep every limit of a single stage hold at most "
                f"{covered} of {all_layers} layers"
            )
        case Frontier() | SplitMax():
            return _searched(place, leaf)
    return "no stage keeps the limits"


def _volume(place: Place, table: Table) -> int:
    """Least cost of all layers in unit-GPUs, as `shardproof.solver.proof.refutation.Volume` adds it up."""
    return least_work(place.program, table.floor, place.options)


def _memory_volume(deployment: Deployment, place: Place, row: Cap) -> str:
    """Tell weights, KV cache and the rest of a memory volume apart."""
    replicas = place.layout.replicas
    have, need = row.limit * place.budget * replicas, _volume(place, row.table) * replicas
    weights = replicas * sum(count * least for count, least in _weights(deployment, place))
    workload = _scenario_of(deployment.instance, row.name).workload
    at = deployment.instance.scenarios.index(_scenario_of(deployment.instance, row.name))
    alone = replicas == 1 and bool(place.layout.load)
    requests = place.layout.load[at] if alone else workload.requests
    kept = _layers_volume(place, row.table) * replicas - weights
    rest = need - weights - kept
    gpus = place.budget * replicas
    copies = "" if replicas == 1 else f" of {replicas} copies"
    return (
        f"{gpus} GPU{'s hold' if gpus > 1 else ' holds'} {format_bytes(have)}; the layers' weights{copies}, "
        f"{format_bytes(weights)}, the KV cache of {requests:,} x {workload.resident_tokens:,} tokens, "
        f"{format_bytes(kept)}, and embedding, head and what every GPU keeps for itself, at least "
        f"{format_bytes(rest)}, need {format_bytes(need)}"
    )


def _weights(deployment: Deployment, place: Place) -> Iterator[tuple[int, int]]:
    """Per layer kind: its layers, and the least bytes of one layer's weights over all GPUs of a stage."""
    for kind, name in enumerate(deployment.kind_names):
        count = place.program.kinds.count(kind)
        if count:
            options = place.program.options
            yield count, min(options[o].gpus * deployment.layer_weights(name, options[o]) for o in place.options)


def _layers_volume(place: Place, table: Table) -> int:
    gpus, kinds = [option.gpus for option in place.program.options], place.program.kinds
    return sum(kinds.count(kind) * min(gpus[o] * table.layer[o][kind] for o in place.options) for kind in set(kinds))


def _scenario_of(instance: Instance, row: str) -> Scenario:
    name = row.partition("[")[2].rstrip("]").partition(",")[0]
    return next((item for item in instance.scenarios if item.name == name), instance.scenarios[0])


def _limit_words(row: Cap | Path) -> str:
    kind = row.name.partition("[")[0]
    words = {"ttft": "the TTFT limit", "tpot": "the TPOT limit", "tpot_slowest": "the TPOT limit"}
    return words.get(kind, row.name)


def _running(place: Place, row: Cap | Path) -> str:
    replicas, limit = place.layout.replicas, row.limit or 0
    need, gpus = _volume(place, row.table) * replicas, place.budget * replicas
    return (
        f"{need:,} requests have to run at once, and {gpus} GPUs, each an attention replica, run "
        f"{limit * gpus:,} (max_num_seqs {limit})"
    )


def _work(place: Place, row: Cap | Path) -> str:
    passes = row.microbatches if isinstance(row, Path) else 1
    need, limit = _volume(place, row.table) * passes, row.limit or 0
    gpus = place.budget
    return (
        f"the work of {passes} microbatch{'es' if passes > 1 else ''} takes at least {format_duration(need)} of "
        f"GPU time; {gpus} GPU{'s have' if gpus > 1 else ' has'} {format_duration(limit * gpus)} within "
        f"{_limit_words(row)}"
    )


def _cheapest(place: Place, row: Cap | Path) -> str:
    table, kinds, options = row.table.floor, place.program.kinds, place.options
    total = sum(kinds.count(kind) * min(table.layer[o][kind] for o in options) for kind in set(kinds))
    total += sum(min(cells[o] for o in options) for cells in (table.first, table.last, table.base))
    return (
        f"one pass through all layers takes at least {format_duration(total)} even with the fastest option "
        f"everywhere, and {_limit_words(row)} is {format_duration(row.limit or 0)}"
    )


def _searched(place: Place, tree: Node) -> str:
    labels, boxes, stack = 0, 0, [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, SplitMax):
            stack += [node.low, node.high]
            continue
        boxes += 1
        labels += sum(map(len, node.labels)) if isinstance(node, Frontier) else 0
    names = " and ".join(sorted({_limit_words(path) for choice in place.picked for path in choice.paths if path.limit}))
    return (
        f"no way of cutting {len(place.program.kinds)} layers into stages of {place.budget} GPUs in all meets {names}: "
        f"{boxes} range{'s' if boxes > 1 else ''} of the slowest stage's time, {labels} partial chains that no "
        "other chain beats, none of which can be completed"
    )
