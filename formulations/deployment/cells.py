"""Cells of the tables: what one layer, and the two ends of a pipeline, cost under one option.

Memory in bytes, exact; times in nanoseconds, rounded up. Burst steps, and closed loops of instances with flat
efficiencies, are timed operation by operation; closed loops of calibrated instances by factors of measured
deployments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from shardproof.formulations.costs import memory
from shardproof.formulations.costs.clocks import clock_of
from shardproof.formulations.costs.communication import hand_over, layer_collectives
from shardproof.formulations.costs.compute import Step, embedding_operation, head_operation, layer_operations
from shardproof.formulations.costs.operations import Clock, LinkName, Operation
from shardproof.formulations.costs.roofline import Roofline
from shardproof.formulations.costs.serving.factors import width_of
from shardproof.formulations.costs.serving.first_token import (
    CHUNK_TOKENS,
    UNFITTED,
    Wait,
    fitted_factors,
    wait_of,
)
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.costs.speculative import (
    draft_weight_bytes,
    guess_operations,
    guess_slack,
    guesses_of,
    per_token,
    verifying,
)
from shardproof.formulations.deployment.balance import (
    ImbalanceTable,
    balanced_kind,
    balanced_kinds,
    base_kind,
    grouped_kinds,
)
from shardproof.formulations.deployment.grids import Grid
from shardproof.formulations.deployment.layer_times import LayerTimes, Parts
from shardproof.formulations.deployment.lazy import Ints
from shardproof.formulations.deployment.remembered import EndTimes, Remembered, remembered
from shardproof.formulations.engines.told import account_of
from shardproof.formulations.scaling import (
    corrected_nanoseconds,
    corrected_slack,
    fitted_nanoseconds,
    nanoseconds_up,
)
from shardproof.instances.clock import check_time
from shardproof.instances.instance import Instance
from shardproof.instances.layers import Layer, LinearAttention
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.speculative import Draft, Speculation
from shardproof.instances.workload import ClosedLoop, Scenario

if TYPE_CHECKING:
    from shardproof.formulations.costs.serving.closed_loop import StepClock


@dataclass(frozen=True)
class Variant:
    """What tells layouts of one replica count apart: the link between stages, and one stage or several.

    ``load``: requests of each scenario that one replica takes.
    """

    replicas: int
    link: LinkName
    single_stage: bool
    load: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the layout."""
        single = ", one stage" if self.single_stage else ""
        return f"requests={'/'.join(map(str, self.load))}, {self.link}{single}"


@dataclass(frozen=True)
class MemoryParts:
    """Memory of a stage outside its layers, bytes."""

    runtime: int
    activations: int
    buffers: int
    received: int
    embedding: int
    head: int
    logits: int
    draft: int = 0

    @property
    def base(self) -> int:
        """What every stage keeps."""
        return self.runtime + self.activations + self.buffers

    @property
    def entry(self) -> int:
        """What a stage after the first keeps besides."""
        return self.received

    @property
    def first(self) -> int:
        """What the first stage keeps besides."""
        return self.embedding

    @property
    def last(self) -> int:
        """What the last stage keeps besides."""
        return self.head + self.logits + self.draft


def is_stream(scenario: Scenario) -> bool:
    """Whether a scenario's prompts come one after the other, within a window, to replicas that prefill alone."""
    return isinstance(scenario.workload, ClosedLoop) and scenario.workload.window is not None


def prefill_step(scenario: Scenario, requests: int) -> Step:
    """Return the prefill step of a microbatch of ``requests`` whole prompts."""
    loop = isinstance(scenario.workload, ClosedLoop)
    return Step("prefill", requests, scenario.workload.input_tokens, 0, loop)


def own_prefill_step(scenario: Scenario) -> Step:
    """Return the prefill of one prompt with nothing beside it: a burst of one."""
    workload = scenario.workload
    first = workload.first_prompt_tokens if isinstance(workload, ClosedLoop) else None
    return Step("prefill", 1, first or workload.input_tokens, 0, loop=False)


def decode_step(scenario: Scenario, requests: int, speculation: Speculation | None) -> Step:
    """Return the decode step half-way through the output: a token for each of ``requests`` sequences, and guesses."""
    workload = scenario.workload
    loop = isinstance(workload, ClosedLoop)
    step = Step("decode", requests, 1, workload.input_tokens + divide_up(workload.output_tokens, 2), loop)
    return verifying(step, speculation, output_tokens=workload.output_tokens)


