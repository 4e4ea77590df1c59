"""Deployments that are published as working, as questions and plans."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import yaml

from shardproof.instances.catalogue import load_model
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Stage
from shardproof.instances.resolve import resolve_tree
from tests.oracles.places import DATA

FILE = DATA / "published_deployments.yaml"
OUTPUT_TOKENS = 128
SETTINGS = {
    "utilisation": "gpu_memory_utilization",
    "sequences": "max_num_seqs",
    "batched": "max_num_batched_tokens",
    "version": "version",
}


@dataclass(frozen=True)
class Deployment:
    """One published deployment."""

    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Model, device and degrees."""
        return f"{self.facts['model']} on {self.gpus} {self.facts['device']}"

    @property
    def engine(self) -> str:
        """The engine that was started."""
        return str(self.facts.get("engine", "vllm"))

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        width: int = self.facts["tp"] * self.facts.get("dp", 1) * self.facts.get("pp", 1)
        return width

    def instance(self, *, told: bool) -> Instance:
        """One request as long as is accepted; ``told``: under the settings that were published."""
        length = self.facts.get("length") or load_model(self.facts["model"]).max_position
        settings = {name: self.facts[key] for key, name in SETTINGS.items() if key in self.facts} if told else {}
        if "gpu_memory_utilization" in settings:
            settings["gpu_memory_utilization"] = str(Fraction(str(settings["gpu_memory_utilization"])))
        tree: dict[str, Any] = {
            "name": self.name,
            "model": self.facts["model"],
            "device": self.facts["device"],
            "engine": {"name": self.engine, "max_model_len": length, **settings},
            "workload": {
                "kind": "closed-loop",
                "concurrency": self.facts.get("dp", 1),
                "input_tokens": length - OUTPUT_TOKENS,
                "output_tokens": OUTPUT_TOKENS,
            },
            "limits": {"max_gpus": max(16, self.gpus)},
        }
        if "kv_cache" in self.facts:
            tree["precision"] = {"kv_cache": self.facts["kv_cache"]}
        if "memory" in self.facts:
            tree["hardware"] = {"memory": self.facts["memory"]}
        return resolve_tree(tree, where=self.name)

    def plan(self) -> Plan:
        """The plan that was published: even stages."""
        layers, stages = load_model(self.facts["model"]).layer_count, self.facts.get("pp", 1)
        tp, dp = self.facts["tp"], self.facts.get("dp", 1)
        ranks = tp * dp if self.facts.get("ep") else 1
        ends = [layers * (place + 1) // stages for place in range(stages)]
        starts = [0, *ends[:-1]]
        return Plan(
            replicas=1,
            microbatch_tokens=self.facts.get("batched", 8192) * dp,
            stages=tuple(
                Stage(
                    layers=(start, end - 1), gpus=tp * dp, attn_tp=tp, attn_dp=dp, moe_tp=tp * dp // ranks, moe_ep=ranks
                )
                for start, end in zip(starts, ends, strict=True)
            ),
            engine=self.engine,
        )


def deployments() -> tuple[Deployment, ...]:
    """Return every published deployment."""
    return tuple(map(Deployment, yaml.safe_load(FILE.read_text(encoding="utf-8"))))
