"""What the requests of an open scenario look like in every run that is played, and what their limits ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from shardproof.formulations.open_loop import promised_by
from shardproof.instances.traffic.trace import BLOCK_TOKENS, Request
from shardproof.instances.workload import OpenLoop, Scenario
from shardproof.solver.open_loop.costs import Asked
from shardproof.solver.simulation.simulate import Service

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

CHUNK = 2048
"""Prompt tokens of one round, at least, by which rounds between arrival and first token are counted."""


@dataclass(frozen=True)
class RunFacts:
    """One run of an open scenario: arrivals, ns, and what its requests look like."""

    arrivals: Floats
    asked: Asked


class OpenScenario:
    """An open scenario with its runs and its limits."""

    def __init__(self, service: Service, scenario: Scenario) -> None:
        """Take the requests that will be played."""
        assert isinstance(scenario.workload, OpenLoop)
        self.scenario, self.load, self.needs = scenario, scenario.workload, promised_by(scenario)
        guessed, settings = service.instance.speculative, service.settings
        self.verified = 1 if guessed is None else guessed.verified
        seeds = range(settings.seed, settings.seed + (1 if self.load.trace else settings.seeds))
        self.runs = [_facts(service, scenario, seed) for seed in seeds]

    @cached_property
    def everything(self) -> Asked:
        """Requests of all runs."""
        import numpy as np

        parts, names = [run.asked for run in self.runs], ("computed", "found", "output")
        return Asked(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def places(self, run: int) -> slice:
        """Where the requests of a run stand among those of all runs."""
        start = sum(len(one.arrivals) for one in self.runs[:run])
        return slice(start, start + len(self.runs[run].arrivals))

    @cached_property
    def mean_token(self) -> float | None:
        """Largest mean time per token of all requests, ns: those that may miss a limit take twice as long at most."""
        stated = [kept.limit * (2 - float(kept.share)) for kept in self.needs.token]
        mean = self.needs.mean_token
        return min([*stated, *([] if mean is None else [float(mean)])], default=None)

    def seen(self, budget: int) -> float:
        """Share of the sequences running when a request comes that still run when its prompt is computed, at least.

        One round ends in between, and those of the prompt's chunks of ``budget`` tokens: in each one of a sequence's
        tokens is its last (one of those that it verifies, where tokens are guessed ahead).
        """
        rounds = self.verified * (1 + float(-(-self.everything.computed // budget).mean()))
        return max(0.0, 1 - rounds / max(1.0, float(self.everything.later.mean())))

    @cached_property
    def context(self) -> float:
        """Mean context of a token after the first."""
        asked = self.everything
        tokens = float(asked.later.sum())
        return float((asked.later * asked.contexts).sum() / tokens) if tokens else float(asked.contexts.mean())


def _facts(service: Service, scenario: Scenario, seed: int) -> RunFacts:
    import numpy as np

    load = scenario.workload
    assert isinstance(load, OpenLoop)
    requests = service.requests(scenario, seed)
    prompts = np.array([request.input_tokens for request in requests], dtype=np.float64)
    found = np.floor(prompts * float(load.prefix_cache_hit))
    if any(request.blocks for request in requests):
        found = np.array(known_tokens(requests), dtype=np.float64)
    output = np.array([request.output_tokens for request in requests], dtype=np.float64)
    arrivals = np.array([request.arrival_ns for request in requests], dtype=np.float64)
    return RunFacts(arrivals, Asked(prompts - found, found, output))


def known_tokens(requests: Sequence[Request]) -> list[int]:
    """Prompt tokens that a cache without end, shared by all replicas, holds when each request comes."""
    seen: set[int] = set()
    found = []
    for request in requests:
        known = next((place for place, block in enumerate(request.blocks) if block not in seen), len(request.blocks))
        found.append(min(request.input_tokens - 1, known * BLOCK_TOKENS))
        seen.update(request.blocks)
    return found
