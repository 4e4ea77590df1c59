"""The pages about the code are true: picture and table of the rooms, and every path that is named."""

from __future__ import annotations

import re

import pytest

from benchmarks.rooms import END, PAGE, PICTURE, START, direct, floors, page, picture, rooms
from tests.oracles.places import ROOT

REDRAW = "out of date: python -m benchmarks.rooms"


def test_the_picture_shows_the_rooms_as_they_are() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), REDRAW


def test_the_table_lists_the_rooms_as_they_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), REDRAW


def test_every_arrow_points_down_and_none_is_lost() -> None:
    arrows = {"top": {"middle", "bottom"}, "middle": {"bottom"}, "bottom": set()}
    assert direct(arrows) == {"top": {"middle"}, "middle": {"bottom"}, "bottom": set()}
    floor = floors(rooms())
    assert all(floor[below] < floor[room] for room, found in rooms().items() for below in found)


@pytest.mark.parametrize("name", ["architecture.md", "glossary.md"])
def test_every_path_that_is_named_exists(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:instances|formulations|solver|tests)/[\w./-]*)`", text))
    assert len(paths) > 25
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_twenty_kinds_of_line_are_found_from_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Where do I find")[1].split(START)[0]
    assert len(re.findall(r"^\| (?!a line|---).*\|$", text, re.MULTILINE)) >= 20
    assert END in PAGE.read_text(encoding="utf-8")
