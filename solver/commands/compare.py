"""`shardproof compare`: plans beside the proven optimum."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardproof.solver.commands.parameters import DURATION, Verb
from shardproof.solver.commands.printing import print_json, say, show, tell
from shardproof.solver.commands.progress import watched

if TYPE_CHECKING:
    from shardproof.solver.api.audited import Compared
    from shardproof.solver.api.fleets import ComparedFleets
    from shardproof.solver.audit.compare import Column

EPILOG = """\b
Examples:
  shardproof compare instances/plans/qwen3-235b-handwritten.md \\
    --instance instances/cases/qwen3-235b-a22b.yaml
  shardproof compare a.yaml b.md --instance question.yaml \\
    --document deployment.md
"""


@click.command(name="compare", cls=Verb, epilog=EPILOG)
@click.argument("plans", nargs=-1, required=True, type=click.Path())
@click.option("--instance", "-i", required=True, type=click.Path(), help="The question that all plans answer.")
@click.option("--document", type=click.Path(), help="Write the proven plan as a Markdown deployment document.")
@click.option("--time-limit", type=DURATION, help="After it the best plan and bound so far are used, with unit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    plans: tuple[str, ...], instance: str, document: str | None, time_limit: float | None, as_json: bool
) -> int:
    """Set PLANS beside the proven optimum: GPUs, times, memory, violations, price, and what is saved.

    Exit codes: 0 every plan holds, 4 a plan breaks a constraint, 1 no plan exists, 2 bad input, 3 undecided.
    """
    from shardproof.solver.api.audited import Compared, compare

    with watched("compare"):
        found = compare(*plans, instance=instance, time_limit=time_limit)
    if document:
        _write_document(Path(document), found)
    if as_json:
        print_json(found.to_dict())
    elif not isinstance(found, Compared):
        say(str(found))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        show(_text(found, colour=colour), colour=colour)
    return found.exit_code


def _write_document(path: Path, found: Compared | ComparedFleets) -> None:
    from shardproof.instances.writing import write_whole

    text = found.document()
    if text is None:
        tell("no document: there is no plan to write")
        return
    write_whole(path, text)


def _text(found: Compared, *, colour: bool) -> str:
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from shardproof.solver.writers.layout import terminal_width, wrapped

    columns = list(found.columns)
    table = Table(header_style="bold")
    table.add_column("")
    for column in columns:
        table.add_column(Text(column.name), justify="right")
    for title, cells in _rows(columns):
        table.add_row(title, *(Text(cell) for cell in cells))
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=colour, no_color=not colour, width=terminal_width(), highlight=False, emoji=False
    )
    for name, sentences in found.comparison.savings:
        console.print(Text(wrapped(f"{name}: {sentences[0]}", width=console.width)), soft_wrap=True)
    console.print(table)
    for name, sentences in found.comparison.savings:
        console.print(Text(f"\n{name}", style="bold"))
        for sentence in sentences:
            shown = wrapped(sentence, width=console.width, first="  ", rest="    ")
            console.print(Text(shown), soft_wrap=True)
    return out.getvalue().rstrip("\n")


def _rows(columns: list[Column]) -> list[tuple[str, list[str]]]:
    def number(value: float | None, form: str, unit: str = "") -> str:
        return "-" if value is None else f"{value:{form}}{unit}"

    def gigabytes(value: int | None) -> str:
        return "-" if value is None else f"{value / 1e9:.1f} GB"

    parts = list(dict.fromkeys(part for column in columns for part in column.memory_parts))
    return [
        ("GPUs", [number(column.gpus, "d") for column in columns]),
        ("GPUs at work", [number(column.gpus_used, "d") for column in columns]),
        ("stages", [number(len(column.stages) or None, "d") for column in columns]),
        ("TTFT", [number(column.ttft_s, ".3g", " s") for column in columns]),
        ("TPOT", [number(column.tpot_ms, ".3g", " ms") for column in columns]),
        ("memory per device", [gigabytes(column.peak_memory_bytes) for column in columns]),
        *((f"  {part}", [gigabytes(column.memory_parts.get(part)) for column in columns]) for part in parts),
        ("mean memory utilisation", [number(column.memory_utilisation, ".1%") for column in columns]),
        ("compute utilisation", [number(column.compute_utilisation, ".1%") for column in columns]),
        ("balance of stages", [number(column.balance, ".1%") for column in columns]),
        ("bubbles", [number(column.bubble, ".1%") for column in columns]),
        ("requests/s", [number(column.requests_per_s, ".4g") for column in columns]),
        ("output tokens/s", [number(column.output_tokens_per_s, ",.4g") for column in columns]),
        ("  per GPU", [number(column.output_tokens_per_s_per_gpu, ",.4g") for column in columns]),
        ("  per user", [number(column.output_tokens_per_s_per_user, ".4g") for column in columns]),
        ("price", [number(column.price_per_hour, ".4g", " USD/h") for column in columns]),
        ("violations", [str(len(column.violations)) for column in columns]),
        ("wrong claims", [number(column.wrong_claims, "d") for column in columns]),
    ]
