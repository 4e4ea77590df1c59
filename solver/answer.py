"""The one answer to any instance: requests that come by themselves, or bursts and closed loops."""

from __future__ import annotations

from shardproof.formulations.open_loop import is_open
from shardproof.instances.instance import Instance
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings


def answer(instance: Instance, *, settings: Settings | None = None) -> Result:
    """Find the plan with the fewest GPUs for an instance of any kind of workload.

    Raises
    ------
    CheckFailed
        If the plan found fails its own check (a fault of ours).
    """
    if instance.serving != "together":
        from shardproof.solver.apart.solve import solve_serving

        return solve_serving(instance, settings or Settings())
    if is_open(instance):
        from shardproof.solver.open_loop.solve import solve_open

        return solve_open(instance, settings or Settings())
    from shardproof.solver.solve import solve

    return solve(instance, settings=settings)
