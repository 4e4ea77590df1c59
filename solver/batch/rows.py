"""One row per task, and the files that hold them: CSV, JSON, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.instances.writing import write_whole
from shardproof.solver.batch.answer import Answer
from shardproof.solver.batch.ledger import Ledger, RunTask

_FIRST = ("task", "model", "device", "engine", "workload", "limits")
_OF_TASKS = ("task", "model", "device", "engine")
_LAST = (
    "status", "proof", "gpus", "bound", "ttft_s", "tpot_ms", "tpot_limit_ms", "requests_per_s", "output_tokens_per_s",
    "output_tokens_per_s_per_gpu", "output_tokens_per_s_per_user", "price_per_hour", "price_kind",
    "price_per_million_tokens",
    "peak_memory_bytes", "seconds", "reason", "carried_from", "fingerprint",
)  # fmt: skip
THROUGHPUT = (
    "requests_per_s", "output_tokens_per_s", "output_tokens_per_s_per_gpu", "output_tokens_per_s_per_user",
)  # fmt: skip
FORMATS = ("csv", "json", "parquet")


@dataclass(frozen=True)
class Row:
    """The result of one task. Prices are USD; per million *output* tokens at the plan's full load.

    ``workload`` and ``limits`` say in words what was asked; ``tpot_limit_ms`` is the tightest (``None``: no limit, and
    the TPOT is what the plan happens to have); ``price_kind`` is what the price is: prices of two kinds do not compare.
    """

    task: str
    model: str
    device: str
    engine: str
    workload: str
    limits: str
    swept: Mapping[str, str]
    status: str
    proof: str | None
    gpus: int | None
    bound: int | None
    ttft_s: float | None
    tpot_ms: float | None
    tpot_limit_ms: float | None
    requests_per_s: float | None
    output_tokens_per_s: float | None
    output_tokens_per_s_per_gpu: float | None
    output_tokens_per_s_per_user: float | None
    price_per_hour: float | None
    price_kind: str | None
    price_per_million_tokens: float | None
    peak_memory_bytes: int | None
    seconds: float | None
    reason: str | None
    carried_from: str | None
    fingerprint: str

    def check_kinds(self) -> None:
        """Refuse what no row of ours holds: a ledger comes from outside, and its documents are read as they stand.

        Raises
        ------
        TypeError
            Naming the column.
        """
        kinds: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "Mapping": Mapping}
        for column in fields(self):
            value, stated = getattr(self, column.name), str(column.type)
            kind = kinds[stated.removesuffix(" | None").partition("[")[0]]
            absent = value is None and stated.endswith("| None")
            wild = isinstance(value, int) and abs(value) > 2**63
            if not absent and (isinstance(value, bool) or wild or not isinstance(value, kind)):
                raise TypeError(f"{column.name} is {str(value)[:40]!r}")

    def cells(self, swept: Sequence[str]) -> dict[str, Any]:
        """Return the row as columns by name: first who, then the swept values, then the answer."""
        first = {key: getattr(self, key) for key in _FIRST}
        middle = {key: self.swept.get(key) for key in swept}
        return first | middle | {key: getattr(self, key) for key in _LAST}


def rows_of(ledger: Ledger, tasks: Sequence[RunTask], *, independent: bool = False) -> list[Row]:
    """Rows of tasks in order; a task that has no answer yet has the status ``open``."""
    answers = ledger.answers([task.fingerprint for task in tasks], independent=independent)
    return [row_of(task, answers.get(task.fingerprint)) for task in tasks]


def row_of(task: RunTask, answer: Answer | None) -> Row:
    """Return the row of one task."""
    facts, labels = task.facts, task.facts["labels"]
    metrics = {} if answer is None else answer.metrics
    gpus = None if answer is None else answer.gpus
    hourly = metrics.get("price_per_hour") or _times(facts.get("price_per_device_hour"), gpus)
    return Row(
        task=facts["task"],
        model=facts["model"],
        device=facts["device"],
        engine=facts["engine"],
        workload=facts.get("workload") or "",
        limits=facts.get("limits") or "",
        swept={axis: label for axis, label in labels.items() if axis not in _OF_TASKS},
        status="open" if answer is None else answer.status,
        proof=None if answer is None else answer.summary.get("proof"),
        gpus=gpus,
        bound=None if answer is None else answer.bound,
        ttft_s=metrics.get("ttft_s"),
        tpot_ms=metrics.get("tpot_ms"),
        tpot_limit_ms=_tightest(facts.get("scenarios") or ()),
        **{name: metrics.get(name) for name in THROUGHPUT},
        price_per_hour=hourly,
        price_kind=None if hourly is None else facts.get("price_kind"),
        price_per_million_tokens=_per_million_tokens(metrics, hourly),
        peak_memory_bytes=metrics.get("peak_memory_bytes"),
        seconds=None if answer is None else round(answer.seconds, 4),
        reason=None if answer is None else answer.reason,
        carried_from=None if answer is None else answer.source,
        fingerprint=task.fingerprint,
    )


def write_rows(rows: Sequence[Row], swept: Sequence[str], path: Path, form: str) -> None:
    """Write a results file; the file appears whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written, or Parquet is asked for and not installed.
    """
    cells = [row.cells(swept) for row in rows]
    if form == "csv":
        write_whole(path, _csv(cells, (*_FIRST, *swept, *_LAST)))
    elif form == "json":
        write_whole(path, json.dumps({"rows": cells}, indent=1).encode())
    else:
        write_whole(path, _parquet(cells))


def swept_axes(rows: Iterable[Row]) -> tuple[str, ...]:
    """Swept columns of all rows, in their order."""
    return tuple(dict.fromkeys(axis for row in rows for axis in row.swept))


def _csv(cells: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(row) for row in cells)
    return text.getvalue().encode()


def _plain(row: Mapping[str, Any]) -> Mapping[str, Any]:
    # A spreadsheet runs a text that begins like a formula; a leading quote keeps it text.
    return {
        key: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
        for key, value in row.items()
    }


def _parquet(cells: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow: pip install 'shardproof[parquet]'") from None
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(cells)), buffer)
    return buffer.getvalue()


def _times(price: float | None, gpus: int | None) -> float | None:
    return None if price is None or gpus is None else price * gpus


def _tightest(scenarios: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the lowest TPOT limit of any scenario, ms."""
    limits = [scenario["tpot_limit_ns"] for scenario in scenarios if scenario.get("tpot_limit_ns") is not None]
    return min(limits) / 1e6 if limits else None


def _per_million_tokens(metrics: Mapping[str, Any], hourly: float | None) -> float | None:
    """USD per million output tokens at the plan's throughput."""
    per_second = metrics.get("output_tokens_per_s")
    return hourly / 3600 / per_second * 1e6 if hourly is not None and per_second else None
