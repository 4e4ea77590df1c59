"""Where slow answers spend their processor time: ``python -m benchmarks.profile [NAMES]``.

Solves instances that are known to be slow, one after the other, and prints the processor seconds of each, and for all
of them the seconds by room (folder) and by function, both as a profiler sees them: calls cost more under it, so that
shares are to be read, not sums. ``--plain`` leaves the profiler off: the figures to compare versions by. Each line has
the status, GPUs and bound too, for versions to be compared by their answers.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.solve.thousand_layers import Shape
from benchmarks.solve.thousand_layers import measure as measure_thousand
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.search.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Answered:
    """What was answered, and the processor seconds that it took."""

    name: str
    status: str
    gpus: int | None
    bound: int | None
    cpu_s: float = 0.0


def burst(model: str, device: str, requests: int, lengths: tuple[int, int], **limits: Any) -> dict[str, Any]:
    """Return a question with a burst of requests."""
    workload = {"batch_size": requests, "input_tokens": lengths[0], "output_tokens": lengths[1]}
    return {"model": model, "device": device, "workload": {"kind": "burst", **workload}, "limits": limits}


def loop(model: str, device: str, requests: int, lengths: tuple[int, int], **limits: Any) -> dict[str, Any]:
    """Return a question with a closed loop of requests under vLLM."""
    workload = {"concurrency": requests, "input_tokens": lengths[0], "output_tokens": lengths[1]}
    workload_tree = {"kind": "closed-loop", **workload}
    return {"model": model, "device": device, "engine": "vllm", "workload": workload_tree, "limits": limits}


def arriving(model: str, device: str, rate: str, lengths: tuple[int, int], **limits: Any) -> dict[str, Any]:
    """Return a question with requests that come by themselves, under vLLM."""
    workload = {"kind": "requests", "rate": rate, "input_tokens": lengths[0], "output_tokens": lengths[1]}
    return {"model": model, "device": device, "engine": "vllm", "workload": workload, "limits": limits}


def several(model: str, device: str, *loads: tuple[int, int, int, str]) -> dict[str, Any]:
    """Return a question with several bursts, each of requests, prompt, output and TTFT."""
    scenarios = [
        {"name": f"load {at}", "workload": burst(model, device, requests, (prompt, output))["workload"]}
        | {"limits": {"ttft": ttft}}
        for at, (requests, prompt, output, ttft) in enumerate(loads)
    ]
    return {"model": model, "device": device, "scenarios": scenarios, "limits": {}}


LOOPS: Mapping[str, dict[str, Any]] = {
    "loop deepseek-v3 h200 256": loop("deepseek-v3", "h200-sxm", 256, (4000, 1000), ttft="2 s", tpot="50 ms"),
    "loop qwen3-235b h100 400": loop("qwen3-235b-a22b", "h100-sxm", 400, (2000, 500), ttft="2 s", tpot="40 ms"),
    "loop llama-3.1-70b h100 600": loop("llama-3.1-70b", "h100-sxm", 600, (1000, 1000), tpot="30 ms"),
    "loop gpt-oss-120b h100 800": loop("gpt-oss-120b", "h100-sxm", 800, (1000, 1000), ttft="1 s", tpot="20 ms"),
    "loop glm-4.6-fp8 h200 300": loop("glm-4.6-fp8", "h200-sxm", 300, (2000, 500), ttft="2 s", tpot="30 ms"),
    "loop llama-3.3-70b l40s 200": loop("llama-3.3-70b-instruct", "l40s", 200, (1000, 500), ttft="3 s", tpot="60 ms"),
    "loop qwen3-30b l4 300": loop("qwen3-30b-a3b", "l4", 300, (1000, 500), ttft="5 s", tpot="80 ms"),
    "requests qwen3-8b h100": arriving(
        "qwen3-8b", "h100-sxm", "20/s", (2400, 300), ttft={"p99": "2 s"}, tpot={"p99": "50 ms"}
    ),
    "requests qwen3-32b h100": arriving(
        "qwen3-32b", "h100-sxm", "30/s", (1000, 500), ttft={"p99": "2 s"}, tpot={"p99": "40 ms"}
    ),
}
TIGHT: Mapping[str, dict[str, Any]] = {
    "tpot gemma-3-27b l40s": burst("gemma-3-27b", "l40s", 128, (2048, 2048), ttft="30 s", tpot="40 ms"),
    "tpot llama-3.1-70b l40s": burst("llama-3.1-70b", "l40s", 64, (2048, 1024), ttft="30 s", tpot="60 ms"),
    "tpot qwen3-32b l40s": burst("qwen3-32b", "l40s", 128, (2048, 1024), ttft="20 s", tpot="40 ms"),
    "tpot gemma-3-27b a10g": burst("gemma-3-27b", "a10g", 64, (2048, 1024), ttft="30 s", tpot="60 ms"),
    "tpot deepseek-r1 h200": burst("deepseek-r1", "h200-sxm", 128, (2048, 2048), ttft="10 s", tpot="25 ms"),
    "prompts qwen3-235b l40s 126": burst("qwen3-235b-a22b", "l40s", 126, (8192, 1024), ttft="60 s"),
    "prompts qwen3-235b l40s 154": burst("qwen3-235b-a22b", "l40s", 154, (8192, 1024), ttft="60 s"),
    "prompts llama-3.1-70b h100": burst("llama-3.1-70b", "h100-sxm", 64, (65536, 1024), ttft="120 s"),
    "prompts deepseek-v3.2 h200": burst("deepseek-v3.2-exp", "h200-sxm", 48, (65536, 1024), ttft="120 s"),
    "prompts qwen3-32b l40s": burst("qwen3-32b", "l40s", 60, (32768, 512), ttft="120 s"),
    "ttft 1 ms deepseek-v3 h100": burst("deepseek-v3", "h100-sxm", 128, (2048, 2048), ttft="1 ms"),
    "ttft 1 ms qwen3-235b h100": burst("qwen3-235b-a22b", "h100-sxm", 128, (2048, 2048), ttft="1 ms"),
    "ttft 1 ms qwen3-235b-fp8 l40s": burst("qwen3-235b-a22b-fp8", "l40s", 128, (2048, 2048), ttft="1 ms"),
    "several qwen3-32b h100": several("qwen3-32b", "h100-sxm", (64, 1000, 500, "5 s"), (24, 8000, 300, "20 s")),
    "several deepseek-v3 h200": several("deepseek-v3", "h200-sxm", (96, 2000, 1000, "8 s"), (32, 16000, 500, "40 s")),
    "several llama-3.1-70b a100": several(
        "llama-3.1-70b", "a100-80-sxm", (64, 500, 500, "5 s"), (32, 2000, 500, "10 s"), (8, 16000, 300, "60 s")
    ),
}
WORST_PAIRS = (
    ("llama-3.1-405b", "l4"),
    ("llama-3.1-405b", "a10g"),
    ("llama-3.3-70b-instruct", "a10g"),
    ("llama-3.3-70b-instruct-nvfp4", "l4"),
    ("codellama-34b-instruct", "rtx-3090"),
    ("qwen2.5-72b-instruct-awq", "arc-pro-b60"),
    ("nemotron-h-56b-base", "h20-141-sxm"),
    ("nemotron-3-super-120b-a12b-fp8", "h20-sxm"),
    ("deepseek-r1-distill-llama-70b", "v100-32-sxm"),
    ("glm-5.2-fp8", "h800-sxm"),
    ("nemotron-3-ultra-550b-a55b-fp8", "tpu-v6e"),
)
"""Pairs that took longest in sweeps of the catalogue (`benchmarks.solve catalogue --every 61`), under its workload."""
QUESTIONS: Mapping[str, dict[str, Any]] = {
    **LOOPS,
    **TIGHT,
    **{
        f"catalogue {model} {device}": burst(model, device, 128, (2048, 2048), ttft="30 s")
        for model, device in WORST_PAIRS
    },
}
THOUSAND: Mapping[str, Shape] = {
    "1,000 layers, seed 0": Shape(seed=0, ttft_ns=12_000_000_000),
    "1,000 layers, seed 1": Shape(seed=1, ttft_ns=6_000_000_000),
    "1,000 layers, seed 2": Shape(seed=2, ttft_ns=6_000_000_000),
    "1,000 layers, seed 0, tight": Shape(seed=0, ttft_ns=6_000_000_000),
}


def cases(time_limit_s: float) -> dict[str, Callable[[], Answered]]:
    """Return every slow case by name."""
    settings = Settings(time_limit_s=time_limit_s)

    def solved(name: str, tree: dict[str, Any]) -> Answered:
        found = answer(resolve_tree(tree, where=name), settings=settings)
        return Answered(name, found.status, found.gpus, found.bound)

    def synthetic(name: str, shape: Shape) -> Answered:
        found = measure_thousand(shape, time_limit_s=time_limit_s)
        return Answered(name, found["stop_reason"], found["levels"]["gpus"]["value"], found["levels"]["gpus"]["bound"])

    questions = {name: partial(solved, name, tree) for name, tree in QUESTIONS.items()}
    return {**questions, **{name: partial(synthetic, name, shape) for name, shape in THOUSAND.items()}}


def room_of(path: str) -> str:
    """Return the folder of the tree that a file lies in, two levels deep; ``other`` for libraries."""
    whole = Path(path)
    known = [folder for folder in ("instances", "formulations", "solver") if folder in whole.parts]
    if not known or "site-packages" in whole.parts:
        return "numpy" if "numpy" in whole.parts else "other"
    parts = whole.parts[len(whole.parts) - 1 - whole.parts[::-1].index(known[-1]) :]
    return ".".join(parts[:-1][:3])


def by_room(stats: Any) -> list[tuple[str, float]]:
    """Return the seconds spent in each room itself, what it calls left out; the largest first."""
    found: defaultdict[str, float] = defaultdict(float)
    for (path, _, _), (_, _, own, _, _) in stats.items():
        found[room_of(path)] += own
    return sorted(found.items(), key=lambda item: -item[1])


def by_function(stats: Any, count: int) -> list[tuple[str, int, float, float]]:
    """Return the functions of the tree with the most seconds, own and with what they call."""
    rows = [
        (f"{room_of(path)}.{Path(path).stem}.{name}", calls, own, whole)
        for (path, _, name), (_, calls, own, whole, _) in stats.items()
        if room_of(path) not in ("other", "numpy")
    ]
    return sorted(rows, key=lambda row: -row[2])[:count]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--plain", is_flag=True, help="Without the profiler: processor seconds alone.")
@click.option("--time-limit", type=float, default=60.0, show_default=True, help="Seconds per case.")
@click.option("--functions", type=int, default=25, show_default=True, help="Functions to list.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per case instead.")
def main(names: tuple[str, ...], *, plain: bool, time_limit: float, functions: int, as_json: bool) -> None:
    """Solve the slow cases whose name contains one of NAMES (none: all), and say where the time goes."""
    profiler = cProfile.Profile()
    chosen = cases(time_limit)
    total = 0.0
    for name in (name for name in chosen if not names or any(part in name for part in names)):
        started = time.process_time()
        done = chosen[name]() if plain else profiler.runcall(chosen[name])
        done = replace(done, cpu_s=round(time.process_time() - started, 3))
        total += done.cpu_s
        line = f"{done.cpu_s:8.2f} s  {done.name:32}  {done.status:11} GPUs {done.gpus}, bound {done.bound}"
        click.echo(json.dumps(asdict(done)) if as_json else line)
    if not as_json:
        click.echo(f"{total:8.2f} s  in all")
    if not plain and not as_json:
        _print_profile(profiler, functions)


def _print_profile(profiler: cProfile.Profile, functions: int) -> None:
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    click.echo("\nseconds by room")
    for room, seconds in by_room(stats):
        if seconds >= 0.01:
            click.echo(f"{seconds:8.2f}  {room}")
    click.echo("\n     own   whole      calls  function")
    for name, calls, own, whole in by_function(stats, functions):
        click.echo(f"{own:8.2f}{whole:8.2f}{calls:11,}  {name}")


if __name__ == "__main__":
    main()
