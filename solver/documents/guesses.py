"""Speculative decoding as it is told in one mapping: vLLM's JSON, TensorRT-LLM's section of options, a plan's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.values import make

SECTION = "speculative_config"
SECTIONS = frozenset({SECTION, "speculative"})
KEYS = {
    "method": "speculative_method",
    "decoding_type": "speculative_method",
    "draft_tokens": "draft_tokens",
    "num_speculative_tokens": "draft_tokens",
    "max_draft_len": "draft_tokens",
    "num_nextn_predict_layers": "draft_tokens",
    "acceptance": "acceptance",
    "acceptance_length": "acceptance_length",
    "draft_model": "draft_model",
    "model": "draft_model",
    "speculative_model": "draft_model",
    "speculative_model_dir": "draft_model",
}
"""Keys of the engines and of plans and the fields that they state; others tune what guesses."""
_RATIO = re.compile(r"\d{1,9}(?:\.\d{1,9}|/[1-9]\d{0,8})?")


def statements_of(pairs: Iterable[tuple[str, str]], entry: Entry) -> list[Statement]:
    """Return what the pairs of a mapping state; a method that stands nowhere is left to be implied."""
    found: dict[str, Statement] = {}
    for key, value in pairs:
        field = KEYS.get(key.replace("-", "_"))
        if field == "draft_tokens" and value.isascii() and value.isdigit() and len(value) < 10:
            found[field] = make(entry, field, Fraction(int(value)), "engine")
        elif field in ("acceptance", "acceptance_length") and _RATIO.fullmatch(value):
            found[field] = make(entry, field, Fraction(value), "engine")
        elif field in ("speculative_method", "draft_model") and value and "$" not in value:
            found[field] = make(entry, field, printable(value, limit=100), "engine")
    return list(found.values())


def statements_of_json(entry: Entry) -> list[Statement]:
    """Return what vLLM's flag states; nothing where its value is no JSON mapping."""
    try:
        tree = json.loads(entry.value)
    except (json.JSONDecodeError, RecursionError, ValueError):
        return []
    if not isinstance(tree, dict):
        return []
    pairs = [(str(key), str(value)) for key, value in tree.items() if isinstance(value, str | int)]
    return statements_of(pairs, replace(entry, text=printable(entry.text)))
