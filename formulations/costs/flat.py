r"""The flat clock: peak times a stated efficiency.

.. math:: t = \max\left(\frac{FLOPs}{peak \cdot mfu}, \frac{bytes}{bandwidth \cdot eff}\right) + launch

and for a collective of n ranks the ring's traffic over the link, :math:`f(n) \cdot bytes / (bw \cdot eff)`
plus the link's latency, with f = 2 (n-1)/n for all-reduce, (n-1)/n for all-gather and all-to-all, 1 for p2p.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from shardproof.formulations.costs.many import listed
from shardproof.formulations.costs.operations import PICOSECONDS, Operation
from shardproof.instances.hardware import Device

_COLLECTIVES = ("all_reduce", "all_gather", "all_to_all", "p2p")


@dataclass(frozen=True)
class _Rate:
    """Units per second as a ratio of integers, ready for whole-number division."""

    numerator: int
    denominator: int

    def picoseconds(self, work: int) -> tuple[int, int]:
        quotient, rest = divmod(work * PICOSECONDS * self.denominator, self.numerator)
        return quotient, quotient + (rest > 0)


def _rate(value: Fraction) -> _Rate:
    return _Rate(value.numerator, value.denominator)


def leaving_a_node(operation: Operation, time: Callable[[Operation], tuple[int, int]]) -> tuple[int, int]:
    """Return the time of an operation; what is handed over to another node takes no less than within one.

    It passes the links inside its node first, and a replica that fits into a node never gains by leaving it.
    """
    found = time(operation)
    if operation.kind != "p2p" or operation.link != "scale_out":
        return found
    inside = time(replace(operation, link="scale_up"))
    return max(found[0], inside[0]), max(found[1], inside[1])


class FlatClock:
    """Times operations on one device at flat shares of its peaks."""

    def __init__(self, device: Device) -> None:
        """Take the device; its efficiencies are exact ratios."""
        self._device = device
        self._compute = {dtype: _rate(peak * device.mfu) for dtype, peak in device.peak_flops.items()}
        self._memory = _rate(device.memory_bandwidth * device.bandwidth_efficiency)
        self._links = {
            "scale_up": (_rate(device.scale_up.bandwidth * device.scale_up.efficiency), device.scale_up.latency),
            "scale_out": (_rate(device.scale_out.bandwidth * device.scale_out.efficiency), device.scale_out.latency),
        }

    def picoseconds(self, operation: Operation) -> tuple[int, int]:
        """Return the duration rounded (down, up) to whole picoseconds."""
        if operation.kind in _COLLECTIVES:
            return leaving_a_node(operation, self._collective)
        compute = self._compute[self._device.compute_dtype(operation.dtype)].picoseconds(operation.flops)
        memory = self._memory.picoseconds(operation.moved_bytes)
        launch = self._device.launch_latency * 1000
        return max(compute[0], memory[0]) + launch, max(compute[1], memory[1]) + launch

    def rounded_up(self, operation: Operation, count: int) -> list[int]:
        """Return the duration at each of ``count`` sizes (`many`), rounded up."""
        if operation.kind in _COLLECTIVES:
            rate, latency = self._ring(operation)
            found = [rate.picoseconds(int(size))[1] + latency for size in listed(operation.message_bytes, count)]
            if operation.kind != "p2p" or operation.link != "scale_out":
                return found
            return list(map(max, found, self.rounded_up(replace(operation, link="scale_up"), count)))
        compute = self._compute[self._device.compute_dtype(operation.dtype)]
        launch = self._device.launch_latency * 1000
        pairs = zip(listed(operation.flops, count), listed(operation.moved_bytes, count), strict=True)
        return [
            max(compute.picoseconds(int(flops))[1], self._memory.picoseconds(int(moved))[1]) + launch
            for flops, moved in pairs
        ]

    def _collective(self, operation: Operation) -> tuple[int, int]:
        rate, latency = self._ring(operation)
        down, up = rate.picoseconds(operation.message_bytes)
        return down + latency, up + latency

    def _ring(self, operation: Operation) -> tuple[_Rate, int]:
        """Rate at which a ring sends a message, and its latency, ps; what has no link takes no time."""
        if operation.link is None:
            return _Rate(1, 0), 0
        rate, latency = self._links[operation.link]
        ranks = operation.shape.ranks
        steps = {"all_reduce": (2 * (ranks - 1), ranks), "p2p": (1, 1)}.get(operation.kind, (ranks - 1, ranks))
        scaled = _Rate(rate.numerator * steps[1], rate.denominator * steps[0]) if steps[0] else rate
        return scaled, latency * 1000
