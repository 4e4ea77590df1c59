"""Who serves what: prefill and decode on one replica or in pools apart, and the link between the pools."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.units import ByteRate, DemandDuration

Serving = Literal["together", "apart", "any"]


class Transfer(Record):
    """The link on which a prefill replica sends KV caches to the decode pool; what is left out is the device's own.

    ``bandwidth``: bytes/s that one replica's link reaches (default: what large messages reach of one device's
    scale-out link); ``setup``: ns before each request's cache flows (default: that link's latency).
    """

    bandwidth: ByteRate | None = Field(default=None, gt=0)
    setup: DemandDuration | None = Field(default=None, ge=0)


def drop_what_serves_together(tree: dict[str, Any]) -> None:
    """Leave out of a fingerprint what only pools apart have, where there are none."""
    if tree["serving"] == "together":
        tree.pop("serving"), tree.pop("transfer")
    for scenario in tree["scenarios"]:
        workload = scenario["workload"]
        if workload.get("phase") == "both":
            for name in ("phase", "sending", "window"):
                workload.pop(name, None)
