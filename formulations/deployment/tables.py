r"""The deployment problem in integers: what every solver, check and certificate reads.

A replica is a chain of stages over the layers ``0 .. L-1``. A stage ``(i, j]`` (layers ``i .. j-1``) under
option ``o`` costs, in one resource,

.. math:: c(i, j, o) = base_o + [i = 0]\, first_o + [i > 0]\, entry_o + [j = L]\, last_o
          + \sum_{l=i}^{j-1} layer_{o, kind(l)}

Two kinds of row bind a chain of stages:

* a `Cap`: every stage costs at most ``limit``  (memory; slowest decode stage);
* a `Path`: the stages' costs add up along the chain, and the slowest is passed once more for every further
  microbatch: :math:`\sum_s c_s + (microbatches - 1) \max_s c_s \le limit`  (TTFT, TPOT).

A `Case` of a `Layout` (one replica count) picks one `Choice` on each `Axis`; its rows are those of the layout
and of the picked choices. GPUs = ``replicas * sum of option GPUs``; that is minimised first.

Rounding: a cell of a table with ``slack`` 1 was rounded up. The table as written is therefore a ceiling (a
plan it accepts is feasible in exact arithmetic), and every cell lowered by ``slack`` (not below zero) is a
floor (what it refutes is impossible in exact arithmetic). Bytes are exact: ``slack`` 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from shardproof.formulations.deployment.lazy import Column, Fill, Ints, Lazy, Rows, array_of
from shardproof.instances.option import Option


class CellArrays(NamedTuple):
    """Cells of a table: an entry for each option; ``layer``: a row for each, an entry for each layer kind."""

    base: Ints
    entry: Ints
    first: Ints
    last: Ints
    layer: Ints


@dataclass(frozen=True)
class Table:
    """Cost of a stage in one resource: one entry per option (``layer``: per option and layer kind)."""

    base: Sequence[int]
    entry: Sequence[int]
    first: Sequence[int]
    last: Sequence[int]
    layer: Sequence[Sequence[int]]
    slack: int = 0

    def cells(self, count: int) -> CellArrays:
        """Cells of the first ``count`` options (at least), as the table is written."""
        known: CellArrays | None = self.__dict__.get("_cells")
        if known is None or len(known.base) < count:
            columns = (self.base, self.entry, self.first, self.last, self.layer)
            known = CellArrays(*(array_of(column, count) for column in columns))
            self.__dict__["_cells"] = known
        return known

    def rounded_cells(self, count: int, *, floor: bool) -> CellArrays:
        """Cells of the first ``count`` options (at least), rounded in one direction."""
        return self.floor.cells(count) if floor else self.cells(count)

    @cached_property
    def floor(self) -> Table:
        """The same table rounded down."""
        if self.slack == 0:
            return self
        options, slack = len(self.base), self.slack

        def lowered(name: str) -> Fill:
            def fill(start: int, stop: int) -> Ints:
                cells: Ints = getattr(self.cells(stop), name)
                return np.maximum(cells[start:stop] - slack, 0)

            return fill

        base, entry, first, last = (Column(options, lowered(name)) for name in ("base", "entry", "first", "last"))
        return Table(base, entry, first, last, layer=Rows(options, lowered("layer")))

    @cached_property
    def least(self) -> dict[Any, Any]:
        """Bounds that a search has read off the table, by options, kept as long as the table."""
        return {}


@dataclass(frozen=True)
class Cap:
    """Every stage costs at most ``limit``; ``memory`` marks rows that the peak-memory objective lowers."""

    name: str
    table: Table
    limit: int
    memory: bool = False


@dataclass(frozen=True)
class Path:
    """Sum over stages plus ``microbatches - 1`` times the slowest stage is at most ``limit``.

    ``limit`` may be ``None`` (no limit asked for); ``ttft`` marks rows that the TTFT objective lowers.
    """

    name: str
    table: Table
    microbatches: int
    limit: int | None
    ttft: bool = False


@dataclass(frozen=True)
class Choice:
    """One value of an axis, with the rows and the options (``None``: all) that come with it."""

    value: int
    caps: Sequence[Cap] = ()
    paths: tuple[Path, ...] = ()
    options: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Axis:
    """One decision shared by all stages, e.g. ``prefill_requests[burst]`` (requests per microbatch).

    ``rule`` says how a reader can tell that no choice is missing: ``ceilings`` (the smallest q of each distinct
    ``ceil(size / q)``, q = 1..size, ascending) or ``listed`` (these choices are what was asked for).
    """

    name: str
    choices: Sequence[Choice]
    rule: str = "listed"
    size: int = 0


@dataclass(frozen=True)
class Layout:
    """One replica count (and node span): the rows that hold for it, and its axes.

    ``max_gpus`` bounds the GPUs of one replica when the layout itself does (a replica inside one node). ``load``:
    requests of each scenario that one replica takes (empty: not said).
    """

    name: str
    replicas: int
    max_gpus: int | None
    caps: Sequence[Cap]
    axes: tuple[Axis, ...]
    load: tuple[int, ...] = ()


class Layouts(Lazy[Layout]):
    """Layouts that are made when first read; how many replicas each has is known before."""

    def __init__(self, counts: Sequence[int], build: Callable[[int], Layout]) -> None:
        """Take the replicas of each layout, and what makes one from its place."""
        super().__init__(len(counts), build)
        self.counts = tuple(counts)


def replicas_of(layouts: Sequence[Layout]) -> Sequence[int]:
    """Return the replicas of each layout, without making any where that is known."""
    return layouts.counts if isinstance(layouts, Layouts) else [layout.replicas for layout in layouts]


@dataclass(frozen=True)
class Program:
    """The whole problem: ``kinds[l]`` is the kind index of layer l; ``max_gpus`` the budget of the search.

    ``batch_sizes`` lets a reader tell that no replica count is missing: the layouts hold the smallest R of each
    distinct tuple ``ceil(batch / R)``, R = 1..max_gpus (empty: the layouts listed are what was asked for).
    """

    kinds: tuple[int, ...]
    options: tuple[Option, ...]
    layouts: Sequence[Layout]
    max_gpus: int
    batch_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Case:
    """One layout with one choice per axis: the rows that a chain of stages has to satisfy."""

    layout: Layout
    choices: tuple[int, ...]
    """Index of the choice on each axis."""

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Every cap that holds in this case."""
        picked = (axis.choices[index] for axis, index in zip(self.layout.axes, self.choices, strict=True))
        return (*self.layout.caps, *(cap for choice in picked for cap in choice.caps))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path that holds in this case."""
        picked = (axis.choices[index] for axis, index in zip(self.layout.axes, self.choices, strict=True))
        return tuple(path for choice in picked for path in choice.paths)

    def allowed(self, program: Program) -> tuple[int, ...]:
        """Indices of the options that every picked choice allows."""
        options = set(range(len(program.options)))
        for axis, index in zip(self.layout.axes, self.choices, strict=True):
            picked = axis.choices[index].options
            if picked is not None:
                options &= set(picked)
        return tuple(sorted(options))
