"""From what a question says of speculative decoding to what guesses: the model's own modules, a head, or a model."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from shardproof.instances.catalogue import aliases, named_path
from shardproof.instances.formats import Formats
from shardproof.instances.layers import DenseFeedForward, GroupedQueryAttention, Layer
from shardproof.instances.model import LayerRun, Model
from shardproof.instances.reading import refuse
from shardproof.instances.speculative import MILLION, Draft, Speculation, Speculative

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance

Load = Callable[[str], Model]

EAGLE_STATES = {"eagle": 2, "eagle3": 4}
"""Widths of the hidden state that a head reads for each token: EAGLE joins state and embedding in one matrix, EAGLE-3
joins three states in one matrix, and its attention reads the result beside the embedding."""

HEAD_WIDTH = 128
HEAD_GROUPS = 8
HEAD_GROWTH = (7, 2)
"""Attention and feed-forward widths of an EAGLE head that nobody describes: as published heads of Llama 3 have them."""


def speculation_of(
    asked: Speculative | None, model: Model, where: str, load: Load
) -> tuple[Speculation | None, tuple[str, ...]]:
    """Resolve what a question asks for ``model``, and say what it assumes; ``load`` reads a named model.

    Raises
    ------
    InputError
        If the model has no modules that predict tokens, or a draft does not suit it.
    """
    if asked is None:
        return None, ()
    draft = _DRAFTS[asked.method](asked, model, where, load)
    named = asked.draft_model if isinstance(asked.draft_model, str) else None
    found = Speculation(method=asked.method, guesses=asked.guesses, tokens=asked.tokens, draft=draft, draft_name=named)
    return found, _assumed(asked, found)


def _assumed(asked: Speculative, found: Speculation) -> tuple[str, ...]:
    said = [f"speculative decoding as asked for: {found.text}"]
    if asked.draft_tokens is None and len(asked.acceptance or ()) < 2:
        said.append(f"speculative decoding: {found.guesses} draft tokens, not given (speculative.draft_tokens)")
    if asked.acceptance is None and asked.acceptance_length is None:
        chance = float(asked.shares[0])
        said.append(
            f"speculative decoding: each draft token is accepted with {chance:.0%} where those before it are, "
            f"{found.tokens / 1e6:.4g} tokens an iteration: not given (speculative.acceptance); TPOT hangs on it"
        )
    if asked.method in EAGLE_STATES and (asked.draft_model is None or is_elsewhere(asked.draft_model)):
        why = "not given (speculative.draft_model)" if asked.draft_model is None else "its config is not here"
        said.append(f"{asked.method} head: one dense layer as wide as the model and a whole vocabulary: {why}")
    return tuple(said)


def _modules(asked: Speculative, model: Model, where: str, load: Load) -> Draft:
    """The model's own multi-token-prediction modules: guesses run them in turn; embedding and head are the model's."""
    del load, asked
    if not model.predictor_modules:
        remedy = f"{model.name} has no multi-token-prediction layers in its config; take eagle, draft or ngram"
        raise refuse(where, remedy, field="speculative.method", value="mtp")
    kinds = {f"module {place}": layer for place, layer in enumerate(model.predictors)}
    own = _model(model, f"{model.name} prediction modules", kinds, repeat=model.predictor_modules)
    own = own.model_copy(update={"final_norm_parameters": 3 * model.hidden})
    return Draft(model=own, turns=model.predictor_modules, joined=2 * model.hidden)


def _head(asked: Speculative, model: Model, where: str, load: Load) -> Draft:
    """An EAGLE head: one layer that reads the model's states; its embedding is the model's."""
    joined = EAGLE_STATES[asked.method] * model.hidden
    if asked.draft_model is None or is_elsewhere(asked.draft_model):
        heads = max(1, model.hidden // HEAD_WIDTH)
        layer = Layer(
            attention=GroupedQueryAttention(heads=heads, kv_heads=_groups(heads), head_dim=HEAD_WIDTH),
            feed_forward=DenseFeedForward(intermediate=model.hidden * HEAD_GROWTH[0] // HEAD_GROWTH[1]),
            norm_parameters=2 * model.hidden,
        )
        own = _model(model, f"{asked.method} head", {"head layer": layer}, repeat=1)
        return Draft(model=own.model_copy(update={"formats": Formats.uniform("bf16")}), joined=joined, own_head=True)
    own = _loaded(asked.draft_model, model, load)
    if own.hidden != model.hidden:
        remedy = (
            f"is {own.hidden} wide and {model.name} {model.hidden}: an {asked.method} head reads the model's states"
        )
        raise refuse(where, remedy, field="speculative.draft_model", value=own.name)
    return Draft(model=own, joined=joined, own_head=not own.tied)


def is_elsewhere(named: str | Model) -> bool:
    """Whether a head is named by an id on a hub, whose config is not here."""
    parts = named.split("/") if isinstance(named, str) else ()
    return len(parts) == 2 and named_path(str(named)) is None and str(named).lower() not in aliases("models")


def _groups(heads: int) -> int:
    """Return the largest number of KV heads up to the usual one that divides the heads."""
    return next(count for count in range(min(HEAD_GROUPS, heads), 0, -1) if heads % count == 0)


def _whole(asked: Speculative, model: Model, where: str, load: Load) -> Draft:
    """A smaller model with all that it has; it writes the model's own tokens."""
    assert asked.draft_model is not None
    own = _loaded(asked.draft_model, model, load)
    if abs(own.vocab - model.vocab) * 50 > model.vocab:
        remedy = f"has {own.vocab:,} words and {model.name} {model.vocab:,}: engines ask for one vocabulary"
        raise refuse(where, remedy, field="speculative.draft_model", value=own.name)
    return Draft(model=own, own_embedding=True, own_head=not own.tied)


