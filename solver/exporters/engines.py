"""Engines themselves: one script a node, TensorRT-LLM's YAML, seats on hosts, and a router over the replicas."""

from __future__ import annotations

from collections.abc import Sequence

from shardproof.solver.exporters.routing import nginx
from shardproof.solver.exporters.seats import seats_of
from shardproof.solver.exporters.text import cannot, shell_words
from shardproof.solver.exporters.units import PLACEMENT, PORT, Process, Unit


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
        raise cannot(target, f"the plan is for {engine}; export it to {engine}", field="engine")
    return scripts(units)


def scripts(units: Sequence[Unit]) -> dict[str, str]:
    """Return a script a node, files that they read, seats on hosts, and a router where there are replicas."""
    files = {_config(unit): unit.config for unit in units if unit.config is not None}
    for unit in units:
        for node, process in enumerate(unit.processes):
            suffix = f".node-{node}" if len(unit.processes) > 1 else ""
            files[f"{unit.name}{suffix}.sh"] = _script(unit, node, process)
    files["seats.tsv"] = _seats(units)
    if sum(unit.replicas for unit in units) > 1:
        files["router.nginx.conf"] = nginx(units, _addresses(units), port=80)
    return files


def _script(unit: Unit, node: int, process: Process) -> str:
    lines = ["#!/usr/bin/env bash", "set -eu"]
    if unit.nodes > 1:
        lines.append('test -n "$MASTER_ADDR"  # address of the first node of this replica')
    lines += [f"export {key}={value}" for key, value in process.environment.items()]
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
    rows = ["host\tscript\tCUDA_VISIBLE_DEVICES\targuments"]
    for seat in seats_of(units):
        suffix = f".node-{seat.node}" if len(seat.unit.processes) > 1 else ""
        own = seat.gpus[0] and seat.node == 0
        devices = ",".join(map(str, seat.gpus))
        arguments = f"--port {_port(seat.gpus[0])}" if own else ""
        rows.append(f"host-{seat.host}\t{seat.unit.name}{suffix}.sh\t{devices}\t{arguments}")
    return "\n".join(rows) + "\n"


def _addresses(units: Sequence[Unit]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {unit.place: [] for unit in units}
    for seat in seats_of(units):
        if seat.node == 0:
            found[seat.unit.place].append(f"host-{seat.host}:{_port(seat.gpus[0])}")
    return found
