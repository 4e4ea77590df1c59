"""Engine command lines: the flags of vLLM, SGLang and TensorRT-LLM that say something about the plan.

Sources: the command-line references of vLLM (``vllm serve``), SGLang (``launch_server`` server arguments)
and TensorRT-LLM (``trtllm-serve``, LLM API options), and Dynamo's workers, which take the engine's own flags.
A command is read word by word (`shardproof.solver.documents.shell`); nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shardproof.solver.documents.shell import Command, Word, split
from shardproof.solver.documents.statement import Entry

FLAGS: dict[str, dict[str, str]] = {
    "vllm": {
        "model": "model", "model-tag": "model", "model-id": "model",
        "tensor-parallel-size": "tp", "tp": "tp", "pipeline-parallel-size": "pp",
        "pp": "pp", "data-parallel-size": "dp", "dp": "dp", "data-parallel-size-local": "dp_local", "dpl": "dp_local",
        "enable-expert-parallel": "expert_parallel_enabled", "ep": "expert_parallel_enabled",
        "max-model-len": "max_model_len", "max-num-seqs": "max_sequences",
        "max-num-batched-tokens": "microbatch_tokens",
        "quantization": "precision", "q": "precision", "dtype": "activation_dtype",
        "kv-cache-dtype": "kv_precision", "gpu-memory-utilization": "memory_fraction", "nnodes": "nodes",
        "node-rank": "node_rank", "headless": "headless", "data-parallel-start-rank": "node_rank",
        "decode-context-parallel-size": "dcp", "dcp": "dcp", "prefill-context-parallel-size": "pcp",
        "rope-scaling": "longer_context", "hf-overrides": "longer_context", "cpu-offload-gb": "offload",
        "kv-cache-memory-bytes": "own_memory", "enforce-eager": "eager", "served-model-name": "served_name",
        "config": "config_file", "speculative-config": "speculative_config", "sc": "speculative_config",
        "spec-method": "speculative_method", "spec-tokens": "draft_tokens", "spec-model": "draft_model",
        "num-speculative-tokens": "draft_tokens", "speculative-model": "draft_model",
    },
    "sglang": {
        "model-path": "model", "model": "model", "tp": "tp", "tp-size": "tp", "tensor-parallel-size": "tp",
        "pp": "pp", "pp-size": "pp", "pipeline-parallel-size": "pp", "dp": "dp", "dp-size": "dp",
        "data-parallel-size": "dp", "attn-dp-size": "attention_dp",
        "ep": "ep", "ep-size": "ep", "expert-parallel-size": "ep", "enable-dp-attention": "attention_dp_enabled",
        "enable-ep-moe": "expert_parallel_enabled", "enable-deepep-moe": "expert_parallel_enabled",
        "moe-a2a-backend": "all_to_all", "served-model-name": "served_name",
        "ep-num-redundant-experts": "redundant_experts",
        "context-length": "max_model_len", "max-running-requests": "max_sequences",
        "chunked-prefill-size": "microbatch_tokens", "quantization": "precision", "dtype": "activation_dtype",
        "kv-cache-dtype": "kv_precision", "mem-fraction-static": "memory_fraction", "nnodes": "nodes",
        "node-rank": "node_rank", "json-model-override-args": "longer_context", "cpu-offload-gb": "offload",
        "config": "config_file", "speculative-algorithm": "speculative_method",
        "speculative-num-steps": "draft_tokens", "speculative-eagle-topk": "draft_topk",
        "speculative-num-draft-tokens": "verified_tokens", "speculative-draft-model-path": "draft_model",
        "speculative-draft-model": "draft_model", "speculative-draft": "draft_model",
    },
    "trtllm": {
        "model": "model", "model-path": "model", "tp_size": "tp", "tensor_parallel_size": "tp", "pp_size": "pp",
        "pipeline_parallel_size": "pp", "ep_size": "ep", "moe_expert_parallel_size": "ep",
        "moe_tensor_parallel_size": "moe_tp", "enable_attention_dp": "attention_dp_enabled",
        "max_batch_size": "max_sequences", "max_num_tokens": "microbatch_tokens", "max_seq_len": "max_model_len",
        "free_gpu_memory_fraction": "memory_fraction", "kv_cache_free_gpu_memory_fraction": "memory_fraction",
        "gpus_per_node": "gpus_per_node", "dtype": "kv_precision", "moe_ep": "ep", "moe_tp": "moe_tp",
        "tp": "tp", "pp": "pp", "ep": "ep", "quant_algo": "precision", "kv_cache_dtype": "kv_precision",
        "served-model-name": "served_name",
        "extra_llm_api_options": "config_file", "config": "config_file", "extra-engine-args": "config_file",
    },
}  # fmt: skip
SWITCHES = frozenset({"expert_parallel_enabled", "attention_dp_enabled", "headless", "eager"})
ENGINE_NAMES = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
_MODULES = (
    ("vllm", re.compile(r"^vllm\.entrypoints\.|^dynamo\.vllm")),
    ("sglang", re.compile(r"^sglang\.launch_server$|^dynamo\.sglang|^sglang\.srt\.server$")),
    ("trtllm", re.compile(r"^dynamo\.trtllm")),
)
_ENGINES = (
    ("vllm", re.compile(r"\bvllm\s+serve\b|vllm\.entrypoints\S*|\bdynamo\.vllm\b")),
    ("sglang", re.compile(r"sglang\.launch_server\b|\bsglang\s+serve\b|\bdynamo\.sglang\b")),
    ("trtllm", re.compile(r"\btrtllm-serve\b(?:\s+serve\b)?|\bdynamo\.trtllm\b")),
)
_IMAGES = (
    (
        "vllm",
        re.compile(r"(?:^|/)vllm-openai(?:-rocm|-cpu)?(?:$|[:@])|(?:^|/)vllm-serve\b|openmodels/vllm|rhaiis/vllm"),
    ),
)
_DOCKER_SWITCHES = frozenset(
    [
        "-d",
        "-t",
        "-i",
        "-it",
        "-ti",
        "-P",
        "--rm",
        "--detach",
        "--interactive",
        "--tty",
        "--privileged",
        "--init",
        "--publish-all",
        "--read-only",
        "--oom-kill-disable",
        "--no-healthcheck",
        "--sig-proxy",
        "--quiet",
        "-q",
        "-dit",
        "-itd",
    ]
)
_BENCHMARK = frozenset({"--dataset-name", "--num-prompts", "--random-input-len", "--random-input"})
"""Flags of load generators: a line that has them measures a server, it starts none."""
MAX_WORDS = 400


@dataclass(frozen=True)
class EngineCall:
    """An engine's start as written: (field, entry) pairs, the words that say nothing, and what they stand in.

    ``image`` is the container image; ``gpus`` the GPUs that ``docker run`` hands over.
    """

    engine: str
    line: int
    text: str
    fields: tuple[tuple[str, Entry], ...]
    unread: tuple[tuple[int, str], ...]
    image: str = ""


def engine_of(text: str) -> str:
    """Return the engine whose server a command starts, or an empty text."""
    return next((name for name, pattern in _ENGINES if pattern.search(text)), "")


def engine_of_image(image: str) -> str:
    """Return the engine that an image starts when it is given flags alone, or an empty text."""
    return next((name for name, pattern in _IMAGES if pattern.search(image)), "")


_TAG = {
    "vllm": re.compile(r"/vllm-openai(?:-rocm)?:v?(\d{1,3}(?:\.\d{1,3}){1,2})\b"),
    "sglang": re.compile(r"/sglang(?:-\w+)?:v?(\d{1,3}(?:\.\d{1,3}){1,2})\b"),
    "trtllm": re.compile(r"/tensorrt-llm/release:v?(\d{1,3}(?:\.\d{1,3}){1,2})\b"),
}
"""Tags of the engines' own images: the release that starts."""


