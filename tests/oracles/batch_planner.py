"""A planner for tests of the batch: an exact answer from three numbers, and ways to misbehave by name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardproof.instances.sweep import Sweep
from shardproof.solver.batch.answer import Answer, Job, Task, from_document
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.tasks import tasks_of

SWEEP = {
    "name": "tiny",
    "base": {
        "workload": {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 64},
        "hardware": {"mfu": "50%", "bandwidth_efficiency": "80%"},
    },
    "cross": {
        "model": ["qwen3-8b", "qwen3-32b"],
        "device": ["a100-80-sxm", "h100-sxm", "h200-sxm"],
        "limits.ttft": ["60 s", "1 s", "200 ms"],
    },
}


@dataclass(frozen=True)
class Planner:
    """Answers at once; ``seconds`` slows it down, ``marks`` gets a file for every solve."""

    seconds: float = 0.0
    marks: str | None = None

    def __call__(self, job: Job) -> Answer:
        if self.marks is not None:
            (Path(self.marks) / f"{job.fingerprint}-{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(self.seconds)
        return from_document(document(job.instance), seconds=self.seconds)


def dies(job: Job) -> Answer:
    """Kill the worker of every job on an h100, always."""
    if "h100" in job.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return Planner()(job)


@dataclass(frozen=True)
class DiesOnce:
    """Kill the worker of the first job."""

    mark: str

    def __call__(self, job: Job) -> Answer:
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return Planner()(job)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def grows(job: Job) -> Answer:
    """Take 400 MB for jobs on an h100, and hold them."""
    if "h100" in job.name:
        block = bytearray(400_000_000)
        time.sleep(30)
        del block
    return Planner()(job)


def hangs(job: Job) -> Answer:
    """Never end on an h100."""
    while "h100" in job.name:
        time.sleep(1)
    return Planner()(job)


def raises(job: Job) -> Answer:
    """Fail on an h100."""
    if "h100" in job.name:
        raise ZeroDivisionError("a bug")
    return Planner()(job)


def document(instance: Any) -> dict[str, Any]:
    """Answer as `solve --json` does, from memory and compute alone; monotone in limits and device."""
    limit = instance.scenarios[0].limits.ttft
    weights = 2 * instance.model.parameters
    work_ns = weights * 8 * 512 / instance.device.peak_flops["bf16"] * 1e9
    most = instance.max_gpus
    by_memory = -(-weights // instance.memory_limit)
    by_time = 1 if limit is None else max(1, -int(-work_ns // limit))
    gpus = max(by_memory, by_time)
    fits = gpus <= most and (limit is None or work_ns / 64 <= limit)
    metrics = {"ttft_s": work_ns / gpus / 1e9, "tpot_ms": 10.0, "peak_memory_bytes": weights // gpus}
    return {
        "status": "optimal" if fits else "infeasible",
        "proof": "solver-claimed",
        "gpus": gpus if fits else None,
        "bound": gpus if fits else None,
        "gap": 0.0 if fits else None,
        "stop_reason": "proved",
        "metrics": metrics if fits else None,
        "plan": None,
        "explanation": [] if fits else ["TTFT is out of reach."],
        "assumptions": [],
        "instance_fingerprint": instance.fingerprint,
        "versions": {},
    }


DEFAULTS = SolveSettings()


def tasks(tree: dict[str, Any] | None = None, settings: SolveSettings = DEFAULTS) -> list[Task]:
    """Tasks of a sweep given as a tree."""
    return list(tasks_of(Sweep.model_validate(tree or SWEEP), settings, code="test", where="test"))
