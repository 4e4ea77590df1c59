"""Start logs: what vLLM, SGLang and TensorRT-LLM print of their memory as they start.

Sources: logs in the projects' public issues: vLLM 0.7 to 0.26 (what it called GB before 0.8 is GiB), SGLang 0.4 to
0.5 (GB is GiB), TensorRT-LLM 0.8 and its PyTorch backend; the texts in vLLM 0.33.0 and SGLang 0.5.23. Ranks print one
line each: of sizes the largest counts, of tokens and blocks the smallest, as the engine itself takes them; graphs of
several kinds (decode, prefill) add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shardproof.instances.reading import refuse

GIB = 2**30
LONGEST = 32 * 2**20
"""Bytes of a log that are read."""

_NUMBER = r"([\d,]+(?:\.\d+)?)"

_LINES: tuple[tuple[str, str, str, int], ...] = (
    ("vllm", "weights", rf"Model loading took {_NUMBER} Gi?B", GIB),
    ("vllm", "weights", rf"Loading model weights took {_NUMBER} Gi?B", GIB),
    ("vllm", "weights", rf"model weights take {_NUMBER} ?GiB", GIB),
    ("vllm", "activations", rf"PyTorch activation peak memory takes {_NUMBER} ?GiB", GIB),
    ("vllm", "kv_cache", rf"Available KV cache memory: {_NUMBER} ?GiB", GIB),
    ("vllm", "kv_cache", rf"reserved for KV Cache is {_NUMBER} ?GiB", GIB),
    ("vllm", "kv_blocks", rf"# (?:GPU|cuda) blocks: {_NUMBER}", 1),
    ("vllm", "kv_tokens", rf"KV cache size: {_NUMBER} tokens", 1),
    ("vllm", "concurrency", rf"Maximum concurrency for [\d,]+ tokens per request: {_NUMBER}x", 1),
    ("vllm", "cuda_graphs", rf"Graph capturing finished in [\d.]+ secs?, took {_NUMBER} GiB", GIB),
    ("sglang", "weights", rf"Load weight end\..*mem usage={_NUMBER} GB", GIB),
    ("sglang", "kv_tokens", rf"KV Cache is allocated\..*#tokens: {_NUMBER}", 1),
    ("sglang", "kv_cache", rf"KV Cache is allocated\..*\bKV size: {_NUMBER} GB", GIB),
    ("sglang", "kv_tokens", rf"max_total_num_tokens={_NUMBER}", 1),
    ("sglang", "kv_tokens", rf"sizing: KV cache allocated\..*#tokens: {_NUMBER}", 1),
    ("sglang", "kv_cache", rf"sizing: KV cache allocated\..*\bKV size: {_NUMBER} GB", GIB),
    ("sglang", "cuda_graphs", rf"Capture (?:[\w-]+ )*cuda graph end\..*mem usage={_NUMBER} GB", GIB),
    ("sglang", "sequences", rf"max_running_requests={_NUMBER}", 1),
    ("trtllm", "weights", rf"Memory used (?:after loading|for) model weights .*profiling: {_NUMBER} GiB", GIB),
    ("trtllm", "weights", rf"Loaded engine size: {_NUMBER} MiB", 2**20),
    ("trtllm", "kv_cache", rf"Allocated {_NUMBER} GiB for max tokens in paged KV cache", GIB),
    ("trtllm", "kv_tokens", rf"for max tokens in paged KV cache \({_NUMBER}\)", 1),
    ("trtllm", "kv_cache", rf"Allocate {_NUMBER} bytes for k/v cache", 1),
    ("trtllm", "kv_tokens", rf"Using {_NUMBER} tokens in paged KV cache", 1),
)  # fmt: skip
"""Engine, quantity, line, and the size of its unit in bytes (1: a count)."""

_LEAST = ("kv_blocks", "kv_tokens", "concurrency", "sequences", "kv_cache")
_BOTH = re.compile(rf"KV Cache is allocated\..*K size: {_NUMBER} GB, V size: {_NUMBER} GB")


_CAPTURED = re.compile(r"Capture ((?:[\w-]+ )*)cuda graph end", re.IGNORECASE)
"""What graphs were captured for: those of several kinds add up."""


@dataclass(frozen=True)
class StartLog:
    """What an engine printed: bytes and counts by name, and the line on which each stands."""

    engine: str
    values: Mapping[str, float]
    lines: Mapping[str, int]
    file: str = "log"


def read_start_log(path: Path) -> StartLog:
    """Read a log.

    Raises
    ------
    InputError
        If no line of it speaks of memory as an engine does.
    """
    found: dict[str, dict[str, list[tuple[float, int]]]] = {}
    for place, line in enumerate(_text(path).splitlines(), start=1):
        for engine, name, value in _read(line):
            found.setdefault(engine, {}).setdefault(name, []).append((value, place))
    if not found:
        remedy = "holds no line that vLLM, SGLang or TensorRT-LLM prints of its memory; give the log from its start"
        raise refuse(str(path), remedy)
    engine = max(found, key=lambda name: len(found[name]))
    chosen = {name: min(seen) if name in _LEAST else max(seen) for name, seen in found[engine].items()}
    values: dict[str, float] = {}
    lines: dict[str, int] = {}
    for name, (value, place) in chosen.items():
        plain = name.partition(":")[0]
        values[plain] = values.get(plain, 0.0) + value
        lines.setdefault(plain, place)
    return StartLog(engine, values, lines, str(path))


def _text(path: Path) -> str:
    """Return the beginning of a log; a server's goes on for as long as it serves."""
    try:
        with path.open("rb") as stream:
            return stream.read(LONGEST).decode("utf-8", errors="replace")
    except OSError as error:
        raise refuse(str(path), f"cannot be read ({error.strerror}); give the log of an engine's start") from None


def _read(line: str) -> list[tuple[str, str, float]]:
    found = []
    for engine, name, pattern, unit in _LINES:
        match = re.search(pattern, line, re.IGNORECASE)
        if match is not None:
            kind = _CAPTURED.search(line) if name == "cuda_graphs" else None
            kept = name if kind is None else f"{name}:{kind[1].strip().lower()}"
            found.append((engine, kept, float(match[1].replace(",", "")) * unit))
    both = _BOTH.search(line)
    if both is not None:
        found.append(("sglang", "kv_cache", (float(both[1]) + float(both[2])) * GIB))
    return found
