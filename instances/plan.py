"""Plans: how many replicas, which stages, what each of them runs, and where each expert lives.

A plan of one shape says its stages itself. A mixed fleet says them in ``groups``: replicas of one group are alike,
and each takes its own share of the requests.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from shardproof.instances.base import Record
from shardproof.instances.option import Option
from shardproof.instances.reading import read_mapping, validate
from shardproof.instances.speculative import Speculative
from shardproof.instances.units import Ratio

MOST = 10**6
"""Replicas and GPUs of a plan at most: far beyond any fleet, and few enough to be counted one by one."""


class Stage(Record):
    """A contiguous range of layers on ``gpus`` devices.

    ``layers``: first and last layer, counted from 0, both included; ``extra_slots``: expert slots of each rank
    beyond the fewest that hold every expert. ``memory_bytes`` (by part, of the
    fullest device) and ``time_ns`` (by operation, of one microbatch) are what the planner computed; they
    may be absent in a plan written by hand.
    """

    layers: tuple[int, int]
    gpus: int = Field(gt=0, le=MOST)
    attn_tp: int = Field(gt=0)
    attn_dp: int = Field(gt=0)
    moe_tp: int = Field(gt=0)
    moe_ep: int = Field(gt=0)
    extra_slots: int = Field(default=0, ge=0)
    memory_bytes: dict[str, int] | None = None
    time_ns: dict[str, int] | None = None

    @classmethod
    def of(cls, layers: tuple[int, int], option: Option) -> Stage:
        """Return the stage that runs an option on a range of layers."""
        tp, dp, moe_tp, moe_ep = option.degrees
        return cls(
            layers=layers,
            gpus=option.gpus,
            attn_tp=tp,
            attn_dp=dp,
            moe_tp=moe_tp,
            moe_ep=moe_ep,
            extra_slots=option.extra_slots,
        )

    @property
    def option(self) -> Option:
        """What every GPU of the stage runs."""
        return Option(self.attn_tp, self.attn_dp, self.moe_tp, self.moe_ep, self.extra_slots)

    @model_validator(mode="after")
    def _products_agree(self) -> Stage:
        first, last = self.layers
        if not 0 <= first <= last:
            raise ValueError(f"layers [{first}, {last}] is no range; write [first, last] with 0 <= first <= last")
        for left, right, name in (
            (self.attn_tp, self.attn_dp, "attn_tp * attn_dp"),
            (self.moe_tp, self.moe_ep, "moe_tp * moe_ep"),
        ):
            if left * right != self.gpus:
                raise ValueError(f"{name} = {left} * {right} must equal gpus = {self.gpus}")
        return self


class Microbatches(Record):
    """How one scenario runs: requests per prefill microbatch, and microbatches of sequences in decode.

    ``prompt_chunks``: into how many chunks each prompt is cut; a microbatch then holds one chunk of each of its
    requests. ``chunk_tokens``: tokens of an iteration of one attention replica in a closed loop, where they are fewer
    than the engine's default.
    """

    scenario: str = "main"
    prefill_requests: int = Field(gt=0)
    prompt_chunks: int = Field(default=1, gt=0)
    decode_microbatches: int = Field(default=1, gt=0)
    chunk_tokens: int | None = Field(default=None, gt=0)


LAUNCH_SETTINGS = {
    "sequences": "max_num_seqs",
    "batched_tokens": "max_num_batched_tokens",
    "memory_share": "gpu_memory_utilization",
    "version": "version",
}
"""Engine settings that a launch may say itself, by its fields."""


class Launched(Record):
    """What a launch tells each attention replica itself, where that is part of the plan: it outranks the question's.

    ``sequences``: requests that run at once; ``batched_tokens``: tokens of one iteration; ``memory_share``: of a
    device; ``version``: the engine's release (``None``: not said).
    """

    sequences: int | None = Field(default=None, gt=0)
    batched_tokens: int | None = Field(default=None, gt=0)
    memory_share: Ratio | None = Field(default=None, gt=0, le=1)
    version: str | None = Field(default=None, pattern=r"^\d+(\.\d+)*$")

    @property
    def settings(self) -> dict[str, int | Fraction | str]:
        """What it says, by the names of engine settings."""
        named = {name: getattr(self, field) for field, name in LAUNCH_SETTINGS.items()}
        return {name: value for name, value in named.items() if value is not None}

    def without(self, names: Collection[str]) -> Launched | None:
        """Return it without some engine settings, which are said elsewhere; ``None`` where nothing is left."""
        left = self.model_copy(update={field: None for field, name in LAUNCH_SETTINGS.items() if name in names})
        return left if left.settings else None


class Share(Record):
    """Requests of one scenario that each replica of a group takes at most: the weight of the replica's routing."""

    scenario: str = "main"
    requests: int = Field(ge=0)


