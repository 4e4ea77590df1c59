"""Readers: what is read from which line, what is not, and that nothing hostile gets through."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from fractions import Fraction

import pytest

from shardproof.instances.errors import InputError
from shardproof.solver.audit.audit import audit_document
from shardproof.solver.audit.render import render_audit
from shardproof.solver.documents import vocabulary
from shardproof.solver.documents.catalogue_match import find_devices, find_model
from shardproof.solver.documents.quantities import quantities
from shardproof.solver.documents.reader import parse_document, parse_plans
from shardproof.solver.documents.statement import Statement
from shardproof.solver.documents.text import decode
from tests.oracles.fuzzed_documents import hostile
from tests.oracles.places import DATA, ROOT
from tests.oracles.planted_forms import clean_forms

FOLDER = DATA / "documents"
FUZZED = 10_000 if os.environ.get("SHARDPROOF_FULL") == "1" else 250


def read(text: str, suffix: str = ".md") -> dict[str, list[Statement]]:
    found: dict[str, list[Statement]] = {}
    for statement in parse_document(text, name="document", suffix=suffix).statements:
        found.setdefault(statement.field, []).append(statement)
    return found


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("40.3 GB", "bytes", Fraction(403, 10) * 10**9),
        ("80GiB", "bytes", 80 * 2**30),
        ("1.8TBps", "rate", Fraction(18, 10) * 10**12),
        ("400 Gb/s", "rate", 50 * 10**9),
        ("400TFlops", "flops", 400 * 10**12),
        ("1.979 PFLOPS", "flops", 1979 * 10**12),
        ("62.9%", "ratio", Fraction(629, 1000)),
        ("650 ms", "time", Fraction(65, 100)),
        ("235B", "count", 235 * 10**9),
        ("1,024 tokens", "count", 1024),
        ("$2.39/hr", "price", Fraction(239, 100)),
    ],
)
def test_quantities(text: str, dimension: str, value: Fraction) -> None:
    found = {item.dimension: item.value for item in quantities(text)}
    assert found[dimension] == value


@pytest.mark.parametrize(
    "line",
    ["- TP: 8", "TP 8", "tp=8", "We run TP8 here", "- **Tensor Parallel (TP):** 8", "| Tensor parallelism | 8 |",
     "### Tensor Parallel (TP): 8", "8-way tensor parallelism", "tensor-parallel-size: 8", "Tensor parallel degree = 8",
     "1. Tensor-parallel size: 8", "* attn_tp = 8"],
)  # fmt: skip
def test_wordings_of_a_degree(line: str) -> None:
    assert [statement.number for statement in read(f"# Plan\n\n{line}\n")["tp"]] == [8]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("- Time to first token: 1.5 s", "ttft", Fraction(3, 2)),
        ("- Max TTFT: 800 ms", "ttft_limit", Fraction(4, 5)),
        ("- TTFT must not exceed 2 s.", "ttft_limit", 2),
        ("- Inter-token latency: 20 ms", "tpot", Fraction(1, 50)),
        ("- VRAM per card: 80 GB", "memory_per_gpu", 80 * 10**9),
        ("- The model is split into 4 pipeline stages.", "pp", 4),
        ("- Every stage holds 20 layers.", "layers_per_stage", 20),
        ("- 16 experts per GPU", "experts_per_gpu", 16),
        ("- Key/value heads per GPU: 2", "kv_heads_per_gpu", 2),
        ("- num_hidden_layers: 61", "layers", 61),
        ("- ISL = 2K", "input_tokens", 2048),
    ],
)
def test_wordings(line: str, field: str, value: Fraction) -> None:
    assert read(f"# Plan\n\n{line}\n")[field][0].value == value


def test_stage_lines() -> None:
    found = read("# Plan\n\n- Stage 0: layers 0-23, GPUs 0-7\n- Stage 1: layers 24 to 47 (GPUs 8-15), TP 8\n")
    assert [statement.value for statement in found["stage_layers"]] == [(0, 23), (24, 47)]
    assert [statement.value for statement in found["stage_gpus"]] == [(0, 7), (8, 15)]
    assert found["tp"][0].subject == "stage 1"


def test_stage_table_and_half_open_ranges() -> None:
    found = read("| Stage | Layers | GPUs |\n|---|---|---|\n| 0 | [0, 24) | 0-3 |\n| 1 | [24, 48) | 4-7 |\n")
    assert [statement.value for statement in found["stage_layers"]] == [(0, 23), (24, 47)]


def test_sentence_over_two_lines() -> None:
    found = read("Plan\n\nThe model runs on two racks with 16 GPUs\nin total, all alike.\n")
    assert found["gpus"][0].number == 16


def test_engine_commands() -> None:
    found = read("CUDA_VISIBLE_DEVICES=0,1 vllm serve org/model -tp 2 --max-model-len=4096 --port 1\n", ".sh")
    assert found["tp"][0].number == 2
    assert found["visible_gpus"][0].number == 2
    assert found["max_model_len"][0].number == 4096
    document = parse_document("vllm serve org/model --port 1", name="x")
    assert [item.text for item in document.unread] == ["--port 1"]


def test_numbers_without_unit_are_not_guessed() -> None:
    document = parse_document("# Plan\n\n- TP: 4\n- TTFT: 30\n- GPU memory: 80\n", name="x", suffix=".md")
    assert {item.line for item in document.unread} == {4, 5}
    assert all("unit" in item.reason for item in document.unread)


def test_unknown_keys_are_listed() -> None:
    document = parse_document("# Plan\n\n- TP: 4\n- Frobnication level: 7\n", name="x", suffix=".md")
    assert [(item.line, item.text) for item in document.unread] == [(4, "- Frobnication level: 7")]


def test_columns_of_several_plans_are_not_taken_for_one() -> None:
    document = parse_document(
        "- PP: 1\n\n| | Plan A | Plan B |\n|---|---|---|\n| TP | 2 | 4 |\n", name="x", suffix=".md"
    )
    assert not document.of("tp")
    assert document.unread


def test_no_two_fields_share_a_wording_in_one_section_and_kind() -> None:
    for words, rows in vocabulary._index().items():
        seen = [(row.kind, section) for row in rows for section in (row.where or {"any"})]
        open_kinds = [row.kind for row in rows if not row.where]
        assert len(seen) == len(set(seen)) or words == frozenset({"ttft", "maximum"}), (words, rows)
        assert len(open_kinds) == len(set(open_kinds)) or {"ttft", "flops"} & words, words


def test_names_are_matched_not_guessed() -> None:
    assert find_model("Qwen3-235B", "fp8").name == "qwen3-235b-a22b-fp8"  # type: ignore[union-attr]
    assert find_model("Llama 3.1 70B Instruct", None).name == "llama-3.1-70b-instruct"  # type: ignore[union-attr]
    assert find_model("Qwen3", None) is None
    assert find_model("Some-New-Model-9000B", None) is None
    assert [device.name for device in find_devices("NVIDIA H100 80GB SXM5")] == ["h100-sxm"]
    assert len(find_devices("H100")) > 1


@pytest.mark.parametrize("text", ["", "   \n", "hello", "{}", "[]", "a: &a [*a]", "x: [1, 2", '{"a": '])
def test_empty_and_broken_documents_are_refused(text: str) -> None:
    for suffix in (".md", ".yaml", ".json"):
        with pytest.raises(InputError):
            parse_document(text, name="x", suffix=suffix)


def test_binary_and_huge_documents_are_refused() -> None:
    for raw in (b"\x00\x01", b"\xff" * 400, b"x" * 600_000, b"\n" * 70_000):
        with pytest.raises(InputError):
            decode(raw, name="x")


@pytest.mark.slow(reason="every line of a document in turn is audited")
@pytest.mark.parametrize("number", ["0", "99999999999999", "1"])
def test_absurd_numbers_end_in_verdicts(number: str) -> None:
    original = ORIGINALS[-1].decode()
    # What is wrong with this share is looked for longest of all, in every document anew: it stands in one of them.
    others = original.replace("- Memory utilization: 62.9%\n", "")
    assert others != original
    lines = [line for line in original.split("\n") if re.search(r"\d", line) and not line.startswith("# ")]
    for place, line in enumerate(lines):
        document = others if line in others else original
        changed = document.replace(line, re.sub(r"(?<![\w.])\d+(?:\.\d+)?", number, line))
        text = changed.replace("Qwen3-235B", "Unknown") if place % 2 else changed
        assert audit_document(parse_document(text, name="x.md", suffix=".md")).claims


@pytest.mark.parametrize("number", ["0", "-1", "-8"])
@pytest.mark.parametrize("key", ["TP", "DP", "EP", "PP", "moe_tp", "replicas", "GPUs", "nodes", "GPUs per node"])
def test_degrees_below_one_end_in_verdicts(key: str, number: str) -> None:
    parts = {"TP": 4, "PP": 2, "DP": 1, "moe_tp": 4} | {key: number}
    plan = "".join(f"- {name}: {value}\n" for name, value in parts.items())
    text = f"# Plan\n\n- Model: Qwen3-235B\n- Device: H100 SXM\n- Batch size: 8\n- Input: 64 tokens\n{plan}"
    assert audit_document(parse_document(text, name="x.md", suffix=".md")).claims
    tree = "".join(f"{name.lower().replace(' ', '_')}: {value}\n" for name, value in parts.items())
    staged = f"model: qwen3-235b-a22b-fp8\nstages:\n- layers: [0, 93]\n  gpus: {number}\n  attn_tp: {number}\n"
    for text in (tree, staged + f"  moe_tp: {number}\n  moe_ep: {number}\n"):
        assert audit_document(parse_document(text, name="x.yaml", suffix=".yaml")).claims


ORIGINALS = [path.read_bytes() for path in sorted(FOLDER.iterdir())]
FORMS = [form.text.encode() for form in clean_forms()]
ORIGINALS.append((ROOT / "instances" / "plans" / "qwen3-235b-handwritten.md").read_bytes())


CPU_SECONDS = 6 if sys.gettrace() is None else 24
"""No document may take longer; counting coverage multiplies the time, and so do neighbours on the same core."""


@pytest.mark.parametrize("block", range(10))
def test_hostile_documents(block: int) -> None:
    for seed in range(block * FUZZED // 10, (block + 1) * FUZZED // 10):
        raw, suffix = hostile(seed, ORIGINALS + FORMS)
        started = time.process_time()
        try:
            plans = parse_plans(decode(raw, name="x"), name="x" + suffix, suffix=suffix)
            audits = [audit_document(plan) for plan in plans]
            shown = "".join(render_audit(a, colour=False, every=True) + json.dumps(a.to_json()) for a in audits)
        except InputError as error:
            shown = str(error)
        assert time.process_time() - started < CPU_SECONDS, seed
        assert not [c for c in shown if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066"], (
            seed
        )
