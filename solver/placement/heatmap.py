"""The heat map of a placement: layers x ranks, before (in force, or experts in order) and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.formulations.placement.check import even_rank_loads
from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots
from shardproof.instances.pictures import check_picture
from shardproof.solver.placement.result import PlacementResult

if TYPE_CHECKING:
    from collections.abc import Sequence


def draw_heatmap(result: PlacementResult, path: Path, *, before: Sequence[Slots] | None = None) -> None:
    """Draw rank loads over the layer's mean, before and after, to a PNG or SVG file.

    ``before`` is the placement in force; without it, experts in order, as engines start. Raises
    `InputError` for another file ending, or when matplotlib is not installed.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    name = "in force" if before is not None else "experts in order"
    earlier = before if before is not None else [_in_order(found.problem) for found in result.layers]
    pictures = [
        (f"before ({name})", [_row(f.problem, s) for f, s in zip(result.layers, earlier, strict=True)]),
        ("after", [_row(found.problem, found.slots) for found in result.layers]),
    ]
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    with mpl.rc_context({"svg.hashsalt": "shardproof"}):
        _draw(figure, pictures, numbers=[found.layer for found in result.layers])
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _draw(figure: Any, pictures: Sequence[tuple[str, list[list[float]]]], *, numbers: Sequence[int]) -> None:
    from matplotlib.colors import TwoSlopeNorm

    values = [value for _, rows in pictures for row in rows for value in row]
    scale = TwoSlopeNorm(1.0, vmin=min(0.99, *values), vmax=max(1.01, *values))
    axes = figure.subplots(1, len(pictures), sharey=True)
    for axis, (title, rows) in zip(axes, pictures, strict=True):
        image = axis.imshow(rows, aspect="auto", cmap="coolwarm", norm=scale, interpolation="nearest")
        axis.set_title(f"{title}: largest {max(map(max, rows)):.3f}")
        axis.set_xlabel("rank")
    ticks = range(0, len(numbers), max(1, len(numbers) // 10))
    axes[0].set_yticks(list(ticks), [str(numbers[tick]) for tick in ticks])
    axes[0].set_ylabel("layer")
    figure.colorbar(image, ax=list(axes), label="rank load / mean")


def _row(problem: LayerProblem, slots: Slots) -> list[float]:
    """Return every rank's load over the mean, under its heaviest profile."""
    loads = even_rank_loads(problem, slots)
    mean = problem.mean or 1
    return [float(max(column) / mean) for column in zip(*loads, strict=True)]


def _in_order(problem: LayerProblem) -> Slots:
    """Return experts in order, then again from the first until all replicas are placed."""
    row = [slot % problem.experts for slot in range(problem.filled)]
    row += [NO_EXPERT] * (problem.ranks * problem.width - problem.filled)
    return tuple(tuple(row[rank * problem.width : (rank + 1) * problem.width]) for rank in range(problem.ranks))
