"""Forged certificates of pools whose capacities the exact search proved: none is accepted for its question."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import shardproof
from tests.oracles.places import ROOT
from tests.pools.test_questions import CHAT

LOAD = CHAT["workload"] | {"concurrency": 250}
QUESTION = CHAT | {"devices": "a100-40-sxm,h100-sxm", "objective": "price", "workload": LOAD}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def certificate() -> Document:
    found = shardproof.solve(QUESTION)
    assert isinstance(found, shardproof.SolvedFleet)
    document = found.certificate()
    assert document is not None
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


def overstated(document: Document) -> None:
    """A group carries more than its chain does."""
    kind = document["plan"]["groups"][0]["kind"]
    kind["loads"][0] = [load + 1 for load in kind["loads"][0]]


def wall_lowered(document: Document) -> None:
    """Replicas are said to be refused a smaller load than they are."""
    pool = next(pool for pool in document["pools"] if pool["walls"])
    share = pool["program"]["shares"][pool["walls"][0]["share"]]
    share["load"] = [max(1, load // 2) for load in share["load"]]


def wall_widened(document: Document) -> None:
    """A load is said to be refused to wider replicas than it is."""
    pool = next(pool for pool in document["pools"] if pool["walls"])
    pool["walls"][0]["gpus"] += 1


def wall_forgotten(document: Document) -> None:
    next(pool for pool in document["pools"] if pool["walls"])["walls"].pop()


def pool_left_out(document: Document) -> None:
    """Nothing of one pool is said."""
    place = next(at for at, pool in enumerate(document["pools"]) if at != document["plan"]["groups"][0]["kind"]["pool"])
    document["kinds"] = [kind for kind in document["kinds"] if kind["pool"] != place]


def pool_serves_nothing(document: Document) -> None:
    place = next(at for at, pool in enumerate(document["pools"]) if at != document["plan"]["groups"][0]["kind"]["pool"])
    document["pools"][place]["serves"] = [0]
    document["kinds"] = [kind for kind in document["kinds"] if kind["pool"] != place]


def price_changed(document: Document) -> None:
    document["supplies"][0]["cost"] += 10_000


def value_lowered(document: Document) -> None:
    document["claim"]["value"] -= 10_000
    document["claim"]["bound"] -= 10_000


def bound_raised(document: Document) -> None:
    document["claim"]["bound"] = document["claim"]["value"] = document["claim"]["value"] * 2


def multiplier_changed(document: Document) -> None:
    leaf = next(node for node in document["claim"]["tree"] if node[0] == "leaf")
    leaf[2] = [[row, 0] for row, _ in leaf[2]]


def demand_lowered(document: Document) -> None:
    document["asked"] = [asked - 1 for asked in document["asked"]]


def limit_raised(document: Document) -> None:
    document["limits"][0]["top"] += 1


def seats_doubled(document: Document) -> None:
    document["plan"]["nodes"][0][2][0] += 1


FORGERIES = (
    overstated,
    wall_lowered,
    wall_widened,
    wall_forgotten,
    pool_left_out,
    pool_serves_nothing,
    price_changed,
    value_lowered,
    bound_raised,
    multiplier_changed,
    demand_lowered,
    limit_raised,
    seats_doubled,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: str(forge.__name__))
def test_a_forgery_is_refused(certificate: Document, forge: Callable[[Document], None]) -> None:
    forged = copy.deepcopy(certificate)
    forge(forged)
    assert forged != certificate
    assert not shardproof.verify(forged, QUESTION)


def test_the_checker_runs_alone(certificate: Document, tmp_path: Path) -> None:
    """As a file, from anywhere, with the checker of single certificates beside it."""
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate), encoding="utf-8")
    checker = ROOT / "solver" / "checkers" / "pools.py"
    run = subprocess.run([sys.executable, checker, path], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0
    assert run.stdout.startswith("accepted: certified-optimal")
    path.write_text("{}", encoding="utf-8")
    run = subprocess.run([sys.executable, checker, path], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (run.returncode, run.stdout.split(":")[0]) == (4, "refused")
