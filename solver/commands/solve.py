"""`shardproof solve`: the plan with the fewest GPUs, proven."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.api.question import FIELDS
from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import DURATION, FOLDER, WRITABLE, Verb
from shardproof.solver.commands.printing import print_json, show, tell
from shardproof.solver.commands.progress import watched

if TYPE_CHECKING:
    from shardproof.solver.api.fleets import SolvedFleet
    from shardproof.solver.api.solved import Solved


@click.command(name="solve", cls=Verb)
@click.argument("instance", required=False)
@instance_options
@click.option("-o", "--output", type=WRITABLE, help="Write the plan here, YAML or (*.json) JSON.")
@click.option("--write-instance", type=WRITABLE, help="Keep the question itself as an instance file.")
@click.option("--certificate", type=WRITABLE, help="Write the certificate here; of any engine, FILE.ENGINE too.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="TARGET=DIR",
    help="Write the plan's files for vllm, docker-compose, kubernetes ...; repeatable.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    help="Give so many next best answers of each kind: formats, layouts, engines, devices, faster.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--time-limit", type=DURATION, help="After it the best plan so far is given, with unit, e.g. 60s.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Workers of CP-SAT.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of CP-SAT.")
@click.option(
    "--search",
    type=click.Choice(["auto", "both", "cp-sat"]),
    default="auto",
    show_default=True,
    help="auto: exact search, CP-SAT where it leaves a case open; both: CP-SAT checks the answer too; cp-sat: alone.",
)
def command(
    instance: str | None,
    output: str | None,
    write_instance: str | None,
    certificate: str | None,
    exports: tuple[str, ...],
    as_json: bool,
    **fields: Any,
) -> int:
    """Find the plan with the fewest GPUs and prove that none has fewer.

    \b
    Examples:
      shardproof solve instances/cases/qwen3-235b-a22b.yaml -o plan.yaml
      shardproof solve --model qwen3-235b-a22b-fp8 --device h100-sxm \\
        --isl 2048 --osl 2048 --batch-size 128 --ttft 30s --engine vllm \\
        --max-gpus 16
    """
    from shardproof.solver.api import solved

    if write_instance:
        asked = {name: value for name, value in fields.items() if name in FIELDS}
        _write_tree(Path(write_instance), solved.question(instance, **asked))
    targets = _targets(exports)
    answer = _solve(instance, fields)
    if output and answer.plan is not None:
        _write_tree(Path(output), answer.plan.model_dump(mode="json", exclude_none=True))
    if certificate:
        _write_certificate(Path(certificate), answer)
    if as_json:
        print_json(answer.to_dict())
    else:
        show(answer.text(colour=_colour()), colour=_colour())
    if answer.plan is not None:  # last: a target that cannot express the plan takes no answer away
        _export(answer, targets)
    elif output or targets:
        places = [*filter(None, [output]), *targets.values()]
        tell(f"no plan was found: nothing is written to {', '.join(map(str, places))}")
    return answer.exit_code


def _targets(exports: tuple[str, ...]) -> dict[str, Path]:
    """Read what is to be exported before the work begins."""
    found = {}
    for text in exports:
        target, equals, folder = text.partition("=")
        if not equals or not target or not folder:
            raise click.UsageError(f"--export {text}: write TARGET=DIR, for example kubernetes=deploy")
        found[target] = FOLDER.convert(folder, None, None)
    return found


def _export(answer: Solved | SolvedFleet, targets: dict[str, Path]) -> None:
    from shardproof.solver.api.exported import export

    for target, folder in targets.items():
        export(answer, to=target).write(folder)


def _solve(instance: str | None, fields: dict[str, Any]) -> Solved | SolvedFleet:
    from shardproof.solver.api.solved import solve

    with watched("solve"):
        return solve(instance, **fields)


def _colour() -> bool:
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _write_tree(path: Path, tree: dict[str, Any]) -> None:
    import yaml

    from shardproof.instances.writing import write_whole

    plain = json.loads(json.dumps(tree, default=str))
    text = json.dumps(plain, indent=2) if path.suffix == ".json" else yaml.safe_dump(plain, sort_keys=False)
    write_whole(path, text)


def _write_certificate(path: Path, answer: Solved | SolvedFleet) -> None:
    """Write the certificate; where no engine was named, those of the engines not chosen beside it, by their names."""
    from shardproof.instances.writing import write_whole

    found = answer.certificates()
    if not found:
        tell("no certificate is written: the checker has accepted no proof of this answer")
        return
    for place, (engine, document) in enumerate(found.items()):
        beside = path if place == 0 else path.with_name(f"{path.stem}.{engine}{path.suffix}")
        write_whole(beside, json.dumps(document, separators=(",", ":")))
