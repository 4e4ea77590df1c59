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


def base_kind(kind: str) -> str:
    """Name, in the model, of a kind that `balanced_kinds` made."""
    return kind.partition(_SEPARATOR)[0]


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
