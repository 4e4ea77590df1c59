"""A fleet: groups of replicas that are alike, each replica with its own share of the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Layout, Program
from shardproof.formulations.fleet.covering import Load


@dataclass(frozen=True)
class Group:
    """``replicas`` copies of one chain, each with at most ``load`` requests; ``program`` is that of one replica."""

    replicas: int
    load: Load
    program: Program
    chain: Chain

    @property
    def gpus(self) -> int:
        """GPUs of all replicas of the group."""
        return self.replicas * self.chain.gpus(self.program)

    @property
    def layout(self) -> Layout:
        """Layout of the chain."""
        return self.program.layouts[self.chain.layout]


@dataclass(frozen=True)
class Fleet:
    """Groups that together carry the whole demand."""

    groups: tuple[Group, ...]

    @property
    def gpus(self) -> int:
        """GPUs of all groups."""
        return sum(group.gpus for group in self.groups)


class Family(Protocol):
    """What the search of a fleet needs: programs of single replicas for any load, and of replicas all alike."""

    @property
    def demand(self) -> Load:
        """Requests of each scenario that the fleet carries."""

    @property
    def program(self) -> Program:
        """The program of replicas that are all alike."""

    def replica_program(self, load: Load, widest: int) -> Program:
        """Return the program of one replica with its load, for widths up to ``widest`` (and its neighbours)."""