Pool = Literal["prefill", "decode"]

_WHERE_SAID = frozenset({"shares", "groups", "stages", "pool", "speculative", "launched"})
"""Fields that are written only where they say something."""


class Group(Record):
    """``replicas`` copies of a pipeline of stages.

    ``pool``: the phase that they serve alone (``None``: both).

    ``shares``: requests that each replica takes (empty: the scenarios' requests, shared equally).
    ``microbatch_tokens`` is the prompt tokens of one prefill microbatch in the first scenario;
    ``microbatches`` says it for every scenario. ``placement`` is, per layer, the expert on each slot. ``launched``:
    settings that a launch of the plan has of its own.
    """

    replicas: int = Field(gt=0, le=MOST)
    shares: tuple[Share, ...] = ()
    microbatch_tokens: int = Field(gt=0)
    microbatches: tuple[Microbatches, ...] = ()
    stages: tuple[Stage, ...] = ()
    placement: tuple[tuple[int, ...], ...] | None = None
    pool: Pool | None = None
    launched: Launched | None = None

    @property
    def width(self) -> int:
        """GPUs of one replica."""
        return sum(stage.gpus for stage in self.stages)

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.width

    @model_validator(mode="after")
    def _has_stages(self) -> Self:
        if not self.stages:
            raise ValueError("a group of replicas has no stages; list at least one")
        return self

    @model_serializer(mode="wrap")
    def _as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only mixed fleets say where it says nothing."""
        tree: dict[str, Any] = write(self)
        return {name: value for name, value in tree.items() if value or name not in _WHERE_SAID}


class Plan(Group):
    """A plan that an engine can run: replicas that are all alike, or ``groups`` of them.

    ``speculative``: what guesses tokens ahead (``none``: nothing does, whatever is asked; ``None``: not said).

    With groups, ``replicas`` counts those of all groups, ``microbatch_tokens`` is the largest, and the plan has no
    stages of its own.
    """

    groups: tuple[Group, ...] = ()
    model: str | None = None
    device: str | None = None
    engine: str | None = None
    speculative: Speculative | Literal["none"] | None = None
    instance_fingerprint: str | None = None

    def with_parts(self, parts: tuple[Group, ...]) -> Self:
        """Return the plan with other groups in place of its own, as many."""
        if self.groups:
            return self.model_copy(update={"groups": parts})
        (alone,) = parts
        return self.model_copy(update={name: getattr(alone, name) for name in Group.model_fields})

    @property
    def parts(self) -> tuple[Group, ...]:
        """Groups of the fleet; a plan of one shape is its own only group."""
        return self.groups or (self,)

    def part(self, group: Group) -> Plan:
        """Return a group as a plan of one shape."""
        own: dict[str, Any] = {name: getattr(group, name) for name in Group.model_fields}
        return self.model_copy(update={**own, "groups": ()})

    @property
    def is_apart(self) -> bool:
        """Whether prefill and decode have replicas of their own."""
        return any(group.pool is not None for group in self.groups)

    def in_pool(self, pool: Pool | None) -> Plan:
        """Return the groups of one pool (``None``: of both phases) as a plan of their own."""
        groups = tuple(group.model_copy(update={"pool": None}) for group in self.groups if group.pool == pool)
        if len(groups) == 1:
            return self.part(groups[0])
        widest = max(group.microbatch_tokens for group in groups)
        replicas = sum(group.replicas for group in groups)
        return self.model_copy(update={"groups": groups, "replicas": replicas, "microbatch_tokens": widest})

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return sum(group.gpus for group in self.groups) if self.groups else self.replicas * self.width

    @model_validator(mode="after")
    def _has_stages(self) -> Self:
        if bool(self.stages) == bool(self.groups):
            raise ValueError("give either stages, or groups with stages of their own")
        if self.groups and self.replicas != sum(group.replicas for group in self.groups):
            raise ValueError(f"replicas = {self.replicas} must be the sum over the groups")
        pools = {group.pool for group in self.groups}
        if self.is_apart and not pools >= {"prefill", "decode"}:
            raise ValueError("with pools, groups say pool: prefill or decode, and there are groups of both")
        if self.is_apart and None in pools and not all(group.shares for group in self.groups if group.pool is None):
            raise ValueError("beside pools, a group of both phases (no pool) says the shares of requests that it takes")
        return self


def load_plan(path: Path) -> Plan:
    """Read a plan written as YAML or JSON (`shardproof solve -o`), or a whole `solve --json` document."""
    return plan_from_tree(read_mapping(path), where=str(path))


def plan_from_tree(tree: dict[str, Any], *, where: str) -> Plan:
    """Read a plan from parsed YAML or JSON; a ``solve --json`` document is unwrapped."""
    inner = tree.get("plan")
    return validate(Plan, inner if isinstance(inner, dict) else tree, where=where)
