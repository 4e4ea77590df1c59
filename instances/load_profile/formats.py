"""File formats of load profiles: NPZ/NPY, CSV and JSON, and what engines record themselves.

Every reader gives rows of exact numbers, ``rows[layer][expert]``; decimal text becomes a fraction,
never a float.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.instances.errors import InputError
from shardproof.instances.load_profile.archives import UNREADABLE, check_size, open_archive, read_array
from shardproof.instances.numbers import exact, integer
from shardproof.instances.reading import refuse

if TYPE_CHECKING:
    import numpy as np

Rows = list[list[int | Fraction]]

MAX_LAYERS = 4096
MAX_EXPERTS = 65_536

_LOAD_KEYS = ("loads", "logical_count", "expert_load", "expert_loads", "weight")
_PHYSICAL_KEYS = ("physical_count", "expert_load_pass", "expert_load_window", "global_expert_load_window")
_COLUMNS = ({"layer", "layer_id"}, {"expert", "expert_id"}, {"load", "count", "share", "tokens"})


def read_rows(path: Path, *, key: str | None = None) -> Rows:
    """Read the loads of a file, its format told by its ending; ``key`` names another entry to read.

    Raises `InputError` for an unknown ending, a file that does not parse, or values that are no numbers.
    """
    readers = {
        ".npz": _read_numpy,
        ".npy": _read_numpy,
        ".csv": _read_csv,
        ".json": _read_json,
        ".jsonl": _read_json_lines,
        ".pt": _read_torch,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _bad(path, path.suffix, f"give one of {', '.join(readers)}")
    try:
        check_size(path)
        return _within_limits(reader(path) if key is None else _read_key(path, key), path)
    except UNREADABLE as error:
        raise _bad(path, type(error).__name__, f"cannot be read as {path.suffix} loads: {_short(error)}") from None


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _within_limits(rows: Rows, path: Path) -> Rows:
    if len(rows) > MAX_LAYERS or any(len(row) > MAX_EXPERTS for row in rows):
        raise _bad(path, f"{len(rows)} layers", f"at most {MAX_LAYERS} layers of {MAX_EXPERTS} experts are read")
    return rows


def _read_numpy(path: Path) -> Rows:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            return _array_rows(read_array(file, path.stat().st_size), path)
    with open_archive(path) as archive:
        arrays = {}
        for member in archive.infolist():
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = read_array(stream, member.file_size)
    return _named_rows(arrays, path)


def _read_json(path: Path) -> Rows:
    return _document_rows(_parsed(path.read_text(encoding="utf-8")), path)


def _read_json_lines(path: Path) -> Rows:
    documents = [_parsed(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    total: Rows = []
    for document in documents:
        rows = _document_rows(document, path)
        total = _added(total, rows, path) if total else rows
    return total


def _read_key(path: Path, key: str) -> Rows:
    document = _parsed(path.read_text(encoding="utf-8"))
    return _nested_rows(document[key] if isinstance(document, dict) else document, path)


def _read_torch(path: Path) -> Rows:
    from shardproof.instances.load_profile.torch_file import read_torch_file

    return _document_rows(read_torch_file(path), path)


def _parsed(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no load")

    return json.loads(text, parse_float=exact, parse_int=integer, parse_constant=refuse)


def _document_rows(document: Any, path: Path) -> Rows:
    if isinstance(document, dict):
        return _named_rows(document, path)
    return _nested_rows(document, path)


def _named_rows(arrays: dict[str, Any], path: Path) -> Rows:
    """Find the loads by their key: our own, SGLang's recorder, vLLM's expert load tensors."""
    for key in _LOAD_KEYS:
        if key in arrays:
            return _any_rows(arrays[key], path)
    for key in _PHYSICAL_KEYS:
        if key in arrays:
            return _logical_rows(_any_rows(arrays[key], path), arrays, path, key=key)
    if len(arrays) == 1:
        return _any_rows(next(iter(arrays.values())), path)
    keys = ", ".join(map(str, arrays)) or "none"
    raise _bad(path, keys, f"name the loads with one of the keys {', '.join(_LOAD_KEYS + _PHYSICAL_KEYS)}")


def _logical_rows(rows: Rows, arrays: dict[str, Any], path: Path, *, key: str) -> Rows:
    """Sum the loads of physical experts (replicas) into those of the logical experts they copy."""
    if "physical_to_logical_map" not in arrays:
        raise _bad(path, key, "loads of physical experts need physical_to_logical_map beside them")
    mapping = _any_rows(arrays["physical_to_logical_map"], path)
    if [len(row) for row in mapping] != [len(row) for row in rows]:
        raise _bad(path, "physical_to_logical_map", f"it must have the shape of {key}")
    experts = _count((expert for row in mapping for expert in row), path)
    logical: Rows = [[0] * experts for _ in rows]
    for totals, loads, row in zip(logical, rows, mapping, strict=True):
        for load, expert in zip(loads, row, strict=True):
            if not 0 <= expert < experts:
                raise _bad(path, "physical_to_logical_map", f"{expert} is no expert")
            totals[int(expert)] += load
    return logical


def _any_rows(value: Any, path: Path) -> Rows:
    return _array_rows(value, path) if hasattr(value, "ndim") else _nested_rows(value, path)


def _array_rows(array: np.ndarray[Any, Any], path: Path) -> Rows:
    import numpy as np

    if array.dtype.kind not in "iuf":
        raise _bad(path, str(array.dtype), "loads are integers or floats")
    if not np.isfinite(array).all():
        raise _bad(path, "NaN or infinity", "a load is a finite number; replace missing counts with 0")
    nested = array.tolist()
    return _nested_rows(_exact(nested), path)


def _exact(value: Any) -> Any:
    if isinstance(value, list):
        return [_exact(part) for part in value]
    return Fraction(value) if isinstance(value, float) else value


def _nested_rows(value: Any, path: Path) -> Rows:
    """Accept ``[expert]``, ``[layer][expert]``, ``[step][layer][expert]`` (summed), or ``{layer: [expert]}``."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=lambda name: int(str(name)))]
    if not isinstance(value, (list, tuple)) or not value:
        raise _bad(path, type(value).__name__, "loads are rows of numbers, one row per layer")
    if all(_is_number(part) for part in value):
        return [list(value)]
    if not all(isinstance(part, (list, tuple)) for part in value):
        raise _bad(path, "mixed rows", "loads are rows of numbers, one row per layer")
    if all(part and isinstance(part[0], (list, tuple)) for part in value):
        return _summed([_nested_rows(part, path) for part in value], path)
    for layer, row in enumerate(value):
        wrong = [part for part in row if not _is_number(part)]
        if wrong:
            raise _bad(path, f"loads[{layer}] holds {str(wrong[0])[:60]!r}", "every load is a number")
    return [list(row) for row in value]


