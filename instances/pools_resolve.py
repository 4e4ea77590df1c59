"""From a file about pools to the resolved question: names looked up, offers counted, one `Instance` for each pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from shardproof.instances.engine_choice import NAMED, runs_on, under_engine
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.hardware import Device
from shardproof.instances.instance import DEFAULT_MAX_GPUS, Instance
from shardproof.instances.pool_fields import POOL_FIELDS
from shardproof.instances.pools import AskedModel, Offer, Pool, PoolsFile, PoolsQuestion, Stock
from shardproof.instances.pools_apart import parted, passages
from shardproof.instances.reading import refuse, validate
from shardproof.instances.resolve import merge, resolve_tree
from shardproof.instances.serving import Serving
from shardproof.instances.workload import OpenLoop, Workload

MOST_GPUS = 16384


def resolve_pools(tree: Mapping[str, Any], *, where: str, folder: Path | None = None) -> PoolsQuestion:
    """Check a parsed question about pools and resolve it against the catalogue.

    Raises
    ------
    InputError
        If a name is not found, a field is wrong, or an offer lacks the price that the question is about.
    """
    own, base = _parted(tree, where)
    file = validate(PoolsFile, own, where=where)
    offers, left_out = _offers(file, where)
    stocks = tuple(stock for stock, _, _ in offers)
    budget = _budget(file, stocks)
    common: dict[str, Any] = {
        "name": file.name,
        "objective": file.objective,
        "resolution": file.resolution,
        "placement": file.placement,
        "spare": None if file.spare is None else "node" if file.spare.nodes else "replica",
        "gone": 1 if file.spare is None else file.spare.nodes or file.spare.gpus or 1,
        "offers": stocks,
        "max_gpus": budget,
        "max_price": None if file.limits.price_per_hour is None else int(file.limits.price_per_hour * 10**6),
    }
    notes = (*file.assumptions, *_assumed(file, stocks, budget), *left_out)
    if file.capacities:
        return _measured(file, base, offers, common, notes, where)
    return _modelled(file, base, offers, common, notes, where, folder)


def _parted(tree: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part what is said of pools from what is said of every replica; ``device`` is a list of one offer."""
    own = {key: tree[key] for key in (*POOL_FIELDS, "name", "description", "assumptions") if key in tree}
    base = {key: value for key, value in tree.items() if key not in own}
    device = base.pop("device", None)
    if device is not None and "devices" in own:
        raise refuse(where, "devices are listed already; leave device out", field="device")
    if device is not None:
        own["devices"] = [{"device": device}]
    if "devices" not in own:
        raise refuse(where, "is missing; list the offers, or give device", field="devices")
    limits = base.get("limits")
    if limits is not None and not isinstance(limits, dict):
        raise refuse(where, "must be a mapping of limits", field="limits", value=str(limits)[:60])
    if isinstance(limits, dict):
        own["limits"] = {key: limits[key] for key in ("max_gpus", "price_per_hour") if key in limits}
        base["limits"] = {key: value for key, value in limits.items() if key not in own["limits"]}
    return own, base


Offered = tuple[Stock, Offer, "Device | str"]


def _offers(file: PoolsFile, where: str) -> tuple[list[Offered], list[str]]:
    """Return every offer with its device (patterns one by one), and what patterns left out for want of a figure."""
    found: list[Offered] = []
    left_out: list[str] = []
    for place, offer in enumerate(file.devices):
        for device, chosen in _devices(offer, file, f"devices.{place}", where):
            try:
                found.append((_stock(file, offer, device, f"devices.{place}", where), offer, device))
            except InputError as error:
                if not chosen:
                    raise
                left_out.append(f"{getattr(device, 'name', device)} is left out: {error.problems[0].remedy}")
    if not found:
        raise refuse(where, f"no offer is left: {'; '.join(left_out)}", field="devices")
    return _named(found), left_out


def _named(found: list[Offered]) -> list[Offered]:
    """Tell offers of one name apart by numbers."""
    seen: dict[str, int] = {}
    named = []
    for stock, offer, device in found:
        seen[stock.name] = seen.get(stock.name, 0) + 1
        name = stock.name if seen[stock.name] == 1 else f"{stock.name}#{seen[stock.name]}"
        named.append((stock.model_copy(update={"name": name}), offer, device))
    return named


