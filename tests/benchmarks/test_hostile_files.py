"""What hostile files end in: one message of sane size that names the file, the field and what is wrong there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import shardproof
from benchmarks.fuzz.answers import FLEET, PLAN
from benchmarks.fuzz.questions import BURST, MEASURED, POOLS
from shardproof.instances.errors import MOST_SHOWN, InputError
from shardproof.instances.plan import Stage
from shardproof.instances.resolve import load_instance
from shardproof.solver.audit.audit import audit_document
from shardproof.solver.batch.answer import Answer
from shardproof.solver.batch.ledger import Ledger, RunTask
from shardproof.solver.benchmarking.results import read_results
from shardproof.solver.documents.reader import read_plans
from shardproof.solver.open_loop.least import _beyond
from shardproof.solver.open_loop.search import Found, OpenSearch
from shardproof.solver.proof.certificate import read_certificate
from tests.oracles import certificates


def refused(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_instance(path)
    return str(error.value)


def with_value(value: Any) -> dict[str, Any]:
    return {**BURST, "workload": {**BURST["workload"], "input_tokens": value}}


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize("value", [True, "a\x1b[2Jb", 10**80])
def test_a_value_that_is_refused_is_said_with_its_field(value: Any, suffix: str, tmp_path: Path) -> None:
    tree = with_value(value)
    text = json.dumps(tree) if suffix == ".json" else yaml.safe_dump(tree)
    said = refused(tmp_path / f"asked{suffix}", text)
    assert f"asked{suffix}" in said
    assert "workload" in said
    assert "input_tokens" in said


@pytest.mark.parametrize("field", ["batch_size", "input_tokens"])
def test_no_truth_value_is_a_count(field: str, tmp_path: Path) -> None:
    tree = {**BURST, "workload": {**BURST["workload"], field: True}}
    assert "is no number" in refused(tmp_path / "asked.yaml", yaml.safe_dump(tree))


def test_no_truth_value_is_a_number_in_lists_and_mappings() -> None:
    with pytest.raises(ValueError, match="is no number"):
        Stage.model_validate({**PLAN["stages"][0], "layers": [False, 3]})
    with pytest.raises(ValueError, match="is no number"):
        Stage.model_validate({**PLAN["stages"][0], "memory_bytes": {"weights": True}})


def test_a_message_is_short_whatever_is_wrong(tmp_path: Path) -> None:
    many = refused(tmp_path / "many.yaml", yaml.safe_dump({**BURST, **{f"field{n}": 1 for n in range(5000)}}))
    assert len(many.splitlines()) == MOST_SHOWN + 1
    assert many.endswith("... and 4980 more")
    assert len(refused(tmp_path / "long.yaml", yaml.safe_dump({**BURST, "engine": "x" * 100_000}))) < 5000


def test_an_empty_field_name_is_shown(tmp_path: Path) -> None:
    assert "'': unknown field" in refused(tmp_path / "asked.json", json.dumps({**BURST, "": 1}))


@pytest.mark.parametrize(
    "text",
    ["{a: " * 50_000, "[" * 50_000, "a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [*a, *a]}}\n" for n in range(3))],
)
def test_nested_and_merged_results_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "result.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"result\.yaml"):
        read_results(path)


def test_results_of_odd_shapes_hold_no_figures(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    shapes: list[Any] = [[], {"request_latency": 3}, {"request_latency": {"successful": [1]}}]
    for metrics in shapes:
        path.write_text(json.dumps({"benchmarks": [{"metrics": metrics}]}), encoding="utf-8")
        with pytest.raises(InputError, match="is no result"):
            read_results(path)
    path.write_text(json.dumps({"request_throughput": 1, "mean_ttft_ms": 5, "mean_tpot_ms": -(10**400)}))
    assert list(read_results(path)[0].figures) == ["ttft"]


def test_a_name_that_no_file_can_have_names_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file here"):
        shardproof.solve({**BURST, "engine": "vllm"}, load_profile="1" * 400)
    (tmp_path / "plan.sh").write_text(f"source {'x' * 400}\nvllm serve Qwen/Qwen3-8B -tp 2\n", encoding="utf-8")
    assert read_plans(tmp_path / "plan.sh")


def test_degrees_that_no_stage_has_make_no_plan(tmp_path: Path) -> None:
    stage = {**PLAN["stages"][0], "layers": [0, 35], "attn_tp": 3}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "stages": [stage]}), encoding="utf-8")
    found = shardproof.audit(tmp_path / "plan.yaml", {**BURST, "engine": "vllm"})
    assert found.to_dict()["claims"]


def test_a_fleet_of_an_unknown_pool_is_refused() -> None:
    with pytest.raises(InputError, match=r"groups\.pool: p: is no pool"):
        shardproof.export(FLEET | {"groups": FLEET["groups"][1:]}, MEASURED, to="vllm")
    assert POOLS["models"]


def test_a_certificate_of_endless_layers_is_refused(tmp_path: Path) -> None:
    document = certificates.document()
    document["program"]["kinds"] = [[0, 10**30]]
    (tmp_path / "c.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.json: malformed: the number of layers"):
        read_certificate(tmp_path / "c.json")


@pytest.mark.parametrize("gpus", ["four", [4], 10**400, {"a": 1}])
def test_a_row_of_another_kind_is_damaged(gpus: Any, tmp_path: Path) -> None:
    facts = {"task": "a", "model": "m", "device": "d", "engine": "vllm", "labels": {}}
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record("1", Answer("optimal", {"gpus": gpus}, '{"plan": {}}', 0.1))
    ledger.register("run", {}, [RunTask(0, "1", facts)])
    ledger.close()
    with pytest.raises(InputError, match="holds a damaged row"):
        shardproof.report(tmp_path)


def test_a_broken_file_inside_a_manifest_is_named_with_the_manifest(tmp_path: Path) -> None:
    broken = "kind: ConfigMap\ndata:\n  options.yaml: |\n    kv_cache_config: {\n"
    (tmp_path / "map.yaml").write_text(broken, encoding="utf-8")
    with pytest.raises(InputError, match=r"map\.yaml, options\.yaml:\d+: is not YAML"):
        audit_document(read_plans(tmp_path / "map.yaml")[0])


@pytest.mark.parametrize("kept", range(1, 12))
def test_few_counts_are_asked_for_the_least_that_is_kept(kept: int) -> None:
    asked: list[int] = []

    def refuses(count: int) -> bool:
        asked.append(count)
        return count < kept

    assert _beyond(1, 9, refuses) == min(kept, 10)
    assert len(asked) <= 8


def test_a_search_of_open_loops_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that misses a limit in all runs is the last one that is played when the time is over."""
    search: Any = OpenSearch.__new__(OpenSearch)
    search.give_up, search.promising, search.best, search._kept = 0.0, (3, "shape", 3), None, {}
    monkeypatch.setattr(OpenSearch, "_look", lambda _: Found(None, 3, whole=True))
    monkeypatch.setattr(OpenSearch, "_accept", lambda *_: False)
    found = search.run()
    assert (found.best, found.bound, found.whole) == (None, 3, False)
