"""Routing: how many requests of each scenario every replica takes, for routers of several kinds.

A router sees no scenarios; where there are several, clients name theirs in the header ``X-Scenario`` and the first
one's weights hold for whoever names none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, gcd
from typing import Any

from shardproof.solver.exporters.units import Unit

LARGEST = 1000
"""Weight of a replica at most: a Gateway takes a million, over all replicas of a group."""


def scenarios_of(units: Sequence[Unit]) -> list[str]:
    """Return the scenarios in order."""
    return list(dict.fromkeys(name for unit in units for name in unit.weights))


def weights_of(units: Sequence[Unit], scenario: str) -> list[int]:
    """Return the weight of one replica of each group, in lowest terms; 0 where it takes no such request.

    Large ones (rates) are rounded to `LARGEST`, never to 0: routers bound what they take.
    """
    found = [unit.weights.get(scenario, 0) for unit in units]
    common = gcd(*found) or 1
    weights = [weight // common for weight in found]
    most = max(weights)
    if most <= LARGEST:
        return weights
    return [ceil(weight * LARGEST / most) for weight in weights]


def nginx(units: Sequence[Unit], addresses: Mapping[int, Sequence[str]], *, port: int) -> str:
    """Write a router's configuration: one upstream a scenario, every replica with its weight."""
    names = scenarios_of(units)
    lines = ["events {}", "http {"]
    for place, name in enumerate(names):
        lines += [f"  upstream scenario_{place} {{", *_servers(units, addresses, name), "  }"]
    lines += ["  map $http_x_scenario $chosen {", "    default scenario_0;"]
    lines += [f'    "{name}" scenario_{place};' for place, name in enumerate(names)]
    lines += ["  }", "  server {", f"    listen {port};", "    location / {", "      proxy_pass http://$chosen;"]
    lines += ["      proxy_buffering off;", "      proxy_read_timeout 1h;", "    }", "  }", "}"]
    return "\n".join(lines) + "\n"


def _servers(units: Sequence[Unit], addresses: Mapping[int, Sequence[str]], scenario: str) -> Iterator[str]:
    for unit, weight in zip(units, weights_of(units, scenario), strict=True):
        for address in addresses[unit.place] if weight else ():
            yield f"    server {address} weight={weight};"


def http_route(name: str, units: Sequence[Unit], services: Sequence[str], *, port: int) -> dict[str, Any]:
    """Return a Gateway API HTTPRoute over the groups' services: a group's weight is that of all its replicas."""
    rules = []
    names = scenarios_of(units)
    for scenario in [*names[1:], names[0]]:
        weights = [one * unit.replicas for one, unit in zip(weights_of(units, scenario), units, strict=True)]
        backends = [
            {"name": service, "port": port, "weight": weight} for service, weight in zip(services, weights, strict=True)
        ]
        rule: dict[str, Any] = {"backendRefs": backends}
        if scenario != names[0]:
            rule = {"matches": [{"headers": [{"name": "X-Scenario", "value": scenario}]}], **rule}
        rules.append(rule)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "inference-gateway"}], "rules": rules},
    }
