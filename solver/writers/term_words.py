"""What the terms of an iteration are, in words: those of operators, and those of the fit to measured deployments."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "weights": "weights of attention and dense parts, read",
    "experts": "weights of the experts hit, read",
    "kv": "KV cache, read",
    "state": "recurrent state, read and written",
    "gemm": "matrices of attention and dense parts, multiplied",
    "grouped": "matrices of the experts, multiplied",
    "attention": "attention scores, multiplied",
    "message": "bytes of collectives",
    "hops": "steps of collectives from rank to rank",
    "collectives": "start of each collective",
    "dp_collectives": "start of each gather between attention replicas",
    "layers": "host and launches of each layer",
    "moe_layers": "host and launches of each layer with experts",
    "linear_layers": "host and launches of each recurrent layer",
    "sparse_layers": "choice of tokens in sparse attention",
    "latent_layers": "host and launches of each layer with latent attention",
    "quantised_layers": "quantising of each layer's inputs",
    "expert_skew": "the fullest rank's experts, beyond the mean",
    "grouped_skew": "the fullest rank's tokens, beyond the mean",
    "elementwise": "activations, read and written",
    "tokens": "host, for each token",
    "sequences": "host and sampler, for each sequence",
    "step": "host, for each iteration",
    "matrices": "matrices of attention and dense parts (operator curves)",
    "expert_matrices": "matrices of the experts (operator curves)",
    "scores": "attention scores over the KV cache (operator curves)",
    "recurrence": "recurrent layers (operator curves)",
    "norms": "norms and elementwise parts (operator curves)",
    "reductions": "all-reduces (operator curves)",
    "exchanges": "dispatch and combine of experts (operator curves)",
    "draft": "guessing the next tokens ahead",
    "between_stages": "hand-over between stages",
    "prefill_of_others": "chunks of other requests' prompts beside the decode",
}
"""Terms of `shardproof.formulations.costs.serving.work`, and those that a prediction adds."""


def words_of(term: str) -> str:
    """Return a term in words; operators are named in words already."""
    return WORDS.get(term, term.replace("_", " "))
