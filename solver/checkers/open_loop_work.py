"""What requests that come by themselves cost at least, from the tables of a certificate (standard library only).

A hint is any direction that is not negative: the highest plane of a direction below a table is found here in exact
arithmetic, so that a wrong hint proves less, and nothing false (docs/open-loop.md derives each step).
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from collections import Counter
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

SCALE, ZERO, NO_BOUND = 2**40, Fraction(0), Fraction(10**30)
RUN = ("arrivals", "computed", "found", "output")


def _beside() -> Any:
    """Load the checker of single certificates, the file beside this one."""
    spec = importlib.util.spec_from_file_location("certificate_beside", Path(__file__).with_name("certificate.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


single = _beside()
CheckError: type[Exception] = single.CheckError


def closure(rows: int, columns: int, known: list[list[int]]) -> list[list[int]]:
    """Values of a grid, each the largest known of smaller places: times fall along no axis."""
    grid = [[0] * columns for _ in range(rows)]
    for row, column, value in known:
        single.need(row < rows and column < columns, "malformed: a place outside its grid")
        grid[row][column] = max(grid[row][column], value)
    for row in range(rows):
        grid[row] = list(accumulate(map(max, grid[row], grid[row - 1]) if row else grid[row], max))
    return grid


def allowed(share: int, of: int, count: int) -> int:
    """Requests of so many that may miss a limit that ``share`` of ``of`` keep."""
    return count - min(count, max(1, -(-share * count // of)))


class Scenario:
    """The requests of a scenario, and what its limits ask."""

    def __init__(self, file: dict[str, Any]):
        self.file, self.rate = file, Fraction(*file["rate"])
        single.need(bool(file["runs"]) and self.rate > 0, "malformed: no run or no rate")
        for run in file["runs"]:
            sound = len({len(run[key]) for key in RUN}) == 1 and bool(run["output"]) and min(run["output"]) > 0
            single.need(sound and run["arrivals"] == sorted(run["arrivals"]), "malformed: a run")
        self.runs = [list(zip(*(run[key] for key in RUN[1:]), strict=True)) for run in file["runs"]]
        self.kinds = Counter(one for run in self.runs for one in run)
        self.later = self.mean(lambda one: one[2] - 1)
        self.contexts = self.mean(lambda one: Fraction((one[2] - 1) * (sum(one) + one[0] + one[1]), 2))
        kept = [one for name in ("first", "token", "whole") for one in file[name]]
        single.need(all(0 < a <= b for a, b, _ in kept), "malformed: a share")
        limits = [Fraction(limit * (2 * b - a), b) for a, b, limit in file["token"]]
        self.limit = min([*limits, *([Fraction(file["mean_token"])] if file["mean_token"] else [])], default=None)

    def mean(self, value: Any) -> Fraction:
        """Mean of a value over all requests."""
        return Fraction(sum(n * value(one) for one, n in self.kinds.items()), sum(self.kinds.values()))

    def seen(self, budget: int) -> Fraction:
        """Share of the running sequences that a prompt stalls, at least (0: requests do not come by chance)."""
        rounds = self.file["verified"] * (1 + self.mean(lambda one: -(-one[0] // budget)))
        return max(ZERO, 1 - rounds / max(Fraction(1), self.later)) if self.file["by_chance"] else ZERO

    def demands(self) -> list[tuple[int, int | None, bool, tuple[int, int]]]:
        """What is due: after so many ns, and so many for each token; with tokens or not; the share that keeps it."""
        found: list[tuple[int, int | None, bool, tuple[int, int]]] = []
        for a, b, limit in self.file["first"]:
            found.append((limit, None, False, (a, b)))
            for c, d, token in self.file["token"]:
                both = (a, b) if self.file["joint"] else (max(0, a * d + c * b - b * d), b * d)
                found.append((limit, token, True, both))
        return [*found, *((limit, None, True, (a, b)) for a, b, limit in self.file["whole"])]


class Option:
    """Planes below the tables of one option under one scenario."""

    def __init__(self, option: dict[str, Any], table: dict[str, Any], scenario: Scenario):
        self.sizes, self.contexts, chunks = option["sizes"], table["contexts"], option["chunk_sizes"]
        for grid in (self.sizes, self.contexts, chunks):
            single.need(grid == sorted({*grid}) and bool(grid) and grid[0] > 0, "malformed: a grid")
        sound = self.sizes[0] == chunks[0] == 1 and option["ranks"] * option["gpus"] * option["budget"] > 0
        self.ranks, self.largest = option["ranks"], chunks[-1] + (not single.need(sound, "malformed: an option"))
        self.rounds, self.seen = closure(len(self.sizes), len(self.contexts), table["rounds"]), option["budget"]
        held, places = closure(len(chunks), len(self.contexts) + 1, table["chunks"]), [0, *self.contexts]
        self.seen = scenario.seen(option["budget"])
        self.prompt = {(t, f): ZERO for t, f, _ in scenario.kinds}
        for a, b in table["prompts"]:
            rows = zip(chunks, held, strict=True)
            nodes = ((t, c, value) for t, row in rows for c, value in zip(places, row, strict=True))
            base = min(value * SCALE - a * t - b * t * c for t, c, value in nodes)
            for t, f in self.prompt if base >= 0 else ():
                whole, rest = divmod(t, self.largest)
                before = (t * t - whole * self.largest**2 - rest * rest) // 2 + t * f
                cost = Fraction(base * -(-t // self.largest) + a * t + b * before, SCALE)
                self.prompt[t, f] = max(self.prompt[t, f], cost)
        self.mean_prompt = scenario.mean(lambda one: self.prompt[one[:2]])

    def plane(self, stages: int, cache: int, direction: list[int], limit: Fraction) -> Fraction:
        """Highest alpha of alpha + beta c + gamma (T - D) + delta (K / k - c) <= D / k over all rounds, ns."""
        (beta, gamma, delta), room, least = direction, cache + (stages - 1) * self.contexts[-1], NO_BOUND
        for batch in range(1, self.sizes[-1] + 1):
            at = bisect_right(self.sizes, batch) - 1
            width = self.sizes[at + 1] - self.sizes[at] if self.sizes[at] < batch else 1
            part, tokens = batch - self.sizes[at], batch * stages
            above, values = self.rounds[min(at + 1, len(self.sizes) - 1)], []
            for context, low, high in zip(self.contexts, self.rounds[at], above, strict=True):
                time = (width - part) * low + part * high
                values.append(time * (SCALE + gamma * tokens) - width * tokens * (beta - delta) * context)
            least = min(least, Fraction(min(values) - width * delta * room, width * tokens))
        return (least - gamma * limit) / SCALE


class Shape:
    """Replicas of one shape under one scenario: what requests cost them, and the share of the rate that one takes."""

    def __init__(self, scenario: Scenario, option: Option, file: dict[str, Any], directions: list[list[int]]):
        self.scenario, self.option, self.stages, self.cache = scenario, option, file["stages"], file["cache"]
        single.need(self.stages > 0, "malformed: a shape")
        kept = [one for one in directions if scenario.limit is not None or one[1] == 0]
        self.planes = [(option.plane(self.stages, self.cache, one, scenario.limit or ZERO), one) for one in kept]

    def refused(self) -> bool:
        """Whether no number of replicas keeps the limits: the cache is too small, a token or a first token too slow."""
        file, fastest = self.scenario.file, self.option.rounds[0][0]
        token = min([limit for _, _, limit in file["token"]] + [file["mean_token"] or 10**30])
        alone = fastest > token and min(output for _, _, output in self.scenario.kinds) > 1
        small = max(map(sum, self.scenario.kinds)) > self.cache
        return small or alone or all(self._late(run, fastest) for run in self.scenario.runs)

    def _late(self, run: list[tuple[int, int, int]], fastest: int) -> bool:
        own, file = self.option.prompt, self.scenario.file
        times = [fastest + own[t, f] / (1 if t <= self.option.largest else self.stages) for t, f, _ in run]
        slow = file["mean_first"] is not None and sum(times) > file["mean_first"] * len(times)
        return slow or any(sum(x > limit for x in times) > allowed(a, b, len(times)) for a, b, limit in file["first"])

    def prompt(self, t: int, f: int) -> Fraction:
        """Time of a replica for a prompt, ns."""
        found: Fraction = self.option.prompt[t, f] / (self.option.ranks * self.stages)
        return found

    def takes(self) -> Fraction:
        """Share of the rate beyond which a replica would be busy for more than all of the time."""
        scenario: Scenario = self.scenario
        prompt: Fraction = self.option.mean_prompt / (self.option.ranks * self.stages)
        found: list[Fraction] = [1 / (scenario.rate * prompt)] if prompt else []
        for alpha, (beta, gamma, _) in self.planes:
            base: Fraction = scenario.rate * (
                prompt + scenario.later * alpha + Fraction(beta, SCALE) * scenario.contexts
            )
            stall = scenario.later * Fraction(gamma, SCALE) * (scenario.limit or ZERO) * prompt * self.option.seen
            found.append(root(stall * scenario.rate**2, base))
        return min(found, default=NO_BOUND)

    def work(self, one: tuple[int, int, int], token: int | None, *, tokens: bool) -> Fraction:
        """Time of a replica for a request under a limit on its time per token, ns."""
        (t, f, output), costs = one, [ZERO]
        for alpha, (beta, gamma, _) in self.planes if tokens else ():
            if token is not None or gamma == 0:
                moved = Fraction(gamma, SCALE) * ((self.scenario.limit or ZERO) - (token or ZERO))
                costs.append(alpha + moved + Fraction(beta * (2 * (t + f) + output), 2 * SCALE))
        return self.prompt(t, f) + (output - 1) * max(costs)


def root(square: Fraction, base: Fraction) -> Fraction:
    """Return an x, rounded up, with square x^2 + base x >= 1."""
    if square == 0:
        return 1 / base if base > 0 else NO_BOUND
    low, high = ZERO, Fraction(1)
    while square * high**2 + base * high < 1:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if square * middle**2 + base * middle >= 1 else (middle, high)
    return high
