"""Devices, the links between them, and how much of their datasheet they reach."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.units import ByteRate, CapacityBytes, DemandDuration, FlopRate, Price, Ratio

ComputeDType = Literal["fp32", "bf16", "fp16", "fp8", "int8", "fp4"]


class Link(Record):
    """A link of one device to its peers: bandwidth in one direction, latency of one message.

    ``bandwidth``: bytes/s per device, unidirectional; ``latency``: ns per collective step;
    ``efficiency``: the share of the bandwidth that large messages reach.
    """

    bandwidth: ByteRate = Field(gt=0)
    latency: DemandDuration = 10_000
    efficiency: Ratio = Field(default=Fraction(4, 5), gt=0, le=1)


class PriceBasis(Record):
    """What a price is, who says so and since when; prices of different kinds are not one ranking."""

    kind: Literal["on-demand", "reserved", "spot", "list", "total-cost"]
    by: str
    date: str = Field(pattern=r"^\d{4}(-\d{2})?(-\d{2})?$")


class Device(Record):
    """One accelerator as the scheduler sees it.

    ``peak_flops``: dense FLOP/s by compute dtype; ``memory``: bytes by the datasheet; ``visible_memory``:
    bytes that a process sees (``None``: not known, the datasheet's figure is used); ``memory_bandwidth``:
    bytes/s; ``devices_per_node``: devices that share the scale-up link. ``mfu`` and ``bandwidth_efficiency``
    are flat shares of the peaks; ``launch_latency``: ns per operation. ``watts``: power of the board at full load.
    ``engines``: those known to run on it (``None``: not known, none is refused). ``price_basis``: what the price is.
    """

    name: str
    vendor: str = ""
    architecture: str = ""
    source: str
    peak_flops: dict[ComputeDType, FlopRate]
    memory: CapacityBytes = Field(gt=0)
    visible_memory: CapacityBytes | None = None
    memory_bandwidth: ByteRate = Field(gt=0)
    mfu: Ratio = Field(default=Fraction(1, 2), gt=0, le=1)
    bandwidth_efficiency: Ratio = Field(default=Fraction(4, 5), gt=0, le=1)
    launch_latency: DemandDuration = 0
    devices_per_node: int = Field(default=8, ge=1, le=16384)
    scale_up: Link
    scale_out: Link
    watts: int | None = Field(default=None, gt=0, le=100_000)
    engines: tuple[Literal["vllm", "sglang", "trtllm"], ...] | None = None
    price_per_hour: Price | None = None
    price_basis: PriceBasis | None = None
    sources: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def usable_memory(self) -> int:
        """Bytes that a process can use: visible where known, else the datasheet's."""
        return self.memory if self.visible_memory is None else self.visible_memory

    def compute_dtype(self, dtype: str) -> ComputeDType:
        """Dtype in which operands of a dtype are multiplied: its own if the device has it, else bf16.

        4-bit formats compute in fp4 where there is one, else (weights only) in bf16.
        """
        wanted = {"mxfp4": "fp4", "nvfp4": "fp4", "int4": "bf16"}.get(dtype, dtype)
        for candidate in (wanted, "bf16", "fp16", "fp32"):
            if candidate in self.peak_flops:
                found: ComputeDType = candidate
                return found
        return next(iter(self.peak_flops))
