"""Results as text for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shardproof.formulations.engines.told import memory_budget
from shardproof.instances.instance import Instance
from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.plan import Group, Stage
from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.result import Metrics, Result
from shardproof.solver.writers.layout import counted, engine_lines, item, terminal_width, wrapped
from shardproof.solver.writers.served import answered, knows_mean_alone, latencies, limit_text, whose_ttft

if TYPE_CHECKING:
    from shardproof.solver.alternatives import Alternative
    from shardproof.solver.pools.result import FleetResult

_STATUS_STYLE = {"optimal": "bold green", "feasible": "bold yellow", "infeasible": "bold red", "undecided": "bold red"}
PROOF_WORDS = {
    "certified-optimal": "certified by the independent checker",
    "certified-gap": "the bound is certified by the independent checker",
    "solver-claimed": "claimed by the solver, not certified",
    "none": "nothing proved",
}


ASK_FOR_MORE = "ask with --top 5: each is a question of its own, solved as this one was"
"""Said under an answer where nobody asked: offers cost as much as answers."""


def render_result(
    instance: Instance, result: Result, *, colour: bool, alternatives: Sequence[Alternative] = (), left_out: int = 0
) -> str:
    """Lay a result out within the terminal: verdict, plan, how to run it, why, what else, and last what was assumed."""
    out, width = io.StringIO(), terminal_width()
    console = Console(file=out, force_terminal=colour, no_color=not colour, width=width, highlight=False)
    _print_headline(console, instance, result)
    if result.plan is not None and result.metrics is not None:
        for place, group in enumerate(result.plan.parts):
            _print_stages(console, instance, group, _group_name(place, group) if result.plan.groups else "")
        console.print(_figures(instance, result, result.metrics))
        _list(console, "Time of a stage goes to", [_time_shares(group) for group in result.plan.parts])
    if result.engine_flags:
        console.print(Text("Run it with", style="bold"))
        for line in engine_lines(result.engine_flags, width=width):
            console.print(Text(line), soft_wrap=True)
    _list(console, "Why", list(result.explanation))
    if alternatives:
        _print_alternatives(console, result, alternatives)
    elif (result.gpus or 1) > 1 and not left_out:
        _list(console, "What would save GPUs (FP8 KV cache, other formats, layouts, engines, devices)", [ASK_FOR_MORE])
    if left_out:
        _list(console, "Not looked at before the time limit", [f"{counted(left_out, 'question')} next to this one"])
    _list(console, "Assumed", list(result.assumptions))
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().split("\n"))


def _group_name(place: int, group: Group) -> str:
    """Name a group of a fleet by its place, and by its pool where prefill and decode are apart."""
    return f"group {place}{'' if group.pool is None else f' ({group.pool} pool)'}: "


def stopped(result: Result | FleetResult) -> str:
    """Say why the search came to its end, where it did not end with a proof (empty: it did)."""
    if result.stop_reason != "proved":
        return f"stopped: {result.stop_reason.replace('-', ' ')}; "
    return "every candidate was tried; " if result.status == "feasible" else ""


def _print_headline(console: Console, instance: Instance, result: Result) -> None:
    """Print the verdict, and how far it is proven."""
    text = Text(f"{instance.model.name} on {instance.device.name}: ")
    text.append(_verdict(instance, result), style="bold")
    if result.gpus is not None:
        text.append(f"; no plan has fewer than {result.bound}")
        if result.gap:
            text.append(f" (gap {result.gap:.1%})")
    console.print(text)
    proof = f"{result.status} - {_proof(result)}; {stopped(result)}{result.seconds:.2f} s"
    shown = Text(wrapped(proof, width=console.width))
    shown.stylize(_STATUS_STYLE[result.status], 0, len(result.status))
    console.print(shown)


def _print_alternatives(console: Console, result: Result, found: Sequence[Alternative]) -> None:
    from shardproof.solver.alternatives import saving
    from shardproof.solver.writers.alternatives import alternatives_table

    _list(console, "Would save GPUs", list(saving(found, result.gpus)))
    console.print(Text("Next best answers", style="bold"))
    console.print(alternatives_table(found))
    kinds = {item.price_kind for item in found} - {None}
    notes = ["layout: replicas x GPUs of a stage; 2 x 3*1 is two replicas of three stages, one GPU each"]
    notes += ["own: what it costs to own a GPU, per hour"] if "total-cost" in kinds else []
    if len(kinds) > 1:
        notes.append(f"prices of different kinds ({', '.join(sorted(map(str, kinds)))}) are no ranking")
    for note in notes:
        console.print(Text(wrapped(note, width=console.width)))


def _proof(result: Result) -> str:
    if result.proof == "none" and (result.bound or 1) > 1:
        return "the bound is claimed by the solver, not certified"
    return PROOF_WORDS[result.proof]


def _verdict(instance: Instance, result: Result) -> str:
    if result.gpus is not None:
        return counted(result.gpus, "GPU")
    if result.status == "infeasible":
        return f"no plan exists with up to {counted(instance.max_gpus, 'GPU')}"
    return f"no plan found yet; it takes at least {counted(result.bound or 1, 'GPU')}"


def _figures(instance: Instance, result: Result, metrics: Metrics) -> Table:
    limits = instance.scenarios[0].limits
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    if result.service:
        for name, text in latencies(instance, result, metrics):
            table.add_row(name, text)
    else:
        table.add_row(f"TTFT ({whose_ttft(instance)})", f"{metrics.ttft_s:.3f} s{limit_text(limits.ttft)}")
        if not knows_mean_alone(instance):
            table.add_row("TTFT (mean)", f"{metrics.ttft_mean_s:.3f} s")
        table.add_row("TPOT", f"{metrics.tpot_ms:.2f} ms{limit_text(limits.tpot)}")
    peak = f"{format_bytes(metrics.peak_memory_bytes)} per device"
    table.add_row("Peak memory", f"{peak} (limit {format_bytes(memory_budget(instance))})")
    table.add_row("Memory utilisation", f"{metrics.memory_utilisation:.1%}")
    table.add_row("Compute utilisation", f"{metrics.compute_utilisation:.1%} of the time until the last first token")
    rate = f"{answered(instance, metrics.requests_per_s)}, {metrics.output_tokens_per_s:,.4g} output tokens/s"
    table.add_row("Throughput", rate)
    each = f"{metrics.output_tokens_per_s_per_gpu:,.4g} tokens/s per GPU"
    table.add_row("", f"{each}, {metrics.output_tokens_per_s_per_user:.4g} per user")
    price = instance.device.price_per_hour
    if price is not None and result.gpus is not None:
        table.add_row("Price", f"{float(price) * result.gpus:.2f} USD/h")
    return table


def _print_stages(console: Console, instance: Instance, plan: Group, head: str) -> None:
    """Print a row for each stage, closer together where the terminal is too narrow for them."""
    title = f"{head}{counted(plan.replicas, 'replica')} x {counted(len(plan.stages), 'stage')}, "
    console.print(
        Text(wrapped(f"{title}microbatch {plan.microbatch_tokens:,} tokens{_share(plan)}", width=console.width))
    )
    mixed = any(isinstance(layer.feed_forward, MixtureOfExperts) for layer in instance.model.kinds.values())
    name = "experts" if mixed else "dense FFN"
    wide = _stages(plan, name, gap=2)
    console.print(wide if console.measure(wide).maximum <= console.width else _stages(plan, name, gap=1))


def _stages(plan: Group, feed_forward: str, *, gap: int) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    for name in ("stage", "layers", "GPUs", "attention", feed_forward, "memory", "weights", "KV", "time"):
        table.add_column(name, justify="left" if name in ("attention", feed_forward) else "right", no_wrap=True)
    for index, stage in enumerate(plan.stages):
        table.add_row(str(index), *_stage_cells(stage, mixed=feed_forward == "experts"))
    return table


def _share(plan: Group) -> str:
    """Say what the router sends to each replica of a group."""
    alone = len(plan.shares) == 1
    words = (f"{share.requests}{'' if alone else f' of {share.scenario}'}" for share in plan.shares)
    return f", at most {' and '.join(words)} requests each" if plan.shares else ""


def _stage_cells(stage: Stage, *, mixed: bool) -> list[str]:
    """Cells of a stage's row; dense feed-forward parts are cut as attention is, whole on each of its DP ranks."""
    memory, times = stage.memory_bytes or {}, stage.time_ns or {}
    return [
        f"{stage.layers[0]}-{stage.layers[1]}",
        str(stage.gpus),
        f"TP{stage.attn_tp} x DP{stage.attn_dp}",
        f"TP{stage.moe_tp} x EP{stage.moe_ep}" if mixed else f"TP{stage.attn_tp} x DP{stage.attn_dp}",
        format_bytes(sum(memory.values())),
        format_bytes(memory.get("weights", 0)),
        format_bytes(memory.get("kv_cache", 0)),
        format_duration(sum(times.values())),
    ]


def _time_shares(plan: Group) -> str:
    slowest = max(plan.stages, key=lambda stage: sum((stage.time_ns or {}).values()))
    times = slowest.time_ns or {}
    total = sum(times.values()) or 1
    parts = sorted(times.items(), key=lambda item: -item[1])
    return "slowest stage: " + ", ".join(f"{name} {value / total:.1%}" for name, value in parts if value * 1000 > total)


def _list(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Text(item(line, width=console.width)), soft_wrap=True)
