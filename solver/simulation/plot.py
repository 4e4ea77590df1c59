"""Queue, running requests and cache of every replica over time, as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from shardproof.instances.errors import InputError
from shardproof.instances.reading import refuse

if TYPE_CHECKING:
    from shardproof.solver.simulation.outcome import Outcome

_ENDINGS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Refuse, before any work, a plot that could not be drawn.

    Raises
    ------
    InputError
        If its ending or folder is wrong, or matplotlib is not installed.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise refuse(str(path), f"ends in none of {', '.join(_ENDINGS)}", field="--plot")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise refuse(str(path), "its folder is missing or cannot be written", field="--plot")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'shardproof[plot]'") from None


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the first run of an outcome."""
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
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_title(f"scenario {outcome.scenario}: {len(outcome.runs[0].served):,} requests")
    if 1 < len(outcome.runs[0].samples) <= 10:
        axes[0].legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=120)
