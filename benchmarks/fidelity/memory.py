"""Memory: weights, KV capacity and refusals, predicted and as engines' start-up logs state them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isnan
from pathlib import Path

from benchmarks.fidelity.figure import Figure, figure
from shardproof.formulations.costs.engine_memory import EngineMemory, account
from shardproof.formulations.costs.engine_profiles import GIB
from shardproof.instances.catalogue import load_model
from shardproof.instances.engine import EngineSettings
from shardproof.instances.errors import InputError
from shardproof.instances.model import Formats, Model, TensorFormat
from shardproof.instances.option import Option

KNOWN_ENGINES = ("vllm", "sglang")
NO_PEER_LINKS = ("L40", "L4", "A10G", "RTX", "T4")

_BF16 = TensorFormat(dtype="bf16")
_FP8 = TensorFormat(dtype="fp8")
_MXFP4 = TensorFormat(dtype="mxfp4", block=(1, 32), scale_bits=8)
_INT4 = TensorFormat(dtype="int4", block=(1, 32), scale_bits=16)

FORMATS: Mapping[str, tuple[TensorFormat, TensorFormat, TensorFormat]] = {
    "bf16": (_BF16, _BF16, _BF16),
    "fp16": (_BF16, _BF16, _BF16),
    "fp8": (_FP8, _FP8, _FP8),
    "w8a8-int8": (_FP8, _FP8, _FP8),
    "fp8-ffn-only": (_BF16, _FP8, _FP8),
    "mxfp4": (_BF16, _BF16, _MXFP4),
    "int4": (_BF16, _BF16, _INT4),
    "mxfp4-quark": (_FP8, _MXFP4, _MXFP4),
}
"""Formats of attention, dense feed-forward and experts by the log's ``weight_dtype``."""

RELATIVES: Mapping[str, str] = {"amd/Kimi-K2.7-Code-MXFP4": "kimi-k2.5"}
"""Checkpoints that the catalogue knows under another name."""


@dataclass(frozen=True)
class Judged:
    """One log row beside its prediction."""

    row: Mapping[str, str]
    predicted: EngineMemory


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a gzipped CSV file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def number(text: str | None) -> float | None:
    """Read a number; ``None`` where there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return None if isnan(value) else value


def find_model(row: Mapping[str, str]) -> Model | None:
    """Find the catalogue's model of a row, in the row's formats; ``None`` if there is none."""
    for name in (RELATIVES.get(row["hf_id"], row["hf_id"]), row["model"]):
        try:
            found = load_model(name)
        except InputError:
            continue
        stored = row["weight_dtype"]
        if row["hf_id"].startswith("amd/") and stored == "mxfp4":
            stored = "mxfp4-quark"
        return in_formats(found, stored, kv_dtype=row["kv_dtype"])
    return None


def matrices_in(attention: TensorFormat, dense: TensorFormat, experts: TensorFormat) -> Formats:
    """Formats of a checkpoint that keeps router, norms, embedding and head in bf16."""
    return Formats(
        attention=attention,
        dense_ffn=dense,
        experts=experts,
        router=_BF16,
        norms=_BF16,
        embedding=_BF16,
        head=_BF16,
    )


def in_formats(model: Model, weight_dtype: str, *, kv_dtype: str) -> Model | None:
    """Put a model into a log's formats; ``None`` if they are not known."""
    if weight_dtype not in FORMATS:
        return None
    formats = matrices_in(*FORMATS[weight_dtype])
    cache = "fp8" if kv_dtype == "fp8" else "bf16"
    return model.model_copy(update={"formats": formats, "kv_dtype": cache})


def utilisation(row: Mapping[str, str]) -> Fraction:
    """Return the share of the device that a log was taken at: as stated, unless its own parts add up to another.

    The parts of a log add up to the share within 0.01 GiB; a table that states 0.9 beside parts that add up to
    0.95 (gpt-oss-120b in llm-d-planner's) was taken at 0.95.
    """
    stated = Fraction(row["mem_util"] or "0.9")
    names = ("weights_gib_per_gpu", "peak_activation_gib", "non_torch_gib", "kv_avail_gib")
    parts, total = [number(row[name]) for name in names], number(row["gpu_total_gib"])
    if total is None or any(part is None for part in parts):
        return stated
    summed = Fraction(round(100 * sum(part or 0.0 for part in parts) / total), 100)
    return summed if abs(summed - stated) >= Fraction(2, 100) else stated


