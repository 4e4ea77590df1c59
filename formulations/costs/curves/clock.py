"""The calibrated clock: operations timed by the curves of a device, flat where no curve applies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.load import LoadTable, table_of
from shardproof.formulations.costs.curves.requests import Request, requests_of
from shardproof.formulations.costs.flat import leaving_a_node, many_leaving_a_node
from shardproof.formulations.costs.many import listed, one_by_one
from shardproof.formulations.costs.operations import Clock, ManyClock, Operation
from shardproof.formulations.costs.roofline import Roofline
from shardproof.instances.calibration import Calibration, Curve
from shardproof.instances.hardware import Device

_MICROSECONDS = 10**6
USUAL_LOADS = {"batch": 2.0**8, "query": 2.0**12, "context": 2.0**13, "message_bytes": 2.0**33}
USUAL_LOAD = 2.0**19
"""Loads up to which a curve is read at once; beyond them it is read anew, as far as asked."""

HOST_BOUND = (
    "CutlassFp8BlockScaledMMKernel",
    "DeepGemmFp8BlockScaledMMKernel",
    "FlashInferFp8BlockScaledMMKernel",
)
"""Kernels measured call by call from the host: 60 to 220 us whatever the shape, where the same product takes 12 us.

Engines replay them from CUDA graphs, so another engine's curve of the same product stands in.
"""


Tables = dict[tuple[int, tuple[tuple[str, float], ...]], tuple[Curve, LoadTable]]
"""Tables of curves at shapes, by the curve's identity (each entry keeps its curve) and the shape."""


@lru_cache(maxsize=16)
def shared_tables(device_json: str, calibration: str) -> Tables:
    """Return the tables that all clocks of a device share under one calibration, whatever the engine."""
    del device_json, calibration
    return {}


