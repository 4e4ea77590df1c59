r"""Percentiles of TTFT and TPOT by formula: an approximation, mostly from above, that proves nothing.

One replica sees a Poisson stream of rate :math:`\lambda`. Prompts add A to a round, rounds of n sequences take D(n).

*TPOT.* While a request decodes its o tokens in W, K prompts come, and it began beside N sequences: both Poisson with
mean :math:`\lambda W`. On average :math:`(N + K) / 2` run beside it, so that
:math:`TPOT = D(1 + (N + K) / 2) + \sum_{k \le K} A_k / (o - 1)`. Its q-quantile is the x for which the right side, with
:math:`W = (o - 1) x`, stays below x with probability q: mean, variance and skewness of a compound Poisson sum
(Cornish and Fisher).

*TTFT.* Prompts queue as in M/G/1: by Pollaczek and Khinchine the work ahead is a geometric sum of residual services,
computed on a grid. A prompt's service is A and its part of the round that it runs in; a first token waits besides for
the running round, and for the prompts that come before its round begins, which end with it. Where rounds follow each
other, one takes :math:`C' = D + \sum A_k` over the prompts that came in the one before (a branching recursion, on the
grid); a prompt meets a round in proportion to its length. The larger of both counts. Where sequences or cache run out,
what does not fit waits as in M/M/n (Erlang's formula at the mean residence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, lgamma, log
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

CELLS = 2048
"""Points of the grid of waits."""
STEPS = 60
_CYCLES = 12
_PARTS = 24
_SMALL = 1e-9
SAFETY = 1.03
"""Factor for what the model leaves out: the order of arrivals within a round, chunks cut by full rounds."""


@dataclass(frozen=True)
class ReplicaLoad:
    """What one replica is given: requests per ns, and a sample of their prompts (to compute, found) and outputs."""

    rate: float
    computed: Floats
    found: Floats
    output: Floats


class ReplicaPercentiles:
    """Percentiles of one replica; ``inf`` where it does not keep up."""

    def __init__(self, times: IterationTimes, limits: ReplicaLimits, load: ReplicaLoad) -> None:
        """Take iteration times, the engine's limits, and the load."""
        self.times, self.limits, self.load = times, limits, load

    @cached_property
    def added(self) -> Floats:
        """What every prompt adds to rounds in its chunks, ns."""
        import numpy as np

        pairs = zip(self.load.computed.tolist(), self.load.found.tolist(), strict=True)
        return np.array([self._chunks(int(tokens), int(found)) for tokens, found in pairs])

    @cached_property
    def chunks(self) -> Floats:
        """Rounds that every prompt is computed in."""
        import numpy as np

        return np.ceil(self.load.computed / self.limits.batched_tokens)

    def _chunks(self, tokens: int, found: int) -> float:
        total, done = 0.0, 0
        while done < tokens:
            part = min(tokens - done, self.limits.batched_tokens)
            total += self.times.chunk(part, found + done)[0]
            done += part
        return total

    @cached_property
    def later(self) -> Floats:
        """Tokens after the first of every request."""
        return self.load.output - 1

    @cached_property
    def context(self) -> float:
        """Mean context of a token after the first."""
        contexts = self.load.computed + self.load.found + self.load.output / 2
        tokens = float(self.later.sum())
        return float((self.later * contexts).sum() / tokens) if tokens else float(contexts.mean())

    def _round(self, sequences: float) -> float:
        """Time of a round of a mean number of sequences, ns."""
        low = int(min(max(1.0, sequences), self.times.most_sequences))
        high = min(low + 1, self.times.most_sequences)
        part = min(max(0.0, sequences - low), 1.0)
        return (1 - part) * self.times.round(low, self.context) + part * self.times.round(high, self.context)

    @cached_property
    def together(self) -> float:
        """Prompts that share a round, on average: those that come while it runs, as far as its tokens go."""
        most = max(1.0, self.limits.batched_tokens / max(1.0, float(self.load.computed.mean())))
        added, found = float(self.added.mean()), 1.0
        for _ in range(STEPS):
            round_ = self._round(1.0) * self.limits.whole + added * max(1.0, found / self.limits.ranks)
            after = min(most, max(1.0, self.load.rate * round_))
            if abs(after - found) < 1e-3:
                break
            found = (found + after) / 2
        return found

    @cached_property
    def stalling(self) -> Floats:
        """What every prompt adds to rounds beside others, ns: ranks compute as many side by side as come together."""
        found: Floats = (
            self.added * max(1 / self.together, 1 / self.limits.ranks) if self.limits.ranks > 1 else self.added
        )
        return found

    @cached_property
    def stalled(self) -> float:
        """Share of the time in which prompts are computed."""
        return self.load.rate * float(self.stalling.mean())

    @cached_property
    def mean_tpot(self) -> float:
        """Mean time per token, ns: the fixed point of Little's law."""
        if self.stalled >= 1:
            return inf
        tokens, found = self.load.rate * float(self.later.mean()), self._round(1.0)
        for _ in range(STEPS * 10):
            flight = tokens * found
            if flight > 4 * self.times.most_sequences:
                return inf
            after = self._round(1 + flight) / (1 - self.stalled)
            if abs(after - found) < 1e-4 * found:
                return after
            found = (found + after) / 2
        return inf

    def tpot(self, share: float) -> float:
        """Time per token that a share of the requests does not exceed, ns."""
        if self.mean_tpot == inf:
            return inf
        low, high = self._round(1.0), 20 * self.mean_tpot
        if self._below(high) < share:
            return inf
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._below(middle) >= share else (middle, high)
        surplus = (self.limits.whole - 1) / max(1.0, float(self.later.mean()))  # of the last round of a request
        return high * SAFETY * (1 + surplus)

    def _below(self, time: float) -> float:
        """Share of the requests whose time per token stays below a time."""
        import numpy as np

        later = np.maximum(self.later, 1.0)
        here = self.load.rate * later * time
        before = self.load.rate * float(self.later.mean()) * self.mean_tpot
        middle = 1 + (before + float(here.mean())) / 2
        slope = max(0.0, (self._round(middle * 1.1 + 1) - self._round(middle)) / (0.1 * middle + 1))
        base = np.array([self._round(1 + (before + count) / 2) for count in here.tolist()])
        prompt = self.stalling
        first, second, third = (float((prompt**power).mean()) for power in (1, 2, 3))
        half = slope / 2
        mean = base + here * first / later
        moments = (half**2 + 2 * half * first / later + second / later**2) * here + half**2 * before
        skewed = (half**3 + 3 * half**2 * first / later + 3 * half * second / later**2 + third / later**3) * here
        spread = np.sqrt(np.maximum(moments, 1e-9))
        skew = (skewed + half**3 * before) / spread**3
        shape = 4 / np.maximum(skew, 1e-3) ** 2
        root = np.cbrt(np.maximum(1 + (time - mean) / spread / np.sqrt(shape), 0.0))
        scores = (root - (1 - 1 / (9 * shape))) * 3 * np.sqrt(shape)  # Wilson and Hilferty
        normal = NormalDist()
        pairs = zip(scores.tolist(), self.later.tolist(), strict=True)
        return float(np.mean([normal.cdf(value) if last >= 1 else 1.0 for value, last in pairs]))

    @cached_property
    def _beside(self) -> float:
        """Time of the round that a prompt runs in, with a standard deviation more sequences than usual, ns."""
        flight = self.load.rate * float(self.later.mean()) * self.mean_tpot
        return self._round(1 + flight + flight**0.5) * self.limits.whole

    def ttft(self, share: float) -> float:
        """Time to first token that a share of the requests does not exceed, ns."""
        if self.mean_tpot == inf:
            return inf
        queued = max(self._queued(share), self._gated(share))
        return (queued + self._admission(share)) * SAFETY

    def _queued(self, share: float) -> float:
        """First tokens behind a queue of prompts, as in M/G/1, ns."""
        service = self._service()
        busy = self.load.rate * float(service.mean())
        if busy >= 1:
            return inf
        others = (self.together - 1) * float(self.stalling.mean())
        own = self.added + others + self.chunks * self._beside
        cell = (12 * float(own.max()) + others + 8 * float(service.max()) / (1 - busy) + self._beside) / CELLS
        rest = self._beside / 2 * (1 - busy) + busy * float((service**2).mean()) / (2 * float(service.mean()))
        behind = _compound(_masses(self.stalling, cell), self.load.rate * rest)
        waits = _geometric(_residual(service, cell), busy)
        parts = (waits, _uniform(self._beside + others, cell), behind, _masses(own, cell))
        return _quantile(_sum(parts), share) * cell

    def _gated(self, share: float) -> float:
        """First tokens of prompts that wait for the running round and share the next with all that came in it, ns."""
        import numpy as np

        if self.stalled >= 1:
            return inf
        flight = self.load.rate * float(self.later.mean()) * self.mean_tpot
        beside = self._round(1 + flight) * self.limits.whole
        mean = beside / (1 - self.stalled)
        cell = (6 * mean + 6 * float(self.added.max()) + 2 * float(self.stalling.max()) / (1 - self.stalled)) / CELLS
        stalling, base = np.fft.rfft(_masses(self.stalling, cell), 2 * CELLS), _masses(np.array([beside]), cell)
        lengths = (np.arange(CELLS) + 0.5) * cell
        cycle = base
        for _ in range(_CYCLES):
            counts = _poisson(self.load.rate * lengths[cycle > _SMALL], cycle[cycle > _SMALL])
            cycle = _sum((base, _polynomial(counts, stalling)))
        met = cycle * lengths
        total = np.zeros(CELLS)
        for part in np.array_split(np.flatnonzero(met > _SMALL * met.sum()), _PARTS):
            weight = float(met[part].sum())
            if not weight:
                continue
            length = float((met[part] * lengths[part]).sum()) / weight
            counts = _poisson(np.array([self.load.rate * length]), np.ones(1))
            total += weight * _sum((_uniform(length, cell), _polynomial(counts, stalling)))
        whole = _sum((total / met.sum(), base, _masses(self.added, cell)))
        return _quantile(whole, share) * cell

    def _service(self) -> Floats:
        """Time that each prompt keeps the next waiting: its chunks, and its part of the rounds that they run in."""
        import numpy as np

        shares = np.minimum(1.0, self.load.computed / self.limits.batched_tokens)
        rounds: Floats = np.maximum(self.chunks - 1, 0) + shares
        return self.stalling + rounds * self._beside / self.together

    def _admission(self, share: float) -> float:
        """Wait for a free sequence or room in the cache that a share of the requests does not exceed, ns."""
        held = float((self.load.computed + self.load.found + self.load.output).mean())
        places = max(1, min(self.limits.sequences, int(self.limits.cache_tokens / max(1.0, held))))
        residence = float(self.later.mean()) * self.mean_tpot
        offered = self.load.rate * residence
        if offered >= places:
            return inf
        waits = _erlang(offered, places)
        if waits <= 1 - share:
            return 0.0
        return log(waits / (1 - share)) * residence / (places - offered)


