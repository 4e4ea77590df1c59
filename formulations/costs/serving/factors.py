"""Fitted factors: what the engine makes of each datasheet term, by device, engine, precision and model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import exp
from pathlib import Path

from pydantic import Field

from shardproof import instances
from shardproof.formulations.costs.serving.architecture import architecture_of, device_key
from shardproof.instances.base import Record
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.reading import read_mapping, validate

FILE = Path(instances.__file__).parent / "catalog" / "serving" / "factors.json"
KNOWN_FAMILIES = ("Hopper", "Blackwell")
NOT_ASKED = ("harness", "release")
"""Columns that tell measurements apart and that nobody who plans can state."""
USUAL_KERNELS = "vllm"


class Group(Record):
    """Deviations of the factors' logarithms by the value of some columns.

    ``columns``: what the value is made of, joined by ``|``; ``values``: per value one number a basis element;
    ``basis``: ``term`` (one a term), ``class`` (one a class of terms) or ``all`` (one).
    """

    columns: tuple[str, ...]
    basis: str
    values: dict[str, tuple[float, ...]]


class Fit(Record):
    """Shared logarithms of the factors, one a term, and groups of deviations.

    ``usual``: what deviations by harness and release come to on average, one number a class of terms, by what a
    planner does state; the first group that holds a setting speaks.
    """

    base: tuple[float, ...]
    groups: tuple[Group, ...]
    usual: tuple[Group, ...] = ()


class Floor(Record):
    """What one prefill iteration takes at least on the host, and how work rises above it.

    ``t = (floor ** power + work ** power) ** (1 / power) + request * (requests - 1)``, milliseconds, with
    ``work = fixed + work_factor * linear layers + attention_factor * attention``.
    """

    floor_ms: float
    power: float
    work_factor: float
    attention_factor: float
    request_ms: float
    fixed_ms: float
    source: str
    fit_error: str


class FactorCatalogue(Record):
    """The catalogue file: term names, logarithms of the factors, groups of deviations, and where from.

    ``decode`` and ``prefill`` name the terms in order; ``classes`` give each term's class; ``wait`` holds the
    factors of the time to first token. ``known`` knows architectures apart and holds for pairs of architecture
    and engine that it was fitted to; ``general`` does not.
    """

    source: str
    fit: dict[str, str]
    decode: tuple[str, ...]
    prefill: tuple[str, ...]
    classes: tuple[int, ...]
    known: Fit
    general: Fit
    wait: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    prefill_floor: dict[str, Floor] = Field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What the factors depend on.

    ``arch``, ``device``: what the model and the device are (`architecture`); ``harness`` names who measures and
    ``release`` is the engine's month, empty where nobody says.
    """

    arch: str
    device: str
    family: str
    engine: str
    precision: str
    harness: str
    wide: str = "tp"
    release: str = ""

    def key(self, columns: tuple[str, ...]) -> str:
        """Join the named columns."""
        return "|".join(getattr(self, column) for column in columns)


@dataclass(frozen=True)
class Factors:
    """Multipliers of the decode and the prefill terms, in the catalogue's order, and which groups were known."""

    decode: dict[str, float]
    prefill: dict[str, float]
    unknown: tuple[str, ...]


@lru_cache(maxsize=1)
def load_factors() -> FactorCatalogue:
    """Read the catalogue file once."""
    return validate(FactorCatalogue, read_mapping(FILE), where="catalogue: serving/factors.json")


def setting_of(
    model: Model,
    device: Device,
    engine: str,
    *,
    harness: str | None = None,
    wide: str = "tp",
    release: str | None = None,
) -> Setting:
    """Name what the factors depend on; ``harness`` and ``release`` (``YYYY-MM``) are those of a measurement."""
    return Setting(
        arch=architecture_of(model),
        device=device_key(device),
        family=device_family(device),
        engine="vllm" if engine == "any" else engine,
        precision=precision_name(model),
        harness=harness or "",
        wide=wide,
        release=release or "",
    )


def width_of(option: Option) -> str:
    """Name how an option spreads a layer: ``dp`` (attention data parallel), ``ep`` (experts only) or ``tp``."""
    return "dp" if option.attn_dp > 1 else ("ep" if option.moe_ep > 1 else "tp")


def kernels_of(engine: str) -> str:
    """Name the engine whose kernels an engine runs, as the curves know them."""
    return USUAL_KERNELS if engine == "any" or engine.startswith("vllm") else engine


def device_family(device: Device) -> str:
    """Architecture family that factors are shared across."""
    for family in KNOWN_FAMILIES:
        if device.architecture in (family, f"{family} Ultra"):
            return family
    return "other"


def precision_name(model: Model) -> str:
    """Short name of what most weights are stored in."""
    mixture = model.parameters > 1.2 * model.active_parameters
    dtype = (model.formats.experts if mixture else model.formats.dense_ffn).dtype
    return {"nvfp4": "fp4", "mxfp4": "mxfp4", "int4": "int4", "fp8": "fp8", "int8": "fp8"}.get(dtype, "bf16")


@lru_cache(maxsize=1)
def known_pairs() -> frozenset[str]:
    """Pairs of model and engine, ``arch|engine``, that stand behind the factors."""
    pairs = (group for group in load_factors().known.groups if group.columns == ("arch", "engine"))
    return frozenset(pair for group in pairs for pair in group.values)


def is_known(setting: Setting) -> bool:
    """Tell whether this model was measured under this engine."""
    return setting.key(("arch", "engine")) in known_pairs()


@lru_cache(maxsize=1024)
def factors_for(setting: Setting) -> Factors:
    """Multipliers for a setting; what was never measured keeps the factors of what it is nearest to."""
    catalogue = load_factors()
    chosen = catalogue.known if is_known(setting) else catalogue.general
    logs = list(chosen.base)
    unknown: list[str] = [] if is_known(setting) else ["model+engine"]
    for group in _spoken(chosen, setting):
        found = group.values.get(setting.key(group.columns))
        if found is None:
            unknown.append("+".join(group.columns))
            continue
        for place, kind in enumerate(catalogue.classes):
            logs[place] += found[place] if group.basis == "term" else found[kind if group.basis == "class" else 0]
    split = len(catalogue.decode)
    multipliers = [exp(value) for value in logs]
    return Factors(
        decode=dict(zip(catalogue.decode, multipliers[:split], strict=True)),
        prefill=dict(zip(catalogue.prefill, multipliers[split:], strict=True)),
        unknown=tuple(unknown),
    )


def _spoken(fit: Fit, setting: Setting) -> list[Group]:
    """Groups that speak of a setting: all where harness and release are told, else their usual deviations instead."""
    if setting.harness:
        return list(fit.groups)
    asked = [group for group in fit.groups if not set(NOT_ASKED) & set(group.columns)]
    usual = (group for group in fit.usual if setting.key(group.columns) in group.values)
    return asked + list(islice(usual, 1))
