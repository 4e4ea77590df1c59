"""A plan under its engine: what each replica is told, what its stages account for, how many requests it holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from shardproof.formulations.costs.engine_memory import (
    DOUBT,
    EngineAccount,
    EngineMemory,
    Launch,
    StageSpan,
    memory_of,
)
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.cells import is_stream
from shardproof.formulations.engines.told import (
    HIGHEST_UTILISATION,
    account_of,
    admits_at_most,
    budget_of,
    default_batch,
    demands_of,
    launch_of,
    start_up_bytes,
)
from shardproof.formulations.open_loop import closed, is_open
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.plan import Group, Microbatches, Plan
from shardproof.instances.reading import refuse
from shardproof.instances.workload import ClosedLoop, Phased, Scenario

STEP = Fraction(1, 100)
"""Utilisations are told in whole percent ..."""

FINE_STEP = Fraction(1, 1000)
"""... or finer, where start-up needs the room outside."""


def microbatches_of(plan: Group, scenario: Scenario) -> Microbatches:
    """How a plan runs a scenario; a plan that does not say so runs whole prompts, as many as its microbatch holds."""
    for item in plan.microbatches:
        if item.scenario == scenario.name:
            return item
    tokens = scenario.workload.input_tokens
    requests = max(1, plan.microbatch_tokens // tokens)
    return Microbatches(scenario=scenario.name, prefill_requests=requests)


@dataclass(frozen=True)
class EnginePlan:
    """A plan with the account of its engine.

    Whoever tells or plays an engine's settings asks here. Requests that come by themselves are no burst of one: an
    engine is set up for them as for a loop whose requests in flight nobody knows, at its defaults.
    """

    instance: Instance
    plan: Group

    def __post_init__(self) -> None:
        """Put loops in the place of open scenarios, and what a launch says itself in the place of the question's."""
        asked = closed(self.instance) if is_open(self.instance) else self.instance
        if self.plan.launched is not None:
            settings = asked.engine_settings.model_copy(update=self.plan.launched.settings)
            asked = asked.model_copy(update={"engine_settings": settings})
        object.__setattr__(self, "instance", asked)

    @cached_property
    def load(self) -> tuple[int, ...]:
        """Requests of each scenario that one replica keeps at once: of prompts that come and go those in work."""
        replicas, prompts = self.plan.replicas, self.plan.stages[0].attn_dp
        return tuple(
            min(prompts, divide_up(item.workload.requests, replicas))
            if is_stream(item)
            else divide_up(item.workload.requests, replicas)
            for item in self.instance.scenarios
        )

    @cached_property
    def account(self) -> EngineAccount:
        """The engine's account."""
        return account_of(self.instance)

    @cached_property
    def spans(self) -> tuple[StageSpan, ...]:
        """Layers of every stage."""
        return tuple(StageSpan(stage.layers[0], stage.layers[1] + 1) for stage in self.plan.stages)

    @cached_property
    def tied_once(self) -> bool:
        """Whether a tied head lies with the embedding."""
        return self.instance.model.tied and len(self.plan.stages) == 1

    def batched(self, scenario: Scenario, option: Option) -> int:
        """Tokens of one iteration of one attention replica that a scenario's prefill asks for."""
        told = self.instance.engine_settings.max_num_batched_tokens
        if told is not None:
            return told
        if isinstance(scenario.workload, Phased) and scenario.workload.phase == "decode":
            return 1
        if isinstance(scenario.workload, ClosedLoop):
            chosen = microbatches_of(self.plan, scenario).chunk_tokens if self.plan.microbatches else None
            if chosen is None and self.plan.microbatches and self.instance.engine == "any":
                return self._default  # free of an engine's rules a plan's microbatch is one of whole prompts
            return chosen or divide_up(self.plan.microbatch_tokens, option.attn_dp)
        runs = microbatches_of(self.plan, scenario)
        requests = min(runs.prefill_requests, self.load[self.instance.scenarios.index(scenario)])
        return divide_up(requests, option.attn_dp) * divide_up(scenario.workload.input_tokens, runs.prompt_chunks)

    @cached_property
    def _default(self) -> int:
        return default_batch(self.instance, self.account)

    def launch(self, option: Option) -> Launch:
        """What an attention replica is told."""
        batched = [self.batched(scenario, option) for scenario in self.instance.scenarios]
        return launch_of(self.instance, option, load=self.load, batched=batched)

    def memory(self, place: int, *, resident: bool = True) -> dict[str, int]:
        """Bytes of a stage's device by part, with every resident request, or with the longest alone."""
        option = self.plan.stages[place].option
        launch = self.launch(option)
        demands = demands_of(self.instance, option, launch, load=self.load)
        if not resident:
            demands = tuple(replace(demand, requests=0) for demand in demands)
        parts = self.account.stage(self.spans[place], option, launch, demands, tied_once=self.tied_once)
        return parts | {"start_up": start_up_bytes(self.account, option, launch)}

    @cached_property
    def starts(self) -> bool:
        """Whether the engine starts: every stage holds the longest request that it has to accept."""
        budget, places = budget_of(self.account), range(len(self.plan.stages))
        return all(sum(self.memory(place, resident=False).values()) <= budget for place in places)

    @cached_property
    def utilisation(self) -> Fraction:
        """Share of the device that the engine is told to use: as set, its default, or the least that holds more.

        More than the default only where that holds every resident request or, failing that, lets the engine start.
        """
        if self.account.settings.gpu_memory_utilization is not None:
            return self.account.settings.gpu_memory_utilization
        for resident in (True, False):
            kept = max(self._within(place, resident=resident) for place in range(len(self.plan.stages)))
            least = Fraction(kept, self.account.total_bytes) + DOUBT
            if least <= HIGHEST_UTILISATION:
                return max(self._usual, self._rounded(least))
        return self._usual

    def _within(self, place: int, *, resident: bool) -> int:
        """Bytes of a stage that the utilisation has to hold."""
        parts = self.memory(place, resident=resident)
        return sum(parts.values()) - parts["start_up"]

    def _rounded(self, least: Fraction) -> Fraction:
        """Round a utilisation up to whole percent, or less where start-up needs the room outside."""
        percent = _steps_up(least, STEP)
        return percent if (1 - percent) * self.account.total_bytes >= self._outside else _steps_up(least, FINE_STEP)

    @cached_property
    def _outside(self) -> int:
        """Bytes that start-up needs outside the utilisation."""
        return max(self.account.headroom(stage.option, self.launch(stage.option)) for stage in self.plan.stages)

    @cached_property
    def _usual(self) -> Fraction:
        """The engine's default, lowered where its start-up needs room outside."""
        total = self.account.total_bytes
        return min(self.account.profile.utilisation, _steps_down(Fraction(max(0, total - self._outside), total)))

    def stage_account(self, place: int) -> EngineMemory:
        """Return the engine's account of a stage at the plan's utilisation."""
        option = self.plan.stages[place].option
        return memory_of(self.account, self.spans[place], option, self.launch(option), utilisation=self.utilisation)

    @cached_property
    def binding(self) -> EngineMemory:
        """The account of the stage that holds the fewest tokens, or would not start."""
        found = [self.stage_account(place) for place in range(len(self.plan.stages))]
        return min(found, key=lambda item: (item.refusal is None, item.kv_tokens))

    def admitted(self, scenario: Scenario) -> int:
        """Requests of a scenario that one replica runs at once: as the caches hold, and the engine's limit."""
        return min(self._held(place, scenario) for place in range(len(self.plan.stages)))

    def _held(self, place: int, scenario: Scenario) -> int:
        option, span = self.plan.stages[place].option, self.spans[place]
        launch = self.launch(option)
        budget = int(self.utilisation * self.account.total_bytes)
        found = self.account.capacity(span, option, launch, budget=budget, tied_once=self.tied_once)
        tokens = scenario.workload.resident_tokens
        held = self.account.holds(span, option, found, tokens=tokens, batched=launch.batched)
        most = self.instance.engine_settings.max_num_seqs or max(
            launch.sequences, admits_at_most(self.instance, self.account)
        )
        return min(held, most) * option.attn_dp


