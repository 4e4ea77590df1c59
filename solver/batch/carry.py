r"""What is known carries over: an answer to an easier task says something about a harder one.

A task is a point of coordinates in which more is easier: every limit (no limit is infinity), and what the
device can do (peaks, bandwidths, efficiencies, memory; latencies negated). All else must be equal. If A is at
least as easy as B in every coordinate, every plan of B is a plan of A:

* A has no plan            => B has no plan;
* A needs at least n GPUs  => B needs at least n GPUs; and more than n, if with n GPUs even the lowest TTFT of A,
  a proven optimum, is over the limit of B;
* A and B differ in limits alone and A's optimal plan meets the limits of B => it is optimal for B, since the
  objective (GPUs, TTFT, peak memory) does not depend on the limits.

A task is solved after its parents, the nearest easier tasks: what it inherits never depends on timing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from shardproof.formulations.engines.told import device_class, memory_budget
from shardproof.formulations.open_loop import is_open
from shardproof.instances.engine_choice import NAMED, runs_on
from shardproof.instances.hardware import Device, Link
from shardproof.instances.instance import Instance
from shardproof.instances.model import DType
from shardproof.instances.workload import Burst
from shardproof.solver.batch.answer import Answer, Known, Task

_DEVICE_COORDINATES = (
    "peak_flops", "memory", "visible_memory", "memory_bandwidth", "mfu", "bandwidth_efficiency",
    "launch_latency", "scale_up", "scale_out",
)  # fmt: skip
_NOT_COMPARED: Any = {
    "name": True,
    "assumptions": True,
    "checkpoint": True,
    "memory_limit": True,
    "max_gpus": True,
    "max_stage_gpus": True,
    "scenarios": {"__all__": {"limits"}},
    "model": {"source", "notes", "family", "published_parameters"},
    "device": {"name", "source", "sources", "notes", "vendor", "architecture", "price_per_hour"}
    | set(_DEVICE_COORDINATES),
}
_NEAR = 1e-6
"""A plan this close to a limit (relative) is solved anew: reported times are floats."""
_LOOK_BACK = 64
"""Nearest easier tasks that are searched for parents in a large family."""


@dataclass(frozen=True)
class Coordinates:
    """Where a task stands: ``rest`` must be equal to compare; more is easier in the other two."""

    rest: str
    limits: tuple[float, ...]
    device: tuple[float, ...]


def coordinates(instance: Instance) -> Coordinates:
    """Return the coordinates of an instance."""
    limits: list[float] = [instance.memory_limit, instance.max_gpus, instance.max_stage_gpus]
    for scenario in instance.scenarios:
        limits += [_or_infinity(scenario.limits.ttft), _or_infinity(scenario.limits.tpot)]
    # Curves and factors of measured deployments belong to a device by name: they compare with nothing else.
    measured = "" if _is_plain(instance) else instance.device.name
    if instance.engine != "any":
        # An engine's defaults and printed flags depend on the device's memory.
        measured += f" {instance.device.name} {instance.memory_limit}"
    else:
        # Any takes the best of the engines that run there; more memory is easier as long as their defaults stay.
        measured += f" {[name for name in NAMED if runs_on(instance, name)]} {device_class(instance)}"
    text = f"{measured} {instance.model_dump_json(exclude=_NOT_COMPARED)}"
    # What is played says nothing sure about an easier question: requests that come by themselves compare with nothing.
    text += instance.fingerprint if is_open(instance) else ""
    rest = hashlib.sha256(text.encode()).hexdigest()
    return Coordinates(rest=rest, limits=tuple(limits), device=_device(instance.device))


def parents(tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """For each fingerprint, those of the nearest easier tasks; none has itself among its ancestors."""
    points = {task.fingerprint: coordinates(task.instance) for task in tasks if task.instance is not None}
    found: dict[str, list[str]] = defaultdict(list)
    by_device = _families(points, key=lambda point: (point.rest, point.device))
    for family in by_device:
        _link(family, {f: points[f].limits for f in family}, found)
    by_limits = _families(points, key=lambda point: (point.rest, point.limits[1:]))
    for family in by_limits:
        _link(family, {f: (*points[f].device, points[f].limits[0]) for f in family}, found)
    return {task: tuple(dict.fromkeys(easier)) for task, easier in found.items()}


def implied(task: Task, known: Iterable[tuple[Task, Answer]], document: Callable[[str], str | None]) -> Answer | None:
    """Return the answer of a task that follows from those of its parents, if it does.

    ``document`` loads the ``solve --json`` text of a fingerprint.
    """
    for parent, answer in known:
        if answer.status == "infeasible":
            return _refuted(task, parent, answer, document(parent.fingerprint))
    for parent, answer in known:
        if answer.status == "optimal" and _same_but_limits(task, parent) and _meets(answer, task):
            return _copied(task, parent, answer, document(parent.fingerprint))
    return None


def floor(task: Task, known: Iterable[tuple[Task, Answer]]) -> Known:
    """Return the best lower bound that the answers of easier tasks prove."""
    bounds = [
        (answer.bound + _too_slow(task, answer), parent.name) for parent, answer in known if answer.bound is not None
    ]
    best = max(bounds, default=None)
    return Known() if best is None else Known(floor=best[0], source=best[1])


def _too_slow(task: Task, answer: Answer) -> int:
    """One more GPU if even the lowest TTFT that the easier task allows with its fewest GPUs is over the limit."""
    instance = task.instance
    assert instance is not None
    lowest = ((answer.summary.get("levels") or {}).get("ttft") or {}).get("bound")
    limits = [scenario.limits.ttft for scenario in instance.scenarios]
    if answer.status != "optimal" or lowest is None or instance.margin or not _reports_as_limited(instance):
        return 0
    return int(len(limits) == 1 and limits[0] is not None and lowest > limits[0])


def _families(points: Mapping[str, Coordinates], *, key: Callable[[Coordinates], Hashable]) -> list[list[str]]:
    families: dict[Hashable, list[str]] = defaultdict(list)
    for fingerprint, point in points.items():
        families[key(point)].append(fingerprint)
    return [family for family in families.values() if len(family) > 1]


def _link(family: list[str], points: Mapping[str, tuple[float, ...]], found: dict[str, list[str]]) -> None:
    """Add to ``found`` the nearest easier members of each member."""
    # Easiest first: in this order no task is easier than one before it, ties aside.
    order = sorted(family, key=lambda f: points[f], reverse=True)
    for index, task in enumerate(order):
        nearest: list[str] = []
        for easier in reversed(order[max(0, index - _LOOK_BACK) : index]):
            if points[easier] == points[task] or not _at_least(points[easier], points[task]):
                continue
            if not any(_at_least(points[easier], points[near]) for near in nearest):
                nearest.append(easier)
        found[task] += nearest


def _at_least(easier: tuple[float, ...], harder: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(easier, harder, strict=True))


def _is_plain(instance: Instance) -> bool:
    """Whether times follow from the device's figures alone."""
    return instance.calibration is None and _reports_as_limited(instance)


