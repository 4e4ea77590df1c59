"""Answers of the public functions: the same as the command line's, frozen, silent, escaped."""

from __future__ import annotations

import builtins
import dataclasses
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import shardproof
from shardproof.solver.cli import application
from tests.oracles.places import ROOT

CASE = ROOT / "instances" / "cases" / "qwen3-235b-a22b.yaml"
SMALL: dict[str, Any] = {"model": "qwen3-8b", "device": "h100-sxm", "isl": 512, "osl": 128, "batch_size": 8}
FLAGS = ["--model", "qwen3-8b", "--device", "h100-sxm", "--isl", "512", "--osl", "128", "--batch-size", "8"]


@pytest.fixture(scope="module")
def small() -> shardproof.Solved:
    found = shardproof.solve(**SMALL, ttft="2 s")
    assert isinstance(found, shardproof.Solved)
    return found


def printed(*arguments: str) -> Any:
    found = CliRunner().invoke(application, [*arguments, "--json"], standalone_mode=False, catch_exceptions=False)
    return json.loads(found.stdout)


def test_solve_is_what_the_command_line_prints(small: shardproof.Solved, capfd: pytest.CaptureFixture[str]) -> None:
    again = shardproof.solve(**SMALL, ttft="2 s").to_dict()
    assert capfd.readouterr() == ("", "")
    flags = printed("solve", *FLAGS, "--ttft", "2 s")
    assert {**again, "seconds": 0} == {**flags, "seconds": 0}
    assert (small.status, small.gpus, small.bound, small.proof) == ("optimal", 1, 1, "certified-optimal")


def test_a_file_a_mapping_and_an_instance_are_one_question(tmp_path: Path) -> None:
    tree = shardproof.question(CASE, ttft="20 s", max_gpus=9)
    kept = tmp_path / "kept.yaml"
    kept.write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=str))))
    instance = shardproof.load_instance(CASE, ttft="20 s", max_gpus=9)
    prints = {found.fingerprint for found in map(shardproof.load_instance, (tree, kept, str(kept), instance))}
    assert prints == {instance.fingerprint}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "qwen3-8b"}, "at least a model and a device"),
        ({"model": "qwen3-8b", "device": "h100-sxm"}, "without a file"),
        (SMALL | {"ttft": "2"}, "has no unit"),
        (SMALL | {"device": "h100-sxn"}, "h100-sxm"),
        (SMALL | {"isl": -1}, "input_tokens"),
    ],
)
def test_bad_questions_are_input_errors(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(shardproof.InputError, match=words):
        shardproof.solve(**fields)


def test_a_wrong_keyword_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"solve\(\) got an unexpected keyword argument 'tftt'; did you mean 'ttft'"):
        shardproof.solve(**SMALL, tftt="2 s")  # type: ignore[call-arg]


def test_an_instance_is_final() -> None:
    with pytest.raises(shardproof.InputError, match="an Instance is final"):
        shardproof.solve(shardproof.load_instance(**SMALL), max_gpus=4)


@pytest.mark.parametrize("limit", [-1, float("nan"), "2", "2 GB"])
def test_a_time_limit_is_a_duration(limit: float | str) -> None:
    with pytest.raises(shardproof.InputError, match="time_limit"):
        shardproof.solve(**SMALL, time_limit=limit)


def test_certificates_are_accepted_and_forged_ones_refused(small: shardproof.Solved, tmp_path: Path) -> None:
    document = small.certificate()
    assert document is not None
    verdict = shardproof.verify(document, small.instance)
    assert verdict
    assert verdict.exit_code == 0
    path = tmp_path / "cert.json"
    path.write_text(json.dumps(document))
    assert shardproof.verify(path).claim == shardproof.verify(path.read_bytes()).claim
    other = shardproof.load_instance(**SMALL, ttft="1 s")
    refused = shardproof.verify(document, other)
    assert not refused
    assert "fingerprint" in str(refused.reason)
    forged = json.loads(json.dumps(document).replace('"upper": 1', '"upper": 0', 1))
    assert not shardproof.verify(forged)


def test_without_a_plan_absent_is_none() -> None:
    answer = shardproof.solve(**SMALL, memory="8 GB", max_gpus=1)
    assert (answer.status, answer.plan, answer.metrics, answer.gpus) == ("infeasible", None, None, None)
    assert answer.rows() == []
    assert answer.document() is None
    explained = answer.explain()
    assert explained.conflicts
    assert "no plan exists" in str(explained)
    assert "no plan exists" in answer._repr_html_()
    with pytest.raises(shardproof.InputError, match="holds no plan"):
        shardproof.predict(answer)


def test_undecided_has_no_certificate() -> None:
    answer = shardproof.solve(CASE, time_limit=0)
    assert answer.status == "undecided"
    assert answer.certificate() is None


