"""What a document tells of speculative decoding: the question that it amounts to, and the instance under it.

A launch that guesses tokens ahead is judged so, and one that says nothing of it is judged without, whatever the
question says: the engine does what it is told. How many guesses hold is the question's, where it asks for as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from shardproof.instances.catalogue import load_draft, named_path
from shardproof.instances.drafts import EAGLE_STATES, speculation_of, with_speculation
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.model import Model
from shardproof.instances.speculative import (
    MILLION,
    MOST_GUESSES,
    USUAL_ACCEPTANCE,
    USUAL_TOKENS,
    Method,
    Speculation,
    Speculative,
    method_named,
)
from shardproof.solver.documents.statement import Document
from shardproof.solver.evaluation.speculative_flags import draft_name

FIELDS = (
    "speculative_method",
    "draft_tokens",
    "verified_tokens",
    "draft_topk",
    "draft_model",
    "acceptance",
    "acceptance_length",
)
"""What documents state of speculative decoding."""


def is_stated(document: Document) -> bool:
    """Whether a document tells of speculative decoding at all."""
    return document.first(*FIELDS) is not None


def method_of(document: Document, model: Model | None) -> Method | None:
    """Return the method that a document names or implies (``None``: none that is known here)."""
    named, draft = document.first("speculative_method"), document.first("draft_model")
    found = None if named is None else method_named(str(named.value))
    own = model is not None and model.predictor_modules > 0
    if found == "eagle" and document.engine == "sglang" and own and draft is None:
        return "mtp"  # SGLang has one name for both, and takes the model's own modules where no head is named
    if found == "eagle" and document.engine == "trtllm":
        return "eagle3"
    if named is not None or draft is not None:
        return found if named is not None else "draft"
    return "mtp" if own else None


def _asked_of(document: Document, model: Model | None, given: Speculation | None) -> Speculative | None:
    """Return the question that a document amounts to; ``given``: that of the instance, whose acceptance counts.

    A tree of guesses is verified as a whole and holds no deeper than its steps.
    """
    method = method_of(document, model)
    if not is_stated(document) or method is None:
        return None
    steps, verified, wide = (_whole(document, name) for name in ("draft_tokens", "verified_tokens", "draft_topk"))
    depth = steps or (verified - 1 if verified and verified > 1 else USUAL_TOKENS)
    guesses = max(depth, verified - 1) if verified and (wide or 1) > 1 else depth
    guesses, depth = min(guesses, MOST_GUESSES), min(depth, MOST_GUESSES)
    draft = document.first("draft_model")
    named = str(draft.value) if draft is not None and method not in ("mtp", "ngram") else None
    if named is not None and method in EAGLE_STATES and named_path(named) is not None:
        named = None  # a head that lies elsewhere is taken as heads usually are
    if given is not None and given.guesses == guesses:
        length = Fraction(given.tokens, MILLION)
        return Speculative(method=method, draft_tokens=guesses, acceptance_length=length, draft_model=named)
    counted, stated = document.number("acceptance_length"), document.number("acceptance")
    if counted is not None and 1 <= counted <= guesses + 1:
        return Speculative(method=method, draft_tokens=guesses, acceptance_length=counted, draft_model=named)
    own = None if stated is None or stated > 1 else (stated,)
    chance = USUAL_ACCEPTANCE[method] if own is None else own[0]
    shares = tuple(chance**place if place <= depth else Fraction(0) for place in range(1, guesses + 1))
    return Speculative(
        method=method, draft_tokens=guesses, acceptance=shares if guesses > depth else own, draft_model=named
    )


def _whole(document: Document, field: str) -> int | None:
    found = document.number(field)
    return int(found) if found is not None and found.denominator == 1 and found >= 1 else None


@dataclass(frozen=True)
class Told:
    """What a document tells of speculative decoding: the question, its answer (``None``: not understood, and why).

    ``assumed``: sentences on what the document leaves open.
    """

    asked: Speculative | None = None
    found: Speculation | None = None
    assumed: tuple[str, ...] = ()
    why: str = ""


def told(document: Document, model: Model | None, given: Speculation | None) -> Told:
    """Return what a document's speculative decoding is, and why it is not understood where it is not."""
    if model is None or not is_stated(document):
        return Told()
    try:
        asked = _asked_of(document, model, given)
        if asked is None:
            return Told(why="what guesses tokens so is not known here")
        return Told(asked, *speculation_of(asked, model, document.name, _loaded))
    except InputError as error:
        return Told(why=error.problems[0].remedy)
    except ValueError as error:
        return Told(why=str(error)[:200])


def _loaded(name: str) -> Model:
    """Load a model that a document names; no path in a document is opened."""
    if named_path(name) is not None:
        raise InputError(
            [Problem("document", "draft_model", name[:80], "a path, and a document's paths are not opened")]
        )
    return load_draft(name)


def _is_as_asked(heard: Told, document: Document, given: Speculation | None) -> bool:
    """Whether a launch guesses as the question asks, with what the question names."""
    asked, draft = heard.asked, document.first("draft_model")
    if given is None or asked is None or (asked.method, asked.guesses) != (given.method, given.guesses):
        return False
    return draft is None or str(draft.value) in (given.draft_name, draft_name(given))


def as_launched(document: Document, instance: Instance) -> Instance:
    """Return the instance under what a launch tells of speculative decoding."""
    own = instance.speculative
    if is_stated(document):
        heard = told(document, instance.model, own)
        if _is_as_asked(heard, document, own):
            return instance
        return with_speculation(instance, heard.found, heard.assumed, "the launch tells of it")
    if own is None or document.start is None or document.open:
        return instance
    return with_speculation(instance, None, (), "the launch guesses no tokens ahead, though the question asks for it")
