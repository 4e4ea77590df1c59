"""What is known of the kinds of replicas, and who learns more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

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
