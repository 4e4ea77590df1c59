"""Engine command lines: the flags of vLLM, SGLang and TensorRT-LLM that say something about the plan.

Sources: the command-line references of vLLM (``vllm serve``), SGLang (``launch_server`` server arguments)
and TensorRT-LLM (``trtllm-serve``, LLM API options). A command is split into words; nothing is run.
"""

from __future__ import annotations

import re

from shardproof.solver.documents.statement import Entry

FLAGS: dict[str, dict[str, str]] = {
    "vllm": {
        "model": "model", "tensor-parallel-size": "tp", "tp": "tp", "pipeline-parallel-size": "pp", "pp": "pp",
        "data-parallel-size": "dp", "dp": "dp", "enable-expert-parallel": "expert_parallel_enabled",
        "ep": "expert_parallel_enabled",
        "max-model-len": "max_model_len", "max-num-seqs": "batch", "max-num-batched-tokens": "microbatch_tokens",
        "quantization": "precision", "q": "precision", "dtype": "activation_dtype",
        "kv-cache-dtype": "kv_precision", "gpu-memory-utilization": "memory_fraction", "nnodes": "nodes",
    },
    "sglang": {
        "model-path": "model", "model": "model", "tp": "tp", "tp-size": "tp", "tensor-parallel-size": "tp",
        "pp": "pp", "pp-size": "pp", "pipeline-parallel-size": "pp", "dp": "dp", "dp-size": "dp",
        "data-parallel-size": "dp",
        "ep": "ep", "ep-size": "ep", "expert-parallel-size": "ep", "enable-dp-attention": "attention_dp_enabled",
        "enable-ep-moe": "expert_parallel_enabled", "ep-num-redundant-experts": "redundant_experts",
        "context-length": "max_model_len", "max-running-requests": "batch",
        "chunked-prefill-size": "microbatch_tokens", "quantization": "precision", "dtype": "activation_dtype",
        "kv-cache-dtype": "kv_precision", "mem-fraction-static": "memory_fraction", "nnodes": "nodes",
    },
    "trtllm": {
        "model": "model", "tp_size": "tp", "tensor_parallel_size": "tp", "pp_size": "pp",
        "pipeline_parallel_size": "pp", "ep_size": "ep", "moe_expert_parallel_size": "ep",
        "moe_tensor_parallel_size": "moe_tp", "enable_attention_dp": "attention_dp_enabled",
        "max_batch_size": "batch", "max_num_tokens": "microbatch_tokens", "max_seq_len": "max_model_len",
        "free_gpu_memory_fraction": "memory_fraction", "kv_cache_free_gpu_memory_fraction": "memory_fraction",
        "gpus_per_node": "gpus_per_node", "dtype": "kv_precision", "moe_ep": "ep", "moe_tp": "moe_tp",
        "tp": "tp", "pp": "pp", "quant_algo": "precision",
    },
}  # fmt: skip
SWITCHES = frozenset({"expert_parallel_enabled", "attention_dp_enabled"})
_ENGINES = (
    ("vllm", re.compile(r"\bvllm\s+serve\b|vllm\.entrypoints\S*")),
    ("sglang", re.compile(r"sglang\.launch_server\b|\bsglang\s+serve\b")),
    ("trtllm", re.compile(r"\btrtllm-serve\b(?:\s+serve\b)?|\btrtllm-bench\b")),
)
MAX_WORDS = 400


def engine_of(text: str) -> str:
    """Return the engine whose server a command starts, or an empty text."""
    return next((name for name, pattern in _ENGINES if pattern.search(text)), "")


def read_command(command: Entry) -> tuple[str, list[tuple[str, Entry]], list[str]]:
    """Return the engine, (field, entry) pairs, and the words that say nothing about the plan."""
    text = command.value[:20_000]
    found = next(((name, match) for name, pattern in _ENGINES if (match := pattern.search(text))), None)
    if found is None:
        return "", [], [text]
    engine, match = found
    fields, unread = _visible_devices(command, text[: match.start()]), []
    tokens = [token.strip("'\"") for token in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", text[match.end() :])[:MAX_WORDS]]
    tokens = [token for token in tokens if token not in ("\\", "&", "&&", "$")]
    index, table = 0, FLAGS[engine]
    if tokens and not tokens[0].startswith("-"):
        fields.append(("model", _entry(command, "model", tokens[0])))
        index = 1
    while index < len(tokens):
        token = tokens[index]
        name, equals, value = token.partition("=")
        bare = name.lstrip("-")
        field = table.get(bare) or table.get(bare.replace("_", "-")) or table.get(bare.replace("-", "_"))
        has_value = index + 1 < len(tokens) and not re.match(r"^-{1,2}[A-Za-z]", tokens[index + 1])
        if not equals and field not in SWITCHES and has_value and name.startswith("-"):
            index += 1
            value = tokens[index]
        elif not equals and field in SWITCHES:
            value = "true"
            if has_value and tokens[index + 1].lower() in ("true", "false"):
                index += 1
                value = tokens[index]
        index += 1
        if field and name.startswith("-") and value:
            fields.append((field, _entry(command, name, value)))
        else:
            unread.append(f"{name} {value}".strip() if not equals else token)
    return engine, fields, unread


def _visible_devices(command: Entry, before: str) -> list[tuple[str, Entry]]:
    match = re.search(r"(?:CUDA|HIP|ROCR)_VISIBLE_DEVICES=(\d+(?:,\d+)*)", before)
    if match is None:
        return []
    return [("visible_gpus", _entry(command, match[0], str(match[1].count(",") + 1)))]


def _entry(command: Entry, key: str, value: str) -> Entry:
    return Entry(command.line, f"{key} {value}"[:160], command.sections, key, value, "")
