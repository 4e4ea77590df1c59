"""Questions about pools through the public functions: published points, inventories, spares, certificates, exports."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import shardproof
from shardproof.solver.cli import application
from tests.oracles.places import ROOT

MELANGE = ROOT / "instances" / "cases" / "pools" / "melange-default.yaml"
RACKS = ROOT / "instances" / "cases" / "pools" / "mixed-racks.yaml"
CHAT: dict[str, Any] = {
    "model": "qwen3-8b",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 60, "input_tokens": 512, "output_tokens": 128},
    "limits": {"ttft": "2 s", "tpot": "40 ms", "max_gpus": 8},
}

FLAGS = (
    "solve --model qwen3-8b --objective price --engine vllm --isl 512 --osl 128 --concurrency 20 --tpot 40ms --ttft 2s"
)


def solved(question: Any, **fields: Any) -> shardproof.SolvedFleet:
    found = shardproof.solve(question, **fields)
    assert isinstance(found, shardproof.SolvedFleet)
    return found


def sliced(parts: int) -> Fraction:
    """What the published planner answers: every bucket in equal slices, each on one device type."""
    rates, times = (6, 3, 15, 6), {"A10G": (2, 1, 5, 2), "A100": (20, 20, 40, 20)}
    best = None
    choices = list(itertools.product(range(parts + 1), repeat=4))
    for taken in choices:
        small = sum(Fraction(r * t, parts * c) for r, t, c in zip(rates, taken, times["A10G"], strict=True))
        large = sum(Fraction(r * (parts - t), parts * c) for r, t, c in zip(rates, taken, times["A100"], strict=True))
        cost = Fraction(101, 100) * -(-small.numerator // small.denominator)
        cost += Fraction(367, 100) * -(-large.numerator // large.denominator)
        best = cost if best is None or cost < best else best
    assert best is not None
    return best


def test_the_published_default_is_beaten_by_the_exact_mix() -> None:
    found = solved(MELANGE)
    assert (found.value, found.bound, found.proof) == (4.68, 4.68, "certified-optimal")
    assert (sliced(1), sliced(2)) == (Fraction(670, 100), Fraction(569, 100))
    assert found.plan is not None
    assert sum(one.rate_per_s or 0 for group in found.plan.groups for one in group.takes) * 1 == pytest.approx(30)


def test_a_certificate_is_about_its_question(tmp_path: Path) -> None:
    found = solved(MELANGE)
    certificate = found.certificate()
    assert certificate is not None
    assert shardproof.verify(certificate, MELANGE)
    other = json.loads(json.dumps(certificate))
    other["supplies"][0]["cost"] -= 10_000
    assert not shardproof.verify(other, MELANGE)
    assert not shardproof.verify(certificate, CHAT | {"devices": "h100-sxm"})


def test_one_device_without_end_needs_what_the_plain_question_needs() -> None:
    plain = shardproof.solve(CHAT | {"device": "a100-40-sxm"})
    found = solved(CHAT | {"devices": "a100-40-sxm"})
    assert isinstance(plain, shardproof.Solved)
    assert (found.gpus, found.proof) == (plain.gpus, "certified-optimal")
    certificate = found.certificate()
    assert certificate is not None
    verdict = shardproof.verify(certificate, CHAT | {"devices": "a100-40-sxm"})
    assert verdict, verdict.reason
    certificate["pools"][0]["program"]["rows"][0]["limit"] = 10**15
    assert not shardproof.verify(certificate, CHAT | {"devices": "a100-40-sxm"})


@pytest.mark.parametrize("objective", ["gpus", "price", "power"])
def test_more_offers_never_cost_more(objective: str) -> None:
    alone = solved(CHAT | {"devices": "a100-40-sxm", "objective": objective})
    both = solved(CHAT | {"devices": "a100-40-sxm,h100-sxm", "objective": objective})
    assert alone.value is not None
    assert both.value is not None
    assert both.value <= alone.value


@pytest.mark.slow  # some twenty questions of single replicas, each with tables of its own
def test_what_racks_can_serve() -> None:
    asked = CHAT | {"devices": "a100-40-sxm=1x4", "objective": "load", "resolution": 10}
    found = solved(asked)
    assert found.value is not None
    assert found.proof == "certified-optimal"
    more = dict(CHAT["workload"], concurrency=int(60 * (found.value + 0.1)) + 1)
    assert solved(CHAT | {"devices": "a100-40-sxm=1x4", "workload": more}).status == "infeasible"


def test_when_a_replica_is_gone_the_rest_carries_everything() -> None:
    asked = CHAT | {"devices": "a100-40-sxm", "spare": "replica"}
    found, plain = solved(asked), solved(CHAT | {"devices": "a100-40-sxm"})
    assert found.plan is not None
    assert found.gpus is not None
    assert found.gpus > (plain.gpus or 0)
    assert found.plan.spared
    assert all(share >= 1 for case in found.plan.spared for share in case.carried.values())
    assert all(len({seat.replica for seat in node.seats}) == len(node.seats) for node in found.plan.nodes)


def test_any_two_nodes_may_be_gone() -> None:
    rows = [{"device": "small", "rates": {"a": "2/s"}}, {"device": "large", "gpus": 2, "rates": {"a": "5/s"}}]
    asked: dict[str, Any] = {
        "devices": "small=3x4@1 USD/h,large=4x2@3 USD/h",
        "objective": "price",
        "requests": {"a": "9/s"},
        "capacities": rows,
    }
    two = solved(asked | {"spare": "2 nodes"})
    assert two.plan is not None
    carried = {"small": 2, "large": 5}
    held = [sum(carried[two.plan.groups[seat.group].offer] for seat in node.seats) for node in two.plan.nodes]
    assert all(sum(held) - a - b >= 9 for a, b in itertools.combinations(held, 2))
    assert two.status == "optimal"
    certificate = two.certificate()
    assert certificate is not None
    assert shardproof.verify(certificate, asked | {"spare": {"nodes": 2}})
    assert not shardproof.verify(certificate, asked | {"spare": {"nodes": 3}})
    values = [solved(asked | {"spare": spare}).value or 0 for spare in ("node", "2 nodes", "2 replicas")]
    assert values[0] <= values[1]
    assert values[2] <= values[1]
    assert "with 1 of nodes to be gone at most" in str(shardproof.explain(asked | {"spare": "2 nodes"}))


def test_export_writes_a_folder_for_each_model(tmp_path: Path) -> None:
    found = solved(CHAT | {"devices": "a100-40-sxm"})
    assert found.plan is not None
    exported = shardproof.export(found, to="vllm")
    assert {name.split("/")[0] for name in exported.files} == {"README.md", found.plan.groups[0].model}
    path = tmp_path / "plan.json"
    path.write_text(found.plan.model_dump_json(), encoding="utf-8")
    again = shardproof.export(path, CHAT | {"devices": "a100-40-sxm"}, to="vllm")
    assert again.files == exported.files


def test_flags_say_what_a_file_says() -> None:
    run = CliRunner().invoke(
        application,
        [*FLAGS.split(), "--devices", "a100-40-sxm=1x4@0.50 USD/h", "--json"],
        standalone_mode=False,
        catch_exceptions=False,
    )
    document = json.loads(run.stdout)
    assert document["unit"] == "USD/h"
    assert document["value"] == 0.5 * document["gpus"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devices": "a100-40-sxm=3y"}, "is no offer"),
        ({"devices": "l5"}, "devices.0.device"),
        ({"devices": "a100-40-sxm", "device": "a100-40-sxm"}, "leave device out"),
        ({"devices": "rtx-3090", "objective": "price"}, "has no price"),
        ({"devices": "a100-40-sxm", "spare": "rack"}, "nothing that can be spared"),
        ({"devices": [{"device": "a100-40-sxm", "available": {"nodes": 1, "gpus": 3}}]}, "either nodes or gpus"),
        ({"devices": [{"device": "a100-40-sxm", "serves": ["nobody"]}]}, "is served by no device"),
        ({"devices": [{"device": "a100-40-sxm", "price_kind": "spot"}], "objective": "price"}, "give price_per_hour"),
        ({"devices": "a100-40-sxm", "requests": {"a": "1/s"}}, "capacities and requests go together"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(shardproof.InputError, match=said):
        shardproof.solve(CHAT | changes)


def test_other_verbs_say_who_answers() -> None:
    with pytest.raises(shardproof.InputError, match="several devices or models"):
        shardproof.load_instance(CHAT | {"devices": "a100-40-sxm"})


def test_reasons_take_no_longer_than_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def noted(question: object, found: object, seconds: float) -> tuple[str, ...]:
        del question, found
        given.append(seconds)
        return ()

    monkeypatch.setattr("shardproof.solver.pools.solve.reasons", noted)
    monkeypatch.setattr("shardproof.solver.pools.solve.EXPLAINED_WITHIN_S", 10_000.0)
    asked = CHAT | {"devices": "a100-40-sxm=1x4", "limits": {"ttft": "1 ms", "tpot": "1 ms", "max_gpus": 4}}
    assert solved(asked, time_limit=600).status == "infeasible"
    assert solved(asked).status == "infeasible"
    assert given[0] <= 600 < given[1]
