"""How processor time grows with layers, GPUs and scenarios: series of synthetic programs, and the exponent of each.

Layers grow at one budget; GPUs by devices that hold less, so that plans need that many; scenarios at one shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any

from benchmarks.solve.thousand_layers import GIGABYTE, Shape, measure

SERIES: Mapping[str, Mapping[int, Shape]] = {
    "layers": {layers: Shape(layers=layers, max_gpus=512) for layers in (100, 200, 500, 1000)},
    "gpus": {
        64: Shape(layers=150, max_gpus=64),
        256: Shape(layers=600, max_gpus=256),
        1024: Shape(layers=1000, max_gpus=1024, memory_bytes=30 * GIGABYTE),
        4096: Shape(layers=1000, max_gpus=4096, memory_bytes=12 * GIGABYTE),
    },
    "scenarios": {count: Shape(layers=200, max_gpus=256, scenarios=count) for count in (1, 2, 4, 8)},
}


def points(names: Sequence[str], time_limit_s: float) -> Iterator[dict[str, Any]]:
    """Search the shapes of some series one after the other; processor seconds of each."""
    for name in names:
        for size, shape in SERIES[name].items():
            found = measure(shape, time_limit_s=time_limit_s)
            levels = found["levels"]
            yield {
                "series": name,
                "size": size,
                "layers": shape.layers,
                "max_gpus": shape.max_gpus,
                "gpus": levels["gpus"]["value"],
                "bound": levels["gpus"]["bound"],
                "levels": len(levels),
                "stop_reason": found["stop_reason"],
                "cpu_s": found["search"]["cpu_s"],
                "memory_bytes": found["memory_bytes"],
            }


def exponent(pairs: Sequence[tuple[float, float]]) -> float:
    """Slope of the straight line nearest to (size, time) in logarithms, least squares."""
    logs = [(log(size), log(time)) for size, time in pairs]
    across, along = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    spread: float = sum((size - across) ** 2 for size, _ in logs)
    shared: float = sum((size - across) * (time - along) for size, time in logs)
    return shared / spread


def document(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return all points and the exponent of each series."""
    names = dict.fromkeys(point["series"] for point in found)
    slopes = {
        name: exponent([(point["size"], point["cpu_s"]) for point in found if point["series"] == name])
        for name in names
    }
    return {"points": list(found), "exponents": slopes}