def release_of_image(engine: str, image: str) -> str:
    """Return the release of an engine that its own image starts, or an empty text."""
    found = _TAG[engine].search(image) if engine in _TAG else None
    return found[1] if found else ""


def read_call(command: Command, *, sections: tuple[str, ...] = ()) -> EngineCall | None:
    """Return the engine that a command starts, with its flags; ``None`` where it starts none."""
    words: Sequence[Word] = command.words[:MAX_WORDS]
    fields = _visible_devices(command, sections)
    image = ""
    docker = next((n for n, w in enumerate(words[:6]) if w.text in ("docker", "podman", "nerdctl")), None)
    if docker is not None and docker + 1 < len(words) and words[docker + 1].text in ("run", "create"):
        own, image, words = _docker(words[docker + 2 :], sections)
        fields += own
    start = _start(words) or _implied(image, words)
    if start is None or any(word.text.partition("=")[0] in _BENCHMARK for word in words):
        return None
    engine, rest = start
    flags, unread = read_flags(engine, rest, sections=sections)
    return EngineCall(engine, command.line, command.text[:400], tuple(fields + flags), tuple(unread), image)


def _start(words: Sequence[Word]) -> tuple[str, Sequence[Word]] | None:
    """Return the engine, and the words after what starts it."""
    for place, word in enumerate(words):
        name = word.text.rpartition("/")[2]
        following = words[place + 1].text if place + 1 < len(words) else ""
        if name in ("vllm", "sglang") and following == "serve":
            return name, words[place + 2 :]
        if name in ("trtllm-serve", "trtllm-serve.py") and following.startswith("disaggregated"):
            return None  # the router of servers that other lines start
        if name in ("trtllm-serve", "trtllm-serve.py"):
            return "trtllm", words[place + (2 if following == "serve" else 1) :]
        module = word.text if place and words[place - 1].text == "-m" else ""
        for engine, pattern in _MODULES:
            if module and pattern.search(module):
                return engine, words[place + 1 :]
        if re.search(r"vllm/entrypoints/\w+/api_server\.py$", word.text):
            return "vllm", words[place + 1 :]
    return None


