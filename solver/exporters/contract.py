"""The contract of flags: every flag that we write is one of the engine's, with its arity, type and choices.

``contracts/*.json`` are written by ``python -m benchmarks.exports contracts`` from the option lists that the engines'
own parsers build; that of TensorRT-LLM is kept by hand from its LLM API arguments (source in the file). What
argparse lets through and the engine's configuration classes refuse is checked here as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shardproof.instances.errors import InternalError
from shardproof.instances.reading import refuse

FOLDER = Path(__file__).parent / "contracts"

WRITTEN: Mapping[str, tuple[str, ...]] = {
    "vllm": (
        "--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size", "--enable-expert-parallel",
        "--max-model-len", "--max-num-batched-tokens", "--max-num-seqs", "--gpu-memory-utilization", "--quantization",
        "--kv-cache-dtype", "--block-size", "--enforce-eager", "--distributed-executor-backend",
        "--data-parallel-size-local", "--data-parallel-address", "--data-parallel-rpc-port",
        "--data-parallel-start-rank", "--headless", "--nnodes", "--node-rank", "--master-addr", "--host", "--port",
        "--served-model-name", "--hf-overrides", "--model", "--kv-transfer-config", "--speculative-config",
    ),
    "sglang": (
        "--model-path", "--tp-size", "--pp-size", "--dp-size", "--attn-dp-size", "--enable-dp-attention", "--ep-size",
        "--context-length", "--chunked-prefill-size", "--max-running-requests", "--mem-fraction-static",
        "--quantization", "--max-prefill-tokens", "--kv-cache-dtype", "--page-size", "--disable-cuda-graph",
        "--nnodes", "--dist-init-addr", "--node-rank", "--host", "--port", "--init-expert-location",
        "--ep-num-redundant-experts", "--served-model-name", "--json-model-override-args",
        "--disaggregation-mode", "--disaggregation-transfer-backend", "--disaggregation-bootstrap-port",
        "--speculative-algorithm", "--speculative-num-steps", "--speculative-eagle-topk",
        "--speculative-num-draft-tokens", "--speculative-draft-model-path",
    ),
}  # fmt: skip
"""Flags that exporters write; the contract holds these alone."""

OLD = frozenset({"--enable-dp-attention", "--distributed-executor-backend"})
"""Flags that are written for older versions only."""


@dataclass(frozen=True)
class Flag:
    """A flag: how many values follow it, of which type, out of which."""

    arity: int
    type: str
    choices: tuple[str, ...] = ()


@cache
def contract(engine: str) -> tuple[str, dict[str, Flag]]:
    """Return the version whose options were recorded, and the flags by name."""
    tree = json.loads((FOLDER / f"{engine}.json").read_text(encoding="utf-8"))
    flags = {
        name: Flag(item["arity"], item["type"], tuple(item.get("choices") or ()))
        for name, item in tree["flags"].items()
    }
    return tree["version"], flags


def recorded(options: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Reduce an engine's whole option list to the flags that are written here.

    Raises
    ------
    InternalError
        If the engine has a flag no longer.
    """
    return {name: _reduced(name, options) for name in WRITTEN[engine]}