def _sum(parts: Sequence[Floats]) -> Floats:
    """Distribution of a sum; what lies beyond the grid is cut off."""
    import numpy as np

    product = np.fft.rfft(parts[0], 2 * CELLS)
    for part in parts[1:]:
        product = np.fft.rfft(np.fft.irfft(product, 2 * CELLS)[:CELLS], 2 * CELLS) * np.fft.rfft(part, 2 * CELLS)
    found: Floats = np.maximum(np.fft.irfft(product, 2 * CELLS)[:CELLS], 0.0)
    return found


def _quantile(masses: Floats, share: float) -> float:
    """Upper end of the cell at which a share of the whole is reached; ``inf`` beyond the grid."""
    import numpy as np

    place = int(np.searchsorted(np.cumsum(masses), share))
    return inf if place >= CELLS else place + 1.0


def _poisson(means: Any, weights: Any) -> Floats:
    """Distribution of a count that is Poisson with one of some means."""
    import numpy as np

    most = int(float(means.max()) + 8 * float(means.max()) ** 0.5 + 12)
    counts = np.arange(most + 1)
    logs = np.array([lgamma(count + 1) for count in counts])
    shares = np.exp(counts[None, :] * np.log(np.maximum(means, 1e-300))[:, None] - means[:, None] - logs[None, :])
    found: Floats = (weights / weights.sum()) @ shares
    return found


