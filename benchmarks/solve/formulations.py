"""The same deployment cases in several formulations: time, bound and gap for the fewest GPUs (needs highspy).

exact
    shardproof's search with the instance's own budget, all three levels (GPUs, TTFT, peak memory), with proof.
cp-sat case, highs case, per-layer case
    one case only, the one that wins (its replicas and microbatch given away), fewest GPUs: our program on CP-SAT,
    the same rows on HiGHS, and one Boolean per layer, stage and option on CP-SAT.
cp-sat program, highs program
    every case in one model of our program.

The others are handed a small GPU budget besides; only the exact search has to find out by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.solve.timing import Timed, timed
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.program import build, cases_of
from shardproof.formulations.deployment.tables import Case, Program
from shardproof.formulations.deployment.variables import Limits
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import load_instance, resolve_tree
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.lexicographic import LexicographicSearch
from shardproof.solver.search.settings import Settings

CASES = Path("instances/cases")
FILES = ("qwen3-235b-a22b", "qwen3-235b-a22b-bf16-kv", "qwen3-235b-a22b-longest")
PAIRS = (("llama-3.1-70b", "h100-sxm"), ("gpt-oss-120b", "l40s"), ("deepseek-v3", "h200-sxm"))
WORKLOAD: dict[str, Any] = {
    "workload": {"kind": "burst", "batch_size": 128, "input_tokens": 2048, "output_tokens": 2048},
    "limits": {"ttft": "30 s"},
}
SPARE_GPUS = 1
"""GPUs that the budget of the other formulations exceeds the optimum by."""


@dataclass(frozen=True)
class Run:
    """One formulation on one case; ``None`` where it found nothing in time."""

    case: str
    formulation: str
    gpus: int | None
    bound: int | None
    proven: bool
    variables: int | None
    rows: int | None
    build: Timed
    solve: Timed

    @property
    def gap(self) -> float | None:
        """(GPUs - bound) / GPUs."""
        if self.gpus is None or self.bound is None:
            return None
        return (self.gpus - self.bound) / self.gpus


@dataclass(frozen=True)
class Answer:
    """What a solver says: its best GPU count, its bound, whether it finished; times if it ran in its own process."""

    gpus: int | None
    bound: int | None
    proven: bool
    times: Timed | None = None


@dataclass(frozen=True)
class Prepared:
    """A model built and ready: its sizes and the call that solves it."""

    variables: int
    rows: int
    solve: Callable[[], Answer]


def instances() -> Iterator[Instance]:
    """Yield the deployment cases."""
    for name in FILES:
        yield load_instance(CASES / f"{name}.yaml")
    for model, device in PAIRS:
        tree = {"name": f"{model} on {device}", "model": model, "device": device, **WORKLOAD}
        yield resolve_tree(tree, where="benchmark")


def compare(instance: Instance, *, time_limit_s: float, workers: int) -> Iterator[Run]:
    """Run every formulation on one instance, the exact search first."""
    settings = Settings(time_limit_s=time_limit_s, workers=workers)
    program = deployment_of(instance).program
    outcome, searching = timed(lambda: LexicographicSearch(program, settings).run())
    found = outcome.levels["gpus"]
    yield Run(instance.name, "exact", found.value, found.bound, found.proven, None, None, Timed(0, 0), searching)
    if outcome.chain is None or found.value is None:
        return
    chain, budget = outcome.chain, found.value + SPARE_GPUS
    for name, prepare in _formulations(program, chain, budget, settings).items():
        prepared, building = timed(prepare)
        answer, solving = timed(prepared.solve)
        yield Run(
            case=instance.name,
            formulation=name,
            gpus=answer.gpus,
            bound=answer.bound,
            proven=answer.proven,
            variables=prepared.variables,
            rows=prepared.rows,
            build=building,
            solve=answer.times or solving,
        )


def _formulations(program: Program, chain: Chain, budget: int, settings: Settings) -> dict[str, Callable[[], Prepared]]:
    winner = Case(program.layouts[chain.layout], chain.choices)
    layouts = (layout for layout in program.layouts if layout.replicas <= budget)
    every = [case for layout in layouts for case in cases_of(layout)]
    return {
        "cp-sat case": lambda: _on_cp_sat(_ours(program, [winner], budget), settings),
        "highs case": lambda: _on_highs(_ours(program, [winner], budget), settings),
        "per-layer case": lambda: _on_cp_sat(_per_layer(program, winner, budget), settings),
        "cp-sat program": lambda: _on_cp_sat(_ours(program, every, budget), settings),
        "highs program": lambda: _on_highs(_ours(program, every, budget), settings),
    }


def _ours(program: Program, cases: list[Case], budget: int) -> Any:
    from shardproof.formulations.deployment.objective import minimise

    model = build(replace(program, max_gpus=budget), cases, Limits(budget))
    minimise(model, "gpus")
    return model.solver_model


def _per_layer(program: Program, case: Case, budget: int) -> Any:
    from benchmarks.solve.per_layer import build_per_layer

    return build_per_layer(program, case, max_gpus=budget)


def _on_cp_sat(model: Any, settings: Settings) -> Prepared:
    from ortools.sat.python import cp_model

    from shardproof.solver.search.cp_sat import configured

    def solve() -> Answer:
        solver = configured(settings)
        status = solver.solve(model)
        found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
        bound = int(solver.response_proto.inner_objective_lower_bound)
        gpus = round(solver.objective_value) if found else None
        return Answer(gpus, bound, proven=status == cp_model.OPTIMAL)

    return Prepared(len(model.proto.variables), len(model.proto.constraints), solve)


def _on_highs(model: Any, settings: Settings) -> Prepared:
    from benchmarks.solve.highs import solve_apart
    from shardproof.formulations.deployment.peers.mixed_integer import mixed_integer_of

    found = mixed_integer_of(model)

    def solve() -> Answer:
        answer = solve_apart(found, time_limit_s=settings.time_limit_s, workers=settings.workers)
        times = Timed(answer["wall_s"], answer["cpu_s"])
        return Answer(answer["value"], answer["bound"], answer["proven"], times)

    return Prepared(len(found.lower), len(found.rows), solve)


def document(runs: list[Run]) -> dict[str, Any]:
    """Return all runs, with their gaps."""
    return {"runs": [asdict(run) | {"gap": run.gap} for run in runs]}
