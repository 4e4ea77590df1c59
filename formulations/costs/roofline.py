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
        self._memory = _ratio(device.memory_bandwidth)
        self._peaks = {dtype: _ratio(peak) for dtype, peak in device.peak_flops.items()}
        self._links = {"scale_up": _ratio(device.scale_up.bandwidth), "scale_out": _ratio(device.scale_out.bandwidth)}

    def picoseconds(self, operation: Operation) -> int:
        """Return the least duration, rounded up to whole picoseconds."""
        return max(terms) if len(terms := self.terms(operation)) > 1 else terms[0]

    def terms(self, operation: Operation) -> tuple[int, ...]:
        """Return the terms of which the largest is the least duration, each rounded up to whole picoseconds.

        Sizes of the operation may be arrays (`many`); so are the terms that depend on them.
        """
        if operation.link is not None and operation.shape.ranks > 1:
            ranks, message = operation.shape.ranks, operation.message_bytes
            sent, of = (message, 1) if operation.kind == "p2p" else ((ranks - 1) * message, ranks)
            return (_up(sent, self._links[operation.link], of=2 * of if operation.shape.dispatched else of),)
        peak = self._peaks[self._device.compute_dtype(operation.dtype)]
        return _up(operation.flops, peak), _up(operation.resident_bytes, self._memory)


def _ratio(rate: Fraction | int) -> tuple[int, int]:
    exact = Fraction(rate)
    return exact.numerator, exact.denominator


def _up(work: int, rate: tuple[int, int], *, of: int = 1) -> int:
    """Return the time of ``work / of`` units at a rate."""
    return -(-work * PICOSECONDS * rate[1] // (rate[0] * of))
