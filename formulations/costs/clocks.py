"""The clock of an instance: flat shares of the peaks, or curves fitted to measurements."""

from __future__ import annotations

from functools import lru_cache

from shardproof.formulations.costs.flat import FlatClock
from shardproof.formulations.costs.operations import Clock
from shardproof.instances.errors import InternalError
from shardproof.instances.hardware import Device
from shardproof.instances.instance import Instance


def clock_of(instance: Instance) -> Clock:
    """Return the clock that times an instance's operations; curves read once serve all instances of a device."""
    if instance.calibration is None:
        return FlatClock(instance.device)
    return _calibrated(instance.calibration, instance.device.model_dump_json(), instance.engine)


@lru_cache(maxsize=64)
def _calibrated(calibration: tuple[str, str], device_json: str, engine: str) -> Clock:
    from shardproof.formulations.costs.curves.clock import CalibratedClock, shared_tables
    from shardproof.instances.calibration import calibration_for

    device = Device.model_validate_json(device_json)
    found = calibration_for(calibration[0], device, engine=engine)
    if found is None:
        raise InternalError(f"the curves of {calibration[0]} are gone")
    tables = shared_tables(device_json, calibration[0])
    return CalibratedClock(device, found[0], FlatClock(device), engine=engine, tables=tables)
