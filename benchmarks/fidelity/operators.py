"""Operators: micro-benchmark times, measured and as the shipped curves say.

Every row is timed as a plan's clock would time it: by the load table of the curve of its device, engine,
kernel and precision; where an engine version or kernel has no curve of its own, by the nearest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fidelity.figure import Figure, figure
from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.load import table_of
from shardproof.instances.calibration import Calibration, Curve, CurveKey, load_calibration, measured_devices
from shardproof.solver.calibration.measurements import Measured, read_measurements

FILE = "op_level.csv.gz"
EP_DECODE_TARGET = 0.15
GROUPS = {
    "GEMM": (0.05, ("gemm",)),
    "prefill attention": (0.04, ("attn_prefill", "mla_prefill", "mla_prefill_module")),
    "decode attention": (0.07, ("attn_decode", "mla_decode", "mla_decode_module")),
    "MoE": (0.08, ("moe", "moe_wideep", "moe_ep_prefill", "moe_ep_decode")),
    "collectives": (
        0.025,
        ("custom_all_reduce", "nccl_all_reduce", "nccl_all_gather", "nccl_alltoall", "nccl_reduce_scatter", "p2p"),
    ),
    "expert dispatch and combine": (
        None,
        tuple(name for name in FAMILIES if name.startswith(("deepep", "moe_a2a", "trtllm_alltoall"))),
    ),
    "expert-parallel decode": (EP_DECODE_TARGET, ("moe_ep_decode",)),
    "element-wise": (None, ("elementwise",)),
    "linear attention": (None, ("gdn_context", "gdn_generation")),
}


@dataclass(frozen=True)
class Error:
    """Relative error of one row, and whether its own curve timed it."""

    family: str
    device: str
    key: CurveKey
    relative: float
    exact: bool


def evaluate(folder: Path) -> list[Figure]:
    """Return one figure a group of operations, and one each a family; nothing if the folder has no such file."""
    path = folder / FILE
    if not path.exists():
        return []
    measured = read_measurements(path)
    errors = {family: list(errors_of(rows)) for family, rows in measured.items()}
    figures = []
    for name, (target, families) in GROUPS.items():
        found = [error for family in families for error in errors.get(family, [])]
        rows = sum(len(measured[family].keys) for family in families if family in measured)
        figures.append(_figure(f"operators: {name}", found, rows, target))
        if len(families) > 1:
            figures += [
                _figure(f"operators: {name}: {f}", errors[f], len(measured[f].keys), None)
                for f in families
                if f in measured
            ]
    if "moe_ep_decode" in measured:
        figures += by_ranks(measured["moe_ep_decode"], errors["moe_ep_decode"])
    return figures


def by_ranks(rows: Measured, errors: list[Error]) -> list[Figure]:
    """One figure a rank count of expert-parallel decode, so that no count hides behind another."""
    if len(errors) != len(rows.keys):
        return []
    counts = rows.sizes.ep.tolist()
    return [
        _figure(
            f"operators: expert-parallel decode, {count:g} ranks",
            [error for error, ranks in zip(errors, counts, strict=True) if ranks == count],
            counts.count(count),
            EP_DECODE_TARGET,
        )
        for count in sorted(set(counts))
    ]


def _figure(name: str, errors: list[Error], rows: int, target: float | None) -> Figure:
    near = sum(not error.exact for error in errors)
    notes = [] if target is None else ["held out only where the folder is unseen"]
    notes += [f"{near} rows by the nearest curve"] if near else []
    notes += [f"{rows - len(errors)} rows without a curve left out"] if rows > len(errors) else []
    return figure(name, [error.relative for error in errors], target=target, note="; ".join(notes))


def errors_of(rows: Measured) -> Iterator[Error]:
    """Yield the error of each row that some curve of its device can time."""
    axes = FAMILIES[rows.family].axes
    names = [name for name in rows.sizes.__dataclass_fields__ if name not in axes]
    columns = {name: getattr(rows.sizes, name).tolist() for name in (*names, *axes)}
    chosen: dict[tuple[str, CurveKey], tuple[Calibration, Curve] | None] = {}
    for index, (device, key) in enumerate(zip(rows.devices, rows.keys, strict=True)):
        if (device, key) not in chosen:
            chosen[device, key] = nearest_curve(device, key)
        found = chosen[device, key]
        if found is None:
            continue
        calibration, curve = found
        loads = tuple(columns[axis][index] for axis in axes)
        shape = {name: columns[name][index] for name in names}
        table = table_of(curve, calibration.centres[rows.family], calibration.figures, shape, reach=loads)
        time = table.microseconds(loads)
        measured = float(rows.microseconds[index])
        yield Error(rows.family, device, key, time / measured - 1, curve.key == key)


def nearest_curve(device: str, key: CurveKey) -> tuple[Calibration, Curve] | None:
    """Find the curve of a key, or the one of its device and family that has most of the key in common."""
    if device not in measured_devices():
        return None
    calibration = load_calibration(device)
    family = [curve for curve in calibration.curves if curve.key.family == key.family]
    if not family:
        return None
    return calibration, max(family, key=lambda curve: _likeness(curve, key))


def _likeness(curve: Curve, key: CurveKey) -> tuple[int, int]:
    weights = {"dtype": 32, "scope": 16, "kernel": 8, "engine": 4, "kv_dtype": 3, "version": 1}
    alike = sum(weight for name, weight in weights.items() if getattr(curve.key, name) == getattr(key, name))
    return alike, curve.rows
