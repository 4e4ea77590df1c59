"""`shardproof page`: the planner in a browser of this machine."""

from __future__ import annotations

from typing import Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import DURATION, Verb
from shardproof.solver.commands.printing import tell


@click.command(name="page", cls=Verb)
@click.argument("instance", required=False)
@instance_options
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0: any free one.")
@click.option("--time-limit", type=DURATION, default="20s", show_default=True, help="Of one solve, with unit.")
@click.option("--processes", type=click.IntRange(1, 4096), help="Solves at once [default: cores + 2].")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
def command(instance: str | None, *, browser: bool, **options: Any) -> None:
    """Open a planner in the browser: the answer changes as you type; nothing leaves this machine.

    \b
    Examples:
      shardproof page
      shardproof page instances/cases/qwen3-235b-a22b.yaml --no-browser
    """
    from shardproof.solver.page.serve import page

    def opened(address: str) -> None:
        tell(f"open {address}\nCtrl-C ends it; whoever has this address may ask, so keep it to yourself.")
        if browser:
            click.launch(address)

    page(instance, on_open=opened, **options)
