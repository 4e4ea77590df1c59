"""Markdown documents: headings, ``- Key: value`` lines, tables and prose, turned into entries.

Nothing is interpreted here: an entry is a key, its value and the headings above it. Lines inside code
fences that call an engine are handed on as commands, other lines as prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from shardproof.solver.documents.statement import Entry
from shardproof.solver.documents.text import MAX_LINE, plain, printable

_HEADING = re.compile(r"^ {0,3}(#{1,6})\s*(.*?)\s*#*\s*$")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s*)?(.*)$")
_RULE = re.compile(r"^\s*([-=_*]\s*){3,}$")
_KEY = re.compile(r"^(?P<key>[^:=|]{1,80}?)\s*(?::|=(?!=))\s*(?P<value>\S.*)?$")
_NEXT_KEY = re.compile(r"\s*[,;|]\s+(?=[A-Za-z][A-Za-z /()-]{0,40}[:=]\s*[^\s,;|])")
_DIVIDER = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_ENGINE = re.compile(r"\bvllm\s+serve\b|vllm\.entrypoints|sglang\.launch_server|\btrtllm-serve\b|\bsglang\s+serve\b")
_NOTES = re.compile(r"note|comment|remark|descri|reason|unit|source|why|detail|explan|formula|calculation")
MAX_CELLS = 24


@dataclass(frozen=True)
class Parsed:
    """What the parse of a Markdown text yields: keyed entries, prose lines and engine commands."""

    entries: tuple[Entry, ...]
    prose: tuple[Entry, ...]
    commands: tuple[Entry, ...]
    titles: tuple[str, ...]


class _Parser:
    """Walks the lines once; holds the headings above and the table that is being read."""

    def __init__(self) -> None:
        self.sections: list[tuple[int, str]] = []
        self.entries: list[Entry] = []
        self.prose: list[Entry] = []
        self.commands: list[Entry] = []
        self.header: list[str] = []
        self.rows: list[int] = []
        self.parent: tuple[int, str] = (-1, "")
        self.fenced = False

    def path(self) -> tuple[str, ...]:
        """Headings above the current line, outermost first."""
        own = tuple(title for _, title in self.sections)
        return (*own, self.parent[1]) if self.parent[1] else own

    def feed(self, number: int, raw: str, following: str) -> None:
        """Read one line; ``following`` is the next one."""
        line = plain(raw[:MAX_LINE])
        if re.match(r"^\s*(```|~~~)", line):
            self.fenced = not self.fenced
        elif not line.strip() or (_RULE.match(line) and not _DIVIDER.match(line)):
            self.close()
        elif self.fenced and _ENGINE.search(line):
            self.commands.append(Entry(number, printable(raw), self.path(), "", line.strip()))
        elif match := _HEADING.match(line) if not self.fenced else None:
            self._heading(number, raw, len(match[1]), match[2])
        elif re.match(r"^(=+|-+)\s*$", following) and not _BULLET.match(line) and "|" not in line:
            self._heading(number, raw, 1 if following.startswith("=") else 2, line.strip())
        elif "|" in line and (line.lstrip().startswith("|") or self.header or _DIVIDER.match(following)):
            self._table(number, raw, line, following)
        elif not _DIVIDER.match(line):
            self._line(number, raw, line)

    def close(self) -> None:
        """End a table; the only row of one is about the whole plan, whatever its label."""
        if len(self.rows) == 1:
            start = self.rows[0]
            for place in range(start, len(self.entries)):
                if self.entries[place].subject.startswith("row "):
                    self.entries[place] = replace(self.entries[place], subject="")
        self.rows, self.header = [], []

    def _heading(self, number: int, raw: str, level: int, title: str) -> None:
        self.close()
        self.parent = (-1, "")
        self.sections = [item for item in self.sections if item[0] < level]
        title = re.sub(r"^\d{1,2}(?:\.\d{1,2})*[.)]?\s+(?=[A-Za-z])", "", _unmark(title))
        if match := _KEY.match(title):
            self._keyed(number, raw, match["key"], match["value"] or "")
        elif re.search(r"\d", title) and level > 1:
            self.prose.append(Entry(number, printable(raw), self.path(), "heading", title))
        self.sections.append((level, title[:120]))

    def _table(self, number: int, raw: str, line: str, following: str) -> None:
        cells = [_unmark(cell) for cell in line.strip().strip("|").split("|")[:MAX_CELLS]]
        if _DIVIDER.match(line):
            return
        if _DIVIDER.match(following):
            self.header = cells
            return
        if not self.header:
            self.header = [""] * len(cells)
        self.rows.append(len(self.entries))
        row = list(zip(self.header, cells, strict=False))
        self.entries += table_row(number, printable(raw), self.path(), row)

    def _line(self, number: int, raw: str, line: str) -> None:
        self.close()
        bullet = _BULLET.match(line)
        indent = len(line) - len(line.lstrip())
        text = _unmark(bullet[1] if bullet else line.strip().lstrip("> "))
        if indent <= self.parent[0]:
            self.parent = (-1, "")
        if not text:
            return
        if _ENGINE.search(text):
            self.commands.append(Entry(number, printable(raw), self.path(), "", text))
        elif (match := _KEY.match(text)) and not (match["value"] or "").startswith("//"):
            if match["value"] is None:
                self.parent = (indent, match["key"][:80])
                if re.search(r"\d", text):
                    self.prose.append(Entry(number, printable(raw), self.path(), "", text))
            else:
                self._keyed(number, raw, match["key"], match["value"])
        else:
            self.prose.append(Entry(number, printable(raw), self.path(), "", text))

    def _keyed(self, number: int, raw: str, key: str, value: str) -> None:
        parts = _NEXT_KEY.split(value)[:12]
        self.entries.append(Entry(number, printable(raw), self.path(), _unmark(key), parts[0].strip()))
        for part in parts[1:]:
            if match := _KEY.match(part.strip()):
                entry = Entry(
                    number, printable(raw), self.path(), _unmark(match["key"]), (match["value"] or "").strip()
                )
                self.entries.append(entry)


def table_row(line: int, text: str, sections: tuple[str, ...], row: list[tuple[str, str]]) -> list[Entry]:
    """Turn one table row (header, cell) into entries: key and value, or one entry per column."""
    if len(row) < 2:
        return [Entry(line, text, sections, "", text)]
    (corner, first), rest = row[0], row[1:]
    subject = _subject(corner, first)
    if subject:
        return [Entry(line, text, sections, name, cell, subject) for name, cell in rest if cell]
    others = [(name, cell) for name, cell in row[2:] if re.search(r"\d", cell) and not _NOTES.search(name.lower())]
    if _is_label(first) and (len(row) == 2 or (_is_value_header(row[1][0]) and not others)):
        unit = next((cell for name, cell in row[2:] if name.lower().strip() in ("unit", "units")), "")
        return [Entry(line, text, sections, first, f"{row[1][1]} {unit}".strip())]
    if not _is_label(first):
        return [Entry(line, text, sections, name, cell) for name, cell in row if cell]
    if all(not name for name, _ in row):
        return [Entry(line, text, sections, first, row[1][1])]
    named = [(corner, first)] if corner else []
    return [Entry(line, text, sections, name, cell, f"row {first[:40]}") for name, cell in named + rest if cell]


def _subject(corner: str, first: str) -> str:
    """Name the stage, GPU or replica that a table row is about, or nothing."""
    text = f"{corner} {first}".lower()
    match = re.search(r"\b(stage|gpu|rank|device|module|replica|pp rank|ep rank)s?\b[^\d]{0,12}(\d{1,5})", text)
    if match is None or re.search(r"\d\s*(?:gb|gib|%|tflops)", first.lower()):
        return ""
    kind = {"module": "stage", "pp rank": "stage", "device": "gpu", "rank": "gpu", "ep rank": "gpu"}
    if not re.match(
        r"^(?:(?:stage|gpu|rank|device|module|replica|pp|ep|s|g)s? ?){0,2}#?\d{1,5}(?:\s*-\s*\d{1,5})?$",
        first.lower().strip(),
    ):
        return ""
    last = re.search(r"\d\s*-\s*(\d{1,5})$", first.strip())
    name = f"{kind.get(match[1], match[1])} {match[2]}"
    return f"{name}-{last[1]}" if last else name


def _is_label(cell: str) -> bool:
    return bool(re.match(r"^[A-Za-z][^|]*$", cell)) and len(re.findall(r"[A-Za-z]{2,}", cell)) >= 1


def _is_value_header(name: str) -> bool:
    return bool(re.search(r"value|degree|setting|size|spec|figure|amount|number|estimate|requirement|^$|choice|result"
                          r"|count|plan|detail|quantity", name.lower()))  # fmt: skip


def _unmark(text: str) -> str:
    """Drop emphasis, code marks and links, keep the words."""
    text = re.sub(r"\[([^\]]{1,80})\]\([^)]{0,200}\)", r"\1", text)
    return re.sub(
        r"\*{1,3}|`+|(?<![A-Za-z0-9])_{1,3}(?=[A-Za-z])|(?<=[A-Za-z.!?])_{1,3}(?![A-Za-z0-9])", "", text
    ).strip()


def parse_markdown(text: str) -> Parsed:
    """Split a Markdown text into entries, prose and engine commands."""
    parser = _Parser()
    lines = text.split("\n")
    joined: tuple[int, str] | None = None
    for number, raw in enumerate(lines, start=1):
        first, line = (number, raw) if joined is None else (joined[0], f"{joined[1]} {raw.strip()}")
        if line.rstrip().endswith("\\") and len(line) < 4 * MAX_LINE and (parser.fenced or _ENGINE.search(line)):
            joined = (first, line.rstrip()[:-1])
            continue
        joined = None
        following = plain(lines[number][:MAX_LINE]) if number < len(lines) else ""
        parser.feed(first, line, following)
    parser.close()
    titles = tuple(title for level, title in parser.sections if level == 1)
    return Parsed(tuple(parser.entries), tuple(parser.prose), tuple(parser.commands), titles)
