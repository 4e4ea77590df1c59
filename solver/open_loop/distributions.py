"""Distributions on a grid, their sums, and what queues make of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, lgamma, log
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

CELLS = 2048
"""Points of the grid."""


def summed(parts: Sequence[Floats]) -> Floats:
    """Distribution of a sum; what lies beyond the grid is cut off."""
    import numpy as np

    product = np.fft.rfft(parts[0], 2 * CELLS)
    for part in parts[1:]:
        product = np.fft.rfft(np.fft.irfft(product, 2 * CELLS)[:CELLS], 2 * CELLS) * np.fft.rfft(part, 2 * CELLS)
    found: Floats = np.maximum(np.fft.irfft(product, 2 * CELLS)[:CELLS], 0.0)
    return found


def quantile(masses: Floats, share: float) -> float:
    """Upper end of the cell at which a share of the whole is reached; ``inf`` beyond the grid."""
    import numpy as np

    place = int(np.searchsorted(np.cumsum(masses), share))
    return inf if place >= CELLS else place + 1.0


class Rounds:
    """What so many prompts add to a round, as distributions on the grid: the longest of a few, beyond their share."""

    def __init__(self, added: Floats, shared: Floats, few: int, cell: float, *, cut: float) -> None:
        """Take what each prompt adds alone, and as one of many.

        ``few``: how many take as long as their longest; ``cut``: share of the others that a round's end cuts in two.
        """
        import numpy as np

        self._cut = cut
        self._most = few
        self._parts = np.fft.rfft(masses(shared, cell), 2 * CELLS)
        below = np.cumsum(masses(added, cell))
        self._few = [np.fft.rfft(np.diff(below**k, prepend=0.0), 2 * CELLS) for k in range(1, few + 1)]

    def of(self, counts: Floats) -> Floats:
        """Distribution of what a round's prompts add, where so many come with such a chance (from none on)."""
        return self._mixed(counts, 0)

    def with_own(self, counts: Floats) -> Floats:
        """The same with one prompt more than come: the one that is looked at."""
        return self._mixed(counts, 1)

    def _mixed(self, counts: Floats, more: int) -> Floats:
        import numpy as np

        total = np.zeros_like(self._parts)
        for count in range(len(counts) - 1, -1, -1):
            if count + more > self._most:
                total = total * self._parts + counts[count]
        total = total * self._parts ** (self._most + 1)
        if more:
            total = total * (1 - self._cut + self._cut * self._few[-1])
        for count, weight in enumerate(counts[: self._most + 1 - more]):
            total = total + weight * (self._few[count + more - 1] if count + more else 1.0)
        return np.maximum(np.fft.irfft(total, 2 * CELLS)[:CELLS], 0.0)


def poisson(means: Any, weights: Any, *, most: int | None = None) -> Floats:
    """Distribution of a count that is Poisson with one of some means."""
    import numpy as np

    most = most or int(float(means.max()) + 8 * float(means.max()) ** 0.5 + 12)
    counts = np.arange(most + 1)
    logs = np.array([lgamma(count + 1) for count in counts])
    shares = np.exp(counts[None, :] * np.log(np.maximum(means, 1e-300))[:, None] - means[:, None] - logs[None, :])
    found: Floats = (weights / weights.sum(axis=-1, keepdims=True)) @ shares
    return found


def erlang(offered: float, places: int) -> float:
    """Share of requests that find all places taken (M/M/n)."""
    if offered <= 0:
        return 0.0
    logs = [count * log(offered) - lgamma(count + 1) for count in range(places)]
    last = places * log(offered) - lgamma(places + 1) - log(1 - offered / places)
    top = max(*logs, last)
    return exp(last - top) / (sum(exp(value - top) for value in logs) + exp(last - top))


def masses(values: Floats, cell: float) -> Floats:
    """Distribution of some values on the grid, each at the upper end of its cell."""
    import numpy as np

    places = np.minimum(np.ceil(values / cell).astype(int), CELLS - 1)
    found: Floats = np.bincount(places, minlength=CELLS)[:CELLS] / len(values)
    return found


def uniform(length: float, cell: float) -> Floats:
    """Distribution of a moment between 0 and a length."""
    import numpy as np

    found = np.zeros(CELLS)
    count = min(CELLS, max(1, int(np.ceil(length / cell))))
    found[:count] = 1 / count
    return found


def residual(service: Floats, cell: float) -> Floats:
    """Distribution of the rest of a service that is met at a random moment."""
    import numpy as np

    edges = np.arange(CELLS + 1) * cell
    inside = np.minimum(service[:, None], edges[None, :]).mean(axis=0) / service.mean()
    found: Floats = np.diff(inside)
    return np.concatenate([[0.0], found[:-1]])  # each at the upper end of its cell


def compound(part: Floats, count: float) -> Floats:
    """Distribution of a Poisson number of parts."""
    import numpy as np

    found = np.fft.irfft(np.exp(count * (np.fft.rfft(part, 4 * CELLS) - 1)), 4 * CELLS)[:CELLS]
    return np.maximum(found, 0.0)


def geometric(part: Floats, busy: float) -> Floats:
    """Distribution of a geometric number of parts: w = (1 - busy) + busy part * w, by Fourier transform."""
    import numpy as np

    size = 4 * CELLS
    transformed = np.fft.rfft(part, size)
    found = np.fft.irfft((1 - busy) / (1 - busy * transformed), size)[:CELLS]
    return np.maximum(found, 0.0)
