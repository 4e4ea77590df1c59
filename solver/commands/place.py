"""`shardproof place`: where every expert lives, so that the most loaded rank is as light as possible."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.parameters import PLOT, WRITABLE, Verb
from shardproof.solver.commands.printing import print_json

if TYPE_CHECKING:
    from shardproof.solver.api.placed import Placed, PlacedWithin
    from shardproof.solver.placement.request import PlaceRequest
    from shardproof.solver.placement.result import PlacementResult

EPILOG = """\b
Examples:
  shardproof place --model qwen3-235b-a22b --profile zipf:0.9 --ranks 16 \\
    --redundant 32
  shardproof place --profile loads.npz --ranks 32 --redundant 32 \\
    --export sglang=placement.json
  shardproof place --profile day.csv --profile night.csv --serve worst \\
    --ranks 16 --redundant 16
  shardproof place --profile loads.npz --ranks 32 --max-imbalance 1.05

Exit code 0: a placement; 2: bad input; 3: no placement found for --max-imbalance.
"""


@click.command("place", cls=Verb, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("instance", required=False, type=click.Path(path_type=Path))
@click.option("--model", help="Catalogue name, Hugging Face id or config.json, instead of an instance.")
@click.option("--experts", type=click.IntRange(1, 4096), help="Experts per layer, without a model.")
@click.option("--layers", type=click.IntRange(1, 1000), help="Layers of a synthetic profile, without a model.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    help="File (npz, npy, csv, json, pt) or uniform, zipf:EXPONENT, lognormal:SIGMA; repeatable.",
)
@click.option(
    "--serve",
    type=click.Choice(["average", "worst"]),
    default="average",
    show_default=True,
    help="What to balance when there are several profiles.",
)
@click.option("--weights", help="Weights of the profiles, comma-separated: balance their mix.")
@click.option("--ranks", type=click.IntRange(1, 4096), required=True, help="Expert-parallel ranks.")
@click.option(
    "--redundant",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="Replicas beyond one per expert, per layer.",
)
@click.option(
    "--split",
    type=click.Choice(["even", "free"]),
    default="even",
    show_default=True,
    help="How replicas share their expert's load; engines split evenly.",
)
@click.option("--distinct", is_flag=True, help="Forbid two replicas of one expert on a rank.")
@click.option("--uneven", is_flag=True, help="Allow ranks to leave slots empty.")
@click.option("--groups", type=click.IntRange(1, 64), help="Groups of experts, each wholly on one node.")
@click.option("--nodes", type=click.IntRange(1, 4096), default=1, show_default=True)
@click.option(
    "--from",
    "current",
    type=click.Path(path_type=Path),
    help="Placement in force (physical_to_logical_map): move few experts.",
)
@click.option("--max-imbalance", help="Find the fewest replicas that reach this largest / mean load.")
@click.option("--time-limit", default="60 s", show_default=True)
@click.option("--gap", "target_gap", default="0.1%", show_default=True, help="Stop at this gap to the bound.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="ENGINE=FILE",
    help="Write an engine's file: sglang, tensorrt-llm, vllm-ascend; repeatable.",
)
@click.option("--certificate", type=WRITABLE, help="Write loads, placement and bounds.")
@click.option("--heatmap", type=PLOT, help="Draw layers x ranks (PNG, SVG, PDF).")
def command(**options: Any) -> None:
    """Place the experts of every layer of INSTANCE (or --model) under a load profile."""
    from shardproof.solver.placement.request import place_request

    request = place_request(options)
    if request.max_imbalance is not None:
        click.get_current_context().exit(_run_inverse(request, options))
    found = _run(request)
    _write_files(found, options)
    if options["as_json"]:
        _print_json(found.to_dict())
    else:
        _print(found.result)


def _run(request: PlaceRequest) -> Placed:
    from rich.console import Console

    from shardproof.solver.api.placed import placed

    layers, seconds = request.profiles[0].layers, request.settings.time_limit
    with Console(stderr=True).status(f"placing {layers} layers, at most {seconds:g} s"):
        return placed(request)


def _run_inverse(request: PlaceRequest, options: dict[str, Any]) -> int:
    from shardproof.solver.api.placed import placed_within

    found = placed_within(request)
    if options["as_json"]:
        _print_json(found.to_dict())
    else:
        _print_inverse(found)
    return found.exit_code


def _write_files(found: Placed, options: dict[str, Any]) -> None:
    from shardproof.instances.writing import write_whole

    for exporter, path in found.request.exports:
        write_whole(path, found.export(exporter.name))
    if options["certificate"]:
        from shardproof.solver.placement.certificate import write_certificate

        write_certificate(found.result, options["certificate"])
    if options["heatmap"]:
        found.heatmap(options["heatmap"])


def _print_json(document: dict[str, Any]) -> None:

    print_json(document, indent=None)


def _print(result: PlacementResult) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(result.layers)} layers on {result.rules.ranks} ranks, largest over mean load")
    for heading in ("layer", "placed", "greedy", "bound", "gap", "status"):
        table.add_column(heading, justify="left" if heading == "status" else "right")
    for found in result.layers:
        mean = found.problem.mean or 1
        loads = (found.max_load, found.greedy_load, found.bound.value)
        ratios = [f"{float(load / mean):.4f}" for load in loads]
        table.add_row(str(found.layer), *ratios, f"{float(found.gap):.3%}", found.status)
    summary = result.summary()
    console = Console()
    console.print(
        f"median gap {summary['median_gap']:.3%}, 95 % of layers within {summary['p95_gap']:.3%}, "
        f"{summary['optimal']} of {summary['layers']} proven optimal; {result.seconds:.1f} s, {result.stop_reason}",
        highlight=False,
    )
    console.print(table)


def _print_inverse(found: PlacedWithin) -> None:
    from rich.console import Console

    for line in found.result.lines():
        Console().print(line, highlight=False, markup=False)
