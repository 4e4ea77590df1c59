"""Facts: what the document, the instance and the catalogue together say about model, hardware and plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from shardproof.instances.drafts import asked_again
from shardproof.instances.hardware import Device
from shardproof.instances.instance import Instance
from shardproof.instances.layers import (
    CompressedAttention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.speculative import Speculative
from shardproof.solver.audit.guessed import as_launched
from shardproof.solver.documents.catalogue_match import find_devices, find_model
from shardproof.solver.documents.statement import Document, Statement
from shardproof.solver.documents.values import BYTES_PER_ELEMENT, read_dtype

MOST_OF_ANYTHING = 100_000
DEGREES = frozenset({
    "tp", "dp", "ep", "moe_tp", "pp", "replicas", "gpus", "nodes", "gpus_per_node", "microbatches",
    "microbatch_requests", "microbatch_tokens", "decode_microbatches", "prompt_chunks", "batch", "input_tokens",
    "dp_local", "max_sequences", "attention_dp", "gpus_requested", "gpus_listed", "gpus_available",
})  # fmt: skip
"""Fields that are at least 1: a smaller number is contradicted where it stands, and no figure builds on it."""


@dataclass(frozen=True)
class StageRow:
    """What the document says about one stage: its layers (counted from 0) and its GPUs."""

    index: int
    first: int | None = None
    last: int | None = None
    layers: int | None = None
    gpu_first: int | None = None
    gpu_last: int | None = None
    gpus: int | None = None
    line: int = 0
    tp: int | None = None
    dp: int | None = None
    ep: int | None = None
    moe_tp: int | None = None
    extra_slots: int | None = None
    name: int = 0

    @property
    def width(self) -> int | None:
        """GPUs of the stage, counted, listed or by its degrees."""
        if self.gpu_first is not None and self.gpu_last is not None:
            return self.gpu_last - self.gpu_first + 1
        if self.gpus is None and self.tp is not None:
            return self.tp * (self.dp or 1)
        return self.gpus

    @property
    def option(self) -> Option | None:
        """What the stage runs, where its own degrees say it and fit its width."""
        width, tp = self.width, self.tp
        if width is None or tp is None or tp < 1 or width % tp:
            return None
        ep = self.ep or (width // self.moe_tp if self.moe_tp and width % self.moe_tp == 0 else 1)
        if ep < 1 or width % ep:
            return None
        extra = self.extra_slots or 0
        return Option(attn_tp=tp, attn_dp=width // tp, moe_tp=width // ep, moe_ep=ep, extra_slots=extra)


@dataclass(frozen=True)
class Facts:
    """The document's facts, with the instance's where one is given and the catalogue's for named things.

    ``guessing``: speculative decoding as the plan of the document has it.
    """

    document: Document
    instance: Instance | None
    model: Model | None
    devices: tuple[Device, ...]
    guessing: Speculative | Literal["none"] | None = None

    @classmethod
    def gather(cls, document: Document, instance: Instance | None) -> Facts:
        """Collect the facts of a document."""
        if instance is not None:
            told = as_launched(document, instance)
            dropped = told.speculative is None and instance.speculative is not None
            guessing: Speculative | Literal["none"] | None = "none" if dropped else asked_again(told.speculative)
            return cls(document, told, told.model, (told.device,), guessing)
        precision = document.first("precision")
        wanted = str(precision.value) if precision and precision.section != "engine" else None
        model = None
        for named in _names(document):
            name = str(named.value)
            for candidate in (name, name.partition(",")[0], name.partition("(")[0]):
                model = model or find_model(candidate, wanted or read_dtype(name))
        device = document.first("device")
        return cls(document, None, model, find_devices(str(device.value)) if device else ())

    def stated(self, *fields: str) -> int | None:
        """Return a stated whole number; ``None`` also for a degree below 1, which no figure can build on."""
        number = self.document.number(*fields)
        if number is None or number.denominator != 1 or (number < 1 and DEGREES.intersection(fields)):
            return None
        return int(number)

    def _sane(self, field: str) -> int | None:
        """Return a stated count that can be one: at least 1, and no astronomical number."""
        number = self.stated(field)
        return number if number is not None and 1 <= number <= MOST_OF_ANYTHING else None

    # model

    @cached_property
    def layers(self) -> int | None:
        """Layers of the model."""
        return self.model.layer_count if self.model else self._sane("layers")

    @cached_property
    def moe(self) -> MixtureOfExperts | None:
        """The routed experts of the model's first MoE layer."""
        kinds = self.model.kinds.values() if self.model else ()
        return next((k.feed_forward for k in kinds if isinstance(k.feed_forward, MixtureOfExperts)), None)

    @cached_property
    def experts(self) -> int | None:
        """Routed experts of a layer; 0 for a dense model."""
        if self.model is not None:
            return self.moe.experts if self.moe else 0
        return self._sane("experts")

    @cached_property
    def heads(self) -> int | None:
        """Query heads of a layer."""
        for kind in self.model.kinds.values() if self.model else ():
            if isinstance(kind.attention, GroupedQueryAttention | LatentAttention | CompressedAttention):
                return kind.attention.heads
        return None if self.model else self._sane("heads")

    @cached_property
    def kv_heads(self) -> int | None:
        """KV heads of a layer; none for latent attention."""
        for kind in self.model.kinds.values() if self.model else ():
            if isinstance(kind.attention, GroupedQueryAttention):
                return kind.attention.kv_heads
        return None if self.model else self._sane("kv_heads")

    @cached_property
    def one_shape(self) -> bool:
        """Whether every attention layer has the same heads."""
        shapes = {
            (kind.attention.heads, getattr(kind.attention, "kv_heads", 0))
            for kind in (self.model.kinds.values() if self.model else ())
            if isinstance(
                kind.attention, GroupedQueryAttention | LatentAttention | CompressedAttention | LinearAttention
            )
        }
        return len(shapes) <= 1

    @cached_property
    def weight_dtype(self) -> str | None:
        """Dtype of the weights: stated, else the model's experts or attention."""
        stated = self.document.first("precision")
        own = None
        if self.model is not None:
            own = self.model.formats.experts.dtype if self.moe else self.model.formats.attention.dtype
        if stated is not None and self.instance is None:
            quantised = own is not None and own not in ("bf16", "fp16", "fp32")
            return own if stated.section == "engine" and quantised else str(stated.value)
        return own

    @cached_property
    def weight_bytes(self) -> Fraction | None:
        """Bytes of one weight in the main dtype."""
        return BYTES_PER_ELEMENT.get(self.weight_dtype or "")

    @cached_property
    def kv_dtypes(self) -> tuple[str, ...]:
        """Dtypes that the KV cache may have: the stated one, else what the document leaves open."""
        stated = self.document.first("kv_precision")
        if stated is not None and self.instance is None and stated.value in BYTES_PER_ELEMENT:
            return (str(stated.value),)
        if self.instance is not None:
            return (self.instance.model.kv_dtype,)
        beside = {
            read_dtype(s.text) for s in self.document.of("kv_total", "kv_per_gpu", "kv_per_token", "kv_per_request")
        }
        named = beside - {None}
        if len(named) == 1 and (only := named.pop()) in BYTES_PER_ELEMENT:
            return (str(only),)
        open_choices = {"bf16"}
        if self.weight_dtype in ("fp8", "fp16", "bf16"):
            open_choices.add(self.weight_dtype)
        return tuple(sorted(open_choices, key=lambda dtype: BYTES_PER_ELEMENT[dtype]))

    # hardware

    @cached_property
    def device(self) -> Device | None:
        """The device, where its name leaves no choice."""
        return self.devices[0] if len(self.devices) == 1 else None

    def _hardware(self, field: str, known: Fraction | None) -> Fraction | None:
        if self.instance is None:
            stated = self.document.number(field)
            if stated is not None:
                return stated
        return known

    @cached_property
    def gpu_memory(self) -> Fraction | None:
        """Memory of one GPU, bytes."""
        if self.instance is not None:
            return Fraction(self.instance.memory_limit)
        return self._hardware("gpu_memory", Fraction(self.device.memory) if self.device else None)

    @cached_property
    def gpu_flops(self) -> Fraction | None:
        """Dense peak of one GPU in the weights' dtype, FLOP/s."""
        known = None
        if self.device is not None:
            dtype = self.device.compute_dtype(self.weight_dtype or "bf16")
            known = Fraction(self.device.peak_flops[dtype])
        return self._hardware("gpu_flops", known)

    @cached_property
    def bandwidth(self) -> Fraction | None:
        """Memory bandwidth of one GPU, bytes/s."""
        return self._hardware("bandwidth", Fraction(self.device.memory_bandwidth) if self.device else None)

    @cached_property
    def mfu(self) -> Fraction | None:
        """Share of the peak that is reached."""
        known = self.device.mfu if self.instance is not None and self.device else None
        return self._hardware("mfu", known)

    # workload

    def workload(self, field: str) -> int | None:
        """Return batch, input_tokens or output_tokens of the (first) workload."""
        if self.instance is not None:
            load = self.instance.scenarios[0].workload
            return {"batch": load.requests, "input_tokens": load.input_tokens, "output_tokens": load.output_tokens}[
                field
            ]
        return self.stated(field)

    def limit(self, field: str) -> Fraction | None:
        """Return the TTFT or TPOT limit, seconds."""
        if self.instance is not None:
            limits = self.instance.scenarios[0].limits
            nanoseconds = limits.ttft if field == "ttft_limit" else limits.tpot
            return None if nanoseconds is None else Fraction(nanoseconds, 10**9)
        return self.document.number(field)

    # the plan

    @cached_property
    def stages(self) -> tuple[StageRow, ...]:
        """The stages that the document lists one by one, in order; stage and layer numbers from 0."""
        rows: dict[int, dict[str, int]] = {}
        for statement in self.document.of("stage_layers", "stage_layer_count", "stage_gpus", "stage_gpu_count"):
            _collect(rows, statement)
        for statement in self.document.of("tp", "dp", "ep", "moe_tp", "extra_slots"):
            if statement.subject.startswith("stage") and rows:
                _collect(rows, statement)
        if not rows:
            return ()
        base = 1 if min(rows) == 1 else 0
        firsts = [row["first"] for row in rows.values() if "first" in row]
        layer_base = 1 if firsts and min(firsts) == 1 else 0
        found = []
        for index in sorted(rows):
            row = rows[index]
            for key in ("first", "last"):
                if key in row:
                    row[key] -= layer_base
            found.append(StageRow(index=index - base, name=index, **row))
        return tuple(found)

    @cached_property
    def _rows_by_name(self) -> dict[str, StageRow]:
        return {f"stage {row.name}": row for row in self.stages}

    def row_of(self, statement: Statement) -> StageRow | None:
        """Return the stage that a statement is about; ``None`` for several stages at once."""
        return self._rows_by_name.get(statement.subject)

    @cached_property
    def pp(self) -> int | None:
        """Pipeline stages."""
        stated = self._sane("pp")
        if stated is None and self.stages and len(self.stages) == self.stages[-1].index + 1:
            return len(self.stages)
        return stated

    @cached_property
    def replicas(self) -> int | None:
        """Copies of the whole pipeline."""
        return self._sane("replicas")

    @cached_property
    def gpus(self) -> int | None:
        """GPUs of the whole plan, as stated."""
        return self._sane("gpus")


