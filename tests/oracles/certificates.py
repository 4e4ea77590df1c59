"""A certificate written by hand, and stored ones with the checker's verdicts."""

from __future__ import annotations

import gzip
import json
from typing import Any

from shardproof.solver.checkers import certificate as checker
from tests.oracles.places import DATA

STORED = DATA / "certificates.jsonl.gz"


def document() -> dict[str, Any]:
    """A program of three layers, two options (1 and 2 GPUs) and one path; optimum by hand: 2 GPUs, 10 ns.

    One GPU: a stage of 3 layers costs 1 + 3 * 4 = 13 ns, over the limit of 12, and 9 bytes of 6. Two GPUs as one
    stage: 1 + 3 * 3 = 10 ns and 6 bytes; as two stages of one GPU: 5 + 9 ns, over the limit.
    """
    memory = {"base": [0, 0], "entry": [0, 0], "first": [0, 0], "last": [0, 0], "layer": [[3], [2]], "slack": 0}
    time = {"base": [1, 1], "entry": [0, 0], "first": [0, 0], "last": [0, 0], "layer": [[4], [3]], "slack": 0}
    rows = [
        {"name": "memory", "table": 0, "limit": 6, "microbatches": 0},
        {"name": "ttft", "table": 1, "limit": 12, "microbatches": 1},
    ]
    choice = {"value": 1, "rows": [1], "options": None}
    axis = {"name": "requests", "rule": "ceilings", "size": 1, "choices": [choice]}
    layout = {"name": "requests=1", "max_gpus": None, "rows": [0], "axes": [axis]}
    program = {
        "kinds": [[0, 3]],
        "options": [[1, 1, 1, 1], [2, 1, 1, 2]],
        "tables": [memory, time],
        "rows": rows,
        "shares": [{"load": [1], "layouts": [layout]}],
        "demand": [1],
        "max_gpus": 4,
        "replicas": "free",
    }
    return {
        "format": checker.FORMAT,
        "instance": "by-hand",
        "program": program,
        "plan": [{"replicas": 1, "share": 0, "layout": 0, "choices": [0], "stages": [[0, 3, 1]]}],
        "claims": {
            "gpus": {
                "lower": 2,
                "upper": 2,
                "by": "certified",
                "refused": [{"gpus": 1, "share": 0, "trees": [[["leaf", [[["volume", "memory", 1]]], []]]]}],
            },
            "shapes": None,
            "ttft_ns": None,
            "memory_bytes": None,
        },
    }


def stored() -> list[tuple[str, str | None]]:
    """Return the stored certificates with their verdicts."""
    if not STORED.exists():
        return []
    with gzip.open(STORED, "rt", encoding="utf-8") as file:
        return [tuple(json.loads(line)) for line in file]


def store(verdicts: list[tuple[str, str | None]]) -> None:
    """Write the stored certificates."""
    lines = "".join(json.dumps(list(pair)) + "\n" for pair in verdicts)
    STORED.write_bytes(gzip.compress(lines.encode(), mtime=0))
