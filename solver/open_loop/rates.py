r"""How many replicas a rate takes: the fewest whose busy time leaves room for prompts and tokens.

With n replicas each is given :math:`\lambda / n`. Prompts keep it busy for :math:`\rho = \lambda p / n` of the time
and stall what is running, so that rounds have :math:`T (1 - \rho s)` a token, and

.. math:: \frac\lambda n \left(p + m(\alpha - \gamma (T' - T) + \beta c)\right) \le 1, \qquad T' = T (1 - \rho s)

for every plane (:math:`\alpha, \beta, \gamma` at T) below the rounds: a plane holds for whatever time tokens take.
Planes are asked for one by one, each at the number that those before it left: it never falls, and may be taken at any
step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt

from shardproof.solver.open_loop.costs import TokenPlane

_STEPS = 12
_NEAR = 1e-4


@dataclass(frozen=True)
class Mean:
    """A scenario's mean request on one shape.

    Parameters
    ----------
    rate
        requests per ns.
    prompt
        time of a replica for a prompt, ns.
    tokens, context
        tokens after the first, and their mean context.
    limit
        largest mean time per token, ns (``None``: none).
    seen
        share of the running sequences that a prompt stalls.
    """

    rate: float
    prompt: float
    tokens: float
    context: float
    limit: float | None
    seen: float


class RateBound:
    """The fewest replicas of a shape that a rate takes, a fraction."""

    def __init__(self, plane: Callable[[float | None], TokenPlane], mean: Mean) -> None:
        """Take what says which plane asks most at a time per token, and the mean request."""
        self._plane, self.mean = plane, mean
        self._least, self._steps, self._done = mean.rate * mean.prompt * max(1.0, mean.seen), 0, False

    def least(self, most: float) -> float:
        """Fewest replicas; nothing is looked at that only says how far beyond ``most`` they are."""
        if not self._steps:
            self._tighten(self.mean.limit)
        while not self._done and self._least <= most and self._steps < _STEPS:
            self._tighten(self._left(self._least))
        return self._least

    def _tighten(self, limit: float | None) -> None:
        """Ask for the plane at a time per token, and for as many replicas as it needs."""
        needed = self._needed(self._plane(limit))
        self._done = self._steps > 0 and needed <= self._least * (1 + _NEAR)
        self._least, self._steps = max(self._least, needed), self._steps + 1
        self._done |= limit is None or not self.mean.seen

    def _left(self, replicas: float) -> float | None:
        """What prompts leave of the limit on the time per token with so many replicas, ns."""
        mean = self.mean
        stalled = mean.rate * mean.prompt * mean.seen / replicas
        return None if mean.limit is None else mean.limit * max(0.0, 1 - stalled)

    def _needed(self, plane: TokenPlane) -> float:
        """Replicas that a plane asks for: n^2 - a n - b >= 0."""
        mean = self.mean
        base, slope = plane.alpha + plane.beta * mean.context, 0.0
        if plane.limit is not None and mean.limit is not None:
            base += plane.gamma * (plane.limit - mean.limit)
            slope = plane.gamma * mean.limit * mean.rate * mean.prompt * mean.seen
        first, second = mean.rate * (mean.prompt + mean.tokens * base), mean.rate * mean.tokens * slope
        return (first + sqrt(first**2 + 4 * second)) / 2 if second or first > 0 else 0.0

    def at(self, replicas: float) -> tuple[float, float, float, float | None]:
        """Shares of the time for prompts, stalls and tokens with so many replicas, and the time per token left, ns."""
        mean, left = self.mean, self._left(replicas)
        busy = mean.rate * mean.prompt / replicas
        if busy >= 1 or busy * mean.seen >= 1:
            return busy, busy * mean.seen, inf, left
        plane = self._plane(left)
        tokens = mean.rate / replicas * mean.tokens * (plane.alpha + plane.beta * mean.context)
        return busy, busy * mean.seen, tokens, left
