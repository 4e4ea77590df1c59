"""`shardproof batch`: many tasks, one ledger, one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json, show

if TYPE_CHECKING:
    from shardproof.solver.batch.launch import BatchRequest

EPILOG = """\b
Example:
  shardproof batch instances/sweeps/all-skus.yaml -o runs/all-skus
  shardproof report runs/all-skus -o report.html

The ledger in the run's folder keeps every answer: run the same command again and only new or changed tasks
are solved. Exit code 0: every task is answered; 2: bad input; 3: some are undecided, failed or still open.
"""


@click.command("batch", cls=Verb, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "--out", "out", type=click.Path(path_type=Path), help="Folder of the run [default: runs/NAME]."
)
@click.option("--ledger", type=click.Path(path_type=Path), help="Ledger file [default: OUT/ledger.sqlite].")
@click.option("--engine", type=click.Choice(["pool", "ray"]), default="pool", show_default=True)
@click.option("--address", help="Address of a Ray cluster [default: a local Ray].")
@click.option("--processes", type=click.IntRange(1, 4096), help="Worker processes [default: cores / workers].")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="CP-SAT's, per task.")
@click.option("--time-limit", type=str, default="60 s", show_default=True, help="Of one task, with unit.")
@click.option("--memory-limit", type=str, default="2 GB", show_default=True, help="Of one task, with unit.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--certify", is_flag=True, help="Have the checker accept the proof of every solved task (slower).")
@click.option("--explain", is_flag=True, help="Find out what rules out fewer GPUs, for every task (slower).")
@click.option("--independent", is_flag=True, help="Carry nothing over from one task to another.")
@click.option("--resume/--fresh", default=True, help="Go on from the ledger, or solve all anew [default: resume].")
@click.option(
    "--cache/--no-cache", default=True, help="Keep what replicas were refused beside the ledger [default: on]."
)
@click.option("--retry-failed", is_flag=True, help="Try tasks again that failed in an earlier run.")
@click.option("--format", "formats", multiple=True, type=click.Choice(["csv", "json", "parquet"]),
              default=("csv", "json"), show_default=True, help="Results files; may be repeated.")  # fmt: skip
@click.option("--rank-by", type=click.Choice(["gpus", "price", "tokens"]), default="gpus", show_default=True)
@click.option("--top", type=click.IntRange(1), help="Rows of each table [default: all].")
@click.option("--list", "only_list", is_flag=True, help="List the tasks and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with all rows on stdout.")
def command(**options: Any) -> int:
    """Solve every task of a SWEEP file and rank the devices."""
    from shardproof.solver.batch.launch import batch_request

    request = batch_request(options)
    if options["only_list"]:
        _list(request)
        return 0
    return _run(request, options)


def _list(request: BatchRequest) -> None:
    for task in request.tasks:
        show(f"{task.fingerprint[:12]}  {task.name}" + (f"  [refused: {task.refusal}]" if task.refusal else ""))


def _run(request: BatchRequest, options: dict[str, Any]) -> int:
    from rich.console import Console

    from shardproof.solver.api.batched import batched
    from shardproof.solver.batch import tables
    from shardproof.solver.batch.progress import Watcher

    stderr = Console(stderr=True)
    with Watcher(stderr) as watcher:
        found = batched(request, watch=watcher, warn=lambda said: stderr.print(said, markup=False, soft_wrap=True))
    stderr.print(str(found), markup=False, highlight=False, soft_wrap=True)
    if options["as_json"]:
        print_json(found.to_dict(), indent=None)
    else:
        console = Console()
        console.print(tables.ranking(found.answers, by=options["rank_by"], top=options["top"]))
        console.print(tables.fronts(found.answers))
        for path in request.results:
            console.print(f"results: {path}", markup=False, highlight=False, soft_wrap=True)
    return found.exit_code
