"""`shardproof verify`: check a certificate without trusting the solver that wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(name="verify")
@click.argument("certificate", type=click.Path())
@click.option("--instance", type=click.Path(), help="Also check that the file's integer data is what this yields.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(certificate: str, instance: str | None, as_json: bool) -> int:
    """Check a certificate and say in one line what it proves.

    Exit code 0: accepted, 4: refused, 2: the file cannot be read.

    \b
    Example:
      shardproof verify cert.json --instance instances/cases/qwen3-235b-a22b.yaml
    """
    from shardproof.solver.checkers import certificate as checker

    raw = _read(Path(certificate))
    _need_json(raw, certificate)
    judge = _judge_placement if b'"shardproof-placement"' in raw[:100] else _judge
    accepted, claim, reason = judge(raw, instance)
    if as_json:
        document = {"accepted": accepted, "claim": claim, "reason": reason, "checker": checker.VERSION}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"accepted: {claim}" if accepted else f"refused: {reason}")
    return 0 if accepted else 4


def _judge(raw: bytes, instance: str | None) -> tuple[bool, str | None, str | None]:
    """Return whether a plan's certificate is accepted, what it proves, and why not."""
    from shardproof.solver.checkers import certificate as checker

    try:
        claim = checker.check(raw)
        if instance is not None:
            _compare(raw, instance)
            claim += f", which are those of {instance}"
    except checker.CheckError as error:
        return False, None, str(error)
    return True, claim, None


def _judge_placement(raw: bytes, instance: str | None) -> tuple[bool, str | None, str | None]:
    """Return the same for the certificate of an expert placement, which stands for itself."""
    from shardproof.instances.errors import InputError
    from shardproof.solver.checkers.placement import check_placement_text

    if instance is not None:
        raise InputError("--instance: a placement's certificate carries its own loads; leave the option out")
    verdict = check_placement_text(raw)
    return verdict.accepted, verdict.claim if verdict.accepted else None, verdict.reason


def _read(path: Path) -> bytes:
    from shardproof.instances.errors import InputError
    from shardproof.solver.checkers import certificate as checker

    try:
        with path.open("rb") as file:
            return file.read(checker.MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; name a certificate file") from None


def _need_json(raw: bytes, where: str) -> None:
    """Refuse a file that is no JSON at all: it is no certificate that fails but another file."""
    from shardproof.instances.reading import refuse
    from shardproof.solver.checkers import certificate as checker

    if len(raw) > checker.MAX_BYTES:
        return
    try:
        json.loads(raw)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise refuse(where, f"is not a certificate: not JSON ({place})") from None
    except UnicodeDecodeError:
        raise refuse(where, "is not a certificate: not JSON (line 1: no UTF-8 text)") from None
    except (RecursionError, ValueError):
        return  # the checker has its own words for depth and long numbers


def _compare(raw: bytes, instance: str) -> None:
    """Refuse unless the certificate is about this instance: its fingerprint, and its program cell by cell.

    With a plan of G GPUs the file may hold the program limited to G: what needs more cannot beat the plan. It
    may leave out all axes of a layout that is not the plan's: fewer rows refute less, never more.
    """
    from dataclasses import replace

    from shardproof.instances.instance import load_instance
    from shardproof.solver.checkers import certificate as checker
    from shardproof.solver.problem import deployment_of
    from shardproof.solver.proof.certificate_json import write_program

    document = checker.parse(raw.decode())
    question = load_instance(Path(instance))
    if document["instance"] != question.fingerprint:
        raise checker.CheckError(f"the fingerprint of {instance} is {question.fingerprint}")
    budget = question.max_gpus if document["plan"] is None else document["program"]["max_gpus"]
    program = deployment_of(question).limited(budget).program
    planned = None if document["plan"] is None else document["plan"]["layout"]
    held = document["program"]["layouts"] + [{"axes": None}] * len(program.layouts)
    layouts = tuple(
        layout if held[place]["axes"] or place == planned else replace(layout, axes=())
        for place, layout in enumerate(program.layouts)
    )
    yielded = write_program(replace(program, layouts=layouts))
    different = _difference(document["program"], yielded, "program")
    if different is not None:
        raise checker.CheckError(f"{different} is not what {instance} yields")


def _difference(left: Any, right: Any, where: str) -> str | None:
    """Name the first place where two JSON values differ (``None``: they are equal)."""
    if left == right:
        return None
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return next((found for key in left if (found := _difference(left[key], right[key], f"{where}.{key}"))), None)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return next((found for i, (a, b) in pairs if (found := _difference(a, b, f"{where}[{i}]"))), None)
    return where
