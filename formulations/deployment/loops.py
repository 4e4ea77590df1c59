"""Closed loops in cells: an iteration and a first token, layer by layer, for program rows and evaluation alike.

One replica runs ``running`` requests in microbatches of ``size`` sequences. The prompt's own prefill is that of a
burst of one; the prompts that come in beside the decode are shared out over the attention replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.costs.serving.factors import width_of
from shardproof.formulations.costs.serving.first_token import Wait
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.cells import Cells, decode_step, own_prefill_step, prefill_step
from shardproof.formulations.deployment.lazy import Lazy
from shardproof.formulations.deployment.tables import Cap, Table
from shardproof.formulations.timeline import first_token_time, iteration_time
from shardproof.instances.option import Option
from shardproof.instances.speculative import MILLION
from shardproof.instances.workload import ClosedLoop, Scenario


@dataclass(frozen=True)
class LoopTimes:
    """Times of a layer or an end, ns: the prompt alone, the decode, an iteration, and its part of a first token."""

    prefill: int
    decode: int
    iteration: int
    first_token: int


@dataclass(frozen=True)
class LoopEnds:
    """Times of a stage outside its layers: hand-over to a later stage, first stage, last stage."""

    entry: LoopTimes
    first: LoopTimes
    last: LoopTimes


@dataclass(frozen=True)
class Loop:
    """A closed loop of ``running`` requests on one replica, ``size`` of them in a microbatch.

    ``chunk``: tokens of an iteration of one attention replica, where they are fewer than the engine's default
    (``None``): prompts are then cut at them, and a first token waits for as many more iterations.
    """

    cells: Cells
    scenario: Scenario
    running: int
    size: int
    link: LinkName
    chunk: int | None = None

    def stages_cap(self, options: int, kind_names: Sequence[str], microbatches: int) -> Cap:
        """At least as many stages as decode microbatches: no stage holds an equal share of one stage fewer."""
        nothing = (0,) * options
        table = Table(nothing, nothing, nothing, nothing, layer=((1,) * len(kind_names),) * options)
        limit = divide_up(len(self.cells.layer_kinds), microbatches - 1) - 1
        return Cap(f"microbatches[{self.scenario.name}]", table, limit)

    def layer(self, kind: str, option: Option) -> LoopTimes:
        """Times of one layer."""
        time = self.cells.layer_time
        return self._times(option, *(time(kind, option, step) for step in self.steps))

    def ends(self, option: Option) -> LoopEnds:
        """Times of the ends; the host's share of a first token lies with the first stage."""
        ends = [self.cells.end_times(option, step, self.link) for step in self.steps]
        first = self._times(option, *(found.first for found in ends))
        chosen = 1 if self.chunk is not None and self.running > 1 else 0  # at equal times the engine's default stands
        first = replace(first, first_token=first.first_token + self.wait(option).host_ns + chosen)
        return LoopEnds(
            entry=self._times(option, *(found.entry for found in ends)),
            first=first,
            last=self._times(option, *(found.last for found in ends)),
        )

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Steps of the prompt alone, of the decode, of a prompt on each attention replica beside it, and of a chunk."""
        own = own_prefill_step(self.scenario)
        tokens = divide_up(own.tokens, self.chunks)
        cut = replace(own, tokens=tokens, context=divide_up((self.chunks - 1) * tokens, 2))
        decode = decode_step(self.scenario, self.size, self.cells.instance.speculative)
        usual = own, decode, prefill_step(self.scenario, 1)
        return usual if self.chunks == 1 else (*usual, cut)

    @cached_property
    def chunks(self) -> int:
        """Chunks of the prompt that is alone."""
        own = own_prefill_step(self.scenario)
        return 1 if self.chunk is None else divide_up(own.tokens, self.chunk)

    def _times(self, option: Option, own: int, decode: int, beside: int, cut: int = 0) -> LoopTimes:
        own = max(own, cut * self.chunks)
        iteration = iteration_time(decode, beside, prompts=self.prompts(option))
        return LoopTimes(own, decode, iteration, first_token_time(own, iteration, self.wait(option)))

    def wait(self, option: Option) -> Wait:
        """Waits of a first token under an option."""
        spread = (option.attn_dp, width_of(option))
        if spread not in self._waits:
            self._waits[spread] = self._wait(option)
        return self._waits[spread]

    @cached_property
    def _waits(self) -> dict[tuple[int, str], Wait]:
        """Waits by all of an option that they depend on."""
        return {}

    def _wait(self, option: Option) -> Wait:
        alone = isinstance(self.scenario.workload, ClosedLoop) and self.scenario.workload.independent
        running = Fraction(1) if alone else Fraction(max(self.running, option.attn_dp), option.attn_dp)
        wait = self.cells.wait(option, self.scenario, running, self.chunk)
        return wait if self.steps[1].gives == MILLION else replace(wait, iteration=self._whole(wait.iteration))

    def _whole(self, share: int) -> int:
        """Share of an iteration's time as a share of one token's: a first token waits for whole iterations."""
        return divide_up(share * self.steps[1].gives, MILLION)

    def prompts(self, option: Option) -> Fraction:
        """Prompts that one attention replica prefills in an iteration of a microbatch (none, where a pool does)."""
        if option.attn_dp not in self._prompts:
            workload, sequences = self.scenario.workload, Fraction(max(self.size, option.attn_dp), option.attn_dp)
            elsewhere = isinstance(workload, ClosedLoop) and workload.phase == "decode"
            self._prompts[option.attn_dp] = Fraction(0) if elsewhere else sequences / workload.output_tokens
        return self._prompts[option.attn_dp]

    @cached_property
    def _prompts(self) -> dict[int, Fraction]:
        """Prompts by attention replicas."""
        return {}

    def tables(self, options: Iterable[Option], slack: int) -> tuple[Table, Table]:
        """Tables of an iteration and of a first token; ``slack``: of a cell of any of their steps, ns."""
        listed = tuple(options)
        looser = slack + _up(slack * max((self.prompts(option) for option in listed), default=Fraction(0)))
        waits = [self.wait(option) for option in listed]
        loosest = max((first_token_time(slack * self.chunks, looser, wait) + 1 for wait in waits), default=0)
        kinds = self.cells.kind_names
        ends = Lazy(len(listed), lambda place: self.ends(listed[place]))
        layers = Lazy(len(listed), lambda place: tuple(self.layer(kind, listed[place]) for kind in kinds))
        return _table(ends, layers, "iteration", looser + 1), _table(ends, layers, "first_token", loosest)


def _table(ends: Lazy[LoopEnds], layers: Lazy[tuple[LoopTimes, ...]], name: str, slack: int) -> Table:
    """Table of one of the times, over ends and layers that both tables of a loop read."""
    count = len(ends)
    return Table(
        base=(0,) * count,
        entry=Lazy(count, lambda place: getattr(ends[place].entry, name)),
        first=Lazy(count, lambda place: getattr(ends[place].first, name)),
        last=Lazy(count, lambda place: getattr(ends[place].last, name)),
        layer=Lazy(count, lambda place: tuple(getattr(times, name) for times in layers[place])),
        slack=slack,
    )


def _up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
