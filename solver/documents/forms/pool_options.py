"""Engine options by pool: a mapping whose ``prefill``, ``decode`` or ``aggregated`` hold an engine's options.

Launchers of disaggregated servers (srt-slurm, TensorRT-LLM's disaggregated serving, Dynamo's recipes) share this shape,
whatever stands around it. Each pool is a launch of its own; the engine is named by a key above (``sglang_config``), a
``type`` or ``backend`` beside, or by options that only one engine has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shardproof.solver.documents.commands import field_of
from shardproof.solver.documents.forms.trtllm_options import TELLING
from shardproof.solver.documents.launch import PATH, Launch, named_by_service, options_of
from shardproof.solver.documents.statement import Entry
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node
from shardproof.solver.documents.values import make

POOLS = frozenset({
    "prefill", "decode", "aggregated", "agg", "context_servers", "generation_servers", "context", "generation", "ctx",
    "gen", "prefiller", "decoder",
})  # fmt: skip
OPTIONS = frozenset({
    "tp", "pp", "dp", "ep", "moe_tp", "attention_dp", "expert_parallel_enabled", "memory_fraction", "max_model_len",
    "max_sequences",
})  # fmt: skip
"""Fields of which a pool has at least one."""
DEEPEST = 6
_ENGINE = re.compile(r"(vllm|sglang|trtllm|tensorrt)")


def may_hold_pools(text: str) -> bool:
    """Whether a text has keys that pools are called by."""
    return bool(re.search(rf"^\s*[\"']?(?:{'|'.join(sorted(POOLS))})[\"']?\s*:\s*(?:\{{|#|$)", text, re.M))


def launches_of_pools(tree: Node) -> list[Launch]:
    """Return a launch for every pool."""
    model = _model(tree)
    return [_launch(engine, name, node, model) for engine, name, node in _pools(tree, "", 0)]


def _model(tree: Node) -> Entry | None:
    """The model that the whole file names, unless by a path."""
    for path in (("model",), ("model", "name"), ("model", "id"), ("model", "path"), ("model_name",)):
        node = tree.get(*path)
        if node is not None and node.scalar and not PATH.match(node.scalar) and "$" not in node.scalar:
            return Entry(node.line, f"{path[-1]}: {printable(node.scalar)}", (), path[-1], node.scalar)
    return None


def _pools(node: Node, engine: str, depth: int) -> Iterator[tuple[str, str, Node]]:
    if depth > DEEPEST or node.fields is None:
        return
    engine = _named(node) or engine
    for key, child in node.pairs():
        match = _ENGINE.search(key.lower())
        below = {"tensorrt": "trtllm"}.get(match[1], match[1]) if match else engine
        if child.fields is None:
            continue
        told = below or _telling(child)
        if key in POOLS and told and any(field_of(told, name) in OPTIONS for name, _ in child.pairs()):
            yield told, key, child
        else:
            yield from _pools(child, below, depth + 1)


def _named(node: Node) -> str:
    """The engine that a mapping names beside its pools."""
    for key in ("type", "backend", "engine", "framework"):
        match = _ENGINE.search(node.text(key).lower())
        if match:
            return {"tensorrt": "trtllm"}.get(match[1], match[1])
    return ""


def _telling(node: Node) -> str:
    """The engine whose own options a mapping holds."""
    keys = {key.replace("-", "_") for key, _ in node.pairs()}
    if keys & (TELLING | {"tensor_parallel_size", "enable_attention_dp"}) and keys & TELLING:
        return "trtllm"
    if keys & {"mem_fraction_static", "model_path", "tp_size"}:
        return "sglang"
    return "vllm" if keys & {"gpu_memory_utilization", "max_num_batched_tokens", "max_model_len"} else ""


def _launch(engine: str, name: str, node: Node, model: Entry | None) -> Launch:
    about = Entry(node.line, name, (), "", name)
    told = named_by_service(options_of(engine, node, ()))
    if model is not None and not any(one.field == "model" for one in told):
        told.append(make(model, "model", printable(model.value, limit=100), "engine"))
    statements = (make(about, "engine", engine, "engine"), *told)
    form = f"engine options of a pool: {name}"
    return Launch(engine, form, node.line, name, statements, name=name, open=True)  # whoever starts it may add to them
