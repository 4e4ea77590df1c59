r"""Prefill and decode apart on several devices: which pools may exchange caches, and what each of them counts for.

Replicas of one phase exchange caches with others of the same engine, vendor and cache dtype, over a link that is no
faster than either end's. A *way* is such a set with the slowest link that it takes: its decode replicas reach that, its
prefill replicas send as if all of them did no more. Of D requests x_f pass by way f, at most as many as its prefill
replicas send (P_f) and its decode replicas take in (C_f); replicas of both phases serve the rest (T):

.. math:: \sum_f \min(P_f, C_f) + T \ge D \quad\Longleftrightarrow\quad
    \sum_{f \in F} P_f + \sum_{f \notin F} C_f + T \ge D \quad \text{for every set } F \text{ of ways}

so that prefill and decode are demands of their own, one for each set: two where there is one way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.instances.plan import Pool as Phase
from shardproof.instances.pools import Pool
from shardproof.instances.serving import Passage, Serving, passage_of
from shardproof.instances.units import format_duration

MOST_WAYS = 8
"""Ways of one model that are told apart (each doubles the demands)."""

Key = tuple[str, str, str]
"""Engine, vendor and dtype of the cache: what both pools of a way have in common."""


@dataclass(frozen=True)
class Way:
    """Pools that exchange caches, and the link that all of its decode replicas reach."""

    key: Key
    link: Passage
    alone: bool
    """Whether it is the only one of its key."""

    @property
    def name(self) -> str:
        """What tells it apart from the other ways of a question."""
        engine = "free of rules" if self.key[0] == "any" else self.key[0]
        return engine if self.alone else f"{engine} at {float(self.link.bandwidth) / 1e9:g} GB/s"


@dataclass(frozen=True)
class Demands:
    """Demands with their names, the names that people gave them, and the pools that carry them."""

    names: tuple[str, ...]
    titles: tuple[str, ...]
    demand: tuple[Fraction, ...]
    pools: tuple[Pool, ...]
    notes: tuple[str, ...]


def parted(
    serving: Serving,
    names: Sequence[str],
    demand: Sequence[Fraction],
    pools: Sequence[Pool],
    phases: Sequence[tuple[Phase, ...]],
) -> Demands:
    """Part every demand into prefill and decode; ``phases``: what each offer may serve (empty: both).

    Raises
    ------
    InputError
        If no two pools of a model exchange caches, and replicas of both phases are not allowed.
    """
    made, titles, asked, carriers, notes = list[str](), list[str](), list[Fraction](), list[Pool](), list[str]()
    for title in dict.fromkeys(pool.model for pool in pools):
        own = [pool for pool in pools if pool.model == title]
        ways, said = _ways(own, phases)
        notes += [f"{title}: {said}"] if said else []
        if not ways and (serving == "apart" or not any(_serves_both(phases[pool.offer]) for pool in own)):
            remedy = "no offer for prefill and offer for decode have engine, vendor and cache dtype in common"
            raise InputError(f"{title}: devices: {remedy}; widen phases, or allow serving: any")
        sets = list(product(("prefill", "decode"), repeat=len(ways)))
        old = sorted({place for pool in own for place in pool.places})
        found = dict[int, tuple[int, ...]]()
        for place in old:
            found[place] = tuple(range(len(made), len(made) + len(sets)))
            made += [_name(names[place], ways, chosen) for chosen in sets]
            titles += [names[place]] * len(sets)
            asked += [demand[place]] * len(sets)
        for pool in own:
            carriers += _carriers(serving, pool, phases[pool.offer], ways, sets, found)
    return Demands(tuple(made), tuple(titles), tuple(asked), tuple(carriers), tuple(dict.fromkeys(notes)))


def _name(name: str, ways: Sequence[Way], chosen: Sequence[Any]) -> str:
    if not ways:
        return name
    if len(ways) == 1:
        return f"{name}: {chosen[0]}"
    return f"{name}: {', '.join(f'{phase} {way.name}' for phase, way in zip(chosen, ways, strict=True))}"


def _key(pool: Pool) -> Key:
    instance = pool.instance
    return instance.engine, instance.device.vendor, instance.model.kv_dtype


def _link(pool: Pool) -> Passage:
    return passage_of(pool.instance.transfer, pool.instance.device)


def _serves(phases: Sequence[Phase], phase: Phase) -> bool:
    return not phases or phase in phases


def _serves_both(phases: Sequence[Phase]) -> bool:
    return _serves(phases, "prefill") and _serves(phases, "decode")


def _ways(pools: Sequence[Pool], phases: Sequence[tuple[Phase, ...]]) -> tuple[list[Way], str]:
    """Return the ways of a model's pools, and what was left out of them."""
    found: dict[Key, list[Passage]] = {}
    for key in dict.fromkeys(map(_key, pools)):
        senders = [_link(pool) for pool in pools if _key(pool) == key and _serves(phases[pool.offer], "prefill")]
        takers = [_link(pool) for pool in pools if _key(pool) == key and _serves(phases[pool.offer], "decode")]
        if senders and takers:
            found[key] = _links(senders, takers)
    said = ""
    if sum(map(len, found.values())) > MOST_WAYS:
        found = {key: [_slowest(links)] for key, links in found.items()}
        said = "every prefill replica sends as if to the slowest device that may decode, as the ways are too many"
    if len(found) > MOST_WAYS:
        remedy = "are more than are told apart; name the engine, or devices of one vendor"
        raise InputError(f"serving: {len(found)} pairs of engine and vendor {remedy}")
    return [Way(key, link, len(links) == 1) for key, links in found.items() for link in links], said


