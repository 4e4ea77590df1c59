"""The context of an audit: facts, readings, and the plan and figures that each reading amounts to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

from shardproof.formulations.costs.engine_memory import Launch
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.prefill import distinct_ceilings
from shardproof.formulations.engines.told import (
    account_of,
    default_batch,
    longest_request,
    sequences_of,
    share_with_free,
)
from shardproof.formulations.open_loop import is_open
from shardproof.formulations.scaling import allowed_time
from shardproof.instances.drafts import asked_again
from shardproof.instances.errors import ShardproofError
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.plan import Group, Launched, Microbatches, Plan, Pool, Stage
from shardproof.instances.units import format_bytes, format_duration
from shardproof.instances.workload import Burst, ClosedLoop
from shardproof.solver.audit.facts import Facts
from shardproof.solver.audit.instance_of import instance_of
from shardproof.solver.audit.mistakes import Budget, Explanation, Trial
from shardproof.solver.audit.readings import Reading, matching
from shardproof.solver.audit.recount import Recount
from shardproof.solver.documents.text import printable
from shardproof.solver.evaluation.figures import Evaluation, Violation
from shardproof.solver.open_loop.evaluated import evaluate_any, question_deployment

MICROBATCH_TRIALS = 12
MOST_STAGES = 4096
MOST_LAYERS = 100_000


@dataclass(frozen=True)
class Candidate:
    """A reading, the plan that it amounts to, and the plan's figures.

    ``copies``: the sentence on how many of it take the question's load, where the document says one replica alone.
    """

    reading: Reading
    plan: Plan
    evaluation: Evaluation
    copies: str | None = None

    @property
    def burden(self) -> tuple[int, int, int]:
        """How much is wrong with it: broken rules, bytes over the limit, slowest TTFT."""
        over = sum(v.value - v.limit for v in self.evaluation.violations if v.group.startswith("memory"))
        ttft = self.evaluation.ttft if self.evaluation.scenarios else 0
        return len([v for v in self.evaluation.violations if not v.group.startswith("memory")]), over, ttft


class Context:
    """Everything that a judge may look at."""

    def __init__(self, facts: Facts) -> None:
        """Take the facts of a document."""
        self.facts = facts
        self.document = facts.document
        self._recounts: dict[Option, tuple[Recount, ...]] = {}
        self.kept: dict[str, tuple[Trial, ...]] = {}
        self.budget = Budget()
        self.explained: dict[tuple[str, Fraction, Fraction], Explanation | None] = {}

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """Readings that give the stated GPU count, else all; stages that state their own degrees are read so."""
        options = self.stage_options
        if options:
            widest = max(options, key=lambda option: option.gpus)
            copies = (self.facts.replicas or 1) * (1 if self.facts.replicas else self.facts.stated("dp") or 1)
            if len(set(options)) > 1 or self.facts.stated("tp") is None:
                return (Reading("stage by stage", copies, len(options), widest),)
        return matching(self.facts)

    @cached_property
    def stage_options(self) -> tuple[Option, ...]:
        """What each stage runs, where all of them state their own degrees."""
        options = [row.option for row in self.facts.stages]
        if len(options) != (self.facts.stated("pp") or len(options)):
            return ()
        return tuple(option for option in options if option is not None) if all(options) else ()

    @property
    def fully_stated(self) -> bool:
        """Whether the document lists the layers of every stage, so that only the microbatch is open."""
        rows = self.facts.stages
        listed = bool(rows) and all(row.first is not None and row.last is not None for row in rows)
        return listed and len(rows) == (self.facts.stated("pp") or len(rows))

    def gpu_counts(self) -> set[int]:
        """GPU counts that the readings come to."""
        options = self.stage_options
        if options and self.readings and self.readings[0].name == "stage by stage":
            return {self.readings[0].replicas * sum(option.gpus for option in options)}
        return {reading.gpus for reading in self.readings}

    @cached_property
    def instance(self) -> Instance | None:
        """The instance given, or the one that the document itself amounts to."""
        return self.facts.instance or instance_of(self.facts, self.readings)

    def recounts(self, reading: Reading | None = None) -> tuple[Recount, ...]:
        """Ways to count bytes: for each KV dtype that the document leaves open, in one dtype or the model's own."""
        facts = self.facts
        if facts.model is None or facts.weight_bytes is None:
            return ()
        option = reading.option if reading else Option(1, 1, 1, 1)
        if option not in self._recounts:
            self._recounts[option] = tuple(
                Recount(facts.model, float(facts.weight_bytes), dtype, option, by_class)
                for dtype in facts.kv_dtypes
                for by_class in (False, True)
            )
        return self._recounts[option]

    def stage_ranges(self, pp: int) -> tuple[tuple[int, int], ...] | None:
        """First and last layer of every stage: as stated, else an even split; ``None`` if there is none."""
        layers = self.facts.layers
        if layers is None or not 1 <= pp <= min(layers, MOST_STAGES) or layers > MOST_LAYERS:
            return None
        rows = self.facts.stages
        if len(rows) == pp and all(row.first is not None and row.last is not None for row in rows):
            ranges = tuple((row.first or 0, row.last or 0) for row in rows)
            starts = [0, *(last + 1 for _, last in ranges)]
            if all(first == start <= last for (first, last), start in zip(ranges, starts, strict=False)):
                return ranges if starts[-1] == layers else None
            return None
        return _cut(self._counts(pp, layers))

    def _counts(self, pp: int, layers: int) -> list[int]:
        rows = self.facts.stages
        counts = [row.layers for row in rows if row.layers is not None]
        if len(counts) == pp and sum(counts) == layers:
            return counts
        for statement in self.document.of("layers_per_stage"):
            value = statement.value
            if isinstance(value, tuple) and len(value) == pp and sum(value) == layers and min(value) > 0:
                return list(value)
        return [layers // pp + (1 if index < layers % pp else 0) for index in range(pp)]

    @property
    def is_elsewhere(self) -> bool:
        """Whether the degrees of a launch stand in files or variables that are not here."""
        stated = any(self.facts.stated(name) is not None for name in ("tp", "pp", "dp", "ep", "moe_tp"))
        return self.document.start is not None and self.document.open and not stated and not self.facts.stages

    @property
    def elsewhere(self) -> str:
        """Say where they stand."""
        file = self.document.first("config_file")
        if file is not None:
            return f"{printable(str(file.value))} is not here, and degrees may stand in it"
        return "degrees are set by variables that nothing here sets"

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every reading that can be evaluated, least burdened first."""
        if self.deployment is None or self.is_elsewhere:
            return ()
        found = [c for reading in self.readings if (c := self._candidate(self.deployment, reading)) is not None]
        return tuple(sorted(found, key=lambda candidate: candidate.burden))

    @property
    def best(self) -> Candidate | None:
        """The most charitable candidate."""
        return self.candidates[0] if self.candidates else None

    def _candidate(self, deployment: Deployment, reading: Reading) -> Candidate | None:
        ranges = self.stage_ranges(reading.pp)
        if ranges is None or reading.gpus > 16384 or reading.option.gpus > 4096:
            return None
        options = self.stage_options if reading.name == "stage by stage" else (reading.option,) * len(ranges)
        if any(min(option.degrees) < 1 or option.gpus != option.moe_tp * option.moe_ep for option in options):
            return None  # degrees that no stage can have: the claims about them say so
        stages = tuple(Stage.of(*pair) for pair in zip(ranges, options, strict=False))
        if not self.says_one_replica:
            return self._fastest(deployment, reading, stages)
        return self._shared(deployment, reading, stages)

    @property
    def told_sequences(self) -> int | None:
        """Requests that a loop's launch lets each attention replica run at once, where it says so."""
        instance = self.instance
        if instance is None or instance.engine == "any" or not self.readings:
            return None
        loop = isinstance(instance.scenarios[0].workload, ClosedLoop)
        launched = self._launched(self.readings[0]) if loop else None
        return None if launched is None else launched.sequences

    @property
    def says_one_replica(self) -> bool:
        """Whether a launch says one replica of what may be several that take the question's load."""
        facts = self.facts
        given = facts.instance is not None and self.document.start is not None
        return given and facts.replicas is None and facts.gpus is None

    def _shared(self, deployment: Deployment, reading: Reading, stages: tuple[Stage, ...]) -> Candidate | None:
        """The fewest copies whose share of the load keeps every limit, else one copy under the whole load."""
        alone = self._fastest(deployment, reading, stages)
        if alone is None or not alone.evaluation.violations:
            return alone
        most = deployment.instance.max_gpus // reading.gpus
        low, high, found = 1, 1, None
        while found is None and high < most:
            low, high = high, min(2 * high, most)
            found = self._sound(deployment, reading, stages, high)
        while found is not None and high - low > 1:
            middle = (low + high) // 2
            better = self._sound(deployment, reading, stages, middle)
            low, high, found = (low, middle, better) if better is not None else (middle, high, found)
        if found is None:
            return alone
        return replace(found, copies=f"{found.copies}; one alone breaks {_broken(alone.evaluation.violations[0])}")

    def _sound(
        self, deployment: Deployment, reading: Reading, stages: tuple[Stage, ...], copies: int
    ) -> Candidate | None:
        """That many copies, where they keep every limit."""
        found = self._fastest(deployment, replace(reading, replicas=reading.replicas * copies), stages)
        if found is None or found.evaluation.violations:
            return None
        each = " + ".join(str(divide_up(one, copies)) for one in deployment.demand)
        stated = f"one replica of {reading.gpus} GPU{'s' if reading.gpus > 1 else ''} is stated"
        words = f"{stated}; {copies} of them take the question's load, {each} requests each"
        return replace(found, copies=words)

    def _fastest(self, deployment: Deployment, reading: Reading, stages: tuple[Stage, ...]) -> Candidate | None:
        """The microbatch as stated, else the one that fits and is fastest, else the smallest in memory."""
        instance = deployment.instance
        load = instance.scenarios[0].workload
        best: Candidate | None = None
        decode = max(1, min(self.facts.stated("decode_microbatches") or 1, divide_up(load.requests, reading.replicas)))
        is_played = self.instance is not None and is_open(self.instance)  # engines choose their own microbatches
        sizes = self._sizes(divide_up(load.requests, reading.replicas), load.input_tokens)
        for size in sizes[:1] if is_played else sizes:
            runs = self._runs(instance, size, decode, self._chunk(instance, reading))
            plan = Plan(
                replicas=reading.replicas,
                microbatch_tokens=self._microbatch_tokens(instance, reading, runs[0]),
                microbatches=runs,
                stages=stages,
                engine=instance.engine,
                speculative=self.facts.guessing or asked_again(instance.speculative),
                launched=self._launched(reading) if is_played else self._narrowed(instance, reading),
            )
            try:
                candidate = Candidate(reading, plan, self._evaluated(deployment, plan))
            except (ShardproofError, ArithmeticError):
                return None
            if best is None or candidate.burden < best.burden:
                best = candidate
        return best

    def _microbatch_tokens(self, instance: Instance, reading: Reading, runs: Microbatches) -> int:
        """Prompt tokens of a burst's microbatch; of a loop those of one iteration, the default if unsaid."""
        load = instance.scenarios[0].workload
        if isinstance(load, ClosedLoop) and instance.engine != "any":
            return (runs.chunk_tokens or default_batch(instance, account_of(instance))) * reading.option.attn_dp
        return runs.prefill_requests * divide_up(load.input_tokens, runs.prompt_chunks)

    def _evaluated(self, deployment: Deployment, plan: Plan) -> Evaluation:
        if self.instance is not None and is_open(self.instance):
            return evaluate_any(self.instance, plan)
        return evaluate_any(deployment.instance, plan, deployment=deployment)

    def _chunk(self, instance: Instance, reading: Reading) -> int | None:
        """Tokens of an iteration of one attention replica that a closed loop's engine is told.

        SGLang shares what it is told out over its attention replicas, and a plan's microbatch is that of all of them.
        """
        told, loop = self.facts.stated("microbatch_tokens"), isinstance(instance.scenarios[0].workload, ClosedLoop)
        if told is None or told < 1 or not loop or instance.engine == "any":
            return None
        each = self.document.start is not None and instance.engine != "sglang"
        return told if each else divide_up(told, reading.option.attn_dp)

    def pooled(self, pool: Pool | None) -> Group | None:
        """The launch as replicas that serve one phase alone, or both (``None``: its degrees make no stages)."""
        reading, instance = next(iter(self.readings), None), self.instance
        ranges = None if reading is None else self.stage_ranges(reading.pp)
        if reading is None or ranges is None or instance is None or self.is_elsewhere or reading.option.gpus > 4096:
            return None
        launched = self._launched(reading)
        each = None if launched is None else launched.batched_tokens
        return Group(
            replicas=reading.replicas,
            microbatch_tokens=(each or default_batch(instance, account_of(instance))) * reading.option.attn_dp,
            stages=tuple(Stage.of(span, reading.option) for span in ranges),
            pool=pool,
            launched=launched,
        )

    def _launched(self, reading: Reading) -> Launched | None:
        """What a launch, or a plan that was read from one, tells each attention replica.

        SGLang shares what it is told out over them.
        """
        starts = self.document.start is not None
        fields = ("max_sequences", "microbatch_tokens") if starts else ("launched_sequences", "launched_tokens")
        ranks = reading.option.attn_dp if starts and self.document.engine == "sglang" else 1
        told = zip(("sequences", "batched_tokens"), map(self.facts.stated, fields), strict=True)
        said = {name: divide_up(value, ranks) for name, value in told if value is not None and value > 0}
        version = self.document.first("engine_version" if starts else "launched_version")
        release = None if version is None else str(version.value)
        found = Launched(**said, memory_share=self._memory_share(reading), version=release)
        return found if found.settings else None

    def _memory_share(self, reading: Reading) -> Fraction | None:
        """Share of what the question lends of a device that a launch, or a plan read from one, tells its engine to use.

        An engine that is told nothing uses its default, where that is a share of the device. TensorRT-LLM is told a
        share of what weights and workspace leave.
        """
        starts = self.document.start is not None
        share = self.document.number("memory_fraction" if starts else "launched_share")
        if share is None and starts and self.instance is not None:
            return self._untold_share(self.instance)
        if share is None or not 0 < share <= 1 or self.instance is None:
            return None
        if starts and self.document.engine == "trtllm":
            return self._share_with_free(self.instance, share, reading)
        device = self.instance.device.usable_memory
        return min(Fraction(1), share * device / account_of(self.instance).total_bytes) if starts else share

    def _untold_share(self, instance: Instance) -> Fraction | None:
        """The engine's default share where it is one of the whole device and the question tells it no other."""
        if instance.engine == "any" or instance.engine_settings.gpu_memory_utilization is not None:
            return None
        profile = account_of(instance).profile
        return None if profile.static_fraction or self.document.engine == "trtllm" else profile.utilisation

    def _share_with_free(self, instance: Instance, share: Fraction, reading: Reading) -> Fraction | None:
        ranges = self.stage_ranges(reading.pp)
        if ranges is None or instance.engine != "trtllm" or reading.option.gpus > 4096:
            return None
        loads = [divide_up(scenario.workload.requests, reading.replicas) for scenario in instance.scenarios]
        told = self.facts.stated("max_sequences"), self.facts.stated("microbatch_tokens")
        sequences = told[0] or sequences_of(instance, reading.option, loads)
        batched = told[1] or default_batch(instance, account_of(instance))
        launch = Launch(max(batched, sequences), sequences, longest_request(instance))
        return share_with_free(instance, share, reading.option, ranges, launch)

    def _narrowed(self, instance: Instance, reading: Reading) -> Launched | None:
        """What a launch allows: its share of memory, and requests at once.

        The latter where a loop keeps more in flight, or the question says another number.
        """
        found, load = self._launched(reading), instance.scenarios[0].workload
        if found is None or instance.engine == "any":
            return None
        found = found.without({"max_num_batched_tokens"})
        if found is None or found.sequences is None:
            return found
        share = divide_up(max(one.workload.requests for one in instance.scenarios), reading.replicas)
        narrow = found.sequences < divide_up(share, reading.option.attn_dp)
        counts = narrow or instance.engine_settings.max_num_seqs is not None
        return found if counts and isinstance(load, ClosedLoop) else found.without({"max_num_seqs"})

    def _runs(self, instance: Instance, size: int, decode: int, chunk: int | None) -> tuple[Microbatches, ...]:
        """Microbatches of every scenario: its own where the document states them one by one, else the same."""
        names = [scenario.name for scenario in instance.scenarios]
        stated = []
        chunks = self.facts.stated("prompt_chunks") or self._parts_of_a_prompt(instance)
        usually = (("microbatch_requests", size), ("decode_microbatches", decode), ("prompt_chunks", chunks))
        for field, usual in usually:
            values = [int(s.value) for s in self.document.of(field) if isinstance(s.value, Fraction) and s.value >= 1]
            several = len(names) > 1 and len(values) == len(names)
            stated.append(values if several else [usual] * len(names))
        return tuple(
            Microbatches(
                scenario=name,
                prefill_requests=prefill,
                decode_microbatches=decoding,
                prompt_chunks=chunks,
                chunk_tokens=chunk,
            )
            for name, prefill, decoding, chunks in zip(names, *stated, strict=True)
        )

    def _parts_of_a_prompt(self, instance: Instance) -> int:
        """Parts in which a burst's prompt is computed where a launch tells its engine fewer tokens of an iteration."""
        load, tokens = instance.scenarios[0].workload, self.facts.stated("microbatch_tokens")
        launched = self.document.start is not None and isinstance(load, Burst)
        return divide_up(load.input_tokens, tokens) if launched and tokens and tokens > 0 else 1

    def _sizes(self, requests: int, prompt: int) -> list[int]:
        stated = self.facts.stated("microbatch_requests")
        if self.instance is not None and self._parts_of_a_prompt(self.instance) > 1:
            return [1]
        count, tokens = self.facts.stated("microbatches"), self.facts.stated("microbatch_tokens")
        if stated is None and count:
            stated = divide_up(requests, count)
        if stated is None and tokens and self.document.kind != "command" and not self.document.engine:
            stated = max(1, tokens // prompt)
        if stated:
            return [max(1, min(stated, requests))]
        sizes = list(distinct_ceilings(requests)) if requests <= 4096 else [1, 8, 64]
        step = max(1, len(sizes) // MICROBATCH_TRIALS)
        return sorted({*sizes[:6], *sizes[::step]})

    def allowed(self, limit: Fraction, name: str) -> Fraction:
        """What the instance's margin leaves of a limit on ``ttft`` or ``tpot``, seconds."""
        if self.deployment is None:
            return limit
        instance = self.deployment.instance
        quantity: Literal["ttft", "tpot"] = "ttft" if name == "ttft" else "tpot"
        return Fraction(allowed_time(instance, quantity, instance.scenarios[0].workload, int(limit * 10**9)), 10**9)

    @cached_property
    def deployment(self) -> Deployment | None:
        """The deployment problem of the instance."""
        return None if self.instance is None else question_deployment(self.instance)


def _broken(row: Violation) -> str:
    """A broken row with its value and limit."""
    if row.unit == "bytes":
        said = f"{format_bytes(row.value)} against {format_bytes(row.limit)}"
    elif row.unit == "ns":
        said = f"{format_duration(row.value)} against {format_duration(row.limit)}"
    else:
        said = f"{row.value:,} against {row.limit:,} {row.unit}"
    return f"{row.group}[{row.index}] ({said})"


def _cut(counts: list[int]) -> tuple[tuple[int, int], ...]:
    ranges, start = [], 0
    for count in counts:
        ranges.append((start, start + count - 1))
        start += count
    return tuple(ranges)
