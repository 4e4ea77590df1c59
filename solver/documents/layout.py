"""Layout lines: which layers and GPUs a stage has, and which experts live where."""

from __future__ import annotations

import re
from fractions import Fraction

from shardproof.solver.documents.quantities import quantities
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.values import make

_STAGE = re.compile(
    r"^\s*(?:pipeline |pp[ -]?)?(?:stages?|modules?|pp[ _-]?ranks?)[ _#-]*(?P<a>\d{1,4})"
    r"(?:\s*(?:-|to|\.\.|through)\s*(?P<b>\d{1,4}))?(?![\d.])",
    re.I,
)
_LAYER_RANGE = re.compile(
    r"\blayers?\s*[:=]?\s*(?P<open>[\[(])?\s*L?(?P<a>\d{1,5})\s*(?P<sep>-|to|\.\.|,|:|through)\s*L?(?P<b>\d{1,5})\s*(?P<close>[\])])?",
    re.I,
)
_LAYER_COUNT = re.compile(r"(?<![\d-])\b(?P<n>\d{1,5})\s+(?:transformer |decoder |moe )?layers?\b(?!\s*\d)", re.I)
_GPU_RANGE = re.compile(
    r"\b(?:gpus?|devices?|ranks?|accelerators?)\s*(?:ids?)?\s*[:=]?\s*[\[(]?\s*#?(?P<a>\d{1,6})\s*(?:-|to|\.\.|through)\s*#?(?P<b>\d{1,6})",
    re.I,
)
_GPU_ONE = re.compile(r"(?<!per )\b(?:gpu|device|rank)\s*#?(?P<a>\d{1,6})\b(?!\s*(?:-|to|\.\.)\s*\d)", re.I)
_GPU_COUNT = re.compile(r"(?<![\d-])\b(?P<n>\d{1,6})\s*(?:x\s*)?(?:gpus?|devices?|accelerators?)\b(?!\s*\d)", re.I)
_RANGE_CELL = re.compile(
    r"^\s*[\[(]?\s*L?(?P<a>\d{1,6})\s*(?P<sep>-|to|\.\.|,|:|through)\s*L?(?P<b>\d{1,6})"
    r"\s*(?P<close>[\])])?\s*(?:\(\d+(?:\s+\w+)?\))?\s*$",
    re.I,
)
_EXPERT_OWNER = re.compile(
    r"\b(?:gpus?|devices?|(?:ep[ -])?ranks?)\s*#?(?P<owner>\d{1,5})(?:\s*-\s*(?P<last>\d{1,5}))?\b", re.I
)
_EXPERT_IDS = re.compile(
    r"\bexperts?\s*(?:ids?)?\s*[:=]?\s*[\[({]?\s*(?P<ids>\d{1,4}(?:\s*(?:-|,|to|\.\.|and)\s*\d{1,4})*)", re.I
)
MAX_IDS = 4096


def read_stage(entry: Entry, *, section: str) -> list[Statement]:
    """Read a stage line or a stage's row of a table; empty if the entry is none."""
    subject, body = entry.subject, f"{entry.key}: {entry.value}" if entry.key else entry.value
    if not subject.startswith("stage"):
        match = _STAGE.match(entry.key or entry.value)
        if match is None:
            return []
        last = match["b"]
        subject = f"stage {int(match['a'])}" + (f"-{int(last)}" if last else "")
        body = (entry.key or entry.value)[match.end() :] + (f": {entry.value}" if entry.key else "")
    about = Entry(entry.line, entry.text, entry.sections, "", body, subject)
    found = _stage_layers(about, entry, section) + _stage_gpus(about, entry, section)
    memory = [item for item in quantities(body) if item.dimension == "bytes" and item.unit.upper() not in ("B", "M")]
    if len(memory) == 1 and not re.search(r"weight|kv|activation|free|headroom|capacity", body.lower()):
        found.append(make(about, "memory_per_stage_gpu", memory[0].value, section, memory[0]))
    return found


