"""writing: calibrations as compact JSON, one file a device; centres apart where several devices share them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from shardproof.instances.calibration import Calibration, Centres


def calibration_text(calibration: Calibration, *, with_centres: bool) -> str:
    """Return a calibration as JSON text, one curve a line."""
    head = calibration.model_dump(exclude={"curves", "centres"}, exclude_none=True)
    head["centres"] = _plain_centres(calibration.centres) if with_centres else {}
    curves = ",\n".join(json.dumps(curve.model_dump(), separators=(",", ":")) for curve in calibration.curves)
    opening = json.dumps(head, separators=(",", ":"))
    return f'{opening[:-1]},"curves":[\n{curves}\n]}}\n'


def _plain_centres(centres: Mapping[str, Centres]) -> dict[str, object]:
    return {family: placed.model_dump() for family, placed in centres.items()}


def write_device(calibration: Calibration, path: Path) -> None:
    """Write one self-contained device file."""
    path.write_text(calibration_text(calibration, with_centres=True), encoding="utf-8")


def write_folder(calibrations: Mapping[str, Calibration], folder: Path) -> None:
    """Write ``centres.json`` and one file a device, as the catalogue ships them."""
    folder.mkdir(parents=True, exist_ok=True)
    centres: dict[str, Centres] = {}
    for device, calibration in calibrations.items():
        centres |= calibration.centres
        (folder / f"{device}.json").write_text(calibration_text(calibration, with_centres=False), encoding="utf-8")
    lines = ",\n".join(
        f"{json.dumps(family)}:{json.dumps(placed.model_dump(), separators=(',', ':'))}"
        for family, placed in sorted(centres.items())
    )
    (folder / "centres.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