def _slowest(links: Sequence[Passage]) -> Passage:
    whole = links[0]
    for link in links[1:]:
        whole = whole.narrowed(link)
    return whole


def _links(senders: Sequence[Passage], takers: Sequence[Passage]) -> list[Passage]:
    """Return the links that sets of takers have in common, as far as any sender reaches them."""
    best = Passage(max(link.bandwidth for link in senders), min(link.setup for link in senders))
    found = dict.fromkeys(best.narrowed(link) for link in takers)
    while True:
        more = [one.narrowed(other) for one in found for other in found]
        if found.keys() >= set(more):
            return sorted(found, key=lambda link: (-link.bandwidth, link.setup))
        found |= dict.fromkeys(more)


def _carriers(
    serving: Serving,
    pool: Pool,
    phases: tuple[Phase, ...],
    ways: Sequence[Way],
    sets: Sequence[tuple[Any, ...]],
    found: dict[int, tuple[int, ...]],
) -> Iterator[Pool]:
    """Yield a pool as replicas of both phases, where they are allowed, and of each phase by every way."""
    if serving == "any" and _serves_both(phases):
        yield _counting(pool, pool.name, None, [found[place] for place in pool.places])
    for at, way in enumerate(ways):
        if way.key != _key(pool):
            continue
        link = _link(pool)
        for phase in ("prefill", "decode"):
            if not _serves(phases, phase) or (phase == "decode" and not way.link.is_within(link)):
                continue
            chosen = [at_set for at_set, one in enumerate(sets) if one[at] == phase]
            counts = [tuple(found[place][one] for one in chosen) for place in pool.places]
            name = f"{pool.name}: {phase}" + ("" if way.alone else f" at {float(way.link.bandwidth) / 1e9:g} GB/s")
            yield _counting(pool, name, phase, counts, link.narrowed(way.link) if phase == "prefill" else None)


def _counting(
    pool: Pool, name: str, phase: Phase | None, counts: Sequence[tuple[int, ...]], link: Passage | None = None
) -> Pool:
    """Return a pool of one phase (``None``: both), whose requests count for these demands."""
    instance = pool.instance
    if link is not None and link != _link(pool):
        changed = {"bandwidth": int(link.bandwidth), "setup": link.setup}
        transfer = instance.transfer.model_copy(update=changed)
        instance = instance.model_copy(update={"transfer": transfer})
    changes: dict[str, Any] = {"name": name, "phase": phase, "instance": instance}
    changes |= {"places": tuple(one[0] for one in counts), "also": tuple(one[1:] for one in counts)}
    return pool.model_copy(update=changes)


def passages(pools: Sequence[Pool]) -> tuple[str, ...]:
    """Say on which link the prefill replicas of each offer send."""
    said = dict.fromkeys(
        (pool.instance.device.name, passage_of(pool.instance.transfer, pool.instance.device))
        for pool in pools
        if pool.phase == "prefill"
    )
    return tuple(
        f"a prefill replica on {name} sends KV caches at {float(link.bandwidth) / 1e9:g} GB/s, "
        f"{format_duration(link.setup)} before each request, one after the other, beside the prefill of the next"
        for name, link in said
    )
