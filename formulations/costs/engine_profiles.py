"""Engine profiles: how each engine, from which version on, accounts for device memory at start-up."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from shardproof import instances
from shardproof.instances.base import Record
from shardproof.instances.reading import read_mapping, refuse, validate
from shardproof.instances.units import Ratio

FILE = Path(instances.__file__).parent / "catalog" / "serving" / "engine_memory.yaml"
GIB = 2**30


class MemoryProfile(Record):
    """The accounting of one engine from version ``since`` on.

    ``bytes_per_logit``: bytes per (sequence, vocabulary entry) of the sampler's dummy run;
    ``base_activation``: GiB kept beside it; ``non_torch``: GiB outside the allocator, by tensor-parallel ranks;
    ``kept_expert_workspace``: whether the expert kernels keep their workspace; ``mxfp4_expert_padding``: share
    by which MXFP4 experts grow when they are padded; ``graphs_reserved``: whether CUDA graphs come off the KV
    cache; ``cache``: how caches of several kinds share a pool (`engine_cache`; ``whole``: windows are not cut);
    ``block_tokens``: tokens of a block; ``utilisation``: share of the device used by default;
    ``static_fraction``: whether a share that is told holds weights and cache alone, activations lying outside;
    ``chunked_prefill``: whether prompts are cut into chunks by default; ``weights_factor``: what loading
    keeps over the weights themselves.
    """

    since: str
    bytes_per_logit: float = Field(ge=0)
    base_activation: float = Field(ge=0)
    non_torch: dict[int, float]
    kept_expert_workspace: bool
    mxfp4_expert_padding: float = Field(ge=0)
    graphs_reserved: bool
    chunked_prefill: bool = True
    cache: Literal["groups", "pools", "sum", "whole"] = "groups"
    block_tokens: int = Field(default=16, gt=0)
    static_fraction: bool = False
    utilisation: Ratio = Field(default=Fraction(9, 10), gt=0, le=1)
    weights_factor: float = Field(default=1.0, ge=1)
    source: str

    def non_torch_bytes(self, ranks: int) -> int:
        """Bytes outside the allocator on one of ``ranks`` devices: the nearest known rank count from above."""
        known = min((count for count in self.non_torch if count >= ranks), default=max(self.non_torch))
        return round(self.non_torch[known] * GIB)


class EngineMemoryProfiles(Record):
    """All profiles of one engine, oldest first; ``default_version`` is used when none is named."""

    default_version: str
    profiles: tuple[MemoryProfile, ...] = Field(min_length=1)


class MemoryCatalogue(Record):
    """The catalogue file."""

    engines: dict[str, EngineMemoryProfiles]


@lru_cache(maxsize=1)
def load_profiles() -> MemoryCatalogue:
    """Read the catalogue file once."""
    return validate(MemoryCatalogue, read_mapping(FILE), where="catalogue: serving/engine_memory.yaml")


def version_key(version: str) -> tuple[int, ...]:
    """Numbers of a version's text, for comparison: ``0.19.0rc1`` gives (0, 19, 0)."""
    numbers: list[int] = []
    for part in version.lstrip("<=v ").split("/")[0].split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not digits or not part[0].isdigit():
            break
        numbers.append(int(part) if part == digits else int(part[: len(part) - len(part.lstrip("0123456789"))]))
    return tuple(numbers) or (0,)


@lru_cache(maxsize=256)
def find_profile(engine: str, version: str | None) -> MemoryProfile:
    """Return the profile that holds for a version of an engine (``None``: the engine's default version).

    Raises
    ------
    InputError
        If the engine is not known.
    """
    engines = load_profiles().engines
    if engine not in engines:
        raise refuse("engine", f"known are {', '.join(sorted(engines))}", field="engine", value=engine)
    found = engines[engine]
    wanted = version_key(version or found.default_version)
    older = [profile for profile in found.profiles if version_key(profile.since) <= wanted]
    return older[-1] if older else found.profiles[0]


def default_version(engine: str) -> str:
    """Return the version that is taken where none is named."""
    return load_profiles().engines[engine].default_version
