"""The same operation for many counts of requests: sizes that differ are arrays of whole numbers of any size.

Formulas that only add, multiply and divide up hold for such an array as they do for a number, entry by entry; a formula
that has to compare sizes raises, since an array is neither true nor false.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import cast

import numpy as np

from shardproof.formulations.costs.operations import Operation, Shape

_SIZES = tuple(entry.name for entry in fields(Shape) if entry.name != "dispatched")
_WORK = ("flops", "moved_bytes", "resident_bytes", "message_bytes")


def many(counts: Iterable[int]) -> int:
    """Return counts as one size: an array of Python's integers, which never overflow."""
    return cast(int, np.array(list(counts), dtype=object))


def listed(size: float, count: int) -> list[float]:
    """Return the entries of a size; one that does not differ, ``count`` times."""
    return size.tolist() if isinstance(size, np.ndarray) else [size] * count


def one_by_one(operation: Operation, count: int) -> Iterator[Operation]:
    """Yield the operations that one with arrays stands for."""
    shape = zip(*(listed(getattr(operation.shape, name), count) for name in _SIZES), strict=True)
    work = zip(*(listed(getattr(operation, name), count) for name in _WORK), strict=True)
    for sizes, amounts in zip(shape, work, strict=True):
        own = replace(operation.shape, **dict(zip(_SIZES, sizes, strict=True)))
        yield replace(operation, shape=own, **dict(zip(_WORK, amounts, strict=True)))
