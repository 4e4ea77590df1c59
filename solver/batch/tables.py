"""Tables of a batch for the terminal: devices ranked per model, Pareto fronts, and a closing line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from shardproof.solver.batch import pareto
from shardproof.solver.batch.answer import STATUSES
from shardproof.solver.batch.pareto import Group, Measure
from shardproof.solver.batch.rows import Row
from shardproof.solver.batch.runner import Outcome

RANKINGS: dict[str, Measure] = {
    "gpus": pareto.gpus,
    "price": pareto.price_per_hour,
    "tokens": pareto.price_per_million_tokens,
}
_COLOURS = {"optimal": "green", "feasible": "yellow", "infeasible": "red", "undecided": "magenta", "failed": "red"}
_SHORT_KINDS = {"total-cost": "own", "on-demand": "demand"}
"""Kinds of prices as a narrow column writes them."""
_TEXT_COLUMNS = ("device", "price", "status")
_MOST_GROUPS = 12
_REASON = 240


def ranking(rows: Sequence[Row], *, by: str, top: int | None) -> RenderableType:
    """Every group's devices ranked; with many groups, the best of each in one table."""
    found = pareto.groups(rows)
    if len(found) > _MOST_GROUPS:
        return Lines(_winners(found, by), *_kinds_note(rows))
    note = Text("ranks: by GPUs / by USD per hour / by USD per million output tokens", style="dim")
    words = Text("price: own = total cost of owning, demand = on demand", style="dim")
    return Lines(*(_group_table(group, by, top) for group in found), note, words, *_kinds_note(rows), Text(""))


def fronts(rows: Sequence[Row]) -> RenderableType:
    """Per question, the rows that no other beats: price against TTFT (prices of one kind), and GPUs against TTFT."""
    title = "Pareto fronts: no other row of one question (and kind of price) is less"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("model", "front", "device", "GPUs", "$/h", "price is", "TTFT s", "asked for"):
        table.add_column(column, justify="right" if column in ("GPUs", "$/h", "TTFT s") else "left")
    for group in pareto.groups(rows):
        asked = Text(", ".join(part for part in (group.engine, *(value for _, value in group.swept)) if part))
        for name, row in _front_rows(group):
            cells = (_count(row.gpus), _money(row.price_per_hour), row.price_kind or "", _seconds(row.ttft_s))
            table.add_row(Text(row.model), name, Text(row.device), *cells, asked)
    return table


def _front_rows(group: Group) -> Iterator[tuple[str, Row]]:
    for kind in dict.fromkeys(row.price_kind for row in group.rows if row.price_per_hour is not None):
        alike = [row for row in group.rows if row.price_kind == kind]
        yield from (("price/TTFT", row) for row in pareto.front(alike, pareto.price_per_hour, pareto.ttft))
    yield from (("GPUs/TTFT", row) for row in pareto.front(group.rows, pareto.gpus, pareto.ttft))


def closing(outcome: Outcome) -> str:
    """One line about the run: counts by status, how they were answered, and the speed."""
    progress = outcome.progress
    counts = ", ".join(f"{progress.statuses[s]} {s}" for s in STATUSES if progress.statuses.get(s))
    word = "interrupted: " if outcome.interrupted else ""
    return (
        f"{word}{progress.done} of {progress.total} tasks ({counts or 'none'}); {progress.solved} solved, "
        f"{progress.carried} carried over, {progress.found} from the ledger; "
        f"{progress.elapsed_s:.1f} s, {progress.per_second:.1f} tasks/s"
    )


def _group_table(group: Group, by: str, top: int | None) -> RenderableType:
    title = Text(group.title, style="bold")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("device", "GPUs", "TTFT s", "TPOT ms", "$/h", "$/Mtok", "price", "ranks", "status"):
        table.add_column(column, justify="left" if column in _TEXT_COLUMNS else "right", no_wrap=True)
    order = [pareto.ranks(group.rows, measure) for measure in RANKINGS.values()]
    plans = pareto.ranked(group.rows, RANKINGS[by])[:top]
    for row in plans:
        places = "/".join(str(rank.get(row.task, "-")) for rank in order)
        kind = Text(_SHORT_KINDS.get(row.price_kind or "", row.price_kind or ""), style="dim")
        table.add_row(
            Text(row.device), *_figures(row), kind, places, Text(row.status, style=_COLOURS.get(row.status, ""))
        )
    head = table if plans else title
    return Lines(head, *_without_plan(group), Text(""))


def _kinds_note(rows: Sequence[Row]) -> Iterator[Text]:
    """Say that prices of several kinds stand in one ranking."""
    kinds = sorted({row.price_kind for row in rows if row.price_kind is not None})
    if len(kinds) > 1:
        yield Text(f"prices are of different kinds ({', '.join(kinds)}): ranks by price mix them", style="yellow")


def _without_plan(group: Group) -> Iterator[Text]:
    """Yield one line per status and reason, with the devices that share it."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in group.rows:
        if not pareto.has_plan(row):
            found.setdefault((row.status, _nameless(row)), []).append(row.device)
    for (status, reason), devices in found.items():
        text = Text("  ").append(status, style=_COLOURS.get(status, "")).append(f" {', '.join(devices)}")
        short = reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"
        yield text.append(f": {short}", style="dim") if short else text


def _nameless(row: Row) -> str:
    """Return a row's reason without its device, so that devices of one reason share a line."""
    return (row.reason or "").replace(f"device {row.device}", "the device").replace(row.device, "it")


def _winners(found: Sequence[Group], by: str) -> Table:
    title = f"The best device by {by} in each of {len(found)} comparisons (every row: the results files)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("comparison", "best device", "GPUs", "TTFT s", "TPOT ms", "$/h", "$/Mtok", "plans"):
        table.add_column(column, justify="left" if column in ("comparison", "best device") else "right")
    for group in found:
        ordered = pareto.ranked(group.rows, RANKINGS[by])
        plans = f"{len(ordered)}/{len(group.rows)}"
        if ordered:
            table.add_row(Text(group.title), Text(ordered[0].device), *_figures(ordered[0]), plans)
        else:
            table.add_row(Text(group.title), "none", *[""] * 5, plans)
    return table


def _figures(row: Row) -> tuple[str, ...]:
    gpus = _count(row.gpus) if row.bound in (None, row.gpus) else f"{row.gpus} (>= {row.bound})"
    costs = (_money(row.price_per_hour), _money(row.price_per_million_tokens))
    return (gpus, _seconds(row.ttft_s), _one(row.tpot_ms), *costs)


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _money(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1 else f"{value:.2f}"


def _one(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
