"""``shardproof catalog``: the models and devices that can be named, and what is known of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from shardproof.instances.hardware import Device
    from shardproof.instances.model import Model

KINDS = ("models", "devices")
PIPED_WIDTH = 110

EPILOG = """\b
Examples:
  shardproof catalog
  shardproof catalog models
  shardproof catalog devices h100-sxm
  shardproof catalog path/to/config.json
"""


@click.command(name="catalog", epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="[models|devices] [NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(words: tuple[str, ...], *, as_json: bool) -> None:
    """List the models and devices of the catalogue, or show one of them.

    NAME is a catalogue name, a Hugging Face id, or the path of a config.json.
    """
    kind, name = _read_words(words)
    document = _show(kind, name) if name is not None else _list(kind)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(document)


def _read_words(words: tuple[str, ...]) -> tuple[str | None, str | None]:
    if len(words) > 2:
        raise click.UsageError("give at most a kind (models or devices) and a name")
    if not words:
        return None, None
    if words[0] in KINDS:
        return words[0], words[1] if len(words) == 2 else None
    if len(words) == 2:
        raise click.UsageError(f"'{words[0]}' is no kind; write 'models' or 'devices'")
    return None, words[0]


def _list(kind: str | None) -> dict[str, Any]:
    from shardproof.instances import catalogue

    document: dict[str, Any] = {}
    if kind in (None, "models"):
        document["models"] = [describe_model(catalogue.load_model(name)) for name in catalogue.model_names()]
    if kind in (None, "devices"):
        document["devices"] = [describe_device(catalogue.load_device(name)) for name in catalogue.device_names()]
    return document


def _show(kind: str | None, name: str) -> dict[str, Any]:
    from shardproof.instances import catalogue
    from shardproof.instances.errors import InputError

    if kind == "devices" or (kind is None and catalogue.is_device(name)):
        return {"device": describe_device(catalogue.load_device(name))}
    try:
        return {"model": describe_model(catalogue.load_model(name), layers=True)}
    except InputError as error:
        if kind is None and catalogue.is_plain_name(name):
            raise InputError([*error.problems, *catalogue.unknown_device(name).problems]) from None
        raise


def describe_model(model: Model, *, layers: bool = False) -> dict[str, Any]:
    """Return what the catalogue knows of a model as plain values; ``layers``: its layer kinds too."""
    from shardproof.instances.layers import MixtureOfExperts

    mixtures = [
        layer.feed_forward for layer in model.kinds.values() if isinstance(layer.feed_forward, MixtureOfExperts)
    ]
    classes = (name for name in type(model.formats).model_fields if name != "exceptions")
    formats = {name: getattr(model.formats, name) for name in classes}
    formats |= dict(model.formats.exceptions)
    described: dict[str, Any] = {
        "name": model.name,
        "family": model.family,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "published_parameters": model.published_parameters,
        "extra_parameters": model.extra_parameters,
        "weight_bytes": _weight_bytes(model),
        "layers": model.layer_count,
        "hidden": model.hidden,
        "vocab": model.vocab,
        "max_position": model.max_position,
        "experts": mixtures[0].experts if mixtures else None,
        "topk": mixtures[0].topk if mixtures else None,
        "kv_bytes_per_token": _kv_bytes_per_token(model),
        "kv_dtype": model.kv_dtype,
        "formats": {name: stored.dtype for name, stored in formats.items()},
        "source": model.source,
        "notes": list(model.notes),
    }
    if layers:
        described["runs"] = [{"pattern": list(run.pattern), "repeat": run.repeat} for run in model.runs]
        described["kinds"] = {
            name: {
                "layers": model.layer_kinds.count(name),
                "parameters": model.layer_parameters(name),
                "attention": layer.attention.model_dump(mode="json", exclude={"projections"}),
                "feed_forward": layer.feed_forward.model_dump(mode="json"),
            }
            for name, layer in model.kinds.items()
        }
    return described


def describe_device(device: Device) -> dict[str, Any]:
    """Return what the catalogue knows of a device as plain values, rates and sizes in base units."""
    return {
        "name": device.name,
        "vendor": device.vendor,
        "architecture": device.architecture,
        "peak_flops": dict(device.peak_flops),
        "memory_bytes": device.memory,
        "visible_memory_bytes": device.visible_memory,
        "memory_bandwidth_bytes_per_s": device.memory_bandwidth,
        "mfu": float(device.mfu),
        "bandwidth_efficiency": float(device.bandwidth_efficiency),
        "devices_per_node": device.devices_per_node,
        "scale_up_bytes_per_s": device.scale_up.bandwidth,
        "scale_out_bytes_per_s": device.scale_out.bandwidth,
        "price_per_hour": None if device.price_per_hour is None else float(device.price_per_hour),
        "source": device.source,
        "sources": dict(device.sources),
        "notes": list(device.notes),
    }


def _weight_bytes(model: Model) -> int:
    from shardproof.formulations.costs import memory
    from shardproof.instances.option import Option

    alone = Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1)
    per_kind = {name: memory.layer_weight_bytes(model, layer, alone) for name, layer in model.kinds.items()}
    head = 0 if model.tied else memory.head_bytes(model, alone)
    return memory.embedding_bytes(model, alone) + head + sum(per_kind[name] for name in model.layer_kinds)


def _kv_bytes_per_token(model: Model) -> int:
    """KV cache of one more token while no window is full, all layers, bytes."""
    from shardproof.formulations.costs.memory import kv_bytes_per_request
    from shardproof.instances.layers import LinearAttention
    from shardproof.instances.option import Option

    alone = Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1)
    per_kind = {
        name: 0 if isinstance(layer.attention, LinearAttention) else kv_bytes_per_request(model, layer, alone, 1)
        for name, layer in model.kinds.items()
    }
    return sum(per_kind[name] for name in model.layer_kinds)


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
    numbers = ("bf16", "fp8", "fp4", "GB", "TB/s", "node", "up", "out", "USD/h")
    title = f"{len(devices)} devices: dense TFLOPS, memory, devices per node, links in GB/s one way"
    table = _new_table(title, ("name", "vendor"), numbers)
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
            "-" if device["price_per_hour"] is None else f"{device['price_per_hour']:.2f}",
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
