"""Scopes: what a number is said of (a GPU, a stage, a token, all GPUs), before or after it in the same line.

A scope that stands beside a number binds it: ``Weights: 33 GB per GPU`` are those of one GPU. What the line says of a
scope for which there is no field (KV cache per token and GPU, throughput of a replica) is not read.
"""

from __future__ import annotations

import re
from dataclasses import replace

from shardproof.solver.documents.quantities import Quantity
from shardproof.solver.documents.statement import Statement

_KINDS = {
    "gpu": r"gpus?|devices?|accelerators?|(?:graphics )?cards?|ranks?|npus?|chips?",
    "stage": r"(?:pipeline[ -])?(?:stages?|modules?)",
    "token": r"tokens?",
    "request": r"requests?|sequences?|prompts?|users?",
    "replica": r"(?:model )?(?:replicas?|instances?|cop(?:y|ies))",
    "node": r"nodes?|servers?|hosts?|machines?",
}
_EACH = r"(?:\b(?:per|each|every)|\b(?:on|in|for|of|by) (?:any )?(?:one|a)|/|(?<=[a-z])_per_|-per-)"
_SCOPES = tuple((name, re.compile(rf"{_EACH} ?(?:single |tp |model )?(?:{words})\b")) for name, words in _KINDS.items())
_ALL = re.compile(
    r"\b(?:on|over|across|for|of|in|by) (?:all|the whole|the entire) (?:the )?(?:\d+ )?"
    rf"(?:{'|'.join(_KINDS.values())}|cluster)\b"
)
_TOTAL = re.compile(r"\b(?:total|in all|overall|altogether|whole model|entire model)\b")
_NUMBER = re.compile(r"\s*-?[\d.,]*\d")
_SECOND = re.compile(r"(?:/|\bper\b) ?s(?:ec(?:ond)?)?\b")
_OPENING = re.compile(rf"^\s*(?:{_EACH}|on (?:each|every)|in (?:each|every))")

FAMILIES: tuple[dict[str, str], ...] = (
    {"": "weights_total", "all": "weights_total", "replica": "weights_total", "gpu": "weights_per_gpu",
     "stage": "weights_per_stage"},
    {"": "kv_total", "all": "kv_total", "gpu": "kv_per_gpu", "stage": "kv_per_stage", "token": "kv_per_token",
     "request": "kv_per_request"},
    {"": "memory_total", "all": "memory_total", "gpu": "memory_per_gpu", "stage": "memory_per_stage"},
    {"": "memory_per_gpu", "gpu": "memory_per_gpu", "stage": "memory_per_stage"},
    {"": "throughput", "all": "throughput", "gpu": "throughput_per_gpu"},
    {"": "price_total", "all": "price_total", "gpu": "price"},
    {"": "experts", "gpu": "experts_per_gpu", "token": "topk"},
    {"": "heads", "gpu": "heads_per_gpu"},
    {"": "kv_heads", "gpu": "kv_heads_per_gpu"},
    {"": "layers", "all": "layers", "stage": "layers_per_stage"},
    {"": "gpus", "all": "gpus", "node": "gpus_per_node", "stage": "gpus_per_stage", "replica": "gpus_per_replica"},
    {"": "gpus_owned", "node": "gpus_per_node", "stage": "gpus_per_stage", "replica": "gpus_per_replica"},
    *({"": name, "gpu": name} for name in (
        "kv_pool", "activations", "reserve", "headroom", "gpu_memory", "gpu_flops", "bandwidth", "memory_utilization")),
    {"": "batch", "all": "batch"},
)  # fmt: skip
"""Fields of one quantity by scope; ``""``: no scope is said."""

_FAMILY_OF = {field: family for family in FAMILIES for field in family.values()}
_OWN_SCOPE = {field: scope for family in FAMILIES for scope, field in family.items() if scope not in ("", "all")}


def scoped(
    statement: Statement, quantity: Quantity, text: str, *, heading: str = "", key: str = ""
) -> Statement | None:
    """Return the statement as one about the scope that its line says; ``None`` where no field is of that scope.

    ``text`` holds the quantity at its place. A ``heading`` says the scope of what says none itself.
    """
    family = _FAMILY_OF.get(statement.field)
    if family is None:
        return statement
    said = _said(text[: quantity.start], text[quantity.start :])
    if bare_total(statement.field) and (_TOTAL.search(key.lower()) or _TOTAL.search(_behind(text[quantity.start :]))):
        said, statement = said | {"all"}, replace(statement, section="total")
    own = _OWN_SCOPE.get(statement.field, "")
    bare = family[""] == statement.field
    if not said and heading and bare and statement.field in ("weights_total", "kv_total", "throughput"):
        said = _scopes_in(heading.lower()) & family.keys()
    if own and not bare:
        said = said | {own}
    if not said:
        return statement
    field = family.get(next(iter(said))) if len(said) == 1 else None
    return None if field is None else replace(statement, field=field)


def _said(before: str, after: str) -> set[str]:
    """Scopes that stand beside a number: behind it up to the next number or clause, or before it in its clause."""
    if found := _scopes_in(_behind(after)):
        return found
    sentence = re.split(r"[;|]|\.\s", before.lower())[-1]
    parts = re.split(r",|\band\b|\d[\d.,]*", sentence)
    opening = parts[0] if _OPENING.match(parts[0]) else ""
    return _scopes_in(parts[-1]) or _scopes_in(opening)


def _behind(after: str) -> str:
    """The words behind a number, up to the next number or the next clause."""
    behind = _SECOND.sub(" ", _NUMBER.sub("", after.lower(), count=1))
    behind = re.sub(r"^([^,;|()\d]{0,20}), ?(?=(?:on |in |for )?(?:per|each|every)\b)", r"\1 ", behind)
    behind = re.sub(r"\beach (?:one )?of (?:the|its|our) (?:\d+ )?", "each ", behind)
    inside = re.match(r"[^(,;:=|\d]*\(([^()\d]*)\)", behind)
    clause = re.split(r"[,;:=|(]|\.(?:\s|$)|\band\b(?! each)|\d", _ALL.sub(_marked, behind))[0]
    return f"{clause} {inside[1] if inside else ''}"


def bare_total(field: str) -> bool:
    """Whether a field is the whole model's, which writers also use for a part of it."""
    return field in ("weights_total", "kv_total")


def _marked(match: re.Match[str]) -> str:
    return re.sub(r"\d+ ", "", match[0])


def _scopes_in(words: str) -> set[str]:
    found = {name for name, pattern in _SCOPES if pattern.search(words)}
    return found | ({"all"} if _ALL.search(words) else set())


def is_scope(text: str) -> bool:
    """Whether a text (a key, a column's head) says a scope and nothing else."""
    return any(re.fullmatch(rf"(?:on |in |for )?{pattern.pattern}", text.strip().lower()) for _, pattern in _SCOPES)