def _steps_up(share: Fraction, step: Fraction) -> Fraction:
    return -(-share // step) * step


def _steps_down(share: Fraction) -> Fraction:
    return share // STEP * STEP


def admitted(instance: Instance, plan: Group, scenario: Scenario) -> int:
    """Requests of a scenario that one replica of a plan runs at once (the others wait); at least one.

    The least over the stages of what the engine's cache holds at full length, and the engine's limit of running
    requests; where no engine is named, the account of `DEFAULT_ENGINE` stands in.
    """
    return max(1, EnginePlan(instance, plan).admitted(scenario))


def require_plan_of(instance: Instance, plan: Plan) -> None:
    """Refuse a plan whose stages do not hold every layer of the instance's model once, in order.

    Raises
    ------
    InputError
        With one sentence that says what differs.
    """
    model, expected = instance.model, 0
    for index, stage in enumerate(plan.stages):
        if stage.layers[0] != expected:
            remedy = f"starts at layer {stage.layers[0]}, where {expected} is next; stages hold every layer once"
            raise refuse("plan", remedy, field=f"stages[{index}].layers")
        expected = stage.layers[1] + 1
    if expected != model.layer_count:
        remedy = f"the plan is of {expected} layers, {model.name} has {model.layer_count}; name the plan's own model"
        raise refuse("plan", remedy, field="stages")
