"""Questions of the page: what is typed, pasted or linked means what a flag or a file means, and opens no file."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from shardproof.instances.errors import InputError
from shardproof.solver.api.question import FIELDS, asked_from, instance_from
from shardproof.solver.cli import application
from shardproof.solver.page.questions import asked_from_file, asked_of, question_for, read_question, written
from shardproof.solver.page.serve import link_parts
from tests.oracles.places import ROOT

CASES = sorted((ROOT / "instances" / "cases").rglob("*.yaml"))
FIELDS_ASKED = {"model": "qwen3-8b", "engine": "vllm", "isl": "2k", "osl": "512", "concurrency": "16", "ttft": "2 s"}


def asked(**fields: Any) -> Any:
    return asked_of({"fields": FIELDS_ASKED | fields, "devices": ["h100-sxm"]})


def test_typed_fields_ask_what_keywords_ask() -> None:
    typed = question_for(asked(), "h100-sxm")
    fields = {"isl": 2000, "osl": 512, "concurrency": 16, "ttft": "2 s", "device": "h100-sxm"}
    said = instance_from(None, {"model": "qwen3-8b", "engine": "vllm"} | fields)
    assert typed.fingerprint == said.fingerprint


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_file_of_the_house_asks_the_same_on_the_page(case: Path) -> None:
    opened = read_question(case.read_text(encoding="utf-8"))
    device = opened.devices[0] if opened.devices else None
    assert question_for(opened, device).fingerprint == asked_from(case, {}).fingerprint


def test_devices_as_one_fleet_are_typed_as_flags_are(tmp_path: Path) -> None:
    fleet = {"devices": "h100-sxm=2x8@1.90 USD/h,l40s@0.90 USD/h", "objective": "price", "spare": "node"}
    question = asked_of({"fields": FIELDS_ASKED | fleet})
    own = asked_from(None, FIELDS_ASKED | {"isl": 2000, "osl": 512, "concurrency": 16} | fleet)
    assert question_for(question, None).fingerprint == own.fingerprint
    texts = written(question, None)
    for text in (texts["file"], texts["command"]):
        assert question_for(read_question(text), None).fingerprint == own.fingerprint
    with pytest.raises(InputError, match="leave device out"):
        question_for(question, "h100-sxm")


@pytest.mark.parametrize(
    ("rest", "field"),
    [
        ({"devices": [{"device": "/etc/passwd"}]}, "devices.0.device"),
        ({"devices": ["h100-sxm", "./own.yaml"]}, "devices.1.device"),
        ({"devices": "l40s,~/x=8@1 USD/h"}, "devices.1.device"),
        ({"devices": ["l40s"], "models": [{"model": "../config.json"}]}, "models.0.model"),
        ({"devices": ["l40s"], "models": [{"model": "phi-4", "load_profile": "/x.npz"}]}, "models.0.load_profile"),
        ({"devices": ["l40s"], "models": [{"model": "phi-4", "workload": {"trace": "/x.csv"}}]}, "workload.trace"),
        ({"devices": ["l40s"], "models": [{"model": "phi-4", "speculative": {"model": "/x.json"}}]}, "draft_model"),
    ],
)
def test_a_fleet_opens_no_file(rest: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=re.escape(field)):
        question_for(asked_of({"fields": {"isl": 8, "osl": 8}, "rest": rest}), None)


def test_what_is_written_asks_the_same_again(tmp_path: Path) -> None:
    question = asked(kv_cache="fp8", max_gpus="16", enforce_eager="true", tpot_p99="")
    texts = written(question, "h100-sxm")
    own = question_for(question, "h100-sxm").fingerprint
    file = tmp_path / "question.yaml"
    file.write_text(texts["file"], encoding="utf-8")
    assert instance_from(file, {}).fingerprint == own
    for text in (texts["file"], texts["command"]):
        again = read_question(text)
        assert again.devices == ("h100-sxm",)
        assert question_for(again, "h100-sxm").fingerprint == own


def test_the_command_line_is_one_of_the_command(tmp_path: Path) -> None:
    kept = tmp_path / "kept.yaml"
    line = shlex.split(written(asked(), "h100-sxm")["command"])
    run = CliRunner().invoke(application, [*line[1:], "--write-instance", str(kept), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["instance_fingerprint"] == question_for(asked(), "h100-sxm").fingerprint
    assert yaml.safe_load(kept.read_text())["model"] == "qwen3-8b"
    assert line[:2] == ["shardproof", "solve"]


@pytest.mark.parametrize(
    "tree",
    [
        {"model": "/etc/passwd"},
        {"model": "../config.json"},
        {"model": "~/model"},
        {"model": "C:\\models\\config.json"},
        {"model": "file.json"},
        {"load_profile": "/etc/passwd"},
        {"load_profile": "loads.npz"},
        {"trace": "/etc/passwd"},
        {"calibration": "/etc/passwd"},
    ],
)
def test_fields_open_no_file(tree: dict[str, str]) -> None:
    fields = {
        name: value for name, value in (FIELDS_ASKED | tree).items() if name != "concurrency" or "trace" not in tree
    }
    with pytest.raises(InputError, match="opens none"):
        question_for(asked_of({"fields": fields}), "h100-sxm")


@pytest.mark.parametrize(
    "rest",
    [
        {"model": "/etc/passwd"},
        {"device": "/tmp/device.yaml"},
        {"load_profile": "/etc/passwd"},
        {"calibrations": ["/etc/passwd"]},
        {"workload": {"kind": "requests", "trace": "/etc/passwd"}},
        {"scenarios": [{"workload": {"kind": "requests", "trace": "/etc/passwd"}}]},
    ],
)
def test_the_rest_of_a_file_opens_none_either(rest: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="opens none"):
        question_for(asked_of({"fields": {}, "rest": {"model": "qwen3-8b", "device": "h100-sxm"} | rest}), None)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (None, "is no question"),
        ([], "is no question"),
        ({"fields": []}, "is no question"),
        ({"fields": {"modle": "x"}}, "is no field"),
        ({"fields": {"isl": "many"}}, "no whole number"),
        ({"fields": {"isl": {"a": 1}}}, "at most 300"),
        ({"fields": {"model": "x" * 301}}, "at most 300"),
        ({"fields": {"enforce_eager": "perhaps"}}, "true or false"),
        ({"devices": ["x"] * 41}, "at most 40"),
    ],
)
def test_what_is_no_question_is_refused_by_name(tree: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        asked_of(tree)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("shardproof solve case.yaml", "names a file"),
        ("shardproof solve --modle x", "is no flag"),
        ("shardproof solve --model", "needs a value"),
        ("shardproof solve --model 'x", "whole line"),
        ("- a\n- b", "mapping"),
    ],
)
def test_what_cannot_be_opened_says_why(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_question(text)


def test_a_link_names_every_field_that_is_set() -> None:
    parts = link_parts(asked_from_file({"model": "a/b c", "device": "h100-sxm", "margin": "10%", "notes": "ü"}))
    assert parts[:3] == ["model=a%2Fb%20c", "margin=10%25", "device=h100-sxm"]
    assert parts[3].startswith("file=")


def test_every_field_may_be_typed() -> None:
    """A new field of the question is one of the page: as a slider, or under everything else a flag can say."""
    script = "".join((ROOT / "solver/page/static" / name).read_text() for name in ("form.js", "page.html"))
    elsewhere = {
        "device",
        "trace",
        "calibration",
        "model",
        "engine",
        "isl",
        "osl",
        "batch_size",
        "concurrency",
        "request_rate",
    }
    assert [
        name for name in FIELDS if name not in elsewhere and f'"{name}"' not in script and f"{name}:" not in script
    ] == []


@pytest.mark.parametrize("told", [{"draft_model": "/etc/passwd.json"}, {"model": "./own/config.json"}])
def test_a_draft_of_a_file_is_refused(told: dict[str, str]) -> None:
    """What guesses tokens ahead is named, never read from this machine, by whichever name it is given."""
    asked = asked_of({"fields": {"model": "qwen3-8b"}, "rest": {"speculative": {"method": "draft", **told}}})
    with pytest.raises(InputError, match="names a file"):
        question_for(asked, "h100-sxm")
