"""Ask peers the same questions: ``python -m benchmarks.peers fleets|simulators --peer PYTHON [--json]``.

``fleets`` wants an interpreter with vllm-sr-sim 0.1.0.dev20260713123629, ``simulators`` one with vidur 0.0.26; each in
an environment of its own, since both bring dependencies that shardproof does not want.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from benchmarks.solve.__main__ import finish


@click.group()
def application() -> None:
    """Hold plans and simulator against other tools; documents say on which machine and load."""


def _asked(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of both commands."""
    command = click.option("--json", "as_json", is_flag=True)(command)
    command = click.option("--seed", type=int, default=0, show_default=True)(command)
    return click.option("--peer", required=True, help="Python interpreter that has the peer.")(command)


@application.command()
@_asked
def fleets(peer: str, seed: int, *, as_json: bool) -> None:
    """Plan for requests that come by themselves; play both fleets."""
    from benchmarks.peers.fleets import measure

    _finish("peers: fleets", measure(peer, seed=seed), as_json=as_json)


@application.command()
@_asked
def simulators(peer: str, seed: int, *, as_json: bool) -> None:
    """Play one replica by both simulators with the same iteration times."""
    from benchmarks.peers.simulators import measure

    _finish("peers: simulators", measure(peer, seed=seed), as_json=as_json)


def _finish(title: str, rows: Any, *, as_json: bool) -> None:
    finish(title, {"questions": [asdict(row) for row in rows]}, as_json=as_json)


if __name__ == "__main__":
    application()
