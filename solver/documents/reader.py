"""Read a plan document of any format into statements and unread lines."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from shardproof.instances.errors import InputError
from shardproof.solver.documents.arithmetic import read_sums
from shardproof.solver.documents.commands import engine_of, read_command
from shardproof.solver.documents.layout import read_experts, read_stage
from shardproof.solver.documents.markdown import parse_markdown
from shardproof.solver.documents.quantities import quantities
from shardproof.solver.documents.sentences import scan, scan_shape
from shardproof.solver.documents.statement import Document, Entry, Kind, Statement, Unread, Value
from shardproof.solver.documents.structured import flatten
from shardproof.solver.documents.text import plain, printable, read_document_text
from shardproof.solver.documents.values import make, read_dtype, read_flag, statement_of
from shardproof.solver.documents.vocabulary import fields_of
from shardproof.solver.documents.wording import section_kind

MAX_MARKDOWN_LINES = 2_500
_NO_UNIT = frozenset({"bytes", "time", "flops", "rate", "price"})
_TRTLLM_KEYS = frozenset(
    {
        "kv_cache_config",
        "moe_expert_parallel_size",
        "moe_tensor_parallel_size",
        "free_gpu_memory_fraction",
        "enable_attention_dp",
        "cuda_graph_config",
        "moe_config",
    }
)


def read_document(path: Path) -> Document:
    """Read a plan: the format follows the file's ending, then its content.

    Raises
    ------
    InputError
        If the file cannot be read as text, or no statement at all is found in it.
    """
    return parse_document(read_document_text(path), name=path.name, suffix=path.suffix.lower())


def parse_document(text: str, *, name: str, suffix: str = "") -> Document:
    """Read the text of a plan document."""
    kind = _kind(text, suffix)
    document = _structured(text, name, kind) if kind in ("yaml", "json") else _markdown(text, name)
    if not document.statements:
        raise InputError(f"{printable(name)}: no statement about a plan was found in it; see docs/audit.md")
    return document


def _kind(text: str, suffix: str) -> Kind:
    if suffix in (".yaml", ".yml"):
        return "yaml"
    if suffix == ".json":
        return "json"
    if suffix in (".md", ".markdown"):
        return "markdown"
    head = text.lstrip()[:1]
    if head in ("{", "["):
        return "json"
    if engine_of(text[:4000]) and not re.search(r"^#+ \w", text, re.M):
        return "command"
    return "markdown"


def _markdown(text: str, name: str) -> Document:
    if text.count("\n") > MAX_MARKDOWN_LINES:
        raise InputError(f"{printable(name)}: has more than {MAX_MARKDOWN_LINES} lines; this is no plan document")
    parsed = parse_markdown(text)
    statements: list[Statement] = []
    unread: list[Unread] = []
    engine = ""
    for command in parsed.commands:
        engine, found, missed = _command(command)
        statements += found
        unread += missed
    for entry in parsed.entries:
        found, reason = interpret(entry)
        statements += found
        if not found and _says_something(entry):
            unread.append(Unread(entry.line, entry.text, reason))
    following = {entry.line: entry for entry in parsed.prose if not entry.key}
    for entry in parsed.prose:
        found = _prose(entry) + _across(entry, following.get(entry.line + 1))
        statements += found
        if not found:
            unread.append(Unread(entry.line, entry.text, "no rule reads it"))
    statements += _title_model(statements, text)
    statements += _named_device(statements, text)
    kind: Kind = "command" if parsed.commands and not parsed.entries else "markdown"
    lines = {statement.line for statement in statements if statement.section == "title"}
    missed_lines = sorted((item for item in unread if item.line not in lines), key=lambda item: item.line)
    return Document(name, kind, _ordered(statements), tuple(dict.fromkeys(missed_lines)), engine)


def _structured(text: str, name: str, kind: Kind) -> Document:
    entries = flatten(text, name=name)
    if len(entries) > MAX_MARKDOWN_LINES:
        raise InputError(f"{printable(name)}: holds more than {MAX_MARKDOWN_LINES} values; this is no plan document")
    keys = {entry.key.replace("-", "_") for entry in entries} | {part for entry in entries for part in entry.sections}
    engine = "trtllm" if keys & _TRTLLM_KEYS else ""
    engine = engine or ("vllm" if keys & {"gpu_memory_utilization", "max_num_batched_tokens", "max_model_len"} else "")
    statements: list[Statement] = []
    unread: list[Unread] = []
    for entry in entries:
        if engine_of(entry.value):
            command = Entry(entry.line, entry.text, entry.sections, "", entry.value, "")
            engine, found, missed = _command(command)
            unread += missed
            reason = ""
        elif engine and not entry.subject and (field := _engine_field(engine, entry)):
            found, reason = [field], ""
        else:
            found, reason = interpret(entry)
        statements += found
        if not found:
            unread.append(Unread(entry.line, entry.text or f"{entry.key}: {printable(entry.value)}", reason))
    return Document(name, kind, _ordered(statements), tuple(unread), engine)


def _engine_field(engine: str, entry: Entry) -> Statement | None:
    from shardproof.solver.documents.commands import FLAGS

    table = FLAGS[engine]
    name = table.get(entry.key) or table.get(entry.key.replace("_", "-")) or table.get(entry.key.replace("-", "_"))
    if name == "kv_precision" and entry.key == "dtype" and "kv_cache_config" not in entry.sections:
        name = "activation_dtype"
    return _engine_statement(name, entry) if name else None


def _command(command: Entry) -> tuple[str, list[Statement], list[Unread]]:
    engine, fields, words = read_command(command)
    found = [statement for name, entry in fields if (statement := _engine_statement(name, entry))]
    unread = [Unread(command.line, printable(word), "says nothing about the plan") for word in words if word]
    if engine:
        found.append(make(command, "engine", engine, "engine"))
    return engine, found, unread


def _engine_statement(name: str, entry: Entry) -> Statement | None:
    """A flag's value as a statement."""
    if name in ("model", "engine"):
        return make(entry, name, printable(entry.value, limit=100), "engine")
    if name in ("precision", "kv_precision", "activation_dtype"):
        dtype = read_dtype(entry.value)
        return make(entry, name, dtype, "engine") if dtype else None
    if name in ("expert_parallel_enabled", "attention_dp_enabled"):
        flag = read_flag(entry.value)
        return None if flag is None else make(entry, name, flag, "engine")
    match = re.fullmatch(r"(\d{1,9})(?:\.(\d{1,6}))?\s*([kK])?", entry.value.strip())
    if match is None:
        return None
    value = Fraction(f"{match[1]}.{match[2] or 0}") * (1024 if match[3] == "K" else 1000 if match[3] else 1)
    return make(entry, name, value, "engine")


