"""TensorRT-LLM options in a ConfigMap that no workload of the same text asks for: a launch of their own."""

from __future__ import annotations

from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch, options_of
from shardproof.solver.documents.statement import Entry
from shardproof.solver.documents.tree import Node, read_tree
from shardproof.solver.documents.values import make

FORM = "TensorRT-LLM ConfigMap"
TELLING = frozenset({
    "kv_cache_config", "moe_expert_parallel_size", "moe_tensor_parallel_size", "free_gpu_memory_fraction",
    "enable_attention_dp", "cuda_graph_config", "moe_config", "cache_transceiver_config", "max_num_tokens",
})  # fmt: skip


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return a launch for every file of options in a ConfigMap; ``None`` for any other document."""
    if tree.text("kind") != "ConfigMap":
        return None
    found = []
    for key, node in tree.pairs("data"):
        if not key.endswith((".yaml", ".yml", ".json")) or not node.scalar:
            continue
        for options in read_tree(node.scalar, name=key):
            if TELLING & {name for name, _ in options.pairs()}:
                found.append(_launch(options, known, node.first - 1, key))
    return found


def _launch(options: Node, known: Known, shift: int, name: str) -> Launch:
    line = options.line + shift
    about = Entry(line, name, known.sections, "", name)
    statements = [
        make(about, "engine", "trtllm", "engine"),
        *options_of("trtllm", options, known.sections, shift=shift),
    ]
    return Launch("trtllm", FORM, line, name, tuple(statements), sections=known.sections,
                  name=name, open=True)  # fmt: skip
