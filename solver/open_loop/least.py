"""How few replicas of a shape any schedule needs for the open scenarios of a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from shardproof.formulations.engines.told import HIGHEST_UTILISATION
from shardproof.formulations.open_loop import allowed_late, promised_by
from shardproof.instances.option import Option
from shardproof.instances.traffic.trace import BLOCK_TOKENS, Request
from shardproof.instances.units import format_duration
from shardproof.instances.workload import OpenLoop, Scenario
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.open_loop.costs import Asked, ChunkCosts, RoundCosts, TokenPlane
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.open_loop.windows import Demand
from shardproof.solver.simulation.plan_times import limits_of
from shardproof.solver.simulation.simulate import Service

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

CHUNK = 2048
"""Prompt tokens of one round, at least, by which rounds between arrival and first token are counted."""

ALMOST = 1 - 1e-9
"""Factor on bounds before they are rounded up: floating point may lift them above a whole number."""


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
        settings = service.settings
        seeds = range(settings.seed, settings.seed + (1 if self.load.trace else settings.seeds))
        self.runs = [_facts(service, scenario, seed) for seed in seeds]

    @cached_property
    def everything(self) -> Asked:
        """Requests of all runs."""
        import numpy as np

        parts, names = [run.asked for run in self.runs], ("computed", "found", "output")
        return Asked(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @cached_property
    def mean_token(self) -> float | None:
        """Largest mean time per token of all requests, ns: those that may miss a limit take twice as long at most."""
        stated = [kept.limit * (2 - float(kept.share)) for kept in self.needs.token]
        mean = self.needs.mean_token
        return min([*stated, *([] if mean is None else [float(mean)])], default=None)

    def mean_prompt(self, bound: ShapeBound) -> float:
        """Mean time of a replica for a prompt, ns."""
        return float(bound.prompts(self, self.everything).mean())

    @cached_property
    def seen(self) -> float:
        """Share of the sequences running when a request comes that still run when its prompt is computed, at least.

        One round ends in between, and those of the prompt's chunks: in each one of a sequence's tokens is its last.
        """
        rounds = 1 + float(-(-self.everything.computed // CHUNK).mean())
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


class OptionCosts:
    """Times of one stage that holds all layers under an option: pipelines of the option share them."""

    def __init__(self, service: Service, option: Option) -> None:
        """Take the option; nothing is computed yet."""
        self.service, self.option = service, option
        deployment = service.deployment
        self._group = Shape(option, 1).plan(deployment, 1).parts[0]
        self._engine = EnginePlan(deployment.instance, self._group)
        self.limits = limits_of(deployment, self._group)
        self._rounds: dict[str, RoundCosts] = {}
        self._chunks: dict[str, ChunkCosts] = {}

    def rounds(self, scenario: Scenario) -> RoundCosts:
        """Planes below the rounds with a scenario's contexts."""
        if scenario.name not in self._rounds:
            times = self.service.times(self._group.stages, self.limits, self.service.extent(scenario))
            self._rounds[scenario.name], self._chunks[scenario.name] = RoundCosts(times), ChunkCosts(times)
        return self._rounds[scenario.name]

    def chunks(self, scenario: Scenario) -> ChunkCosts:
        """Planes below the chunks of a scenario's prompts."""
        self.rounds(scenario)
        return self._chunks[scenario.name]

    def cache(self, stages: int) -> float:
        """Tokens that a replica of so many stages holds at most: the memory of all of them, less the weights once."""
        account = self._engine.account
        told = account.settings.gpu_memory_utilization or HIGHEST_UTILISATION
        found = account.capacity(
            self._engine.spans[0],
            self.option,
            self._engine.launch(self.option),
            budget=int(told * account.total_bytes) * stages,
            tied_once=True,
        )
        return float(found.tokens * self.option.attn_dp)


