"""How often a mixed fleet saves a GPU over replicas that are all alike, over a sample of the catalogue.

``python -m benchmarks.fleets --every 61`` solves each 61st pair of model and device at three loads with replicas free
and alike, GPUs alone, and prints the table of docs/fleet.md (``--seconds`` ends it early; what was solved is counted).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.solve.catalogue import pairs
from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.fleet_search import FleetSearch
from shardproof.solver.search.query import Interrupted
from shardproof.solver.search.settings import Settings

LOADS = (64, 200, 500)
"""Requests of a burst; prompts of 2,048 tokens, 512 tokens of output."""


@dataclass(frozen=True)
class Row:
    """One question: GPUs of replicas all alike, and of any fleet (``None``: no plan within the budget)."""

    model: str
    device: str
    requests: int
    alike: int | None
    free: int | None

    @property
    def saved(self) -> int:
        """GPUs that a mixed fleet saves."""
        return 0 if self.alike is None or self.free is None else self.alike - self.free


def solved(model: str, device: str, requests: int, *, ttft: str, limit_s: float) -> Row | None:
    """Solve one question both ways (``None``: refused, or not decided in time)."""
    workload = {"kind": "burst", "input_tokens": 2048, "output_tokens": 512, "batch_size": requests}
    tree = {"model": model, "device": device, "workload": workload, "limits": {"ttft": ttft, "max_gpus": 64}}
    try:
        instance = resolve_tree(tree, where=f"{model} on {device}")
    except InputError:
        return None
    found = FleetSearch(deployment_of(instance), Settings(time_limit_s=limit_s, certify=False))
    try:
        outcome = found.run()
    except Interrupted:
        return None
    level = outcome.levels["gpus"]
    if outcome.alike is None or (level.value != level.bound and not outcome.infeasible):
        return None
    return Row(model, device, requests, outcome.alike.value, level.value)


def rows(every: int, *, seconds: float, ttft: str) -> Iterator[Row]:
    """Solve a sample of the catalogue in an order that does not depend on names."""
    chosen = [(model, device, load) for model, device in pairs(every=every) for load in LOADS]
    random.Random(0).shuffle(chosen)
    stop = time.monotonic() + seconds
    for model, device, load in chosen:
        if time.monotonic() > stop:
            return
        row = solved(model, device, load, ttft=ttft, limit_s=20.0)
        if row is not None:
            yield row


def table(found: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| requests | solved | with a plan | a mixed fleet saves | of plans of more than 2 GPUs | largest saving |"
    ]
    lines.append("|--:|--:|--:|--:|--:|---|")
    for load in LOADS:
        mine = [row for row in found if row.requests == load]
        planned = [row for row in mine if row.free is not None and row.alike is not None]
        several = [row for row in planned if (row.alike or 0) > 2]
        saving = Counter(row.saved for row in planned if row.saved)
        best = max(planned, key=lambda row: row.saved / (row.alike or 1), default=None)
        most = "-"
        if best is not None and best.saved:
            most = f"{best.free} instead of {best.alike} GPUs: {best.model} on {best.device}"
        share = f"{sum(saving.values()) / len(several):.0%}" if several else "-"
        lines.append(f"| {load} | {len(mine)} | {len(planned)} | {sum(saving.values())} | {share} | {most} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=61)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--ttft", default="10 s")
    chosen = parser.parse_args(arguments)
    found = list(rows(chosen.every, seconds=chosen.seconds, ttft=chosen.ttft))
    sys.stdout.write(table(found) + "\n")
    for row in sorted(found, key=lambda row: -row.saved):
        if row.saved:
            sys.stdout.write(f"{row.model} on {row.device}, {row.requests}: {row.free} instead of {row.alike}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
