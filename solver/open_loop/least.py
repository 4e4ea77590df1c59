"""How few replicas of a shape any schedule needs for the open scenarios of a question."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

from shardproof.formulations.engines.told import HIGHEST_UTILISATION
from shardproof.formulations.open_loop import allowed_late
from shardproof.instances.option import Option
from shardproof.instances.units import format_duration
from shardproof.instances.workload import Scenario
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.open_loop.costs import ChunkCosts, RoundCosts, TokenPlane
from shardproof.solver.open_loop.facts import CHUNK, OpenScenario
from shardproof.solver.open_loop.late import WindowTest
from shardproof.solver.open_loop.rates import Mean, RateBound
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.simulation.plan_times import limits_of
from shardproof.solver.simulation.simulate import Service

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

ALMOST = 1 - 1e-9
"""Factor on bounds before they are rounded up: floating point may lift them above a whole number."""


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
        self._prompts: dict[str, Floats] = {}

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

    def prompts(self, open_: OpenScenario) -> Floats:
        """Time that the prompts of all runs add to rounds of one attention replica, ns."""
        name = open_.scenario.name
        if name not in self._prompts:
            self._prompts[name] = self.chunks(open_.scenario).work(open_.everything)
        return self._prompts[name]

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
        self._rates: dict[str, RateBound] = {}

    def replicas(self, most: int) -> int:
        """Fewest replicas, as far as ``most``; one more: no number of them keeps the limits."""
        return min(most + 1, max(self._scenario(open_, most) for open_ in self.scenarios))

    def _scenario(self, open_: OpenScenario, most: int) -> int:
        low = most + 1 if self.refused(open_) else self._fewest(open_, most)
        return _beyond(low, most, lambda servers: self._windows_refuse(open_, servers))

    def _fewest(self, open_: OpenScenario, most: int) -> int:
        """Fewest replicas that keep up with the rate, as far as ``most`` and one more."""
        return max(1, ceil(min(self.needed(open_, most), most + 1)))

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
        busy, stalled, tokens, left = self.rate(open_).at(replicas)
        if busy >= 1 or stalled >= 1:
            return f"prompts alone would keep them busy {busy:.0%} of the time"
        told = "" if left is None else f" (in rounds of at most {_shown(left)}: what prompts leave of the TPOT)"
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

    def keeps_up(self, open_: OpenScenario, replicas: int) -> bool:
        """Whether so many replicas keep up with the rate and with limits on the time per token of all requests."""
        return self.needed(open_, replicas) <= replicas

    def needed(self, open_: OpenScenario, most: float) -> float:
        """Replicas that keep up, a fraction; where that is more than ``most`` something between."""
        return self.rate(open_).least(most) * ALMOST

    def rate(self, open_: OpenScenario) -> RateBound:
        """How many replicas the rate of a scenario takes."""
        name = open_.scenario.name
        if name not in self._rates:
            mean = Mean(
                rate=float(open_.load.rate) / 1e9,
                prompt=float(self.costs.prompts(open_).mean()) / self._spread,
                tokens=float(open_.everything.later.mean()),
                context=open_.context,
                limit=open_.mean_token,
                seen=open_.seen(self.budget) if self.is_seen_by_chance(open_) else 0.0,
            )
            self._rates[name] = RateBound(lambda limit: self.plane(open_, limit), mean)
        return self._rates[name]

    def is_seen_by_chance(self, open_: OpenScenario) -> bool:
        """Whether requests come to a replica as a Poisson stream, whatever it is doing."""
        return (
            open_.load.trace is None and open_.load.arrival_cv == 1 and self.costs.service.settings.router == "random"
        )

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
        return all(self._misses_alone(open_, run, fastest) for run in range(len(open_.runs)))

    def _misses_alone(self, open_: OpenScenario, run: int, fastest: float) -> bool:
        import numpy as np

        largest, computed = self.costs.chunks(open_.scenario).largest, open_.runs[run].asked.computed
        own = self.costs.prompts(open_)[open_.places(run)]
        alone = fastest + np.where(computed <= largest, own, own / self.shape.stages)
        mean = open_.needs.mean_first
        if mean is not None and float(alone.mean()) > mean:
            return True
        return any((alone > kept.limit).sum() > allowed_late(kept.share, len(alone)) for kept in open_.needs.first)

    @property
    def _spread(self) -> int:
        """Attention replicas of all stages, which compute different prompts, or different layers of one."""
        return self.costs.limits.ranks * self.shape.stages

    @property
    def _budget(self) -> int:
        """Prompt tokens that one attention replica computes in a round beside a full batch, at least."""
        limits = self.costs.limits
        return max(1, (limits.batched_tokens - limits.sequences) // limits.ranks)

    def prompts(self, open_: OpenScenario, run: int) -> Floats:
        """Time of a replica for each prompt of a run, ns."""
        found: Floats = self.costs.prompts(open_)[open_.places(run)] / self._spread
        return found

    def directions(self, open_: OpenScenario) -> list[TokenPlane]:
        """Return the planes that were asked for; of those at many times per token the last, which say most."""
        found = [plane for (name, _), plane in self._planes.items() if name == open_.scenario.name]
        stated = {None, *(kept.limit for kept in open_.needs.token)}
        return [plane for place, plane in enumerate(found) if plane.limit in stated or place >= len(found) - 2]

    @property
    def budget(self) -> int:
        """Prompt tokens of a round by which rounds before a first token are counted."""
        return min(CHUNK, self._budget)

    def tokens(self, open_: OpenScenario, run: int, limit: float | None) -> Floats:
        """Time of a replica for each request's tokens after the first under a mean time per token, ns."""
        return self.plane(open_, limit).work(open_.runs[run].asked)

    def plane(self, open_: OpenScenario, limit: float | None) -> TokenPlane:
        """What tokens cost under a mean time per token, as much as can be said."""
        key = (open_.scenario.name, limit)
        if key not in self._planes:
            self._planes[key] = self.costs.rounds(open_.scenario).plane(
                context=open_.context, limit=limit, stages=self.shape.stages, cache=self.cache
            )
        return self._planes[key]

    def _windows_refuse(self, open_: OpenScenario, servers: int) -> bool:
        """Whether in every run some limit is missed by more requests than may miss it."""
        return self._refuting.setdefault(open_.scenario.name, WindowTest(self, open_)).refuses(servers)

    @cached_property
    def _refuting(self) -> dict[str, WindowTest]:
        return {}


def _beyond(low: int, most: int, refused: Callable[[int], bool]) -> int:
    """Return the least count from ``low`` to ``most`` (one more: none) that is not refused.

    Fewer replicas hold less, so that a count which is refused refuses all below it: few are asked.
    """
    step, top = 1, most + 1
    while low < top:
        asked = min(top - 1, low + step - 1)
        if refused(asked):
            low, step = asked + 1, 2 * step
        else:
            top, step = asked, 1
    return low


def _shown(time: float) -> str:
    return format_duration(round(time))


def _often(share: float) -> str:
    return "all of the time however many run" if share > 100 else f"{share:.0%}"  # no round is that short
