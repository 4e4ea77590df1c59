"""What an entry or a sentence says: statements by the vocabulary, by layout lines and by the sentence rules."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from shardproof.solver.documents import guesses
from shardproof.solver.documents.arithmetic import read_sums
from shardproof.solver.documents.layout import read_experts, read_stage
from shardproof.solver.documents.quantities import find, quantities
from shardproof.solver.documents.scopes import is_scope, scoped
from shardproof.solver.documents.sentences import scan, scan_shape
from shardproof.solver.documents.statement import Entry, Statement, Value
from shardproof.solver.documents.text import plain
from shardproof.solver.documents.values import make, statement_of
from shardproof.solver.documents.vocabulary import Field, fields_of
from shardproof.solver.documents.wording import section_kind

_OTHER_PARTS = re.compile(
    r"(?i)\b(?:router|gateway|frontend|ingress|proxy|epp|scheduler|planner|monitoring|grafana|prometheus|redis|etcd|nats"
    r"|webui|sidecar|database|autoscaling|load[-_ ]?balancer)\b"
)
"""Parts of a cluster that run no model."""
LAUNCHED = {
    "sequences": ("launched_sequences", re.compile(r"\d{1,9}")),
    "batched_tokens": ("launched_tokens", re.compile(r"\d{1,9}")),
    "version": ("launched_version", re.compile(r"\d{1,3}(?:\.\d{1,3}){1,2}")),
    "memory_share": ("launched_share", re.compile(r"\d{1,9}(?:/\d{1,9}|\.\d{1,9})?")),
}
"""Settings of its launch that a plan keeps, and the fields that they state: of one attention replica."""
_NO_UNIT = frozenset({"bytes", "time", "flops", "rate", "price"})


def interpret(entry: Entry) -> tuple[list[Statement], str]:
    """Return the statements of a keyed entry, or the reason why there are none."""
    section = section_kind(entry.sections) if entry.sections else "none"
    clean = Entry(entry.line, entry.text, entry.sections, plain(entry.key), plain(entry.value), entry.subject)
    if entry.sections and entry.sections[-1] in guesses.SECTIONS and entry.key in guesses.KEYS:
        found = guesses.statements_of([(entry.key, entry.value)], clean)
        return found, "" if found else "its value is not what the key asks for"
    if entry.sections and entry.sections[-1] == "launched" and entry.key in LAUNCHED:
        return _launched(clean, *LAUNCHED[entry.key]), ""
    if entry.key == "placement" or "placement" in entry.sections:
        return _placement(clean, section)
    if is_scope(clean.key) and not clean.subject:
        return read_prose(replace(entry, key="", value=f"{entry.key}, {entry.value}")), "no rule reads it"
    stage = read_stage(clean, section=section)
    experts = read_experts(clean, section=section)
    found, reason = _by_vocabulary(clean, section)
    known = {(item.field, item.value) for item in found}
    extra = [] if clean.subject else [item for item in scan(clean, section=section) if _is_new(item, known, found)]
    sums = read_sums(clean, section=section)
    if stage or experts:
        degrees = [item for item in extra if item.field in ("tp", "dp", "ep", "moe_tp")]
        extra = [replace(item, subject=stage[0].subject) for item in degrees] if stage else degrees
        found = [] if stage and not clean.subject else [item for item in found if item.field not in _STAGE_FIELDS]
    return stage + experts + found + extra + sums, reason


def _launched(entry: Entry, field: str, pattern: re.Pattern[str]) -> list[Statement]:
    """Return a setting of its launch that a plan keeps, where its value is one."""
    if not entry.value.isascii() or not pattern.fullmatch(entry.value) or re.search(r"/0+$", entry.value):
        return []
    value = entry.value if field == "launched_version" else Fraction(entry.value)
    return [make(entry, field, value, "engine")]


_STAGE_FIELDS = frozenset({"pp", "layers", "gpus", "gpus_owned", "experts", "memory_per_stage", "device"})


def _is_new(item: Statement, known: set[tuple[str, Value]], found: list[Statement]) -> bool:
    """A rule's find that the vocabulary has not read already from the same line."""
    if (item.field, item.value) in known:
        return False
    same = {"experts_replicated": "experts_per_gpu", "tp_heads": "tp"}
    fields = {statement.field for statement in found}
    if item.field in fields or any(field.endswith("_limit") for field in fields):
        return False
    return not (item.field in ("meets_ttft", "fits_memory") and found) and same.get(item.field) not in fields