def test_explain_is_what_the_command_line_prints() -> None:
    assert shardproof.explain(**SMALL, max_gpus=2).to_dict() == printed("explain", *FLAGS, "--max-gpus", "2")


def test_predict_takes_an_answer_a_plan_a_mapping_and_a_file(small: shardproof.Solved, tmp_path: Path) -> None:
    assert small.plan is not None
    path = tmp_path / "plan.json"
    path.write_text(small.plan.model_dump_json(exclude_none=True))
    forms = (small, small.plan, small.plan.model_dump(mode="json"), path)
    documents = [shardproof.predict(form, small.instance).to_dict() for form in forms]
    assert all(document == documents[0] for document in documents)
    assert documents[0] == printed("predict", str(path), *FLAGS, "--ttft", "2 s")
    assert small.metrics is not None
    assert documents[0]["ttft_s"] == pytest.approx(small.metrics.ttft_s)


def test_predict_gives_intervals_with_a_confidence(small: shardproof.Solved) -> None:
    loop = SMALL | {"batch_size": None, "concurrency": 8, "engine": "vllm"}
    assert small.plan is not None
    found = shardproof.predict(small.plan, **loop, confidence="90%")
    assert found.to_dict()["confidence"]["tpot_ms"]["level"] == 0.9


def test_audit_is_what_the_command_line_prints(tmp_path: Path) -> None:
    plan = tmp_path / "plan.md"
    plan.write_text("# Plan\n\n- Model: qwen3-8b\n- Device: H100 SXM\n- Tensor Parallel (TP): 2\n- Total GPUs: 3\n")
    found = shardproof.audit(plan, completion=False)
    assert found.to_dict() == printed("audit", str(plan), "--no-completion")
    assert found.exit_code == 4
    assert len(found.rows()) == len(found.claims)


def test_a_proven_plan_passes_the_audit(small: shardproof.Solved) -> None:
    found = shardproof.audit(small, completion=False)
    assert (found.exit_code, found.wrong, found.violations) == (0, (), ())


def test_compare_takes_answers_and_files(small: shardproof.Solved) -> None:
    found = shardproof.compare(small, instance=small)
    assert [column.gpus for column in found.columns] == [1, 1]
    assert [row["name"] for row in found.rows()] == ["plan 1", "proven optimum"]
    assert found.exit_code == 0
    with pytest.raises(shardproof.InputError, match="at least one plan"):
        shardproof.compare(instance=small)


def test_sensitivity_is_what_the_command_line_prints() -> None:
    found = shardproof.sensitivity(**SMALL, only="input")
    assert found.to_dict() == printed("sensitivity", *FLAGS, "--only", "input")
    with pytest.raises(shardproof.InputError, match="no curves"):
        found.plot("curves.png")


def test_catalog_lists_and_shows() -> None:
    one = shardproof.catalog("h100-sxm")
    assert one.to_dict() == printed("catalog", "h100-sxm")
    assert len(one.devices) == 1
    assert shardproof.catalog("devices").models == ()
    with pytest.raises(shardproof.InputError, match="is no kind"):
        shardproof.catalog("device", "h100-sxm")


def test_schema_of_nothing_known_is_refused() -> None:
    assert shardproof.schema("plan") == json.loads(
        CliRunner().invoke(application, ["schema", "plan"], standalone_mode=False).stdout
    )
    with pytest.raises(shardproof.InputError, match="no such document"):
        shardproof.schema("plans")


def test_place_verify_and_export() -> None:
    placed = shardproof.place(experts=8, layers=2, profile="zipf:0.9", ranks=2, redundant=2, time_limit=1, workers=1)
    assert [len(row) for row in placed.plan] == [10, 10]
    assert shardproof.verify(placed.certificate())
    assert "physical_to_logical_map" in placed.export("sglang")
    assert len(placed.rows()) == placed.metrics["layers"] == 2
    with pytest.raises(shardproof.InputError, match="known: sglang"):
        placed.export("vllm")
    within = shardproof.place_within(
        experts=8, layers=1, profile="zipf:0.9", ranks=2, max_imbalance=1.5, time_limit=1, workers=1
    )
    assert within.exit_code == 0