def _reports_as_limited(instance: Instance) -> bool:
    """Whether the reported TTFT and TPOT are the very times that are held against the limits."""
    bursts = all(isinstance(scenario.workload, Burst) for scenario in instance.scenarios)
    return bursts and instance.confidence is None


def _same_but_limits(task: Task, parent: Task) -> bool:
    assert task.instance is not None
    assert parent.instance is not None
    return _device(task.instance.device) == _device(parent.instance.device)


def _meets(answer: Answer, task: Task) -> bool:
    """Whether a plan, by its reported metrics, clearly meets the limits of a task."""
    instance, metrics = task.instance, answer.metrics
    assert instance is not None
    inflation = float(1 + instance.margin) * (1 + _NEAR)
    ttft, tpot, memory = (metrics.get(key) for key in ("ttft_s", "tpot_ms", "peak_memory_bytes"))
    if ttft is None or tpot is None or memory is None or answer.gpus is None or not _reports_as_limited(instance):
        return False
    return (
        answer.gpus <= min(instance.max_gpus, instance.max_stage_gpus)
        and memory <= memory_budget(instance)
        and all(ttft * 1e9 * inflation <= _or_infinity(s.limits.ttft) for s in instance.scenarios)
        and all(tpot * 1e6 * inflation <= _or_infinity(s.limits.tpot) for s in instance.scenarios)
    )


def _copied(task: Task, parent: Task, answer: Answer, text: str | None) -> Answer | None:
    if text is None:
        return None
    note = f"the best plan under the looser limits of task '{parent.name}' keeps those of this one too"
    return _carried(task, parent, answer, text, note)


def _refuted(task: Task, parent: Task, answer: Answer, text: str | None) -> Answer | None:
    if text is None:
        return None
    asks_less = f"task '{answer.source or parent.name}', whose limits are no tighter and whose device is no weaker"
    note = f"no plan: {asks_less}, has none"
    return _carried(task, parent, answer, text, note)


def _carried(task: Task, parent: Task, answer: Answer, text: str, note: str) -> Answer:
    assert task.instance is not None
    tree = json.loads(text)
    # The certificate, if there is one, is the parent's: here its claim holds by the argument above.
    proof = "none" if tree.get("proof") == "none" else "solver-claimed"
    origin = answer.source or parent.name
    tree |= {"proof": proof, "instance_fingerprint": task.instance.fingerprint, "carried_from": origin}
    tree["assumptions"] = [*task.instance.assumptions]
    summary = dict(answer.summary) | {"proof": proof}
    return Answer(answer.status, summary, json.dumps(tree), 0.0, reason=note, source=origin)


def _device(device: Device) -> tuple[float, ...]:
    peaks = tuple(device.peak_flops[device.compute_dtype(dtype)] for dtype in get_args(DType))
    return (
        *peaks,
        device.memory_bandwidth,
        float(device.mfu),
        float(device.bandwidth_efficiency),
        -device.launch_latency,
        *_link_coordinates(device.scale_up),
        *_link_coordinates(device.scale_out),
    )


def _link_coordinates(link: Link) -> tuple[float, ...]:
    return (link.bandwidth, -link.latency, float(link.efficiency))


def _or_infinity(limit: int | None) -> float:
    return math.inf if limit is None else limit
