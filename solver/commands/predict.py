"""`shardproof predict`: times and memory of a given plan, and the doubt in them."""

from __future__ import annotations

from typing import Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json, say
from shardproof.solver.commands.progress import watched


@click.command(name="predict", cls=Verb)
@click.argument("plan", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="Instance file that the plan answers.")
@instance_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(plan: str, instance: str | None, as_json: bool, **fields: Any) -> int:
    """Predict TTFT, TPOT, time by operation and memory by part of a plan, in any form that `audit` reads.

    A closed-loop workload is predicted with factors fitted to measured deployments; a burst with the
    instance's own efficiencies. Exit code 4: the plan breaks a rule or a limit.

    \b
    Examples:
      shardproof predict plan.yaml --instance instances/cases/qwen3-235b-a22b.yaml
      shardproof predict plan.yaml -i case.yaml --concurrency 64 --engine vllm \\
        --confidence 90%
      shardproof predict "vllm serve Qwen/Qwen3-32B -tp 4" -i case.yaml \\
        --engine vllm
    """
    from shardproof.solver.api.predicted import predict
    from shardproof.solver.writers.predictions import show

    with watched("predict"):
        found = predict(plan, instance, **fields)
    if as_json:
        print_json(found.to_dict())
    else:
        say(found.verdict)
        for one in found.predictions:
            show(one)
    return found.exit_code
