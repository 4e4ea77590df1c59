"""Draw the rooms of the house from their imports: ``python -m benchmarks.rooms``.

Writes docs/images/rooms.svg and the table of rooms in docs/architecture.md. A room stands above every room that it
imports from; an arrow that follows from others is left out. A test says when either is out of date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import cache
from html import escape
from itertools import groupby

from tests.oracles.places import ROOT
from tests.structure.imports import PACKAGES, graph

PICTURE = ROOT / "docs" / "images" / "rooms.svg"
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- rooms -->", "<!-- /rooms -->"

LEFT_OUT = ("solver.checker", "solver", "formulations")
"""A former path, and packages that hold nothing themselves."""

COLOURS = {"instances": "#d9ead3", "formulations": "#fff2cc", "solver": "#cfe2f3"}
WIDTH, HEIGHT, ACROSS, UP = 156, 32, 172, 64
"""Size of a box, and the distances between boxes, in pixels."""

Arrows = dict[str, set[str]]


def room_of(module: str) -> str:
    """Room of a module: a folder or a file of formulations and solver; instances is one room."""
    package, *rest = module.split(".")
    return package if package == "instances" or not rest else f"{package}.{rest[0]}"


def rooms() -> Arrows:
    """For each room, the rooms that it imports from."""
    found: Arrows = {}
    for module, below in graph(*PACKAGES).items():
        room = room_of(module)
        if room not in LEFT_OUT:
            found.setdefault(room, set()).update({room_of(name) for name in below} - {room, *LEFT_OUT})
    found["solver.cli"].add("solver.commands")  # by name, when a verb is used
    return found


def floors(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    """Floor of each room: above all that it imports from, and as close below those that import from it as can be."""
    lowest = _lowest_floors(arrows)
    found: dict[str, int] = {}
    for room in sorted(arrows, key=lambda room: (-lowest[room], room)):
        users = [found[user] for user, below in arrows.items() if room in below]
        found[room] = min(users) - 1 if users else max(lowest.values())
    return found


def _lowest_floors(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    found: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in found:
            found[room] = 1 + max((floor(below) for below in arrows[room]), default=-1)
        return found[room]

    for room in sorted(arrows):
        floor(room)
    return found


def direct(arrows: Mapping[str, set[str]]) -> Arrows:
    """Arrows that do not follow from others."""

    @cache
    def reached(room: str) -> frozenset[str]:
        return frozenset(arrows[room]).union(*(reached(below) for below in arrows[room]))

    return {
        room: {below for below in found if not any(below in reached(other) for other in found - {below})}
        for room, found in arrows.items()
    }


def sentence(room: str) -> str:
    """First line of what a room says of itself."""
    path = ROOT / room.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split())


def picture() -> str:
    """Return the picture as SVG."""
    arrows = rooms()
    floor = floors(arrows)
    places = _places(floor)
    width = max(x for x, _ in places.values()) + WIDTH + 20
    height = max(y for _, y in places.values()) + HEIGHT + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for room, below in sorted(direct(arrows).items()):
        for other in sorted(below):
            (x, y), (left, top) = places[room], places[other]
            lines.append(
                f'<path d="M{x + WIDTH // 2} {y + HEIGHT}L{left + WIDTH // 2} {top}" stroke="#8a8a8a" fill="none"/>'
            )
    for room, (x, y) in sorted(places.items()):
        colour = COLOURS[room.split(".")[0]]
        lines.append(
            f"<g><title>{escape(f'{room}: {sentence(room)}')}</title>"
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{colour}" stroke="#555555"/>'
            f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 4}" text-anchor="middle">{escape(room)}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _places(floor: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Left upper corner of each box: floors from the bottom, rooms of a floor side by side, centred."""
    ordered = sorted(floor, key=lambda room: (floor[room], room))
    rows = [(level, list(row)) for level, row in groupby(ordered, key=floor.__getitem__)]
    widest, top = max(len(row) for _, row in rows), max(floor.values())
    return {
        room: (20 + (widest - len(row)) * ACROSS // 2 + place * ACROSS, 20 + (top - level) * UP)
        for level, row in rows
        for place, room in enumerate(row)
    }


def table() -> str:
    """Return the rooms from the top down as a Markdown table."""
    floor = floors(rooms())
    lines = ["| floor | room | what is in it |", "| --: | --- | --- |"]
    for room in sorted(floor, key=lambda room: (-floor[room], room)):
        path = ROOT / room.replace(".", "/")
        name = f"{room.replace('.', '/')}/" if path.is_dir() else f"{room.replace('.', '/')}.py"
        lines.append(f"| {floor[room]} | `{name}` | {sentence(room).replace('``', '`')} |")
    return "\n".join(lines)


def page() -> str:
    """Return the page with its table of rooms as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return f"{before}{START}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Write picture and page."""
    PICTURE.write_text(picture(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
