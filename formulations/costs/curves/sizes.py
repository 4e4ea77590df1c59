"""Sizes: the numbers that timing curves depend on, one array a size, one entry an operation."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _zero() -> Array:
    return np.zeros(1)


@dataclass(frozen=True)
class Sizes:
    """Sizes of many operations of one family; zero where a family has no such size.

    ``m, n, k``: GEMM and element-wise; ``ragged``: 1 where m is no multiple of four (0 in plans, since engines pad
    batches); ``batch .. window``: attention, heads of one device; ``tokens .. skew``: mixture of experts, tokens of the
    whole expert-parallel group, ``skew`` the power law's exponent (0: balanced) and ``balanced`` 1 where an expert
    balancer ran; ``message_bytes, ranks, nodes, multiprocessors``: collectives.
    """

    m: Array = field(default_factory=_zero)
    n: Array = field(default_factory=_zero)
    k: Array = field(default_factory=_zero)
    ragged: Array = field(default_factory=_zero)
    batch: Array = field(default_factory=_zero)
    query: Array = field(default_factory=_zero)
    context: Array = field(default_factory=_zero)
    heads: Array = field(default_factory=_zero)
    kv_heads: Array = field(default_factory=_zero)
    head_dim: Array = field(default_factory=_zero)
    window: Array = field(default_factory=_zero)
    tokens: Array = field(default_factory=_zero)
    hidden: Array = field(default_factory=_zero)
    inter: Array = field(default_factory=_zero)
    topk: Array = field(default_factory=_zero)
    experts: Array = field(default_factory=_zero)
    tp: Array = field(default_factory=_zero)
    ep: Array = field(default_factory=_zero)
    skew: Array = field(default_factory=_zero)
    balanced: Array = field(default_factory=_zero)
    message_bytes: Array = field(default_factory=_zero)
    ranks: Array = field(default_factory=_zero)
    nodes: Array = field(default_factory=_zero)
    multiprocessors: Array = field(default_factory=_zero)

    def take(self, index: NDArray[np.intp]) -> Sizes:
        """Return the operations at an index."""
        return replace(self, **{name: array[index] for name, array in self._long().items()})

    def _long(self) -> dict[str, Array]:
        arrays = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        length = max(len(array) for array in arrays.values())
        return {name: a if len(a) == length else np.repeat(a, length) for name, a in arrays.items()}
