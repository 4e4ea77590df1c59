"""What every quantisation method is read into, and the parts that their readers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.modules import Module, Patterns
from shardproof.instances.model import DType, TensorFormat

SCALE_BITS = 32
HALF_SCALE_BITS = 16
BYTE_SCALE_BITS = 8

ROW_SCALES = "one scale a row or tensor, too few to be counted"


@dataclass(frozen=True)
class Scheme:
    """``format_of``: the stored format of a matrix, ``None`` where it stays unquantised.

    ``by_layer``: layers of one kind may be stored differently.
    """

    format_of: Callable[[Module], TensorFormat | None]
    by_layer: bool = True
    kv_dtype: DType | None = None
    notes: tuple[str, ...] = ()


EXCLUDING = (
    "modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "exclude", "llm_int8_skip_modules",
)  # fmt: skip
"""Fields that list the modules which a method leaves alone."""


def excluded_patterns(config: Config) -> Patterns:
    """Return the modules that stay unquantised."""
    return Patterns(tuple(item for field in EXCLUDING for item in config.words(field) or ()))


def everywhere(
    config: Config, stored: TensorFormat, *, kv_dtype: DType | None = None, notes: tuple[str, ...] = ()
) -> Scheme:
    """Return the scheme that stores every matrix alike, but for those that are left alone."""
    excluded = excluded_patterns(config)
    return Scheme(
        format_of=lambda module: None if excluded.match(module) else stored,
        by_layer=excluded.by_layer,
        kv_dtype=kv_dtype,
        notes=notes,
    )


def grouped_integers(config: Config, bits: int, group: int, *, zero_points: bool) -> TensorFormat:
    """Return 4 or 8-bit integers in groups of inputs with 16-bit scales (a group below 1: one scale a row)."""
    if bits not in (4, 8):
        raise config.refuse("bits", f"{bits}-bit integers are not understood; understood: 4 and 8")
    dtype: DType = "int4" if bits == 4 else "int8"
    scale = HALF_SCALE_BITS + (bits if zero_points else 0)
    return TensorFormat(dtype=dtype, block=(1, group) if group > 0 else None, scale_bits=scale)
