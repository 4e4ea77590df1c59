"""Curves of the fewest GPUs as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shardproof.instances.errors import InputError
from shardproof.instances.pictures import check_picture

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.analysis.sensitivity import Step


def draw_curves(path: Path, curves: Mapping[str, tuple[Step, ...]], question: Instance) -> None:
    """Draw each curve as steps of proven values; points without a plan are left out.

    Raises
    ------
    InputError
        If there are no curves, the file has another ending, or matplotlib is not installed.
    """
    if not curves:
        raise InputError("there are no curves to draw; ask for them: sensitivity(..., curves=True)")
    check_picture(path)
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5 * max(1, len(curves)), 4), layout="constrained")
    for place, (name, steps) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), place + 1)
        points = [(step.value, step.gpus) for step in steps if step.gpus is not None]
        scale = 1e9 if name.startswith("ttft") else 1
        axes.plot([value / scale for value, _ in points], [gpus for _, gpus in points], "o", color="tab:blue")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="both", labelrotation=45)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"{name} [s]" if scale > 1 else name)
        axes.set_ylabel("fewest GPUs (proven)")
        axes.grid(visible=True, alpha=0.3)
    figure.suptitle(f"{question.model.name} on {question.device.name}")
    figure.savefig(path)
