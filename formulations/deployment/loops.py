"""Closed loops in cells: an iteration and a first token, layer by layer, for program rows and evaluation alike.

One replica runs ``running`` requests in microbatches of ``size`` sequences. The prompt's own prefill is that of a
burst of one; the prompts that come in beside the decode are shared out over the attention replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.costs.serving.factors import width_of
from shardproof.formulations.costs.serving.first_token import Wait
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.cells import Cells, decode_step, own_prefill_step, prefill_step
from shardproof.formulations.deployment.lazy import Column, Ints, Rows
from shardproof.formulations.deployment.tables import Cap, Table
from shardproof.formulations.timeline import first_token_parts, first_token_time, iteration_time
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
        first = replace(first, first_token=first.first_token + self.once(option))
        return LoopEnds(
            entry=self._times(option, *(found.entry for found in ends)),
            first=first,
            last=self._times(option, *(found.last for found in ends)),
        )

    def once(self, option: Option) -> int:
        """What a first token takes once, whatever the layers, ns: the host's share; at equal times the default stands.

        The default chunk of the engine is the one that stands.
        """
        return self.wait(option).host_ns + (1 if self.chunk is not None and self.running > 1 else 0)

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
        prompts = self.prompts(option)
        iteration = iteration_time(decode, beside, numerator=prompts.numerator, denominator=prompts.denominator)
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
        waits = {self.wait(option) for option in listed}
        loosest = max((first_token_time(slack * self.chunks, looser, wait) + 1 for wait in waits), default=0)
        times = LoopArrays(self, listed)
        return times.table("iteration", looser + 1), times.table("first_token", loosest)


_NONE: Ints = np.zeros((0, 0), dtype=np.int64)


class LoopArrays:
    """Times of a loop under many options at once: what both of its tables read."""

    def __init__(self, loop: Loop, options: tuple[Option, ...]) -> None:
        """Take the loop and its options."""
        self._loop, self._options = loop, options
        self._last_layers: tuple[tuple[int, int], tuple[Ints, Ints]] = (0, 0), (_NONE, _NONE)
        self._last_ends: tuple[tuple[int, int], dict[str, tuple[Ints, Ints]]] = (0, 0), {}

    def table(self, name: Literal["iteration", "first_token"], slack: int) -> Table:
        """Table of one of the times."""
        count, place = len(self._options), 0 if name == "iteration" else 1

        def end(which: str) -> Column:
            return Column(count, lambda start, stop: self._ends(start, stop)[which][place])

        layer = Rows(count, lambda start, stop: self._layers(start, stop)[place])
        return Table((0,) * count, end("entry"), end("first"), end("last"), layer, slack=slack)

    def _layers(self, start: int, stop: int) -> tuple[Ints, Ints]:
        """Times of layers between two options; kept until others are asked for, since both tables ask."""
        if self._last_layers[0] != (start, stop):
            options, cells = self._options[start:stop], self._loop.cells
            steps = [cells.layer_times(options, step) for step in self._loop.steps]
            self._last_layers = (start, stop), self._combined(options, steps)
        return self._last_layers[1]

    def _ends(self, start: int, stop: int) -> dict[str, tuple[Ints, Ints]]:
        if self._last_ends[0] != (start, stop):
            self._last_ends = (start, stop), self._ends_of(self._options[start:stop])
        return self._last_ends[1]

    def _ends_of(self, options: tuple[Option, ...]) -> dict[str, tuple[Ints, Ints]]:
        loop = self._loop
        found = [[loop.cells.end_times(option, step, loop.link) for option in options] for step in loop.steps]
        columns = dict[str, tuple[Ints, Ints]]()
        for name in ("entry", "first", "last"):
            steps = [column([getattr(end, name) for end in row]) for row in found]
            iteration, first = self._combined(options, steps)
            columns[name] = iteration[:, 0], first[:, 0]
        more = np.array([loop.once(option) for option in options], dtype=np.int64)
        columns["first"] = columns["first"][0], columns["first"][1] + more
        return columns

    def _combined(self, options: tuple[Option, ...], steps: list[Ints]) -> tuple[Ints, Ints]:
        """Iteration and first token from the times of the loop's steps, as `Loop.layer` has them cell by cell."""
        own, decode, beside, *cut = steps
        if cut:
            own = np.maximum(own, exact(cut[0], self._loop.chunks) * self._loop.chunks)
        prompts = [self._loop.prompts(option) for option in options]
        share, of = (column([getattr(part, name) for part in prompts]) for name in ("numerator", "denominator"))
        iteration = iteration_time(decode, exact(beside, int(share.max())), numerator=share, denominator=of)
        waits = [self._loop.wait(option) for option in options]
        prefill, waited = (column([getattr(wait, name) for wait in waits]) for name in ("prefill", "iteration"))
        most = int(prefill.max()) + int(waited.max())
        first = first_token_parts(exact(own, most), exact(iteration, most), prefill=prefill, waited=waited)
        return iteration.astype(np.int64), first.astype(np.int64)


def column(values: list[int]) -> Ints:
    """A column of integers, one for each option."""
    return np.array(values, dtype=np.int64)[:, None]


def exact(values: Ints, factor: int) -> Ints:
    """Values as they can be multiplied by a factor twice over without leaving 64 bits: else as Python's integers."""
    return values if int(values.max(initial=0)) * factor < 1 << 61 else values.astype(object)


def _up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
