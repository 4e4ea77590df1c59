"""How close speculative decoding comes to what was measured: ``python -m benchmarks.guesses [--data DIR]``.

Published speed-ups of DeepSeek-V3's prediction module, where the tokens of an iteration (or the chance that a guess
holds) are published too, beside what the shipped factors predict; nothing is fitted here. With a folder of
measurements also its rows that are suspected of speculative decoding: neither guesses nor acceptance were recorded
there, so that the tokens that each row implies are all that can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.fidelity.memory import read_rows
from benchmarks.fidelity.rows import ServingRow, _serving_row
from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.serving.closed_loop import StepClock
from shardproof.formulations.costs.speculative import verifying
from shardproof.instances.catalogue import load_device, load_model
from shardproof.instances.drafts import speculation_of
from shardproof.instances.option import Option
from shardproof.instances.speculative import MILLION, Speculation, Speculative


@dataclass(frozen=True)
class Published:
    """A measured speed-up of decode, and what it was measured on; ``tokens``: of an iteration, as published."""

    what: str
    engine: str
    option: Option
    sequences: float
    context: float
    guesses: int
    tokens: str
    speedup: float
    source: str


LMSYS = "lmsys.org/blog/2025-07-17-mtp, case study 1 (no overlap scheduling with or without)"
DOCS = "SGLang docs, DeepSeek usage: 1.8x at batch 1, 1.5x at 32; tokens as in lmsys.org/blog/2025-07-17-mtp"
PULL = (
    "vLLM pull request 12755: R1, acceptance 81 to 82.3 %, TPOT 55.47 to 33.99 ms at 1 request/s (8 taken as running)"
)
PUBLISHED = (
    Published("16 H200, 2 x 64k a rank, k = 2", "sglang", Option(1, 16, 1, 16), 2, 67584, 2, "2.18", 81.5 / 51, LMSYS),
    Published("16 H200, 2 x 64k a rank, k = 3", "sglang", Option(1, 16, 1, 16), 2, 67584, 3, "2.44", 82.0 / 51, LMSYS),
    Published("8 H200, batch 1, k = 3", "sglang", Option(8, 1, 8, 1), 1, 1536, 3, "2.44", 1.8, DOCS),
    Published("8 H200, batch 32, k = 3", "sglang", Option(8, 1, 8, 1), 32, 1536, 3, "2.44", 1.5, DOCS),
    Published("8 H200, few requests, k = 1", "vllm", Option(8, 1, 8, 1), 8, 1536, 1, "1.82", 55.47 / 33.99, PULL),
)


def iteration(
    clock: StepClock, option: Option, *, sequences: float, context: float, guessed: Speculation | None
) -> float:
    """Seconds of a decode iteration of one attention replica, guesses included."""
    step = Step("decode", max(1, round(sequences * option.attn_dp)), 1, round(context), loop=True)
    step = verifying(step, guessed)
    verified = clock.decode(option, sequences=sequences, context=context, tokens=step.tokens)
    return verified + (0.0 if guessed is None else clock.guesses(guessed, option, step))


def modules(model: Any, guesses: int, tokens: str | None = None) -> Speculation:
    """Return the model's own modules as a resolved question."""
    asked = Speculative(method="mtp", draft_tokens=guesses, acceptance_length=tokens or "1")  # type: ignore[arg-type]
    found, _ = speculation_of(asked, model, "benchmark", load_model)
    assert found is not None
    return found


def published() -> Iterator[tuple[Published, float]]:
    """Yield every published speed-up with the predicted one."""
    model, device = load_model("deepseek-v3"), load_device("h200-sxm")
    for one in PUBLISHED:
        clock = StepClock(model, device, one.engine)
        guessed = modules(model, one.guesses, one.tokens)
        plain, told = (
            iteration(clock, one.option, sequences=one.sequences, context=one.context, guessed=how)
            for how in (None, guessed)
        )
        yield one, plain / told * guessed.tokens / MILLION


GUESSES: Mapping[str, int] = {"sglang": 2, "trtllm": 3}
"""Guesses by engine in the configurations of the harness behind the rows, as far as it publishes them."""


def implied(folder: Path) -> Iterator[tuple[ServingRow, int, float, float]]:
    """Yield suspected rows: guesses taken, tokens that the row implies, and measured over predicted without any."""
    for raw in read_rows(folder / "system_level.csv.gz"):
        row = _serving_row(raw) if "spec_decode_suspect" in raw["flags"] else None
        if row is None or row.mode != "agg" or not row.model.predictor_modules:
            continue
        guesses = GUESSES.get(row.engine, 3)
        clock, load = StepClock(row.model, row.device, row.engine), row.concurrency / row.option.attn_dp
        context, sequences = row.input_tokens + row.output_tokens / 2, max(1.0, load)
        beside = sequences / row.output_tokens * clock.interference(row.option, tokens=row.input_tokens)
        plain, told = (
            iteration(clock, row.option, sequences=sequences, context=context, guessed=how)
            for how in (None, modules(row.model, guesses))
        )
        left = max(1e-4, row.tpot_ms / 1e3 - beside)
        yield row, guesses, told / left, row.tpot_ms / 1e3 / (plain + beside)


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of measurements.")
def main(data: Path | None) -> None:
    """Print both comparisons."""
    found = list(published())
    for one, predicted in found:
        error = predicted / one.speedup - 1
        click.echo(f"{one.what}: {one.speedup:.2f}x measured, {predicted:.2f}x predicted ({error:+.0%}); {one.source}")
    off = median(abs(predicted / one.speedup - 1) for one, predicted in found)
    click.echo(f"median distance of {len(found)}: {off:.1%}")
    if data is None:
        return
    rows = list(implied(data))
    for engine in sorted({row.engine for row, *_ in rows}):
        own = [item for item in rows if item[0].engine == engine]
        tokens = [item[2] for item in own]
        inside, plain = sum(1 <= item[2] <= item[1] + 1 for item in own), median(item[3] for item in own)
        click.echo(
            f"{engine}: {len(own)} suspected rows, k = {own[0][1]} taken: {median(tokens):.2f} tokens implied in the "
            f"median, {inside} of them possible; measured over predicted without guesses {plain:.2f}"
        )


if __name__ == "__main__":
    main()
