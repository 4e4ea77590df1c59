"""CP-SAT in the place of the exact search: the same questions of one program, answered case by case.

Cases fall by hand-checkable bounds first (`shardproof.solver.search.cuts`); each that is left is a model of its own
whose stages are no more than the budget has GPUs. What CP-SAT refutes here has no tree: it is claimed, not certified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.program import build
from shardproof.formulations.deployment.tables import Case, Layout, Program
from shardproof.formulations.deployment.variables import Limits
from shardproof.solver.search.cp_sat import solve_level
from shardproof.solver.search.cuts import Cuts
from shardproof.solver.search.query import Answer, Interrupted, Objective, ObjectiveValues, Query
from shardproof.solver.search.settings import Settings

_STEPS_BEFORE_HALVING = 3
"""Chains that a case may improve one by one before what is left of its objective is halved."""


@dataclass
class CpSatProver(ObjectiveValues):
    """Searches one program with CP-SAT; ``remaining`` gives the settings with the time that is left.

    ``check_stop`` is called between models and raises `Interrupted` to end the search.
    """

    program: Program
    floor: bool
    check_stop: Callable[[], None]
    remaining: Callable[[], Settings]

    def __post_init__(self) -> None:
        """Prepare the bounds."""
        self._cuts = Cuts(self.program, self.floor)
        self._refuted: dict[tuple[str, tuple[int, ...]], list[Limits]] = {}

    def decide(self, query: Query) -> Answer:
        """Find a chain within the query's limits; neither chain nor open cases: CP-SAT claims that there is none."""
        for case in self._cases(query):
            chain = self._solve(case, query)
            if chain is not None:
                return Answer(chain, None)
        return Answer(None, None)

    def least(self, query: Query, objective: Objective, start: Chain) -> Answer:
        """Return a chain with the least value of an objective within the query's limits, ``start`` or better.

        Feasibility is what CP-SAT decides fast here: each case is asked for a better chain, a few times for any, then
        for one in the lower half of what is left; where there is none, for any again, since the best is often known.
        """
        best = start
        cases = [
            (self._least(case, objective, query), case) for case in self._cases(self.below(query, objective, start))
        ]
        for least, case in sorted(cases, key=lambda item: item[0]):
            low, steps, any_ = least, 0, True
            while (most := self._value(objective, best) - 1) >= low:
                asked = most if any_ or steps < _STEPS_BEFORE_HALVING else (low + most) // 2
                steps += 1
                limits = replace(query, ttft=asked) if objective == "ttft" else replace(query, memory=asked)
                chain = self._solve(case, limits)
                best, low, any_ = (best, asked + 1, True) if chain is None else (chain, low, False)
        return Answer(best, None)

    def _least(self, case: Case, objective: Objective, query: Query) -> int:
        """Return a value that no chain of a case stays below: what promises most is looked at first."""
        return self._cuts.least(case, objective, self._budget(case.layout, query))

    def _value(self, objective: Objective, chain: Chain) -> int:
        return self.value(objective, chain) or 0

    def _cases(self, query: Query) -> Iterator[Case]:
        if (query.ttft is not None and query.ttft < 0) or (query.memory is not None and query.memory < 0):
            return
        for layout in self.program.layouts:
            budget = self._budget(layout, query)
            if budget > 0:
                yield from self._cuts.cases(layout, query, budget)

    def _budget(self, layout: Layout, query: Query) -> int:
        """GPUs of one replica at most."""
        budget = min(query.gpus, self.program.max_gpus) // layout.replicas
        return budget if layout.max_gpus is None else min(budget, layout.max_gpus)

    def _solve(self, case: Case, query: Query) -> Chain | None:
        """Put one case to CP-SAT, unless it is refuted under limits that are no tighter."""
        self.check_stop()
        limits = Limits(min(query.gpus, self.program.max_gpus), query.ttft, query.memory)
        refuted = self._refuted.setdefault((case.layout.name, case.choices), [])
        if not query.ignored and any(_no_tighter(looser, limits) for looser in refuted):
            return None
        if not self._cuts.allows(case, query, self._budget(case.layout, query)):
            return None
        model = build(self.program, [case], limits, floor=self.floor)
        found = solve_level(model, None, self.remaining())
        if found.chain is None and not found.finished:
            raise Interrupted
        if found.chain is None and not query.ignored:
            refuted.append(limits)
        return found.chain


def _no_tighter(looser: Limits, limits: Limits) -> bool:
    """Whether what keeps ``limits`` keeps ``looser`` too."""
    pairs = ((looser.ttft, limits.ttft), (looser.memory, limits.memory))
    return looser.gpus >= limits.gpus and all(a is None or (b is not None and b <= a) for a, b in pairs)
