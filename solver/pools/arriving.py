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
from shardproof.solver.open_loop.replica_rates import MOST, ReplicaRates
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.pools.pooled import Clock

PLAYED = 1.01
"""Ratio of a rate that a replica did not keep in service to one that it kept, at which no more is asked."""
USEFUL = 0.9
"""Part of a rate up to which it is asked first whether a replica is of use at all."""
SLIGHTLY = 50
"""A rate that did not hold in the whole fleet is lowered by this part of it."""


def _least(one: Load, two: Load) -> Load:
    return tuple(map(min, one, two))


@dataclass
class OpenPool:
    """One pool whose requests come by themselves; loads are rates in millionths of a request a second."""

    offer: int
    counts: tuple[tuple[int, ...], ...]
    instance: Instance
    clock: Clock
    claimed_by: str | None = None
    bounded: dict[Shape, Load] = field(default_factory=dict)
    """Rates that no replica of a shape passes."""
    kept: dict[Shape, Load] = field(default_factory=dict)
    """Rates that a replica of a shape kept in service, one scenario at a time."""
    missed: dict[Shape, Load] = field(default_factory=dict)
    """Rates that one did not keep, in service or by its bound."""
    _options: dict[object, tuple[Shape, Load]] = field(default_factory=dict)

    @cached_property
    def rates(self) -> ReplicaRates:
        """What replicas sustain."""
        return ReplicaRates(self.instance)

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

    def learn_rate(self, shape: Shape, own: Load, share: float) -> None:
        """Play a shape until it is known what it keeps, or that it does not keep ``share`` of what is asked."""
        if shape not in self.bounded:
            self.learn_bound(shape)
            return
        if shape not in self.missed:
            able = self.rates.starts(shape)
            self.kept[shape] = (0,) * len(own)
            self.missed[shape] = tuple(able * rate + 1 for rate in self.bounded[shape])
        for place, rate in enumerate(own):
            if rate and not self._learn_one(shape, place, rate, share):
                break

    def _learn_one(self, shape: Shape, place: int, asked: int, share: float) -> bool:
        """Find what a replica keeps of one scenario, at most what is asked; whether it is of use."""
        useful = int(asked * share) + 1 if share < USEFUL else 0
        tried = min(useful or asked, self.missed[shape][place] - 1)
        while not self._settled(shape, place, asked):
            self.clock.check()
            if self._keeps(shape, place, tried):
                self.kept[shape] = _with(self.kept[shape], place, tried)
            else:
                self.missed[shape] = _with(self.missed[shape], place, tried)
                if tried <= useful:
                    return False
            low, high = self.kept[shape][place], self.missed[shape][place]
            tried = asked if high > asked + 1 else (low + high) // 2
        return True

    def _settled(self, shape: Shape, place: int, asked: int) -> bool:
        low, high = self.kept[shape][place], self.missed[shape][place]
        return low >= asked or settled(low, high)

    def _keeps(self, shape: Shape, place: int, rate: int) -> bool:
        return rate > 0 and self.rates.keeps(shape, _with((0,) * len(self.counts), place, rate))

    def lower(self, shape: Shape) -> None:
        """Take a little off what a shape is said to keep: a fleet of it did not."""
        self.kept[shape] = tuple(rate - -(-rate // SLIGHTLY) for rate in self.kept[shape])
        self.missed[shape] = tuple(rate + 1 for rate in self.kept[shape])


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

    def learn(self, item: Item, share: float) -> None:
        """Ask about the shapes that seem to carry this."""
        for shape in self.pool.rates.shapes:
            if shape.gpus == item.gpus and reaches(self.load(shape), item.load):
                self._learn(shape, item.load, share)

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

    def _learn(self, shape: Shape, own: Load, share: float) -> None:
        del own, share
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

    def _learn(self, shape: Shape, own: Load, share: float) -> None:
        self.pool.learn_rate(shape, own, share)


def pareto(items: Iterable[Item]) -> list[Item]:
    """Return widths with loads that no other reaches with as many GPUs."""
    kept: list[Item] = []
    for item in sorted(set(items), key=lambda item: (item.gpus, tuple(-rate for rate in item.load))):
        if any(item.load) and not any(reaches(other.load, item.load) for other in kept):
            kept.append(item)
    return kept