def _devices(offer: Offer, file: PoolsFile, field: str, where: str) -> list[tuple[Device | str, bool]]:
    """Devices of an offer, and whether a pattern chose them; with capacities as data any name is a device."""
    from shardproof.instances.catalogue import device_names, is_device, load_device

    name = offer.device
    if isinstance(name, Device):
        return [(name, False)]
    if any(mark in name for mark in "*?["):
        names = [known for known in sorted(device_names()) if fnmatchcase(known, name)]
        if not names:
            raise refuse(where, "matches no device of the catalogue", field=f"{field}.device", value=name)
        return [(load_device(known), True) for known in names]
    if file.capacities and not is_device(name):
        return [(name, False)]
    try:
        return [(load_device(name), False)]
    except InputError as error:
        problems = [replace(problem, where=where, field=f"{field}.device") for problem in error.problems]
        raise InputError(problems) from None


def _stock(file: PoolsFile, offer: Offer, device: Device | str, field: str, where: str) -> Stock:
    known = device if isinstance(device, Device) else None
    node = offer.devices_per_node or offer.hardware.devices_per_node or (known.devices_per_node if known else 8)
    price = offer.price_per_hour if offer.price_per_hour is not None else offer.hardware.price_per_hour
    kind: str | None = offer.price_kind
    if price is None and known is not None and known.price_per_hour is not None:
        price, basis = known.price_per_hour, known.price_basis
        if kind is not None and (basis is None or basis.kind != kind):
            held = "unknown" if basis is None else basis.kind
            remedy = f"the catalogue's price of {known.name} is of kind {held}; give price_per_hour"
            raise refuse(where, remedy, field=f"{field}.price_kind", value=kind)
        kind = None if basis is None else basis.kind
    watts = offer.watts or (known.watts if known else None)
    name = known.name if known is not None else str(device)
    if price is None and (file.objective == "price" or file.limits.price_per_hour is not None):
        raise refuse(where, f"{name} has no price; add price_per_hour", field=field)
    if watts is None and file.objective == "power":
        raise refuse(where, f"the power of {name} is not known; add watts", field=field)
    return Stock(
        name=offer.name or name,
        device=name,
        node=node,
        nodes=_nodes(offer, node, field, where),
        price=None if price is None else ceil(price * 10**6),
        price_kind=kind,
        power=None if watts is None else watts * 1000,
        by_node=offer.sold == "nodes",
    )


def _nodes(offer: Offer, node: int, field: str, where: str) -> tuple[tuple[int, int], ...] | None:
    available = offer.available
    if available is None:
        return None
    if available.nodes is not None:
        return ((node, available.nodes),)
    full, rest = divmod(available.gpus or 0, node)
    if offer.sold == "nodes" and rest:
        remedy = f"is sold by nodes of {node} GPUs; give whole nodes"
        raise refuse(where, remedy, field=f"{field}.available.gpus", value=str(available.gpus))
    return tuple(pair for pair in ((node, full), (rest, 1)) if pair[0] and pair[1])


def _budget(file: PoolsFile, stocks: tuple[Stock, ...]) -> int:
    """GPUs at most: as stated, else those there are, else the default."""
    there = [stock.gpus for stock in stocks]
    if file.limits.max_gpus is not None:
        return file.limits.max_gpus
    if any(gpus is None for gpus in there):
        return DEFAULT_MAX_GPUS
    return min(MOST_GPUS, sum(gpus or 0 for gpus in there))


def _assumed(file: PoolsFile, stocks: tuple[Stock, ...], budget: int) -> list[str]:
    found = []
    if file.limits.max_gpus is None and any(stock.nodes is None for stock in stocks):
        found.append(f"at most {budget} GPUs are searched: limits.max_gpus is not given")
    if file.objective == "price" and len({stock.price_kind for stock in stocks}) > 1:
        kinds = sorted({stock.price_kind or "as given" for stock in stocks})
        found.append(f"prices of different kinds are compared: {', '.join(kinds)}")
    if file.spare is not None:
        found.append("when something is gone, every replica that is left takes at most what it takes by its shares")
    return found


