"""Figures of a plan: of a stage, of a scenario, of the whole, and the limits that it breaks."""

from __future__ import annotations

from dataclasses import dataclass

from shardproof.formulations.timeline import admission_wait, last_sent, last_ttft, mean_ttft, tpot
from shardproof.instances.plan import Group
from shardproof.instances.workload import ClosedLoop, Phase, Phased, Scenario


@dataclass(frozen=True)
class Check:
    """A row that a plan is held against: ``group[index]`` names it as the program does; a margin is taken off."""

    group: str
    index: str
    value: int
    limit: int
    unit: str

    @property
    def slack(self) -> int:
        """Limit less value; negative where the row is broken."""
        return self.limit - self.value

    def broken(self) -> Violation:
        """The violation that the row is when it is broken."""
        return Violation(self.group, self.index, self.value, self.limit, self.unit)


@dataclass(frozen=True)
class Violation:
    """A limit that a plan breaks: ``group[index]`` names the row as the program does."""

    group: str
    index: str
    value: int
    limit: int
    unit: str


@dataclass(frozen=True)
class StageFigures:
    """One stage under one scenario: memory by part (bytes) and times by operation (ns).

    ``iteration`` and ``first_token`` are of a closed loop: a decode microbatch with the prompts prefilled
    beside it, and the stage's part of a first token, ns.
    """

    memory_bytes: dict[str, int]
    prefill_ns: dict[str, int]
    decode_ns: dict[str, int]
    iteration: int = 0
    first_token: int = 0

    @property
    def memory(self) -> int:
        """Bytes on the fullest device."""
        return sum(self.memory_bytes.values())

    @property
    def prefill(self) -> int:
        """Time of one prefill microbatch, ns."""
        return sum(self.prefill_ns.values())

    @property
    def decode(self) -> int:
        """Time of one decode microbatch, ns."""
        return sum(self.decode_ns.values())


@dataclass(frozen=True)
class ScenarioFigures:
    """One scenario of a plan: its stages, and what its slowest request sees (ns).

    ``requests`` of one replica are there at once, of which ``running`` find room. Replicas that serve one phase alone
    have 0 for the other's times; ``sending``: what the KV cache of one prefill microbatch takes on the link, ns.
    """

    scenario: Scenario
    stages: tuple[StageFigures, ...]
    prefill_microbatches: int
    decode_microbatches: int
    requests: int
    running: int
    prompt_chunks: int = 1
    sending: int = 0

    @property
    def phase(self) -> Phase:
        """Phases that the replicas serve."""
        return self.scenario.workload.phase if isinstance(self.scenario.workload, Phased) else "both"

    @property
    def is_loop(self) -> bool:
        """Whether the scenario is a closed loop."""
        return isinstance(self.scenario.workload, ClosedLoop)

    @property
    def ttft(self) -> int:
        """TTFT of the slowest request of a burst, or of a request in a closed loop, ns."""
        if self.phase == "decode":
            return 0
        if self.is_loop:
            return self.ttft_running + self.sending + self.admission_wait
        times = [stage.prefill for stage in self.stages]
        return last_sent(times, self.prefill_microbatches, chunks=self.prompt_chunks, sending=self.sending)

    @property
    def prefilled(self) -> int:
        """The part of `ttft` that is computed and not sent: what a margin inflates, ns."""
        if not self.sending or self.is_loop:
            return self.ttft - self.sending
        times = [stage.prefill for stage in self.stages]
        late = last_ttft(times, self.prefill_microbatches)
        return late if late + self.sending >= self.ttft else last_ttft(times, self.prompt_chunks)

    @property
    def ttft_running(self) -> int:
        """Time to first token in a closed loop once a request is admitted, ns."""
        return sum(stage.first_token for stage in self.stages)

    @property
    def admission_wait(self) -> int:
        """Time that a request of a closed loop waits until the replica has room for it, ns."""
        output = self.scenario.workload.output_tokens
        return admission_wait(
            self.ttft_running, self.tpot, flight=self.requests, running=self.running, output_tokens=output
        )

    @property
    def ttft_mean(self) -> float:
        """Mean TTFT, ns."""
        if self.is_loop or self.phase == "decode":
            return float(self.ttft)
        groups = self.prefill_microbatches // self.prompt_chunks
        times = [stage.prefill for stage in self.stages]
        return float(mean_ttft(times, groups, self.prompt_chunks, sending=self.sending))

    @property
    def ttft_first(self) -> int:
        """TTFT of the first microbatch, or of a request alone, ns."""
        if self.phase == "decode":
            return 0
        return last_ttft([stage.prefill for stage in self.stages], self.prompt_chunks) + self.sending

    @property
    def tpot(self) -> int:
        """Time per output token, ns."""
        if self.phase == "prefill":
            return 0
        times = [stage.iteration if self.is_loop else stage.decode for stage in self.stages]
        return tpot(times, self.decode_microbatches)

    @property
    def residence(self) -> int:
        """Time from a request's arrival to its last token, ns."""
        return self.ttft + (self.scenario.workload.output_tokens - 1) * self.tpot


