"""Prefill and decode apart: pools of a burst are solved alone, and their proofs add up.

No GPU serves both phases, so that a plan apart has at least the fewest GPUs of each pool, and exactly those are
enough. Where both pure ways are allowed each is answered in full; the one with fewer GPUs is given, together where they
tie (`shardproof.solver.apart.serving` knows mixes besides).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shardproof.formulations.apart.phases import pool_instance
from shardproof.instances.clock import now
from shardproof.instances.errors import InternalError
from shardproof.instances.instance import Instance
from shardproof.instances.units import format_gpus
from shardproof.solver.apart.terms import premises, status_of, transfers
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.groups import joined
from shardproof.solver.proof.evidence import Level, StopReason
from shardproof.solver.result import Proof, Result, Status
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import metrics_of, solve, versions

Pools = Mapping[str, Result]


def solve_burst(instance: Instance, settings: Settings) -> Result:
    """Solve bursts apart: the fewest GPUs of each pool, proved by a certificate of each."""
    started = now()
    if instance.max_gpus < 2:
        return nothing(instance, now() - started)
    quiet = replace(settings, explain=False, on_progress=None, floor=1)
    pools = {name: solve(pool_instance(instance, name), settings=quiet) for name in ("prefill", "decode")}
    return put_together(instance, pools, now() - started)


def put_together(instance: Instance, pools: Pools, seconds: float) -> Result:
    """Put the answers of both pools together: plans joined, bounds added."""
    prefill, decode = pools["prefill"], pools["decode"]
    bound = sum(_least(one, instance.max_gpus) for one in pools.values())
    plan = None
    if (
        prefill.plan is not None
        and decode.plan is not None
        and prefill.plan.gpus + decode.plan.gpus <= instance.max_gpus
    ):
        plan = joined(prefill.plan, decode.plan).model_copy(update={"instance_fingerprint": instance.fingerprint})
    evaluation = None if plan is None else evaluate(instance, plan)
    if evaluation is not None and evaluation.violations:
        raise InternalError(f"the plan found breaks {evaluation.violations[0]}")
    gpus, infeasible = None if plan is None else plan.gpus, bound > instance.max_gpus
    status = status_of(gpus, bound, infeasible=infeasible)
    return Result(
        status=status,
        proof=_proof(status, pools),
        gpus=gpus,
        bound=None if infeasible else bound,
        stop_reason=_stopped(pools),
        metrics=None if plan is None or evaluation is None else metrics_of(instance, plan, evaluation),
        plan=plan,
        assumptions=(*prefill.assumptions, *premises(instance)),
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=seconds,
        explanation=_sentences(instance, pools),
        levels={"gpus": Level(gpus, None if infeasible else bound)},
        engine_flags=() if plan is None else engine_flags(instance, plan),
        pools=pools,
    )


def _least(result: Result, most: int) -> int:
    """Fewest GPUs that a pool is proved to need; one more than there are where it has no plan."""
    return most if result.status == "infeasible" else max(1, result.bound or 1)


def _proof(status: Status, pools: Pools) -> Proof:
    if status == "undecided":
        return "none"
    if status == "infeasible":
        alone = [one for one in pools.values() if one.status == "infeasible"]
        sure = all(one.proof.startswith("certified") for one in alone or pools.values())
        return "certified-optimal" if sure else "solver-claimed"
    if not all(one.proof.startswith("certified") for one in pools.values()):
        return "solver-claimed"
    return "certified-optimal" if status == "optimal" else "certified-gap"


def _stopped(pools: Pools) -> StopReason:
    return next((one.stop_reason for one in pools.values() if one.stop_reason != "proved"), "proved")


def nothing(instance: Instance, seconds: float) -> Result:
    """Pools apart need a GPU each."""
    return Result(
        status="infeasible",
        proof="certified-optimal",
        gpus=None,
        bound=None,
        stop_reason="proved",
        metrics=None,
        plan=None,
        assumptions=(*instance.assumptions, *premises(instance)),
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=seconds,
        explanation=("a prefill pool and a decode pool need a GPU each; there is 1",),
        levels={"gpus": Level(None, 2)},
    )


def cheaper(instance: Instance, together: Result, apart: Result, seconds: float) -> Result:
    """Give the answer of fewer GPUs, with a bound that holds for both ways."""
    wins = apart if _gpus(apart) < _gpus(together) else together
    bounds = [one.bound for one in (together, apart) if one.status != "infeasible"]
    infeasible = not bounds
    bound = None if infeasible or None in bounds else min(bound for bound in bounds if bound is not None)
    status = "infeasible" if infeasible else status_of(wins.gpus, bound or 1, infeasible=False)
    pools = {"together": together, **apart.pools}
    sure = not together.engines and all(one.proof.startswith("certified") for one in (together, apart))
    claimed: Proof = "solver-claimed" if status != "undecided" else "none"
    good: Proof = "certified-gap" if status == "feasible" else "certified-optimal"
    return replace(
        wins,
        status=status,
        proof=good if sure and status != "undecided" else claimed,
        bound=bound,
        stop_reason=_stopped({"together": together, "apart": apart}),
        plan=None if wins.plan is None else wins.plan.model_copy(update={"instance_fingerprint": instance.fingerprint}),
        assumptions=tuple(dict.fromkeys((*together.assumptions, *apart.assumptions))),
        instance_fingerprint=instance.fingerprint,
        seconds=seconds,
        explanation=(compared(together, apart), *wins.explanation),
        levels={**wins.levels, "gpus": Level(wins.gpus, bound)},
        pools=pools,
    )


def _gpus(result: Result) -> float:
    return float("inf") if result.gpus is None else result.gpus


def compared(together: Result, apart: Result) -> str:
    """Say what each way comes to."""
    return f"prefill and decode together: {_said(together)}; apart: {_said(apart)}"


def _said(result: Result) -> str:
    if result.gpus is None:
        return "no plan" if result.status == "infeasible" else "no plan found"
    whole = result.bound == result.gpus
    return format_gpus(result.gpus) + ("" if whole else f", at least {result.bound}")


def _sentences(instance: Instance, pools: Pools) -> tuple[str, ...]:
    """Say what each pool takes, and what the KV cache takes between them."""
    found = [f"the {name} pool: {_said(one)}" for name, one in pools.items()]
    found += transfers(instance)
    return tuple(found)
