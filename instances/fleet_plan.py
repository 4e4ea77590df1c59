"""The plan of a fleet over several devices and models: groups of replicas, and where each of them stands."""

from __future__ import annotations

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.plan import MOST, Plan, Pool


class Taken(Record):
    """What one replica of a group takes at most: requests of a scenario, or the rate of a class (per second)."""

    name: str
    requests: int | None = Field(default=None, ge=0)
    rate_per_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class Seat(Record):
    """A replica, or its part, in a node: the place of its group, and which of the node's GPUs it has."""

    group: int = Field(ge=0)
    replica: int = Field(ge=0)
    gpus: tuple[int, ...]


class NodeSeats(Record):
    """A node of an offer with the replicas in it; nodes of an offer are counted from 0."""

    offer: str
    node: int = Field(ge=0)
    gpus: int = Field(gt=0, le=MOST)
    seats: tuple[Seat, ...]


class FleetGroup(Record):
    """Replicas that are alike: offer, device, model (with its pool), GPUs and load of each; ``plan`` runs the group.

    ``phase``: the one that they serve alone (``None``: both); ``shown``: what the group showed in service, where its
    requests come by themselves.
    """

    offer: str
    device: str
    model: str | None = None
    pool: str | None = None
    phase: Pool | None = None
    replicas: int = Field(gt=0, le=MOST)
    gpus_each: int = Field(gt=0, le=MOST)
    takes: tuple[Taken, ...]
    plan: Plan | None = None
    shown: tuple[str, ...] = ()

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.gpus_each


class Case(Record):
    """What is left when something is gone: replicas of each group, and the share of each demand that they carry."""

    gone: str
    replicas: tuple[int, ...]
    carried: dict[str, float]


class FleetPlan(Record):
    """Groups of replicas, their nodes, and what holds when something is gone."""

    groups: tuple[FleetGroup, ...]
    nodes: tuple[NodeSeats, ...]
    spared: tuple[Case, ...] = ()
    instance_fingerprint: str

    @property
    def gpus(self) -> int:
        """GPUs of all groups."""
        return sum(group.gpus for group in self.groups)
