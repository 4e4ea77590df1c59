"""What answers of pools apart have in common: their status, their premises, what passes between the pools."""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.formulations.apart.transfer import link_of, prompt_bytes, sending_time
from shardproof.instances.instance import Instance
from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.result import Status


def status_of(gpus: int | None, bound: int, *, infeasible: bool) -> Status:
    """What is known of a plan of so many GPUs (``None``: there is none) and a bound."""
    if gpus is None:
        return "infeasible" if infeasible else "undecided"
    return "optimal" if gpus == bound else "feasible"


def transfers(instance: Instance) -> Iterator[str]:
    """Say what the KV cache of each scenario's prompt takes between the pools."""
    for scenario in instance.scenarios:
        tokens = scenario.workload.input_tokens
        yield (
            f"{scenario.name}: a prompt's KV cache, {format_bytes(prompt_bytes(instance, tokens))}, takes "
            f"{format_duration(sending_time(instance, tokens))} to the decode pool"
        )


def premises(instance: Instance) -> tuple[str, ...]:
    """What an answer apart rests on besides."""
    link = link_of(instance)
    stated = instance.transfer.bandwidth is not None
    whose = "as stated" if stated else "one device's scale-out link, as transfer.bandwidth is not given"
    return (
        f"prefill and decode apart: each prefill replica sends KV caches at {float(link.bandwidth) / 1e9:g} GB/s "
        f"({whose}), {format_duration(link.setup)} before each request, one after the other, beside the prefill of "
        "the next; the decode pool takes in whatever comes, and the first token is shown once its cache has arrived",
        "prefill replicas keep the prompts of a burst until its end; decode replicas keep whole requests",
    )
