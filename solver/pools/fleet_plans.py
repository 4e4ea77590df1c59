"""From a fleet in integers to the plan that people and engines read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil

from shardproof.formulations.apart.phases import pool_instance, usual_tokens
from shardproof.formulations.deployment.plans import group_of, plan_of_groups
from shardproof.formulations.open_loop import MILLIONTHS, is_open
from shardproof.formulations.pools.build import replica_question, scales_of
from shardproof.formulations.pools.problem import Kind, Load, PoolsProblem
from shardproof.formulations.pools.split import Split, split
from shardproof.instances.fleet_plan import Case, FleetGroup, FleetPlan, NodeSeats, Seat, Taken
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Share
from shardproof.instances.pools import Pool, PoolsQuestion
from shardproof.instances.reading import refuse
from shardproof.instances.workload import ClosedLoop
from shardproof.solver.evaluation.engine_plan import require_plan_of
from shardproof.solver.evaluation.paced import pace_of
from shardproof.solver.open_loop.evaluated import evaluate_any
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.open_loop.replica_rates import at_rates, together
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.open_loop.shown import measured, sentences
from shardproof.solver.pools.arriving import OpenPool
from shardproof.solver.pools.certificate import cases_of
from shardproof.solver.pools.packing import Node
from shardproof.solver.pools.pooled import SearchedPool
from shardproof.solver.pools.result import FleetMetrics
from shardproof.solver.pools.search import Realised
from shardproof.solver.pools.work import Chosen, group_rates
from shardproof.solver.problem import deployment_of
from shardproof.solver.solve import finished_plan


def fleet_plan(question: PoolsQuestion, fleet: Realised, chosen: Mapping[Kind, Chosen]) -> FleetPlan:
    """Write a fleet as a plan: its groups, their nodes, and what holds when something is gone."""
    used = [place for place, _ in enumerate(fleet.problem.kinds) if fleet.values[place]]
    kinds, counts = [fleet.problem.kinds[place] for place in used], [fleet.values[place] for place in used]
    shared = None if question.pools else split(fleet.problem.demand, kinds, counts)
    rates = group_rates(fleet) if any(question.rated) else []
    groups = []
    for at, kind in enumerate(kinds):
        if shared is not None:
            groups.append(_measured(question, kinds, at, counts, shared))
        elif question.pools[kind.pool].is_open:
            groups.append(_played(question, kind, counts[at], chosen[kind], rates[at][-1][1]))
        else:
            groups.append(_searched(question, kind, counts[at], chosen[kind]))
    nodes = tuple(seats for found in fleet.nodes for seats in _nodes(question, fleet, found, used))
    return FleetPlan(
        groups=tuple(groups),
        nodes=nodes,
        spared=tuple(_cases(question, fleet, kinds, counts, used)),
        instance_fingerprint=question.fingerprint,
    )


def own_instance(
    instance: Instance, replicas: int, load: Sequence[int], asked: Sequence[int] | None = None
) -> Instance:
    """Return the question that one group of replicas answers alone: its own part of the requests.

    ``load``: what each replica takes of every scenario; of requests that come by themselves in millionths a second,
    which of all replicas are no more than is ``asked``.
    """
    if is_open(instance):
        rates = tuple(replicas * rate for rate in load)
        return at_rates(instance, rates if asked is None else together(replicas, tuple(load), tuple(asked)))
    scenarios = []
    for scenario, requests in zip(instance.scenarios, load, strict=True):
        if requests:
            name = "concurrency" if isinstance(scenario.workload, ClosedLoop) else "batch_size"
            workload = scenario.workload.model_copy(update={name: requests * replicas})
            scenarios.append(scenario.model_copy(update={"workload": workload}))
    return instance.model_copy(update={"scenarios": tuple(scenarios)})


def _asked(question: PoolsQuestion, pool: Pool) -> list[int] | None:
    """Rates that a pool is asked for in all, in millionths (``None``: of bursts, and where the most load is sought)."""
    if not pool.is_open or question.objective == "load":
        return None
    return [ceil(question.demand[place] * MILLIONTHS) for place in pool.places]


def _played(question: PoolsQuestion, kind: Kind, count: int, found: Chosen, rates: Load) -> FleetGroup:
    """A group whose requests come by themselves, with the most that each replica takes in any case."""
    pool, shape = found
    assert isinstance(pool, OpenPool)
    assert isinstance(shape, Shape)
    asked = question.pools[kind.pool]
    own = tuple(rates[place] for place in asked.places)
    instance = own_instance(asked.instance, count, own, _asked(question, asked))
    shown = judged(instance, shape.plan(pool.deployment, count), pool.rates.service.at(instance))
    pairs = zip(asked.places, own, strict=True)
    takes = tuple(Taken(name=question.title(at), rate_per_s=rate / MILLIONTHS) for at, rate in pairs if rate)
    return FleetGroup(
        offer=question.offers[kind.offer].name,
        device=question.offers[kind.offer].device,
        model=asked.model,
        pool=asked.name,
        replicas=count,
        gpus_each=kind.gpus,
        takes=takes,
        plan=measured(instance, shown)[0],
        shown=tuple(sentences(shown)),
    )


def _searched(question: PoolsQuestion, kind: Kind, count: int, found: Chosen) -> FleetGroup:
    pool, known = found
    assert isinstance(pool, SearchedPool)
    assert isinstance(known, tuple)
    program, chain, load = known
    asked = question.pools[kind.pool]
    layout = program.layouts[chain.layout]
    whole = replica_question(asked)
    instance = own_instance(whole, count, load)
    group = group_of(pool.deployment, layout, chain, count)
    names = [scenario.name for scenario in whole.scenarios]
    shares = tuple(Share(scenario=name, requests=n) for name, n in zip(names, load, strict=True) if n)
    plan = plan_of_groups(pool.deployment, group.model_copy(update={"shares": shares}))
    plan = plan.model_copy(update={"shares": shares, "instance_fingerprint": instance.fingerprint})
    finished, _ = finished_plan(deployment_of(instance), plan)
    takes = tuple(Taken(name=question.title(at), requests=n) for at, n in zip(asked.places, load, strict=True) if n)
    stock = question.offers[kind.offer]
    return FleetGroup(
        offer=stock.name,
        device=stock.device,
        model=asked.model,
        pool=asked.name,
        phase=asked.phase,
        replicas=count,
        gpus_each=kind.gpus,
        takes=takes,
        plan=finished,
    )


def _measured(
    question: PoolsQuestion, kinds: Sequence[Kind], at: int, counts: Sequence[int], shared: Split
) -> FleetGroup:
    """A group of the table, with the rates that each replica takes when load is split in proportion."""
    kind, stock, scales = kinds[at], question.offers[kinds[at].offer], scales_of(question)
    carried = shared.carried(kinds, at)
    takes = tuple(
        Taken(name=name, rate_per_s=float(part / scale / counts[at] / max(Fraction(1), shared.multiple)))
        for name, part, scale in zip(question.names, carried, scales, strict=True)
        if part
    )
    return FleetGroup(offer=stock.name, device=stock.device, replicas=counts[at], gpus_each=kind.gpus, takes=takes)


def _nodes(question: PoolsQuestion, fleet: Realised, found: Sequence[Node], used: list[int]) -> list[NodeSeats]:
    """Seat replicas GPU by GPU, node by node."""
    numbers: dict[int, int] = dict.fromkeys(used, 0)
    wide: dict[tuple[int, int], int] = {}
    seats = []
    for place, node in enumerate(found):
        own, first = [], 0
        for at in node.kinds:
            kind = fleet.problem.kinds[at]
            if node.wide is not None:
                taken = wide.get((at, node.wide), 0)
                width, replica = min(node.gpus, kind.gpus - taken), node.wide
                wide[at, node.wide] = taken + width
            else:
                width, replica = kind.gpus, numbers[at]
                numbers[at] += 1
            own.append(Seat(group=used.index(at), replica=replica, gpus=tuple(range(first, first + width))))
            first += width
        seats.append(NodeSeats(offer=question.offers[node.offer].name, node=place, gpus=node.gpus, seats=tuple(own)))
    return seats


def _cases(
    question: PoolsQuestion, fleet: Realised, kinds: Sequence[Kind], counts: Sequence[int], used: list[int]
) -> list[Case]:
    """What is left in each case, and how much of every demand that carries."""
    problem = fleet.problem
    nodes = [
        [node.offer, node.gpus, [node.kinds.count(place) for place in used], int(node.wide is not None)]
        for found in fleet.nodes
        for node in found
    ]
    found = []
    for left in list(cases_of(problem, counts, nodes))[1:]:
        gone = [f"{n - m} of group {at}" for at, (n, m) in enumerate(zip(counts, left, strict=True)) if m < n]
        carried = _by_title(question, parts_carried(problem, kinds, left))
        word = {1: "a node with "}.get(problem.gone, f"{problem.gone} nodes with ") if problem.spare == "node" else ""
        found.append(Case(gone=word + ", ".join(gone), replicas=tuple(left), carried=carried))
    return found


def _by_title(question: PoolsQuestion, carried: Sequence[float]) -> dict[str, float]:
    """Part of each scenario that is carried: the least of its demands, where prefill and decode are two."""
    found = dict[str, float]()
    for place, part in enumerate(carried):
        found[question.title(place)] = min(part, found.get(question.title(place), part))
    return found


def parts_carried(problem: PoolsProblem, kinds: Sequence[Kind], left: Sequence[int]) -> list[float]:
    """Part of each demand that replicas carry: all that they can or, where their time is shared, the same of each."""
    if all(len(kind.loads) == 1 for kind in kinds):
        columns = zip(*(kind.loads[0] for kind in kinds), strict=True)
        sums = [sum(n * load for n, load in zip(left, column, strict=True)) for column in columns]
        return [have / want for have, want in zip(sums, problem.demand, strict=True)]
    return [float(split(problem.demand, kinds, left).multiple)] * len(problem.demand)


def pool_of(question: PoolsQuestion, group: FleetGroup) -> Pool:
    """Return the pool that a group of a plan stands in.

    Raises
    ------
    InputError
        If the question has none of that name, or the group takes requests of others.
    """
    pool = next((pool for pool in question.pools if pool.name == group.pool), None)
    if pool is None:
        known = ", ".join(pool.name for pool in question.pools) or "none, its capacities are given as data"
        raise refuse("plan", f"is no pool of the question; pools: {known}", field="groups.pool", value=str(group.pool))
    titles = [question.title(place) for place in pool.places]
    other = next((one.name for one in group.takes if one.name not in titles), None)
    if other is not None:
        remedy = f"the pool {pool.name} takes requests of {', '.join(dict.fromkeys(titles))} alone"
        raise refuse("plan", remedy, field="groups.takes.name", value=other)
    return pool


def group_instance(question: PoolsQuestion, group: FleetGroup) -> Instance:
    """Return the question that a group of a plan answers alone.

    Raises
    ------
    InputError
        If the question has no pool for it, or its plan is not of the pool's model.
    """
    pool = pool_of(question, group)
    if group.plan is not None:
        for part in group.plan.parts:
            require_plan_of(pool.instance, group.plan.part(part))
    taken = {one.name: one.requests or round((one.rate_per_s or 0) * MILLIONTHS) for one in group.takes}
    load = [taken.get(question.title(place), 0) for place in pool.places]
    if question.is_paced and pool.phase is not None:
        return paced_group(pool, group, load)
    return own_instance(replica_question(pool), group.replicas, load, _asked(question, pool))


def paced_group(pool: Pool, group: FleetGroup, load: Sequence[int]) -> Instance:
    """Return what a group of one phase is asked where requests keep coming: its part, at the pace that it reaches.

    Prefill is asked at the slowest pace that the limits allow: at least so many prompts come.
    """
    assert pool.phase is not None
    whole = own_instance(pool.instance, group.replicas, load)
    if group.plan is None:
        raise refuse("plan", "says no stages", field="groups.plan", value="none")
    tokens = pace_of(whole, group.plan.parts) if pool.phase == "decode" else usual_tokens(whole)
    budgets = {name: getattr(whole, name) for name in ("max_gpus", "max_stage_gpus")}
    asked, limits = (pool_instance(whole, pool.phase, one).scenarios for one in (tokens, usual_tokens(whole)))
    pairs = zip(asked, limits, strict=True)
    scenarios = tuple(one.model_copy(update={"limits": stated.limits}) for one, stated in pairs)
    found = pool_instance(whole, pool.phase, tokens)
    return found.model_copy(update=budgets | {"scenarios": scenarios})


def group_plan(question: PoolsQuestion, group: FleetGroup) -> Plan | None:
    """Return the plan that answers `group_instance`: shares of played pools say what engines are set up for."""
    if group.plan is None or group.phase is None or not question.is_paced:
        return group.plan
    return group.plan.model_copy(update={"shares": ()})


def metrics_of(question: PoolsQuestion, plan: FleetPlan) -> FleetMetrics:
    """Figures of a fleet: GPUs, price and power that are paid, and the latencies of its slowest group."""
    prices, watts = _paid(question, plan, "price"), _paid(question, plan, "power")
    pairs = ((group, group_plan(question, group)) for group in plan.groups)
    found = [(group_instance(question, group), own) for group, own in pairs if own is not None]
    evaluated = (evaluate_any(instance, own) for instance, own in found)
    figures = [one for one in evaluated if one.scenarios]  # a group that takes no requests shows none
    tokens = sum(one.throughput(name).output_tokens_per_s for one in figures for name in _names(one.scenarios))
    return FleetMetrics(
        gpus=plan.gpus,
        price_per_hour=None if prices is None else prices / 10**6,
        watts=None if watts is None else watts / 1000,
        shapes=len(plan.groups),
        ttft_s=max((one.ttft for one in figures), default=0) / 1e9 if figures else None,
        tpot_ms=max((one.tpot for one in figures), default=0) / 1e6 if figures else None,
        peak_memory_bytes=max((one.peak_memory for one in figures), default=None),
        output_tokens_per_s=tokens if figures else None,
    )


def _names(scenarios: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(figures.scenario.name for figures in scenarios))  # type: ignore[attr-defined]


def _paid(question: PoolsQuestion, plan: FleetPlan, what: str) -> int | None:
    """Sum over the GPUs that are paid (``None``: some offer's figure is not known)."""
    total = 0
    for stock in question.offers:
        gpus = sum(group.gpus for group in plan.groups if group.offer == stock.name)
        if stock.by_node:
            gpus = sum(node.gpus for node in plan.nodes if node.offer == stock.name)
        rate = getattr(stock, what)
        if gpus and rate is None:
            return None
        total += gpus * (rate or 0)
    return total
