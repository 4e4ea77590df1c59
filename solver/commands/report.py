"""`shardproof report`: a batch run as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import tell

EPILOG = """\b
Example:
  shardproof report runs/all-skus -o report.html

The page needs no network and no other file.
"""


@click.command("report", cls=Verb, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "--out", "out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True
)
@click.option("--run", help="Name of the run in a ledger that holds several [default: the latest].")
def command(source: Path, out: Path, run: str | None) -> None:
    """Write the RUN (a folder that `batch` wrote, or a ledger file) as one self-contained page."""
    from shardproof.solver.api.batched import report

    found = report(source, name=run)
    found.write(out)
    tell(f"{out}: {found}")
