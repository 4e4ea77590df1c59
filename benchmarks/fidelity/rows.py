"""Serving rows: a line of ``system_level.csv.gz`` as model, device, engine, option and load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.fidelity.memory import matrices_in, number, read_rows
from shardproof.instances.catalogue import load_device, load_model
from shardproof.instances.errors import InputError
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model, TensorFormat
from shardproof.instances.option import Option

DEVICES: Mapping[str, str] = {
    "b200_sxm": "b200-sxm",
    "NVIDIA B200-SXM-180GB": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "h100_sxm": "h100-sxm",
    "h100": "h100-sxm",
    "H100": "h100-sxm",
    "h100-80gb": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "h200": "h200-sxm",
    "h20": "h20-sxm",
    "h800": "h800-sxm",
    "gb200": "gb200-nvl72",
    "NVIDIA GB200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "NVIDIA GB300": "gb300-nvl72",
    "a100": "a100-80-sxm",
    "a100-80gb": "a100-80-sxm",
    "A100-80GB": "a100-80-sxm",
    "l40s": "l40s",
    "L40S": "l40s",
    "a10g": "a10g",
    "l4": "l4",
    "rtx_pro_6000": "rtx-pro-6000-server",
    "rtx_4090": "rtx-4090",
    "910b": "ascend-910b2",
    "mi300x": "mi300x",
    "mi325x": "mi325x",
    "mi355x": "mi355x",
    "AMD Instinct MI300X 192GB HBM3": "mi300x",
    "AMD Instinct MI325X 256GB HBM3e": "mi325x",
}

MODELS: Mapping[str, str] = {
    "DeepSeek-R1-0528-AWQ": "deepseek-r1",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek-r1",
    "DeepSeek-V3/R1": "deepseek-r1",
    "deepseek-v3": "deepseek-v3",
    "Qwen/Qwen3-14B-AWQ": "qwen3-14b",
    "Qwen/Qwen3-14B-FP8": "qwen3-14b",
    "Qwen/Qwen3-8B-FP8": "qwen3-8b",
    "Qwen/Qwen3-8B-AWQ": "qwen3-8b",
    "Qwen/Qwen3-32B-FP8": "qwen3-32b",
    "Qwen/Qwen3-32B-AWQ": "qwen3-32b",
    "nvidia/Qwen3-32B-NVFP4": "qwen3-32b",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "Qwen/Qwen3-235B-A22B-Instruct-2507": "qwen3-235b-a22b",
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8": "qwen3-235b-a22b",
    "Qwen/Qwen3-30B-A3B-FP8": "qwen3-30b-a3b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "llama3.1-8b": "llama-3.1-8b",
    "llama3.1-405b": "llama-3.1-405b",
    "zai-org/GLM-4.5-Air-FP8": "glm-4.5-air",
    "zai-org/GLM-5.2": "glm-5",
    "zai-org/GLM-5.2-FP8": "glm-5",
    "zhipuai/GLM-5.2": "glm-5",
    "zai-org/GLM-4.6-FP8": "glm-4.6",
    "zai-org/GLM-4.5-FP8": "glm-4.5",
}
"""Names that the catalogue does not list as aliases."""

NOT_STEADY = ("open", "other")
DRAFTING = ("speculative", "mtp", "eagle", "medusa")
"""Words of a row's note that tell of speculative decoding where no flag does."""
QUANTISED = ("fp8", "fp4", "mxfp4")
EIGHT_BIT_CACHES = ("inferencex_db",)
"""Harnesses whose public scripts launch quantised checkpoints with an FP8 cache on Blackwell (`kv-cache-dtype`)."""
LEVEL_WITHIN = 1.6
"""Largest ratio of the stated concurrency to the requests in the system that still makes it a level."""
_BF16 = TensorFormat(dtype="bf16")
_FP8 = TensorFormat(dtype="fp8", block=(128, 128))
_NVFP4 = TensorFormat(dtype="nvfp4", block=(1, 16), scale_bits=8)
_INT4 = TensorFormat(dtype="int4", block=(1, 32), scale_bits=16)


@dataclass(frozen=True)
class ServingRow:
    """One measured serving point.

    ``mode``: ``agg`` (closed loop), ``static`` (one batch, prefilled at once) or ``disagg`` (decode pool, its
    workers stated);
    ``concurrency``: requests in flight in one replica; ``harness``: who measured it; ``release``: in which month;
    ``level``: whether that many were in flight all the time, by Little's law, and not at the peak; ``cache``: dtype of
    the KV cache that it was launched with (`cache_of`), by which requests find room.
    """

    key: str
    mode: str
    harness: str
    model: Model
    precision: str
    device: Device
    engine: str
    option: Option
    stages: int
    concurrency: float
    input_tokens: float
    output_tokens: float
    tpot_ms: float
    ttft_ms: float | None
    release: str = ""
    level: bool = True
    cache: str = "bf16"

    @property
    def launched(self) -> Model:
        """The model with the cache that it was launched with."""
        return self.model.model_copy(update={"kv_dtype": self.cache})


def read_serving(folder: Path) -> Iterator[ServingRow]:
    """Rows of ``system_level.csv.gz`` that are trusted and name a catalogue model and device."""
    for row in trusted_rows(folder):
        found = _serving_row(row)
        if found is not None:
            yield found


def trusted_rows(folder: Path) -> list[dict[str, str]]:
    """Rows whose layout is known and that do not decode speculatively, by their flags or by their note."""
    return [
        row
        for row in read_rows(folder / "system_level.csv.gz")
        if row["topo_conf"] in ("high", "corrected")
        and "spec_decode_suspect" not in row["flags"]
        and not any(word in row["note"].lower() for word in DRAFTING)
    ]


