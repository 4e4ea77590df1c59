"""Cells that were computed before: questions that differ in workloads, limits or budgets alone pay for them once.

A cell's cost depends on the model, what guesses its tokens, the device, the type of activations, the curves (of its
engine, where there are any) and the corrections, besides what its key names (layer kind, option, step, link); on
nothing else of an instance.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from shardproof.formulations.deployment.grids import Grid
from shardproof.formulations.deployment.layer_times import Parts, Work
from shardproof.formulations.deployment.tables import Table
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option

STORES = 4
"""Subjects whose cells are kept: the latest ones."""
CELLS_AT_MOST = 400_000
"""Cells of one subject, about 120 MB; beyond it they are forgotten and computed anew."""
TABLE_CELLS = 10
"""Entries of a table's arrays (options x layers, a few times over) that take the room of one cell."""


@dataclass(frozen=True)
class EndTimes:
    """Times of a stage outside its layers, ns: hand-over to a later stage, embedding, head."""

    entry: int
    first: int
    last: int


Tables = dict[Hashable, Table]
"""Tables over the same options, by all that their cells depend on besides the subject."""


class Remembered(NamedTuple):
    """Cells by key: of layers, bytes or ns; of the ends of stages; times of the parts that layers fall into.

    Tables by options, kinds of layers and what else all of them depend on. ``work`` serves all engines of a subject.
    ``grids``: times of steps in all their sizes, by the same and the step.
    """

    layer: dict[tuple[Hashable, ...], int]
    ends: dict[tuple[Hashable, ...], EndTimes]
    parts: Parts
    tables: dict[tuple[tuple[Option, ...], Hashable, *tuple[Hashable, ...]], Tables]
    layers: int
    work: Work
    grids: dict[tuple[tuple[Option, ...], *tuple[Hashable, ...]], Grid]

    @classmethod
    def nothing(cls, layers: int, work: Work | None = None) -> Remembered:
        """Return a store without cells for a model of so many layers; ``work``: what other engines have timed."""
        return cls({}, {}, {}, {}, layers, work or Work(), {})

    @property
    def size(self) -> int:
        """Cells that are kept, and the room of tables in cells."""
        entries = sum(len(options) * len(found) for (options, *_), found in self.tables.items()) * self.layers
        entries += sum(len(options) * len(found.place) for (options, *_), found in self.grids.items())
        parts = sum(map(len, self.parts.values())) + sum(len(times) for times, _ in self.work.times.values())
        return len(self.layer) + len(self.ends) + parts + entries // TABLE_CELLS


_kept: list[tuple[tuple[object, ...], Remembered]] = []


def remembered(instance: Instance) -> Remembered:
    """Return the store of an instance's subject, to read from and to add to."""
    subject = _subject(instance)
    place = next((place for place, (known, _) in enumerate(_kept) if known == subject), None)
    if place is None:
        work = next((other.work for known, other in _kept if known[1:] == subject[1:]), None)
        found = Remembered.nothing(instance.model.layer_count, work)
    else:
        found = _kept.pop(place)[1]
    if found.size > CELLS_AT_MOST:
        found = Remembered.nothing(instance.model.layer_count)
    _kept.append((subject, found))
    del _kept[:-STORES]
    return found


def _subject(instance: Instance) -> tuple[object, ...]:
    """All of an instance that a cell depends on; compared by value, which is quick for records that are shared.

    The engine comes first, and counts only where curves are those of an engine.
    """
    engine = None if instance.calibration is None else instance.engine
    timed = (instance.calibration, instance.correction, instance.speculative)
    return (engine, *timed, instance.activations, instance.device, instance.model)