def _polynomial(counts: Floats, transformed: np.ndarray[tuple[int, ...], np.dtype[np.complex128]]) -> Floats:
    """Distribution of a sum of so many parts, each of a transformed distribution."""
    import numpy as np

    total = np.zeros_like(transformed)
    for weight in counts[::-1]:
        total = total * transformed + weight
    return np.maximum(np.fft.irfft(total, 2 * CELLS)[:CELLS], 0.0)


def _erlang(offered: float, places: int) -> float:
    """Share of requests that find all places taken (M/M/n)."""
    if offered <= 0:
        return 0.0
    logs = [count * log(offered) - lgamma(count + 1) for count in range(places)]
    last = places * log(offered) - lgamma(places + 1) - log(1 - offered / places)
    top = max(*logs, last)
    return exp(last - top) / (sum(exp(value - top) for value in logs) + exp(last - top))


def _masses(values: Floats, cell: float) -> Floats:
    """Distribution of some values on the grid, each at the upper end of its cell."""
    import numpy as np

    places = np.minimum(np.ceil(values / cell).astype(int), CELLS - 1)
    found: Floats = np.bincount(places, minlength=CELLS)[:CELLS] / len(values)
    return found


def _uniform(length: float, cell: float) -> Floats:
    import numpy as np

    found = np.zeros(CELLS)
    count = min(CELLS, max(1, int(np.ceil(length / cell))))
    found[:count] = 1 / count
    return found


def _residual(service: Floats, cell: float) -> Floats:
    """Distribution of the rest of a service that is met at a random moment."""
    import numpy as np

    edges = np.arange(CELLS + 1) * cell
    inside = np.minimum(service[:, None], edges[None, :]).mean(axis=0) / service.mean()
    found: Floats = np.diff(inside)
    return np.concatenate([[0.0], found[:-1]])  # each at the upper end of its cell


def _compound(part: Floats, count: float) -> Floats:
    """Distribution of a Poisson number of parts."""
    import numpy as np

    found = np.fft.irfft(np.exp(count * (np.fft.rfft(part, 4 * CELLS) - 1)), 4 * CELLS)[:CELLS]
    return np.maximum(found, 0.0)


def _geometric(part: Floats, busy: float) -> Floats:
    """Distribution of a geometric number of parts: w = (1 - busy) + busy part * w, by Fourier transform."""
    import numpy as np

    size = 4 * CELLS
    transformed = np.fft.rfft(part, size)
    found = np.fft.irfft((1 - busy) / (1 - busy * transformed), size)[:CELLS]
    return np.maximum(found, 0.0)
