"""``shardproof catalog``: the models and devices that can be named, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json

if TYPE_CHECKING:
    from rich.table import Table

PIPED_WIDTH = 110

EPILOG = """\b
Examples:
  shardproof catalog
  shardproof catalog models
  shardproof catalog devices h100-sxm
  shardproof catalog path/to/config.json
"""


@click.command(name="catalog", cls=Verb, epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="[models|devices] [NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(words: tuple[str, ...], *, as_json: bool) -> None:
    """List the models and devices of the catalogue, or show one of them.

    NAME is a catalogue name, a Hugging Face id, or the path of a config.json.
    """
    from shardproof.solver.api.catalogued import catalog

    document = catalog(*words).to_dict()
    if as_json:
        print_json(document, ascii_only=False)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    for kind, content in document.items():
        if kind == "models":
            console.print(_model_table(content))
        elif kind == "devices":
            console.print(_device_table(content))
        else:
            _print_one(console, content)


def _new_table(title: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _model_table(models: list[dict[str, Any]]) -> Table:
    numbers = ("B param.", "B active", "layers", "experts", "GB weights", "kB KV/token")
    table = _new_table(f"{len(models)} models", ("name", "stored"), numbers)
    for model in models:
        table.add_row(
            model["name"],
            model["formats"]["experts" if model["experts"] else "dense_ffn"],
            f"{model['parameters'] / 1e9:.2f}",
            f"{model['active_parameters'] / 1e9:.2f}",
            str(model["layers"]),
            f"{model['topk']}/{model['experts']}" if model["experts"] else "-",
            f"{model['weight_bytes'] / 1e9:.1f}",
            f"{model['kv_bytes_per_token'] / 1e3:.1f}",
        )
    return table


def _device_table(devices: list[dict[str, Any]]) -> Table:
    numbers = ("bf16", "fp8", "fp4", "GB", "TB/s", "node", "up", "out", "W", "USD/h")
    title = f"{len(devices)} devices: dense TFLOPS, memory, devices per node, links in GB/s one way, what the price is"
    table = _new_table(title, ("name", "vendor"), numbers)
    table.add_column("price", no_wrap=True)
    for device in devices:
        peaks = device["peak_flops"]
        table.add_row(
            device["name"],
            device["vendor"],
            *(f"{peaks[dtype] / 1e12:.0f}" if dtype in peaks else "-" for dtype in ("bf16", "fp8", "fp4")),
            f"{device['memory_bytes'] / 1e9:.0f}",
            f"{device['memory_bandwidth_bytes_per_s'] / 1e12:.2f}",
            str(device["devices_per_node"]),
            f"{device['scale_up_bytes_per_s'] / 1e9:.1f}",
            f"{device['scale_out_bytes_per_s'] / 1e9:.1f}",
            "-" if device["watts"] is None else str(device["watts"]),
            "-" if device["price_per_hour"] is None else f"{device['price_per_hour']:.2f}",
            device["price_basis"]["kind"] if device["price_basis"] else "-",
        )
    return table


def _print_one(console: Any, item: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE, show_header=False, pad_edge=False, title=escape(item["name"]), title_justify="left")
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for field, value in item.items():
        if field != "name" and value not in (None, [], {}):
            table.add_row(field, escape(_as_text(value)))
    console.print(table)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(_inline(item) for item in value)
    return _inline(value)


def _inline(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | dict | list):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_inline(item) for item in value)
    return ", ".join(f"{key} {_inline(inner)}" for key, inner in value.items() if inner not in (None, False))
