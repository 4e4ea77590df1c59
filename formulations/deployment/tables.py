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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shardproof.formulations.deployment.lazy import Lazy
from shardproof.instances.option import Option


@dataclass(frozen=True)
class Table:
    """Cost of a stage in one resource: one entry per option (``layer``: per option and layer kind)."""

    base: Sequence[int]
    entry: Sequence[int]
    first: Sequence[int]
    last: Sequence[int]
    layer: Sequence[Sequence[int]]
    slack: int = 0

    @cached_property
    def arrays(self) -> dict[Any, Any]:
        """What a search has read of the table in its own form, kept as long as the table."""
        return {}

    @cached_property
    def floor(self) -> Table:
        """The same table rounded down."""
        if self.slack == 0:
            return self

        def lowered(cells: Sequence[int]) -> Sequence[int]:
            return Lazy(len(cells), lambda place: max(0, cells[place] - self.slack))

        def row(place: int) -> tuple[int, ...]:
            return tuple(max(0, cell - self.slack) for cell in self.layer[place])

        return Table(
            base=lowered(self.base),
            entry=lowered(self.entry),
            first=lowered(self.first),
            last=lowered(self.last),
            layer=Lazy(len(self.layer), row),
        )


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
    caps: tuple[Cap, ...] = ()
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


@dataclass(frozen=True)
class Program:
    """The whole problem: ``kinds[l]`` is the kind index of layer l; ``max_gpus`` the budget of the search.

    ``batch_sizes`` lets a reader tell that no replica count is missing: the layouts hold the smallest R of each
    distinct tuple ``ceil(batch / R)``, R = 1..max_gpus (empty: the layouts listed are what was asked for).
    """

    kinds: tuple[int, ...]
    options: tuple[Option, ...]
    layouts: tuple[Layout, ...]
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
