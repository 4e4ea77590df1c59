r"""Fleets of several shapes: fewest GPUs by covering, and by windows of GPU time.

Replicas of one fleet see the same mix of requests and keep the limits each by itself. One of shape :math:`\sigma`
takes at most the share :math:`1 / \rho_\sigma` of the rate where :math:`\rho_\sigma` of them are needed to
keep up. A fleet covers :math:`\sum n_\sigma / \rho_\sigma \ge 1`, solved by dynamic
programming over GPUs. A request takes at least :math:`\min_\sigma g_\sigma p_{j \sigma}` of GPU time, of which
windows hold no more than GPUs times their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.late import WindowTest
from shardproof.solver.open_loop.least import ShapeBound

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def mixed_bound(
    known: Sequence[ShapeBound],
    scenarios: Sequence[OpenScenario],
    most: int,
    *,
    skipped: Sequence[tuple[int, float]] = (),
    deep: Sequence[ShapeBound] = (),
) -> int:
    """Fewest GPUs of any fleet of the shapes, as far as ``most``.

    ``skipped``: widths of pipelines that were not bounded themselves, and how many of them are needed at least, a
    fraction; ``deep``: the deepest pipelines of their options, whose cache is the largest.
    """
    able = [bound for bound in known if not any(bound.refused(open_) for open_ in scenarios)]
    if not able and not skipped:
        return most
    needs = [(one.shape.gpus, _needed(one, scenarios, most)) for one in able]
    least = _covering([*needs, *((width, max(1e-9, count)) for width, count in skipped)], most)
    tests = [WindowTest(GpuTime([*able, *deep]), open_) for open_ in scenarios]
    while least < most and any(test.refuses(least) for test in tests):
        least += 1
    return least


def _needed(one: ShapeBound, scenarios: Sequence[OpenScenario], most: int) -> float:
    """Replicas of a shape that keep up with every scenario, a fraction."""
    return max(1e-9, *(one.needed(open_, most) for open_ in scenarios))


def _covering(shapes: Sequence[tuple[int, float]], most: int) -> int:
    best = [0.0] * (most + 1)
    for gpus in range(1, most + 1):
        fits = (best[gpus - width] + 1 / rate for width, rate in shapes if width <= gpus)
        best[gpus] = max(best[gpus - 1], max(fits, default=0.0))
        if best[gpus] >= 1:
            return gpus
    return most


@dataclass(frozen=True)
class GpuTime:
    """What requests cost in GPU time on whichever shape is cheapest for each."""

    shapes: Sequence[ShapeBound]

    def prompts(self, open_: OpenScenario, run: int) -> Floats:
        """GPU time for each prompt of a run, ns."""
        return self._least([one.prompts(open_, run) * one.shape.gpus for one in self.shapes])

    def tokens(self, open_: OpenScenario, run: int, limit: float | None) -> Floats:
        """GPU time for each request's tokens after the first, ns."""
        return self._least([one.tokens(open_, run, limit) * one.shape.gpus for one in self.shapes])

    def _least(self, costs: Sequence[Floats]) -> Floats:
        import numpy as np

        found: Floats = np.min(np.stack(costs), axis=0)
        return found
