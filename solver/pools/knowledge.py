"""What is known of the kinds of replicas, and who learns more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shardproof.formulations.fleet.covering import Item
from shardproof.formulations.pools.problem import Kind, Load, PoolsProblem


class Knowledge(Protocol):
    """Kinds that nothing known excludes; a kind is *open* until it is known that a replica carries its load.

    ``demand``: what the fleet is asked to carry.
    """

    demand: Load

    def problem(self, *, confirmed: bool = False) -> PoolsProblem:
        """Return the problem with every kind that nothing excludes, or with those known to be carried alone."""

    def is_open(self, kind: Kind) -> bool:
        """Whether it is not known yet that a replica carries this."""

    def learn(self, kind: Kind, share: float) -> None:
        """Find out: the kind is confirmed, or no longer one of the problem's.

        ``share``: below so much of its load it is of no use.
        """


@dataclass
class Table:
    """Capacities given as data: nothing is left to learn."""

    given: PoolsProblem

    def __post_init__(self) -> None:
        """Ask for the demand of the problem."""
        self.demand = self.given.demand

    def problem(self, *, confirmed: bool = False) -> PoolsProblem:
        """Return the problem at the demand."""
        del confirmed
        return replace(self.given, demand=self.demand)

    def is_open(self, kind: Kind) -> bool:
        """Nothing is open."""
        del kind
        return False

    def learn(self, kind: Kind, share: float) -> None:
        """Nothing is to be learnt."""
        raise NotImplementedError


class PoolView(Protocol):
    """What is known of one pool's replicas, in one rounding: widths with loads of the pool's own scenarios."""

    def left(self, own: Load) -> Sequence[Item]:
        """Replicas that nothing known excludes, of loads up to ``own``."""

    def confirmed(self, own: Load) -> Sequence[Item]:
        """Replicas that are known to carry their loads, of which no more than ``own`` counts."""

    def is_open(self, item: Item) -> bool:
        """Whether it is not known yet that a replica carries this."""

    def learn(self, item: Item, share: float, own: Load) -> None:
        """Find out whether a replica carries this part of ``own``; below ``share`` of its load it is of no use."""


class KnownPool(Protocol):
    """A pool: its offer, for each of its scenarios the demands that it counts for, in which units, and its views."""

    offer: int
    counts: tuple[tuple[int, ...], ...]
    units: tuple[int, ...]

    def view(self, *, floor: bool) -> PoolView:
        """Return what is known on floor tables (bounds), or on ceiling tables (what was found to hold)."""


def own_of(pool: KnownPool, load: Load) -> Load:
    """Return what a load of all demands is in a pool's own scenarios: the first of its demands stands for each."""
    units = pool.units or (1,) * len(pool.counts)
    return tuple(-(-load[places[0]] // unit) for places, unit in zip(pool.counts, units, strict=True))


@dataclass
class Searched:
    """What is known of all pools, in one rounding; `Knowledge`."""

    base: PoolsProblem
    pools: Sequence[KnownPool]
    floor: bool
    demand: Load = ()
    asked: int = 0

    def __post_init__(self) -> None:
        """Ask for the demand of the problem."""
        self.demand = self.demand or self.base.demand
        self._views = [pool.view(floor=self.floor) for pool in self.pools]

    def problem(self, *, confirmed: bool = False) -> PoolsProblem:
        """Return the problem with the kinds that are left, or those that are confirmed."""
        kinds: list[Kind] = []
        for place, (pool, view) in enumerate(zip(self.pools, self._views, strict=True)):
            own = own_of(pool, self.demand)
            items = view.confirmed(own) if confirmed else view.left(own)
            kinds += (self.kind_of(place, item) for item in items)
        return replace(self.base, demand=self.demand, kinds=tuple(kinds))

    def kind_of(self, place: int, item: Item) -> Kind:
        """Return a pool's width and load as a kind of the problem."""
        load, pool = [0] * len(self.demand), self.pools[place]
        units = pool.units or (1,) * len(pool.counts)
        for places, requests, unit in zip(pool.counts, item.load, units, strict=True):
            for at in places:
                load[at] = requests * unit
        return Kind(self.pools[place].offer, place, item.gpus, (tuple(load),))

    def item_of(self, kind: Kind) -> Item:
        """Return a kind in its pool's own scenarios."""
        return Item(kind.gpus, own_of(self.pools[kind.pool], kind.loads[0]))

    def is_open(self, kind: Kind) -> bool:
        """Whether it is not known yet that a replica carries this."""
        return self._views[kind.pool].is_open(self.item_of(kind))

    def learn(self, kind: Kind, share: float) -> None:
        """Find out: the kind is confirmed, or no longer one of the problem's."""
        self.asked += 1
        self._views[kind.pool].learn(self.item_of(kind), share, own_of(self.pools[kind.pool], self.demand))