def _by_vocabulary(entry: Entry, section: str) -> tuple[list[Statement], str]:
    rows, unit = fields_of(entry.key[:100], section)
    reason = "its key is not in the vocabulary" if not rows else ""
    for row in rows:
        if entry.subject and not entry.subject.startswith(("row", "stage", "gpu", "replica")):
            return [], "belongs to a list that is not read"
        if row.name in ("replicas", "nodes") and any(_OTHER_PARTS.search(name) for name in entry.sections):
            return [], "is about another part of the cluster"
        if row.name == "replicas" and entry.sections and entry.value.strip() == "0":
            return [], "is scaled to zero"
        statement = statement_of(entry, row, unit, section)
        if row.name == "gpu_memory" and re.search(
            r"(?i)\b(?:dram|ddr\d?|system|host|cpu)\b", f"{entry.key} {entry.value}"
        ):
            return [], "is the memory of the host"
        if statement is not None:
            bound = _bound(statement, row, entry, unit)
            if bound is None:
                return [], "says its number of a scope that no field has (write for example 'per GPU' or 'in total')"
            return [bound, *_beside(entry, row.name, section)], ""
        if row.kind in _NO_UNIT and re.search(r"\d", entry.value):
            reason = "has no unit that fits; write for example '64 GB' or '30 s'"
        else:
            reason = reason or "its value is not what the key asks for"
    return [], reason


def _beside(entry: Entry, field: str, section: str) -> list[Statement]:
    """The memory that stands beside a device's name: ``H200, 141 GB of memory each``."""
    if field == "model" and not entry.subject:
        return scan_shape(entry, section=section)
    if field != "device" or entry.subject:
        return []
    counted = re.match(r"\s*(\d{1,4})\s*[xX*]\s*(?=[A-Za-z])", entry.value)
    alone = len(re.findall(r"\d\s*[xX*]\s*[A-Za-z]", entry.value)) == 1
    count = [make(entry, "gpus_listed", Fraction(int(counted[1])), section)] if counted and alone else []
    sizes = [
        item
        for item in quantities(entry.value)
        if item.dimension == "bytes" and item.unit.upper() not in ("B", "M", "G")
    ]
    return count + ([make(entry, "gpu_memory", sizes[0].value, section, sizes[0])] if len(sizes) == 1 else [])


def _bound(statement: Statement, row: Field, entry: Entry, unit: str) -> Statement | None:
    """The statement as one of the scope that its line says (``33 GB per GPU``) or, where that says none, its heading.

    ``Weights`` under a heading ``Memory (per GPU)`` are those of one GPU.
    """
    dimension = {"tokens_per_second": "count"}.get(row.kind, row.kind)
    quantity = find(entry.value, dimension, assumed_unit=unit)
    if quantity is None or not isinstance(statement.value, Fraction):
        return statement
    before = entry.value[: quantity.start].lower()
    part = re.search(r"\b(?:weights?|kv(?:[ -]cache)?|activations?)\s*[:=]?\s*$", before)
    if statement.field == "memory_per_gpu" and part and "+" not in before:
        return None
    heading = entry.sections[-1].replace("_", " ") if entry.sections and "total" not in entry.key.lower() else ""
    return scoped(statement, quantity, entry.value, heading=heading, key=entry.key)


def _placement(entry: Entry, section: str) -> tuple[list[Statement], str]:
    experts = tuple(int(number) for number in re.findall(r"\d{1,6}", entry.value))[:8192]
    if not experts:
        return [], "holds no expert numbers"
    return [make(entry, "placement_row", experts, section)], ""


def read_prose(entry: Entry) -> list[Statement]:
    """Return the statements of a sentence."""
    clean = Entry(entry.line, entry.text, entry.sections, entry.key, plain(entry.value), entry.subject)
    section = section_kind(entry.sections) if entry.sections else "none"
    stage = read_stage(Entry(clean.line, clean.text, clean.sections, "", clean.value, ""), section=section)
    experts = read_experts(clean, section=section)
    if stage or experts:
        degrees = [item for item in scan(clean, section=section) if item.field in ("tp", "dp", "ep", "moe_tp")]
        return stage + experts + [replace(item, subject=stage[0].subject) for item in degrees if stage]
    keyed: list[Statement] = []
    if match := re.match(r"^([A-Za-z][A-Za-z /()-]{1,40}?)\s*(?:=|\bis\b|->)\s*(\S.*)$", clean.value):
        keyed, _ = _by_vocabulary(Entry(clean.line, clean.text, clean.sections, match[1], match[2], ""), section)
    known = {(item.field, item.value) for item in keyed}
    more = [item for item in scan(clean, section=section) if _is_new(item, known, keyed)]
    return keyed + more + read_sums(clean, section=section)


def read_across(entry: Entry, following: Entry | None) -> list[Statement]:
    """What a sentence says that begins on one line and ends on the next."""
    if following is None or entry.key or following.text.lstrip().startswith(("-", "*", "+", "#", "|")):
        return []
    section = section_kind(entry.sections) if entry.sections else "none"
    alone = {(item.field, item.value) for part in (entry, following) for item in read_prose(part)}
    joined = Entry(entry.line, entry.text, entry.sections, "", f"{entry.value} {following.value}", "")
    clean = Entry(joined.line, joined.text, joined.sections, "", plain(joined.value), "")
    return [item for item in scan(clean, section=section) if (item.field, item.value) not in alone]


def _says_something(entry: Entry) -> bool:
    return bool(entry.value.strip() or entry.key.strip())
