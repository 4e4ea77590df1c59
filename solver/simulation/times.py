r"""Iteration times of a replica, tabulated once and interpolated: what the simulator reads thousands of times a second.

One round gives every running sequence a token. With s stages the sequences run as s microbatches,

.. math:: D(n, c) = \max\left(\sum_k d_k(n / s, c),\; s \max_k d_k(n / s, c)\right), \qquad P(t, c) = \sum_k p_k(t, c)

and a chunk of t prompt tokens holds up the round by its slowest stage, :math:`\max_k p_k`, and leaves the last stage
after :math:`P`. Between grid points (sequences, tokens and context grow geometrically) times are interpolated linearly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

StageTime = Callable[[int, int], Sequence[int]]
"""From (sequences or tokens, context) to the time of every stage, ns."""

_GROWTH = 1.5
_CONTEXT_GROWTH = 2.0


def geometric(most: int, *, growth: float = _GROWTH) -> list[int]:
    """Whole numbers from 1 to ``most``, each ``growth`` times the one before, at least one more."""
    found = [1]
    while found[-1] < most:
        found.append(min(most, max(found[-1] + 1, int(found[-1] * growth))))
    return found


@dataclass(frozen=True)
class IterationTimes:
    """Times of one replica's iterations, ns.

    ``rounds[n]``: a round of ``n`` sequences by context; ``held`` and ``passed``: what a chunk of prompt tokens adds to
    the round, and how long it takes through all stages, by context, at the token counts ``chunks``.
    """

    contexts: tuple[int, ...]
    rounds: tuple[tuple[float, ...], ...]
    chunks: tuple[int, ...]
    held: tuple[tuple[float, ...], ...]
    passed: tuple[tuple[float, ...], ...]

    @property
    def most_sequences(self) -> int:
        """Sequences of the widest round tabulated."""
        return len(self.rounds) - 1

    def round(self, sequences: int, context: float) -> float:
        """Time of one round of ``sequences`` (0: none) of mean ``context`` tokens, ns."""
        return 0.0 if sequences == 0 else _along(self.contexts, self.rounds[sequences], context)

    def chunk(self, tokens: int, context: float) -> tuple[float, float]:
        """What a chunk of ``tokens`` after ``context`` tokens adds to its round, and its own way through, ns."""
        low = min(max(1, bisect_right(self.chunks, tokens)), len(self.chunks) - 1) - 1
        share = (tokens - self.chunks[low]) / (self.chunks[low + 1] - self.chunks[low])
        held, passed = (
            (1 - share) * _along(self.contexts, rows[low], context)
            + share * _along(self.contexts, rows[low + 1], context)
            for rows in (self.held, self.passed)
        )
        return max(0.0, held), max(0.0, passed)

    @cached_property
    def fastest_round(self) -> float:
        """Time of a round of one sequence of the shortest context, ns."""
        return self.rounds[1][0]


def tabulate(
    decode: StageTime, prefill: StageTime, *, stages: int, most_sequences: int, most_tokens: int, longest: int
) -> IterationTimes:
    """Tabulate the stage times of a replica.

    Parameters
    ----------
    decode
        times of the stages for one microbatch of (sequences, context).
    prefill
        times of the stages for a chunk of (tokens, context before it).
    most_sequences, most_tokens, longest
        largest batch, chunk and context that will be asked for.
    """
    contexts = tuple(geometric(max(2, longest), growth=_CONTEXT_GROWTH))[-12:]
    contexts = (1, *contexts) if contexts[0] > 1 else contexts
    sizes = geometric(max(1, most_sequences))
    known = {size: [_round(decode, size, context, stages) for context in contexts] for size in sizes}
    rounds = [tuple(0.0 for _ in contexts)]
    for size in range(1, max(1, most_sequences) + 1):
        at = bisect_right(sizes, size) - 1
        low, high = sizes[at], sizes[min(at + 1, len(sizes) - 1)]
        share = 0.0 if high == low else (size - low) / (high - low)
        rounds.append(tuple((1 - share) * a + share * b for a, b in zip(known[low], known[high], strict=True)))
    chunks = geometric(max(2, most_tokens), growth=_CONTEXT_GROWTH)
    cells = [[prefill(tokens, context) for context in contexts] for tokens in chunks]
    return IterationTimes(
        contexts=contexts,
        rounds=tuple(rounds),
        chunks=tuple(chunks),
        held=tuple(tuple(float(max(times)) for times in row) for row in cells),
        passed=tuple(tuple(float(sum(times)) for times in row) for row in cells),
    )


def _round(decode: StageTime, sequences: int, context: int, stages: int) -> float:
    times = decode(-(-sequences // stages), context)
    return float(max(sum(times), min(stages, sequences) * max(times)))


def _along(grid: Sequence[int], values: Sequence[float], at: float) -> float:
    low = min(max(1, bisect_right(grid, at)), len(grid) - 1) - 1
    start, stop = grid[low], grid[low + 1]
    share = min(max((at - start) / (stop - start), 0.0), 2.0)
    return values[low] + share * (values[low + 1] - values[low])
