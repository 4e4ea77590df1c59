"""The one answer to any instance: requests that come by themselves, or bursts and closed loops."""

from __future__ import annotations

from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings


def is_open(instance: Instance) -> bool:
    """Whether any scenario's requests come by themselves."""
    return any(isinstance(scenario.workload, OpenLoop) for scenario in instance.scenarios)


def answer(instance: Instance, *, settings: Settings | None = None) -> Result:
    """Find the plan with the fewest GPUs for an instance of any kind of workload.

    Raises
    ------
    CheckFailed
        If the plan found fails its own check (a fault of ours).
    """
    if is_open(instance):
        from shardproof.solver.open_loop.solve import solve_open

        return solve_open(instance, settings or Settings())
    from shardproof.solver.solve import solve

    return solve(instance, settings=settings)
