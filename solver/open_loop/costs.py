"""What one replica of a shape spends on every request at least: planes below its rounds and its chunks of prompts.

Grid points are computed only where a plane touches them: until then a point stands at the largest value known of
smaller batches and contexts, which is below its own, since no time falls with either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardproof.solver.open_loop.planes import highest

if TYPE_CHECKING:
    import numpy as np

    from shardproof.solver.simulation.times import IterationTimes

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

MILLISECOND = 1e6
_MOST_MS = 1e7
_TOUCHES = 60
_PROMPTS = (0.1, 0.5, 0.9, 1.0)
"""Quantiles of prompt lengths at which planes below the chunks are made."""


@dataclass(frozen=True)
class Asked:
    """What requests look like: prompt tokens to compute, tokens found before them, output tokens; one entry each."""

    computed: Floats
    found: Floats
    output: Floats

    @property
    def later(self) -> Floats:
        """Tokens after the first."""
        return self.output - 1

    @property
    def contexts(self) -> Floats:
        """Mean context of the tokens after the first."""
        return self.computed + self.found + self.output / 2


@dataclass(frozen=True)
class TokenPlane:
    """A token of context c costs at least ``alpha + beta c`` ns of a replica.

    That is where tokens take ``limit`` on average (``None``: whatever they take); where they take a time T it is
    ``gamma (limit - T)`` more.
    """

    alpha: float
    beta: float
    gamma: float = 0.0
    limit: float | None = None
    delta: float = 0.0
    """What a token of the cache that nothing fills is taken to cost: a direction of the plane, for its certificate."""

    def work(self, asked: Asked) -> Floats:
        """Time of a replica for the tokens after the first, ns."""
        return asked.later * (self.alpha + self.beta * asked.contexts)


class _Known:
    """Grid points computed so far, and below the others the largest that they are known not to undercut."""

    def __init__(self, rows: int, columns: int) -> None:
        import numpy as np

        self.values = np.zeros((rows, columns))
        self.exact = np.zeros((rows, columns), dtype=bool)

    def set(self, row: int, column: int, value: float) -> None:
        import numpy as np

        self.values[row, column], self.exact[row, column] = value, True
        part = self.values[row:, column:]
        np.maximum(part, value, out=part, where=~self.exact[row:, column:])

    def places(self) -> list[tuple[int, int]]:
        """Return the places of the points that were computed."""
        import numpy as np

        return [(int(row), int(column)) for row, column in np.argwhere(self.exact)]


class RoundCosts:
    """Planes below the decode rounds of a pipeline stage that holds all layers; pipelines of p share them."""

    def __init__(self, times: IterationTimes) -> None:
        """Take the times of a replica of one stage."""
        import numpy as np

        self.times, self.longest = times, float(times.contexts[-1])
        self._known = _Known(len(times.sizes), len(times.contexts))
        most, sizes = times.most_sequences, np.array(times.sizes)
        batches = np.arange(1, most + 1)
        self._at = np.searchsorted(sizes, batches, side="right") - 1
        above = np.minimum(self._at + 1, len(sizes) - 1)
        width = np.where(above > self._at, sizes[above] - sizes[self._at], 1)
        self._above, self._part = above, (batches - sizes[self._at]) / width
        for size in (0, len(sizes) - 1):
            self._touch(size, 0)

    def _touch(self, size: int, place: int) -> bool:
        """Compute a grid point; whether it was not known."""
        if self._known.exact[size, place]:
            return False
        self._known.set(size, place, self.times.node(size, place) / MILLISECOND)
        return True

    def known(self) -> list[tuple[int, int, int]]:
        """Return the grid points that were computed: places of size and context, ns."""
        return [(i, j, round(self.times.node(i, j))) for i, j in self._known.places()]

    def fastest(self) -> float:
        """Time of the shortest round, ns."""
        return float(self._known.values[0, 0]) * MILLISECOND

    def plane(self, *, context: float, limit: float | None, stages: int, cache: float) -> TokenPlane:
        """Return the plane that asks most of tokens of a mean ``context``.

        Parameters
        ----------
        limit
            mean time per token that the tokens keep, ns.
        stages, cache
            of the replica: microbatches at once, and tokens that it holds.
        """
        for _ in range(_TOUCHES):
            plane, touched = self._highest(context, limit, stages, cache)
            fresh = [self._touch(size, place) for size, place in touched]
            if not any(fresh):
                break
        return plane

    def _highest(
        self, context: float, limit: float | None, stages: int, cache: float
    ) -> tuple[TokenPlane, list[tuple[int, int]]]:
        import numpy as np

        known, part = self._known.values, self._part[:, None]
        rounds = (1 - part) * known[self._at] + part * known[self._above]
        batches = (np.arange(1, len(rounds) + 1) * stages)[:, None]
        scaled = np.array(self.times.contexts)[None, :] / self.longest
        rows = np.empty((*rounds.shape, 4))
        rows[..., 0], rows[..., 1] = 1.0, scaled
        rows[..., 2] = 0.0 if limit is None else limit / MILLISECOND - rounds
        rows[..., 3] = (cache + (stages - 1) * self.longest) / self.longest / batches - scaled
        aim = np.array([1.0, context / self.longest, 0.0, 0.0])
        found, tight = highest(rows.reshape(-1, 4), (rounds / batches).ravel(), aim, _MOST_MS)
        alpha, delta = float(found[0]) * MILLISECOND, float(found[3]) * MILLISECOND / self.longest
        plane = TokenPlane(alpha, self._slope(found), float(found[2]), limit, delta)
        return plane, [point for place in tight for point in self._points(*divmod(place, rounds.shape[1]))]

    def _slope(self, found: Floats) -> float:
        return float(found[1]) * MILLISECOND / self.longest

    def _points(self, batch: int, place: int) -> list[tuple[int, int]]:
        """Grid points that a batch's round is interpolated between."""
        low = (int(self._at[batch]), place)
        return [low] if self._part[batch] == 0 else [low, (int(self._above[batch]), place)]


