"""(query, key) pairs that attention scores: causal prompts, chunks after their context, windows."""

from __future__ import annotations

from shardproof.formulations.costs.sharding import divide_up


def causal_pairs(tokens: int, window: int | None) -> int:
    """(query, key) pairs of one prompt: half of tokens squared, or what a sliding window leaves, rounded up."""
    if window is None or tokens <= window:
        return divide_up(tokens * tokens, 2)
    return divide_up(window * window, 2) + (tokens - window) * window


def prefill_pairs(tokens: int, context: int, window: int | None) -> int:
    """(query, key) pairs of a chunk of ``tokens`` after ``context`` tokens of its prompt, rounded up."""
    own = causal_pairs(tokens, window)
    if not context:
        return own
    return own + tokens * context if window is None else min(own + tokens * context, tokens * window)
