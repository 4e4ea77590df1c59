"""`shardproof doctor`: what is installed, which extras are missing, and what this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json

if TYPE_CHECKING:
    from shardproof.solver.api.doctor import Setup


@click.command(name="doctor", cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(*, as_json: bool) -> int:
    """Say what is installed, which extras are missing, and what the machine has.

    \b
    Example:
      shardproof doctor
    """
    from shardproof.solver.api.doctor import doctor

    found = doctor()
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found)
    return 2 if found.missing else 0


def _show(found: Setup) -> None:
    from rich.console import Console
    from rich.table import Table

    from shardproof.instances.units import format_bytes

    console = Console(highlight=False)
    console.print(f"shardproof {found.shardproof or 'is not installed'}, Python {found.python}")
    memory = found.memory_bytes
    gpus = ", ".join(found.gpus) or "no NVIDIA GPU seen"
    console.print(f"{found.platform}; {found.cores} cores, {format_bytes(memory or 0)}; {gpus}")
    table = Table("package", "version", box=None, header_style="bold")
    for name, version in found.packages.items():
        table.add_row(name, version or "missing")
    console.print(table)
    table = Table("extra", "state", box=None, header_style="bold")
    for extra, lacking in sorted(found.extras.items()):
        state = "ready" if not lacking else f"needs {', '.join(lacking)}: pip install 'shardproof\\[{extra}]'"
        table.add_row(extra, state)
    console.print(table)