def _measured(
    file: PoolsFile,
    base: Mapping[str, Any],
    offers: list[Offered],
    common: dict[str, Any],
    notes: tuple[str, ...],
    where: str,
) -> PoolsQuestion:
    unknown = sorted(key for key, value in base.items() if value not in (None, {}, []))
    unknown += [f"devices.{place}.phases" for place, (_, offer, _) in enumerate(offers) if offer.phases]
    if unknown:
        raise refuse(where, "says nothing beside capacities given as data; leave it out", field=unknown[0])
    names, rates = tuple(file.requests), []
    for place, row in enumerate(file.capacities):
        called = [(stock.device, stock.name, offer.device) for stock, offer, _ in offers]
        own = [at for at, known in enumerate(called) if row.device in known]
        if not own:
            raise refuse(where, "is none of the devices", field=f"capacities.{place}.device", value=row.device)
        for at in own:
            serves = offers[at][1].serves
            allowed = [not serves or name in serves for name in names]
            found = tuple(row.rates.get(name, Fraction(0)) * ok for name, ok in zip(names, allowed, strict=True))
            rates.append((at, row.gpus, found))
    demand = tuple(file.requests[name] for name in names)
    said = "capacities are the instance's own: a replica shares its time over classes in proportion"
    return PoolsQuestion(**common, names=names, demand=demand, rates=tuple(rates), assumptions=(*notes, said))


def _modelled(
    file: PoolsFile,
    base: dict[str, Any],
    offers: list[Offered],
    common: dict[str, Any],
    notes: tuple[str, ...],
    where: str,
    folder: Path | None,
) -> PoolsQuestion:
    names, demand, pools, more = _pools(file, base, offers, common["max_gpus"], where, folder)
    assumed = dict.fromkeys(
        text for pool in pools for text in pool.instance.assumptions if "GPUs are searched" not in text
    )
    said = (*notes, *more, *assumed)
    serving = _serving(pools, offers, where)
    if serving == "together":
        return PoolsQuestion(**common, names=tuple(names), demand=tuple(demand), pools=tuple(pools), assumptions=said)
    found = parted(serving, names, demand, pools, [offer.phases for _, offer, _ in offers])
    return PoolsQuestion(
        **common,
        serving=serving,
        names=found.names,
        titles=found.titles,
        demand=found.demand,
        pools=found.pools,
        assumptions=(*said, *found.notes, *passages(found.pools)),
    )


def _pools(
    file: PoolsFile, base: dict[str, Any], offers: list[Offered], budget: int, where: str, folder: Path | None
) -> tuple[list[str], list[Fraction], list[Pool], list[str]]:
    """Names and demand of what is asked for, the pools that serve it, and which device does not serve what."""
    models = file.models or (None,)
    names, demand, pools, notes = list[str](), list[Fraction](), list[Pool](), list[str]()
    for place, asked in enumerate(models):
        tree, title = _model_tree(base, asked)
        made = [(at, *_pool(tree, offer, stock, budget, where, folder)) for at, (stock, offer, _) in enumerate(offers)]
        whole = next((instance for _, instance, _ in made if instance is not None), None)
        if whole is None:
            raise refuse(where, f"no device runs it: {made[0][2]}", field=f"models.{place}" if asked else "devices")
        title = title or whole.model.name
        places = {scenario.name: len(names) + at for at, scenario in enumerate(whole.scenarios)}
        alone = len(models) == 1
        names += [_demand_name(title, scenario.name, alone=alone) for scenario in whole.scenarios]
        demand += [_asked(scenario.workload) for scenario in whole.scenarios]
        for at, instance, reason in made:
            if instance is not None:
                pools += _under_engines(_served(instance, offers[at], at, title, places, names))
            elif reason and not _chosen(offers[at][1]):
                raise InputError([Problem(where, f"devices.{at}", offers[at][0].name, reason)])
            elif reason:
                notes.append(f"{offers[at][0].name} does not serve {title}: {reason}")
    for place, name in enumerate(names):
        if not any(place in pool.places for pool in pools):
            raise refuse(where, "is served by no device; widen serves", field="devices", value=name)
    return names, demand, pools, notes