def requests_inside(row: Mapping[str, str]) -> float | None:
    """Requests in the system by Little's law: measured throughput times time in the system."""
    rate, output, tpot = (number(row[name]) for name in ("out_tok_s", "osl", "tpot_ms"))
    if rate is None or not output or tpot is None:
        return None
    return rate / output * ((number(row["ttft_ms"]) or 0.0) + tpot * (output - 1)) / 1e3


def _serving_row(row: Mapping[str, str]) -> ServingRow | None:
    mode = mode_of(row["mode"])
    if mode == "disagg" and number(row["d_workers"]) is None:
        return None
    model, precision = find_model(row["model"], row["precision"], row["engine"])
    device = DEVICES.get(row["gpu"])
    tpot, concurrency = number(row["tpot_ms"]), number(row["concurrency"])
    prompt, output = number(row["isl"]), number(row["osl"])
    layout = _layout(row, mode)
    if mode in NOT_STEADY or model is None or device is None or layout is None:
        return None
    if tpot is None or concurrency is None or prompt is None or output is None or tpot <= 0:
        return None
    option, stages, replicas = layout
    inside = requests_inside(row)
    return ServingRow(
        key=row["id"],
        mode=mode,
        harness=row["source_kind"],
        model=model,
        precision=precision,
        device=load_device(device),
        engine=engine_of(row["engine"]),
        option=option,
        stages=stages,
        concurrency=max(1.0, concurrency / replicas),
        input_tokens=prompt,
        output_tokens=output,
        tpot_ms=tpot,
        ttft_ms=number(row["ttft_ms"]),
        release=row["date"][:7],
        level=inside is None or 1 / LEVEL_WITHIN < concurrency / max(inside, 1e-9) < LEVEL_WITHIN,
        cache=cache_of(row["source_kind"], precision, load_device(device).architecture, engine_of(row["engine"])),
    )


def cache_of(harness: str, precision: str, architecture: str, engine: str) -> str:
    """Dtype of a row's KV cache, which no column states.

    TensorRT-LLM takes it from the checkpoint (`kv_cache_config.dtype: auto`): FP8 where its weights are quantised.
    vLLM and SGLang keep 16 bits unless told otherwise, which one harness does on Blackwell.
    """
    told = harness in EIGHT_BIT_CACHES and architecture.startswith("Blackwell")
    return "fp8" if precision in QUANTISED and (engine == "trtllm" or told) else "bf16"


def _layout(row: Mapping[str, str], mode: str) -> tuple[Option, int, float] | None:
    """Return (option, stages, replicas) of the pool that decodes."""
    names = ("d_tp", "d_dp", "d_ep") if mode == "disagg" else ("tp", "dp", "ep")
    tp, dp, ep = (number(row[name]) for name in names)
    if tp is None:
        return None
    width, data, experts = int(tp), int(dp or 1), int(ep or 1)
    gpus = width * data
    experts = experts if gpus % experts == 0 else 1
    stages = 1 if mode == "disagg" else int(number(row["pp"]) or 1)
    option = Option(attn_tp=width, attn_dp=data, moe_tp=gpus // experts, moe_ep=experts)
    if mode == "disagg":
        return option, stages, number(row["d_workers"]) or 1.0
    return option, stages, max(1.0, round((number(row["n_gpus"]) or gpus) / (gpus * stages)))


def mode_of(text: str) -> str:
    """Shorten a row's mode."""
    for sign, mode in (("disagg", "disagg"), ("static", "static"), ("open", "open"), ("agg", "agg")):
        if sign in text:
            return mode
    return "other"


def engine_of(text: str) -> str:
    """Shorten an engine's name; vLLM of 2023 is an engine of its own."""
    lowered = text.lower()
    if "2023" in lowered:
        return "vllm-2023"
    for sign, engine in (("tensorrt", "trtllm"), ("trtllm", "trtllm"), ("sglang", "sglang"), ("vllm", "vllm")):
        if sign in lowered:
            return engine
    return lowered


@cache
def find_model(name: str, precision: str, engine: str) -> tuple[Model | None, str]:
    """Return the catalogue's model in a row's precision, and that precision's short name."""
    try:
        model = load_model(MODELS.get(name, name))
    except InputError:
        return None, precision
    short = short_precision(name, precision, model, engine)
    return in_precision(model, short), short


def short_precision(name: str, precision: str, model: Model, engine: str) -> str:
    """Shorten a precision to bf16, fp8, fp4 or int4; a checkpoint's name tells more than the column."""
    named = name.upper()
    for sign, short in (("FP8", "fp8"), ("AWQ", "int4"), ("NVFP4", "fp4")):
        if named.endswith(sign) or f"-{sign}" in named:
            return short
    text = precision.lower()
    if model.formats.experts.dtype == "mxfp4":
        return "mxfp4"
    for sign, short in (("int4", "int4"), ("fp4", "fp4"), ("fp8", "fp8"), ("int8", "fp8")):
        if sign in text:
            return short
    if model.family.startswith("deepseek"):
        return "fp8"
    return "fp8" if not text and engine != "vllm" else "bf16"


def in_precision(model: Model, precision: str) -> Model:
    """Put a model's matrices into a precision; 4-bit formats of mixtures hold the experts only."""
    if model.formats.experts.dtype == "mxfp4":
        return model
    mixture = model.parameters > 1.2 * model.active_parameters
    dense = {
        "bf16": _BF16,
        "fp8": _FP8,
        "fp4": _BF16 if mixture else _NVFP4,
        "int4": _BF16 if mixture else _INT4,
    }[precision]
    experts = {"bf16": _BF16, "fp8": _FP8, "fp4": _NVFP4, "int4": _INT4}[precision]
    return model.model_copy(update={"formats": matrices_in(dense, dense, experts), "kv_dtype": "bf16"})
