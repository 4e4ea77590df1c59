"""Sequences whose items are built when first read: one by one, or all at once as an array."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

Item = TypeVar("Item")


class _Later(Sequence[Item], Generic[Item]):
    """A sequence whose items come later; two are equal where their items are."""

    def __eq__(self, other: object) -> bool:
        """Compare item by item."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class Lazy(_Later[Item]):
    """A sequence of known length whose items are built when first read: most are never needed."""

    def __init__(self, length: int, build: Callable[[int], Item]) -> None:
        """Take the length and the function that builds an item from its index."""
        self._items: list[Item | None] = [None] * length
        self._build = build

    def __len__(self) -> int:
        """Return the length; builds nothing."""
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        """Return an item, building it the first time."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        found = self._items[index]
        if found is None:
            found = self._build(index % len(self._items))
            self._items[index] = found
        return found

    def __iter__(self) -> Iterator[Item]:
        """Build and return every item in order."""
        return (self[index] for index in range(len(self)))


def later(length: int, build: Callable[[], Sequence[Item]]) -> Lazy[Item]:
    """Return a sequence whose items are built together when one is first read."""
    built: list[Item] = []

    def item(place: int) -> Item:
        if not built:
            built.extend(build())
        return built[place]

    return Lazy(length, item)


Fill = Callable[[int, int], Ints]
"""From a first place and the one after the last to the items between them, a row for each."""


class _Filled(_Later[Item]):
    """A sequence of known length that is filled as an array of integers, from its beginning as far as it is read."""

    def __init__(self, length: int, fill: Fill) -> None:
        """Take the length and the function that returns the items between two places."""
        self._length, self._fill = length, fill
        self._filled: Ints | None = None

    def upto(self, count: int) -> Ints:
        """Return the first items, at least ``count`` of them."""
        found = self._filled
        if found is None:
            found = self._filled = self._fill(0, count)
        elif len(found) < count:
            found = self._filled = np.concatenate([found, self._fill(len(found), count)])
        return found

    def _item(self, value: object) -> Item:
        raise NotImplementedError

    def __len__(self) -> int:
        """Return the length; fills nothing."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        """Return an item as plain integers."""
        if isinstance(index, slice):
            return [self._item(value) for value in self.upto(self._length)[index].tolist()]
        place = range(self._length)[index]
        return self._item(self.upto(place + 1)[place].tolist())

    def __iter__(self) -> Iterator[Item]:
        """Return every item in order."""
        return map(self._item, self.upto(self._length).tolist())


class Column(_Filled[int]):
    """Integers, filled at once."""

    def _item(self, value: object) -> int:
        return value  # type: ignore[return-value]


class Rows(_Filled[Sequence[int]]):
    """Rows of integers, filled at once."""

    def _item(self, value: object) -> Sequence[int]:
        return tuple(value)  # type: ignore[arg-type]


def column(count: int, cell: Callable[[int], int]) -> Column:
    """Return the integers that a function gives for each place."""
    return Column(count, lambda start, stop: np.array([cell(place) for place in range(start, stop)], dtype=np.int64))


def array_of(cells: Sequence[int] | Sequence[Sequence[int]], count: int) -> Ints:
    """Return the first ``count`` cells, or rows of cells, as an array."""
    if isinstance(cells, _Filled):
        found: Ints = cells.upto(count)[:count]
        return found
    return np.array([cells[place] for place in range(count)], dtype=np.int64)
