"""Request traces as they are published: when every request came, and how many tokens it read and wrote.

Read by their columns: Azure LLM inference (``TIMESTAMP, ContextTokens, GeneratedTokens``), BurstGPT (``Timestamp,
Request tokens, Response tokens``), Mooncake (JSON lines of ``timestamp`` in ms, ``input_length``, ``output_length``
and ``hash_ids`` of 512-token blocks), or our own columns ``time_s, input_tokens, output_tokens``. ``.gz`` is inflated.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shardproof.instances.numbers import exact
from shardproof.instances.reading import refuse

MAX_BYTES = 256 * 10**6
MAX_REQUESTS = 2_000_000
BLOCK_TOKENS = 512
"""Tokens of one hashed block of a Mooncake trace."""

_COLUMNS: tuple[tuple[tuple[str, str, str], str], ...] = (
    (("timestamp", "contexttokens", "generatedtokens"), "Azure LLM inference"),
    (("timestamp", "request tokens", "response tokens"), "BurstGPT"),
    (("time_s", "input_tokens", "output_tokens"), "columns in seconds and tokens"),
)


@dataclass(frozen=True)
class Request:
    """One request: arrival (ns since the first), tokens, and the hashes of its prompt's blocks, if known."""

    arrival_ns: int
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Requests in the order of their arrival, and what form they were read as."""

    source: str
    form: str
    requests: tuple[Request, ...]

    @property
    def seconds(self) -> float:
        """Time from the first arrival to the last, s."""
        return self.requests[-1].arrival_ns / 1e9

    @property
    def rate(self) -> float:
        """Mean requests per second (of one request: 0)."""
        return (len(self.requests) - 1) / self.seconds if self.seconds else 0.0


def read_trace(path: Path) -> Trace:
    """Read a trace file.

    Raises
    ------
    InputError
        If it cannot be read, is none of the known forms, or holds no request.
    """
    text = _text(path)
    head = text.lstrip()[:1]
    rows, form = _json_lines(text, path) if head in ("{", "[") else _table(text, path)
    requests = sorted(rows, key=lambda request: request.arrival_ns)
    if not requests:
        raise refuse(str(path), "holds no request", field="trace")
    first = requests[0].arrival_ns
    moved = (Request(r.arrival_ns - first, r.input_tokens, r.output_tokens, r.blocks) for r in requests)
    return Trace(str(path), form, tuple(moved))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if raw[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(raw)) as inflated:
                raw = inflated.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise refuse(str(path), f"is larger than {MAX_BYTES // 10**6} MB; cut the trace", field="trace")
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(str(path), f"cannot be read ({reason}); check the path", field="trace") from None
    except ValueError:
        raise refuse(str(path), "is not UTF-8 text", field="trace") from None


def _json_lines(text: str, path: Path) -> tuple[list[Request], str]:
    found: list[Request] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line, parse_float=exact)
        except (ValueError, RecursionError) as error:
            raise refuse(f"{path}:{number}", f"is no line of JSON ({error})", field="trace") from None
        found.append(_mooncake(item, f"{path}:{number}"))
        _check_count(found, path)
    return found, "Mooncake"


def _mooncake(item: Any, where: str) -> Request:
    if not isinstance(item, dict):
        raise refuse(where, "must be an object of timestamp, input_length and output_length", field="trace")
    values = [item.get(key) for key in ("timestamp", "input_length", "output_length")]
    blocks = item.get("hash_ids", [])
    if not isinstance(blocks, list) or not all(isinstance(block, int) for block in blocks):
        raise refuse(where, "must be a list of whole numbers", field="hash_ids")
    return _request([str(value) for value in values], lambda text: exact(text) / 1000, where, tuple(blocks))


def _table(text: str, path: Path) -> tuple[list[Request], str]:
    try:
        lines = csv.reader(io.StringIO(text))
        header = [cell.strip().lower() for cell in next(lines, [])]
        for names, form in _COLUMNS:
            if all(name in header for name in names):
                found = list(_rows(lines, [header.index(name) for name in names], path))
                return found, form
    except csv.Error as error:
        raise refuse(str(path), f"is no table: {error}", field="trace") from None
    known = "; ".join(", ".join(names) for names, _ in _COLUMNS)
    raise refuse(str(path), f"has no known columns; known: {known}; or JSON lines", field="trace")


def _rows(lines: Iterable[Sequence[str]], places: Sequence[int], path: Path) -> Iterator[Request]:
    count = 0
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) <= max(places):
            raise refuse(f"{path}:{number}", "has too few columns", field="trace")
        values = [cells[place].strip() for place in places]
        if values[2] in ("0", "0.0"):  # BurstGPT keeps requests that failed; they cost no answer
            continue
        count += 1
        if count > MAX_REQUESTS:
            raise refuse(str(path), f"holds more than {MAX_REQUESTS:,} requests; cut the trace", field="trace")
        yield _request(values, _seconds, f"{path}:{number}", ())


def _seconds(text: str) -> Any:
    """Seconds of a plain number, or of a date and time."""
    if ":" not in text:
        return exact(text)
    head, _, fraction = text.partition(".")
    moment = datetime.fromisoformat(head.removesuffix("Z") + "+00:00")
    rest = fraction.split("+")[0].rstrip("Z")
    return exact(str(int(moment.timestamp()))) + (exact(f"0.{rest}") if rest else 0)


def _request(values: Sequence[str], seconds: Callable[[str], Any], where: str, blocks: tuple[int, ...]) -> Request:
    try:
        arrival = seconds(values[0])
        read, written = (int(exact(value)) for value in values[1:])
    except (ValueError, OverflowError):
        shown = ", ".join(values)[:60]
        raise refuse(where, "needs a time stamp and two token counts", field="trace", value=shown) from None
    if read < 1 or written < 1 or max(read, written) > 10**8 or not 0 <= arrival < 10**11:
        raise refuse(where, "needs token counts of at least 1 and a time of at least 0", field="trace")
    return Request(int(arrival * 10**9), read, written, blocks)


def _check_count(found: Sequence[Request], path: Path) -> None:
    if len(found) > MAX_REQUESTS:
        raise refuse(str(path), f"holds more than {MAX_REQUESTS:,} requests; cut the trace", field="trace")
