"""From a resolved question about pools to integers: demands, supplies, costs, limits; kinds where they are data."""

from __future__ import annotations

from math import ceil, lcm

from shardproof.formulations.apart.phases import as_together, check_apart, is_steady, pool_instance
from shardproof.formulations.open_loop import MILLIONTHS
from shardproof.formulations.pools.problem import Kind, Limit, Load, PoolsProblem, Supply
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.pools import Pool, PoolsQuestion, Stock


def replica_question(pool: Pool) -> Instance:
    """Return the question that one replica of a pool answers: that of its own phase, where it serves one alone.

    Raises
    ------
    InputError
        If it says too little for prefill and decode apart.
    """
    instance = pool.instance
    if instance.serving == "together":
        return instance
    check_apart(instance)
    if pool.phase is None:
        return as_together(instance)
    if is_steady(instance):
        remedy = "fleets with pools apart whose requests keep coming are played: there is no certificate of them"
        raise InputError([Problem(instance.name, "workload", instance.scenarios[0].workload.kind, remedy)])
    budgets = {name: getattr(instance, name) for name in ("max_gpus", "max_stage_gpus")}
    return pool_instance(instance, pool.phase).model_copy(update=budgets)


def scales_of(question: PoolsQuestion) -> tuple[int, ...]:
    """Integers in one unit of each demand, so that demands and measured rates are whole."""
    found = []
    rated = question.rated
    for place, asked in enumerate(question.demand):
        if rated[place]:
            found.append(MILLIONTHS)
            continue
        cells = [rates[place].denominator for _, _, rates in question.rates]
        steps = question.resolution if question.objective == "load" and question.rates else 1
        found.append(lcm(asked.denominator, *cells) * steps)
    return tuple(found)


def demand_of(question: PoolsQuestion) -> Load:
    """Demand in integers; a rate is rounded up to a millionth of a request a second."""
    return tuple(ceil(asked * scale) for asked, scale in zip(question.demand, scales_of(question), strict=True))


def problem_of(question: PoolsQuestion) -> PoolsProblem:
    """Return the integer problem; its kinds are the table's (none, where capacities are searched for)."""
    return PoolsProblem(
        demand=demand_of(question),
        kinds=_kinds(question),
        supplies=tuple(_supply(question, stock) for stock in question.offers),
        limits=_limits(question),
        placement=question.placement,
        spare=question.spare,
        gone=question.gone,
    )


def _kinds(question: PoolsQuestion) -> tuple[Kind, ...]:
    """Kinds of the table: a replica carries each class's rate by a part of its time."""
    scales, size, found = scales_of(question), len(question.demand), []
    for offer, gpus, rates in question.rates:
        loads = tuple(
            tuple(int(rate * scale) * (place == at) for place in range(size))
            for at, (rate, scale) in enumerate(zip(rates, scales, strict=True))
            if rate
        )
        if loads:
            found.append(Kind(offer, offer, gpus, loads))
    return tuple(dict.fromkeys(found))


def rate_of(question: PoolsQuestion, stock: Stock) -> int:
    """Objective of one GPU that is paid; with objective ``load`` the GPUs come second."""
    if question.objective == "price":
        return stock.price or 0
    return (stock.power or 0) if question.objective == "power" else 1


def _supply(question: PoolsQuestion, stock: Stock) -> Supply:
    return Supply(stock.name, stock.node, stock.nodes, rate_of(question, stock), stock.by_node)


def _limits(question: PoolsQuestion) -> tuple[Limit, ...]:
    ones = (1,) * len(question.offers)
    found = [Limit("max_gpus", ones, question.max_gpus)]
    if question.max_price is not None:
        prices = tuple(stock.price or 0 for stock in question.offers)
        found.append(Limit("price_per_hour", prices, question.max_price))
    return tuple(found)
