"""Pace: what pools of requests that keep coming are planned for, and how it is raised where service misses a limit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

GROWTH = Fraction(3, 2)
"""Step between the times per token at which plans are looked for, and between the hastes of a lone prompt."""
RAISE = Fraction(11, 10)
"""Factor on what a pool is planned for when it misses a limit in service, as often as it takes to get another plan."""
MOST_RAISED = 4
"""Largest factor on what a pool is planned for."""
MOST_HURRIED = 40
"""Largest factor by which a lone prompt is to be faster than its limit."""


@dataclass(frozen=True, order=True)
class Pace:
    """A mean time per token (ns), factors on the pools' loads, and on the haste of a lone prompt."""

    token: Fraction
    prefill: Fraction = Fraction(1)
    decode: Fraction = Fraction(1)
    hurry: Fraction = Fraction(1)

    def raised(self, *, prefill: bool = False, decode: bool = False, hurried: bool = False) -> Pace:
        """Return the next pace that asks for more of what is named."""
        return Pace(
            self.token,
            self.prefill * RAISE if prefill else self.prefill,
            self.decode * RAISE if decode else self.decode,
            self.hurry * GROWTH if hurried else self.hurry,
        )

    @property
    def is_beyond(self) -> bool:
        """Whether it asks for more than is ever planned for."""
        return max(self.prefill, self.decode) > MOST_RAISED or self.hurry > MOST_HURRIED
