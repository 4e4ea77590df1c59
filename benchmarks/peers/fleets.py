"""Fleets for requests that come by themselves: ours, played and bounded, beside vllm-sr-sim's, played as well.

Both get the same distribution of lengths, the same Poisson rate and the same 99th percentile of the first token. Each
of both fleets is then played in our simulator on the same requests; the peer's two pools are played one by one.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import answer_of
from benchmarks.solve.timing import timed
from shardproof import predict
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.search.settings import Settings

Requests = np.ndarray[Any, Any]
"""Arrival (s, at one a second), prompt and answer tokens of each request."""

PEER = Path(__file__).with_name("fleet_sim_peer.py")
POINTS = (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384)
"""Breakpoints of the distribution of prompt and answer together, tokens."""
MEDIAN, SPREAD = 1024, 0.9
"""The distribution: log-normal, cut at the last breakpoint."""
PROMPT = 0.8
"""Share of a request's tokens that is its prompt: fixed by the peer."""
REQUESTS = 3000
NAMES = {"h100-sxm": "H100-SXM", "h200-sxm": "H200-SXM", "a100-80-sxm": "A100-SXM"}
QUESTIONS = (
    ("llama-3.1-8b", "a100-80-sxm", 40, 500),
    ("llama-3.1-8b", "h100-sxm", 100, 500),
    ("qwen3-8b", "h100-sxm", 40, 300),
    ("qwen3-32b", "h100-sxm", 20, 1000),
    ("qwen3-32b", "a100-80-sxm", 10, 1500),
    ("qwen3-30b-a3b", "h100-sxm", 40, 500),
    ("llama-3.1-70b", "h100-sxm", 10, 1000),
    ("llama-3.1-70b", "h200-sxm", 20, 2000),
)
"""Model, device, requests per second, milliseconds that 99 % of first tokens keep; all in BF16."""


@dataclass(frozen=True)
class Row:
    """One question: our GPUs and bound, the peer's GPUs, what its fleet showed by both simulators, seconds of each."""

    name: str
    gpus: int | None
    bound: int | None
    seconds: float
    peer_gpus: int | None
    peer_seconds: float
    peer_fleets: int
    formula_fails_simulation: int
    peer_says_ms: float | None
    played_ms: float | None
    holds: bool | None


def measure(python: str, *, seed: int = 0) -> Iterator[Row]:
    """Ask both for every question; ``python`` is an interpreter that can import the peer."""
    requests = sampled(seed)
    lengths = distribution(requests)
    with tempfile.TemporaryDirectory() as folder:
        for model, device, rate, limit in QUESTIONS:
            case = Case(model, device, rate, limit, Path(folder))
            yield compared(case, requests, lengths, python)


@dataclass(frozen=True)
class Case:
    """One question, and where its traces are written."""

    model: str
    device: str
    rate: int
    limit_ms: int
    folder: Path

    def tree(self, requests: Requests) -> dict[str, Any]:
        """Return the instance for these requests (a column each: unit-rate arrival, prompt and answer tokens)."""
        path = self.folder / f"{self.model}-{self.device}-{len(requests)}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("time_s", "input_tokens", "output_tokens"))
            writer.writerows((f"{time / self.rate:.6f}", int(read), int(written)) for time, read, written in requests)
        return {
            "model": self.model,
            "device": self.device,
            "engine": "vllm",
            "workload": {"kind": "requests", "trace": str(path)},
            "limits": {"ttft": {"p99": f"{self.limit_ms} ms"}},
        }


def compared(case: Case, requests: Requests, lengths: list[tuple[int, float]], python: str) -> Row:
    """Ask both planners one question."""
    instance = resolve_tree(case.tree(requests), where="peers")
    ours, spent = timed(lambda: answer(instance, settings=Settings()))
    theirs = asked(case, lengths, python)
    best = theirs["best"]
    played = played_ms(case, requests, best) if best else None
    return Row(
        name=f"{case.model} on {case.device}, {case.rate}/s, {case.limit_ms} ms",
        gpus=ours.gpus,
        bound=ours.bound,
        seconds=round(spent.cpu_s, 2),
        peer_gpus=best and best["gpus"],
        peer_seconds=round(theirs["seconds"], 2),
        peer_fleets=theirs["fleets"],
        formula_fails_simulation=theirs["formula_fails_simulation"],
        peer_says_ms=best and round(best["ttft_ms"], 1),
        played_ms=None if played is None else round(played, 1),
        holds=None if played is None else played <= case.limit_ms,
    )


def asked(case: Case, lengths: list[tuple[int, float]], python: str) -> dict[str, Any]:
    """Return the peer's answer."""
    question = {
        "model": case.model,
        "device": NAMES[case.device],
        "weight_bytes": 2,
        "rate": case.rate,
        "ttft_ms": case.limit_ms,
        "lengths": lengths,
        "mean": round(MEDIAN * float(np.exp(SPREAD**2 / 2))),
    }
    return answer_of(PEER, question, python)


def played_ms(case: Case, requests: Requests, fleet: dict[str, Any]) -> float:
    """Return the 99th percentile of the first token, ms, of the peer's fleet in our simulator (worse pool)."""
    short = requests[:, 1] + requests[:, 2] <= fleet["threshold"]
    pools = ((requests[short], fleet["short"]), (requests[~short], fleet["long"]))
    return max(_played(case, part, replicas, fleet["degree"]) for part, replicas in pools if len(part) and replicas)


def _played(case: Case, requests: Requests, replicas: int, degree: int) -> float:
    instance = resolve_tree(case.tree(requests), where="peers")
    last = instance.model.layer_count - 1
    shape = {"gpus": degree, "attn_tp": degree, "attn_dp": 1, "moe_tp": degree, "moe_ep": 1}
    plan = {"replicas": replicas, "microbatch_tokens": 8192, "stages": [{"layers": [0, last], **shape}]}
    return predict(plan, instance).ttft_s * 1000


def sampled(seed: int) -> Requests:
    """Return requests: arrival at a rate of one a second, prompt and answer tokens, a row each."""
    random = np.random.default_rng(seed)
    total = np.clip(np.exp(random.normal(np.log(MEDIAN), SPREAD, REQUESTS)), 16, POINTS[-1])
    read = np.maximum(1, np.floor(total * PROMPT))
    written = np.maximum(1, np.floor(total) - read)
    return np.column_stack([np.cumsum(random.exponential(1, REQUESTS)), read, written])


def distribution(requests: Requests) -> list[tuple[int, float]]:
    """Return the share of requests of at most so many tokens, at every breakpoint."""
    total = requests[:, 1] + requests[:, 2]
    shares = [(point, float(np.mean(total <= point))) for point in POINTS]
    return [*shares[:-1], (POINTS[-1], 1.0)]
