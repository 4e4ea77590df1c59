"""Times of layers and of stage ends put together from parts that options and steps share, of all options at once.

What a layer does on one device falls into its own part, which depends on attn_tp and the rows of one attention
replica, and its experts' part, which depends on moe_tp, moe_ep, extra slots, the tokens of the whole stage, and
whether the stage's attention replicas hold different tokens. Picoseconds of both add up before they are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from operator import add

import numpy as np

from shardproof.formulations.costs.communication import expert_collectives, hand_over, own_collectives
from shardproof.formulations.costs.compute import (
    Step,
    embedding_operation,
    expert_operations,
    head_operation,
    own_operations,
)
from shardproof.formulations.costs.many import listed, many, one_by_one
from shardproof.formulations.costs.operations import Clock, LinkName, ManyClock, Operation
from shardproof.formulations.costs.roofline import Roofline
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.costs.speculative import per_token
from shardproof.formulations.deployment.lazy import Ints
from shardproof.formulations.deployment.prefill import distinct_ceilings
from shardproof.formulations.scaling import corrected_nanoseconds, within_reason
from shardproof.instances.clock import check_time
from shardproof.instances.instance import Instance
from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.option import Option
from shardproof.instances.speculative import MILLION

MOST_AT_ONCE, BLOCK = 4096, 64
"""Requests of a scenario up to which all its shares are timed together; other counts are, so many at a time."""

Picoseconds = tuple[int, int]
"""Time of some operations as the clock says, rounded up, and as the datasheet allows at least (0: not asked for)."""
NOTHING = 0, 0

PartKey = tuple[object, ...]
"""All that the operations of a part depend on."""

Parts = dict[PartKey, dict[PartKey, Picoseconds]]
"""Times of parts, by kind of layer and step, then by what options make of them."""


@dataclass(frozen=True)
class Work:
    """What parts do, by all that it depends on, and times of it under the curves that time it: engines share both.

    Times are found by the identity of an operation and of its curves, which are kept beside them.
    """

    operations: dict[PartKey, list[Operation]] = field(default_factory=dict)
    times: dict[tuple[int, ...], tuple[list[int], object]] = field(default_factory=dict)


class LayerTimes:
    """Times of layers of one instance under one clock; parts once computed are kept in a store.

    ``scale``: what a user's measurements make of a phase. ``imbalance``: load of the most loaded rank over the mean,
    by kind of layer and option (``None``: equal loads).
    """

    def __init__(
        self,
        instance: Instance,
        clock: Clock,
        store: Parts,
        work: Work,
        *,
        scale: Callable[[str], Fraction],
        imbalance: Callable[[str, Option], Fraction | None],
    ) -> None:
        """Take what times depend on."""
        self._instance, self._clock, self._store, self._work = instance, clock, store, work
        self._scale, self._imbalance = scale, imbalance
        self._roofline = Roofline(instance.device)
        self._many = clock if isinstance(clock, ManyClock) else None

    def one(self, kind: str, base: str, option: Option, step: Step) -> int:
        """Time of one layer, ns, rounded up; ``base``: the kind's name in the model."""
        return self._rounded(self._parts(kind, base, (option,), step), step)[0]

    def of(self, kind: str, base: str, options: Sequence[Option], step: Step) -> Ints:
        """Times of one layer under many options, ns, rounded up."""
        return np.array(self._rounded(self._parts(kind, base, options, step), step), dtype=np.int64)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Shares of a scenario's requests that are timed together, ascending."""
        return tuple(sorted(self._usual))

    def has_all_sizes(self, step: Step) -> bool:
        """Whether a step is one of those that are timed together, with times as the clock says them."""
        return step.requests in self._usual and step.gives == MILLION and self._scale(step.phase) == 1

    def own_times(self, base: str, option: Option, step: Step) -> list[int]:
        """Times of a layer's own part for each of the sizes on one attention replica, ps."""
        alone = (replace(option, attn_dp=1),)
        return [next(self._own(base, alone, replace(step, requests=size)))[0] for size in self.sizes]

    def expert_times(self, kind: str, base: str, option: Option, step: Step) -> list[int]:
        """Times of the experts' part for each of the sizes on every attention replica, ps."""
        steps = (replace(step, requests=size * option.attn_dp) for size in self.sizes)
        return [next(self._experts(kind, base, (option,), one))[0] for one in steps]

    def is_routed(self, base: str) -> bool:
        """Whether a layer has experts."""
        return isinstance(self._instance.model.kinds[base].feed_forward, MixtureOfExperts)

    def ends(self, option: Option, step: Step, link: LinkName) -> dict[int, tuple[int, int, int]]:
        """Times of a hand-over, the embedding and the head, ns, by sequences of an attention replica: the step's.

        Those of all that are likely next besides.
        """
        check_time()
        model, dtype = self._instance.model, self._instance.activations
        counts = sorted(self._likely(step.sequences(option)))
        alone, each = replace(option, attn_dp=1), replace(step, requests=many(counts))
        work = (
            hand_over(model, alone, each, dtype=dtype, link=link),
            embedding_operation(model, alone, each, dtype),
            head_operation(model, alone, each, dtype),
        )
        key = step.phase, step.tokens, step.context, option.attn_tp, *counts
        names = f"hand-over {link}", "embedding", "head"
        columns = [
            self._as_nanoseconds(self._together((name, *key), iter([one]), step, len(counts)), step)
            for name, one in zip(names, work, strict=True)
        ]
        return dict(zip(counts, zip(*columns, strict=True), strict=True))

    def _parts(
        self, kind: str, base: str, options: Sequence[Option], step: Step
    ) -> Iterator[tuple[Picoseconds, Picoseconds]]:
        return zip(self._own(base, options, step), self._experts(kind, base, options, step), strict=True)

    def _rounded(self, parts: Iterator[tuple[Picoseconds, Picoseconds]], step: Step) -> list[int]:
        """Nanoseconds of one token, rounded up; corrected by the phase's scale, no less than the datasheet allows."""
        return self._as_nanoseconds([(own[0] + experts[0], own[1] + experts[1]) for own, experts in parts], step)

    def _as_nanoseconds(self, summed: Sequence[Picoseconds], step: Step) -> list[int]:
        scale = self._scale(step.phase)
        times = [-(-time // 1000) for time, _ in summed]
        within_reason(max(times, default=0))
        if scale != 1:
            pairs = zip(times, summed, strict=True)
            times = [corrected_nanoseconds(time, scale, least=-(-least // 1000)) for time, (_, least) in pairs]
        return times if step.gives == MILLION else [per_token(time, step.gives) for time in times]

    def _known(self, part: str, kind: str, step: Step) -> dict[PartKey, Picoseconds]:
        return self._store.setdefault((part, kind, step.phase, step.tokens, step.context), {})

    def _own(self, base: str, options: Sequence[Option], step: Step) -> Iterator[Picoseconds]:
        known, requests = self._known("own", base, step), step.requests
        for option in options:
            key = option.attn_tp, divide_up(requests, option.attn_dp)
            found = known.get(key)
            if found is None:
                self._read_own(known, base, option, step, key[1])
                found = known[key]
            yield found

    def _read_own(
        self, known: dict[PartKey, Picoseconds], base: str, option: Option, step: Step, sequences: int
    ) -> None:
        """Time the own part of layers cut as an option does, for so many sequences and all that are likely next."""
        check_time()
        counts = [count for count in self._likely(sequences) if (option.attn_tp, count) not in known]
        alone, each = replace(option, attn_dp=1), replace(step, requests=many(counts))
        key = "own", base, step.phase, step.tokens, step.context, option.attn_tp, *counts
        found = self._together(key, self._own_work(base, alone, each), step, len(counts))
        known.update(zip(((option.attn_tp, count) for count in counts), found, strict=True))

    def _read_experts(
        self, known: dict[PartKey, Picoseconds], kind: str, base: str, option: Option, step: Step
    ) -> None:
        """Time the experts' part of layers cut as an option does, as `_read_own`; one by one where loads are uneven."""
        check_time()
        replicas = option.attn_dp
        cut = option.moe_tp, option.moe_ep, option.extra_slots
        asked = divide_up(step.requests, replicas)
        if self._imbalance(kind, option) is not None:
            work = self._expert_work(kind, base, option, step)
            known[*cut, asked * replicas, replicas > 1] = self._summed(step, work)
            return
        keys = [(*cut, count * replicas, replicas > 1) for count in self._likely(asked)]
        keys = [key for key in keys if key not in known]
        each = replace(step, requests=many(key[3] for key in keys))
        key = "experts", kind, step.phase, step.tokens, step.context, *keys
        found = self._together(key, self._expert_work(kind, base, option, each), step, len(keys))
        known.update(zip(keys, found, strict=True))

    def _likely(self, sequences: int) -> set[int]:
        """Return counts of an attention replica's sequences that are asked together: these, and what is likely next."""
        around = range(sequences - sequences % BLOCK, sequences - sequences % BLOCK + BLOCK)
        near = self._usual if sequences in self._usual else [count for count in around if 0 < count <= self._most]
        return {sequences, *near}

    def _together(self, key: PartKey, operations: Iterator[Operation], step: Step, count: int) -> list[Picoseconds]:
        """Sum operations at many sizes; ``key``: all that they depend on."""
        work = self._work.operations.get(key)
        if work is None:
            work = self._work.operations[key] = list(operations)
        totals, least = [0] * count, [0] * count
        for operation in work:
            totals = list(map(add, totals, self._clock_many(operation, count)))
            if self._scale(step.phase) != 1:
                terms = [listed(term, count) for term in self._roofline.terms(operation)]
                least = [one + int(max(part)) for one, *part in zip(least, *terms, strict=True)]
        return list(zip(totals, least, strict=True))

    def _clock_many(self, operation: Operation, count: int) -> list[int]:
        if self._many is None:
            return [self._clock.picoseconds(one)[1] for one in one_by_one(operation, count)]
        curves = self._many.curves_of(operation)
        key = id(operation), *map(id, curves)
        if key not in self._work.times:
            self._work.times[key] = self._many.many(operation, count), (operation, curves)
        return self._work.times[key][0]

    @cached_property
    def _most(self) -> int:
        return max(scenario.workload.requests for scenario in self._instance.scenarios)

    @cached_property
    def _usual(self) -> frozenset[int]:
        """Sequences that an attention replica has when replicas are alike: all shares of a scenario's requests."""
        return frozenset(distinct_ceilings(self._most) if self._most <= MOST_AT_ONCE else ())

    def _experts(self, kind: str, base: str, options: Sequence[Option], step: Step) -> Iterator[Picoseconds]:
        if not self.is_routed(base):
            yield from (NOTHING for _ in options)
            return
        known, requests = self._known("experts", kind, step), step.requests
        for option in options:
            replicas = option.attn_dp
            tokens = divide_up(requests, replicas) * replicas
            key = option.moe_tp, option.moe_ep, option.extra_slots, tokens, replicas > 1
            found = known.get(key)
            if found is None:
                self._read_experts(known, kind, base, option, step)
                found = known[key]
            yield found

    def _own_work(self, base: str, option: Option, step: Step) -> Iterator[Operation]:
        instance, layer = self._instance, self._instance.model.kinds[base]
        node, dtype = instance.device.devices_per_node, instance.activations
        yield from own_operations(instance.model, layer, option, step, dtype)
        yield from own_collectives(instance.model, layer, option, step, dtype=dtype, devices_per_node=node)

    def _expert_work(self, kind: str, base: str, option: Option, step: Step) -> Iterator[Operation]:
        instance, layer = self._instance, self._instance.model.kinds[base]
        node, dtype = instance.device.devices_per_node, instance.activations
        imbalance = self._imbalance(kind, option)
        yield from expert_operations(instance.model, layer, option, step, dtype, imbalance)
        yield from expert_collectives(instance.model, layer, option, step, dtype=dtype, devices_per_node=node)

    def _summed(self, step: Step, operations: Iterator[Operation]) -> Picoseconds:
        listed = list(operations)
        least = 0 if self._scale(step.phase) == 1 else sum(map(self._roofline.picoseconds, listed))
        return sum(self._clock.picoseconds(one)[1] for one in listed), least
