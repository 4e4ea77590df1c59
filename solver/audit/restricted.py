"""The planner's program with the stated parts of a plan fixed: one more axis with a single choice."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shardproof.formulations.deployment.tables import Axis, Choice, Path, Program, Table
from shardproof.instances.option import Option


@dataclass(frozen=True)
class Fixed:
    """The stated parts that a search keeps: degrees, stages, replicas, GPU budget (``None``: left open)."""

    name: str
    options: tuple[Option, ...] | None = None
    stages: int | None = None
    replicas: int | None = None
    gpus: int | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether every part is left open."""
        return (self.options, self.stages, self.replicas, self.gpus) == (None, None, None, None)


def places_of(program: Program, fixed: Fixed) -> tuple[int, ...]:
    """Places of the options that the stated degrees allow."""
    return tuple(
        place for place, option in enumerate(program.options) if fixed.options is None or option in fixed.options
    )


def restrict_to(program: Program, fixed: Fixed) -> Program | None:
    """Add the fixed parts as an axis of one choice; ``None`` if no option or layout is left.

    ``stages`` is kept as a row: every stage counts one, the sum over a replica is at most that many.
    """
    places = places_of(program, fixed)
    layouts = tuple(layout for layout in program.layouts if fixed.replicas in (None, layout.replicas))
    if not places or not layouts:
        return None
    axis = Axis("stated", (Choice(value=0, paths=_count_rows(program, fixed), options=places),))
    return replace(program, layouts=tuple(replace(layout, axes=(*layout.axes, axis)) for layout in layouts))


def _count_rows(program: Program, fixed: Fixed) -> tuple[Path, ...]:
    if fixed.stages is None:
        return ()
    count, kinds = len(program.options), len(set(program.kinds))
    zeros = (0,) * count
    each = tuple((0,) * kinds for _ in range(count))
    table = Table(base=(1,) * count, entry=zeros, first=zeros, last=zeros, layer=each)
    return (Path("stages", table, 1, fixed.stages),)
