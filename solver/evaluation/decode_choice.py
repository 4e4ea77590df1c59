"""How many decode microbatches a plan runs, where its limits leave the choice."""

from __future__ import annotations

from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import decode_step
from shardproof.formulations.deployment.prefill import PrefillShape, distinct_ceilings
from shardproof.instances.plan import Group
from shardproof.instances.workload import Phased, Scenario
from shardproof.solver.evaluation.evaluate import Evaluator, requests_of


def best_decode_microbatches(deployment: Deployment, plan: Group, scenario: Scenario) -> int:
    """Return the number of decode microbatches with the lowest TPOT that keeps the plan's peak memory.

    One sequence a microbatch always qualifies: it is no larger than any prefill microbatch. Where a limit made the
    program choose a number, it met the limit and no more; its own choice qualifies, so that none is slower.
    """
    requests = requests_of(plan, scenario)
    item = next(item for item in plan.microbatches if item.scenario == scenario.name)
    evaluator, speculation = Evaluator(deployment, plan), deployment.instance.speculative
    alone = isinstance(scenario.workload, Phased) and scenario.workload.phase == "decode"
    prefill = PrefillShape(item.prefill_requests, item.prompt_chunks).step(scenario)
    peak = 0 if alone else evaluator.peak(scenario, prefill)
    if alone or scenario.limits.tpot is not None:
        chosen = divide_up(requests, item.decode_microbatches)
        peak = max(peak, evaluator.peak(scenario, decode_step(scenario, chosen, speculation)))
    best: tuple[int, int] | None = None
    for size in distinct_ceilings(requests):
        if best is not None and evaluator.peak(scenario, decode_step(scenario, size, speculation)) > peak:
            break
        count = divide_up(requests, size)
        found = (evaluator.decode_tpot(scenario, size, count), count)
        best = found if best is None else min(best, found)
    assert best is not None
    return best[1]
