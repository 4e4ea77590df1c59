"""Engines themselves: one script a node, TensorRT-LLM's YAML, seats on hosts, and a router over the replicas."""

from __future__ import annotations

from collections.abc import Sequence

from shardproof.instances.plan import Pool
from shardproof.solver.evaluation.pool_flags import BOOTSTRAP, SIDE_CHANNEL
from shardproof.solver.exporters.apart import (
    ROUTER_CONFIG,
    ROUTERS,
    is_apart,
    pools_of,
    router_config,
    router_words,
)
from shardproof.solver.exporters.routing import nginx
from shardproof.solver.exporters.seats import Seat, seats_of
from shardproof.solver.exporters.text import cannot, shell_words
from shardproof.solver.exporters.units import PLACEMENT, PORT, Process, Unit

ROUTER_PORT = 80
"""Port of the router, on a host of its own or beside the servers."""


def vllm(units: Sequence[Unit]) -> dict[str, str]:
    """Scripts that start vLLM."""
    return _scripts("vllm", units)


def sglang(units: Sequence[Unit]) -> dict[str, str]:
    """Scripts that start SGLang."""
    files = _scripts("sglang", units)
    return files | {_placement(unit): unit.placement for unit in units if unit.placement is not None}


def trtllm(units: Sequence[Unit]) -> dict[str, str]:
    """Scripts that start TensorRT-LLM, and the file of options that it reads."""
    return _scripts("trtllm", units)


def _config(unit: Unit) -> str:
    return f"{unit.name}.config.yaml"


def _placement(unit: Unit) -> str:
    return f"{unit.name}.{PLACEMENT}"


def _scripts(target: str, units: Sequence[Unit]) -> dict[str, str]:
    engine = units[0].engine
    if engine != target:
        raise cannot(
            target, f"the plan is for {engine}; export it to {engine}, or solve with --engine {target}", field="engine"
        )
    return scripts(units)


def scripts(units: Sequence[Unit]) -> dict[str, str]:
    """Return a script a node, files that they read, seats on hosts, and a router where there are replicas."""
    files = {_config(unit): unit.config for unit in units if unit.config is not None}
    for unit in units:
        for node, process in enumerate(unit.processes):
            suffix = f".node-{node}" if len(unit.processes) > 1 else ""
            files[f"{unit.name}{suffix}.sh"] = _script(unit, node, process)
    files["seats.tsv"] = _seats(units)
    if is_apart(units):
        files |= _router(units)
    elif sum(unit.replicas for unit in units) > 1:
        files["router.nginx.conf"] = nginx(units, _addresses(units), port=ROUTER_PORT)
    return files


def _script(unit: Unit, node: int, process: Process) -> str:
    lines = ["#!/usr/bin/env bash", "set -eu"]
    if unit.nodes > 1:
        lines.append('test -n "$MASTER_ADDR"  # address of the first node of this replica')
    lines += [f"export {key}={value}" for key, value in process.environment.items()]
    if unit.pool is not None and unit.engine == "vllm":
        own = "$(hostname -I | cut -d ' ' -f 1)"
        lines.append(f'export VLLM_NIXL_SIDE_CHANNEL_HOST="${{VLLM_NIXL_SIDE_CHANNEL_HOST:-{own}}}"')
    words = shell_words(process.words)
    if unit.config is not None:
        words = words.replace("config.yaml", _config(unit))
    if unit.placement is not None:
        words = words.replace(PLACEMENT, _placement(unit))
    lines.append(f'exec {words} "$@"' if node == 0 else f"exec {words}")
    return "\n".join(lines) + "\n"


def _port(place: int) -> int:
    """Servers of one host listen side by side: a hundred apart, room for what each opens besides."""
    return PORT + 100 * place


def _seats(units: Sequence[Unit]) -> str:
    """Return a table: host, script, its variables and arguments, for every process."""
    named = is_apart(units) and units[0].engine == "vllm"
    rows = ["host\tscript\tCUDA_VISIBLE_DEVICES\targuments" + ("\tVLLM_NIXL_SIDE_CHANNEL_PORT" if named else "")]
    for seat in seats_of(units):
        suffix = f".node-{seat.node}" if len(seat.unit.processes) > 1 else ""
        devices = ",".join(map(str, seat.gpus))
        row = f"host-{seat.host}\t{seat.unit.name}{suffix}.sh\t{devices}\t{_arguments(seat)}"
        rows.append(row + (f"\t{SIDE_CHANNEL + 100 * seat.gpus[0]}" if named else ""))
    return "\n".join(rows) + "\n"


def _arguments(seat: Seat) -> str:
    """Ports of a server that shares its host; the first one keeps those of the script."""
    if not seat.gpus[0] or seat.node:
        return ""
    bootstrap = f" --disaggregation-bootstrap-port {_bootstrap(seat)}" if _asks(seat.unit) else ""
    return f"--port {_port(seat.gpus[0])}{bootstrap}"


def _asks(unit: Unit) -> bool:
    """Whether a server is asked for caches on a port of its own."""
    return unit.engine == "sglang" and unit.pool == "prefill"


def _bootstrap(seat: Seat) -> int:
    return BOOTSTRAP + 100 * seat.gpus[0]


def _router(units: Sequence[Unit]) -> dict[str, str]:
    """Return the script that starts the router of both pools, with the file that TensorRT-LLM's reads."""
    prefill, decode = pools_of(units, units[0].engine)
    found = _addresses(units)
    addresses: dict[Pool, list[str]] = {"prefill": found[prefill.place], "decode": found[decode.place]}
    bootstraps = [_bootstrap(seat) for seat in seats_of(units) if seat.unit is prefill and seat.node == 0]
    words = router_words(prefill.engine, addresses, bootstraps)
    lines = ["#!/usr/bin/env bash", "set -eu"]
    if prefill.engine == "trtllm":
        lines.append(f'exec {shell_words(words)} "$@"')
        script = "\n".join(lines) + "\n"
        return {"router.sh": script, ROUTER_CONFIG: router_config(prefill.model, addresses, ROUTER_PORT)}
    lines += [f"# pip install {ROUTERS[prefill.engine]}", f'exec {shell_words(words)} {ROUTER_PORT} "$@"']
    return {"router.sh": "\n".join(lines) + "\n"}


def _addresses(units: Sequence[Unit]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {unit.place: [] for unit in units}
    for seat in seats_of(units):
        if seat.node == 0:
            found[seat.unit.place].append(f"host-{seat.host}:{_port(seat.gpus[0])}")
    return found