def _serving(pools: Sequence[Pool], offers: Sequence[Offered], where: str) -> Serving:
    """Return how all pools serve, and refuse phases of offers where it says nothing of them."""
    serving = pools[0].instance.serving
    for place, (stock, offer, _) in enumerate(offers):
        if offer.phases and serving == "together":
            remedy = f"{stock.name} serves one phase only where prefill and decode may be apart; ask for serving: apart"
            raise refuse(where, f"{remedy} (or any)", field=f"devices.{place}.phases", value=", ".join(offer.phases))
    return serving


def _asked(workload: Workload) -> Fraction:
    """Requests at once, or a second."""
    return Fraction(workload.rate if isinstance(workload, OpenLoop) else workload.requests)


def _chosen(offer: Offer) -> bool:
    return isinstance(offer.device, str) and any(mark in offer.device for mark in "*?[")


def _model_tree(base: dict[str, Any], asked: AskedModel | None) -> tuple[dict[str, Any], str | None]:
    """Lay a model's own fields over those of the file; its workload or scenarios replace both."""
    if asked is None:
        return base, None
    stated = {key: value for key in AskedModel.model_fields if (value := getattr(asked, key)) is not None}
    title = stated.pop("name", None)
    own = dict(base)
    if "workload" in stated or "scenarios" in stated:
        own = {key: value for key, value in own.items() if key not in ("workload", "scenarios")}
    stated = {key: list(value) if isinstance(value, tuple) else value for key, value in stated.items()}
    return merge(own, stated), title


def _pool(
    tree: dict[str, Any], offer: Offer, stock: Stock, budget: int, where: str, folder: Path | None
) -> tuple[Instance | None, str | None]:
    """Return the question of a replica on an offer, or why the offer cannot serve it."""
    there = stock.gpus
    most = budget if there is None else min(budget, there)
    hardware = offer.hardware.model_dump(mode="json", exclude_none=True) | {"devices_per_node": stock.node}
    added = {"device": stock.device if _chosen(offer) else offer.device, "limits": {"max_gpus": most}}
    whole = merge(tree, added | {"hardware": hardware, "name": stock.name})
    try:
        instance = resolve_tree(whole, where=where, folder=folder)
    except InputError as error:
        if any(problem.field in ("engine", "device") for problem in error.problems):
            return None, error.problems[0].remedy
        raise
    if len({isinstance(scenario.workload, OpenLoop) for scenario in instance.scenarios}) > 1:
        remedy = "requests per second stand beside bursts or closed loops; write them as entries of models of their own"
        raise refuse(where, remedy, field="scenarios")
    return instance, None


def _under_engines(pool: Pool | None) -> Iterator[Pool]:
    """Yield the pool under its engine or, where none is named, free of an engine's rules and under every engine."""
    if pool is None:
        return
    yield pool
    if pool.instance.engine == "any":
        for engine in (engine for engine in NAMED if runs_on(pool.instance, engine)):
            yield pool.model_copy(
                update={"name": f"{pool.name} under {engine}", "instance": under_engine(pool.instance, engine)}
            )


def _served(
    instance: Instance, offered: Offered, at: int, title: str, places: Mapping[str, int], names: list[str]
) -> Pool | None:
    """Return the pool of the scenarios that an offer serves; ``None``: it serves none of them."""
    serves = offered[1].serves
    kept = tuple(
        scenario
        for scenario in instance.scenarios
        if not serves or {title, scenario.name, names[places[scenario.name]], instance.model.name} & set(serves)
    )
    if not kept:
        return None
    return Pool(
        name=f"{title} on {offered[0].name}",
        offer=at,
        model=title,
        places=tuple(places[scenario.name] for scenario in kept),
        instance=instance.model_copy(update={"scenarios": kept}),
    )


def _demand_name(title: str, scenario: str, *, alone: bool) -> str:
    if alone:
        return scenario
    return title if scenario == "main" else f"{title}/{scenario}"