class ShapeBound:
    """The fewest replicas of a shape, and the work that its replicas do for every request at least."""

    def __init__(self, costs: OptionCosts, shape: Shape, scenarios: list[OpenScenario]) -> None:
        """Take the shape with the costs of its option."""
        self.costs, self.shape, self.scenarios = costs, shape, scenarios
        self.cache = costs.cache(shape.stages)
        self._planes: dict[tuple[str, float | None], TokenPlane] = {}
        self._fewest_known: dict[str, tuple[int, int]] = {}
        """By scenario: how many replicas were looked at, and the fewest that keep up (more than that: none of them)."""

    def replicas(self, most: int) -> int:
        """Fewest replicas, as far as ``most``; one more: no number of them keeps the limits."""
        return min(most + 1, max(self._scenario(open_, most) for open_ in self.scenarios))

    def _scenario(self, open_: OpenScenario, most: int) -> int:
        high = most + 1 if self.refused(open_) else self._fewest(open_, most)
        while high <= most and self._windows_refuse(open_, high):
            high += 1
        return high

    def _fewest(self, open_: OpenScenario, most: int) -> int:
        """Fewest replicas that keep up with the rate, as far as ``most`` and one more."""
        looked, known = self._fewest_known.get(open_.scenario.name, (0, 1))
        if known > looked and most > looked:  # so far it is only known that as many as were looked at do not
            low, high = looked, most + 1
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if self.keeps_up(open_, middle) else (middle, high)
            looked, known = most, high
            self._fewest_known[open_.scenario.name] = (looked, known)
        return min(known, most + 1)

    def reason(self, open_: OpenScenario, replicas: int) -> str:
        """Say why so many replicas do not do (or nothing, where they may)."""
        return self._refusal(open_) or self._overload(open_, replicas) or self._crowded(open_, replicas)

    def _refusal(self, open_: OpenScenario) -> str:
        if self._holds_too_little(open_):
            return f"its cache holds {self.cache:,.0f} tokens at most, fewer than the longest request has"
        if not self._is_too_slow(open_):
            return ""
        fastest, tightest = self.costs.rounds(open_.scenario).fastest(), open_.needs.tightest_token
        if tightest is not None and fastest > tightest:
            return f"one token takes {_shown(fastest)} alone, limit {_shown(tightest)}"
        return "first tokens take longer than their limit for too many requests, with nothing beside them"

    def _overload(self, open_: OpenScenario, replicas: int) -> str:
        if self.keeps_up(open_, replicas):
            return ""
        each, limit = float(open_.load.rate) / 1e9 / replicas, open_.mean_token
        busy = each * open_.mean_prompt(self)
        stalled = busy * open_.seen if self.is_seen_by_chance(open_) else 0.0
        if busy >= 1 or stalled >= 1:
            return f"prompts alone would keep them busy {busy:.0%} of the time"
        left = None if limit is None else limit * (1 - stalled)
        tokens = each * float(self.tokens(open_, open_.everything, left).mean())
        told = "" if left is None else f" in rounds of {_shown(left)}, which prompts leave of the limit on TPOT"
        return f"prompts would keep them busy {busy:.0%} of the time, and tokens{told} {_often(tokens)}"

    def _crowded(self, open_: OpenScenario, replicas: int) -> str:
        test = self._refuting.setdefault(open_.scenario.name, WindowTest(self, open_))
        if not test.refuses(replicas):
            return ""
        demand, late = next(pair for pair in test.demands(0) if pair[0].forces(replicas, pair[1]))
        windows = demand.late(replicas)
        worst = max(windows, key=lambda window: window.late)
        asked, room = worst.work / 1e9, replicas * (worst.stop - worst.start) / 1e9
        return (
            f"{sum(window.late for window in windows):,} requests are late at least, where {late:,} may be: between "
            f"{worst.start / 1e9:.2f} s and {worst.stop / 1e9:.2f} s they have {room:.2f} s for {asked:.2f} s of work"
            f" of {worst.last - worst.first + 1:,} requests"
        )

    def keeps_up(self, open_: OpenScenario, replicas: float) -> bool:
        """Whether so many replicas keep up with the rate and with limits on the time per token of all requests."""
        each = float(open_.load.rate) / 1e9 / replicas
        busy = each * open_.mean_prompt(self)
        stalled = busy * open_.seen if self.is_seen_by_chance(open_) else 0.0
        if busy >= 1 or stalled >= 1:
            return False
        limit = open_.mean_token
        tokens = self.tokens(open_, open_.everything, None if limit is None else limit * (1 - stalled))
        return busy + each * float(tokens.mean()) <= 1 / ALMOST

    def is_seen_by_chance(self, open_: OpenScenario) -> bool:
        """Whether requests come to a replica as a Poisson stream, whatever it is doing."""
        return (
            open_.load.trace is None and open_.load.arrival_cv == 1 and self.costs.service.settings.router == "random"
        )

    def needed(self, open_: OpenScenario, most: int) -> float:
        """Replicas that keep up, a fraction, or a little less; no more than ``most``."""
        whole = self._fewest(open_, most)
        if whole > most:
            return float(most)
        below, above = float(whole - 1), float(whole)
        while above - below > above / 50:
            middle = (below + above) / 2
            below, above = (below, middle) if self.keeps_up(open_, middle) else (middle, above)
        return below

    def refused(self, open_: OpenScenario) -> bool:
        """Whether no number of replicas keeps the limits."""
        return self._holds_too_little(open_) or self._is_too_slow(open_)

    def _holds_too_little(self, open_: OpenScenario) -> bool:
        asked = open_.everything
        return bool((asked.computed + asked.found + asked.output).max() > self.cache)

    def _is_too_slow(self, open_: OpenScenario) -> bool:
        """Whether requests that share a replica with nobody miss their limits already."""
        fastest, tightest = self.costs.rounds(open_.scenario).fastest(), open_.needs.tightest_token
        if tightest is not None and fastest > tightest and bool((open_.everything.output > 1).all()):
            return True
        return all(self._misses_alone(open_, run.asked, fastest) for run in open_.runs)

    def _misses_alone(self, open_: OpenScenario, asked: Asked, fastest: float) -> bool:
        import numpy as np

        chunks = self.costs.chunks(open_.scenario)
        own = chunks.work(asked)
        alone = fastest + np.where(asked.computed <= chunks.largest, own, own / self.shape.stages)
        mean = open_.needs.mean_first
        if mean is not None and float(alone.mean()) > mean:
            return True
        return any((alone > kept.limit).sum() > allowed_late(kept.share, len(alone)) for kept in open_.needs.first)

    def prompts(self, open_: OpenScenario, asked: Asked) -> Floats:
        """Time of a replica for each prompt, ns."""
        chunks = self.costs.chunks(open_.scenario).work(asked)
        return chunks / (self.costs.limits.ranks * self.shape.stages)

    def tokens(self, open_: OpenScenario, asked: Asked, limit: float | None) -> Floats:
        """Time of a replica for each request's tokens after the first under a mean time per token, ns."""
        key = (open_.scenario.name, limit)
        if key not in self._planes:
            self._planes[key] = self.costs.rounds(open_.scenario).plane(
                context=open_.context, limit=limit, stages=self.shape.stages, cache=self.cache
            )
        return self._planes[key].work(asked)

    def _windows_refuse(self, open_: OpenScenario, servers: int) -> bool:
        """Whether in every run some limit is missed by more requests than may miss it."""
        return self._refuting.setdefault(open_.scenario.name, WindowTest(self, open_)).refuses(servers)

    @cached_property
    def _refuting(self) -> dict[str, WindowTest]:
        return {}


