"""`shardproof explain`: why fewer GPUs are impossible, or why there is no plan at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_from, instance_options

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.result import Result


@click.command(name="explain")
@click.argument("instance", required=False)
@instance_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(instance: str | None, as_json: bool, **flags: Any) -> int:
    """Say in sentences why one GPU fewer is impossible; each sentence is read off the checked proof.

    Without any plan: a smallest set of limits that cannot hold together, and what each would have to become.

    \b
    Examples:
      shardproof explain instances/cases/qwen3-235b-a22b.yaml
      shardproof explain instances/cases/qwen3-235b-a22b.yaml --ttft 2s --max-gpus 8
    """
    from shardproof.solver.search.settings import Settings
    from shardproof.solver.solve import solve

    question = instance_from(instance, flags)
    result = solve(question, settings=Settings(certify=True))
    document = {
        "status": result.status,
        "proof": result.proof,
        "gpus": result.gpus,
        "bound": result.bound,
        "reasons": list(_reasons(question, result)),
        "conflicts": _conflicts(question) if result.status == "infeasible" else [],
        "alternatives": _alternatives(question) if result.status == "infeasible" else [],
    }
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _show(question, result, document)
    return result.exit_code


def _reasons(question: Instance, result: Result) -> tuple[str, ...]:
    from shardproof.formulations.deployment.build import Deployment
    from shardproof.solver.analysis.explain import why_not_fewer

    refutation = None if result.evidence is None else result.evidence.refutations.get("gpus")
    if refutation is None or result.evidence is None:
        return ()
    return why_not_fewer(Deployment(question).limited(result.evidence.program.max_gpus), refutation)


def _conflicts(question: Instance) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from shardproof.solver.analysis.conflicts import conflicts

    return [asdict(conflict) for conflict in conflicts(question)]


def _alternatives(question: Instance) -> list[str]:
    from shardproof.solver.analysis.conflicts import cheaper_formats

    return list(cheaper_formats(question))


def _show(question: Instance, result: Result, document: dict[str, Any]) -> None:
    name = f"{question.model.name} on {question.device.name}"
    if result.status == "infeasible":
        click.echo(f"{name}: no plan exists with up to {_counted(question.max_gpus)} ({_verdict(result)}).")
        for conflict in document["conflicts"]:
            click.echo(f"  - {conflict['words']}")
        if document["conflicts"]:
            click.echo("Each of these limits is needed for that: drop any one and a plan exists.")
        for change in document["alternatives"]:
            click.echo(f"  - or with {change}")
    elif result.bound is None or result.bound <= 1:
        click.echo(f"{name}: {_counted(result.gpus)}; none has fewer than 1.")
    else:
        verb = "is" if result.bound == 2 else "are"
        click.echo(f"{name}: {_counted(result.gpus)}; {result.bound - 1} {verb} impossible ({result.proof}):")
    for reason in document["reasons"]:
        click.echo(f"  - {reason}.")
    for line in result.explanation:
        click.echo(f"In short: {line}.")


def _verdict(result: Result) -> str:
    return "certified infeasible" if result.proof == "certified-optimal" else f"infeasible, {result.proof}"


def _counted(gpus: int | None) -> str:
    if gpus is None:
        return "no plan found yet"
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"
