"""Questions about several devices or models: what is offered at which price, what is asked, and what may be gone.

A file is such a question when it says any of `pool_fields.POOL_FIELDS`. All other fields mean what they mean in an
`InstanceFile` and hold for every pool, a pair of an offer and a model that it serves.
"""

from __future__ import annotations

import hashlib
import json
import re
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from shardproof.instances.base import Record
from shardproof.instances.hardware import Device
from shardproof.instances.instance import Hardware, Instance
from shardproof.instances.model import Model
from shardproof.instances.plan import Pool as Phase
from shardproof.instances.serving import Serving
from shardproof.instances.units import Price, Rate
from shardproof.instances.workload import Burst, OpenLoop

Objective = Literal["gpus", "price", "power", "load"]
PriceKind = Literal["on-demand", "reserved", "spot", "list", "total-cost"]
DEFAULT_RESOLUTION = 100

_OFFER = re.compile(r"([^=@:]+)(?::(prefill|decode))?(?:=(?:(\d{1,6})x(\d{1,6})|(\d{1,6})))?(?:@(.+))?")
_SPARE = re.compile(r"(?:(\d{1,3})\s+)?(node|replica|gpu)s?")
MOST_GONE = 8
"""Nodes or replicas that may be gone at once, at most: every choice of so many is looked at."""


class Available(Record):
    """What there is of a device: whole nodes, or GPUs (full nodes, and the rest of them in one more)."""

    nodes: int | None = Field(default=None, ge=1, le=16384)
    gpus: int | None = Field(default=None, ge=1, le=16384)

    @model_validator(mode="after")
    def _one_of_them(self) -> Available:
        if (self.nodes is None) == (self.gpus is None):
            raise ValueError("give either nodes or gpus")
        return self


class Offer(Record):
    """Devices that may be used: a catalogue name or pattern, how many there are, their price, whom they serve.

    ``price_per_hour`` and ``watts`` (of one device) override the catalogue's; ``price_kind`` says what the price is.
    ``sold``: whether GPUs of replicas are paid, or all of every node in use. ``serves``: names of models or scenarios
    (empty: all); ``phases``: which of prefill and decode, where they may be apart (empty: both).
    ``devices_per_node`` overrides the catalogue's.
    """

    device: str | Device
    name: str | None = None
    available: Available | None = None
    price_per_hour: Price | None = Field(default=None, ge=0)
    price_kind: PriceKind | None = None
    watts: int | None = Field(default=None, gt=0, le=100_000)
    sold: Literal["gpus", "nodes"] = "gpus"
    serves: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    devices_per_node: int | None = Field(default=None, ge=1, le=16384)
    hardware: Hardware = Hardware()


class AskedModel(Record):
    """A model with a workload of its own; what is left out is the file's."""

    name: str | None = None
    model: str | Model
    precision: dict[str, Any] | None = None
    engine: Any = None
    workload: dict[str, Any] | None = None
    scenarios: tuple[dict[str, Any], ...] | None = None
    limits: dict[str, Any] | None = None
    load_profile: str | None = None
    speculative: Any = None
    max_stage_gpus: int | None = None
    runtime_reserve: str | None = None


class Spare(Record):
    """What may be gone while the rest keeps every limit: any so many nodes, or GPUs with their replicas."""

    nodes: int | None = Field(default=None, ge=1, le=MOST_GONE)
    gpus: int | None = Field(default=None, ge=1, le=MOST_GONE)
    per: Literal["replica"] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Spare:
        if (self.nodes is None) == (self.gpus is None):
            raise ValueError("give either {nodes: 1} or {gpus: 1, per: replica}")
        return self


class Capacity(Record):
    """Measured: a replica of ``gpus`` devices serves so many requests of each class a second, when it serves no other.

    A replica shares its time over classes: of two of them, half the time each, it serves half of each rate.
    """

    device: str
    gpus: int = Field(default=1, ge=1, le=16384)
    rates: dict[str, Rate]

    @field_validator("rates")
    @classmethod
    def _not_negative(cls, rates: dict[str, Fraction]) -> dict[str, Fraction]:
        for name, rate in rates.items():
            if rate < 0:
                raise ValueError(f"{name} is negative; write zero or more")
        return rates


class PoolsLimits(Record):
    """Limits of all pools together."""

    max_gpus: int | None = Field(default=None, ge=1, le=16384)
    price_per_hour: Price | None = Field(default=None, gt=0)


