"""The flags that say, or override, what an instance file says; shared by every verb that takes an instance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance

Command = TypeVar("Command", bound=Callable[..., Any])

FIELDS: dict[str, tuple[str, ...]] = {
    "model": ("model",),
    "device": ("device",),
    "engine": ("engine",),
    "isl": ("workload", "input_tokens"),
    "osl": ("workload", "output_tokens"),
    "batch_size": ("workload", "batch_size"),
    "concurrency": ("workload", "concurrency"),
    "ttft": ("limits", "ttft"),
    "tpot": ("limits", "tpot"),
    "max_gpus": ("limits", "max_gpus"),
    "max_price": ("limits", "price_per_hour"),
    "memory": ("limits", "memory"),
    "mfu": ("hardware", "mfu"),
    "efficiency": ("efficiency",),
    "weights": ("precision", "weights"),
    "kv_cache": ("precision", "kv_cache"),
    "load_profile": ("load_profile",),
    "max_stage_gpus": ("max_stage_gpus",),
    "runtime_reserve": ("runtime_reserve",),
    "margin": ("margin",),
    "confidence": ("confidence",),
}
"""Where each flag's value stands in an instance file."""

_OPTIONS = (
    click.option("--model", help="Catalogue name, Hugging Face id, or path of a config.json."),
    click.option("--device", help="Catalogue name of the device, e.g. h100-sxm."),
    click.option("--engine", type=click.Choice(["any", "vllm", "sglang", "trtllm"]), help="Whose rules hold."),
    click.option("--isl", "--input-tokens", "isl", type=int, help="Prompt tokens of a request."),
    click.option("--osl", "--output-tokens", "osl", type=int, help="Output tokens of a request."),
    click.option("--batch-size", type=int, help="Requests that arrive together (a burst)."),
    click.option("--concurrency", type=int, help="Requests always in flight (closed loop)."),
    click.option("--ttft", help="Limit on time to first token, with unit, e.g. 30s."),
    click.option("--tpot", help="Limit on time per output token, with unit, e.g. 50ms."),
    click.option("--max-gpus", type=int, help="GPU budget of the search."),
    click.option("--max-price", help="Budget of all GPUs together, e.g. '20 USD/h'."),
    click.option("--memory", help="Usable memory of one device, e.g. '60 GB'."),
    click.option("--mfu", help="Compute efficiency, e.g. 0.6."),
    click.option("--efficiency", type=click.Choice(["flat", "calibrated"]), help="Flat mfu, or fitted curves."),
    click.option("--weights", help="Dtype of all weights, e.g. fp8."),
    click.option("--kv-cache", help="Dtype of the KV cache, e.g. fp8."),
    click.option("--load-profile", help="Expert loads: a file, or e.g. zipf:0.9."),
    click.option("--max-stage-gpus", type=int, help="Widest stage."),
    click.option("--runtime-reserve", help="Memory of one device that the runtime keeps, e.g. '2 GB'."),
    click.option("--confidence", help="Plan against this quantile of measured over predicted times, e.g. 90%."),
    click.option("--margin", help="Inflate every time by this share before it is held against a limit."),
)


def instance_options(command: Command) -> Command:
    """Add the instance flags to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def overrides_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the tree of fields that the flags set; flags that are no instance fields are left out."""
    tree: dict[str, Any] = {}
    for flag, path in FIELDS.items():
        value = flags.get(flag)
        if value is None:
            continue
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = value
    if "concurrency" in tree.get("workload", {}):
        tree["workload"]["kind"] = "closed-loop"
    elif "batch_size" in tree.get("workload", {}):
        tree["workload"]["kind"] = "burst"
    return tree


def tree_of(path: str | None, flags: dict[str, Any]) -> tuple[dict[str, Any], str, Path | None]:
    """Return the merged tree of file and flags, what to call it in messages, and the file's folder."""
    from shardproof.instances.instance import merge
    from shardproof.instances.reading import read_mapping

    overrides = overrides_of(flags)
    if path is None:
        return {"name": "command-line", **overrides}, "command line", None
    return merge(_without_other_kind(read_mapping(Path(path)), overrides), overrides), path, Path(path).parent


def _without_other_kind(tree: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Drop the file's count of requests where a flag asks for the other kind of workload."""
    asked, held = overrides.get("workload", {}), tree.get("workload")
    other = {"burst": "concurrency", "closed-loop": "batch_size"}.get(asked.get("kind"))
    if not isinstance(held, dict) or other is None:
        return tree
    return tree | {"workload": {key: value for key, value in held.items() if key != other}}


def instance_from(path: str | None, flags: dict[str, Any]) -> Instance:
    """Read, override and resolve an instance given as a file, as flags, or both."""
    from shardproof.instances.instance import resolve_tree

    tree, where, folder = tree_of(path, flags)
    if path is None and not ("model" in tree and "device" in tree):
        raise click.UsageError("name an instance file, or give at least --model and --device")
    if path is None and not {"kind", "input_tokens", "output_tokens"} <= tree.get("workload", {}).keys():
        raise click.UsageError("without a file give --isl, --osl, and --batch-size (a burst) or --concurrency")
    return resolve_tree(tree, where=where, folder=folder)
