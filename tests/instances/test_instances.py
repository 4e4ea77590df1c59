"""Instance files: every problem at once, hostile files refused, defaults said out loud."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from shardproof.instances.errors import InputError
from shardproof.instances.reading import MAX_BYTES, parse_mapping, read_mapping
from shardproof.instances.resolve import load_instance, merge, resolve_tree
from tests.oracles.places import CASES


def question(**changes: object) -> dict[str, object]:
    tree: dict[str, object] = {
        "model": "qwen3-8b",
        "device": "h100-sxm",
        "workload": {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 128},
        "limits": {"ttft": "2 s"},
    }
    return merge(tree, changes)


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_case_loads(path: Path) -> None:
    instance = load_instance(path)
    assert instance.model.layer_count > 0
    assert len(instance.fingerprint) == 64


def test_all_problems_are_named_at_once() -> None:
    tree = question(limits={"ttft": 30, "colour": "red"}, workload={"batch_size": 0}, engine="tgi")
    with pytest.raises(InputError) as caught:
        resolve_tree(tree, where="case.yaml")
    message = str(caught.value)
    assert all(word in message for word in ("limits.ttft", "has no unit", "limits.colour", "batch_size", "engine"))
    assert all(line.startswith("case.yaml: ") for line in message.splitlines())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": "qwen3-8c"}, "qwen3-8b"),
        ({"device": "h100-sxn"}, "h100-sxm"),
        ({"limits": {"price_per_hour": "0.01 USD/h"}}, "price_per_hour"),
        ({"workload": {"sequence_length_range": [10, 20]}}, "outside"),
        ({"workload": {"input_tokens": 10**7}}, "positions"),
        ({"scenarios": [{"workload": {"kind": "burst"}}]}, "missing"),
        ({"hardware": {"mfu": 1.5}}, "mfu"),
        ({"hardware": {"mfu": 0}}, "mfu"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        resolve_tree(question(**changes), where="case.yaml")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2", "stands twice"),
        ("a: .nan", "finite"),
        ("a: .inf", "finite"),
        ("a: !!python/object:os.system x", "write a finite decimal number"),
        ("a: [1, 2", "not YAML"),
        ("- 1", "top level"),
        ("", "top level"),
        ("a: " + "[" * 80 + "]" * 80, "deeper"),
        ("? [1]\n: 2", "plain text"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "\n".join(
                f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]"
                for a, b in zip("abcdef", "bcdefg", strict=True)
            ),
            "too many",
        ),
    ],
)
def test_hostile_yaml_is_refused(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        parse_mapping(text, where="case.yaml")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "finite"),
        ("{", "not JSON"),
        ('{"a":' * 60 + "1" + "}" * 60, "deeper"),
    ],
)
def test_hostile_json_is_refused(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        parse_mapping(text, where="case.json", json_syntax=True)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, word in (
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path, "folder"),
        (large, "larger"),
        (binary, "UTF-8"),
    ):
        with pytest.raises(InputError, match=word):
            read_mapping(path)


def test_decimals_are_exact() -> None:
    instance = resolve_tree(question(hardware={"mfu": 0.6}), where="x")
    assert instance.device.mfu == Fraction(3, 5)


def test_defaults_are_said() -> None:
    said = " ".join(resolve_tree(question(), where="x").assumptions)
    assert all(word in said for word in ("runtime reserve", "256 GPUs", "KV cache dtype"))
    given = question(
        runtime_reserve="2 GB", limits={"max_gpus": 8}, precision={"kv_cache": "fp8"}, hardware={"mfu": 0.5}
    )
    said = " ".join(resolve_tree(given, where="x").assumptions)
    assert "runtime reserve" not in said
    assert "GPUs" not in said


def test_names_and_notes_do_not_change_the_fingerprint() -> None:
    one, other = question(name="one"), question(name="other", assumptions=["a note"])
    assert resolve_tree(one, where="x").fingerprint == resolve_tree(other, where="x").fingerprint
    changed = question(limits={"ttft": "2.000000001 s"})
    assert resolve_tree(one, where="x").fingerprint != resolve_tree(changed, where="x").fingerprint


def test_a_price_limit_is_a_gpu_budget() -> None:
    instance = resolve_tree(
        question(hardware={"price_per_hour": "2 USD/h"}, limits={"price_per_hour": "7 USD/h"}), where="x"
    )
    assert instance.max_gpus == 3
