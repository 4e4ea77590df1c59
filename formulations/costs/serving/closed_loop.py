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

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import Clock
from shardproof.formulations.costs.serving.factors import (
    Factors,
    Setting,
    factors_for,
    kernels_of,
    setting_of,
    width_of,
)
from shardproof.formulations.costs.serving.operators import clock_for, served_ends, served_iteration, served_layer
from shardproof.formulations.costs.serving.work import PLACE, Load, Terms, least_seconds, peak
from shardproof.formulations.costs.speculative import guess_steps, turn_layers
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.speculative import Draft, Speculation

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
    constant of an iteration only). Scales are corrections that a user measured.
    """

    model: Model
    device: Device
    engine: str
    harness: str | None = None
    release: str | None = None
    prefill_scale: float = 1.0
    decode_scale: float = 1.0

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

    def decode_layer(self, kind: str, option: Option, *, sequences: float, context: float, tokens: int = 1) -> float:
        """Seconds of one layer in a decode iteration of ``sequences`` per attention replica, ``tokens`` of each."""
        load = Load(sequences * tokens, sequences, context, logits=sequences * tokens)
        return self._weigh(self._layer(kind, option, load), option, prefill=False)

    def decode_ends(self, option: Option, *, sequences: float, context: float, tokens: int = 1) -> float:
        """Seconds of head, sampler and host in a decode iteration."""
        load = Load(sequences * tokens, sequences, context, logits=sequences * tokens)
        return self._weigh(self._ends(option, load), option, prefill=False)

    def prefill_layer(self, kind: str, option: Option, *, tokens: float) -> float:
        """Seconds by which prefilling a prompt of ``tokens`` in one layer delays the batch beside it."""
        return self._weigh(self._layer(kind, option, prompt(tokens)), option, prefill=True)

    def prefill_ends(self, option: Option, *, tokens: float) -> float:
        """Seconds by which the ends of a prompt's prefill delay the batch beside it."""
        return self._weigh(self._ends(option, prompt(tokens)), option, prefill=True)

    def guesses(self, speculation: Speculation, option: Option, step: Step) -> float:
        """Seconds of the guesses after a step, beside its host's share, which comes once an iteration."""
        draft, total = speculation.draft, 0.0
        if draft is None:
            return total
        for own in guess_steps(speculation, step):
            prefill = own.phase == "prefill"
            load = _load_of(own, option)
            for layer in turn_layers(draft):
                terms = served_layer(draft.model, layer, self.device, option, load, self.clock)
                total += self._weigh(terms, option, prefill=prefill)
            total += self._weigh(self._guess_ends(draft, option, load), option, prefill=prefill)
        return total

    def _guess_ends(self, draft: Draft, option: Option, load: Load) -> Terms:
        """Work of a guess outside its layers: the head for each sequence, and the matrix that joins states."""
        once = replace(load, tokens=load.sequences, logits=load.sequences, prefill=False)
        terms = served_ends(draft.model, self.device, option, once, self.clock)
        for name in ("step", "tokens", "sequences"):
            terms[PLACE[name]] = 0.0
        elements = draft.joined * draft.model.hidden
        terms[PLACE["weights"]] += 2 * elements / float(self.device.memory_bandwidth)
        terms[PLACE["gemm"]] += 2 * elements * load.tokens / peak(self.device, "bf16")
        return terms

    def _weigh(self, terms: Terms, option: Option, *, prefill: bool) -> float:
        """Seconds of one layer, or of the ends, no less than the datasheet allows."""
        factors = self.factors(option)
        weights, scale = (factors.prefill, self.prefill_scale) if prefill else (factors.decode, self.decode_scale)
        least = least_seconds(terms, prefill=prefill)
        fitted = sum(factor * terms[PLACE[name]] for name, factor in weights.items())
        return max(scale * max(fitted, least), least)

    def _layer(self, kind: str, option: Option, load: Load) -> Terms:
        return served_layer(self.model, self.model.kinds[kind], self.device, option, load, self.clock)

    def _ends(self, option: Option, load: Load) -> Terms:
        return served_ends(self.model, self.device, option, load, self.clock)

    @cached_property
    def clock(self) -> Clock:
        """The operators' own clock under this engine."""
        return clock_for(self.device, kernels_of(self.engine))

    def decode(self, option: Option, *, sequences: float, context: float, tokens: int = 1) -> float:
        """Seconds of a decode iteration through all layers, ``tokens`` of each sequence."""
        layers = (
            count * self.decode_layer(kind, option, sequences=sequences, context=context, tokens=tokens)
            for kind, count in self.kind_counts.items()
        )
        return sum(layers) + self.decode_ends(option, sequences=sequences, context=context, tokens=tokens)

    def interference(self, option: Option, *, tokens: float) -> float:
        """Seconds that prefilling one prompt of ``tokens`` adds to the decode beside it."""
        layers = (count * self.prefill_layer(kind, option, tokens=tokens) for kind, count in self.kind_counts.items())
        return sum(layers) + self.prefill_ends(option, tokens=tokens)

    @cached_property
    def kind_counts(self) -> dict[str, int]:
        """How many layers of each kind the model has."""
        kinds = self.model.layer_kinds
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def operations(self, option: Option, *, sequences: float, context: float, tokens: int = 1) -> dict[str, float]:
        """Seconds of a decode iteration by term; ``roofline``: what the datasheet asks for beyond the terms' sum."""
        load = Load(sequences * tokens, sequences, context, logits=sequences * tokens)
        total = served_iteration(self.model, self.device, option, load, self.clock)
        factors = self.factors(option).decode
        scale = self.decode_scale
        found = {name: scale * factor * total[PLACE[name]] for name, factor in factors.items() if total[PLACE[name]]}
        whole = self.decode(option, sequences=sequences, context=context, tokens=tokens)
        lifted = whole - sum(found.values())
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
        most_running: float = inf,
    ) -> Serving:
        """Predict TPOT; ``interfering`` False: prefill runs elsewhere or before (static, disagg).

        ``most_running``: sequences that the cache of one attention replica holds; more wait.
        """
        sequences = min(max(1.0, concurrency / (replicas * option.attn_dp)), max(1.0, most_running))
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


def _load_of(step: Step, option: Option) -> Load:
    """Load of a step on one attention replica."""
    if step.phase == "prefill":
        return prompt(step.tokens)
    sequences = max(1.0, step.requests / option.attn_dp)
    return Load(sequences * step.tokens, sequences, step.context, logits=sequences)


def prompt(tokens: float) -> Load:
    """Load of one whole prompt: every token attends to half of it on average."""
    return Load(tokens, 1.0, tokens / 2, prefill=True, logits=1.0)
