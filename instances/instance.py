"""Instances: one question to the planner, as written in a file and as resolved against the catalogue."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from shardproof.instances.base import Record
from shardproof.instances.correction import Correction
from shardproof.instances.engine import EngineName, EngineSettings
from shardproof.instances.hardware import Device, Link
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.model import DType, Model
from shardproof.instances.option import FixedDegrees
from shardproof.instances.serving import Serving, Transfer, drop_what_serves_together
from shardproof.instances.speculative import Speculation, Speculative, canonical
from shardproof.instances.units import ByteRate, CapacityBytes, DemandBytes, Price, Ratio
from shardproof.instances.workload import Limits, OpenLoop, Scenario, Workload

DEFAULT_MAX_GPUS = 256
WIDEST_DEFAULT_STAGE = 72
DEFAULT_RUNTIME_RESERVE = 1_000_000_000
RESERVE_ASSUMED = f"runtime reserve {DEFAULT_RUNTIME_RESERVE / 10**9:g} GB per device: not given by the instance"
WHOLE_PROMPTS = "whole_prompts: prefill runs in microbatches of whole prompts; a stage works on one at a time"


class Precision(Record):
    """Dtypes that differ from the model's own: all weights in one dtype, KV cache, activations."""

    weights: DType | None = None
    kv_cache: DType | None = None
    activations: Literal["bf16", "fp16", "fp32", "fp8"] = "bf16"


class Hardware(Record):
    """Figures of the device that the instance overrides."""

    mfu: Ratio | None = Field(default=None, gt=0, le=1)
    bandwidth_efficiency: Ratio | None = Field(default=None, gt=0, le=1)
    memory: CapacityBytes | None = Field(default=None, gt=0)
    memory_bandwidth: ByteRate | None = Field(default=None, gt=0)
    devices_per_node: int | None = Field(default=None, ge=1)
    scale_up: Link | None = None
    scale_out: Link | None = None
    price_per_hour: Price | None = None


class Checkpoint(Record):
    """What an engine is asked to load: an id or a path, and how it stores weights that are to be served otherwise.

    ``weights``: dtype of the checkpoint's own weights where the instance asks for another (``None``: as stored);
    ``kv_cache``: the same of the KV cache that it asks for.
    """

    name: str | None = None
    weights: DType | None = None
    kv_cache: DType | None = None


class AllLimits(Limits):
    """Limits of a deployment: latency, memory per device, GPUs and price of all of them together."""

    memory: CapacityBytes | None = Field(default=None, gt=0)
    max_gpus: int | None = Field(default=None, ge=1, le=16384)
    price_per_hour: Price | None = Field(default=None, gt=0)


def own_limits(limits: Limits) -> Limits:
    """Return the limits of a scenario that a file states beside those of the whole deployment."""
    return Limits(**{name: getattr(limits, name) for name in Limits.model_fields})


def _check_kind(scenario: Scenario) -> None:
    """Refuse limits that say nothing of a workload's kind."""
    limits = scenario.limits
    if not isinstance(scenario.workload, OpenLoop) and (limits.percentiles or limits.goodput or limits.e2e):
        raise ValueError(
            "percentiles, goodput and e2e are limits of requests that come by themselves; write the workload with"
            " kind: requests and a rate"
        )
    if limits.goodput is not None and not (limits.ttft or limits.tpot or limits.e2e):
        raise ValueError("goodput needs limits that a good request keeps: ttft, tpot or e2e")


def _several(named: object) -> object:
    """One file may stand without its list."""
    return (named,) if isinstance(named, str) else named


class InstanceFile(Record):
    """What a file says. Either ``workload`` (with ``limits``) or several named ``scenarios``.

    ``efficiency``: ``flat`` divides by peak times ``mfu``; ``calibrated`` reads curves fitted to measurements
    of the device or of its nearest relative. Left out, it is calibrated for a catalogue device with curves
    whose ``mfu`` the file does not state. ``calibrations``: files of corrections that ``check -o`` wrote.
    ``speculative``: a method that guesses tokens ahead, or all of `Speculative`.
    """

    name: str = "instance"
    description: str = ""
    model: str | Model
    device: str | Device
    hardware: Hardware = Hardware()
    precision: Precision = Precision()
    engine: EngineSettings = EngineSettings()
    efficiency: Literal["flat", "calibrated"] | None = None
    workload: Workload | None = None
    scenarios: tuple[Scenario, ...] = ()
    limits: AllLimits = AllLimits()
    max_stage_gpus: int | None = Field(default=None, ge=1, le=16384)
    stage_widths: Literal["node-divisors", "any"] = "node-divisors"
    runtime_reserve: DemandBytes | None = None
    load_profile: str | None = None
    margin: Ratio = Field(default=Fraction(0), ge=0, le=10)
    confidence: Ratio | None = Field(default=None, gt=0, lt=1)
    replicas: Literal["free", "alike"] = "free"
    fixed: FixedDegrees = FixedDegrees()
    serving: Serving = "together"
    transfer: Transfer = Transfer()
    speculative: Speculative | None = None
    calibrations: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    assumptions: tuple[str, ...] = ()

    @field_validator("speculative", mode="before")
    @classmethod
    def _none_at_all(cls, value: Any) -> Any:
        """Method ``none`` takes back what a file says."""
        tree = canonical(value)
        return None if isinstance(tree, dict) and tree.get("method") == "none" else value

    @model_validator(mode="after")
    def _asks_something(self) -> InstanceFile:
        if (self.workload is None) == (not self.scenarios):
            raise ValueError("give either 'workload' or 'scenarios'")
        names = [scenario.name for scenario in self.scenarios]
        if len(set(names)) != len(names):
            raise ValueError("scenario names must differ")
        own = self.limits
        if self.scenarios and (own.ttft or own.tpot or own.e2e or own.percentiles or own.goodput):
            raise ValueError("with 'scenarios', write ttft and tpot under each scenario's limits")
        main = () if self.workload is None else (Scenario(workload=self.workload, limits=own_limits(own)),)
        for scenario in (*self.scenarios, *main):
            _check_kind(scenario)
        return self


