"""Loads that searches found too much for single replicas, kept for the searches that come after.

What is refused depends on costs and limits alone, whatever the GPU budget. So what was refused under some limits is
refused under tighter ones (`Refusals.known`), and need not be searched again. What was refused under the same limits
and other costs, those of another engine, is a guess (`Refusals.guesses`): asked first, it often spares asking all else.

Nothing that is known this way has a tree. A search that owes a proof takes it for a guess, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from shardproof.formulations.fleet.covering import Refused, reaches
from shardproof.instances.engine import EngineSettings
from shardproof.instances.instance import Instance
from shardproof.instances.workload import Limits

KINDS_KEPT, COSTS_KEPT, REFUSED_KEPT = 8, 8, 512
"""Questions that differ in more than engine and limits, engines of each, and refused loads of each: the latest ones."""


@dataclass(frozen=True)
class Subject:
    """What a refused load depends on.

    ``costs``: a digest of the question without limits on latency and GPUs; ``kind``: of the same whatever the engine.
    ``limits``: TTFT and TPOT of each scenario, ns (``None``: any). ``widest``: GPUs of the widest stage.
    """

    costs: str
    kind: str
    limits: tuple[int | None, ...]
    widest: int

    @classmethod
    def of(cls, instance: Instance) -> Subject:
        """Return the subject of a question."""
        scenarios = instance.scenarios
        limits = tuple(limit for one in scenarios for limit in (one.limits.ttft, one.limits.tpot))
        free = tuple(one.model_copy(update={"limits": Limits()}) for one in scenarios)
        whole = instance.model_copy(update={"scenarios": free, "max_gpus": 1, "max_stage_gpus": 1})
        other = {"engine": "any", "engine_settings": EngineSettings(), "runtime_reserve": 0, "calibration": None}
        kind = whole.model_copy(update=other)
        return cls(whole.fingerprint, kind.fingerprint, limits, instance.max_stage_gpus)


@dataclass(frozen=True)
class Told:
    """A refused load, the limits that it was refused under, and the widest stage that was tried."""

    limits: tuple[int | None, ...]
    widest: int
    refused: Refused

    def holds(self, subject: Subject) -> bool:
        """Whether it is refused under a subject of the same costs, too: limits are no looser, stages no wider."""
        pairs = zip(self.limits, subject.limits, strict=True)
        tighter = all(loose is None or (tight is not None and tight <= loose) for loose, tight in pairs)
        return tighter and self.widest >= min(self.refused.gpus, subject.widest)


class Store(Protocol):
    """Where refused loads outlast a process."""

    def read(self, costs: str) -> Iterable[Told]:
        """Return what is known of some costs."""

    def write(self, costs: str, told: Iterable[Told]) -> None:
        """Keep what was found."""


class Refusals:
    """Refused loads of the latest questions, by their costs."""

    def __init__(self, store: Store | None = None) -> None:
        """``store``: read when costs are first asked about, and told all that is found."""
        self._store = store
        self._kinds: OrderedDict[str, OrderedDict[str, list[Told]]] = OrderedDict()

    def known(self, subject: Subject) -> list[Refused]:
        """Return the loads that are refused under a subject."""
        return _strongest(told.refused for told in self._of(subject) if told.holds(subject))

    def guesses(self, subject: Subject) -> list[Refused]:
        """Return the loads that the latest question of the same kind and limits, and of other costs, was refused."""
        others = self._kinds.get(subject.kind, OrderedDict[str, list[Told]]())
        for costs in reversed(others):
            found = [told.refused for told in others[costs] if told.limits == subject.limits]
            if costs != subject.costs and found:
                return _strongest(found)
        return []

    def note(self, subject: Subject, refused: Iterable[Refused]) -> None:
        """Keep what a search was refused."""
        own = self._of(subject)
        known = set(own)
        found = [Told(subject.limits, subject.widest, one) for one in refused]
        fresh = [told for told in found if told not in known]
        own += fresh
        del own[:-REFUSED_KEPT]
        if self._store is not None and fresh:
            self._store.write(subject.costs, fresh)

    def _of(self, subject: Subject) -> list[Told]:
        costs = self._kinds.setdefault(subject.kind, OrderedDict())
        self._kinds.move_to_end(subject.kind)
        if subject.costs not in costs:
            costs[subject.costs] = [] if self._store is None else list(self._store.read(subject.costs))
        costs.move_to_end(subject.costs)
        while len(costs) > COSTS_KEPT:
            costs.popitem(last=False)
        while len(self._kinds) > KINDS_KEPT:
            self._kinds.popitem(last=False)
        return costs[subject.costs]


def _strongest(refused: Iterable[Refused]) -> list[Refused]:
    """Leave out what another one implies; widest first."""
    kept: list[Refused] = []
    for one in sorted(set(refused), key=lambda one: (-one.gpus, one.load)):
        if not any(other.gpus >= one.gpus and reaches(one.load, other.load) for other in kept):
            kept.append(one)
    return kept
