"""From a plan to what the simulator plays with: iteration times from the cost tables, and the engine's limits.

The cells are those of the search (`shardproof.formulations.deployment.cells`): the same layer and end times, read at
other batch sizes and contexts. A chunk after a context costs what it adds to the prompt before it, and never less
than a first chunk of its size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.costs.speculative import verifying
from shardproof.formulations.deployment.build import Deployment
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Stage
from shardproof.instances.speculative import MILLION
from shardproof.instances.workload import Phased
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes


@dataclass(frozen=True)
class PlanTimes:
    """Stage times of a plan for any batch and context, ns."""

    deployment: Deployment
    stages: tuple[Stage, ...]

    @property
    def link(self) -> LinkName:
        """Link between the stages."""
        inside = sum(stage.gpus for stage in self.stages) <= self.deployment.instance.device.devices_per_node
        return "scale_up" if inside else "scale_out"

    @cached_property
    def beside(self) -> bool:
        """Whether prompts are prefilled beside the decode of others: no, where replicas prefill alone."""
        loads = (scenario.workload for scenario in self.deployment.instance.scenarios)
        return not any(isinstance(load, Phased) and load.phase == "prefill" for load in loads)

    def decode(self, sequences: int, context: int) -> list[int]:
        """Times of the stages for one decode microbatch, for each token that it gives."""
        step = Step("decode", sequences, 1, context, True)
        return self._times(verifying(step, self.deployment.instance.speculative))

    def prefill(self, tokens: int, context: int) -> list[int]:
        """Times of the stages for a chunk of ``tokens`` after ``context`` tokens of the same prompt."""
        first = self._times(Step("prefill", 1, tokens, 0, self.beside))
        if context <= 1:
            return first
        before = self._times(Step("prefill", 1, context, 0, self.beside))
        whole = self._times(Step("prefill", 1, context + tokens, 0, self.beside))
        return [max(own, all_ - some) for own, all_, some in zip(first, whole, before, strict=True)]

    def _times(self, step: Step) -> list[int]:
        return [self._stage(stage, step) for stage in self.stages]

    def _stage(self, stage: Stage, step: Step) -> int:
        first, last = stage.layers
        kinds = Counter(self.deployment.layer_kinds[first : last + 1])
        ends = self.deployment.end_times(stage.option, step, self.link)
        before = ends.first if first == 0 else ends.entry
        after = ends.last if last == self.deployment.instance.model.layer_count - 1 else 0
        layers = sum(self.deployment.layer_time(kind, stage.option, step) * count for kind, count in kinds.items())
        return layers + before + after


def iteration_times(
    deployment: Deployment, stages: Sequence[Stage], limits: ReplicaLimits, *, longest: int, shortest: int = 1
) -> IterationTimes:
    """Return the iterations of a replica up to its limits and the longest request; ``shortest``: prompt."""
    times = PlanTimes(deployment, tuple(stages))
    return IterationTimes(
        times.decode,
        times.prefill,
        stages=len(stages),
        most_sequences=limits.sequences,
        most_tokens=limits.batched_tokens,
        longest=longest,
        shortest=shortest,
    )


def limits_of(deployment: Deployment, plan: Group, *, prefix_hit: float = 0.0) -> ReplicaLimits:
    """What the engine of a plan's replica allows, all attention replicas together."""
    return limits_under(deployment.instance, plan, prefix_hit=prefix_hit)


def limits_under(instance: Instance, plan: Group, *, prefix_hit: float = 0.0) -> ReplicaLimits:
    """What the engine allows that is set up for a question."""
    engine = EnginePlan(instance, plan)
    ranks, guessed = plan.stages[0].attn_dp, instance.speculative
    tokens = max(1, engine.binding.kv_tokens) * ranks
    told = engine.instance.engine_settings
    batched = engine.launch(plan.stages[0].option).batched * ranks
    most = (told.max_num_seqs or engine.binding.max_sequences) * ranks
    return ReplicaLimits(
        sequences=max(1, most),
        batched_tokens=max(batched, most if guessed is None else most * guessed.verified),
        cache_tokens=tokens,
        prefix_hit=prefix_hit,
        ranks=ranks,
        verified=1 if guessed is None else guessed.verified,
        gives=MILLION if guessed is None else guessed.tokens,
    )