def _none(asked: Speculative, model: Model, where: str, load: Load) -> None:
    """The host looks guesses up in what was written."""
    del asked, model, where, load


_DRAFTS: dict[str, Callable[[Speculative, Model, str, Load], Draft | None]] = {
    "mtp": _modules,
    "eagle": _head,
    "eagle3": _head,
    "draft": _whole,
    "ngram": _none,
}


def _loaded(named: str | Model, model: Model, load: Load) -> Model:
    """Return a draft's model with the cache of the model that it serves."""
    own = load(named) if isinstance(named, str) else named
    return own.model_copy(update={"kv_dtype": model.kv_dtype})


def _model(model: Model, name: str, kinds: dict[str, Layer], *, repeat: int) -> Model:
    """Return layers with what they share of the model: its widths, formats and vocabulary."""
    kept: dict[str, Any] = {
        field: getattr(model, field)
        for field in ("family", "source", "hidden", "vocab", "tied", "max_position", "formats", "kv_dtype")
    }
    runs = (LayerRun(pattern=tuple(kinds), repeat=repeat),)
    return Model(name=name, kinds=kinds, runs=runs, final_norm_parameters=model.hidden, **kept)


def asked_again(speculation: Speculation | None) -> Speculative | None:
    """Return the question that a resolved answer was, as plans keep it."""
    if speculation is None:
        return None
    draft: str | Model | None = speculation.draft_name
    if draft is None and speculation.method == "draft" and speculation.draft is not None:
        draft = speculation.draft.model
    return Speculative(
        method=speculation.method,
        draft_tokens=speculation.guesses,
        acceptance_length=Fraction(speculation.tokens, MILLION),
        draft_model=draft,
    )


def with_speculation(instance: Instance, found: Speculation | None, assumed: tuple[str, ...], why: str) -> Instance:
    """Return an instance with other speculative decoding than its own (``None``: none), and say why.

    ``assumed``: sentences on it, as `speculation_of` gives them.
    """
    if instance.speculative == found:
        return instance
    kept = tuple(text for text in instance.assumptions if not text.startswith("speculative decoding"))
    note = assumed or ("speculative decoding: none",)
    changes = {"speculative": found, "assumptions": (*kept, f"{note[0]} ({why})", *note[1:])}
    return instance.model_copy(update=changes)
