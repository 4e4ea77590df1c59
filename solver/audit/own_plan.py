"""Plans that `solve` wrote, told from every other source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.instances.plan import Plan, plan_from_tree
from shardproof.instances.reading import parse_mapping
from shardproof.solver.documents.sources import is_command
from shardproof.solver.documents.text import read_document_text


def own_plan(source: str | Path) -> Plan | None:
    """Return the plan in a file that ``solve`` wrote; ``None`` for any other source."""
    tree, _ = mapping_of(source, ("moe_ep", "stages"))
    if tree is None:
        return None
    try:
        return plan_from_tree(tree, where=str(source))
    except InputError:
        return None


def mapping_of(source: str | Path, words: tuple[str, ...]) -> tuple[dict[str, Any] | None, str]:
    """Return a file of YAML or JSON that holds these words, as a tree and as text; ``None``: it is no such file."""
    path = Path(source)
    if (isinstance(source, str) and is_command(source)) or path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return None, ""
    text = "" if path.is_dir() else read_document_text(path)
    if not all(word in text for word in words):
        return None, ""
    return parse_mapping(text, where=str(path), json_syntax=path.suffix.lower() == ".json"), text
