"""`solve`: the plan with the fewest GPUs, proven; and the question itself, read but not solved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from shardproof.instances.clock import now
from shardproof.instances.errors import InputError
from shardproof.solver.api.options import check_options
from shardproof.solver.api.question import Fields, asked_from, check_fields, instance_from, shows_fields, tree_of
from shardproof.solver.api.record import Answered, seconds_of

if TYPE_CHECKING:
    from markupsafe import Markup

    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.alternatives import Alternative
    from shardproof.solver.api.explained import Explained
    from shardproof.solver.api.fleets import SolvedFleet
    from shardproof.solver.api.question import Asking, Question
    from shardproof.solver.result import Metrics, Proof, Result, Status
    from shardproof.solver.search.settings import Progress, Settings


@dataclass(frozen=True, repr=False, eq=False)
class Solved(Answered):
    """The answer to one instance: its plan (or none), what is proved, and every form to look at it in.

    ``instance`` is the question that the plan answers: where no engine was named, that under the engine chosen.
    """

    instance: Instance
    result: Result
    alternatives: tuple[Alternative, ...] = ()
    """The next best answers, where they were asked for (``top``)."""
    left_out: int = 0
    """Questions next to this one that the time limit left no time for."""

    @property
    def status(self) -> Status:
        """``optimal``, ``feasible``, ``infeasible`` or ``undecided``."""
        return self.result.status

    @property
    def proof(self) -> Proof:
        """Who vouches for the status: ``certified-...`` only for what the independent checker accepted."""
        return self.result.proof

    @property
    def gpus(self) -> int | None:
        """GPUs of the plan."""
        return self.result.gpus

    @property
    def bound(self) -> int | None:
        """Proven: no plan has fewer GPUs."""
        return self.result.bound

    @property
    def gap(self) -> float | None:
        """(GPUs - bound) / GPUs."""
        return self.result.gap

    @property
    def plan(self) -> Plan | None:
        """The plan; ``None`` when none exists or none was found."""
        return self.result.plan

    @property
    def metrics(self) -> Metrics | None:
        """Times, memory and utilisations of the plan."""
        return self.result.metrics

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the question left open, in sentences."""
        return self.result.assumptions

    @property
    def engine_flags(self) -> tuple[str, ...]:
        """How to start an engine with this plan."""
        return self.result.engine_flags

    @property
    def exit_code(self) -> int:
        """0 a plan, 1 no plan exists, 3 undecided."""
        return self.result.exit_code

    def explain(self) -> Explained:
        """Say why fewer GPUs are impossible, or why there is no plan."""
        from shardproof.solver.api.explained import explanation_of

        return explanation_of(self.instance, self.result)

    def certificate(self) -> dict[str, Any] | None:
        """Return the certificate that `shardproof.verify` accepts; ``None`` where nothing was proved."""
        from shardproof.formulations.open_loop import is_open

        if self.result.fleets and self.status != "undecided":
            return next(iter(self.result.fleets.values()))
        if self.instance.serving != "together":
            from shardproof.solver.apart.certificate import apart_document

            return apart_document(self.instance, self.result)
        if is_open(self.instance):
            from shardproof.solver.open_loop.certificate import open_document

            return open_document(self.instance, self.result)
        if self.result.evidence is None or self.status == "undecided":
            return None
        from shardproof.solver.proof.certificate import certificate_document

        return certificate_document(self.result.evidence, self.instance)

    def certificates(self) -> dict[str, dict[str, Any]]:
        """Return a certificate for each engine: the chosen one's, and where none was named what refutes the others."""
        from shardproof.solver.proof.certificate import certificate_document

        if self.result.fleets and self.status != "undecided":
            return dict(self.result.fleets)
        own = self.certificate()
        found = {} if own is None else {self.result.engine or self.instance.engine: own}
        for one in self.result.engines if own is not None else ():
            if not one.chosen and one.evidence is not None and one.instance is not None and one.bound != 1:
                found[one.engine] = certificate_document(one.evidence, one.instance)
        return found

    def document(self) -> str | None:
        """Return the plan as a Markdown deployment document; ``None`` without a plan."""
        if self.plan is None:
            return None
        from shardproof.solver.writers.deployment_document import write_document

        return write_document(self.instance, self.result)

    def text(self, *, colour: bool = False) -> str:
        """Return the answer laid out for a terminal."""
        from shardproof.solver.writers.terminal import render_result

        shown: dict[str, Any] = {"alternatives": self.alternatives, "left_out": self.left_out}
        return render_result(self.instance, self.result, colour=colour, **shown)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``solve --json`` prints."""
        document = self.result.to_json()
        if self.alternatives:
            document["alternatives"] = [asdict(item) for item in self.alternatives]
        if self.left_out:
            document["alternatives_left_out"] = self.left_out
        return document

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each stage of each group of alike replicas."""
        return [] if self.plan is None else _stage_rows(self.plan)

    def __str__(self) -> str:
        """Return the first two lines of `text`: what was found and how sure it is."""
        return "\n".join(self.text().splitlines()[:2])

    def __repr__(self) -> str:
        """Return one line."""
        return f"Solved({self.status}, gpus={self.gpus}, bound={self.bound}, proof={self.proof!r})"

    def _repr_html_(self) -> str:
        from shardproof.formulations.engines.rules import has_experts
        from shardproof.formulations.engines.told import memory_budget
        from shardproof.solver.api.html import bullets, memory_bars, piece, table

        if self.plan is None:
            return piece(str(self), bullets("Why", self.result.explanation))
        shown = [_shown(row, routed=has_experts(self.instance)) for row in self.rows()]
        return piece(
            str(self),
            table(("figure", "value", "limit"), _figures(self)),
            table(tuple(shown[0]), [list(row.values()) for row in shown]),
            memory_bars(self.plan, memory_budget(self.instance)),
            *_timelines(self.instance, self.plan),
            bullets("Why", self.result.explanation),
            bullets("Engine flags", self.engine_flags),
            bullets("Assumed", self.assumptions),
        )


