"""What users set on an engine: in files, by other engines' names, by flags; and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from shardproof.formulations.engines.told import engine_assumptions
from shardproof.instances.engine import EngineSettings
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import load_instance, resolve_tree
from shardproof.solver.commands.solve import command

LOAD = {"kind": "burst", "batch_size": 4, "input_tokens": 1000, "output_tokens": 100}
TREE: dict[str, Any] = {"name": "t", "model": "llama-3.1-8b", "device": "h100-sxm", "workload": LOAD}
FLAGS = "--model llama-3.1-8b --device h100-sxm --isl 1000 --osl 100 --batch-size 4".split()


def settings(engine: object, **changes: Any) -> EngineSettings:
    return resolve_tree(TREE | changes | {"engine": engine}, where="test").engine_settings


def test_a_name_may_carry_its_version() -> None:
    assert settings("vllm@0.11") == settings({"name": "vllm", "version": "0.11"})
    assert settings("vllm").version is None


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ("sglang", {"mem_fraction_static": "0.8", "max_running_requests": 64, "chunked_prefill_size": 4096}),
        ("sglang", {"mem-fraction-static": "80%", "max-running-requests": 64, "chunked-prefill-size": 4096}),
        ("trtllm", {"free_gpu_memory_fraction": 0.8, "max_batch_size": 64, "max_num_tokens": 4096}),
    ],
)
def test_other_engines_names_mean_the_same(engine: str, names: dict[str, Any]) -> None:
    found = settings({"name": engine} | names)
    assert found.gpu_memory_utilization == Fraction(4, 5)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == (64, 4096)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vlm", "known are any, vllm, sglang, trtllm"),
        ("vllm@new", "version"),
        ({"max_num_seqs": 8}, "name one of vllm, sglang, trtllm"),
        ({"name": "vllm", "max_num_seqs": 256, "max_num_batched_tokens": 32}, "every running request needs one token"),
        ({"name": "vllm", "gpu_memory_utilization": 1.2}, "less than or equal to 1"),
        ({"name": "vllm", "max_model_len": 500}, "longer than max_model_len"),
        ({"name": "sglang", "page_size": 16, "block_size": 32}, "say the same twice"),
        ({"name": "vllm", "swap_space": 4}, "unknown field"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_message(engine: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        settings(engine)


@pytest.mark.parametrize("device", ["mi300x", "gaudi-3", "tpu-v6e", "ascend-910b2"])
def test_tensorrt_is_refused_where_it_does_not_run(device: str) -> None:
    with pytest.raises(InputError, match=f"trtllm does not run on {device}"):
        settings("trtllm", device=device)


def kept(folder: Path, *flags: str) -> Instance:
    path = folder / "kept.yaml"
    found = CliRunner().invoke(
        command,
        [*FLAGS, *flags, "--write-instance", str(path), "--json"],
        standalone_mode=False,
        catch_exceptions=False,
    )
    instance = load_instance(path)
    assert json.loads(found.stdout)["instance_fingerprint"] == instance.fingerprint
    return instance


def test_flags_say_what_files_say(tmp_path: Path) -> None:
    by_flags = kept(
        tmp_path, "--engine", "vllm@0.11", "--max-num-batched-tokens", "8k", "--max-running-requests", "16",
        "--mem-fraction-static", "0.85", "--context-length", "4K", "--enforce-eager", "--page-size", "32",
    )  # fmt: skip
    assert by_flags.engine_settings == EngineSettings(
        name="vllm",
        version="0.11",
        max_num_batched_tokens=8000,
        max_num_seqs=16,
        gpu_memory_utilization=Fraction(17, 20),
        max_model_len=4096,
        enforce_eager=True,
        block_size=32,
    )


def test_flags_lie_over_a_file_and_another_engine_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(TREE | {"engine": {"name": "vllm", "max_num_seqs": 16}}))

    def asked(*flags: str) -> EngineSettings:
        keep = tmp_path / "kept.yaml"
        CliRunner().invoke(
            command, [str(path), *flags, "--write-instance", str(keep)], standalone_mode=False, catch_exceptions=False
        )
        return load_instance(keep).engine_settings

    assert asked("--block-size", "32") == EngineSettings(name="vllm", max_num_seqs=16, block_size=32)
    assert asked("--engine", "sglang") == EngineSettings(name="sglang")


def test_versions_without_an_entry_say_which_stands_in() -> None:
    def said(engine: str) -> str:
        return " ".join(engine_assumptions(resolve_tree(TREE | {"engine": engine}, where="test")))

    assert "accounts for memory as versions from 0.10 on" in said("vllm@0.11")
    assert "accounts for memory" not in said("vllm@0.10")
    assert "engine version: not given, vllm is taken as" in said("vllm")
    assert said("any") == ""


def test_settings_belong_to_the_question() -> None:
    prints = {
        resolve_tree(TREE | {"engine": engine}, where="test").fingerprint
        for engine in ("vllm", "vllm@0.11", {"name": "vllm", "max_num_seqs": 8}, "sglang")
    }
    assert len(prints) == 4
