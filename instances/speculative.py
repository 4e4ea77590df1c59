r"""Speculative decoding: how tokens are guessed ahead, and how many of the guesses hold.

Each iteration verifies the last token and k guesses. With the share :math:`p_i` of iterations in which the first i
guesses all hold, an iteration gives

.. math:: E = 1 + \sum_{i=1}^{k} p_i, \qquad p_i = a^i: \; E = \frac{1 - a^{k+1}}{1 - a}

tokens: every guess up to the first that fails, and one of the model's own. Where one chance a is stated, each guess
holds with it if those before it did. E counts in millionths, rounded down.
"""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from shardproof.instances.base import Record
from shardproof.instances.model import Model
from shardproof.instances.units import Ratio

Method = Literal["mtp", "eagle", "eagle3", "draft", "ngram"]

METHODS: dict[str, Method] = {
    **{name: name for name in get_args(Method)},
    "nextn": "mtp",
    "frozen_kv_mtp": "mtp",
    "draft_model": "draft",
    "draft_target": "draft",
    "drafttarget": "draft",
    "standalone": "draft",
    "ngram_gpu": "ngram",
    "prompt_lookup": "ngram",
}
"""Names of methods as engines spell them, in small letters; names that end in ``_mtp`` are ``mtp`` as well."""

ALIASES = {
    "algorithm": "method",
    "decoding_type": "method",
    "num_speculative_tokens": "draft_tokens",
    "num_steps": "draft_tokens",
    "max_draft_len": "draft_tokens",
    "num_nextn_predict_layers": "draft_tokens",
    "model": "draft_model",
    "speculative_model": "draft_model",
    "draft_model_path": "draft_model",
    "mean_acceptance_length": "acceptance_length",
    "accept_length": "acceptance_length",
    "acceptance_rate": "acceptance",
}
"""Names of engines (beyond their prefix ``speculative_``) for the same field."""

MOST_GUESSES = 64
MILLION = 10**6
USUAL_TOKENS = 3
USUAL_ACCEPTANCE: dict[str, Fraction] = {
    "mtp": Fraction(6, 10),
    "eagle": Fraction(5, 10),
    "eagle3": Fraction(6, 10),
    "draft": Fraction(5, 10),
    "ngram": Fraction(3, 10),
}
"""Chance that a guess holds where a question says none: assumed, not fitted (docs/speculative.md)."""


def method_named(name: str) -> Method | None:
    """Return the method that an engine's word means (``None``: none that is known)."""
    plain = name.strip().lower().replace("-", "_")
    return "mtp" if plain.endswith("_mtp") else METHODS.get(plain)


Chance = Annotated[Ratio, Field(ge=0, le=1)]


def _chances(value: Any) -> Any:
    """One chance, or one for each guess: a list, or text with commas between them."""
    if value is None or isinstance(value, tuple | list):
        return value
    return [part.strip() for part in value.strip("[] ").split(",")] if isinstance(value, str) else [value]


