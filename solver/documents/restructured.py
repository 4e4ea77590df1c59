"""reStructuredText as Markdown, line by line in place: headings, code blocks, literals; whatever else stays text."""

from __future__ import annotations

import re

_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_BLOCK = re.compile(r"^(\s*)\.\. (?:code-block|code|sourcecode|prompt|parsed-literal)::\s*([\w+-]*)\s*.*$")
_OPTION = re.compile(r"^\s+:[\w-]+:")
_DIRECTIVE = re.compile(r"^\s*\.\. (?:_[^:]+:|(?P<kind>[\w-]+)::\s*(?P<rest>.*))")


def to_markdown(text: str) -> str:
    """Return the same lines as Markdown."""
    lines = text.split("\n")
    found: list[str] = []
    levels: list[str] = []
    place = 0
    while place < len(lines):
        block = _BLOCK.match(lines[place])
        literal = not block and lines[place].rstrip().endswith("::") and not _DIRECTIVE.match(lines[place])
        if block or literal:
            end = _end(lines, place + 1, _indent(lines[place]))
            found += _fenced(lines[place:end], block[2] if block else "")
            place = end
            continue
        found.append(_plain(lines, place, levels))
        place += 1
    return "\n".join(found)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _end(lines: list[str], place: int, above: int) -> int:
    """Return the line after an indented block: the blank lines behind it belong to it."""
    while place < len(lines) and (not lines[place].strip() or _indent(lines[place]) > above):
        place += 1
    return place


def _fenced(lines: list[str], language: str) -> list[str]:
    """Fence a block in its own blank lines, so that every line keeps its place."""
    body = [place for place, line in enumerate(lines[1:], 1) if line.strip() and not _OPTION.match(line)]
    head = lines[0].rstrip().removesuffix("::").strip() if not _BLOCK.match(lines[0]) else ""
    if not body:
        return [head, *("" for _ in lines[1:])]
    cut = min(_indent(lines[place]) for place in body)
    found = [head, *("" for _ in lines[1:])]
    for place in range(body[0], body[-1] + 1):
        found[place] = lines[place][cut:]
    if body[0] > 1:
        found[body[0] - 1] = f"```{language}"
    else:
        found[0] = f"```{language}"
    if body[-1] + 1 < len(found):
        found[body[-1] + 1] = "```"
    else:
        found[-1] += "\n```"
    return found


def _plain(lines: list[str], place: int, levels: list[str]) -> str:
    line = lines[place]
    below = lines[place + 1] if place + 1 < len(lines) else ""
    if _UNDERLINE.match(line):
        return ""
    mark = _UNDERLINE.match(below)
    if line.strip() and not line.startswith(" ") and mark and len(below.rstrip()) >= len(line.rstrip()) - 2:
        if mark[1] not in levels:
            levels.append(mark[1])
        return f"{'#' * (1 + levels.index(mark[1]))} {line.strip()}"
    directive = _DIRECTIVE.match(line)
    if directive:
        return directive["rest"] or "" if directive["kind"] in ("note", "tip", "important", "warning") else ""
    return re.sub(r"``([^`]+)``", r"`\1`", line)
