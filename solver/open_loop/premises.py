"""What the bound and the plan of an open question rest on, each premise by its name."""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.formulations.open_loop import Promised, promised_by
from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop, Scenario
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.simulation.simulate import LEAST_REQUESTS


def premises(instance: Instance) -> tuple[str, ...]:
    """Return every premise as ``name: sentence``."""
    open_ = [item for item in instance.scenarios if isinstance(item.workload, OpenLoop)]
    found = dict(_of_all(instance))
    for scenario in open_:
        assert isinstance(scenario.workload, OpenLoop)
        found |= dict(_of_arrivals(scenario.workload)) | dict(_of_limits(scenario, promised_by(scenario)))
    found |= dict(_of_playing(open_))
    return tuple(f"{name}: {sentence}" for name, sentence in found.items())


def _of_all(instance: Instance) -> Iterator[tuple[str, str]]:
    yield "keeps_up", "the bound holds for fleets that keep up with the rate for good, not over one run alone"
    yield "same_mix", "every replica sees the same mix of requests, as many as its share"
    if instance.replicas == "free":
        yield "each_by_itself", "replicas of a fleet of several shapes keep the limits each by itself"
    yield "one_option", "all stages of a replica run one option"
    yield "monotone_times", "no round or chunk is shorter for more sequences, more tokens or longer contexts"
    yield "mean_context", "a round takes what the tables say at the mean context of its sequences, prompts add theirs"
    yield "largest_cache", "a replica caches no more than the engine's largest share of all its memory holds"


def _of_arrivals(load: OpenLoop) -> Iterator[tuple[str, str]]:
    if load.prefix_cache_hit or load.trace is not None:
        yield "known_prefixes", "no prompt finds more in the cache than is stated, of a trace what came before it"
    if load.trace is None and load.arrival_cv == 1:
        words = "requests come as a Poisson stream through a router that draws by weight and looks at nothing: they"
        yield "seen_by_chance", f"{words} find as many sequences running as run on average, and stall them all"


def _of_limits(scenario: Scenario, needs: Promised) -> Iterator[tuple[str, str]]:
    if needs.token:
        yield "late_tokens", "requests that may miss a limit on TPOT take no more than twice the limit"
    if needs.mean_token is not None:
        words = "a limit on the mean time per token is read as that of the tokens"
        yield "mean_of_tokens", f"{words}: requests of all lengths see the same"
    figures = {item.figure for item in scenario.limits.percentiles}
    mean_e2e = scenario.limits.goodput is None and "e2e" in scenario.limits.plain
    if "itl" in figures or "itl" in scenario.limits.plain or mean_e2e:
        yield "played_alone", "limits of itl and of the mean of e2e are played, and do not enter the bound"


def _of_playing(scenarios: list[Scenario]) -> Iterator[tuple[str, str]]:
    of_trace = all(isinstance(item.workload, OpenLoop) and item.workload.trace is not None for item in scenarios)
    runs = (
        f"{SEEDS} draws of the router over the trace"
        if of_trace
        else f"{SEEDS} runs of {LEAST_REQUESTS:,} requests or more"
    )
    yield "these_runs", f"percentiles are those of {runs}; a window refutes where it does so in every run"
    yield (
        "played",
        "a plan is given once it was played in the simulator; a limit is kept where the 95 % interval over the runs "
        "keeps it",
    )
