"""Queue, running requests and cache of every replica over time, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shardproof.instances.pictures import check_picture

if TYPE_CHECKING:
    from shardproof.solver.simulation.outcome import Outcome


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the first run of an outcome; `InputError` where no picture can be drawn."""
    check_picture(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    rows = (("waiting", "waiting requests"), ("running", "running requests"), ("cached_tokens", "tokens in the cache"))
    for place in range(len(outcome.runs[0].samples)):
        over_time = outcome.over_time(place)
        for axis, (key, _) in zip(axes, rows, strict=True):
            axis.step(over_time["time_s"], over_time[key], where="post", linewidth=1, label=f"replica {place}")
    for axis, (_, name) in zip(axes, rows, strict=True):
        axis.set_ylabel(name)
        axis.set_ylim(0, max(1.0, axis.get_ylim()[1]))
        axis.grid(alpha=0.3)
    axes[0].set_title(f"scenario {outcome.scenario}: {len(outcome.runs[0].served):,} requests")
    if 1 < len(outcome.runs[0].samples) <= 10:
        axes[0].legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=120)