def interpret(entry: Entry) -> tuple[list[Statement], str]:
    """Return the statements of a keyed entry, or the reason why there are none."""
    section = section_kind(entry.sections) if entry.sections else "none"
    clean = Entry(entry.line, entry.text, entry.sections, plain(entry.key), plain(entry.value), entry.subject)
    if entry.key == "placement" or "placement" in entry.sections:
        return _placement(clean, section)
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
        statement = statement_of(entry, row, unit, section)
        if statement is not None:
            return [_per_gpu(statement, entry), *_beside(entry, row.name, section)], ""
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
    sizes = [
        item
        for item in quantities(entry.value)
        if item.dimension == "bytes" and item.unit.upper() not in ("B", "M", "G")
    ]
    return [make(entry, "gpu_memory", sizes[0].value, section, sizes[0])] if len(sizes) == 1 else []


def _per_gpu(statement: Statement, entry: Entry) -> Statement:
    """``Weights`` under a heading ``Memory (per GPU)`` are those of one GPU."""
    own = {"weights_total": "weights_per_gpu", "kv_total": "kv_per_gpu"}.get(statement.field)
    heading = entry.sections[-1].lower() if entry.sections else ""
    told = re.search(r"\b(?:per|each|single|one)[ -_]?(?:gpu|device|card|accelerator)", heading) or "per_gpu" in heading
    return replace(statement, field=own) if own and told and "total" not in entry.key.lower() else statement


def _placement(entry: Entry, section: str) -> tuple[list[Statement], str]:
    experts = tuple(int(number) for number in re.findall(r"\d{1,6}", entry.value))[:8192]
    if not experts:
        return [], "holds no expert numbers"
    return [make(entry, "placement_row", experts, section)], ""


def _prose(entry: Entry) -> list[Statement]:
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


def _across(entry: Entry, following: Entry | None) -> list[Statement]:
    """What a sentence says that begins on one line and ends on the next."""
    if following is None or entry.key or following.text.lstrip().startswith(("-", "*", "+", "#", "|")):
        return []
    section = section_kind(entry.sections) if entry.sections else "none"
    alone = {(item.field, item.value) for part in (entry, following) for item in _prose(part)}
    joined = Entry(entry.line, entry.text, entry.sections, "", f"{entry.value} {following.value}", "")
    clean = Entry(joined.line, joined.text, joined.sections, "", plain(joined.value), "")
    return [item for item in scan(clean, section=section) if (item.field, item.value) not in alone]


def _says_something(entry: Entry) -> bool:
    return bool(entry.value.strip() or entry.key.strip())


def _named_device(statements: list[Statement], text: str) -> list[Statement]:
    """The device that running text names, where no line says it."""
    if any(statement.field == "device" for statement in statements):
        return []
    from shardproof.solver.documents.catalogue_match import find_devices

    for number, line in enumerate(text.split("\n")[:400], 1):
        for match in re.finditer(
            r"\b(?:[ABH][123]00|H20|GB[23]00|B300|L40S?|MI3\d\dX|L4)(?:[- ](?:SXM\d?|PCIe|NVL|\d{2,3}GB)){0,2}\b",
            line[:300],
        ):
            if find_devices(match[0]):
                entry = Entry(number, printable(line), (), "title", match[0])
                return [make(entry, "device", match[0], "title")]
    return []


def _title_model(statements: list[Statement], text: str) -> list[Statement]:
    """The model that a title (or the first lines) names, where no line says it."""
    from shardproof.solver.documents.catalogue_match import find_slug

    if any(s.field == "model" and find_slug(str(s.value).partition(",")[0], None) for s in statements):
        return []

    lines = text.split("\n")[:12]
    for number, line in enumerate(lines, 1):
        tokens = re.findall(r"[A-Za-z0-9][\w.+/-]*", plain(line))[:24]
        for size in (4, 3, 2, 1):
            for start in range(len(tokens) - size + 1):
                name = " ".join(tokens[start : start + size]).rstrip(".")
                if re.search(r"\d", name) and re.match(r"[A-Za-z]", name) and find_slug(name, None) is not None:
                    entry = Entry(number, printable(line), (), "title", name)
                    return [make(entry, "model", name, "title")]
    return []


def _ordered(statements: list[Statement]) -> tuple[Statement, ...]:
    return tuple(sorted(statements, key=lambda statement: statement.line))