def started(row: Mapping[str, str]) -> bool:
    """Whether a log shows that the engine started: it printed a cache.

    Logs of issues that stop after "model loading took" do not: vLLM issue 23278 ends with "available KV cache
    memory: -2.14 GiB", issue 33155 out of memory.
    """
    return row["outcome"] == "ok" and bool(number(row["kv_avail_gib"]) or number(row["kv_tokens"]))


def judge(row: Mapping[str, str]) -> Judged | None:
    """Predict one row; ``None`` if its model, engine or device is not known."""
    model, total = find_model(row), number(row["gpu_total_gib"])
    if model is None or row["engine"] not in KNOWN_ENGINES:
        return None
    tp, dp = int(number(row["tp"]) or 1), int(number(row["dp"]) or 1)
    ep = int(number(row["ep"]) or 1)
    stages = int(number(row["pp"]) or 1)
    settings = EngineSettings(
        name=row["engine"],  # type: ignore[arg-type]
        version=row["version"].lstrip("<=").split("/")[0] or None,
        gpu_memory_utilization=utilisation(row),
        max_model_len=int(number(row["max_model_len"]) or 0) or None,
        max_num_batched_tokens=int(number(row["max_batched_tokens"]) or 0) or None,
        max_num_seqs=None,
    )
    option = Option(attn_tp=tp, attn_dp=dp, moe_tp=tp * dp // ep, moe_ep=ep)
    total_bytes = round((total or 180.0) * GIB)
    peers = not row["gpu"].startswith(NO_PEER_LINKS)
    found = account(model, option, settings, total_bytes=total_bytes, stages=stages, peer_links=peers)
    return Judged(row, found)


def weight_error(judged: Judged) -> float | None:
    """Relative error of the weights on one device."""
    measured = number(judged.row["weights_gib_per_gpu"])
    return None if measured is None else judged.predicted.weights_bytes / GIB / measured - 1


def capacity_error(judged: Judged) -> float | None:
    """Relative error of the KV capacity: tokens where stated, else bytes."""
    tokens, gib = number(judged.row["kv_tokens"]), number(judged.row["kv_avail_gib"])
    if judged.row["gpu_total_gib"] == "" or judged.row["mem_util"] == "":
        return None
    if tokens:
        return judged.predicted.kv_tokens / tokens - 1
    return judged.predicted.kv_bytes / GIB / gib - 1 if gib else None


def evaluate(folder: Path) -> list[Figure]:
    """Errors over ``memory_logs.csv.gz`` of a folder."""
    rows = read_rows(folder / "memory_logs.csv.gz")
    judged = [found for found in map(judge, rows) if found is not None]
    left_out = f"{len(rows) - len(judged)} of {len(rows)} rows name a model or format outside the catalogue"
    weights = [error for one in judged if one.row["outcome"] == "ok" and (error := weight_error(one)) is not None]
    known = [one for one in judged if one.row["version"] and started(one.row)]
    capacity = [error for one in known if (error := capacity_error(one)) is not None]
    refused = [one for one in judged if one.row["outcome"] != "ok"]
    missed = [1.0 for one in refused if one.predicted.refusal is None]
    wrong = [1.0 for one in known if one.predicted.refusal is not None]
    return [
        figure("memory: weights per GPU", weights, target=0.005, statistic="worst", note=left_out),
        figure("memory: KV capacity, known engine version", capacity, target=0.003),
        figure("memory: KV capacity, known engine version, tail", capacity, target=0.02, statistic="p95"),
        _count("memory: refused or out of memory, called feasible", refused, missed, target=0.0),
        _count("memory: started, called infeasible", known, wrong, target=0.0),
    ]


def _count(name: str, rows: list[Judged], wrong: list[float], *, target: float | None) -> Figure:
    """Count wrong verdicts; the count stands in ``median``."""
    return Figure(name, len(rows), float(len(wrong)), None, target, note="the first figure is a count")
