"""writing: calibrations as compact JSON, one file a device; centres apart where several devices share them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from shardproof.instances.calibration import Calibration, Centres
from shardproof.instances.writing import write_whole


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
    write_whole(path, calibration_text(calibration, with_centres=True))


def write_folder(calibrations: Mapping[str, Calibration], folder: Path) -> None:
    """Write ``centres.json`` and one file a device, as the catalogue ships them."""
    centres: dict[str, Centres] = {}
    for device, calibration in calibrations.items():
        centres |= calibration.centres
        write_whole(folder / f"{device}.json", calibration_text(calibration, with_centres=False))
    lines = ",\n".join(
        f"{json.dumps(family)}:{json.dumps(placed.model_dump(), separators=(',', ':'))}"
        for family, placed in sorted(centres.items())
    )
    write_whole(folder / "centres.json", f"{{\n{lines}\n}}\n")
