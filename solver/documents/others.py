"""Files that are no plans: images and pages in markup, questions to the solver; each is refused by its kind."""

from __future__ import annotations

import re

from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import InstanceFile
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node, read_tree

_MARKUP = (
    (re.compile(r"<svg\b", re.I), "an SVG image"),
    (re.compile(r"<!doctype html|<html\b", re.I), "an HTML page"),
    (re.compile(r"<\?xml\b"), "an XML file"),
)
_ASKS = re.compile(r"^\s*\{?\s*[\"']?(?:workload|scenarios)[\"']?\s*:", re.M)
_GIVE = "give a plan (Markdown, YAML or JSON that names model, GPUs and degrees), a manifest, or the engine's command"


def refuse_other(text: str, name: str, *, is_tree: bool) -> None:
    """Refuse a text that is of a known kind and holds no plan.

    Raises
    ------
    InputError
        If it is an image, a page in markup, or a question.
    """
    start = text[:400].lstrip()
    kind = next((kind for pattern, kind in _MARKUP if start.startswith("<") and pattern.match(start)), "")
    if kind == "an XML file" and "<svg" in text[:2000]:
        kind = "an SVG image"
    if kind:
        raise _refuse(name, f"looks like {kind}, which holds no plan; {_GIVE}")
    if is_tree and _ASKS.search(text) and _is_question(read_tree(text, name=name)):
        remedy = "looks like a question (model, device, workload), not a plan: give the plan, and this file with -i"
        raise _refuse(name, f"{remedy}; 'shardproof solve' answers it")


def _is_question(trees: tuple[Node, ...]) -> bool:
    if len(trees) != 1:
        return False
    keys = {key for key, _ in trees[0].pairs()}
    counted = trees[0].text("replicas").isdigit()
    asks = {"model", "device"} <= keys and bool(keys & {"workload", "scenarios"})
    return asks and not counted and keys <= InstanceFile.model_fields.keys()


def _refuse(where: str, remedy: str) -> InputError:
    return InputError([Problem(where=printable(where), field="", value="", remedy=remedy)])
