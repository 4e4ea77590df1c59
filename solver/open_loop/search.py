"""Shapes of replicas, the most promising first: each is bounded, then played with as few replicas as may do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from math import ceil

from shardproof.instances.clock import now
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import OpenLoop
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.judge import Judged, accepted, may_keep, within_margin
from shardproof.solver.open_loop.least import OptionCosts, ShapeBound
from shardproof.solver.open_loop.mixed import mixed_bound
from shardproof.solver.open_loop.shapes import Shape, fewest, shapes_of
from shardproof.solver.search.settings import report
from shardproof.solver.simulation.simulate import Service, SimulationSettings


@dataclass(order=True)
class _Entry:
    """A shape in the queue: GPUs that it needs at least; ``bound``: its own, once that was computed."""

    gpus: int
    bounded: bool
    width: int
    place: int
    shape: Shape = field(compare=False)
    bound: ShapeBound | None = field(compare=False, default=None)


@dataclass
class Found:
    """What the search found: the plan, played, and the GPUs that no plan undercuts; ``whole``: nothing was cut off."""

    best: Judged | None
    bound: int
    whole: bool
    least: tuple[tuple[Shape, int], ...] = ()
    """Fewest replicas of every shape that was bounded."""


class OpenSearch:
    """The search of one question."""

    def __init__(self, instance: Instance, service: Service, *, floor: int, give_up: float | None) -> None:
        """Take the question; ``floor``: GPUs that its other scenarios need; ``give_up``: monotonic clock."""
        self.instance, self.service, self.floor, self.give_up = instance, service, floor, give_up
        self._started = now()
        names = [item for item in within_margin(instance).scenarios if isinstance(item.workload, OpenLoop)]
        self.scenarios = [OpenScenario(service, scenario) for scenario in names]
        self._costs: dict[object, OptionCosts] = {}
        self._deep: dict[object, ShapeBound] = {}
        self._skipped: set[Shape] = set()
        self._least: dict[object, float] = {}
        self.best: Judged | None = None
        self.promising: tuple[int, Shape, int] | None = None
        """The best that one run spoke for: GPUs, shape, replicas."""
        self._kept: dict[tuple[Shape, int], bool] = {}
        """Whether so many replicas of a shape may keep the limits, as far as they were played."""
        self.bounded: dict[Shape, tuple[ShapeBound, int]] = {}

    @property
    def most(self) -> int:
        """GPUs below which a plan would be better than the best known."""
        return self.instance.max_gpus if self.promising is None else self.promising[0] - 1

    def run(self) -> Found:
        """Look for the best by one run of each candidate, and play it in all; where it misses a limit look on."""
        while True:
            found = self._look()
            if self.promising is None or self._accept(*self.promising[1:]):
                return replace(found, best=self.best)
            self._kept[self.promising[1:]] = False
            if self._is_late:
                return replace(found, best=None, whole=False)
            self.promising = self._next_best(*self.promising[1:])

    @property
    def _is_late(self) -> bool:
        """Whether the time is over."""
        return self.give_up is not None and now() > self.give_up

    @cached_property
    def _shapes(self) -> tuple[Shape, ...]:
        return tuple(shapes_of(self.service.deployment))

    def _next_best(self, shape: Shape, replicas: int) -> tuple[int, Shape, int] | None:
        """Return the best candidate that one run spoke for; of the one that missed a limit a replica more is tried."""
        if (replicas + 1) * shape.gpus <= self.instance.max_gpus:
            self._keeps(shape, replicas + 1)
        kept = [(shape.gpus * count, place) for place, ((shape, count), good) in enumerate(self._kept.items()) if good]
        return (min(kept)[0], *list(self._kept)[min(kept)[1]]) if kept else None

    def _look(self) -> Found:
        """Look at shapes until none that is left may do with fewer GPUs than the most promising plan."""
        queue = self._queue()
        lowest = self.instance.max_gpus + 1
        whole = True
        while queue and queue[0].gpus <= self.most:
            if self._is_late:
                whole = False
                break
            entry = heappop(queue)
            known = None if self.promising is None else self.promising[0]
            report(known, min(entry.gpus, lowest), started=self._started)
            if entry.bound is None:
                self._bound(entry, queue)
                continue
            lowest = min(lowest, entry.gpus)
            self._play(entry)
        if queue:
            lowest = min(lowest, queue[0].gpus)
        return self._found(lowest, whole)

    def _queue(self) -> list[_Entry]:
        queue: list[_Entry] = []
        for place, shape in enumerate(self._shapes):
            heappush(queue, _Entry(max(self.floor, shape.gpus), False, shape.gpus, place, shape))
        return queue

    def bound(self) -> int:
        """GPUs that no fleet undercuts, one more than the budget at most; nothing is played."""
        queue, lowest = self._queue(), self.instance.max_gpus + 1
        while queue and queue[0].gpus < lowest:
            entry = heappop(queue)
            if entry.bounded:
                lowest = entry.gpus
            else:
                self._bound(entry, queue)
        return self._found(lowest, whole=True).bound

    def _found(self, lowest: int, whole: bool) -> Found:
        bound = min(lowest, self.most + 1)
        if self.instance.replicas == "free" and bound > 1:
            known = [found for found, _ in self.bounded.values()]
            skipped = [(shape.gpus, self._least[shape.option] / shape.gpus) for shape in self._skipped]
            deep = [self._deep[option] for option in dict.fromkeys(shape.option for shape in self._skipped)]
            mixed = mixed_bound(known, self.scenarios, bound, skipped=skipped, deep=deep)
            bound = max(self.floor, min(bound, mixed))
        least = tuple((shape, count) for shape, (_, count) in self.bounded.items())
        return Found(None, bound, whole, least)

    def _bound(self, entry: _Entry, queue: list[_Entry]) -> None:
        """Bound a shape and put it back, unless more GPUs are needed than would help."""
        shape = entry.shape
        if shape.option not in self._costs:
            self._costs[shape.option] = OptionCosts(self.service, shape.option)
        costs = self._costs[shape.option]
        if shape.stages > 1:
            least = -(-ceil(self._deepest(costs)) // shape.gpus) * shape.gpus
            self._skipped.add(shape)
            if least > entry.gpus:
                heappush(queue, _Entry(least, False, entry.width, entry.place, shape))
                return
        self._skipped.discard(shape)
        bound = self.bounded[shape][0] if shape in self.bounded else ShapeBound(costs, shape, self.scenarios)
        most = self.most // shape.gpus
        replicas = bound.replicas(most)
        self.bounded[shape] = (bound, replicas)
        if replicas <= most:
            gpus = max(entry.gpus, replicas * shape.gpus)
            heappush(queue, _Entry(gpus, True, shape.gpus, entry.place, shape, bound))
        elif self.promising is not None:
            self._note(entry, queue, replicas * shape.gpus)

    def _note(self, entry: _Entry, queue: list[_Entry], gpus: int) -> None:
        """Keep a shape that needs no fewer GPUs than the best plan: the bound counts it."""
        heappush(queue, _Entry(gpus, True, entry.width, entry.place, entry.shape, entry.bound))

    def _deepest(self, costs: OptionCosts) -> float:
        """GPUs that pipelines of an option need, however deep: the rate alone, in the largest cache."""
        if costs.option not in self._deep:
            stages = max(1, self.instance.max_gpus // costs.option.gpus)
            self._deep[costs.option] = ShapeBound(costs, Shape(costs.option, stages), self.scenarios)
            deep = self._deep[costs.option]
            rates = [deep.needed(open_, self.instance.max_gpus + 1) for open_ in self.scenarios]
            self._least[costs.option] = max(rates) * costs.option.gpus * stages
        return self._least[costs.option]

    def _play(self, entry: _Entry) -> None:
        """Look for the fewest replicas of a shape that may keep every limit in service."""
        shape = entry.shape
        low = -(-entry.gpus // shape.gpus)
        high = self.most // shape.gpus
        if low > high or not self._starts(shape):
            return
        if self.promising is not None and not self._keeps(shape, high):
            return
        found = fewest(low, high, lambda replicas: self._keeps(shape, replicas))
        if found is not None:
            self.promising = found * shape.gpus, shape, found

    def _plan(self, shape: Shape, replicas: int) -> Plan:
        return shape.plan(self.service.deployment, replicas)

    def _starts(self, shape: Shape) -> bool:
        """Whether the engine starts a replica."""
        return EnginePlan(self.service.deployment.instance, self._plan(shape, 1).parts[0]).binding.refusal is None

    def _keeps(self, shape: Shape, replicas: int) -> bool:
        """Whether one run of each scenario keeps the limits, and the plan those of the other scenarios."""
        if (shape, replicas) not in self._kept:
            plan = self._plan(shape, replicas)
            self._kept[shape, replicas] = may_keep(self.instance, plan, self.service) and self._fits(plan)
        return self._kept[shape, replicas]

    def _accept(self, shape: Shape, replicas: int) -> bool:
        """Play all runs; keep the plan if it keeps the limits."""
        self.best = accepted(self.instance, self._plan(shape, replicas), self.service)
        return self.best is not None

    def _fits(self, plan: Plan) -> bool:
        deployment = self.service.deployment
        return not evaluate(deployment.instance, plan, deployment=deployment).violations


def fewest_gpus(instance: Instance, most: int) -> int:
    """GPUs that no fleet undercuts, as far as ``most`` and one more; nothing is played."""
    service = Service(instance, SimulationSettings(seeds=SEEDS))
    narrow = instance.model_copy(update={"max_gpus": min(most, instance.max_gpus)})
    return OpenSearch(narrow, service, floor=1, give_up=None).bound()
