"""Changes whose effect on the answer is known without solving: ``python -m benchmarks.metamorphic --count 5000``.

More memory never costs a GPU; other units change no GPU count; the fewest GPUs are the fewer of both halves of a
split on one axis. Each check solves its programs by the exact search, whose answers are certified.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Path, Program, Table
from tests.oracles.agreement import certified
from tests.oracles.random_programs import random_program

Rows = Callable[[Cap], Cap]


def fewest(program: Program) -> int:
    """Fewest GPUs; one more than the budget where no plan exists."""
    claim = certified(program).claims["gpus"]
    return program.max_gpus + 1 if claim.upper is None else claim.upper


def mapped(program: Program, *, cap: Rows, path: Callable[[Path], Path]) -> Program:
    """Return the program with every row changed."""

    def choice(item: Choice) -> Choice:
        return replace(item, caps=tuple(map(cap, item.caps)), paths=tuple(map(path, item.paths)))

    def axis(item: Axis) -> Axis:
        return replace(item, choices=tuple(map(choice, item.choices)))

    def layout(item: Layout) -> Layout:
        return replace(item, caps=tuple(map(cap, item.caps)), axes=tuple(map(axis, item.axes)))

    return replace(program, layouts=tuple(map(layout, program.layouts)))


def scaled(table: Table, factor: int) -> Table:
    """Return a table in a unit ``factor`` times as small."""

    def row(cells: Sequence[int]) -> tuple[int, ...]:
        return tuple(cell * factor for cell in cells)

    ends = {name: row(getattr(table, name)) for name in ("base", "entry", "first", "last")}
    return Table(**ends, layer=tuple(map(row, table.layer)), slack=table.slack * factor)


def more_memory(program: Program, random: Random) -> bool:
    """More memory per device never costs a GPU."""
    more = random.randint(1, 5)
    larger = mapped(program, cap=lambda row: replace(row, limit=row.limit + more), path=lambda row: row)
    return fewest(larger) <= fewest(program)


def other_units(program: Program, random: Random) -> bool:
    """Bytes and ticks ``factor`` times as small change no GPU count."""
    factor = random.randint(2, 1000)

    def path(row: Path) -> Path:
        limit = None if row.limit is None else row.limit * factor
        return replace(row, table=scaled(row.table, factor), limit=limit)

    def cap(row: Cap) -> Cap:
        return replace(row, table=scaled(row.table, factor), limit=row.limit * factor)

    return fewest(mapped(program, cap=cap, path=path)) == fewest(program)


def split(program: Program, random: Random) -> bool:
    """The fewest GPUs are the fewer of both halves of a split on an axis (or on the layouts)."""
    layouts = [place for place, layout in enumerate(program.layouts) if layout.axes]
    if not layouts or len(program.layouts[layouts[0]].axes[0].choices) < 2:
        at = random.randint(0, len(program.layouts))
        halves = [program.layouts[:at], program.layouts[at:]]
    else:
        place = random.choice([p for p in layouts if len(program.layouts[p].axes[0].choices) > 1] or layouts[:1])
        layout = program.layouts[place]
        first, choices = layout.axes[0], layout.axes[0].choices
        at = random.randint(1, max(1, len(choices) - 1))
        halves = []
        for part in (choices[:at], choices[at:]):
            axes = (replace(first, choices=part, rule="listed"), *layout.axes[1:])
            own = (replace(layout, axes=axes),) if part else ()
            halves.append((*program.layouts[:place], *own, *program.layouts[place + 1 :]))
    parts = [fewest(replace(program, layouts=tuple(half))) for half in halves if half]
    return min(parts) == fewest(program)


CHECKS = (more_memory, other_units, split)


def broken(seed: int) -> str | None:
    """Name of the check that a seed breaks (``None``: it holds)."""
    check = CHECKS[seed % len(CHECKS)]
    program = random_program(seed, max_layers=10, max_options=2 + seed % 2)
    return None if check(program, Random(f"metamorphic {seed}")) else check.__name__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run many checks; 0 when all hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    count = parser.parse_args(arguments).count
    failures = [(seed, name) for seed in range(count) if (name := broken(seed)) is not None]
    for seed, name in failures:
        sys.stdout.write(f"seed {seed}: {name} does not hold\n")
    sys.stdout.write(f"{count} checks, {len(failures)} do not hold\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
