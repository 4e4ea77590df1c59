"""Engines: whose rules and memory account hold, and what its users set on it.

Fields are spelt as vLLM spells its flags; the names of SGLang and TensorRT-LLM are understood as well.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from shardproof.instances.base import Record
from shardproof.instances.rope import RopeScaling, from_json
from shardproof.instances.units import Ratio

EngineName = Literal["any", "vllm", "sglang", "trtllm"]

ALIASES = {
    "mem_fraction_static": "gpu_memory_utilization",
    "free_gpu_memory_fraction": "gpu_memory_utilization",
    "context_length": "max_model_len",
    "max_seq_len": "max_model_len",
    "max_running_requests": "max_num_seqs",
    "max_batch_size": "max_num_seqs",
    "chunked_prefill_size": "max_num_batched_tokens",
    "max_num_tokens": "max_num_batched_tokens",
    "page_size": "block_size",
    "tokens_per_block": "block_size",
}
"""Names of other engines for the same setting."""


class EngineSettings(Record):
    """An engine, its version and its settings; ``None``: chosen by the planner, or the engine's own default.

    ``gpu_memory_utilization``: share of a device's memory that the engine may use; ``max_model_len``: tokens of
    the longest request that is accepted; ``max_num_seqs`` and ``max_num_batched_tokens``: requests and tokens in
    one iteration of one attention replica; ``enforce_eager``: no CUDA graphs; ``block_size``: tokens of one
    block of the KV cache; ``rope_scaling``: how positions are stretched; ``allow_long_max_model_len``: the engine is
    told to accept requests beyond the model's positions (an environment variable).
    """

    name: EngineName = "any"
    version: str | None = Field(default=None, pattern=r"^v?\d+(\.\d+)*([.\-+]?[a-z0-9.]+)?$")
    gpu_memory_utilization: Ratio | None = Field(default=None, gt=0, le=1)
    max_model_len: int | None = Field(default=None, gt=0, le=10**9)
    max_num_seqs: int | None = Field(default=None, gt=0, le=10**6)
    max_num_batched_tokens: int | None = Field(default=None, gt=0, le=10**9)
    enforce_eager: bool = False
    block_size: int | None = Field(default=None, gt=0, le=4096)
    rope_scaling: Annotated[RopeScaling, BeforeValidator(from_json)] | None = None
    allow_long_max_model_len: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        if isinstance(tree, str):
            name, _, version = tree.partition("@")
            return {"name": name, "version": version} if _ else {"name": name}
        return _canonical(tree) if isinstance(tree, dict) else tree

    @model_validator(mode="after")
    def _fits_together(self) -> EngineSettings:
        stated = sorted(self.model_fields_set - {"name"})
        if self.name == "any" and stated:
            raise ValueError(f"{stated[0]} is a setting of an engine; name one of vllm, sglang, trtllm")
        if self.max_num_seqs and self.max_num_batched_tokens and self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens {self.max_num_batched_tokens} is below max_num_seqs {self.max_num_seqs}; "
                "every running request needs one token of an iteration"
            )
        return self

    @field_validator("name", mode="before")
    @classmethod
    def _known(cls, name: Any) -> Any:
        if name not in get_args(EngineName):
            raise ValueError(f"is no engine that is known; known are {', '.join(get_args(EngineName))}")
        return name

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A name, alone or with its version, or a mapping that says more."""
        text = {"type": "string", "pattern": f"^({'|'.join(get_args(EngineName))})(@v?[0-9].*)?$"}
        return {"anyOf": [text, handler.resolve_ref_schema(handler(schema))]}

    def positions(self, own: int) -> int:
        """Positions of a model with ``own`` of them, as this engine is told to stretch them."""
        return own if self.rope_scaling is None else max(own, self.rope_scaling.positions(own))

    @property
    def version_text(self) -> str:
        """Name and version as users write them."""
        return self.name if self.version is None else f"{self.name}@{self.version}"


def _canonical(tree: dict[str, Any]) -> dict[str, Any]:
    """Replace other engines' names of settings, and dashes, by ours."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        plain = str(key).replace("-", "_")
        name = ALIASES.get(plain, plain)
        if name in found:
            raise ValueError(f"{key} and {name} say the same twice; keep one")
        found[name] = str(value) if name == "version" and not isinstance(value, str | None) else value
    return found
