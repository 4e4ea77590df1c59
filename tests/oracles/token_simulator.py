"""Continuous batching token by token, written from the definition: slow, and without any of the simulator's steps."""

from __future__ import annotations

from dataclasses import dataclass

from shardproof.instances.traffic.trace import Request
from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes


@dataclass
class Item:
    """A request in the reference: what is left of its prompt and answer."""

    request: Request
    prompt_left: int
    written: int = 0
    first: float | None = None
    finished: float | None = None


def token_by_token(times: IterationTimes, limits: ReplicaLimits, requests: list[Request]) -> list[Item]:
    """Play requests whose cache never overflows, one round at a time."""
    items = [Item(request, request.input_tokens) for request in requests]
    now, waiting, prefilling, running = 0.0, list(items), list[Item](), list[Item]()
    while waiting or prefilling or running:
        if not prefilling and not running and waiting[0].request.arrival_ns > now:
            now = float(waiting[0].request.arrival_ns)
        while waiting and waiting[0].request.arrival_ns <= now and len(prefilling) + len(running) < limits.sequences:
            prefilling.append(waiting.pop(0))
        budget, added, ready = max(1, limits.batched_tokens - len(running)), 0.0, list[Item]()
        mixed = bool(prefilling)
        while prefilling and budget > 0:
            item = prefilling[0]
            tokens = min(budget, item.prompt_left)
            added += times.chunk(tokens, item.request.input_tokens - item.prompt_left)[0]
            budget -= tokens
            item.prompt_left -= tokens
            if item.prompt_left:
                break
            ready.append(prefilling.pop(0))
        held = sum(item.request.input_tokens + item.written for item in running)
        base = times.round(len(running), held / len(running)) if running else times.fastest_round
        now += base + (added if mixed else 0.0)
        for item in running:
            item.written += 1
            if item.written == item.request.output_tokens:
                item.finished = now
        running = [item for item in running if item.finished is None]
        for item in ready:
            item.first, item.written = now, 1
            if item.request.output_tokens == 1:
                item.finished = now
            else:
                running.append(item)
    return items