def _reduced(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    found = next((item for item in options.values() if name in item["all"]), None)
    if found is None:
        raise InternalError(f"{name}: the engine has this flag no longer; mend solver/evaluation/engine_commands.py")
    is_switch = found.get("nargs") == 0 or any(word in found["action"] for word in ("True", "Boolean", "Const"))
    metavar = found.get("metavar")
    choices = found["choices"] or (metavar if isinstance(metavar, list) and found.get("nargs") is None else None)
    reduced: dict[str, Any] = {"arity": 0 if is_switch else 1, "type": _type(found["type"])}
    return reduced | ({"choices": [str(choice) for choice in choices]} if choices and not is_switch else {})


def _type(name: str | None) -> str:
    """Whole numbers are ``int``, numbers ``float``, whatever else text (parsers' own functions have many names)."""
    if name and "int" in name:
        return "int"
    return "float" if name == "float" else "str"


def check_words(words: Sequence[str], engine: str, *, environment: Mapping[str, str], layers: int) -> None:
    """Check a command against the contract, and against what the engine refuses beyond its parser.

    Raises
    ------
    InternalError
        If a flag is not the engine's: a fault of ours.
    InputError
        If the engine would refuse the values of the plan.
    """
    found: dict[str, str] = {}
    if engine != "trtllm":
        found = _read(words, engine)
    for name in ("--tensor-parallel-size", "--pipeline-parallel-size", "--tp-size", "--pp-size", "--max-num-seqs"):
        if name in found and int(found[name]) < 1:
            raise refuse("plan", f"{engine} refuses {name} {found[name]}; write 1 or more", field=name)
    _check_batch(found, engine)
    stages = int(found.get("--pipeline-parallel-size", found.get("--pp-size", "1")))
    for name, value in environment.items():
        if name.endswith("_PP_LAYER_PARTITION"):
            _check_partition(name, [int(part) for part in value.split(",")], stages, layers)


def _read(words: Sequence[str], engine: str) -> dict[str, str]:
    version, flags = contract(engine)
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            continue
        flag = flags.get(word)
        if flag is None:
            raise InternalError(f"{word} is no flag of {engine} {version}")
        value = next(rest, "") if flag.arity else ""
        if flag.arity and not _fits(value, flag):
            raise InternalError(f"{word} {value}: {engine} {version} takes {flag.type} {', '.join(flag.choices)}")
        found[word] = value
    return found


def _fits(value: str, flag: Flag) -> bool:
    if not value or value.startswith("--") or (flag.choices and value not in flag.choices):
        return False
    if value.startswith("$"):
        return True
    try:
        return flag.type == "str" or (int(value) if flag.type == "int" else float(value)) >= 0
    except ValueError:
        return False


def _check_batch(found: Mapping[str, str], engine: str) -> None:
    """VLLM's SchedulerConfig and CacheConfig refuse these, its parser does not."""
    share = float(found.get("--gpu-memory-utilization", found.get("--mem-fraction-static", "0.5")))
    if not 0 < share <= 1:
        raise refuse("plan", f"{engine} takes a share of memory above 0 and up to 1, not {share:g}", field="memory")
    batched, sequences = int(found.get("--max-num-batched-tokens", "0")), int(found.get("--max-num-seqs", "0"))
    if sequences > batched:
        remedy = (
            f"vLLM refuses max_num_batched_tokens {batched} below max_num_seqs {sequences}; solve with a larger one"
        )
        raise refuse("plan", remedy, field="max_num_batched_tokens")


def _check_partition(name: str, counts: Iterable[int], stages: int, layers: int) -> None:
    """Check layers by stage as vllm/distributed/utils.py does: one entry a stage, all of them the model's layers."""
    listed = list(counts)
    if len(listed) != stages or sum(listed) != layers or min(listed) < 1:
        raise InternalError(f"{name} {listed}: not {stages} entries that sum to {layers}")


_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "list": (list,),
    "mapping": (dict, type(None)),
}


def check_yaml(text: str, engine: str, *, layers: int) -> None:
    """Check a file of TensorRT-LLM's options: every key a field, every value of its type.

    Raises
    ------
    InternalError
        If one is not: a fault of ours.
    """
    version, flags = contract(engine)
    tree = yaml.safe_load(text)
    leaves = {
        f"{key}.{inner}": value for key, part in tree.items() if isinstance(part, dict) for inner, value in part.items()
    }
    for name, value in {**tree, **leaves}.items():
        flag = flags.get(name)
        if flag is None or not isinstance(value, _KINDS[flag.type]):
            raise InternalError(f"{name}: {value!r}: {engine} {version} has no such field")
    if "pp_partition" in tree:
        _check_partition("pp_partition", tree["pp_partition"], tree["pipeline_parallel_size"], layers)
