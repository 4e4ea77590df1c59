"""Prefill and decode apart: the routers that send each request through both pools.

Sources: the options of vllm-router 0.1.17 and sglang-router 0.3.2; ``trtllm-serve disaggregated``. None of the routers
weighs one server of a pool against another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from shardproof.instances.plan import Pool
from shardproof.solver.exporters.text import cannot
from shardproof.solver.exporters.units import PORT, Process, Unit

ROUTERS = {"vllm": "vllm-router==0.1.17", "sglang": "sglang-router==0.3.2"}
"""Python packages of the routers; TensorRT-LLM has its own."""

ROUTER_IMAGE = "python:3.12-slim"
ROUTER_CONFIG = "disaggregated.yaml"


def is_apart(units: Sequence[Unit]) -> bool:
    """Whether the groups are pools."""
    return any(unit.pool is not None for unit in units)


def pools_of(units: Sequence[Unit], target: str) -> tuple[Unit, Unit]:
    """Return the prefill and the decode pool.

    Raises
    ------
    InputError
        If replicas of one pool differ.
    """
    for pool in ("prefill", "decode"):
        if sum(unit.pool == pool for unit in units) > 1:
            reason = f"replicas of the {pool} pool differ, and no router of both takes weights"
            raise cannot(target, f"{reason}; solve with --replicas alike", field="groups")
    prefill, decode = units
    return prefill, decode


def stem_of(units: Sequence[Unit]) -> str:
    """Return the name of all pools together."""
    return units[0].name.removesuffix(f"-{units[0].pool}")


def on_port(unit: Unit, port: int) -> Unit:
    """Return a pool with its servers on another port: behind a sidecar that listens on theirs."""
    moved = tuple(
        Process(one.environment, tuple(str(port) if word == str(PORT) else word for word in one.words))
        for one in unit.processes
    )
    return replace(unit, processes=moved)


def refuse_apart(units: Sequence[Unit], target: str) -> None:
    """Refuse pools where a target starts no router of both.

    Raises
    ------
    InputError
        If there are any.
    """
    if is_apart(units):
        reason = "prefill and decode apart take a router of both, which nothing of this target starts"
        raise cannot(target, f"{reason}; export to {units[0].engine}, kubernetes or dynamo", field="groups")


def router_words(engine: str, addresses: Mapping[Pool, Sequence[str]], bootstraps: Sequence[int]) -> list[str]:
    """Return the command of a router of both pools; ``bootstraps``: ports of SGLang's prefill servers."""
    if engine == "trtllm":
        return ["trtllm-serve", "disaggregated", "-c", ROUTER_CONFIG]
    words = ["vllm-router", "--vllm-pd-disaggregation", "--kv-connector", "nixl"]
    if engine == "sglang":
        words = ["python3", "-m", "sglang_router.launch_router", "--pd-disaggregation"]
    for place, address in enumerate(addresses["prefill"]):
        words += ["--prefill", f"http://{address}"]
        words += [str(bootstraps[place])] if engine == "sglang" else []
    for address in addresses["decode"]:
        words += ["--decode", f"http://{address}"]
    return [*words, "--host", "0.0.0.0", "--port"]


def router_config(model: str, addresses: Mapping[Pool, Sequence[str]], port: int) -> str:
    """Return the file that TensorRT-LLM's router of both pools reads."""
    servers = {"context_servers": addresses["prefill"], "generation_servers": addresses["decode"]}
    tree: dict[str, Any] = {"model": model, "hostname": "0.0.0.0", "port": port, "backend": "pytorch"}
    tree |= {name: {"num_instances": len(urls), "urls": list(urls)} for name, urls in servers.items()}
    return str(yaml.safe_dump(tree, sort_keys=False))
