"""The certificate of an open question's bound: requests, tables, directions of planes, and windows.

The checker (`shardproof.solver.checkers.open_loop`) computes the bound anew from it, in exact arithmetic; what it finds
is what the certificate claims. The plan was played, and is not part of what is proved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop
from shardproof.solver.checkers.open_loop import FORMAT, proved
from shardproof.solver.checkers.open_loop_work import SCALE
from shardproof.solver.open_loop.evaluated import service_of
from shardproof.solver.open_loop.facts import OpenScenario, RunFacts
from shardproof.solver.open_loop.judge import within_margin
from shardproof.solver.open_loop.late import WindowTest
from shardproof.solver.open_loop.least import OptionCosts, ShapeBound
from shardproof.solver.open_loop.mixed import GpuTime
from shardproof.solver.open_loop.premises import premises
from shardproof.solver.open_loop.shapes import shapes_of
from shardproof.solver.result import Result

Document = dict[str, Any]


def open_document(instance: Instance, result: Result) -> Document | None:
    """Return the certificate of an answer; ``None`` where its bound says nothing."""
    asked = result.question or instance
    bound = asked.max_gpus + 1 if result.status == "infeasible" else result.bound or 1
    if bound < 2 or result.status == "undecided":
        return None
    found = Proof(asked, bound)
    document = found.document()
    document["claim"] = {"lower": proved(document), "upper": result.gpus}
    if document["claim"]["lower"] < bound:
        document["windows"] = list(found.windows(document["claim"]["lower"]))
        document["claim"]["lower"] = proved(document)
    return document if document["claim"]["lower"] > 1 else None


@dataclass(frozen=True)
class Proof:
    """What refutes fewer GPUs than ``below`` for an instance with a named engine."""

    instance: Instance
    below: int

    @cached_property
    def scenarios(self) -> list[OpenScenario]:
        """The open scenarios, with what the margin leaves of their limits."""
        asked = within_margin(self.instance).scenarios
        return [OpenScenario(self._service, item) for item in asked if isinstance(item.workload, OpenLoop)]

    @cached_property
    def _service(self) -> Any:
        return service_of(self.instance)

    @cached_property
    def shapes(self) -> list[ShapeBound]:
        """Every shape of fewer GPUs, bounded."""
        costs, found = dict[Any, OptionCosts](), []
        for shape in shapes_of(self._service.deployment):
            if shape.gpus < self.below:
                if shape.option not in costs:
                    costs[shape.option] = OptionCosts(self._service, shape.option)
                found.append(ShapeBound(costs[shape.option], shape, self.scenarios))
        return found

    @cached_property
    def options(self) -> list[OptionCosts]:
        """The options of the shapes."""
        return list({id(bound.costs): bound.costs for bound in self.shapes}.values())

    def document(self) -> Document:
        """Return the document without windows and claim."""
        for bound in self.shapes:
            for open_ in self.scenarios:
                if not bound.refused(open_):
                    bound.needed(open_, 2 * self.below)
        return self.facts(None) | {"windows": [], "claim": {"lower": 1, "upper": None}}

    def facts(self, other: Document | None) -> Document:
        """Return what the question yields; of another document the points and hints are taken, and computed anew."""
        places = {id(costs): place for place, costs in enumerate(self.options)}
        return {
            "format": FORMAT,
            "instance": self.instance.fingerprint,
            "max_gpus": self.instance.max_gpus,
            "replicas": self.instance.replicas,
            "listed_below": self.below,
            "premises": list(premises(self.instance)),
            "scenarios": [_scenario(open_, self.shapes) for open_ in self.scenarios],
            "options": [self._option(place, other) for place in range(len(self.options))],
            "shapes": [
                {
                    "option": places[id(bound.costs)],
                    "stages": bound.shape.stages,
                    "cache": int(bound.cache),
                    "directions": other["shapes"][place]["directions"] if other else self._directions(bound),
                }
                for place, bound in enumerate(self.shapes)
            ],
        }

    def _directions(self, bound: ShapeBound) -> list[list[list[int]]]:
        return [
            [[_scaled(one.beta), _scaled(one.gamma), _scaled(one.delta)] for one in bound.directions(open_)]
            for open_ in self.scenarios
        ]

    def _option(self, place: int, other: Document | None) -> Document:
        costs = self.options[place]
        times = costs.rounds(self.scenarios[0].scenario).times
        any_shape = next(bound for bound in self.shapes if bound.costs is costs)
        return {
            "gpus": costs.option.gpus,
            "ranks": costs.limits.ranks,
            "budget": any_shape.budget,
            "sizes": list(times.sizes),
            "chunk_sizes": list(times.chunks),
            "tables": [
                _table(costs, open_, None if other is None else other["options"][place]["tables"][at])
                for at, open_ in enumerate(self.scenarios)
            ],
        }

    def windows(self, least: int) -> Iterator[Document]:
        """Yield windows that refute as many GPUs as any do, of one scenario."""
        able = [one for one in self.shapes if not any(one.refused(open_) for open_ in self.scenarios)]
        for gpus in range(self.below - 1, least - 1, -1):
            fitting = [one for one in able if one.shape.gpus <= gpus]
            for place, open_ in enumerate(self.scenarios):
                test = WindowTest(GpuTime(fitting), open_)
                if fitting and test.refuses(gpus):
                    runs = [_chosen(test, run, gpus) for run in range(len(open_.runs))]
                    yield {"gpus": gpus, "scenario": place, "runs": runs}
                    return


def _chosen(test: WindowTest, run: int, gpus: int) -> list[list[int]]:
    """Windows of the first demand of a run that forces too many requests to be late."""
    for place, (demand, late) in enumerate(test.demands(run)):
        if demand.forces(gpus, late):
            return [[place, window.first, window.last] for window in demand.late(gpus)]
    return []


def _scenario(open_: OpenScenario, shapes: list[ShapeBound]) -> Document:
    needs, rate = open_.needs, Fraction(open_.load.rate) / 10**9
    figures = {"first": needs.first, "token": needs.token, "whole": needs.whole}
    return {
        "name": open_.scenario.name,
        "rate": [rate.numerator, rate.denominator],
        "by_chance": int(bool(shapes) and shapes[0].is_seen_by_chance(open_)),
        "verified": open_.verified,
        "joint": int(needs.joint),
        **{
            name: [[one.share.numerator, one.share.denominator, int(one.limit)] for one in kept]
            for name, kept in figures.items()
        },
        "mean_first": None if needs.mean_first is None else int(needs.mean_first),
        "mean_token": None if needs.mean_token is None else int(needs.mean_token),
        "runs": [_run(run) for run in open_.runs],
    }


def _run(run: RunFacts) -> Document:
    columns = {"arrivals": run.arrivals, "computed": run.asked.computed}
    columns |= {"found": run.asked.found, "output": run.asked.output}
    return {name: [int(value) for value in values] for name, values in columns.items()}


def _table(costs: OptionCosts, open_: OpenScenario, other: Document | None) -> Document:
    """Return the grid points of one option: those that were computed, or those that another table lists."""
    rounds, chunks = costs.rounds(open_.scenario), costs.chunks(open_.scenario)
    times = rounds.times
    if other is not None:
        known = [[i, j, round(times.node(i, j))] for i, j, _ in other["rounds"]]
        held = [[i, j, round(times.chunk_node(i, j - 1)[0])] for i, j, _ in other["chunks"]]
        return {"contexts": list(times.contexts), "rounds": known, "chunks": held, "prompts": other["prompts"]}
    return {
        "contexts": list(times.contexts),
        "rounds": [list(one) for one in rounds.known()],
        "chunks": [list(one) for one in chunks.known()],
        "prompts": [[_scaled(a), _scaled(b)] for a, b in chunks.directions()],
    }


def _scaled(value: float) -> int:
    """Round a direction down."""
    return max(0, int(Fraction(value) * SCALE))


def different(document: Document, instance: Instance) -> str | None:
    """Say what of a certificate's facts is not what an instance yields (``None``: nothing)."""
    if document["instance"] != instance.fingerprint:
        return f"the fingerprint {document['instance']}"
    yielded = Proof(instance, document["listed_below"])
    if len(document["shapes"]) != len(yielded.shapes) or len(document["options"]) != len(yielded.options):
        return "the list of shapes"
    facts = yielded.facts(document)
    return next((name for name, value in facts.items() if document[name] != value), None)
