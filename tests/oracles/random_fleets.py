"""Small random questions about fleets, and their answers by trying everything.

Costs grow with the load, as those of real questions do: KV cache by request, times by requests of a microbatch.
Limits are values of a sampled chain at a sampled load, so that they are met exactly or missed by one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache, cached_property
from random import Random

from shardproof.formulations.deployment.chains import StageChoice
from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Path, Program, Table
from shardproof.instances.option import Option
from tests.oracles.brute_force import evaluate, every_chain
from tests.oracles.random_programs import OPTION_POOL, ceilings, random_stages, replica_counts

Load = tuple[int, ...]


@dataclass(frozen=True)
class Costs:
    """Costs of a stage: fixed ones and those that grow with every request, by option (and layer kind)."""

    base: tuple[int, ...]
    entry: tuple[int, ...]
    layer: tuple[tuple[int, ...], ...]
    growth: tuple[tuple[int, ...], ...]

    def table(self, requests: int, *, slack: int = 0) -> Table:
        """Return the table at a number of requests."""
        none = (0,) * len(self.base)
        rows = tuple(
            tuple(fixed + more * requests for fixed, more in zip(*pair, strict=True))
            for pair in zip(self.layer, self.growth, strict=True)
        )
        return Table(self.base, self.entry, none, none, rows, slack)


@dataclass(frozen=True)
class RandomFamily:
    """A question about fleets: the programs of single replicas for every load."""

    kinds: tuple[int, ...]
    options: tuple[Option, ...]
    demand: Load
    max_gpus: int
    node: int
    memory: Costs
    memory_limit: int
    times: tuple[Costs, ...]
    limits: tuple[int | None, ...]
    slack: int

    def layouts(self, load: Load, widest: int, replicas: int = 1) -> tuple[Layout, ...]:
        """Layouts of a replica with its load: inside a node and, where it may be wider, across nodes."""
        served = [place for place, requests in enumerate(load) if requests]
        caps = tuple(
            Cap(f"memory[{place}]", self.memory.table(load[place]), self.memory_limit, memory=True) for place in served
        )
        found = []
        for span in (None,) if widest <= self.node else (self.node, None):
            far = span is None and widest > self.node
            axes = tuple(self._axis(place, load[place], far=far) for place in served)
            name = f"requests={'/'.join(map(str, load))}, {'far' if far else 'near'}"
            found.append(Layout(name, replicas, span, caps, axes, load))
        return tuple(found)

    def _axis(self, place: int, requests: int, *, far: bool) -> Axis:
        costs = self.times[place]
        if far:
            costs = replace(costs, entry=tuple(cell + 1 for cell in costs.entry))
        choices = []
        for size in ceilings(requests):
            table = costs.table(size, slack=self.slack)
            path = Path(f"ttft[{place}]", table, -(-requests // size), self.limits[place], ttft=True)
            choices.append(Choice(size, paths=(path,)))
        return Axis(f"prefill_requests[{place}]", tuple(choices), "ceilings", requests)

    @cached_property
    def program(self) -> Program:
        """The program of replicas that are all alike."""
        layouts: list[Layout] = []
        for replicas in replica_counts(self.demand, self.max_gpus):
            load = tuple(-(-requests // replicas) for requests in self.demand)
            layouts += self.layouts(load, self.max_gpus // replicas, replicas)
        return Program(self.kinds, self.options, tuple(layouts), self.max_gpus, self.demand)

    def replica_program(self, load: Load, widest: int) -> Program:
        """Return the program of one replica with its load."""
        return _replica_program(self, load, widest > self.node)

    def __hash__(self) -> int:
        """Hash by identity: families are compared by nobody."""
        return id(self)


@cache
def _replica_program(family: RandomFamily, load: Load, spans: bool) -> Program:
    widest = family.max_gpus if spans else family.node
    return Program(family.kinds, family.options, family.layouts(load, widest), family.max_gpus)


def random_family(seed: int, *, scenarios: int | None = None, slack: bool = False) -> RandomFamily:
    """Return the family of a seed."""
    random = Random(f"fleet {seed} {scenarios} {slack}")
    kinds = tuple(random.randrange(2) for _ in range(random.randint(1, 3)))
    count = random.randint(1, 2)
    others = random.sample(range(1, len(OPTION_POOL)), count - 1)
    options = tuple(OPTION_POOL[index] for index in sorted((0, *others)))
    demand = tuple(random.randint(1, 7) for _ in range(scenarios or random.choice((1, 1, 2))))
    family = RandomFamily(
        kinds,
        options,
        demand,
        1,
        random.choice((2, 4, 8)),
        _costs(random, options, layer=6, growth=3),
        0,
        tuple(_costs(random, options, layer=4, growth=3) for _ in demand),
        (None,) * len(demand),
        int(slack),
    )
    stages = random_stages(random, len(kinds), list(range(count)))
    most = random.choice((1, 2, 2, 3))
    load = tuple(random.randint(1, max(1, requests // most)) for requests in demand)
    limits = tuple(_time_limit(random, family, place, stages, load[place]) for place in range(len(demand)))
    copies = max(-(-requests // each) for requests, each in zip(demand, load, strict=True))
    width = sum(options[stage.option].gpus for stage in stages)
    budget = max(2, min(9, width * copies + random.choice((-1, 0, 0, 1))))
    family = replace(family, max_gpus=budget, memory_limit=_memory_limit(random, family, stages, load), limits=limits)
    return _joined(random, family) if random.random() < 0.7 else family


def _joined(random: Random, family: RandomFamily) -> RandomFamily:
    """Ask for what two replicas of different widths carry together: alike ones then often need more GPUs."""
    widest = replace(family, max_gpus=4)
    narrowest: dict[Load, int] = {}
    for one in _replicas(widest, floor=False):
        narrowest[one.load] = min(one.gpus, narrowest.get(one.load, one.gpus))
    edges = [
        (load, gpus)
        for load, gpus in narrowest.items()
        if not any(other != load and less <= gpus and _reaches(other, load) for other, less in narrowest.items())
    ]
    if len({gpus for _, gpus in edges}) < 2:
        return family
    (less, narrow), (more, wide) = random.sample(edges, 2)
    demand = tuple(max(1, a + b) for a, b in zip(less, more, strict=True))
    return replace(family, demand=demand, max_gpus=min(9, narrow + wide + random.choice((0, 0, 1, 2))))


def _reaches(load: Load, other: Load) -> bool:
    return all(one >= two for one, two in zip(load, other, strict=True))


def _costs(random: Random, options: tuple[Option, ...], *, layer: int, growth: int) -> Costs:
    def row(most: int) -> tuple[int, ...]:
        return tuple(random.randint(0, most) for _ in options)

    layers = [tuple(max(1, random.randint(1, layer * 2) // option.gpus) for _ in range(2)) for option in options]
    more = [tuple(random.randint(0, growth) for _ in range(2)) for _ in options]
    return Costs(row(2), row(2), tuple(layers), tuple(more))


def _stage_costs(family: RandomFamily, table: Table, stages: list[StageChoice]) -> list[int]:
    return [
        table.base[stage.option]
        + (table.entry[stage.option] if stage.start else 0)
        + sum(table.layer[stage.option][kind] for kind in family.kinds[stage.start : stage.stop])
        for stage in stages
    ]


def _memory_limit(random: Random, family: RandomFamily, stages: list[StageChoice], load: Load) -> int:
    tables = [family.memory.table(requests) for requests in load]
    values = [cost for table in tables for cost in _stage_costs(family, table, stages)]
    return max(0, max(values) + random.choice((0, 0, 1, 2, 3, -1)))


def _time_limit(
    random: Random, family: RandomFamily, place: int, stages: list[StageChoice], requests: int
) -> int | None:
    size = random.choice(ceilings(requests))
    costs = _stage_costs(family, family.times[place].table(size), stages)
    if random.random() < 0.15:
        return None
    return max(0, sum(costs) + (-(-requests // size) - 1) * max(costs) + random.choice((0, 0, 1, 2, 3, -1)))


@dataclass(frozen=True)
class BestFleet:
    """The lexicographic optimum of a question (``None``: no such row)."""

    gpus: int
    shapes: int
    ttft: int | None
    memory: int | None


@dataclass(frozen=True)
class _Replica:
    gpus: int
    load: Load
    ttft: int | None
    memory: int | None


def brute_force_fleet(family: RandomFamily, *, floor: bool = False) -> BestFleet | None:
    """Find the best fleet by trying every chain for every load, and every multiset of replicas."""
    replicas = _replicas(family, floor=floor)
    for gpus in range(1, family.max_gpus + 1):
        for shapes in range(1, gpus + 1):
            if _carries(replicas, family.demand, gpus, shapes):
                ttft = _least(replicas, family.demand, gpus, shapes, "ttft")
                kept = [one for one in replicas if ttft is None or (one.ttft or 0) <= ttft]
                return BestFleet(gpus, shapes, ttft, _least(kept, family.demand, gpus, shapes, "memory"))
    return None


def _replicas(family: RandomFamily, *, floor: bool) -> list[_Replica]:
    """Every (width, load) with the pairs of TTFT and memory that no other one beats."""
    found: list[_Replica] = []
    for load in itertools.product(*(range(requests + 1) for requests in family.demand)):
        if not any(load):
            continue
        seen: dict[int, set[tuple[int | None, int | None]]] = {}
        for spans in (family.node, family.max_gpus) if family.max_gpus > family.node else (family.max_gpus,):
            program = family.replica_program(load, spans)
            for chain in every_chain(program):
                best = evaluate(program, chain, floor=floor)
                if best is not None and (spans > family.node or best.gpus <= family.node):
                    seen.setdefault(best.gpus, set()).add((best.ttft, best.memory))
        for gpus, pairs in seen.items():
            for pair in pairs:
                beaten = any(
                    o != pair and (o[0] or 0) <= (pair[0] or 0) and (o[1] or 0) <= (pair[1] or 0) for o in pairs
                )
                found += [] if beaten else [_Replica(gpus, load, *pair)]
    return found


def _least(replicas: list[_Replica], demand: Load, gpus: int, shapes: int, level: str) -> int | None:
    """Least value that the worst replica of a fleet can have."""
    values = sorted({getattr(one, level) for one in replicas} - {None})
    for value in values:
        kept = [one for one in replicas if (getattr(one, level) or 0) <= value]
        if _carries(kept, demand, gpus, shapes):
            return value
    return None


def _carries(replicas: list[_Replica], demand: Load, gpus: int, shapes: int) -> bool:
    """Whether so many GPUs and shapes carry the demand: one kind after the other, as many of it as fit."""
    kinds = sorted({(one.gpus, one.load) for one in replicas})
    kinds = [
        (width, load)
        for width, load in kinds
        if not any(
            (other, more) != (width, load) and other <= width and all(a >= b for a, b in zip(more, load, strict=True))
            for other, more in kinds
        )
    ]

    @cache
    def rest(place: int, left: Load, room: int, kept: int) -> bool:
        if not any(left):
            return True
        if place == len(kinds) or kept == 0:
            return False
        width, load = kinds[place]
        if rest(place + 1, left, room, kept):
            return True
        for count in range(1, room // width + 1):
            after = tuple(max(0, want - count * have) for want, have in zip(left, load, strict=True))
            if rest(place + 1, after, room - count * width, kept - 1):
                return True
        return False

    return rest(0, demand, gpus, shapes)
