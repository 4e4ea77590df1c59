"""The heat map of a placement: layers x ranks, before (greedy, or the placement in force) and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from formulations.placement.check import even_rank_loads
from formulations.placement.problem import LayerProblem, Slots
from instances.reading import refuse
from solver.placement.greedy import greedy_group_slots, greedy_slots
from solver.placement.result import PlacementResult

if TYPE_CHECKING:
    from collections.abc import Sequence


def draw_heatmap(result: PlacementResult, path: Path, *, before: Sequence[Slots] | None = None) -> None:
    """Draw rank loads over the layer's mean, before and after, to a PNG or SVG file.

    ``before`` is the placement in force; without it, the greedy's. Raises `InputError` for another file
    ending, or when matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise refuse("place", "give a file that ends in .png or .svg", field="--heatmap", value=str(path))
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        remedy = "needs matplotlib: install shardproof with its extra 'plot'"
        raise refuse("place", remedy, field="--heatmap") from None
    name = "in force" if before is not None else "greedy"
    earlier = before if before is not None else [_greedy(found.problem, result) for found in result.layers]
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
    highest = max(value for _, rows in pictures for row in rows for value in row)
    axes = figure.subplots(1, len(pictures), sharey=True)
    for axis, (title, rows) in zip(axes, pictures, strict=True):
        image = axis.imshow(rows, aspect="auto", cmap="cividis", vmin=0.0, vmax=highest, interpolation="nearest")
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


def _greedy(problem: LayerProblem, result: PlacementResult) -> Slots:
    rules = result.rules
    if rules.grouped:
        return greedy_group_slots(problem, groups=rules.groups or 1, nodes=rules.nodes)
    return greedy_slots(problem)
