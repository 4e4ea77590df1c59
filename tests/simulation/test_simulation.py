"""The simulator against a token-by-token reference, closed forms, and what queues must do."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from shardproof.instances.errors import InputError
from shardproof.instances.traffic.arrivals import arrival_times, generated
from shardproof.instances.traffic.lengths import Lengths, mean_of, quantile_of
from shardproof.instances.traffic.trace import Request, read_trace
from shardproof.solver.simulation.fleet import Seat, play_closed, play_open
from shardproof.solver.simulation.outcome import interval, upper_quantile
from shardproof.solver.simulation.replica import Replica, ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes
from tests.oracles.places import SHARED
from tests.oracles.token_simulator import token_by_token

ROOMY = ReplicaLimits(sequences=64, batched_tokens=512, cache_tokens=10**7)


def times(*, stages: int = 1, per_context: int = 10) -> IterationTimes:
    return IterationTimes(
        lambda n, c: [(5_000_000 + 50_000 * n + n * c * per_context) // stages] * stages,
        lambda t, c: [(1_000_000 + 20_000 * t + t * c // 10) // stages] * stages,
        stages=stages,
        most_sequences=64,
        most_tokens=512,
        longest=4096,
    )


def traffic(seed: int, count: int, *, rate: float) -> list[Request]:
    chance = random.Random(seed)
    moment, found = 0.0, []
    for _ in range(count):
        moment += chance.expovariate(rate) * 1e9
        found.append(Request(int(moment), chance.randrange(1, 900), chance.randrange(1, 120)))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_steps_of_many_rounds_equal_token_by_token(seed: int) -> None:
    clock = times()
    limits = ReplicaLimits(random.Random(seed).choice((1, 4, 64)), random.Random(seed).choice((70, 512)), 10**7)
    requests = traffic(seed, 80, rate=random.Random(seed).choice((0.5, 5.0, 50.0)))
    replica = Replica(clock, limits)
    for request in requests:
        replica.submit(request)
    replica.advance()
    for ours, reference in zip(replica.served, token_by_token(clock, limits, requests), strict=True):
        assert ours.first_token == pytest.approx(reference.first, rel=1e-9)
        assert ours.finished == pytest.approx(reference.finished, rel=1e-9)
    assert replica.outstanding == replica.cached_tokens == 0


def test_a_request_alone_takes_its_prefill_and_its_rounds() -> None:
    clock = times(per_context=0)
    replica = Replica(clock, ROOMY)
    served = replica.submit(Request(7, 400, 11))
    replica.advance()
    assert served.ttft == pytest.approx(clock.fastest_round + clock.chunk(400, 0)[0])
    assert served.tpot == pytest.approx(clock.round(1, 400))


def test_a_long_prompt_is_cut_into_chunks() -> None:
    clock = times()
    replica = Replica(clock, ROOMY)
    served = replica.submit(Request(0, 1200, 2))
    replica.advance()
    parts = [clock.chunk(512, 0), clock.chunk(512, 512), clock.chunk(176, 1024)]
    assert served.ttft == pytest.approx(3 * clock.fastest_round + sum(held for held, _ in parts))


def test_stages_pass_a_prompt_on_and_share_the_sequences() -> None:
    one, four = times(), times(stages=4)
    assert four.chunk(512, 0)[0] == pytest.approx(one.chunk(512, 0)[0] / 4, rel=1e-6)
    assert four.chunk(512, 0)[1] == pytest.approx(one.chunk(512, 0)[1], rel=1e-6)
    assert four.round(64, 100) == pytest.approx(5_000_000 + 16 * (50_000 + 100 * 10), rel=0.02)


def test_a_full_cache_makes_requests_wait_and_a_longer_one_is_refused() -> None:
    replica = Replica(times(), ReplicaLimits(64, 512, 1000))
    served = [replica.submit(Request(0, 400, 50)) for _ in range(6)]
    long = replica.submit(Request(0, 990, 11))
    replica.advance()
    assert long.refused
    assert long.finished is None
    assert all(item.finished is not None for item in served)
    assert max(sample.cached_tokens for sample in replica.samples) <= 1000
    assert max(sample.running for sample in replica.samples) == 2


def test_a_cache_that_overflows_preempts_the_last_and_loses_nothing() -> None:
    replica = Replica(times(), ReplicaLimits(64, 512, 1000))
    served = [replica.submit(Request(0, 200, 300)) for _ in range(4)]
    replica.advance()
    assert replica.preemptions > 0
    assert all(item.finished is not None for item in served)
    assert served[0].preempted == 0
    assert max(sample.cached_tokens for sample in replica.samples) <= 1000
    assert replica.cached_tokens == 0


def test_shared_blocks_are_computed_once() -> None:
    clock, blocks = times(), tuple(range(4))
    replica = Replica(clock, ReplicaLimits(8, 4096, 10**6))
    first = replica.submit(Request(0, 2048, 2, blocks))
    second = replica.submit(Request(10**12, 2100, 2, (*blocks, 9)))
    replica.advance()
    assert first.ttft is not None
    assert second.ttft is not None
    assert second.ttft < first.ttft / 5


def test_a_queue_that_grows_for_as_long_as_requests_come_is_called_overloaded() -> None:
    seat = Seat(times(), ReplicaLimits(8, 512, 10**7))
    for rate, overloaded in ((0.5, False), (40.0, True)):
        run = play_open([seat], traffic(3, 400, rate=rate), router="random", seed=0)
        assert run.is_overloaded is overloaded


def test_prefix_hits_shorten_the_first_token() -> None:
    found = []
    for hit in (0.0, 0.5, 0.9):
        replica = Replica(times(), ReplicaLimits(8, 4096, 10**6, prefix_hit=hit))
        served = replica.submit(Request(0, 2000, 2))
        replica.advance()
        found.append(served.ttft)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("router", ["random", "round-robin", "least-loaded"])
def test_routers_share_by_weight(router: str) -> None:
    clock = times()
    seats = [Seat(clock, ROOMY, weight=3.0), Seat(clock, ROOMY, weight=1.0)]
    requests = generated(2000, rate=60, cv=1, input_tokens=200, output_tokens=40, seed=1)
    run = play_open(seats, requests, router=router, seed=3)  # type: ignore[arg-type]
    assert len(run.finished) == 2000
    shares = [max(sample.running for sample in samples) for samples in run.samples]
    assert shares[0] > shares[1]


def test_least_loaded_is_no_worse_than_random() -> None:
    seats = [Seat(times(), ReplicaLimits(8, 512, 10**7))] * 4
    requests = generated(3000, rate=55, cv=2, input_tokens=300, output_tokens=60, seed=5)
    p99 = {
        router: play_open(seats, requests, router=router, seed=1).quantile("ttft", 99)
        for router in ("random", "least-loaded")
    }
    assert p99["least-loaded"] < p99["random"]


def test_waits_grow_with_the_rate() -> None:
    seats = [Seat(times(), ROOMY)]
    waits = []
    for rate in (2, 8, 14):
        requests = generated(2000, rate=rate, cv=1, input_tokens=500, output_tokens=100, seed=2)
        waits.append(play_open(seats, requests, router="random", seed=0).quantile("ttft", 99))
    assert waits == sorted(waits)


def test_a_closed_loop_keeps_its_requests_in_flight() -> None:
    lengths = iter([(100, 50)] * 5000)
    run = play_closed([Seat(times(), ROOMY)] * 2, lengths, shares=(5, 3), count=400)
    assert len(run.served) == 400
    running = [max(sample.running for sample in samples) for samples in run.samples]
    assert running == [5, 3]


def test_quantiles_are_order_statistics() -> None:
    values = np.arange(1.0, 101.0)
    assert upper_quantile(values, 99) == 99
    assert upper_quantile(values, 50) == 50
    assert upper_quantile(np.array([3.0]), 99) == 3.0


def test_intervals_cover_the_mean() -> None:
    chance, covered = random.Random(0), 0
    for _ in range(400):
        found = interval([chance.gauss(10, 2) for _ in range(5)])
        covered += found.low <= 10 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_arrivals_have_the_stated_rate_and_variation() -> None:
    for cv in (0.0, 1.0, 4.0):
        gaps = np.diff(arrival_times(40_000, rate=20, cv=cv, random=np.random.default_rng(1))) / 1e9
        assert gaps.mean() == pytest.approx(1 / 20, rel=0.06)
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.1, abs=1e-6)


def test_lengths_have_the_stated_figures() -> None:
    lengths = Lengths(mean=2400, p95=8000, max=32_000)
    drawn = lengths.sample(60_000, np.random.default_rng(2))
    assert drawn.mean() == pytest.approx(2400, rel=0.03)
    assert np.percentile(drawn, 95) == pytest.approx(8000, rel=0.03)
    assert drawn.max() <= 32_000
    assert quantile_of(lengths, 0.95) == pytest.approx(8000, rel=0.001)
    assert mean_of(7) == quantile_of(7, 0.5) == 7


@pytest.mark.parametrize(
    "tree",
    [{}, {"max": 5}, {"p50": 10, "p95": 5}, {"p50": 100, "p95": 101, "p99": 90_000}, {"mean": 10, "min": 9, "max": 5}],
)
def test_lengths_that_describe_nothing_are_refused(tree: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"give|fall|log-normal|above"):
        Lengths(**tree)  # type: ignore[arg-type]


TRACES = {
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "burst.csv": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,x\n45,GPT-4,10,0,10,x\n9.314579,ChatGPT,5,9,14,x\n",
    "mooncake.jsonl": '{"timestamp": 0, "input_length": 9, "output_length": 2, "hash_ids": [1]}\n'
    '{"timestamp": 4314.579, "input_length": 9, "output_length": 3, "hash_ids": []}\n',
    "own.csv": "time_s,input_tokens,output_tokens\n1.5,7,8\n5.814579,9,1\n",
}


@pytest.mark.parametrize("name", TRACES)
def test_traces_are_read_by_their_columns(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(TRACES[name])
    found = read_trace(path)
    assert [request.arrival_ns for request in found.requests] == pytest.approx([0, 4_314_579_000], abs=30_000)


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "time_s,input_tokens,output_tokens\n1,2\n", "time_s,input_tokens,output_tokens\nx,2,3\n",
     "time_s,input_tokens,output_tokens\n1e999999,2,3\n", "time_s,input_tokens,output_tokens\n1,-2,3\n",
     '{"timestamp": 1}', '{"timestamp": 0, "input_length": 9, "output_length": 2, "hash_ids": ["x"]}', "[1]", "{"],
)  # fmt: skip
def test_a_broken_trace_is_refused_by_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"trace\.csv"):
        read_trace(path)


@pytest.mark.skipif(not (SHARED / "traces").is_dir(), reason="published traces are not beside this checkout")
def test_published_traces_are_read_as_they_are() -> None:
    found = {path.name: read_trace(path) for path in (SHARED / "traces").glob("*.gz")}
    assert found["azure-2023-conv.csv.gz"].rate == pytest.approx(5.53, abs=0.01)
    assert found["azure-2023-code.csv.gz"].rate == pytest.approx(2.57, abs=0.01)
    assert len(found["mooncake-synthetic.jsonl.gz"].requests) == 3993


def test_the_document_is_json() -> None:
    from shardproof.solver.simulation.outcome import Outcome

    requests = generated(50, rate=5, cv=1, input_tokens=100, output_tokens=20, seed=1)
    runs = tuple(play_open([Seat(times(), ROOMY)], requests, router="random", seed=s) for s in range(2))
    document = json.loads(json.dumps(Outcome("main", runs, {"ttft": 1e9}).to_json(), allow_nan=False))
    assert document["ttft_ms"]["p99"]["low"] <= document["ttft_ms"]["p99"]["value"]
    assert document["goodput"] == [1.0, 1.0]