class ChunkCosts:
    """Planes below the prompt chunks of a stage that holds all layers: ``f + a t + b t c`` ns for t tokens after c."""

    def __init__(self, times: IterationTimes) -> None:
        """Take the times of a replica of one stage."""
        self.times = times
        self._contexts = (0, *times.contexts)
        self._known = _Known(len(times.chunks), len(self._contexts))
        self._planes: list[Floats] = []
        for size in (0, len(times.chunks) // 2, len(times.chunks) - 1):
            self._touch(size, 0)

    def known(self) -> list[tuple[int, int, int]]:
        """Return the grid points that were computed: places of size and context (0: none), ns."""
        return [(i, j, round(self.times.chunk_node(i, j - 1)[0])) for i, j in self._known.places()]

    def directions(self) -> list[tuple[float, float]]:
        """Return a and b of every plane in use, ns."""
        return [(float(plane[1]) * MILLISECOND, float(plane[2]) * MILLISECOND) for plane in self._planes]

    @property
    def largest(self) -> int:
        """Most tokens of one chunk."""
        return self.times.chunks[-1]

    def work(self, asked: Asked) -> Floats:
        """Time that the prompts' chunks add to rounds on one attention replica, ns."""
        import numpy as np

        parts = np.stack(self._parts(asked), axis=1)
        if not self._planes:
            order = np.argsort(asked.computed + asked.found, kind="stable")
            places = sorted({int(order[round(share * (len(order) - 1))]) for share in _PROMPTS})
            self._planes = [self._plane(parts[place]) for place in places]
        least: Floats = np.max(np.stack([parts @ plane for plane in self._planes]), axis=0)
        return least * MILLISECOND

    def _parts(self, asked: Asked) -> tuple[Floats, Floats, Floats]:
        """Fewest chunks of each prompt, its tokens, and tokens times the context before their chunk, at least."""
        import numpy as np

        tokens, most = asked.computed, float(self.largest)
        whole, rest = np.floor(tokens / most), tokens % most
        before = (tokens**2 - whole * most**2 - rest**2) / 2 + tokens * asked.found
        return np.ceil(tokens / most), tokens, before

    def _plane(self, aim: Floats) -> Floats:
        import numpy as np

        known = self._known.values if aim[2] else self._known.values[:, :1]
        shape = known.shape
        tokens = np.array(self.times.chunks, dtype=np.float64)[:, None]
        contexts = np.array(self._contexts, dtype=np.float64)[None, : shape[1]]
        scale = np.array([1.0, float(self.largest), float(self.largest) * self._contexts[-1]])
        columns = [np.ones(shape), np.broadcast_to(tokens, shape), tokens * contexts]
        rows = np.stack([column.ravel() for column in columns], axis=1) / scale
        found: Floats = np.zeros(3)
        for _ in range(_TOUCHES):
            found, tight = highest(rows, known.ravel(), aim / scale, _MOST_MS)
            fresh = [self._touch(*divmod(place, shape[1])) for place in tight]
            if not any(fresh):
                break
        plane: Floats = found / scale
        if not aim[2]:
            plane[2] = 0.0  # contexts were not looked at: a later chunk costs no less than a first one
        return plane

    def _touch(self, size: int, place: int) -> bool:
        if self._known.exact[size, place]:
            return False
        held, _ = self.times.chunk_node(size, place - 1)
        self._known.set(size, place, held / MILLISECOND)
        return True