class Cells:
    """Costs of the layers and ends of one instance; every cell is computed once."""

    def __init__(
        self, instance: Instance, *, clock: Clock | None = None, imbalance: ImbalanceTable | None = None
    ) -> None:
        """Take the instance; ``clock`` replaces its own, ``imbalance`` is what its load profile makes of each layer."""
        self.instance, self.imbalance = instance, imbalance
        self.clock = clock or clock_of(instance)
        self.engine = None if instance.engine == "any" else account_of(instance)
        self.layer_kinds, self._balance = balanced_kinds(instance.model, imbalance)
        if self.engine is not None:
            self.layer_kinds = grouped_kinds(self.layer_kinds, self.engine.groups)
        self.kind_names = tuple(dict.fromkeys(self.layer_kinds))
        own = clock is not None or imbalance is not None
        self._remember(Remembered.nothing(instance.model.layer_count) if own else remembered(instance))
        self._waits: dict[tuple[str | None, int, Fraction, int | None], Wait] = {}
        self._roofline = Roofline(instance.device)

    @cached_property
    def _times(self) -> LayerTimes:
        """Times of layers by the clock; parts of them are kept in the store."""
        own = self.instance, self.clock, self._store.parts, self._store.work
        return LayerTimes(*own, scale=self._scale, imbalance=self._imbalance_of)

    def _imbalance_of(self, kind: str, option: Option) -> Fraction | None:
        """Load of the most loaded rank over the mean (``None``: equal loads)."""
        found = self._balance.get(balanced_kind(kind), {}).get((option.moe_ep, option.extra_slots))
        return None if found is None else found.achieved

    @cached_property
    def _least_times(self) -> LayerTimes:
        """Times of layers if experts balanced as well as no placement is proven not to."""
        store, work = Parts(), self._store.work
        return LayerTimes(self.instance, self.clock, store, work, scale=self._scale, imbalance=self._least_imbalance_of)

    def _least_imbalance_of(self, kind: str, option: Option) -> Fraction | None:
        found = self._balance[kind].get((option.moe_ep, option.extra_slots))
        return None if found is None else found.lower

    def unproven_time(self, kind: str, options: Sequence[Option], step: Step) -> int:
        """Largest difference, ns, that a placement not proven to be the best makes to a layer's time; 0: none does.

        Loops timed by factors of measured deployments know nothing of placements.
        """
        if step.loop and self.serving is not None:
            return 0
        balance = self._balance[kind]
        cells = [(option, balance.get((option.moe_ep, option.extra_slots))) for option in options]
        doubtful = [option for option, cell in cells if cell is not None and cell.lower < cell.achieved]
        if not doubtful:
            return 0
        base = base_kind(kind)
        gaps = self._times.of(kind, base, doubtful, step) - self._least_times.of(kind, base, doubtful, step)
        return max(0, int(gaps.max()))

    def _remember(self, store: Remembered) -> None:
        """Read cells from a store of the same subject, and add to it."""
        self._store = store
        self.__dict__.pop("_times", None)
        self._layer_cells, self._end_cells = store.layer, store.ends

    def memory_parts(self, variant: Variant, scenario: Scenario, step: Step | None, option: Option) -> MemoryParts:
        """Memory of a stage that does not depend on its layers, by part, bytes."""
        check_time()
        model, dtype = self.instance.model, self.instance.activations
        work = buffers = received = logits = 0
        if step is not None:
            requests, tokens = step.requests, step.tokens
            work = memory.workspace_bytes(model, option, requests=requests, tokens=tokens, dtype=dtype)
            buffers, received = memory.buffer_bytes(model, option, requests=requests, tokens=tokens, dtype=dtype)
            logits = memory.logits_bytes(model, option, requests=requests * (tokens if step.phase == "decode" else 1))
        head = 0 if variant.single_stage else memory.head_bytes(model, option)
        del scenario
        return MemoryParts(
            runtime=self.instance.runtime_reserve,
            activations=work,
            buffers=buffers,
            received=received,
            embedding=memory.embedding_bytes(model, option),
            head=head,
            logits=logits,
            draft=0 if self.draft is None else draft_weight_bytes(self.draft, option),
        )

    def layer_weights(self, kind: str, option: Option) -> int:
        """Weights of one layer on one device, bytes."""
        kind = base_kind(kind)
        key = ("weights", kind, option)
        if key not in self._layer_cells:
            model = self.instance.model
            self._layer_cells[key] = memory.layer_weight_bytes(model, model.kinds[kind], option)
        return self._layer_cells[key]

    @property
    def draft(self) -> Draft | None:
        """What guesses tokens on the devices of a last stage (``None``: nothing does)."""
        return None if self.instance.speculative is None else self.instance.speculative.draft

    def layer_kv(self, kind: str, option: Option, scenario: Scenario, requests: int) -> int:
        """KV cache of one layer on one device, bytes: the replica's requests, or one of the longest allowed."""
        return self._kept(self.instance.model, self.instance.model.kinds[base_kind(kind)], option, scenario, requests)

    def draft_kv(self, option: Option, scenario: Scenario, requests: int) -> int:
        """KV cache of what guesses, on one device of a last stage, bytes."""
        draft = self.draft
        if draft is None:
            return 0
        layers = Counter(draft.model.layer_kinds).items()
        return sum(
            count * self._kept(draft.model, draft.model.kinds[kind], option, scenario, requests)
            for kind, count in layers
        )

    def _kept(self, model: Model, layer: Layer, option: Option, scenario: Scenario, requests: int) -> int:
        """Cache of a layer: a slot for each guess besides, and a recurrent state for each."""
        workload, guesses = scenario.workload, guesses_of(self.instance.speculative)
        states = 1 + guesses if isinstance(layer.attention, LinearAttention) else 1
        tokens = workload.resident_tokens + guesses
        kept = memory.layer_kv_bytes(model, layer, option, requests=requests, tokens=tokens)
        if workload.sequence_length_range is not None:
            longest = workload.sequence_length_range[1] + guesses
            kept = max(kept, memory.layer_kv_bytes(model, layer, option, requests=1, tokens=longest))
        return states * kept

    @cached_property
    def serving(self) -> StepClock | None:
        """The clock of closed loops, fitted to measured deployments (``None``: the instance's own clock)."""
        if self.instance.calibration is None:
            return None
        from shardproof.formulations.costs.serving.closed_loop import StepClock

        engine = "vllm" if self.instance.engine == "any" else self.instance.engine
        return StepClock(
            self.instance.model,
            self.instance.device,
            engine,
            prefill_scale=float(self._scale("prefill")),
            decode_scale=float(self._scale("decode")),
        )

    def _scale(self, term: str) -> Fraction:
        """What a user's measurements make of a term."""
        correction = self.instance.correction
        found: Fraction = Fraction(1) if correction is None else getattr(correction, term)
        return found

    def timed(self, step: Step, operations: Iterable[Operation]) -> int:
        """Time of operations one after the other, ns, rounded up; corrected, no less than the datasheet allows.

        Where a step gives more than one token, that of one.
        """
        scale = self._scale(step.phase)
        if scale == 1:
            return per_token(nanoseconds_up(map(self.clock.picoseconds, operations)), step.gives)
        listed = list(operations)
        least = nanoseconds_up((0, self._roofline.picoseconds(one)) for one in listed)
        found = corrected_nanoseconds(nanoseconds_up(map(self.clock.picoseconds, listed)), scale, least=least)
        return per_token(found, step.gives)

    def time_slack(self, *steps: Step) -> int:
        """Nanoseconds by which a rounded-up cell of the steps may exceed the exact time, at most."""
        guessed = 0 if self.instance.speculative is None else 1 + guess_slack(self.instance.speculative)
        return max(corrected_slack(self._scale(step.phase)) * (1 + guessed) for step in steps)

    def wait(self, option: Option, scenario: Scenario, running: Fraction, chunk: int | None = None) -> Wait:
        """Waits of a closed loop's first token with ``running`` requests on each attention replica.

        ``chunk``: tokens of an iteration, where neither the engine's default nor what it is told.
        """
        key = (None if self.serving is None else width_of(option), scenario.workload.input_tokens, running, chunk)
        if key not in self._waits:
            factors = UNFITTED if self.serving is None else fitted_factors(self.serving.setting(option))
            self._waits[key] = wait_of(
                factors,
                running=float(running),
                input_tokens=scenario.workload.input_tokens,
                chunk_tokens=chunk or self.instance.engine_settings.max_num_batched_tokens or CHUNK_TOKENS,
                scale=float(self._scale("wait")),
            )
        return self._waits[key]

    def end_times(self, option: Option, step: Step, link: LinkName) -> EndTimes:
        """Times of a stage outside its layers, ns, rounded up."""
        whole = self.instance.speculative is not None or (step.loop and self.serving is not None)
        cut = option if whole else (option.attn_tp, step.sequences(option))
        key = (cut, step if whole else (step.phase, step.tokens, step.context), link)
        if key not in self._end_cells and not whole:
            for sequences, times in self._times.ends(option, step, link).items():
                self._end_cells.setdefault(((option.attn_tp, sequences), *key[1:]), EndTimes(*times))
        elif key not in self._end_cells:
            self._end_cells[key] = self._end_times(option, step, link)
        return self._end_cells[key]

    def _end_times(self, option: Option, step: Step, link: LinkName) -> EndTimes:
        check_time()
        model, dtype = self.instance.model, self.instance.activations
        entry = self.timed(step, [hand_over(model, option, step, dtype=dtype, link=link)])
        if not step.loop or self.serving is None:
            first = self.timed(step, [embedding_operation(model, option, step, dtype)])
            last = [head_operation(model, option, step, dtype), *self.guesses(option, step)]
            return EndTimes(entry, first, self.timed(step, last))
        if step.phase == "prefill":
            seconds = self.serving.prefill_ends(option, tokens=step.tokens)
        else:
            each = max(1.0, step.requests / option.attn_dp)
            seconds = self.serving.decode_ends(option, sequences=each, context=step.context, tokens=step.tokens)
        if self.instance.speculative is not None:
            seconds += self.serving.guesses(self.instance.speculative, option, step)
        return EndTimes(entry, 0, per_token(fitted_nanoseconds(seconds), step.gives))

    def guesses(self, option: Option, step: Step) -> Iterator[Operation]:
        """Operations of the guesses after a step, on one device of a last stage."""
        if self.instance.speculative is not None:
            node = self.instance.device.devices_per_node
            yield from guess_operations(
                self.instance.speculative, option, step, dtype=self.instance.activations, devices_per_node=node
            )

    def _served_layer(self, serving: StepClock, kind: str, option: Option, step: Step) -> int:
        check_time()
        if step.phase == "prefill":
            return fitted_nanoseconds(serving.prefill_layer(base_kind(kind), option, tokens=step.tokens))
        each = max(1.0, step.requests / option.attn_dp)
        seconds = serving.decode_layer(
            base_kind(kind), option, sequences=each, context=step.context, tokens=step.tokens
        )
        return per_token(fitted_nanoseconds(seconds), step.gives)

    def operations(
        self, kind: str, option: Option, step: Step, *, imbalance: Fraction | None = None
    ) -> Iterator[Operation]:
        """Operations and collectives of one layer on one device; ``imbalance`` replaces the achieved one."""
        model, dtype = self.instance.model, self.instance.activations
        layer = model.kinds[base_kind(kind)]
        if imbalance is None:
            imbalance = self._imbalance_of(kind, option)
        yield from layer_operations(model, layer, option, step, dtype, imbalance)
        yield from layer_collectives(
            model, layer, option, step, dtype=dtype, devices_per_node=self.instance.device.devices_per_node
        )

    def layer_time(self, kind: str, option: Option, step: Step) -> int:
        """Time of one layer for one microbatch, ns, rounded up."""
        kind = balanced_kind(kind)
        key = (kind, option, step)
        if key not in self._layer_cells and step.loop and self.serving is not None:
            self._layer_cells[key] = self._served_layer(self.serving, kind, option, step)
        if key not in self._layer_cells:
            self._layer_cells[key] = self._times.one(kind, base_kind(kind), option, step)
        return self._layer_cells[key]

    def layer_times(self, options: Sequence[Option], step: Step) -> Ints:
        """Times of one layer of every kind (columns) under many options (rows), ns, rounded up."""
        kinds = list(map(balanced_kind, self.kind_names))
        columns = {kind: self._column(kind, options, step) for kind in dict.fromkeys(kinds)}
        return np.stack([columns[kind] for kind in kinds], axis=1)

    def grid(self, options: tuple[Option, ...], step: Step) -> Grid | None:
        """Times of a step in all its sizes under many options (``None``: they are computed size by size)."""
        served = step.loop and self.serving is not None
        if served or self._balance or self.instance.speculative is not None or not self._times.has_all_sizes(step):
            return None
        key = options, self.kind_names, replace(step, requests=0), self._times.sizes
        if key not in self._store.grids:
            kinds = [(kind, base_kind(kind)) for kind in map(balanced_kind, self.kind_names)]
            self._store.grids[key] = Grid(self._times, kinds, options, step)
        return self._store.grids[key]

    def _column(self, kind: str, options: Sequence[Option], step: Step) -> Ints:
        if step.loop and self.serving is not None:
            return np.array([self.layer_time(kind, option, step) for option in options], dtype=np.int64)
        return self._times.of(kind, base_kind(kind), options, step)
