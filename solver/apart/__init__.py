"""Prefill and decode apart: each pool's fewest GPUs, put together, proved, explained, and set beside together."""
