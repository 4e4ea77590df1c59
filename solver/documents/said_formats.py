"""In which format running text says that a model's weights are: ``served in FP8``, ``quantised to INT4 (AWQ)``."""

from __future__ import annotations

import re

from shardproof.solver.documents.values import read_dtype

_FORMAT = (
    r"(?P<format>fp8|fp4|nvfp4|mxfp4|fp16|fp32|bf16|bfloat16|float16|int4|int8|w4a16|w8a8|awq|gptq|(?:4|8)[ -]?bit)\b"
)
_IN = r"(?:in|at|as|to|into|with|using)"
_AWAY = r"(?:(?!\bkv\b|\bcache|activation|flops|tensor cores|\bpeak\b|[.;:!?]\s)[^\n])"

_SAYS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bquanti[sz]ed (?:\w+ )?{_IN} {_FORMAT}",
        rf"\b{_FORMAT}[ -]quanti[sz]ed\b",
        rf"\b(?:serve[sd]?|serving|deploy(?:s|ed|ing)?|load(?:s|ed|ing)?|host(?:s|ed|ing)?|runs?|running) "
        rf"{_AWAY}{{0,80}}?\b(?:in|at) {_FORMAT}(?! ?(?:kv|cache|activation))",
        rf"\b[a-z][\w./-]*?\d(?:\.\d+)?b[\w./-]* (?:in|at) {_FORMAT}(?! ?(?:kv|cache|activation))",
        rf"\bweights? (?:are |is )?(?:kept |held |stored )?{_IN} {_FORMAT}",
        rf"\b(?:the|an?|its) {_FORMAT} (?:weights|checkpoint)\b",
    )
)
_ELSEWHERE = re.compile(
    r"\b(?:would|could|might|if|unlike|instead of|rather than|than|compared|versus|vs|without|not|never|no longer)\b"
)
"""What a sentence says of another deployment, or denies."""

_PART = re.compile(r"(?:activations?|cache|attention|router|logits|softmax|matmuls?|compute) (?:are |is )?$")
"""What is no weight, right before a verb."""


def stored_as(text: str) -> str | None:
    """Return the dtype that a text says of the weights; ``None`` where it says none, or several."""
    found = set()
    for sentence in re.split(r"(?<=[.;!?])\s+", text.lower()):
        if _ELSEWHERE.search(sentence):
            continue
        for pattern in _SAYS:
            said = (match for match in pattern.finditer(sentence) if not _PART.search(sentence[: match.start()]))
            found |= {read_dtype(match["format"]) for match in said}
    return found.pop() if len(found) == 1 else None
