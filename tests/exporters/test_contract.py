"""The contract of flags: what we write is what the engines' parsers list, and worse than they take is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shardproof.instances.errors import InputError, InternalError
from shardproof.solver.exporters.contract import WRITTEN, check_words, check_yaml, contract, recorded
from tests.oracles.places import SHARED


@pytest.mark.parametrize("engine", WRITTEN)
def test_the_contract_is_what_the_engine_lists(engine: str) -> None:
    version, flags = contract(engine)
    path = Path(SHARED) / "exports" / f"{engine}-{version}-flags.json"
    assert set(flags) == set(WRITTEN[engine])
    if not path.is_file():
        pytest.skip("the engines' option lists are not beside the project")
    again = recorded(json.loads(path.read_text()), engine)
    assert {name: (one["arity"], one["type"], tuple(one.get("choices", ()))) for name, one in again.items()} == {
        name: (flag.arity, flag.type, flag.choices) for name, flag in flags.items()
    }


def test_a_flag_that_disappears_is_said() -> None:
    with pytest.raises(InternalError, match="no longer"):
        recorded({}, "vllm")


@pytest.mark.parametrize(
    "words",
    [
        "--tensor-parallel-siz 2",
        "--swap-space 4",
        "--tensor-parallel-size",
        "--tensor-parallel-size two",
        "--kv-cache-dtype int8",
        "--max-num-seqs -3",
    ],
)
def test_flags_outside_the_contract_are_our_fault(words: str) -> None:
    with pytest.raises(InternalError):
        check_words(["vllm", "serve", "m", *words.split()], "vllm", environment={}, layers=32)


@pytest.mark.parametrize(
    "words",
    [
        "--tensor-parallel-size 0",
        "--gpu-memory-utilization 1.5",
        "--max-num-batched-tokens 16 --max-num-seqs 32",
    ],
)
def test_what_only_the_engines_classes_refuse_is_refused(words: str) -> None:
    with pytest.raises(InputError):
        check_words(["vllm", "serve", "m", *words.split()], "vllm", environment={}, layers=32)


@pytest.mark.parametrize("counts", ["16,15", "32", "10,22,0", "16,16,1"])
def test_layers_by_stage_must_be_the_models(counts: str) -> None:
    words = ["vllm", "serve", "m", "--pipeline-parallel-size", "2"]
    with pytest.raises(InternalError, match="entries that sum"):
        check_words(words, "vllm", environment={"VLLM_PP_LAYER_PARTITION": counts}, layers=32)


@pytest.mark.parametrize("text", ["tensor_parallel: 2", "max_seq_len: many", "kv_cache_config: {fraction: 0.5}"])
def test_fields_of_tensorrt_llm_are_its_own(text: str) -> None:
    with pytest.raises(InternalError, match="no such field"):
        check_yaml(text, "trtllm", layers=32)
