"""One replica played by Vidur with given iteration times: a question on standard input, times of requests on output.

Run by the Python that has Vidur 0.0.26; imports nothing of shardproof. Its Sarathi scheduler takes prompts in chunks
beside running sequences, as engines do today; its predictor of execution times is replaced by the question's.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any


@dataclass
class Given:
    """Execution time of one iteration, s; its parts, which only metrics read, are left out."""

    total_time: float

    @property
    def model_time(self) -> float:
        """The same: there is no time besides the model's."""
        return self.total_time


class Times:
    """Iteration times of the question, in the place of a predictor that was trained."""

    def __init__(self, costs: dict[str, float]) -> None:
        """Take the terms, seconds."""
        self.costs = costs

    def get_execution_time(self, batch: Any, stage: int) -> Given:
        """Return the time of a batch: its decoding sequences as one round, and every chunk of a prompt.

        A batch of prompts alone takes the shortest round besides: engines read the weights for it as well.
        """
        del stage
        costs, total, count, context = self.costs, 0.0, 0, 0
        for request, tokens, held in zip(batch.requests, batch.num_q_tokens, batch.num_kv_tokens, strict=True):
            if request.is_prefill_complete:
                count, context = count + 1, context + held
            else:
                before = held - tokens
                total += costs["token"] * tokens + costs["pair"] * tokens * (before + tokens / 2)
        round_of = costs["round"] + costs["sequence"] * max(1, count) + costs["held"] * max(1, context)
        return Given(total + round_of)


def played(question: dict[str, Any]) -> list[tuple[float, float]]:
    """Return the moments of first token and end of every request, s."""
    from vidur.config import (
        CacheConfig,
        ClusterConfig,
        MetricsConfig,
        ReplicaConfig,
        SarathiSchedulerConfig,
        SimulationConfig,
        SyntheticRequestGeneratorConfig,
    )
    from vidur.entities import Request
    from vidur.execution_time_predictor import ExecutionTimePredictorRegistry
    from vidur.request_generator import RequestGeneratorRegistry
    from vidur.simulator import Simulator

    requests = [Request(*item) for item in question["requests"]]

    class Generator:
        def generate(self) -> list[Any]:
            return requests

    ExecutionTimePredictorRegistry.get = lambda *_, **__: Times(question["costs"])
    RequestGeneratorRegistry.get = lambda *_, **__: Generator()
    longest = max(read + written for _, read, written in question["requests"])
    cluster = ClusterConfig(
        num_replicas=1,
        replica_config=ReplicaConfig(
            model_name="meta-llama/Llama-3-8B",
            num_pipeline_stages=1,
            tensor_parallel_size=1,
            device="a100",
            network_device="a100_dgx",
        ),
        cache_config=CacheConfig(num_blocks=question["cache_tokens"] // 16, watermark_blocks_fraction=0.0),
        replica_scheduler_config=SarathiSchedulerConfig(
            batch_size_cap=question["sequences"], chunk_size=question["batched_tokens"]
        ),
    )
    metrics = MetricsConfig(write_metrics=False, store_plots=False, enable_chrome_trace=False, write_json_trace=False)
    Simulator(
        SimulationConfig(
            cluster_config=cluster,
            metrics_config=metrics,
            request_generator_config=SyntheticRequestGeneratorConfig(max_tokens=longest),
        )
    ).run()
    return [(request.prefill_completed_at, request.completed_at) for request in requests]


def main() -> None:
    """Answer the question on standard input."""
    question = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        out, sys.stdout = sys.stdout, sys.stderr
        started = time.process_time()
        found = played(question)
        json.dump({"requests": found, "seconds": time.process_time() - started}, out)


if __name__ == "__main__":
    main()
