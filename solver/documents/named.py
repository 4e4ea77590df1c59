"""Models and devices that a page names in passing, where no line states them."""

from __future__ import annotations

import re

from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.text import plain, printable
from shardproof.solver.documents.values import make

DEVICE = (
    r"(?:[ABH][123]00|H20|GB[23]00|B300|L40S?|MI3\d\d[Xx]?|L4|A10G?)"
    r"(?:[- ](?:SXM\d?|PCIe|NVL|\d{2,3} ?GB)){0,2}"
)
_DEVICE = re.compile(rf"(?:(?<![\w-])|(?<=\d[xX*])){DEVICE}\b")


def named_devices(statements: list[Statement], text: str, *, several: bool, strict: bool) -> list[Statement]:
    """The device that running text names, where no line states it.

    With ``several`` plans in the text, every line that names one device says it to its own section; ``strict``:
    a text that names different devices says nothing about its one plan.
    """
    if any(statement.field == "device" and not several for statement in statements):
        return []
    stated = {statement.line for statement in statements if statement.field == "device"}
    found: list[Statement] = []
    names: set[str] = set()
    for number, line in enumerate(text.split("\n")[:2500], 1):
        own = list(dict.fromkeys(_devices_of(line)))
        names |= {name.replace("-", " ").split()[0] for name in own}
        if own and number not in stated:
            entry = Entry(number, printable(line), (), "title", own[0])
            found.append(make(entry, "device" if len(own) == 1 else "device_choice", own[0], "title"))
    if several:
        return found
    named = [statement for statement in found if statement.field == "device"]
    return named[:1] if len(names) == 1 or not strict else []


def _devices_of(line: str) -> list[str]:
    from shardproof.solver.documents.catalogue_match import find_devices

    if re.search(r"(?i)\bbenchmark|\bavoid\b|\bcannot\b", line):
        return []
    return [match[0] for match in _DEVICE.finditer(plain(line[:300])) if find_devices(match[0])]


def title_model(statements: list[Statement], text: str) -> list[Statement]:
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


def named_models(text: str) -> list[tuple[int, int]]:
    """Places of the names of catalogue models in a line, e.g. of ``Llama 3.1 70B``."""
    from shardproof.solver.documents.catalogue_match import find_slug

    tokens = list(re.finditer(r"[A-Za-z0-9][\w.+/-]*", text[:600]))[:40]
    found: list[tuple[int, int]] = []
    for place, first in enumerate(tokens):
        for last in tokens[place : place + 4]:
            name = text[first.start() : last.end()].rstrip(".")
            if re.search(r"\d", name) and first[0][0].isalpha() and find_slug(name, None) is not None:
                found.append((first.start(), last.end()))
    return found
