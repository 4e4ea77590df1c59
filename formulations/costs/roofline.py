r"""roofline: what no clock and no fit may undercut, the device's datasheet.

.. math:: t \ge \max\left(\frac{FLOPs}{peak}, \frac{resident\ bytes}{bandwidth}\right)

======  ==============================  ======  ========================================================
symbol  code                            unit    source
======  ==============================  ======  ========================================================
FLOPs   `Operation.flops`               1       counted, not padded
bytes   `Operation.resident_bytes`      bytes   weights, KV cache and states: no on-chip cache keeps them
peak    `Device.peak_flops`             1/s     datasheet, of the dtype that is multiplied
======  ==============================  ======  ========================================================

Activations do not count: they may stay in a cache between two kernels. A collective sends no less than what
one direction of its link carries once, (n - 1) / n of the message among n ranks; half of that where tokens go to their
experts' ranks, since kernels send them in 8 bits of 16.
"""

from __future__ import annotations

from fractions import Fraction

from shardproof.formulations.costs.operations import PICOSECONDS, Operation
from shardproof.instances.hardware import Device


class Roofline:
    """Least times of operations on one device."""

    def __init__(self, device: Device) -> None:
        """Take the device; its datasheet figures are exact."""
        self._device = device
        self._bandwidth = Fraction(device.memory_bandwidth)
        self._links = {
            "scale_up": Fraction(device.scale_up.bandwidth),
            "scale_out": Fraction(device.scale_out.bandwidth),
        }

    def picoseconds(self, operation: Operation) -> int:
        """Return the least duration, rounded up to whole picoseconds."""
        if operation.link is not None and operation.shape.ranks > 1:
            ranks = operation.shape.ranks
            share = Fraction(1) if operation.kind == "p2p" else Fraction(ranks - 1, ranks)
            sent = share * operation.message_bytes
            return _up(sent / 2 if operation.shape.dispatched else sent, self._links[operation.link])
        peak = Fraction(self._device.peak_flops[self._device.compute_dtype(operation.dtype)])
        return max(_up(operation.flops, peak), _up(operation.resident_bytes, self._bandwidth))


def _up(work: int | Fraction, rate: Fraction) -> int:
    exact = work * PICOSECONDS / rate
    return -(-exact.numerator // exact.denominator)
