"""What the replicas of one question sustain, shape by shape and scenario by scenario: bounds, and whether they hold.

A replica of a fleet sees what its router draws for it. Of a Poisson stream that is a Poisson stream again, at its part
of the rate; of bursts, or of a trace, each request is drawn by chance, and bursts thin out.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, inf

from shardproof.formulations.open_loop import MILLIONTHS, is_open
from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.judge import accepted, may_keep, within_margin
from shardproof.solver.open_loop.least import OptionCosts, ShapeBound
from shardproof.solver.open_loop.shapes import Shape, shapes_of
from shardproof.solver.simulation.simulate import Service, SimulationSettings

MOST = 10**12
"""Largest rate that is looked at, in millionths."""

SERVICES = 8
"""Rates whose runs are kept: each group is played again when its figures are written."""

Rates = tuple[int, ...]
"""Requests a second of each scenario, in millionths."""


def at_rates(instance: Instance, rates: Rates) -> Instance:
    """Return the question at other rates of its scenarios; those of none are left out.

    Less than the stated rate of a stream that is not Poisson is a part of it, drawn by chance.
    """
    scenarios = []
    for scenario, rate in zip(instance.scenarios, rates, strict=True):
        load = scenario.workload
        if rate and isinstance(load, OpenLoop):
            asked = Fraction(rate, MILLIONTHS)
            plain = load.trace is None and load.arrival_cv == 1
            part = load.part if plain else min(Fraction(1), load.part * asked / load.rate)
            workload = load.model_copy(update={"rate": asked, "part": part})
            scenarios.append(scenario.model_copy(update={"workload": workload}))
    return instance.model_copy(update={"scenarios": tuple(scenarios)})


def together(replicas: int, each: Rates, asked: Rates) -> Rates:
    """Return rates of so many replicas with ``each``, which were rounded up: no more than is asked of all."""
    return tuple(min(replicas * rate, whole) for rate, whole in zip(each, asked, strict=True))


class ReplicaRates:
    """Rates that single replicas of a question sustain; all of its scenarios are open."""

    def __init__(self, instance: Instance, seed: int = 0) -> None:
        """Take the question, and the seed of the first run; nothing is computed yet."""
        assert is_open(instance)
        self.instance = instance
        self.service = Service(instance, SimulationSettings(seeds=SEEDS, seed=seed))
        self.shapes = tuple(shapes_of(self.service.deployment))
        self._seen: dict[tuple[Shape, Rates, int], bool] = {}
        self._kept: dict[tuple[Shape, Rates, int], bool] = {}
        self._services: dict[Rates, tuple[Instance, Service]] = {}
        self._costs: dict[object, OptionCosts] = {}
        self._scenarios: list[OpenScenario] = []

    def bounds(self, shape: Shape) -> Rates:
        """Rates that no replica of a shape passes, scenario by scenario (0: it keeps no limit).

        Those of an option's deepest pipeline bound shorter ones by their stages: time and cache of a stage are no more.
        """
        if not self._scenarios:
            self._scenarios = [OpenScenario(self.service, item) for item in within_margin(self.instance).scenarios]
        costs = self._costs.setdefault(shape.option, OptionCosts(self.service, shape.option))
        bound = ShapeBound(costs, shape, self._scenarios)
        return tuple(_most_rate(bound, open_) for open_ in self._scenarios)

    def starts(self, shape: Shape) -> bool:
        """Whether the engine starts a replica, and one request fits."""
        deployment = self.service.deployment
        plan = shape.plan(deployment, 1)
        if EnginePlan(deployment.instance, plan.parts[0]).binding.refusal is not None:
            return False
        return not evaluate(deployment.instance, plan, deployment=deployment).violations

    def at(self, rates: Rates) -> tuple[Instance, Service]:
        """Return the question at other rates, and its service; the latest are kept with their runs."""
        found = self._services.pop(rates, None)
        if found is None:
            asked = at_rates(self.instance, rates)
            found = asked, self.service.at(asked)
        self._services[rates] = found
        for old in list(self._services)[:-SERVICES]:
            del self._services[old]
        return found

    def may_keep(self, shape: Shape, rates: Rates, replicas: int = 1) -> bool:
        """Whether one run of replicas keeps every limit at these rates of all of them together."""
        if (shape, rates, replicas) not in self._seen:
            asked, service = self.at(rates)
            plan = shape.plan(self.service.deployment, replicas)
            self._seen[shape, rates, replicas] = may_keep(asked, plan, service)
        return self._seen[shape, rates, replicas]

    def keeps(self, shape: Shape, rates: Rates, replicas: int = 1) -> bool:
        """Whether replicas keep every limit in service, in all runs: as a plan of one device is judged."""
        if (shape, rates, replicas) not in self._kept:
            kept = self.may_keep(shape, rates, replicas)
            if kept:
                asked, service = self.at(rates)
                kept = accepted(asked, shape.plan(self.service.deployment, replicas), service) is not None
            self._kept[shape, rates, replicas] = kept
        return self._kept[shape, rates, replicas]


def _most_rate(bound: ShapeBound, open_: OpenScenario) -> int:
    """Rate in millionths at which a replica does not keep up any more; `MOST` at most."""
    if bound.refused(open_):
        return 0
    needed = bound.needed(open_, inf)
    stated = open_.load.rate * MILLIONTHS
    return MOST if needed <= 0 else min(MOST, ceil(stated / Fraction(needed)))