class CalibratedClock:
    """Times operations on one device by fitted curves; what has no curve goes to the fallback clock.

    Deterministic, never shorter for a larger load (rows of a GEMM, tokens, batch, context, message), and never
    shorter than the device's datasheet allows (`Roofline`): a curve measured in a warm cache, or read beyond
    its measurements, is lifted to that.
    Times are rounded to six significant digits, so that the last bits of a machine's logarithm do not show.
    """

    def __init__(
        self,
        device: Device,
        calibration: Calibration,
        fallback: Clock,
        *,
        engine: str = "vllm",
        tables: Tables | None = None,
    ) -> None:
        """Take the device, its curves, the clock for everything else, and the engine whose kernels run.

        ``tables``: those that other clocks of the same device and curves have read, to read from and to add to.
        """
        self._device = device
        self._calibration = calibration
        self._fallback = fallback
        self._roofline = Roofline(device)
        self._engine = engine
        self._tables: Tables = {} if tables is None else tables
        self._chosen: dict[tuple[str, ...], Curve | None] = {}
        self._known: dict[Operation, tuple[int, int]] = {}

    def picoseconds(self, operation: Operation) -> tuple[int, int]:
        """Return the duration rounded (down, up) to whole picoseconds."""
        if operation not in self._known:
            self._known[operation] = leaving_a_node(operation, self._timed)
        return self._known[operation]

    def curve_of(self, operation: Operation) -> Curve | None:
        """Return the (first) curve that times an operation; ``None`` where the fallback clock does."""
        requests = requests_of(operation, self._device.devices_per_node)
        return self._choose(requests[0])[1] if requests else None

    def _timed(self, operation: Operation) -> tuple[int, int]:
        requests = requests_of(operation, self._device.devices_per_node)
        pairs = [self._choose(request) for request in requests]
        if not pairs or any(curve is None for _, curve in pairs):
            return self._fallback.picoseconds(operation)
        total = sum(
            request.times * self._table(request, curve, request.loads).microseconds(request.loads)
            for request, curve in pairs
            if curve
        )
        rounded = max(_rounded(total), self._roofline.picoseconds(operation))
        return rounded, rounded

    def many(self, operation: Operation, count: int) -> list[int]:
        """Return the duration, rounded up, of an operation at each of ``count`` sizes (`many`)."""
        return many_leaving_a_node(operation, lambda one: self._timed_many(one, count))

    def curves_of(self, operation: Operation) -> tuple[object, ...]:
        """Return the curves that time an operation, as far as it has any."""
        return tuple(self._choose(request)[1] for request in requests_of(operation, self._device.devices_per_node))

    def _timed_many(self, operation: Operation, count: int) -> list[int]:
        requests = requests_of(operation, self._device.devices_per_node)
        pairs = [self._choose(request) for request in requests]
        if not pairs or any(curve is None for _, curve in pairs):
            if isinstance(self._fallback, ManyClock):
                return self._fallback.many(operation, count)
            return [self._fallback.picoseconds(one)[1] for one in one_by_one(operation, count)]
        totals = [0.0] * count
        for request, curve in pairs:
            assert curve is not None
            loads = list(zip(*(listed(load, count) for load in request.loads), strict=True))
            table = self._table(request, curve, max(loads))
            times = zip(totals, listed(request.times, count), loads, strict=True)
            totals = [total + runs * table.microseconds(load) for total, runs, load in times]
        least = [listed(term, count) for term in self._roofline.terms(operation)]
        return [max(_rounded(total), *terms) for total, *terms in zip(totals, *least, strict=True)]

    def _choose(self, request: Request) -> tuple[Request, Curve | None]:
        """Return the first of a request and what it asks otherwise that some curve answers, and that curve."""
        key = request.key
        if key not in self._chosen:
            self._chosen[key] = choose_curve(self._calibration.curves, request, self._engine)
        found = self._chosen[key]
        if found is None and request.otherwise is not None:
            return self._choose(request.otherwise)
        return request, found

    def _table(self, request: Request, curve: Curve, loads: tuple[float, ...]) -> LoadTable:
        """Return the curve at a request's shape, as far as the loads and what is usual."""
        key = (id(curve), request.shape)
        axes = FAMILIES[curve.key.family].axes
        known = self._tables.get(key)
        if known is None or not known[1].reaches(loads, axes):
            reach = [max(load, USUAL_LOADS.get(axis, USUAL_LOAD)) for load, axis in zip(loads, axes, strict=True)]
            centres, figures = self._calibration.centres[curve.key.family], self._calibration.figures
            known = self._tables[key] = curve, table_of(curve, centres, figures, dict(request.shape), reach=reach)
        return known[1]


def _rounded(microseconds: float) -> int:
    """Picoseconds at six significant digits."""
    return round(float(f"{microseconds:.5e}") * _MICROSECONDS)


def choose_curve(curves: Iterable[Curve], request: Request, engine: str) -> Curve | None:
    """Choose the curve nearest to a request: family and scope, then dtype, engine, kernel, newest version.

    Kernels that were measured with the host's overhead (`HOST_BOUND`) come last unless asked for by name.
    """
    fitting = [
        curve
        for curve in curves
        if curve.key.family == request.family
        and curve.key.scope == request.scope
        and curve.key.dtype in request.dtypes
        and (not request.kernel or request.kernel in curve.key.kernel)
    ]
    if not fitting:
        return None
    nearest = max(fitting, key=lambda curve: _preference(curve, request, engine))
    if request.stored in ("", nearest.key.dtype):
        return nearest
    return nearest.model_copy(update={"key": nearest.key.model_copy(update={"dtype": request.stored})})


def _preference(curve: Curve, request: Request, engine: str) -> tuple[object, ...]:
    key = curve.key
    return (
        -request.dtypes.index(key.dtype),
        bool(request.kernel) or key.kernel not in HOST_BOUND,
        key.engine == engine,
        key.kv_dtype == request.kv_dtype,
        "graph" in key.kernel,
        _version(key.version),
        curve.rows,
        key.kernel,
    )


def _version(text: str) -> tuple[int, ...]:
    parts = "".join(letter if letter.isdigit() else " " for letter in text).split()
    return tuple(int(part) for part in parts)
