"""Pools of requests that come by themselves: what each shape of replica sustains, bounded first, then played."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.fleet.covering import Item, reaches
from shardproof.formulations.pools.problem import Load
from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop
from shardproof.solver.open_loop.replica_rates import MOST, ReplicaRates, together
from shardproof.solver.open_loop.shapes import Shape, fewest
from shardproof.solver.pools.pooled import Clock

PLAYED = 1.01
"""Ratio of a rate that a replica did not keep in service to one that it kept, at which no more is asked."""
USEFUL = 0.9
"""Part of a rate up to which it is asked first whether a replica is of use at all."""
SLIGHTLY = 100
"""A rate that did not hold in the whole fleet is lowered by this part of it, at most."""


def _least(one: Load, two: Load) -> Load:
    return tuple(map(min, one, two))


@dataclass
class OpenPool:
    """One pool whose requests come by themselves; loads are rates in millionths of a request a second."""

    offer: int
    counts: tuple[tuple[int, ...], ...]
    instance: Instance
    clock: Clock
    seed: int = 0
    claimed_by: str | None = None
    units: tuple[int, ...] = ()
    bounded: dict[Shape, Load] = field(default_factory=dict)
    """Rates that no replica of a shape passes."""
    kept: dict[Shape, Load] = field(default_factory=dict)
    """Rates that one run says a replica of a shape keeps, one scenario at a time."""
    missed: dict[Shape, Load] = field(default_factory=dict)
    """Rates that one does not keep: in one run, in all of them, or by its bound."""
    _options: dict[object, tuple[Shape, Load]] = field(default_factory=dict)

    @cached_property
    def rates(self) -> ReplicaRates:
        """What replicas sustain."""
        return ReplicaRates(self.instance, self.seed)

    @property
    def deployment(self) -> Deployment:
        """The deployment problem that the engine is set up for."""
        return self.rates.service.deployment

    def view(self, *, floor: bool) -> BoundedRates:
        """Return what is known: bounds, or what was played."""
        return BoundedRates(self) if floor else PlayedRates(self)

    def most(self, own: Load) -> Load:
        """Rates that a replica takes at most: those asked for; of a trace no more than there is of it."""
        found = []
        for rate, scenario in zip(own, self.instance.scenarios, strict=True):
            load = scenario.workload
            assert isinstance(load, OpenLoop)
            found.append(rate if load.trace is None else min(rate, int(load.rate * 10**6)))
        return tuple(found)

    def bound(self, shape: Shape) -> Load:
        """Rates that nothing known says a replica does not sustain."""
        if shape in self.bounded:
            return self.bounded[shape]
        if shape.option not in self._options:
            return (MOST,) * len(self.counts)
        deep, rates = self._options[shape.option]
        return tuple(-(-rate * shape.stages // deep.stages) for rate in rates)

    def learn_bound(self, shape: Shape) -> None:
        """Bound a shape: all pipelines of its option first."""
        self.clock.check()
        if shape.option not in self._options:
            deepest = max(one.stages for one in self.rates.shapes if one.option == shape.option)
            deep = Shape(shape.option, deepest)
            self._options[shape.option] = deep, self.rates.bounds(deep)
        else:
            self.bounded[shape] = self.rates.bounds(shape)

    def learn_rate(self, shape: Shape, own: Load, share: float, whole: Load) -> None:
        """Play fleets of a shape until it is known what a replica keeps of ``own``, or that it is less than a share.

        ``whole``: the rates of all replicas together.
        """
        if shape not in self.bounded:
            self.learn_bound(shape)
            return
        if shape not in self.missed:
            able = self.rates.starts(shape)
            self.kept[shape] = (0,) * len(own)
            self.missed[shape] = tuple(able * rate + 1 for rate in self.bounded[shape])
        for place, rate in enumerate(own):
            if rate and not self._learn_one(shape, place, share, (rate, whole[place])):
                break

    def _learn_one(self, shape: Shape, place: int, share: float, rates: tuple[int, int]) -> bool:
        """Find what a replica keeps of one scenario, at most what is asked; whether it is of use.

        First the fewest replicas that keep the whole rate, as where there is one shape alone; then, replicas being as
        many as take about the whole rate, the most that each keeps.
        """
        asked, whole = rates
        useful = int(asked * share) + 1 if share < USEFUL else 0
        most = max(1, min(self.instance.max_gpus // shape.gpus, whole // max(1, useful)))
        if useful and not self._keeps(shape, place, most, most * useful):
            return False
        least = -(-whole // max(1, self.missed[shape][place] - 1))
        fewest(least, most, lambda replicas: self._keeps(shape, place, replicas, whole))
        while not self._settled(shape, place, asked):
            low, high = self.kept[shape][place], self.missed[shape][place]
            tried = (low + high) // 2
            replicas = max(1, whole // tried)
            self._keeps(shape, place, replicas, replicas * tried)
        return True

    def _settled(self, shape: Shape, place: int, asked: int) -> bool:
        low, high = self.kept[shape][place], self.missed[shape][place]
        return low >= asked or settled(low, high)

    def _keeps(self, shape: Shape, place: int, replicas: int, total: int) -> bool:
        """Whether one run speaks for so many replicas at a rate of all; what each has of it is noted."""
        self.clock.check()
        rate = -(-total // replicas)
        if rate <= self.kept[shape][place]:
            return True
        kept = rate < self.missed[shape][place]
        if kept and self.rates.may_keep(shape, _with((0,) * len(self.counts), place, total), replicas):
            self.kept[shape] = _with(self.kept[shape], place, rate)
            return True
        return self._missed(shape, place, rate)

    def _missed(self, shape: Shape, place: int, rate: int) -> bool:
        """Note a rate that one does not keep."""
        missed = max(min(self.missed[shape][place], rate), self.kept[shape][place] + 1)
        self.missed[shape] = _with(self.missed[shape], place, missed)
        return False

    def refuse(self, shape: Shape, replicas: int, own: Load, whole: Load) -> None:
        """Lower what a shape is said to keep where so many replicas did not keep their own rates in every run."""
        total, none = together(replicas, own, whole), (0,) * len(own)
        used = [place for place, rate in enumerate(own) if rate]
        alone = {place: _with(none, place, total[place]) for place in used}
        for place in [p for p in used if not self.rates.keeps(shape, alone[p], replicas)] or used:
            self.lower(shape, place, own[place], whole[place])

    def lower(self, shape: Shape, place: int, rate: int, whole: int) -> None:
        """Take a little off what a shape is said to keep: replicas did not keep this rate each, however often played.

        No further than to the next number of replicas that share the whole rate.
        """
        replicas = whole // rate + 1
        fuller = -(-whole // replicas)
        next_less = fuller if fuller < rate else -(-whole // (replicas + 1))
        most = min(rate - 1, max(rate - rate // SLIGHTLY, next_less))
        self.kept[shape] = _with(self.kept[shape], place, min(self.kept[shape][place], most))
        self.missed[shape] = _with(self.missed[shape], place, self.kept[shape][place] + 1)


def settled(kept: int, missed: int) -> bool:
    """Whether two rates are so near that no more is asked."""
    return kept * PLAYED >= missed - 1


def _with(load: Load, place: int, rate: int) -> Load:
    return (*load[:place], rate, *load[place + 1 :])


@dataclass
class BoundedRates:
    """What no replica passes; `shardproof.solver.pools.knowledge.PoolView`."""

    pool: OpenPool

    def left(self, own: Load) -> Sequence[Item]:
        """Replicas of every shape at their bounds, but for those that do no better than another."""
        own = self.pool.most(own)
        return pareto(Item(shape.gpus, _least(own, self.load(shape))) for shape in self.pool.rates.shapes)

    def confirmed(self, own: Load) -> Sequence[Item]:
        """Shapes of which something is known for good."""
        own = self.pool.most(own)
        return pareto(Item(shape.gpus, _least(own, load)) for shape, load in self.known.items())

    def is_open(self, item: Item) -> bool:
        """Whether no shape is known to have this."""
        return self.shape_of(item) is None

    def learn(self, item: Item, share: float, own: Load) -> None:
        """Ask about the shapes that seem to carry this."""
        for shape in self.pool.rates.shapes:
            if shape.gpus == item.gpus and reaches(self.load(shape), item.load):
                self._learn(shape, item.load, share, self.pool.most(own))

    def shape_of(self, item: Item) -> Shape | None:
        """Return the narrowest shape that is known to carry this."""
        fits = (s for s, load in self.known.items() if s.gpus <= item.gpus and reaches(load, item.load))
        return min(fits, key=lambda shape: (shape.gpus, shape.stages), default=None)

    @property
    def known(self) -> dict[Shape, Load]:
        """What is known of shapes for good."""
        return self.pool.bounded

    def load(self, shape: Shape) -> Load:
        """Rates that nothing known excludes."""
        return self.pool.bound(shape)

    def _learn(self, shape: Shape, own: Load, share: float, whole: Load) -> None:
        del own, share, whole
        if shape not in self.pool.bounded:
            self.pool.learn_bound(shape)


class PlayedRates(BoundedRates):
    """What replicas kept in service; those not played yet at what nothing excludes."""

    @property
    def known(self) -> dict[Shape, Load]:
        """What was kept."""
        return self.pool.kept

    def load(self, shape: Shape) -> Load:
        """Rates that were kept or, where a shape was not played to its end, that nothing excludes."""
        if shape not in self.pool.missed:
            return self.pool.bound(shape)
        pairs = zip(self.pool.kept[shape], self.pool.missed[shape], strict=True)
        return tuple(low if settled(low, high) else high - 1 for low, high in pairs)

    def _learn(self, shape: Shape, own: Load, share: float, whole: Load) -> None:
        self.pool.learn_rate(shape, own, share, whole)


def pareto(items: Iterable[Item]) -> list[Item]:
    """Return widths with loads that no other reaches with as many GPUs."""
    kept: list[Item] = []
    for item in sorted(set(items), key=lambda item: (item.gpus, tuple(-rate for rate in item.load))):
        if any(item.load) and not any(reaches(other.load, item.load) for other in kept):
            kept.append(item)
    return kept
