"""The clock of an instance: flat shares of the peaks, or curves fitted to measurements."""

from __future__ import annotations

from formulations.costs.flat import FlatClock
from formulations.costs.operations import Clock
from instances.errors import InternalError
from instances.instance import Instance


def clock_of(instance: Instance) -> Clock:
    """Return the clock that times an instance's operations."""
    flat = FlatClock(instance.device)
    if instance.calibration is None:
        return flat
    from formulations.costs.curves.clock import CalibratedClock
    from instances.calibration import calibration_for

    name, _ = instance.calibration
    found = calibration_for(name, instance.device, engine=instance.engine)
    if found is None:
        raise InternalError(f"the curves of {name} are gone")
    return CalibratedClock(instance.device, found[0], flat, engine=instance.engine)
