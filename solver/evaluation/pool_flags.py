"""Pools: what makes a server one that prefills alone, or decodes alone.

Sources: vLLM's NixlConnector (``--kv-transfer-config``, ``VLLM_NIXL_SIDE_CHANNEL_HOST`` and ``_PORT``); SGLang's
``--disaggregation-mode``; TensorRT-LLM's ``cache_transceiver_config``.
"""

from __future__ import annotations

from shardproof.instances.plan import Pool

BOOTSTRAP = 8998
"""Port on which a prefill server of SGLang is asked for caches, where it is alone on its address."""

SIDE_CHANNEL = 5600
"""Port on which servers of vLLM tell each other of caches, where one is alone on its address."""

TRANSFER = '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'


def pool_flags(engine: str, pool: Pool) -> list[str]:
    """Return the flags that make a server one of a pool."""
    if engine == "vllm":
        return ["--kv-transfer-config", TRANSFER]
    if engine == "sglang":
        port = ["--disaggregation-bootstrap-port", str(BOOTSTRAP)] if pool == "prefill" else []
        return ["--disaggregation-mode", pool, "--disaggregation-transfer-backend", "nixl", *port]
    return []


def pool_options(pool: Pool, longest: int) -> str:
    """Return TensorRT-LLM's options of a pool; its context servers do not overlap scheduling yet."""
    lines = [f"cache_transceiver_config: {{backend: DEFAULT, max_tokens_in_buffer: {longest}}}"]
    return "\n".join([*lines, *(["disable_overlap_scheduler: true"] if pool == "prefill" else [])]) + "\n"
