"""Plans in numbers: memory by part, time by operation, TTFT, TPOT and violations, from the costs alone.

Nothing here reads the integer program or imports ortools: every figure is summed anew, layer by layer, from
`shardproof.formulations.costs`, and the prefill pipeline is played event by event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, get_args

from shardproof.formulations.apart.phases import as_together
from shardproof.formulations.costs.communication import hand_over
from shardproof.formulations.costs.compute import Step, embedding_operation, head_operation
from shardproof.formulations.costs.operations import LinkName, Operation
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import (
    Variant,
    decode_step,
    is_stream,
    own_prefill_step,
    prefill_step,
)
from shardproof.formulations.deployment.loops import Loop, LoopTimes
from shardproof.formulations.deployment.prefill import PrefillShape, stream_shapes
from shardproof.formulations.engines.rules import broken_rules
from shardproof.formulations.engines.told import cut_at, memory_budget, running
from shardproof.formulations.scaling import allowed_time, limit_within_margin
from shardproof.formulations.timeline import simulate_prefill, simulate_sending, tpot
from shardproof.instances.errors import CheckFailed
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Microbatches, Plan, Pool, Stage
from shardproof.instances.speculative import MILLION
from shardproof.instances.workload import ClosedLoop, Phased, Scenario
from shardproof.solver.evaluation.engine_plan import EnginePlan, microbatches_of
from shardproof.solver.evaluation.figures import (
    Check,
    Evaluation,
    GroupFigures,
    ScenarioFigures,
    StageFigures,
    Violation,
)
from shardproof.solver.evaluation.groups import asked_of, pools
from shardproof.solver.problem import deployment_of

SIMULATED_AT_MOST = 200_000
"""Stage passes that the simulation plays; beyond, the formula stands alone."""


def evaluate(instance: Instance, plan: Plan, *, deployment: Deployment | None = None) -> Evaluation:
    """Compute every figure of a plan and the limits that it breaks.

    Raises
    ------
    CheckFailed
        If the simulated pipeline and the formula of TTFT disagree (a fault of ours).
    """
    if plan.is_apart:
        return _apart(instance, plan)
    deployment = deployment or deployment_of(as_together(instance))
    return _evaluated(instance, plan, [Evaluator(deployment, group, name) for name, group in _named(plan)])


def keeps_limits(instance: Instance, plan: Plan) -> bool:
    """Whether a plan keeps every limit, by the same figures as `evaluate`; which operation takes what is not asked."""
    if plan.is_apart:
        return not evaluate(instance, plan).violations
    deployment = deployment_of(as_together(instance))
    return not _evaluated(instance, plan, [Totals(deployment, group) for group in plan.parts]).violations


def _evaluated(instance: Instance, plan: Plan, found: Sequence[Evaluator]) -> Evaluation:
    groups = tuple(one.run() for one in found)
    budget = Check("max_gpus", "plan", plan.gpus, instance.max_gpus, "GPUs")
    checks = (*(check for one in found for check in one.checks), budget)
    broken = [check.broken() for check in checks if check.slack < 0]
    shapes = [violation for one in found for violation in one.shape]
    return Evaluation(groups, (*shapes, *broken, *_missing_requests(instance, plan)), checks)


def _apart(instance: Instance, plan: Plan) -> Evaluation:
    """Evaluate each pool under its phase, and replicas of both beside them; all together keep the budget of GPUs."""
    budget = Check("max_gpus", "plan", plan.gpus, instance.max_gpus, "GPUs")
    groups, broken, checks = list[GroupFigures](), list[Violation](), list[Check]()
    for (asked, pool), name in zip(pools(instance, plan), (*get_args(Pool), "both phases"), strict=False):
        found = evaluate(asked, pool)
        groups += found.groups
        broken += [replace(item, index=f"{name}, {item.index}") for item in found.violations]
        checks += [replace(item, index=f"{name}, {item.index}") for item in found.checks]
    own = [item for item in broken if item.group != "max_gpus"]
    checks = [item for item in checks if item.group != "max_gpus"]
    over = [budget.broken()] if budget.slack < 0 else []
    return Evaluation(tuple(groups), (*own, *over), (*checks, budget))


def _named(plan: Plan) -> list[tuple[str, Group]]:
    """Groups with what stands before their places in names of rows: nothing in a plan of one shape."""
    return [(f"group={place}, " if plan.groups else "", group) for place, group in enumerate(plan.parts)]


def _missing_requests(instance: Instance, plan: Plan) -> list[Violation]:
    """Scenarios of which the replicas together take fewer requests than arrive."""
    found = []
    for scenario in instance.scenarios:
        asked = scenario.workload.requests
        taken = sum(group.replicas * requests_of(group, scenario) for group in plan.parts)
        if taken < asked:
            found.append(Violation(f"load[{scenario.name}]", "plan", taken, asked, "requests"))
    return found


def requests_of(group: Group, scenario: Scenario) -> int:
    """Requests of a scenario that one replica takes at most."""
    for share in group.shares:
        if share.scenario == scenario.name:
            return share.requests
    return 0 if group.shares else divide_up(scenario.workload.requests, group.replicas)


class Evaluator:
    """One group of replicas in numbers; ``name`` stands before the places of its rows."""

    def __init__(self, deployment: Deployment, plan: Group, name: str = "") -> None:
        self.deployment, self.instance, self.plan, self.name = deployment, deployment.instance, plan, name
        self.shape: tuple[Violation, ...] = ()
        self.checks: tuple[Check, ...] = ()
        self.width = plan.width
        inside = self.width <= self.instance.device.devices_per_node
        self.link: LinkName = "scale_up" if inside else "scale_out"
        self.variant = Variant(
            plan.replicas,
            self.link,
            single_stage=len(plan.stages) == 1 and self.instance.model.tied,
            load=tuple(requests_of(plan, scenario) for scenario in self.instance.scenarios),
        )

    @cached_property
    def engine(self) -> EnginePlan:
        """The plan under its engine's account."""
        return EnginePlan(asked_of(self.instance, self.plan), self.plan)

    @cached_property
    def budget(self) -> int:
        """Bytes of a device that the plan may fill: what its launch tells the engine, else what the question allows."""
        told = self.plan.launched is not None and self.deployment.engine is not None
        return memory_budget(self.engine.instance if told else self.instance)

    def _requests(self, scenario: Scenario) -> int:
        """Requests of a scenario that one replica takes."""
        return self.variant.load[self.instance.scenarios.index(scenario)]

    def run(self) -> GroupFigures:
        """Compute the figures of the group, and what the limits say of them."""
        self.shape = tuple(self._shape_violations())
        beyond = any(stage.layers[1] >= self.instance.model.layer_count for stage in self.plan.stages)
        served = (scenario for scenario in self.instance.scenarios if self._requests(scenario))
        scenarios = () if beyond else tuple(self._scenario(scenario) for scenario in served)
        self.checks = tuple(self._checks(scenarios))
        return GroupFigures(self.plan, scenarios)

    def _scenario(self, scenario: Scenario) -> ScenarioFigures:
        runs = microbatches_of(self.plan, scenario)
        requests = self._requests(scenario)
        if is_stream(scenario):
            return self._stream(scenario, requests)
        if isinstance(scenario.workload, ClosedLoop):
            return self._loop(scenario, requests, runs)
        shape = PrefillShape(min(runs.prefill_requests, requests), runs.prompt_chunks)
        prefill = shape.step(scenario)
        decode = decode_step(scenario, divide_up(requests, runs.decode_microbatches), self.instance.speculative)
        stages = tuple(self._stage(stage, scenario, prefill, decode) for stage in self.plan.stages)
        counts = shape.microbatches(requests), runs.decode_microbatches, requests, requests
        sending = _sending(scenario) * shape.requests
        figures = ScenarioFigures(scenario, stages, *counts, prompt_chunks=shape.chunks, sending=sending)
        self._simulate(figures)
        return figures

    def _loop(self, scenario: Scenario, requests: int, runs: Microbatches) -> ScenarioFigures:
        """Closed loop: what finds no room waits; no more decode microbatches than stages."""
        running = self._running(scenario, requests)
        microbatches = min(runs.decode_microbatches, len(self.plan.stages), running)
        size, chunk = divide_up(running, microbatches), self._chunk(scenario)
        loop = Loop(self.deployment, scenario, running=running, size=size, link=self.link, chunk=chunk)
        stages = tuple(self._loop_stage(stage, loop, requests) for stage in self.plan.stages)
        return ScenarioFigures(scenario, stages, running, microbatches, requests, running)

    def _chunk(self, scenario: Scenario) -> int | None:
        """Tokens of an iteration that a closed loop is told, where they are fewer than the engine's default."""
        if (
            self.deployment.engine is None
            or not isinstance(scenario.workload, Phased)
            or scenario.workload.phase != "both"
        ):
            return None
        batched = self.engine.batched(scenario, self.plan.stages[0].option)
        return cut_at(self.instance, self.deployment.engine, batched)

    def _stream(self, scenario: Scenario, requests: int) -> ScenarioFigures:
        """Prompts that come one after the other: one with nothing beside it, and what each takes of its window."""
        own, width = own_prefill_step(scenario), self.plan.stages[0].attn_dp
        shapes = stream_shapes(scenario, [width])
        stages = []
        for stage in self.plan.stages:
            held = replace(prefill_step(scenario, width), loop=False)
            each = (
                divide_up(
                    self._total(stage, replace(prefill_step(scenario, shape.requests), loop=False)), shape.requests
                )
                for shape in shapes
            )
            figures = StageFigures(
                memory_bytes=self._memory_in(stage, scenario, held, min(width, requests)),
                prefill_ns=self._times(stage, own),
                decode_ns={},
                iteration=min(each),
                first_token=self._total(stage, own),
            )
            stages.append(figures)
        return ScenarioFigures(scenario, tuple(stages), 1, 1, requests, requests, sending=_sending(scenario))

    @property
    def _at_once(self) -> int | None:
        """Requests that one attention replica is told to run at once: by the plan's launch, else by the question."""
        own = None if self.plan.launched is None else self.plan.launched.sequences
        return own or self.instance.engine_settings.max_num_seqs

    def _running(self, scenario: Scenario, requests: int) -> int:
        """Requests that one replica runs at once: all if they may and memory holds them, else what finds room."""
        told = self._at_once
        if told is not None:
            requests = min(requests, told * min(stage.attn_dp for stage in self.plan.stages))

        def holds(count: int) -> bool:
            stages = (self._loop_memory(stage, scenario, count) for stage in self.plan.stages)
            return all(sum(memory.values()) <= self.budget for memory in stages)

        if holds(requests):
            return requests
        if self.deployment.engine is not None:
            return max(1, min(requests, self.engine.admitted(scenario)))
        return 1 + bisect_left(range(2, requests), True, key=lambda count: not holds(count))

    def _loop_memory(self, stage: Stage, scenario: Scenario, requests: int) -> dict[str, int]:
        steps = own_prefill_step(scenario), decode_step(scenario, requests, self.instance.speculative)
        alone = isinstance(scenario.workload, Phased) and scenario.workload.phase == "decode"
        return self._memory(stage, scenario, *steps[alone:], requests=requests)

    def _loop_stage(self, stage: Stage, loop: Loop, requests: int) -> StageFigures:
        times = self._loop_times(stage, loop)
        return StageFigures(
            memory_bytes=self._loop_memory(stage, loop.scenario, requests),
            prefill_ns=self._times(stage, loop.steps[0]),
            decode_ns=self._times(stage, loop.steps[1]),
            iteration=sum(count * found.iteration for found, count in times),
            first_token=sum(count * found.first_token for found, count in times),
        )

    def _loop_times(self, stage: Stage, loop: Loop) -> list[tuple[LoopTimes, int]]:
        """Times of the stage's layers by kind, and of its ends, and how often each counts."""
        found = [(loop.layer(kind, stage.option), count) for kind, count in self._kinds(stage).items()]
        ends = loop.ends(stage.option)
        found.append((ends.first if stage.layers[0] == 0 else ends.entry, 1))
        if stage.layers[1] == self.instance.model.layer_count - 1:
            found.append((ends.last, 1))
        return found

    def _simulate(self, figures: ScenarioFigures) -> None:
        times = [stage.prefill for stage in figures.stages]
        if figures.is_loop or figures.phase == "decode":
            return
        if len(times) * figures.prefill_microbatches > SIMULATED_AT_MOST:
            return
        leaves = simulate_prefill(times, figures.prefill_microbatches)
        sent = simulate_sending(leaves, chunks=figures.prompt_chunks, sending=figures.sending)
        makespan = sent[-1] if figures.sending else leaves[-1]
        if makespan != figures.ttft:
            raise CheckFailed(f"simulated TTFT {makespan} ns, formula {figures.ttft} ns")

    def _stage(self, stage: Stage, scenario: Scenario, prefill: Step, decode: Step) -> StageFigures:
        phase = scenario.workload.phase if isinstance(scenario.workload, Phased) else "both"
        steps = {"both": (prefill, decode), "prefill": (prefill,), "decode": (decode,)}[phase]
        return StageFigures(
            memory_bytes=self._memory(stage, scenario, *steps),
            prefill_ns=self._times(stage, prefill),
            decode_ns=self._times(stage, decode),
        )

    def peak(self, scenario: Scenario, step: Step) -> int:
        """Bytes on the fullest device of any stage in one step."""
        return max(sum(self._memory_in(stage, scenario, step).values()) for stage in self.plan.stages)

    def decode_tpot(self, scenario: Scenario, size: int, microbatches: int) -> int:
        """TPOT with ``size`` sequences in each of ``microbatches``, ns."""
        step = decode_step(scenario, size, self.instance.speculative)
        return tpot([self._total(stage, step) for stage in self.plan.stages], microbatches)

    def _kinds(self, stage: Stage) -> Counter[str]:
        first, last = stage.layers
        return Counter(self.deployment.layer_kinds[first : last + 1])

    def _memory(self, stage: Stage, scenario: Scenario, *steps: Step, requests: int | None = None) -> dict[str, int]:
        parts = (self._memory_in(stage, scenario, step, requests) for step in steps)
        return max(parts, key=lambda found: sum(found.values()))

    def _memory_in(self, stage: Stage, scenario: Scenario, step: Step, requests: int | None = None) -> dict[str, int]:
        """Memory by part with ``requests`` resident (``None``: all that the replica takes)."""
        option, deployment = stage.option, self.deployment
        if deployment.engine is not None:
            return self.engine.memory(self.plan.stages.index(stage))
        parts = deployment.memory_parts(self.variant, scenario, step, option)
        kinds = self._kinds(stage)
        first = stage.layers[0] == 0
        last = stage.layers[1] == self.instance.model.layer_count - 1
        requests = self._requests(scenario) if requests is None else requests
        guessed = deployment.draft_kv(option, scenario, requests) if last else 0
        cached = sum(deployment.layer_kv(kind, option, scenario, requests) * n for kind, n in kinds.items())
        return {
            "weights": sum(deployment.layer_weights(kind, option) * count for kind, count in kinds.items()),
            "kv_cache": cached + guessed,
            "embedding": parts.embedding if first else 0,
            "head": parts.head if last else 0,
            "activations": parts.activations + (parts.logits if last else 0),
            "buffers": parts.buffers + (0 if first else parts.received),
            "runtime": parts.runtime,
        } | ({"draft": parts.draft} if last and parts.draft else {})

    def _times(self, stage: Stage, step: Step) -> dict[str, int]:
        if step.loop and self.deployment.serving is not None:
            return {"fitted iteration": self._total(stage, step)}
        option, clock = stage.option, self.deployment.clock
        picoseconds: Counter[str] = Counter()
        for kind, count in self._kinds(stage).items():
            for operation in self.deployment.operations(kind, option, step):
                picoseconds[operation.name] += clock.picoseconds(operation)[1] * count
        for operation in self._end_operations(stage, step):
            picoseconds[operation.name] += clock.picoseconds(operation)[1]
        one = {name: value * MILLION // step.gives for name, value in picoseconds.items()}
        return _shares(Counter(one), self._total(stage, step))

    def _total(self, stage: Stage, step: Step) -> int:
        return sum(cell * count for cell, count in self._cells(stage, step))

    def _cells(self, stage: Stage, step: Step) -> list[tuple[int, int]]:
        """(ns, how often) of the stage's layers by kind, and of its ends."""
        option = stage.option
        kinds = self._kinds(stage).items()
        layers = [(self.deployment.layer_time(kind, option, step), count) for kind, count in kinds]
        ends = self.deployment.end_times(option, step, self.link)
        before = ends.first if stage.layers[0] == 0 else ends.entry
        last = stage.layers[1] == self.instance.model.layer_count - 1
        return [*layers, (before, 1), (ends.last if last else 0, 1)]

    def _end_operations(self, stage: Stage, step: Step) -> list[Operation]:
        option = stage.option
        model, dtype = self.instance.model, self.instance.activations
        ends = []
        if stage.layers[0] == 0:
            ends.append(embedding_operation(model, option, step, dtype))
        else:
            ends.append(hand_over(model, option, step, dtype=dtype, link=self.link))
        if stage.layers[1] == model.layer_count - 1:
            ends += [head_operation(model, option, step, dtype), *self.deployment.guesses(option, step)]
        return ends

    def _shape_violations(self) -> list[Violation]:
        found: list[Violation] = []
        expected = 0
        for index, stage in enumerate(self.plan.stages):
            if stage.layers[0] != expected:
                found.append(Violation("cover", f"{self.name}stage={index}", stage.layers[0], expected, "first layer"))
            expected = stage.layers[1] + 1
            rules, count = self.deployment.rules, len(self.plan.stages)
            spans = self.link == "scale_out"
            for rule in broken_rules(self.instance, stage.option, rules, stages=count, spans=spans):
                place = f"{self.name}stage={index}"
                found.append(Violation(f"engine:{rule.name}", place, stage.gpus, 0, rule.sentence))
        layers = self.instance.model.layer_count
        if expected != layers:
            found.append(Violation("cover", f"{self.name}layers", expected, layers, "layers"))
        if any(rule.uniform for rule in self.deployment.rules) and len({s.option for s in self.plan.stages}) > 1:
            count = len(self.plan.stages)
            found.append(Violation("engine:uniform-stages", f"{self.name}plan", count, 1, "different options"))
        return found

    def _checks(self, scenarios: tuple[ScenarioFigures, ...]) -> Iterator[Check]:
        """Every limit of the instance as the plan is held against it; times with the margin taken off."""
        instance, told = self.instance, self._at_once
        if told is not None:
            for index, stage in enumerate(self.plan.stages):
                wanted = running(stage.option, self.variant.load)
                yield Check("running[max_num_seqs]", f"{self.name}stage={index}", wanted, told, "requests")
        for figures in scenarios:
            name, limits = figures.scenario.name, figures.scenario.limits
            for index, found in enumerate(figures.stages):
                yield Check(f"memory[{name}]", f"{self.name}stage={index}", found.memory, self.budget, "bytes")
            workload = figures.scenario.workload
            times: tuple[tuple[Literal["ttft", "tpot"], int, int | None], ...]
            times = ("ttft", figures.ttft, limits.ttft), ("tpot", figures.tpot, limits.tpot)
            yield from self._rate_checks(figures)
            for group, value, limit in times:
                if limit is not None:
                    sent = figures.ttft - figures.prefilled if group == "ttft" else 0
                    allowed = allowed_time(instance, group, workload, max(0, limit - sent)) + sent
                    yield Check(f"{group}[{name}]", f"{self.name}plan", value, allowed, "ns")

    def _rate_checks(self, figures: ScenarioFigures) -> Iterator[Check]:
        """What each prompt takes of the window in which they come, where replicas prefill alone."""
        workload = figures.scenario.workload
        if not isinstance(workload, ClosedLoop) or workload.window is None:
            return
        for index, found in enumerate(figures.stages):
            share = limit_within_margin(workload.window // figures.requests, self.instance.margin)
            place = f"{self.name}stage={index}"
            yield Check(f"rate[{figures.scenario.name}]", place, found.iteration, share, "ns")


class Totals(Evaluator):
    """The same figures, with the time of a stage as one sum."""

    def _times(self, stage: Stage, step: Step) -> dict[str, int]:
        return {"all operations": self._total(stage, step)}


def _sending(scenario: Scenario) -> int:
    """What the KV cache of one request takes on the link to the decode pool, ns."""
    return scenario.workload.sending if isinstance(scenario.workload, Phased) else 0


def _shares(picoseconds: Counter[str], total_ns: int) -> dict[str, int]:
    """Nanoseconds by operation that add up to the stage's total; the largest takes the rounding."""
    parts = {name: value // 1000 for name, value in picoseconds.items()}
    if parts:
        parts[max(parts, key=lambda name: parts[name])] += total_ns - sum(parts.values())
    return parts
