r"""Iteration times of a replica, computed when first asked for and interpolated; the simulator reads many a second.

One round gives every running sequence a token. With s stages the sequences run as s microbatches,

.. math:: D(n, c) = \max\left(\sum_k d_k(n / s, c),\; s \max_k d_k(n / s, c)\right), \qquad P(t, c) = \sum_k p_k(t, c)

and a chunk of t prompt tokens holds up the round by its slowest stage, :math:`\max_k p_k`, and leaves the last stage
after :math:`P`. Between grid points (sequences, tokens and context grow geometrically) times are interpolated linearly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property

StageTime = Callable[[int, int], Sequence[int]]
"""From (sequences or tokens, context) to the time of every stage, ns."""

_GROWTH = 1.5
_CONTEXT_GROWTH = 2.0
_MOST_CONTEXTS = 12
_CHUNKS_KEPT = 100_000


def geometric(most: int, *, growth: float = _GROWTH) -> list[int]:
    """Whole numbers from 1 to ``most``, each ``growth`` times the one before, at least one more."""
    found = [1]
    while found[-1] < most:
        found.append(min(most, max(found[-1] + 1, int(found[-1] * growth))))
    return found


class IterationTimes:
    """Times of one replica's iterations, ns; every grid point is computed once, when it is first needed.

    ``sizes`` and ``contexts``: grid of decode rounds; ``chunks`` and ``contexts``: grid of prompt chunks.
    """

    def __init__(
        self,
        decode: StageTime,
        prefill: StageTime,
        *,
        stages: int,
        most_sequences: int,
        most_tokens: int,
        longest: int,
        shortest: int = 1,
    ) -> None:
        """Take the stage times and how far they will be asked for.

        Parameters
        ----------
        decode
            times of the stages for one microbatch of (sequences, context).
        prefill
            times of the stages for a chunk of (tokens, context before it).
        most_sequences, most_tokens, longest
            largest batch, chunk and context that will be asked for; ``shortest``: prompt.
        """
        self._decode, self._prefill, self._stages = decode, prefill, stages
        self.most_sequences = max(1, most_sequences)
        self.sizes = tuple(geometric(self.most_sequences))
        self.contexts = contexts_between(shortest, longest)
        self.chunks = tuple(geometric(max(2, most_tokens), growth=_CONTEXT_GROWTH))
        self._rounds: list[list[float | None]] = [[None] * len(self.contexts) for _ in range(self.most_sequences + 1)]
        self._nodes: dict[tuple[int, int], float] = {}
        self._chunk_nodes: dict[tuple[int, int], tuple[float, float]] = {}
        self._chunks_known: dict[tuple[int, float], tuple[float, float]] = {}

    def round(self, sequences: int, context: float) -> float:
        """Time of one round of ``sequences`` (0: none) of mean ``context`` tokens, ns."""
        if sequences == 0:
            return 0.0
        grid, row = self.contexts, self._rounds[sequences]
        low = bisect_right(grid, context, 1, len(grid) - 1) - 1
        below, above = row[low], row[low + 1]
        if below is None:
            below = row[low] = self._between_sizes(sequences, low)
        if above is None:
            above = row[low + 1] = self._between_sizes(sequences, low + 1)
        share = (context - grid[low]) / (grid[low + 1] - grid[low])
        return below if share <= 0 else below + (share if share < 2 else 2.0) * (above - below)

    def node(self, size: int, place: int) -> float:
        """Time of one round at a grid point: places in ``sizes`` and ``contexts``, ns."""
        if (size, place) not in self._nodes:
            sequences, stages = self.sizes[size], self._stages
            times = self._decode(-(-sequences // stages), self.contexts[place])
            self._nodes[size, place] = float(max(sum(times), min(stages, sequences) * max(times)))
        return self._nodes[size, place]

    def _between_sizes(self, sequences: int, place: int) -> float:
        sizes = self.sizes
        at = bisect_right(sizes, sequences) - 1
        low = self.node(at, place)
        if sizes[at] == sequences:
            return low
        share = (sequences - sizes[at]) / (sizes[at + 1] - sizes[at])
        return (1 - share) * low + share * self.node(at + 1, place)

    def chunk(self, tokens: int, context: float) -> tuple[float, float]:
        """What a chunk of ``tokens`` after ``context`` tokens adds to its round, and its own way through, ns."""
        known = self._chunks_known.get((tokens, context))
        if known is None:
            known = self._chunk(tokens, context)
            if len(self._chunks_known) < _CHUNKS_KEPT:
                self._chunks_known[tokens, context] = known
        return known

    def _chunk(self, tokens: int, context: float) -> tuple[float, float]:
        low = min(max(1, bisect_right(self.chunks, tokens)), len(self.chunks) - 1) - 1
        share = (tokens - self.chunks[low]) / (self.chunks[low + 1] - self.chunks[low])
        held, passed = self._chunk_along(low, context)
        if share:
            held_above, passed_above = self._chunk_along(low + 1, context)
            held = (1 - share) * held + share * held_above
            passed = (1 - share) * passed + share * passed_above
        return max(0.0, held), max(0.0, passed)

    def chunk_node(self, size: int, place: int) -> tuple[float, float]:
        """What a chunk adds, and its own way, at a grid point: places in ``chunks`` and ``contexts`` (-1: none)."""
        if (size, place) not in self._chunk_nodes:
            times = self._prefill(self.chunks[size], 0 if place < 0 else self.contexts[place])
            self._chunk_nodes[size, place] = float(max(times)), float(sum(times))
        return self._chunk_nodes[size, place]

    def _chunk_along(self, size: int, context: float) -> tuple[float, float]:
        """Along the contexts before a chunk; before the shortest of the grid lies none."""
        grid = self.contexts
        if context <= 0:
            return self.chunk_node(size, -1)
        low = min(bisect_right(grid, context), len(grid) - 1) - 1
        start = 0 if low < 0 else grid[low]
        share = min((context - start) / (grid[low + 1] - start), 2.0)
        below, above = self.chunk_node(size, low), self.chunk_node(size, low + 1)
        return below[0] + share * (above[0] - below[0]), below[1] + share * (above[1] - below[1])

    @cached_property
    def fastest_round(self) -> float:
        """Time of a round of one sequence of the shortest context, ns."""
        return self.node(0, 0)


def contexts_between(shortest: int, longest: int) -> tuple[int, ...]:
    """Contexts from about the shortest to the longest, growing geometrically, twelve at most and two at least."""
    top = max(2, longest)
    found = [top]
    while found[0] > max(1, shortest) and len(found) < _MOST_CONTEXTS:
        found.insert(0, max(1, int(found[0] / _CONTEXT_GROWTH)))
    return tuple(found) if len(found) > 1 else (max(1, top // 2), top)
