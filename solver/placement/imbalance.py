"""The imbalance table with the search of this package behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from shardproof.formulations.placement.imbalance import Imbalance, ImbalanceKey, Placer, fewest_slots, imbalance_table
from shardproof.formulations.placement.problem import LayerProblem, Slots
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.solver.placement.layers import place_layers
from shardproof.solver.placement.work import PlaceSettings


def searched_table(
    profile: LoadProfile,
    *,
    moe_ep: Iterable[int],
    slots_per_rank: Callable[[int], Iterable[int]] | None = None,
    settings: PlaceSettings | None = None,
) -> dict[ImbalanceKey, Imbalance]:
    """Return the imbalance table of a profile; by default with the fewest slots per rank, and one more.

    The time limit of ``settings`` holds for each pair of width and slot count. Bounds that only CP-SAT
    claims are left out, so that every ``lower`` has an argument that can be checked.
    """

    def default_slots(ranks: int) -> tuple[int, int]:
        fewest = fewest_slots(profile.experts, ranks)
        return fewest, fewest + 1

    return imbalance_table(
        profile,
        moe_ep=moe_ep,
        slots_per_rank=slots_per_rank or default_slots,
        place=_placer(settings or PlaceSettings(time_limit=5.0)),
    )


def _placer(settings: PlaceSettings) -> Placer:
    def place(problems: Sequence[LayerProblem]) -> list[tuple[Slots, Fraction]]:
        answers = place_layers(problems, settings)
        return [
            (answer.slots, answer.bound.value if answer.bound.argument != "cp-sat" else Fraction(0))
            for answer in answers
        ]

    return place