def _timelines(instance: Instance, plan: Plan) -> Iterator[Markup]:
    """Draw the first scenario's prefill, one picture for each group of replicas, if it is a burst."""
    from shardproof.formulations.costs.sharding import divide_up
    from shardproof.solver.api.html import timeline

    first = instance.scenarios[0]
    if first.workload.kind != "burst":
        return
    for place, group in enumerate(plan.parts):
        shared = divide_up(first.workload.requests, plan.replicas)
        own = next((share.requests for share in group.shares if share.scenario == first.name), shared)
        name = f"Group {place}: " if plan.groups else ""
        yield timeline(group, requests=own, limit=first.limits.ttft, name=name)


def _figures(solved: Solved) -> list[tuple[str, str, str]]:
    from shardproof.formulations.engines.told import memory_budget
    from shardproof.instances.units import format_bytes, format_duration
    from shardproof.solver.writers.served import whose_ttft

    metrics, limits = solved.metrics, solved.instance.scenarios[0].limits
    if metrics is None:
        return []

    def limit(value: int | None) -> str:
        return "-" if value is None else format_duration(value)

    return [
        (f"TTFT ({whose_ttft(solved.instance)})", f"{metrics.ttft_s:.3f} s", limit(limits.ttft)),
        ("TPOT", f"{metrics.tpot_ms:.2f} ms", limit(limits.tpot)),
        ("requests", f"{metrics.requests_per_s:.4g} /s", "-"),
        ("output tokens", f"{metrics.output_tokens_per_s:,.4g} /s", "-"),
        ("output tokens per GPU", f"{metrics.output_tokens_per_s_per_gpu:,.4g} /s", "-"),
        ("output tokens per user", f"{metrics.output_tokens_per_s_per_user:.4g} /s", "-"),
        ("peak memory", format_bytes(metrics.peak_memory_bytes), format_bytes(memory_budget(solved.instance))),
        ("memory utilisation", f"{metrics.memory_utilisation:.1%}", "-"),
        ("compute utilisation", f"{metrics.compute_utilisation:.1%}", "-"),
    ]


def _stage_rows(plan: Plan) -> list[dict[str, Any]]:
    stages = [(group, part, place) for group, part in enumerate(plan.parts) for place in range(len(part.stages))]
    found = [part.stages[place] for _, part, place in stages]
    sizes = dict.fromkeys(part for stage in found for part in stage.memory_bytes or {})
    operations = dict.fromkeys(name for stage in found for name in stage.time_ns or {})
    rows = []
    for group, part, place in stages:
        stage = part.stages[place]
        memory, times = stage.memory_bytes or {}, stage.time_ns or {}
        row: dict[str, Any] = {"group": group, "stage": place}
        row |= {"first_layer": stage.layers[0], "last_layer": stage.layers[1], "gpus": stage.gpus}
        row |= {"attn_tp": stage.attn_tp, "attn_dp": stage.attn_dp, "moe_tp": stage.moe_tp, "moe_ep": stage.moe_ep}
        row |= {"replicas": part.replicas, "memory_bytes": sum(memory.values()), "time_ns": sum(times.values())}
        row |= {_key(name, "bytes"): memory.get(name, 0) for name in sizes}
        rows.append(row | {_key(name, "ns"): times.get(name, 0) for name in operations})
    return rows


def _key(part: str, unit: str) -> str:
    return f"{part}_{unit}".replace(" ", "_").replace("-", "_")


def _shown(row: Mapping[str, Any], *, routed: bool) -> dict[str, Any]:
    """Return what a stage's row shows in a notebook: degrees, memory and time of a microbatch, with units."""
    from shardproof.instances.units import format_bytes, format_duration

    attention = f"TP{row['attn_tp']} x DP{row['attn_dp']}"
    beside = {"experts": f"TP{row['moe_tp']} x EP{row['moe_ep']}"} if routed else {"dense FFN": attention}
    return {
        "replicas": row["replicas"],
        "stage": row["stage"],
        "layers": f"{row['first_layer']}-{row['last_layer']}",
        "GPUs": row["gpus"],
        "attention": attention,
        **beside,
        "memory": format_bytes(row["memory_bytes"]),
        "time of a microbatch": format_duration(row["time_ns"]),
    }


