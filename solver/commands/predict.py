"""`shardproof predict`: times and memory of a given plan, and the doubt in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import Verb

if TYPE_CHECKING:
    from shardproof.solver.evaluation.figures import Violation
    from shardproof.solver.evaluation.predictions import Prediction


@click.command(name="predict", cls=Verb)
@click.argument("plan", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="Instance file that the plan answers.")
@instance_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(plan: str, instance: str | None, as_json: bool, **fields: Any) -> int:
    """Predict TTFT, TPOT, time by operation and memory by part of a plan, in any form that `audit` reads.

    A closed-loop workload is predicted with factors fitted to measured deployments; a burst with the
    instance's own efficiencies. Exit code 4: the plan breaks a rule or a limit.

    \b
    Examples:
      shardproof predict plan.yaml --instance instances/cases/qwen3-235b-a22b.yaml
      shardproof predict plan.yaml -i case.yaml --concurrency 64 --engine vllm \\
        --confidence 90%
      shardproof predict "vllm serve Qwen/Qwen3-32B -tp 4" -i case.yaml \\
        --engine vllm
    """
    from shardproof.solver.api.predicted import predict
    from shardproof.solver.writers.layout import terminal_width, wrapped

    found = predict(plan, instance, **fields)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        click.echo(wrapped(found.verdict, width=terminal_width()))
        for one in found.predictions:
            _show(one)
    return found.exit_code


def _show(prediction: Prediction) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from shardproof.instances.units import format_bytes
    from shardproof.solver.evaluation.predictions import FITTED
    from shardproof.solver.writers.term_words import words_of

    console = Console()
    group = "" if prediction.group is None else f"group {prediction.group}, "
    group += "" if prediction.pool is None else f"{prediction.pool} pool, "
    console.print(f"{group}scenario {prediction.scenario}: by {prediction.basis}")
    console.print(f"TTFT {prediction.ttft_s:.3f} s, TPOT {prediction.tpot_ms:.2f} ms")
    for sentence in prediction.said:
        console.print(f"  {sentence}", soft_wrap=True, markup=False)
    rates = prediction.throughput
    console.print(
        f"{rates.requests_per_s:.4g} requests/s, {rates.output_tokens_per_s:,.4g} output tokens/s, "
        f"{rates.output_tokens_per_s_per_gpu:,.4g} per GPU, {rates.output_tokens_per_s_per_user:.4g} per user"
    )
    if prediction.running < prediction.requests:
        console.print(f"each replica runs {prediction.running} of its {prediction.requests} requests; the others wait")
    for name, found in prediction.intervals.items():
        quantity, unit = name.rsplit("_", 1)
        within = f"{found.level:.0%} of measurements lie from {found.low:.3g} to {found.high:.3g} {unit}"
        console.print(
            f"  {quantity.upper()}: {within} ({found.count} held-out rows of {found.group}, model {found.standing}; "
            "doubt about the model, no percentile of requests)"
        )
    phase = "prefill microbatch" if prediction.pool == "prefill" else "decode iteration"
    table = Table(f"one {phase}", Column("time", justify="right", no_wrap=True))
    for name, time in prediction.operations.items():
        words = words_of(name) if prediction.basis == FITTED else name
        table.add_row(words, f"{time / 1e6:.3f} ms")
    console.print(table)
    table = Table("memory of the fullest device", Column("size", justify="right", no_wrap=True))
    for name, size in prediction.memory_bytes.items():
        table.add_row(name.replace("_", " "), format_bytes(size))
    console.print(table)
    engine = prediction.engine_memory
    if engine is not None:
        rules = [broken.unit for broken in prediction.violations if broken.group.startswith("engine:")]
        reasons = [*rules, *([engine.refusal] if engine.refusal else [])]
        verdict = f"would refuse: {'; '.join(reasons)}" if reasons else "starts"
        console.print(
            f"engine's own account: {engine.kv_tokens} KV tokens, --max-num-seqs {engine.max_sequences}; {verdict}"
        )
    for broken in prediction.violations:
        console.print(f"breaks {broken.group}[{broken.index}]: {_said(broken)}", soft_wrap=True, markup=False)
    for sentence in prediction.assumptions:
        console.print(f"assumed: {sentence}")


def _said(broken: Violation) -> str:
    from shardproof.instances.units import format_bytes, format_duration

    if broken.group.startswith("engine:"):
        return broken.unit
    if broken.unit == "bytes":
        return f"{format_bytes(broken.value)}, limit {format_bytes(broken.limit)}"
    if broken.unit == "ns":
        return f"{format_duration(broken.value)}, limit {format_duration(broken.limit)}"
    return f"{broken.value:,} {broken.unit}, limit {broken.limit:,}"
