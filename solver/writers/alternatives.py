"""The next best answers as a table: one row each, those of a kind together, what they would save first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from shardproof.solver.alternatives import Alternative

TITLES = {
    "format": "other formats",
    "layout": "other layouts",
    "faster": "faster",
    "alike": "fewer shapes",
    "engine": "other engines",
    "device": "other devices",
    "cheaper": "cheaper",
}
PRICE_KINDS = {"total-cost": "own"}
"""Kinds of prices as the narrow column writes them."""


def alternatives_table(found: Sequence[Alternative]) -> Table:
    """Lay the alternatives out; two replicas of two stages of 4 GPUs stand as ``2 x 2*4``."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("instead", overflow="fold")
    for name in ("GPUs", "layout", "TTFT", "TPOT", "USD/h"):
        table.add_column(name, justify="right", no_wrap=True)
    kind = None
    for item in found:
        if item.kind != kind:
            kind = item.kind
            table.add_row(f"[bold]{TITLES[kind]}[/bold]")
        table.add_row(f"  {item.words}", *_cells(item))
    return table


def _cells(item: Alternative) -> tuple[str, ...]:
    gpus = str(item.gpus) if item.status == "optimal" else f"{item.bound or 1} to {item.gpus}"
    ttft = "-" if item.ttft_s is None else f"{item.ttft_s:.3f} s"
    tpot = "-" if item.tpot_ms is None else f"{item.tpot_ms:.1f} ms"
    price = "-"
    if item.price_per_hour_usd is not None:
        mark = "" if item.price_kind is None else f" {PRICE_KINDS.get(item.price_kind, item.price_kind)}"
        price = f"{item.price_per_hour_usd:.2f}{mark}"
    return gpus, _short(item.layout), ttft, tpot, price


def _short(layout: str, most: int = 18) -> str:
    return layout if len(layout) <= most else f"{layout[: most - 3]}..."
