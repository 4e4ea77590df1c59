"""What `predict` shows: the figures of one scenario, the time of one iteration, the memory of the fullest device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Column, Table

from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.evaluation.figures import Violation
from shardproof.solver.evaluation.predictions import FITTED, Prediction
from shardproof.solver.writers.layout import outline, terminal_width
from shardproof.solver.writers.term_words import words_of


def show(prediction: Prediction) -> None:
    """Print a prediction of one scenario within the terminal's width."""
    console, width = Console(), terminal_width()
    for line in _figures(prediction):
        console.print(outline(line, width=width), markup=False)
    phase = "prefill microbatch" if prediction.pool == "prefill" else "decode iteration"
    if prediction.guessing is not None and prediction.pool != "prefill":
        phase = "output token: its share of a decode iteration"
    console.print(_times(prediction, f"one {phase}"))
    sizes = {name.replace("_", " "): format_bytes(size) for name, size in prediction.memory_bytes.items()}
    console.print(_table("memory of the fullest device", "size", sizes))
    for line in _standing(prediction):
        console.print(outline(line, width=width), markup=False)


def _figures(prediction: Prediction) -> Iterator[str]:
    group = "" if prediction.group is None else f"group {prediction.group}, "
    group += "" if prediction.pool is None else f"{prediction.pool} pool, "
    yield f"{group}scenario {prediction.scenario}: by {prediction.basis}"
    yield f"TTFT {prediction.ttft_s:.3f} s, TPOT {prediction.tpot_ms:.2f} ms"
    if prediction.guessing is not None:
        yield f"tokens are guessed ahead: {prediction.guessing}"
    yield from (f"  {sentence}" for sentence in prediction.said)
    rates = prediction.throughput
    reached = "" if prediction.served is None else " reached, over a run to its last answer"
    yield (
        f"{rates.requests_per_s:.4g} requests/s{reached}, {rates.output_tokens_per_s:,.4g} output tokens/s, "
        f"{rates.output_tokens_per_s_per_gpu:,.4g} per GPU, {rates.output_tokens_per_s_per_user:.4g} per user"
    )
    if prediction.running < prediction.requests:
        yield f"each replica runs {prediction.running} of its {prediction.requests} requests; the others wait"
    yield from _doubts(prediction)


def _doubts(prediction: Prediction) -> Iterator[str]:
    for name, found in prediction.intervals.items():
        quantity, unit = name.rsplit("_", 1)
        yield (
            f"  {quantity.upper()}: {found.level:.0%} of measurements lie from {found.low:.3g} to {found.high:.3g} "
            f"{unit} ({found.count} held-out rows of {found.group}, model {found.standing}; doubt about the model, no "
            "percentile of requests)"
        )


def _times(prediction: Prediction, title: str) -> Table:
    fitted = prediction.basis == FITTED
    times = prediction.operations.items()
    return _table(title, "time", {words_of(name) if fitted else name: f"{time / 1e6:.3f} ms" for name, time in times})


def _table(title: str, column: str, rows: Mapping[str, str]) -> Table:
    table = Table(title, Column(column, justify="right", no_wrap=True))
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _standing(prediction: Prediction) -> Iterator[str]:
    """Say what the engine's account, the rules and the limits make of it, and what is assumed."""
    engine = prediction.engine_memory
    if engine is not None:
        rules = [broken.unit for broken in prediction.violations if broken.group.startswith("engine:")]
        reasons = [*rules, *([engine.refusal] if engine.refusal else [])]
        verdict = f"would refuse: {'; '.join(reasons)}" if reasons else "starts"
        yield f"engine's own account: {engine.kv_tokens} KV tokens, --max-num-seqs {engine.max_sequences}; {verdict}"
    for broken in prediction.violations:
        yield f"breaks {broken.group}[{broken.index}]: {_broken(broken)}"
    yield from (f"assumed: {sentence}" for sentence in prediction.assumptions)


def _broken(broken: Violation) -> str:
    if broken.group.startswith("engine:"):
        return broken.unit
    if broken.unit == "bytes":
        return f"{format_bytes(broken.value)}, limit {format_bytes(broken.limit)}"
    if broken.unit == "ns":
        return f"{format_duration(broken.value)}, limit {format_duration(broken.limit)}"
    return f"{broken.value:,} {broken.unit}, limit {broken.limit:,}"
