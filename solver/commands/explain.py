"""`shardproof explain`: why fewer GPUs are impossible, or why there is no plan at all."""

from __future__ import annotations

from typing import Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import DURATION, Verb
from shardproof.solver.commands.printing import print_json, say
from shardproof.solver.commands.progress import watched


@click.command(name="explain", cls=Verb)
@click.argument("instance", required=False)
@instance_options
@click.option("--time-limit", type=DURATION, help="After it what is known is said, with unit, e.g. 60s.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(instance: str | None, time_limit: float | None, as_json: bool, **fields: Any) -> int:
    """Say in sentences why one GPU fewer is impossible; each sentence is read off the checked proof.

    Without any plan: a smallest set of limits that cannot hold together, and what each would have to become.

    \b
    Examples:
      shardproof explain instances/cases/qwen3-235b-a22b.yaml
      shardproof explain instances/cases/qwen3-235b-a22b.yaml --ttft 2s \\
        --max-gpus 8
    """
    from shardproof.solver.api.explained import explain

    with watched("explain"):
        explained = explain(instance, time_limit=time_limit, **fields)
    if as_json:
        print_json(explained.to_dict())
    else:
        say(str(explained))
    return explained.exit_code
