"""Environments: each engine's own wheel without its dependencies, in a virtual environment of its own.

The wheels' dependencies weigh 9 GB and need a GPU; the parsers of their options need a handful of small packages, and
stand-ins for the rest (``parsers.py``). Measured: vLLM 0.33.0 1.3 GB, SGLang 0.5.23 0.6 GB on disk.
"""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """An engine's package, and what its parser imports for real."""

    name: str
    version: str
    beside: tuple[str, ...]

    @property
    def pinned(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"


_COMMON = (
    "regex", "pydantic", "email-validator", "typing_extensions", "msgspec", "numpy", "pyyaml", "huggingface_hub",
    "cloudpickle", "psutil", "fastapi", "prometheus_client", "openai", "mcp", "anthropic", "transformers==5.19.0",
    "cachetools", "pillow", "blake3", "requests", "pyzmq", "aiohttp", "partial-json-parser", "lark", "jsonschema",
    "python-multipart",
)  # fmt: skip

WHEELS: Mapping[str, Wheel] = {
    "vllm": Wheel("vllm", "0.33.0", _COMMON),
    "sglang": Wheel("sglang", "0.5.23", (*_COMMON, "orjson", "uvloop", "interegular", "pybase64", "IPython")),
}
"""Newest releases whose options were read; raise a version here to hold the exports against a newer engine."""


def environment(engine: str, folder: Path) -> Path:
    """Return the interpreter of an engine's environment, installed the first time (minutes)."""
    wheel = WHEELS[engine]
    home = folder / f"{wheel.name}-{wheel.version}"
    python = home / "bin" / "python"
    ready = home / "ready"
    if ready.is_file():
        return python
    print(f"installing {wheel.pinned} without dependencies into {home}", flush=True)
    venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", wheel.pinned], check=True)
    subprocess.run([*pip, *wheel.beside], check=True)
    ready.write_text(wheel.pinned + "\n", encoding="utf-8")
    return python
