"""`sensitivity`: how far inputs may worsen before the answer changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from shardproof.solver.api.options import check_options
from shardproof.solver.api.question import Fields, asked_from, check_fields, shows_fields
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan
    from shardproof.solver.analysis.inputs import Input
    from shardproof.solver.analysis.sensitivity import Slack, Step
    from shardproof.solver.api.fleets import FleetSensitivity
    from shardproof.solver.api.question import Asking
    from shardproof.solver.result import Result


@dataclass(frozen=True)
class Margin:
    """What the instance's margin costs: GPUs with it and without it."""

    margin: Fraction
    gpus: int
    gpus_without: int | None


@dataclass(frozen=True, repr=False, eq=False)
class Sensitivity(Answered):
    """How far each input may worsen before the plan breaks, and before more GPUs are needed.

    ``curves``: fewest GPUs against the TTFT limit and the number of requests, where they were asked for.
    Without a plan there is nothing to worsen: no inputs, no curves.
    """

    instance: Instance
    result: Result
    inputs: tuple[Slack, ...] = ()
    curves: Mapping[str, tuple[Step, ...]] | None = None
    margin: Margin | None = None

    @property
    def plan(self) -> Plan | None:
        """The plan whose inputs worsen."""
        return self.result.plan

    @property
    def gpus(self) -> int | None:
        """GPUs of the plan."""
        return self.result.gpus

    @property
    def exit_code(self) -> int:
        """0 a plan, 1 no plan exists, 3 undecided."""
        return self.result.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``sensitivity --json`` prints."""
        if self.plan is None:
            return {"gpus": None, "status": self.result.status, "inputs": [], "curves": {}, "margin": None}
        return {
            "gpus": self.gpus,
            "proof": self.result.proof,
            "inputs": [asdict(slack) for slack in self.inputs],
            "curves": {name: [asdict(step) for step in steps] for name, steps in (self.curves or {}).items()},
            "margin": None if self.margin is None else asdict(self.margin) | {"margin": str(self.margin.margin)},
        }

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each input; ``None``: no end was found."""
        return [asdict(slack) for slack in self.inputs]

    def plot(self, path: str | Path) -> None:
        """Draw the curves as a PNG or SVG file.

        Raises
        ------
        InputError
            If there are no curves, the file has another ending, or matplotlib is not installed.
        """
        from shardproof.solver.writers.curves import draw_curves

        draw_curves(Path(path), self.curves or {}, self.instance)

    def __str__(self) -> str:
        """Return one line."""
        if self.gpus is None:
            return f"no plan to worsen: {self.result.status}; `shardproof explain` says why"
        from shardproof.instances.units import format_gpus

        count = len(self.inputs)
        inputs = "1 input" if count == 1 else f"{count} inputs"
        return f"how far {inputs} may worsen; the plan has {format_gpus(self.gpus)}"

    def __repr__(self) -> str:
        """Return one line."""
        return f"Sensitivity(gpus={self.gpus}, inputs={len(self.inputs)})"


@shows_fields
def sensitivity(
    instance: Asking | None = None,
    *,
    only: Sequence[str] = (),
    curves: bool = False,
    points: int = 9,
    on_progress: Callable[[str], None] | None = None,
    **fields: Unpack[Fields],
) -> Sensitivity | FleetSensitivity:
    """Say how far each input may worsen before this plan breaks, and before more GPUs are needed.

    Every value is exact: found by bisection over proven decisions. With a margin, say also what it costs. Requests that
    come by themselves are played: values are to a percent, and what is refuted to a twentieth.

    Parameters
    ----------
    instance
        Path of an instance file, its fields as a mapping, or an `Instance`.
    only
        Look only at inputs whose name contains one of these.
    curves, points
        Also find the fewest GPUs at so many TTFT limits and numbers of requests.
    on_progress
        Called with what is looked at next.
    **fields
        What a flag of the command line says, under the flag's name.

    Raises
    ------
    InputError
        If the question is wrong or incomplete.
    """
    check_fields(fields, "sensitivity")
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.api.fleets import fleet_sensitivity

    check_options("sensitivity", {"points": points})
    from shardproof.solver.answer import answer

    say = on_progress or _silent
    asked = asked_from(instance, fields)
    if isinstance(asked, PoolsQuestion):
        return fleet_sensitivity(asked)
    result = answer(asked)
    asked = result.question or asked
    if result.plan is None or result.gpus is None:
        return Sensitivity(asked, result)
    ways = _ways(asked)
    wanted = (only,) if isinstance(only, str) else tuple(only)
    chosen = [item for item in ways.inputs if not wanted or any(part in item.name for part in wanted)]
    slacks = []
    for place, item in enumerate(chosen):
        say(f"{place + 1} of {len(chosen)}: {item.name}")
        slacks.append(ways.slack_of(item, result.plan, result.gpus))
    drawn = _curves(ways, points, say) if curves else {}
    say("")
    return Sensitivity(asked, result, tuple(slacks), drawn, _margin(asked, result.gpus) if ways.exact else None)


@dataclass(frozen=True)
class _Ways:
    """How inputs of one kind of question worsen; ``exact``: an answer that a margin can be taken off."""

    inputs: tuple[Input, ...]
    slack_of: Callable[[Input, Plan, int], Slack]
    curve: Callable[[Input, tuple[int, ...]], tuple[Step, ...]]
    exact: bool = False


def _ways(asked: Instance) -> _Ways:
    """Return how a question's inputs worsen: pools apart, requests that come by themselves, or neither."""
    from shardproof.formulations.open_loop import is_open

    if asked.serving != "together":
        from shardproof.formulations.apart.phases import is_steady
        from shardproof.solver.apart import slack as apart
        from shardproof.solver.apart import steady_slack

        if is_steady(asked):
            return _Ways(steady_slack.inputs(asked), steady_slack.slack_of, steady_slack.curve)
        return _Ways(apart.apart_inputs(asked), apart.slack_of, apart.curve)
    if is_open(asked):
        from shardproof.solver.open_loop import slack as played

        return _Ways(played.open_inputs(asked), played.slack_of, played.curve)
    from shardproof.solver.analysis.inputs import inputs_of
    from shardproof.solver.analysis.sensitivity import curve, slack_of

    return _Ways(inputs_of(asked), slack_of, curve, exact=True)


def _curves(ways: _Ways, points: int, say: Callable[[str], None]) -> dict[str, tuple[Step, ...]]:
    """Fewest GPUs at values around those that a curve is drawn of."""
    from shardproof.solver.analysis.sensitivity import around

    drawn: dict[str, tuple[Step, ...]] = {}
    for item in ways.inputs:
        if _drawn(item):
            say(f"curve: {item.name}")
            drawn[item.name] = ways.curve(item, around(item.value, points=points))
    return drawn


def _silent(text: str) -> None:
    del text


def _drawn(item: Input) -> bool:
    return item.name.startswith(("ttft limit", "ttft p", "rate", "batch_size", "concurrency"))


def _margin(instance: Instance, gpus: int) -> Margin | None:
    """GPUs with the instance's margin and without it."""
    from shardproof.solver.analysis.limiting import fewest_gpus
    from shardproof.solver.analysis.sensitivity import without_margin
    from shardproof.solver.problem import deployment_of

    margin = deployment_of(instance).instance.margin
    if not margin:
        return None
    return Margin(margin, gpus, fewest_gpus(deployment_of(without_margin(instance))))
