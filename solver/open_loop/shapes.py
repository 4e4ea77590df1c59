"""Shapes of replicas: an option of every stage, how many stages, and the plan that so many replicas of it are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.plans import group_of_stages, plan_of_groups
from shardproof.formulations.engines.rules import broken_rules
from shardproof.instances.option import Option
from shardproof.instances.plan import Plan, Stage


@dataclass(frozen=True)
class Shape:
    """Replicas of ``stages`` stages that all run one option, with layers spread evenly."""

    option: Option
    stages: int

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.option.gpus * self.stages

    def spans(self, layers: int) -> tuple[Stage, ...]:
        """Return the stages over so many layers; the first take one more where they do not divide."""
        ends = [-(-layers * place // self.stages) for place in range(self.stages + 1)]
        return tuple(Stage.of((start, stop - 1), self.option) for start, stop in pairwise(ends))

    def plan(self, deployment: Deployment, replicas: int) -> Plan:
        """Return the plan of so many replicas."""
        stages = self.spans(deployment.instance.model.layer_count)
        return plan_of_groups(deployment, group_of_stages(deployment, stages, replicas))

    def __str__(self) -> str:
        """Return the widths as people write them."""
        tp, dp, moe_tp, ep = self.option.degrees
        parts = [f"TP {tp}", *([f"DP {dp}"] if dp > 1 else []), *([f"EP {ep}"] if ep > 1 else [])]
        del moe_tp
        return " x ".join([*parts, *([f"PP {self.stages}"] if self.stages > 1 else [])])


def shapes_of(deployment: Deployment) -> Iterator[Shape]:
    """Yield every shape that the rules accept, up to the GPU budget, with an option's shorter pipelines first."""
    instance = deployment.instance
    for option in deployment.options:
        most = min(instance.max_gpus // option.gpus, instance.model.layer_count)
        for stages in range(1, most + 1):
            spans = option.gpus * stages > instance.device.devices_per_node
            if not broken_rules(instance, option, deployment.rules, stages=stages, spans=spans):
                yield Shape(option, stages)


def fewest(low: int, high: int, keeps: Callable[[int], bool]) -> int | None:
    """Return the fewest replicas, from ``low`` to ``high``, that keep the limits (``None``: not as many as these do).

    Steps grow by a quarter and are halved then: ``keeps`` is asked about few numbers, most of them near the one sought.
    """
    failed, tried = low - 1, low
    while tried < high and not keeps(tried):
        failed = tried
        tried = min(high, tried + max(1, tried // 4))
    while tried - failed > 1:
        middle = (failed + tried) // 2
        failed, tried = (failed, middle) if keeps(middle) else (middle, tried)
    return tried if tried <= high and keeps(tried) else None
