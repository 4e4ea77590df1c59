"""A whole question through the levels: fewest GPUs of any fleet, fewest shapes, lowest TTFT, lowest peak memory.

Replicas that are all alike are searched first (`LexicographicSearch`). Fleets of fewer GPUs are then looked for below
that (`FleetLoop`); where there is none, the answer has one shape and its later levels are those of alike replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Layout, Program, replicas_of
from shardproof.formulations.fleet.covering import Refused, reaches
from shardproof.formulations.fleet.fleet import Family, Fleet
from shardproof.solver.proof.capacity import alike_claims
from shardproof.solver.proof.evidence import Level
from shardproof.solver.proof.refutation import CapacityClaim, Refutation
from shardproof.solver.search.capacities import Capacities, Provers
from shardproof.solver.search.fleet import FleetLoop
from shardproof.solver.search.lexicographic import AnyProver, LexicographicSearch
from shardproof.solver.search.mixed_levels import MixedLevels
from shardproof.solver.search.outcome import Outcome
from shardproof.solver.search.query import Query
from shardproof.solver.search.refusals import Refusals, Subject
from shardproof.solver.search.settings import Rival, Settings

LimitedFamily = Callable[[Chain], tuple[Family, Chain]]
"""From a chain of alike replicas to the question of no more GPUs than it has, and the chain in its program."""


@dataclass(frozen=True)
class Least:
    """What is known without a search of how many GPUs every fleet has at least: in the end, and on the way."""

    in_the_end: Callable[[], int] = lambda: 1
    by_now: Callable[[], int] = lambda: 1


class Shared:
    """What searches before were refused, as one search may use it; and where it puts what it is refused itself."""

    def __init__(self, refusals: Refusals | None, subject: Subject | None, *, trusted: bool) -> None:
        """``trusted``: what is known need not be proved again."""
        self._refusals, self._subject = refusals, subject
        found = [] if refusals is None or subject is None else refusals.known(subject)
        self.known = found if trusted else []
        self._doubted = [] if trusted else found

    @property
    def guesses(self) -> list[Refused]:
        """Loads that are worth asking about first."""
        if self._refusals is None or self._subject is None:
            return []
        return [*self._doubted, *self._refusals.guesses(self._subject)]

    def excludes(self, layouts: Sequence[Layout], gpus: int) -> bool:
        """Whether replicas that are all alike are known to need more GPUs."""
        return bool(self.known) and all(
            any(one.gpus >= gpus // count and reaches(layouts[place].load, one.load) for one in self.known)
            for place, count in enumerate(replicas_of(layouts))
            if gpus >= count
        )

    def note(self, claims: Iterable[CapacityClaim]) -> None:
        """Keep what was refused, as far as the exact search says so."""
        if self._refusals is not None and self._subject is not None:
            self._refusals.note(
                self._subject, [Refused(claim.gpus, claim.load) for claim in claims if claim.trees is not None]
            )


class FleetSearch(LexicographicSearch):
    """Takes one question through the levels; replicas need not be alike."""

    def __init__(
        self,
        family: Family,
        settings: Settings,
        *,
        limited: LimitedFamily | None = None,
        mixed: bool = True,
        rival: Rival | None = None,
        least: Least | None = None,
        subject: Subject | None = None,
    ) -> None:
        """Take the question and how to search it; ``limited`` and ``rival`` as for `LexicographicSearch`.

        ``mixed``: replicas need not be alike. ``least``: says, without a search, how many GPUs
        every fleet has at least; once it is known on the way, fewer are not looked for. ``subject``: what the question
        is to the settings' refusals.
        """
        self._shared = Shared(settings.refusals, subject, trusted=not settings.certify)
        self._least = least or Least()
        self._family, self._limited_family, self._mixed = family, limited, mixed
        super().__init__(family.program, settings, limited=None if limited is None else self._limit, rival=rival)
        self._loop: FleetLoop | None = None
        self._bounded = False

    def finish(self, rival: Rival | None = None) -> Outcome:
        """Take what has begun through all levels; what is known when the time is over is kept."""
        outcome = super().finish(rival)
        if self._mixed and not self._bounded:
            self._bound_unfinished()
        if outcome.stop_reason != "proved" and not outcome.infeasible:
            self._bound_by_volume()
        return outcome

    def _check_stop(self) -> None:
        super()._check_stop()
        self._known_least = max(self.settings.floor, self._least.by_now())

    def _decide(self, prover: AnyProver, query: Query) -> tuple[Chain | None, Refutation | None]:
        """Decide a query; what is known to be refused to single replicas is not searched again."""
        if self._mixed and query == Query(query.gpus) and self._shared.excludes(self.program.layouts, query.gpus):
            return None, None
        return super()._decide(prover, query)

    def _bound_by_volume(self) -> None:
        """Raise the bound of an unfinished search to what volume says; nothing of it is certified then."""
        known, least = self.outcome.levels["gpus"], max(self.settings.floor, self._least.in_the_end())
        if least > (known.bound or 1):
            self.outcome.levels["gpus"] = Level(known.value, least if known.value is None else min(least, known.value))
            self.outcome.capacities.pop("gpus", None)
            self.outcome.refutations.pop("gpus", None)
            self.outcome.claimed_by = "claimed by shardproof from volume alone"

    def _limit(self, chain: Chain) -> tuple[Program, Chain]:
        assert self._limited_family is not None
        self._family, moved = self._limited_family(chain)
        return self._family.program, moved

    def _bound_unfinished(self) -> None:
        """Bound an unfinished search by the optimistic fleets that are left; alike replicas bound nothing else."""
        outcome, bound = self.outcome, 1
        outcome.infeasible = False
        outcome.refutations.pop("gpus", None)
        if self._loop is not None:
            relaxed = self._loop.relaxed()
            bound = self._loop.budget + 1 if relaxed is None else relaxed
            outcome.capacities["gpus"] = tuple(self._loop.capacities.claims)
        outcome.levels["gpus"] = Level(outcome.levels["gpus"].value, bound)

    def _later_levels(self) -> None:
        if not self._mixed:
            super()._later_levels()
            return
        outcome, gpus, rival = self.outcome, self._gpus(), self._rival
        outcome.alike = Level(gpus, None if outcome.infeasible else self.bound)
        budget = self.most if gpus is None else gpus - 1
        if rival is not None and rival.gpus <= budget:
            outcome.chain, budget = None, rival.gpus
        if budget < self.program.max_gpus:
            outcome.infeasible = False
        provers = Provers(self._family, self._prover)
        self._loop = FleetLoop(self._seeded(provers), self._family.demand, budget)
        relaxed = self._loop.run(guesses=self._shared.guesses)
        self._shared.note(self._loop.capacities.claims)
        self._bounded, self.bound = True, self._loop.budget + 1
        outcome.capacities["gpus"] = tuple(self._loop.capacities.claims)
        found: Fleet | None = None
        if relaxed is not None:
            self.bound = sum(count * kind.gpus for count, kind in relaxed)
            outcome.infeasible = False
            mixed = MixedLevels(provers, self._leftover, self._family.demand, outcome)
            found = mixed.fleet_of(relaxed, Query(0)) or mixed.fleet_on_ceilings(self._loop.budget)
            if found is not None:
                outcome.refutations.clear()
                mixed.accept(found, self._loop.capacities, self.bound, shapes=len(relaxed))
                if not self._is_behind(mixed, found):
                    mixed.lower_all(self._loop.capacities)
        if found is None:
            super()._later_levels()

    def _is_behind(self, mixed: MixedLevels, fleet: Fleet) -> bool:
        """Whether no fleet of as many GPUs as the rival's is faster."""
        rival = self._rival
        if rival is None or rival.ttft is None or fleet.gpus != rival.gpus:
            return False
        assert self._loop is not None
        return mixed.is_beaten(fleet.gpus, rival.ttft, self._loop.capacities)

    def _seeded(self, provers: Provers) -> Capacities:
        """Start from what the search of alike replicas has refuted."""
        made = Capacities(provers, self._leftover, floor=True, limits=Query(0))
        for known in self._shared.known:
            made.add(CapacityClaim(known.gpus, known.load, (), None))
        refutation = self.outcome.refutations.get("gpus")
        if refutation is not None:
            layouts = self.program.layouts
            for claim in alike_claims(layouts, refutation.gpus, refutation.trees, self._family.demand):
                made.add(claim)
        return made

    def _gpus(self) -> int | None:
        return super()._gpus() if self.outcome.fleet is None else self.outcome.fleet.gpus
