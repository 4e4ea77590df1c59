"""A fleet of replicas behind a router: requests are shared by weights, and every replica is played on its own clock.

Routers: ``random`` draws a replica by its weight (a Poisson stream stays Poisson), ``round-robin`` spreads them as
evenly as the weights allow (smooth weighted round robin), ``least-loaded`` looks at requests in flight over weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

from shardproof.instances.traffic.trace import Request
from shardproof.solver.simulation.outcome import Run
from shardproof.solver.simulation.replica import Replica, ReplicaLimits, Served
from shardproof.solver.simulation.times import IterationTimes

Router = Literal["random", "round-robin", "least-loaded"]
Came = TypeVar("Came")


@dataclass(frozen=True)
class Seat:
    """One replica of a fleet: its clock, its engine's limits, and its share of the requests (any unit).

    ``sending``: what the cache of a prompt of so many tokens takes on its link, ns, where that is its own.
    """

    times: IterationTimes
    limits: ReplicaLimits
    weight: float = 1.0
    sending: Callable[[int], int] | None = None


Stop = Callable[[Sequence[Served]], bool]
"""Told what each replica has served when it is done: whether what it saw is enough."""


def play_open(
    seats: Sequence[Seat],
    requests: Sequence[Request],
    *,
    router: Router,
    seed: int,
    watched: bool = True,
    stop: Stop | None = None,
) -> Run:
    """Play requests that arrive by themselves, to the last answer or until ``stop`` has seen enough.

    ``watched``: keep samples of queue and cache over time.
    """
    replicas = [Replica(seat.times, seat.limits, watched=watched) for seat in seats]
    arrivals = ((request.arrival_ns, request) for request in requests)
    for request, place in routed(seats, replicas, arrivals, router=router, seed=seed):
        replicas[place].submit(request)
    return _played(replicas, stop=stop)


def routed(
    seats: Sequence[Seat],
    replicas: Sequence[Replica],
    arrivals: Iterable[tuple[float, Came]],
    *,
    router: Router,
    seed: int,
) -> Iterator[tuple[Came, int]]:
    """Yield what arrives, in the order of its moments (ns), with the replica that it goes to."""
    if router == "least-loaded" and len(seats) > 1:
        for moment, came in arrivals:
            for replica in replicas:
                replica.advance(moment)
            yield came, least_loaded(seats, replicas)
        return
    for (_, came), place in zip(arrivals, _places(seats, router, seed), strict=False):
        yield came, place


def least_loaded(seats: Sequence[Seat], replicas: Sequence[Replica]) -> int:
    """Return the replica with the fewest requests in flight for its weight."""
    pairs = enumerate(zip(replicas, seats, strict=True))
    return min(pairs, key=lambda item: ((item[1][0].outstanding + 1) / item[1][1].weight, item[0]))[0]


def play_closed(seats: Sequence[Seat], lengths: Iterator[tuple[int, int]], *, shares: Sequence[int], count: int) -> Run:
    """Play a closed loop: every replica keeps its share of requests in flight, ``count`` requests in all.

    The first of every place is cut short, each at another length, so that places do not end together; these requests
    fill the loop and do not count.
    """
    left = [count * share // sum(shares) for share in shares]

    def replacing(place: int) -> Callable[[float], Request | None]:
        def replace(moment: float) -> Request | None:
            if left[place] <= 0:
                return None
            left[place] -= 1
            read, written = next(lengths)
            return Request(int(moment), read, written)

        return replace

    replicas = [Replica(seat.times, seat.limits, on_finish=replacing(place)) for place, seat in enumerate(seats)]
    for replica, share in zip(replicas, shares, strict=True):
        for place in range(share):
            read, written = next(lengths)
            replica.submit(Request(0, read, max(1, written * (place + 1) // share)))
    return _played(replicas, left_out=sum(shares))


def _played(replicas: Sequence[Replica], *, left_out: int = 0, stop: Stop | None = None) -> Run:
    for replica in replicas:
        replica.advance()
        if stop is not None and stop(replica.served):
            break
    return run_of(replicas, left_out=left_out)


def run_of(replicas: Sequence[Replica], writing: Sequence[Replica] | None = None, *, left_out: int = 0) -> Run:
    """Gather what replicas have played, but for the first ``left_out`` requests.

    ``writing``: other replicas that write the tokens of what these have prefilled (``None``: they do so themselves).
    """
    played = replicas if writing is None else [*replicas, *writing]
    served = sorted((one for replica in replicas for one in replica.served), key=lambda item: item.request.arrival_ns)
    return Run(
        served=tuple(served[left_out:]),
        gaps=tuple(gap for replica in (replicas if writing is None else writing) for gap in replica.gaps),
        samples=tuple(tuple(replica.samples) for replica in played),
        preemptions=sum(replica.preemptions for replica in played),
        finished_at=max((replica.now for replica in played), default=0.0),
    )


def _places(seats: Sequence[Seat], router: Router, seed: int) -> Iterator[int]:
    """Yield the replica of every request."""
    weights = [seat.weight for seat in seats]
    if router == "round-robin":
        yield from _smooth(weights)
    chance = Random(seed)
    places = range(len(seats))
    while True:
        yield from chance.choices(places, weights, k=1024)


def _smooth(weights: Sequence[float]) -> Iterator[int]:
    credit, total = [0.0] * len(weights), sum(weights)
    while True:
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        place = max(range(len(weights)), key=lambda index: credit[index])
        credit[place] -= total
        yield place
