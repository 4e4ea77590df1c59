"""From an instance to the integer program: options, layouts, axes and their tables.

Layouts of replicas that are all alike: the smallest replica count R of each distinct tuple of
ceil(requests / R); more replicas with the same load each only add GPUs. In a free fleet each replica is a program
of its own, for the load that it takes (`Deployment.replica_program`).
A replica inside one node hands activations over on the scale-up link, one that
spans nodes on the scale-out link. A tied head costs nothing on a replica of one stage, hence a layout for it.

Axes: requests per prefill microbatch (under an engine also chunks of prompts, `prefill`), and per decode microbatch
where a TPOT limit asks for it: of all values that give the same number of microbatches only the smallest, because
every cost grows with it. A closed loop decodes in no more microbatches than it has stages. Engines that run all stages
alike add an axis over the options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import Clock, LinkName
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.balance import ImbalanceTable
from shardproof.formulations.deployment.cells import (
    Cells,
    Variant,
    decode_step,
    is_stream,
    own_prefill_step,
    prefill_step,
)
from shardproof.formulations.deployment.engine_rows import EngineRows
from shardproof.formulations.deployment.filled import memory_table, time_table
from shardproof.formulations.deployment.lazy import Lazy, later
from shardproof.formulations.deployment.loop_shapes import LoopShape, loop_shapes
from shardproof.formulations.deployment.loops import Loop
from shardproof.formulations.deployment.options import options_of
from shardproof.formulations.deployment.prefill import (
    PrefillShape,
    distinct_ceilings,
    prefill_shapes,
    replica_counts,
    stream_shapes,
)
from shardproof.formulations.deployment.remembered import Tables
from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Layouts, Path, Program, Table
from shardproof.formulations.engines.rules import Rule, rules_of, runs_alone
from shardproof.formulations.engines.told import default_batch
from shardproof.formulations.scaling import allowed_time, limit_within_margin
from shardproof.instances.clock import check_time
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.workload import ClosedLoop, OpenLoop, Phased, Scenario

OPTION_AXIS = "option"
"""Name of the axis that binds all stages to one option, where an engine asks for it."""
LOOP_TABLES = ("iteration", "first token")
"""Tables of a closed loop, in the order of `Loop.tables`."""


class Deployment(Cells):
    """The deployment problem of one instance, with the way back from a chain to a plan's numbers."""

    def __init__(
        self,
        instance: Instance,
        *,
        rules: tuple[Rule, ...] | None = None,
        clock: Clock | None = None,
        imbalance: ImbalanceTable | None = None,
    ) -> None:
        """Take the instance; ``rules`` replace those of its engine, ``clock`` its own.

        ``imbalance`` is what its load profile makes of each layer, width and slot count.
        """
        super().__init__(instance, clock=clock, imbalance=imbalance)
        self.rules = rules_of(instance.engine) if rules is None else rules
        self._replica_programs: dict[tuple[tuple[int, ...], bool], Program] = {}

    def limited(self, max_gpus: int) -> Deployment:
        """The same question with a smaller GPU budget: what lies beyond it is left out; costs are shared."""
        found = Deployment(
            limited(self.instance, max_gpus), rules=self.rules, clock=self.clock, imbalance=self.imbalance
        )
        found._remember(self._store)
        widest = found.instance.max_stage_gpus
        found.options = tuple(option for option in self.options if option.gpus <= widest)
        found.engine = self.engine
        return found

    def under(self, rules: tuple[Rule, ...], *, imbalance: ImbalanceTable | None) -> Deployment:
        """The same question under other rules, with what its load profile makes of the widths that they accept."""
        found = Deployment(self.instance, rules=rules, clock=self.clock, imbalance=imbalance)
        if imbalance is None and self.imbalance is None:
            found._remember(self._store)
        return found

    @cached_property
    def _tables(self) -> Tables:
        """Tables over these options and kinds of layers; questions of the same subject share them."""
        return self._store.tables.setdefault((self.options, self.kind_names), {})

    @cached_property
    def _engine_tables(self) -> Tables:
        """Tables of the engine's memory rows; questions with the same settings and workloads share them."""
        instance = self.instance
        told = (instance.engine, instance.engine_settings, instance.memory_limit, instance.runtime_reserve)
        workloads = tuple(scenario.workload for scenario in instance.scenarios)
        return self._store.tables.setdefault((self.options, self.kind_names, *told, workloads), {})

    @property
    def demand(self) -> tuple[int, ...]:
        """Requests of each scenario that the whole fleet takes."""
        return tuple(scenario.workload.requests for scenario in self.instance.scenarios)

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Options that the rules accept."""
        return options_of(self.instance, self.rules)

    @cached_property
    def program(self) -> Program:
        """The integer program; layouts and tables are made when first read."""
        variants, index = self.variants, {name: place for place, name in enumerate(self.kind_names)}
        return Program(
            kinds=tuple(index[name] for name in self.layer_kinds),
            options=self.options,
            layouts=Layouts([one.replicas for one in variants], lambda place: self._layout(variants[place])),
            max_gpus=self.instance.max_gpus,
            batch_sizes=self.demand,
        )

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Variants of replicas that are all alike: one for each layout."""
        found: list[Variant] = []
        for replicas in replica_counts(self.demand, self.instance.max_gpus):
            load = tuple(divide_up(requests, replicas) for requests in self.demand)
            found += self._variants(replicas, load, self.instance.max_gpus // replicas)
        return tuple(found)

    def _variants(self, replicas: int, load: tuple[int, ...], widest: int) -> Iterator[Variant]:
        """Variants of replicas of at most ``widest`` GPUs, each with the same load."""
        if self.instance.model.tied:
            yield Variant(replicas, "scale_up", single_stage=True, load=load)
        yield Variant(replicas, "scale_up", single_stage=False, load=load)
        if widest > self.instance.device.devices_per_node:
            yield Variant(replicas, "scale_out", single_stage=False, load=load)

    def replica_program(self, load: tuple[int, ...], widest: int) -> Program:
        """Return the program of one replica of at most ``widest`` GPUs with its load, requests of each scenario.

        Replicas inside one node and wider ones have programs of their own; the width itself is left to the query.
        """
        spans = widest > self.instance.device.devices_per_node
        if (load, spans) not in self._replica_programs:
            top = self.instance.max_gpus if spans else self.instance.device.devices_per_node
            layouts = tuple(self._layout(variant, top) for variant in self._variants(1, load, top))
            self._replica_programs[load, spans] = replace(self.program, layouts=layouts, batch_sizes=())
        return self._replica_programs[load, spans]

    def _layout(self, variant: Variant, widest: int | None = None) -> Layout:
        """Return the layout of a variant; ``widest`` bounds a replica (``None``: its share of the budget)."""
        check_time()
        scenarios = self.instance.scenarios
        node = self.instance.device.devices_per_node
        budget = self.instance.max_gpus // variant.replicas if widest is None else widest
        inside = variant.link == "scale_up" and not variant.single_stage and budget > node
        axes: list[Axis] = []
        if any(rule.uniform for rule in self.rules):
            count = len(self.options)
            axes.append(Axis(OPTION_AXIS, Lazy(count, lambda place: Choice(value=place, options=(place,)))))
        served = [(scenario, requests) for scenario, requests in zip(scenarios, variant.load, strict=True) if requests]
        for scenario, requests in served:
            axes.extend(self._axes(variant, scenario, requests))
        caps = self._caps(self._resident(variant, 1), [scenario for scenario, _ in served])
        return Layout(
            name=variant.name,
            replicas=variant.replicas,
            max_gpus=node if inside else None,
            caps=caps,
            axes=tuple(axes),
            load=variant.load,
        )

    def _axes(self, variant: Variant, scenario: Scenario, requests: int) -> Iterator[Axis]:
        values, workload = distinct_ceilings(requests), scenario.workload
        if is_stream(scenario):
            yield self._stream_axis(variant, scenario, requests)
            return
        if isinstance(workload, ClosedLoop):
            loops = loop_shapes(self.instance, self.engine, workload, self._loop_sizes(variant, requests))
            yield Axis(
                f"decode_requests[{scenario.name}]",
                Lazy(len(loops), lambda place: self._loop(variant, scenario, requests, loops[place])),
            )
            return
        phase = "both" if isinstance(workload, OpenLoop) else workload.phase
        if phase != "decode":
            shapes = self._shapes(scenario, requests)
            yield Axis(
                f"prefill_requests[{scenario.name}]",
                Lazy(len(shapes), lambda place: self._prefill(variant, scenario, requests, shapes[place])),
                rule="ceilings" if self.engine is None else "listed",
                size=requests,
            )
        if phase == "decode" or (phase == "both" and scenario.limits.tpot is not None):
            yield Axis(
                f"decode_requests[{scenario.name}]",
                Lazy(len(values), lambda place: self._decode(variant, scenario, requests, values[place])),
                rule="ceilings",
                size=requests,
            )

    def _loop_sizes(self, variant: Variant, requests: int) -> tuple[int, ...]:
        """Sequences in a decode microbatch of a closed loop: no more microbatches than layers, whatever the budget."""
        most = 1 if variant.single_stage else len(self.layer_kinds)
        return tuple(size for size in distinct_ceilings(requests) if divide_up(requests, size) <= most)

    def _shapes(self, scenario: Scenario, requests: int) -> tuple[PrefillShape, ...]:
        """Ways to prefill a scenario's requests: whole prompts or, under an engine that cuts them, chunks too."""
        return prefill_shapes(
            requests,
            scenario.workload.input_tokens,
            widths=tuple(sorted({option.attn_dp for option in self.options})),
            told=self.instance.engine_settings.max_num_batched_tokens,
            chunked=self.engine is not None and self.engine.profile.chunked_prefill,
        )

    def chunks_of(self, scenario: Scenario) -> tuple[int, ...]:
        """Into how many chunks each prompt of a scenario may be cut, in one microbatch or another."""
        return tuple(dict.fromkeys(shape.chunks for shape in self._shapes(scenario, scenario.workload.requests)))

    def _prefill(self, variant: Variant, scenario: Scenario, requests: int, shape: PrefillShape) -> Choice:
        step, table = shape.step(scenario), self.time_table(shape.step(scenario), variant.link)
        paths = [
            Path(
                name=f"ttft[{scenario.name}]",
                table=table,
                microbatches=shape.microbatches(requests),
                limit=self._until_sent(scenario, shape.requests),
                ttft=True,
            )
        ]
        if isinstance(scenario.workload, Phased) and scenario.workload.sending and scenario.limits.ttft is not None:
            sent = divide_up(requests, shape.requests) * shape.requests
            paths.append(Path(f"link[{scenario.name}]", table, shape.chunks, self._until_sent(scenario, sent)))
        caps = self._memory_caps(variant, scenario, step, batched=lambda option: shape.batched(scenario, option))
        return Choice(value=shape.value, caps=caps, paths=tuple(paths), options=shape.options(self.options))

    def _until_sent(self, scenario: Scenario, requests: int) -> int | None:
        """Time that a limit on TTFT leaves for the prefill once the KV of so many requests is to be sent, ns.

        Microbatches are sent one after the other while the next ones are prefilled: the link is one more stage of
        the pipeline. Either the last microbatch is sent as soon as it is prefilled (row ``ttft``), or the link is
        busy from the first one on (row ``link``).
        """
        limit, workload = scenario.limits.ttft, scenario.workload
        if limit is None:
            return None
        sending = workload.sending * requests if isinstance(workload, Phased) else 0
        return allowed_time(self.instance, "ttft", workload, max(0, limit - sending))

    def _stream_axis(self, variant: Variant, scenario: Scenario, requests: int) -> Axis:
        """Prompts that come one after the other, ``requests`` of them within a window, to replicas that prefill alone.

        The slowest stage has done with r of them within r shares of the window (row ``rate``): on an attention replica
        one, or as many more as `STREAM_TOKENS` hold. A prompt with nothing beside it passes all stages, and its KV is
        sent, within the limit on TTFT. No more than one prompt of each attention replica need be resident.
        """
        assert isinstance(scenario.workload, ClosedLoop)
        assert scenario.workload.window is not None
        window, link = scenario.workload.window, variant.link
        shapes = stream_shapes(scenario, sorted({option.attn_dp for option in self.options}))
        own = self.time_table(own_prefill_step(scenario), link)
        first = Path(f"ttft[{scenario.name}]", own, 1, self._until_sent(scenario, 1), ttft=True)

        def choice(place: int) -> Choice:
            shape = shapes[place]
            held = self._resident(variant, *shape.attn_dp)
            caps = self._loop_caps(held, scenario, replace(prefill_step(scenario, *shape.attn_dp), loop=False))
            share = limit_within_margin(window * shape.requests // requests, self.instance.margin)
            step = replace(prefill_step(scenario, shape.requests), loop=False)
            rate = Cap(f"rate[{scenario.name}]", self.time_table(step, link), share)
            return Choice(shape.value, (*caps, rate), (first,), shape.options(self.options))

        return Axis(f"prefill_requests[{scenario.name}]", Lazy(len(shapes), choice))

    def _resident(self, variant: Variant, prompts: int) -> Variant:
        """Return a variant with what is resident at once: of prompts that come one after the other so many."""
        pairs = zip(self.instance.scenarios, variant.load, strict=True)
        return replace(variant, load=tuple(min(load, prompts) if is_stream(one) else load for one, load in pairs))

    def _decode(self, variant: Variant, scenario: Scenario, requests: int, size: int) -> Choice:
        step = decode_step(scenario, size, self.instance.speculative)
        memory = () if self.engine else (self._memory_cap(variant, scenario, step),)
        if scenario.limits.tpot is None:
            return Choice(value=size, caps=memory)
        limit = limit_within_margin(scenario.limits.tpot, self.instance.margin)
        table = self.time_table(step, variant.link)
        microbatches = divide_up(requests, size)
        return Choice(
            value=size,
            caps=(*memory, Cap(f"tpot_slowest[{scenario.name}]", table, limit // microbatches)),
            paths=(Path(f"tpot[{scenario.name}]", table, 1, limit),),
        )

    def _loop(self, variant: Variant, scenario: Scenario, requests: int, shape: LoopShape) -> Choice:
        """Closed loop with so many sequences in each decode microbatch, no more microbatches than stages."""
        microbatches, limits = divide_up(requests, shape.size), scenario.limits
        loop = Loop(self, scenario, running=requests, size=shape.size, link=variant.link, chunk=shape.chunk)
        iteration, first_token = self._loop_tables(loop)
        tpot = None if limits.tpot is None else limit_within_margin(limits.tpot, self.instance.margin)
        workload = scenario.workload
        assert isinstance(workload, ClosedLoop)
        ttft = None if limits.ttft is None else allowed_time(self.instance, "ttft", workload, limits.ttft)
        alone, decode = workload.phase == "decode", decode_step(scenario, requests, self.instance.speculative)
        steps = (*(() if alone else loop.steps[:1]), decode)
        caps = list(self._loop_caps(variant, scenario, *steps, chunk=shape.chunk))
        if microbatches > 1:
            caps.append(loop.stages_cap(len(self.options), self.kind_names, microbatches))
        if tpot is not None:
            caps.append(Cap(f"tpot_slowest[{scenario.name}]", iteration, tpot // microbatches))
        return Choice(
            value=shape.value,
            caps=tuple(caps),
            paths=(
                *(() if alone else (Path(f"ttft[{scenario.name}]", first_token, 1, ttft, ttft=True),)),
                Path(f"tpot[{scenario.name}]", iteration, 1, tpot),
            ),
        )

    def _loop_tables(self, loop: Loop) -> tuple[Table, Table]:
        """Tables of an iteration and of a first token."""
        told = self.instance.engine_settings.max_num_batched_tokens
        shape = loop.running, loop.size, loop.link, told, loop.chunk
        names = [(name, loop.scenario.workload, *shape) for name in LOOP_TABLES]
        if names[0] not in self._tables:
            slack = self.time_slack(*loop.steps) + max(map(self._loosest_balance, loop.steps))
            self._tables.update(zip(names, loop.tables(self.options, slack), strict=True))
        iteration, first_token = (self._tables[name] for name in names)
        return iteration, first_token

    @cached_property
    def _alone(self) -> dict[bool, frozenset[Option]]:
        """Options that the engine runs in replicas of one stage only: inside a node, and in replicas that span some."""
        return {
            spans: frozenset(o for o in self.options if runs_alone(self.instance, o, self.rules, spans=spans))
            for spans in (False, True)
        }

    def _rows(self, variant: Variant) -> EngineRows:
        assert self.engine is not None
        alone, of_layout = self._alone[variant.link == "scale_out"], (variant.load, variant.single_stage)
        own = self.instance, self.engine, self.options, self.kind_names
        return EngineRows(*own, *of_layout, alone, self._engine_tables)

    def _caps(self, variant: Variant, served: Sequence[Scenario]) -> Sequence[Cap]:
        """Rows that hold whatever is chosen on the axes."""
        if self.engine is None:
            return Lazy(len(served), lambda place: self._memory_cap(variant, served[place], None))
        rows = self._rows(variant)
        told = rows.running()
        return later(len(told) + len(rows.groups), lambda: (*told, *rows.caps(lambda _: 1, "engine")))

    def _memory_caps(
        self, variant: Variant, scenario: Scenario, step: Step, *, batched: Callable[[Option], int]
    ) -> Sequence[Cap]:
        """Memory rows of a prefill microbatch; ``batched``: its tokens on an attention replica, by option."""
        if self.engine is None:
            return later(1, lambda: (self._memory_cap(variant, scenario, step),))
        rows = self._rows(variant)
        return later(len(rows.groups), lambda: rows.caps(batched, f"{scenario.name}, {step.phase}"))

    def _loop_caps(self, variant: Variant, scenario: Scenario, *steps: Step, chunk: int | None = None) -> Sequence[Cap]:
        """Memory rows of a closed loop: under an engine those of its iteration, where it prefills in it."""
        if self.engine is None:
            return tuple(self._memory_cap(variant, scenario, step) for step in steps)
        usual = default_batch(self.instance, self.engine) if steps[0].phase == "prefill" else 1
        return self._memory_caps(variant, scenario, steps[0], batched=lambda _: chunk or usual)

    def _memory_cap(self, variant: Variant, scenario: Scenario, step: Step | None) -> Cap:
        """Memory of a stage; with a step, its microbatch's workspace and buffers too."""
        limit = self.instance.memory_limit
        requests, workload = variant.load[self.instance.scenarios.index(scenario)], scenario.workload
        kept = (requests, workload.resident_tokens, workload.sequence_length_range)
        key = (kept, step, self.instance.runtime_reserve, limit if variant.single_stage else None)
        if key not in self._tables:
            self._tables[key] = memory_table(self, variant, scenario, step, self.options, requests, self._tables)
        phase = "" if step is None else f", {step.phase}"
        return Cap(f"memory[{scenario.name}{phase}]", self._tables[key], limit, memory=True)

    def time_table(self, step: Step, link: LinkName) -> Table:
        """Times of stages for one microbatch, ns, rounded up; the same table for every load."""
        if (step, link) not in self._tables:
            slack, beside = self.time_slack(step) + self._loosest_balance(step), self._tables.get((step, "scale_up"))
            self._tables[step, link] = time_table(self, step, link, self.options, slack, beside)
        return self._tables[step, link]

    def _loosest_balance(self, step: Step) -> int:
        """Largest difference, ns, that an unproven placement makes to a layer's time."""
        return max((self.unproven_time(kind, self.options, step) for kind in self._balance), default=0)


def limited(instance: Instance, max_gpus: int) -> Instance:
    """Return the instance with a GPU budget no larger than ``max_gpus``."""
    budget = min(max_gpus, instance.max_gpus)
    return instance.model_copy(update={"max_gpus": budget, "max_stage_gpus": min(budget, instance.max_stage_gpus)})
