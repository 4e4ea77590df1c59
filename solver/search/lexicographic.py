"""One program through the levels: fewest GPUs, then lowest TTFT, then lowest peak memory.

Each level is searched on ceiling tables (what is found is feasible in exact arithmetic) and bounded on floor
tables (what is refuted is impossible in exact arithmetic). Cases that the exact search leaves open go to CP-SAT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.check import broken_row
from shardproof.formulations.deployment.tables import Program
from shardproof.instances.clock import checked_by, now
from shardproof.instances.errors import InternalError
from shardproof.solver.proof.evidence import Level
from shardproof.solver.proof.refutation import Refutation
from shardproof.solver.search.outcome import Outcome
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Answer, Interrupted, Objective, Query
from shardproof.solver.search.settings import Progress, Rival, Settings

SEARCHED_FIRST = 4
"""Step of the GPU budget at which it is asked whether every budget falls at sight: a few GPUs are searched sooner."""


class AnyProver(Protocol):
    """Who answers questions about one program: the exact search (`Prover`) or CP-SAT (`CpSatProver`).

    An answer with neither chain, refutation nor open cases is somebody's claim that there is no chain.
    """

    program: Program
    floor: bool

    def decide(self, query: Query) -> Answer:
        """Find a chain within the query's limits, or refute every layout."""

    def least(self, query: Query, objective: Objective, start: Chain) -> Answer:
        """Return a chain with the least value of an objective within the query's limits."""

    def value(self, objective: Objective, chain: Chain) -> int | None:
        """Value of an objective."""

    def below(self, query: Query, objective: Objective, chain: Chain) -> Query:
        """Return the query that only chains better than this one meet."""


Limited = Callable[[Chain], tuple[Program, Chain]]
"""From a chain to the program of no more GPUs than it has, and the chain in that program."""


