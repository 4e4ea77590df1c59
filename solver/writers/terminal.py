"""Results as text for a terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shardproof.formulations.engines.told import memory_budget
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Stage
from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.result import Metrics, Result

_STATUS_STYLE = {"optimal": "bold green", "feasible": "bold yellow", "infeasible": "bold red", "undecided": "bold red"}
_PROOF_WORDS = {
    "certified-optimal": "certified: the independent checker accepted the proof",
    "certified-gap": "certified gap: the independent checker accepted the bound",
    "solver-claimed": "claimed by the solver, not certified",
    "none": "nothing proved",
}


def render_result(instance: Instance, result: Result, *, colour: bool) -> str:
    """Lay a result out for a terminal of at least 80 columns."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=colour, no_color=not colour, width=100, highlight=False)
    console.print(_headline(instance, result))
    if result.plan is not None and result.metrics is not None:
        console.print(_figures(instance, result, result.metrics))
        for place, group in enumerate(result.plan.parts):
            console.print(_stages(group, f"group {place}: " if result.plan.groups else ""))
        _list(console, "Time of a stage goes to", [_time_shares(group) for group in result.plan.parts])
    _list(console, "Why", list(result.explanation))
    _list(console, "Engine flags", list(result.engine_flags), whole=True)
    _list(console, "Assumed", list(result.assumptions))
    return out.getvalue().rstrip("\n")


def _headline(instance: Instance, result: Result) -> Text:
    style = _STATUS_STYLE[result.status]
    text = Text()
    text.append(f"{instance.model.name} on {instance.device.name}: ")
    if result.gpus is not None:
        text.append(f"{result.gpus} GPUs", style="bold")
        bound = f"no plan has fewer than {result.bound}" if result.bound != 1 else "no plan has fewer than 1"
        text.append(f"; {bound}")
        if result.gap:
            text.append(f" (gap {result.gap:.1%})")
    elif result.status == "infeasible":
        text.append(f"no plan exists with up to {instance.max_gpus} GPUs", style="bold")
    else:
        text.append(f"no plan found yet; at least {result.bound} GPUs are needed", style="bold")
    text.append(f"\n{result.status}", style=style)
    text.append(f" - {_PROOF_WORDS[result.proof]}; stopped: {result.stop_reason}; {result.seconds:.2f} s")
    return text


def _figures(instance: Instance, result: Result, metrics: Metrics) -> Table:
    limits = instance.scenarios[0].limits
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    first = "TTFT (slowest request)" if not result.service else "TTFT (99th percentile in service)"
    table.add_row(first, f"{metrics.ttft_s:.3f} s", _limit(limits.ttft))
    table.add_row("TTFT (mean)", f"{metrics.ttft_mean_s:.3f} s", "")
    table.add_row("TPOT", f"{metrics.tpot_ms:.2f} ms", _limit(limits.tpot))
    peak = f"{format_bytes(metrics.peak_memory_bytes)} per device"
    table.add_row("Peak memory", peak, f"limit {format_bytes(memory_budget(instance))}")
    table.add_row("Memory utilisation", f"{metrics.memory_utilisation:.1%}", "")
    table.add_row("Compute utilisation", f"{metrics.compute_utilisation:.1%}", "of the time until the last first token")
    table.add_row("Throughput", *_throughput(metrics))
    price = instance.device.price_per_hour
    if price is not None and result.gpus is not None:
        table.add_row("Price", f"{float(price) * result.gpus:.2f} USD/h", "")
    return table


def _throughput(metrics: Metrics) -> tuple[str, str]:
    """Requests and output tokens in a second, of all GPUs, of one GPU and of one reader."""
    rate = f"{metrics.requests_per_s:.4g} requests/s, {metrics.output_tokens_per_s:,.4g} tokens/s"
    each = f"{metrics.output_tokens_per_s_per_gpu:,.4g} tokens/s per GPU"
    return rate, f"{each}, {metrics.output_tokens_per_s_per_user:.4g} per user"


def _limit(limit: int | None) -> str:
    return "no limit" if limit is None else f"limit {format_duration(limit)}"


def _stages(plan: Group, head: str) -> Table:
    title = f"{head}{plan.replicas} replica{'s' if plan.replicas > 1 else ''} x {len(plan.stages)} stages, "
    title += f"microbatch {plan.microbatch_tokens} tokens{_share(plan)}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("stage", "layers", "GPUs", "attention", "experts", "memory", "weights", "KV", "stage time"):
        table.add_column(name, justify="left" if name in ("attention", "experts") else "right")
    for index, stage in enumerate(plan.stages):
        table.add_row(str(index), *_stage_cells(stage))
    return table


def _share(plan: Group) -> str:
    """Say what the router sends to each replica of a group."""
    alone = len(plan.shares) == 1
    words = (f"{share.requests}{'' if alone else f' of {share.scenario}'}" for share in plan.shares)
    return f", at most {' and '.join(words)} requests each" if plan.shares else ""


def _stage_cells(stage: Stage) -> list[str]:
    memory, times = stage.memory_bytes or {}, stage.time_ns or {}
    return [
        f"{stage.layers[0]}-{stage.layers[1]}",
        str(stage.gpus),
        f"TP{stage.attn_tp} x DP{stage.attn_dp}",
        f"TP{stage.moe_tp} x EP{stage.moe_ep}",
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


def _list(console: Console, title: str, lines: list[str], *, whole: bool = False) -> None:
    """Print lines below a title; ``whole``: never broken, so that commands can be copied."""
    if lines:
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Text(f"  - {line}"), soft_wrap=whole)
