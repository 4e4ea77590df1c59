"""Seats: on which hosts and which of their GPUs each replica stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shardproof.solver.exporters.units import Unit


@dataclass(frozen=True)
class Seat:
    """One node's part of one replica: host and GPUs, counted from 0."""

    unit: Unit
    replica: int
    node: int
    host: int
    gpus: tuple[int, ...]


def seats_of(units: Sequence[Unit]) -> tuple[Seat, ...]:
    """Seat every replica, widest first, on the first hosts with room; the nodes of one replica on different hosts.

    Devices of different kinds stand on hosts of their own.
    """
    used: list[int] = []
    devices: list[str] = []
    found: list[Seat] = []
    for unit in sorted(units, key=lambda one: -one.gpus_per_node):
        size, name = unit.device.devices_per_node, unit.device.name
        for replica in range(unit.replicas):
            host = 0
            for node in range(unit.nodes):
                while host < len(used) and (devices[host] != name or used[host] + unit.gpus_per_node > size):
                    host += 1
                if host == len(used):
                    used.append(0)
                    devices.append(name)
                first = used[host]
                used[host] += unit.gpus_per_node
                found.append(Seat(unit, replica, node, host, tuple(range(first, used[host]))))
                host += 1
    return tuple(sorted(found, key=lambda seat: (seat.unit.place, seat.replica, seat.node)))
