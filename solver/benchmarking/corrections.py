"""Corrections: the factors under which the prediction of a plan is what was measured, term by term.

A closed loop tells three: TPOT sets iterations (the median gap between tokens, where a tool gives it, sets iterations
without prompts, and TPOT the prompts beside them), TTFT the waits. Where nothing waits beside others (a burst, a loop
of one, requests that come by themselves, which are played), TPOT sets the decode and TTFT the prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, log

import yaml

from shardproof.formulations.costs.serving.first_token import CHUNK_TOKENS
from shardproof.formulations.open_loop import is_open
from shardproof.instances.correction import LARGEST, SMALLEST, Correction
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.reading import refuse
from shardproof.instances.workload import ClosedLoop
from shardproof.solver.benchmarking.load import loads_of
from shardproof.solver.benchmarking.results import Measured
from shardproof.solver.evaluation.predictions import Prediction, predict
from shardproof.solver.simulation.simulate import SimulationSettings, simulate

CLOSE = 5e-4
"""Relative distance at which a prediction is what was measured."""
STEPS = 40
ROUNDS = 4
"""Times that decode and prompts are fitted in turn: each moves the other's figure a little."""
ALONE = 0.4
"""Share of iterations with prompts in them below which the median gap between tokens has none."""
NEAR = 0.05


@dataclass(frozen=True)
class Expected:
    """What is predicted, ms; ``decode``: an iteration without prompts (``None``: not told apart)."""

    ttft: float
    tpot: float
    decode: float | None = None


@dataclass(frozen=True)
class Fit:
    """A plan, and one of its scenarios as it was measured."""

    instance: Instance
    plan: Plan
    place: int
    measured: Measured
    seeds: int

    def expected(self, correction: Correction) -> Expected:
        """Predict under a correction, by the same calls as every verb."""
        asked = self.instance.model_copy(update={"correction": correction})
        if self.is_played:
            outcome = simulate(asked, self.plan, SimulationSettings(seeds=self.seeds))[self.place]
            return Expected(outcome.figure("ttft", None).value / 1e6, outcome.figure("tpot", None).value / 1e6)
        name = asked.scenarios[self.place].name
        found = next(one for one in predict(asked, self.plan) if one.scenario == name)
        return Expected(found.ttft_s * 1e3, found.tpot_ms, _alone(found))

    @property
    def is_played(self) -> bool:
        """Whether means come from the played plan."""
        return bool(self.plan.groups) or is_open(self.instance)

    @property
    def waits(self) -> bool:
        """Whether a first token waits for others in service."""
        load = self.instance.scenarios[self.place].workload
        return isinstance(load, ClosedLoop) and not self.is_played and load.requests > self.plan.replicas

    def target(self, name: str, at: str = "mean") -> float | None:
        """What was measured, ms."""
        return self.measured.figures.get(name, {}).get(at)

    @cached_property
    def plain(self) -> Correction:
        """No correction."""
        asked = self.instance
        return Correction(device=asked.device.name, engine=asked.engine, model=asked.model.name, source="none")


def _alone(found: Prediction) -> float | None:
    """An iteration without prompts, where the terms that are printed add up to the TPOT."""
    total = sum(found.operations.values()) / 1e6
    if not found.tpot_ms or abs(total / found.tpot_ms - 1) > 0.01:
        return None
    return total - found.operations.get("prefill_of_others", 0) / 1e6


def correction_of(
    instance: Instance, plan: Plan, measured: Measured, *, place: int, seeds: int, file: str
) -> Correction:
    """Return the correction under which the plan's prediction is what was measured.

    Raises
    ------
    InputError
        If the run was under another load or tells no mean, or a factor lies beyond belief.
    """
    fit = Fit(instance.model_copy(update={"correction": None}), plan, place, measured, seeds)
    _check(fit, file)
    before = fit.expected(fit.plain)
    found = _loop(fit, file) if fit.waits else _alternating(fit, file)
    return found.model_copy(update={"source": _source(fit, before, file)})


def _check(fit: Fit, file: str) -> None:
    if fit.target("ttft") is None and fit.target("tpot") is None:
        raise refuse(file, "tells no mean; nothing can be corrected by it", field="ttft, tpot")
    load, measured = loads_of(fit.instance)[fit.place], fit.measured
    pairs = (
        (load.concurrency, measured.concurrency),
        (load.rate, measured.rate),
        (load.input_tokens, measured.input_tokens),
        (load.output_tokens, measured.output_tokens),
    )
    if any(asked and sent is not None and abs(sent / asked - 1) > NEAR for asked, sent in pairs):
        remedy = "is of another load than the question's; ask the question that was measured, then correct"
        raise refuse(file, remedy, field="load")
    if measured.failed and measured.failed > 0.01 * ((measured.completed or 0) + measured.failed):
        remedy = f"{measured.failed} requests failed; correct by a run that serves them"
        raise refuse(file, remedy, field="failed")


def _loop(fit: Fit, file: str) -> Correction:
    found = _iterations(fit, file)
    target = fit.target("ttft")
    return found if target is None else _set(fit, found, ("wait",), "ttft", target, file)


