"""`shardproof solve`: the plan with the fewest GPUs, proven."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_from, instance_options, tree_of

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.result import Result
    from shardproof.solver.search.settings import Settings


@click.command(name="solve")
@click.argument("instance", required=False)
@instance_options
@click.option("-o", "--output", type=click.Path(), help="Write the plan here, YAML or (*.json) JSON.")
@click.option("--write-instance", type=click.Path(), help="Keep the question itself as an instance file.")
@click.option("--certificate", type=click.Path(), help="Write the certificate here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--time-limit", type=click.FloatRange(min=0), help="Seconds until the best plan so far is given.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Workers of CP-SAT.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of CP-SAT.")
@click.option(
    "--search",
    type=click.Choice(["auto", "both", "cp-sat"]),
    default="auto",
    show_default=True,
    help="auto: exact search, CP-SAT where it leaves a case open; both: CP-SAT checks the answer too; cp-sat: alone.",
)
def command(instance: str | None, **flags: Any) -> int:
    """Find the plan with the fewest GPUs and prove that none has fewer.

    \b
    Examples:
      shardproof solve instances/cases/qwen3-235b-a22b.yaml -o plan.yaml
      shardproof solve --model qwen3-235b-a22b-fp8 --device h100-sxm --isl 2048 --osl 2048 \\
        --batch-size 128 --ttft 30s --engine vllm --max-gpus 16
    """
    question = instance_from(instance, flags)
    if flags["write_instance"]:
        _write_tree(Path(flags["write_instance"]), tree_of(instance, flags)[0])
    result = _solve(question, flags)
    if flags["output"] and result.plan is not None:
        tree = result.plan.model_dump(mode="json", exclude_none=True)
        _write_tree(Path(flags["output"]), tree)
    if flags["certificate"]:
        _write_certificate(Path(flags["certificate"]), result, question)
    if flags["as_json"]:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        from shardproof.solver.writers.terminal import render_result

        click.echo(render_result(question, result, colour=_colour()), color=_colour())
    return result.exit_code


def _solve(question: Instance, flags: dict[str, Any]) -> Result:
    from shardproof.solver.search.settings import Settings
    from shardproof.solver.solve import solve

    settings = Settings(
        time_limit_s=flags["time_limit"], workers=flags["workers"], seed=flags["seed"], search=flags["search"]
    )
    if not sys.stderr.isatty():
        return solve(question, settings=settings)
    return _solve_with_live_line(question, settings)


def _solve_with_live_line(question: Instance, settings: Settings) -> Result:
    from dataclasses import replace

    from shardproof.solver.search.settings import Progress
    from shardproof.solver.solve import solve

    def show(progress: Progress) -> None:
        incumbent = "-" if progress.incumbent is None else str(progress.incumbent)
        gap = ""
        if progress.incumbent and progress.bound:
            gap = f"  gap {(progress.incumbent - progress.bound) / progress.incumbent:.1%}"
        line = f"{progress.level}: {incumbent} GPUs  bound {progress.bound}{gap}  {progress.seconds:.1f} s"
        click.echo(f"\r\x1b[2K{line}", err=True, nl=False)

    try:
        return solve(question, settings=replace(settings, on_progress=show))
    finally:
        click.echo("\r\x1b[2K", err=True, nl=False)


def _colour() -> bool:
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _write_tree(path: Path, tree: dict[str, Any]) -> None:
    import yaml

    from shardproof.instances.reading import refuse

    plain = json.loads(json.dumps(tree, default=str))
    text = json.dumps(plain, indent=2) if path.suffix == ".json" else yaml.safe_dump(plain, sort_keys=False)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise refuse(str(path), f"cannot be written ({error.strerror})") from None


def _write_certificate(path: Path, result: Result, question: Instance) -> None:
    from shardproof.instances.reading import refuse
    from shardproof.solver.proof.certificate import certificate_document

    if result.evidence is None or result.status == "undecided":
        click.echo("no certificate: nothing was proved", err=True)
        return
    document = certificate_document(result.evidence, question)
    try:
        path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    except OSError as error:
        raise refuse(str(path), f"cannot be written ({error.strerror})") from None
