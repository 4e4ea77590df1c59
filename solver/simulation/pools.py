"""Two pools in service: replicas that prefill alone, the link of each, and replicas that decode what arrives on it.

A prefill replica is done with a request once its KV cache has passed the link, one request after the other; until then
the cache holds its prompt. That moment is the request's first token. A decode replica admits it as soon as sequences
and cache allow, without computing its prompt; one that it has to preempt it computes anew, as engines do.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from shardproof.instances.traffic.trace import Request
from shardproof.solver.simulation.fleet import Router, Seat, least_loaded, routed, run_of
from shardproof.solver.simulation.outcome import Run
from shardproof.solver.simulation.replica import NEVER, Replica, Sequenced, Served

Sending = Callable[[int], int]
"""From the tokens of a prompt to what its cache takes on the link, ns."""


@dataclass
class PrefillReplica(Replica):
    """A replica that computes prompts and sends their caches; `on_sent` is told each request and when it arrives."""

    sending: Sending = lambda _: 0
    on_sent: Callable[[Served, float], None] = lambda _, __: None
    _link_free: float = 0.0
    _held: list[tuple[float, int]] = field(default_factory=list)
    _held_tokens: int = 0

    @property
    def cached_tokens(self) -> float:
        """Tokens that the cache holds, those on their way included."""
        return super().cached_tokens + self._held_tokens

    def submit(self, request: Request) -> Served:
        """Hand in a request, in any order; only its prompt is kept, and its first token is all that is computed."""
        served, found = Served(request), int(request.input_tokens * self.limits.prefix_hit)
        self.served.append(served)
        left = request.input_tokens - found
        came = Sequenced(served, request.input_tokens, found, left, 1, ready=request.arrival_ns)
        insort(self._arriving, came, key=lambda item: item.ready)
        return served

    def _arrive(self) -> None:
        self._release()
        super()._arrive()

    def _release(self) -> None:
        while self._held and self._held[0][0] <= self.now:
            self._held_tokens -= heappop(self._held)[1]

    def _admit(self) -> None:
        """Admit as ever; where caches on their way leave no room and nothing is in work, wait for one to arrive."""
        super()._admit()
        while self._waiting and not self._prefilling and self._held:
            self.now = max(self.now, self._held[0][0])
            self._release()
            super()._admit()

    def _idle_round(self) -> float:
        """Nothing decodes beside a prompt: its own time is all that a round takes."""
        return 0.0

    def _start_decoding(self, sequence: Sequenced, moment: float) -> None:
        tokens = sequence.served.request.input_tokens
        self._link_free = max(self._link_free, moment) + self.sending(tokens)
        self._prompts -= sequence.prompt
        self._held_tokens += sequence.prompt
        heappush(self._held, (self._link_free, sequence.prompt))
        sequence.served.first_token = self._link_free
        self.on_sent(sequence.served, self._link_free)


@dataclass
class DecodeReplica(Replica):
    """A replica that decodes requests whose caches arrive."""

    def receive(self, served: Served, moment: float) -> None:
        """Take in a request with its cache, which arrives at a moment (ns), in any order."""
        request = served.request
        came = Sequenced(served, request.input_tokens, 0, 0, request.output_tokens, ready=moment)
        insort(self._arriving, came, key=lambda item: item.ready)

    def _enter(self, sequence: Sequenced) -> None:
        if sequence.left:
            super()._enter(sequence)
            return
        if self.now > sequence.ready:
            self.gaps.append((self.now - sequence.ready, 1))
        self._start_decoding(sequence, self.now)


@dataclass(frozen=True)
class Pools:
    """Seats of both pools, and the link of a prefill replica."""

    prefill: tuple[Seat, ...]
    decode: tuple[Seat, ...]
    sending: Sending


def play_open_apart(
    pools: Pools, requests: Sequence[Request], *, router: Router, seed: int, watched: bool = True
) -> Run:
    """Play requests that arrive by themselves: the prefill pool to its end, then the decode pool.

    ``watched``: keep samples of queue and cache over time.
    """
    sent: list[tuple[float, int, Served]] = []

    def note(served: Served, moment: float) -> None:
        sent.append((moment, len(sent), served))

    first = [
        PrefillReplica(seat.times, seat.limits, watched=watched, sending=seat.sending or pools.sending, on_sent=note)
        for seat in pools.prefill
    ]
    arrivals = ((request.arrival_ns, request) for request in requests)
    for request, place in routed(pools.prefill, first, arrivals, router=router, seed=seed):
        first[place].submit(request)
    for replica in first:
        replica.advance()
    second = [DecodeReplica(seat.times, seat.limits, watched=watched) for seat in pools.decode]
    handed = ((moment, served) for moment, _, served in sorted(sent, key=lambda item: item[:2]))
    for served, place in routed(pools.decode, second, handed, router=router, seed=seed + 1):
        assert served.first_token is not None
        second[place].receive(served, served.first_token)
    for decoding in second:
        decoding.advance()
    return run_of(first, second)


def play_closed_apart(pools: Pools, lengths: Iterator[tuple[int, int]], *, flight: int, count: int, seed: int) -> Run:
    """Play a closed loop of ``flight`` requests: who is answered comes again at the prefill pool, ``count`` in all.

    Every request goes to the replica with the least load for its weight. Those that fill the loop come at random
    moments of about one turn, as they would be met in service, and do not count. Whichever replica's next round begins
    first is played first.
    """
    left = [count]

    def sent(served: Served, moment: float) -> None:
        decode[least_loaded(pools.decode, decode)].receive(served, moment)

    def finished(moment: float) -> None:
        if left[0] > 0:
            left[0] -= 1
            read, written = next(lengths)
            prefill[least_loaded(pools.prefill, prefill)].submit(Request(int(moment), read, written))

    prefill = [
        PrefillReplica(seat.times, seat.limits, on_finish=finished, sending=seat.sending or pools.sending, on_sent=sent)
        for seat in pools.prefill
    ]
    decode = [DecodeReplica(seat.times, seat.limits, on_finish=finished) for seat in pools.decode]
    fill = [next(lengths) for _ in range(flight)]
    turn, chance = _turn(pools, flight, *fill[0]), Random(seed)
    for moment, (read, written) in zip(sorted(int(chance.random() * turn) for _ in fill), fill, strict=True):
        prefill[least_loaded(pools.prefill, prefill)].submit(Request(moment, read, written))
    _in_order([*prefill, *decode])
    return run_of(prefill, decode, left_out=flight)


def _turn(pools: Pools, flight: int, read: int, written: int) -> float:
    """About the time of a request's output with all of them decoding, ns."""
    each = [min(seat.limits.sequences, -(-flight // len(pools.decode))) for seat in pools.decode]
    rounds = [seat.times.round(count, read + written / 2) for seat, count in zip(pools.decode, each, strict=True)]
    return written * max(rounds)


def _in_order(replicas: Sequence[Replica]) -> None:
    """Play rounds in the order in which they begin, so that what one replica hands another is known in time."""
    while True:
        begins = sorted((replica.begins, place) for place, replica in enumerate(replicas))
        moment, place = begins[0]
        if moment == NEVER:
            return
        later = begins[1][0] if len(begins) > 1 else NEVER
        replicas[place].step(max(later, moment + 1))
