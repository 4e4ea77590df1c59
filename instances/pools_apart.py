r"""Prefill and decode apart on several devices: which pools may exchange caches, and what each of them counts for.

Replicas of one phase exchange caches with others of the same engine, vendor and cache dtype (a *key*), over a link that
is no faster than either end's. A prefill replica chooses the link on which it sends, and reaches every decode replica
whose own link is no slower. Of D requests as many pass as flow from prefill replicas (at most what they send, P) over
such pairs to decode replicas (at most what they take in, C); replicas of both phases serve the rest (T). The largest
flow is the least cut: a set U of decode links says that prefill replicas which reach none beyond U are left out,

.. math:: \sum_k \Big( \sum_{N(p) \not\subseteq U_k} P_p + \sum_{r \in U_k} C_r \Big) + T \ge D
    \quad \text{for every choice of a set } U_k \text{ of each key } k

where only unions of what prefill replicas reach, N(p), need be looked at: links one slower than the other make one more
than there are links, no power of two. So prefill and decode are demands of their own, one for each choice: two where
there is one key and one link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any, TypeVar

from shardproof.instances.errors import InputError
from shardproof.instances.plan import Pool as Phase
from shardproof.instances.pools import Pool
from shardproof.instances.serving import Passage, Serving, passage_of
from shardproof.instances.units import format_duration

MOST_DEMANDS = 256
"""Demands into which one of a model is parted at most."""

Key = tuple[str, str, str]
"""Engine, vendor and dtype of the cache: what both pools that exchange caches have in common."""

Reach = frozenset[Passage]
"""Links of decode replicas."""


@dataclass(frozen=True)
class Exchange:
    """Pools of a key: links that its decode replicas have, on which its prefill replicas send, and the cuts between.

    ``sends``: by a sender's own link those on which it may send; ``cuts``: sets of decode links, the empty one first.
    """

    key: Key
    takes: tuple[Passage, ...]
    sends: Mapping[Passage, tuple[Passage, ...]]
    cuts: tuple[Reach, ...]

    @property
    def name(self) -> str:
        """What tells it apart from the others of a question."""
        return "free of rules" if self.key[0] == "any" else self.key[0]

    def reached(self, link: Passage) -> Reach:
        """Return decode links that are no slower than one on which is sent."""
        return frozenset(other for other in self.takes if link.is_within(other))

    def cut_name(self, place: int) -> str:
        """Name what a cut counts: prefill, decode, or decode of fast links and prefill that reaches others too."""
        cut = self.cuts[place]
        if not cut or len(cut) == len(self.takes):
            return "decode" if cut else "prefill"
        rates = ", ".join(sorted(f"{float(link.bandwidth) / 1e9:g}" for link in cut))
        return f"decode at {rates} GB/s ({place}), prefill of others"


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
        exchanges, said = _exchanges(own, phases)
        notes += [f"{title}: {said}"] if said else []
        if not exchanges and (serving == "apart" or not any(_serves_both(phases[pool.offer]) for pool in own)):
            remedy = "no offer for prefill and offer for decode have engine, vendor and cache dtype in common"
            more = ", or allow serving: any" if serving == "apart" else ""
            raise InputError(f"{title}: devices: {remedy}; widen phases{more}")
        choices = list(product(*(range(len(one.cuts)) for one in exchanges)))
        old = sorted({place for pool in own for place in pool.places})
        found = dict[int, tuple[int, ...]]()
        for place in old:
            found[place] = tuple(range(len(made), len(made) + len(choices)))
            made += [_name(names[place], exchanges, chosen) for chosen in choices]
            titles += [names[place]] * len(choices)
            asked += [demand[place]] * len(choices)
        for pool in own:
            carriers += _carriers(serving, pool, phases[pool.offer], exchanges, choices, found)
    return Demands(tuple(made), tuple(titles), tuple(asked), tuple(carriers), tuple(dict.fromkeys(notes)))


def _name(name: str, exchanges: Sequence[Exchange], chosen: Sequence[int]) -> str:
    if not exchanges:
        return name
    parts = [one.cut_name(at) for one, at in zip(exchanges, chosen, strict=True)]
    if len(exchanges) > 1:
        parts = [f"{part} {one.name}" for one, part in zip(exchanges, parts, strict=True)]
    return f"{name}: {', '.join(parts)}"


def _key(pool: Pool) -> Key:
    instance = pool.instance
    return instance.engine, instance.device.vendor, instance.model.kv_dtype


def _link(pool: Pool) -> Passage:
    return passage_of(pool.instance.transfer, pool.instance.device)


def _serves(phases: Sequence[Phase], phase: Phase) -> bool:
    return not phases or phase in phases


def _serves_both(phases: Sequence[Phase]) -> bool:
    return _serves(phases, "prefill") and _serves(phases, "decode")


def _exchanges(pools: Sequence[Pool], phases: Sequence[tuple[Phase, ...]]) -> tuple[list[Exchange], str]:
    """Return what pools of a model exchange, and what was left out of it."""
    found: dict[Key, tuple[list[Passage], list[Passage]]] = {}
    for key in dict.fromkeys(map(_key, pools)):
        own = [pool for pool in pools if _key(pool) == key]
        senders = [_link(pool) for pool in own if _serves(phases[pool.offer], "prefill")]
        takers = [_link(pool) for pool in own if _serves(phases[pool.offer], "decode")]
        if senders and takers:
            found[key] = senders, takers
    said, exchanges = "", [_exchange(key, *links) for key, links in found.items()]
    if prod(len(one.cuts) for one in exchanges) > MOST_DEMANDS:
        slowest = {key: (senders, [_slowest(takers)]) for key, (senders, takers) in found.items()}
        exchanges = [_exchange(key, *links) for key, links in slowest.items()]
        said = "every prefill replica sends as if to the slowest device that may decode, as the links are too many"
    if prod(len(one.cuts) for one in exchanges) > MOST_DEMANDS:
        remedy = "are more than are told apart; name the engine, or devices of one vendor"
        raise InputError(f"serving: {len(found)} pairs of engine and vendor {remedy}")
    return exchanges, said


def _slowest(links: Sequence[Passage]) -> Passage:
    whole = links[0]
    for link in links[1:]:
        whole = whole.narrowed(link)
    return whole


def _exchange(key: Key, senders: Sequence[Passage], takers: Sequence[Passage]) -> Exchange:
    """Return the links of a key: a sender chooses whom it reaches, and sends at the slowest of them and its own."""
    takes = tuple(sorted(set(takers), key=_speed))
    common = _joined(takes, Passage.narrowed)
    sends = {own: tuple(sorted({own.narrowed(link) for link in common}, key=_speed)) for own in senders}
    plain = Exchange(key, takes, sends, ())
    reaches = dict.fromkeys(plain.reached(link) for links in sends.values() for link in links)
    cuts = {frozenset[Passage](), *_joined(tuple(reaches), frozenset.union)}
    ordered = sorted(cuts, key=lambda cut: (len(cut), sorted(map(_speed, cut))))
    return replace(plain, cuts=tuple(ordered))


Joined = TypeVar("Joined")


def _joined(parts: Sequence[Joined], join: Callable[[Joined, Joined], Joined]) -> set[Joined]:
    """Return parts and all that any of them make together."""
    found = set(parts)
    while True:
        more = {join(one, other) for one in found for other in found}
        if more <= found:
            return found
        found |= more


def _speed(link: Passage) -> tuple[Fraction, int]:
    return -link.bandwidth, link.setup


def _carriers(
    serving: Serving,
    pool: Pool,
    phases: tuple[Phase, ...],
    exchanges: Sequence[Exchange],
    choices: Sequence[tuple[int, ...]],
    found: dict[int, tuple[int, ...]],
) -> Iterator[Pool]:
    """Yield a pool as replicas of both phases, where they are allowed, and of each phase, on every link it may use."""
    if serving == "any" and _serves_both(phases):
        yield _counting(pool, pool.name, None, [found[place] for place in pool.places])
    own = _link(pool)
    for at, one in enumerate(exchanges):
        if one.key != _key(pool):
            continue
        cuts = [one.cuts[chosen[at]] for chosen in choices]
        sends = one.sends[own] if _serves(phases, "prefill") else ()
        for link in sends:
            name = f"{pool.name}: prefill" + ("" if len(sends) == 1 else f" at {_said(link, sends)}")
            reached = one.reached(link)
            counts = _counts(pool, found, [not reached <= cut for cut in cuts])
            yield _counting(pool, name, "prefill", counts, link)
        if _serves(phases, "decode"):
            taken = next(link for link in one.takes if link.is_within(own))
            yield _counting(
                pool, f"{pool.name}: decode", "decode", _counts(pool, found, [taken in cut for cut in cuts])
            )


def _counts(pool: Pool, found: Mapping[int, tuple[int, ...]], kept: Sequence[bool]) -> list[tuple[int, ...]]:
    """Return for each scenario of a pool the demands that are kept of those into which its own was parted."""
    return [tuple(place for place, is_kept in zip(found[at], kept, strict=True) if is_kept) for at in pool.places]


def _said(link: Passage, among: Sequence[Passage]) -> str:
    rate = f"{float(link.bandwidth) / 1e9:g} GB/s"
    alike = [other for other in among if other.bandwidth == link.bandwidth]
    return rate if len(alike) == 1 else f"{rate} after {format_duration(link.setup)}"


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
