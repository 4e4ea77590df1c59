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

    def many(self, work: int, count: int) -> list[int]:
        """Picoseconds of many amounts (`formulations.costs.many`), rounded up."""
        factor, numerator = PICOSECONDS * self.denominator, self.numerator
        return [-(-int(one) * factor // numerator) for one in listed(work, count)]


def _rate(value: Fraction) -> _Rate:
    return _Rate(value.numerator, value.denominator)


def leaving_a_node(operation: Operation, time: Callable[[Operation], tuple[int, int]]) -> tuple[int, int]:
    """Return the time of an operation; what is handed over to another node takes no less than within one.

    It passes the links inside its node first, and a replica that fits into a node never gains by leaving it.
    """
    found, within = time(operation), _inside(operation)
    if within is operation:
        return found
    inside = time(within)
    return max(found[0], inside[0]), max(found[1], inside[1])


def many_leaving_a_node(operation: Operation, times: Callable[[Operation], list[int]]) -> list[int]:
    """Return the same at many sizes."""
    found, within = times(operation), _inside(operation)
    return found if within is operation else list(map(max, found, times(within)))


def _inside(operation: Operation) -> Operation:
    """Return what is handed over to another node as if it stayed inside, any other operation as it is."""
    if operation.kind != "p2p" or operation.link != "scale_out":
        return operation
    return replace(operation, link="scale_up")


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

    def many(self, operation: Operation, count: int) -> list[int]:
        """Return the duration at each of ``count`` sizes (`formulations.costs.many`), rounded up."""
        if operation.kind in _COLLECTIVES:
            return many_leaving_a_node(operation, lambda one: self._sent(one, count))
        compute = self._compute[self._device.compute_dtype(operation.dtype)]
        launch = self._device.launch_latency * 1000
        pairs = zip(compute.many(operation.flops, count), self._memory.many(operation.moved_bytes, count), strict=True)
        return [max(pair) + launch for pair in pairs]

    def curves_of(self, operation: Operation) -> tuple[object, ...]:
        """Return nothing: no measurement times an operation."""
        del operation
        return ()

    def _sent(self, operation: Operation, count: int) -> list[int]:
        rate, latency = self._ring(operation)
        return [time + latency for time in rate.many(operation.message_bytes, count)]

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
