"""measurements: rows of operator micro-benchmarks, read from a CSV file (plain or gzip) by operation family.

Columns are those of the recorded benchmarks: ``op, gpu, engine, ver, kernel, dtype, kv_dtype``, the sizes that
the family needs, and ``lat_us``. Families that are not known are left out and counted.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.sizes import Array, Sizes
from shardproof.instances.calibration import CurveKey
from shardproof.instances.errors import InputError, Problem

_COLUMNS = {
    "m": "m", "n": "n", "k": "k", "batch": "batch", "q_len": "query", "ctx": "context", "heads": "heads",
    "kv_heads": "kv_heads", "head_dim": "head_dim", "window": "window", "tokens": "tokens", "hidden": "hidden",
    "inter": "inter", "topk": "topk", "experts": "experts", "tp": "tp", "ep": "ep", "bytes": "message_bytes",
    "gpus": "ranks", "nodes": "nodes", "sms": "multiprocessors",
}  # fmt: skip
PADDED_ROWS = 4
"""Rows of a GEMM that kernels with scaled operands take at once; others are padded."""
_NEEDED = ("op", "gpu", "engine", "lat_us")
_SHAPES = {
    "gemm": ("n", "k"),
    "elementwise": ("n",),
    "attn": ("heads", "kv_heads", "head_dim", "window"),
    "mla": ("heads",),
    "moe_a2a": ("hidden", "topk", "experts", "ranks"),
    "moe": ("hidden", "inter", "topk", "experts", "tp", "ep"),
    "gdn": ("heads", "kv_heads"),
    "deepep": ("hidden", "topk", "experts", "ranks"),
    "trtllm": ("tokens",),
}

DEVICES = {
    "a100_sxm": "a100-80-sxm",
    "b60": "arc-pro-b60",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
}


def device_name(measured: str) -> str:
    """Return the catalogue's name of a measured GPU."""
    return DEVICES.get(measured, measured.replace("_", "-"))


@dataclass(frozen=True)
class Measured:
    """Rows of one family: device and key of each row, its sizes and its microseconds."""

    family: str
    devices: tuple[str, ...]
    keys: tuple[CurveKey, ...]
    sizes: Sizes
    microseconds: Array

    def take(self, index: NDArray[np.intp]) -> Measured:
        """Return the rows at an index."""
        return Measured(
            self.family,
            tuple(self.devices[i] for i in index),
            tuple(self.keys[i] for i in index),
            self.sizes.take(index),
            self.microseconds[index],
        )

    def of_device(self, device: str) -> Measured:
        """Return the rows of one device."""
        return self.take(np.flatnonzero(np.array(self.devices) == device))

    def folds(self, count: int) -> NDArray[np.intp]:
        """Return the fold of each row; rows of one shape lie in one fold, on every device and engine."""
        prefixes = [prefix for prefix in _SHAPES if self.family.startswith(prefix)]
        names = _SHAPES[max(prefixes, key=len)] if prefixes else ("message_bytes",)
        rows = np.stack([getattr(self.sizes, name) for name in names], axis=1)
        return np.array([_digest(row) % count for row in rows.tolist()], dtype=np.intp)


def _digest(row: list[float]) -> int:
    text = ",".join(f"{value:g}" for value in row)
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            yield lines
    except OSError as error:
        raise InputError([Problem(str(path), "", "", f"cannot be read ({error.strerror or error})")]) from None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read every row as text; raises InputError where the file or a needed column is missing."""
    with _opened(path) as lines:
        reader = csv.DictReader(lines)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError([Problem(str(path), ", ".join(missing), "", "is a needed column: add it")])
        return list(reader)


def read_measurements(path: Path) -> dict[str, Measured]:
    """Read the rows of every known family."""
    by_family: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(read_rows(path), start=2):
        if row["op"] in FAMILIES:
            by_family.setdefault(row["op"], []).append({**row, "line": str(number)})
    if not by_family:
        raise InputError([Problem(str(path), "op", "", f"no known operation; known: {', '.join(FAMILIES)}")])
    return {family: _measured(path, family, rows) for family, rows in by_family.items()}


def _measured(path: Path, family: str, rows: list[dict[str, str]]) -> Measured:
    arrays = {name: _numbers(path, rows, column) for column, name in _COLUMNS.items()}
    skew, balanced = zip(*(_distribution(row.get("dist") or "") for row in rows), strict=True)
    ragged = (arrays["m"] % PADDED_ROWS != 0).astype(float) if family == "gemm" else np.zeros(len(rows))
    sizes = Sizes(**arrays, skew=np.array(skew), balanced=np.array(balanced), ragged=ragged)
    times = _numbers(path, rows, "lat_us")
    if not (times > 0).all():
        line = rows[int(np.argmin(times))]["line"]
        raise InputError([Problem(str(path), f"line {line}, lat_us", "", "must be microseconds above zero")])
    devices = tuple(device_name(row["gpu"]) for row in rows)
    return Measured(family, devices, tuple(_key(family, row) for row in rows), sizes, times)


def _numbers(path: Path, rows: list[dict[str, str]], column: str) -> Array:
    values = np.zeros(len(rows))
    for index, row in enumerate(rows):
        try:
            values[index] = float(row.get(column) or 0)
        except ValueError:
            where = f"line {row['line']}, {column}"
            raise InputError([Problem(str(path), where, str(row[column]), "must be a number")]) from None
    return values


def _distribution(name: str) -> tuple[float, float]:
    balanced = name.endswith("_eplb")
    exponent = name.removesuffix("_eplb").removeprefix("power_law_")
    return (float(exponent) if name.startswith("power_law_") else 0.0), float(balanced)


def _key(family: str, row: dict[str, str]) -> CurveKey:
    return CurveKey(
        family=family,
        engine=row["engine"],
        version=row.get("ver") or "",
        kernel=row.get("kernel") or "",
        dtype=row.get("dtype") or "",
        kv_dtype=row.get("kv_dtype") or "",
        scope="cross" if float(row.get("nodes") or 1) > 1 else "node",
    )
