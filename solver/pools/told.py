"""How far the search for a fleet is, in the unit of its objective, told to whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shardproof.instances.clock import now
from shardproof.instances.pools import Objective, PoolsQuestion
from shardproof.solver.search.settings import Progress, Settings

UNITS: dict[Objective, tuple[str, int]] = {
    "gpus": ("GPUs", 1),
    "price": ("USD/h", 10**6),
    "power": ("W", 1000),
    "load": ("times the workload", 1),
}
"""Unit of each objective, and how many integers of the program make one."""
EVERY_S = 1.0
"""A fleet of what is known so far is looked for no more often, where somebody watches."""
PART = 10
"""... and after that look for so many times as long as it took."""


class Answered(Protocol):
    """An answer, as far as it is told: its value and bound in the program's integers."""

    @property
    def value(self) -> int | None:
        """Of the fleet."""

    @property
    def bound(self) -> int | None:
        """That no fleet passes."""


@dataclass
class Told:
    """What is told of one question: the best fleet and the bound so far, each told when it changes.

    ``tell``: who watches; ``None``: nobody does, and nothing is computed for it.
    """

    tell: Callable[[Progress], None] | None
    unit: str
    scale: int
    most_load: bool = False
    level: str = "fleets"
    value: int | None = None
    bound: int | None = None
    started: float = field(default_factory=now)
    _next_look: float = field(default_factory=lambda: now() + EVERY_S)

    def at_least(self, bound: int) -> None:
        """Note that no fleet is better than this."""
        sharper = self.bound is None or (bound < self.bound if self.most_load else bound > self.bound)
        self.bound = bound if sharper else self.bound
        self._say()

    def fleet(self, value: int) -> None:
        """Note a fleet."""
        better = self.value is None or (value > self.value if self.most_load else value < self.value)
        self.value = value if better else self.value
        self._say()

    def step(self, level: str) -> None:
        """Note what is done now."""
        self.level = level
        self._say()

    def look(self, cheapest: Callable[[], int | None]) -> None:
        """Look for a fleet of what is known so far, unless nobody watches or the last look was a moment ago."""
        moment = now()
        if self.tell is None or moment < self._next_look:
            return
        found = cheapest()
        self._next_look = now() + max(EVERY_S, PART * (now() - moment))
        if found is not None:
            self.fleet(found)

    def _say(self) -> None:
        if self.tell is not None:
            at = now() - self.started
            self.tell(Progress(self.value, self.bound, at, self.level, self.unit, self.scale))


def told_of(question: PoolsQuestion, settings: Settings) -> Told:
    """Return who hears of a question, in the unit of its objective."""
    unit, scale = UNITS[question.objective]
    most_load = question.objective == "load"
    return Told(settings.told, unit, question.resolution if most_load else scale, most_load)


def unheard(progress: Progress) -> None:
    """Tell nobody: what a part of a question comes to is no figure of the whole."""
    del progress


def tell_of(question: PoolsQuestion, answer: Answered, level: str) -> None:
    """Tell whoever watches what is done about an answer that is there."""
    told = told_of(question, Settings())
    told.value, told.bound = answer.value, answer.bound
    told.step(level)