def _shown(time: float) -> str:
    return format_duration(round(time))


def _often(share: float) -> str:
    return "all of the time however many run" if share > 100 else f"{share:.0%}"  # no round is that short


class Works(Protocol):
    """What requests cost at least, in time of a server."""

    def prompts(self, open_: OpenScenario, asked: Asked) -> Floats:
        """Time for each prompt, ns."""

    def tokens(self, open_: OpenScenario, asked: Asked, limit: float | None) -> Floats:
        """Time for each request's tokens after the first under a mean time per token, ns."""


class WindowTest:
    """Whether windows of the runs hold the work that is due in them."""

    def __init__(self, works: Works, open_: OpenScenario) -> None:
        """Take what requests cost, and the scenario; runs are looked at when they are needed."""
        self.works, self.open_ = works, open_
        self._made: dict[int, list[tuple[Demand, int]]] = {}

    def refuses(self, servers: int) -> bool:
        """Whether in every run some limit is missed by more requests than may miss it."""
        places = range(len(self.open_.runs))
        return all(any(demand.forces(servers, late) for demand, late in self.demands(at)) for at in places)

    def demands(self, place: int) -> list[tuple[Demand, int]]:
        """Demands that the limits make in a run, and how many requests may be late in each."""
        if place not in self._made:
            self._made[place] = list(self._of_run(self.open_.runs[place]))
        return self._made[place]

    def _of_run(self, run: RunFacts) -> Iterator[tuple[Demand, int]]:
        open_, needs, asked, count = self.open_, self.open_.needs, run.asked, len(run.arrivals)
        prompts = self.works.prompts(open_, asked)
        for first in needs.first:
            yield Demand(run.arrivals, run.arrivals + first.limit, prompts), allowed_late(first.share, count)
            for token in needs.token:
                due = run.arrivals + first.limit + asked.later * token.limit
                work = prompts + self.works.tokens(open_, asked, token.limit)
                yield Demand(run.arrivals, due, work), allowed_late(needs.both(first, token), count)
        for whole in needs.whole:
            work = prompts + self.works.tokens(open_, asked, None)
            yield Demand(run.arrivals, run.arrivals + whole.limit, work), allowed_late(whole.share, count)
