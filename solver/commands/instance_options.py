"""The flags that say, or override, what an instance file says; shared by every verb that takes an instance.

Where each flag's value stands in an instance file: `shardproof.solver.api.question.FIELDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Tokens(click.ParamType):  # type: ignore[type-arg]  # older releases of click are not generic
    """A number of tokens, whole or as engines read it: ``8k`` is 8,000, ``8K`` 8,192."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        from shardproof.instances.errors import InputError
        from shardproof.solver.api.question import whole_number

        try:
            return whole_number(str(value), "tokens")
        except InputError:
            self.fail(f"{str(value)!r} is no number of tokens; write for example 8192 or 8k", param, ctx)


TOKENS = Tokens()

_OPTIONS = (
    click.option("--model", help="Catalogue name, Hugging Face id, or path of a config.json."),
    click.option("--device", help="Catalogue name of the device, e.g. h100-sxm."),
    click.option("--engine", help="Whose rules and memory hold: any, vllm, sglang, trtllm, or e.g. vllm@0.11."),
    click.option(
        "--gpu-memory-utilization",
        "--mem-fraction-static",
        "gpu_memory_utilization",
        help="Share of a device that the engine may use, e.g. 0.9.",
    ),
    click.option(
        "--max-model-len", "--context-length", "max_model_len", type=TOKENS, help="Longest request that it accepts."
    ),
    click.option(
        "--max-num-seqs",
        "--max-running-requests",
        "max_num_seqs",
        type=int,
        help="Requests that one attention replica runs at once.",
    ),
    click.option(
        "--max-num-batched-tokens",
        "--chunked-prefill-size",
        "max_num_batched_tokens",
        type=TOKENS,
        help="Tokens of one iteration of one attention replica: the chunk of long prompts.",
    ),
    click.option("--enforce-eager", is_flag=True, default=None, help="No CUDA graphs."),
    click.option("--block-size", "--page-size", "block_size", type=int, help="Tokens of a block of the KV cache."),
    click.option("--rope-scaling", help="How positions are stretched, as JSON: rope_type, factor, original length."),
    click.option(
        "--allow-long-max-model-len",
        is_flag=True,
        default=None,
        help="The engine is told to accept requests beyond the model's positions.",
    ),
    click.option("--isl", "--input-tokens", "isl", type=TOKENS, help="Prompt tokens of a request."),
    click.option("--osl", "--output-tokens", "osl", type=TOKENS, help="Output tokens of a request."),
    click.option("--batch-size", type=int, help="Requests that arrive together (a burst)."),
    click.option("--concurrency", type=int, help="Requests always in flight (closed loop)."),
    click.option("--request-rate", help="Requests per second that come by themselves, e.g. 20 or 1200/min."),
    click.option("--arrival-cv", help="Coefficient of variation of their gaps (1: Poisson, 0: evenly spaced)."),
    click.option("--trace", help="Requests of a file instead: Azure, BurstGPT, Mooncake, or own columns."),
    click.option("--prefix-cache-hit", help="Share of every prompt that the cache holds, e.g. 30%."),
    click.option("--ttft", help="Limit on time to first token, with unit, e.g. 30s."),
    click.option("--tpot", help="Limit on time per output token, with unit, e.g. 50ms."),
    *(
        click.option(f"--{figure}-p{percent}", help=f"Limit on the {percent}th percentile of {words}, e.g. 2s.")
        for figure, words, percents in (
            ("ttft", "time to first token", (50, 90, 99)),
            ("tpot", "time per output token", (50, 90, 99)),
            ("e2e", "end-to-end time", (99,)),
        )
        for percent in percents
    ),
    click.option("--e2e", help="Limit on the mean end-to-end time of requests that come by themselves."),
    click.option("--goodput", help="Share of requests that must keep --ttft, --tpot and --e2e, e.g. 99%."),
    click.option("--max-gpus", type=int, help="GPU budget of the search."),
    click.option("--max-price", help="Budget of all GPUs together, e.g. '20 USD/h'."),
    click.option("--memory", help="Usable memory of one device, e.g. '60 GB'."),
    click.option("--mfu", help="Compute efficiency, e.g. 0.6."),
    click.option("--efficiency", type=click.Choice(["flat", "calibrated"]), help="Flat mfu, or fitted curves."),
    click.option("--weights", help="Dtype of all weights, e.g. fp8."),
    click.option("--kv-cache", help="Dtype of the KV cache, e.g. fp8."),
    click.option("--load-profile", help="Expert loads: a file, or e.g. zipf:0.9."),
    click.option("--max-stage-gpus", type=int, help="Widest stage."),
    click.option(
        "--stage-widths",
        type=click.Choice(["node-divisors", "any"]),
        help="Whether a stage's GPUs must divide a node's.",
    ),
    click.option("--runtime-reserve", help="Memory of one device that the runtime keeps, e.g. '2 GB'."),
    click.option("--confidence", help="Plan against this quantile of measured over predicted times, e.g. 90%."),
    click.option("--tp", "--tensor-parallel-size", "tp", type=int, help="Attention TP of every stage; else chosen."),
    click.option("--dp", "--data-parallel-size", "dp", type=int, help="Attention DP of every stage; else chosen."),
    click.option("--ep", "--expert-parallel-size", "ep", type=int, help="Expert EP of every stage; else chosen."),
    click.option("--replicas", type=click.Choice(["free", "alike"]), help="Whether replicas may differ in shape."),
    click.option(
        "--serving",
        type=click.Choice(["together", "apart", "any"]),
        help="Prefill and decode on one replica, in pools apart, or whichever takes fewer GPUs.",
    ),
    click.option("--transfer-bandwidth", help="Link of a prefill replica to the decode pool, e.g. 400 GB/s."),
    click.option("--transfer-setup", help="Time before each request's KV cache flows on it, e.g. 1ms."),
    click.option(
        "--speculative-method",
        "--speculative-algorithm",
        "speculative_method",
        help="What guesses tokens ahead: mtp (the model's own layers), eagle, eagle3, draft, ngram; or none.",
    ),
    click.option(
        "--draft-tokens",
        "--num-speculative-tokens",
        "draft_tokens",
        type=int,
        help="Tokens guessed and verified in each iteration.",
    ),
    click.option("--acceptance", help="Chance that a guess holds, e.g. 0.7; or measured, by position: 0.8,0.6,0.4."),
    click.option("--acceptance-length", help="Measured instead: mean tokens of an iteration, e.g. 2.4."),
    click.option(
        "--draft-model",
        "--speculative-draft-model-path",
        "draft_model",
        help="What guesses: catalogue name, id, or path of a config.json (draft, eagle, eagle3).",
    ),
    click.option("--speculative-config", help="All of it as vLLM's own flag says it, as JSON."),
    click.option("--calibration", help="File of corrections that `shardproof check -o` wrote."),
    click.option("--devices", help="Several offers: h100-sxm=3x8 (nodes x GPUs), l4=20 (GPUs), @'0.80 USD/h' (price)."),
    click.option("--objective", type=click.Choice(["gpus", "price", "power", "load"]), help="What is least, or most."),
    click.option("--spare", help="What may be gone while limits still hold: node, replica, '2 nodes', ..."),
    click.option("--placement", type=click.Choice(["packed", "whole-nodes"]), help="Whether replicas share a node."),
    click.option("--resolution", type=int, help="Steps in which --objective load measures the workload."),
    click.option("--margin", help="Inflate every time by this share before it is held against a limit."),
)


def instance_options(command: Command) -> Command:
    """Add the instance flags to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