def _summed(steps: Sequence[Rows], path: Path) -> Rows:
    total = steps[0]
    for step in steps[1:]:
        total = _added(total, step, path)
    return total


def _added(left: Rows, right: Rows, path: Path) -> Rows:
    if [len(row) for row in left] != [len(row) for row in right]:
        raise _bad(path, "steps of different shapes", "every step needs the same layers x experts")
    return [[a + b for a, b in zip(one, two, strict=True)] for one, two in zip(left, right, strict=True)]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, Fraction)) and not isinstance(value, bool)


def _read_csv(path: Path) -> Rows:
    """Read a matrix (one line per layer), or lines of layer, expert, load under a header."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    if not lines:
        raise _bad(path, "empty", "give one line per layer, or lines of layer,expert,load")
    header = [cell.strip().lower() for cell in lines[0]]
    places = [next((i for i, name in enumerate(header) if name in names), None) for names in _COLUMNS]
    if None not in places:
        return _long_rows(lines[1:], [place for place in places if place is not None], path)
    return [[_number(cell, path, line) for cell in cells] for line, cells in enumerate(lines, start=1)]


def _long_rows(lines: list[list[str]], places: list[int], path: Path) -> Rows:
    layer_at, expert_at, load_at = places
    totals: dict[int, dict[int, int | Fraction]] = {}
    for number, cells in enumerate(lines, start=2):
        if len(cells) <= max(places):
            raise _bad(path, f"line {number}", "a cell is missing")
        layer, expert = (_index(cells[place], path, number) for place in (layer_at, expert_at))
        row = totals.setdefault(layer, {})
        row[expert] = row.get(expert, 0) + _number(cells[load_at], path, number)
    if not totals:
        raise _bad(path, "expert", "give lines of layer,expert,load with experts counted from 0")
    experts = _count((expert for row in totals.values() for expert in row), path)
    return [[totals[layer].get(expert, 0) for expert in range(experts)] for layer in sorted(totals)]


def _count(experts: Iterable[int | Fraction], path: Path) -> int:
    """Return how many experts a list of their numbers implies."""
    found = list(experts)
    odd = next((expert for expert in found if not 0 <= expert < MAX_EXPERTS or int(expert) != expert), None)
    if odd is not None:
        raise _bad(path, str(odd), f"experts are numbered from 0, below {MAX_EXPERTS}")
    return 1 + max(map(int, found))


def _index(cell: str, path: Path, line: int) -> int:
    value = _number(cell, path, line)
    if value != int(value):
        raise _bad(path, f"line {line}: {cell.strip()[:60]!r}", "a layer or expert is a whole number")
    return int(value)


def _number(cell: str, path: Path, line: int) -> int | Fraction:
    try:
        value = exact(cell)
    except ValueError as error:
        raise _bad(path, f"line {line}: {cell.strip()[:60]!r}", f"every cell is a number: it {error}") from None
    return int(value) if value.denominator == 1 else value


def _bad(path: Path, value: str, remedy: str) -> InputError:
    return refuse(str(path), remedy, field="profile", value=value)
