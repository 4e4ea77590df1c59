"""Models read from the ``config.json`` that stands beside a published checkpoint."""

from shardproof.instances.huggingface.reading import from_config

__all__ = ["from_config"]
