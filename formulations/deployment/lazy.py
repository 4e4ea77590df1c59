"""Sequences whose items are built when first read."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")


class Lazy(Sequence[Item], Generic[Item]):
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

    def __eq__(self, other: object) -> bool:
        """Compare item by item."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Item]:
        """Build and return every item in order."""
        return (self[index] for index in range(len(self)))
