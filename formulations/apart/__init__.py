"""Prefill and decode in pools of their own: what each pool is asked, and the KV cache that passes between them."""