class Instance(Record):
    """A resolved question: every name replaced by what it stands for, every default filled in.

    ``memory_limit``: bytes of one device that a plan may use; ``max_gpus``: the search's budget;
    ``max_stage_gpus``: widest stage; ``stage_widths``: whether a stage's GPUs must divide a node's;
    ``runtime_reserve``: bytes of one device that the runtime keeps (``reserve_stated``: as the file says; engines
    have accounts of their own and keep none otherwise);
    ``margin``: share by which every time is inflated before it is held against a limit; ``calibration``:
    catalogue name of the device whose curves time operations, and a digest of them (``None``: flat shares);
    ``correction``: what the user's own measurements make of predicted times;
    ``loop_ttft_margin``: ``margin`` of TTFTs of closed loops (``None``: the same); ``confidence``: share of
    measurements that must lie within what the plan is held to; ``load_profile``: the loads that a file held, or
    the name of a synthetic profile; ``serving``: prefill and decode on one replica (``together``), in pools of their
    own (``apart``), or whichever takes fewer GPUs (``any``); ``transfer``: the link between the pools;
    ``speculative``: what guesses tokens ahead, and how many hold (``None``: nothing does).
    """

    name: str
    model: Model
    device: Device
    activations: Literal["bf16", "fp16", "fp32", "fp8"]
    engine: EngineName
    engine_settings: EngineSettings = EngineSettings()
    scenarios: tuple[Scenario, ...]
    memory_limit: int
    max_gpus: int
    max_stage_gpus: int
    stage_widths: Literal["node-divisors", "any"] = "node-divisors"
    runtime_reserve: int
    reserve_stated: bool = False
    load_profile: LoadProfile | str | None = None
    margin: Ratio = Fraction(0)
    loop_ttft_margin: Ratio | None = None
    confidence: Ratio | None = None
    replicas: Literal["free", "alike"] = "free"
    fixed: FixedDegrees = FixedDegrees()
    serving: Serving = "together"
    transfer: Transfer = Transfer()
    speculative: Speculation | None = None
    calibration: tuple[str, str] | None = None
    correction: Correction | None = None
    assumptions: tuple[str, ...] = ()
    checkpoint: Checkpoint = Checkpoint()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines the answer: batches, certificates and plans know an instance by it.

        Names, notes, sources and the price do not count, nor does the place of a file. The device's architecture
        does where fitted factors are looked up by it; curves are named by ``calibration``.
        """
        tree = self.model_dump(mode="json", exclude=_DETERMINES_NOTHING)
        tree["model"].pop("name")
        if self.speculative is None:
            tree.pop("speculative")
        tree["device"].pop("name")
        drop_what_serves_together(tree)
        for scenario, written in zip(self.scenarios, tree["scenarios"], strict=True):
            if getattr(scenario.workload, "part", None) == 1:
                written["workload"].pop("part")
        if self.correction is None:
            tree.pop("correction")
        if self.calibration is None and self.confidence is None:
            tree["device"].pop("architecture")
        if self.engine != "any" or not self.reserve_stated:
            tree.pop("reserve_stated")
        if self.stage_widths == "node-divisors":
            tree.pop("stage_widths")
        canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


_DETERMINES_NOTHING: Any = {
    "name": True,
    "assumptions": True,
    "checkpoint": True,
    "loop_ttft_margin": True,
    "correction": {"device", "model", "source"},
    "load_profile": {"name", "source"},
    "model": {"source", "notes", "family", "published_parameters", "predictors", "predictor_modules"},
    "speculative": {"draft_name"},
    "device": {"source", "sources", "notes", "vendor", "price_per_hour"},
}
"""Fields of an instance that no answer depends on; a price limit has become a GPU budget by then."""