class Speculative(Record):
    """What a question says of speculative decoding; what it leaves open is assumed, and said.

    ``draft_tokens``: guesses an iteration verifies; ``acceptance``: chance that one holds where those before it did, or
    a list, as engines report it by position: the share of iterations in which each is accepted; ``acceptance_length``:
    mean tokens an iteration gives instead, the model's own included; ``draft_model``: catalogue name, id or config of
    what guesses (``draft``, ``eagle``).
    """

    method: Method
    draft_tokens: int | None = Field(default=None, ge=1, le=MOST_GUESSES)
    acceptance: Annotated[tuple[Chance, ...], BeforeValidator(_chances)] | None = None
    acceptance_length: Ratio | None = Field(default=None, ge=1, le=MOST_GUESSES + 1)
    draft_model: str | Model | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        """Accept a method alone, engines' own names, and their JSON."""
        return canonical(tree)

    @field_validator("method", mode="before")
    @classmethod
    def _known(cls, name: Any) -> Any:
        found = method_named(name) if isinstance(name, str) else None
        if found is None:
            raise ValueError(f"is no method that is known; known are {', '.join(get_args(Method))}")
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> Speculative:
        stated = self.acceptance or ()
        if stated and self.acceptance_length is not None:
            raise ValueError("acceptance and acceptance_length say the same twice; keep one")
        if len(stated) > 1 and self.guesses != len(stated):
            raise ValueError(
                f"acceptance lists {len(stated)} shares for {self.guesses} draft_tokens; give one for each"
            )
        if any(later > earlier for earlier, later in pairwise(stated)):
            raise ValueError("acceptance lists shares that rise: a guess holds only where those before it do")
        if self.acceptance_length is not None and self.acceptance_length > self.guesses + 1:
            raise ValueError(
                f"acceptance_length {float(self.acceptance_length):g} is more than the {self.guesses} draft_tokens and"
                " one of the model's own; correct one of them"
            )
        if self.draft_model is not None and self.method in ("mtp", "ngram"):
            raise ValueError(f"draft_model says nothing with method {self.method}, which needs none; leave it out")
        if self.draft_model is None and self.method == "draft":
            raise ValueError("method draft needs a draft_model: a catalogue name, an id or the path of a config.json")
        return self

    @property
    def guesses(self) -> int:
        """Guesses of an iteration, as stated or assumed."""
        listed = len(self.acceptance or ())
        return self.draft_tokens or (listed if listed > 1 else USUAL_TOKENS)

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Share of iterations in which the first 1, 2, ... guesses all hold, as acceptance says or is assumed."""
        stated = self.acceptance or (USUAL_ACCEPTANCE[self.method],)
        return stated if len(stated) > 1 else tuple(stated[0] ** place for place in range(1, self.guesses + 1))

    @property
    def tokens(self) -> int:
        """Tokens that an iteration gives on average, millionths, rounded down."""
        exact = 1 + sum(self.shares) if self.acceptance_length is None else self.acceptance_length
        return int(exact * MILLION)


def canonical(tree: Any) -> Any:
    """Return what a file or a command says as a mapping with our names: a method alone, or engines' own JSON."""
    if isinstance(tree, str):
        try:
            tree = json.loads(tree) if tree.lstrip().startswith("{") else {"method": tree}
        except (json.JSONDecodeError, RecursionError):
            raise ValueError('is no JSON; write for example {"method": "mtp", "num_speculative_tokens": 3}') from None
    if not isinstance(tree, dict):
        return tree
    found: dict[str, Any] = {}
    for key, value in tree.items():
        plain = str(key).replace("-", "_").removeprefix("speculative_")
        plain = "draft_model" if str(key) == "speculative_model" else plain
        name = ALIASES.get(plain, plain)
        if name in found:
            raise ValueError(f"{key} and {name} say the same twice; keep one")
        found[name] = value
    return found


class Draft(Record):
    """What guesses: layers behind a matrix that joins states, and a head; of its own or the model's.

    ``turns``: modules of equal layers, of which each guess runs the next (else every guess runs all layers);
    ``joined``: inputs of the matrix that each module has before its layers (0: none); ``own_embedding`` and
    ``own_head``: whether they are its own.
    """

    model: Model
    turns: int = Field(default=1, ge=1)
    joined: int = Field(default=0, ge=0)
    own_embedding: bool = False
    own_head: bool = False


class Speculation(Record):
    """Speculative decoding, resolved: ``guesses`` each iteration, which gives ``tokens`` millionths of a token.

    ``draft``: what guesses on the devices (``None``: the host alone does).
    """

    method: Method
    guesses: int = Field(ge=1, le=MOST_GUESSES)
    tokens: int = Field(ge=MILLION)
    draft: Draft | None = None
    draft_name: str | None = None

    @property
    def verified(self) -> int:
        """Tokens of each sequence that an iteration computes."""
        return self.guesses + 1

    @property
    def text(self) -> str:
        """The method and its guesses, in words."""
        return f"{self.method}, {self.guesses} draft tokens, {self.tokens / MILLION:.4g} tokens an iteration"
