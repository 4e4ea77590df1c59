"""Leftovers: numbers of a line that was read in part, so that nothing with a number vanishes unsaid."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction
from operator import itemgetter

from shardproof.solver.documents.named import DEVICE, named_models
from shardproof.solver.documents.quantities import Quantity, quantities
from shardproof.solver.documents.sentences import phrases_of, text_of
from shardproof.solver.documents.statement import Entry, Statement, Unread
from shardproof.solver.documents.text import plain, printable
from shardproof.solver.documents.vocabulary import fields_of

REASON = "no rule reads this part of its line"
_WHOLE = frozenset({"sum", "placement_row", "stage_layers", "stage_layer_count", "stage_gpus", "stage_gpu_count",
                    "expert_ids", "sequence_range", "layers_per_stage"})  # fmt: skip
"""Statements that are read from all the numbers of their line."""
_NAMES = re.compile(
    rf"https?://\S+|(?:\b|(?<=\d[xX*]))(?:{DEVICE})\b|\b[A-Za-z][\w.]*(?:[-/_:@][\w.]+)+|\b\d{{4}}-\d\d-\d\d\b|\bv?\d+(?:\.\d+){{2,}}\b"
    r"|(?i:\b(?:step|phase|section|table|figure|line|stage|version|cuda|python|gen|option|note|tier|level|issue) "
    r"?#?\d[\d.]*)"
    r"|\b\d-?bits?\b|#\d+|\b\d(?:st|nd|rd|th)\b"
)
"""Numbers that are part of a name."""
_CLAUSE = re.compile(r"[;|()]\s*|,\s+|\.\s+|\s+(?:and|with|at|on|in|for)\s+(?=\S*\d)|:\s+")


def leftovers(entry: Entry, found: Iterable[Statement], *, section: str) -> list[Unread]:
    """Return the phrases with a number from which nothing was read, of a line from which something was."""
    told = list(found)
    if not told or entry.subject or any(s.field in _WHOLE or s.subject or isinstance(s.value, tuple) for s in told):
        return []
    clean = Entry(entry.line, entry.text, entry.sections, plain(entry.key), plain(entry.value), entry.subject)
    text = text_of(clean)
    open_ones = _outside(text, [*_read(clean, told, text, section), *_named(text, told)])
    if open_ones and (models := named_models(text)):
        open_ones = [one for one in open_ones if not any(start <= one.start < end for start, end in models)]
    cuts = [match.span() for match in _CLAUSE.finditer(text)]
    phrases = dict.fromkeys(_phrase(text, one, cuts) for one in open_ones)
    return [Unread(entry.line, printable(phrase), REASON) for phrase in phrases]


def _outside(text: str, spans: list[tuple[int, int]]) -> list[Quantity]:
    seen: dict[int, Quantity] = {}
    for one in quantities(text):
        if not any(start <= one.start < end for start, end in spans):
            seen.setdefault(one.start, one)
    return list(seen.values())


def _read(entry: Entry, told: list[Statement], text: str, section: str) -> list[tuple[int, int]]:
    """Places of the numbers that statements were read from."""
    fields = {statement.field for statement in told}
    spans = [(p.start, p.end) for p in phrases_of(entry, section=section) if p.statement.field in fields]
    start = 0
    if entry.key not in ("", "heading"):
        start = len(entry.key) + 1
        spans += [(0, start)] if fields_of(entry.key[:100], section)[0] else []
    for statement in told:
        spans += _place(text, statement, start)
    return spans


def _place(text: str, statement: Statement, start: int) -> list[tuple[int, int]]:
    """Where the number of a statement stands first, behind the key."""
    if not isinstance(statement.value, Fraction):
        return []
    alike = {statement.value, statement.value * 1000 / 1024}
    return [(one.start, one.end) for one in quantities(text) if one.start >= start and one.value in alike][:1]


def _named(text: str, told: list[Statement]) -> list[tuple[int, int]]:
    spans = [match.span() for match in _NAMES.finditer(text)]
    for statement in told:
        if isinstance(statement.value, str) and statement.field not in ("device", "model"):
            spans += [match.span() for match in re.finditer(re.escape(statement.value), text, re.I)]
    return spans


def _phrase(text: str, one: Quantity, cuts: Sequence[tuple[int, int]]) -> str:
    """The clause that a number stands in; ``cuts``: where clauses end and the next ones begin, in order."""
    before = bisect_right(cuts, one.start, key=itemgetter(1))
    behind = bisect_left(cuts, one.end, key=itemgetter(0))
    start = cuts[before - 1][1] if before else 0
    end = cuts[behind][0] if behind < len(cuts) else len(text)
    return text[start:end].strip(" .")
