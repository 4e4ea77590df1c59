"""Markdown documents: headings, ``- Key: value`` lines, tables and prose, turned into entries.

Nothing is interpreted here: an entry is a key, its value and the headings above it. Fenced blocks are handed on
whole (`shardproof.solver.documents.fences` says what they are), lines that start an engine as commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from shardproof.solver.documents.scopes import is_scope
from shardproof.solver.documents.statement import Entry
from shardproof.solver.documents.text import MAX_LINE, plain, printable

_HEADING = re.compile(r"^ {0,3}(#{1,6})\s*(.*?)\s*#*\s*$")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s*)?(.*)$")
_RULE = re.compile(r"^\s*([-=_*]\s*){3,}$")
_KEY = re.compile(r"^(?P<key>[^:=|]{1,80}?)\s*(?::|=(?!=))\s*(?P<value>\S.*)?$")
_NEXT_KEY = re.compile(r"\s*[,;|]\s+(?=[A-Za-z][A-Za-z /()-]{0,40}[:=]\s*[^\s,;|])")
_DIVIDER = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_ENGINE = re.compile(
    r"\bvllm\s+serve\b|vllm\.entrypoints|sglang\.launch_server|\btrtllm-serve\b|\bsglang\s+serve\b|\bdocker\s+run\b"
    r"|\bdynamo\.(?:vllm|sglang|trtllm)\b"
)
_FENCE = re.compile(r"^(?P<indent>\s*)(?P<mark>`{3,}|~{3,})\s*\{?\.?(?P<language>[\w+-]*)")
_TAB = re.compile(r"^\s*(?:===|!!!|\?\?\?\+?)\s+(?:\w+\s+)?\"(?P<title>[^\"]{1,120})\"\s*$")
_NOTES = re.compile(r"note|comment|remark|descri|reason|unit|source|why|detail|explan|formula|calculation")
_NAMES_DEVICE = re.compile(r"^(?:\d+\s*x\s*)?(?:[ABH]\d00|H20|GB\d00|B300|L40S?|L4|MI3\d\dX?|A10G?)\b")
MAX_CELLS = 24


@dataclass(frozen=True)
class Block:
    """A fenced block: its language as written, the line of its first line, its text, and where it stands."""

    language: str
    line: int
    text: str
    sections: tuple[str, ...]


@dataclass(frozen=True)
class Parsed:
    """What the parse of a Markdown text yields: keyed entries, prose lines, engine commands and fenced blocks.

    ``places`` gives, line by line, the lines of the headings above.
    """

    entries: tuple[Entry, ...]
    prose: tuple[Entry, ...]
    commands: tuple[Entry, ...]
    titles: tuple[str, ...]
    blocks: tuple[Block, ...] = ()
    places: dict[int, tuple[int, ...]] = field(default_factory=dict)


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
        self.blocks: list[Block] = []
        self.above: list[int] = []
        self.places: dict[int, tuple[int, ...]] = {}

    def path(self) -> tuple[str, ...]:
        """Headings above the current line, outermost first."""
        own = tuple(title for _, title in self.sections)
        return (*own, self.parent[1]) if self.parent[1] else own

    def feed(self, number: int, raw: str, following: str) -> None:
        """Read one line; ``following`` is the next one."""
        line = plain(raw[:MAX_LINE])
        if not line.strip() or (_RULE.match(line) and not _DIVIDER.match(line)):
            self.close()
        elif match := _HEADING.match(line):
            self._heading(number, raw, len(match[1]), match[2])
        elif match := _TAB.match(line):
            self._heading(number, raw, 6, match["title"])
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
        kept = len([item for item in self.sections if item[0] < level])
        self.sections, self.above = self.sections[:kept], [*self.above[:kept], number]
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
            marked = bullet[1] if bullet else line.strip().lstrip("> ")
            self.commands.append(Entry(number, printable(raw), self.path(), "", marked))
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
        scope = f" {row[1][0].lower()}" if is_scope(row[1][0]) else ""
        return [Entry(line, text, sections, first, f"{row[1][1]} {unit}".strip() + scope)]
    if _NAMES_DEVICE.match(first) and len(rest) >= 1:
        return [Entry(line, text, sections, name, cell, f"row {first[:40]}") for name, cell in row if cell]
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
    """Split a Markdown text into entries, prose, engine commands and fenced blocks."""
    parser = _Parser()
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        raw = lines[number]
        if match := _FENCE.match(raw[:MAX_LINE]):
            number = _fenced(parser, lines, number, match)
            continue
        first = number
        line = raw
        while line.rstrip().endswith("\\") and number + 1 < len(lines) and len(line) < 4 * MAX_LINE:
            if not _ENGINE.search(line):
                break
            number += 1
            line = f"{line.rstrip()[:-1]} {lines[number].strip()}"
        number += 1
        following = plain(lines[number][:MAX_LINE]) if number < len(lines) else ""
        if not _FENCE.match(following):
            parser.feed(first + 1, line, following)
        else:
            parser.feed(first + 1, line, "")
        parser.places[first + 1] = tuple(parser.above)
    parser.close()
    titles = tuple(title for level, title in parser.sections if level == 1)
    return Parsed(
        tuple(parser.entries), tuple(parser.prose), tuple(parser.commands), titles, tuple(parser.blocks), parser.places
    )


def _fenced(parser: _Parser, lines: list[str], start: int, match: re.Match[str]) -> int:
    """Take a fenced block; return the place after it. A fence that is never closed ends with the text."""
    end = start + 1
    closing = re.compile(rf"^\s*{match['mark'][0]}{{{len(match['mark'])},}}\s*$")
    while end < len(lines) and not closing.match(lines[end]):
        end += 1
    indent = len(match["indent"])
    body = [line[indent:] if not line[:indent].strip() else line for line in lines[start + 1 : end]]
    parser.close()
    parser.blocks.append(Block(match["language"].lower(), start + 2, "\n".join(body), parser.path()))
    for number in range(start + 1, min(end, len(lines)) + 2):
        parser.places[number] = tuple(parser.above)
    return end + 1


def parse_lines(block: Block) -> Parsed:
    """Split the lines of a block that holds plain text, as if they stood in the page."""
    parser = _Parser()
    parser.sections = [(6, title) for title in block.sections]
    lines = block.text.split("\n")
    for place, line in enumerate(lines):
        following = plain(lines[place + 1][:MAX_LINE]) if place + 1 < len(lines) else ""
        if _HEADING.match(line):
            continue
        parser.feed(block.line + place, line, following)
    parser.close()
    return Parsed(tuple(parser.entries), tuple(parser.prose), tuple(parser.commands), ())