def _stage_layers(about: Entry, entry: Entry, section: str) -> list[Statement]:
    cell = re.fullmatch(r"layers?|layer range|layer ids?|layers? \(.*\)", entry.key.strip(), re.I)
    match = _LAYER_RANGE.search(about.value) or (_RANGE_CELL.match(entry.value) if cell else None)
    if match:
        first, last = int(match["a"]), int(match["b"])
        exclusive = match["sep"] == ":" or match["close"] == ")"
        return [make(about, "stage_layers", (first, last - 1 if exclusive else last), section)]
    count = _LAYER_COUNT.search(about.value)
    if count is None and cell and re.fullmatch(r"\s*\d{1,5}\s*", entry.value):
        count = re.match(r"\s*(?P<n>\d+)", entry.value)
    if count is None:
        return []
    return [make(about, "stage_layer_count", Fraction(int(count["n"])), section)]


def _stage_gpus(about: Entry, entry: Entry, section: str) -> list[Statement]:
    cell = re.fullmatch(r"(?:gpus?|devices?|ranks?|gpu ids?|gpu range|gpu ranks?)", entry.key.strip(), re.I)
    match = _GPU_RANGE.search(about.value) or (_RANGE_CELL.match(entry.value) if cell else None)
    if match:
        return [make(about, "stage_gpus", (int(match["a"]), int(match["b"])), section)]
    listed = re.search(r"\b(?:gpus?|devices?)\s*[:=]?\s*\[?\s*(\d{1,5}(?:\s*,\s*\d{1,5})+)", about.value, re.I)
    if listed:
        ids = tuple(int(part) for part in re.findall(r"\d+", listed[1]))[:MAX_IDS]
        if ids == tuple(range(ids[0], ids[0] + len(ids))):
            return [make(about, "stage_gpus", (ids[0], ids[-1]), section)]
    one = None if cell else _GPU_ONE.search(about.value)
    if one and not re.search(r"\bgpus?:? \d+\s*(?:gb|x)", about.value.lower()) and entry.key != "gpus":
        return [make(about, "stage_gpus", (int(one["a"]), int(one["a"])), section)]
    count = _GPU_COUNT.search(about.value)
    if count is None and cell and re.fullmatch(r"\s*\d{1,6}\s*", entry.value):
        count = re.match(r"\s*(?P<n>\d+)", entry.value)
    if count is None:
        return []
    return [make(about, "stage_gpu_count", Fraction(int(count["n"])), section)]


def read_experts(entry: Entry, *, section: str) -> list[Statement]:
    """Read a line of an expert map: ``GPU 0: experts 0-15``, ``Experts 0-15 on GPU 0``, a table row."""
    text = " ".join((entry.subject, entry.key, ":" if entry.key else "", entry.value)).strip()
    if re.fullmatch(r"experts?(?: ids?| range)?", entry.key.strip(), re.I) and entry.subject.startswith("gpu"):
        text = f"{entry.subject} experts {entry.value}"
    mapped = any(re.search(r"expert[ _-]?(?:map|placement|assign)", name.lower()) for name in entry.sections)
    if mapped and re.search(r"\b(?:gpu|rank|device)[ _]?\d", text.lower()) and "expert" not in text.lower():
        text = f"{entry.subject} {entry.key} experts {entry.value}"
    text = re.sub(r"(gpu|rank|device)_(\d)", r"\1 \2", text)
    owner, ids = _EXPERT_OWNER.search(text), _EXPERT_IDS.search(text)
    if owner is None or ids is None or not re.search(r"\d\s*(?:-|,|to|\.\.|and)\s*\d|experts?\s*\d", ids[0]):
        return []
    if owner["last"]:
        return []
    experts = expand(ids["ids"])
    if len(experts) < 1 or (len(experts) == 1 and not re.search(r"experts?\s*(?:ids?)?\s*[:=]?\s*[\[(]?\d", ids[0])):
        return []
    about = Entry(entry.line, entry.text, entry.sections, "", entry.value, f"gpu {int(owner['owner'])}")
    return [make(about, "expert_ids", experts, section)]


def expand(text: str) -> tuple[int, ...]:
    """Expand ``0-3, 8, 10-11`` into its numbers, at most `MAX_IDS` of them."""
    found: list[int] = []
    for part in re.split(r",|and", text):
        bounds = [int(number) for number in re.findall(r"\d+", part)]
        if len(found) >= MAX_IDS:
            break
        if len(bounds) == 2 and bounds[0] <= bounds[1] < bounds[0] + MAX_IDS:
            found += range(bounds[0], bounds[1] + 1)
        else:
            found += bounds
    return tuple(found[:MAX_IDS])
