"""microbenchmarks: run GEMM, attention and element-wise kernels on this machine's GPU through PyTorch.

PyTorch is an extra (``pip install shardproof[calibrate]``). Each shape runs warm, in batches between two CUDA
events, and its median time is kept; tensors rotate through more memory than the caches hold.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from shardproof.formulations.costs.curves.sizes import Sizes
from shardproof.instances.calibration import CurveKey
from shardproof.instances.errors import InputError, Problem
from shardproof.solver.calibration.measurements import Measured

Say = Callable[[str], None]
_ROWS = (1, 4, 16, 64, 256, 1024, 2048, 4096, 8192, 16384)
_GEMMS = ((1024, 4096), (4096, 4096), (6144, 4096), (4096, 14336), (14336, 4096), (8192, 8192), (28672, 8192))
_HEADS = ((32, 8, 128), (8, 1, 128), (16, 2, 128), (64, 8, 128), (16, 16, 128), (32, 8, 64))
_PROMPTS = ((1, 128), (1, 512), (1, 2048), (1, 8192), (4, 512), (4, 2048), (16, 256), (16, 1024))
_CACHES = tuple(product((1, 8, 32, 128), (256, 1024, 4096, 16384)))
_CACHE_FLUSH_BYTES = 512 * 1024**2
_REPEATS = 20


def require_gpu() -> Any:
    """Return the torch module; raises InputError that says what is missing and what to do instead."""
    instead = "or fit recorded rows with --from-measurements CSV"
    if importlib.util.find_spec("torch") is None:
        remedy = f"install it on a machine with a GPU (pip install 'shardproof[calibrate]'), {instead}"
        raise InputError([Problem("calibrate", "PyTorch", "not installed", remedy)])
    import torch

    if not torch.cuda.is_available():
        remedy = f"run this on a machine with a GPU that PyTorch supports, {instead}"
        raise InputError([Problem("calibrate", "GPU", "none found by PyTorch", remedy)])
    return torch


def measure(device_name: str | None, *, say: Say) -> tuple[dict[str, Measured], str]:
    """Measure this machine's GPU under a catalogue name; returns rows by family, and their provenance."""
    torch = require_gpu()
    if device_name is None:
        remedy = "name the device as the catalogue does (shardproof catalog devices)"
        raise InputError([Problem("calibrate", "--device-name", "missing", remedy)])
    source = f"measured on {torch.cuda.get_device_name()} with PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
    rows: dict[str, Measured] = {}
    for family, runs in (
        ("gemm", _gemms(torch)), ("attn_prefill", _prefills(torch)), ("attn_decode", _decodes(torch)),
        ("elementwise", _norms(torch)),
    ):  # fmt: skip
        say(f"measuring {family}")
        rows[family] = _gather(torch, family, device_name, runs)
    return rows, source


Run = tuple[dict[str, float], str, Callable[[], object]]


def _gather(torch: Any, family: str, device: str, runs: Iterator[Run]) -> Measured:
    shapes, times, kernel = [], [], ""
    for shape, kernel_name, call in runs:
        shapes.append(shape)
        times.append(_time(torch, call))
        kernel = kernel_name
    dtype = "float16" if family == "elementwise" else "bfloat16"
    cache = "bfloat16" if family.startswith("attn") else ""
    key = CurveKey(
        family=family, engine="torch", version=str(torch.__version__), kernel=kernel, dtype=dtype, kv_dtype=cache
    )
    sizes = Sizes(**{name: np.array([shape[name] for shape in shapes], dtype=float) for name in shapes[0]})
    return Measured(family, (device,) * len(times), (key,) * len(times), sizes, np.array(times))


def _time(torch: Any, call: Callable[[], object]) -> float:
    """Return the median microseconds of a call, caches flushed before each."""
    flush = torch.empty(_CACHE_FLUSH_BYTES, dtype=torch.int8, device="cuda")
    for _ in range(3):
        call()
    times = []
    for _ in range(_REPEATS):
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * start.elapsed_time(end))
    return float(np.median(times))


def _gemms(torch: Any) -> Iterator[Run]:
    for (n, k), m in product(_GEMMS, _ROWS):
        left = torch.randn(m, k, dtype=torch.bfloat16, device="cuda")
        right = torch.randn(n, k, dtype=torch.bfloat16, device="cuda")
        call = lambda left=left, right=right: torch.nn.functional.linear(left, right)  # noqa: E731
        yield {"m": m, "n": n, "k": k}, "torch_linear", call


def _attention(torch: Any, batch: int, query: int, context: int, heads: tuple[int, int, int]) -> Callable[[], object]:
    count, kv_count, dim = heads

    def new(number: int, length: int) -> Any:
        return torch.randn(batch, number, length, dim, dtype=torch.bfloat16, device="cuda")

    q, k, v = new(count, query), new(kv_count, context), new(kv_count, context)
    attend = torch.nn.functional.scaled_dot_product_attention
    return lambda: attend(q, k, v, is_causal=query > 1, enable_gqa=count != kv_count)


def _prefills(torch: Any) -> Iterator[Run]:
    for heads, (batch, query) in product(_HEADS, _PROMPTS):
        yield (
            _attention_sizes(heads, batch=batch, query=query),
            "torch_sdpa",
            _attention(torch, batch, query, query, heads),
        )


def _decodes(torch: Any) -> Iterator[Run]:
    for heads, (batch, context) in product(_HEADS, _CACHES):
        yield (
            _attention_sizes(heads, batch=batch, query=1, context=context),
            "torch_sdpa",
            _attention(torch, batch, 1, context, heads),
        )


def _attention_sizes(heads: tuple[int, int, int], **sizes: float) -> dict[str, float]:
    return {"heads": heads[0], "kv_heads": heads[1], "head_dim": heads[2], **sizes}


def _norms(torch: Any) -> Iterator[Run]:
    for width, rows in product((2048, 4096, 8192), _ROWS):
        hidden = torch.randn(rows, width, dtype=torch.float16, device="cuda")
        weight = torch.randn(width, dtype=torch.float16, device="cuda")
        call = lambda hidden=hidden, weight=weight, width=width: torch.nn.functional.rms_norm(  # noqa: E731
            hidden, (width,), weight
        )
        yield {"m": rows, "n": width}, "input_layernorm", call