@dataclass(frozen=True)
class Throughput:
    """What a plan delivers in a second under one scenario; tokens are output tokens.

    Little's law: the requests in the system over the time that each stays, of a burst until its last token.
    ``output_tokens_per_s_per_user``: what one reader sees once the first token is there, 1 / TPOT.
    """

    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    output_tokens_per_s_per_gpu: float
    output_tokens_per_s_per_user: float


def _passed(found: list[ScenarioFigures]) -> float:
    """Requests a second that pass a prefill pool and a decode pool, one after the other."""
    read, written = max(figures.ttft for figures in found), max(figures.tpot for figures in found)
    windows = [
        workload
        for figures in found
        if isinstance(workload := figures.scenario.workload, ClosedLoop) and workload.window is not None
    ]
    if windows and windows[0].window is not None:
        return 1e9 * windows[0].concurrency / windows[0].window
    workload = found[0].scenario.workload
    return 1e9 * workload.requests / max(1, read + (workload.output_tokens - 1) * written)


@dataclass(frozen=True)
class GroupFigures:
    """One group of replicas that are alike, and its figures under every scenario that it takes requests of."""

    group: Group
    scenarios: tuple[ScenarioFigures, ...]

    def requests_per_s(self, figures: ScenarioFigures) -> float:
        """Requests of a scenario that the group's replicas finish in a second."""
        there = min(figures.scenario.workload.requests, figures.requests * self.group.replicas)
        return 1e9 * there / max(1, figures.residence)


@dataclass(frozen=True)
class Evaluation:
    """All figures of a plan, group by group, the limits that it breaks, and all that it was held against."""

    groups: tuple[GroupFigures, ...]
    violations: tuple[Violation, ...]
    checks: tuple[Check, ...] = ()

    @property
    def scenarios(self) -> tuple[ScenarioFigures, ...]:
        """Figures of every group under every scenario; of a plan of one shape: one for each scenario."""
        return tuple(figures for found in self.groups for figures in found.scenarios)

    @property
    def ttft(self) -> int:
        """Largest TTFT over groups and scenarios, ns."""
        return max(figures.ttft for figures in self.scenarios)

    @property
    def tpot(self) -> int:
        """Largest TPOT over groups and scenarios, ns."""
        return max(figures.tpot for figures in self.scenarios)

    def throughput(self, name: str | None = None) -> Throughput:
        """Throughput of all groups under a scenario (``None``: the first)."""
        name = self.scenarios[0].scenario.name if name is None else name
        found = [(one, figures) for one in self.groups for figures in one.scenarios if figures.scenario.name == name]
        rate = sum(one.requests_per_s(figures) for one, figures in found if figures.phase == "both")
        workload = found[0][1].scenario.workload
        passing = [figures for _, figures in found if figures.phase != "both"]
        rate += _passed(passing) if passing else 0
        tokens = rate * workload.output_tokens
        return Throughput(
            requests_per_s=rate,
            output_tokens_per_s=tokens,
            total_tokens_per_s=tokens + rate * workload.input_tokens,
            output_tokens_per_s_per_gpu=tokens / sum(one.group.gpus for one in self.groups),
            output_tokens_per_s_per_user=1e9 / max(1, *(figures.tpot for _, figures in found)),
        )

    @property
    def peak_memory(self) -> int:
        """Bytes on the fullest device of any stage in any scenario."""
        return max(stage.memory for figures in self.scenarios for stage in figures.stages)
