"""Sweep files: axes, patterns, filters, refusals; carry-over relations; rankings and fronts."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from shardproof.instances import catalogue
from shardproof.instances.errors import InputError
from shardproof.instances.reading import validate
from shardproof.instances.sweep import Point, Sweep, axes, check_names, expand, load_sweep
from shardproof.solver.batch import carry, pareto, tables
from shardproof.solver.batch.answer import Task
from shardproof.solver.batch.rows import Row
from shardproof.solver.commands.batch import command
from tests.oracles import batch_planner
from tests.oracles.places import ROOT

WORKLOAD = {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 64}
SHIPPED = sorted((ROOT / "instances" / "sweeps").glob("*.yaml"))


def points(**tree: Any) -> list[Point]:
    base = {"model": "qwen3-8b", "device": "h100-sxm", "workload": WORKLOAD} | tree.pop("base", {})
    sweep = validate(Sweep, {"name": "test", "base": base, **tree}, where="test")
    check_names(sweep)
    return list(expand(sweep, where="test"))


def test_the_cross_product_is_complete_and_in_order() -> None:
    found = points(cross={"device": ["h100-sxm", "h200-sxm"], "limits.ttft": ["1 s", None]})
    assert [point.name for point in found] == [
        "h100-sxm / 1 s", "h100-sxm / none", "h200-sxm / 1 s", "h200-sxm / none",
    ]  # fmt: skip
    limits = [point.instance.scenarios[0].limits.ttft for point in found if point.instance]
    assert limits == [10**9, None, 10**9, None]


def test_patterns_find_the_whole_catalogue() -> None:
    assert [point.device for point in points(cross={"device": "*"})] == list(catalogue.device_names())
    assert {point.device for point in points(cross={"device": ["h100*", "h100-sxm"]})} == {
        name for name in catalogue.device_names() if name.startswith("h100")
    }


def test_listed_combinations_are_crossed_with_the_axes() -> None:
    listed = [{"model": "qwen3-8b", "engine": "vllm"}, {"model": "qwen3-32b"}]
    found = points(combinations=listed, cross={"limits.ttft": ["1 s", "2 s"]})
    assert [(point.model, point.engine) for point in found] == [("qwen3-8b", "vllm")] * 2 + [("qwen3-32b", "any")] * 2


def test_labelled_values_and_nested_fields() -> None:
    loads = {"chat": WORKLOAD, "long": WORKLOAD | {"input_tokens": 4096}}
    found = points(base={"workload": None}, cross={"workload": loads, "precision.kv_cache": ["fp8", "bf16"]})
    assert [tuple(point.labels.values()) for point in found] == list(itertools.product(loads, ["fp8", "bf16"]))
    assert axes(validate(Sweep, {"name": "x", "cross": {"model": "*", "limits.ttft": ["1 s"]}}, where="x")) == (
        "limits.ttft",
    )


def test_filters_keep_and_skip() -> None:
    def names(**tree: Any) -> set[str]:
        return {point.device for point in points(cross={"device": "*"}, **tree)}

    every = names()
    large = names(only=[{"device.memory": ">= 100 GB"}])
    assert "h200-sxm" in large < every
    assert names(skip=[{"device.memory": ">= 100 GB"}]) == every - large
    assert names(only=[{"device": "h100*"}, {"device": ["l4", "l40s"]}]) == {
        name for name in every if name.startswith("h100") or name in ("l4", "l40s")
    }
    priced = names(only=[{"device.price_per_hour": "<= 2 USD/h"}])
    assert all(catalogue.load_device(name).price_per_hour is not None for name in priced)


def test_what_cannot_be_asked_of_a_device_is_a_row_with_its_reason() -> None:
    found = points(cross={"device": ["h100-pcie", "h100-sxm"]}, base={"limits": {"price_per_hour": "20 USD/h"}})
    assert [point.instance is None for point in found] == [True, False]
    assert "no price" in str(found[0].refusal)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"cross": {"gpu": ["x"]}}, "no field of an instance"),
        ({"cross": {"device": []}}, "no values"),
        ({"cross": {"device": ["h100-sx"]}}, "h100-sxm"),
        ({"cross": {"device": ["zz*"]}}, "matches no device"),
        ({"cross": {"limits.ttft": [30]}}, "has no unit"),
        ({"cross": {"engine": ["tensorflow"]}}, "engine"),
        ({"only": [{"device.memory": ">= 80"}], "cross": {"device": ["h100-sxm"]}}, "unit"),
        ({"only": [{"device.colour": ">= 80"}], "cross": {"device": ["h100-sxm"]}}, "no known fact"),
        ({"extra": 1}, "unknown field"),
        ({"cross": {"device": "*", "seed": [1]}}, "no field"),
        ({"cross": {f"limits.{n}": list(range(2000)) for n in ("ttft", "tpot")}}, "combinations"),
    ],
)
def test_wrong_sweeps_are_refused_with_words(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        points(**tree)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_expand(path: Path) -> None:
    sweep = load_sweep(path)
    check_names(sweep, folder=path.parent)
    found = list(itertools.islice(expand(sweep, where=str(path), folder=path.parent), 200))
    assert found
    assert all(point.instance is not None or point.refusal for point in found)


def test_parents_are_easier_and_nearest() -> None:
    tasks = batch_planner.tasks()
    named = {task.fingerprint: task for task in tasks}
    parents = carry.parents(tasks)
    for child, found in parents.items():
        for parent in found:
            easier, harder = (carry.coordinates(_instance(named[key])) for key in (parent, child))
            assert easier.rest == harder.rest
            assert all(a >= b for a, b in zip(easier.limits[1:], harder.limits[1:], strict=True))
            assert all(a >= b for a, b in zip(easier.device, harder.device, strict=True))
            assert (easier.limits, easier.device) != (harder.limits, harder.device)
    by_name = {named[child].name: {named[p].name for p in found} for child, found in parents.items()}
    assert by_name["qwen3-8b / h100-sxm / 1 s"] == {"qwen3-8b / h100-sxm / 60 s", "qwen3-8b / h200-sxm / 1 s"}
    assert not parents.get(next(t.fingerprint for t in tasks if t.name == "qwen3-8b / h200-sxm / 60 s"))


def _instance(task: Task) -> Any:
    return task.instance


def _row(**values: Any) -> Row:
    empty: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__)
    return Row(**empty | {"task": "t", "model": "m", "status": "optimal", "swept": {}} | values)


def test_fronts_hold_what_no_other_row_beats() -> None:
    rows = [_row(task=f"{x}{y}", ttft_s=float(x), gpus=y) for x in range(1, 6) for y in range(1, 6) if x + y > 5]
    front = pareto.front(rows, pareto.gpus, pareto.ttft)
    for row in rows:
        beaten = any(
            other is not row and (other.gpus or 0) <= (row.gpus or 0) and (other.ttft_s or 0) <= (row.ttft_s or 0)
            for other in rows
        )
        assert (row in front) == (not beaten)
    assert pareto.front([_row(status="infeasible", gpus=1, ttft_s=1.0)], pareto.gpus, pareto.ttft) == []


def test_ranks_share_ties_and_leave_out_the_unknown() -> None:
    rows = [_row(task=name, gpus=gpus) for name, gpus in (("a", 2), ("b", 1), ("c", 2), ("d", None))]
    assert pareto.ranks(rows, pareto.gpus) == {"a": 2, "b": 1, "c": 2}
    assert [row.task for row in pareto.ranked(rows, pareto.gpus)] == ["b", "a", "c", "d"]


def test_the_command_solves_ranks_and_reports(tmp_path: Path) -> None:
    sweep = tmp_path / "two.yaml"
    sweep.write_text(
        "base:\n  model: qwen3-8b\n  workload: {kind: burst, batch_size: 4, input_tokens: 256, output_tokens: 64}\n"
        "  limits: {max_gpus: 4}\ncross:\n  device: [h100-sxm, l4]\n  limits.ttft: [10 s, 1 ms]\n"
    )
    arguments = [str(sweep), "-o", str(tmp_path / "run"), "--processes", "1"]
    listed = CliRunner().invoke(command, [str(sweep), "--list"])
    assert len(listed.output.splitlines()) == 4
    first = CliRunner().invoke(command, arguments)
    assert first.exit_code == 0, first.output
    assert "h100-sxm" in first.output
    assert "infeasible" in first.output
    again = CliRunner().invoke(command, [*arguments, "--json"])
    assert "4 from the ledger" in again.stderr
    too_many = CliRunner().invoke(command, [*arguments, "--workers", "999"], catch_exceptions=True)
    assert too_many.exit_code != 0


def test_fronts_and_rankings_keep_kinds_of_prices_apart() -> None:
    """A price of one kind beats none of another; a ranking that mixes them says so."""
    rows = [
        _row(device="a", task="1", gpus=1, ttft_s=1.0, price_per_hour=1.0, price_kind="total-cost"),
        _row(device="b", task="2", gpus=2, ttft_s=2.0, price_per_hour=2.0, price_kind="on-demand"),
    ]
    console = Console(file=io.StringIO(), width=100)
    console.print(tables.fronts(rows), tables.ranking(rows, by="price", top=None))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("price/TTFT") == 2
    assert text.count("GPUs/TTFT") == 1
    assert "prices are of different kinds (on-demand, total-cost)" in text
