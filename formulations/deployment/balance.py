"""Layer kinds under a load profile: layers of one kind whose experts balance alike stay one kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.model import Model


@dataclass(frozen=True)
class Balance:
    """Largest over mean rank load of a layer: proven ``lower``, ``achieved`` by ``slots[rank][slot]``."""

    lower: Fraction
    achieved: Fraction
    slots: tuple[tuple[int, ...], ...]


BalanceKey = tuple[int, int]
"""Expert-parallel ranks, and slots of each rank beyond the fewest."""

ImbalanceTable = tuple[Mapping[BalanceKey, Balance], ...]
"""One mapping for every mixture-of-experts layer, first to last."""

_SEPARATOR = "@"
_GROUP = "#cache-group="


def base_kind(kind: str) -> str:
    """Name, in the model, of a kind that `balanced_kinds` or `grouped_kinds` made."""
    return balanced_kind(kind).partition(_SEPARATOR)[0]


def balanced_kind(kind: str) -> str:
    """Name of a kind before `grouped_kinds`."""
    return kind.partition(_GROUP)[0]


def is_balanced(kind: str) -> bool:
    """Whether a load profile says how the kind's experts balance."""
    return _SEPARATOR in balanced_kind(kind)


def grouped_kinds(kinds: tuple[str, ...], groups: tuple[int | None, ...]) -> tuple[str, ...]:
    """Tell layers of one kind apart whose caches lie in different groups of blocks."""
    return tuple(kind if group is None else f"{kind}{_GROUP}{group}" for kind, group in zip(kinds, groups, strict=True))


def group_of(kind: str) -> int | None:
    """Group of blocks of a kind that `grouped_kinds` made (``None``: it has none)."""
    _, found, group = kind.partition(_GROUP)
    return int(group) if found else None


def balanced_kinds(
    model: Model, table: ImbalanceTable | None
) -> tuple[tuple[str, ...], dict[str, Mapping[BalanceKey, Balance]]]:
    """Return the kind of every layer, and what each new kind's balance is (empty without a profile)."""
    if table is None:
        return model.layer_kinds, {}
    kinds: list[str] = []
    balances: dict[str, Mapping[BalanceKey, Balance]] = {}
    names: dict[tuple[object, ...], str] = {}
    routed = iter(table)
    for place, kind in enumerate(model.layer_kinds):
        if isinstance(model.kinds[kind].feed_forward, MixtureOfExperts):
            balance = next(routed)
            factors = tuple((key, found.lower, found.achieved) for key, found in sorted(balance.items()))
            name = names.setdefault((kind, factors), f"{kind}{_SEPARATOR}{place}")
            balances[name] = balance
            kinds.append(name)
        else:
            kinds.append(kind)
    return tuple(kinds), balances
