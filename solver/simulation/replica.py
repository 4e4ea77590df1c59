"""One replica under continuous batching: admission, chunked prefill, decode, preemption, played event by event.

A round gives every running sequence one token and takes along prompt chunks up to the engine's token budget. Rounds
between two events (an arrival that can be admitted, a sequence that ends, a cache that fills up) are alike and are
taken in one step. Requests are admitted first come, first served while the cache holds their prompt; when it overflows
the sequence admitted last goes back to the head of the queue and is computed anew, as engines do.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from math import ceil, inf

from shardproof.instances.speculative import MILLION
from shardproof.instances.traffic.trace import BLOCK_TOKENS, Request
from shardproof.solver.simulation.times import IterationTimes

NEVER = inf


@dataclass(frozen=True)
class ReplicaLimits:
    """What the engine of a replica allows: sequences at once, tokens of one round, tokens of KV cache.

    ``prefix_hit``: share of every prompt that is found in the cache (prompts with block hashes find their own);
    ``ranks``: attention replicas, which prefill different prompts side by side. ``verified``: tokens of each sequence
    that a round computes, of which it keeps ``gives`` millionths; iteration times are those of one token that is kept.
    """

    sequences: int
    batched_tokens: int
    cache_tokens: int
    prefix_hit: float = 0.0
    ranks: int = 1
    verified: int = 1
    gives: int = MILLION

    @cached_property
    def whole(self) -> float:
        """Tokens of a sequence that a round keeps."""
        return 1 if self.gives == MILLION else self.gives / MILLION


@dataclass(slots=True)
class Served:
    """One request as it was served; times in ns since the first arrival (``None``: not yet, or refused)."""

    request: Request
    first_token: float | None = None
    finished: float | None = None
    refused: bool = False
    preempted: int = 0

    @property
    def ttft(self) -> float | None:
        """Time to first token, ns."""
        return None if self.first_token is None else self.first_token - self.request.arrival_ns

    @property
    def tpot(self) -> float | None:
        """Mean time per output token after the first, ns (0 where there is no other)."""
        if self.finished is None or self.first_token is None:
            return None
        return (self.finished - self.first_token) / max(1, self.request.output_tokens - 1)

    @property
    def latency(self) -> float | None:
        """End-to-end time, ns."""
        return None if self.finished is None else self.finished - self.request.arrival_ns


@dataclass(slots=True)
class Sequenced:
    """A request inside the engine: prompt tokens to compute, tokens held, when it came (ns); ``remaining``: tokens.

    ``began`` and ``ends``: the rounds after which it decodes, and after which it is done.
    """

    served: Served
    prompt: int
    found: int
    left: int
    remaining: int
    held: int = 0
    began: int = 0
    ends: int = 0
    order: int = 0
    running: bool = False
    ready: float = 0.0


@dataclass(slots=True)
class Sample:
    """The replica at one moment (ns): running and waiting requests, and tokens in the cache."""

    time: float
    running: int
    waiting: int
    cached_tokens: float


@dataclass
class Replica:
    """The state of one replica; `submit` in the order of arrival, `advance` up to a moment.

    ``watched``: keep samples of queue and cache over time.
    """

    times: IterationTimes
    limits: ReplicaLimits
    on_finish: Callable[[float], Request | None] | None = None
    watched: bool = True
    now: float = 0.0
    rounds: int = 0
    served: list[Served] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    gaps: list[tuple[float, int]] = field(default_factory=list)
    preemptions: int = 0
    _arriving: deque[Sequenced] = field(default_factory=deque)
    _waiting: deque[Sequenced] = field(default_factory=deque)
    _prefilling: deque[Sequenced] = field(default_factory=deque)
    _running: list[tuple[int, int, Sequenced]] = field(default_factory=list)
    _latest: list[Sequenced] = field(default_factory=list)
    _count: int = 0
    _context: float = 0
    _prompts: int = 0
    _admitted: int = 0
    _blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)

    @property
    def outstanding(self) -> int:
        """Requests submitted and not finished."""
        return len(self._arriving) + len(self._waiting) + len(self._prefilling) + self._count

    @property
    def begins(self) -> float:
        """When the next round begins: now, with the next arrival, or never as things stand."""
        if self._count or self._prefilling or self._waiting:
            return self.now
        return max(self.now, self._arriving[0].ready) if self._arriving else NEVER

    @property
    def cached_tokens(self) -> float:
        """Tokens that the cache holds."""
        return self._context + self._prompts

    def submit(self, request: Request) -> Served:
        """Hand in a request; it is noticed when its time has come."""
        served = Served(request)
        self.served.append(served)
        found = int(request.input_tokens * self.limits.prefix_hit)
        self._arriving.append(
            Sequenced(
                served,
                request.input_tokens,
                found,
                request.input_tokens - found,
                request.output_tokens,
                ready=request.arrival_ns,
            )
        )
        return served

    def advance(self, until: float = NEVER) -> None:
        """Play every round that begins before ``until``."""
        while self.now < until and self.step(until):
            pass

    def step(self, until: float = NEVER) -> bool:
        """Play up to the next event, no round that begins at ``until`` or later; whether there was anything to play."""
        if self._arriving:
            self._arrive()
        if not (self._count or self._prefilling or self._waiting):
            if not self._arriving or self._arriving[0].ready >= until:
                return False
            self.now = float(self._arriving[0].ready)
            return True
        if self._waiting:
            self._admit()
        limits = self.limits
        while self._count and self._context + self._prompts + self._count * limits.verified + 1 > limits.cache_tokens:
            self._preempt()
        if self._prefilling:
            self._mixed_round()
        elif self._count:
            self._decode(until)
        if self.watched:
            self._sample()
        return True

    def _arrive(self) -> None:
        while self._arriving and self._arriving[0].ready <= self.now:
            self._waiting.append(self._arriving.popleft())

    def _admit(self) -> None:
        """Admit waiting prompts while sequences and cache allow; refuse what no empty cache could hold."""
        limits = self.limits
        while self._waiting:
            sequence = self._waiting[0]
            if sequence.prompt + sequence.remaining > limits.cache_tokens:
                self._waiting.popleft()
                sequence.served.refused = True
                self._replace(self.now)
                continue
            active = self._count + len(self._prefilling)
            asked = sequence.prompt + active * limits.verified
            if active >= limits.sequences or self.cached_tokens + asked > limits.cache_tokens:
                return
            self._waiting.popleft()
            self._find_prefix(sequence)
            sequence.order = self._admitted
            self._admitted += 1
            self._prompts += sequence.prompt
            self._enter(sequence)

    def _enter(self, sequence: Sequenced) -> None:
        """Begin with an admitted sequence."""
        self._prefilling.append(sequence)

    def _find_prefix(self, sequence: Sequenced) -> None:
        """Skip the leading blocks of a prompt that the cache still holds; remember all of them."""
        blocks = sequence.served.request.blocks
        if not blocks:
            return
        known = next((place for place, block in enumerate(blocks) if block not in self._blocks), len(blocks))
        sequence.found = min(sequence.prompt - 1, known * BLOCK_TOKENS)
        sequence.left = sequence.prompt - sequence.found
        for block in blocks:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) * BLOCK_TOKENS > self.limits.cache_tokens:
            self._blocks.popitem(last=False)

    def _mixed_round(self) -> None:
        """Play one round: every running sequence one token, and prompt chunks up to the token budget."""
        budget = max(1, self.limits.batched_tokens - self._count * self.limits.verified)
        done: list[tuple[Sequenced, float]] = []
        added = longest = passed = 0.0
        while self._prefilling and budget > 0:
            sequence = self._prefilling[0]
            tokens = min(budget, sequence.left)
            held, way = self.times.chunk(tokens, sequence.prompt - sequence.left)
            passed = added / self.limits.ranks + way
            added, longest = added + held, max(longest, held)
            budget -= tokens
            sequence.left -= tokens
            if sequence.left:
                break
            done.append((self._prefilling.popleft(), passed))
        added = max(longest, added / self.limits.ranks)
        running = self._count
        base = self._round(running, self._context / running) if running else self._idle_round()
        start, self.now = self.now, self.now + base + added
        if running:
            self.gaps.append((base + added, running))
        self._pass_rounds(1)
        for sequence, way in done:
            self._start_decoding(sequence, max(self.now, start + base + way))

    def _idle_round(self) -> float:
        """Time of a round beside which no sequence decodes, ns."""
        return self.times.fastest_round * self.limits.whole

    def _round(self, sequences: int, context: float) -> float:
        """Time of a round, all of whose tokens are verified, ns."""
        return self.times.round(sequences, context) * self.limits.whole

    def _start_decoding(self, sequence: Sequenced, moment: float) -> None:
        if sequence.served.first_token is None:
            sequence.served.first_token = moment
        sequence.remaining -= 1
        self._prompts -= sequence.prompt
        if sequence.remaining <= 0:
            self._finish(sequence, moment)
            return
        sequence.held, sequence.running, sequence.began = sequence.prompt + 1, True, self.rounds
        sequence.ends = self.rounds + -(-sequence.remaining * MILLION // self.limits.gives)
        self._context += sequence.held
        self._count += 1
        heappush(self._running, (sequence.ends, sequence.order, sequence))
        self._latest.append(sequence)

    def _decode(self, until: float) -> None:
        """Play the rounds up to the next event in one step."""
        while self._running and not self._running[0][2].running:
            heappop(self._running)
        whole, spare = self.limits.whole, self.limits.cache_tokens - self.cached_tokens
        room = 1 + int((spare - self._count * self.limits.verified) // (self._count * whole))
        mean = self._context / self._count
        one = self._round(self._count, mean)
        steps = min(self._running[0][0] - self.rounds, room)
        if not self._waiting or self._count < self.limits.sequences:
            event = self._arriving[0].ready if self._arriving else NEVER
            event = min(event, until)
            if event < NEVER:
                steps = min(steps, max(1, ceil((event - self.now) / one)))
        each = self._round(self._count, mean + (steps - 1) * whole / 2)
        self.now += steps * each
        self.gaps.append((each, steps * self._count))
        self._pass_rounds(steps)

    def _pass_rounds(self, steps: int) -> None:
        """Count rounds, and let end what ends with them."""
        self.rounds += steps
        self._context += steps * self._count * self.limits.whole
        while self._running and (self._running[0][0] <= self.rounds or not self._running[0][2].running):
            sequence = heappop(self._running)[2]
            if sequence.running:
                self._leave(sequence)
                self._finish(sequence, self.now)

    def _leave(self, sequence: Sequenced) -> None:
        """Take a running sequence out; what it holds is its prompt and what it has written."""
        sequence.running = False
        self._count -= 1
        self._context -= sequence.held + self._written(sequence)

    def _written(self, sequence: Sequenced) -> float:
        """Tokens that a running sequence wrote after its first."""
        return (self.rounds - sequence.began) * self.limits.whole

    def _preempt(self) -> None:
        """Put the sequence admitted last back to the head of the queue."""
        while not self._latest[-1].running:
            self._latest.pop()
        sequence = max((item for item in self._latest if item.running), key=lambda item: item.order)
        self._latest = [item for item in self._latest if item.running and item is not sequence]
        self._leave(sequence)
        written = min(sequence.remaining - 1, int(self._written(sequence)))
        left = sequence.remaining - written
        sequence.served.preempted += 1
        self.preemptions += 1
        again = Sequenced(sequence.served, sequence.prompt + written, 0, sequence.prompt + written, left + 1)
        self._waiting.appendleft(again)

    def _finish(self, sequence: Sequenced, moment: float) -> None:
        sequence.served.finished = moment
        self._replace(moment)

    def _replace(self, moment: float) -> None:
        """Let a closed loop hand in the request that takes a finished one's place."""
        request = None if self.on_finish is None else self.on_finish(moment)
        if request is not None:
            self.submit(request)

    def _sample(self) -> None:
        waiting = len(self._waiting) + len(self._prefilling)
        self.samples.append(Sample(self.now, self._count, waiting, self.cached_tokens))
