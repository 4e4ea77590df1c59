"""Planes lie below their tables and touch them; windows force no more to be late than the best schedule has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from shardproof.formulations.open_loop import allowed_late
from shardproof.instances.traffic.trace import read_trace
from shardproof.solver.open_loop.costs import Asked, ChunkCosts, RoundCosts
from shardproof.solver.open_loop.planes import highest
from shardproof.solver.open_loop.windows import Demand
from shardproof.solver.simulation.times import IterationTimes
from tests.oracles.places import SHARED

PLANES = 40
RUNS = 60


def highest_by_corners(rows: np.ndarray, limits: np.ndarray, aim: np.ndarray, most: float) -> float:
    """Best value over all corners of the region."""
    count = rows.shape[1]
    sides = np.vstack([rows, np.eye(count), -np.eye(count)])
    right = np.concatenate([limits, np.full(count, most), np.zeros(count)])
    best = 0.0
    for chosen in itertools.combinations(range(len(sides)), count):
        part = sides[list(chosen)]
        if abs(np.linalg.det(part)) > 1e-9:
            corner = np.linalg.solve(part, right[list(chosen)])
            if (sides @ corner <= right + 1e-7).all():
                best = max(best, float(aim @ corner))
    return best


def test_the_plane_is_the_highest_of_all_corners() -> None:
    random = np.random.default_rng(1)
    for _ in range(PLANES):
        rows = np.column_stack([np.ones(8), random.uniform(-1, 2, (8, 2))])
        limits, aim = random.uniform(0.1, 2, 8), random.uniform(0, 1, 3)
        found, _ = highest(rows, limits, aim, 50.0)
        assert (rows @ found <= limits + 1e-9).all()
        assert float(aim @ found) == pytest.approx(highest_by_corners(rows, limits, aim, 50.0), rel=1e-6, abs=1e-8)


def times(seed: int) -> IterationTimes:
    chance = np.random.default_rng(seed)
    base, each, per_context, prompt = chance.uniform(1e6, 2e7), *chance.uniform((1e4, 1, 1e3), (3e5, 60, 5e4))
    return IterationTimes(
        lambda n, c: [int(base + each * n**0.9 + n * c * per_context)],
        lambda t, c: [int(base / 3 + prompt * t + t * c * per_context / 50)],
        stages=1,
        most_sequences=256,
        most_tokens=2048,
        longest=6000,
        shortest=200,
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cache", [30_000, 10**7])
def test_tokens_cost_no_more_than_any_mix_of_rounds_that_keeps_its_limits(seed: int, cache: int) -> None:
    clock, chance = times(seed), np.random.default_rng(seed)
    limit = clock.round(40, 3000.0)
    costs, fastest = RoundCosts(clock), np.inf
    for _ in range(RUNS):
        batches = chance.integers(1, chance.choice((20, 60, 257)), 12)
        contexts = np.minimum(chance.uniform(250, 6000, 12), cache / batches)
        kept = contexts >= 210
        batches, contexts = batches[kept], contexts[kept]
        spans = np.array([clock.round(int(n), float(c)) for n, c in zip(batches, contexts, strict=True)])
        if not len(batches) or (spans * batches).sum() > limit * batches.sum():
            continue
        plane = costs.plane(
            context=float((batches * contexts).sum() / batches.sum()), limit=limit, stages=1, cache=cache
        )
        least = float((batches * (plane.alpha + plane.beta * contexts)).sum())
        assert least <= spans.sum() * (1 + 1e-9)
        fastest = min(fastest, spans.sum() / least)
    assert fastest < 3  # not just sound: some mix comes near


@pytest.mark.parametrize("seed", range(4))
def test_chunks_cost_no_more_than_they_add(seed: int) -> None:
    clock, chance = times(seed), np.random.default_rng(seed)
    prompts, hits = chance.integers(20, 6000, 50), chance.integers(0, 100, 50)
    asked = Asked(prompts.astype(float), hits.astype(float), np.ones(50))
    least = ChunkCosts(clock).work(asked)
    for place, (prompt, hit) in enumerate(zip(prompts, hits, strict=True)):
        done, added = 0, 0.0
        while done < prompt:
            tokens = int(min(prompt - done, chance.integers(1, 2049)))
            added += clock.chunk(tokens, hit + done)[0]
            done += tokens
        assert least[place] <= added * (1 + 1e-9)
    whole = np.array([clock.chunk(int(p), float(h))[0] for p, h in zip(prompts, hits, strict=True) if p <= 2048])
    short = least[prompts <= 2048]
    assert (short > 0.6 * whole).mean() > 0.9


def test_planes_of_short_prompts_say_nothing_of_the_context_before_long_ones() -> None:
    clock = times(1)
    prompts = np.array([100.0] * 9 + [5900.0])
    least = ChunkCosts(clock).work(Asked(prompts, np.zeros(10), np.ones(10)))
    whole, done = 0.0, 0
    for tokens in (2048, 2048, 1804):
        whole += clock.chunk(tokens, done)[0]
        done += tokens
    assert least[-1] <= whole * (1 + 1e-9)
    assert least[0] == pytest.approx(clock.chunk(100, 0)[0], rel=0.2)


def fewest_late(arrivals: Sequence[float], due: Sequence[float], work: Sequence[float], servers: float) -> int:
    """Fewest late requests of the best preemptive schedule on one server that is so many times as fast."""
    count = len(work)
    for late in range(count + 1):
        for dropped in itertools.combinations(range(count), late):
            kept = [place for place in range(count) if place not in dropped]
            if _fits([(arrivals[place], due[place], work[place] / servers) for place in kept]):
                return late
    return count


def _fits(jobs: list[tuple[float, float, float]]) -> bool:
    """Every window between an arrival and a due moment holds what must be done inside."""
    return all(
        sum(work for begin, end, work in jobs if begin >= start and end <= stop) <= (stop - start) * (1 + 1e-9)
        for start, _, _ in jobs
        for _, stop, _ in jobs
        if stop > start
    )


@pytest.mark.parametrize("seed", range(25))
def test_windows_force_no_more_requests_to_be_late_than_the_best_schedule_has(seed: int) -> None:
    chance = np.random.default_rng(seed)
    arrivals = np.sort(chance.uniform(0, 6, 8))
    due, work = arrivals + chance.uniform(0.5, 3, 8), chance.uniform(0.2, 2, 8)
    demand = Demand(arrivals, due, work)
    for servers in (0.7, 1.0, 1.6):
        best = fewest_late(list(arrivals), list(due), list(work), servers)
        windows = demand.late(servers)
        found = sum(window.late for window in windows)
        assert found <= best
        assert demand.forces(servers, found) is False
        assert found == 0 or demand.forces(servers, found - 1)
        assert all(left.stop <= right.start for left, right in itertools.pairwise(windows))
        if best == 0:
            assert demand.least_servers <= servers * (1 + 1e-9)


def test_what_may_be_late_is_what_the_order_statistic_leaves_out() -> None:
    assert allowed_late(Fraction(99, 100), 2000) == 20
    assert allowed_late(Fraction(1), 2000) == 0
    assert allowed_late(Fraction(99, 100), 10) == 0


@pytest.mark.skipif(not (SHARED / "traces").exists(), reason="needs the shared traces")
def test_windows_of_the_code_trace_ask_for_six_replicas_where_the_mean_asks_for_one() -> None:
    requests = read_trace(SHARED / "traces" / "azure-2023-code.csv.gz").requests
    arrivals = np.array([request.arrival_ns for request in requests], dtype=float)
    work = np.array([request.input_tokens for request in requests]) / 20_000 * 1e9
    demand = Demand(arrivals, arrivals + 1e9, work)
    assert work.sum() < arrivals[-1]
    assert 5 < demand.least_servers < 6
    assert demand.forces(2, allowed_late(Fraction(99, 100), len(requests)))