class LexicographicSearch:
    """Takes one program through the levels GPUs, TTFT and peak memory."""

    def __init__(
        self, program: Program, settings: Settings, *, limited: Limited | None = None, rival: Rival | None = None
    ) -> None:
        """Take the program and how to search it.

        ``limited`` gives, once the fewest GPUs are known, the program of that budget and the chain in it: all
        that is proved from there on concerns no more GPUs. Where no plan beats the ``rival``,
        that is proved and no more.
        """
        self.program, self.settings, self._limited = program, settings, limited
        self._rival = rival
        self.most = program.max_gpus if rival is None else min(rival.gpus, program.max_gpus)
        self.started = now()
        self.outcome = Outcome()
        self._level = "gpus"
        self._upper = self._prover(program, floor=False)
        self._lower = self._prover(program, floor=True)
        self.bound = 1
        self._known_least = settings.floor

    def _prover(self, program: Program, *, floor: bool) -> AnyProver:
        """Return who answers for a program: the exact search, or CP-SAT in its place."""
        if self.settings.search == "cp-sat":
            from shardproof.solver.search.cp_sat import NAME
            from shardproof.solver.search.cp_sat_prover import CpSatProver

            self.outcome.claimed_by = f"claimed by {NAME}"
            return CpSatProver(program, floor, self._check_stop, self._remaining)
        return Prover(program, floor, self._check_stop)

    def run(self) -> Outcome:
        """Search until proved, out of time or interrupted; what is known by then is kept."""
        self.begin()
        return self.finish()

    def begin(self) -> int | None:
        """Take the first level and return the fewest GPUs of replicas that are all alike, as far as they are known."""
        self._guard(self._fewest_gpus)
        return self._gpus()

    def finish(self, rival: Rival | None = None) -> Outcome:
        """Take what has begun through all levels; a ``rival`` of fewer GPUs found meanwhile is all that is beaten."""
        self._rival = rival or self._rival
        if self.outcome.stop_reason == "proved":
            self._guard(self._later_levels)
        self._note_gpus()
        return self.outcome

    def _guard(self, search: Callable[[], None]) -> None:
        """Search as long as there is time and nobody interrupts."""
        try:
            with checked_by(self._keep_time):
                search()
        except Interrupted:
            self.outcome.stop_reason = "time-limit"
        except KeyboardInterrupt:
            self.outcome.stop_reason = "interrupted"

    def _later_levels(self) -> None:
        if self._rival is not None and (self._gpus() or 0) > self._rival.gpus:
            self.outcome.chain = None
        if self.outcome.chain is not None and not self._is_beaten():
            self._lowest("ttft")
            self._lowest("memory")

    def _is_beaten(self) -> bool:
        """Whether no chain of as many GPUs as the rival's is faster: its TTFT is then of no use, and not lowered."""
        rival, gpus = self._rival, self._gpus()
        if rival is None or rival.ttft is None or gpus != rival.gpus:
            return False
        chain, _ = self._decide(self._upper, Query(gpus=gpus, ttft=rival.ttft - 1))
        if chain is not None:
            self.outcome.chain = chain
        return chain is None

    def _check_stop(self) -> None:
        self._keep_time()

    def _keep_time(self) -> None:
        """End the search when its time is over: tables that are filled meanwhile ask too."""
        limit = self.settings.time_limit_s
        if limit is not None and now() - self.started > limit:
            raise Interrupted

    def _report(self) -> None:
        told = self.settings.told
        if told is not None:
            seconds = now() - self.started
            told(Progress(self._gpus(), self.bound, seconds, self._level))

    def _gpus(self) -> int | None:
        return None if self.outcome.chain is None else self.outcome.chain.gpus(self.program)

    def _note_gpus(self) -> None:
        self.outcome.levels["gpus"] = Level(self._gpus(), None if self.outcome.infeasible else self.bound)

    def _decide(self, prover: AnyProver, query: Query) -> tuple[Chain | None, Refutation | None]:
        """Decide a query; cases that the exact search leaves open go to CP-SAT."""
        answer = prover.decide(query)
        if answer.chain is not None or not answer.unknown:
            return answer.chain, answer.refutation
        return self._leftover(self.program, query, answer, floor=prover.floor), None

    def _leftover(self, program: Program, query: Query, answer: Answer, *, floor: bool) -> Chain | None:
        """Put what the exact search left open to CP-SAT: a chain, or ``None`` where CP-SAT claims that there is none.

        Raises
        ------
        Interrupted
            If CP-SAT does not decide it in the time left.
        """
        from shardproof.solver.search.cp_sat import decide_cases

        claim = decide_cases(program, query, answer.unknown, floor=floor, settings=self._remaining())
        self.outcome.claimed_by = claim.solver
        if claim.chain is None and not claim.refuted:
            self.outcome.stop_reason = "time-limit"
            raise Interrupted
        return claim.chain

    def _remaining(self) -> Settings:
        limit = self.settings.time_limit_s
        left = None if limit is None else max(0.1, limit - (now() - self.started))
        return replace(self.settings, time_limit_s=left)

    def _fewest_gpus(self) -> None:
        """Raise the budget in doubling steps until a chain fits, then halve the gap and prove the bound."""
        most = self.most
        self.bound = tried = max(1, min(most, self._known_least))
        step = 1
        self._report()
        if most < self.program.max_gpus:
            if self._refute_all(most) is None:
                return
            tried = most
        while self.outcome.chain is None:
            chain, _ = self._decide(self._upper, Query(gpus=tried))
            if chain is not None:
                self.outcome.chain = chain
            elif tried >= most:
                self._prove_infeasible(most)
                return
            elif step == SEARCHED_FIRST and self._falls_at_sight(most):
                return
            else:
                self.bound = max(tried + 1, min(most, self._known_least))
                tried, step = max(self.bound, min(most, tried + step)), 2 * step
            self._report()
        while self.bound < (self._gpus() or 0):
            middle = (self.bound + (self._gpus() or 0) - 1) // 2
            chain, _ = self._decide(self._upper, Query(gpus=middle))
            if chain is not None:
                self.outcome.chain = chain
            else:
                self.bound = middle + 1
            self._report()
        if self._limited is not None:
            self._shrink(self._limited)
        self._prove_bound()

    def _falls_at_sight(self, most: int) -> bool:
        """Whether volume, sums and reach alone refute every budget: no step on the way need be searched then."""
        found = self._lower.refuted_at_sight(Query(gpus=most)) if isinstance(self._lower, Prover) else None
        if found is not None:
            self.outcome.infeasible, self.bound = most == self.program.max_gpus, most + 1
            self.outcome.refutations["gpus"] = found
        return found is not None

    def _shrink(self, limited: Limited) -> None:
        assert self.outcome.chain is not None
        self.program, self.outcome.chain = limited(self.outcome.chain)
        self._upper = self._prover(self.program, floor=False)
        self._lower = self._prover(self.program, floor=True)

    def _prove_infeasible(self, most: int) -> None:
        chain = self._refute_all(most)
        if chain is not None:
            self.bound = chain.gpus(self.program)
            self._prove_bound()

    def _refute_all(self, most: int) -> Chain | None:
        """Refute every chain of at most so many GPUs on floor tables; return one that is not (``None``: proved)."""
        chain, refutation = self._decide(self._lower, Query(gpus=most))
        if chain is None:
            self.outcome.infeasible, self.bound = most == self.program.max_gpus, most + 1
            if refutation is not None:
                self.outcome.refutations["gpus"] = refutation
        return chain

    def _prove_bound(self) -> None:
        """Refute fewer GPUs on floor tables; rounding may cost the bound something, which is then published."""
        while self.bound > 1:
            chain, refutation = self._decide(self._lower, Query(gpus=self.bound - 1))
            if chain is None:
                if refutation is not None:
                    self.outcome.refutations["gpus"] = refutation
                return
            self.bound = chain.gpus(self.program)

    def _lowest(self, objective: Objective) -> None:
        """Lower one objective at the fewest GPUs, and bound it on floor tables."""
        outcome, chain = self.outcome, self.outcome.chain
        assert chain is not None
        self._level = objective
        query = Query(gpus=chain.gpus(self.program))
        if self._upper.value(objective, chain) is None:
            return
        if objective == "memory":
            query = replace(query, ttft=self._upper.value("ttft", chain))
        relaxed = self._lower.least(query, objective, chain)
        assert relaxed.chain is not None
        if relaxed.chain is not chain and self._accepts(relaxed.chain, query):
            outcome.chain = relaxed.chain
        elif relaxed.chain is not chain:
            found = self._upper.least(query, objective, chain)
            outcome.chain = found.chain
        assert outcome.chain is not None
        outcome.levels[objective] = Level(self._upper.value(objective, outcome.chain), None)
        self._report()
        if relaxed.unknown:
            return
        self._bound_level(objective, query, relaxed)

    def _accepts(self, chain: Chain, query: Query) -> bool:
        """Whether a chain found on floor tables keeps every limit on ceiling tables too."""
        within = query.ttft is None or (self._upper.value("ttft", chain) or 0) <= query.ttft
        return within and broken_row(self.program, chain) is None

    def _bound_level(self, objective: Objective, query: Query, relaxed: Answer) -> None:
        """Refute everything below the least value on floor tables."""
        assert relaxed.chain is not None
        lowest = self._lower.value(objective, relaxed.chain)
        if lowest is None:
            return
        refutation = relaxed.refutation
        if refutation is None:
            below = self._lower.below(query, objective, relaxed.chain)
            answer = self._lower.decide(below)
            if answer.chain is not None:
                raise InternalError(f"{objective} below its proven bound")
            if answer.unknown:
                return
            refutation = answer.refutation
        if refutation is not None:
            self.outcome.refutations[objective] = refutation
        self.outcome.levels[objective] = Level(self.outcome.levels[objective].value, lowest)