def _implied(image: str, words: Sequence[Word]) -> tuple[str, Sequence[Word]] | None:
    """An image whose entry point is the engine's server takes the server's flags."""
    engine = engine_of_image(image)
    if not engine or not words or words[0].text in ("bash", "sh", "/bin/bash", "/bin/sh", "python", "python3"):
        return None
    return engine, words


def _docker(words: Sequence[Word], sections: tuple[str, ...]) -> tuple[list[tuple[str, Entry]], str, Sequence[Word]]:
    """Read the options of ``docker run``: GPUs, the image, and the words handed to it."""
    fields: list[tuple[str, Entry]] = []
    before: list[Word] = []
    place = 0
    while place < len(words) and words[place].text.startswith("-"):
        name, equals, value = words[place].text.partition("=")
        word, place = words[place], place + 1
        if not equals and name not in _DOCKER_SWITCHES and place < len(words):
            value, place = words[place].text, place + 1
        if name == "--gpus" and (count := device_count(value)) is not None:
            fields.append(("gpus_requested", Entry(word.line, f"--gpus {value}", sections, name, str(count))))
        if name == "--entrypoint":
            before = [Word(part, word.line) for part in split(value)]
        if name in ("-e", "--env") and re.match(r"(?:CUDA|HIP|NVIDIA)_VISIBLE_DEVICES=\d+(?:,\d+)*$", value):
            count = value.count(",") + 1
            fields.append(("visible_gpus", Entry(word.line, value, sections, name, str(count))))
    image = words[place].text if place < len(words) else ""
    return fields, image, [*before, *words[place + 1 :]]


def device_count(value: str) -> int | None:
    """Return the number of GPUs that ``--gpus`` names; ``None`` for all of them."""
    text = value.strip("'\" ")
    if text.isdigit() and len(text) < 6:
        return int(text)
    match = re.search(r"device=[\"']?([\w,-]+)", text)
    counted = re.search(r"count=(\d{1,5})", text)
    return match[1].count(",") + 1 if match else int(counted[1]) if counted else None


def read_flags(
    engine: str, words: Sequence[Word], *, sections: tuple[str, ...] = ()
) -> tuple[list[tuple[str, Entry]], list[tuple[int, str]]]:
    """Return (field, entry) pairs of an engine's flags, and the words that say nothing about the plan."""
    fields: list[tuple[str, Entry]] = []
    unread: list[tuple[int, str]] = []
    place = 0
    if words and not words[0].text.startswith("-"):
        fields.append(("model", _entry(words[0].line, "", words[0].text, sections)))
        place = 1
    while place < len(words):
        word = words[place]
        name, equals, value = word.text.partition("=")
        field = field_of(engine, name)
        following = words[place + 1].text if place + 1 < len(words) else ""
        place += 1
        if not equals and name.startswith("-"):
            if field in SWITCHES:
                value = "true"
                if following.lower() in ("true", "false"):
                    value, place = following, place + 1
            elif following and not re.match(r"^-{1,2}[A-Za-z]", following):
                value, place = following, place + 1
        if field and name.startswith("-") and value:
            fields.append((field, _entry(word.line, f"{name}{equals or ' '}", value, sections)))
        elif word.text not in ("\\", "&", "$", "^"):
            unread.append((word.line, word.text if equals else f"{name} {value}".strip()))
    return fields, unread


def field_of(engine: str, name: str) -> str:
    """Return the field that an engine's flag or argument names, whatever its dashes; empty if none."""
    table, bare = FLAGS[engine], name.lstrip("-")
    found = table.get(bare) or table.get(bare.replace("_", "-")) or table.get(bare.replace("-", "_")) or ""
    return found or (_abbreviated(table, bare) if name.startswith("--") else "")


def _abbreviated(table: dict[str, str], bare: str) -> str:
    """The field of the one flag that begins so: argument parsers take beginnings that leave no choice."""
    begun = bare.replace("_", "-")
    named = {field for flag, field in table.items() if flag.replace("_", "-").startswith(begun)}
    return named.pop() if len(begun) >= 10 and len(named) == 1 else ""


def _visible_devices(command: Command, sections: tuple[str, ...]) -> list[tuple[str, Entry]]:
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        value = command.environment.get(name, "")
        if re.fullmatch(r"\d+(?:,\d+)*", value):
            text = f"{name}={value}"
            return [("visible_gpus", Entry(command.line, text, sections, name, str(value.count(",") + 1)))]
    return []


def _entry(line: int, key: str, value: str, sections: tuple[str, ...]) -> Entry:
    return Entry(line, f"{key}{value}"[:160], sections, key.strip(" =-"), value, "")