def test_batch_and_report(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(SWEEP)
    assert [task["device"] for task in shardproof.batch_tasks(sweep)] == ["h100-sxm", "h200-sxm"]
    found = shardproof.batch(sweep, out=tmp_path / "run", processes=1, formats=["csv"])
    assert (found.exit_code, [row["status"] for row in found.rows()]) == (0, ["optimal", "optimal"])
    assert [(row["rank"], row["gpus"]) for row in found.ranking("price")] == [(1, 1), (2, 1)]
    assert {row["front"] for row in found.fronts()} == {"price/TTFT", "GPUs/TTFT"}
    with pytest.raises(shardproof.InputError, match="write one of gpus"):
        found.ranking("speed")  # type: ignore[arg-type]
    page = shardproof.report(tmp_path / "run")
    assert page.rows()[0]["task"] == found.rows()[0]["task"]
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page.html()


SWEEP = """
name: two
base:
  model: qwen3-8b
  workload: {kind: burst, batch_size: 4, input_tokens: 64, output_tokens: 8}
cross:
  device: [h100-sxm, h200-sxm]
"""


def test_frames_hold_the_rows(small: shardproof.Solved) -> None:
    pytest.importorskip("pandas")
    frame = small.to_frame()
    assert frame.to_dict("records") == small.rows()


def test_without_pandas_a_frame_is_a_clear_error(small: shardproof.Solved, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(shardproof.InputError, match=r"shardproof\[pandas\]"):
        small.to_frame()


def test_answers_are_frozen(small: shardproof.Solved) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.result = None  # type: ignore[misc, assignment]


class Tags(HTMLParser):
    """Collects tags, attributes and text, and refuses tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def answers() -> Iterator[Any]:
    question = SMALL | {"ttft": "2 s"}
    solved = shardproof.solve(**question)
    yield from (solved, solved.explain(), shardproof.predict(solved), shardproof.audit(solved, completion=False))
    yield from (shardproof.compare(solved, instance=solved), shardproof.catalog(), shardproof.verify(b"{}"))
    yield shardproof.sensitivity(**question, only="ttft")


def test_every_answer_has_every_form() -> None:
    for answer in answers():
        name = type(answer).__name__
        json.dumps(answer.to_dict())
        assert isinstance(answer.rows(), list | tuple), name
        assert str(answer)
        assert "\n" not in repr(answer)
        assert len(repr(answer)) < 300, name
        page = answer._repr_html_()
        tags = Tags(page).seen
        assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "style"}
        assert not re.search(r"https?:|url\(|src=", page), name


def test_a_notebook_shows_plan_memory_and_timeline() -> None:
    found = Tags(shardproof.solve(CASE)._repr_html_())
    drawn = [attributes.get("aria-label") or "" for tag, attributes in found.seen if tag == "svg"]
    assert [words.split()[0] for words in drawn] == ["Memory", "Prefill"]
    boxes = [attributes for tag, attributes in found.seen if tag == "rect"]
    assert len(boxes) > 25
    for box in boxes:
        assert float(box["x"] or 0) >= 110
        assert float(box["x"] or 0) + float(box["width"] or 0) <= 760.6
    assert "no plan has fewer than 5" in found.words


def test_a_mixed_fleet_is_shown_group_by_group(small: shardproof.Solved) -> None:
    assert small.plan is not None
    tree = small.plan.model_dump(mode="json", exclude_none=True)
    shape = {name: tree.pop(name) for name in ("stages", "microbatches", "microbatch_tokens")}
    groups = [{"replicas": 1, **shape, "shares": [{"requests": count}]} for count in (6, 2)]
    fleet = tree | {"replicas": 2, "microbatch_tokens": shape["microbatch_tokens"], "groups": groups}
    plan = shardproof.Plan.model_validate(fleet)
    answer = dataclasses.replace(small, result=dataclasses.replace(small.result, plan=plan))
    assert [(row["group"], row["stage"], row["gpus"]) for row in answer.rows()] == [(0, 0, 1), (1, 0, 1)]
    page = answer._repr_html_()
    assert "group 1, stage 0" in page
    assert "Group 1: Prefill" in page


def test_names_from_outside_are_escaped() -> None:
    tree = shardproof.question(CASE)
    tree["device"] = shardproof.load_instance(CASE).device.model_dump(mode="json", exclude_none=True)
    tree["device"]["name"] = "<script>alert(1)</script>"
    for answer in (shardproof.solve(tree), shardproof.explain(tree)):
        page = answer._repr_html_()
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_a_flag_s_file_stands_where_the_user_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not beside the instance file, whose own paths stand beside it."""
    (tmp_path / "case").mkdir()
    case = tmp_path / "case" / "case.yaml"
    case.write_text(
        "{model: mixtral-8x7b, device: h100-sxm,"
        " workload: {kind: burst, batch_size: 4, input_tokens: 64, output_tokens: 8}}",
        encoding="utf-8",
    )
    loads = [[1, 2, 3, 4, 5, 6, 7, 8]] * 32
    (tmp_path / "loads.json").write_text(json.dumps({"loads": loads}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = shardproof.load_instance(case, load_profile="loads.json")
    assert not isinstance(found.load_profile, str)
