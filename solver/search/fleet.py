"""The fleet with the fewest GPUs: optimistic fleets from CP-SAT, capacities from the exact search, until they agree.

What is known of widths and loads (`Capacities`) admits optimistic fleets; the fleet program finds the cheapest of
them. Its replicas are then put to the exact search: those that hold make it a real fleet, and the first that does not
becomes a claim that the next fleet respects. Where the table that a reader of the certificate builds (`covered`) leaves
no fleet, the claims are the proof, and CP-SAT is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shardproof.formulations.fleet.covering import Item, Load, Refused, covered, items
from shardproof.instances.errors import InternalError
from shardproof.solver.search.capacities import Capacities

WRONG_AT_MOST = 4
"""Of so many guesses one may be wrong before they are given up."""

Realised = tuple[tuple[int, Item], ...]
"""(replicas, kind) of a fleet whose kinds are all known to be carried."""


class FleetLoop:
    """Finds the fleet of fewest GPUs, then fewest shapes, under one set of limits."""

    def __init__(self, capacities: Capacities, demand: Load, budget: int) -> None:
        """Take what is known; no fleet of more than ``budget`` GPUs is looked for."""
        self.capacities, self.demand, self.budget = capacities, demand, budget

    def run(self, shapes: int | None = None, guesses: Sequence[Refused] = ()) -> Realised | None:
        """Return the cheapest fleet of at most ``shapes`` shapes, or ``None``: the claims refute every one.

        ``guesses``: loads that may be too much, asked about first.
        """
        if self.budget < 1:
            return None
        if shapes is None and not self._is_guessed(guesses):
            self._sweep()
        while True:
            kinds = items(self.demand, self.capacities.refused, self.budget)
            fewest = covered(self.demand, kinds, self.budget, shapes)
            if fewest is None:
                return None
            fleet = self._cheapest(kinds, fewest, shapes)
            open_ = [kind for _, kind in fleet if self.capacities.found(kind.gpus, kind.load) is None]
            if not open_:
                return fleet
            self._tighten(max(open_, key=self._promise))

    def _is_guessed(self, guesses: Sequence[Refused]) -> bool:
        """Whether guesses say enough of fleets within the budget, and are mostly right: all else is asked as needed."""
        if not guesses or self._relaxed_by(guesses) not in (None, self.budget):
            return False
        wrong = 0
        for guess in guesses:
            wrong += self.capacities.carries(min(guess.gpus, self.budget), guess.load)
            if wrong * WRONG_AT_MOST > len(guesses):
                return False
        return True

    def _relaxed_by(self, guesses: Sequence[Refused]) -> int | None:
        """Fewest GPUs of an optimistic fleet if guesses were right."""
        kinds = items(self.demand, [*self.capacities.refused, *guesses], self.budget)
        return covered(self.demand, kinds, self.budget)

    def relaxed(self) -> int | None:
        """Fewest GPUs of an optimistic fleet: a bound on every fleet (``None``: none is within the budget)."""
        return covered(self.demand, items(self.demand, self.capacities.refused, self.budget), self.budget)

    def _cheapest(self, kinds: list[Item], fewest: int, shapes: int | None) -> Realised:
        """Return CP-SAT's fleet, held against the table of sums that a reader of the certificate builds."""
        from shardproof.formulations.fleet.program import fewest_gpus

        fleet = fewest_gpus(self.demand, kinds, self.budget, shapes=shapes)
        found = None if fleet is None else sum(count * kind.gpus for count, kind in fleet)
        if fleet is None or found != fewest:
            raise InternalError(f"CP-SAT finds a fleet of {found} GPUs, the table of sums {fewest}")
        return fleet

    def _share(self, gpus: int) -> Load:
        """Load that a width must exceed, in some scenario, to be of use in a fleet of the whole budget."""
        return tuple(-(-requests * gpus // self.budget) for requests in self.demand)

    def _promise(self, kind: Item) -> tuple[float, int]:
        """How far a kind exceeds its share; the most promising is asked about first."""
        ratios = (have / want for have, want in zip(kind.load, self._share(kind.gpus), strict=True))
        return max(ratios), kind.gpus

    def _sweep(self) -> None:
        """Refuse each width its share of one scenario: where all fall, the fleets of the budget fall with them."""
        for scenario in range(len(self.demand)):
            if self.relaxed() is None:
                return
            for gpus, load in self._shares_of(scenario):
                if not self.capacities.carries(gpus, load):
                    self._widen(gpus, load)

    def _shares_of(self, scenario: int) -> Iterator[tuple[int, Load]]:
        for gpus in range(1, self.budget + 1):
            share = self._share(gpus)[scenario]
            yield gpus, tuple(share if place == scenario else 0 for place in range(len(self.demand)))

    def _widen(self, gpus: int, load: Load) -> None:
        """Refuse the same load to wider replicas too, as far as it goes."""
        step = 1
        while gpus < self.budget and not self.capacities.carries(min(self.budget, gpus + step), load):
            gpus, step = min(self.budget, gpus + step), 2 * step

    def _tighten(self, kind: Item) -> None:
        """Ask whether a kind holds; if not, find a smallest load below it that does not either."""
        share = self._share(kind.gpus)
        least = tuple(min(have, want) for have, want in zip(kind.load, share, strict=True))
        if not self.capacities.carries(kind.gpus, least) or self.capacities.carries(kind.gpus, kind.load):
            return
        load = kind.load
        for place in range(len(load)):
            low, high = 0, load[place]
            while low < high:
                middle = (low + high) // 2
                below = (*load[:place], middle, *load[place + 1 :])
                low, high = (middle + 1, high) if self.capacities.carries(kind.gpus, below) else (low, middle)
            load = (*load[:place], high, *load[place + 1 :])
