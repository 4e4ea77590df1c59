"""Wording: spellings folded into words, the unit that a key ends in, and what kind of section a heading names."""

from __future__ import annotations

import re
from functools import lru_cache

IDLE = frozenset(
    [
        "the",
        "of",
        "a",
        "an",
        "to",
        "is",
        "are",
        "be",
        "at",
        "by",
        "with",
        "number",
        "num",
        "count",
        "degree",
        "way",
        "each",
        "per",
        "estimated",
        "expected",
        "predicted",
        "approximate",
        "approx",
        "about",
        "overall",
        "this",
        "that",
        "it",
        "its",
        "value",
        "figure",
        "level",
        "configured",
        "configuration",
        "config",
        "strategy",
        "factor",
        "on",
        "and",
        "or",
        "within",
    ]
) - {"within"}

_PHRASES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"time[ -]to[ -](?:the )?first[ -]token", "ttft"),
        (r"time[ -](?:per|between)[ -]output[ -]tokens?", "tpot"),
        (r"time[ -]between[ -]tokens?|inter[ -]token[ -]latency|token[ -]to[ -]token latency|\bitl\b|\btbt\b", "tpot"),
        (r"key[ -/]?value", "kv"),
        (r"\bgpu[ -]?hours?\b", "gpu hour"),
        (r"micro[ -]?batch(?:es)?\b", "microbatch"),
        (r"feed[ -]?forward|\bffn\b", "ffn"),
        (r"mixture[ -]of[ -]experts", "moe"),
        (r"\bnum[ _]local[ _]experts\b", "experts"),
        (r"\bn[ _](?=(?:kv[ _])?(?:heads|layers|experts)\b)", ""),
        (r"top[ -_]?k\b", "topk"),
        (r"(?<=[a-z])[-_ ]way\b", ""),
        (r"\bnum[_ -]gpus\b", "gpus"),
        (r"\bd[_ -]model\b", "d model"),
    )
)

FOLD = {
    word: folded
    for folded, spellings in {
        "gpu": "gpus devices device accelerators cards card npu npus xpu chips chip",
        "parallel": "parallelism parallelization parallelisation parallelized parallelised",
        "layer": "layers blocks",
        "expert": "experts",
        "head": "heads",
        "stage": "stages",
        "token": "tokens tok",
        "request": "requests sequences sequence prompts seqs seq users",
        "parameter": "parameters params param",
        "weight": "weights",
        "utilization": "utilisation util",
        "memory": "vram hbm mem",
        "used": "usage consumption footprint use utilized occupied",
        "dimension": "dim dims dimensions",
        "activation": "activations",
        "replica": "replicas copies",
        "module": "modules",
        "node": "nodes servers server hosts",
        "length": "lengths len",
        "size": "sizes",
        "hour": "hr hourly h",
        "second": "sec seconds",
        "rank": "ranks",
        "microbatch": "microbatches",
        "requirement": "requirements",
        "maximum": "max maximal",
        "quantization": "quantisation",
        "average": "avg",
        "buffer": "buffers",
        "stream": "streams",
        "bandwidth": "bw",
        "compute": "computing computation computational",
        "latency": "latencies",
        "byte": "bytes",
        "balanced": "balancing",
        "contains": "contain holds",
        "meets": "meet met satisfies satisfied",
        "moe": "",
        "flops": "tflops flop",
        "attention": "attn",
    }.items()
    for word in spellings.split()
}

UNIT_WORDS = {
    "b": "B", "bytes": "B", "kb": "KB", "mb": "MB", "gb": "GB", "tb": "TB", "kib": "KiB", "mib": "MiB", "gib": "GiB",
    "s": "s", "sec": "s", "seconds": "s", "ms": "ms", "us": "us", "ns": "ns", "milliseconds": "ms",
    "gbps": "GB/s", "tbps": "TB/s", "gb/s": "GB/s", "tb/s": "TB/s", "gbs": "GB/s",
    "tflops": "TFLOPS", "pflops": "PFLOPS", "gflops": "GFLOPS", "flops": "FLOPS", "tflop/s": "TFLOPS",
    "%": "%", "percent": "%", "pct": "%", "usd": "USD", "$": "USD",
}  # fmt: skip

_SECTIONS = (
    ("workload", r"workload|input|requirement|request|traffic|limit|slo|sla|constraint|objective|target"),
    ("hardware", r"hardware|device|environment|cluster|accelerator|gpu spec|gpu environment|infrastructure|node"),
    ("memory", r"memory|footprint|budget"),
    ("performance", r"performance|latency|result|estimate|prediction|expected|metric|characteristic"),
    ("plan", r"strateg|parallel|allocation|pipeline|tensor|expert|mapping|division|deployment|plan|stage|layout"
             r"|topology|placement|replica|balanc|verification|check|engine|module"),
    ("model", r"model|architecture"),
)  # fmt: skip


def section_kind(sections: tuple[str, ...]) -> str:
    """Return the kind of section that the innermost telling heading names, ``none`` where no heading does."""
    for heading in reversed(sections[1:] if len(sections) > 1 else sections):
        folded = heading.lower()
        if re.search(r"\bgpu\b|\bdevice\b", folded) and re.search(r"alloc|mapping|count|assign", folded):
            return "plan"
        for kind, pattern in _SECTIONS:
            if re.search(rf"\b(?:{pattern})", folded):
                return kind
    return "none"


@lru_cache(maxsize=8192)
def words(key: str) -> tuple[frozenset[str], str]:
    """Fold a key into its set of words, and the unit it ends in (``Memory (GB)``, ``ttft_s``) if any."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", key.strip()).lower()
    unit = ""
    if match := re.search(r"[\[(]\s*([a-z/%$]{1,12})\s*[\])]\s*$", text):
        if match[1] in UNIT_WORDS:
            unit, text = UNIT_WORDS[match[1]], text[: match.start()]
    elif match := re.search(r"_([a-z]{1,7})$|, ([a-z/%]{1,12})$| in ([a-z/%]{1,12})$", text):
        ending = match[1] or match[2] or match[3]
        if ending in UNIT_WORDS:
            unit, text = UNIT_WORDS[ending], text[: match.start()]
    text = re.sub(r"[^a-z0-9%/+ -]", " ", text.replace("_", " "))
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    folded = (FOLD.get(word, word) for word in re.findall(r"[a-z0-9%]+", text))
    return frozenset(word for word in folded if word not in IDLE), unit
