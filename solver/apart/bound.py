"""A lower bound on pools apart where requests keep coming: intervals of mean times per token that cover all of them.

In every interval both pools are asked the relaxation of `shardproof.formulations.apart.phases`; an interval that needs
no fewer GPUs than the best plan is closed, the others are halved.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from heapq import heapify, heappop, heappush

from shardproof.formulations.apart.phases import FASTEST_TOKEN_NS, Tokens, pool_instance, slowest_allowed
from shardproof.formulations.deployment.build import limited
from shardproof.instances.clock import now
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Pool
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.problem import deployment_of

FINEST = Fraction(103, 100)
"""Intervals of times per token are not halved below this ratio."""
MOST_INTERVALS = 12


class Bound:
    """Fewest GPUs of each pool in intervals of times per token; each question of a pool is asked once."""

    def __init__(self, instance: Instance, enough: int, give_up: float | None = None) -> None:
        """Take the question; a bound of ``enough`` GPUs is as good as any. ``give_up``: of `instances.clock`."""
        self._instance, self._enough, self._give_up = instance, enough, give_up
        self._known: dict[str, int] = {}

    def find(self) -> tuple[int, bool]:
        """Return the fewest GPUs that any mean time per token allows (at most ``enough``), and whether that is all."""
        low, high = Fraction(FASTEST_TOKEN_NS), Fraction(slowest_allowed(self._instance))
        open_ = [(self.needed(start, stop), start, stop) for start, stop in _steps(low, high)]
        heapify(open_)
        looked = len(open_)
        while True:
            least, low, high = heappop(open_)
            if least >= self._enough:
                return self._enough, True
            late = self._give_up is not None and now() > self._give_up
            if looked >= MOST_INTERVALS or high / low <= FINEST or late:
                return least, False
            middle = Fraction(round(float(low * high) ** 0.5))
            for start, stop in ((low, middle), (middle, high)):
                looked += 1
                heappush(open_, (max(least, self.needed(start, stop)), start, stop))

    def needed(self, fastest: Fraction, slowest: Fraction) -> int:
        """Fewest GPUs of both pools for mean times per token in an interval, at most ``enough``."""
        tokens = Tokens(fastest, slowest, rounded=max(1, self._enough - 1))
        prefill = self._fewest("prefill", tokens, self._enough - 1)
        left = self._enough - prefill
        return min(self._enough, prefill + (self._fewest("decode", tokens, left) if left > 0 else 0))

    def _fewest(self, pool: Pool, tokens: Tokens, most: int) -> int:
        """Fewest GPUs of a pool; one more than ``most`` where so many are too few."""
        asked = limited(pool_instance(self._instance, pool, tokens), most)
        if asked.fingerprint not in self._known:
            found = fewest_gpus(deployment_of(asked))
            self._known[asked.fingerprint] = most + 1 if found is None else found
        return self._known[asked.fingerprint]


def _steps(low: Fraction, high: Fraction) -> Iterator[tuple[Fraction, Fraction]]:
    """Intervals that halve from the slowest down; the last reaches the fastest."""
    stop = high
    while stop > low:
        start = stop / 2 if stop / 4 > low else low
        yield start, stop
        stop = start
