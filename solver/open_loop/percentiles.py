r"""Percentiles of TTFT and TPOT by formula: an approximation, mostly from above, that proves nothing.

One replica sees a Poisson stream of rate :math:`\lambda`. Prompts add A to a round, rounds of n sequences take D(n).

*TPOT.* While a request decodes its o tokens in W, K prompts come, and those that came while its own was computed are
left to follow it; it began beside N sequences. K is Poisson with mean :math:`\lambda (W + A + D)`, N with mean
:math:`\lambda W`. On average :math:`(N + K) / 2` run beside it, so that
:math:`TPOT = D(1 + (N + K) / 2) + \sum_{k \le K} A_k / (o - 1)`. Its q-quantile is the x for which the right side, with
:math:`W = (o - 1) x`, stays below x with probability q: mean, variance and skewness of a compound Poisson sum
(Wilson and Hilferty). No round is longer than one with a full budget of prompt tokens.

*TTFT.* Prompts queue as in M/G/1: by Pollaczek and Khinchine the work ahead is a geometric sum of residual services,
computed on a grid. A prompt's service is A and its part of the round that it runs in; a first token waits besides for
the running round, and for the prompts that come before its round begins, which end with it. Where rounds follow each
other, one takes :math:`C' = D + \sum A_k` over the prompts that came in the one before (a branching recursion, on the
grid); a prompt meets a round in proportion to its length. The larger of both counts. Where sequences or cache run out,
what does not fit waits as in M/M/n (Erlang's formula at the mean residence).

*Ranks.* Attention replicas compute r prompts side by side, as far as a round's tokens go: up to r of them add what
their longest does, more of them :math:`A / r` each. How many prompts join a round is then a Markov chain (those
that came in the one before), whose stationary mean is the time per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf, log
from statistics import NormalDist
from typing import TYPE_CHECKING

from shardproof.solver.open_loop.distributions import (
    CELLS,
    Rounds,
    compound,
    erlang,
    geometric,
    masses,
    poisson,
    quantile,
    residual,
    summed,
    uniform,
)
from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

STEPS = 60
COUNTS = 64
"""Prompts of one round up to which their number is looked at one by one."""
_CYCLES = (12, 80)
"""Rounds, at least and at most, after which the length of a round is that of any later one."""
_SETTLED = 0.01
_PARTS = 24
_SMALL = 1e-9
SAFETY = 1.09
"""Factor for what the model leaves out: the order of arrivals within a round, chunks cut by full rounds."""
SIDE_BY_SIDE = 1.06
"""Another on first tokens where ranks compute prompts side by side: one round's end decides for several of them."""


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
    def side_by_side(self) -> float:
        """Prompts that attention replicas compute side by side: no more than a round's tokens hold."""
        return max(1.0, min(self.limits.ranks, self.limits.batched_tokens / max(1.0, float(self.load.computed.mean()))))

    @cached_property
    def longest(self) -> Floats:
        """Mean of what so many prompts (from 0 on) add to one round, ns: ranks compute different ones side by side.

        So many as go side by side take as long as their longest, more of them their share of the sum.
        """
        import numpy as np

        ordered, few = np.sort(self.added), int(self.side_by_side)
        upper = np.arange(1, len(ordered) + 1) / len(ordered)
        most = [float((ordered * (upper**k - (upper - 1 / len(ordered)) ** k)).sum()) for k in range(1, few + 1)]
        beyond = [float(ordered.mean()) * k / self.side_by_side for k in range(few + 1, COUNTS)]
        return np.maximum.accumulate(np.array([0.0, *most, *beyond]))

    def _mean_round(self, alone: float, more: float = 1.0) -> float:
        """Mean time of a round, ns, where so many prompts join each as came while the one before it ran.

        How many join is a Markov chain: its stationary distribution by repeated steps. ``more``: factor on the rate.
        """
        import numpy as np

        lengths = alone * self.limits.whole + np.minimum(self.longest, self.fullest)
        steps = poisson(more * self.load.rate * lengths, np.eye(COUNTS), most=COUNTS - 1)
        steps[:, -1] += 1 - steps.sum(axis=1)
        chances = np.zeros(COUNTS)
        chances[0] = 1.0
        for _ in range(STEPS):
            chances = chances @ steps
        return float((chances * lengths).sum()) / self.limits.whole

    @cached_property
    def fullest(self) -> float:
        """What prompts add to a round at most, ns: one chunk of all its tokens, or such a share of many prompts."""
        budget = self.limits.batched_tokens
        pairs = list(zip(self.load.computed.tolist(), self.load.found.tolist(), strict=True))
        one = max(
            self.times.chunk(min(budget, int(tokens)), found + max(0, int(tokens) - budget))[0]
            for tokens, found in pairs
        )
        each = max(added / max(1.0, tokens) for added, (tokens, _) in zip(self.added.tolist(), pairs, strict=True))
        return float(max(one, each * budget / self.limits.ranks))

    @cached_property
    def mean_tpot(self) -> float:
        """Mean time per token, ns: that of a round with the sequences and prompts that Little's law puts into it."""
        busy = self.load.rate * float(self.added.mean()) / self.side_by_side
        if busy >= 1:
            return inf
        tokens, found = self.load.rate * float(self.later.mean()), self._round(1.0)
        for _ in range(STEPS * 10 if self.side_by_side == 1 else STEPS):
            flight = tokens * found
            if flight > 4 * self.times.most_sequences:
                return inf
            alone = self._round(1 + flight)
            after = alone / (1 - busy) if self.side_by_side == 1 else self._mean_round(alone)
            after = min(after, alone + self.fullest)
            if abs(after - found) < 1e-4 * found:
                return after
            found = (found + after) / 2
        return inf

    @cached_property
    def swing(self) -> float:
        """By how much the time for prompts follows their number: one by one in full, side by side by less."""
        if self.side_by_side == 1:
            return 1.0
        alone, more = self._round(1 + self.flight), 1.1
        shares = [1 - alone / self._mean_round(alone, factor) for factor in (1.0, more)]
        return min(1.0, max(0.0, log(shares[1] / shares[0]) / log(more))) if shares[0] > 0 else 1.0

    @cached_property
    def flight(self) -> float:
        """Sequences running on average."""
        return self.load.rate * float(self.later.mean()) * self.mean_tpot

    @cached_property
    def stalling(self) -> Floats:
        """What every prompt adds to rounds beside others, ns."""
        stalled = 1 - self._round(1 + self.flight) / self.mean_tpot
        found: Floats = self.added * (stalled / (self.load.rate * float(self.added.mean())))
        return found

    @cached_property
    def stalled(self) -> float:
        """Share of the time in which prompts are computed."""
        return self.load.rate * float(self.stalling.mean())

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
        crowd = self._round(1 + self.flight + 3 * self.flight**0.5)
        surplus = (self.limits.whole - 1) / max(1.0, float(self.later.mean()))  # of the last round of a request
        return min(high, crowd + self.fullest) * SAFETY * (1 + surplus)

    def _below(self, time: float) -> float:
        """Share of the requests whose time per token stays below a time."""
        import numpy as np

        later = np.maximum(self.later, 1.0)
        whole = self._round(1 + self.flight) * self.limits.whole
        here = self.load.rate * (later * time + self.stalling + self.chunks * whole)
        before = self.flight
        middle = 1 + (before + float(here.mean())) / 2
        slope = max(0.0, (self._round(middle * 1.1 + 1) - self._round(middle)) / (0.1 * middle + 1))
        base = np.array([self._round(1 + (before + count) / 2) for count in here.tolist()])
        prompt = self.stalling
        first, second, third = (float((prompt**power).mean()) for power in (1, 2, 3))
        second, third = second * self.swing**2, third * self.swing**3
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
        return self._round(1 + self.flight + self.flight**0.5) * self.limits.whole

    def ttft(self, share: float) -> float:
        """Time to first token that a share of the requests does not exceed, ns."""
        if self.mean_tpot == inf:
            return inf
        queued = max(self._queued(share), self._gated(share))
        factor = SAFETY if self.side_by_side == 1 else SAFETY * SIDE_BY_SIDE
        return (queued + self._admission(share)) * factor

    def _queued(self, share: float) -> float:
        """First tokens behind a queue of prompts, as in M/G/1, ns."""
        service = self._service()
        busy = self.load.rate * float(service.mean())
        if busy >= 1:
            return inf
        own = self.added + self.chunks * self._beside
        cell = (12 * float(own.max()) + 8 * float(service.max()) / (1 - busy) + self._beside) / CELLS
        rest = self._beside / 2 * (1 - busy) + busy * float((service**2).mean()) / (2 * float(service.mean()))
        behind = compound(masses(service, cell), self.load.rate * rest)
        waits = geometric(residual(service, cell), busy)
        parts = (waits, uniform(self._beside, cell), behind, masses(own, cell))
        return quantile(summed(parts), share) * cell

    @property
    def _cycles(self) -> int:
        """Rounds until what the first of them began with is forgotten: each passes its share of prompts on."""
        least, most = _CYCLES
        return min(most, max(least, ceil(log(_SETTLED) / log(max(self.stalled, _SETTLED)))))

    def _gated(self, share: float) -> float:
        """First tokens of prompts that wait for the running round and share the next with all that came in it, ns."""
        import numpy as np

        if self.stalled >= 1:
            return inf
        beside = self._round(1 + self.flight) * self.limits.whole
        mean = beside / (1 - self.stalled)
        cell = (10 * mean + 6 * float(self.added.max()) + 2 * float(self.stalling.max()) / (1 - self.stalled)) / CELLS
        base, lengths = masses(np.array([beside]), cell), (np.arange(CELLS) + 0.5) * cell
        shared, cut = self.added, 0.0
        if self.side_by_side > 1:
            shared = shared / self.side_by_side + beside * self.load.computed / self.limits.batched_tokens
            cut = min(1.0, float(self.load.computed.mean()) / self.limits.batched_tokens)
        rounds = Rounds(self.added, shared, int(self.side_by_side), cell, cut=cut)
        cycle = base
        for _ in range(self._cycles):
            counts = poisson(self.load.rate * lengths[cycle > _SMALL], cycle[cycle > _SMALL])
            cycle = summed((base, rounds.of(counts)))
        met = cycle * lengths
        total = np.zeros(CELLS)
        for part in np.array_split(np.flatnonzero(met > _SMALL * met.sum()), _PARTS):
            weight = float(met[part].sum())
            if not weight:
                continue
            length = float((met[part] * lengths[part]).sum()) / weight
            counts = poisson(np.array([self.load.rate * length]), np.ones(1))
            total += weight * summed((uniform(length, cell), rounds.with_own(counts)))
        return quantile(summed((total / met.sum(), base)), share) * cell

    def _service(self) -> Floats:
        """Time that each prompt keeps the next waiting: its chunks, and its part of the rounds that they run in."""
        import numpy as np

        shares = np.minimum(1.0, self.load.computed / self.limits.batched_tokens)
        rounds: Floats = np.maximum(self.chunks - 1, 0) + shares
        return (self.added + rounds * self._beside) / self.side_by_side

    def _admission(self, share: float) -> float:
        """Wait for a free sequence or room in the cache that a share of the requests does not exceed, ns."""
        held = float((self.load.computed + self.load.found + self.load.output).mean())
        places = max(1, min(self.limits.sequences, int(self.limits.cache_tokens / max(1.0, held))))
        service = self._service()
        free = max(_SMALL, 1 - self.load.rate * float(service.mean()))
        queue = self.load.rate * float((service**2).mean()) / (2 * free)
        residence = float(self.later.mean()) * self.mean_tpot + queue + float(self.added.mean()) + self._beside
        offered = self.load.rate * residence
        if offered >= places:
            return inf
        waits = erlang(offered, places)
        if waits <= 1 - share:
            return 0.0
        return log(waits / (1 - share)) * residence / (places - offered)