@shows_fields
def load_instance(instance: Question | None = None, **fields: Unpack[Fields]) -> Instance:
    """Read a question: a file, a mapping with the fields of a file, keywords, or both; names are looked up.

    Parameters
    ----------
    instance
        Path of an instance file, its fields as a mapping, or an `Instance` (returned as it is).
    **fields
        What a flag of the command line says, under the flag's name; laid over the file's fields.

    Raises
    ------
    InputError
        If anything is wrong or missing: file, field, value and remedy.
    """
    check_fields(fields, "load_instance")
    return instance_from(instance, fields)


@shows_fields
def question(instance: str | Path | Mapping[str, Any] | None = None, **fields: Unpack[Fields]) -> dict[str, Any]:
    """Return a question as the fields of an instance file, to be kept as YAML or JSON.

    Raises
    ------
    InputError
        If the question is wrong or incomplete.
    """
    check_fields(fields, "question")
    asked_from(instance, fields)
    return tree_of(instance, fields)[0]


@overload
def solve(
    instance: PoolsQuestion,
    *,
    time_limit: float | str | None = None,
    workers: int = 2,
    seed: int = 0,
    search: Literal["auto", "both", "cp-sat"] = "auto",
    top: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **fields: Unpack[Fields],
) -> SolvedFleet: ...


@overload
def solve(
    instance: Question | None = None,
    *,
    time_limit: float | str | None = None,
    workers: int = 2,
    seed: int = 0,
    search: Literal["auto", "both", "cp-sat"] = "auto",
    top: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **fields: Unpack[Fields],
) -> Solved: ...


@shows_fields
def solve(
    instance: Asking | None = None,
    *,
    time_limit: float | str | None = None,
    workers: int = 2,
    seed: int = 0,
    search: Literal["auto", "both", "cp-sat"] = "auto",
    top: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **fields: Unpack[Fields],
) -> Solved | SolvedFleet:
    """Find the plan with the fewest GPUs and prove that none has fewer.

    A question about several devices or models gives a `SolvedFleet`: the cheapest fleet, or the most load. For types,
    only a `PoolsQuestion` is known to be one; a file or a mapping may be either.

    Parameters
    ----------
    instance
        Path of an instance file, its fields as a mapping, an `Instance` or a `PoolsQuestion`.
    time_limit
        Seconds, or text with a unit, after which the best plan so far is given; with ``top`` that of all questions
        together.
    workers, seed
        CP-SAT's.
    search
        ``auto``: exact search, CP-SAT where it leaves a case open; ``both``: CP-SAT checks the answer too;
        ``cp-sat``: alone.
    top
        So many next best answers of each kind are given too (``alternatives``): other formats, layouts, engines and
        devices, and half the latency.
    on_progress
        Called with the best GPU count, the bound and the seconds so far.
    **fields
        What a flag of the command line says, under the flag's name: ``model=``, ``device=``, ``ttft="2 s"`` ...

    Raises
    ------
    InputError
        If the question is wrong or incomplete.

    Examples
    --------
    >>> import shardproof
    >>> answer = shardproof.solve(model="qwen3-8b", device="h100-sxm", isl=512, osl=128, batch_size=8, ttft="2 s")
    >>> answer.status, answer.gpus
    ('optimal', 1)
    """
    check_fields(fields, "solve")
    check_options("solve", {"workers": workers, "seed": seed, "search": search, "top": top})
    from shardproof.instances.instance import Instance
    from shardproof.solver.answer import answer as search_plan
    from shardproof.solver.search.settings import Settings

    settings = Settings(
        time_limit_s=seconds_of(time_limit, "time_limit"),
        workers=workers,
        seed=seed,
        search=search,
        on_progress=on_progress,
    )
    asked, started = asked_from(instance, fields), now()
    if not isinstance(asked, Instance):
        from shardproof.solver.api.fleets import solved_fleet

        if top is not None:
            raise InputError("top: next best answers are those of one device and model; leave it out")
        if search != "auto":
            raise InputError(f"search: {search}: pools are searched in one way; leave it out")
        return solved_fleet(asked, settings)
    result = search_plan(asked, settings=settings)
    solved = Solved(result.question or asked, result)
    if top is None:
        return solved
    give_up = None if settings.time_limit_s is None else started + settings.time_limit_s
    found, left_out = _next_best(solved, instance, fields, settings, top, give_up)
    return replace(solved, alternatives=found, left_out=left_out)


def _next_best(
    solved: Solved,
    instance: Asking | None,
    fields: Mapping[str, Any],
    settings: Settings,
    top: int,
    give_up: float | None,
) -> tuple[tuple[Alternative, ...], int]:
    """Answer the questions next to the one asked."""
    from shardproof.solver.alternatives import Asked, next_best

    if instance is not None and not isinstance(instance, str | Path | Mapping):
        raise InputError("top: an Instance is final; give the instance file (or its mapping, or fields)")
    tree, where, folder = tree_of(instance, fields)
    question = Asked(tree, where, folder, solved.instance, solved.result)
    return next_best(question, settings, top, give_up=give_up)
