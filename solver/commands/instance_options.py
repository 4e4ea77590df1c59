"""The flags that say, or override, what an instance file says; shared by every verb that takes an instance.

Where each flag's value stands in an instance file: `shardproof.solver.api.question.FIELDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

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
    click.option("--replicas", type=click.Choice(["free", "alike"]), help="Whether replicas may differ in shape."),
    click.option("--margin", help="Inflate every time by this share before it is held against a limit."),
)


def instance_options(command: Command) -> Command:
    """Add the instance flags to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
