"""Messages about what is wrong in a file: fields as users write them, and never longer than somebody reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproof.instances.errors import InputError, Problem
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.sweep import expand, load_sweep

QUESTION = {
    "device": "h100-sxm",
    "workload": {"kind": "burst", "batch_size": 1, "input_tokens": 1, "output_tokens": 1},
}


def test_a_field_is_named_without_the_schema_s_own_words() -> None:
    with pytest.raises(InputError) as refused:
        resolve_tree({**QUESTION, "model": {"mfu": "60%"}}, where="question")
    assert "model.name: is missing; add it" in str(refused.value)
    assert "function" not in str(refused.value)


def test_a_list_of_problems_is_cut_by_number_and_by_length() -> None:
    many = InputError([Problem("file", f"field{place}", "value", "remedy") for place in range(100)])
    assert str(many).endswith("\n... and 80 more")
    wide = InputError([Problem("file", f"field{place}", "v" * 300, "r" * 3000) for place in range(100)])
    assert len(str(wide)) < 10_000
    assert all(f"field{place}" in str(wide) for place in range(3))
    assert "\n... and 9" in str(wide)


def test_a_value_of_a_sweep_is_cut_in_messages(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"base: {{model: qwen3-8b}}\ncross: {{device: [{'x' * 5000}], limits.ttft: [1 s]}}\n", "utf-8")
    with pytest.raises(InputError) as refused:
        list(expand(load_sweep(file), where=str(file), folder=tmp_path))
    assert len(str(refused.value)) < 2000
