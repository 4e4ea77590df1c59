"""`predict`: times and memory of a given plan, and the doubt in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from shardproof.solver.api.fleets import SolvedFleet, fleet_from
from shardproof.solver.api.question import Fields, check_fields, instance_from, shows_fields
from shardproof.solver.api.record import Answered
from shardproof.solver.api.solved import Solved

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.api.question import Question
    from shardproof.solver.evaluation.predictions import Prediction

    AnyPlan = str | Path | Mapping[str, Any] | Plan | Solved | SolvedFleet | FleetPlan


@dataclass(frozen=True, repr=False, eq=False)
class Predicted(Answered):
    """What a plan is expected to do, one prediction for each scenario of the question."""

    instance: Instance | PoolsQuestion
    plan: Plan | FleetPlan
    predictions: tuple[Prediction, ...]

    @property
    def metrics(self) -> Prediction:
        """Prediction of the first scenario."""
        return self.predictions[0]

    @property
    def ttft_s(self) -> float:
        """Time to first token of the first scenario, seconds."""
        return self.metrics.ttft_s

    @property
    def tpot_ms(self) -> float:
        """Time per output token of the first scenario, milliseconds."""
        return self.metrics.tpot_ms

    @property
    def verdict(self) -> str:
        """One line: the GPUs, and whether every rule and limit is kept."""
        from shardproof.instances.units import format_gpus

        broken = dict.fromkeys(item.group for found in self.predictions for item in found.violations)
        kept = f"breaks {', '.join(broken)}" if broken else "keeps every rule and limit"
        return f"{self._subject}, {format_gpus(self.plan.gpus)}: {kept}"

    @property
    def _subject(self) -> str:
        """What is predicted: the model on its device, or the question of a fleet by its name."""
        from shardproof.instances.instance import Instance

        asked = self.instance
        return f"{asked.model.name} on {asked.device.name}" if isinstance(asked, Instance) else asked.name

    @property
    def exit_code(self) -> int:
        """0, or 4 if the plan breaks a rule or a limit."""
        return 4 if any(found.violations for found in self.predictions) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``predict --json`` prints."""
        document = self.metrics.to_json()
        if len(self.predictions) > 1:
            document["scenarios"] = [one.to_json() for one in self.predictions]
        return document

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each operation of each scenario, with the scenario's times."""
        return [
            {
                "scenario": found.scenario,
                "ttft_s": found.ttft_s,
                "tpot_ms": found.tpot_ms,
                "operation": name,
                "time_ns": time,
            }
            for found in self.predictions
            for name, time in found.operations.items()
        ]

    def __str__(self) -> str:
        """Return one line for each scenario."""
        return "\n".join(
            f"scenario {found.scenario}: TTFT {found.ttft_s:.3f} s, TPOT {found.tpot_ms:.2f} ms, by {found.basis}"
            for found in self.predictions
        )

    def __repr__(self) -> str:
        """Return one line."""
        return f"Predicted(ttft_s={self.ttft_s:.4g}, tpot_ms={self.tpot_ms:.4g}, scenarios={len(self.predictions)})"


def plan_from(plan: AnyPlan) -> Plan:
    """Take a plan as it is, from an answer, a mapping, or a file that ``solve -o`` or ``solve --json`` wrote.

    Raises
    ------
    InputError
        If there is no plan in it.
    """
    from shardproof.instances.errors import InputError
    from shardproof.instances.plan import Plan, load_plan, plan_from_tree

    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, Solved):
        if plan.plan is None:
            raise InputError(f"the answer is {plan.status}: it holds no plan")
        return plan.plan
    if isinstance(plan, Mapping):
        return plan_from_tree(dict(plan), where="plan")
    if not isinstance(plan, str | Path):
        raise InputError("plan: is a fleet of several devices; give the question about them with it, or a group's plan")
    return load_plan(plan if isinstance(plan, Path) else Path(plan))


def _stated(plan: str | Path, asked: Instance) -> Plan:
    """The plan of a file that ``solve`` wrote, or of any form that `audit` reads."""
    from shardproof.instances.plan import load_plan
    from shardproof.solver.audit.stated_plan import stated_plan
    from shardproof.solver.documents.sources import is_command

    written = Path(plan).suffix.lower() in (".yaml", ".yml", ".json") and not is_command(str(plan))
    if written and _is_plan_file(Path(plan)):
        return load_plan(Path(plan))
    return stated_plan(plan, asked)


def _is_plan_file(path: Path) -> bool:
    """Whether a file is written as ``solve`` writes plans (then its own reader says what is wrong in it)."""
    from shardproof.solver.documents.text import read_document_text

    return path.is_dir() is False and "stages" in (text := read_document_text(path)) and "attn_tp" in text


def asked_and_stated(plan: AnyPlan, instance: Question | None, fields: dict[str, Any]) -> tuple[Instance, Plan]:
    """Return the question and the plan that a verb on plans is given, in whatever form.

    Raises
    ------
    InputError
        If either is wrong or missing.
    """
    if instance is None and isinstance(plan, Solved):
        instance = plan.instance
    from shardproof.instances.engine_choice import question_of

    asked = instance_from(instance, fields)
    stated = _stated(plan, asked) if isinstance(plan, str | Path) else plan_from(plan)
    stated = _without_told(stated, fields)
    return question_of(asked, stated), stated


def _without_told(plan: Plan, fields: dict[str, Any]) -> Plan:
    """Return the plan without those settings of its launch that a flag beside it says: flags outrank files."""
    if plan.launched is None:
        return plan
    beside = {name for name, value in fields.items() if value is not None}
    return plan.model_copy(update={"launched": plan.launched.without(beside)})


@shows_fields
def predict(plan: AnyPlan, instance: Question | None = None, **fields: Unpack[Fields]) -> Predicted:
    """Predict TTFT, TPOT, time by operation and memory by part of a plan.

    Parameters
    ----------
    plan
        A `Plan`, an answer of `solve`, a mapping, the path of a plan in any form that `audit` reads, or an engine's
        command line.
    instance
        The question that the plan answers; may be left out for an answer of `solve`.
    **fields
        What a flag of the command line says, under the flag's name. ``confidence="90%"`` adds an interval from
        held-out residuals.

    Raises
    ------
    InputError
        If plan or question is wrong.
    """
    check_fields(fields, "predict")
    from shardproof.formulations.costs.serving.confidence import parse_level
    from shardproof.formulations.open_loop import is_open
    from shardproof.solver.evaluation.predictions import predict as predict_plan

    given: dict[str, Any] = dict(fields)
    confidence = given.pop("confidence", None)
    fleet = fleet_from(plan, instance, given)
    if fleet is not None:
        from shardproof.solver.pools.served import predict_fleet

        level = None if confidence is None else parse_level(str(confidence))
        return Predicted(*fleet, predict_fleet(*fleet, level=level))
    asked, wanted = asked_and_stated(plan, instance, given)
    if confidence is None and asked.confidence is not None:
        confidence = f"{float(asked.confidence):g}"
    level = None if confidence is None else parse_level(str(confidence))
    if is_open(asked) and not wanted.is_apart:
        from shardproof.solver.open_loop.predicted import predict_open

        return Predicted(asked, wanted, predict_open(asked, wanted, level=level))
    return Predicted(asked, wanted, predict_plan(asked, wanted, level=level))