def _iterations(fit: Fit, file: str) -> Correction:
    found, tpot = fit.plain, fit.target("tpot")
    if tpot is None:
        return found
    gap = _gap_without_prompts(fit)
    if gap is None:
        return _set(fit, found, ("decode", "prefill"), "tpot", tpot, file)
    found = _set(fit, found, ("decode",), "decode", gap, file)
    low = fit.expected(found.model_copy(update={"prefill": SMALLEST}))
    if low.tpot > tpot:  # the gaps' median is no iteration alone: all iterations together
        return _set(fit, fit.plain, ("decode", "prefill"), "tpot", tpot, file)
    return _set(fit, found, ("prefill",), "tpot", tpot, file)


def _gap_without_prompts(fit: Fit) -> float | None:
    """The median gap between tokens, where most iterations carry no prompt and the tool's gaps are iterations."""
    gap, mean, tpot = fit.target("itl", "p50"), fit.target("itl"), fit.target("tpot")
    if gap is None or mean is None or tpot is None or not 0.8 < mean / tpot < 1.25:
        return None
    load = fit.instance.scenarios[fit.place].workload
    chunks = ceil(load.input_tokens / (fit.instance.engine_settings.max_num_batched_tokens or CHUNK_TOKENS))
    each = load.requests / fit.plan.replicas
    is_rare = each / load.output_tokens * chunks < ALONE
    return gap if is_rare and fit.expected(fit.plain).decode is not None else None


def _alternating(fit: Fit, file: str) -> Correction:
    found = fit.plain
    for _ in range(ROUNDS if fit.is_played else 1):
        for term, name in (("decode", "tpot"), ("prefill", "ttft")):
            target = fit.target(name)
            found = found if target is None else _set(fit, found, (term,), name, target, file)
    return found


def _set(fit: Fit, start: Correction, terms: tuple[str, ...], name: str, target: float, file: str) -> Correction:
    """Return the correction whose terms, all by one factor, make a figure what was measured."""

    def under(factor: float) -> Correction:
        rounded = Fraction(f"{factor:.4g}")
        return start.model_copy(update=dict.fromkeys(terms, rounded))

    def figure(factor: float) -> float:
        found = getattr(fit.expected(under(factor)), name)
        return float("nan") if found is None else float(found)

    low, high = (0.0 if terms == ("wait",) else float(SMALLEST)), float(LARGEST)
    if terms == ("wait",) and figure(low) >= target:
        return under(low)
    factor = _root(figure, target, max(low, 1e-3), high)
    if factor is None:
        told = f"measured {target:.5g} ms is out of reach of {figure(1):.5g} ms within x{low:g} to x{high:g}"
        raise refuse(file, f"{name}: {told}: this is no run of the plan", field=" and ".join(terms))
    return under(factor)


def _root(figure: Callable[[float], float], target: float, low: float, high: float) -> float | None:
    """Find where an increasing figure meets its target: from 1 outwards, then by false position in logarithms."""
    here, value = 1.0, figure(1.0)
    if abs(value / target - 1) <= CLOSE:
        return here
    sides = {value < target: (here, value)}
    while len(sides) < 2:
        here = min(high, max(low, here * (2 if value < target else 0.5)))
        value = figure(here)
        sides[value < target] = (here, value)
        if here in (low, high) and len(sides) < 2:
            return None
    below, above = sides[True], sides[False]
    for _ in range(STEPS):
        here = _between(below, above, target)
        value = figure(here)
        if abs(value / target - 1) <= CLOSE or above[0] / below[0] < 1 + CLOSE / 4:
            break
        below, above = ((here, value), above) if value < target else (below, (here, value))
    return here


def _between(below: tuple[float, float], above: tuple[float, float], target: float) -> float:
    """Where the line between two points meets the target, kept off the ends so that both sides move."""
    (left, low), (right, high) = below, above
    share = log(target / low) / log(high / low) if high > low > 0 else 0.5
    return float(left * (right / left) ** min(0.9, max(0.1, share)))


def _source(fit: Fit, before: Expected, file: str) -> str:
    load = loads_of(fit.instance)[fit.place]
    sent = f"{load.concurrency} in flight" if load.rate is None else f"{load.rate:g} requests/s"
    said = [f"{fit.measured.tool} ({file}): {sent}, {load.input_tokens} + {load.output_tokens} tokens"]
    said.append(" + ".join(f"{one.replicas} x {one.width} GPUs" for one in fit.plan.parts))
    for name, told in (("ttft", before.ttft), ("tpot", before.tpot)):
        target = fit.target(name)
        said += [] if target is None else [f"{name.upper()} {target:.4g} ms for {told:.4g} predicted"]
    return "; ".join(said)


def to_text(corrections: tuple[Correction, ...]) -> str:
    """Write a file of corrections: factors that are 1 are left out."""
    rows = []
    for one in corrections:
        factors = {name: float(getattr(one, name)) for name in ("prefill", "decode", "wait") if getattr(one, name) != 1}
        rows.append({"device": one.device, "engine": one.engine, "model": one.model} | factors | {"source": one.source})
    return yaml.safe_dump({"calibrations": rows}, sort_keys=False, width=110, allow_unicode=True)


def merged(held: tuple[Correction, ...], new: Correction) -> tuple[Correction, ...]:
    """Lay a correction over those that a file holds; it takes the place of the one of its own subject."""
    return (*(one for one in held if one.subject != new.subject), new)
