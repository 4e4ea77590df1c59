"""Whose turn it is: errands that wait, one tab after another, so that nobody waits for all that another one asked.

Of the tabs that have something waiting, the one with the fewest errands at work comes first, then the one that had the
least processor time so far. A tab that asked nothing for a while saves nothing up: it starts where the others stand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field


@dataclass
class _Tab:
    """What a tab waits for (keys in the order asked, each with its rank), and what it had."""

    waiting: dict[str, int] = field(default_factory=dict)
    at_work: int = 0
    spent_s: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it wants nothing."""
        return not self.waiting and not self.at_work


class Turns:
    """Errands that wait, by their keys; the same one may be waited for by several tabs."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._tabs: dict[Hashable, _Tab] = {}

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(tab.waiting for tab in self._tabs.values())

    def add(self, name: Hashable, key: str, rank: int) -> None:
        """Have a tab wait for an errand; lower ranks go first, whichever tab they are of."""
        tab = self._tabs.setdefault(name, _Tab())
        if tab.is_idle:
            others = [other.spent_s for other in self._tabs.values() if not other.is_idle]
            tab.spent_s = max(tab.spent_s, min(others, default=0.0))
        tab.waiting[key] = rank

    def leave(self, key: str, name: Hashable) -> None:
        """Have one tab wait no longer for an errand."""
        if name in self._tabs:
            self._tabs[name].waiting.pop(key, None)
            self._tidy()

    def take(self, admits: Callable[[str], bool]) -> tuple[str, tuple[Hashable, ...]] | None:
        """Return the next errand that ``admits`` lets pass, and who waited for it and has it at work now."""
        for key in self._ordered():
            if admits(key):
                names = tuple(name for name, tab in self._tabs.items() if key in tab.waiting)
                for name in names:
                    self._tabs[name].waiting.pop(key)
                    self._tabs[name].at_work += 1
                return key, names
        return None

    def _ordered(self) -> Iterator[str]:
        """Every waiting errand, the first of each tab before the second of any."""
        tabs = [tab for tab in self._tabs.values() if tab.waiting]
        for rank in sorted({rank for tab in tabs for rank in tab.waiting.values()}):
            own = [[key for key, other in tab.waiting.items() if other == rank] for tab in tabs]
            places = sorted(range(len(tabs)), key=lambda place: (tabs[place].at_work, tabs[place].spent_s, place))
            for turn in itertools.zip_longest(*(own[place] for place in places)):
                yield from (key for key in turn if key is not None)

    def done(self, names: tuple[Hashable, ...], seconds: float) -> None:
        """End an errand that `take` gave out; who waited for it shares its processor time."""
        for name in names:
            tab = self._tabs[name]
            tab.at_work -= 1
            tab.spent_s += seconds / len(names)
        self._tidy()

    def _tidy(self) -> None:
        """With nothing left to do, what tabs had matters no more."""
        if all(tab.is_idle for tab in self._tabs.values()):
            self._tabs.clear()
