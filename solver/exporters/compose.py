"""Docker Compose: one file a host, one service a replica, a router on the first host.

Source: the Compose specification (``deploy.resources.reservations.devices``, ``ipc``, ``configs``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.apart import refuse_apart
from shardproof.solver.exporters.images import image_of
from shardproof.solver.exporters.routing import nginx
from shardproof.solver.exporters.seats import Seat, seats_of
from shardproof.solver.exporters.text import cannot, to_yaml
from shardproof.solver.exporters.units import PORT, Unit

TARGET = "docker-compose"


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the files of every host."""
    refuse_apart(units, TARGET)
    for unit in units:
        if unit.nodes > 1:
            reason = f"a replica spans {unit.nodes} nodes, Compose runs on one; export to slurm or kubernetes"
            raise cannot(TARGET, reason, field="stages")
        if unit.device.vendor != "NVIDIA":
            raise cannot(TARGET, f"GPUs of {unit.device.vendor or unit.device.name} are no reservation", field="device")
    seats = seats_of(units)
    files: dict[str, str] = {}
    for host in sorted({seat.host for seat in seats}):
        services = {f"{seat.unit.name}-{seat.replica}": _service(seat) for seat in seats if seat.host == host}
        if host == 0 and len(seats) > 1:
            services["router"] = _router()
        files[f"compose-host-{host}.yaml"] = to_yaml({"services": services, "volumes": {"models": {}}})
    if len(seats) > 1:
        files["router.nginx.conf"] = nginx(units, _addresses(seats), port=80)
    return files | {f"{unit.name}.config.yaml": unit.config for unit in units if unit.config is not None}


def _published(seat: Seat) -> int:
    return PORT + seat.gpus[0]


def _service(seat: Seat) -> dict[str, Any]:
    unit, process = seat.unit, seat.unit.processes[0]
    volumes = ["models:/root/.cache/huggingface"]
    if unit.config is not None:
        volumes.append(f"./{unit.name}.config.yaml:/config.yaml:ro")
    words = ["/config.yaml" if word == "config.yaml" else word for word in process.words]
    device = {"driver": "nvidia", "device_ids": [str(gpu) for gpu in seat.gpus], "capabilities": ["gpu"]}
    return {
        "image": image_of(unit, TARGET),
        "entrypoint": words[:1],
        "command": words[1:],
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}", **process.environment},
        "ipc": "host",
        "ports": [f"{_published(seat)}:{PORT}"],
        "volumes": volumes,
        "restart": "unless-stopped",
        "healthcheck": {
            "test": [
                "CMD",
                "python3",
                "-c",
                f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/health')",
            ],
            "interval": "10s",
            "timeout": "5s",
            "retries": 6,
            "start_period": "60m",
        },
        "deploy": {"resources": {"reservations": {"devices": [device]}}},
    }


def _router() -> dict[str, Any]:
    return {
        "image": "nginx:1.29",
        "ports": ["80:80"],
        "volumes": ["./router.nginx.conf:/etc/nginx/nginx.conf:ro"],
        "restart": "unless-stopped",
    }


def _addresses(seats: Sequence[Seat]) -> dict[int, list[str]]:
    """Services of the router's own host are known by name, those of other hosts by their published port."""
    found: dict[int, list[str]] = {seat.unit.place: [] for seat in seats}
    for seat in seats:
        beside = f"{seat.unit.name}-{seat.replica}:{PORT}"
        found[seat.unit.place].append(beside if seat.host == 0 else f"host-{seat.host}:{_published(seat)}")
    return found