def _names(document: Document) -> tuple[Statement, ...]:
    """Model names in the order in which they count: what the launch loads, then what the page says.

    A launch that names a published model is about that one, known or not; one that names a path may be about
    the page's.
    """
    loaded = tuple(s for s in document.of("model") if s.section == "engine")
    if loaded and not re.match(r"^[./~$]|^[A-Z]:", str(loaded[0].value)) and str(loaded[0].value).count("/") == 1:
        return loaded[:1]
    return (*loaded, *(s for s in document.of("model") if s.section != "engine"))[:8]


def _collect(rows: dict[int, dict[str, int]], statement: Statement) -> None:
    numbers = [int(part) for part in statement.subject.removeprefix("stage ").split("-") if part.isdigit()]
    if not numbers:
        return
    last = min(numbers[-1], numbers[0] + 512)
    for index in range(numbers[0], last + 1):
        row = rows.setdefault(index, {"line": statement.line})
        value = statement.value
        if isinstance(value, tuple) and len(numbers) == 1 and len(value) == 2:
            names = ("first", "last") if statement.field == "stage_layers" else ("gpu_first", "gpu_last")
            row.setdefault(names[0], value[0])
            row.setdefault(names[1], value[1])
        elif isinstance(value, Fraction) and (value >= 1 or statement.field not in DEGREES):
            names_of = {"stage_layer_count": "layers", "stage_gpu_count": "gpus"}
            row.setdefault(names_of.get(statement.field, statement.field), min(int(value), 10**6))
