r"""Closed loop: ``concurrency`` requests always in flight; as one ends, the next arrives.

.. math:: TPOT = D(c) + \frac{c}{o} P, \qquad c = C / (R\, dp)

======  ==============================  ==========================================================
symbol  code                            what
======  ==============================  ==========================================================
C, R    concurrency, replicas           requests in flight, copies of the pipeline
c       sequences                       requests that one attention replica decodes together
o       output_tokens                   tokens that each request is answered with
D(c)    `StepClock.decode`              one decode iteration of c sequences
P       `StepClock.interference`        what prefilling one prompt adds to the others' decode
======  ==============================  ==========================================================

While a request decodes its o tokens, c prompts are prefilled beside it (each request in flight is replaced
once), so each of its tokens carries c / o prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from shardproof.formulations.costs.serving.factors import Factors, Setting, factors_for, setting_of, width_of
from shardproof.formulations.costs.serving.work import PLACE, Load, Terms, end_terms, layer_terms, least_seconds
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model
from shardproof.instances.option import Option

ROUNDING_S = 1e-12


@dataclass(frozen=True)
class Serving:
    """A closed-loop prediction, seconds; ``operations`` splits the TPOT by term."""

    tpot: float
    decode: float
    interference: float
    sequences: float
    operations: dict[str, float]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class StepClock:
    """Times of one model on one device under one engine, stage by stage, layer kind by layer kind.

    A stage's time is ``sum of layer(...) over its layers`` + ``ends(...)`` (on the last stage; elsewhere the
    constant of an iteration only).
    """

    model: Model
    device: Device
    engine: str
    harness: str | None = None
    release: str | None = None

    def factors(self, option: Option) -> Factors:
        """Multipliers under an option."""
        return factors_for(self.setting(option))

    def setting(self, option: Option) -> Setting:
        """What the factors depend on under an option."""
        return self._by_width[width_of(option)]

    @cached_property
    def _by_width(self) -> dict[str, Setting]:
        return {
            wide: setting_of(
                self.model, self.device, self.engine, harness=self.harness, wide=wide, release=self.release
            )
            for wide in ("tp", "ep", "dp")
        }

    def decode_layer(self, kind: str, option: Option, *, sequences: float, context: float) -> float:
        """Seconds of one layer in a decode iteration of ``sequences`` per attention replica."""
        load = Load(sequences, sequences, context, logits=sequences)
        terms = layer_terms(self.model, self.model.kinds[kind], self.device, option, load)
        return _weigh(terms, self.factors(option).decode, prefill=False)

    def decode_ends(self, option: Option, *, sequences: float, context: float) -> float:
        """Seconds of head, sampler and host in a decode iteration."""
        load = Load(sequences, sequences, context, logits=sequences)
        return _weigh(end_terms(self.model, self.device, option, load), self.factors(option).decode, prefill=False)

    def prefill_layer(self, kind: str, option: Option, *, tokens: float) -> float:
        """Seconds by which prefilling a prompt of ``tokens`` in one layer delays the batch beside it."""
        terms = layer_terms(self.model, self.model.kinds[kind], self.device, option, prompt(tokens))
        return _weigh(terms, self.factors(option).prefill, prefill=True)

    def prefill_ends(self, option: Option, *, tokens: float) -> float:
        """Seconds by which the ends of a prompt's prefill delay the batch beside it."""
        terms = end_terms(self.model, self.device, option, prompt(tokens))
        return _weigh(terms, self.factors(option).prefill, prefill=True)

    def decode(self, option: Option, *, sequences: float, context: float) -> float:
        """Seconds of a decode iteration through all layers."""
        layers = (
            count * self.decode_layer(kind, option, sequences=sequences, context=context)
            for kind, count in self.kind_counts.items()
        )
        return sum(layers) + self.decode_ends(option, sequences=sequences, context=context)

    def interference(self, option: Option, *, tokens: float) -> float:
        """Seconds that prefilling one prompt of ``tokens`` adds to the decode beside it."""
        layers = (count * self.prefill_layer(kind, option, tokens=tokens) for kind, count in self.kind_counts.items())
        return sum(layers) + self.prefill_ends(option, tokens=tokens)

    @cached_property
    def kind_counts(self) -> dict[str, int]:
        """How many layers of each kind the model has."""
        kinds = self.model.layer_kinds
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def operations(self, option: Option, *, sequences: float, context: float) -> dict[str, float]:
        """Seconds of a decode iteration by term; ``roofline``: what the datasheet asks for beyond the terms' sum."""
        load = Load(sequences, sequences, context, logits=sequences)
        total = end_terms(self.model, self.device, option, load)
        for kind, count in self.kind_counts.items():
            terms = layer_terms(self.model, self.model.kinds[kind], self.device, option, load)
            total = [value + count * added for value, added in zip(total, terms, strict=True)]
        factors = self.factors(option).decode
        found = {name: factor * total[PLACE[name]] for name, factor in factors.items() if total[PLACE[name]]}
        lifted = self.decode(option, sequences=sequences, context=context) - sum(found.values())
        return found | ({"roofline": lifted} if lifted > ROUNDING_S else {})

    def serve(
        self,
        option: Option,
        *,
        concurrency: float,
        input_tokens: float,
        output_tokens: float,
        stages: int = 1,
        replicas: int = 1,
        interfering: bool = True,
    ) -> Serving:
        """Predict TPOT; ``interfering`` False: prefill runs elsewhere or before (static, disagg)."""
        sequences = max(1.0, concurrency / (replicas * option.attn_dp))
        context = input_tokens + output_tokens / 2
        running = sequences / stages
        decode = self.decode(option, sequences=max(1.0, running), context=context)
        prompt_time = self.interference(option, tokens=input_tokens)
        added = sequences / output_tokens * prompt_time if interfering else 0.0
        return Serving(
            tpot=decode + added,
            decode=decode,
            interference=added,
            sequences=sequences,
            operations=self.operations(option, sequences=max(1.0, running), context=context)
            | ({"prefill_of_others": added} if added else {}),
            unknown=self.factors(option).unknown,
        )


def prompt(tokens: float) -> Load:
    """Load of one whole prompt: every token attends to half of it on average."""
    return Load(tokens, 1.0, tokens / 2, prefill=True, logits=1.0)


def _weigh(terms: Terms, factors: dict[str, float], *, prefill: bool) -> float:
    """Seconds of one layer, or of the ends, no less than the datasheet allows."""
    fitted = sum(factor * terms[PLACE[name]] for name, factor in factors.items())
    return max(fitted, least_seconds(terms, prefill=prefill))
