"""Start-up logs that no profile was fitted to (``tests/data/start_logs.yaml``), beside what the account predicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fidelity.figure import Figure, figure
from benchmarks.fidelity.memory import in_formats
from shardproof.formulations.costs.engine_memory import EngineMemory, account
from shardproof.formulations.costs.engine_profiles import GIB
from shardproof.instances.catalogue import load_model
from shardproof.instances.engine import EngineSettings
from shardproof.instances.option import Option
from tests.oracles.places import DATA

FILE = DATA / "start_logs.yaml"
VERSION, UTILISATION, TOTAL_GIB = "0.19.0", Fraction(95, 100), 79.19
"""What all of the logs share."""


@dataclass(frozen=True)
class HeldOut:
    """One log and its prediction."""

    facts: dict[str, Any]
    predicted: EngineMemory

    @property
    def capacity_error(self) -> float:
        """Relative error of the KV capacity: tokens where they were printed, else bytes."""
        if "tokens" in self.facts:
            return float(self.predicted.kv_tokens / self.facts["tokens"] - 1)
        return float(self.predicted.kv_bytes / GIB / self.facts["cache"] - 1)


def held_out() -> Iterator[HeldOut]:
    """Yield every log of the file."""
    for facts in yaml.safe_load(FILE.read_text(encoding="utf-8")):
        model = load_model(facts.get("as", facts["model"]))
        if "stored" in facts:
            model = in_formats(model, facts["stored"], kv_dtype="bf16") or model
        model = model.model_copy(update={"kv_dtype": facts.get("kv_cache", model.kv_dtype)})
        told = EngineSettings(
            name="vllm", version=VERSION, gpu_memory_utilization=UTILISATION, max_model_len=facts["length"]
        )
        tp = facts.get("tp", 1)
        option = Option(attn_tp=tp, attn_dp=1, moe_tp=tp, moe_ep=1)
        found = account(model, option, told, total_bytes=round(TOTAL_GIB * GIB), stages=facts.get("pp", 1))
        yield HeldOut(facts, found)


def evaluate(folder: Path) -> list[Figure]:
    """Errors over the logs of the file; the folder of measurements holds none of them."""
    del folder
    found = list(held_out())
    errors = [one.capacity_error for one in found]
    refused = sum(one.predicted.refusal is not None for one in found)
    note = "vLLM 0.19.0 logs of tests/data/start_logs.yaml, none of them fitted"
    return [
        figure("memory: KV capacity, logs held out", errors, target=0.02, note=note),
        figure("memory: KV capacity, logs held out, tail", errors, target=0.06, statistic="p95"),
        Figure("memory: held-out logs called infeasible", len(found), float(refused), None, 0.0),
    ]