class PoolsFile(Record):
    """What only a file about pools says. ``requests``: rate of each class, where capacities are given as data."""

    name: str = "instance"
    description: str = ""
    devices: tuple[Offer, ...]
    models: tuple[AskedModel, ...] = ()
    objective: Objective = "gpus"
    spare: Spare | None = None
    placement: Literal["packed", "whole-nodes"] = "packed"
    capacities: tuple[Capacity, ...] = ()
    requests: dict[str, Rate] = Field(default_factory=dict)
    resolution: int = Field(default=DEFAULT_RESOLUTION, ge=1, le=10_000)
    limits: PoolsLimits = PoolsLimits()
    assumptions: tuple[str, ...] = ()

    @field_validator("devices", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Accept ``h100-sxm=3x8,l40s:decode=20@0.90 USD/h``: a phase, nodes x GPUs, or GPUs, and a price."""
        if isinstance(value, str):
            return [_offer(part) for part in value.split(",")]
        return [_offer(part) if isinstance(part, str) else part for part in value] if isinstance(value, list) else value

    @field_validator("spare", mode="before")
    @classmethod
    def _spare_as_text(cls, value: object) -> object:
        """Accept ``node``, ``replica``, ``2 nodes`` and ``2 replicas``."""
        if not isinstance(value, str):
            return value
        match = _SPARE.fullmatch(value.strip())
        if match is None:
            raise ValueError("is nothing that can be spared; write node, replica, or for example 2 nodes")
        return {"nodes" if match[2] == "node" else "gpus": int(match[1] or 1)}

    @model_validator(mode="after")
    def _asks_something(self) -> PoolsFile:
        if not self.devices:
            raise ValueError("devices holds no offer; list at least one")
        if bool(self.capacities) != bool(self.requests):
            raise ValueError("capacities and requests go together: rates measured, and rates asked for")
        if self.capacities and self.models:
            raise ValueError("with capacities given as data there are no models; leave one of them out")
        for name, rate in self.requests.items():
            if not 0 < rate <= 10**6:
                raise ValueError(f"requests.{name} must be above 0 and at most 1000000/s")
        for row in self.capacities:
            unknown = sorted(set(row.rates) - set(self.requests))
            if unknown:
                raise ValueError(f"capacities of {row.device}: {unknown[0]} is no class of requests")
        return self


def _offer(text: str) -> dict[str, Any]:
    match = _OFFER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no offer; write for example h100-sxm=3x8, l40s:decode=8 or 'l4=20@0.80 USD/h'")
    name, phase, nodes, size, gpus, price = match.groups()
    found: dict[str, Any] = {"device": name.strip()} | ({"phases": [phase]} if phase else {})
    if nodes:
        found |= {"available": {"nodes": int(nodes)}, "devices_per_node": int(size)}
    elif gpus:
        found["available"] = {"gpus": int(gpus)}
    return found | ({"price_per_hour": price.strip()} if price else {})


class Stock(Record):
    """A resolved offer: ``node`` GPUs in a node, ``nodes`` as (GPUs, how many) or without end, price and power of one.

    Prices in micro-dollars an hour, power in milliwatts; ``None``: not known.
    """

    name: str
    device: str
    node: int
    nodes: tuple[tuple[int, int], ...] | None = None
    price: int | None = None
    price_kind: str | None = None
    power: int | None = None
    by_node: bool = False

    @property
    def gpus(self) -> int | None:
        """GPUs there are."""
        return None if self.nodes is None else sum(gpus * count for gpus, count in self.nodes)


class Pool(Record):
    """One offer serving one model: the places of its scenarios among the demands, and the question of one replica.

    ``phase``: the one that it serves alone (``None``: both). ``also``: for each of ``places`` further demands that its
    requests count for as well, since prefill and decode are demands of their own where they may be apart. ``units``:
    of these demands that one request of each scenario counts for (empty: one), where phases count in their own.
    """

    name: str
    offer: int
    model: str
    places: tuple[int, ...]
    instance: Instance
    phase: Phase | None = None
    also: tuple[tuple[int, ...], ...] = ()
    units: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """For each of its scenarios all demands that a request counts for."""
        others = self.also or ((),) * len(self.places)
        return tuple((place, *more) for place, more in zip(self.places, others, strict=True))

    @property
    def is_open(self) -> bool:
        """Whether its requests come by themselves."""
        return any(isinstance(scenario.workload, OpenLoop) for scenario in self.instance.scenarios)

    @property
    def keeps_coming(self) -> bool:
        """Whether requests of any scenario keep coming: by themselves, or in a closed loop."""
        return any(not isinstance(scenario.workload, Burst) for scenario in self.instance.scenarios)


class PoolsQuestion(Record):
    """A resolved question about pools: the demands by name, and either pools or a table of measured rates.

    ``demand``: requests of each scenario, or the rate of each class (or open scenario) a second; ``rates``: by offer,
    width and class. ``serving``: whether prefill and decode may be apart; they are demands of their own then, and
    ``titles`` are the scenarios that they are of.
    """

    name: str
    objective: Objective
    resolution: int
    placement: Literal["packed", "whole-nodes"]
    spare: Literal["replica", "node"] | None
    gone: int = 1
    offers: tuple[Stock, ...]
    names: tuple[str, ...]
    demand: tuple[Fraction, ...]
    pools: tuple[Pool, ...] = ()
    rates: tuple[tuple[int, int, tuple[Fraction, ...]], ...] = ()
    serving: Serving = "together"
    titles: tuple[str, ...] = ()
    max_gpus: int
    max_price: int | None = None
    assumptions: tuple[str, ...] = ()

    def title(self, place: int) -> str:
        """Return the name by which people know a demand: its scenario's."""
        return self.titles[place] if self.titles else self.names[place]

    @property
    def rated(self) -> tuple[bool, ...]:
        """Whether each demand is a rate of requests that come by themselves."""
        found = {place for pool in self.pools if pool.is_open for places in pool.counts for place in places}
        return tuple(place in found for place in range(len(self.names)))

    @property
    def is_paced(self) -> bool:
        """Whether prefill and decode may be apart under requests that keep coming: loads depend on times per token."""
        return self.serving != "together" and any(pool.keeps_coming for pool in self.pools)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines the answer."""
        tree = self.model_dump(mode="json", exclude={"name": True, "assumptions": True, "pools": True})
        tree["pools"] = [[pool.offer, list(pool.places), pool.instance.fingerprint] for pool in self.pools]
        if self.serving == "together":
            tree.pop("serving"), tree.pop("titles")
        else:
            tree["phases"] = [[pool.phase, pool.also] for pool in self.pools]
        return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
