"""Who serves what: prefill and decode on one replica or in pools apart, and the link between the pools."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.hardware import Device
from shardproof.instances.units import ByteRate, DemandDuration

Serving = Literal["together", "apart", "any"]


class Transfer(Record):
    """The link on which a prefill replica sends KV caches to the decode pool; what is left out is the device's own.

    ``bandwidth``: bytes/s that one replica's link reaches (default: what large messages reach of one device's
    scale-out link); ``setup``: ns before each request's cache flows (default: that link's latency).
    """

    bandwidth: ByteRate | None = Field(default=None, gt=0)
    setup: DemandDuration | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Passage:
    """What KV caches flow on: bytes/s reached, and ns before each request's cache flows."""

    bandwidth: Fraction
    setup: int

    def narrowed(self, other: Passage) -> Passage:
        """Return what is reached where both ends limit it: the slower bandwidth, the later start."""
        return Passage(min(self.bandwidth, other.bandwidth), max(self.setup, other.setup))

    def is_within(self, other: Passage) -> bool:
        """Whether another passage is no slower."""
        return self.bandwidth <= other.bandwidth and self.setup >= other.setup


def passage_of(transfer: Transfer, device: Device) -> Passage:
    """Return the link of a device between the pools: as stated, else its own scale-out link."""
    own = device.scale_out
    bandwidth = own.bandwidth * own.efficiency if transfer.bandwidth is None else Fraction(transfer.bandwidth)
    return Passage(bandwidth, own.latency if transfer.setup is None else transfer.setup)


def drop_what_serves_together(tree: dict[str, Any]) -> None:
    """Leave out of a fingerprint what only pools apart have, where there are none."""
    if tree["serving"] == "together":
        tree.pop("serving"), tree.pop("transfer")
    for scenario in tree["scenarios"]:
        workload = scenario["workload"]
        if workload.get("phase") == "both":
            for name in ("phase", "sending", "window"):
                workload.pop(name, None)
