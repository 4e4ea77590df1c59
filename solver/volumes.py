"""What volume says of a question under each engine: asked only where a search takes long, or comes to nothing.

Volume costs more than most searches. Where time is limited, it is asked of every engine as soon as a share of the time
is spent; without a limit, of a search that was stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from shardproof.formulations.deployment.volume import least_gpus
from shardproof.instances.clock import checked_by, now
from shardproof.instances.engine import EngineName
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.solver.analysis.limiting import stopper
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.query import Interrupted

SEARCHED_SHARE, SEARCHED_AT_MOST_S = 0.25, 15.0
"""Share of a time limit, and seconds at most, that is searched before volume is asked."""


@dataclass
class Volumes:
    """Fewest GPUs that every fleet has by volume, of a question under each engine; each is asked once.

    ``asked``: the question under an engine (raises `InputError`: it cannot be asked). ``ask_at`` and ``give_up_at``:
    times of `instances.clock`.
    """

    engines: tuple[EngineName, ...]
    asked: Callable[[EngineName], Instance]
    ask_at: float = math.inf
    give_up_at: float = math.inf
    _known: dict[EngineName, int] = field(default_factory=dict)

    @classmethod
    def within(
        cls,
        time_limit_s: float | None,
        started: float,
        *,
        engines: Iterable[EngineName],
        asked: Callable[[EngineName], Instance],
    ) -> Volumes:
        """Return the volumes of a question whose search began at a time and has a limit."""
        if time_limit_s is None:
            return cls(tuple(engines), asked)
        searched = min(SEARCHED_SHARE * time_limit_s, SEARCHED_AT_MOST_S)
        return cls(tuple(engines), asked, started + searched, started + time_limit_s)

    def least(self, engine: EngineName) -> int:
        """Return a number of GPUs that every fleet has at least; 1 where volume says nothing."""
        if engine not in self._known:
            self._known[engine] = 1
            with suppress(InputError, Interrupted), checked_by(stopper(self.give_up_at)):
                self._known[engine] = least_gpus(deployment_of(self.asked(engine)), self.give_up_at)
        return self._known[engine]

    def when_due(self, engine: EngineName) -> int:
        """Return the same once so much time is spent that all engines were asked; 1 before."""
        if now() < self.ask_at:
            return 1
        for each in self.engines:
            self.least(each)
        return self._known[engine]
