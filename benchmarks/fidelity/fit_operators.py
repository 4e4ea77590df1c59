"""Refit the shipped curves of some families: ``python -m benchmarks.fidelity.fit_operators --data DIR --family F``.

Rewrites ``instances/catalog/calibrations``; the curves of other families stay as they are. What a clock times by the
refitted families changes, so factors that stand on them (`fit_serving` and what follows it) are to be fitted again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fidelity.operators import FILE
from shardproof import instances
from shardproof.instances.calibration import FOLDER, Calibration, load_calibration, measured_devices
from shardproof.solver.calibration.figures import figures_by_device
from shardproof.solver.calibration.fit import Fitted, fit_family
from shardproof.solver.calibration.measurements import read_measurements
from shardproof.solver.calibration.writing import write_folder


def replaced(shipped: Calibration, fitted: Fitted) -> Calibration:
    """Return a device's calibration with one family's curves exchanged, in their place."""
    new = {key: curve for (device, key), curve in fitted.curves.items() if device == shipped.device}
    kept = [
        new.pop(curve.key, curve) for curve in shipped.curves if curve.key in new or curve.key.family != fitted.family
    ]
    centres = dict(shipped.centres) | {fitted.family: fitted.centres}
    return shipped.model_copy(update={"curves": (*kept, *new.values()), "centres": centres})


def refit(data: Path, families: Sequence[str], folder: Path) -> None:
    """Fit the families on a folder of measurements and write all devices' curves."""
    measured = read_measurements(data / FILE)
    calibrations = {device: load_calibration(device) for device in measured_devices()}
    for family in families:
        rows = measured[family]
        fitted = fit_family(rows, figures_by_device(rows.devices), say=print)
        calibrations = {device: replaced(shipped, fitted) for device, shipped in calibrations.items()}
    write_folder(calibrations, folder)


def main() -> None:
    """Refit the named families in the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--family", action="append", required=True)
    asked = parser.parse_args()
    refit(asked.data, asked.family, Path(instances.__file__).parent / FOLDER)


if __name__ == "__main__":
    main()
