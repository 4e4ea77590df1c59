"""`shardproof verify`: check a certificate without trusting the solver that wrote it."""

from __future__ import annotations

import click

from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json, say
from shardproof.solver.commands.progress import watched


@click.command(name="verify", cls=Verb)
@click.argument("certificate", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="Also check that the file's data is what this yields.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(certificate: str, instance: str | None, as_json: bool) -> int:
    """Check a certificate and say in one line what it proves.

    Exit code 0: accepted, 4: refused, 2: the file cannot be read.

    \b
    Example:
      shardproof verify cert.json --instance instances/cases/qwen3-235b-a22b.yaml
    """
    from shardproof.solver.api.verified import verify

    with watched("verify"):
        verdict = verify(certificate, instance)
    print_json(verdict.to_dict()) if as_json else say(str(verdict))
    return verdict.exit_code
